"""Evaluate the parts of graphs that compute small arrays from shapes and constants, such as the target of a Reshape."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.onnx.pieces import Node
from minidl.typing import Array

_MOST_NUMBERS = 2**8


def compute(node: Node, inputs: list[Array], value: Array | None = None) -> Array:
    """Return what a node of one of `OPERATORS` gives, except Shape.

    Parameters
    ----------
    node : Node
    inputs : list of array
    value : array, optional
        The attribute of ConstantOfShape.
    """
    is_view = node.operator in {"Reshape", "Transpose"} or (node.passes_on and inputs[0].dtype.kind == "f")
    if not is_view and sum(array.size for array in inputs) > _MOST_NUMBERS:
        raise node.misfit("computes with large constants")
    if node.operator == "Cast" and not node.passes_on and node.attributes.get("to") not in {6, 7}:
        raise node.misfit("computes constants that are not numbers")
    if node.operator == "ConstantOfShape":
        if math.prod(inputs[0].tolist()) > _MOST_NUMBERS:
            raise node.misfit("makes a large constant")
        return np.full(inputs[0].tolist(), 0 if value is None else value.reshape(-1)[0])
    with np.errstate(all="ignore"):
        return OPERATORS[node.operator](node.attributes, *inputs)


def _transpose(given: dict[str, Any], array: Array) -> Array:
    return array.transpose(given.get("perm", [*range(array.ndim)][::-1]))


def _product(given: dict[str, Any], array: Array, axes: Array | None = None) -> Array:
    over = given.get("axes", [*range(array.ndim)]) if axes is None else axes.tolist()
    return np.array(np.prod(array, axis=tuple(over), keepdims=given.get("keepdims", 1) == 1))


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


def _cast(given: dict[str, Any], array: Array) -> Array:
    if given["to"] in {6, 7}:
        return array.astype(np.int64)
    return array if array.dtype.kind == "f" else array.astype(np.float32)


def _divide(given: dict[str, Any], array: Array, divisor: Array) -> Array:
    return np.array(np.trunc(array / divisor), np.int64) if array.dtype.kind in "iu" else array / divisor


OPERATORS: dict[str, Callable[..., Array]] = {
    "Add": lambda given, array, other: np.add(array, other),
    "Cast": _cast,
    "Concat": lambda given, *arrays: np.concatenate(arrays, axis=given.get("axis", 0)),
    "ConstantOfShape": np.full,
    "Div": _divide,
    "Equal": lambda given, array, other: np.equal(array, other),
    "Gather": lambda given, array, indices: np.array(np.take(array, indices, axis=given.get("axis", 0))),
    "Identity": lambda given, array: array,
    "Mod": lambda given, array, divisor: np.mod(array, divisor),
    "Mul": lambda given, array, other: np.multiply(array, other),
    "Neg": lambda given, array: np.negative(array),
    "ReduceProd": _product,
    "Reshape": lambda given, array, shape: array.reshape(tuple(shape.tolist())),
    "Slice": _slice,
    "Squeeze": lambda given, array, *axes: array.reshape([size for size in array.shape if size != 1]),
    "Sub": lambda given, array, other: np.subtract(array, other),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": lambda given, choice, array, other: np.array(np.where(choice, array, other)),
}
