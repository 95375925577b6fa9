"""Bilinear interpolation in one pass over the pixels; NumPy needs one for each operation."""

import math
from typing import Any

import numpy as np

from minidl.compiled.loops import compiled
from minidl.compiled.switching import replaces
from minidl.typing import Array


@replaces("minidl.data.augment.resampling")
class _Resampling:
    @staticmethod
    def _interpolate(padded: Array, height: int, width: int, rows: Array, columns: Array) -> Any:
        arrays = (padded, rows, columns)
        if any(each.dtype != np.float32 or not each.flags.c_contiguous for each in arrays):
            return NotImplemented
        values = np.empty((*rows.shape, padded.shape[1]), np.float32)
        by_image = (each.reshape(len(rows), math.prod(each.shape[1:])) for each in (rows, columns, values))
        _interpolate_images(padded.reshape(-1), height, width, padded.shape[1], *by_image)
        return values


@compiled
def _interpolate_images(padded, height, width, channels, rows, columns, values):
    """Interpolate in images that lie one after the other, each in a frame of one pixel; a line and a pixel follow."""
    line, pixels = width + 2, rows.shape[1]
    size = (height + 2) * line * channels
    corners, downs, acrosses = np.empty(pixels, np.int32), np.empty(pixels, np.float32), np.empty(pixels, np.float32)
    for i in range(rows.shape[0]):
        _find_corners(rows[i], columns[i], height, width, corners, downs, acrosses)
        image = padded[i * size : (i + 1) * size + (line + 1) * channels]
        for c in range(channels):
            _read(image[c:], line, channels, corners, downs, acrosses, values[i, c:])


@compiled
def _find_corners(rows, columns, height, width, corners, downs, acrosses):
    """Find the upper left one of the four pixels around each position, and the shares of the lower and right ones."""
    number = np.float32
    zero, one, last_row, last_column = number(0), number(1), number(height + 1), number(width + 1)
    for p in range(rows.size):
        # Comparisons become vector instructions, `min` and `max` do not.
        row, column = rows[p] + one, columns[p] + one
        row, column = zero if row < zero else row, zero if column < zero else column
        row, column = last_row if row > last_row else row, last_column if column > last_column else column
        # A position that is NaN reads any pixel: the value is NaN.
        top, left = np.int32(row if row >= zero else zero), np.int32(column if column >= zero else zero)
        downs[p], acrosses[p] = row - number(top), column - number(left)
        corners[p] = top * np.int32(width + 2) + left


@compiled
def _read(image, line, channels, corners, downs, acrosses, values):
    """Write each position's value of one channel, whose numbers are `channels` apart."""
    right, below, diagonal = image[channels:], image[line * channels :], image[(line + 1) * channels :]
    for p in range(corners.size):
        corner = np.uintp(corners[p]) * np.uintp(channels)  # unsigned: there is no index from the end
        upper = (right[corner] - image[corner]) * acrosses[p] + image[corner]
        lower = (diagonal[corner] - below[corner]) * acrosses[p] + below[corner]
        values[p * channels] = (lower - upper) * downs[p] + upper
