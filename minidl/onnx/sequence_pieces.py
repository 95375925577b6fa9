"""The pieces that ONNX's operators add to a chain of layers if samples are sequences, (T, F), or ids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from minidl.layers.windows import Sides, Window, slide
from minidl.onnx.pieces import (
    OPERATORS,
    Chain,
    Node,
    Operator,
    Value,
    add_bias,
    constant_at,
    vector_at,
)
from minidl.sequences import PositionalEncoding
from minidl.typing import Array

FEATURES_FIRST = (0, 2, 1)
"""The positions of the axes of (N, F, T), as ONNX's operators with windows take it, in (N, T, F)."""


def _of_sequences(*names: str) -> Callable[[Operator], Operator]:
    """Register a function for these operators, for samples with two axes."""

    def keep(operator: Operator) -> Operator:
        for name in names:
            other = OPERATORS[name]

            def choose(node: Node, chain: Chain, constants: list[Array | None], other: Operator = other) -> None:
                is_sequence = len(chain.value.axes) == 3 and not chain.value.rows
                (operator if is_sequence else other)(node, chain, constants)

            OPERATORS[name] = choose
        return operator

    return keep


@_of_sequences("Conv")
def _convolution(node: Node, chain: Chain, constants: list[Array | None]) -> None:
    length, features = _sequence(node, chain)
    kernel, groups = constant_at(node, constants, 1), node.attributes.get("group", 1)
    if kernel.ndim != 3 or 0 in kernel.shape:
        raise node.misfit(f"has kernels {kernel.shape}, which are not for sequences")
    filters, seen, size = kernel.shape
    if _one(node, "kernel_shape", size) != size or groups < 1 or seen * groups != features or filters % groups:
        raise node.misfit(f"has kernels {kernel.shape} in {groups} groups for {features} features")
    strides, dilation, padding = _one(node, "strides"), _one(node, "dilations"), _padding(node)
    window = _slide(length, size, strides, padding, dilation)
    settings = {"strides": strides, "padding": padding, "dilation": dilation, "groups": groups, "use_bias": False}
    chain.value = replace(chain.value, shape=(window.places[1], filters))
    weight = kernel.transpose(2, 1, 0)
    chain.add(node, "Conv1D", settings | {"filters": filters, "kernel_size": size}, weight=weight)
    if len(constants) > 2:
        add_bias(node, chain, vector_at(node, constants, 2, filters).reshape(-1, 1))


@_of_sequences("MaxPool", "AveragePool")
def _pooling(node: Node, chain: Chain, constants: list[Array | None]) -> None:
    length, features = _sequence(node, chain)
    size, strides, padding = _one(node, "kernel_shape"), _one(node, "strides"), _padding(node)
    given = node.attributes
    if _one(node, "dilations") != 1 or len([name for name in node.outputs if name]) > 1:
        raise node.misfit("has dilations, or gives indices, which minidl's pooling does not")
    window = _slide(length, size, strides, padding)
    before, after = window.margins[1]
    if node.operator == "AveragePool" and given.get("count_include_pad", 0) and (before or after):
        raise node.misfit("counts its padding, which minidl's pooling of sequences does not")
    if given.get("ceil_mode", 0) and (window.padded[1] - size) % strides:
        raise node.misfit("has ceil_mode, which minidl's pooling does not")
    if max(before, after) >= size:
        raise node.misfit("has windows outside the sequence")
    chain.value = replace(chain.value, shape=(window.places[1], features))
    chain.add(node, f"{node.operator}1D", {"pool_size": size, "strides": strides, "padding": padding})


@_of_sequences("GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax")
def _global_pooling(node: Node, chain: Chain, constants: list[Array | None]) -> None:
    value, is_global = chain.value, node.operator.startswith("Global")
    given = constants[1] if len(constants) > 1 else None
    axes = node.attributes.get("axes") if given is None else given.reshape(-1).tolist()
    if is_global:
        _sequence(node, chain)
    elif axes is None or [value.axes[axis % 3] for axis in axes] != [1]:
        raise node.misfit("is not over the axis of positions")
    elif node.attributes.get("keepdims", 1) == 1 and value.axes != FEATURES_FIRST:
        raise node.misfit("keeps an axis of one position")
    kind = "GlobalMaxPool1D" if node.operator.endswith(("MaxPool", "Max")) else "GlobalAveragePool1D"
    chain.add(node, kind)
    chain.value = Value((value.shape[1],), (0, 1))
    if is_global or node.attributes.get("keepdims", 1) == 1:
        chain.insert(node, 2)


