"""Optimizers: how the vector of gradients moves the vector of parameters.

All parameters of a model are one 1-D vector, so an optimizer is plain vector arithmetic, whatever the network. It
declares its state in `slots`; the base class creates it and hands it to `update`, so a copy goes on to the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from minidl.configuration import Configurable
from minidl.errors import ArgumentError, ArgumentTypeError, ShapeError, did_you_mean
from minidl.inputs import check_number
from minidl.typing import Array

__all__ = ["SGD", "Adam", "Momentum", "Optimizer", "get_optimizer"]

_BLOCK = 65_536
"""Entries of a vector that an elementwise optimizer gets at once: with Adam's temporaries they fit a 2 MB cache."""


@dataclass(eq=False)
class Optimizer(Configurable):
    """Base of the optimizers: a subclass writes `update`, and names its state in `slots`.

    Parameters
    ----------
    learning_rate : float or callable, default 0.01
        The rate, or a function of the step (0, 1, 2, ...) that returns it.

    Attributes
    ----------
    slots : tuple of str
        Names of the state vectors, of the parameters' size and zero at first, which `update` gets after the rate.
    elementwise : bool, default False
        True in a subclass of which each parameter moves by its own gradient and slots alone. `update` then gets long
        vectors in blocks that stay in the processor's cache, which is faster.
    step : int
        How many steps have been taken; during `update`, the number of the present one, from 1.
    state : dict of name -> array
        The slots' vectors; empty before the first step.
    """

    learning_rate: float | Callable[[int], float] = 0.01
    slots: ClassVar[tuple[str, ...]] = ()
    elementwise: ClassVar[bool] = False
    keeps_average: ClassVar[bool] = False
    full_batch: ClassVar[bool] = False
    exchanged: bool = field(default=False, init=False, repr=False)
    step: int = field(default=0, init=False, repr=False)
    state: dict[str, Array] = field(default_factory=dict, init=False, repr=False)

    def update(self, parameters: Array, gradients: Array, learning_rate: float, *args: Any, **kwargs: Any) -> None:
        """Take one step: change `parameters` and the slots' vectors in place, and leave `gradients` as they are."""
        raise NotImplementedError(
            f"{type(self).__name__} must define update(parameters, gradients, learning_rate, ...)"
        )

    def check(self) -> None:
        """Raise ArgumentError for a setting that cannot work; called before training, so that nothing changes."""
        self.rate()

    def rate(self) -> float:
        """Return the learning rate of the next step."""
        value = self.learning_rate(self.step) if callable(self.learning_rate) else self.learning_rate
        return check_number(value, f"{type(self).__name__}: learning_rate at step {self.step}", 0)

    def exchange(self, parameters: Array) -> None:
        """Stub."""

    def apply(self, parameters: Array, gradients: Array, decaying: object = None) -> None:
        """Take one step on 1-D `parameters`, in place, along 1-D `gradients` of the same size."""
        for which, vector in {"gradients": gradients, **self.state}.items():
            if vector.shape != parameters.shape:
                raise ShapeError(
                    f"{type(self).__name__}: parameters have shape {parameters.shape} but {which} {vector.shape}; "
                    "an optimizer serves one model: make a new one for another"
                )
        rate = self.rate()
        if isinstance(self.slots, str):
            raise ArgumentTypeError(f"{type(self).__name__}: slots is text; one slot is written ({self.slots!r},)")
        if not self.state:
            self.state = {name: np.zeros_like(parameters) for name in self.slots}
        self.step += 1
        vectors = [parameters, gradients, *(self.state[name] for name in self.slots)]
        size = _BLOCK if self.elementwise else len(parameters)
        for start in range(0, len(parameters), size or 1):
            parameters, gradients, *slots = [vector[start : start + size] for vector in vectors]
            self.update(parameters, gradients, rate, *slots)


class SGD(Optimizer):
    """Stochastic gradient descent, ``p <- p - learning_rate g``.

    Source: Robbins and Monro (1951), "A stochastic approximation method".
    """

    elementwise = True

    def update(self, parameters: Array, gradients: Array, learning_rate: float) -> None:
        parameters -= learning_rate * gradients


