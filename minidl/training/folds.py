"""Folds: which rows a run trains on, and which it is judged by, in a cross-validation or a search."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from minidl.errors import ArgumentError, ArgumentTypeError, DataError, counted
from minidl.model import Sequential
from minidl.settings import as_whole_number
from minidl.typing import Array

Fold = tuple[Array, Array]
"""The rows to train on, and those held out."""


def deal_folds(
    folds: Any, seeds: Sequence[int], x: Array, y: Array, classes: Array | None, groups: Any = None
) -> dict[int, list[Fold]]:
    """Return the folds of each seed.

    Parameters
    ----------
    folds : int >= 2, scikit-learn splitter, or iterable of (training rows, held-out rows)
        A number deals all rows anew for each seed, each fold with the classes' shares of the whole; the
        others give each seed the same folds.
    seeds : sequence of int in [0, 2**32)
    x, y : arrays of N rows
    classes : array (N,) or None
        The class of each row; None for those of a regression.
    groups : array (N,), optional
        Handed on to a splitter.

    Raises ArgumentError or ArgumentTypeError for folds that cannot be, DataError for a class of too few rows.
    """
    if hasattr(folds, "split") and not isinstance(folds, str):
        try:
            dealt = list(folds.split(x, y if classes is None else classes, groups))
        except ValueError as error:
            raise ArgumentError(f"folds={folds!r} cannot split {counted(len(x), 'row')}: {error}") from error
        return dict.fromkeys(seeds, _as_folds(dealt, len(x)))
    if groups is not None:
        raise ArgumentError("groups are for a splitter that heeds them: pass folds=GroupKFold(5), say, of scikit-learn")
    if isinstance(folds, Iterable) and not isinstance(folds, str):
        return dict.fromkeys(seeds, _as_folds(list(folds), len(x)))
    number = as_whole_number(folds, "folds", 2)
    return {seed: _shuffled_folds(number, seed, len(x), classes) for seed in seeds}


def hold_out(validation: float | int, seed: int, rows: int, classes: Array | None) -> Fold:
    """Return one fold: rows drawn at random to be held out, with the classes' shares of the whole, and the others.

    Parameters
    ----------
    validation : float in (0, 1) or int in [1, rows)
        The fraction of the rows, rounded up, or the number of rows that are held out.
    seed : int in [0, 2**32)
    rows : int
    classes : array (rows,) or None
        The class of each row; None for those of a regression.

    Raises ArgumentError or ArgumentTypeError for another number, DataError for a class of too few rows.
    """
    # Here, since `import minidl` does not load minidl.data.
    from minidl.data.splitting import split_at_random

    train, held_out = split_at_random(
        [np.arange(rows)],
        validation,
        seed,
        classes,
        name="validation",
        without_classes="give validation_data=(x, y) of your own",
        of_none=f"validation is {validation}, but candidates are ranked by rows held out: give a fraction such as 0.2 "
        "or a number of rows, or validation_data=(x, y) of your own",
    )
    return train, held_out


def classes_of(model: Sequential, y: Array) -> Array | None:
    """Return the class (N,) of each row, or None where the model, set up and with a loss, decides on no class."""
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
    """Check folds that others made."""
    if not pairs:
        raise ArgumentError("folds gives no fold")
    checked = []
    for number, pair in enumerate(pairs, start=1):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ArgumentTypeError(f"fold {number} is {pair!r:.80}; give a pair: rows to train on, rows held out")
        train, held_out = np.asarray(pair[0]), np.asarray(pair[1])
        for part in (train, held_out):
            if part.ndim != 1 or part.dtype.kind not in "iu" or not part.size:
                raise ArgumentError(f"fold {number}: each part is a list of row numbers that is not empty")
            if outside := part[(part < 0) | (part >= rows)].tolist():
                raise ArgumentError(f"fold {number} names row {outside[0]}, but there are rows 0 to {rows - 1}")
        if len(np.unique(held_out)) < len(held_out):
            raise ArgumentError(f"fold {number} holds a row out twice")
        if common := np.intersect1d(train, held_out).tolist():
            raise ArgumentError(f"fold {number} trains on row {common[0]}, which it holds out")
        checked.append((train, held_out))
    return checked
