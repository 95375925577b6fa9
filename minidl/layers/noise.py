"""Noise: layers that change their input at random in training, and return it unchanged in inference."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from minidl.errors import NotReadyError
from minidl.layers.base import Declaration, Layer
from minidl.randomness import draw_16_bits
from minidl.settings import setting
from minidl.typing import Array, Shape

_LEVELS = 2**16
"""Dropout compares 16-bit integers: drawing them takes half the time of random floats."""


class _Noise(Layer):
    """Base of these layers: it keeps their random generator."""

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        self.generator = declare.generator
        return input_shape

    def draw(self, shape: Shape, draw: Callable[[np.random.Generator, Shape], Array]) -> Array:
        """Return what `draw` draws for rows (N, ...). For a part of a batch, draw for the whole and return its rows."""
        if self.generator is None:
            raise NotReadyError(f"{type(self).__name__} draws random numbers: first call set_up(input_shape, seed)")
        if self.rows_of_batch is None:
            return draw(self.generator, shape)
        first, draws = self.rows_of_batch
        return np.concatenate([draw(each, (rows, *shape[1:])) for each, rows in draws])[first : first + shape[0]]


class Dropout(_Noise):
    """Set random numbers to zero in training, ``y = m x / (1 - rate)`` with m = 0 or 1; in inference ``y = x``.

    Each m is drawn independently and is 0 with probability `rate`. The division keeps the mean of y at x, so
    inference needs no scaling. `rate` is rounded to the nearest multiple of 2^-16 below 1. The probability and the
    division both use this rounded rate.

    Parameters
    ----------
    rate : float in [0, 1), default 0.5

    Shapes: (N, ...) -> (N, ...). dx = m dy / (1 - rate).

    Sources: Hinton et al. (2012), arXiv:1207.0580; Srivastava et al. (2014), "Dropout: a simple way to prevent neural
    networks from overfitting", JMLR 15.
    """

    rate: float = setting(default=0.5, kw_only=False, low=0, below=1)

    def forward(self, x: Array, training: bool = False) -> Array:
        if not training:
            return x
        draws = self.draw(self.mask_shape(x), lambda rng, shape: draw_16_bits(rng, math.prod(shape)).reshape(shape))
        self.saved = mask = _mask(draws, max(_LEVELS - round(self.rate * _LEVELS), 1), x)
        return x * mask

    def backward(self, dy: Array) -> Array:
        return dy * self.saved

    def mask_shape(self, x: Array) -> Shape:
        """Return the shape of what is drawn for a batch. An axis of size 1 is broadcast along that axis of x."""
        return x.shape


class Dropout2D(Dropout):
    """Dropout of whole channels of images: keep a channel of a sample, or set all its pixels to zero.

    Neighbouring pixels are similar, so the network could guess a single dropped pixel from its neighbours.

    Parameters
    ----------
    rate : float in [0, 1), default 0.5

    Shapes: (N, height, width, channels) -> the same, and any (N, ..., channels). dx = m dy / (1 - rate).
    Source: Tompson et al. (2014), arXiv:1411.4280.
    """

    def mask_shape(self, x: Array) -> Shape:
        return len(x), *[1] * (x.ndim - 2), x.shape[-1]


class GaussianNoise(_Noise):
    """Add normal random numbers in training, ``y = x + standard_deviation z``, z ~ N(0, 1); in inference ``y = x``.

    Parameters
    ----------
    standard_deviation : float, >= 0
        In the units of x.

    Shapes: (N, ...) -> (N, ...). dx = dy.
    Source: Bishop (1995), "Training with noise is equivalent to Tikhonov regularization", Neural Computation 7.
    """

    standard_deviation: float = setting(kw_only=False, low=0)

    def forward(self, x: Array, training: bool = False) -> Array:
        if not training:
            return x
        y = self.draw(x.shape, lambda rng, whole: rng.standard_normal(whole, dtype=x.dtype.type))
        y *= self.standard_deviation
        y += x
        return y

    def backward(self, dy: Array) -> Array:
        return dy.copy()


def _mask(draws: Array, kept_levels: int, x: Array) -> Array:
    """Return the factors of x: 0 if a draw is not below `kept_levels`, else the number of levels / `kept_levels`."""
    # A scalar of the array's type: a plain float would make the mask float64.
    return (draws < kept_levels) * x.dtype.type(_LEVELS / kept_levels)
