"""The page as a file: its size, its content, and that it needs nothing else. test_browser.py opens it."""

import base64
import configparser
import fnmatch
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from pages import IMAGE, network

import minidl
from minidl import (
    Conv2D,
    Dense,
    FocalCrossEntropy,
    Hinge,
    MeanSquaredError,
    ReLU,
    Rescale,
    Reshape,
    Sequential,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    page,
)
from minidl.errors import ArgumentError, ArgumentTypeError, MissingFileError, NotReadyError, ShapeError

ASSETS = Path(page.__file__).parent


class Elements(HTMLParser):
    """The elements of a document: their attributes, and the text in each."""

    def __init__(self, text):
        super().__init__()
        self.found, self.text, self.open = [], {}, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        self.open.append(dict(attributes).get("id") or tag)

    def handle_data(self, data):
        self.text.setdefault(self.open[-1] if self.open else "", data)


def perceptron():
    layers = [Rescale(1 / 255), Dense(128), ReLU(), Dense(64), ReLU(), Dense(10), SoftmaxCrossEntropy()]
    return Sequential(layers, input_shape=784, seed=0)


def exported(tmp_path, model, **options):
    page.export(model, tmp_path / "page.html", **options)
    return (tmp_path / "page.html").read_text(encoding="utf-8")


def content(text):
    """The description of the model on a page."""
    return json.loads(Elements(text).text["model"])


def small(*layers, shape=(6, 6, 1), loss=None):
    return Sequential([*layers, Reshape(-1), Dense(3), loss or SoftmaxCrossEntropy()], input_shape=shape, seed=0)


@pytest.mark.parametrize(("weights", "limit"), [("float16", 400_000), ("int8", 250_000)])
def test_the_page_of_784_128_64_10_is_small(tmp_path, weights, limit):
    assert len(exported(tmp_path, perceptron(), weights=weights).encode()) < limit


@pytest.mark.parametrize("weights", ["float16", "int8"])
def test_the_weights_on_the_page_are_those_of_the_model(tmp_path, weights):
    model = perceptron()
    model.parameters += np.random.default_rng(0).normal(0, 0.1, model.parameters.shape)
    text = exported(tmp_path, model, weights=weights)
    stored = base64.b64decode(Elements(text).text["weights"])
    for layer in content(text)["layers"]:
        for name in {"weight", "bias"} & layer.keys():
            array, wanted = layer[name], model[layer["name"]].named_parameters()[name].value
            assert tuple(array["shape"]) == wanted.shape
            dtype = {"float32": "<f4", "float16": "<f2", "int8": "i1"}[array["type"]]
            values = np.frombuffer(stored, dtype, wanted.size, array["start"]).reshape(wanted.shape)
            if array["type"] == "int8":
                scales = np.frombuffer(stored, "<f4", wanted.shape[-1], array["scales"])
                np.testing.assert_allclose(values * scales, wanted, rtol=0, atol=1.001 * scales.max())
            else:  # half a step for itself, and half for what the one before it lost
                np.testing.assert_allclose(values, wanted, rtol=0, atol=2**-10 * np.abs(wanted).max())
    assert content(text)["layers"][1]["weight"]["type"] == weights


def test_the_same_model_gives_the_same_bytes(tmp_path):
    assert exported(tmp_path, perceptron()) == exported(tmp_path, perceptron())


def test_the_html_is_valid(tmp_path):
    html5lib = pytest.importorskip("html5lib")
    html5lib.HTMLParser(strict=True).parse(exported(tmp_path, network("blocks")))  # raises the first error


def test_all_that_an_attribute_refers_to_is_on_the_page_once(tmp_path):
    elements = Elements(exported(tmp_path, perceptron())).found
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    names = {"aria-labelledby", "aria-describedby"}
    references = {attributes[name] for _, attributes in elements for name in names & attributes.keys()}
    assert references <= set(ids)
    assert len(references) > 4
    script = "".join((ASSETS / name).read_text() for name in ("page.js", "network.js"))
    assert set(re.findall(r'(?:find|getElementById)\("([\w-]+)"\)', script)) <= set(ids)
    for tag, attributes in elements:
        if tag == "canvas" and "id" in attributes:
            assert attributes["aria-label"]


