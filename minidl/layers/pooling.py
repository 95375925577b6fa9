"""Pooling: one number for each window of an image. Also other layers that change the size of images."""

import functools
from typing import Any

import numpy as np

from minidl.errors import ShapeError
from minidl.layers.base import Declaration, Layer
from minidl.layers.windows import LooksAtPlaces, Window, as_image, as_margins, as_padding, as_pair, slide
from minidl.settings import setting
from minidl.typing import Array, Shape


class _Pooling(LooksAtPlaces, Layer):
    """Base of the layers that make one number of each window of each channel."""

    pool_size: Any = setting(default=(2, 2), kw_only=False, check=as_pair, fixed=True)
    strides: Any = setting(default=None, check=as_pair, optional=True, fixed=True)
    padding: Any = setting(default="valid", check=as_padding, fixed=True)

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        self.window = self.slide_over(input_shape)
        if any(max(sides) >= size for sides, size in zip(self.window.margins, self.window.size, strict=True)):
            place = f"the image {input_shape} with padding {self.padding}"
            raise ShapeError(f"a window of {self.pool_size} may be outside of {place}: give less than the window")
        return (*self.window.places, input_shape[2])

    def slide_over(self, image: Shape) -> Window:
        """Return the layer's window over images of this shape."""
        return slide(image, self.pool_size, self.strides or self.pool_size, self.padding)


class MaxPool2D(_Pooling):
    """Maximum of each window of each channel. If several are equal, the first one, row by row, gets the gradient.

    Parameters
    ----------
    pool_size : int or (height, width), default 2
    strides : int or (height, width), optional
        Steps of the window. The default is `pool_size`, so the windows do not overlap.
    padding : "valid", "same", int, (height, width) or ((top, bottom), (left, right)), default "valid"
        As for `Conv2D`. The padding is never the maximum.

    Shapes: (N, height, width, channels) -> (N, rows, columns, channels): (28, 28, 16) becomes (14, 14, 16) with
    MaxPool2D(2), and (27, 27, 16) with strides=1. dx is dy at the maximum of each window, and 0 elsewhere.

    Raises ShapeError at set-up if the samples are not images, or are smaller than the window.
    """

    picks_maxima = True

    def forward(self, x: Array, training: bool = False) -> Array:
        # First along the rows, then down the columns: the first of equal numbers, row by row, wins.
        (height, width), (down, along) = self.window.size, self.window.strides
        padded = self.window.pad(x, -np.inf)
        if not training:
            return _maxima(_maxima(padded, 2, width, along), 1, height, down)
        rows, columns = _maxima_and_winners(padded, 2, width, along)
        y, lines = _maxima_and_winners(rows, 1, height, down)
        self.saved = columns, lines
        return y

    def backward(self, dy: Array) -> Array:
        return self.unpool(dy, self.saved)

    def unpool(self, dy: Array, winners: tuple[Array, Array]) -> Array:
        """Return an array that is dy at the maxima of the input, and 0 elsewhere."""
        columns, lines = winners
        (height, width), (down, along) = self.window.size, self.window.strides
        padded_height, padded_width = self.window.padded
        drows = _to_winners(dy, lines, 1, padded_height, height, down)
        return self.window.crop(_to_winners(drows, columns, 2, padded_width, width, along))


class AveragePool2D(_Pooling):
    """Mean of each window of each channel, without the padding.

    Parameters
    ----------
    pool_size, strides, padding : optional
        As for `MaxPool2D`.

    Shapes: (N, height, width, channels) -> (N, rows, columns, channels), as `MaxPool2D`: (28, 28, 16) becomes
    (14, 14, 16). Each of the n entries of a window gets dy / n.

    Raises ShapeError at set-up if the samples are not images, or are smaller than the window.
    """

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        output_shape = super().build(input_shape, declare)
        ones = self.window.pad(np.ones((1, *input_shape[:2], 1), declare.dtype))
        self.counts: Array = sum(self.window.taps(ones))  # type: ignore[assignment]
        return output_shape

    def forward(self, x: Array, training: bool = False) -> Array:
        y: Array = sum(self.window.taps(self.window.pad(x)))  # type: ignore[assignment]
        y /= self.counts
        return y

    def backward(self, dy: Array) -> Array:
        padded = np.zeros((len(dy), *self.window.padded, dy.shape[3]), dy.dtype)
        share = np.divide(dy, self.counts, dtype=dy.dtype)
        for tap in self.window.taps(padded):
            tap[...] += share
        return self.window.crop(padded)


class GlobalAveragePool2D(LooksAtPlaces, Layer):
    """Mean of each channel over all pixels.

    Shapes: (N, height, width, channels) -> (N, channels): (7, 7, 64) becomes (64,). dx = dy / (height width).

    Raises ShapeError at set-up if the samples are not images.
    Source: Lin, Chen and Yan (2013), arXiv:1312.4400.
    """

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        self.image = as_image(input_shape)
        return (self.image[2],)

    def forward(self, x: Array, training: bool = False) -> Array:
        return x.mean(axis=(1, 2))

    def backward(self, dy: Array) -> Array:
        height, width, channels = self.image
        share = dy[:, np.newaxis, np.newaxis] / (height * width)
        return np.broadcast_to(share, (len(dy), height, width, channels)).copy()