_add_number_or_bias = OPERATORS["Add"]


@_of_sequences("Add")
def _add(node: Node, chain: Chain, constants: list[Array | None]) -> None:
    """Add an array of all positions and features, as a layer for positions does."""
    value = chain.value
    array = next((each for each in constants if each is not None), np.zeros(0))
    sizes = [*value.sizes[1:]]
    table = array.reshape(array.shape[1:]) if array.ndim == 3 and array.shape[0] == 1 else array
    if [*table.shape] != sizes or value.shape[0] == 1 or value.flat is not None:
        _add_number_or_bias(node, chain, constants)
        return
    weight = table if value.axes == (0, 1, 2) else table.T
    encoding = PositionalEncoding()
    encoding.set_up(value.shape)
    if np.allclose(weight, encoding.forward(np.zeros((1, *value.shape), np.float32))[0], rtol=0, atol=1e-6):
        chain.add(node, "PositionalEncoding")
    else:
        chain.add(node, "PositionEmbedding", weight=weight)


@_of_sequences("Slice")
def _slice(node: Node, chain: Chain, constants: list[Array | None]) -> None:
    """Reverse the steps of a backward layer."""
    limits = [each.reshape(-1).tolist() for each in constants[1:] if each is not None]
    is_reversed = len(limits) == 4 and limits[0] == limits[3] == [-1] and limits[1][0] <= -chain.value.shape[0] - 1
    if not is_reversed or limits[2] not in ([1], [-2]) or not chain.last("Reversed"):
        raise node.misfit("slices other than to reverse the steps of a backward layer")
    chain.pieces.pop()


def _gather(node: Node, chain: Chain, constants: list[Array | None]) -> None:
    """Take the rows of a matrix by ids, or the last step of a recurrent layer."""
    value, weight = chain.value, constants[0]
    if weight is None and (piece := chain.last("SimpleRNN", "GRU", "LSTM")) and piece.settings["return_sequences"]:
        place, axis = constant_at(node, constants, 1), node.attributes.get("axis", 0) % 3
        if place.ndim or axis != 1 or int(place) not in {-1, value.shape[0] - 1}:
            raise node.misfit("takes another step than the last one")
        piece.settings["return_sequences"] = False
        chain.value = Value(value.shape[1:], (0, 1))
        return
    if weight is None or weight.ndim != 2 or 0 in weight.shape or node.attributes.get("axis", 0) != 0 or chain.pieces:
        raise node.misfit("takes rows by numbers other than the input's ids")
    if value.axes != (*range(len(value.axes)),):
        raise node.misfit("takes ids in another order of axes", order=True)
    size, units = weight.shape
    chain.value = Value((*value.shape, units), (*range(len(value.axes) + 1),))
    chain.add(node, "Embedding", {"vocabulary_size": size, "units": units}, weight=weight)


OPERATORS["Gather"] = _gather


def _sequence(node: Node, chain: Chain) -> tuple[int, int]:
    """Return positions and features of samples; raise MisfitError unless the features are first."""
    if chain.value.axes != FEATURES_FIRST:
        raise node.misfit("takes sequences (N, features, positions), but its input has another form", order=True)
    return chain.value.shape[0], chain.value.shape[1]


def _one(node: Node, name: str, default: int = 1) -> int:
    """Return an attribute with one whole number above 0."""
    values = node.attributes.get(name) or [default]
    if len(values) != 1 or values[0] < 1:
        raise node.misfit(f"has {name} {values!s:.60}, which do not fit sequences")
    return int(values[0])


def _padding(node: Node) -> str | Sides:
    """Return the padding of a window in minidl's form."""
    auto = node.attributes.get("auto_pad", b"NOTSET")
    if auto in {b"VALID", b"SAME_UPPER"}:
        return "valid" if auto == b"VALID" else "same"
    pads = node.attributes.get("pads") or [0, 0]
    if auto != b"NOTSET" or len(pads) != 2 or min(pads) < 0:
        raise node.misfit(f"has pads {pads!s:.60} and auto_pad {auto!r:.30}, which minidl does not have")
    return pads[0], pads[1]


def _slide(length: int, size: int, strides: int, padding: str | Sides, dilation: int = 1) -> Window:
    margins = padding if isinstance(padding, str) else ((0, 0), padding)
    return slide((1, length, 1), (1, size), (1, strides), margins, (1, dilation))
