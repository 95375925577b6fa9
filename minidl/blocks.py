"""Blocks: layers that lead their input through others side by side, and join what comes out."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minidl.errors import ArgumentError, ArgumentTypeError, ShapeError, located
from minidl.layers import Declaration, Dense, Layer
from minidl.model import Sequential, name_layers
from minidl.settings import setting
from minidl.typing import Array, Shape

Branch = Layer | Sequence[Layer]


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

    Raises ShapeError when it is set up and F(x) and P(x) have different shapes; ArgumentError and ArgumentTypeError for
    layers that a `Sequential` would not take either.
    Source: He et al. (2015), arXiv:1512.03385.
    """

    layers: Branch = setting(kw_only=False, fixed=True)
    projection: Branch | None = setting(default=None, fixed=True)
    takes_integers = True  # and hands them to each layer that does

    def __post_init__(self) -> None:
        self.layers = self._residual = _as_branch(self.layers, "layers")
        self._shortcut: Sequential | None = None
        if self.projection is not None:
            self.projection = self._shortcut = _as_branch(self.projection, "projection")
        elif self._residual.name == "projection":
            raise ArgumentError("Residual: its layers have the name 'projection', which is that of its shortcut")
        name_layers([self._residual, self._shortcut] if self._shortcut else [self._residual])

    def sublayers(self) -> Mapping[str, Layer]:
        branches = [self._residual] if self._shortcut is None else [self._residual, self._shortcut]
        return {str(branch.name): branch for branch in branches}

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        if self.layers is not self._residual or self.projection not in {None, self._shortcut}:
            self.__post_init__()  # somebody has changed them since
        shape = declare.sublayer(str(self._residual.name), input_shape)
        if self._shortcut is None and shape != input_shape:
            if not len(input_shape) == len(shape) == 1:
                raise ShapeError(
                    f"Residual cannot add its input {input_shape} to {shape} of its layers, per sample: give "
                    "projection=, layers that map the one shape to the other"
                )
            self._shortcut = Sequential([Dense(shape[0], use_bias=False)], name="projection")
            self._shortcut.trainable = self.own_trainable
        projected = input_shape
        if self._shortcut is not None:
            projected = declare.sublayer(str(self._shortcut.name), input_shape)
        if projected != shape:
            raise ShapeError(f"Residual adds {shape} of its layers to {projected} of its projection, per sample")
        return shape

    def forward(self, x: Array, training: bool = False) -> Array:
        shortcut = x if self._shortcut is None else _run(self, self._shortcut, "forward", x, training)
        # The sum of integers, or with them, is one of the model's numbers.
        return np.add(_run(self, self._residual, "forward", x, training), shortcut, dtype=self.dtype)

    def backward(self, dy: Array) -> Array | None:
        _ask_for_input_gradients(self)
        dx = _run(self, self._residual, "backward", dy)
        shortcut = dy if self._shortcut is None else _run(self, self._shortcut, "backward", dy)
        return None if dx is None or shortcut is None else dx + shortcut


class Concatenate(Layer):
    """Layers side by side on one input, their outputs joined: ``y = (F_1(x), F_2(x), ...)``.

    Parameters
    ----------
    branches : list of Layer or list of Layer
        The F_i: each a layer, or a list of layers that follow each other; ``Rescale(1)`` hands the input on as it is.
        In paths they are called ``branch_1``, ``branch_2``, or by their names:
        ``concatenate_1/branch_2/dense_1/weight``.
    axis : int, default -1
        The axis of y along which they are joined: the features, or the channels of images. Not 0, which is the batch.

    Shapes: (N, *input_shape) -> (N, ...), the sizes along `axis` added up. dx is the sum over i of what the backward
    pass of F_i makes of its part of dy.

    Raises ShapeError when it is set up and the outputs differ along another axis; ArgumentError and ArgumentTypeError
    for layers that a `Sequential` would not take either.
    Source: Szegedy et al. (2014), arXiv:1409.4842.
    """

    branches: Sequence[Branch] = setting(kw_only=False, fixed=True)
    axis: int = setting(default=-1, low=-100, whole=True, fixed=True)
    takes_integers = True

    def __post_init__(self) -> None:
        if self.axis == 0:
            raise ArgumentError("Concatenate: axis is 0, the batch; it must be another, such as -1 for the features")
        if not isinstance(self.branches, Sequence) or not self.branches:
            raise ArgumentTypeError(f"Concatenate takes a list of branches, not {self.branches!r}")
        self.branches = self._branches = tuple(
            _as_branch(branch, f"branch_{index}") for index, branch in enumerate(self.branches, start=1)
        )
        name_layers(self._branches)

    def sublayers(self) -> Mapping[str, Layer]:
        return {str(branch.name): branch for branch in self._branches}

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        if self.branches is not self._branches:
            self.__post_init__()  # somebody has changed them since
        shapes = [declare.sublayer(name, input_shape) for name in self.sublayers()]
        axes = len(shapes[0]) + 1
        if not -axes < self.axis < axes:
            raise ShapeError(f"Concatenate has no axis {self.axis} to join outputs {shapes[0]} per sample along")
        axis = self.axis % axes - 1  # among those of a sample
        if len({(*shape[:axis], None, *shape[axis + 1 :]) for shape in shapes}) > 1:
            raise ShapeError(
                f"Concatenate cannot join outputs {', '.join(map(str, shapes))} per sample: along all axes but "
                f"{self.axis} they must have one size"
            )
        sizes = [shape[axis] for shape in shapes]
        self._cuts = list(itertools.accumulate(sizes[:-1]))
        return (*shapes[0][:axis], sum(sizes), *shapes[0][axis + 1 :])

    def forward(self, x: Array, training: bool = False) -> Array:
        outputs = [_run(self, branch, "forward", x, training) for branch in self._branches]
        return np.concatenate(outputs, axis=self.axis, dtype=self.dtype)

    def backward(self, dy: Array) -> Array | None:
        _ask_for_input_gradients(self)
        parts = np.split(dy, self._cuts, axis=self.axis)
        gradients = [_run(self, branch, "backward", part) for branch, part in zip(self._branches, parts, strict=True)]
        return None if any(each is None for each in gradients) else sum(gradients[1:], start=gradients[0])


def _as_branch(layers: Any, name: str) -> Sequential:
    """Return a Sequential of `layers`, or the one that they are, named where it has no name."""
    given = [layers] if isinstance(layers, Layer) else layers
    if given is None or (isinstance(given, Sequence) and not given):
        raise ArgumentError(f"{name} has no layers: for what hands the input on as it is, give Rescale(1)")
    branch = layers if isinstance(layers, Sequential) else Sequential(given)
    if branch.loss:
        raise ArgumentError(f"a block cannot hold a loss, {branch.loss!r}: only the outermost model has one")
    if branch.name is None:
        branch.name = name
    return branch


def _run(block: Layer, branch: Layer, name: str, *arguments: Any) -> Any:
    """Return what a pass of a branch returns; an error in it gets the branch's place."""
    try:
        return getattr(branch, name)(*arguments)
    except Exception as error:
        raise located(error, block.place_of(str(branch.name))) from error


def _ask_for_input_gradients(block: Layer) -> None:
    """Ask each branch for the gradient of the block's input only where that is needed: they all begin there."""
    for branch in block.sublayers().values():
        branch.needs_input_gradient = block.needs_input_gradient
