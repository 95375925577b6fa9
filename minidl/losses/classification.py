"""Losses of classes: the scores say which class a sample belongs to, or which of several labels it has."""

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
    """Base of the losses of classes: every position of an output is a sample of its own, and the metric is accuracy.

    It decides for the class 1 of two where there is one score above 0, else for the class of the largest.
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
    """Base of the losses for one class out of K, of which softmax gives the probabilities: write `per_sample`.

    It checks the targets, gives probabilities and labels, and reports the accuracy.

    Shapes: scores (N, K), K >= 2; targets integer labels (N,) in 0 .. K-1, or rows (N, K) of probabilities, such as
    one-hot, that sum to 1. Scores of positions, (N, time, K), take labels (N, time), or rows (N, time, K).
    Raises ShapeError or DataError for others.
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
    softmax and logarithm together is p - t. With the largest score taken off first, both are exact at any scores.

    Parameters
    ----------
    label_smoothing : float in [0, 1), default 0.0
        The share e of every target that is spread evenly over the classes: t becomes (1 - e) t + e / K, in training
        and in evaluation. A model then gains nothing from scores that grow without bound. Accuracy is that of the
        targets as they were given.

    Shapes: scores (N, K); targets integer labels (N,) in 0 .. K-1, or rows (N, K) of probabilities, such as one-hot,
    that sum to 1. Raises ShapeError or DataError for others. Source: Bridle (1990); Goodfellow et al. (2016), section
    6.2.2.3; Szegedy et al. (2016), arXiv:1512.00567, for the smoothing.
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
    """Cross-entropy of softmax probabilities that counts little what the model has right: l = -(1 - p_t)^gamma log p_t.

    Made for classes of very different frequency, where many easy samples would outweigh the few hard ones. With rows of
    probabilities, l = -sum_k t_k (1 - p_k)^gamma log p_k. With q = 1 - p, the gradient is
    g p_k - g_k, where g_k = t_k (q_k^gamma - gamma q_k^(gamma - 1) p_k log p_k) and g = sum_k g_k. Both
    are exact at any scores.

    Parameters
    ----------
    gamma : float, >= 0, default 2.0
        How much less a sample counts as its class becomes likely; 0 gives `SoftmaxCrossEntropy`.

    Shapes: scores (N, K); targets integer labels (N,) in 0 .. K-1, or rows (N, K) of probabilities, such as one-hot,
    that sum to 1. Raises ShapeError or DataError for others. Source: Lin et al. (2017), arXiv:1708.02002.
    """

    gamma: float = setting(default=2.0, low=0)

    def per_sample(self, scores: Array, targets: Array) -> tuple[Array, Array]:
        shifted, dscores, log_total = _softmax(scores)
        targets = _as_rows(targets, dscores)
        log_p = shifted - log_total[:, np.newaxis]
        q = -np.expm1(log_p)
        weight = q**self.gamma
        # The slope q^gamma - gamma q^(gamma - 1) p log p would be infinity times 0 at q = 0, where gamma < 1. It is
        # q^gamma (1 + gamma r), with r = -p log(p) / q in [0, 1]; at q = 0 any r will do, and 0 / 1 is taken.
        ratio = (q - 1) * log_p / (q + (q == 0))
        slopes = weight * (1 + self.gamma * ratio) * targets
        dscores *= slopes.sum(axis=1, keepdims=True)
        dscores -= slopes
        return (targets * (-weight * log_p)).sum(axis=1), dscores


class KLDivergence(CategoricalLoss):
    """Kullback-Leibler divergence of the model's softmax probabilities from target probabilities, from the scores.

    l = sum_k t_k (log t_k - log p_k) with p = softmax(s) and 0 log 0 = 0: the cross-entropy less the entropy of the
    targets, so that it is 0 where p = t. The gradient is that of the cross-entropy, p - t. The metric
    is the total variation distance sum_k ``|p_k - t_k|`` / 2 in [0, 1], the most by which the two differ about the
    probability of any set of classes.

    Shapes: scores (N, K), targets rows (N, K) of probabilities that sum to 1, or labels (N,), of which it is the
    cross-entropy. Raises ShapeError or DataError for others.
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
    max(s, 0) - s t + log(1 + exp(-|s|)), which is exact at any score; a sample's loss is the mean over its outputs.
    The gradient is (p - t) / outputs.

    Shapes: scores (N, K), targets (N, K) in [0, 1]; for one output also (N,). Raises DataError for others.
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
    """Hinge loss, of a support vector machine: nothing to pay from a margin of 1 on, and no probabilities.

    From one score for each sample, max(0, 1 - t s) with t = 1 for the label 1, and t = -1 for the other, which is
    called 0 or -1. `predict` returns 1 for scores above 0 and 0 for the others, also where the labels were -1 and 1.

    From K >= 2 scores, max(0, 1 + max_{j != t} s_j - s_t) for the label t in 0 .. K-1: the score of the class shall be
    larger by 1 than that of its strongest rival. The gradient is 1 for the rival, the first of equal ones, and -1 for
    the class, where the loss is above 0.

    Shapes: scores (N, 1), (N,) or (N, K), targets integer labels (N,) or (N, 1). Raises ShapeError or DataError for
    others, and for labels that hold both 0 and -1. Source: Cortes and Vapnik (1995), "Support-vector networks";
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
            raise ShapeError(f"y has shape {targets.shape}; Hinge takes labels: of one-hot rows pass y.argmax(axis=-1)")
        if not _is_one_score(output_shape):
            return _as_labels(targets, output_shape[-1])
        other = -1 if (targets == -1).any() else 0
        refuse_targets((targets != 1) & (targets != other), targets, "with one score labels are 0 and 1, or -1 and 1")
        return np.where(targets > 0, 1, -1).astype(dtype)

    def labels(self, targets: Array) -> Array:
        return _without_last_column((targets > 0).astype(np.intp)) if targets.dtype.kind == "f" else targets


def _softmax(scores: Array) -> tuple[Array, Array, Array]:
    """Return scores less their row's largest (N, K), softmax's probabilities (N, K), and the log of their divisor (N,).

    The first less the last are the logarithms of the probabilities, exact also where these underflow.
    """
    # With each class's scores side by side in memory, maxima and sums over the classes are up to 25 times faster.
    scores = np.asfortranarray(scores)
    # ndarray.max and ndarray.sum are these, behind a layer of Python that takes a hundredth of a small network's step.
    shifted = scores - np.maximum.reduce(scores, axis=1, keepdims=True)
    probabilities = np.exp(shifted)
    total = np.add.reduce(probabilities, axis=1, keepdims=True)
    probabilities /= total
    return shifted, probabilities, np.log(total[:, 0])


def _as_rows(targets: Array, like: Array) -> Array:
    """Return targets as rows of probabilities of the shape and type of `like`: of labels, one-hot rows."""
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
    """Return labels (..., 1) as (...), and those of several outputs (..., K) as they are."""
    return labels[..., 0] if labels.ndim > 1 and labels.shape[-1] == 1 else labels


def _is_one_score(output_shape: Shape) -> bool:
    return output_shape[-1:] in {(), (1,)}
