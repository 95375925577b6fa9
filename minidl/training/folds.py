"""Folds: the training rows and the held-out rows of each run in a cross-validation or a search."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minidl.arrays import as_array, as_rows, as_weights, check_finite, check_lengths
from minidl.errors import ArgumentError, ArgumentTypeError, DataError, counted
from minidl.model import Sequential
from minidl.reprs import brief
from minidl.settings import as_whole_number
from minidl.tables import as_frame, column_names, rows_of
from minidl.typing import Array

Fold = tuple[Array, Array]
"""The training rows and the held-out rows."""


@dataclass(frozen=True, eq=False)
class DataSet:
    """Rows of inputs, targets and weights that belong together.

    Parameters
    ----------
    table : array, CSR matrix, or what a transformer takes, such as a frame
    y : array (N, ...)
    weights : array (N, ...) or None
    rows : integer array (N,), optional
        The rows of the table that are the inputs; None for all. They are taken when `x` is read, so several folds of
        one table need no memory.
    """

    table: Any
    y: Array
    weights: Array | None
    rows: Array | None = None

    @property
    def x(self) -> Any:
        """The inputs, in the same type as the table, such as a frame or a sparse matrix."""
        return rows_of(self.table, self.rows)

    def take(self, rows: Array) -> DataSet:
        """Return these rows of a data set that has all rows of its table."""
        return DataSet(self.table, self.y[rows], None if self.weights is None else self.weights[rows], rows)


def as_data_set(x: Any, y: Any, sample_weight: Any = None, *, transformer: Any = None) -> DataSet:
    """Check a user's data. Without a transformer, the inputs must be finite numbers.

    Inputs for a transformer do not change, except that lists become arrays. It gets copies of their rows, because some
    transformers work in place.

    Raises DataError for other data.
    """
    table = _as_numbers(x, "x") if transformer is None else _as_table(x)
    y = as_array(y, "y")
    weights = None if sample_weight is None else as_weights(sample_weight)
    # A frame or a sparse matrix may not have the length of an array.
    rows = check_lengths(x=np.empty(table.shape[:1]), y=y, sample_weight=weights)
    return DataSet(table, y, weights, None if transformer is None else np.arange(rows))


@dataclass(frozen=True, eq=False)
class Split:
    """The training data of a run and its held-out data, or None if no rows are held out."""

    training: DataSet
    held_out: DataSet | None = None

    def arguments(self) -> dict[str, Any]:
        """Return the data as arguments of `Trainer.fit`."""
        data, held_out = self.training, self.held_out
        validation_data = None if held_out is None else (held_out.x, held_out.y, held_out.weights)
        return {"x": data.x, "y": data.y, "sample_weight": data.weights, "validation_data": validation_data}

    def transformed(self, transformer: Any, seed: int) -> tuple[Split, Any]:
        """Return the transformed data, and the transformer's clone, which was fitted only to the training rows.

        The training rows come from `fit_transform`, as in a scikit-learn Pipeline. A `random_state` of None becomes the
        seed. Without a transformer, nothing changes.

        Raises ArgumentTypeError if it is not a transformer, and DataError if a network cannot train on the result.
        """
        if transformer is None:
            return self, None
        if isinstance(transformer, type) or not hasattr(transformer, "fit") or not hasattr(transformer, "transform"):
            raise ArgumentTypeError(
                f"transformer is {brief(transformer)}; give one of scikit-learn, such as StandardScaler()"
            )
        from sklearn.base import clone

        new = clone(transformer)
        if unset := [name for name, value in new.get_params().items() if value is None and _is_random_state(name)]:
            new.set_params(**dict.fromkeys(unset, seed))
        x, y = self.training.x, self.training.y
        returned = new.fit_transform(x, y) if hasattr(new, "fit_transform") else new.fit(x, y).transform(x)
        training = _with_inputs(self.training, returned)
        held_out = None if self.held_out is None else _with_inputs(self.held_out, new.transform(self.held_out.x))
        return Split(training, held_out), new


def _is_random_state(name: str) -> bool:
    return name.rpartition("__")[-1] == "random_state"


def _with_inputs(data: DataSet, returned: Any) -> DataSet:
    """Return the data with the result of a transformer as inputs."""
    name = "what the transformer returned"
    x = _as_numbers(returned, name)
    check_lengths(**{name: as_rows(x, name), "y": data.y})
    return replace(data, table=x, rows=None)


def _as_numbers(x: Any, name: str) -> Any:
    """Return finite numbers as an array, a CSR matrix (for any sparse matrix), or a frame with named columns."""
    x = as_frame(x)
    array = x.tocsr() if hasattr(x, "tocsr") else as_array(x, name)
    check_finite(as_rows(array, name), name)
    return array if column_names(x) is None else x


def _as_table(x: Any) -> Any:
    """Return a transformer's input in a form from which rows can be taken."""
    if hasattr(x, "tocsr"):
        return x.tocsr()
    if x is None or isinstance(x, np.ma.MaskedArray):
        return as_array(x, "x")  # which raises
    if hasattr(x, "column_names"):
        return as_frame(x)  # of pyarrow, in which scikit-learn finds no columns by name
    if hasattr(x, "shape"):
        return x
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise DataError(f"x is not a table: {error}; give an array or a pandas frame") from error
    return np.asarray(x, object) if array.dtype.kind in "US" else array  # numbers beside texts stay numbers


