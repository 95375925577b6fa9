"""Gradient descent at one rate for all parameters: plain, and with momentum."""

from __future__ import annotations

from dataclasses import dataclass

from minidl.inputs import check_flag
from minidl.optimizers.base import Optimizer
from minidl.typing import Array

__all__ = ["SGD", "Momentum"]


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
        self.check_range("momentum", 0, 1)
        check_flag(self.nesterov, f"{type(self).__name__}: nesterov")

    def update(self, parameters: Array, gradients: Array, learning_rate: float, velocity: Array) -> None:
        velocity *= self.momentum
        velocity += gradients
        if self.nesterov:
            direction = self.momentum * velocity
            direction += gradients
            direction *= learning_rate
        else:
            direction = learning_rate * velocity
        parameters -= direction
