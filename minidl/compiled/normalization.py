"""Normalization in one call per pass; NumPy's BLAS computes the sums over a batch and over a row."""

from typing import Any

import numpy as np

from minidl.compiled.blas import Routines, multiply_by_weight, routines, sum_rows
from minidl.compiled.loops import are_by_rows, compiled
from minidl.compiled.switching import replaces
from minidl.typing import Array


@replaces("minidl.layers.normalization:BatchNorm")
class _BatchNorm:
    def forward(self: Any, x: Array, training: bool = False, mask: Array | None = None) -> Any:
        of_batch = training and self.own_trainable and self.over_batch is None and mask is None
        blas = _routines(self, x) if of_batch else None
        if blas is None:
            return NotImplemented
        rows = x.reshape(-1, x.shape[-1])
        centered, y = np.empty(rows.shape, x.dtype), np.empty(rows.shape, x.dtype)
        inverse_deviation = np.empty(rows.shape[1], x.dtype)
        learnt, states = (self.scale.value, self.shift.value), (self.running_mean.value, self.running_variance.value)
        settings = self.momentum, self.epsilon
        normalize_batch(blas, rows, *learnt, *states, *settings, centered, inverse_deviation, y)
        self.saved = centered, inverse_deviation, len(rows), None
        return y.reshape(x.shape)

    def backward(self: Any, dy: Array) -> Any:
        centered, inverse_deviation, count, mask = self.saved
        blas = _routines(self, dy, centered) if count and self.over_batch is None and mask is None else None
        if blas is None:
            return NotImplemented
        rows, dx = dy.reshape(centered.shape), np.empty(dy.shape, dy.dtype)
        saved, gradients = (centered, inverse_deviation), (self.scale.gradient, self.shift.gradient)
        differentiate_batch(blas, rows, *saved, self.scale.value, *gradients, dx.reshape(centered.shape))
        return dx


@replaces("minidl.layers.normalization:LayerNorm")
class _LayerNorm:
    def forward(self: Any, x: Array, training: bool = False) -> Any:
        blas = _routines(self, x)
        if blas is None or x.shape[-1] == 1:
            return NotImplemented
        rows = x.reshape(-1, x.shape[-1])
        normalized, y = np.empty(rows.shape, x.dtype), np.empty(rows.shape, x.dtype)
        inverse_deviation = np.empty((len(rows), 1), x.dtype)
        learnt = self.scale.value, self.shift.value
        normalize_rows(blas, rows, *learnt, self.epsilon, normalized, inverse_deviation, y)
        if training:
            self.saved = normalized, inverse_deviation
        return y.reshape(x.shape)

    def backward(self: Any, dy: Array) -> Any:
        normalized, inverse_deviation = self.saved
        blas = _routines(self, dy, normalized)
        if blas is None or dy.shape[-1] == 1:
            return NotImplemented
        rows, dx = dy.reshape(normalized.shape), np.empty(dy.shape, dy.dtype)
        saved, gradients = (normalized, inverse_deviation), (self.scale.gradient, self.shift.gradient)
        differentiate_rows(blas, rows, *saved, self.scale.value, *gradients, dx.reshape(normalized.shape))
        return dx


def _routines(layer: Any, x: Array, saved: Array | None = None) -> Routines | None:
    """Return BLAS for rows of a layer's features; None for other rows, or if NumPy sums them with other calls.

    NumPy's calls depend on the memory layout, and on whether there is only one row.
    """
    scale = layer.scale.value
    is_taken = x.dtype == scale.dtype and x.shape[-1:] == scale.shape and x.flags.c_contiguous
    if saved is not None:
        is_taken = is_taken and x.dtype == saved.dtype and x.size == saved.size and saved.flags.c_contiguous
    return routines(x.dtype) if is_taken and x.size >= 2 * scale.size > 0 else None


@compiled
def normalize_batch(
    blas, x, scale, shift, running_mean, running_variance, momentum, epsilon, centered, inverse_deviation, y
):
    """BatchNorm's training pass of (rows, features), at least two rows: write the running means and the last three."""
    rows, features = x.shape
    number, ones = x.dtype.type, np.ones(rows, x.dtype)
    one, count, unbiased, least = number(1), number(rows), number(rows / (rows - 1)), number(epsilon)
    kept, new = number(momentum), number(1 - momentum)
    mean, variance, factor = np.empty_like(scale), np.empty_like(scale), np.empty_like(scale)
    sum_rows(blas, x, ones, mean, False)
    for f in range(features):
        mean[f] /= count
    for n in range(rows):
        for f in range(features):
            difference = x[n, f] - mean[f]
            centered[n, f] = difference
            y[n, f] = difference * difference
    sum_rows(blas, y, ones, variance, False)
    for f in range(features):
        variance[f] /= count
        running_mean[f] = running_mean[f] * kept + new * mean[f]
        running_variance[f] = running_variance[f] * kept + new * (variance[f] * unbiased)
        inverse_deviation[f] = one / np.sqrt(variance[f] + least)
        factor[f] = inverse_deviation[f] * scale[f]
    scale_and_shift(centered, factor, shift, y)


