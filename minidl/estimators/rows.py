"""The rows that an estimator trains on, in a form that depends only on their content.

The model is the same to the bit if the rows come in another order, or if a whole-number weight replaces copies of a
row. This holds for mini-batches, dropout, batch normalization and held-out rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.arrays import as_rows, check_finite
from minidl.lazy_rows import LazyRows
from minidl.typing import Array

_ENTRIES_AT_ONCE = 65_536
"""Blocks of this many numbers stay in the processor's cache."""
_MOST_COPIES = 10
"""Whole-number weights become copies of rows if there are at most this many copies of a row on average."""


@dataclass
class TrainingRows:
    """Rows to train on, or to validate with.

    Attributes
    ----------
    x : array (N, ...) or LazyRows
    targets : array (N, ...)
        As the loss takes them.
    weights : array (N,) or None
    keys : array (N,) of uint64
        Equal for rows of equal content.
    """

    x: Any
    targets: Array
    weights: Array | None
    keys: Array

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def mean_weight(self) -> float:
        """The mean of the rows' weights."""
        return 1.0 if self.weights is None else float(self.weights.mean())

    def take(self, index: Array) -> TrainingRows:
        """Return rows by their numbers; the inputs are not copied."""
        weights = None if self.weights is None else self.weights[index]
        return TrainingRows(LazyRows(self.x, index), self.targets[index], weights, self.keys[index])


def training_rows(x: Any, targets: Array, weights: Array | None, shuffle: bool) -> TrainingRows:
    """Return rows in an order that depends on their content or, if `shuffle` is False, in the user's order.

    Whole-number weights become copies: a row of weight 0 has none, a row of weight 3 has three. The weights stay
    weights if they are not whole numbers, or if there would be more than ten times as many rows.
    """
    x = as_rows(x, "X")
    check_finite(x, "X")  # here, where row numbers are still the user's
    keys = content_keys(x, targets)
    index = np.argsort(keys, kind="stable") if shuffle else np.arange(len(targets))
    if weights is not None and 0 < weights.sum() <= _MOST_COPIES * len(weights) and not (weights % 1).any():
        index, weights = np.repeat(index, weights[index].astype(np.intp)), None
    chosen = None if weights is None else weights[index]
    return TrainingRows(LazyRows(x, index), targets[index], chosen, keys[index])


def content_keys(x: Any, targets: Array) -> Array:
    """Return a key (N,) for each row: equal inputs and targets, dense or sparse, have equal keys.

    The upper half of each number's float64 bits is folded into the lower half. The results are multiplied by odd
    factors and summed modulo 2^64. Rows that differ in one number never have the same key; other rows hardly ever.
    """
    targets = targets.reshape(len(targets), -1)
    width = math.prod(x.shape[1:])
    factors = np.random.default_rng(2).integers(2**63, size=width + targets.shape[1], dtype=np.uint64) * 2 + 1
    keys = _sum_of_bits(targets, factors[width:])
    rows = max(_ENTRIES_AT_ONCE // max(width, 1), 1)
    for start in range(0, len(keys), rows):
        block = x[start : start + rows]
        keys[start : start + rows] += _sum_of_bits(block.reshape(len(block), width), factors[:width])
    return keys


def _sum_of_bits(values: Array, factors: Array) -> Array:
    bits = (np.asarray(values, np.float64) + 0.0).view(np.uint64)  # -0.0 + 0.0 is 0.0
    bits ^= bits >> 32
    return bits @ factors


def split_rows(
    rows: TrainingRows, fraction: float, random_state: Any, classes: Array | None, *, at_random: bool = True
) -> tuple[TrainingRows, TrainingRows]:
    """Hold out a fraction of the distinct rows; return the training rows and the held-out rows.

    All copies of a row go to the same part. The held-out rows are drawn `at_random`; otherwise they are the last ones,
    as a time series needs.

    With `classes` (N,), both parts have the same shares of the classes. Raises ValueError for fewer than two held-out
    rows, and where scikit-learn's `train_test_split` does.
    """
    from sklearn.model_selection import train_test_split

    _, first, which = np.unique(rows.keys, return_index=True, return_inverse=True)
    first_in_order = np.sort(first)
    _, held_out = train_test_split(
        first_in_order,
        test_size=fraction,
        shuffle=at_random,
        random_state=random_state if at_random else None,
        stratify=None if classes is None or not at_random else classes[first_in_order],
    )
    if len(held_out) < 2:
        raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your dataset.")
    is_held_out = np.isin(which, which[held_out])
    return rows.take(np.flatnonzero(~is_held_out)), rows.take(np.flatnonzero(is_held_out))