def deal_folds(
    folds: Any, seeds: Sequence[int], x: Any, y: Array, classes: Array | None, groups: Any = None
) -> dict[int, list[Fold]]:
    """Return the folds of each seed.

    Parameters
    ----------
    folds : int >= 2, scikit-learn splitter, or iterable of (training rows, held-out rows)
        A number splits all rows differently for each seed, with the same share of each class in each fold. The others
        give each seed the same folds.
    seeds : sequence of int in [0, 2**32)
    x : array, frame or CSR matrix of N rows
    y : array of N rows
    classes : array (N,) or None
        The class of each row; None for those of a regression.
    groups : array (N,), optional
        Passed to a splitter.

    Raises ArgumentError or ArgumentTypeError for invalid folds, and DataError for a class with too few rows.
    """
    if hasattr(folds, "split") and not isinstance(folds, str):
        try:
            dealt = list(folds.split(x, y if classes is None else classes, groups))
        except ValueError as error:
            raise ArgumentError(f"folds={folds!r} cannot split {counted(len(y), 'row')}: {error}") from error
        return dict.fromkeys(seeds, _as_folds(dealt, len(y)))
    if groups is not None:
        raise ArgumentError("groups are for a splitter that uses them, such as folds=GroupKFold(5) of scikit-learn")
    if isinstance(folds, Iterable) and not isinstance(folds, str):
        return dict.fromkeys(seeds, _as_folds(list(folds), len(y)))
    number = as_whole_number(folds, "folds", 2)
    return {seed: _shuffled_folds(number, seed, len(y), classes) for seed in seeds}


def hold_out(validation: float | int, seed: int, rows: int, classes: Array | None) -> Fold:
    """Return one fold: held-out rows drawn at random, with the same share of each class, and the other rows.

    Parameters
    ----------
    validation : float in (0, 1) or int in [1, rows)
        The fraction, rounded up, or the number of rows to hold out.
    seed : int in [0, 2**32)
    rows : int
    classes : array (rows,) or None
        The class of each row; None for those of a regression.

    Raises ArgumentError or ArgumentTypeError for another number, and DataError for a class with too few rows.
    """
    # Imported here, because `import minidl` does not load minidl.data.
    from minidl.data.splitting import split_at_random

    train, held_out = split_at_random(
        [np.arange(rows)],
        validation,
        seed,
        classes,
        name="validation",
        without_classes="give validation_data=(x, y) of your own",
        of_none=f"validation is {validation}, but candidates are ranked by held-out rows: give a fraction such as 0.2 "
        "or a number of rows, or validation_data=(x, y) of your own",
    )
    return train, held_out


def classes_of(model: Sequential, y: Array) -> Array | None:
    """Return the class (N,) of each row, or None if the model, which is set up with a loss, predicts no class."""
    loss, shape = model.loss, model.output_shape or ()
    assert loss is not None
    decisions = loss.decide(np.zeros((1, *shape), model.dtype))
    if decisions.ndim != 1 or decisions.dtype.kind not in "iu":
        return None
    return loss.truth(loss.prepare_targets(y, shape, model.dtype))


def _shuffled_folds(folds: int, seed: int, rows: int, classes: Array | None) -> list[Fold]:
    from sklearn.model_selection import KFold, StratifiedKFold

    if folds > rows:
        raise ArgumentError(f"folds is {folds}, more than {counted(rows, 'row')}: each fold needs one")
    if classes is None:
        return list(KFold(folds, shuffle=True, random_state=seed).split(np.empty(rows)))
    names, numbers, counts = np.unique(classes, return_inverse=True, return_counts=True)
    if counts.min() < folds:
        raise DataError(
            f"class {names[counts.argmin()]} has {counted(counts.min(), 'row')}, fewer than the {folds} folds that "
            f"each need one: take fewer folds, or pass folds=KFold({folds}, shuffle=True, random_state=0) of "
            "scikit-learn"
        )
    return list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(np.empty(rows), numbers))


def _as_folds(pairs: Sequence[Any], rows: int) -> list[Fold]:
    """Check folds from a splitter or the user."""
    if not pairs:
        raise ArgumentError("folds has no fold")
    checked = []
    for number, pair in enumerate(pairs, start=1):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ArgumentTypeError(f"fold {number} is {brief(pair)}; give a pair: rows to train on, rows held out")
        train, held_out = np.asarray(pair[0]), np.asarray(pair[1])
        for part in (train, held_out):
            if part.ndim != 1 or part.dtype.kind not in "iu" or not part.size:
                raise ArgumentError(f"fold {number}: each part must be a list of row numbers that is not empty")
            if outside := part[(part < 0) | (part >= rows)].tolist():
                raise ArgumentError(f"fold {number} has row {outside[0]}, but there are rows 0 to {rows - 1}")
        if len(np.unique(held_out)) < len(held_out):
            raise ArgumentError(f"fold {number} holds a row out twice")
        if common := np.intersect1d(train, held_out).tolist():
            raise ArgumentError(f"fold {number} trains on row {common[0]}, which it holds out")
        checked.append((train, held_out))
    return checked
