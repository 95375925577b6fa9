"""How parameters get their first values: each initializer draws an array of a given shape.

For a weight of shape (..., fan_in, fan_out), as in ``y = x W``, the variance-scaling family keeps the size of
activations (or gradients) the same from layer to layer; axes before the last two are a convolution's window and
count into both fans.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from minidl.configuration import Configurable
from minidl.errors import ArgumentError, ArgumentTypeError, ShapeError, did_you_mean
from minidl.inputs import as_shape, check_setting
from minidl.typing import Array, Shape

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Initializer",
    "LeCunNormal",
    "Normal",
    "Orthogonal",
    "Uniform",
    "Zeros",
    "get_initializer",
]


@dataclass(eq=False)
class Initializer(Configurable, ABC):
    """Base of the initializers: a subclass writes `draw`."""

    @abstractmethod
    def draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        """Return an array of `shape`, random only by `rng`."""

    def __call__(
        self, shape: int | Shape, rng: np.random.Generator | int | None = None, dtype: DTypeLike = np.float32
    ) -> Array:
        """Draw an array of `shape` as `dtype`, and check that the subclass kept to the shape."""
        shape = as_shape(shape)
        values = np.asarray(self.draw(shape, np.random.default_rng(rng)))
        if values.shape != shape:
            raise ShapeError(f"{self!r} was asked for shape {shape} but drew {values.shape}")
        return values.astype(dtype)


class Zeros(Initializer):
    """All zeros, as for a bias."""

    def draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        return np.zeros(shape)


@dataclass(eq=False)
class Constant(Initializer):
    """Every entry is `value`."""

    value: float = 0.0

    def __post_init__(self) -> None:
        check_setting(self, "value")

    def draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        return np.full(shape, self.value)


@dataclass(eq=False)
class Normal(Initializer):
    """Normal distribution with the given `mean` and `standard_deviation`."""

    mean: float = 0.0
    standard_deviation: float = 0.05

    def __post_init__(self) -> None:
        check_setting(self, "mean")
        check_setting(self, "standard_deviation", 0)

    def draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        return rng.normal(self.mean, self.standard_deviation, shape)


@dataclass(eq=False)
class Uniform(Initializer):
    """Uniform distribution on [low, high)."""

    low: float = -0.5
    high: float = 0.5

    def __post_init__(self) -> None:
        check_setting(self, "low")
        check_setting(self, "high")
        if not self.low <= self.high:
            raise ArgumentError(f"{type(self).__name__}: low = {self.low} is above high = {self.high}")

    def draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        return rng.uniform(self.low, self.high, shape)


class HeNormal(Initializer):
    """Normal with variance ``2 / fan_in``: keeps the size of activations through ReLU layers.

    Source: He et al. (2015), "Delving deep into rectifiers", arXiv:1502.01852, equation 10.
    """

    def draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        fan_in, _ = fans(shape)
        return rng.normal(0, math.sqrt(2 / fan_in), shape)


class HeUniform(Initializer):
    """Uniform on +-sqrt(6 / fan_in), of the variance of `HeNormal`.

    Source: He et al. (2015), arXiv:1502.01852.
    """

    def draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        fan_in, _ = fans(shape)
        limit = math.sqrt(6 / fan_in)
        return rng.uniform(-limit, limit, shape)


class GlorotNormal(Initializer):
    """Normal with variance ``2 / (fan_in + fan_out)``: a compromise of both passes, for tanh and linear layers.

    Source: Glorot and Bengio (2010), "Understanding the difficulty of training deep feedforward neural networks",
    AISTATS, equation 12.
    """

    def draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        return rng.normal(0, math.sqrt(2 / sum(fans(shape))), shape)


class GlorotUniform(Initializer):
    """Uniform on +-sqrt(6 / (fan_in + fan_out)), of the variance of `GlorotNormal`.

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
        fan_in, _ = fans(shape)
        return rng.normal(0, math.sqrt(1 / fan_in), shape)


@dataclass(eq=False)
class Orthogonal(Initializer):
    """Random matrix with orthonormal rows or columns (whichever are fewer), times `gain`.

    Axes before the last count as rows. Source: Saxe et al. (2013), arXiv:1312.6120.
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        check_setting(self, "gain")

    def draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        fans(shape)
        rows, columns = math.prod(shape[:-1]), shape[-1]
        normal = rng.normal(size=(max(rows, columns), min(rows, columns)))
        q, r = np.linalg.qr(normal)
        # The QR of LAPACK is unique only up to signs; fixing them by R's diagonal makes Q uniformly distributed.
        q *= np.where(np.diag(r) < 0, -1, 1)
        return (self.gain * (q if rows >= columns else q.T)).reshape(shape)


def fans(shape: Shape) -> tuple[int, int]:
    """Return (fan_in, fan_out) of a weight of shape (..., fan_in, fan_out)."""
    if len(shape) < 2:
        raise ShapeError(f"a weight of shape {shape} has no fan-in and fan-out: use Zeros, Constant, Normal or Uniform")
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


_NAMED: dict[str, type[Initializer]] = {
    "constant": Constant,
    "glorot_normal": GlorotNormal,
    "glorot_uniform": GlorotUniform,
    "he_normal": HeNormal,
    "he_uniform": HeUniform,
    "lecun_normal": LeCunNormal,
    "normal": Normal,
    "orthogonal": Orthogonal,
    "uniform": Uniform,
    "zeros": Zeros,
}


def get_initializer(initializer: Initializer | str) -> Initializer:
    """Return the initializer that a name stands for, or the given one itself.

    Parameters
    ----------
    initializer : Initializer or str
        A name such as ``"he_normal"``, also with numbers as arguments: ``"uniform(-0.1, 0.1)"``.

    Raises
    ------
    ArgumentError
        When no initializer has that name, or it does not take these arguments.
    ArgumentTypeError
        When `initializer` is neither an Initializer nor a string.
    """
    if isinstance(initializer, Initializer):
        return initializer
    if not isinstance(initializer, str):
        raise ArgumentTypeError(f"an initializer is an Initializer such as HeNormal() or a name, not {initializer!r}")
    match = re.fullmatch(r"(\w+)\s*(?:\((.*)\))?", initializer.strip())
    name, arguments = match.groups() if match else (initializer, None)
    spelt = {known.replace("_", ""): known for known in _NAMED}
    name = spelt.get(name.replace("_", "").lower(), name)  # also as the class is called: "HeNormal"
    if name not in _NAMED:
        raise ArgumentError(f"no initializer is named {name!r}; {did_you_mean(name, _NAMED)}")
    import ast

    try:
        return _NAMED[name](*ast.literal_eval(f"({arguments},)") if arguments else ())
    except (TypeError, ValueError, SyntaxError) as error:
        raise ArgumentError(f"initializer {initializer!r} cannot be made: {error}") from error
