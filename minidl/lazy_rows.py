"""Rows that become an array only when they are used: of a sparse matrix, of files, or of other rows by an index."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.typing import Array, Shape


class LazyRows:
    """Rows of a dense or sparse table, in the order of an index; a part of them is an ordinary array.

    Parameters
    ----------
    table : array (M, ...), SciPy's CSR matrix or array (M, features), the table of `minidl.data.Shards`, or LazyRows
    index : integer array (N,), optional
        Which rows of the table, each as often as it is there; left out, all in their order.
    sample_shape : tuple of int, optional
        What each row becomes, such as an image of flat pixels; left out, it stays as it is.

    Attributes
    ----------
    is_sparse : bool
        Whether the table is.
    shards : table or None
        The table, if all its rows are here and it is in files: it has an `order` of its own, in which they are read one
        after the other, takes a `sample` from few of them, and checks what it reads.
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
        """Return these rows, which a slice, an index or ``...`` names, as an array."""
        index = rows if self._index is None else take_rows(self._index, rows)
        part: Any = take_rows(self._table, index)
        part = part.toarray() if self.is_sparse else part
        return part.reshape(len(part), *self.shape[1:])

    def reshape(self, rows: int, *sample_shape: int) -> LazyRows:
        """Return the same rows, each of another shape."""
        return LazyRows(self, sample_shape=sample_shape)


def take_rows(array: Any, rows: Any) -> Array:
    """Return rows of an array or LazyRows; take is quicker for an index, but copies what is not contiguous."""
    is_index = isinstance(rows, np.ndarray) and rows.dtype != np.bool_
    is_quick = is_index and isinstance(array, np.ndarray) and array.flags.c_contiguous
    return array.take(rows, axis=0) if is_quick else array[rows]
