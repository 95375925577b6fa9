"""What each operator becomes: the layer's output against ONNX Runtime's, or an error that names the node."""

import numpy as np
import pytest
from onnxfiles import assert_close, run
from onnxgraphs import chain, graph

from minidl.errors import FileFormatError
from minidl.onnx import load
from minidl.onnx.pieces import BATCH, OPERATORS, Chain, Node, Value, number

rng = np.random.default_rng(0)


def f(*shape):
    return rng.normal(size=shape).astype(np.float32)


def positive(*shape):
    return rng.uniform(0.5, 2, shape).astype(np.float32)


I64 = np.int64
IMAGE = (4, 6, 5)  # (channels, height, width)
# Of each operator: the node's other inputs by name, its attributes, and the shape of a sample.
FIT = [
    ("Relu", {}, {}, (3,)),
    ("Sigmoid", {}, {}, (3,)),
    ("Tanh", {}, {}, (2, 3)),
    ("Softplus", {}, {}, (3,)),
    ("Elu", {}, {"alpha": 0.7}, (3,)),
    ("Elu", {}, {}, (3,)),
    ("Selu", {}, {}, (3,)),
    ("Selu", {}, {"alpha": 1.2, "gamma": 2.0}, (3,)),
    ("LeakyRelu", {}, {}, (3,)),
    ("PRelu", {"s": f(1)}, {}, (3,)),
    ("PRelu", {"s": f(3)}, {}, (3,)),
    ("PRelu", {"s": f(4, 1, 1)}, {}, IMAGE),
    ("Softmax", {}, {"axis": -1}, (2, 3)),
    ("Softmax", {}, {"axis": 1}, IMAGE),
    ("Add", {"c": np.float32(2)}, {}, (3,)),
    ("Sub", {"c": np.float32(2)}, {}, (3,)),
    ("Mul", {"c": np.float32([2])}, {}, (3,)),
    ("Div", {"c": np.float32([[2]])}, {}, (3,)),
    ("Dropout", {"r": np.float32(0.25)}, {}, (3,)),
    ("Cast", {}, {"to": 1}, (3,)),
    ("Gemm", {"w": f(3, 2)}, {}, (3,)),
    ("Gemm", {"w": f(2, 3), "b": f(2)}, {"transB": 1, "alpha": 0.5, "beta": 2.0}, (3,)),
    ("Gemm", {"w": f(3, 2), "b": f(1)}, {}, (3,)),
    ("MatMul", {"w": f(3, 2)}, {}, (2, 3)),
    ("LayerNormalization", {"s": f(3), "b": f(3)}, {"epsilon": 0.1}, (2, 3)),
    ("LayerNormalization", {"s": f(3)}, {}, (3,)),
    ("BatchNormalization", {"s": f(3), "b": f(3), "m": f(3), "v": positive(3)}, {"epsilon": 0.1}, (3,)),
    ("BatchNormalization", {"s": f(4), "b": f(4), "m": f(4), "v": positive(4)}, {"momentum": 1.0}, IMAGE),
    ("Conv", {"w": f(3, 4, 3, 2), "b": f(3)}, {"strides": [2, 1], "pads": [1, 0, 2, 1]}, IMAGE),
    ("Conv", {"w": f(4, 2, 2, 2)}, {"group": 2, "dilations": [2, 1], "kernel_shape": [2, 2]}, IMAGE),
    ("Conv", {"w": f(8, 1, 3, 3)}, {"group": 4, "auto_pad": "SAME_UPPER", "strides": [2, 2]}, IMAGE),
    ("Conv", {"w": f(2, 4, 3, 3)}, {"auto_pad": "VALID"}, IMAGE),
    ("ConvTranspose", {"w": f(4, 3, 3, 2), "b": f(3)}, {"strides": [2, 2], "pads": [1, 0, 1, 1]}, IMAGE),
    ("ConvTranspose", {"w": f(4, 3, 3, 3)}, {"strides": [2, 2], "pads": [1] * 4, "output_padding": [1, 1]}, IMAGE),
    ("ConvTranspose", {"w": f(4, 3, 1, 1)}, {"strides": [2, 2], "output_padding": [1, 1]}, IMAGE),
    ("MaxPool", {}, {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 2, 1]}, IMAGE),
    ("MaxPool", {}, {"kernel_shape": [2, 1], "strides": [2, 1], "ceil_mode": 1}, IMAGE),
    ("AveragePool", {}, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}, IMAGE),
    ("AveragePool", {}, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}, IMAGE),
    ("GlobalAveragePool", {}, {}, IMAGE),
    ("GlobalMaxPool", {}, {}, IMAGE),
    ("ReduceMean", {}, {"axes": [2, 3], "keepdims": 0}, IMAGE),
    ("ReduceMax", {}, {"axes": [-1, -2]}, IMAGE),
    ("Flatten", {}, {}, (2, 3)),
    ("Reshape", {"t": I64([0, 3, 2])}, {}, (2, 3)),
    ("Reshape", {"t": I64([-1, 6])}, {}, (2, 3)),
    ("Reshape", {"t": I64([0, -1])}, {}, (2, 3)),
    ("Reshape", {"t": I64([0, 0, 3, 1])}, {}, (2, 3)),
    ("Squeeze", {"a": I64([1])}, {}, (1, 3)),
    ("Unsqueeze", {"a": I64([1, -1])}, {}, (3,)),
    ("Pad", {"p": I64([0, 0, 1, 2, 0, 0, 0, 1])}, {}, IMAGE),
    ("Pad", {"p": I64([0, 0, 1, 2, 0, 0, 0, 1]), "v": np.float32(0)}, {}, IMAGE),
    ("Resize", {"roi": f(0), "s": np.float32([1, 1, 2, 3])}, {"mode": "nearest"}, IMAGE),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "others", "attributes", "shape"), FIT)
