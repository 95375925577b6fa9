"""Optimizers that give each parameter a rate of its own, by the gradients it has had.

Each works in place with one scratch array, or two where the formula needs two roots or quotients at a time: a new array
for each operation would take a fifth longer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from minidl.inputs import check_flag, check_number
from minidl.optimizers.base import Optimizer
from minidl.typing import Array

__all__ = ["AMSGrad", "Adadelta", "Adagrad", "Adam", "AdamW", "Lion", "NAdam", "RMSprop"]

_SUMS_OF = {"beta1": ("gradient_sum",), "beta2": ("square_sum", "largest_sum")}
"""The slots that are in units of 1 - beta, by each of Adam's settings beta."""


@dataclass(eq=False)
class Adam(Optimizer):
    """Adaptive moment estimation: a step per parameter, of the gradient's running mean over its running size.

    At step t: ``m <- beta1 m + (1 - beta1) g``, ``v <- beta2 v + (1 - beta2) g^2``,
    ``p <- p - learning_rate m' / (sqrt(v') + epsilon)`` with ``m' = m / (1 - beta1^t)``, ``v' = v / (1 - beta2^t)``.
    The slots hold the sums ``m / (1 - beta1)`` and ``v / (1 - beta2)``, which spares two passes over the gradients. A
    beta that changes in a run rescales them, so that m and v stay what they are.

    Parameters
    ----------
    learning_rate : float or callable, default 0.001
    beta1, beta2 : float in [0, 1), default 0.9 and 0.999
        Decay of the running means of the gradient and of its square.
    epsilon : float > 0, default 1e-8

    With `weight_decay` above 0, which is decoupled, it is AdamW, as Keras' Adam is. PyTorch's Adam adds the gradient of
    an L2 term instead: for that, give the layers a regularizer, ``L2(weight_decay / 2)``.
    Source: Kingma and Ba (2015), arXiv:1412.6980, algorithm 1.
    """

    learning_rate: float | Callable[[int], float] = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    slots: ClassVar[tuple[str, ...]] = ("gradient_sum", "square_sum")
    elementwise = True

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; with a beta that changes in a run, rescale its sums, so that the means stay what they are.

        At once, so that settings and slots fit each other wherever the run is saved. Refuses one out of its range.
        """
        if name in _SUMS_OF and vars(self).get("state"):
            before, value = getattr(self, name), check_number(value, f"{type(self).__name__}: {name}", 0, 1)
            if value != before:
                factor = (1 - before) / (1 - value)
                sums = {slot: self.state[slot] for slot in _SUMS_OF[name] if slot in self.state}
                # New vectors: a shallow copy of the optimizer has the same ones.
                self.state = self.state | {slot: vector * factor for slot, vector in sums.items()}
        super().__setattr__(name, value)

    def check(self) -> None:
        super().check()
        self.check_range("beta1", 0, 1)
        self.check_range("beta2", 0, 1)
        self.check_range("epsilon", above=0)

    def update(
        self, parameters: Array, gradients: Array, learning_rate: float, gradient_sum: Array, square_sum: Array
    ) -> None:
        scratch = self._add(gradients, gradient_sum, square_sum)
        self._divide(gradient_sum, square_sum, scratch)
        scratch *= learning_rate * self._mean_factor() / self._root_factor()
        parameters -= scratch

    def _add(self, gradients: Array, gradient_sum: Array, square_sum: Array) -> Array:
        """Add the gradients and their squares to the fading sums; return a scratch array."""
        gradient_sum *= self.beta1
        gradient_sum += gradients
        squares = gradients * gradients
        square_sum *= self.beta2
        square_sum += squares
        return squares

    def _mean_factor(self) -> float:
        """Return what makes the sum of gradients their mean m'."""
        return (1 - self.beta1) / (1 - self.beta1**self.step)

    def _root_factor(self) -> float:
        """Return what makes the root of the sum of squares that of their mean, sqrt(v')."""
        return math.sqrt((1 - self.beta2) / (1 - self.beta2**self.step))

    def _divide(self, vector: Array, square_sum: Array, out: Array) -> None:
        """Write ``vector / (sqrt(v') + epsilon)`` times the root's factor, one number for all parameters."""
        np.sqrt(square_sum, out=out)
        out += self.epsilon / self._root_factor()
        np.divide(vector, out, out=out)


