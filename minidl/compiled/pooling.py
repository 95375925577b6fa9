"""Max pooling along an axis: the maxima of all windows and their positions, in one pass over the images."""

import math
from typing import Any

import numpy as np

from minidl.compiled.loops import are_by_rows, compiled
from minidl.compiled.switching import replaces
from minidl.typing import Array


@replaces("minidl.layers.pooling")
class _Pooling:
    @staticmethod
    def _maxima_and_winners(x: Array, axis: int, size: int, stride: int) -> Any:
        if not are_by_rows(x):
            return NotImplemented
        places = (x.shape[axis] - size) // stride + 1
        shape = (*x.shape[:axis], places, *x.shape[axis + 1 :])
        maxima, winners = np.empty(shape, x.dtype), np.empty(shape, np.min_scalar_type(size - 1))
        _find_maxima(*(_around(each, axis) for each in (x, maxima, winners)), size, stride)
        return maxima, winners

    @staticmethod
    def _to_winners(dy: Array, winners: Array, axis: int, length: int, size: int, stride: int) -> Any:
        if not are_by_rows(dy) or winners.shape != dy.shape:
            return NotImplemented
        is_covered = stride == size and dy.shape[axis] * size == length
        dx = (np.empty if is_covered else np.zeros)((*dy.shape[:axis], length, *dy.shape[axis + 1 :]), dy.dtype)
        one, zero = dy.dtype.type(1), dy.dtype.type(0)
        _hand_out(*(_around(each, axis) for each in (dy, winners, dx)), size, stride, one, zero)
        return dx


def _around(x: Array, axis: int) -> Any:
    """Return an array with the axes before one axis merged, and the axes after it merged."""
    return x.reshape(math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :]))


@compiled
def _find_maxima(x, maxima, winners, size, stride):
    # Loop over single numbers of short rows, not over slices: only these loops become vector instructions.
    for a in range(maxima.shape[0]):
        for place in range(maxima.shape[1]):
            largest, winner = maxima[a, place], winners[a, place]
            first, second = x[a, place * stride], x[a, place * stride + min(size - 1, 1)]
            for b in range(largest.size):
                before, number = first[b], second[b]
                winner[b] = number > before
                largest[b] = number if number >= before or np.isnan(number) else before  # as NumPy's maximum
            for entry in range(2, size):
                tap = x[a, place * stride + entry]
                for b in range(largest.size):
                    before, number = largest[b], tap[b]
                    winner[b] = entry if number > before else winner[b]
                    largest[b] = number if number >= before or np.isnan(number) else before


@compiled
def _hand_out(dy, winners, dx, size, stride, one, zero):
    for a in range(dy.shape[0]):
        for entry in range(size):
            for place in range(dy.shape[1]):
                given, winner, taken = dy[a, place], winners[a, place], dx[a, place * stride + entry]
                if stride < size:
                    for b in range(given.size):
                        taken[b] += given[b] * (one if winner[b] == entry else zero)
                else:  # each pixel is in one window at most
                    for b in range(given.size):
                        taken[b] = given[b] * (one if winner[b] == entry else zero)
