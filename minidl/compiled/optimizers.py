"""The optimizers' updates, each in one pass over the vectors: the operations of the NumPy code, number by number."""

import math
from typing import Any

import numpy as np

from minidl.compiled.loops import compiled
from minidl.compiled.switching import replaces
from minidl.typing import Array


def _as_numbers(like: Array, *values: float) -> tuple[Any, ...]:
    """Return numbers in an array's type, as which NumPy takes plain ones in operations with it."""
    return tuple(map(like.dtype.type, values))


@replaces("minidl.optimizers.descent:SGD")
class _SGD:
    def update(self: Any, p: Array, g: Array, learning_rate: float) -> None:
        _sgd(p, g, *_as_numbers(p, learning_rate))


@compiled
def _sgd(p, g, learning_rate):
    for i in range(p.size):
        p[i] -= learning_rate * g[i]


@replaces("minidl.optimizers.descent:Momentum")
class _Momentum:
    def update(self: Any, p: Array, g: Array, learning_rate: float, v: Array) -> None:
        _momentum(p, g, v, *_as_numbers(p, learning_rate, self.momentum), self.nesterov)


@compiled
def _momentum(p, g, v, learning_rate, momentum, nesterov):
    for i in range(p.size):
        v[i] = v[i] * momentum + g[i]
        p[i] -= learning_rate * (momentum * v[i] + g[i] if nesterov else v[i])


@replaces("minidl.optimizers.adaptive:Adam")
class _Adam:
    def update(self: Any, p: Array, g: Array, learning_rate: float, m: Array, v: Array) -> None:
        factor = learning_rate / (1 - self.beta1**self.step)
        _adam(p, g, m, v, *_decays(self, p), *_divisor(self, p, factor))


def _decays(adam: Any, p: Array) -> tuple[Any, ...]:
    return _as_numbers(p, adam.beta1, 1 - adam.beta1, adam.beta2, 1 - adam.beta2)


def _divisor(adam: Any, p: Array, factor: float) -> tuple[Any, ...]:
    correction = math.sqrt(1 - adam.beta2**adam.step)
    return _as_numbers(p, adam.epsilon * correction, factor * correction)


@compiled
def _adam(p, g, m, v, beta1, rest1, beta2, rest2, epsilon, factor):
    for i in range(p.size):
        m[i] = m[i] * beta1 + g[i] * rest1
        v[i] = v[i] * beta2 + g[i] * g[i] * rest2
        p[i] -= m[i] / (np.sqrt(v[i]) + epsilon) * factor


@replaces("minidl.optimizers.adaptive:AMSGrad")
class _AMSGrad:
    def update(self: Any, p: Array, g: Array, learning_rate: float, m: Array, v: Array, w: Array) -> None:
        factor = learning_rate / (1 - self.beta1**self.step)
        _amsgrad(p, g, m, v, w, *_decays(self, p), *_divisor(self, p, factor))


@compiled
def _amsgrad(p, g, m, v, w, beta1, rest1, beta2, rest2, epsilon, factor):
    for i in range(p.size):
        m[i] = m[i] * beta1 + g[i] * rest1
        v[i] = v[i] * beta2 + g[i] * g[i] * rest2
        if not w[i] >= v[i] and not np.isnan(w[i]):
            w[i] = v[i]
        p[i] -= m[i] / (np.sqrt(w[i]) + epsilon) * factor


@replaces("minidl.optimizers.adaptive:NAdam")
class _NAdam:
    def update(self: Any, p: Array, g: Array, learning_rate: float, m: Array, v: Array) -> None:
        of_mean, of_gradient = self._shares()
        shares = _as_numbers(p, of_mean, of_gradient)
        _nadam(p, g, m, v, *_decays(self, p), *_divisor(self, p, learning_rate), *shares)


@compiled
def _nadam(p, g, m, v, beta1, rest1, beta2, rest2, epsilon, factor, of_mean, of_gradient):
    for i in range(p.size):
        m[i] = m[i] * beta1 + g[i] * rest1
        v[i] = v[i] * beta2 + g[i] * g[i] * rest2
        direction = of_mean * m[i] + g[i] * of_gradient
        p[i] -= direction / (np.sqrt(v[i]) + epsilon) * factor


@replaces("minidl.optimizers.adaptive:RMSprop")
class _RMSprop:
    def update(self: Any, p: Array, g: Array, learning_rate: float, v: Array, *others: Array) -> None:
        numbers = _as_numbers(p, learning_rate, self.decay, 1 - self.decay, self.momentum, self.epsilon)
        # A vector that is not used is any vector.
        u = others[0] if self.momentum else v
        m = others[-1] if self.centered else v
        _rmsprop(p, g, v, u, m, *numbers, *_as_numbers(p, 0), bool(self.momentum), self.centered)


@compiled
def _rmsprop(p, g, v, u, m, learning_rate, decay, rest, momentum, epsilon, zero, has_momentum, centered):
    for i in range(p.size):
        v[i] = v[i] * decay + g[i] * g[i] * rest
        square = v[i]
        if centered:
            m[i] = m[i] * decay + g[i] * rest
            square = v[i] - m[i] * m[i]
            square = max(square, zero)
        step = g[i] / (np.sqrt(square) + epsilon)
        if has_momentum:
            u[i] = u[i] * momentum + step
            step = u[i]
        p[i] -= step * learning_rate


@replaces("minidl.optimizers.adaptive:Adagrad")
class _Adagrad:
    def update(self: Any, p: Array, g: Array, learning_rate: float, s: Array) -> None:
        _adagrad(p, g, s, *_as_numbers(p, learning_rate, self.epsilon))


@compiled
def _adagrad(p, g, s, learning_rate, epsilon):
    for i in range(p.size):
        s[i] += g[i] * g[i]
        p[i] -= g[i] / (np.sqrt(s[i]) + epsilon) * learning_rate


@replaces("minidl.optimizers.adaptive:Adadelta")
class _Adadelta:
    def update(self: Any, p: Array, g: Array, learning_rate: float, v: Array, u: Array) -> None:
        _adadelta(p, g, v, u, *_as_numbers(p, learning_rate, self.decay, 1 - self.decay, self.epsilon))


@compiled
def _adadelta(p, g, v, u, learning_rate, decay, rest, epsilon):
    for i in range(p.size):
        v[i] = v[i] * decay + g[i] * g[i] * rest
        d = np.sqrt((u[i] + epsilon) / (v[i] + epsilon)) * g[i]
        u[i] = u[i] * decay + d * d * rest
        p[i] -= d * learning_rate


@replaces("minidl.optimizers.adaptive:Lion")
class _Lion:
    def update(self: Any, p: Array, g: Array, learning_rate: float, m: Array) -> None:
        tiny = float(np.finfo(p.dtype).tiny)
        share = self.beta1 / (1 - self.beta1)
        _lion(p, g, m, *_as_numbers(p, learning_rate, share, self.beta2, 1 - self.beta2, tiny))


@compiled
def _lion(p, g, m, learning_rate, share, beta2, rest2, tiny):
    for i in range(p.size):
        direction = m[i] * share + g[i]
        p[i] -= direction / (np.abs(direction) + tiny) * learning_rate
        m[i] = m[i] * beta2 + g[i] * rest2
