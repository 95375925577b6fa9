"""Sequence layers in ONNX's operators, with and without a mask that says which positions count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.layers import Layer
from minidl.onnx.graph import Graph
from minidl.sequences import (
    GRU,
    LSTM,
    AveragePool1D,
    Bidirectional,
    Conv1D,
    Embedding,
    GlobalAveragePool1D,
    GlobalMaxPool1D,
    Masking,
    MaxPool1D,
    MultiHeadAttention,
    PositionalEncoding,
    PositionEmbedding,
    SimpleRNN,
    TiedEmbedding,
)
from minidl.sequences.positions import angles
from minidl.typing import Array

TRANSLATIONS: dict[type[Layer], Callable[..., str]] = {}
"""For each layer class in this module, the function that adds its nodes; see `Graph`."""

_FLOAT, _INT64, _BOOL = 1, 7, 9
"""ONNX's numbers of these types."""

_LEAST = float(np.finfo(np.float32).min)
"""Used instead of minus infinity, which becomes NaN in a softmax."""


def _translates(*kinds: type[Layer]) -> Callable[[Callable[..., str]], Callable[..., str]]:
    def keep(translation: Callable[..., str]) -> Callable[..., str]:
        TRANSLATIONS.update(dict.fromkeys(kinds, translation))
        return translation

    return keep


# Ids and positions


@_translates(Embedding)
def _embedding(layer: Embedding, graph: Graph, x: str) -> str:
    return _vectors(layer, graph, x, graph.constant(layer.weight.value))


def _vectors(layer: Embedding, graph: Graph, x: str, weight: str) -> str:
    """Return the vectors of ids; if one id is padding, they get a mask."""
    before = graph.mask_of(x)
    ids = x if graph.is_whole(x) else graph.node("Cast", x, to=_INT64)
    y, mask = graph.node("Gather", weight, ids, axis=0), before
    if layer.padding_id is not None:
        mask = graph.node("Not", graph.node("Equal", ids, graph.constant(layer.padding_id)))
        mask = graph.node("And", mask, before) if before else mask
    return graph.set_mask(y, mask)


@_translates(Masking)
def _masking(layer: Masking, graph: Graph, x: str) -> str:
    x, before = graph.channels_last(x), graph.mask_of(x)
    padding = graph.node("Equal", x, graph.constant(layer.padding_value))
    whole = graph.node("ReduceMin", graph.node("Cast", padding, to=_FLOAT), axes=[2], keepdims=0)
    mask = graph.node("Less", whole, graph.constant(0.5))
    return graph.set_mask(x, graph.node("And", mask, before) if before else mask)


@_translates(TiedEmbedding)
def _tied_embedding(layer: TiedEmbedding, graph: Graph, x: str) -> str:
    weight = graph.constant(layer.embedding.weight.value)
    h = graph.add_layer(layer.layers, _vectors(layer.embedding, graph, x, weight))
    mask, h = graph.mask_of(h), graph.channels_last(h)
    y = graph.node("MatMul", h, graph.node("Transpose", weight, perm=[1, 0]))
    if layer.bias is not None:
        y = graph.node("Add", y, graph.constant(layer.bias.value))
    return graph.set_mask(y, mask)


@_translates(PositionalEncoding, PositionEmbedding)
def _positions(layer: Layer, graph: Graph, x: str) -> str:
    zeros = np.zeros((1, *(layer.input_shape or ())), layer.dtype)
    return graph.node("Add", graph.channels_last(x), graph.constant(layer.forward(zeros)[0]))


# Windows along time


def _window(layer: Conv1D | MaxPool1D | AveragePool1D) -> dict[str, Any]:
    """Return the operator attributes for the window of a layer."""
    window = layer.window
    return {"kernel_shape": [window.size[1]], "strides": [window.strides[1]], "pads": [*window.margins[1]]}


def _of_features(graph: Graph, mask: str, x: str, to: int = _BOOL) -> str:
    """Return a mask (N, T) with an extra axis, for all features of a tensor (N, T, F) or (N, F, T)."""
    axis = 1 if graph.has_channels_first(x) else 2
    spread = graph.node("Unsqueeze", mask, graph.constant([axis]))
    return spread if to == _BOOL else graph.node("Cast", spread, to=to)


