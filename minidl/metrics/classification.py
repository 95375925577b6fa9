"""Metrics for classes and labels: accuracy, precision, recall and others."""

import math

import numpy as np

from minidl.errors import ArgumentError
from minidl.metrics.base import Metric, ScoredRows
from minidl.settings import one_of, setting
from minidl.typing import Array


class Accuracy(Metric):
    """The share of rows that are predicted correctly, in [0, 1]; with several labels per row, the mean over labels.

    Raises ArgumentError if the loss predicts numbers, not labels.
    """

    def per_row(self, rows: ScoredRows) -> Array:
        _check_labels(self, rows)
        right = rows.predictions == rows.truth
        return right if right.ndim == 1 else right.mean(axis=1)


class TopKAccuracy(Metric):
    """The share of rows whose true class is among the `k` largest scores, in [0, 1]: ``top_5_accuracy``.

    Among classes with equal scores, the lower index comes first.

    Parameters
    ----------
    k : int, 1 <= k <= classes, default 5

    Raises ArgumentError if `k` is larger than the number of classes, and unless each row has one of several classes.
    """

    k: int = setting(default=5, kw_only=False, low=1, whole=True)

    @property
    def name(self) -> str:
        return f"top_{self.k}_accuracy"

    def per_row(self, rows: ScoredRows) -> Array:
        _check_one_of_several(self, rows)
        if self.k > rows.scores.shape[1]:
            raise ArgumentError(f"{self.name}: k is {self.k}, but there are {rows.scores.shape[1]} classes")
        return is_among_largest(rows.scores, rows.truth, self.k)


class TotalVariation(Metric):
    """The mean total variation distance of predicted from target probabilities, sum_k ``|p_k - t_k|`` / 2, in [0, 1].

    This is the largest difference of the two probabilities for any set of classes. A label is a target with the
    probability 1 for its class.

    Raises ArgumentError unless each row has one of several classes, and if the loss gives no probabilities.
    """

    def per_row(self, rows: ScoredRows) -> Array:
        _check_one_of_several(self, rows)
        probabilities, targets = rows.probabilities, rows.targets
        if targets.ndim == 1:
            return 1 - probabilities[np.arange(len(targets)), targets]
        return np.abs(probabilities - targets).sum(axis=1) / 2


def is_among_largest(scores: Array, labels: Array, k: int) -> Array:
    """Whether each row's label is one of its `k` largest scores, (N,); of equal scores the lower class comes first.

    A label with a NaN score never counts.
    """
    own = scores[np.arange(len(labels)), labels][:, np.newaxis]
    is_lower = np.arange(scores.shape[1]) < labels[:, np.newaxis]
    not_ahead = (scores < own) | ((scores == own) & ~is_lower)  # the label's own score is among them
    return scores.shape[1] - not_ahead.sum(axis=1) < k


class ClassMetric(Metric):
    """Base of `Precision`, `Recall` and `F1`: ratios of counts per class, averaged. A subclass writes `ratio`.

    Each class has three counts, which are sums of row weights: right rows (of the class and predicted as it),
    predicted rows, and actual rows. The counts are summed over all rows before a ratio is computed, so the metric is
    exact.
    """

    average: str = setting(default="auto", check=one_of("auto", "binary", "macro", "micro", "weighted"))

    def ratio(self, right: Array, predicted: Array, actual: Array) -> tuple[Array, Array]:
        """Return numerator and denominator of the ratio of each class (K,)."""
        raise NotImplementedError(f"{type(self).__name__} must define ratio(right, predicted, actual)")

    def sums(self, rows: ScoredRows, weights: Array | None) -> list[float]:
        """Return four sums per class: right, predicted, actual, and one that is above 0 if the class is in the mean."""
        _check_labels(self, rows)
        predicted, actual = rows.predictions, rows.truth
        weights = np.ones(len(predicted)) if weights is None else weights
        classes = max(math.prod(rows.scores.shape[1:]), 2)  # one score means two classes
        is_binary = predicted.ndim == 1 and classes == 2
        if self.average == "binary" and not is_binary:
            raise ArgumentError(f'{self.name}: average="binary" is for one of two classes: use average="macro"')
        if is_binary and self.average in {"auto", "binary"}:  # two classes are one label that a row has or not
            predicted, actual = predicted[:, np.newaxis], actual[:, np.newaxis]
        if predicted.ndim == 1:
            counts = _count_classes(predicted, actual, weights, classes)
        else:
            counts = _count_labels(predicted == 1, actual == 1, weights)
        return np.concatenate(counts).tolist()

    def value(self, sums: Array, weight: float) -> float:
        counts = sums.reshape(4, -1)
        if self.average == "micro":
            counts = counts.sum(axis=1, keepdims=True)
        right, predicted, actual, place = counts
        numerator, denominator = self.ratio(right, predicted, actual)
        ratios = np.divide(numerator, denominator, out=np.zeros(len(right)), where=denominator > 0)
        shares = actual if self.average == "weighted" else place > 0
        return float(ratios @ shares / (shares.sum() or 1))


