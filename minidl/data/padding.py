"""Pad sequences of different lengths to one array."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import numpy as np

from minidl.advice import refuse
from minidl.arrays import as_array
from minidl.errors import ArgumentTypeError, DataError, naming
from minidl.settings import as_number, as_whole_number
from minidl.typing import Array


def pad_sequences(
    sequences: Sequence[Any], length: int | None = None, *, padding: float = 0, **unknown: NoReturn
) -> Array:
    """Return sequences as the rows of one array; short ones are padded on the right.

    Sequence layers ignore the padding after ``Embedding(..., padding_id=0)``, or after ``Masking(0)`` for features.

    Parameters
    ----------
    sequences : list of N arrays or lists, of shape (T_n,) or (T_n, F)
        Ids, or the features of each position.
    length : int, optional
        The number of positions T in the result; longer sequences are cut at the end. Default: the longest length.
    padding : float, default 0
        The value of the padding: the ``padding_id``, which no real position should have, or the ``padding_value`` of
        features.

    Returns
    -------
    array (N, T) or (N, T, F)
        Its type can hold all sequences and the padding; for ids it is int64.

    Raises DataError if there are no sequences, or if they have different numbers of features, and ArgumentTypeError for
    anything but a list of sequences, and for a padding that is not a number.
    """
    refuse(unknown, pad_sequences)
    if isinstance(padding, str):
        raise ArgumentTypeError(f"padding is {padding!r}; give the number to pad with; it is always put on the right")
    if not isinstance(sequences, Iterable):
        raise ArgumentTypeError(f"pad_sequences takes a list of sequences, [[1, 2], [3]], not {sequences!r:.80}")
    arrays = []
    for row, sequence in enumerate(sequences):
        with naming(f"sequence {row}"):
            arrays.append(as_array(sequence, "it"))
            if not arrays[row].ndim:
                raise DataError("it is a single number, but a sequence has the shape (T,) or (T, F)")
    if not arrays:
        raise DataError("there are no sequences: give one or more")
    shapes = {array.shape[1:] for array in arrays if array.size} or {()}
    if len(shapes) > 1:
        first, other = sorted(shapes)[:2]
        raise DataError(f"sequences have shapes (T,) or (T, F), with the same F, not {first} and {other} after T")
    longest = max(map(len, arrays))
    length = longest if length is None else as_whole_number(length, "length", 1)
    fill = as_number(padding, "padding")
    kinds = [array.dtype for array in arrays if array.size] + [np.dtype(int)] * fill.is_integer()
    rows = np.full((len(arrays), length, *shapes.pop()), fill, np.result_type(*kinds or [np.dtype(float)]))
    for row, array in zip(rows, arrays, strict=True):
        if array.size:
            row[: len(array)] = array[:length]
    return rows
