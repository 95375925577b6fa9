"""Regression losses: they compare each output of the model with its target."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minidl import functional
from minidl.losses.base import Loss, as_one_per_output, count_outputs, mean_over_outputs, refuse_targets
from minidl.settings import as_flag, setting
from minidl.typing import Array, Shape


class RegressionLoss(Loss):
    """Base of the losses that compare each output with a number. A subclass defines `per_sample`.

    The base class checks the targets and reports the mean absolute error.

    Parameters
    ----------
    position_wise : bool, default False
        Whether each position of an output (N, T, K) is a separate sample, as in the losses for classes. A position can
        then have a weight, and the padding of sequences does not count. The mean over all positions is the same.

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

    Parameters
    ----------
    position_wise : bool, default False
        As in `RegressionLoss`.

    Shapes: scores (N, ...), targets of the same shape; for one output also (N,). Raises ShapeError for others.
    """

    def per_sample(self, scores: Array, targets: Array) -> tuple[Array, Array]:
        errors = scores - targets
        return mean_over_outputs(errors * errors), errors * (2 / count_outputs(errors))


class MeanAbsoluteError(RegressionLoss):
    """Absolute error: a sample's loss is the mean over its outputs of ``|s - t|``.

    Its minimum is at the median of the targets; the minimum of the squared error is at their mean. So single outliers
    among the targets hardly move it. The gradient is sign(s - t) / outputs, and 0 where s = t. Because the loss itself
    is the mean absolute error, the metric is the mean squared error.

    Parameters
    ----------
    position_wise : bool, default False
        As in `RegressionLoss`.

    Shapes: scores (N, ...), targets of the same shape; for one output also (N,). Raises ShapeError for others.
    Source: Koenker and Bassett (1978), "Regression quantiles".
    """

    default_metric = "mean_squared_error"

    def per_sample(self, scores: Array, targets: Array) -> tuple[Array, Array]:
        errors = scores - targets
        return mean_over_outputs(np.abs(errors)), np.sign(errors) * (1 / count_outputs(errors))


class Huber(RegressionLoss):
    """Squared error near the target and absolute error far from it: precise near the target, robust to outliers.

    With e = s - t, the loss of an output is e^2 / 2 where ``|e| <= delta``, else delta (``|e|`` - delta / 2). A
    sample's loss is the mean over its outputs. At delta, both parts have the same value and slope. The gradient is e,
    clipped to [-delta, delta], divided by the number of outputs.

    Parameters
    ----------
    delta : float, > 0, default 1.0
        The error, in the units of the targets, above which the loss is linear.
    position_wise : bool, default False
        As in `RegressionLoss`.

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

    The loss of an output is exp(s) - t s: -log of the probability of t events at the rate exp(s), without the part
    log t!, which does not depend on the score. A sample's loss is the mean over its outputs. The gradient is
    (exp(s) - t) / outputs. `predict` returns the rates exp(s), and the metric is their mean absolute error.

    A rate too large for the scores' type is infinite, from a score of 89 in float32 and of 710 in float64. Training
    then stops with a DivergenceError.

    Parameters
    ----------
    position_wise : bool, default False
        As in `RegressionLoss`.

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
