"""What graphs compute of shapes and of constants, such as the target of a Reshape: small arrays of whole numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.onnx.pieces import Node
from minidl.typing import Array

_MOST_NUMBERS = 2**8


def compute(node: Node, inputs: list[Array], value: Array | None = None) -> Array:
    """Return what a node of one of `OPERATORS` gives, but for Shape.

    Parameters
    ----------
    node : Node
    inputs : list of array
    value : array, optional
        The attribute of ConstantOfShape.
    """
    if sum(array.size for array in inputs) > _MOST_NUMBERS and node.operator not in {"Identity", "Transpose"}:
        raise node.misfit("computes with large constants")
    if node.operator == "Cast" and node.attributes.get("to") not in {6, 7}:
        raise node.misfit("computes constants that are no whole numbers")
    if node.operator == "ConstantOfShape":
        if math.prod(inputs[0].tolist()) > _MOST_NUMBERS:
            raise node.misfit("makes a large constant")
        return np.full(inputs[0].tolist(), 0 if value is None else value.reshape(-1)[0])
    return OPERATORS[node.operator](node.attributes, *inputs)


def _transpose(given: dict[str, Any], array: Array) -> Array:
    return array.transpose(given.get("perm", [*range(array.ndim)][::-1]))


def _unsqueeze(given: dict[str, Any], array: Array, axes: Array | None = None) -> Array:
    return np.expand_dims(array, tuple(given["axes"] if axes is None else axes.tolist()))


def _slice(given: dict[str, Any], array: Array, *limits: Array) -> Array:
    starts, stops, *others = [each.reshape(-1).tolist() for each in limits]
    axes = others[0] if others else [*range(len(starts))]
    steps = others[1] if len(others) > 1 else [1] * len(starts)
    slices = [slice(None)] * array.ndim
    for start, stop, axis, step in zip(starts, stops, axes, steps, strict=True):
        slices[axis] = slice(start, stop if stop > -(2**31) else None, step)
    return array[tuple(slices)]


OPERATORS: dict[str, Callable[..., Array]] = {
    "Cast": lambda given, array: array.astype(np.int64),
    "Concat": lambda given, *arrays: np.concatenate(arrays, axis=given.get("axis", 0)),
    "ConstantOfShape": np.full,
    "Gather": lambda given, array, indices: np.array(np.take(array, indices, axis=given.get("axis", 0))),
    "Identity": lambda given, array: array,
    "Reshape": lambda given, array, shape: array.reshape(tuple(shape.tolist())),
    "Slice": _slice,
    "Squeeze": lambda given, array, *axes: array.reshape([size for size in array.shape if size != 1]),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
