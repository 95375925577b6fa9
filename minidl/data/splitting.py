"""Split a data set into training rows and validation rows."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

from minidl.errors import ArgumentError, DataError, counted
from minidl.settings import as_number, as_seed, as_whole_number
from minidl.tables import as_labels, rows_of
from minidl.typing import Array


def train_validation_split(
    x: Any,
    y: Any,
    validation_size: float | int = 0.2,
    *,
    seed: int | None = 0,
    stratify: bool = True,
    shuffle: bool = True,
) -> tuple[Any, Any, Any, Any]:
    """Split rows into a training part and a validation part: at random or, for a time series, at a point in time.

    Parameters
    ----------
    x, y : array, memmap, sparse matrix, frame, table, column or list, of N rows each
        Inputs and their labels or targets.
    validation_size : float in (0, 1) or int in [1, N), default 0.2
        The fraction of the rows, rounded up, or the number of rows of the validation part.
    seed : int in [0, 2**32) or None, default 0
        The same seed gives the same split; None gives a different one each time.
    stratify : bool, default True
        Keep the share of each class the same in both parts. The classes are integer, boolean or string
        labels, or the columns of one-hot rows. Whole numbers of a float type are classes if each has enough rows for
        both parts. Other targets are regression targets and are not stratified.
    shuffle : bool, default True
        If False, the last rows are the validation part, in their order. Both parts are slices; `seed` and `stratify`
        have no effect.

    Returns
    -------
    x_train, x_validation, y_train, y_validation
        In the order and with the types of scikit-learn's ``train_test_split``, which draws the random splits.

    Raises
    ------
    DataError
        x and y are empty or of different lengths, or a class has a single row.
    ArgumentError, ArgumentTypeError
        ``validation_size`` or ``seed`` is out of range, or a part is too small to have every class.
    """
    rows = _count_rows(x)
    if rows != len(y):
        raise DataError(f"x has {counted(rows, 'row')}, but y has {len(y)}")
    if rows == 0:
        raise DataError("x and y have no rows to split")
    seed = None if seed is None else as_seed(seed, "seed")
    of_none = f"validation_size={validation_size} holds out no row: to train without validation, do not split the data"
    if not shuffle:
        start = rows - _rows_held_out(validation_size, rows, "validation_size", of_none)
        cut = [(each[:start], each[start:]) for each in (getattr(values, "iloc", values) for values in (x, y))]
        return cut[0][0], cut[0][1], cut[1][0], cut[1][1]
    classes = _classes(y) if stratify else None
    if classes is not None and classes.dtype.kind == "f":  # they may be numbers that happen to be whole
        held_out = _rows_held_out(validation_size, rows, "validation_size", of_none)
        _, counts = np.unique(classes, return_counts=True)
        if counts.min() < 2 or min(held_out, rows - held_out) < len(counts):
            classes = None
    x_train, x_validation, y_train, y_validation = split_at_random(
        [x, y],
        validation_size,
        seed,
        classes,
        name="validation_size",
        without_classes="give more rows, or pass stratify=False",
        of_none=of_none,
    )
    return x_train, x_validation, y_train, y_validation


def split_at_random(
    arrays: Sequence[Any],
    validation_size: float | int,
    seed: int | None,
    classes: Array | None,
    *,
    name: str,
    without_classes: str,
    of_none: str,
) -> list[Any]:
    """Return the training rows and the held-out rows of each of `arrays` (N rows), drawn at random.

    Parameters
    ----------
    arrays : sequence of inputs and targets as for `train_validation_split`
    validation_size : float in (0, 1) or int in [1, N)
        The fraction of the rows, rounded up, or the number of rows to hold out.
    seed : int in [0, 2**32) or None
    classes : array (N,) or None
        The class of each row; both parts get the same shares of the classes. None: do not stratify.
    name : str
        The name of `validation_size` in errors.
    without_classes : str
        The fix that errors suggest if both parts cannot have rows of every class.
    of_none : str
        The error message if no rows would be held out.

    Raises ArgumentError or ArgumentTypeError for another size, DataError for a class of a single row.
    """
    from sklearn.model_selection import train_test_split

    rows = _count_rows(arrays[0])
    held_out = _rows_held_out(validation_size, rows, name, of_none)
    if classes is not None:
        classes_found, counts = np.unique(classes, return_counts=True)
        if counts.min() < 2:
            raise DataError(
                f"class {classes_found[counts.argmin()]} has one row, but the training rows and the held-out rows need "
                f"one: {without_classes}"
            )
        if min(held_out, rows - held_out) < len(counts):
            raise ArgumentError(
                f"{name}={validation_size} holds out {held_out} of {rows} rows, too few or too many for both parts to "
                f"have all {len(counts)} classes: change it, or {without_classes}"
            )
    drawn = train_test_split(np.arange(rows), test_size=held_out, random_state=seed, stratify=classes)
    return [rows_of(values, index) for values in arrays for index in drawn]


def _count_rows(values: Any) -> int:
    return int(values.shape[0]) if hasattr(values, "tocsr") else len(values)  # a sparse matrix has no length


def _rows_held_out(validation_size: float | int, rows: int, name: str, of_none: str) -> int:
    if isinstance(validation_size, Real) and not isinstance(validation_size, bool) and validation_size == 0:
        raise ArgumentError(of_none)
    if isinstance(validation_size, Integral) and not isinstance(validation_size, bool):
        held_out = as_whole_number(validation_size, name, 1)
    else:
        fraction = as_number(validation_size, name, above=0, below=1)
        # 7 % of 100 rows are 7, but 0.07 * 100 is 7.000000000000001. Subtract the possible rounding error first;
        # otherwise it would be rounded up to a row.
        held_out = math.ceil(fraction * rows * (1 - 2 * sys.float_info.epsilon))
    if held_out >= rows:
        raise ArgumentError(
            f"{name}={validation_size} holds out {held_out} of {counted(rows, 'row')}: some must be left to train on"
        )
    return held_out


def _classes(y: Any) -> Array | None:
    """Return the class of each row, or None for regression targets."""
    labels = as_labels(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 1:
        if labels.dtype.kind in "biu" or (labels.dtype.kind == "f" and (labels % 1 == 0).all()):
            return labels
        return labels.astype(str) if labels.dtype.kind in "SUTO" else None
    is_one_hot = (
        labels.ndim == 2
        and labels.dtype.kind in "biuf"
        and np.isin(labels, (0, 1)).all()
        and (labels.sum(axis=1) == 1).all()
    )
    return labels.argmax(axis=1) if is_one_hot else None
