"""Rectifiers: linear for x > 0, with a kink at 0. They differ for x < 0, in how they keep units from dying.

At the kink itself all use the derivative of the negative side, as PyTorch does.
"""

from dataclasses import field
from typing import Any

import numpy as np

from minidl import functional
from minidl.initializers import Constant
from minidl.layers.base import Declaration, Layer
from minidl.layers.shaping import count_features
from minidl.settings import as_number, setting
from minidl.typing import Array, Shape


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
        return dy * (self.saved > 0)


class LeakyReLU(Layer):
    """ReLU with a small slope for negative inputs: ``y = x`` where x > 0, else ``negative_slope x``.

    Parameters
    ----------
    negative_slope : float, default 0.01

    Shapes: (N, ...) -> (N, ...). dx = dy where x > 0, else negative_slope dy.
    Source: Maas, Hannun and Ng (2013), "Rectifier nonlinearities improve neural network acoustic models".
    """

    negative_slope: float = setting(default=0.01, kw_only=False, check=as_number)

    def forward(self, x: Array, training: bool = False) -> Array:
        if training:
            self.saved = x > 0
        if 0 < self.negative_slope <= 1:  # the maximum of both lines takes a third of the time
            return np.maximum(x, self.negative_slope * x)
        y = self.negative_slope * _negative_part(x)
        y += functional.relu(x)
        return y

    def backward(self, dy: Array) -> Array:
        return dy * _slopes(self.saved, dy.dtype.type(self.negative_slope))


class PReLU(Layer):
    """LeakyReLU with one trained slope for each channel: ``y = x`` where x > 0, else ``slope x``.

    A channel is an entry of the last axis: a feature of (N, F), a channel of (N, height, width, channels).

    Parameters
    ----------
    initial_slope : float, default 0.25

    Shapes: (N, ..., C) -> (N, ..., C); parameter ``slope`` (C,).
    Gradients: dx = dy where x > 0, else slope dy; dslope = sum of dy min(x, 0) over all axes except the last.

    Raises ShapeError at build for samples without an axis.
    Source: He et al. (2015), arXiv:1502.01852, section 2.1.
    """

    initial_slope: float = setting(default=0.25, check=as_number, fixed=True)

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        self.slope = declare.parameter("slope", count_features(self, input_shape), Constant(self.initial_slope))
        return input_shape

    def forward(self, x: Array, training: bool = False) -> Array:
        negative = _negative_part(x)
        if training:
            self.saved = x > 0, negative
        y = negative * self.slope.value
        y += functional.relu(x)
        return y

    def backward(self, dy: Array) -> Array:
        positive, negative = self.saved
        channels = dy.shape[-1]
        self.slope.gradient = np.einsum("nc,nc->c", dy.reshape(-1, channels), negative.reshape(-1, channels))
        return dy * _slopes(positive, self.slope.value)


class ELU(Layer):
    """Exponential linear unit: ``y = x`` where x > 0, else ``alpha (exp(x) - 1)``, which levels off at -alpha.

    Parameters
    ----------
    alpha : float, default 1

    Shapes: (N, ...) -> (N, ...). dx = dy where x > 0, else alpha exp(x) dy.
    Source: Clevert, Unterthiner and Hochreiter (2015), arXiv:1511.07289.
    """

    alpha: float = setting(default=1.0, kw_only=False, check=as_number)
    scale = 1.0

    def forward(self, x: Array, training: bool = False) -> Array:
        negative = _negative_part(x)
        # exp(x) - 1 = tanh(x / 2) (exp(x) + 1) is exact near 0, too. np.expm1 takes three times as long.
        below = np.exp(negative)
        below += 1
        below *= np.tanh(0.5 * negative)
        if training:
            self.saved = x > 0, below
        y = below * (self.scale * self.alpha)
        y += self.scale * functional.relu(x) if self.scale != 1 else functional.relu(x)
        return y

    def backward(self, dy: Array) -> Array:
        positive, below = self.saved
        # below + 1 is exp(x) for negative x, and 1 for positive ones.
        slopes = below + 1 if self.alpha == 1 else _slopes(positive, self.alpha * (below + 1))
        return dy * slopes if self.scale == 1 else dy * self.scale * slopes


class SELU(ELU):
    """Scaled ELU, ``y = scale ELU(x, alpha)``: a deep stack of it keeps mean 0 and variance 1 by itself.

    For weights drawn by "lecun_normal", alpha = 1.6733 and scale = 1.0507 make mean 0 and variance 1 a stable fixed
    point.

    Shapes: (N, ...) -> (N, ...). dx = scale dy where x > 0, else scale alpha exp(x) dy.
    Source: Klambauer et al. (2017), arXiv:1706.02515.
    """

    alpha: float = field(default=1.6732632423543772, init=False, repr=False)  # equation 14 of the source
    scale = 1.0507009873554805


def _negative_part(x: Array) -> Array:
    # Faster than comparing with the number 0, as in functional.relu.
    return np.minimum(x, functional.filled(x.shape, 0, x.dtype))


def _slopes(positive: Array, elsewhere: Array | np.floating[Any]) -> Array:
    """Return 1 where `positive`, else `elsewhere`. np.where takes twice as long for random masks."""
    slopes: Array = ~positive * elsewhere
    slopes += positive
    return slopes
