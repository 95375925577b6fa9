"""Noise: layers that disturb what passes in training, and let it through as it is in inference."""

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
"""Dropout compares whole numbers of 16 bits, which cost half of what random floats do."""


class _Noise(Layer):
    """Base of these layers: it keeps the generator that they draw from."""

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        self.generator = declare.generator
        return input_shape

    def draw(self, shape: Shape, draw: Callable[[np.random.Generator, Shape], Array]) -> Array:
        """Return what `draw` draws for rows (N, ...); of a part of a batch, its rows of what is drawn for the whole."""
        if self.generator is None:
            raise NotReadyError(f"{type(self).__name__} draws random numbers: first call set_up(input_shape, seed)")
        if self.rows_of_batch is None:
            return draw(self.generator, shape)
        first, rows = self.rows_of_batch
        return draw(self.generator, (rows, *shape[1:]))[first : first + shape[0]]


class Dropout(_Noise):
    """Set random numbers to zero in training, ``y = m x / (1 - rate)`` with m = 0 or 1; in inference ``y = x``.

    Each m is drawn by itself and is 0 with probability `rate`. The division keeps the mean of y at x, so that
    inference needs no scaling. The probability is a multiple of 2^-16, `rate` rounded to the nearest one below 1, and
    it is this that is divided by.

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
        """Return the shape of what is drawn for a batch; its axes of size 1 stand for all entries of x along them."""
        return x.shape


class Dropout2D(Dropout):
    """Dropout of whole channels of images: a channel of a sample is kept or set to zero at all its pixels.

    Pixels beside each other are alike, so that one alone could be guessed from its neighbours.

    Parameters
    ----------
    rate : float in [0, 1), default 0.5

    Shapes: (N, height, width, channels) -> the same, and any (N, ..., channels). dx = m dy / (1 - rate).
    Source: Tompson et al. (2014), arXiv:1411.4280.
    """

    def mask_shape(self, x: Array) -> Shape:
        return len(x), *[1] * (x.ndim - 2), x.shape[-1]


class GaussianNoise(_Noise):
    """Add normal random numbers in training, ``y = x + standard_deviation z`` with z ~ N(0, 1); else ``y = x``.

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
    """Return what x is multiplied by: 0 where a draw is not below the levels kept, elsewhere all levels by those."""
    # A scalar of the array's type: a plain float would make the mask float64.
    return (draws < kept_levels) * x.dtype.type(_LEVELS / kept_levels)
