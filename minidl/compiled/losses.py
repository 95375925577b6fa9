"""Losses with their gradients. Exponentials and logarithms are NumPy's; numba's differ in the last bit."""

from typing import Any

import numpy as np

from minidl.compiled.loops import FLOATS, are_by_rows, compiled
from minidl.compiled.switching import replaces
from minidl.compiled.ufuncs import apply
from minidl.losses.base import count_outputs
from minidl.typing import Array

_MANY_CLASSES = 32
"""With this number of columns, far apart in memory, NumPy fills them faster."""


@replaces("minidl.losses.regression:MeanSquaredError")
class _MeanSquaredError:
    def per_sample(self: Any, scores: Array, targets: Array) -> Any:
        if not are_by_rows(scores, targets):
            return NotImplemented
        losses, gradient = np.empty(len(scores), scores.dtype), np.empty(scores.shape, scores.dtype)
        rows = len(scores), count_outputs(scores)
        _squared(*(each.reshape(rows) for each in (scores, targets, gradient)), losses)
        return losses, gradient


@compiled
def add_up(numbers):
    """Return the sum in float64."""
    return _sum(numbers.astype(np.float64))


@compiled
def squared_error(scores, targets, share, scale, gradient):
    """Compute `share` times the mean squared error.

    Write `scale` times the gradient; return the sums of the losses and of the metric, the mean absolute error.
    """
    rows, outputs = scores.shape
    losses, errors, of_row = np.empty(rows, scores.dtype), np.empty(rows, scores.dtype), np.empty(outputs, scores.dtype)
    _squared(scores, targets, gradient, losses)
    number = scores.dtype.type
    part, factor, count = number(share), number(scale), number(outputs)
    for row in range(rows):
        for output in range(outputs):
            gradient[row, output] = gradient[row, output] * part * factor
            of_row[output] = np.abs(scores[row, output] - targets[row, output])
        losses[row] *= part
        errors[row] = _sum(of_row) / count
    return add_up(losses), add_up(errors)


@compiled
def sigmoid_cross_entropy(exponential, logarithm, scores, targets, share, scale, gradient):
    """Compute `share` times the cross-entropy of sigmoid probabilities; `logarithm` is log1p.

    Write `scale` times the gradient; return the sum of the losses, and for one output how many rows are right.
    """
    rows, outputs = scores.shape
    number = scores.dtype.type
    part, factor, count, one, zero, right = number(share), number(scale), number(outputs), number(1), number(0), 0.0
    losses, of_row = np.empty(rows, scores.dtype), np.empty(outputs, scores.dtype)
    exponentials, logarithms = -np.abs(scores), np.empty_like(scores)
    apply(exponential, exponentials, exponentials)
    apply(logarithm, exponentials, logarithms)
    for row in range(rows):
        for output in range(outputs):
            score, target, power = scores[row, output], targets[row, output], exponentials[row, output]
            above = score if score >= zero or np.isnan(score) else zero
            of_row[output] = above - score * target + logarithms[row, output]
            probability = (one if score >= zero else power) / (power + one)
            gradient[row, output] = (probability - target) / count * part * factor
        losses[row] = _sum(of_row) / count * part
        right += (scores[row, 0] > zero) == (targets[row, 0] > 0.5)
    return add_up(losses), right


@compiled
def _squared(scores, targets, gradient, losses):
    rows, outputs = scores.shape
    number = scores.dtype.type
    factor, count, squares = number(2 / outputs), number(outputs), np.empty(outputs, scores.dtype)
    for row in range(rows):
        for output in range(outputs):
            error = scores[row, output] - targets[row, output]
            squares[output] = error * error
            gradient[row, output] = error * factor
        losses[row] = _sum(squares) / count


@compiled
def _sum(x):
    """Sum contiguous numbers in NumPy's order: in eight partial sums, and by halves for more than 128 numbers."""
    if x.size > 128:
        half = x.size // 2
        half -= half % 8
        return _sum(x[:half]) + _sum(x[half:])
    if x.size < 8:
        total = x.dtype.type(-0.0)
        for i in range(x.size):
            total += x[i]
        return total
    a, b, c, d, e, f, g, h = x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]
    whole = x.size - x.size % 8
    for i in range(8, whole, 8):
        a, b, c, d = a + x[i], b + x[i + 1], c + x[i + 2], d + x[i + 3]
        e, f, g, h = e + x[i + 4], f + x[i + 5], g + x[i + 6], h + x[i + 7]
    total = ((a + b) + (c + d)) + ((e + f) + (g + h))
    for i in range(whole, x.size):
        total += x[i]
    return total


@replaces("minidl.losses.classification")
class _Classification:
    @staticmethod
    def _softmax(scores: Array) -> Any:
        # For a single row, NumPy sums the exponentials in another order.
        if scores.dtype not in FLOATS or len(scores) == 1 or not 0 < scores.shape[1] < _MANY_CLASSES:
            return NotImplemented
        shifted = np.empty(scores.shape[::-1], scores.dtype).T  # the scores of each class are contiguous
        _shift(scores, shifted.T)
        probabilities = np.exp(shifted)
        total = np.empty(len(scores), scores.dtype)
        _normalize(probabilities.T, total)
        return shifted, probabilities, np.log(total)


@compiled
def _shift(scores, shifted):
    classes, rows = shifted.shape
    for row in range(rows):
        largest = scores[row, 0]
        for k in range(1, classes):
            number = scores[row, k]
            largest = number if number >= largest or np.isnan(number) else largest
        for k in range(classes):
            shifted[k, row] = scores[row, k] - largest


@compiled
def _normalize(exponentials, total):
    classes, rows = exponentials.shape
    for row in range(rows):
        total[row] = exponentials[0, row]
    for k in range(1, classes):
        for row in range(rows):
            total[row] += exponentials[k, row]
    for k in range(classes):
        for row in range(rows):
            exponentials[k, row] /= total[row]


@compiled
def cross_entropy(exponential, logarithm, scores, labels, scale, gradient):
    """Write `scale` times the gradient, by columns; return the sum of the losses, and how many rows are right."""
    classes, rows = gradient.shape
    number = scores.dtype.type
    factor, one, right = number(scale), number(1), 0.0
    shifted, losses = np.empty_like(gradient), np.empty(rows, scores.dtype)
    _shift(scores, shifted)
    apply(exponential, shifted, gradient)
    _normalize(gradient, losses)
    apply(logarithm, losses, losses)
    for row in range(rows):
        label = labels[row]
        losses[row] -= shifted[label, row]
        gradient[label, row] -= one
        best = 0
        for k in range(1, classes):
            best = k if scores[row, k] > scores[row, best] else best
        right += best == label
    for k in range(classes):
        for row in range(rows):
            gradient[k, row] *= factor
    return add_up(losses), right