@dataclass(eq=False)
class Momentum(Optimizer):
    """Gradient descent with momentum: ``v <- momentum v + g``, ``p <- p - learning_rate v``.

    Parameters
    ----------
    learning_rate : float or callable, default 0.01
    momentum : float in [0, 1), default 0.9
    nesterov : bool, default False
        Step along ``momentum v + g`` instead of v, which looks one step ahead.

    Source: Polyak (1964); Sutskever et al. (2013), "On the importance of initialization and momentum in deep learning",
    ICML, for Nesterov's form.
    """

    momentum: float = 0.9
    nesterov: bool = False
    slots = ("velocity",)
    elementwise = True

    def check(self) -> None:
        super().check()
        _check_decay(self, "momentum")

    def update(self, parameters: Array, gradients: Array, learning_rate: float, velocity: Array) -> None:
        velocity *= self.momentum
        velocity += gradients
        direction = self.momentum * velocity + gradients if self.nesterov else velocity
        parameters -= learning_rate * direction


@dataclass(eq=False)
class Adam(Optimizer):
    """Adaptive moment estimation: a step per parameter, of the gradient's running mean over its running size.

    At step t: ``m <- beta1 m + (1 - beta1) g``, ``v <- beta2 v + (1 - beta2) g^2``,
    ``p <- p - learning_rate m' / (sqrt(v') + epsilon)`` with ``m' = m / (1 - beta1^t)``, ``v' = v / (1 - beta2^t)``.

    Parameters
    ----------
    learning_rate : float or callable, default 0.001
    beta1, beta2 : float in [0, 1), default 0.9 and 0.999
        Decay of the running means of the gradient and of its square.
    epsilon : float > 0, default 1e-8

    Source: Kingma and Ba (2015), arXiv:1412.6980, algorithm 1.
    """

    learning_rate: float | Callable[[int], float] = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    slots = ("mean", "square")
    elementwise = True

    def check(self) -> None:
        super().check()
        _check_decay(self, "beta1")
        _check_decay(self, "beta2")
        if not self.epsilon > 0:
            raise ArgumentError(f"Adam: epsilon is {self.epsilon}; it must be above 0")

    def update(self, parameters: Array, gradients: Array, learning_rate: float, mean: Array, square: Array) -> None:
        # One scratch array serves all: a new one for each operation would take a fifth longer.
        scratch = (1 - self.beta1) * gradients
        mean *= self.beta1
        mean += scratch
        np.multiply(gradients, gradients, out=scratch)
        scratch *= 1 - self.beta2
        square *= self.beta2
        square += scratch
        # learning_rate m' / (sqrt(v') + epsilon): what is one number for all parameters is multiplied by at the end.
        correction = math.sqrt(1 - self.beta2**self.step)
        np.sqrt(square, out=scratch)
        scratch += self.epsilon * correction
        np.divide(mean, scratch, out=scratch)
        scratch *= learning_rate * correction / (1 - self.beta1**self.step)
        parameters -= scratch


def _check_decay(optimizer: Optimizer, name: str) -> None:
    check_number(getattr(optimizer, name), f"{type(optimizer).__name__}: {name}", 0, 1)


_NAMED: dict[str, type[Optimizer]] = {"sgd": SGD, "momentum": Momentum, "adam": Adam}


def get_optimizer(optimizer: Optimizer | str) -> Optimizer:
    """Return the optimizer itself, or a new one of the name "sgd", "momentum" or "adam" with its defaults.

    Raises ArgumentError for another name, ArgumentTypeError for anything else.
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    if not isinstance(optimizer, str):
        raise ArgumentTypeError(f"an optimizer is an Optimizer such as Adam() or a name, not {optimizer!r}")
    if optimizer not in _NAMED:
        raise ArgumentError(f"no optimizer is named {optimizer!r}; {did_you_mean(optimizer, _NAMED)}")
    return _NAMED[optimizer]()