class GlobalMaxPool2D(LooksAtPlaces, Layer):
    """Maximum of each channel over all pixels; of equal ones the first, row by row, gets the gradient.

    Shapes: (N, height, width, channels) -> (N, channels): (7, 7, 64) becomes (64,). dx is dy at the maximum, and 0
    elsewhere.

    Raises ShapeError at set-up if the samples are not images.
    """

    picks_maxima = True

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        self.image = as_image(input_shape)
        return (self.image[2],)

    def forward(self, x: Array, training: bool = False) -> Array:
        pixels = x.reshape(len(x), x.shape[1] * x.shape[2], x.shape[3])
        if training:
            self.saved = pixels.argmax(axis=1)
        return pixels.max(axis=1)

    def backward(self, dy: Array) -> Array:
        return self.unpool(dy, self.saved)

    def unpool(self, dy: Array, winners: Array) -> Array:
        """Return an array that is dy at the maximal pixels, and 0 elsewhere."""
        height, width, channels = self.image
        dx = np.zeros((len(dy), height * width, channels), dy.dtype)
        np.put_along_axis(dx, winners[:, np.newaxis], dy[:, np.newaxis], axis=1)
        return dx.reshape(len(dy), height, width, channels)


class ZeroPad2D(LooksAtPlaces, Layer):
    """Add rows and columns of zeros around images.

    Parameters
    ----------
    padding : int, (height, width) or ((top, bottom), (left, right)), default 1

    Shapes: (N, height, width, channels) -> (N, height + top + bottom, width + left + right, channels): (28, 28, 1)
    becomes (30, 30, 1). dx is dy without its margins.

    Raises ShapeError at set-up if the samples are not images.
    """

    padding: Any = setting(default=((1, 1), (1, 1)), kw_only=False, check=as_margins, fixed=True)

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        self.window = slide(as_image(input_shape), (1, 1), (1, 1), self.padding)
        return (*self.window.places, input_shape[2])

    def forward(self, x: Array, training: bool = False) -> Array:
        return self.window.pad(x)

    def backward(self, dy: Array) -> Array:
        return self.window.crop(dy).copy()


class UpSample2D(LooksAtPlaces, Layer):
    """Enlarge images by repeating each pixel (nearest neighbour).

    Parameters
    ----------
    size : int or (height, width), default 2

    Shapes: (N, height, width, channels) -> (N, height size[0], width size[1], channels): (7, 7, 16) becomes
    (14, 14, 16). dx is the sum of dy over the copies of a pixel.

    Raises ShapeError at set-up if the samples are not images.
    """

    size: Any = setting(default=(2, 2), kw_only=False, check=as_pair, fixed=True)

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        height, width, channels = as_image(input_shape)
        return height * self.size[0], width * self.size[1], channels

    def forward(self, x: Array, training: bool = False) -> Array:
        return x.repeat(self.size[0], axis=1).repeat(self.size[1], axis=2)

    def backward(self, dy: Array) -> Array:
        height, width, channels = self.input_shape or ()
        return dy.reshape(len(dy), height, self.size[0], width, self.size[1], channels).sum(axis=(2, 4))


def _taps(x: Array, axis: int, size: int, stride: int) -> list[Array]:
    """Return, for each entry of a window along an axis, a view of x at all window positions."""
    places = (x.shape[axis] - size) // stride + 1
    lines = x.swapaxes(0, axis)
    return [lines[entry : entry + (places - 1) * stride + 1 : stride].swapaxes(0, axis) for entry in range(size)]


def _maxima(x: Array, axis: int, size: int, stride: int) -> Array:
    """Return the maxima of windows along an axis."""
    return functools.reduce(np.maximum, _taps(x, axis, size, stride))


def _maxima_and_winners(x: Array, axis: int, size: int, stride: int) -> tuple[Array, Array]:
    """Return the maxima of windows along an axis, and the index of each (the first of equal ones) in its window."""
    first, *others = _taps(x, axis, size, stride)
    maxima, winners = first, np.zeros((), np.uint8)
    for entry, tap in enumerate(others, start=1):
        larger = (tap > maxima).view(np.uint8)
        winners = larger if entry == 1 else np.maximum(winners, larger * np.min_scalar_type(entry).type(entry))
        maxima = np.maximum(maxima, tap)
    return maxima, winners


def _to_winners(dy: Array, winners: Array, axis: int, length: int, size: int, stride: int) -> Array:
    """Return an array that is dy at the maxima of the windows along an axis, and 0 elsewhere."""
    shape = list(dy.shape)
    shape[axis] = length
    dx = np.zeros(shape, dy.dtype)
    for entry, tap in enumerate(_taps(dx, axis, size, stride)):
        if stride < size:
            tap[...] += dy * (winners == entry)
        else:  # each pixel is in at most one window
            np.multiply(dy, winners == entry, out=tap)
    return dx
