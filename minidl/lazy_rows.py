"""Rows that become an array only when they are used: from a sparse matrix, from files, or from an index into rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.typing import Array, Shape


class LazyRows:
    """Rows of a dense or sparse table, in the order of an index. A part of them is an ordinary array.

    Parameters
    ----------
    table : array (M, ...), SciPy's CSR matrix or array (M, features), the table of `minidl.data.Shards`, or LazyRows
    index : integer array (N,), optional
        The rows of the table to use; a row may occur several times. The default is all rows in their order.
    sample_shape : tuple of int, optional
        The shape that each row gets, such as an image for flat pixels. By default, rows keep their shape.

    Attributes
    ----------
    is_sparse : bool
        Whether the table is sparse.
    shards : table or None
        The table, if it is in files and this object has all its rows. It has its own `order`, which reads one file
        after another. It takes a `sample` from a few files, and checks the data that it reads.
    """

    def __init__(self, table: Any, index: Array | None = None, sample_shape: Shape | None = None) -> None:
        self._table: Any = table
        self._index: Array | None = index
        if isinstance(table, LazyRows):
            self._table = table._table
            if table._index is not None:
                self._index = table._index if index is None else table._index[index]
        self.is_sparse = hasattr(self._table, "toarray")
        self.shards: Any = self._table if self._index is None and hasattr(self._table, "order") else None
        rows = len(self._index) if self._index is not None else table.shape[0]
        self.shape: Shape = (rows, *(sample_shape or table.shape[1:]))
        self.dtype: np.dtype[Any] = table.dtype
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Array:
        """Return rows as an array, given a slice, an index or ``...``."""
        index = rows if self._index is None else take_rows(self._index, rows)
        part: Any = take_rows(self._table, index)
        part = part.toarray() if self.is_sparse else part
        return part.reshape(len(part), *self.shape[1:])

    def reshape(self, rows: int, *sample_shape: int) -> LazyRows:
        """Return the same rows, each with another shape."""
        return LazyRows(self, sample_shape=sample_shape)


def take_rows(array: Any, rows: Any) -> Array:
    """Return rows of an array or LazyRows. For an index, take is faster, but it copies non-contiguous arrays."""
    is_index = isinstance(rows, np.ndarray) and rows.dtype != np.bool_
    is_quick = is_index and isinstance(array, np.ndarray) and array.flags.c_contiguous
    return array.take(rows, axis=0) if is_quick else array[rows]
