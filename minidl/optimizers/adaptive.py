"""Optimizers that adapt the rate of each parameter to its past gradients.

Each `update` computes the formula of its docstring in place. ``t`` is the only scratch vector, because a new array for
each operation would take a fifth longer.
"""

import math
from typing import Any, ClassVar

import numpy as np

from minidl.optimizers.base import Optimizer, Rate
from minidl.settings import as_flag, setting
from minidl.typing import Array


class _Adaptive(Optimizer):
    """Base of these optimizers: the step of a parameter depends only on its own gradient and slots."""

    elementwise = True


class Adam(_Adaptive):
    """Adaptive moment estimation: the step is the running mean of the gradient, divided by its running size.

    At step t: ``m <- beta1 m + (1 - beta1) g``, ``v <- beta2 v + (1 - beta2) g^2``,
    ``p <- p - learning_rate m' / (sqrt(v') + epsilon)`` with ``m' = m / (1 - beta1^t)``, ``v' = v / (1 - beta2^t)``.

    Parameters
    ----------
    learning_rate : float or callable, default 0.001
    beta1, beta2 : float in [0, 1), default 0.9 and 0.999
        Decay of the running means of the gradient and of its square.
    epsilon : float > 0, default 1e-8
    weight_decay : float >= 0, default 0
        As in `Optimizer`.

    With `weight_decay` above 0, this is AdamW (decoupled weight decay), as in Keras' Adam. PyTorch's Adam adds the
    gradient of an L2 term instead. For that, give the layers a regularizer, ``L2(weight_decay / 2)``.
    Source: Kingma and Ba (2015), arXiv:1412.6980, algorithm 1.
    """

    learning_rate: Rate = setting(default=0.001, kw_only=False)
    beta1: float = setting(default=0.9, low=0, below=1)
    beta2: float = setting(default=0.999, low=0, below=1)
    epsilon: float = setting(default=1e-8, above=0)
    slots: ClassVar[tuple[str, ...]] = ("m", "v")

    def update(self, p: Array, g: Array, learning_rate: float, m: Array, v: Array) -> None:
        t = self._add(g, m, v)
        p -= self._divide(m, v, learning_rate / (1 - self.beta1**self.step), out=t)

    def _add(self, g: Array, m: Array, v: Array) -> Array:
        """Update the running means m and v with g; return a scratch vector."""
        t = np.empty_like(g)
        _follow(m, g, self.beta1, t)
        _follow(v, np.multiply(g, g, out=t), self.beta2, t)
        return t

    def _divide(self, m: Array, v: Array, factor: float, out: Array) -> Array:
        """Return ``factor m / (sqrt(v') + epsilon)`` in `out`. The correction of v is applied outside of the root."""
        correction = math.sqrt(1 - self.beta2**self.step)
        _divide_by_root(m, v, self.epsilon * correction, out)
        out *= factor * correction
        return out


class AdamW(Adam):
    """Adam with decoupled weight decay: before Adam's step, ``p <- p (1 - learning_rate weight_decay)``.

    An L2 term in the loss would be divided by the gradients' size, like the rest of the gradient. The decoupled decay
    is not, so all weights shrink at the same rate.

    Parameters
    ----------
    learning_rate, beta1, beta2, epsilon
        As in Adam.
    weight_decay : float >= 0, default 0.01
        PyTorch's default; Keras has 0.004.

    Source: Loshchilov and Hutter (2019), arXiv:1711.05101, algorithm 2. Its decay is learning_rate times this one.
    """

    weight_decay: float = 0.01


class AMSGrad(Adam):
    """Adam whose divisor never shrinks: it divides by the largest running mean of squares so far.

    With Adam's m and v, ``w <- max(w, v)`` and ``p <- p - learning_rate m' / (sqrt(w / (1 - beta2^t)) + epsilon)``.

    Parameters
    ----------
    learning_rate, beta1, beta2, epsilon
        As in Adam.
    weight_decay : float >= 0, default 0
        As in `Optimizer`.

    Source: Reddi et al. (2018), arXiv:1904.09237, algorithm 2, with Adam's corrections for the start at zero, as in
    PyTorch.
    """

    slots = ("m", "v", "w")

    def update(self, p: Array, g: Array, learning_rate: float, m: Array, v: Array, w: Array) -> None:  # type: ignore[override]
        t = self._add(g, m, v)
        np.maximum(w, v, out=w)
        p -= self._divide(m, w, learning_rate / (1 - self.beta1**self.step), out=t)


