"""Averages of the parameters, in one pass over the vectors."""

from typing import Any

from minidl.compiled.loops import compiled
from minidl.compiled.switching import replaces
from minidl.typing import Array


@replaces("minidl.training.averages:ExponentialMovingAverage")
class _ExponentialMovingAverage:
    def follow(self: Any, parameters: Array, vector: Array, step: int) -> None:
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        _follow(parameters, vector, vector.dtype.type(share))


@compiled
def _follow(parameters, vector, share):
    for i in range(vector.size):
        vector[i] += share * (parameters[i] - vector[i])