def hidden(graph: Graph, x: str, mask: str, value: float = 0.0) -> str:
    """Return a tensor with a fixed value at the positions that a mask excludes."""
    return graph.node("Where", _of_features(graph, mask, x), x, graph.constant(value))


def _mask_of_windows(layer: Conv1D | MaxPool1D | AveragePool1D, graph: Graph, mask: str) -> str:
    """Return the windows that count: all their needed positions count."""
    positions = layer.needed_positions()
    needed = graph.node("Gather", graph.node("Cast", mask, to=_FLOAT), graph.constant(positions), axis=1)
    return graph.node("Cast", graph.node("ReduceMin", needed, axes=[2], keepdims=0), to=_BOOL)


@_translates(Conv1D)
def _convolution(layer: Conv1D, graph: Graph, x: str) -> str:
    mask, x = graph.mask_of(x), graph.channels_first(x, 3)
    layer.check_mask(None if mask is None else np.ones((0, 0), bool))
    arrays = [graph.constant(layer.weight.value.transpose(2, 1, 0))]
    arrays += [] if layer.bias is None else [graph.constant(layer.bias.value)]
    attributes = _window(layer) | {"dilations": [layer.dilation], "group": layer.groups}
    y = graph.node("Conv", hidden(graph, x, mask) if mask else x, *arrays, **attributes)
    return graph.set_mask(y, _mask_of_windows(layer, graph, mask)) if mask else y


@_translates(MaxPool1D)
def _max_pool(layer: MaxPool1D, graph: Graph, x: str) -> str:
    mask, x = graph.mask_of(x), graph.channels_first(x, 3)
    if mask is None:
        return graph.node("MaxPool", x, **_window(layer))
    layer.check_mask(np.ones((0, 0), bool))
    y = graph.node("MaxPool", hidden(graph, x, mask, _LEAST), **_window(layer))
    counts = graph.node("MaxPool", _of_features(graph, mask, x, to=_FLOAT), **_window(layer))
    y = graph.node("Where", graph.node("Cast", counts, to=_BOOL), y, graph.constant(0.0))
    return graph.set_mask(y, _mask_of_windows(layer, graph, mask))


@_translates(AveragePool1D)
def _average_pool(layer: AveragePool1D, graph: Graph, x: str) -> str:
    mask, x = graph.mask_of(x), graph.channels_first(x, 3)
    settings = _window(layer) | {"count_include_pad": 0}
    if mask is None:
        return graph.node("AveragePool", x, **settings)
    layer.check_mask(np.ones((0, 0), bool))
    y = graph.node("AveragePool", hidden(graph, x, mask), **settings)
    shares = graph.node("AveragePool", _of_features(graph, mask, x, to=_FLOAT), **settings)
    # If no position of a window counts, its sum is 0 and its share is above 0.
    y = graph.node("Div", y, graph.node("Max", shares, graph.constant(0.5 / layer.pool_size)))
    return graph.set_mask(y, _mask_of_windows(layer, graph, mask))


@_translates(GlobalAveragePool1D)
def _global_average_pool(layer: GlobalAveragePool1D, graph: Graph, x: str) -> str:
    mask, x = graph.mask_of(x), graph.channels_last(x)
    if mask is None:
        return graph.node("ReduceMean", x, axes=[1], keepdims=0)
    total = graph.node("ReduceSum", hidden(graph, x, mask), graph.constant([1]), keepdims=0)
    count = graph.node("ReduceSum", _of_features(graph, mask, x, to=_FLOAT), graph.constant([1]), keepdims=0)
    return graph.node("Div", total, graph.node("Max", count, graph.constant(1.0)))


@_translates(GlobalMaxPool1D)
def _global_max_pool(layer: GlobalMaxPool1D, graph: Graph, x: str) -> str:
    mask, x = graph.mask_of(x), graph.channels_last(x)
    if mask is None:
        return graph.node("ReduceMax", x, axes=[1], keepdims=0)
    y = graph.node("ReduceMax", hidden(graph, x, mask, _LEAST), axes=[1], keepdims=0)
    counts = graph.node("ReduceMax", _of_features(graph, mask, x, to=_FLOAT), axes=[1], keepdims=0)
    return graph.node("Where", graph.node("Cast", counts, to=_BOOL), y, graph.constant(0.0))


