"""Blocks: layers that lead their input through others side by side, and join what comes out."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.errors import ArgumentError, ArgumentTypeError, ShapeError
from minidl.layers import Dense, Layer
from minidl.model import Sequential, build_or_check, own, take_in
from minidl.typing import Array, Shape

__all__ = ["Concatenate", "Residual"]


@dataclass(eq=False)
class Residual(Layer):
    """Layers with a shortcut around them, ``y = F(x) + P(x)``; P is the identity unless F changes the shape.

    Parameters
    ----------
    layers : Layer or list of Layer
        F. In paths it is called ``layers``: ``residual_1/layers/dense_1/weight``.
    projection : Layer or list of Layer, optional
        P, called ``projection``. Left out, it is the identity where F keeps the shape; where F maps vectors to
        vectors of another size it is made at build, ``Dense(outputs, use_bias=False)``.

    Shapes: (N, *input_shape) -> (N, *output shape of F). dx is what the backward passes of F and P make of dy, added
    up; the identity leaves dy as it is.

    Raises ShapeError at build when F(x) and P(x) have different shapes; ArgumentError and ArgumentTypeError for layers
    that a `Sequential` would not take either.
    Source: He et al. (2015), arXiv:1512.03385.
    """

    layers: Layer | Sequence[Layer]
    projection: Layer | Sequence[Layer] | None = None

    def __post_init__(self) -> None:
        self.layers = self._residual = _as_branch(self.layers, "layers")
        self._shortcut: Sequential | None = None
        if self.projection is not None:
            self.projection = self._shortcut = _as_branch(self.projection, "projection")
        elif self._residual.name == "projection":
            raise ArgumentError(
                f"{type(self).__name__}: its layers have the name 'projection', which is that of its shortcut"
            )
        take_in(self._branches(), self)

    def _branches(self) -> list[Sequential]:
        return [self._residual] if self._shortcut is None else [self._residual, self._shortcut]

    def sublayers(self) -> Mapping[str, Layer]:
        return {str(branch.name): branch for branch in self._branches()}

    def build(self, input_shape: Shape, rng: np.random.Generator) -> Shape:
        residual_rng, shortcut_rng = rng.spawn(2)
        shape = build_or_check(self._residual, input_shape, residual_rng)
        if self._shortcut is None and shape != input_shape:
            self._shortcut = self._make_projection(input_shape, shape)
            take_in([self._shortcut], self)
            self.take_values_from(self._stored)  # those of the new layer, too
        projected = input_shape
        if self._shortcut is not None:
            projected = build_or_check(self._shortcut, input_shape, shortcut_rng)
        if projected != shape:
            raise ShapeError(f"{self.place} adds {shape} of its layers to {projected} of its projection, per sample")
        return shape

    def _make_projection(self, input_shape: Shape, shape: Shape) -> Sequential:
        if not len(input_shape) == len(shape) == 1:
            raise ShapeError(
                f"{self.place} cannot add its input {input_shape} to {shape} of its layers, per sample: give "
                "projection=, layers that map the one shape to the other"
            )
        return Sequential([Dense(shape[0], use_bias=False)], dtype=self.dtype, name="projection")

    def unbuild(self) -> None:
        super().unbuild()
        if self.projection is None:
            self._shortcut = None

    def require_input_gradient(self, needed: bool = True) -> None:
        _require_of_branches(self, needed)

    def forward(self, x: Array, training: bool = False) -> Array:
        self.check_input(x)
        shortcut = x if self._shortcut is None else self._shortcut.forward(x, training=training)
        return self._residual.forward(x, training=training) + shortcut

    def backward(self, dy: Array) -> Array | None:
        dx = self._residual.backward(dy)
        shortcut = dy if self._shortcut is None else self._shortcut.backward(dy)
        return None if dx is None or shortcut is None else dx + shortcut

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        own(self._branches(), self)


@dataclass(eq=False)
class Concatenate(Layer):
    """Layers side by side on one input, their outputs joined: ``y = (F_1(x), F_2(x), ...)``.

    Parameters
    ----------
    branches : list of Layer or list of Layer
        The F_i: each a layer, or a list of layers that follow each other. In paths they are called ``branch_1``,
        ``branch_2``, or by their names: ``concatenate_1/branch_2/dense_1/weight``.
    axis : int, default -1
        The axis of y along which they are joined: the features, or the channels of images. Not 0, which is the batch.

    Shapes: (N, *input_shape) -> (N, ...), the sizes along `axis` added up. dx is the sum over i of what the backward
    pass of F_i makes of its part of dy.

    Raises ShapeError at build when the outputs differ along another axis; ArgumentError and ArgumentTypeError for
    layers that a `Sequential` would not take either.
    Source: Szegedy et al. (2014), arXiv:1409.4842.
    """

    branches: Sequence[Layer | Sequence[Layer]]
    axis: int = -1

    def __post_init__(self) -> None:
        kind = type(self).__name__
        if not isinstance(self.axis, int | np.integer) or isinstance(self.axis, bool):
            raise ArgumentTypeError(f"{kind}: axis is {self.axis!r}; it must be a whole number")
        if self.axis == 0:
            raise ArgumentError(f"{kind}: axis is 0, the batch; it must be another, such as -1 for the features")
        if not isinstance(self.branches, Sequence) or not self.branches:
            raise ArgumentTypeError(f"{kind} takes a list of branches, not {self.branches!r}")
        self.branches = self._branches = tuple(
            _as_branch(branch, f"branch_{index}") for index, branch in enumerate(self.branches, start=1)
        )
        take_in(self._branches, self)

    def sublayers(self) -> Mapping[str, Layer]:
        return {str(branch.name): branch for branch in self._branches}

    def build(self, input_shape: Shape, rng: np.random.Generator) -> Shape:
        rngs = rng.spawn(len(self._branches))
        shapes = [
            build_or_check(branch, input_shape, own_rng) for branch, own_rng in zip(self._branches, rngs, strict=True)
        ]
        axes = len(shapes[0]) + 1
        if not -axes < self.axis < axes:
            raise ShapeError(f"{self.place} has no axis {self.axis} to join outputs {shapes[0]} per sample along")
        axis = self.axis % axes - 1  # among those of a sample
        if len({(*shape[:axis], None, *shape[axis + 1 :]) for shape in shapes}) > 1:
            raise ShapeError(
                f"{self.place} cannot join outputs {', '.join(map(str, shapes))} per sample: along all axes but "
                f"{self.axis} they must have one size"
            )
        sizes = [shape[axis] for shape in shapes]
        self._cuts = list(itertools.accumulate(sizes[:-1]))
        return (*shapes[0][:axis], sum(sizes), *shapes[0][axis + 1 :])

    def require_input_gradient(self, needed: bool = True) -> None:
        _require_of_branches(self, needed)

    def forward(self, x: Array, training: bool = False) -> Array:
        self.check_input(x)
        return np.concatenate([branch.forward(x, training=training) for branch in self._branches], axis=self.axis)

    def backward(self, dy: Array) -> Array | None:
        parts = np.split(dy, self._cuts, axis=self.axis)
        gradients = [branch.backward(part) for branch, part in zip(self._branches, parts, strict=True)]
        if not self.needs_input_gradient:
            return None
        first, *others = (gradient for gradient in gradients if gradient is not None)
        return sum(others, start=first)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        own(self._branches, self)


def _as_branch(layers: Layer | Sequence[Layer], name: str) -> Sequential:
    """Return a Sequential of `layers`, or the one that they are, named where it has no name."""
    given = [layers] if isinstance(layers, Layer) else layers
    branch = layers if isinstance(layers, Sequential) else Sequential(given)
    if branch.loss:
        raise ArgumentError(f"a block cannot hold a loss, {branch.loss!r}: only the outermost model has one")
    if branch.name is None:
        branch.name = name
    return branch


def _require_of_branches(block: Layer, needed: bool) -> None:
    """Ask each branch for the gradient of the block's input only where that is needed: they all begin there."""
    block.needs_input_gradient = needed
    for branch in block.sublayers().values():
        branch.require_input_gradient(needed)
