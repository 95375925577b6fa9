"""Averages of the parameters, in one pass over the vectors."""

from typing import Any

from minidl.compiled.loops import are_alike, compiled
from minidl.compiled.switching import replaces
from minidl.typing import Array


@replaces("minidl.training.averages:ExponentialMovingAverage")
class _ExponentialMovingAverage:
    def follow(self: Any, parameters: Array, vector: Array, step: int) -> Any:
        if vector.ndim != 1 or not are_alike(vector, parameters):
            return NotImplemented
        return _follow(parameters, vector, 1 - min(self.decay, (1 + step) / (10 + step)))


@compiled
def _follow(parameters, vector, share):
    number = vector.dtype.type
    part = number(share)
    for i in range(vector.size):
        vector[i] += part * (parameters[i] - vector[i])
