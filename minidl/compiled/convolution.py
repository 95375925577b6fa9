"""Convolutions: patches are copied and multiplied in one call, so that two threads do not wait for each other."""

import math
from typing import Any

import numpy as np

from minidl.compiled.blas import multiply, routines
from minidl.compiled.loops import FLOATS, compiled, copy_bytes
from minidl.compiled.switching import replaces
from minidl.layers import windows
from minidl.typing import Array


@replaces("minidl.layers.windows")
class _Windows:
    @staticmethod
    def convolve(padded: Array, kernel: Array, window: windows.Window) -> Any:
        entries, filters = math.prod(kernel.shape[:3]), kernel.shape[3]
        blas = _routines(padded, entries, filters, window)
        if blas is None or kernel.shape[2] != padded.shape[3] or kernel.dtype != padded.dtype:
            return NotImplemented
        y = np.empty((len(padded), *window.places, filters), padded.dtype)
        weights = np.ascontiguousarray(kernel.reshape(entries, filters))
        block, by_entries = _block(padded, entries, window)
        sliding = window.places, window.size, window.strides, window.dilation
        padded = np.ascontiguousarray(padded)
        _convolve_blocks(blas, padded, weights, y, block, *sliding, by_entries)
        return y

    @staticmethod
    def kernel_gradient(padded: Array, dy: Array, window: windows.Window, groups: int) -> Any:
        filters = dy.shape[3]
        shape = (*window.size, padded.shape[3], filters)
        entries = math.prod(shape[:3])
        blas = _routines(padded, entries, filters, window)
        if blas is None or groups > 1 or dy.dtype != padded.dtype:
            return NotImplemented
        gradient, product = np.zeros((entries, filters), padded.dtype), np.empty((entries, filters), padded.dtype)
        block, by_entries = _block(padded, entries, window)
        sliding = window.places, window.size, window.strides, window.dilation
        padded, dy = np.ascontiguousarray(padded), np.ascontiguousarray(dy)
        _add_blocks(blas, padded, dy, gradient, product, block, *sliding, by_entries)
        return gradient.reshape(shape)


def _routines(padded: Array, entries: int, filters: int, window: windows.Window) -> Any:
    """Return BLAS for products of patches; None if it is another product, or NumPy uses other calls."""
    is_product = min(entries, filters, math.prod(window.places)) > 1 and len(padded) > 0
    return routines(padded.dtype) if is_product and padded.dtype in FLOATS else None


def _block(padded: Array, entries: int, window: windows.Window) -> tuple[Array, bool]:
    """Return memory for the patches of the images that are multiplied at once, and whether entries are separate."""
    places, by_entries = math.prod(window.places), padded.shape[3] < windows._FEW_CHANNELS
    images = max(windows._BYTES_AT_ONCE // (places * entries * padded.itemsize), 1)
    return np.empty((min(images, len(padded)), places * entries), padded.dtype), by_entries


@compiled
def _convolve_blocks(blas, padded, weights, y, block, places, size, strides, dilation, by_entries):
    entries, filters = weights.shape
    for start in range(0, len(padded), len(block)):
        images = min(len(block), len(padded) - start)
        _copy(padded, start, images, block, places, size, strides, dilation, by_entries)
        sizes = images * places[0] * places[1], filters, entries
        multiply(blas, sizes, block, weights, y[start : start + images], by_entries, False)


@compiled
def _add_blocks(blas, padded, dy, gradient, product, block, places, size, strides, dilation, by_entries):
    entries, filters = gradient.shape
    for start in range(0, len(padded), len(block)):
        images = min(len(block), len(padded) - start)
        _copy(padded, start, images, block, places, size, strides, dilation, by_entries)
        sizes = entries, filters, images * places[0] * places[1]
        multiply(blas, sizes, block, dy[start : start + images], product, not by_entries, False)
        for i in range(gradient.size):
            gradient.flat[i] += product.flat[i]


@compiled
def _copy(padded, start, images, block, places, size, strides, dilation, by_entries):
    copied = block.reshape(-1)
    if by_entries:
        _copy_by_entries(padded, start, images, copied, places, size, strides, dilation)
    else:
        _copy_by_places(padded, start, images, copied, places, size, strides, dilation)


@compiled
def _copy_by_entries(padded, start, images, copied, places, size, strides, dilation):
    """Copy the pixels of each window entry at all positions: (entries, places)."""
    _, height, width, channels = padded.shape
    pixels, to, step = padded.reshape(-1), 0, strides[1] * channels
    line_bytes = places[1] * padded.itemsize
    for row in range(size[0]):
        for column in range(size[1]):
            for channel in range(channels):
                for image in range(start, start + images):
                    for i in range(places[0]):
                        line = (image * height + i * strides[0] + row * dilation[0]) * width
                        first = (line + column * dilation[1]) * channels + channel
                        if step == 1:
                            copy_bytes(copied[to:].ctypes.data, pixels[first:].ctypes.data, line_bytes)
                        else:
                            for j in range(places[1]):
                                copied[to + j] = pixels[first + j * step]
                        to += places[1]


@compiled
def _copy_by_places(padded, start, images, copied, places, size, strides, dilation):
    """Copy the pixels of the window at each position: (places, entries)."""
    _, height, width, channels = padded.shape
    to, pixels = copied.ctypes.data, padded.ctypes.data
    # Neighbouring entries are neighbours in the image, unless the window is dilated.
    pieces, length = (1, size[1] * channels) if dilation[1] == 1 else (size[1], channels)
    pixel, piece_bytes = channels * padded.itemsize, length * padded.itemsize
    for image in range(start, start + images):
        for i in range(places[0]):
            for j in range(places[1]):
                for row in range(size[0]):
                    line = (image * height + i * strides[0] + row * dilation[0]) * width
                    for piece in range(pieces):
                        first = line + j * strides[1] + piece * dilation[1]
                        copy_bytes(to, pixels + first * pixel, piece_bytes)
                        to += piece_bytes
