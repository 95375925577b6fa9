"""Passes of layers that make several arrays in NumPy, of which one is kept."""

from typing import Any

import numpy as np

from minidl.compiled.loops import compiled
from minidl.compiled.switching import replaces
from minidl.typing import Array


@replaces("minidl.layers.rectifiers:ReLU")
class _ReLU:
    def backward(self: Any, dy: Array) -> Array:
        dx = np.empty(dy.shape, dy.dtype)
        _let_through(dy.reshape(-1), self.saved.reshape(-1), dx.reshape(-1), dy.dtype.type(1), dy.dtype.type(0))
        return dx


@compiled
def _let_through(dy, y, dx, one, zero):
    for i in range(dy.size):
        dx[i] = dy[i] * (one if y[i] > zero else zero)


@replaces("minidl.layers.shaping:Rescale")
class _Rescale:
    def forward(self: Any, x: Array, training: bool = False) -> Array:
        y = np.empty(x.shape, self.dtype)
        number = self.dtype.type
        _rescale(x.reshape(-1), y.reshape(-1), number(self.scale), number(self.offset), self.offset != 0)
        return y


@compiled
def _rescale(x, y, scale, offset, has_offset):
    for i in range(x.size):
        y[i] = x[i]  # in the type of y, before the product
        y[i] *= scale
        if has_offset:
            y[i] += offset


@replaces("minidl.layers.normalization")
class _Normalization:
    @staticmethod
    def _scale_and_shift(x: Array, scale: Array, shift: Array) -> Array:
        y = np.empty(x.shape, x.dtype)
        _scale_and_shift(x, scale, shift, y)
        return y

    @staticmethod
    def _take_off(dx: Array, centered: Array, along: Array, mean: Array) -> None:
        _take_off(dx, centered, along, mean)


@compiled
def _scale_and_shift(x, scale, shift, y):
    for n in range(x.shape[0]):
        for f in range(x.shape[1]):
            y[n, f] = x[n, f] * scale[f] + shift[f]


@compiled
def _take_off(dx, centered, along, mean):
    for n in range(dx.shape[0]):
        for f in range(dx.shape[1]):
            dx[n, f] = dx[n, f] - centered[n, f] * along[f] - mean[f]