def test_nothing_is_loaded_from_a_network(tmp_path):
    text = exported(tmp_path, perceptron())
    for _, attributes in Elements(text).found:
        for name in {"src", "href", "srcset", "action", "data"} & attributes.keys():
            assert attributes[name].startswith("data:")
    assert not re.search(r"https?:|url\(|@import|\bimport\b|\bfetch\b|XMLHttpRequest|WebSocket|sendBeacon", text)
    (policy,) = (a["content"] for _, a in Elements(text).found if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ")


def test_names_and_titles_of_any_signs_are_text(tmp_path):
    names = ["</script><b>", "a & b", "{{weights}} ünï 一"]
    title = '<i>"digits"</i> & {{script}}'
    text = exported(tmp_path, small(), class_names=names, title=title)
    assert content(text)["classes"] == names
    assert html.unescape(re.search("<title>(.*)</title>", text)[1]) == title
    assert "<i>" not in text
    assert "<b>" not in text


def test_class_names_are_numbers_unless_they_are_given(tmp_path):
    assert content(exported(tmp_path, small()))["classes"] == ["0", "1", "2"]
    assert content(exported(tmp_path, small(), class_names=np.array([3, 5, 7])))["classes"] == ["3", "5", "7"]
    with pytest.raises(ArgumentError, match="class_names has 2 names, but the model has 3 classes"):
        exported(tmp_path, small(), class_names=["a", "b"])
    for names in ({0: "a", 1: "b", 2: "c"}, "abc", 3):
        with pytest.raises(ArgumentTypeError, match="class_names is .*; give a list of names"):
            exported(tmp_path, small(), class_names=names)


def test_one_score_is_that_of_the_second_of_two_classes(tmp_path):
    model = Sequential([Dense(1), SigmoidCrossEntropy()], input_shape=16, seed=0)
    text = exported(tmp_path, model, class_names=["cat", "dog"])
    assert (content(text)["activation"], content(text)["classes"]) == ("sigmoid", ["cat", "dog"])


def test_losses_that_contain_softmax_are_known(tmp_path):
    assert content(exported(tmp_path, small(loss=FocalCrossEntropy())))["activation"] == "softmax"


@pytest.mark.parametrize("loss", [MeanSquaredError(), Hinge()])
def test_a_model_without_probabilities_is_refused(tmp_path, loss):
    with pytest.raises(ArgumentError, match=f"{type(loss).__name__} gives none from softmax or sigmoid: use Softmax"):
        exported(tmp_path, small(loss=loss))


def test_what_is_no_trained_classifier_of_gray_images_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="but the model has no loss"):
        exported(tmp_path, Sequential([Dense(3)], input_shape=16))
    with pytest.raises(NotReadyError, match="does not know its input shape"):
        exported(tmp_path, Sequential([Dense(3), SoftmaxCrossEntropy()]))
    with pytest.raises(ArgumentTypeError, match="takes a Sequential, not"):
        exported(tmp_path, Dense(3))
    with pytest.raises(ShapeError, match=r"does not fit the model's input \(6, 6, 3\): it takes gray images"):
        exported(tmp_path, small(shape=(6, 6, 3)))
    with pytest.raises(ShapeError, match=r"one score for each class, not an output of shape \(6, 6, 2\)"):
        exported(tmp_path, Sequential([Conv2D(2, 1), SoftmaxCrossEntropy()], input_shape=(6, 6, 1)))
    assert not (tmp_path / "page.html").exists()
    with pytest.raises(MissingFileError, match="its folder does not exist"):
        page.export(small(), tmp_path / "nowhere" / "page.html")


@pytest.mark.parametrize(("shape", "image"), [(784, [28, 28]), ((8, 8), [8, 8]), (IMAGE, [9, 12])])
def test_the_shape_of_the_images_is_that_of_the_input(tmp_path, shape, image):
    assert content(exported(tmp_path, small(shape=shape)))["image"] == image


def test_rows_of_pixels_are_images_of_the_shape_that_is_given(tmp_path):
    with pytest.raises(ShapeError, match=r"for rows of pixels give image_shape=\(height, width\)"):
        exported(tmp_path, small(shape=12))
    with pytest.raises(ShapeError, match="does not fit"):
        exported(tmp_path, small(shape=12), image_shape=(3, 3))
    with pytest.raises(ShapeError, match="does not fit"):
        exported(tmp_path, small(shape=12), image_shape=3)
    assert content(exported(tmp_path, small(shape=12), image_shape=(3, 4)))["image"] == [3, 4]


def test_ink_is_255_where_the_model_rescales_and_else_1(tmp_path):
    assert content(exported(tmp_path, small(Rescale(1 / 255))))["ink"] == 255
    assert content(exported(tmp_path, small(Reshape(36), Rescale(1 / 255))))["ink"] == 255
    assert content(exported(tmp_path, small(Sequential([Rescale(1 / 255)]), ReLU())))["ink"] == 255
    assert content(exported(tmp_path, small(ReLU(), Rescale(1 / 255))))["ink"] == 1
    assert content(exported(tmp_path, small(Rescale(2, offset=-1)), ink=1.0))["ink"] == 1


def test_an_installed_package_has_the_files_of_the_page():
    setup = configparser.ConfigParser()
    setup.read(Path(minidl.__file__).parents[1] / "setup.cfg")
    patterns = [pattern.strip() for pattern in setup["options.package_data"]["minidl.page"].split(",")]
    files = [path.name for path in ASSETS.iterdir() if path.is_file() and path.suffix not in {".py", ".pyc"}]
    assert len(files) == 5
    assert all(any(fnmatch.fnmatch(name, pattern) for pattern in patterns) for name in files)
