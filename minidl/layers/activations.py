"""Activations: element by element, except for Softmax. None has parameters or changes the shape.

Each stores only what its derivative needs; where the derivative can be had from the output ``y`` alone, that is ``y``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minidl import functional
from minidl.inputs import check_number
from minidl.layers.base import Layer
from minidl.typing import Array


class ReLU(Layer):
    """Rectified linear unit, ``y = max(x, 0)``; dx = dy where x > 0, else 0 (also at the kink x = 0).

    Shapes: (N, ...) -> (N, ...). Source: Nair and Hinton (2010), ICML.
    """

    def forward(self, x: Array, training: bool = False) -> Array:
        y = functional.relu(x)
        if training:
            self.saved = y
        return y

    def backward(self, dy: Array) -> Array:
        y = self.saved
        return dy * (y > 0)


@dataclass(eq=False)
class LeakyReLU(Layer):
    """ReLU that lets a part of negative inputs through: ``y = x`` where x > 0, else ``negative_slope x``.

    Parameters
    ----------
    negative_slope : float, default 0.01

    Shapes: (N, ...) -> (N, ...). dx = dy where x > 0, else negative_slope dy.
    Source: Maas, Hannun and Ng (2013), "Rectifier nonlinearities improve neural network acoustic models".
    """

    negative_slope: float = 0.01

    def __post_init__(self) -> None:
        # A NumPy float64 would turn float32 arrays into float64 ones.
        self.negative_slope = check_number(self.negative_slope, "LeakyReLU: negative_slope")

    def forward(self, x: Array, training: bool = False) -> Array:
        positive = x > 0
        if training:
            self.saved = positive
        return np.where(positive, x, self.negative_slope * x)

    def backward(self, dy: Array) -> Array:
        positive = self.saved
        return np.where(positive, dy, self.negative_slope * dy)


class Sigmoid(Layer):
    """Logistic function, ``y = 1 / (1 + exp(-x))``; dx = dy y (1 - y).

    Shapes: (N, ...) -> (N, ...), values in (0, 1). As the output of a classifier use the loss
    `SigmoidCrossEntropy` on the scores instead: it is exact where this layer saturates.
    """

    def forward(self, x: Array, training: bool = False) -> Array:
        y = functional.sigmoid(x)
        if training:
            self.saved = y
        return y

    def backward(self, dy: Array) -> Array:
        y = self.saved
        return dy * y * (1 - y)


class Tanh(Layer):
    """Hyperbolic tangent, ``y = tanh(x)``; dx = dy (1 - y^2).

    Shapes: (N, ...) -> (N, ...), values in (-1, 1).
    """

    def forward(self, x: Array, training: bool = False) -> Array:
        y = np.tanh(x)
        if training:
            self.saved = y
        return y

    def backward(self, dy: Array) -> Array:
        y = self.saved
        return dy * (1 - y * y)


class Softmax(Layer):
    """Probabilities over the last axis, ``y_k = exp(x_k) / sum_j exp(x_j)``.

    The Jacobian dy_k / dx_j = y_k (delta_kj - y_j) gives dx = y (dy - sum_k dy_k y_k): each input moves all outputs.

    Shapes: (N, ..., K) -> (N, ..., K), rows that sum to 1. As the output of a classifier use the loss
    `SoftmaxCrossEntropy` on the scores instead: it is exact where this layer underflows.
    """

    def forward(self, x: Array, training: bool = False) -> Array:
        y = functional.softmax(x)
        if training:
            self.saved = y
        return y

    def backward(self, dy: Array) -> Array:
        y = self.saved
        return y * (dy - (dy * y).sum(axis=-1, keepdims=True))
