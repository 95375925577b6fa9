"""Figures for how good predictions are; targets first, as in scikit-learn, which computes what it has.

Each takes NumPy arrays, pandas series or lists.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minidl.errors import ArgumentError, DataError, ShapeError
from minidl.functional import accuracy
from minidl.typing import Array

__all__ = [
    "accuracy",
    "classification_report",
    "confusion_matrix",
    "mean_absolute_error",
    "mean_squared_error",
    "r2_score",
    "top_k_accuracy",
]


def top_k_accuracy(targets: ArrayLike, scores: ArrayLike, k: int = 5) -> float:
    """Fraction of rows whose true class is among the `k` largest scores, in [0, 1].

    Of classes with equal scores the one of the lower index comes first.

    Parameters
    ----------
    targets : integer labels of shape (N,)
    scores : array of shape (N, K)
        Scores or probabilities of the K classes.
    k : int, 1 <= k <= K

    Raises
    ------
    ShapeError, DataError, ArgumentError
        For other shapes, no rows, labels outside 0 .. K-1, or another `k`.
    """
    targets, scores = np.asarray(targets), np.asarray(scores)
    if scores.ndim != 2 or targets.shape != scores.shape[:1]:
        raise ShapeError(f"top_k_accuracy takes targets (N,) and scores (N, K), not {targets.shape} and {scores.shape}")
    if not len(targets):
        raise DataError("top_k_accuracy of no rows is not defined")
    if not 1 <= k <= scores.shape[1]:
        raise ArgumentError(f"k is {k}; with {scores.shape[1]} classes it can be 1 to {scores.shape[1]}")
    if targets.dtype.kind not in "iu" or targets.min() < 0 or targets.max() >= scores.shape[1]:
        raise DataError(f"targets must be whole numbers in 0 to {scores.shape[1] - 1}, the classes that have a score")
    own = np.take_along_axis(scores, targets[:, np.newaxis], axis=1)
    lower = np.arange(scores.shape[1]) < targets[:, np.newaxis]
    ahead = (scores > own) | ((scores == own) & lower)
    return float(np.mean(ahead.sum(axis=1) < k))


def confusion_matrix(targets: ArrayLike, predictions: ArrayLike, labels: ArrayLike | None = None) -> Array:
    """Counts of shape (K, K): rows are true labels, columns predicted ones (scikit-learn's)."""
    from sklearn import metrics

    return metrics.confusion_matrix(targets, predictions, labels=labels)


def classification_report(targets: ArrayLike, predictions: ArrayLike, **options: Any) -> str:
    """Precision, recall and F1 of each class as text; `options` are those of scikit-learn's function."""
    from sklearn import metrics

    return metrics.classification_report(targets, predictions, **options)


def mean_absolute_error(targets: ArrayLike, predictions: ArrayLike) -> float:
    """Mean of |t - p|; targets and predictions of shape (N,) or (N, K), where (N,) and (N, 1) agree."""
    from sklearn import metrics

    return float(metrics.mean_absolute_error(targets, predictions))


def mean_squared_error(targets: ArrayLike, predictions: ArrayLike) -> float:
    """Mean of (t - p)^2; targets and predictions of shape (N,) or (N, K), where (N,) and (N, 1) agree."""
    from sklearn import metrics

    return float(metrics.mean_squared_error(targets, predictions))


def r2_score(targets: ArrayLike, predictions: ArrayLike) -> float:
    """Coefficient of determination: 1 is perfect, 0 as good as always predicting the mean."""
    from sklearn import metrics

    return float(metrics.r2_score(targets, predictions))
