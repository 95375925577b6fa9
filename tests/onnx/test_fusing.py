"""Operators written as several nodes: the layer against ONNX Runtime, and near misses, which are no such layer."""

import numpy as np
import pytest
from onnxfiles import assert_close, run
from onnxgraphs import graph, node

from minidl.errors import FileFormatError
from minidl.onnx import load

rng = np.random.default_rng(0)


def f(*shape):
    return rng.normal(size=shape).astype(np.float32)


NUMBERS = {
    "zero": np.float32(0), "one": np.float32(1), "alpha": np.float32(0.7), "epsilon": np.float32([0.01]),
    "scale": f(3), "shift": f(3), "negative": -rng.uniform(0.1, 0.5, 3).astype(np.float32),
    "last": np.int64([-1]), "other": np.int64([1, -1]),
}  # fmt: skip


def loaded(tmp_path, nodes, constants=None, shape=(3,), opset=17):
    """Load a graph, and return its layers' descriptions, if it gives what ONNX Runtime gives."""
    content = graph(nodes, NUMBERS | (constants or {}), shape, opset=opset)
    (tmp_path / "model.onnx").write_bytes(content)
    model, x = load(tmp_path / "model.onnx"), 2 * f(20, *shape)
    ours = model.forward(np.moveaxis(x, 1, -1) if model.input_shape != shape else x)
    assert_close(np.moveaxis(ours, -1, 1) if model.input_shape != shape else ours, run(content, x)[0])
    return [repr(layer) for layer in model.layers]


def prelu(second="x"):
    return [
        node("Relu", "x", "a"), node("Neg", second, "b"), node("Cast", "b", "c", to=1), node("Relu", "c", "d"),
        node("Mul", "negative d", "e"), node("Add", "a e"),
    ]  # fmt: skip


def elu(threshold="zero", choose="casts"):
    start = [node("Greater", f"x {threshold}", "a"), node("Elu", "x", "b"), node("Mul", "alpha b", "c")]
    if choose == "Where":
        return [*start, node("Where", "a b c")]
    return [
        *start, node("Not", "a", "d"), node("Cast", "a", "e", to=1), node("Cast", "d", "f", to=1),
        node("Mul", "c f", "g"), node("Mul", "e b", "h"), node("Add", "h g"),
    ]  # fmt: skip


def layer_norm(scale=True, shift=True, axis=-1, again=None, opset=17):
    """The form that TensorFlow's layers have: x g + (shift - mean g)."""
    axes, inputs = ({"axes": [axis]}, "") if opset < 18 else ({}, " last")
    return [
        node("ReduceMean", f"x{inputs}", "mean", **axes), node("Neg", "mean", "minus"),
        *([node("Reshape", f"mean {again}", "again")] if again else []),
        node("Sub", "x again" if again else "x mean", "centered"), node("Mul", "centered centered", "squares"),
        node("ReduceMean", f"squares{inputs}", "variance", **axes), node("Add", "variance epsilon", "above"),
        node("Sqrt", "above", "deviation"), node("Reciprocal", "deviation", "g" if not scale else "inverse"),
        *([node("Mul", "inverse scale", "g")] if scale else []),
        node("Mul", "x g", "first"), node("Mul", "minus g", "second" if shift else "third"),
        *([node("Add", "second shift", "third")] if shift else []), node("Add", "first third"),
    ]  # fmt: skip


def test_a_rectifier_of_the_negative_half_is_prelu(tmp_path):
    assert loaded(tmp_path, prelu()) == ["PReLU(initial_slope=0.25)"]


@pytest.mark.parametrize("choose", ["casts", "Where"])
def test_a_choice_between_two_scales_of_elu_is_elu(tmp_path, choose):
    assert loaded(tmp_path, elu(choose=choose)) == ["ELU(alpha=0.7)"]


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("shift", [True, False])
def test_means_and_deviations_are_layer_normalization_also_without_scale_or_shift(tmp_path, scale, shift):
    assert loaded(tmp_path, layer_norm(scale, shift)) == ["LayerNorm(epsilon=0.01)"]
    assert loaded(tmp_path, layer_norm(scale, shift), shape=(4, 3)) == ["LayerNorm(epsilon=0.01)"]


def test_the_axes_of_means_may_be_an_input(tmp_path):
    assert loaded(tmp_path, layer_norm(opset=18), opset=18) == ["LayerNorm(epsilon=0.01)"]


def test_images_with_their_channels_first_are_normalized_over_them(tmp_path):
    arrays = {"scale": f(3, 1, 1), "shift": f(3, 1, 1), "same": np.int64([-1, 1, 4, 5])}
    assert loaded(tmp_path, layer_norm(axis=1, again="same"), arrays, (3, 4, 5)) == ["LayerNorm(epsilon=0.01)"]


def test_two_rectifiers_of_different_tensors_are_a_sum_of_branches(tmp_path):
    (layer,) = loaded(tmp_path, [node("Tanh", "x", "z"), *prelu(second="z")])
    assert layer.startswith("Residual")


def elu_of_another_alpha():
    nodes = elu()
    nodes[1] = node("Elu", "x", "b", alpha=0.5)
    return nodes


def over_two_axes():
    nodes = layer_norm()
    nodes[4].attribute[0].ints[:] = [1]
    return nodes


MISSES = {
    "a threshold that is not 0": (elu(threshold="one"), (3,)),
    "two scales": (elu_of_another_alpha(), (3,)),
    "means over different axes": (over_two_axes(), (4, 3)),
    "a mean of other samples": (layer_norm(again="other"), (3,)),
}


@pytest.mark.parametrize("name", MISSES)
def test_what_only_looks_like_one_of_them_is_an_error_that_names_a_node(tmp_path, name):
    nodes, shape = MISSES[name]
    (tmp_path / "model.onnx").write_bytes(graph(nodes, NUMBERS, shape))
    with pytest.raises(FileFormatError, match=r"cannot be loaded: node \d"):
        load(tmp_path / "model.onnx")
