"""Losses: the last element of a model, which turns scores and targets into a number to make small.

A loss is one function, ``per_sample``, that returns value and gradient together, so that the two cannot disagree. The
base class does what all losses share: checking and aligning targets, sample weights, the mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from minidl import functional
from minidl.configuration import Configurable
from minidl.errors import ArgumentError, DataError, ShapeError
from minidl.inputs import as_array, as_class_indices, as_weights, check_finite, check_lengths
from minidl.typing import Array, Shape

__all__ = ["Loss", "MeanSquaredError", "SigmoidCrossEntropy", "SoftmaxCrossEntropy"]


@dataclass(eq=False)
class Loss(Configurable):
    """Base of all losses: a subclass writes `per_sample`.

    Calling a loss, ``loss(scores, targets, sample_weight=None)``, returns the mean loss over the batch and its
    gradient with respect to the scores: L = sum_n w_n l_n / sum_n w_n, with w_n = 1 by default.
    """

    metric_name = ""
    """Name of the figure that `metric` gives for each sample; empty: none."""

    def per_sample(self, scores: Array, targets: Array) -> tuple[Array, Array]:
        """Return the loss of each sample (N,) and its gradient with respect to the scores (N, *output_shape)."""
        raise NotImplementedError(f"{type(self).__name__} must define per_sample(scores, targets)")

    def prepare_targets(self, targets: Any, output_shape: Shape, dtype: DTypeLike = np.float32) -> Array:
        """Check targets once, before training, and return them as `per_sample` takes them.

        Targets of shape (N,) for a model of one output become (N, 1), never a silent (N, N) in a broadcast; and
        (N, 1) for a model of several outputs, a column of labels, become (N,).
        """
        targets = as_array(targets, "y")
        check_finite(targets, "y")
        if targets.ndim == len(output_shape) and output_shape[-1:] == (1,):
            targets = targets[..., np.newaxis]
        elif targets.ndim == 2 and targets.shape[1] == 1 and output_shape != (1,):
            targets = targets[:, 0]
        return targets.astype(dtype, copy=False) if targets.dtype.kind == "f" else targets

    def check_output(self, output_shape: Shape) -> None:
        """Raise ShapeError when the loss cannot work with scores of this shape per sample."""

    def activate(self, scores: Array) -> Array:
        """Turn scores into what `Sequential.predict_proba` returns."""
        raise ArgumentError(f"{type(self).__name__} gives no probabilities: use predict(x)")

    def decide(self, scores: Array) -> Array:
        """Turn scores into what `Sequential.predict` returns; a single column becomes (N,), as in scikit-learn."""
        return scores[:, 0] if scores.shape[1:] == (1,) else scores

    def labels(self, targets: Array) -> Array:
        """Return the class of each sample, integers (N,), for targets that `prepare_targets` has seen."""
        raise ArgumentError(f"class_weight is for classifiers; with {type(self).__name__} give sample_weight")

    def metric(self, scores: Array, targets: Array) -> Array:
        """Return the figure `metric_name` of each sample, of shape (N,)."""
        raise NotImplementedError(f"{type(self).__name__} names a metric but does not define it")

    def mean(
        self,
        scores: Array,
        targets: Array,
        sample_weight: Array | None = None,
        total_weight: float | None = None,
    ) -> tuple[float, Array]:
        """Return the mean loss and its gradient for targets that `prepare_targets` has seen.

        With `total_weight`, the share of a larger batch of that summed weight: the shares of its parts add up to
        the loss and gradient of the whole.
        """
        losses, dscores = self.per_sample(scores, targets)
        if losses.shape != (len(scores),) or dscores.shape != scores.shape:
            raise ShapeError(
                f"{type(self).__name__}.per_sample must return losses {(len(scores),)} and a gradient "
                f"{scores.shape}, but returned {losses.shape} and {dscores.shape}"
            )
        if sample_weight is None:
            total = len(scores) if total_weight is None else total_weight
            return float(losses.sum(dtype=np.float64)) / total, dscores * (1 / total)
        total = float(sample_weight.sum()) if total_weight is None else total_weight
        # All weights 0: nothing to learn, and no 0 / 0. Divided first, weights of any size fit the scores' type.
        share = (sample_weight / (total or 1)).astype(scores.dtype)
        return float(losses @ share), dscores * share.reshape(-1, *[1] * (scores.ndim - 1))

    def __call__(
        self, scores: ArrayLike, targets: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> tuple[float, Array]:
        """Return the (weighted) mean loss and its gradient with respect to `scores`, after checking the targets."""
        scores, targets = as_array(scores, "scores"), as_array(targets, "targets")
        weights = None if sample_weight is None else as_weights(sample_weight)
        check_lengths(scores=scores, targets=targets, sample_weight=weights)
        scores = scores if scores.dtype.kind == "f" else scores.astype(np.float64)
        prepared = self.prepare_targets(targets, scores.shape[1:], scores.dtype)
        return self.mean(scores, prepared, weights)


class SoftmaxCrossEntropy(Loss):
    r"""Cross-entropy of softmax probabilities, for one class out of K, from the scores (logits).

    l = -sum_k t_k log p_k with p = softmax(s), which is logsumexp(s) - s_t for an integer label t. The gradient of
    softmax and logarithm together is p - t. With the largest score taken off first, both are exact at any scores.

    Shapes: scores (N, K); targets integer labels (N,) in 0 .. K-1, or rows (N, K) of probabilities, such as one-hot,
    that sum to 1. Raises DataError for others. Source: Bridle (1990); Goodfellow et al. (2016), section 6.2.2.3.
    """

    metric_name = "accuracy"

    def per_sample(self, scores: Array, targets: Array) -> tuple[Array, Array]:
        # With each class's scores side by side in memory, maxima and sums over the classes are up to 25 times faster.
        scores = np.asfortranarray(scores)
        shifted = scores - scores.max(axis=1, keepdims=True)
        probabilities = np.exp(shifted)
        total = probabilities.sum(axis=1, keepdims=True)
        probabilities /= total
        log_total = np.log(total[:, 0])
        if targets.ndim == 1:
            rows = np.arange(len(scores))
            losses = log_total - shifted[rows, targets]
            probabilities[rows, targets] -= 1
            return losses, probabilities
        losses = log_total - (targets * shifted).sum(axis=1)
        probabilities -= targets
        return losses, probabilities

    def check_output(self, output_shape: Shape) -> None:
        if len(output_shape) != 1 or output_shape[0] < 2:
            raise ShapeError(
                f"SoftmaxCrossEntropy expects scores (classes,) per sample, 2 classes or more, but the model gives "
                f"{output_shape}; for two classes from one score use SigmoidCrossEntropy()"
            )

    def prepare_targets(self, targets: Any, output_shape: Shape, dtype: DTypeLike = np.float32) -> Array:
        self.check_output(output_shape)
        targets, (classes,) = super().prepare_targets(targets, output_shape, dtype), output_shape
        if targets.ndim == 1:
            labels, wrong = as_class_indices(targets, classes)
            if wrong.size:
                raise DataError(
                    f"y is {targets[wrong[0]]} at row {wrong[0]}; the model has {classes} classes, labelled 0 to "
                    f"{classes - 1}: number them so, for example by numpy.unique(labels, return_inverse=True)"
                )
            return labels
        if targets.shape[1:] != output_shape:
            raise ShapeError(f"y has shape {targets.shape}; give labels (N,) or one-hot rows (N, {classes})")
        sums = targets.sum(axis=1, dtype=np.float64)
        wrong = np.flatnonzero((np.abs(sums - 1) > 1e-3) | (targets < 0).any(axis=1))
        if wrong.size:
            raise DataError(
                f"y is no probability distribution at row {wrong[0]}: {targets[wrong[0]].tolist()}; one-hot rows hold "
                "no negative number and sum to 1"
            )
        return targets.astype(dtype, copy=False)

    def activate(self, scores: Array) -> Array:
        return functional.softmax(scores)

    def decide(self, scores: Array) -> Array:
        return scores.argmax(axis=1)

    def labels(self, targets: Array) -> Array:
        return targets if targets.ndim == 1 else targets.argmax(axis=1)

    def metric(self, scores: Array, targets: Array) -> Array:
        return scores.argmax(axis=1) == self.labels(targets)


class SigmoidCrossEntropy(Loss):
    """Cross-entropy of independent sigmoid probabilities, for two classes or several labels, from the scores.

    For each output, -t log p - (1 - t) log(1 - p) with p = sigmoid(s), computed as
    max(s, 0) - s t + log(1 + exp(-|s|)), which is exact at any score; a sample's loss is the mean over its outputs.
    The gradient is (p - t) / outputs.

    Shapes: scores (N, K), targets (N, K) in [0, 1]; for one output also (N,). Raises DataError for others.
    """

    metric_name = "accuracy"

    def per_sample(self, scores: Array, targets: Array) -> tuple[Array, Array]:
        losses = np.maximum(scores, 0) - scores * targets + np.log1p(np.exp(-np.abs(scores)))
        dscores = functional.sigmoid(scores) - targets
        dscores /= max(scores[:1].size, 1)
        return _mean_over_outputs(losses), dscores

    def prepare_targets(self, targets: Any, output_shape: Shape, dtype: DTypeLike = np.float32) -> Array:
        targets = _same_shape(super().prepare_targets(targets, output_shape, dtype), output_shape)
        wrong = np.argwhere((targets < 0) | (targets > 1))
        if wrong.size:
            raise DataError(f"y is {targets[tuple(wrong[0])]} at row {wrong[0][0]}; the labels are 0 and 1")
        return targets.astype(dtype, copy=False)

    def activate(self, scores: Array) -> Array:
        return functional.sigmoid(scores)

    def decide(self, scores: Array) -> Array:
        return super().decide((scores > 0).astype(np.intp))

    def labels(self, targets: Array) -> Array:
        if targets.shape[1:] != (1,):
            raise ArgumentError("class_weight is for one class per row; for several labels give sample_weight")
        return (targets[:, 0] > 0.5).astype(np.intp)

    def metric(self, scores: Array, targets: Array) -> Array:
        return _mean_over_outputs((scores > 0) == (targets > 0.5))


class MeanSquaredError(Loss):
    """Squared error, for regression: a sample's loss is the mean over its outputs of (s - t)^2.

    The gradient is 2 (s - t) / outputs.

    Shapes: scores (N, ...), targets of the same shape; for one output also (N,). Raises ShapeError for others.
    """

    metric_name = "mean_absolute_error"

    def per_sample(self, scores: Array, targets: Array) -> tuple[Array, Array]:
        errors = scores - targets
        return _mean_over_outputs(errors * errors), errors * (2 / max(errors[:1].size, 1))

    def prepare_targets(self, targets: Any, output_shape: Shape, dtype: DTypeLike = np.float32) -> Array:
        targets = _same_shape(super().prepare_targets(targets, output_shape, dtype), output_shape)
        return targets.astype(dtype, copy=False)

    def metric(self, scores: Array, targets: Array) -> Array:
        return _mean_over_outputs(np.abs(scores - targets))


def _same_shape(targets: Array, output_shape: Shape) -> Array:
    if targets.shape[1:] != output_shape:
        cure = ""
        if len(output_shape) == 1 and targets.ndim in {1, 2}:
            cure = f": end the model with Dense({(*targets.shape, 1)[1]}), or, for labels, use SoftmaxCrossEntropy()"
        output = ", ".join(map(str, ("N", *output_shape)))
        raise ShapeError(f"y has shape {targets.shape}, but the model's output has shape ({output}){cure}")
    return targets


def _mean_over_outputs(values: Array) -> Array:
    outputs = max(values[:1].size, 1)  # also of no rows
    return values.reshape(len(values), outputs).sum(axis=1) / outputs
