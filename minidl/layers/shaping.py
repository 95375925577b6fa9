"""Layers that rearrange or rescale the input and learn nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from minidl.errors import ArgumentError, ShapeError
from minidl.inputs import as_shape, check_setting
from minidl.layers.base import Layer
from minidl.typing import Array, Shape


@dataclass(eq=False)
class Reshape(Layer):
    """Give each sample the shape `target_shape`; its numbers keep their (row-major) order.

    Parameters
    ----------
    target_shape : int or tuple of int
        The new shape of one sample; one size may be -1: what is left.

    Shapes: (N, *input_shape) -> (N, *target_shape). dx = dy in the input's shape.

    Raises ShapeError at build when the two shapes have different numbers of elements.
    """

    target_shape: int | Shape

    def __post_init__(self) -> None:
        self.target_shape = self._sizes()

    def build(self, input_shape: Shape, rng: np.random.Generator) -> Shape:
        sizes, elements = self._sizes(), math.prod(input_shape)
        known = math.prod(size for size in sizes if size != -1)
        shape = tuple(elements // known if size == -1 else size for size in sizes)
        if math.prod(shape) != elements:
            raise ShapeError(f"{self.place} cannot give samples of shape {input_shape} the shape {sizes}")
        return shape

    def _sizes(self) -> Shape:
        sizes = tuple(self.target_shape) if isinstance(self.target_shape, Iterable) else (self.target_shape,)
        as_shape(tuple(1 if size == -1 else size for size in sizes))
        if sizes.count(-1) > 1:
            raise ArgumentError(f"{type(self).__name__}: only one size of target_shape may be -1, not {sizes}")
        return tuple(int(size) for size in sizes)

    def forward(self, x: Array, training: bool = False) -> Array:
        self.check_input(x)
        return x.reshape(len(x), *(self.output_shape or ()))

    def backward(self, dy: Array) -> Array:
        return dy.reshape(len(dy), *(self.input_shape or ())).copy()


@dataclass(eq=False)
class Flatten(Reshape):
    """Make each sample one-dimensional.

    Shapes: (N, ...) -> (N, product of the sizes). dx = dy in the input's shape.
    """

    target_shape: int | Shape = field(default=-1, init=False, repr=False)


@dataclass(eq=False)
class Rescale(Layer):
    """Scale and shift, ``y = scale x + offset``; dx = scale dy.

    As the first layer it takes uint8 pixels as they are, so a data set stays in memory at one byte a pixel:
    ``Rescale(1 / 255)`` maps 0 .. 255 to 0 .. 1.

    Parameters
    ----------
    scale : float
    offset : float, default 0

    Shapes: (N, ...) -> (N, ...).
    """

    scale: float
    offset: float = 0.0
    casts_input = True

    def __post_init__(self) -> None:
        check_setting(self, "scale")
        check_setting(self, "offset")

    def forward(self, x: Array, training: bool = False) -> Array:
        y = x.astype(self.dtype)
        y *= self.scale
        if self.offset:
            y += self.offset
        return y

    def backward(self, dy: Array) -> Array:
        return dy * self.scale
