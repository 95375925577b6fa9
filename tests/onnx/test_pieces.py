"""What each operator becomes: the layer's output against ONNX Runtime's, or an error that names the node."""

import numpy as np
import pytest
from onnxfiles import assert_close, run
from onnxgraphs import chain, graph, node

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
    ("Neg", {}, {}, (3,)),
    ("Add", {"c": f(3)}, {}, (3,)),
    ("Sub", {"c": f(1, 1, 3)}, {}, (2, 3)),
    ("Mul", {"c": f(4, 1, 1)}, {}, IMAGE),
    ("Div", {"c": positive(3)}, {}, (3,)),
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
    for operator, wanted in (("Sub", "Rescale(scale=-1.0, offset=2.0)"), ("Mul", "Rescale(scale=2.0, offset=0.0)")):
        (tmp_path / "model.onnx").write_bytes(graph([node(operator, "c x")], {"c": np.float32(2)}, (3,)))
        assert repr(load(tmp_path / "model.onnx").layers[0]) == wanted


UNFIT = [
    ("Abs", {}, {}, (3,), "without a layer"),
    ("Erf", {}, {}, (3,), "without a layer"),
    ("Cast", {}, {"to": 7}, (3,), "whole numbers"),
    ("Softmax", {}, {"axis": 2}, IMAGE, "not over the axis"),
    ("Add", {"c": f(7, 6)}, {}, IMAGE, "not one number for each"),
    ("Mul", {"c": f(2, 3)}, {}, (2, 3), "not one number for each"),
    ("Div", {"c": np.float32(0)}, {}, (3,), "not a sum, product"),
    ("Pow", {"c": np.float32(5)}, {}, (3,), "not a sum, product"),
    ("Gemm", {"w": f(2, 3)}, {}, (3,), "weights"),
    ("MatMul", {"w": f(2, 3, 2)}, {}, (3,), "weights"),
    ("PRelu", {"s": f(6, 1)}, {}, IMAGE, "not one number for each"),
    ("LayerNormalization", {"s": f(2, 3)}, {"axis": 1}, (2, 3), "more axes"),
    ("Conv", {"w": f(3, 2, 3, 3)}, {}, IMAGE, "channels"),
    ("Conv", {"w": f(3, 4, 3)}, {}, IMAGE, "not for images"),
    ("Conv", {"w": f(3, 4, 9, 9)}, {}, IMAGE, "does not fit"),
    ("Conv", {"w": f(3, 4, 3, 3)}, {"auto_pad": "SAME_LOWER"}, IMAGE, "auto_pad"),
    ("ConvTranspose", {"w": f(4, 3, 3, 3)}, {"group": 2}, IMAGE, "groups"),
    ("ConvTranspose", {"w": f(4, 3, 3, 3)}, {"output_padding": [1, 0], "strides": [2, 2]}, IMAGE, "output_padding"),
    ("MaxPool", {}, {"kernel_shape": [2, 2], "dilations": [2, 2]}, IMAGE, "dilations"),
    ("MaxPool", {}, {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, IMAGE, "ceil_mode"),
    ("ReduceMean", {}, {"axes": [1]}, IMAGE, "not over the axes"),
    ("Flatten", {}, {"axis": 2}, (2, 3), "joins the batch"),
    ("Reshape", {"t": I64([-1, 3])}, {}, (2, 3), "mixes samples"),
    ("Reshape", {"t": I64([6, -1])}, {}, (2, 3), "mixes samples"),
    ("Transpose", {}, {"perm": [1, 0]}, (3,), "the axis of the batch"),
    ("Pad", {"p": I64([1, 0, 0, 0, 0, 0, 0, 0])}, {}, IMAGE, "pads the batch or the channels"),
    ("Pad", {"p": I64([0, 1, 0, 1, 0, 0, 0, 0])}, {}, IMAGE, "pads the batch or the channels"),
    ("Pad", {"p": I64([0, 0, 1, 0, 0, 0, 0, 0])}, {}, (2, 3), "not an image"),
    ("Slice", {"a": I64([1]), "b": I64([2]), "c": I64([2])}, {}, IMAGE, "margins of a transposed convolution"),
    ("Tile", {"t": I64([1, 2])}, {}, (3,), "one axis of one number"),
    ("Tile", {"t": I64([2, 1])}, {}, (3,), "one axis of one number"),
    ("Tile", {"t": I64([1, 2])}, {}, (1,), "without a layer"),
    ("Expand", {"t": I64([1, 2, 1])}, {}, (3,), "another number of axes"),
    ("Pad", {"p": I64([0, 0, 1, 1, 0, 0, 0, 0]), "v": np.float32(1)}, {}, IMAGE, "other values than zeros"),
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


def loaded(tmp_path, content, x):
    """Load a graph of images, and compare what it gives with ONNX Runtime's."""
    (tmp_path / "model.onnx").write_bytes(content)
    model = load(tmp_path / "model.onnx")
    theirs = run(content, x)[0]
    if model.input_shape != x.shape[1:]:  # its channels are last
        x, theirs = np.moveaxis(x, 1, -1), np.moveaxis(theirs, 1, -1)
    assert_close(model.predict_scores(x), theirs)
    return [repr(layer) for layer in model.layers]


def test_numbers_for_each_feature_become_a_frozen_batch_normalization(tmp_path):
    nodes = chain(("Relu", [], {}), ("Mul", ["s"], {}), ("Add", ["b"], {}), ("Sub", ["b"], {}), ("Mul", ["s"], {}))
    (tmp_path / "model.onnx").write_bytes(graph(nodes, {"s": f(3), "b": f(3)}, (3,)))
    model, x = load(tmp_path / "model.onnx"), f(5, 3)
    _, norm = model.layers
    assert not norm.trainable
    assert_close(model.forward(x, training=True), run(str(tmp_path / "model.onnx"), x)[0])


@pytest.mark.parametrize("repeat", ["Tile", "Expand"])
def test_repeated_rows_and_columns_are_one_upsampling(tmp_path, repeat):
    """As Keras writes them: of an axis of one number come several, which a Reshape joins with the one before."""
    rows = ("Unsqueeze", ["two"], {}), (repeat, ["rows"], {}), ("Reshape", ["after"], {})
    columns = ("Unsqueeze", ["three"], {}), (repeat, ["columns"], {}), ("Reshape", ["last"], {})
    constants = {
        "two": I64([2]), "three": I64([3]), "after": I64([-1, 6, 3, 4]), "last": I64([-1, 6, 9, 4]),
        "rows": I64([1, 1, 2, 1, 1]), "columns": I64([1, 1, 1, 3, 1]),
    }  # fmt: skip
    content = graph(chain(*rows, *columns), constants, (3, 3, 4))
    assert loaded(tmp_path, content, f(5, 3, 3, 4)) == ["UpSample2D(size=(2, 3))"]


def test_channels_that_are_repeated_are_no_upsampling(tmp_path):
    nodes = chain(("Unsqueeze", ["a"], {}), ("Tile", ["t"], {}), ("Reshape", ["s"], {}))
    constants = {"a": I64([4]), "t": I64([1, 1, 1, 1, 2]), "s": I64([-1, 3, 3, 8])}
    (tmp_path / "model.onnx").write_bytes(graph(nodes, constants, (3, 3, 4)))
    with pytest.raises(FileFormatError, match="node 2 'Reshape'.*rows or columns"):
        load(tmp_path / "model.onnx")


def test_margins_that_are_cut_off_are_the_padding_of_a_transposed_convolution(tmp_path):
    cut = "Slice", ["from", "to", "axes"], {}
    nodes = chain(("ConvTranspose", ["w"], {"strides": [2, 2], "pads": [0, 1, 0, 0]}), cut)
    constants = {"w": f(4, 3, 3, 3), "from": I64([0, 1]), "to": I64([-1, 2**62]), "axes": I64([2, -1])}
    (layer,) = loaded(tmp_path, graph(nodes, constants, IMAGE), f(5, *IMAGE))
    assert "padding=((0, 1), (2, 0))" in layer


def test_all_pixels_are_not_cut_off(tmp_path):
    nodes = chain(("ConvTranspose", ["w"], {}), ("Slice", ["from", "to", "axes"], {}))
    constants = {"w": f(4, 3, 3, 3), "from": I64([4]), "to": I64([2]), "axes": I64([2])}
    (tmp_path / "model.onnx").write_bytes(graph(nodes, constants, IMAGE))
    with pytest.raises(FileFormatError, match="node 1 'Slice'.*all pixels"):
        load(tmp_path / "model.onnx")


def test_a_reshape_that_brings_the_only_channel_to_the_front_is_no_layer(tmp_path):
    convolution = "Conv", ["w"], {}
    for shape in ((6, 5, 1), (1, 6, 1)):
        nodes = chain(("Reshape", ["first"], {}), convolution, ("Transpose", [], {"perm": [0, 2, 3, 1]}))
        constants = {"first": I64([-1, shape[2], *shape[:2]]), "w": f(2, 1, 1, 3)}
        names = loaded(tmp_path, graph(nodes, constants, shape), f(5, *shape))
        assert [name.split("(")[0] for name in names] == ["Conv2D"]


def test_a_product_of_rows_of_samples_is_a_dense_layer(tmp_path):
    nodes = chain(("Reshape", ["rows"], {}), ("MatMul", ["w"], {}), ("Add", ["b"], {}), ("Reshape", ["back"], {}))
    constants = {"rows": I64([-1, 3]), "w": f(3, 4), "b": f(4), "back": I64([-1, 5, 4])}
    content = graph(nodes, constants, (5, 3))
    assert [name.split("(")[0] for name in loaded(tmp_path, content, f(7, 5, 3))] == ["Dense"]
    for wrong in ([-1, 4, 5], [-1, 20], [-1, 10, 2]):
        (tmp_path / "model.onnx").write_bytes(graph(nodes, constants | {"back": I64(wrong)}, (5, 3)))
        with pytest.raises(FileFormatError, match=r"node 3 'Reshape'.*of rows of samples"):
            load(tmp_path / "model.onnx")
    ends = graph(chain(("Reshape", ["rows"], {}), ("MatMul", ["w"], {})), constants, (5, 3))
    (tmp_path / "model.onnx").write_bytes(ends)
    with pytest.raises(FileFormatError, match="node 1 'MatMul'.*mixes samples"):
        load(tmp_path / "model.onnx")
    branches = [
        node("Reshape", "x rows", "r"),
        node("MatMul", "r w", "c"),
        node("MatMul", "r w", "d"),
        node("Add", "c d"),
    ]
    (tmp_path / "model.onnx").write_bytes(graph(branches, constants, (5, 3)))
    with pytest.raises(FileFormatError, match="node 3 'Add'.*joins rows of samples"):
        load(tmp_path / "model.onnx")
    softmax = chain(("Reshape", ["rows"], {}), ("Softmax", [], {}), ("Reshape", ["back"], {}))
    (tmp_path / "model.onnx").write_bytes(graph(softmax, constants | {"back": I64([-1, 5, 3])}, (5, 3)))
    with pytest.raises(FileFormatError, match="node 1 'Softmax'.*takes rows of samples"):
        load(tmp_path / "model.onnx")


def test_every_operator_that_becomes_a_layer_is_tested():
    assert OPERATORS.keys() - {case[0] for case in FIT} == {
        "Erf", "Expand", "Gather", "Gelu", "LogSoftmax", "Pow", "Slice", "Tile", "Upsample", "ai.onnx.ml.Scaler",
        "attention", "recurrent layer",
    }  # fmt: skip