class NAdam(Adam):
    """Adam with Nesterov's momentum: the step looks ahead along the running mean of the gradients.

    With Adam's m and v', ``p <- p - learning_rate (c g + d m) / (sqrt(v') + epsilon)``, where at step t
    ``mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2)``, ``c = (1 - mu_t) / (1 - mu_1 ... mu_t)`` and
    ``d = mu_(t+1) / (1 - mu_1 ... mu_(t+1))``. All mu use the current settings, like ``beta1^t`` in Adam.

    Parameters
    ----------
    learning_rate : float or callable, default 0.002
        PyTorch's default, after the paper; Keras has 0.001.
    beta1, beta2, epsilon
        As in Adam.
    momentum_decay : float >= 0, default 0.004
        How fast mu rises from beta1 / 2 to beta1.
    weight_decay : float >= 0, default 0
        As in `Optimizer`.

    Source: Dozat (2016), "Incorporating Nesterov momentum into Adam", ICLR workshop.
    """

    learning_rate: Rate = setting(default=0.002, kw_only=False)
    momentum_decay: float = setting(default=0.004, low=0)

    def update(self, p: Array, g: Array, learning_rate: float, m: Array, v: Array) -> None:
        t = self._add(g, m, v)
        of_mean, of_gradient = self._shares()
        direction = of_mean * m
        direction += np.multiply(g, of_gradient, out=t)
        p -= self._divide(direction, v, learning_rate, out=t)

    def _shares(self) -> tuple[float, float]:
        """Return ``d`` and ``c``, the shares of m and of g in the step."""
        # The factors are at most beta1. With this many of them, the product is negligible in 1 - product.
        factors = min(self.step, math.ceil(46 / (1 - self.beta1)))
        product, following = float(np.prod(self._mu(np.arange(1, factors + 1)))), self._mu(self.step + 1)
        return following / (1 - product * following), (1 - self._mu(self.step)) / (1 - product)

    def _mu(self, t: Any) -> Any:
        """Return the momentum of step t; t may be an array of steps."""
        return self.beta1 * (1 - 0.5 * 0.96 ** (t * self.momentum_decay))