# Attention


@_translates(MultiHeadAttention)
def _attention(layer: MultiHeadAttention, graph: Graph, x: str) -> str:
    mask, x = graph.mask_of(x), graph.channels_last(x)
    positions, features = layer.input_shape or (0, 0)
    size = features // layer.heads
    biases = [] if layer.bias is None else np.split(layer.bias.value, 3)

    def projected(part: int, axes: list[int]) -> str:
        y = graph.node("MatMul", x, graph.constant(np.split(layer.weight.value, 3, axis=1)[part]))
        y = graph.node("Add", y, graph.constant(biases[part])) if len(biases) else y
        by_head = graph.node("Reshape", y, graph.constant([0, positions, layer.heads, size]))
        return graph.node("Transpose", by_head, perm=axes)

    queries, keys, values = (projected(part, [0, 2, 1, 3]) for part in range(3))
    if layer.rotary:
        queries, keys = (_turned(graph, each, positions, size) for each in (queries, keys))
    queries = graph.node("Mul", queries, graph.constant(size**-0.5))
    scores = graph.node("MatMul", queries, graph.node("Transpose", keys, perm=[0, 1, 3, 2]))
    allowed = graph.constant(np.tri(positions, dtype=bool)) if layer.causal else None
    if mask:
        are_keys = graph.node("Unsqueeze", mask, graph.constant([1, 2]))
        allowed = graph.node("And", are_keys, allowed) if allowed else are_keys
    if allowed:
        scores = graph.node("Where", allowed, scores, graph.constant(_LEAST))
    weights = graph.node("Softmax", scores, axis=-1)
    if mask and allowed:  # a position without a key gets zeros
        weights = graph.node("Where", allowed, weights, graph.constant(0.0))
    heads = graph.node("Transpose", graph.node("MatMul", weights, values), perm=[0, 2, 1, 3])
    joined = graph.node("Reshape", heads, graph.constant([0, positions, features]))
    y = graph.node("MatMul", joined, graph.constant(layer.output_weight.value))
    return graph.node("Add", y, graph.constant(layer.output_bias.value)) if layer.output_bias is not None else y