def test_an_operator_becomes_a_layer_that_gives_what_onnx_runtime_gives(tmp_path, operator, others, attributes, shape):
    content = graph(chain((operator, [*others], attributes)), others, shape)
    (tmp_path / "model.onnx").write_bytes(content)
    model, x = load(tmp_path / "model.onnx"), f(5, *shape)
    theirs = run(content, x)[0]
    if model.input_shape != shape:  # its channels are last
        x = np.moveaxis(x, 1, -1)
        theirs = np.moveaxis(theirs, 1, -1) if theirs.ndim == 4 else theirs
    ours = model.predict_scores(x) if model.loss is None else model.predict_proba(x)
    if "SigmoidCrossEntropy" in repr(model.loss) or operator == "Softmax":
        assert model.loss is not None
    assert_close(ours, theirs.reshape(ours.shape) if theirs.size == ours.size and theirs.ndim == 4 else theirs)


def test_an_operator_with_its_constant_first_becomes_a_layer(tmp_path):
    from onnxgraphs import node

    for operator, wanted in (("Sub", "Rescale(scale=-1.0, offset=2.0)"), ("Mul", "Rescale(scale=2.0, offset=0.0)")):
        (tmp_path / "model.onnx").write_bytes(graph([node(operator, "c x")], {"c": np.float32(2)}, (3,)))
        assert repr(load(tmp_path / "model.onnx").layers[0]) == wanted


