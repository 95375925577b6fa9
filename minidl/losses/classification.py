"""Losses for classes: the scores say to which class a sample belongs, or which of several labels it has."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minidl import functional
from minidl.arrays import as_class_indices
from minidl.errors import ArgumentError, ShapeError
from minidl.losses.base import Loss, as_one_per_output, batch_shape, count_outputs, mean_over_outputs, refuse_targets
from minidl.settings import setting
from minidl.typing import Array, Shape

_AS_ENCODER = "as LabelEncoder().fit_transform(y) of sklearn.preprocessing does"


class PositionWiseLoss(Loss):
    """Base of the losses for classes: each position of an output is a separate sample, and the metric is accuracy.

    With one score, it predicts class 1 if the score is above 0, else class 0. With several, it predicts the largest.
    """

    default_metric = "accuracy"

    def positions(self, output_shape: Shape) -> Shape:
        return output_shape[:-1]

    def decide(self, scores: Array) -> Array:
        if _is_one_score(scores.shape[1:]):
            return _without_last_column((scores > 0).astype(np.intp))
        return scores.argmax(axis=-1)

    def truth(self, targets: Array) -> Array:
        return self.labels(targets)


class CategoricalLoss(PositionWiseLoss):
    """Base of the losses for one class out of K, with softmax probabilities. A subclass defines `per_sample`.

    The base class checks the targets, computes probabilities and labels, and reports the accuracy.

    Shapes: scores (N, K), K >= 2; targets integer labels (N,) in 0 .. K-1, or rows (N, K) of probabilities that sum to
    1, such as one-hot. Scores of positions, (N, time, K), need labels (N, time) or rows (N, time, K).
    Raises ShapeError or DataError for other targets.
    """

    def check_output(self, output_shape: Shape) -> None:
        if not output_shape or output_shape[-1] < 2:
            what = f"{type(self).__name__} expects scores (classes,) per sample, 2 classes or more, not {output_shape}"
            raise ShapeError(f"{what}; for two classes from one score use SigmoidCrossEntropy()")

    def prepare_targets(self, targets: Any, output_shape: Shape, dtype: DTypeLike = np.float32) -> Array:
        self.check_output(output_shape)
        targets, classes = super().prepare_targets(targets, output_shape, dtype), output_shape[-1]
        if targets.shape[1:] == output_shape[:-1]:
            return _as_labels(targets, classes)
        if targets.shape[1:] != output_shape:
            forms = f"labels {batch_shape(output_shape[:-1])} or one-hot rows {batch_shape(output_shape)}"
            cure = "" if len(output_shape) == 1 else "; for one label per sample, pool or flatten the positions before"
            raise ShapeError(f"y has shape {targets.shape}; give {forms}{cure}")
        wrong = (np.abs(targets.sum(axis=-1, dtype=np.float64) - 1) > 1e-3) | (targets < 0).any(axis=-1)
        refuse_targets(wrong, targets, "one-hot rows hold no negative number and sum to 1")
        return targets.astype(dtype, copy=False)

    def activate(self, scores: Array) -> Array:
        return functional.softmax(scores)

    def average(self, scores: Array) -> Array:
        return functional.log_mean_exp(functional.log_softmax(scores))

    def labels(self, targets: Array) -> Array:
        return targets if targets.dtype.kind in "iu" else targets.argmax(axis=-1)


class SoftmaxCrossEntropy(CategoricalLoss):
    r"""Cross-entropy of softmax probabilities, for one class out of K, from the scores (logits).

    l = -sum_k t_k log p_k with p = softmax(s), which is logsumexp(s) - s_t for an integer label t. The gradient of
    softmax and logarithm together is p - t. The largest score is subtracted first, so both are exact for any scores.

    Parameters
    ----------
    label_smoothing : float in [0, 1), default 0.0
        The share e of every target that is spread evenly over the classes: t becomes (1 - e) t + e / K, in training
        and in evaluation. Then the loss does not reward scores that grow without bound. Accuracy uses the original
        targets.

    Shapes: scores (N, K); targets integer labels (N,) in 0 .. K-1, or rows (N, K) of probabilities that sum to 1, such
    as one-hot. Raises ShapeError or DataError for other targets. Source: Bridle (1990); Goodfellow et al. (2016),
    section 6.2.2.3; Szegedy et al. (2016), arXiv:1512.00567, for the smoothing.
    """

    label_smoothing: float = setting(default=0.0, low=0, below=1)

    def per_sample(self, scores: Array, targets: Array) -> tuple[Array, Array]:
        shifted, probabilities, log_total = _softmax(scores)
        if self.label_smoothing:
            rows = _as_rows(targets, probabilities)
            targets = (1 - self.label_smoothing) * rows + self.label_smoothing / scores.shape[1]
        if targets.ndim == 1:
            rows = np.arange(len(scores))
            losses = log_total - shifted[rows, targets]
            probabilities[rows, targets] -= 1
            return losses, probabilities
        losses = log_total - (targets * shifted).sum(axis=1)
        probabilities -= targets
        return losses, probabilities


class FocalCrossEntropy(CategoricalLoss):
    """Cross-entropy that gives little weight to samples the model gets right: l = -(1 - p_t)^gamma log p_t.

    p are the softmax probabilities. The loss is for classes of very different frequency, where many easy samples would
    outweigh the few hard ones. With rows of probabilities, l = -sum_k t_k (1 - p_k)^gamma log p_k. With q = 1 - p, the
    gradient is g p_k - g_k, where g_k = t_k (q_k^gamma - gamma q_k^(gamma - 1) p_k log p_k) and g = sum_k g_k. Both
    are exact for any scores.

    Parameters
    ----------
    gamma : float, >= 0, default 2.0
        How fast the weight of a sample falls as its class becomes likely; 0 gives `SoftmaxCrossEntropy`.

    Shapes: scores (N, K); targets integer labels (N,) in 0 .. K-1, or rows (N, K) of probabilities that sum to 1, such
    as one-hot. Raises ShapeError or DataError for other targets. Source: Lin et al. (2017), arXiv:1708.02002.
    """

    gamma: float = setting(default=2.0, low=0)

    def per_sample(self, scores: Array, targets: Array) -> tuple[Array, Array]:
        shifted, dscores, log_total = _softmax(scores)
        targets = _as_rows(targets, dscores)
        log_p = shifted - log_total[:, np.newaxis]
        q = -np.expm1(log_p)
        weight = q**self.gamma
        # For gamma < 1, the slope q^gamma - gamma q^(gamma - 1) p log p would be infinity times 0 at q = 0. It equals
        # q^gamma (1 + gamma r), with r = -p log(p) / q in [0, 1]. At q = 0 any r works; the code uses 0 / 1.
        ratio = (q - 1) * log_p / (q + (q == 0))
        slopes = weight * (1 + self.gamma * ratio) * targets
        dscores *= slopes.sum(axis=1, keepdims=True)
        dscores -= slopes
        return (targets * (-weight * log_p)).sum(axis=1), dscores


class KLDivergence(CategoricalLoss):
    """Kullback-Leibler divergence of the model's softmax probabilities from target probabilities, from the scores.

    l = sum_k t_k (log t_k - log p_k) with p = softmax(s) and 0 log 0 = 0: the cross-entropy minus the entropy of the
    targets. It is 0 where p = t. The gradient is p - t, as for the cross-entropy. The metric is the total variation
    distance sum_k ``|p_k - t_k|`` / 2 in [0, 1]: the largest difference in the probability of any set of classes.

    Shapes: scores (N, K), targets rows (N, K) of probabilities that sum to 1, or labels (N,), for which it equals the
    cross-entropy. Raises ShapeError or DataError for other targets.
    Source: Kullback and Leibler (1951), "On information and sufficiency".
    """

    default_metric = "total_variation"

    def per_sample(self, scores: Array, targets: Array) -> tuple[Array, Array]:
        shifted, probabilities, log_total = _softmax(scores)
        targets = _as_rows(targets, probabilities)
        logarithms = np.log(targets + (targets == 0))  # 0 where t is 0
        losses = log_total + (targets * (logarithms - shifted)).sum(axis=1)
        probabilities -= targets
        return losses, probabilities


class SigmoidCrossEntropy(PositionWiseLoss):
    """Cross-entropy of independent sigmoid probabilities, for two classes or several labels, from the scores.

    For each output, -t log p - (1 - t) log(1 - p) with p = sigmoid(s), computed as
    max(s, 0) - s t + log(1 + exp(-|s|)), which is exact for any score. A sample's loss is the mean over its outputs.
    The gradient is (p - t) / outputs.

    Shapes: scores (N, K), targets (N, K) in [0, 1]; for one output also (N,). Raises DataError for other targets.
    """

    def per_sample(self, scores: Array, targets: Array) -> tuple[Array, Array]:
        losses = np.maximum(scores, 0) - scores * targets + np.log1p(np.exp(-np.abs(scores)))
        dscores = functional.sigmoid(scores) - targets
        dscores /= count_outputs(scores)
        return mean_over_outputs(losses), dscores

    def prepare_targets(self, targets: Any, output_shape: Shape, dtype: DTypeLike = np.float32) -> Array:
        targets = super().prepare_targets(targets, output_shape, dtype)
        refuse_targets((targets < 0) | (targets > 1), targets, f"labels are 0 and 1: number them so, {_AS_ENCODER}")
        return as_one_per_output(targets, output_shape, dtype)

    def activate(self, scores: Array) -> Array:
        return functional.sigmoid(scores)

    def decide(self, scores: Array) -> Array:
        return _without_last_column((scores > 0).astype(np.intp))

    def truth(self, targets: Array) -> Array:
        return _without_last_column((targets > 0.5).astype(np.intp))

    def average(self, scores: Array) -> Array:
        # The score of a probability p is log p - log(1 - p), where log p = -log(1 + exp(-s)).
        return functional.log_mean_exp(-np.logaddexp(0, -scores)) - functional.log_mean_exp(-np.logaddexp(0, scores))

    def labels(self, targets: Array) -> Array:
        if targets.shape[-1] != 1:
            raise ArgumentError("class_weight is for one class per row; for several labels give sample_weight")
        return self.truth(targets)


class Hinge(PositionWiseLoss):
    """Hinge loss of support vector machines: zero for a margin of 1 or more. It gives no probabilities.

    With one score per sample, the loss is max(0, 1 - t s), with t = 1 for the label 1 and t = -1 for the other label, 0
    or -1. `predict` returns 1 for scores above 0, else 0, even if the labels were -1 and 1.

    With K >= 2 scores, the loss is max(0, 1 + max_{j != t} s_j - s_t) for the label t in 0 .. K-1. It is zero if the
    score of the true class is at least 1 above the largest other score. Where the loss is above 0, the gradient is 1
    for that other class (the first of equal ones) and -1 for the true class.

    Shapes: scores (N, 1), (N,) or (N, K), targets integer labels (N,) or (N, 1). Raises ShapeError or DataError for
    other targets, and for labels that hold both 0 and -1. Source: Cortes and Vapnik (1995), "Support-vector networks";
    Crammer and Singer (2001), "On the algorithmic implementation of multiclass kernel-based vector machines", JMLR 2.
    """

    def per_sample(self, scores: Array, targets: Array) -> tuple[Array, Array]:
        if _is_one_score(scores.shape[1:]):
            losses = np.maximum(1 - targets * scores, 0)
            return losses.reshape(len(scores)), -targets * (losses > 0)
        rows = np.arange(len(scores))
        rivals = scores.copy()
        rivals[rows, targets] = -np.inf
        strongest = rivals.argmax(axis=1)
        losses = np.maximum(1 + scores[rows, strongest] - scores[rows, targets], 0)
        dscores = np.zeros_like(scores)
        dscores[rows, strongest] = losses > 0
        dscores[rows, targets] -= losses > 0
        return losses, dscores

    def prepare_targets(self, targets: Any, output_shape: Shape, dtype: DTypeLike = np.float32) -> Array:
        targets = super().prepare_targets(targets, output_shape, dtype)
        if targets.shape[1:] != (output_shape if _is_one_score(output_shape) else output_shape[:-1]):
            raise ShapeError(f"y has shape {targets.shape}; Hinge takes labels: for one-hot, pass y.argmax(axis=-1)")
        if not _is_one_score(output_shape):
            return _as_labels(targets, output_shape[-1])
        other = -1 if (targets == -1).any() else 0
        refuse_targets((targets != 1) & (targets != other), targets, "with one score labels are 0 and 1, or -1 and 1")
        return np.where(targets > 0, 1, -1).astype(dtype)

    def labels(self, targets: Array) -> Array:
        return _without_last_column((targets > 0).astype(np.intp)) if targets.dtype.kind == "f" else targets


def _softmax(scores: Array) -> tuple[Array, Array, Array]:
    """Return scores minus their row's maximum (N, K), softmax probabilities (N, K), and the log of their divisor (N,).

    The first minus the last are the log-probabilities. They are exact even where the probabilities underflow.
    """
    # If each class's scores are contiguous in memory, maxima and sums over the classes are up to 25 times faster.
    scores = np.asfortranarray(scores)
    # ndarray.max and ndarray.sum wrap these in Python code, which takes a hundredth of a small network's step.
    shifted = scores - np.maximum.reduce(scores, axis=1, keepdims=True)
    probabilities = np.exp(shifted)
    total = np.add.reduce(probabilities, axis=1, keepdims=True)
    probabilities /= total
    return shifted, probabilities, np.log(total[:, 0])


def _as_rows(targets: Array, like: Array) -> Array:
    """Return targets as rows of probabilities with the shape and type of `like`. Labels become one-hot rows."""
    if targets.ndim == 2:
        return targets
    rows = np.zeros_like(like)
    rows[np.arange(len(rows)), targets] = 1
    return rows


def _as_labels(targets: Array, classes: int) -> Array:
    labels, wrong = as_class_indices(targets, classes)
    cure = f"number the labels from 0, {_AS_ENCODER}, or add outputs; for quantities use MeanSquaredError()"
    refuse_targets(wrong, targets, f"the model has {classes} classes, labelled 0 to {classes - 1}: {cure}")
    return labels


def _without_last_column(labels: Array) -> Array:
    """Return labels (..., 1) as (...), and labels of several outputs (..., K) unchanged."""
    return labels[..., 0] if labels.ndim > 1 and labels.shape[-1] == 1 else labels


def _is_one_score(output_shape: Shape) -> bool:
    return output_shape[-1:] in {(), (1,)}
