"""Turn users' data into arrays of numbers with contiguous rows, and check them.

Also check functions that distort a batch, and call them so that they cannot change the data.
"""

import math
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import DTypeLike

from minidl.errors import ArgumentTypeError, DataError, ShapeError, counted
from minidl.lazy_rows import LazyRows
from minidl.tables import as_numbers
from minidl.typing import Array

Augment: TypeAlias = "Callable[[Array, np.random.Generator], Array]"
"""Takes the inputs of a batch and a generator, and returns inputs of the same shape to train on instead."""

_ENTRIES_AT_ONCE = 65_536
"""Blocks with this many numbers stay in the processor's cache."""


def as_array(values: Any, name: str) -> Array:
    """Return `values` as an array of numbers with contiguous rows. Errors call it `name`.

    An array or memory map that already has this form is returned without a copy. `minidl.tables` handles other types.

    Raises DataError if it holds anything except real numbers or truth values.
    """
    is_array = type(values) is np.ndarray and values.dtype.kind in "biuf"
    array = values if is_array or isinstance(values, LazyRows) else as_numbers(values, name)
    # The rows of windows over a series are contiguous and overlap: a copy could be a hundred times as large.
    if isinstance(array, LazyRows) or array.flags.c_contiguous or array[:1].flags.c_contiguous:
        return cast(Array, array)
    return np.ascontiguousarray(array)


def as_rows(values: Any, name: str) -> Array:
    """Return inputs like `as_array`. A sparse matrix gives rows that become dense when they are used."""
    is_sparse = type(values) is not np.ndarray and hasattr(values, "tocsr")
    return cast(Array, LazyRows(values.tocsr())) if is_sparse else as_array(values, name)


def check_finite(values: Array, name: str, first_row: int = 0, dtype: DTypeLike | None = None) -> None:
    """Raise DataError with the first entry of `values` that is NaN or infinite, or would be infinite as `dtype`.

    It checks rows in blocks, so a memory map may be larger than the memory. Shards of a data set are checked when they
    are read.
    """
    if values.dtype.kind != "f" or getattr(values, "shards", None) is not None:
        return
    values = values if values.ndim else values.reshape(1)
    rows = max(_ENTRIES_AT_ONCE // max(values[:1].size, 1), 1)
    for start in range(0, len(values), rows):
        block = values[start : start + rows]
        with np.errstate(over="ignore", invalid="ignore"):
            numbers = (block if dtype is None else block.astype(dtype, copy=False)).ravel()
            # A sum is faster than a test of each number. A product with itself is faster still, but uses several cores.
            if math.isfinite(np.add.reduce(numbers)):
                continue
        finite = np.isfinite(numbers).reshape(block.shape)
        if not finite.all():
            row, *entry = np.argwhere(~finite)[0].tolist()
            where = f"row {first_row + start + row}" + f", entry {', '.join(map(str, entry))}" * bool(entry)
            value = "NaN" if np.isnan(block[~finite][0]) else block[~finite][0]
            raise DataError(f"{name} holds {value} at {where}: remove or fill such values first")


def check_lengths(**arrays: Array | None) -> int:
    """Return the number of rows that all arrays have. Raise DataError if they differ or are empty."""
    given = {name: values for name, values in arrays.items() if values is not None}
    if single := [name for name, values in given.items() if values.ndim == 0]:
        raise DataError(f"{single[0]} is a single number, not an array with one row per sample")
    lengths = {name: len(values) for name, values in given.items()}
    if len(set(lengths.values())) > 1:
        different = ", ".join(f"{name} has {counted(length, 'row')}" for name, length in lengths.items())
        raise DataError(f"the lengths differ: {different}")
    name, length = next(iter(lengths.items()))
    if length == 0:
        raise DataError(f"{name} is empty: there are no rows")
    return length


def check_mask(mask: Any, x: Array, axes: int | None = None) -> None:
    """Raise ShapeError unless a mask is a bool array of the first `axes` of `x`, the rows and their positions."""
    axes = getattr(mask, "ndim", 0) if axes is None else axes
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or axes < 2 or mask.shape != x.shape[:axes]:
        raise ShapeError(f"a mask is a bool array (N, T), True where a position counts; x has the shape {x.shape}")


def as_weights(values: Any) -> Array:
    """Return sample weights as float64. Raise DataError unless they are finite and not negative."""
    weights = as_array(values, "sample_weight")
    check_finite(weights, "sample_weight")
    if (weights < 0).any():
        first, row = weights[weights < 0][0], ", ".join(map(str, np.argwhere(weights < 0)[0]))
        raise DataError(f"sample_weight is {first} in row {row}; it must hold one number per row, 0 or more")
    return weights.astype(np.float64)


def as_class_indices(labels: Array, classes: int) -> tuple[Array, Array]:
    """Return labels as integers, and a mask of those that are not in 0 .. classes - 1."""
    with np.errstate(invalid="ignore"):  # NaN and too large numbers change in the conversion; the comparison finds them
        indices = labels.astype(np.intp)
    return indices, (indices != labels) | (indices < 0) | (indices >= classes)


def as_augment(augment: Any, name: str) -> Augment:
    """Return a function of inputs and a generator. Raise ArgumentTypeError with the `name` for anything else."""
    if not callable(augment) or isinstance(augment, type):
        raise ArgumentTypeError(f"{name} must be a function of (inputs, generator) like Rotation(20), not {augment!r}")
    return augment


def apply_augment(augment: Augment, x: Array, rng: "np.random.Generator") -> Array:
    """Return the result of `augment` for `x`. It gets a read-only `x`, because `x` is part of the user's data.

    Raises ShapeError or DataError unless the result is an array of finite numbers with the same shape.
    """
    untouched = x.view()
    untouched.flags.writeable = False
    augmented = as_array(augment(untouched, rng), "what augment returned")
    if augmented.shape != x.shape:
        raise ShapeError(f"augment must return an array of the shape that it gets, {x.shape}, not {augmented.shape}")
    check_finite(augmented, "what augment returned")
    return augmented
