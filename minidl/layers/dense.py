"""The fully connected layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minidl.errors import ShapeError
from minidl.functional import sum_rows
from minidl.initializers import Initializer, get_initializer
from minidl.inputs import check_flag, check_whole_number
from minidl.layers.base import Layer
from minidl.regularizers import Constraint, Regularizer, check_regularizer
from minidl.typing import Array, Shape


@dataclass(eq=False)
class Dense(Layer):
    """Fully connected layer, ``y = x W + b``.

    Parameters
    ----------
    units : int, > 0
        Width of the output.
    initializer : Initializer or its name, default "he_normal"
        Draws ``W`` of shape (inputs, units); the bias starts at zero.
    use_bias : bool, default True
        Without it, ``y = x W``.
    regularizer : Regularizer, optional
        Adds a penalty of ``W`` to the loss, as in ``Dense(64, regularizer=L2(1e-4))``. Once the layer is built it
        stays, and its settings may be changed: ``layer.regularizer.strength = 1e-5``.
    constraint : Constraint, optional
        Holds ``W`` to a limit after each step, as in ``Dense(64, constraint=MaxNorm(3))``. It stays likewise.

    Shapes: (N, inputs) -> (N, units). Gradients: dW = x^T dy, db = sum_n dy_n, dx = dy W^T.

    Raises ShapeError at build when the input per sample is not one-dimensional.
    Source: He et al. (2015), arXiv:1502.01852, for the initialisation.
    """

    units: int
    initializer: Initializer | str = "he_normal"
    use_bias: bool = True
    regularizer: Regularizer | None = None
    constraint: Constraint | None = None

    def __post_init__(self) -> None:
        kind = type(self).__name__
        check_whole_number(self.units, f"{kind}: units", 1)
        check_flag(self.use_bias, f"{kind}: use_bias")
        get_initializer(self.initializer)  # a misspelt name is an error here, where it was written
        check_regularizer(self.regularizer, self.constraint, kind)

    def build(self, input_shape: Shape, rng: np.random.Generator) -> Shape:
        if len(input_shape) != 1:
            raise ShapeError(
                f"{self.place} expects input (features,) per sample but got {input_shape}: put Flatten() before it"
            )
        self.weight = self.add_parameter(
            "weight",
            (input_shape[0], self.units),
            self.initializer,
            regularizer=self.regularizer,
            constraint=self.constraint,
        )
        if self.use_bias:
            self.bias = self.add_parameter("bias", (self.units,), "zeros")
        return (self.units,)

    def forward(self, x: Array, training: bool = False) -> Array:
        self.check_input(x)
        if training:
            self.saved = x
        y = x @ self.weight.value
        if self.use_bias:
            y += self.bias.value
        return y

    def backward(self, dy: Array) -> Array | None:
        x = self.saved
        np.matmul(x.T, dy, out=self.weight.gradient)
        if self.use_bias:
            sum_rows(dy, out=self.bias.gradient)
        if not self.needs_input_gradient:
            return None
        if self.units == 1:  # an outer product, which OpenBLAS takes five times as long for
            return dy * self.weight.value.T
        return dy @ self.weight.value.T
