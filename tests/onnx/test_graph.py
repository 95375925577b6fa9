import sys

import numpy as np
import pytest
from onnxfiles import onnx

from minidl import Conv2D, Dense, MaxPool2D, ReLU, Residual, Sequential
from minidl.errors import MissingDependencyError
from minidl.onnx import Graph, export


def operators(model, path):
    export(model, path)
    return [node.op_type for node in onnx.load(path).graph.node]


def test_a_node_returns_the_name_of_its_output_and_a_constant_keeps_whole_numbers():
    graph = Graph()
    y = graph.node("Add", "x", graph.constant([[1.0, 2.0]]))
    graph.node("Reshape", y, graph.constant([0, -1]))
    assert [node.op_type for node in graph.nodes] == ["Add", "Reshape"]
    assert graph.nodes[1].input[0] == y == graph.nodes[0].output[0]
    arrays = [onnx.numpy_helper.to_array(each) for each in graph.initializers]
    assert [(each.dtype, each.shape) for each in arrays] == [(np.float32, (1, 2)), (np.int64, (2,))]


def test_truth_values_are_constants_too_and_a_node_may_give_its_second_output():
    graph = Graph()
    graph.constant(np.tri(2, dtype=bool))
    order = graph.node("TopK", "x", graph.constant([3]), at=1)
    assert onnx.numpy_helper.to_array(graph.initializers[0]).dtype == bool
    assert len(graph.nodes[0].output) == 2
    assert graph.nodes[0].output[1] == order


def test_a_mask_stays_with_a_tensor_whatever_its_order_of_axes():
    graph = Graph()
    x = graph.set_mask(graph.node("Relu", "x"), "mask")
    first = graph.channels_first(x, 3)
    assert graph.mask_of(x) == graph.mask_of(first) == graph.mask_of(graph.channels_last(first)) == "mask"
    assert graph.mask_of(graph.node("Relu", x)) is None  # a layer hands it on
    assert graph.mask_of(graph.set_mask("other", None)) is None


def test_whole_numbers_stay_so_until_a_layer_computes_with_them():
    graph = Graph()
    ids = graph.take_whole("x")
    flat = graph.node("Reshape", ids, graph.constant([0, 6]))
    assert graph.is_whole(flat)
    floats = graph.as_floats(flat)
    assert not graph.is_whole(floats)
    assert graph.as_floats(floats) == floats
    assert not graph.is_whole(graph.node("Gather", graph.constant([[1.0]]), flat))


def test_images_are_transposed_once_where_their_layers_follow_each_other(tmp_path):
    chain = [Conv2D(2, 3), ReLU(), MaxPool2D(2), Residual([Conv2D(2, 3, padding="same"), ReLU()]), Conv2D(3, 1)]
    found = operators(Sequential(chain, input_shape=(8, 8, 1), seed=0), tmp_path / "model.onnx")
    assert found.count("Transpose") == 2
    assert found[0] == "Transpose"


def test_a_layer_between_convolutions_that_needs_the_channels_last_gets_them_so(tmp_path):
    model = Sequential([Conv2D(2, 3), Dense(3), Conv2D(3, 1)], input_shape=(8, 8, 1), seed=0)
    assert operators(model, tmp_path / "model.onnx").count("Transpose") == 4


def test_nodes_are_named_after_the_path_of_their_layer(tmp_path):
    export(Sequential([Residual([Dense(2)])], input_shape=2, seed=0), tmp_path / "model.onnx")
    names = [node.name for node in onnx.load(tmp_path / "model.onnx").graph.node]
    assert names[0].startswith("residual_1/layers/dense_1/Gemm")


def test_without_the_library_an_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx.checker", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'minidl\[onnx\]'"):
        Graph()