@dataclass(eq=False)
class AdamW(Adam):
    """Adam with decoupled weight decay: before Adam's step, ``p <- p (1 - learning_rate weight_decay)``.

    An L2 term in the loss would be divided by the gradients' size as the rest of the gradient is; this is not, so that
    all weights shrink alike.

    Parameters
    ----------
    learning_rate, beta1, beta2, epsilon
        As in Adam.
    weight_decay : float >= 0, default 0.01, by keyword
        PyTorch's default; Keras has 0.004.

    Source: Loshchilov and Hutter (2019), arXiv:1711.05101, algorithm 2, whose decay is learning_rate times this one.
    """

    weight_decay: float = field(default=0.01, kw_only=True)


@dataclass(eq=False)
class AMSGrad(Adam):
    """Adam whose divisor never shrinks: by the largest that the running mean of squares has been so far.

    ``w <- max(w, v)`` beside Adam's m and v, and ``p <- p - learning_rate m' / (sqrt(w / (1 - beta2^t)) + epsilon)``.

    Parameters
    ----------
    learning_rate, beta1, beta2, epsilon
        As in Adam.

    Source: Reddi et al. (2018), arXiv:1904.09237, algorithm 2, with Adam's corrections for the start at zero, as in
    PyTorch.
    """

    slots = ("gradient_sum", "square_sum", "largest_sum")

    def update(  # type: ignore[override]
        self,
        parameters: Array,
        gradients: Array,
        learning_rate: float,
        gradient_sum: Array,
        square_sum: Array,
        largest_sum: Array,
    ) -> None:
        scratch = self._add(gradients, gradient_sum, square_sum)
        np.maximum(largest_sum, square_sum, out=largest_sum)
        self._divide(gradient_sum, largest_sum, scratch)
        scratch *= learning_rate * self._mean_factor() / self._root_factor()
        parameters -= scratch


@dataclass(eq=False)
class NAdam(Adam):
    """Adam with Nesterov's momentum: the step looks ahead along the running mean of the gradients.

    With Adam's m and v', ``p <- p - learning_rate (c g + d m) / (sqrt(v') + epsilon)``, where at step t
    ``mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2)``, ``c = (1 - mu_t) / (1 - mu_1 ... mu_t)`` and
    ``d = mu_(t+1) / (1 - mu_1 ... mu_(t+1))``. All mu are those of the present settings, as ``beta1^t`` is in Adam.

    Parameters
    ----------
    learning_rate : float or callable, default 0.002
        PyTorch's default, after the paper; Keras has 0.001.
    beta1, beta2, epsilon
        As in Adam.
    momentum_decay : float >= 0, default 0.004
        How fast mu rises from beta1 / 2 to beta1.

    Source: Dozat (2016), "Incorporating Nesterov momentum into Adam", ICLR workshop.
    """

    learning_rate: float | Callable[[int], float] = 0.002
    momentum_decay: float = 0.004

    def check(self) -> None:
        super().check()
        self.check_range("momentum_decay", 0)

    def update(
        self, parameters: Array, gradients: Array, learning_rate: float, gradient_sum: Array, square_sum: Array
    ) -> None:
        scratch = self._add(gradients, gradient_sum, square_sum)
        product, momentum, following = self._product(), self._momentum(self.step), self._momentum(self.step + 1)
        direction = gradient_sum * (following * (1 - self.beta1) / (1 - product * following))
        np.multiply(gradients, (1 - momentum) / (1 - product), out=scratch)
        direction += scratch
        self._divide(direction, square_sum, scratch)
        scratch *= learning_rate / self._root_factor()
        parameters -= scratch

    def _momentum(self, step: int) -> float:
        return self.beta1 * (1 - 0.5 * 0.96 ** (step * self.momentum_decay))

    _known = (0, 1.0, 0.0, 0.0)

    def _product(self) -> float:
        """Return mu_1 ... mu_t: a function of step and settings, so that what is kept of it only spares time."""
        step, product, *settings = self._known
        if settings != [self.beta1, self.momentum_decay] or step > self.step:
            step, product = 0, 1.0
        while step < self.step and product > 1e-20:  # less is nothing beside the 1 that it is taken from
            step += 1
            product *= self._momentum(step)
            self._known = step, product, self.beta1, self.momentum_decay
        return product


