"""Gradient descent with one rate for all parameters: plain, and with momentum."""

from minidl.optimizers.base import Optimizer
from minidl.settings import as_flag, setting
from minidl.typing import Array


class SGD(Optimizer):
    """Stochastic gradient descent, ``p <- p - learning_rate g``.

    Parameters
    ----------
    learning_rate : float >= 0 or callable, default 0.01
    weight_decay : float >= 0, default 0
        As in `Optimizer`.

    Source: Robbins and Monro (1951), "A stochastic approximation method".
    """

    elementwise = True

    def update(self, p: Array, g: Array, learning_rate: float) -> None:
        p -= learning_rate * g


class Momentum(Optimizer):
    """Gradient descent with momentum: ``v <- momentum v + g``, ``p <- p - learning_rate v``.

    Parameters
    ----------
    learning_rate : float or callable, default 0.01
    momentum : float in [0, 1), default 0.9
    nesterov : bool, default False
        Step along ``momentum v + g`` instead of v, which looks one step ahead.
    weight_decay : float >= 0, default 0
        As in `Optimizer`.

    Source: Polyak (1964); Sutskever et al. (2013), "On the importance of initialization and momentum in deep learning",
    ICML, for Nesterov's form.
    """

    momentum: float = setting(default=0.9, low=0, below=1)
    nesterov: bool = setting(default=False, check=as_flag)
    slots = ("v",)
    elementwise = True

    def update(self, p: Array, g: Array, learning_rate: float, v: Array) -> None:
        v *= self.momentum
        v += g
        direction = self.momentum * v + g if self.nesterov else v
        p -= learning_rate * direction
