"""Gradients by numbers: central differences, with an eye for kinks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minidl.errors import ArgumentTypeError
from minidl.typing import Array


class KinkError(ArithmeticError):
    """The function has no derivative at this point: its slopes to the left and to the right differ."""


def numerical_gradient(function: Callable[[], float], array: Array, *, step: float = 1e-5) -> Array:
    """Gradient of the number `function()` with respect to the float64 `array` that it looks at.

    Each entry in turn is moved by `step` up and down, in place, and put back: (f(a + h) - f(a - h)) / 2 h, whose error
    is of the order h^2 by curvature and 1e-16 / h by rounding.

    Raises ArgumentTypeError when `array` is not float64: in float32 such differences drown in rounding; KinkError, an
    ArithmeticError, where the slopes to both sides differ, as for a ReLU at 0.
    """
    if array.dtype != np.float64:
        raise ArgumentTypeError(f"numerical_gradient takes a float64 array, not {array.dtype}")
    gradient = np.empty_like(array)
    for index in np.ndindex(array.shape):
        direction = np.zeros_like(array)
        direction[index] = 1
        gradient[index] = directional_derivative(function, array, direction, step)
    return gradient


def directional_derivative(function: Callable[[], float], array: Array, direction: Array, step: float = 1e-5) -> float:
    """Slope of `function()` as `array` moves along `direction`; `array` is put back as it was."""
    origin, here = array.copy(), function()

    def slopes(size: float) -> tuple[float, float]:
        sides = []
        for sign in (1, -1):
            array[...] = origin + sign * size * direction
            sides.append(sign * (function() - here) / size)
        array[...] = origin
        return sides[0], sides[1]

    right, left = slopes(step)
    gap, allowed = abs(right - left), 1e-4 * max(abs(right), abs(left), 1e-2)
    if gap > allowed:
        # Curvature also parts the slopes, but the gap shrinks with the step; that of a kink within it does not.
        right, left = slopes(step / 16)
        if abs(right - left) > max(gap / 4, allowed):
            raise KinkError(f"the slopes to both sides are {right:.6g} and {left:.6g}")
    return (right + left) / 2
