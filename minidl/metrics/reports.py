"""Metrics of whole arrays, as plain functions. Targets come first, as in scikit-learn, which computes most of them.

Each function takes NumPy arrays, pandas series or lists.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minidl.arrays import check_finite
from minidl.errors import ArgumentError, DataError, ShapeError
from minidl.metrics.classification import is_among_largest
from minidl.settings import as_whole_number
from minidl.tables import as_labels
from minidl.typing import Array


def accuracy(targets: ArrayLike, predictions: ArrayLike) -> float:
    """Fraction of rows whose predicted class is the true one, in [0, 1].

    Parameters
    ----------
    targets, predictions : arrays of shape (N,) or (N, K)
        Labels; or scores, probabilities or one-hot rows, whose largest entry is the class.

    Raises
    ------
    ShapeError
        When the numbers of rows differ, or an array has neither one nor two axes.
    DataError
        When there are no rows, or an entry is NaN or infinite.
    """
    true, predicted = _as_labels(targets, "targets"), _as_labels(predictions, "predictions")
    if true.shape != predicted.shape:
        raise ShapeError(f"accuracy compares {len(true)} targets with {len(predicted)} predictions")
    if not len(true):
        raise DataError("accuracy of no rows is not defined")
    return float(np.mean(true == predicted))


def top_k_accuracy(targets: ArrayLike, scores: ArrayLike, k: int = 5) -> float:
    """Fraction of rows whose true class is among the `k` largest scores, in [0, 1].

    Among classes with equal scores, the lower index comes first.

    Parameters
    ----------
    targets : integer labels of shape (N,)
    scores : array of shape (N, K)
        Scores or probabilities of the K classes.
    k : int, 1 <= k <= K

    Raises
    ------
    ShapeError, DataError, ArgumentError, ArgumentTypeError
        For other shapes, no rows, labels outside 0 .. K-1, scores that are NaN or infinite, or another `k`.
    """
    targets, scores = as_labels(targets), as_labels(scores)
    if scores.ndim != 2 or targets.shape != scores.shape[:1]:
        raise ShapeError(f"top_k_accuracy takes targets (N,) and scores (N, K), not {targets.shape} and {scores.shape}")
    if not len(targets):
        raise DataError("top_k_accuracy of no rows is not defined")
    check_finite(scores, "scores")
    k = as_whole_number(k, "k", 1)
    if k > scores.shape[1]:
        raise ArgumentError(f"k is {k}; with {scores.shape[1]} classes it can be 1 to {scores.shape[1]}")
    if targets.dtype.kind not in "iu" or targets.min() < 0 or targets.max() >= scores.shape[1]:
        raise DataError(f"targets must be whole numbers in 0 to {scores.shape[1] - 1}, the classes that have a score")
    return float(is_among_largest(scores, targets, k).mean())


def confusion_matrix(targets: ArrayLike, predictions: ArrayLike, labels: ArrayLike | None = None) -> Array:
    """Count how often each true label was predicted as each label, by scikit-learn's function.

    Parameters
    ----------
    targets, predictions : array (N,) of labels, such as numbers or texts
    labels : array (K,), optional
        Labels to count, in this order. The default is all that occur, sorted.

    Returns
    -------
    array (K, K) of int
        Rows are true labels, columns predicted ones.

    Raises
    ------
    ValueError
        If the lengths differ, or none of `labels` occurs in the targets.
    """
    from sklearn import metrics

    return metrics.confusion_matrix(as_labels(targets), as_labels(predictions), labels=labels)


def classification_report(targets: ArrayLike, predictions: ArrayLike, **options: Any) -> str:
    """Return precision, recall and F1 of each class as text, by scikit-learn's function.

    Parameters
    ----------
    targets, predictions : array (N,) of labels, such as numbers or texts
    **options
        Those of `sklearn.metrics.classification_report`, such as ``target_names`` and ``digits``.

    Returns
    -------
    str
        A line for each class, with the number of its rows, and lines with the averages.

    Raises
    ------
    ValueError
        If the lengths differ.
    """
    from sklearn import metrics

    return metrics.classification_report(as_labels(targets), as_labels(predictions), **options)


def mean_absolute_error(targets: ArrayLike, predictions: ArrayLike) -> float:
    """Mean of |t - p|, in the units of the targets.

    Parameters
    ----------
    targets, predictions : array (N,) or (N, K)
        (N,) and (N, 1) agree. The mean is over all rows and outputs.

    Raises
    ------
    ValueError
        If the shapes differ, there are no rows, or an entry is NaN or infinite.
    """
    from sklearn import metrics

    return float(metrics.mean_absolute_error(targets, predictions))


def mean_squared_error(targets: ArrayLike, predictions: ArrayLike) -> float:
    """Mean of (t - p)^2, in the squared units of the targets.

    Parameters
    ----------
    targets, predictions : array (N,) or (N, K)
        As for `mean_absolute_error`, with its errors.
    """
    from sklearn import metrics

    return float(metrics.mean_squared_error(targets, predictions))


def r2_score(targets: ArrayLike, predictions: ArrayLike) -> float:
    """Coefficient of determination, ``1 - sum (t - p)^2 / sum (t - mean(t))^2``.

    1 is perfect, 0 is as good as always predicting the mean; it may be negative.

    Parameters
    ----------
    targets, predictions : array (N,) or (N, K)
        As for `mean_absolute_error`, with its errors. The result is the mean over the outputs.
    """
    from sklearn import metrics

    return float(metrics.r2_score(targets, predictions))


def _as_labels(values: ArrayLike, name: str) -> Array:
    values = as_labels(values)
    check_finite(values, name)
    if values.ndim == 2 and values.shape[1] > 1:
        if values.dtype.kind in "biu" and (values.sum(axis=1) != 1).any():
            raise DataError("accuracy takes one label per row: compare several labels per row one by one")
        return values.argmax(axis=1)
    if values.ndim not in {1, 2}:
        raise ShapeError(f"labels have shape (N,), scores (N, K); got {values.shape}")
    if values.dtype.kind == "f" and (values != np.floor(values)).any():
        raise DataError(
            "accuracy takes labels, or scores of all classes; for a single probability pass model.predict(x)"
        )
    return values.reshape(len(values))
