"""Schedules: learning rates that change during training, as functions of the step 0, 1, 2, ...

Give a schedule instead of a rate: ``Adam(CosineDecay(0.001, steps=1000))``. Its steps are the optimizer's steps:
``steps = epochs * ceil(rows / batch_size)``. After its end, a schedule stays at its last value.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

from minidl.settings import Configurable, as_rate, setting


class Schedule(Configurable, ABC):
    """Base of the schedules: a subclass defines `__call__`. Its fields are its settings, so it can be saved."""

    @abstractmethod
    def __call__(self, step: int) -> float:
        """Return the rate of step 0, 1, 2, ..."""


class _OfRate(Schedule):
    """Base of the schedules that start with a rate or keep it."""

    rate: float = setting(kw_only=False, low=0)


class ConstantRate(_OfRate):
    """The same rate at every step.

    Parameters
    ----------
    rate : float >= 0
    """

    def __call__(self, step: int) -> float:
        return float(self.rate)


class StepDecay(_OfRate):
    """A rate that drops every `every` steps: ``rate factor^floor(step / every)``.

    Parameters
    ----------
    rate : float >= 0
        The first rate.
    every : int >= 1
        Optimizer steps between two drops; to drop every k epochs, k * ceil(rows / batch_size).
    factor : float > 0, default 0.1
    """

    every: int = setting(low=1, whole=True)
    factor: float = setting(default=0.1, above=0)

    def __call__(self, step: int) -> float:
        return self.rate * self.factor ** (step // self.every)


class _RateOverSteps(_OfRate):
    """Base of the schedules that change a rate over a number of steps."""

    steps: int = setting(low=1, whole=True)


class ExponentialDecay(_RateOverSteps):
    """A rate that falls smoothly by `factor` every `steps` steps: ``rate factor^(step / steps)``.

    Parameters
    ----------
    rate : float >= 0
        The first rate.
    steps : int >= 1
        Optimizer steps; an epoch has ceil(rows / batch_size).
    factor : float > 0
    """

    factor: float = setting(above=0)

    def __call__(self, step: int) -> float:
        return float(self.rate * self.factor ** (step / self.steps))


class PolynomialDecay(_RateOverSteps):
    """Go from `rate` to `end` along a power: ``end + (rate - end) (1 - step / steps)^power``, then `end`.

    Parameters
    ----------
    rate : float >= 0
        The first rate.
    steps : int >= 1
        Optimizer steps to the end: epochs * ceil(rows / batch_size).
    end : float >= 0, default 0
        The last rate itself, not a share of `rate`.
    power : float > 0, default 1
        1 is a straight line.
    """

    end: float = setting(default=0.0, low=0)
    power: float = setting(default=1.0, above=0)

    def __call__(self, step: int) -> float:
        left = 1 - min(step / self.steps, 1)
        return float(self.end + (self.rate - self.end) * left**self.power)


class CosineDecay(_RateOverSteps):
    """Go from `rate` to `end` along half a cosine: ``end + (rate - end) (1 + cos(pi step / steps)) / 2``, then `end`.

    Parameters
    ----------
    rate : float >= 0
        The first rate.
    steps : int >= 1
        Optimizer steps to the end: epochs * ceil(rows / batch_size).
    end : float >= 0, default 0
        The last rate itself, not a share of `rate`.

    Source: Loshchilov and Hutter (2017), arXiv:1608.03983, equation 5, without restarts.
    """

    end: float = setting(default=0.0, low=0)

    def __call__(self, step: int) -> float:
        return _cosine(self.rate, self.end, min(step / self.steps, 1))


class CosineRestarts(CosineDecay):
    """Fall from `rate` to `end` along half a cosine, jump back, and fall again, without end.

    Parameters
    ----------
    rate : float >= 0
        The first rate.
    steps : int >= 1
        Optimizer steps of the first fall; an epoch has ceil(rows / batch_size).
    end : float >= 0, default 0
        The last rate of every fall: the rate itself, not a share of `rate`.
    growth : float >= 1, default 2
        Length of each fall relative to the previous one; with 1, all falls last `steps`.
    decay : float > 0, default 1
        First rate of each fall relative to the first rate of the previous one, but not below `end`.

    Source: Loshchilov and Hutter (2017), arXiv:1608.03983, section 3.
    """

    growth: float = setting(default=2.0, low=1)
    decay: float = setting(default=1.0, above=0)

    def __call__(self, step: int) -> float:
        falls, passed, length = 0, float(step), float(self.steps)
        if self.growth == 1:
            falls, passed = step // self.steps, float(step % self.steps)
        while passed >= length:  # the number of loops is the logarithm of the step
            falls, passed, length = falls + 1, passed - length, length * self.growth
        peak = max(self.rate * self.decay**falls, self.end) if falls else self.rate
        return _cosine(peak, self.end, passed / length)


class OneCycle(_RateOverSteps):
    """One rise to `rate` and one long fall, each along half a cosine.

    The rate is ``start_factor rate`` at step 0, ``rate`` at step ``rise steps - 1``, and ``end_factor rate`` at step
    ``steps - 1``.

    Parameters
    ----------
    rate : float >= 0
        The highest rate.
    steps : int >= 2
        Optimizer steps of the whole run: epochs * ceil(rows / batch_size).
    rise : float in [0, 1), default 0.3
        Share of the steps in the rise.
    start_factor, end_factor : float >= 0, default 1/25 and 1/250,000
        The first and the last rate, as shares of `rate`.

    Source: Smith and Topin (2018), arXiv:1708.07120, with the cosines, defaults and steps of PyTorch's OneCycleLR,
    whose final_div_factor of 10,000 is relative to the first rate.
    """

    steps: int = setting(low=2, whole=True)
    rise: float = setting(default=0.3, low=0, below=1)
    start_factor: float = setting(default=1 / 25, low=0)
    end_factor: float = setting(default=1 / 250_000, low=0)

    def __call__(self, step: int) -> float:
        last = self.steps - 1
        top = max(self.rise * self.steps - 1, 0)
        if step < top:
            return _cosine(self.start_factor * self.rate, self.rate, step / top)
        return _cosine(self.rate, self.end_factor * self.rate, min((step - top) / (last - top), 1))


class Warmup(Schedule):
    """A straight line from `start` to another schedule's first rate, then that schedule from its own step 0.

    Parameters
    ----------
    schedule : Schedule, other function of the step, or float >= 0
        The schedule after the warm-up. At step s of the run it gives the rate of its own step ``s - steps``. For a
        decay that ends with the run, give `steps` less than the run has.
    steps : int >= 1
        Optimizer steps of the warm-up; an epoch has ceil(rows / batch_size).
    start : float >= 0, default 0
        The rate at step 0: the rate itself, not a share of another rate.

    Source: Goyal et al. (2017), arXiv:1706.02677, section 2.2.
    """

    schedule: Callable[[int], float] | float = setting(kw_only=False, check=as_rate)
    steps: int = setting(low=1, whole=True)
    start: float = setting(default=0.0, low=0)

    def __call__(self, step: int) -> float:
        following = self.schedule(max(step - self.steps, 0)) if callable(self.schedule) else self.schedule
        if step >= self.steps:
            return float(following)
        return self.start + (following - self.start) * step / self.steps


def _cosine(first: float, last: float, share: float) -> float:
    """Return the rate after this share, in [0, 1], of half a cosine from first to last."""
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2
