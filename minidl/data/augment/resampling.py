"""Read images at any positions: bilinear interpolation between pixels."""

from __future__ import annotations

import numpy as np

from minidl.typing import Array


def resample(images: Array, rows: Array, columns: Array, fill: float = 0.0) -> Array:
    """Return the values of images at any positions between their pixels, by bilinear interpolation.

    The position (r, c) lies in a square of four pixels with the upper left one (i, j); u = r - i and v = c - j:
    ``y = (1 - u) ((1 - v) x[i, j] + v x[i, j + 1]) + u ((1 - v) x[i + 1, j] + v x[i + 1, j + 1])``.

    Parameters
    ----------
    images : array (N, height, width, channels)
    rows, columns : float32 arrays (N, new height, new width)
        Positions in pixels; (0, 0) is the middle of the upper left pixel. The arrays may be overwritten.
    fill : float
        The value outside the images; positions between it and the edge pixels are interpolated, too.

    Returns
    -------
    float32 array (N, new height, new width, channels)
        As ``scipy.ndimage.map_coordinates(image, (rows, columns), order=1, mode="grid-constant", cval=fill)``.
    """
    count, height, width, channels = images.shape
    # One pixel of fill around each image, and one more row after the last, whose pixels do not matter.
    line, size = width + 2, (height + 2) * (width + 2)
    padded = np.full((count * size + line + 1, channels), fill, np.float32)
    padded[: count * size].reshape(count, height + 2, line, channels)[:, 1:-1, 1:-1] = images

    return _interpolate(padded, height, width, rows, columns)


def _interpolate(padded: Array, height: int, width: int, rows: Array, columns: Array) -> Array:
    """Read values between the pixels of images in a frame; the frame's width is 1, and there is one more row of it."""
    line, size = width + 2, (height + 2) * (width + 2)
    rows += 1
    columns += 1
    np.clip(rows, 0, height + 1, out=rows)
    np.clip(columns, 0, width + 1, out=columns)
    top, left = np.floor(rows), np.floor(columns)
    rows -= top
    columns -= left
    corner = top.astype(np.int32)
    corner *= line
    corner += left.astype(np.int32)
    corner += np.arange(0, len(rows) * size, size, dtype=np.int32)[:, None, None]
    index = corner.astype(np.intp)

    def neighbour(offset: int) -> Array:
        return padded[offset:].take(index, axis=0, mode="wrap")  # the fastest mode; no index is outside

    across, down = columns[..., None], rows[..., None]
    upper = _between(neighbour(0), neighbour(1), across)
    lower = _between(neighbour(line), neighbour(line + 1), across)
    return _between(upper, lower, down)


def _between(first: Array, second: Array, share: Array) -> Array:
    """Overwrite `second` with ``first + share (second - first)``, and return it."""
    second -= first
    second *= share
    second += first
    return second
