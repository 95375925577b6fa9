"""Losses of numbers: what the model gives for each output is compared with what it should be."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minidl import functional
from minidl.losses.base import Loss, as_one_per_output, count_outputs, mean_over_outputs, refuse_targets
from minidl.settings import as_flag, setting
from minidl.typing import Array, Shape


class RegressionLoss(Loss):
    """Base of the losses that compare each output with a number: a subclass writes `per_sample`.

    It checks the targets, and reports the mean absolute error.

    Parameters
    ----------
    position_wise : bool, default False
        Whether each position of an output (N, T, K) is a sample of its own, as it is to the losses of classes: it can
        have a weight, and the padding of sequences is left out. The mean over all is the same.

    Shapes: scores (N, ...), targets of the same shape; for one output also (N,). Raises ShapeError for others.
    """

    position_wise: bool = setting(default=False, check=as_flag, quiet=True)
    default_metric = "mean_absolute_error"

    def positions(self, output_shape: Shape) -> Shape:
        return output_shape[:-1] if self.position_wise else ()

    def prepare_targets(self, targets: Any, output_shape: Shape, dtype: DTypeLike = np.float32) -> Array:
        return as_one_per_output(super().prepare_targets(targets, output_shape, dtype), output_shape, dtype)


class MeanSquaredError(RegressionLoss):
    """Squared error, for regression: a sample's loss is the mean over its outputs of (s - t)^2.

    The gradient is 2 (s - t) / outputs.

    Shapes: scores (N, ...), targets of the same shape; for one output also (N,). Raises ShapeError for others.
    """

    def per_sample(self, scores: Array, targets: Array) -> tuple[Array, Array]:
        errors = scores - targets
        return mean_over_outputs(errors * errors), errors * (2 / count_outputs(errors))


class MeanAbsoluteError(RegressionLoss):
    """Absolute error: a sample's loss is the mean over its outputs of ``|s - t|``.

    It is least at the median of the targets, as the squared error is at their mean, so single targets that are far off
    hardly move it. The gradient is sign(s - t) / outputs, and 0 where s = t. As the loss itself is the mean absolute
    error, the metric is the mean squared error.

    Shapes: scores (N, ...), targets of the same shape; for one output also (N,). Raises ShapeError for others.
    Source: Koenker and Bassett (1978), "Regression quantiles".
    """

    default_metric = "mean_squared_error"

    def per_sample(self, scores: Array, targets: Array) -> tuple[Array, Array]:
        errors = scores - targets
        return mean_over_outputs(np.abs(errors)), np.sign(errors) * (1 / count_outputs(errors))


class Huber(RegressionLoss):
    """Squared error near the target, absolute error far from it: exact like the one, robust like the other.

    With e = s - t, an output costs e^2 / 2 where ``|e| <= delta``, and delta (``|e|`` - delta / 2) beyond; a sample's
    loss is the mean over its outputs. Value and slope of the two meet at delta. The gradient is e, held within
    [-delta, delta], over the number of outputs.

    Parameters
    ----------
    delta : float, > 0, default 1.0
        The error, in the units of the targets, from which on it counts by its size alone.

    Shapes: scores (N, ...), targets of the same shape; for one output also (N,). Raises ShapeError for others.
    Source: Huber (1964), "Robust estimation of a location parameter".
    """

    delta: float = setting(default=1.0, above=0)

    def per_sample(self, scores: Array, targets: Array) -> tuple[Array, Array]:
        errors = scores - targets
        held = np.clip(errors, -self.delta, self.delta)
        errors -= held / 2
        errors *= held  # e^2 / 2 inside; outside, where held is delta with the sign of e, delta (|e| - delta / 2)
        held *= 1 / count_outputs(held)
        return mean_over_outputs(errors), held


class Poisson(RegressionLoss):
    """Negative log-likelihood of counts that are Poisson distributed; the scores are the logarithms of their rates.

    For each output, exp(s) - t s, which is -log of the probability of t events at the rate exp(s) without the part
    log t! that does not depend on the score; a sample's loss is the mean over its outputs. The gradient is
    (exp(s) - t) / outputs. `predict` returns the rates exp(s), and the metric is their mean absolute error.

    A rate that the scores' type cannot hold is infinite, from a score of 89 on in float32 and of 710 in float64:
    training then stops with a DivergenceError.

    Shapes: scores (N, ...), targets of the same shape, 0 or more; for one output also (N,). Raises ShapeError for other
    shapes, and DataError for a target below 0.
    Source: Nelder and Wedderburn (1972), "Generalized linear models".
    """

    def per_sample(self, scores: Array, targets: Array) -> tuple[Array, Array]:
        rates = np.exp(scores)
        losses = mean_over_outputs(rates - targets * scores)
        rates -= targets
        rates *= 1 / count_outputs(rates)
        return losses, rates

    def prepare_targets(self, targets: Any, output_shape: Shape, dtype: DTypeLike = np.float32) -> Array:
        targets = super().prepare_targets(targets, output_shape, dtype)
        refuse_targets(targets < 0, targets, "counts are 0 or more")
        return targets

    def decide(self, scores: Array) -> Array:
        return super().decide(np.exp(scores))

    def average(self, scores: Array) -> Array:
        return functional.log_mean_exp(scores)
