"""Pooling: one number for each window of an image, and layers that change the size of images in other ways."""

from typing import Any

import numpy as np

from minidl.errors import ShapeError
from minidl.layers.base import Declaration, Layer
from minidl.layers.windows import as_image, as_margins, as_padding, as_pair, slide
from minidl.settings import setting
from minidl.typing import Array, Shape


class _Pooling(Layer):
    """Base of the layers that make one number of each window of each channel."""

    pool_size: Any = setting(default=(2, 2), kw_only=False, check=as_pair, fixed=True)
    strides: Any = setting(default=None, check=as_pair, optional=True, fixed=True)
    padding: Any = setting(default="valid", check=as_padding, fixed=True)

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        self.window = slide(input_shape, self.pool_size, self.strides or self.pool_size, self.padding)
        if any(max(sides) >= size for sides, size in zip(self.window.margins, self.pool_size, strict=True)):
            place = f"the image {input_shape} with padding {self.padding}"
            raise ShapeError(f"a window of {self.pool_size} may lie outside of {place}: give less than the window")
        return (*self.window.places, input_shape[2])

    def spread(self, parts: Any) -> Array:
        """Return the gradient by the images: the sum, at each pixel, of what the taps of the windows give it."""
        height, width, channels = self.input_shape or ()
        (top, bottom), (left, right) = self.window.margins
        parts = list(parts)
        padded = np.zeros((len(parts[0]), top + height + bottom, left + width + right, channels), parts[0].dtype)
        for tap, part in zip(self.window.taps(padded), parts, strict=True):
            tap[...] += part
        return padded[:, top : top + height, left : left + width]


class MaxPool2D(_Pooling):
    """Maximum of each window of each channel; of equal ones the first, row by row, gets the gradient.

    Parameters
    ----------
    pool_size : int or (height, width), default 2
    strides : int or (height, width), optional
        Steps of the window; by default `pool_size`, so that no two windows overlap.
    padding : "valid", "same", int, (height, width) or ((top, bottom), (left, right)), default "valid"
        As for `Conv2D`. What lies outside of the image does not count.

    Shapes: (N, height, width, channels) -> (N, rows, columns, channels): (28, 28, 16) becomes (14, 14, 16) with
    MaxPool2D(2), and (27, 27, 16) with strides=1. dx is dy at the maximum of each window, and 0 elsewhere.

    Raises ShapeError when it is set up for samples that are no images, or smaller than the window.
    """

    def forward(self, x: Array, training: bool = False) -> Array:
        first, *others = self.window.taps(self.window.pad(x, -np.inf))
        y = first.copy()
        if not training:
            for tap in others:
                np.maximum(y, tap, out=y)
            return y
        winners = np.zeros(y.shape, np.min_scalar_type(len(others)))
        for index, tap in enumerate(others, start=1):
            np.copyto(winners, index, where=tap > y)
            np.maximum(y, tap, out=y)
        self.saved = winners
        return y

    def backward(self, dy: Array) -> Array:
        return self.spread(dy * (self.saved == index) for index in range(self.pool_size[0] * self.pool_size[1]))


class AveragePool2D(_Pooling):
    """Mean of each window of each channel, over what lies within the image.

    Parameters
    ----------
    pool_size, strides, padding : optional
        As for `MaxPool2D`.

    Shapes: (N, height, width, channels) -> (N, rows, columns, channels), as `MaxPool2D`: (28, 28, 16) becomes
    (14, 14, 16). Each entry of a window of n gets dy / n.

    Raises ShapeError when it is set up for samples that are no images, or smaller than the window.
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
        share = np.divide(dy, self.counts, dtype=dy.dtype)
        return self.spread([share] * (self.pool_size[0] * self.pool_size[1]))


class GlobalAveragePool2D(Layer):
    """Mean of each channel over all pixels.

    Shapes: (N, height, width, channels) -> (N, channels): (7, 7, 64) becomes (64,). dx = dy / (height width).

    Raises ShapeError when it is set up for samples that are no images.
    Source: Lin, Chen and Yan (2013), arXiv:1312.4400.
    """

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        return (as_image(input_shape)[2],)

    def forward(self, x: Array, training: bool = False) -> Array:
        return x.mean(axis=(1, 2))

    def backward(self, dy: Array) -> Array:
        height, width, channels = self.input_shape or ()
        share = dy[:, np.newaxis, np.newaxis] / (height * width)
        return np.broadcast_to(share, (len(dy), height, width, channels)).copy()


class GlobalMaxPool2D(Layer):
    """Maximum of each channel over all pixels; of equal ones the first, row by row, gets the gradient.

    Shapes: (N, height, width, channels) -> (N, channels): (7, 7, 64) becomes (64,). dx is dy at the maximum, and 0
    elsewhere.

    Raises ShapeError when it is set up for samples that are no images.
    """

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        return (as_image(input_shape)[2],)

    def forward(self, x: Array, training: bool = False) -> Array:
        pixels = x.reshape(len(x), x.shape[1] * x.shape[2], x.shape[3])
        if training:
            self.saved = pixels.argmax(axis=1)
        return pixels.max(axis=1)

    def backward(self, dy: Array) -> Array:
        height, width, channels = self.input_shape or ()
        dx = np.zeros((len(dy), height * width, channels), dy.dtype)
        np.put_along_axis(dx, self.saved[:, np.newaxis], dy[:, np.newaxis], axis=1)
        return dx.reshape(len(dy), height, width, channels)


class ZeroPad2D(Layer):
    """Put rows and columns of zeros around images.

    Parameters
    ----------
    padding : int, (height, width) or ((top, bottom), (left, right)), default 1

    Shapes: (N, height, width, channels) -> (N, height + top + bottom, width + left + right, channels): (28, 28, 1)
    becomes (30, 30, 1). dx is dy without its margins.

    Raises ShapeError when it is set up for samples that are no images.
    """

    padding: Any = setting(default=((1, 1), (1, 1)), kw_only=False, check=as_margins, fixed=True)

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        self.window = slide(as_image(input_shape), (1, 1), (1, 1), self.padding)
        return (*self.window.places, input_shape[2])

    def forward(self, x: Array, training: bool = False) -> Array:
        return self.window.pad(x)

    def backward(self, dy: Array) -> Array:
        height, width, _ = self.input_shape or ()
        (top, _), (left, _) = self.padding
        return dy[:, top : top + height, left : left + width].copy()


class UpSample2D(Layer):
    """Repeat each pixel of images: the nearest neighbour, enlarged.

    Parameters
    ----------
    size : int or (height, width), default 2

    Shapes: (N, height, width, channels) -> (N, height size[0], width size[1], channels): (7, 7, 16) becomes
    (14, 14, 16). dx is the sum of dy over the copies of a pixel.

    Raises ShapeError when it is set up for samples that are no images.
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
