"""Matrix products of many rows and few units, computed in blocks of rows to avoid a copy in OpenBLAS.

OpenBLAS multiplies small matrices in place. For more than a million multiplications it first copies them into an order
that suits its kernels. With few units, the copy takes as long as the product. Only the sizes decide about blocks, so
the bits depend on nothing else.
"""

import numpy as np

from minidl.typing import Array

_SMALL = 1_000_000
"""Up to this many multiplications, OpenBLAS multiplies without a copy, with AVX-512."""
_FEWEST_ROWS = 64
_FEW_UNITS = 16


def rows_together(rows: int, inputs: int, units: int) -> int:
    """Return the number of rows to multiply at once: 64, 128, ..., or 0 for all of them."""
    size = inputs * units
    if rows * size <= _SMALL or not 1 < units <= _FEW_UNITS or not 0 < size <= _SMALL // _FEWEST_ROWS:
        return 0
    together = _FEWEST_ROWS
    while 2 * together * size <= _SMALL:
        together *= 2
    return together


def multiply(x: Array, weight: Array) -> Array:
    """Return ``x @ weight`` for shapes (rows, inputs) and (inputs, units)."""
    size = rows_together(len(x), *weight.shape)
    if not size or x.dtype != weight.dtype:
        product: Array = x.dot(weight)  # dot takes less time than matmul, a ufunc
        return product
    product, end = np.empty((len(x), weight.shape[1]), x.dtype), len(x) - len(x) % size
    np.matmul(_cut(x[:end], size), weight, out=_cut(product[:end], size))
    np.matmul(x[end:], weight, out=product[end:])
    return product


def multiply_transposed(x: Array, dy: Array, out: Array) -> None:
    """Compute ``out <- x.T @ dy`` for shapes (rows, inputs) and (rows, units)."""
    if not x.dtype == dy.dtype == out.dtype:
        np.matmul(x.T, dy, out=out)
        return
    size = rows_together(len(x), *out.shape)
    if not size:
        np.dot(x.T, dy, out=out)
        return
    end = len(x) - len(x) % size
    parts = np.matmul(_cut(x[:end], size).transpose(0, 2, 1), _cut(dy[:end], size))
    np.add.reduce(parts, axis=0, out=out)
    if end < len(x):
        out += x[end:].T @ dy[end:]


def _cut(x: Array, size: int) -> Array:
    """Return a view (N / size, size, K) of rows (N, K)."""
    return x.reshape(-1, size, x.shape[1])
