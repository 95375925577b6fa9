"""Initializers draw the first values of parameters: an array of a given shape.

For a weight of shape (..., fan_in, fan_out), as in ``y = x W``, the variance-scaling initializers keep the size of
activations (or gradients) the same from layer to layer. Axes before the last two are the window of a convolution;
they count in both fans.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minidl.errors import ShapeError, naming
from minidl.settings import Configurable, as_number, as_shape, by_name, setting, snake_case
from minidl.typing import Array, Shape


class Initializer(Configurable, ABC):
    """Base of the initializers: a subclass defines `draw`."""

    @abstractmethod
    def draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        """Return an array of `shape`, with all random numbers from `rng`."""

    def __call__(
        self, shape: int | Shape, rng: np.random.Generator | int | None = None, dtype: DTypeLike = np.float32
    ) -> Array:
        """Draw an array of `shape` as `dtype`, and check the shape that the subclass returned."""
        shape = as_shape(shape)
        values = np.asarray(self.draw(shape, np.random.default_rng(rng)))
        if values.shape != shape:
            raise ShapeError(f"{self!r} was asked for shape {shape} but drew {values.shape}")
        return values.astype(dtype)


class Zeros(Initializer):
    """All zeros, as for a bias."""

    def draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        return np.zeros(shape)


class Constant(Initializer):
    """Every entry is `value`."""

    value: float = setting(default=0.0, kw_only=False, check=as_number)

    def draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        return np.full(shape, self.value)


class Normal(Initializer):
    """Normal distribution with the given `mean` and `standard_deviation`."""

    mean: float = setting(default=0.0, check=as_number)
    standard_deviation: float = setting(default=0.05, low=0)

    def draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        return rng.normal(self.mean, self.standard_deviation, shape)


class Uniform(Initializer):
    """Uniform distribution on [low, high)."""

    low: float = setting(default=-0.5, check=as_number)
    high: float = setting(default=0.5, check=as_number)

    def draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        return rng.uniform(self.low, self.high, shape)


class HeNormal(Initializer):
    """Normal with variance ``2 / fan_in``: keeps the size of activations through ReLU layers.

    Source: He et al. (2015), "Delving deep into rectifiers", arXiv:1502.01852, equation 10.
    """

    def draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        return rng.normal(0, math.sqrt(2 / fans(shape)[0]), shape)


class HeUniform(Initializer):
    """Uniform on +-sqrt(6 / fan_in), with the variance of `HeNormal`.

    Source: He et al. (2015), arXiv:1502.01852.
    """

    def draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        limit = math.sqrt(6 / fans(shape)[0])
        return rng.uniform(-limit, limit, shape)


class GlorotNormal(Initializer):
    """Normal with variance ``2 / (fan_in + fan_out)``: a compromise between both passes, for tanh and linear layers.

    Source: Glorot and Bengio (2010), "Understanding the difficulty of training deep feedforward neural networks",
    AISTATS, equation 12.
    """

    def draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        return rng.normal(0, math.sqrt(2 / sum(fans(shape))), shape)


class GlorotUniform(Initializer):
    """Uniform on +-sqrt(6 / (fan_in + fan_out)), with the variance of `GlorotNormal`.

    Source: Glorot and Bengio (2010), AISTATS, equation 16.
    """

    def draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        limit = math.sqrt(6 / sum(fans(shape)))
        return rng.uniform(-limit, limit, shape)


class LeCunNormal(Initializer):
    """Normal with variance ``1 / fan_in``: keeps the size of activations through linear layers.

    Source: LeCun et al. (1998), "Efficient BackProp", section 4.6.
    """

    def draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        return rng.normal(0, math.sqrt(1 / fans(shape)[0]), shape)


class Orthogonal(Initializer):
    """Random matrix with orthonormal rows or columns (whichever are fewer), times `gain`.

    Axes before the last count as rows. Source: Saxe et al. (2013), arXiv:1312.6120.
    """

    gain: float = setting(default=1.0, kw_only=False, check=as_number)

    def draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        fans(shape)
        rows, columns = math.prod(shape[:-1]), shape[-1]
        q, r = np.linalg.qr(rng.normal(size=(max(rows, columns), min(rows, columns))))
        # LAPACK's QR is unique only up to signs. Taking them from R's diagonal makes Q uniformly distributed.
        q *= np.where(np.diag(r) < 0, -1, 1)
        return (self.gain * (q if rows >= columns else q.T)).reshape(shape)


def fans(shape: Shape) -> tuple[int, int]:
    """Return (fan_in, fan_out) of a weight of shape (..., fan_in, fan_out)."""
    if len(shape) < 2:
        raise ShapeError(f"a weight of shape {shape} has no fan-in and fan-out: use Zeros, Constant, Normal or Uniform")
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


_KINDS = (Zeros, Constant, Normal, Uniform, HeNormal, HeUniform, GlorotNormal, GlorotUniform, LeCunNormal, Orthogonal)
# LeCun is one word: "lecun_normal".
_NAMED: dict[str, type[Initializer]] = {snake_case(kind.__name__.replace("LeC", "Lec")): kind for kind in _KINDS}


def get_initializer(initializer: Initializer | str) -> Initializer:
    """Return the initializer itself or, for a name such as ``"he_normal"``, a new one with its defaults.

    Raises ArgumentError for an unknown name, and ArgumentTypeError for a value that is neither an Initializer nor text.
    """
    return by_name(initializer, Initializer, _NAMED)


def is_initializer(value: Any, place: str) -> Any:
    """Return a layer's setting unchanged, an initializer or its name. Raise the errors of `get_initializer`."""
    with naming(place):
        get_initializer(value)
    return value
