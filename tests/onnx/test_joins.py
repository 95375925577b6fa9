"""Branches that meet: blocks of layers, and the activations that exporters write as several nodes."""

import numpy as np
import pytest
from onnxfiles import assert_close, run
from onnxgraphs import chain, graph, node

from minidl import GELU, Concatenate, Residual, SiLU, Softplus
from minidl.errors import FileFormatError
from minidl.onnx import load

rng = np.random.default_rng(0)
W = rng.normal(size=(3, 3)).astype(np.float32)
NUMBERS = {
    name: np.float32(value)
    for name, value in {
        "half": 0.5, "one": 1, "two": 2, "three": 3, "root": np.sqrt(2), "inverse": np.sqrt(0.5), "cubic": 0.044715,
        "steep": np.sqrt(2 / np.pi), "steeper": 2 * np.sqrt(2 / np.pi), "twenty": 20,
    }.items()
}  # fmt: skip
CUBES = {"power": [node("Pow", "x three", "c")], "products": [node("Mul", "x x", "s"), node("Mul", "x s", "c")]}


def loaded(tmp_path, nodes, constants=None, shape=(3,)):
    """Load a graph, and compare what it gives with ONNX Runtime's."""
    content = graph(nodes, NUMBERS | {"w": W, "v": 2 * W} | (constants or {}), shape)
    (tmp_path / "model.onnx").write_bytes(content)
    model, x = load(tmp_path / "model.onnx"), rng.normal(size=(5, *shape)).astype(np.float32)
    assert_close(model.forward(x), run(content, x)[0])
    return model


EXACT = {
    "PyTorch's": [
        node("Div", "x root", "a"), node("Erf", "a", "b"), node("Add", "b one", "c"), node("Mul", "x c", "d"),
        node("Mul", "d half"),
    ],
    "Keras's": [
        node("Mul", "half x", "h"), node("Div", "x root", "a"), node("Erf", "a", "b"), node("Add", "one b", "c"),
        node("Mul", "h c"),
    ],
    "the probability first": [
        node("Mul", "x inverse", "a"), node("Erf", "a", "b"), node("Add", "b one", "c"), node("Mul", "c half", "d"),
        node("Mul", "d x"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("form", EXACT)
def test_forms_of_gelu_with_erf_are_gelu(tmp_path, form):
    (layer,) = loaded(tmp_path, EXACT[form]).layers
    assert isinstance(layer, GELU)
    assert not layer.approximate


@pytest.mark.parametrize("cube", CUBES)
@pytest.mark.parametrize("gate", ["Tanh", "Sigmoid"])
def test_forms_of_gelu_with_tanh_or_sigmoid_are_approximate_gelu(tmp_path, cube, gate):
    inner = [*CUBES[cube], node("Mul", "cubic c", "d"), node("Add", "x d", "e")]
    ends = {
        "Tanh": [node("Mul", "e steep", "f"), node("Tanh", "f", "g"), node("Add", "g one", "h"),
                 node("Mul", "x h", "i"), node("Mul", "half i")],
        "Sigmoid": [node("Mul", "e steeper", "f"), node("Sigmoid", "f", "g"), node("Mul", "g x")],
    }  # fmt: skip
    (layer,) = loaded(tmp_path, inner + ends[gate]).layers
    assert isinstance(layer, GELU)
    assert layer.approximate


def test_a_product_with_the_sigmoid_is_silu_and_a_guarded_softplus_softplus(tmp_path):
    (layer,) = loaded(tmp_path, [node("Sigmoid", "x", "a"), node("Mul", "a x")]).layers
    assert isinstance(layer, SiLU)
    guarded = [node("Greater", "x twenty", "a"), node("Softplus", "x", "b"), node("Where", "a x b")]
    assert isinstance(loaded(tmp_path, guarded).layers[0], Softplus)


def test_sums_are_residual_blocks_with_or_without_a_projection(tmp_path):
    plain = [node("MatMul", "x w", "a"), node("Relu", "a", "b"), node("Add", "x b")]
    (block,) = loaded(tmp_path, plain).layers
    assert isinstance(block, Residual)
    assert block.projection is None
    (block,) = loaded(tmp_path, [node("MatMul", "x w", "a"), node("MatMul", "x v", "b"), node("Add", "a b")]).layers
    assert len(block.projection.layers) == 1


def test_blocks_within_blocks_and_three_summands_are_nested(tmp_path):
    inner = [node("Relu", "x", "a"), node("MatMul", "a w", "b"), node("Tanh", "a", "c"), node("Add", "b c", "d")]
    (block,) = loaded(tmp_path, [*inner, node("Add", "d x")]).layers
    assert isinstance(block.layers.layers[1], Residual)
    summands = [node("Relu", "x", "a"), node("Tanh", "x", "b"), node("Add", "a b", "c"), node("Add", "c x")]
    (block,) = loaded(tmp_path, summands).layers
    assert isinstance(block.layers.layers[0], Residual)


def test_concatenations_keep_the_order_of_their_branches_and_may_hold_the_input(tmp_path):
    nodes = [node("Relu", "x", "a"), node("MatMul", "x w", "b"), node("Concat", "b x a", axis=-1)]
    (block,) = loaded(tmp_path, nodes).layers
    assert isinstance(block, Concatenate)
    assert block.output_shape == (9,)


def test_branches_that_each_move_the_axes_meet(tmp_path):
    kernel = rng.normal(size=(2, 2, 1, 1)).astype(np.float32)
    first, last = {"perm": [0, 3, 1, 2]}, {"perm": [0, 2, 3, 1]}
    nodes = [
        node("Transpose", "x", "a", **first), node("Conv", "a k", "b"), node("Transpose", "b", "c", **last),
        node("Transpose", "x", "d", **first), node("Relu", "d", "e"), node("Transpose", "e", "f", **last),
        node("Add", "c f"),
    ]  # fmt: skip
    loaded(tmp_path, nodes, {"k": kernel}, (4, 5, 2))


UNFIT = {
    "a product of branches": [node("Relu", "x", "a"), node("Tanh", "x", "b"), node("Mul", "a b")],
    "a square": [node("Mul", "x x")],
    "a sum with itself": [node("Add", "x x")],
    "two orders of axes": [node("Transpose", "x", "a", perm=[0, 2, 1]), node("Add", "x a")],
    "a difference": [node("Relu", "x", "a"), node("Sub", "x a")],
    "branches that are no block": [
        node("Relu", "x", "a"), node("Tanh", "a", "b"), node("Add", "x b", "c"), node("Add", "c a")
    ],
    "shapes that differ": [node("MatMul", "x n", "a"), node("Add", "a x")],
    "a scaled sigmoid": [node("Mul", "x two", "a"), node("Sigmoid", "a", "b"), node("Mul", "x b")],
}  # fmt: skip


@pytest.mark.parametrize("name", UNFIT)
def test_what_is_no_block_of_minidls_is_an_error_that_names_the_node(tmp_path, name):
    shape = (3, 3) if name == "two orders of axes" else (3,)
    content = graph(UNFIT[name], NUMBERS | {"n": W[:, :1]}, shape)
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(FileFormatError, match=r"cannot be loaded: node \d"):
        load(tmp_path / "model.onnx")


def test_a_chain_of_nodes_without_branches_needs_no_block(tmp_path):
    assert len(loaded(tmp_path, chain(("Relu", [], {}), ("Tanh", [], {}))).layers) == 2
