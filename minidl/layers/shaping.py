"""Layers that rearrange or rescale the input and learn nothing."""

import functools
import math
from dataclasses import field
from typing import Any

from minidl.errors import ArgumentError, ShapeError
from minidl.layers.base import Declaration, Layer
from minidl.settings import as_number, as_shape, setting
from minidl.typing import Array, Shape


def count_features(layer: Layer, input_shape: Shape) -> int:
    """Return the size of the last axis of a layer's samples; raise ShapeError if they are single numbers."""
    if not input_shape:
        raise ShapeError(f"{type(layer).__name__} expects samples with an axis of features but got single numbers")
    return input_shape[-1]


class Reshape(Layer):
    """Give each sample the shape `target_shape`; its numbers keep their (row-major) order.

    Parameters
    ----------
    target_shape : int or tuple of int
        The new shape of one sample. One size may be -1; it is inferred from the others.

    Shapes: (N, *input_shape) -> (N, *target_shape). dx = dy in the input's shape.

    Raises ShapeError at build if the two shapes have different numbers of elements, and ArgumentError for padded
    sequences whose positions would not stay the same.
    """

    target_shape: Any = setting(kw_only=False, check=functools.partial(as_shape, rest=-1), fixed=True)
    takes_integers = True

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        sizes, elements = self.target_shape, math.prod(input_shape)
        known = math.prod(size for size in sizes if size != -1)
        shape = tuple(elements // known if size == -1 else size for size in sizes)
        if math.prod(shape) != elements:
            raise ShapeError(f"{type(self).__name__} cannot give samples of shape {input_shape} the shape {sizes}")
        return shape

    def forward(self, x: Array, training: bool = False) -> Array:
        return x.reshape(len(x), *(self.output_shape or ()))

    def backward(self, dy: Array) -> Array:
        return dy.reshape(len(dy), *(self.input_shape or ())).copy()

    def mask_after(self, x: Array | None, mask: Array | None) -> Array | None:
        if (kept := super().mask_after(x, mask)) is mask:
            return kept
        cure = "pool the positions before it, score each, as with position_wise=True, or leave padding_id out"
        raise ArgumentError(f"{type(self).__name__} cannot leave padding out: {cure}")


class Flatten(Reshape):
    """Make each sample one-dimensional.

    Shapes: (N, ...) -> (N, product of the sizes). dx = dy in the input's shape.

    Raises ArgumentError after a layer that masks padding: pool their positions first, or score each of them.
    """

    target_shape: Any = field(default=(-1,), init=False, repr=False)


class Rescale(Layer):
    """Scale and shift, ``y = scale x + offset``; dx = scale dy.

    As the first layer it takes uint8 pixels, so a data set needs only one byte per pixel in memory.
    ``Rescale(1 / 255)`` maps 0 .. 255 to 0 .. 1.

    Parameters
    ----------
    scale : float
    offset : float, default 0

    Shapes: (N, ...) -> (N, ...).
    """

    scale: float = setting(kw_only=False, check=as_number)
    offset: float = setting(default=0.0, check=as_number)
    takes_integers = True

    def forward(self, x: Array, training: bool = False) -> Array:
        y = x.astype(self.dtype)
        y *= self.scale
        if self.offset:
            y += self.offset
        return y

    def backward(self, dy: Array) -> Array:
        return dy * self.scale
