"""The description of a model for the page: every layer is known, or named as one that is not."""

import re
from importlib import resources

import numpy as np
import pytest
from pages import IMAGE, NETWORKS, network

import minidl
from minidl import (
    BatchNorm,
    Dense,
    Dropout,
    Layer,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    Softmax,
    SoftmaxCrossEntropy,
    Tanh,
)
from minidl.errors import ArgumentTypeError
from minidl.page.description import describe


class Swish(Layer):
    def forward(self, x, training=False):
        return x / (1 + np.exp(-x))


class Hidden(Dense):
    """A Dense by another name."""


class Doubled(Dense):
    def forward(self, x, training=False):
        return 2 * super().forward(x, training)


def flat(descriptions):
    """Each description, and those inside it."""
    for layer in descriptions:
        yield layer
        yield from flat([*layer.get("layers", []), *layer.get("projection", [])])
        yield from (inside for branch in layer.get("branches", []) for inside in flat(branch))


def test_the_networks_of_these_tests_have_every_public_layer():
    public = {value for value in map(minidl.__dict__.get, dir(minidl)) if isinstance(value, type)}
    public |= {getattr(minidl, name) for name in minidl.__all__ if isinstance(getattr(minidl, name), type)}
    layers = {kind for kind in public if issubclass(kind, Layer) and kind is not Layer}
    layers -= {kind for kind in layers if kind.__module__.startswith("minidl.sequences.")}  # they look at no image
    assert len(layers) > 30
    assert layers <= {type(layer) for name in NETWORKS for layer in network(name).walk()}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_is_known_and_its_kind_is_one_of_the_script(name):
    script = (resources.files("minidl.page") / "network.js").read_text(encoding="utf-8")
    kinds = set(re.findall(r"^  (\w+)[:(]", script[script.index("const kinds") :], re.MULTILINE))
    model = network(name)
    described = list(flat(describe(model)))
    assert {layer["kind"] for layer in described} <= kinds
    known = {path.rstrip("/"): layer for path, layer in model.named_layers()[1:]}
    for layer in described:
        assert layer["shape"] == known[layer["name"]].output_shape
    without = {path for path, layer in known.items() if not isinstance(layer, Dropout | minidl.GaussianNoise)}
    assert {layer["name"] for layer in described} >= {path for path in without if not known[path].sublayers()}


@pytest.mark.parametrize(
    ("layers", "path", "kind"),
    [
        ([Dense(4), Swish()], "swish_1", "Swish"),
        ([Doubled(4)], "doubled_1", "Doubled"),
        ([Residual([Dense(4), Sequential([Swish(name="gate")])])], "residual_1/layers/sequential_1/gate", "Swish"),
    ],
)
def test_a_layer_that_the_page_does_not_know_is_named(layers, path, kind):
    model = Sequential([*layers, Dense(2), SoftmaxCrossEntropy()], input_shape=4)
    with pytest.raises(ArgumentTypeError, match=rf"^layer '{path}': the page does not know {kind}; replace it"):
        describe(model)


def test_a_subclass_that_computes_the_same_is_known_as_its_base():
    model = Sequential([Hidden(3), Dense(2), SoftmaxCrossEntropy()], input_shape=4)
    assert [layer["kind"] for layer in describe(model)] == ["Dense", "Dense"]


def test_layers_that_do_nothing_in_inference_are_left_out():
    model = Sequential([Dropout(), Dense(3), Residual([Dropout()]), SoftmaxCrossEntropy()], input_shape=4)
    dense, residual = describe(model)
    assert (dense["name"], residual["layers"], residual["projection"]) == ("dense_1", [], [])


def test_scale_and_shift_contain_the_statistics_of_batch_normalization():
    model = network("normalization")
    layer = model["batch_norm_2"]
    assert isinstance(layer, BatchNorm)
    (described,) = (each for each in describe(model) if each["name"] == "batch_norm_2")
    x = np.random.default_rng(0).normal(0, 1, (5, 6)).astype(np.float32)
    np.testing.assert_allclose(x * described["scale"] + described["shift"], layer.forward(x), rtol=1e-5, atol=1e-5)


def test_describing_changes_nothing_of_the_model():
    model = Sequential([Dense(3), ReLU(), Dense(2), SoftmaxCrossEntropy()], input_shape=IMAGE, seed=0)
    before = repr(model), model.parameters.copy()
    describe(model)
    assert repr(model) == before[0]
    np.testing.assert_array_equal(model.parameters, before[1])


def test_activations_that_share_a_forward_pass_are_told_apart():
    layers = [Dense(2), Sigmoid(), Dense(2), Tanh(), Dense(2), Softmax()]
    described = describe(Sequential(layers, input_shape=(4, 4, 1)[:1], seed=0))
    assert [layer["kind"] for layer in described][1::2] == ["Sigmoid", "Tanh", "Softmax"]
