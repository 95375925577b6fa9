import json

import numpy as np
import pytest
from hypothesis import given, settings
from networks import problems
from onnxfiles import assert_close, onnx, onnxruntime, run

from minidl import (
    Conv2D,
    Dense,
    Flatten,
    Huber,
    KLDivergence,
    MeanSquaredError,
    Poisson,
    ReLU,
    Rescale,
    Sequential,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
)
from minidl.errors import ArgumentError, ArgumentTypeError, NotReadyError
from minidl.onnx import export, load

LOSSES = (
    SoftmaxCrossEntropy, KLDivergence, SigmoidCrossEntropy, MeanSquaredError, lambda: Huber(delta=0.7), Poisson
)  # fmt: skip
IN_EVERY_RUN, ALL = 60, 200
counts = pytest.mark.parametrize("examples", [IN_EVERY_RUN, pytest.param(ALL, marks=pytest.mark.fuzz)])


@counts
@pytest.mark.parametrize("of_images", [False, True])
def test_random_networks_agree_with_onnx_runtime_and_come_back_the_same(tmp_path, of_images, examples):
    path, seen = tmp_path / "model.onnx", []

    @given(problem=problems(dtype="float32", losses=LOSSES, of_images=of_images))
    @settings(max_examples=examples, derandomize=True)
    def check(problem):
        model = problem.model
        export(model, path, input_dtype="float32")
        back = load(path)
        rows = np.random.default_rng(0).normal(size=(1000, *model.input_shape)).astype(np.float32)
        # Sums may nearly cancel, and lose their digits: errors are relative to the largest number in the network.
        scale = max(np.abs(values).max() for values in model.activations(rows).values())
        for size in (1, 7, 1000):
            x = rows[:size]
            scores = model.forward(x)
            theirs = run(path, x)[0]
            assert theirs.shape == scores.shape
            error = np.abs(theirs - scores).max() / scale
            assert error < 1e-5
            assert_close(back.forward(x) / scale, scores / scale)
            seen.append(error)
        assert type(back.loss) is type(model.loss)

    check()
    print(f"{len(seen) // 3} networks, largest relative error {max(seen):.1e}")


def classifier(*first):
    return Sequential([*first, Flatten(), Dense(3), SoftmaxCrossEntropy()], input_shape=(4, 4, 1), seed=0)


def input_of(path):
    (tensor,) = onnxruntime.InferenceSession(path).get_inputs()
    return tensor.type, tensor.shape


def test_a_model_that_begins_with_rescale_takes_bytes(tmp_path):
    path = tmp_path / "model.onnx"
    model = classifier(Sequential([Flatten(), Rescale(1 / 255)]))
    export(model, path)
    assert input_of(path) == ("tensor(uint8)", ["N", 4, 4, 1])
    x = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 1), np.uint8)
    assert_close(run(path, x)[0], model.forward(x))
    export(model, path, input_dtype="float32")
    assert_close(run(path, x.astype(np.float32))[0], model.forward(x))
    export(classifier(ReLU()), path, input_dtype="uint8")
    assert_close(run(path, x)[0], classifier(ReLU()).forward(x))
    export(classifier(ReLU()), path)
    assert input_of(path)[0] == "tensor(float)"


def test_the_file_says_its_opset_its_origin_and_the_names_of_classes(tmp_path):
    path = tmp_path / "model.onnx"
    export(classifier(Conv2D(2, 3)), path, output="labels", class_names=["zero", 1, "zwölf"])
    model = onnx.load(path)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 17)]
    assert (model.ir_version, model.producer_name) == (8, "minidl")
    metadata = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    assert json.loads(metadata["class_names"]) == ["zero", "1", "zwölf"]
    assert metadata["output"] == "labels"
    assert model.graph.output[0].name == "labels"


@pytest.mark.parametrize("output", ["scores", "probabilities", "labels"])
def test_a_round_trip_gives_the_same_predictions_whatever_the_file_puts_out(tmp_path, output):
    model = classifier(Rescale(1 / 255), Conv2D(2, 3))
    export(model, tmp_path / "model.onnx", output=output)
    back = load(tmp_path / "model.onnx")
    x = np.random.default_rng(0).integers(0, 256, (50, 4, 4, 1), np.uint8)
    np.testing.assert_array_equal(back.predict(x), model.predict(x))
    np.testing.assert_array_equal(back.predict_proba(x), model.predict_proba(x))
    assert repr(back.loss) == repr(model.loss)


def test_a_model_in_float64_is_written_in_float32(tmp_path):
    model = Sequential([Dense(3)], input_shape=4, seed=0, dtype="float64")
    export(model, tmp_path / "model.onnx")
    x = np.random.default_rng(0).normal(size=(3, 4))
    assert_close(run(tmp_path / "model.onnx", x.astype(np.float32))[0], model.forward(x))


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"output": "logits"}, ArgumentError, "'scores', 'probabilities', 'labels'"),
        ({"input_dtype": "int8"}, ArgumentError, "uint8"),
        ({"class_names": ["a"]}, ArgumentError, "1 name for outputs"),
        ({"class_names": {0: "a", 1: "b", 2: "c"}}, ArgumentTypeError, "class_names is {0: 'a', .*; give a list"),
        ({"class_names": "abc"}, ArgumentTypeError, "class_names is 'abc'; give a list"),
        ({"class_names": 3}, ArgumentTypeError, "class_names is 3; give a list"),
    ],
)
def test_wrong_options_are_errors_and_write_nothing(tmp_path, options, error, match):
    with pytest.raises(error, match=match):
        export(classifier(ReLU()), tmp_path / "model.onnx", **options)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_model_or_not_ready_is_an_error(tmp_path):
    with pytest.raises(ArgumentTypeError, match="takes a Sequential"):
        export(Dense(3), tmp_path / "model.onnx")
    with pytest.raises(NotReadyError, match="input_shape="):
        export(Sequential([Dense(3)]), tmp_path / "model.onnx")
    with pytest.raises(ArgumentError, match="no loss"):
        export(Sequential([Dense(3)], input_shape=2), tmp_path / "model.onnx", output="labels")


def test_a_graph_that_the_checker_refuses_is_an_error(tmp_path):
    class Wrong(Dense):
        def to_onnx(self, graph, x):
            return graph.node("NoSuchOperator", x)

    with pytest.raises(ArgumentError, match="checker rejects the graph: No Op registered for NoSuchOperator .*wrong_1"):
        export(Sequential([Wrong(3)], input_shape=2), tmp_path / "model.onnx")
