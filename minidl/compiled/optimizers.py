"""The optimizers' updates, each in one pass over the vectors, with the same operations per number as the NumPy code."""

import math
from typing import Any

import numpy as np

from minidl.compiled.loops import are_alike, compiled
from minidl.compiled.switching import replaces
from minidl.optimizers import Adam
from minidl.typing import Array

# Python numbers are converted to the arrays' type, as in NumPy. A loop reads all numbers of an entry before it writes
# one. Otherwise vectors whose addresses have the same last digits take up to three times as long, because the processor
# assumes that a read depends on the last write.


def _is_plain(learning_rate: Any, parameters: Array, *others: Array) -> bool:
    """Whether it is an update as the trainer calls it; custom optimizers may pass types that NumPy promotes."""
    return type(learning_rate) is float and parameters.ndim == 1 and are_alike(parameters, *others)


def _is_plainadam(optimizer: Any, learning_rate: Any, *vectors: Array) -> bool:
    """Whether it is such an update of an Adam with the original step."""
    kind = type(optimizer)
    return kind._add is Adam._add and kind._divide is Adam._divide and _is_plain(learning_rate, *vectors)


@replaces("minidl.optimizers.descent:SGD")
class _SGD:
    def update(self: Any, p: Array, g: Array, learning_rate: float) -> Any:
        if not _is_plain(learning_rate, p, g):
            return NotImplemented
        return sgd_step(p, g, learning_rate)


@compiled
def sgd_step(p, g, learning_rate):
    """Take a step of SGD."""
    number = p.dtype.type
    rate = number(learning_rate)
    for i in range(p.size):
        p[i] -= rate * g[i]


@replaces("minidl.optimizers.descent:Momentum")
class _Momentum:
    def update(self: Any, p: Array, g: Array, learning_rate: float, v: Array) -> Any:
        if not _is_plain(learning_rate, p, g, v):
            return NotImplemented
        return momentum_step(p, g, v, learning_rate, self.momentum, self.nesterov)


@compiled
def momentum_step(p, g, v, learning_rate, momentum, nesterov):
    """Take a step of Momentum."""
    number = p.dtype.type
    rate, decay = number(learning_rate), number(momentum)
    for i in range(p.size):
        gradient, parameter = g[i], p[i]
        velocity = v[i] * decay + gradient
        v[i] = velocity
        p[i] = parameter - rate * (decay * velocity + gradient if nesterov else velocity)


@replaces("minidl.optimizers.adaptive:Adam")
class _Adam:
    def update(self: Any, p: Array, g: Array, learning_rate: float, m: Array, v: Array) -> Any:
        if not _is_plainadam(self, learning_rate, p, g, m, v):
            return NotImplemented
        return adam_step(p, g, m, v, self.beta1, self.beta2, *adam_factors(self, learning_rate))


def adam_factors(optimizer: Any, learning_rate: float) -> tuple[float, float]:
    """Return the number added to the root of v, and the factor of the quotient, at the optimizer's step."""
    correction = math.sqrt(1 - optimizer.beta2**optimizer.step)
    factor = learning_rate / (1 - optimizer.beta1**optimizer.step) * correction
    return optimizer.epsilon * correction, factor


@compiled
def adam_step(p, g, m, v, beta1, beta2, epsilon, factor):
    """Take a step of Adam with the factors from `adam_factors`."""
    number = p.dtype.type
    of_m, of_g, of_v, of_square = number(beta1), number(1 - beta1), number(beta2), number(1 - beta2)
    least, rate = number(epsilon), number(factor)
    for i in range(p.size):
        gradient, parameter = g[i], p[i]
        mean = m[i] * of_m + gradient * of_g
        square = v[i] * of_v + gradient * gradient * of_square
        m[i], v[i] = mean, square
        p[i] = parameter - mean / (np.sqrt(square) + least) * rate


@replaces("minidl.optimizers.adaptive:AMSGrad")
class _AMSGrad:
    def update(self: Any, p: Array, g: Array, learning_rate: float, m: Array, v: Array, w: Array) -> Any:
        if not _is_plainadam(self, learning_rate, p, g, m, v, w):
            return NotImplemented
        return _amsgrad(p, g, m, v, w, self.beta1, self.beta2, *adam_factors(self, learning_rate))


@compiled
def _amsgrad(p, g, m, v, w, beta1, beta2, epsilon, factor):
    number = p.dtype.type
    of_m, of_g, of_v, of_square = number(beta1), number(1 - beta1), number(beta2), number(1 - beta2)
    least, rate = number(epsilon), number(factor)
    for i in range(p.size):
        gradient, parameter, largest = g[i], p[i], w[i]
        mean = m[i] * of_m + gradient * of_g
        square = v[i] * of_v + gradient * gradient * of_square
        largest = largest if largest >= square or np.isnan(largest) else square
        m[i], v[i], w[i] = mean, square, largest
        p[i] = parameter - mean / (np.sqrt(largest) + least) * rate


