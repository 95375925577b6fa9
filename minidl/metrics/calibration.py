"""How reliable probabilities are: whether predictions are right as often as their confidence says.

Targets come first, as in scikit-learn. Each function takes NumPy arrays, pandas series or lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from minidl.arrays import as_array, as_class_indices, check_finite
from minidl.errors import ArgumentError, DataError, ShapeError, counted
from minidl.settings import as_whole_number
from minidl.typing import Array

if TYPE_CHECKING:
    import pandas as pd

_ROUNDING = 1e-3
"""The largest difference from 1 of a sum of probabilities; the same as for targets."""


def expected_calibration_error(targets: ArrayLike, probabilities: ArrayLike, bins: int = 15) -> float:
    """Return the mean gap between confidence and accuracy, in [0, 1]; 0 is best.

    ECE = sum_b n_b / N |accuracy_b - confidence_b|, over the bins of `reliability_table`. Parameters and errors are
    the same as there. The metric does not say how good the predictions are: guesses with a confidence as low as their
    accuracy also have 0. Even a calibrated model has a value above 0 by chance, especially with few rows and many bins.

    Source: Naeini et al. (2015), "Obtaining well calibrated probabilities using Bayesian binning", AAAI; Guo et al.
    (2017), arXiv:1706.04599.
    """
    return reliability_table(targets, probabilities, bins).expected_calibration_error


@dataclass(frozen=True, eq=False)
class ReliabilityTable:
    """The accuracy of predictions by their confidence, as `reliability_table` returns it.

    Attributes
    ----------
    edges : array (B + 1,)
        Bin b holds the confidences c with edges[b] < c <= edges[b + 1].
    rows : array (B,)
        The number n_b of rows in each bin.
    confidence, accuracy : arrays (B,)
        The mean confidence, and the share of rows whose predicted class is the true one; NaN for an empty bin.
    """

    edges: Array
    rows: Array
    confidence: Array
    accuracy: Array

    @property
    def expected_calibration_error(self) -> float:
        """The gap between accuracy and confidence in a bin, averaged over the rows."""
        there = self.rows > 0
        gaps = np.abs(self.accuracy[there] - self.confidence[there])
        return float(gaps @ self.rows[there] / self.rows.sum())

    def to_frame(self) -> pd.DataFrame:
        """Return a pandas frame with a row for each bin; the columns ``above`` and ``to`` hold its edges."""
        import pandas as pd

        columns = {"above": self.edges[:-1], "to": self.edges[1:], "rows": self.rows}
        return pd.DataFrame(columns | {"confidence": self.confidence, "accuracy": self.accuracy})


def reliability_table(targets: ArrayLike, probabilities: ArrayLike, bins: int = 15) -> ReliabilityTable:
    """Sort predictions by confidence into bins of equal width, and count how many are right in each bin.

    The confidence of a prediction is the probability of the predicted class, the largest one.

    Parameters
    ----------
    targets : integer labels of shape (N,) or (N, 1), or one-hot rows (N, K)
    probabilities : array of shape (N, K), (N,) or (N, 1)
        The probabilities of K classes, or of the label 1 of two labels, 0 and 1; then 1 is predicted above 1/2. For
        several labels per row, which do not exclude each other, pass one column of targets and probabilities, or
        ``targets.ravel()`` and ``probabilities.ravel()``.
    bins : int, >= 1, default 15
        The number of bins in [0, 1].

    Raises
    ------
    ShapeError, DataError, ArgumentError, ArgumentTypeError
        For other shapes, no rows, labels outside 0 .. K-1, probabilities outside [0, 1], rows that do not sum to 1,
        swapped arguments, and an invalid number of bins.
    """
    bins = as_whole_number(bins, "bins", 1)
    targets, probabilities = as_array(targets, "targets"), as_array(probabilities, "probabilities")
    if _are_shares(targets) and _are_whole(probabilities):
        raise ArgumentError("targets and probabilities are swapped: targets come first, (targets, probabilities)")
    probabilities = _class_probabilities(probabilities)
    labels = _labels(targets, *probabilities.shape)
    predicted = probabilities.argmax(axis=1)
    confidence = np.minimum(probabilities[np.arange(len(labels)), predicted], 1)
    edges = np.arange(bins + 1) / bins
    bin_of = np.searchsorted(edges, confidence, side="left") - 1
    rows, confident, right = (
        np.bincount(bin_of, weights, minlength=bins) for weights in (None, confidence, predicted == labels)
    )
    with np.errstate(invalid="ignore"):  # an empty bin is 0 / 0, NaN
        return ReliabilityTable(edges, rows, confident / rows, right / rows)


def _are_shares(values: Array) -> bool:
    """Whether these are probabilities, not labels: numbers in [0, 1] that are not all 0 or 1."""
    is_share = values.dtype.kind == "f" and bool(((values >= 0) & (values <= 1)).all())
    return is_share and not _are_whole(values)


def _are_whole(values: Array) -> bool:
    return values.dtype.kind != "f" or bool((values == np.rint(values)).all())


def _class_probabilities(probabilities: Array) -> Array:
    """Return probabilities (N, K) in float64, K >= 2; one column becomes two."""
    if probabilities.ndim == 1:
        probabilities = probabilities[:, np.newaxis]
    if probabilities.ndim != 2 or not probabilities.shape[1]:
        cure = ": for positions, pass the ones that count, as targets[mask], probabilities[mask]"
        place = f"not {probabilities.shape}{cure * (probabilities.ndim == 3)}"
        raise ShapeError(f"probabilities have shape (N, K), or (N,) for one label, {place}")
    if not len(probabilities):
        raise DataError("there are no rows: give one prediction or more")
    check_finite(probabilities, "probabilities")
    probabilities = probabilities.astype(np.float64)
    if probabilities.shape[1] == 1:
        probabilities = np.hstack([1 - probabilities, probabilities])
    wrong = np.argwhere((probabilities < 0) | (probabilities > 1 + _ROUNDING))
    if wrong.size:
        raise DataError(f"probabilities must be in [0, 1]; row {wrong[0][0]} has {_few(probabilities, wrong)}")
    wrong = np.argwhere(np.abs(probabilities.sum(axis=1) - 1) > _ROUNDING)
    if wrong.size:
        raise DataError(
            f"the probabilities of row {wrong[0][0]} do not sum to 1: {_few(probabilities, wrong)}; if labels do not "
            "exclude each other, give one column, or targets.ravel() and probabilities.ravel()"
        )
    return probabilities


def _labels(targets: Array, rows: int, classes: int) -> Array:
    """Return labels (N,) in 0 .. classes - 1; a one-hot row becomes the position of its 1."""
    if targets.shape == (rows, classes):
        if ((targets != 0) & (targets != 1)).any() or (targets.sum(axis=1) != 1).any():
            raise DataError("targets must be labels, or one-hot rows with a single 1")
        return targets.argmax(axis=1)
    if targets.shape not in {(rows,), (rows, 1)}:
        raise ShapeError(
            f"targets have shape {targets.shape}; for {counted(rows, 'row')} of probabilities give labels {(rows,)} or "
            f"one-hot rows {(rows, classes)}"
        )
    labels, wrong = as_class_indices(targets.reshape(rows), classes)
    if wrong.any():
        raise DataError(f"targets must be whole numbers in 0 to {classes - 1}, not {targets.reshape(rows)[wrong][0]}")
    return labels


def _few(rows: Array, wrong: Array) -> str:
    """Return the start of the first wrong row as text."""
    return f"{rows[wrong[0][0]].tolist()!s:.80}"
