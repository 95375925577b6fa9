"""Find operators that exporters write as several nodes, such as a normalization, and read them as one node."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from minidl.onnx.pieces import Node
from minidl.typing import Array

Pattern = str | tuple[Any, ...]
"""How a tensor is made: an operator and the patterns of its inputs. A name means any tensor, the same one everywhere;
a name in capitals is a constant."""

Found = dict[str, Any]
"""The tensors of a pattern by name, and ``axes``, the axes of its means."""

_COMMUTATIVE = {"Add", "Mul"}


def fuse(nodes: Sequence[Node], constants: dict[str, Array]) -> None:
    """Turn the last of several nodes that together are one operator into that operator.

    The other nodes stay, because other nodes may use their outputs. Constants of the new nodes go into `constants`.
    """
    graph = _Graph(nodes, constants)
    for node in graph.makers.values():
        for patterns, make in _RULES:
            founds = (found for pattern in patterns for found in graph.match(pattern, node.outputs[0], {}))
            found = next(founds, {})
            arrays = {name: constants[tensor] for name, tensor in found.items() if name.isupper()}
            if not found or not (made := make(found, arrays)):
                continue
            node.operator, attributes, others = made
            names = [f"{node.outputs[0]} constant {place}" for place in range(len(others))]
            constants.update(zip(names, others, strict=True))
            node.inputs = [found["x"], *names]
            node.attributes = {name: node.attributes[name] for name in ("opset", "batch")} | attributes
            break


class _Graph:
    """The maker of each tensor, and the constant tensors."""

    def __init__(self, nodes: Sequence[Node], constants: dict[str, Array]) -> None:
        self.makers = {node.outputs[0]: node for node in nodes if node.outputs}
        self.constants = constants

    def match(self, pattern: Pattern, tensor: str, found: Found) -> Iterator[Found]:
        """Yield assignments of a pattern's names that make a tensor and agree with the names found before."""
        while tensor in self.makers and self.makers[tensor].passes_on:
            tensor = self.makers[tensor].inputs[0]
        if isinstance(pattern, str):
            if found.get(pattern, tensor) == tensor and (tensor in self.constants or not pattern.isupper()):
                yield found | {pattern: tensor}
            return
        operator, *parts = pattern
        node = self.makers.get(tensor)
        if node is None or node.operator != operator:
            return
        inputs = node.inputs
        if operator == "Elu" and node.attributes.get("alpha", 1) != 1:
            return
        if operator == "ReduceMean":
            axes, inputs = self._axes(node), inputs[:1]
            if not axes or found.get("axes", axes) != axes or node.attributes.get("keepdims", 1) != 1:
                return
            found = found | {"axes": axes}
        if len(inputs) == len(parts):
            for order in (inputs, inputs[::-1]) if operator in _COMMUTATIVE else (inputs,):
                yield from self._match_all(parts, order, found)

    def _match_all(self, patterns: Sequence[Pattern], tensors: Sequence[str], found: Found) -> Iterator[Found]:
        if not patterns:
            yield found
            return
        for each in self.match(patterns[0], tensors[0], found):
            yield from self._match_all(patterns[1:], tensors[1:], each)

    def _axes(self, node: Node) -> list[int] | None:
        if len(node.inputs) == 1:
            return node.attributes.get("axes")
        constant = self.constants.get(node.inputs[1])
        return None if constant is None else constant.reshape(-1).tolist()


Made = tuple[str, dict[str, Any], list[Array]] | None
"""An operator, its attributes, and its inputs after the first; None if the constants do not fit."""


def _prelu(found: Found, arrays: dict[str, Array]) -> Made:
    return "PRelu", {}, [-arrays["NEGATIVE"]]


def _elu(found: Found, arrays: dict[str, Array]) -> Made:
    if arrays["ALPHA"].size != 1 or arrays["ZERO"].any():
        return None
    return "Elu", {"alpha": arrays["ALPHA"].reshape(-1)[0]}, []


def _layer_norm(found: Found, arrays: dict[str, Array]) -> Made:
    if arrays["EPSILON"].size != 1:
        return None
    attributes = {"epsilon": arrays["EPSILON"].reshape(-1)[0], "axes": found["axes"]}
    if "SHAPE" in arrays:
        attributes["shape_of_mean"] = arrays["SHAPE"].tolist()
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    return "LayerNormalization", attributes, [arrays.get("SCALE", one), arrays.get("SHIFT", zero)]


def _layer_norms() -> Iterator[Pattern]:
    """Yield ``x gain + (shift - mean gain)``, with or without a shift, and with or without a scale in the gain."""
    mean = "ReduceMean", "x"
    for mean_again in (mean, ("Reshape", mean, "SHAPE")):
        centered = "Sub", "x", mean_again
        normalizer = "Reciprocal", ("Sqrt", ("Add", ("ReduceMean", ("Mul", centered, centered)), "EPSILON"))
        for gain in (("Mul", normalizer, "SCALE"), normalizer):
            offset = "Mul", ("Neg", mean), gain
            for shifted in (("Add", offset, "SHIFT"), offset):
                yield "Add", ("Mul", "x", gain), shifted


_POSITIVE, _ELU = ("Greater", "x", "ZERO"), ("Elu", "x")
_RULES: list[tuple[list[Pattern], Callable[[Found, dict[str, Array]], Made]]] = [
    ([("Add", ("Relu", "x"), ("Mul", ("Relu", ("Neg", "x")), "NEGATIVE"))], _prelu),
    (
        [
            ("Add", ("Mul", _POSITIVE, _ELU), ("Mul", ("Not", _POSITIVE), ("Mul", _ELU, "ALPHA"))),
            ("Where", _POSITIVE, _ELU, ("Mul", _ELU, "ALPHA")),
        ],
        _elu,
    ),
    ([*_layer_norms()], _layer_norm),
]