@compiled
def differentiate_batch(blas, dy, centered, inverse_deviation, scale, dscale, dshift, dx):
    """BatchNorm's backward pass: write the last three."""
    rows, features = dy.shape
    ones, count = np.ones(rows, dy.dtype), dy.dtype.type(rows)
    factor, along, mean = np.empty_like(scale), np.empty_like(scale), np.empty_like(scale)
    sum_rows(blas, dy, ones, dshift, False)
    _multiply(dy, centered, dx)
    sum_rows(blas, dx, ones, dscale, False)
    for f in range(features):
        dscale[f] *= inverse_deviation[f]
        factor[f] = scale[f] * inverse_deviation[f]
        along[f] = factor[f] * inverse_deviation[f] * dscale[f] / count
        mean[f] = factor[f] * dshift[f] / count
    for n in range(rows):
        for f in range(features):
            dx[n, f] = dy[n, f] * factor[f] - centered[n, f] * along[f] - mean[f]


@compiled
def normalize_rows(blas, x, scale, shift, epsilon, normalized, inverse_deviation, y):
    """LayerNorm's forward pass of (rows, features), at least two of each: write the last three."""
    rows, features = x.shape
    number, means = x.dtype.type, np.empty_like(inverse_deviation)
    one, least = number(1), number(epsilon)
    parts = np.full((features, 1), number(1 / features), x.dtype)
    multiply_by_weight(blas, x, parts, means)
    for n in range(rows):
        mean = means[n, 0]
        for f in range(features):
            difference = x[n, f] - mean
            normalized[n, f] = difference
            y[n, f] = difference * difference
    multiply_by_weight(blas, y, parts, means)
    for n in range(rows):
        inverse = one / np.sqrt(means[n, 0] + least)
        inverse_deviation[n, 0] = inverse
        for f in range(features):
            normalized[n, f] *= inverse
            y[n, f] = normalized[n, f] * scale[f] + shift[f]


@compiled
def differentiate_rows(blas, dy, normalized, inverse_deviation, scale, dscale, dshift, dx):
    """LayerNorm's backward pass: write the last three."""
    rows, features = dy.shape
    number, ones = dy.dtype.type, np.ones(rows, dy.dtype)
    parts = np.full((features, 1), number(1 / features), dy.dtype)
    means, alongs = np.empty_like(inverse_deviation), np.empty_like(inverse_deviation)
    sum_rows(blas, dy, ones, dshift, False)
    _multiply(dy, normalized, dx)
    sum_rows(blas, dx, ones, dscale, False)
    for n in range(rows):
        for f in range(features):
            dx[n, f] = dy[n, f] * scale[f] * normalized[n, f]
    multiply_by_weight(blas, dx, parts, alongs)
    for n in range(rows):
        for f in range(features):
            dx[n, f] = dy[n, f] * scale[f]
    multiply_by_weight(blas, dx, parts, means)
    for n in range(rows):
        mean, along, inverse = means[n, 0], alongs[n, 0], inverse_deviation[n, 0]
        for f in range(features):
            dx[n, f] = (dx[n, f] - mean - normalized[n, f] * along) * inverse


@compiled
def _multiply(a, b, product):
    for n in range(a.shape[0]):
        for f in range(a.shape[1]):
            product[n, f] = a[n, f] * b[n, f]


@replaces("minidl.layers.normalization")
class _Ends:
    """The remaining step of inference, and of a batch that is computed in several parts."""

    @staticmethod
    def _scale_and_shift(x: Array, scale: Array, shift: Array) -> Any:
        if not are_by_rows(x) or not x.dtype == scale.dtype == shift.dtype:
            return NotImplemented
        y = np.empty_like(x)
        scale_and_shift(x, scale, shift, y)
        return y

    @staticmethod
    def _take_off(dx: Array, centered: Array, along: Array, mean: Array) -> Any:
        if not are_by_rows(dx, centered) or not dx.dtype == along.dtype == mean.dtype:
            return NotImplemented
        return _take_off(dx, centered, along, mean)


@compiled
def scale_and_shift(x, scale, shift, y):
    """``y <- x scale + shift``, with one scale and shift per feature."""
    for n in range(x.shape[0]):
        for f in range(x.shape[1]):
            y[n, f] = x[n, f] * scale[f] + shift[f]


@compiled
def _take_off(dx, centered, along, mean):
    for n in range(dx.shape[0]):
        for f in range(dx.shape[1]):
            dx[n, f] = dx[n, f] - centered[n, f] * along[f] - mean[f]
