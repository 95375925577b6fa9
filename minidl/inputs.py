"""What users pass as data, turned into arrays: NumPy arrays, memory maps, pandas frames and series, nested lists."""

from __future__ import annotations

import inspect
import math
import operator
import reprlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minidl.errors import ArgumentError, ArgumentTypeError, DataError, ShapeError, counted
from minidl.typing import Array, Shape

_ENTRIES_AT_ONCE = 65_536
"""Blocks of so many numbers stay in the processor's cache."""


def as_array(values: Any, name: str) -> Array:
    """Return `values` as an array of numbers whose rows are contiguous; `name` is what errors call it.

    An array or memory map that is already so is returned itself, not copied.

    Raises DataError when it holds anything but real numbers or truth values.
    """
    if type(values) is not np.ndarray:
        if values is None:
            raise DataError(f"{name} is missing: it is None")
        if hasattr(values, "toarray"):
            raise DataError(f"{name} is a sparse matrix: pass {name}.toarray()")
        if isinstance(values, np.ma.MaskedArray):
            raise DataError(
                f"{name} is a masked array, whose mask would be lost: fill or drop its missing values first"
            )
        # pandas frames and series convert themselves; of a memory map the plain array is a view, not a copy. Nested
        # lists with rows of different lengths raise ValueError.
        try:
            values = _from_pandas(values) if hasattr(values, "to_numpy") else np.asarray(values)
        except (ValueError, TypeError) as error:
            raise DataError(f"{name} is no table of numbers: {error}") from error
    if values.dtype.kind not in "biuf":
        raise DataError(
            f"{name} holds {values.dtype} values; give numbers only: drop or encode text, dates and missing values "
            "first (labels, for example, by numpy.unique(labels, return_inverse=True))"
        )
    return np.ascontiguousarray(values) if values.ndim and not values.flags.c_contiguous else values


def _from_pandas(values: Any) -> Array:
    array: Array = values.to_numpy()
    if array.dtype != object:
        return array
    # Columns of different types, or types that can hold missing values: each may be one of numbers none the less.
    is_frame = hasattr(values, "columns")
    columns, dtypes = (values.columns, values.dtypes) if is_frame else ([values.name], [values.dtype])
    for column, dtype in zip(columns, dtypes, strict=True):
        if dtype.kind not in "biuf":
            where = f"column {column!r}" if is_frame else "it"
            raise TypeError(f"{where} holds {dtype} values; drop or encode these")
    common = np.result_type(*(getattr(dtype, "numpy_dtype", dtype) for dtype in dtypes))
    return values.to_numpy(dtype=common)


