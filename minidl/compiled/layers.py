"""Layer passes for which NumPy creates several arrays and keeps only one."""

from typing import Any

import numpy as np

from minidl.compiled.loops import are_by_rows, compiled
from minidl.compiled.switching import replaces
from minidl.typing import Array

_SCALED = frozenset(map(np.dtype, "?bBhHiIlLqQfd"))
"""The number types that Rescale takes, in native byte order."""


@replaces("minidl.layers.rectifiers:ReLU")
class _ReLU:
    def forward(self: Any, x: Array, training: bool = False) -> Any:
        if not are_by_rows(x):
            return NotImplemented
        y = np.empty_like(x)
        rectify(x, y)
        if training:
            self.saved = y
        return y

    def backward(self: Any, dy: Array) -> Any:
        if not are_by_rows(dy, self.saved):
            return NotImplemented
        dx = np.empty_like(dy)
        let_through(dy, self.saved, dx)
        return dx


@compiled
def rectify(x, y):
    """``y <- max(x, 0)``; both may be one array."""
    number = x.dtype.type
    zero = number(0)
    for i in range(x.size):
        y.flat[i] = zero if x.flat[i] <= zero else x.flat[i]  # NaN stays NaN


@compiled
def let_through(dy, y, dx):
    """``dx <- dy`` where y > 0, else 0; dy and dx may be one array."""
    number = dy.dtype.type
    one, zero = number(1), number(0)
    for i in range(dy.size):
        dx.flat[i] = dy.flat[i] * (one if y.flat[i] > zero else zero)


@compiled
def add(numbers, to):
    """``to += numbers``, of contiguous arrays."""
    for i in range(to.size):
        to.flat[i] += numbers.flat[i]


@compiled
def multiply_in_place(numbers, factors):
    """``numbers *= factors``, of contiguous arrays."""
    for i in range(numbers.size):
        numbers.flat[i] *= factors.flat[i]


@compiled
def add_bias(y, bias, rectified):
    """Add a bias to each row, then apply ReLU if wanted. With an empty bias, nothing changes."""
    zero = y.dtype.type(0)
    for row in range(y.shape[0] if bias.size else 0):
        for unit in range(y.shape[1]):
            number = y[row, unit] + bias[unit]
            y[row, unit] = zero if rectified and number <= zero else number  # NaN stays NaN


def values_of(*parameters: Any) -> tuple[Array, ...]:
    """Return the arrays of a weight and other parameters. It is empty for a bias that the layer does not have."""
    none = np.empty(0, parameters[0].value.dtype)
    return tuple(none if each is None else each.value for each in parameters)


def gradients_of(*parameters: Any) -> tuple[Array, ...]:
    """Return the arrays of their gradients."""
    none = np.empty(0, parameters[0].value.dtype)
    return tuple(none if each is None else each.gradient for each in parameters)


@replaces("minidl.layers.shaping:Rescale")
class _Rescale:
    def forward(self: Any, x: Array, training: bool = False) -> Any:
        if x.dtype not in _SCALED or not x.flags.c_contiguous:
            return NotImplemented
        y = np.empty(x.shape, self.dtype)
        _rescale(x.reshape(-1), y.reshape(-1), self.scale, self.offset)
        return y


@compiled
def _rescale(x, y, scale, offset):
    number = y.dtype.type
    factor, summand = number(scale), number(offset)
    if offset:
        for i in range(x.size):
            y[i] = number(x[i]) * factor + summand
    else:
        for i in range(x.size):
            y[i] = number(x[i]) * factor
