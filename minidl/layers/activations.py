"""Smooth activations. All but Softmax work on each element alone. None has parameters or changes the shape.

Each stores only what its derivative needs. If the output ``y`` alone gives the derivative, it stores only ``y``.
"""

import math
from typing import Any, ClassVar

import numpy as np

from minidl import functional
from minidl.layers.base import Layer
from minidl.normal import probability_and_density
from minidl.settings import as_flag, setting
from minidl.typing import Array


class _FromOutput(Layer):
    """Base of the activations that store only their output ``y``, because it gives the derivative."""

    activate: ClassVar[Any]
    """The function, for an array of any shape."""

    def forward(self, x: Array, training: bool = False) -> Array:
        y: Array = self.activate(x)
        if training:
            self.saved = y
        return y


class Sigmoid(_FromOutput):
    """Logistic function, ``y = 1 / (1 + exp(-x))``; dx = dy y (1 - y).

    Shapes: (N, ...) -> (N, ...), values in (0, 1). For the output of a classifier, use the loss
    `SigmoidCrossEntropy` on the scores instead: it is exact where this layer saturates.
    """

    activate = staticmethod(functional.sigmoid)

    def backward(self, dy: Array) -> Array:
        y = self.saved
        return dy * y * (1 - y)


class Tanh(_FromOutput):
    """Hyperbolic tangent, ``y = tanh(x)``; dx = dy (1 - y^2).

    Shapes: (N, ...) -> (N, ...), values in (-1, 1).
    """

    activate = staticmethod(np.tanh)

    def backward(self, dy: Array) -> Array:
        y = self.saved
        return dy * (1 - y * y)


class Softmax(_FromOutput):
    """Probabilities over the last axis, ``y_k = exp(x_k) / sum_j exp(x_j)``.

    The Jacobian dy_k / dx_j = y_k (delta_kj - y_j) gives dx = y (dy - sum_k dy_k y_k): each input changes all outputs.

    Shapes: (N, ..., K) -> (N, ..., K), rows that sum to 1. For the output of a classifier, use the loss
    `SoftmaxCrossEntropy` on the scores instead: it is exact where this layer underflows.
    """

    activate = staticmethod(functional.softmax)

    def backward(self, dy: Array) -> Array:
        y = self.saved
        return y * (dy - (dy * y).sum(axis=-1, keepdims=True))


class GELU(Layer):
    """Gaussian error linear unit, ``y = x P(x)``, with P(x) the probability that a standard normal number is below x.

    Parameters
    ----------
    approximate : bool, default False
        Use ``P(x) = (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2``, whose error is less than 0.0002.

    Shapes: (N, ...) -> (N, ...). dx = dy (P(x) + x p(x)) with p = P', the normal density
    exp(-x^2 / 2) / sqrt(2 pi), or the derivative of the approximation.

    The exact P comes from SciPy in float64, and from `minidl.normal` in float32, where it is exact to the last digits.
    Source: Hendrycks and Gimpel (2016), arXiv:1606.08415.
    """

    approximate: bool = setting(default=False, check=as_flag)

    def forward(self, x: Array, training: bool = False) -> Array:
        if self.approximate:
            # (1 + tanh(u)) / 2 is the logistic function of 2 u, which stays precise in the lower tail.
            below = functional.sigmoid(2 * _SQRT_2_PI * (x + 0.044715 * (x * x * x)))
            density = below * (1 - below) * (2 * _SQRT_2_PI + 6 * 0.044715 * _SQRT_2_PI * (x * x))
        else:
            below, density = probability_and_density(x)
        if training:
            density *= x
            density += below
            self.saved = density
        return x * below

    def backward(self, dy: Array) -> Array:
        return dy * self.saved


class SiLU(Layer):
    """Sigmoid-weighted linear unit, also called swish: ``y = x s`` with ``s = 1 / (1 + exp(-x))``.

    Shapes: (N, ...) -> (N, ...). dx = dy (s + y (1 - s)).
    Source: Elfwing, Uchibe and Doya (2017), arXiv:1702.03118; Ramachandran, Zoph and Le (2017), arXiv:1710.05941.
    """

    def forward(self, x: Array, training: bool = False) -> Array:
        gate = functional.sigmoid(x)
        y = x * gate
        if training:
            self.saved = gate, y
        return y

    def backward(self, dy: Array) -> Array:
        gate, y = self.saved
        return dy * (gate + y * (1 - gate))


class Softplus(Layer):
    """Smooth ReLU, ``y = log(1 + exp(x))``; dx = dy / (1 + exp(-x)).

    Computed as max(x, 0) + log(1 + exp(-|x|)), which is exact at both ends: x for large x, exp(x) for very negative x.

    Shapes: (N, ...) -> (N, ...), values above 0. Source: Dugas et al. (2001), "Incorporating second-order functional
    knowledge for better option pricing", NIPS 13.
    """

    def forward(self, x: Array, training: bool = False) -> Array:
        if training:
            self.saved = x
        exponential = np.exp(-np.abs(x))
        total = 1 + exponential
        y = np.log(total)
        # Add what the sum has rounded off, to first order: as exact as np.log1p, in a third of the time.
        y += (exponential - (total - 1)) / total
        y += functional.relu(x)
        return y

    def backward(self, dy: Array) -> Array:
        return dy * functional.sigmoid(self.saved)


_SQRT_2_PI = math.sqrt(2 / math.pi)