UNFIT = [
    ("Abs", {}, {}, (3,), "no layer for"),
    ("Erf", {}, {}, (3,), "no layer for"),
    ("Cast", {}, {"to": 7}, (3,), "whole numbers"),
    ("Softmax", {}, {"axis": 2}, IMAGE, "another axis"),
    ("Add", {"c": f(3)}, {}, (3,), "adds an array"),
    ("Mul", {"c": f(3)}, {}, (3,), "multiplies by an array"),
    ("Div", {"c": np.float32(0)}, {}, (3,), "no sum, product"),
    ("Pow", {"c": np.float32(5)}, {}, (3,), "no sum, product"),
    ("Gemm", {"w": f(2, 3)}, {}, (3,), "weights"),
    ("MatMul", {"w": f(2, 3, 2)}, {}, (3,), "weights"),
    ("PRelu", {"s": f(6, 1)}, {}, IMAGE, "not one number for each"),
    ("LayerNormalization", {"s": f(2, 3)}, {"axis": 1}, (2, 3), "more axes"),
    ("Conv", {"w": f(3, 2, 3, 3)}, {}, IMAGE, "channels"),
    ("Conv", {"w": f(3, 4, 3)}, {}, (4, 5), "takes images"),
    ("Conv", {"w": f(3, 4, 9, 9)}, {}, IMAGE, "does not fit"),
    ("Conv", {"w": f(3, 4, 3, 3)}, {"auto_pad": "SAME_LOWER"}, IMAGE, "auto_pad"),
    ("ConvTranspose", {"w": f(4, 3, 3, 3)}, {"group": 2}, IMAGE, "groups"),
    ("ConvTranspose", {"w": f(4, 3, 3, 3)}, {"output_padding": [1, 0], "strides": [2, 2]}, IMAGE, "output_padding"),
    ("MaxPool", {}, {"kernel_shape": [2, 2], "dilations": [2, 2]}, IMAGE, "dilations"),
    ("MaxPool", {}, {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, IMAGE, "ceil_mode"),
    ("ReduceMean", {}, {"axes": [1]}, IMAGE, "other axes"),
    ("Flatten", {}, {"axis": 2}, (2, 3), "joins the batch"),
    ("Reshape", {"t": I64([-1, 3])}, {}, (2, 3), "mixes samples"),
    ("Reshape", {"t": I64([6, -1])}, {}, (2, 3), "mixes samples"),
    ("Transpose", {}, {"perm": [1, 0]}, (3,), "the axis of the batch"),
    ("Pad", {"p": I64([0, 1, 0, 0, 0, 0, 0, 0])}, {}, IMAGE, "pads the batch or the channels"),
    ("Pad", {"p": I64([0, 0, 1, 1, 0, 0, 0, 0]), "v": np.float32(1)}, {}, IMAGE, "something else than zeros"),
    ("Resize", {"r": f(0), "s": np.float32([1, 1, 2, 2])}, {"mode": "linear"}, IMAGE, "repeat pixels"),
    ("Resize", {"r": f(0), "s": np.float32([1, 1, 1.5, 2])}, {"mode": "nearest"}, IMAGE, "repeat pixels"),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "others", "attributes", "shape", "why"), UNFIT)
def test_a_node_that_does_not_fit_is_named_by_the_error(tmp_path, operator, others, attributes, shape, why):
    nodes = chain(("Relu", [], {}), (operator, [*others], attributes))
    (tmp_path / "model.onnx").write_bytes(graph(nodes, others, shape))
    with pytest.raises(FileFormatError, match=f"node 1 '{operator}'.*{why}") as caught:
        load(tmp_path / "model.onnx")
    assert len(str(caught.value)) < 300 + len(str(tmp_path))


def test_numbers_of_float32_are_those_that_people_write():
    assert [number(each) for each in (0.1, 1 / 3, 1e-5, 1e300)] == [0.1, 0.33333334, 1e-05, np.inf]


def test_an_array_of_flat_features_is_put_into_minidls_order():
    image = rng.normal(size=(4, 5, 3))  # (height, width, channels)
    theirs = np.moveaxis(image, -1, 0).ravel()
    value = Value((60,), (0, 1), ((4, 5, 3), (0, 3, 1, 2)))
    np.testing.assert_array_equal(value.in_minidls_order(theirs), image.ravel())
    weights = np.stack([theirs, 2 * theirs], axis=1)
    np.testing.assert_array_equal(value.in_minidls_order(weights)[:, 1], 2 * image.ravel())
    assert value.sizes == (BATCH, 60)


def test_scaling_and_shifting_become_one_layer_and_none_where_they_cancel():
    made = Node(0, "Mul", ["x"], ["y"], {})
    each = Chain("x", Value((3,), (0, 1)))
    each.rescale(made, 2, 1)
    each.rescale(made, 0.5, 0)
    assert [piece.settings for piece in each.pieces] == [{"scale": 1, "offset": 0.5}]
    each.rescale(made, 1, -0.5)
    assert each.pieces == []
    with pytest.raises(FileFormatError, match="not finite"):
        each.rescale(made, np.inf, 0)


def test_every_operator_that_becomes_a_layer_is_tested():
    assert OPERATORS.keys() - {case[0] for case in FIT} == {
        "Erf", "Pow", "Gelu", "Identity", "LogSoftmax", "Upsample", "ai.onnx.ml.Scaler"
    }  # fmt: skip