def check_finite(values: Array, name: str, first_row: int = 0, dtype: DTypeLike = np.float64) -> None:
    """Raise DataError naming the first entry of `values` that is NaN, infinite, or would be so as `dtype`.

    Rows are looked at in blocks, so that a memory map larger than the memory can be checked.
    """
    if values.dtype.kind != "f":
        return
    values = np.atleast_1d(values)
    rows = max(_ENTRIES_AT_ONCE // max(values[:1].size, 1), 1)
    for start in range(0, len(values), rows):
        block = values[start : start + rows]
        with np.errstate(over="ignore"):
            finite = np.isfinite(block if dtype == np.float64 else block.astype(dtype, copy=False))
        if not finite.all():
            first = tuple(np.argwhere(~finite)[0].tolist())
            where = f"row {first_row + start + first[0]}"
            where += f", entry {', '.join(map(str, first[1:]))}" if first[1:] else ""
            raise DataError(f"{name} holds {block[first]} at {where}: remove or fill such values first")


def check_augment(augment: Any, owner: str) -> None:
    """Raise ArgumentTypeError unless `augment` can be called with inputs and a generator."""
    if isinstance(augment, type):
        raise ArgumentTypeError(f"{owner}: augment is the class {augment.__name__}; make one, {augment.__name__}(...)")
    if not callable(augment):
        several = isinstance(augment, list | tuple)
        cure = "put several into a Compose([...])" if several else "it must be a function of (inputs, generator)"
        raise ArgumentTypeError(f"{owner}: augment is {reprlib.repr(augment)}; {cure}")
    try:
        signature = inspect.signature(augment)
    except (ValueError, TypeError):  # one written in C, say, does not tell what it takes
        return
    try:
        signature.bind(0, 0)
    except TypeError as error:
        raise ArgumentTypeError(
            f"{owner}: augment is called as augment(inputs, generator), which {reprlib.repr(augment)} does not take: "
            f"{error}"
        ) from error


def apply_augment(augment: Callable[[Array, np.random.Generator], Array], x: Array, rng: np.random.Generator) -> Array:
    """Return what `augment` makes of `x`, which it gets to read only: a part of the user's data.

    Raises ShapeError or DataError unless that are finite numbers in an array of the same shape.
    """
    untouched = x.view()
    untouched.flags.writeable = False
    augmented = as_array(augment(untouched, rng), "what augment returned")
    if augmented.shape != x.shape:
        raise ShapeError(f"augment must return an array of the shape that it gets, {x.shape}, not {augmented.shape}")
    check_finite(augmented, "what augment returned")
    return augmented


def check_lengths(**arrays: Array | None) -> int:
    """Return the number of rows that all arrays have; DataError when they differ or there are none."""
    lengths = {}
    for name, values in arrays.items():
        if values is not None:
            if values.ndim == 0:
                raise DataError(f"{name} is a single number, not an array with one row per sample")
            lengths[name] = len(values)
    if len(set(lengths.values())) > 1:
        different = ", ".join(f"{name} has {counted(length, 'row')}" for name, length in lengths.items())
        raise DataError(f"the lengths differ: {different}")
    name, length = next(iter(lengths.items()))
    if length == 0:
        raise DataError(f"{name} is empty: there are no rows")
    return length


def as_weights(values: Any) -> Array:
    """Return sample weights as float64; DataError unless they are one number per row, none of them negative."""
    weights = as_array(values, "sample_weight")
    check_finite(weights, "sample_weight")
    if weights.ndim != 1:
        raise DataError(f"sample_weight has shape {weights.shape}; it must hold one number per row, (N,)")
    if (weights < 0).any():
        row = int(np.flatnonzero(weights < 0)[0])
        raise DataError(f"sample_weight is {weights[row]} in row {row}; it must hold one number per row, none below 0")
    return weights.astype(np.float64)


def as_class_indices(labels: Array, classes: int) -> tuple[Array, Array]:
    """Return labels as integers, and the rows of those that are not among 0 .. classes - 1."""
    with np.errstate(invalid="ignore"):  # NaN and numbers too large become others, and are found by comparing
        indices = labels.astype(np.intp)
    return indices, np.flatnonzero((indices != labels) | (indices < 0) | (indices >= classes))


def check_number(
    value: Any,
    name: str,
    low: float = -math.inf,
    below: float = math.inf,
    *,
    above: float = -math.inf,
    most: float = math.inf,
) -> float:
    """Return `value` as a float, when it is a finite number with low <= value < below, and above < value <= most.

    Raises ArgumentTypeError for what is no number, such as text or a truth value, and ArgumentError for other numbers.
    """
    try:
        number = None if isinstance(value, str | bool | np.bool_) else float(value)
    except (TypeError, ValueError):
        number = None
    if number is None:
        raise ArgumentTypeError(f"{name} is {value!r}; it must be a number")
    if not (low <= number < below and above < number <= most):
        limits = ""
        if min(below, most) < math.inf:
            start = f"({above:g}" if above > -math.inf else f"[{low:g}"
            limits = f", in {start}, {below:g})" if below < math.inf else f", in {start}, {most:g}]"
        elif low > -math.inf:
            limits = f", {low:g} or more"
        elif above > -math.inf:
            limits = f", above {above:g}"
        raise ArgumentError(f"{name} is {value}; it must be a finite number{limits}")
    return number


def check_setting(
    owner: object,
    name: str,
    low: float = -math.inf,
    below: float = math.inf,
    *,
    above: float = -math.inf,
    most: float = math.inf,
) -> None:
    """Make a plain float of the owner's attribute `name`; raise as `check_number`, naming the owner's class.

    Plain, since a file keeps no NumPy types: what is resumed from one computes with the same numbers to the last bit.
    And NumPy's float64 would make float32 arrays wider.
    """
    place = f"{type(owner).__name__}: {name}"
    setattr(owner, name, check_number(getattr(owner, name), place, low, below, above=above, most=most))


def check_flag(value: Any, name: str) -> None:
    """Raise ArgumentTypeError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise ArgumentTypeError(f"{name} is {value!r}; it must be True or False")


def check_validation_data(value: Any, without: str) -> None:
    """Raise ArgumentTypeError unless `value` is a pair (x, y) or a triple; the error says what is `without` it."""
    if not isinstance(value, tuple | list) or not 2 <= len(value) <= 3:
        raise ArgumentTypeError(
            f"validation_data must be (x, y) or (x, y, sample_weight); leave it out, or give None, {without}"
        )


def check_seed(value: Any, name: str) -> None:
    """Raise ArgumentTypeError or ArgumentError unless `value` is a seed that scikit-learn takes: in [0, 2**32)."""
    check_whole_number(value, name, 0)
    if value >= 2**32:
        raise ArgumentError(f"{name} is {value}; it must be below 2**32")


def check_whole_number(value: Any, name: str, least: int) -> None:
    """Raise ArgumentTypeError or ArgumentError unless `value` is a whole number of at least `least`."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise ArgumentTypeError(f"{name} is {value!r}; it must be a whole number, {least} or more")
    if number < least:
        raise ArgumentError(f"{name} is {value}; it must be {least} or more")


def as_shape(shape: int | Iterable[int]) -> Shape:
    """Turn 784 or (28, 28, 1) into a tuple of positive ints."""
    try:
        sizes = tuple(operator.index(size) for size in (shape if isinstance(shape, Iterable) else (shape,)))
    except TypeError:
        raise ArgumentTypeError(f"a shape is a whole number or a tuple of these, not {shape!r}") from None
    if any(size < 1 for size in sizes):
        raise ArgumentError(f"the sizes of a shape are 1 or more, not {sizes}")
    return sizes
