"""Operators on sequences, (N, features, positions) or (N, positions, features), and what layers they become."""

import numpy as np
import pytest
from onnxfiles import assert_close, onnx, run
from onnxgraphs import chain, graph

from minidl.errors import FileFormatError
from minidl.onnx import load

rng = np.random.default_rng(0)
SEQUENCE = (4, 7)  # features first
I64 = np.int64


def f(*shape):
    return rng.normal(size=shape).astype(np.float32)


FIT = [
    ("Conv", {"w": f(3, 4, 3), "b": f(3)}, {"strides": [2], "pads": [2, 1]}, SEQUENCE),
    ("Conv", {"w": f(4, 2, 2)}, {"group": 2, "dilations": [2], "kernel_shape": [2]}, SEQUENCE),
    ("Conv", {"w": f(4, 1, 3)}, {"group": 4, "auto_pad": "SAME_UPPER", "strides": [2]}, SEQUENCE),
    ("Conv", {"w": f(2, 4, 3)}, {"auto_pad": "VALID"}, SEQUENCE),
    ("MaxPool", {}, {"kernel_shape": [3], "strides": [2], "pads": [1, 2]}, SEQUENCE),
    ("MaxPool", {}, {"kernel_shape": [3], "strides": [2], "ceil_mode": 1}, SEQUENCE),
    ("AveragePool", {}, {"kernel_shape": [3], "pads": [1, 1]}, SEQUENCE),
    ("AveragePool", {}, {"kernel_shape": [2], "strides": [2], "count_include_pad": 1}, SEQUENCE),
    ("GlobalAveragePool", {}, {}, SEQUENCE),
    ("GlobalMaxPool", {}, {}, SEQUENCE),
    ("ReduceMean", {}, {"axes": [1], "keepdims": 0}, SEQUENCE),
    ("ReduceMax", {}, {"axes": [-2], "keepdims": 0}, SEQUENCE),
    ("Add", {"p": f(4, 7)}, {}, SEQUENCE),
    ("Add", {"p": f(1, 4, 7)}, {}, SEQUENCE),
    ("Add", {"p": f(7)}, {}, SEQUENCE),
]


@pytest.mark.parametrize(("operator", "others", "attributes", "shape"), FIT)
def test_an_operator_becomes_a_layer_that_gives_what_onnx_runtime_gives(tmp_path, operator, others, attributes, shape):
    content = graph(chain((operator, [*others], attributes)), others, shape)
    (tmp_path / "model.onnx").write_bytes(content)
    model, x = load(tmp_path / "model.onnx"), f(5, *shape)
    theirs = run(content, x)[0]
    if model.input_shape != shape:  # its features are last
        x = np.moveaxis(x, 1, -1)
        theirs = np.moveaxis(theirs, 1, -1)
    assert_close(model.predict_scores(x).reshape(theirs.shape), theirs)


UNFIT = [
    ("Conv", {"w": f(3, 4, 3, 1)}, {}, "not for sequences"),
    ("Conv", {"w": f(3, 3, 3)}, {}, "in 1 groups for 4 features"),
    ("Conv", {"w": f(3, 4, 3)}, {"auto_pad": "SAME_LOWER"}, "auto_pad"),
    ("Conv", {"w": f(3, 4, 3)}, {"strides": [1, 1]}, "do not fit sequences"),
    ("Conv", {"w": f(3, 4, 9)}, {}, "does not fit"),
    ("MaxPool", {}, {"kernel_shape": [2], "dilations": [2]}, "dilations"),
    ("MaxPool", {}, {"kernel_shape": [2], "strides": [2], "ceil_mode": 1}, "ceil_mode"),
    ("MaxPool", {}, {"kernel_shape": [2], "pads": [0, 2]}, "outside the sequence"),
    ("AveragePool", {}, {"kernel_shape": [3], "pads": [1, 1], "count_include_pad": 1}, "counts its padding"),
    ("ReduceMean", {}, {"axes": [0]}, "not over the axis"),
]


@pytest.mark.parametrize(("operator", "others", "attributes", "why"), UNFIT)
def test_a_node_that_does_not_fit_is_named_by_the_error(tmp_path, operator, others, attributes, why):
    nodes = chain(("Relu", [], {}), (operator, [*others], attributes), ("Softmax", [], {"axis": 1}))
    (tmp_path / "model.onnx").write_bytes(graph(nodes, others, SEQUENCE))
    with pytest.raises(FileFormatError, match=f"node 1 '{operator}'.*{why}"):
        load(tmp_path / "model.onnx")


def of_ids(nodes, constants, shape=(6,)):
    """Return the bytes of a model whose input is of whole numbers."""
    model = onnx.load_model_from_string(graph(nodes, constants, shape))
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", "T", "F"]))
    return model.SerializeToString()


def gather(weight="w", ids="x", output="y", **attributes):
    return onnx.helper.make_node("Gather", [weight, ids], [output], **attributes)


def test_vectors_that_are_gathered_by_ids_are_an_embedding(tmp_path):
    nodes = [gather(output="e"), onnx.helper.make_node("Add", ["e", "p"], ["y"])]
    content = of_ids(nodes, {"w": f(9, 4), "p": f(6, 4)})
    (tmp_path / "model.onnx").write_bytes(content)
    model, ids = load(tmp_path / "model.onnx"), rng.integers(9, size=(5, 6))
    assert [type(layer).__name__ for layer in model.layers] == ["Embedding", "PositionEmbedding"]
    assert_close(model.forward(ids), run(content, ids)[0])


@pytest.mark.parametrize(
    ("nodes", "weight"),
    [
        ([gather(axis=1)], f(9, 4)),
        ([gather()], f(9)),
        ([gather(output="a"), onnx.helper.make_node("Relu", ["a"], ["b"]), gather(ids="b")], f(9, 4)),
    ],
)
def test_anything_else_that_is_gathered_is_an_error(tmp_path, nodes, weight):
    (tmp_path / "model.onnx").write_bytes(of_ids(nodes, {"w": weight}))
    with pytest.raises(FileFormatError, match="'Gather'.*other than the input's ids"):
        load(tmp_path / "model.onnx")


def test_a_convolution_between_transpositions_has_its_features_last(tmp_path):
    swap = ("Transpose", [], {"perm": [0, 2, 1]})
    nodes = chain(swap, ("Conv", ["w", "b"], {"pads": [2, 0]}), ("Relu", [], {}), swap)
    content = graph(nodes, {"w": f(5, 4, 3), "b": f(5)}, (7, 4))
    (tmp_path / "model.onnx").write_bytes(content)
    model, x = load(tmp_path / "model.onnx"), f(3, 7, 4)
    assert model.input_shape == (7, 4)
    assert [type(layer).__name__ for layer in model.layers] == ["Conv1D", "ReLU"]
    assert_close(model.forward(x), run(content, x)[0])
