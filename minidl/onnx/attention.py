"""Find the nodes that `export` writes for multi-head attention, for which ONNX has no operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.onnx.pieces import OPERATORS, Chain, Node
from minidl.onnx.sequences import turns
from minidl.typing import Array

ATTENTION = "attention"
"""The operator of the nodes that `find_attention` makes."""


class _Other(Exception):  # noqa: N818 - not an error: only `find_attention` sees it
    """The nodes are not an attention layer in minidl's form."""


def find_attention(nodes: Sequence[Node], constants: dict[str, Array]) -> None:
    """Turn the last node of each attention layer into one node from and to batches of sequences."""
    graph = _Graph(nodes, constants)
    for node in nodes:
        if node.operator == "Softmax" and node.attributes.get("axis", -1) in {-1, 3}:
            try:
                last, x, found = graph.attention(node)
            except (_Other, LookupError, ValueError):
                continue
            last.attributes = {name: node.attributes[name] for name in ("opset", "batch")} | found
            last.operator, last.inputs = ATTENTION, [x]


class _Graph:
    """The maker and the users of each tensor, and the constants."""

    def __init__(self, nodes: Sequence[Node], constants: dict[str, Array]) -> None:
        self.makers = {name: node for node in nodes for name in node.outputs if name}
        self.consumers: dict[str, list[Node]] = {}
        for node in nodes:
            for name in node.inputs:
                self.consumers.setdefault(name, []).append(node)
        self.constants = constants

    def attention(self, softmax: Node) -> tuple[Node, str, dict[str, Any]]:
        """Return the last node of an attention layer, its input, and the layer's description."""
        scores, allowed = softmax.inputs[0], None
        if self.makers[scores].operator == "Where":
            choice, scores, least = self.before(scores, "Where")
            allowed = self.constants[choice]
            if self.constants[least] > -1e30:
                raise _Other
        queries, keys = self.before(scores, "MatMul")
        queries, factor = self.before(queries, "Mul")
        (keys,) = self.before(keys, "Transpose", perm=[0, 1, 3, 2])
        product = self.after(softmax, "MatMul")
        joined = self.after(self.after(product, "Transpose", perm=[0, 2, 1, 3]), "Reshape")
        last = self.after(joined, "MatMul")
        parts = [self.head(name) for name in (queries, keys, product.inputs[1])]
        xs, shapes, weights, biases, rotary = zip(*parts, strict=True)
        first, length, heads, size = shapes[0]
        fits = {*xs} == {xs[0]} and {*shapes} == {shapes[0]} and rotary in {(False,) * 3, (True, True, False)}
        fits &= first == 0 and self.constants[joined.inputs[1]].tolist() == [0, length, heads * size]
        if not fits or (allowed is not None and not np.array_equal(allowed, np.tri(length))):
            raise _Other
        output, output_bias = self.constants[last.inputs[1]], None
        followers = self.consumers.get(last.outputs[0], [])
        if len(followers) == 1 and followers[0].operator == "Add" and followers[0].inputs[1] in self.constants:
            last = followers[0]
            output_bias = self.constants[last.inputs[1]]
        # minidl divides the scores by the root of a head's size.
        scale = np.float32(self.constants[factor] * size**0.5)
        arrays = {"weight": np.hstack([weights[0] * scale, *weights[1:]]), "output_weight": output}
        if any(bias is not None for bias in (*biases, output_bias)):
            bias, width = [np.zeros(heads * size) if bias is None else bias for bias in biases], heads * size
            arrays["bias"] = np.concatenate([bias[0] * scale, *bias[1:]])
            arrays["output_bias"] = np.zeros(width) if output_bias is None else output_bias
        shape = length, heads * size
        wanted: dict[str, tuple[int, ...]] = {"weight": (shape[1], 3 * shape[1]), "output_weight": (shape[1], shape[1])}
        wanted |= {"bias": (3 * shape[1],), "output_bias": (shape[1],)}
        if any(array.shape != wanted[name] for name, array in arrays.items()):
            raise _Other
        settings = {"heads": heads, "causal": allowed is not None, "rotary": rotary[0], "use_bias": "bias" in arrays}
        return last, xs[0], {"settings": settings, "arrays": arrays, "shape": shape}

    def head(self, name: str) -> tuple[str, tuple[int, ...], Array, Array | None, bool]:
        """Return the inputs of queries, keys or values: x, sizes, weight, bias; and whether they are rotated."""
        is_turned = self.makers[name].operator == "Add"
        if is_turned:
            (name, cosines), (swapped, sines) = (self.before(part, "Mul") for part in self.before(name, "Add"))
            length, size = self.constants[cosines].shape
            halves = [self.before(half, "Slice") for half in self.before(swapped, "Concat", axis=3)]
            limits = [[self.constants[each].item() for each in half[1:]] for half in halves]
            tables = np.stack([self.constants[cosines], self.constants[sines]])
            if limits != [[size // 2, size, 3, 1], [0, size // 2, 3, 1]] or {half[0] for half in halves} != {name}:
                raise _Other
            if not np.allclose(tables, turns(length, size), rtol=0, atol=1e-6):
                raise _Other
        (rows,) = self.before(name, "Transpose", perm=[0, 2, 1, 3])
        product, shape = self.before(rows, "Reshape")
        bias = None
        if self.makers[product].operator == "Add":
            product, added = self.before(product, "Add")
            bias = self.constants[added]
        x, weight = self.before(product, "MatMul")
        return x, tuple(self.constants[shape].tolist()), self.constants[weight], bias, is_turned

    def before(self, name: str, operator: str, **attributes: Any) -> list[str]:
        """Return the inputs of the node that makes a tensor, if the node is of this kind."""
        node = self.makers[name]
        if node.operator != operator or any(node.attributes.get(key) != value for key, value in attributes.items()):
            raise _Other
        return node.inputs

    def after(self, node: Node, operator: str, **attributes: Any) -> Node:
        """Return the only node that uses another node's output, if it is of this kind."""
        (following,) = self.consumers[node.outputs[0]]
        if following.inputs[0] != node.outputs[0]:
            raise _Other
        self.before(following.outputs[0], operator, **attributes)
        return following


def attend(node: Node, chain: Chain, constants: list[Array | None]) -> None:
    """Append the layer that `find_attention` found."""
    value, given = chain.value, node.attributes
    if value.axes != (0, 1, 2) or value.shape != given["shape"]:
        raise node.misfit(f"attends to sequences {given['shape']}, but its input has another shape", order=True)
    chain.add(node, "MultiHeadAttention", given["settings"], **given["arrays"])


OPERATORS[ATTENTION] = attend