@dataclass(eq=False)
class RMSprop(Optimizer):
    """Steps of the gradient divided by the root of its mean square.

    ``v <- decay v + (1 - decay) g^2``, ``p <- p - learning_rate g / (sqrt(v) + epsilon)``.

    Parameters
    ----------
    learning_rate : float or callable, default 0.001
    decay : float in [0, 1), default 0.9
        Of the running mean of the squares.
    momentum : float in [0, 1), default 0
        Above 0 the quotients q go into a velocity: ``u <- momentum u + q``, ``p <- p - learning_rate u``.
    centered : bool, default False
        Divide by the root of the variance ``v - m^2`` instead, where ``m <- decay m + (1 - decay) g``.
    epsilon : float > 0, default 1e-8

    The formula is PyTorch's; rate and decay are Keras' defaults, where PyTorch has 0.01 and 0.99.
    Source: Tieleman and Hinton (2012), lecture 6.5 of "Neural networks for machine learning"; Graves (2013),
    arXiv:1308.0850, for `centered`.
    """

    learning_rate: float | Callable[[int], float] = 0.001
    decay: float = 0.9
    momentum: float = 0.0
    centered: bool = False
    epsilon: float = 1e-8
    elementwise = True

    @property
    def slots(self) -> tuple[str, ...]:  # type: ignore[override]
        """The mean square, and what momentum and centering need."""
        return ("square", *["velocity"] * bool(self.momentum), *["mean"] * bool(self.centered))

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; with momentum or centering that comes or goes in a run, begin or drop its slot.

        At once, so that settings and slots fit each other wherever the run is saved. Refuses what is out of its range.
        """
        running = bool(vars(self).get("state"))
        if running and name == "momentum":
            value = check_number(value, f"{type(self).__name__}: momentum", 0, 1)
        if running and name == "centered":
            check_flag(value, f"{type(self).__name__}: centered")
        super().__setattr__(name, value)
        if running and name in ("momentum", "centered") and self.state.keys() != set(self.slots):
            self.state = {slot: self.state.get(slot, np.zeros_like(self.state["square"])) for slot in self.slots}

    def check(self) -> None:
        super().check()
        self.check_range("decay", 0, 1)
        self.check_range("momentum", 0, 1)
        check_flag(self.centered, f"{type(self).__name__}: centered")
        self.check_range("epsilon", above=0)

    def update(self, parameters: Array, gradients: Array, learning_rate: float, square: Array, *slots: Array) -> None:
        scratch = gradients * gradients
        scratch *= 1 - self.decay
        square *= self.decay
        square += scratch
        if self.centered:
            mean = slots[-1]
            np.multiply(gradients, 1 - self.decay, out=scratch)
            mean *= self.decay
            mean += scratch
            np.multiply(mean, mean, out=scratch)
            np.subtract(square, scratch, out=scratch)
            np.maximum(scratch, 0, out=scratch)  # rounding may make a variance of 0 negative
            np.sqrt(scratch, out=scratch)
        else:
            np.sqrt(square, out=scratch)
        scratch += self.epsilon
        np.divide(gradients, scratch, out=scratch)
        if self.momentum:
            velocity = slots[0]
            velocity *= self.momentum
            velocity += scratch
            np.multiply(velocity, learning_rate, out=scratch)
        else:
            scratch *= learning_rate
        parameters -= scratch


@dataclass(eq=False)
class Adagrad(Optimizer):
    """Steps of the gradient divided by the root of the sum of its squares.

    ``s <- s + g^2``, ``p <- p - learning_rate g / (sqrt(s) + epsilon)``.

    Parameters
    ----------
    learning_rate : float or callable, default 0.01
    epsilon : float > 0, default 1e-10

    Formula and defaults are PyTorch's; Keras has a rate of 0.001, an epsilon of 1e-7 and sums that begin at 0.1.
    Source: Duchi, Hazan and Singer (2011), "Adaptive subgradient methods", JMLR 12.
    """

    epsilon: float = 1e-10
    slots = ("square_sum",)
    elementwise = True

    def check(self) -> None:
        super().check()
        self.check_range("epsilon", above=0)

    def update(self, parameters: Array, gradients: Array, learning_rate: float, square_sum: Array) -> None:
        scratch = gradients * gradients
        square_sum += scratch
        np.sqrt(square_sum, out=scratch)
        scratch += self.epsilon
        np.divide(gradients, scratch, out=scratch)
        scratch *= learning_rate
        parameters -= scratch


@dataclass(eq=False)
class Adadelta(Optimizer):
    """Steps that find their own size, in the parameters' units: the running size of past steps over that of gradients.

    ``v <- decay v + (1 - decay) g^2``, ``d = g sqrt(u + epsilon) / sqrt(v + epsilon)``,
    ``u <- decay u + (1 - decay) d^2``, ``p <- p - learning_rate d``.

    Parameters
    ----------
    learning_rate : float or callable, default 1
    decay : float in [0, 1), default 0.9
        Of both running means.
    epsilon : float > 0, default 1e-6
        Also what the first steps are made of.

    The defaults are PyTorch's; Keras has a rate of 0.001, a decay of 0.95 and an epsilon of 1e-7.
    Source: Zeiler (2012), arXiv:1212.5701, algorithm 1.
    """

    learning_rate: float | Callable[[int], float] = 1.0
    decay: float = 0.9
    epsilon: float = 1e-6
    slots = ("square", "step_square")
    elementwise = True

    def check(self) -> None:
        super().check()
        self.check_range("decay", 0, 1)
        self.check_range("epsilon", above=0)

    def update(
        self, parameters: Array, gradients: Array, learning_rate: float, square: Array, step_square: Array
    ) -> None:
        scratch = gradients * gradients
        scratch *= 1 - self.decay
        square *= self.decay
        square += scratch
        direction = step_square + self.epsilon
        np.add(square, self.epsilon, out=scratch)
        direction /= scratch
        np.sqrt(direction, out=direction)
        direction *= gradients
        np.multiply(direction, direction, out=scratch)
        scratch *= 1 - self.decay
        step_square *= self.decay
        step_square += scratch
        direction *= learning_rate
        parameters -= direction


@dataclass(eq=False)
class Lion(Optimizer):
    """Steps of the rate's size along the sign of a running mean.

    ``p <- p - learning_rate sign(beta1 m + (1 - beta1) g)``, then ``m <- beta2 m + (1 - beta2) g``.

    Parameters
    ----------
    learning_rate : float or callable, default 0.0001
        A third to a tenth of what serves Adam.
    beta1, beta2 : float in [0, 1), default 0.9 and 0.99
        Share of the running mean in the step, and its decay.

    Source: Chen et al. (2023), arXiv:2302.06675, algorithm 2.
    """

    learning_rate: float | Callable[[int], float] = 0.0001
    beta1: float = 0.9
    beta2: float = 0.99
    slots = ("mean",)
    elementwise = True

    def check(self) -> None:
        super().check()
        self.check_range("beta1", 0, 1)
        self.check_range("beta2", 0, 1)

    def update(self, parameters: Array, gradients: Array, learning_rate: float, mean: Array) -> None:
        direction = mean * (self.beta1 / (1 - self.beta1))  # a positive factor changes no sign
        direction += gradients
        # The sign, which np.sign takes three times as long to find; only what is below 1e-30 comes out shorter.
        scratch = np.abs(direction)
        scratch += np.finfo(scratch.dtype).tiny
        direction /= scratch
        direction *= learning_rate
        parameters -= direction
        np.multiply(gradients, 1 - self.beta2, out=scratch)
        mean *= self.beta2
        mean += scratch