def _turned(graph: Graph, x: str, positions: int, size: int) -> str:
    """Return queries or keys (N, H, T, D) with pairs of features rotated by the angles of their position."""
    cosines, sines = turns(positions, size)
    halves = [_cut(graph, x, start, start + size // 2, axis=3) for start in (size // 2, 0)]
    swapped = graph.node("Mul", graph.node("Concat", *halves, axis=3), graph.constant(sines))
    return graph.node("Add", graph.node("Mul", x, graph.constant(cosines)), swapped)


def turns(positions: int, size: int) -> Array:
    """Return two tables (T, D): the factors of the features, and of the features with their halves swapped."""
    turned = angles(0, positions, size)
    return np.stack([np.hstack([np.cos(turned)] * 2), np.hstack([-np.sin(turned), np.sin(turned)])])


def _cut(graph: Graph, x: str, start: int, stop: int, axis: int, step: int = 1) -> str:
    return graph.node("Slice", x, *(graph.constant([each]) for each in (start, stop, axis, step)))


# Recurrent layers

GATES: dict[type[Layer], tuple[str, list[int]]] = {
    SimpleRNN: ("RNN", [0]),
    GRU: ("GRU", [1, 0, 2]),
    LSTM: ("LSTM", [0, 3, 1, 2]),
}
"""For each layer, the operator and its order of the gates: z r n for the GRU's r z n, i o f g for i f g o."""


@_translates(*GATES)
def _recurrent(layer: Any, graph: Graph, x: str) -> str:
    y, mask = _states(layer, graph, x)
    if not layer.return_sequences or not layer.go_backwards:
        return graph.set_mask(y, mask) if layer.return_sequences else y
    return graph.set_mask(_reversed(graph, y), _reversed(graph, mask) if mask else None)


@_translates(Bidirectional)
def _bidirectional(layer: Bidirectional, graph: Graph, x: str) -> str:
    outputs = [_states(inner, graph, x) for inner in layer.sublayers().values()]
    (y, mask), (returning, _) = outputs
    if layer.merge == "concatenate":
        y = graph.node("Concat", y, returning, axis=-1)
    else:
        y = graph.node("Add", y, returning)
        y = graph.node("Mul", y, graph.constant(0.5)) if layer.merge == "mean" else y
    return graph.set_mask(y, mask) if layer.layer.return_sequences else y


def _states(layer: Any, graph: Graph, x: str) -> tuple[str, str | None]:
    """Return the hidden states (N, T, H) in the order of the positions, or the last one (N, H); and the mask."""
    mask, x = graph.mask_of(x), graph.channels_last(x)
    if mask is None:
        return _run(layer, graph, x, backwards=layer.go_backwards, last=not layer.return_sequences), None
    positions, features = layer.input_shape
    of_steps = mask
    if layer.go_backwards:
        x, of_steps = _reversed(graph, x), _reversed(graph, mask)
    # The positions that count come first, in their order. After step t there is a state for each counting position up
    # to t; the state 0 comes before them.
    number = graph.node("Cast", of_steps, to=_FLOAT)
    places = graph.constant(np.arange(positions, 0.0, -1))
    keys = graph.node("Add", graph.node("Mul", number, graph.constant(float(positions))), places)
    order = graph.node("TopK", keys, graph.constant([positions]), axis=1, at=1)
    steps = _taken(graph, x, order, [1, 1, features])
    states = _run(layer, graph, steps, backwards=False, last=False)
    states = graph.node("Pad", states, graph.constant([0, 1, 0, 0, 0, 0]))
    if layer.return_sequences:
        counted = graph.node("CumSum", graph.node("Cast", of_steps, to=_INT64), graph.constant(1))
        y = _taken(graph, states, counted, [1, 1, layer.units])
        return _reversed(graph, y) if layer.go_backwards else y, mask
    counted = graph.node("ReduceSum", graph.node("Cast", mask, to=_INT64), graph.constant([1]))
    return graph.node("Squeeze", _taken(graph, states, counted, [1, 1, layer.units]), graph.constant([1])), None


def _taken(graph: Graph, x: str, places: str, shape: list[int]) -> str:
    """Return the entries at some positions (N, n) of a tensor (N, T, F)."""
    spread = graph.node("Unsqueeze", places, graph.constant([2]))
    return graph.node("GatherElements", x, graph.node("Expand", spread, graph.constant(shape)), axis=1)


def _reversed(graph: Graph, x: str) -> str:
    """Return a tensor (N, T, ...) with its last position first."""
    return _cut(graph, x, -1, -(2**31), axis=1, step=-1)


def _run(layer: Any, graph: Graph, x: str, *, backwards: bool, last: bool) -> str:
    """Return the operator's output: the states (N, T, H) in the order of the positions, or the last one (N, H)."""
    operator, order = GATES[next(kind for kind in GATES if isinstance(layer, kind))]
    bias = layer.bias.value
    inner = np.zeros_like(bias)
    attributes: dict[str, Any] = {"hidden_size": layer.units, "direction": "reverse" if backwards else "forward"}
    if isinstance(layer, GRU):
        inner[2 * layer.units :] = layer.recurrent_bias.value
        attributes["linear_before_reset"] = 1
    elif isinstance(layer, SimpleRNN):
        attributes["activations"] = [layer.activation.capitalize()]

    def gates(array: Array) -> Array:
        parts = np.split(array, len(order), axis=-1)
        return np.concatenate([parts[gate] for gate in order], axis=-1)

    weights = [graph.constant(gates(each.value).T[np.newaxis]) for each in (layer.weight, layer.recurrent_weight)]
    biases = graph.constant(np.concatenate([gates(bias), gates(inner)])[np.newaxis])
    steps = graph.node("Transpose", x, perm=[1, 0, 2])
    y = graph.node(operator, steps, *weights, biases, at=1 if last else 0, **attributes)
    if last:
        return graph.node("Squeeze", y, graph.constant([0]))
    return graph.node("Transpose", graph.node("Squeeze", y, graph.constant([1])), perm=[1, 0, 2])
