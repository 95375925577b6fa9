"""Merge ONNX's recurrent operators with the transpositions around them into nodes for batches of sequences.

ONNX's RNN, GRU and LSTM have their steps on the first axis, and an extra axis for directions. So files transpose their
input and output. `merge` turns all this into one node, whose input and output have the batch on the first axis.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from minidl.onnx.pieces import OPERATORS, Chain, Node, Piece, Value, constant_at
from minidl.onnx.sequences import GATES
from minidl.onnx.tensors import array_of
from minidl.typing import Array

MERGED = "recurrent layer"
"""The operator of the nodes that `merge` makes."""

_KINDS = {operator: (kind.__name__, order) for kind, (operator, order) in GATES.items()}
_ZEROS = {"Expand", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}
"""Operators that turn zeros into zeros, whatever their other inputs are."""


def merge(nodes: Sequence[Node], constants: dict[str, Array]) -> None:
    """Turn the last of the nodes around a recurrent operator into one node from and to batches of sequences.

    Nodes in another form do not change, so no layer fits them.
    """
    graph = _Graph(nodes, constants)
    for node in nodes:
        if node.operator in _KINDS and graph.starts_at_zero(node) and (x := graph.batch(node.inputs[0])):
            for last, way, sequences in [*graph.ends(node)]:
                made = {"kind": node.operator, "way": way, "sequences": sequences, "length": graph.length_of(last)}
                last.attributes = node.attributes | made
                last.operator, last.inputs = MERGED, [x, *node.inputs[1:4]]


class _Graph:
    """The maker and the users of each tensor."""

    def __init__(self, nodes: Sequence[Node], constants: dict[str, Array]) -> None:
        self.makers = {name: node for node in nodes for name in node.outputs if name}
        self.consumers: dict[str, list[Node]] = {}
        for node in nodes:
            for name in dict.fromkeys(node.inputs):
                self.consumers.setdefault(name, []).append(node)
        self.constants = constants
        self.batches: set[str] = set()  # tensors that are now batches of sequences; before, the steps were first

    def batch(self, name: str) -> str | None:
        """Return the batch of sequences for a tensor with the steps on its first axis."""
        while (maker := self.makers.get(name)) and maker.passes_on:
            name = maker.inputs[0]
        if name in self.batches or (maker and maker.operator == MERGED):
            return name
        if maker is None or maker.operator != "Transpose":
            return None
        if _axes(maker, "perm") == [1, 0, 2]:
            return maker.inputs[0]
        if _axes(maker, "perm") != [2, 0, 1] or any(each.operator not in _KINDS for each in self._followers(maker)):
            return None
        maker.attributes = maker.attributes | {"perm": [0, 2, 1]}  # of (N, F, T)
        self.batches.add(name)
        return name

    def length_of(self, node: Node) -> int:
        """Return the number of steps in a Reshape, or 0 if it does not give one."""
        given = self._given(node) if node.operator == "Reshape" else None
        return given[0] if given else 0

    def starts_at_zero(self, node: Node) -> bool:
        """Whether a recurrent operator has no lengths, no peepholes, and only zeros as initial states."""
        others = [*node.inputs[4:], *[""] * 4][:4]
        return not others[0] and not others[3] and all(not name or self._is_zero(name) for name in others[1:3])

    def _is_zero(self, name: str) -> bool:
        for _ in range(len(self.makers) + 1):
            if name in self.constants:
                return not self.constants[name].any()
            maker = self.makers.get(name)
            if maker is None:
                return False
            if maker.operator == "ConstantOfShape":
                return "value" not in maker.attributes or not array_of(maker.attributes["value"]).any()
            if maker.operator not in _ZEROS:
                return False
            name = maker.inputs[0]
        return False

    def ends(self, node: Node) -> Iterator[tuple[Node, str, bool]]:
        """Yield each output of an operator as batches: the node, a direction, and whether it has all steps."""
        way = node.attributes.get("direction", b"forward").decode()
        for of_steps in self._followers(node):
            if way != "bidirectional" and self._is(of_steps, "Squeeze", [1]):
                yield from self._of_batches(of_steps, way)
            elif _axes(of_steps, "perm") == [0, 2, 1, 3]:  # the directions beside the units
                for joined in self._followers(of_steps):
                    if joined.operator == "Reshape" and self._joins_directions(joined, of_steps, way):
                        yield from self._of_batches(joined, way)
        for last in self._followers(node, 1):
            if way != "bidirectional" and self._is(last, "Squeeze", [0]):
                yield last, way, False
            elif last.operator == "Concat" and last.inputs[-1] == node.outputs[1]:  # after those of layers before
                yield from self._states(self._followers(last), way, are_last=True)
            else:
                yield from self._states([last], way)

    def _states(self, nodes: list[Node], way: str, are_last: bool = False) -> Iterator[tuple[Node, str, bool]]:
        """Yield the nodes that take the last state of a direction by its position, counted from the end."""
        ways = ["forward", "reverse"] if way == "bidirectional" else [way]
        for node in nodes:
            place = self.constants.get(node.inputs[1]) if node.operator == "Gather" else None
            if place is None or place.ndim or node.attributes.get("axis", 0):
                continue
            if -len(ways) <= place < (0 if are_last else len(ways)):
                yield node, ways[int(place)], False

    def _of_batches(self, node: Node, way: str) -> Iterator[tuple[Node, str, bool]]:
        """Yield a node whose steps are on the first axis, if all following nodes swap the axes or begin to do so."""
        followers = self._followers(node)
        swaps = [each for each in followers if each.operator == "Transpose"]
        known = all(_axes(swap, "perm") in ([1, 0, 2], [1, 2, 0]) for swap in swaps)
        if followers and known and all(each in swaps or each.operator in _KINDS for each in followers):
            for swap in swaps:
                if _axes(swap, "perm") == [1, 0, 2]:
                    swap.operator = "Identity"
                swap.attributes = swap.attributes | {"perm": [0, 2, 1]}
            yield node, way, True

    def _joins_directions(self, node: Node, before: Node, way: str) -> bool:
        """Whether a Reshape turns an earlier node's (T, N, directions, H) into (T, N, directions x H)."""
        if (given := self._given(node)) is not None:
            return len(given) == 3 and (given == [0, 0, -1] or (given[0] > 0 and given[1] == -1))
        shape = self.makers.get(node.inputs[1])
        if shape is None or shape.operator != "Concat" or len(shape.inputs) != 3:
            return False
        return all(self._is_size(name, before.outputs[0], axis) for axis, name in enumerate(shape.inputs[:2]))

    def _is_size(self, name: str, tensor: str, axis: int) -> bool:
        """Whether a tensor is the size of an axis of another one."""
        piece = self.makers.get(name)
        shape = self.makers.get(piece.inputs[0]) if piece and piece.operator == "Slice" else None
        if piece is None or shape is None or shape.operator != "Shape" or shape.inputs != [tensor]:
            return False
        limits = [self.constants.get(each) for each in piece.inputs[1:3]]
        return all(limit is not None and limit.tolist() == [axis + end] for end, limit in enumerate(limits))

    def _followers(self, node: Node, output: int = 0) -> list[Node]:
        """Return the nodes that take an output of a node."""
        name = node.outputs[output] if output < len(node.outputs) else ""
        found = self.consumers.get(name, []) if name else []
        return [each for other in found for each in (self._followers(other) if other.passes_on else [other])]

    def _is(self, node: Node, operator: str, axes: list[int]) -> bool:
        return node.operator == operator and (self._given(node) or _axes(node, "axes")) == axes

    def _given(self, node: Node) -> list[int] | None:
        """Return the second input of a node if it is a constant."""
        constant = self.constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
        return None if constant is None else [int(each) for each in constant.reshape(-1)]


