"""Blocks: layers that pass their input through several branches and join the outputs."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np

from minidl.errors import ShapeError, located, naming
from minidl.layers import Declaration, Dense, Layer
from minidl.model import Sequential, name_layers
from minidl.settings import setting
from minidl.typing import Array, Shape


def as_branch(layers: Any, place: str) -> Sequential:
    """Return a Sequential of `layers`, one layer or several. A Sequential is returned unchanged."""
    if isinstance(layers, Sequential):
        return layers
    with naming(place):
        return Sequential([layers] if isinstance(layers, Layer) else layers)


def layers_of(setting: Any) -> Any:
    """Return the list of layers from which `as_branch` made a branch. Return other settings unchanged.

    Lists halve the nesting depth in a file. Python could hardly read deeper files.
    """
    return [*setting.layers] if type(setting) is Sequential else setting


def _as_branches(branches: Any, place: str) -> tuple[Sequential, ...]:
    found = tuple(as_branch(branch, f"{place}[{index}]") for index, branch in enumerate(branches))
    name_layers(found, "branch")
    return found


class Residual(Layer):
    """Layers with a shortcut around them, ``y = F(x) + P(x)``. P is the identity unless F changes the shape.

    Parameters
    ----------
    layers : Layer or list of Layer
        F. In paths it is called ``layers``: ``residual_1/layers/dense_1/weight``.
    projection : Layer or list of Layer, optional
        P, called ``projection``. By default, it is the identity if F keeps the shape. Else the layer is made at build
        and stored here: ``Dense(outputs, use_bias=False)`` for vectors and sequences, ``Conv2D(channels, 1,
        use_bias=False)`` for images. Its strides are chosen so that ceil(size / stride) is the size of F's output, if
        such strides exist.

    Shapes: (N, *input_shape) -> (N, *output shape of F). dx is the sum of the backward passes of F and P for dy; the
    identity passes dy on unchanged.

    Raises ShapeError at set-up if F(x) and P(x) have different shapes; ArgumentError and ArgumentTypeError for layers
    that `Sequential` does not accept either.
    Source: He et al. (2015), arXiv:1512.03385.
    """

    layers: Any = setting(kw_only=False, check=as_branch, fixed=True)
    projection: Any = setting(default=None, check=as_branch, fixed=True)
    takes_integers = takes_mask = True  # and passes them to each layer that takes them

    def configuration(self) -> dict[str, Any]:
        return {name: layers_of(value) for name, value in super().configuration().items()}

    def sublayers(self) -> Mapping[str, Layer]:
        return {"layers": self.layers} | ({"projection": self.projection} if self.projection else {})

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        shape = declare.sublayer("layers", input_shape)
        if self.projection is None and shape != input_shape and (made := _projection(input_shape, shape)):
            self.projection = made
            self.projection.trainable = self.own_trainable
        projected = declare.sublayer("projection", input_shape) if self.projection else input_shape
        if projected != shape:
            raise ShapeError(f"Residual cannot add {projected} to {shape} of its layers: give projection=, or another")
        return shape

    def forward(self, x: Array, training: bool = False, mask: Array | None = None) -> Array:
        shortcut = _run(self, "projection", self.projection.forward, x, training, mask) if self.projection else x
        # A sum that contains integers is converted to the model's type.
        return np.add(_run(self, "layers", self.layers.forward, x, training, mask), shortcut, dtype=self.dtype)

    def mask_after(self, x: Array | None, mask: Array | None) -> Array | None:
        return cast("Array | None", self.layers.mask_after(x, mask))

    def backward(self, dy: Array) -> Array | None:
        _ask_for_input_gradients(self)
        dx = _run(self, "layers", self.layers.backward, dy)
        shortcut = _run(self, "projection", self.projection.backward, dy) if self.projection else dy
        return None if dx is None or shortcut is None else dx + shortcut


class Concatenate(Layer):
    """Parallel branches with the same input; their outputs are joined: ``y = (F_1(x), F_2(x), ...)``.

    Parameters
    ----------
    branches : list of Layer or list of Layer
        The F_i: each is a layer, or a list of layers that follow each other. ``Rescale(1)`` passes the input on
        unchanged. In paths they are called ``branch_1``, ``branch_2``, or by their names:
        ``concatenate_1/branch_2/dense_1/weight``.
    axis : int, default -1
        The axis of y along which the outputs are joined: the features, or the channels of images. It cannot be 0, the
        batch axis.

    Shapes: (N, *input_shape) -> (N, ...); the sizes along `axis` are added up. dx is the sum of the backward passes of
    all F_i, each for its part of dy.

    Raises ShapeError at set-up if the outputs differ along another axis; ArgumentError and ArgumentTypeError for layers
    that `Sequential` does not accept either.
    Source: Szegedy et al. (2014), arXiv:1409.4842.
    """

    branches: Any = setting(kw_only=False, check=_as_branches, fixed=True)
    axis: int = setting(default=-1, low=-100, whole=True, fixed=True)
    takes_integers = takes_mask = True

    def configuration(self) -> dict[str, Any]:
        numbered = all(branch.name == f"branch_{number}" for number, branch in enumerate(self.branches, start=1))
        return super().configuration() | {"branches": [*map(layers_of, self.branches)] if numbered else self.branches}

    def sublayers(self) -> Mapping[str, Layer]:
        return {branch.name: branch for branch in self.branches}

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        shapes = [*map(declare.sublayer, self.sublayers(), itertools.repeat(input_shape))]
        axes = len(shapes[0]) + 1
        if not -axes < self.axis < axes or self.axis == 0:
            raise ShapeError(f"Concatenate has no axis {self.axis} to join outputs {shapes[0]} per sample along")
        axis = self.axis % axes - 1  # among the axes of a sample
        if len({(*shape[:axis], None, *shape[axis + 1 :]) for shape in shapes}) > 1:
            raise ShapeError(f"Concatenate cannot join outputs {shapes} per sample along axis {self.axis}")
        sizes = [shape[axis] for shape in shapes]
        self._cuts = list(itertools.accumulate(sizes[:-1]))
        return (*shapes[0][:axis], sum(sizes), *shapes[0][axis + 1 :])

    def forward(self, x: Array, training: bool = False, mask: Array | None = None) -> Array:
        outputs = [_run(self, branch.name, branch.forward, x, training, mask) for branch in self.branches]
        return np.concatenate(outputs, axis=self.axis, dtype=self.dtype)

    def mask_after(self, x: Array | None, mask: Array | None) -> Array | None:
        """Return which positions count in all branches or, if they join positions, the branches' masks in order."""
        made = [branch.mask_after(x, mask) for branch in self.branches]
        if not (known := [each for each in made if each is not None]):
            return None
        rows, axis = len(known[0]), self.axis % (len(self.output_shape or ()) + 1)
        if axis >= known[0].ndim:
            return np.logical_and.reduce(known)
        shapes = [(rows, *branch.output_shape[: known[0].ndim - 1]) for branch in self.branches]
        return np.concatenate([np.ones(s, bool) if m is None else m for m, s in zip(made, shapes, strict=True)], axis)

    def backward(self, dy: Array) -> Array | None:
        _ask_for_input_gradients(self)
        pairs = zip(self.branches, np.split(dy, self._cuts, axis=self.axis), strict=True)
        gradients = [_run(self, branch.name, branch.backward, part) for branch, part in pairs]
        return None if any(each is None for each in gradients) else sum(gradients[1:], start=gradients[0])


def _projection(before: Shape, after: Shape) -> Layer | None:
    """Return a layer that maps features to features, or images to images. None if no such layer gives the shape."""
    if len(before) == len(after) < 3 and before[:-1] == after[:-1]:
        return Dense(after[-1], use_bias=False)
    if not len(before) == len(after) == 3 or 0 in after:
        return None
    from minidl.layers import Conv2D

    strides = [-(-size // smaller) for size, smaller in zip(before[:2], after[:2], strict=True)]
    fits = all(-(-size // stride) == made for size, stride, made in zip(before, strides, after, strict=False))
    return Conv2D(after[2], 1, strides=strides, use_bias=False) if fits else None


def _run(block: Layer, name: str, run: Callable[..., Any], *arguments: Any) -> Any:
    """Run a pass of the branch with this name. An error in it names the branch."""
    try:
        return run(*arguments)
    except Exception as error:
        raise located(error, block.place_of(name)) from error


def _ask_for_input_gradients(block: Layer) -> None:
    """Ask each branch for the gradient of its input only if the block needs it: all branches have the block's input."""
    for branch in block.sublayers().values():
        branch.needs_input_gradient = block.needs_input_gradient
