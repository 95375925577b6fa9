"""A data set split into the rows to train on and the rows to validate with."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

import numpy as np

from minidl.errors import ArgumentError, ArgumentTypeError, DataError, counted
from minidl.typing import Array


def train_validation_split(
    x: Any, y: Any, validation_size: float | int = 0.2, *, seed: int | None = 0, stratify: bool = True
) -> tuple[Any, Any, Any, Any]:
    """Split rows at random into a training part and a validation part.

    Parameters
    ----------
    x, y : array, memmap, pandas frame or series, or list, of N rows each
        Inputs and their labels or targets.
    validation_size : float in (0, 1) or int in [1, N), default 0.2
        The fraction of the rows, rounded up, or the number of rows of the validation part.
    seed : int in [0, 2**32) or None, default 0
        The same seed gives the same split; None another one each time.
    stratify : bool, default True
        Keep the share of each class the same in both parts. The classes are integer, boolean or string
        labels, or the columns of one-hot rows; other targets are those of a regression and have none.

    Returns
    -------
    x_train, x_validation, y_train, y_validation
        In the order and, for each, in the type of scikit-learn's ``train_test_split``, which does the work.

    Raises
    ------
    DataError
        x and y are empty or of different lengths, or a class has a single row.
    ArgumentError, ArgumentTypeError
        ``validation_size`` or ``seed`` is out of range, or a part is too small to have every class.
    """
    from sklearn.model_selection import train_test_split

    if len(x) != len(y):
        raise DataError(f"x has {counted(len(x), 'row')}, but y has {len(y)}")
    if len(x) == 0:
        raise DataError("x and y have no rows to split")
    if seed is not None and not 0 <= seed < 2**32:
        raise ArgumentError(f"seed={seed} is not in [0, 2**32)")
    rows = _validation_rows(validation_size, len(x))
    classes = _classes(y) if stratify else None
    if classes is not None:
        _check_classes(classes, min(rows, len(x) - rows))
    x_train, x_validation, y_train, y_validation = train_test_split(
        x, y, test_size=rows, random_state=seed, stratify=classes
    )
    return x_train, x_validation, y_train, y_validation


def _validation_rows(validation_size: float | int, total: int) -> int:
    if not isinstance(validation_size, Real):
        raise ArgumentTypeError(f"validation_size={validation_size!r} is not a number")
    if validation_size == 0:
        raise ArgumentError(
            f"validation_size={validation_size} holds out no row: to train without validation, do not split the data"
        )
    if isinstance(validation_size, Integral):
        rows = int(validation_size)
    elif 0 < validation_size < 1:
        rows = math.ceil(validation_size * total)
    else:
        raise ArgumentError(f"validation_size={validation_size} is a fraction, but not between 0 and 1")
    if not 1 <= rows < total:
        raise ArgumentError(
            f"validation_size={validation_size} takes {rows} of {counted(total, 'row')}; each part needs one"
        )
    return rows


def _classes(y: Any) -> Array | None:
    """Return the class of each row, or None for the targets of a regression."""
    labels = np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 1:
        if labels.dtype.kind in "biu":
            return labels
        return labels.astype(str) if labels.dtype.kind in "SUTO" else None
    is_one_hot = (
        labels.ndim == 2
        and labels.dtype.kind in "biuf"
        and np.isin(labels, (0, 1)).all()
        and (labels.sum(axis=1) == 1).all()
    )
    return labels.argmax(axis=1) if is_one_hot else None


def _check_classes(classes: Array, smaller_part: int) -> None:
    names, counts = np.unique(classes, return_counts=True)
    if 1 in counts:
        single = names[counts == 1][0]
        raise DataError(
            f"class {single} has one row, but both parts need one: give more rows of it, or pass stratify=False"
        )
    if smaller_part < len(names):
        raise ArgumentError(
            f"a part of {smaller_part} rows cannot have all {len(names)} classes: "
            "give more rows, change validation_size, or pass stratify=False"
        )
