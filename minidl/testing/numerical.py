"""Numeric gradients: central differences that detect kinks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minidl.errors import ArgumentTypeError
from minidl.typing import Array


class KinkError(ArithmeticError):
    """The function has no derivative at this point: its slopes to the left and to the right differ."""


def numerical_gradient(function: Callable[[], float], array: Array, *, step: float = 1e-5) -> Array:
    """Return the gradient of the number `function()` with respect to the float64 `array` that the function reads.

    Each entry in turn is moved by `step` up and down, in place, and restored: (f(a + h) - f(a - h)) / 2 h. The error is
    of the order h^2 from curvature and 1e-16 / h from rounding.

    Raises ArgumentTypeError if `array` is not float64: in float32 the rounding error is too large. Raises KinkError, an
    ArithmeticError, if the slopes on both sides differ, as for a ReLU at 0.
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
    """Return the slope of `function()` as `array` moves along `direction`; `array` is restored."""
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
        # Curvature also separates the slopes, but this gap shrinks with the step; the gap of a kink does not.
        right, left = slopes(step / 16)
        if abs(right - left) > max(gap / 4, allowed):
            raise KinkError(f"the slopes on both sides are {right:.6g} and {left:.6g}")
    return (right + left) / 2