class Precision(ClassMetric):
    """The share of the rows predicted as a class that belong to it, in [0, 1]; 0 if there are no such rows.

    Parameters
    ----------
    average : {"auto", "binary", "macro", "micro", "weighted"}, default "auto"
        How classes, or labels of a row, are averaged:

        - "binary": only the class 1 of two.
        - "macro": the mean over all. Classes that are neither in the targets nor predicted are left out; labels stay.
        - "weighted": the mean, weighted by the number of rows of each class.
        - "micro": the ratio of the sums over all.
        - "auto": "binary" for two classes, "macro" for more classes and for several labels per row.

    Same as scikit-learn's `precision_score` with zero_division=0. Raises ArgumentError if the loss predicts numbers,
    not labels, and for "binary" unless there are two classes.
    """

    def ratio(self, right: Array, predicted: Array, actual: Array) -> tuple[Array, Array]:
        return right, predicted


class Recall(ClassMetric):
    """The share of the rows of a class that are predicted as it, in [0, 1]; 0 if there are no such rows.

    Parameters and errors are as for `Precision`. Same as scikit-learn's `recall_score`.
    """

    def ratio(self, right: Array, predicted: Array, actual: Array) -> tuple[Array, Array]:
        return right, actual


class F1(ClassMetric):
    """The harmonic mean of precision and recall, 2 right / (predicted + actual), in [0, 1]; 0 without such rows.

    Parameters and errors are as for `Precision`. Same as scikit-learn's `f1_score`.
    """

    def ratio(self, right: Array, predicted: Array, actual: Array) -> tuple[Array, Array]:
        return 2 * right, predicted + actual


def _count_classes(predicted: Array, actual: Array, weights: Array, classes: int) -> tuple[Array, ...]:
    """Count rows of one class each: a class is in the mean if a row has it or is predicted as it."""
    predicted, actual = predicted.astype(np.intp, copy=False), actual.astype(np.intp, copy=False)
    right = np.bincount(actual, weights * (predicted == actual), classes)
    of_predicted, of_actual = (np.bincount(labels, weights, classes) for labels in (predicted, actual))
    return right, of_predicted, of_actual, of_predicted + of_actual


def _count_labels(predicted: Array, actual: Array, weights: Array) -> tuple[Array, ...]:
    """Count rows of several labels, booleans (N, K): every label is in the mean."""
    right, of_predicted, of_actual = (weights @ labels for labels in (predicted & actual, predicted, actual))
    return right, of_predicted, of_actual, np.full_like(right, weights.sum())


def _check_labels(metric: Metric, rows: ScoredRows) -> None:
    """Raise ArgumentError if predictions are numbers, which are hardly ever equal to their targets."""
    if rows.predictions.dtype.kind == "f":
        raise ArgumentError(f'{metric.name}: {type(rows.loss).__name__} predicts numbers; use "mean_absolute_error"')


def _check_one_of_several(metric: Metric, rows: ScoredRows) -> None:
    """Raise ArgumentError unless each row has one class, and each class a score."""
    _check_labels(metric, rows)
    if rows.truth.ndim != 1 or rows.scores.shape[1:] in {(), (1,)}:
        raise ArgumentError(f"{metric.name} is for one class out of two or more, not for scores {rows.scores.shape}")
