"""Standardize inputs with a first layer, and targets with a loss.

Both are parts of the model, so a saved model predicts in the user's units without further data.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minidl.initializers import Constant
from minidl.layers import Declaration, Layer
from minidl.losses import Loss
from minidl.settings import instance_of, setting
from minidl.typing import Array, Shape

_ENTRIES_AT_ONCE = 2**18


class Standardize(Layer):
    """Subtract each feature's mean and divide by its deviation, ``y = (x - mean) / deviation``. `adapt` measures both.

    A constant feature is divided by 1. The layer has no trainable parameters.

    Shapes: (N, *input_shape) -> (N, *input_shape). The states ``mean`` and ``deviation`` have the input's shape and
    start at 0 and 1. dx = dy / deviation.
    """

    takes_integers = True

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        self.mean = declare.state("mean", input_shape, "zeros")
        self.deviation = declare.state("deviation", input_shape, Constant(1))
        return input_shape

    def adapt(self, x: Any, weights: Array | None = None) -> None:
        """Measure mean and deviation of rows (N, *input_shape), dense or sparse, with optional `weights` (N,)."""
        mean, deviation = measure(x, weights)
        self.mean.value, self.deviation.value = (
            mean.reshape(self.mean.value.shape),
            deviation.reshape(self.mean.value.shape),
        )

    def forward(self, x: Array, training: bool = False) -> Array:
        y: Array = (x - self.mean.value).astype(self.dtype, copy=False)
        y /= self.deviation.value
        return y

    def backward(self, dy: Array) -> Array:
        return dy / self.deviation.value


class StandardizedTargets(Loss):
    """Apply another loss to standardized targets, ``(t - mean) / deviation``; predictions are scaled back.

    Parameters
    ----------
    loss : Loss
        A loss for regression.
    mean, deviation : float or sequence of float
        Mean and standard deviation of each output's targets.

    Shapes: as for the inner loss.
    """

    loss: Loss = setting(kw_only=False, check=instance_of(Loss, "a loss"))
    mean: Any = setting()
    deviation: Any = setting()

    def __post_init__(self) -> None:
        self.mean, self.deviation = tuple(np.ravel(self.mean).tolist()), tuple(np.ravel(self.deviation).tolist())

    @property
    def default_metric(self) -> str:  # type: ignore[override]
        """The metric of the inner loss."""
        return self.loss.default_metric

    @property
    def units(self) -> tuple[Any, Any]:
        """The unit of the scores: scores in different units cannot be averaged."""
        return self.mean, self.deviation

    def per_sample(self, scores: Array, targets: Array) -> tuple[Array, Array]:
        return self.loss.per_sample(scores, targets)

    def prepare_targets(self, targets: Any, output_shape: Shape, dtype: DTypeLike = np.float32) -> Array:
        raw = super().prepare_targets(targets, output_shape, np.float64)
        return self.loss.prepare_targets(
            (raw - np.asarray(self.mean)) / np.asarray(self.deviation), output_shape, dtype
        )

    def check_output(self, output_shape: Shape) -> None:
        self.loss.check_output(output_shape)

    def decide(self, scores: Array) -> Array:
        return self._scaled_back(self.loss.decide(scores))

    def truth(self, targets: Array) -> Array:
        return self._scaled_back(self.loss.truth(targets))

    def average(self, scores: Array) -> Array:
        return self.loss.average(scores)

    def _scaled_back(self, values: Array) -> Array:
        # In float64: the mean may have more digits than the scores' type, as times have.
        return values * np.asarray(self.deviation) + np.asarray(self.mean)


def measure(x: Any, weights: Array | None = None) -> tuple[Array, Array]:
    """Return each feature's mean and deviation over rows (N, ...), of shape (features,). A deviation of 0 becomes 1."""
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    size = max(_ENTRIES_AT_ONCE // math.prod(x.shape[1:]), 1)
    for start in range(0, len(x), size):
        rows = slice(start, start + size)
        block, sample_weight = x[rows], None if weights is None else weights[rows]
        if sample_weight is None or sample_weight.any():
            scaler.partial_fit(block.reshape(len(block), -1), sample_weight=sample_weight)
    return scaler.mean_, scaler.scale_