def _axes(node: Node, name: str) -> list[int]:
    return [*node.attributes.get(name, [])]


def recurrent(node: Node, chain: Chain, constants: list[Array | None]) -> None:
    """Append the layer of a node from `merge`; the steps of a backward layer are put in order."""
    value, given = chain.value, node.attributes
    if value.axes != (0, 1, 2) or value.flat is not None or value.rows:
        raise node.misfit("takes sequences (N, T, F), but its input has another form", order=True)
    length, features = value.shape
    if given["length"] not in {0, length}:
        raise node.misfit(f"gives {given['length']} steps, not {length}")
    weight, inner = constant_at(node, constants, 1), constant_at(node, constants, 2)
    count = len(_KINDS[given["kind"]][1])
    if (
        inner.ndim != 3
        or 0 in inner.shape
        or (inner.shape[1], weight.shape)
        != (
            count * inner.shape[2],
            (inner.shape[0], count * inner.shape[2], features),
        )
    ):
        raise node.misfit(f"has weights {weight.shape} and {inner.shape} for {features} features")
    units, ways = inner.shape[2], 2 if given.get("direction") == b"bidirectional" else 1
    bias = np.zeros((ways, 2 * count * units), np.float32) if len(constants) < 4 else constant_at(node, constants, 3)
    if len(weight) != ways or bias.shape != (ways, 2 * count * units):
        raise node.misfit(f"has weights of {len(weight)} directions, and biases {bias.shape}")
    pieces = [_piece(node, place, *(each[place] for each in (weight, inner, bias))) for place in range(ways)]
    backwards = given["way"] == "reverse"
    if given["way"] == "bidirectional":
        chain.add(node, "Bidirectional", {"layers": pieces, "merge": "concatenate"})
    else:
        chain.pieces.append(pieces[backwards if ways == 2 else 0])
    if given["sequences"]:
        width = units * (2 if given["way"] == "bidirectional" else 1)
        chain.value = Value((length, width), (0, 1, 2))
        if backwards:
            chain.add(node, "Reversed")
    else:
        chain.value = Value((units,), (0, 1))


