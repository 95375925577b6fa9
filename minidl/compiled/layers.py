"""Passes of layers, of which NumPy makes several arrays and keeps one."""

from typing import Any

import numpy as np

from minidl.compiled.loops import FLOATS, are_by_rows, compiled
from minidl.compiled.switching import replaces
from minidl.typing import Array

SCALED = frozenset(map(np.dtype, "?bBhHiIlLqQfd"))
"""The types of numbers that Rescale takes, in the processor's order of bytes."""


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
        return let_through(dy, self.saved) if are_by_rows(dy, self.saved) else NotImplemented


@compiled
def rectify(x, y):
    """``y <- max(x, 0)``; both may be one array."""
    number = x.dtype.type
    zero = number(0)
    for i in range(x.size):
        y.flat[i] = zero if x.flat[i] <= zero else x.flat[i]  # NaN stays NaN


@compiled
def let_through(dy, y):
    """Return dy where y > 0, else 0."""
    dx, number = np.empty_like(dy), dy.dtype.type
    one, zero = number(1), number(0)
    for i in range(dy.size):
        dx.flat[i] = dy.flat[i] * (one if y.flat[i] > zero else zero)
    return dx


@replaces("minidl.layers.shaping:Rescale")
class _Rescale:
    def forward(self: Any, x: Array, training: bool = False) -> Any:
        if x.dtype not in SCALED or not x.flags.c_contiguous:
            return NotImplemented
        y = np.empty(x.shape, self.dtype)
        _rescale(x, y, self.scale, self.offset)
        return y


@compiled
def _rescale(x, y, scale, offset):
    number = y.dtype.type
    factor, summand = number(scale), number(offset)
    if offset:
        for i in range(x.size):
            y.flat[i] = number(x.flat[i]) * factor + summand
    else:
        for i in range(x.size):
            y.flat[i] = number(x.flat[i]) * factor


@replaces("minidl.layers.normalization")
class _Normalization:
    @staticmethod
    def _scale_and_shift(x: Array, scale: Array, shift: Array) -> Any:
        if not are_by_rows(x) or not x.dtype == scale.dtype == shift.dtype:
            return NotImplemented
        return _scale_and_shift(x, scale, shift)

    @staticmethod
    def _take_off(dx: Array, centered: Array, along: Array, mean: Array) -> Any:
        if not are_by_rows(dx, centered) or not dx.dtype == along.dtype == mean.dtype:
            return NotImplemented
        return _take_off(dx, centered, along, mean)


@compiled
def _scale_and_shift(x, scale, shift):
    y = np.empty_like(x)
    for n in range(x.shape[0]):
        for f in range(x.shape[1]):
            y[n, f] = x[n, f] * scale[f] + shift[f]
    return y


@compiled
def _take_off(dx, centered, along, mean):
    for n in range(dx.shape[0]):
        for f in range(dx.shape[1]):
            dx[n, f] = dx[n, f] - centered[n, f] * along[f] - mean[f]


@replaces("minidl.layers.noise")
class _Noise:
    @staticmethod
    def _mask(draws: Array, kept_levels: int, x: Array) -> Any:
        if x.dtype not in FLOATS:
            return NotImplemented
        mask = np.empty(draws.shape, x.dtype)
        _mask(draws, mask, kept_levels, 2**16 / kept_levels)
        return mask


@compiled
def _mask(draws, mask, kept_levels, factor):
    number = mask.dtype.type
    kept, dropped = number(factor), number(0)
    for i in range(draws.size):
        mask[i] = kept if draws[i] < kept_levels else dropped
