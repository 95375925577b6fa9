"""How reliable probabilities are: whether predictions come true as often as they say.

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
"""As far from 1 a sum of probabilities may be, as that of targets may."""


def expected_calibration_error(targets: ArrayLike, probabilities: ArrayLike, bins: int = 15) -> float:
    """How far the probabilities of the predicted classes are from how often these are right, in [0, 1].

    ECE = sum_b n_b / N |accuracy_b - confidence_b|, over the bins of `reliability_table`, which has the parameters and
    errors; 0 is best. It does not say how good the predictions are: guesses that are known to be guesses have 0, too.
    And it is above 0 by chance alone, the more so with few rows and many bins.

    Source: Naeini et al. (2015), "Obtaining well calibrated probabilities using Bayesian binning", AAAI; Guo et al.
    (2017), arXiv:1706.04599.
    """
    return reliability_table(targets, probabilities, bins).expected_calibration_error


@dataclass(frozen=True, eq=False)
class ReliabilityTable:
    """How often predictions are right, for those of each confidence: what `reliability_table` returns.

    Attributes
    ----------
    edges : array (B + 1,)
        Bin b holds the confidences c with edges[b] < c <= edges[b + 1].
    rows : array (B,)
        Their number n_b.
    confidence, accuracy : arrays (B,)
        The mean confidence, and the share of the rows whose predicted class is the true one; NaN for a bin without any.
    """

    edges: Array
    rows: Array
    confidence: Array
    accuracy: Array

    @property
    def expected_calibration_error(self) -> float:
        """The mean over the rows of their bins' differences between accuracy and confidence."""
        there = self.rows > 0
        gaps = np.abs(self.accuracy[there] - self.confidence[there])
        return float(gaps @ self.rows[there] / self.rows.sum())

    def to_frame(self) -> pd.DataFrame:
        """Return a pandas frame with a row for each bin, and its edges in the columns ``above`` and ``to``."""
        import pandas as pd

        columns = {"above": self.edges[:-1], "to": self.edges[1:], "rows": self.rows}
        return pd.DataFrame(columns | {"confidence": self.confidence, "accuracy": self.accuracy})


def reliability_table(targets: ArrayLike, probabilities: ArrayLike, bins: int = 15) -> ReliabilityTable:
    """Sort predictions by their confidence into bins of equal width, and count in each how many are right.

    The confidence of a prediction is the probability of the predicted class, which is the largest.

    Parameters
    ----------
    targets : integer labels of shape (N,) or (N, 1), or one-hot rows (N, K)
    probabilities : array of shape (N, K), (N,) or (N, 1)
        Of each of K classes; or of the label 1, where the other is 0 and has what is left to 1: the class 1 is then
        predicted above 1/2. Of several labels in a row, not exclusive, give one column of targets and probabilities,
        or all of both, ``targets.ravel()`` and ``probabilities.ravel()``.
    bins : int, >= 1, default 15
        Into which [0, 1] is divided.

    Raises
    ------
    ShapeError, DataError, ArgumentError, ArgumentTypeError
        For other shapes, no rows, labels outside 0 .. K-1, numbers outside [0, 1], rows that do not sum to 1,
        arguments that are swapped, and another number of bins.
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
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN of a bin without rows
        return ReliabilityTable(edges, rows, confident / rows, right / rows)


def _are_shares(values: Array) -> bool:
    """Whether these are numbers in [0, 1] of which some are neither 0 nor 1: probabilities, and no labels."""
    is_share = values.dtype.kind == "f" and bool(((values >= 0) & (values <= 1)).all())
    return is_share and not _are_whole(values)


def _are_whole(values: Array) -> bool:
    return values.dtype.kind != "f" or bool((values == np.rint(values)).all())


def _class_probabilities(probabilities: Array) -> Array:
    """Return probabilities (N, K) in float64, K >= 2: of one column, of both its labels."""
    if probabilities.ndim == 1:
        probabilities = probabilities[:, np.newaxis]
    if probabilities.ndim != 2 or not probabilities.shape[1]:
        raise ShapeError(f"probabilities have shape (N, K), or (N,) for one label, not {probabilities.shape}")
    if not len(probabilities):
        raise DataError("no rows: how reliable predictions are is not defined without any")
    check_finite(probabilities, "probabilities")
    probabilities = probabilities.astype(np.float64)
    if probabilities.shape[1] == 1:
        probabilities = np.hstack([1 - probabilities, probabilities])
    wrong = np.argwhere((probabilities < 0) | (probabilities > 1 + _ROUNDING))
    if wrong.size:
        raise DataError(
            f"probabilities are in [0, 1], but not those of row {wrong[0][0]}: {_few(probabilities, wrong)}"
        )
    wrong = np.argwhere(np.abs(probabilities.sum(axis=1) - 1) > _ROUNDING)
    if wrong.size:
        raise DataError(
            f"the probabilities of row {wrong[0][0]} do not sum to 1: {_few(probabilities, wrong)}; of labels that do "
            "not exclude each other give one column, or targets.ravel() and probabilities.ravel()"
        )
    return probabilities


def _labels(targets: Array, rows: int, classes: int) -> Array:
    """Return labels (N,) in 0 .. classes - 1: of one-hot rows, where the 1 is."""
    if targets.shape == (rows, classes):
        if ((targets != 0) & (targets != 1)).any() or (targets.sum(axis=1) != 1).any():
            raise DataError("targets must be labels, or rows with a single 1 and else 0")
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