OPERATORS[MERGED] = recurrent


def _piece(node: Node, place: int, weight: Array, inner: Array, bias: Array) -> Piece:
    """Return the layer of one direction."""
    given = node.attributes
    kind, order = _KINDS[given["kind"]]
    units, count = inner.shape[1], len(order)
    usual = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}[given["kind"]]
    names = [each.decode() for each in given.get("activations", [])] or usual * (place + 1)
    functions = names[place * len(usual) : (place + 1) * len(usual)]
    if given.get("clip") or given.get("input_forget") or given.get("layout"):
        raise node.misfit("has a clip, an input_forget or a layout, which minidl's layers do not have")
    if functions != usual and not (kind == "SimpleRNN" and functions == ["Relu"]):
        raise node.misfit(f"has the activations {functions!s:.80}")

    def gates(array: Array) -> Array:
        parts = np.split(array, count, axis=0)
        return np.concatenate([parts[order.index(gate)] for gate in range(count)]).T

    outer, recurrent = (gates(each) for each in np.split(bias, 2))
    arrays = {"weight": gates(weight), "recurrent_weight": gates(inner), "bias": outer + recurrent}
    settings: dict[str, Any] = {"units": units, "return_sequences": given["sequences"]}
    settings["go_backwards"] = given["way"] == "reverse" or (given["way"] == "bidirectional" and place == 1)
    if kind == "SimpleRNN":
        settings["activation"] = functions[0].lower()
    if kind == "GRU":
        if not given.get("linear_before_reset"):
            raise node.misfit(
                "resets the state before its product with the weights; minidl's GRU does it after the product"
            )
        arrays["recurrent_bias"] = recurrent[2 * units :]
        arrays["bias"] = np.concatenate([arrays["bias"][: 2 * units], outer[2 * units :]])
    return Piece(kind, settings, arrays, node)


def both_ways(pieces: Sequence[Sequence[Piece]]) -> list[Piece] | None:
    """Return the layers of two branches that form a Bidirectional: one forward, the other equal but backward."""
    if len(pieces) != 2 or not all(pieces) or pieces[0][0].kind not in {kind for kind, _ in _KINDS.values()}:
        return None
    (ahead, *rest), (back, *others) = pieces
    settings = ahead.settings | {"go_backwards": True}
    reverses = ["Reversed"] * ahead.settings["return_sequences"]
    alike = (back.kind, back.settings) == (ahead.kind, settings) and not ahead.settings["go_backwards"]
    return [ahead, back] if alike and not rest and [each.kind for each in others] == reverses else None