class RMSprop(_Adaptive):
    """Steps of the gradient divided by the root of its mean square.

    ``v <- decay v + (1 - decay) g^2``, ``p <- p - learning_rate g / (sqrt(v) + epsilon)``.

    Parameters
    ----------
    learning_rate : float or callable, default 0.001
    decay : float in [0, 1), default 0.9
        Decay of the running mean of the squares.
    momentum : float in [0, 1), default 0
        If above 0, the quotients q are added to a velocity: ``u <- momentum u + q``, ``p <- p - learning_rate u``.
    centered : bool, default False
        Divide by the root of the variance ``v - m^2`` instead, where ``m <- decay m + (1 - decay) g``.
    epsilon : float > 0, default 1e-8
    weight_decay : float >= 0, default 0
        As in `Optimizer`.

    The formula is PyTorch's. The rate and the decay are Keras' defaults; PyTorch has 0.01 and 0.99.
    Source: Tieleman and Hinton (2012), lecture 6.5 of "Neural networks for machine learning"; Graves (2013),
    arXiv:1308.0850, for `centered`.
    """

    learning_rate: Rate = setting(default=0.001, kw_only=False)
    decay: float = setting(default=0.9, low=0, below=1)
    momentum: float = setting(default=0.0, low=0, below=1)
    centered: bool = setting(default=False, check=as_flag)
    epsilon: float = setting(default=1e-8, above=0)

    @property
    def slots(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the mean square and of the vectors that `momentum` and `centered` need."""
        return ("v", *["u"] * bool(self.momentum), *["m"] * self.centered)

    def update(self, p: Array, g: Array, learning_rate: float, v: Array, *others: Array) -> None:
        t = g * g
        _follow(v, t, self.decay, t)
        square = v
        if self.centered:
            m = others[-1]
            _follow(m, g, self.decay, t)
            np.multiply(m, m, out=t)
            np.subtract(v, t, out=t)
            square = np.maximum(t, 0, out=t)  # rounding can make a variance of 0 negative
        _divide_by_root(g, square, self.epsilon, t)
        step = t
        if self.momentum:
            step = others[0]
            step *= self.momentum
            step += t
        p -= np.multiply(step, learning_rate, out=t)


class Adagrad(_Adaptive):
    """Steps of the gradient divided by the root of the sum of its squares.

    ``s <- s + g^2``, ``p <- p - learning_rate g / (sqrt(s) + epsilon)``.

    Parameters
    ----------
    learning_rate : float or callable, default 0.01
    epsilon : float > 0, default 1e-10
    weight_decay : float >= 0, default 0
        As in `Optimizer`.

    Formula and defaults are PyTorch's. Keras has a rate of 0.001 and an epsilon of 1e-7, and its sums start at 0.1.
    Source: Duchi, Hazan and Singer (2011), "Adaptive subgradient methods", JMLR 12.
    """

    epsilon: float = setting(default=1e-10, above=0)
    slots = ("s",)

    def update(self, p: Array, g: Array, learning_rate: float, s: Array) -> None:
        t = g * g
        s += t
        _divide_by_root(g, s, self.epsilon, t)
        p -= np.multiply(t, learning_rate, out=t)


class Adadelta(_Adaptive):
    """Steps that find their own size: proportional to the running size of past steps over the size of past gradients.

    Therefore a step has the units of the parameters.

    ``v <- decay v + (1 - decay) g^2``, ``d = g sqrt(u + epsilon) / sqrt(v + epsilon)``,
    ``u <- decay u + (1 - decay) d^2``, ``p <- p - learning_rate d``.

    Parameters
    ----------
    learning_rate : float or callable, default 1
    decay : float in [0, 1), default 0.9
        Decay of both running means.
    epsilon : float > 0, default 1e-6
        It also determines the size of the first steps.
    weight_decay : float >= 0, default 0
        As in `Optimizer`.

    The defaults are PyTorch's; Keras has a rate of 0.001, a decay of 0.95 and an epsilon of 1e-7.
    Source: Zeiler (2012), arXiv:1212.5701, algorithm 1.
    """

    learning_rate: Rate = setting(default=1.0, kw_only=False)
    decay: float = setting(default=0.9, low=0, below=1)
    epsilon: float = setting(default=1e-6, above=0)
    slots = ("v", "u")

    def update(self, p: Array, g: Array, learning_rate: float, v: Array, u: Array) -> None:
        t = g * g
        _follow(v, t, self.decay, t)
        d = u + self.epsilon
        np.add(v, self.epsilon, out=t)
        d /= t
        np.sqrt(d, out=d)
        d *= g
        _follow(u, np.multiply(d, d, out=t), self.decay, t)
        p -= np.multiply(d, learning_rate, out=d)


class Lion(_Adaptive):
    """Steps of size `learning_rate` along the sign of a running mean.

    ``p <- p - learning_rate sign(beta1 m + (1 - beta1) g)``, then ``m <- beta2 m + (1 - beta2) g``.

    Parameters
    ----------
    learning_rate : float or callable, default 0.0001
        A good value is a third to a tenth of Adam's.
    beta1, beta2 : float in [0, 1), default 0.9 and 0.99
        Share of the running mean in the step, and decay of the running mean.
    weight_decay : float >= 0, default 0
        As in `Optimizer`.

    Source: Chen et al. (2023), arXiv:2302.06675, algorithm 2.
    """

    learning_rate: Rate = setting(default=0.0001, kw_only=False)
    beta1: float = setting(default=0.9, low=0, below=1)
    beta2: float = setting(default=0.99, low=0, below=1)
    slots = ("m",)

    def update(self, p: Array, g: Array, learning_rate: float, m: Array) -> None:
        direction = m * (self.beta1 / (1 - self.beta1))  # a positive factor changes no sign
        direction += g
        # This is the sign; np.sign takes three times as long. Only numbers below 1e-30 give a smaller step.
        t = np.abs(direction)
        t += np.finfo(t.dtype).tiny
        direction /= t
        p -= np.multiply(direction, learning_rate, out=direction)
        _follow(m, g, self.beta2, t)


def _follow(mean: Array, x: Array, decay: float, t: Array) -> None:
    """Compute ``mean <- decay mean + (1 - decay) x`` in place; t is a scratch vector and may be x."""
    np.multiply(x, 1 - decay, out=t)
    mean *= decay
    mean += t


def _divide_by_root(x: Array, square: Array, epsilon: float, t: Array) -> None:
    """Compute ``t <- x / (sqrt(square) + epsilon)``; t may be `square`."""
    np.sqrt(square, out=t)
    t += epsilon
    np.divide(x, t, out=t)
