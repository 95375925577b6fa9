"""Metrics of classes and labels: how many are right, of all, of those predicted, or of those that are there."""

import math

import numpy as np

from minidl.errors import ArgumentError
from minidl.metrics.base import Metric, ScoredRows
from minidl.settings import one_of, setting
from minidl.typing import Array


class Accuracy(Metric):
    """The share of rows whose prediction is the truth, in [0, 1]; of several labels per row, the mean over the labels.

    Raises ArgumentError where the loss predicts numbers, not labels.
    """

    def per_row(self, rows: ScoredRows) -> Array:
        _check_labels(self, rows)
        right = rows.predictions == rows.truth
        return right if right.ndim == 1 else right.mean(axis=1)


class TopKAccuracy(Metric):
    """The share of rows whose true class is among the `k` largest scores, in [0, 1], as ``top_5_accuracy``.

    Of classes with equal scores the one of the lower index comes first.

    Parameters
    ----------
    k : int, 1 <= k <= classes, default 5

    Raises ArgumentError for more than there are classes, and unless a row has one class out of two or more.
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

    It is the most by which the two differ about the probability of any set of classes. Labels are targets that give
    their class the probability 1.

    Raises ArgumentError unless a row has one class out of two or more, and where the loss gives no probabilities.
    """

    def per_row(self, rows: ScoredRows) -> Array:
        _check_one_of_several(self, rows)
        probabilities, targets = rows.probabilities, rows.targets
        if targets.ndim == 1:
            return 1 - probabilities[np.arange(len(targets)), targets]
        return np.abs(probabilities - targets).sum(axis=1) / 2


def is_among_largest(scores: Array, labels: Array, k: int) -> Array:
    """Whether each row's label is one of its `k` largest scores, (N,); of equal scores the lower class comes first.

    A label whose score is NaN never is.
    """
    own = scores[np.arange(len(labels)), labels][:, np.newaxis]
    is_lower = np.arange(scores.shape[1]) < labels[:, np.newaxis]
    not_ahead = (scores < own) | ((scores == own) & ~is_lower)  # the label's own score is among them
    return scores.shape[1] - not_ahead.sum(axis=1) < k


class ClassMetric(Metric):
    """Base of `Precision`, `Recall` and `F1`: ratios of counts per class, averaged. A subclass writes `ratio`.

    Counts are sums of the rows' weights: a class has so many right rows (they belong to it and are predicted to),
    predicted ones and actual ones. They add up over all rows before a ratio is read, so that the metric is exact.
    """

    average: str = setting(default="auto", check=one_of("auto", "binary", "macro", "micro", "weighted"))

    def ratio(self, right: Array, predicted: Array, actual: Array) -> tuple[Array, Array]:
        """Return numerator and denominator of the ratio of each class (K,)."""
        raise NotImplementedError(f"{type(self).__name__} must define ratio(right, predicted, actual)")

    def sums(self, rows: ScoredRows, weights: Array | None) -> list[float]:
        """Return four sums for each class: right, predicted, actual, and one above 0 if it has a place in a mean."""
        _check_labels(self, rows)
        predicted, actual = rows.predictions, rows.truth
        weights = np.ones(len(predicted)) if weights is None else weights
        classes = max(math.prod(rows.scores.shape[1:]), 2)  # one score is of two classes
        is_binary = predicted.ndim == 1 and classes == 2
        if self.average == "binary" and not is_binary:
            raise ArgumentError(f'{self.name}: average="binary" is for one of two classes: use average="macro"')
        if is_binary and self.average in {"auto", "binary"}:  # the class 1 of two is a label that a row has or not
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
    """Of the rows that are predicted to belong to a class, the share that does, in [0, 1]; 0 where there are none.

    Parameters
    ----------
    average : {"auto", "binary", "macro", "micro", "weighted"}, default "auto"
        Which classes, or labels of a row, make the number:

        - "binary": the class 1 of two alone.
        - "macro": the mean over all. A class that no row has, and none is predicted to have, is left out; a label not.
        - "weighted": the mean weighted by how many rows have them.
        - "micro": the ratio of the sums over all.
        - "auto": "binary" for two classes, "macro" for more classes and for several labels per row.

    Computed as by scikit-learn's `precision_score`, with zero_division=0. Raises ArgumentError where the loss predicts
    numbers, not labels, and for "binary" of anything but two classes.
    """

    def ratio(self, right: Array, predicted: Array, actual: Array) -> tuple[Array, Array]:
        return right, predicted


class Recall(ClassMetric):
    """Of the rows that belong to a class, the share that is predicted to, in [0, 1]; 0 where there are none.

    Parameters and errors are those of `Precision`; computed as by scikit-learn's `recall_score`.
    """

    def ratio(self, right: Array, predicted: Array, actual: Array) -> tuple[Array, Array]:
        return right, actual


class F1(ClassMetric):
    """The harmonic mean of precision and recall, 2 right / (predicted + actual), in [0, 1]; 0 where there are none.

    Parameters and errors are those of `Precision`; computed as by scikit-learn's `f1_score`.
    """

    def ratio(self, right: Array, predicted: Array, actual: Array) -> tuple[Array, Array]:
        return 2 * right, predicted + actual


def _count_classes(predicted: Array, actual: Array, weights: Array, classes: int) -> tuple[Array, ...]:
    """Count rows of one class each: a class has a place in a mean if a row has it, or is predicted to have it."""
    predicted, actual = predicted.astype(np.intp, copy=False), actual.astype(np.intp, copy=False)
    right = np.bincount(actual, weights * (predicted == actual), classes)
    of_predicted, of_actual = (np.bincount(labels, weights, classes) for labels in (predicted, actual))
    return right, of_predicted, of_actual, of_predicted + of_actual


def _count_labels(predicted: Array, actual: Array, weights: Array) -> tuple[Array, ...]:
    """Count rows of several labels, truth values (N, K): every label has a place in a mean."""
    right, of_predicted, of_actual = (weights @ labels for labels in (predicted & actual, predicted, actual))
    return right, of_predicted, of_actual, np.full_like(right, weights.sum())


def _check_labels(metric: Metric, rows: ScoredRows) -> None:
    """Raise ArgumentError where predictions are numbers: equal ones are hardly ever found."""
    if rows.predictions.dtype.kind == "f":
        raise ArgumentError(f'{metric.name}: {type(rows.loss).__name__} predicts numbers; use "mean_absolute_error"')


def _check_one_of_several(metric: Metric, rows: ScoredRows) -> None:
    """Raise ArgumentError unless each row has one class, and each class a score."""
    _check_labels(metric, rows)
    if rows.truth.ndim != 1 or rows.scores.shape[1:] in {(), (1,)}:
        raise ArgumentError(f"{metric.name} is for one class out of two or more, not for scores {rows.scores.shape}")
