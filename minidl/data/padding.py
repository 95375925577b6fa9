"""Sequences of different lengths as one array, whose rows have one length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.arrays import as_array
from minidl.errors import DataError, naming
from minidl.settings import as_number, as_whole_number
from minidl.typing import Array


def pad_sequences(sequences: Sequence[Any], length: int | None = None, *, padding: float = 0) -> Array:
    """Return sequences as the rows of one array, short ones filled up on the right.

    The layers of sequences leave the padding out behind ``Embedding(..., padding_id=0)``, or behind ``Masking(0)`` for
    features.

    Parameters
    ----------
    sequences : list of N arrays or lists, of shape (T_n,) or (T_n, F)
        Ids, or the features of each position.
    length : int, optional
        The positions T of the result; longer sequences lose their end. By default the length of the longest.
    padding : float, default 0
        What fills up: the ``padding_id``, which no position should have, or the ``padding_value`` of features.

    Returns
    -------
    array (N, T) or (N, T, F)
        Of the type that holds all sequences and the padding: of ids int64.

    Raises DataError where there are no sequences, or they have different features.
    """
    arrays = []
    for row, sequence in enumerate(sequences):
        with naming(f"sequence {row}"):
            arrays.append(as_array(sequence, "it"))
    shapes = {array.shape[1:] for array in arrays if array.size} or {()}
    if not arrays or len(shapes) > 1 or any(not array.ndim for array in arrays):
        raise DataError(f"sequences have shapes (T,) or (T, F), with the same F, and at least one; these are {shapes}")
    longest = max(map(len, arrays))
    length = longest if length is None else as_whole_number(length, "length", 1)
    fill = as_number(padding, "padding")
    kinds = [array.dtype for array in arrays if array.size] + [np.dtype(int)] * fill.is_integer()
    rows = np.full((len(arrays), length, *shapes.pop()), fill, np.result_type(*kinds or [np.dtype(float)]))
    for row, array in zip(rows, arrays, strict=True):
        if array.size:
            row[: len(array)] = array[:length]
    return rows