@replaces("minidl.optimizers.adaptive:NAdam")
class _NAdam:
    def update(self: Any, p: Array, g: Array, learning_rate: float, m: Array, v: Array) -> Any:
        if not _is_plainadam(self, learning_rate, p, g, m, v):
            return NotImplemented
        correction = math.sqrt(1 - self.beta2**self.step)
        factors = self.epsilon * correction, learning_rate * correction, *self._shares()
        return _nadam(p, g, m, v, self.beta1, self.beta2, *factors)


@compiled
def _nadam(p, g, m, v, beta1, beta2, epsilon, factor, share_of_m, share_of_g):
    number = p.dtype.type
    of_m, of_g, of_v, of_square = number(beta1), number(1 - beta1), number(beta2), number(1 - beta2)
    least, rate, of_mean, of_gradient = number(epsilon), number(factor), number(share_of_m), number(share_of_g)
    for i in range(p.size):
        gradient, parameter = g[i], p[i]
        mean = m[i] * of_m + gradient * of_g
        square = v[i] * of_v + gradient * gradient * of_square
        m[i], v[i] = mean, square
        p[i] = parameter - (of_mean * mean + gradient * of_gradient) / (np.sqrt(square) + least) * rate


@replaces("minidl.optimizers.adaptive:RMSprop")
class _RMSprop:
    def update(self: Any, p: Array, g: Array, learning_rate: float, v: Array, *others: Array) -> Any:
        if not _is_plain(learning_rate, p, g, v, *others):
            return NotImplemented
        # An unused vector may be any vector.
        u = others[0] if self.momentum else v
        m = others[-1] if self.centered else v
        return _rmsprop(p, g, v, u, m, learning_rate, self.decay, self.momentum, self.epsilon, self.centered)


@compiled
def _rmsprop(p, g, v, u, m, learning_rate, decay, momentum, epsilon, centered):
    number = p.dtype.type
    rate, least, zero = number(learning_rate), number(epsilon), number(0)
    of_mean, of_new, of_velocity, has_velocity = number(decay), number(1 - decay), number(momentum), momentum > 0
    for i in range(p.size):
        gradient, parameter, velocity, mean = g[i], p[i], u[i], m[i]
        square = v[i] * of_mean + gradient * gradient * of_new
        v[i] = square
        if centered:
            mean = mean * of_mean + gradient * of_new
            m[i] = mean
            square = square - mean * mean
            square = zero if square < zero else square  # NaN stays NaN
        step = gradient / (np.sqrt(square) + least)
        if has_velocity:
            step = velocity * of_velocity + step
            u[i] = step
        p[i] = parameter - step * rate


@replaces("minidl.optimizers.adaptive:Adagrad")
class _Adagrad:
    def update(self: Any, p: Array, g: Array, learning_rate: float, s: Array) -> Any:
        if not _is_plain(learning_rate, p, g, s):
            return NotImplemented
        return _adagrad(p, g, s, learning_rate, self.epsilon)


@compiled
def _adagrad(p, g, s, learning_rate, epsilon):
    number = p.dtype.type
    rate, least = number(learning_rate), number(epsilon)
    for i in range(p.size):
        gradient, parameter = g[i], p[i]
        square = s[i] + gradient * gradient
        s[i] = square
        p[i] = parameter - gradient / (np.sqrt(square) + least) * rate


@replaces("minidl.optimizers.adaptive:Adadelta")
class _Adadelta:
    def update(self: Any, p: Array, g: Array, learning_rate: float, v: Array, u: Array) -> Any:
        if not _is_plain(learning_rate, p, g, v, u):
            return NotImplemented
        return _adadelta(p, g, v, u, learning_rate, self.decay, self.epsilon)


@compiled
def _adadelta(p, g, v, u, learning_rate, decay, epsilon):
    number = p.dtype.type
    rate, of_mean, of_new, least = number(learning_rate), number(decay), number(1 - decay), number(epsilon)
    for i in range(p.size):
        gradient, parameter, before = g[i], p[i], u[i]
        square = v[i] * of_mean + gradient * gradient * of_new
        step = np.sqrt((before + least) / (square + least)) * gradient
        v[i], u[i] = square, before * of_mean + step * step * of_new
        p[i] = parameter - step * rate


@replaces("minidl.optimizers.adaptive:Lion")
class _Lion:
    def update(self: Any, p: Array, g: Array, learning_rate: float, m: Array) -> Any:
        if not _is_plain(learning_rate, p, g, m):
            return NotImplemented
        return _lion(p, g, m, learning_rate, self.beta1, self.beta2, float(np.finfo(p.dtype).tiny))


@compiled
def _lion(p, g, m, learning_rate, beta1, beta2, smallest):
    number = p.dtype.type
    rate, tiny = number(learning_rate), number(smallest)
    share, of_m, of_g = number(beta1 / (1 - beta1)), number(beta2), number(1 - beta2)
    for i in range(p.size):
        gradient, parameter, mean = g[i], p[i], m[i]
        direction = mean * share + gradient
        m[i] = mean * of_m + gradient * of_g
        p[i] = parameter - direction / (np.abs(direction) + tiny) * rate
