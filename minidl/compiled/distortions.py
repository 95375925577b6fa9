"""Images looked at in other places, pixel by pixel."""

import numpy as np

from minidl.compiled.loops import compiled
from minidl.compiled.switching import replaces
from minidl.typing import Array


@replaces("minidl.data.augment.geometric")
class _Geometric:
    @staticmethod
    def resample(images: Array, rows: Array, columns: Array, fill: float = 0.0) -> Array:
        height, width, channels = images.shape[1:]
        padded = np.empty((height + 3, width + 3, channels), np.float32)  # one image at a time
        y = np.empty((*rows.shape, channels), np.float32)
        places = rows.shape[1] * rows.shape[2]
        corner, scratch = np.empty(places, np.int32), np.empty((2, places), np.float32)
        flat = (each.reshape(len(y), places * size) for each, size in ((rows, 1), (columns, 1), (y, channels)))
        numbers = (np.float32(each) for each in (fill, 1, height + 1, width + 1))
        _resample(images, *flat, padded, corner, *scratch, *numbers)
        return y


@compiled
def _resample(images, rows, columns, y, padded, corner, down, across, fill, one, last_row, last_column):
    height, width, channels = images.shape[1:]
    line, pixels, zero = (width + 3) * channels, padded.reshape(-1), one - one
    padded[:] = fill
    for n in range(y.shape[0]):
        padded[1 : height + 1, 1 : width + 1] = images[n]
        for place in range(corner.size):  # a loop of its own, which becomes vector instructions
            row, column = rows[n, place] + one, columns[n, place] + one
            row = row if row > zero else zero
            row = row if row < last_row else last_row
            column = column if column > zero else zero
            column = column if column < last_column else last_column
            top, left = np.int32(row), np.int32(column)
            down[place], across[place] = row - np.float32(top), column - np.float32(left)
            corner[place] = top * np.int32(line) + left * np.int32(channels)
        for place in range(corner.size):
            for channel in range(channels):
                first = corner[place] + channel
                third = first + line
                left, right = pixels[first], pixels[first + channels]
                upper = (right - left) * across[place] + left
                left, right = pixels[third], pixels[third + channels]
                lower = (right - left) * across[place] + left
                y[n, place * channels + channel] = (lower - upper) * down[place] + upper
