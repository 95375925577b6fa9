"""Matrix products in compiled loops, with NumPy's BLAS and the same calls as NumPy, and so the same bits.

numba's products use SciPy's BLAS, whose threads would compete with the threads of NumPy's BLAS.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minidl import products
from minidl.compiled.loops import FLOATS, compiled

_BY_ROWS, _BY_COLUMNS, _AS_IT_IS, _TRANSPOSED = 101, 102, 111, 112

Routines = tuple[int, int, int]
"""The addresses of gemm, gemv and dot."""


@functools.cache
def routines(dtype: np.dtype[Any]) -> Routines | None:
    """Return NumPy's BLAS for a number type; None for other types, or for another BLAS than in NumPy's wheels."""
    from threadpoolctl import ThreadpoolController

    if dtype not in FLOATS:
        return None
    paths = [each.filepath for each in ThreadpoolController().select(user_api="blas").lib_controllers]
    found = [ctypes.CDLL(path) for path in paths if "numpy.libs" in path]
    letter = "d" if dtype.name == "float64" else "s"
    names = [f"scipy_cblas_{letter}{name}64_" for name in ("gemm", "gemv", "dot")]
    if len(found) != 1 or not all(hasattr(found[0], name) for name in names):
        return None
    gemm, gemv, dot = (ctypes.cast(getattr(found[0], name), ctypes.c_void_p).value or 0 for name in names)
    return gemm, gemv, dot


def routine(arguments: str, returns: bool = False) -> Any:
    """Return a function for compiled loops that calls a C routine. It takes the address, a 1, and the arguments.

    The 1 has the type of the routine's real numbers. A letter describes each argument: (e)num, (i)nteger, (r)eal
    number, (a)ddress of an array.
    """

    @intrinsic
    def call(_: Any, address: Any, one: Any, given: Any) -> Any:
        def generate(context: Any, builder: Any, __: Any, values: Any) -> Any:
            real, array = context.get_value_type(one), ir.IntType(8).as_pointer()
            kinds = {"e": ir.IntType(32), "i": ir.IntType(64), "r": real, "a": array}
            numba_kinds = {"e": types.int32, "i": types.int64, "r": one, "a": types.uintp}
            passed = []
            for position, kind in enumerate(arguments):
                value = builder.extract_value(values[2], position)
                value = context.cast(builder, value, given[position], numba_kinds[kind])
                passed.append(builder.inttoptr(value, array) if kind == "a" else value)
            routine = ir.FunctionType(real if returns else ir.VoidType(), [kinds[kind] for kind in arguments])
            result = builder.call(builder.inttoptr(values[0], routine.as_pointer()), passed)
            return result if returns else context.get_dummy_value()

        return (one if returns else types.void)(address, one, given), generate

    return call


_gemm, _gemv, _dot = routine("eeeiiiraiairai"), routine("eeiiraiairai"), routine("iaiai", returns=True)


@compiled
def multiply(blas, sizes, a, b, product, a_transposed, b_transposed):
    """``product <- a @ b``, of (m, k) and (k, n), with ``sizes = (m, n, k)``; no size is 1.

    `product` is contiguous in memory, and so are a and b, or their transposes.
    """
    one, zero = product.dtype.type(1), product.dtype.type(0)
    m, n, k = sizes
    a_how, a_line = (_TRANSPOSED, m) if a_transposed else (_AS_IT_IS, k)
    b_how, b_line = (_TRANSPOSED, k) if b_transposed else (_AS_IT_IS, n)
    a, b, product = a.ctypes.data, b.ctypes.data, product.ctypes.data
    _gemm(blas[0], one, (_BY_ROWS, a_how, b_how, m, n, k, one, a, a_line, b, b_line, zero, product, n))


@compiled
def multiply_lines(blas, a, b, product, a_transposed, b_transposed):
    """The same for 2-D views whose lines are contiguous, but are apart in memory, such as the features of one head."""
    one, zero = product.dtype.type(1), product.dtype.type(0)
    (m, n), k = product.shape, a.shape[0] if a_transposed else a.shape[1]
    a_how, b_how = _TRANSPOSED if a_transposed else _AS_IT_IS, _TRANSPOSED if b_transposed else _AS_IT_IS
    a_line, b_line, line = a.strides[0] // a.itemsize, b.strides[0] // a.itemsize, product.strides[0] // a.itemsize
    a, b, product = a.ctypes.data, b.ctypes.data, product.ctypes.data
    _gemm(blas[0], one, (_BY_ROWS, a_how, b_how, m, n, k, one, a, a_line, b, b_line, zero, product, line))


# The products of a dense layer. With one unit or one row, and in the sum over rows, they are products with a vector;
# NumPy makes other calls for them. A gradient from a loss may be contiguous by columns. Products with many rows and
# few units are computed in parts, as in `minidl.products`.

_rows_together = compiled(products.rows_together)


@compiled
def multiply_by_weight(blas, x, weight, y):
    """``y <- x @ weight``, of (rows, inputs) and (inputs, units)."""
    rows, size = x.shape[0], _rows_together(x.shape[0], weight.shape[0], weight.shape[1])
    if size:
        end = rows - rows % size
        for start in range(0, end, size):
            _multiply_by_weight(blas, x[start : start + size], weight, y[start : start + size])
        if end < rows:
            _multiply_by_weight(blas, x[end:], weight, y[end:])
    else:
        _multiply_by_weight(blas, x, weight, y)


@compiled
def _multiply_by_weight(blas, x, weight, y):
    one, zero = x.dtype.type(1), x.dtype.type(0)
    (rows, inputs), units = x.shape, weight.shape[1]
    if rows == 1:
        sum_rows(blas, weight, x[0], y[0], False)
    elif units == 1:
        x, weight, y = x.ctypes.data, weight.ctypes.data, y.ctypes.data
        _gemv(blas[1], one, (_BY_COLUMNS, _TRANSPOSED, inputs, rows, one, x, inputs, weight, 1, zero, y, 1))
    else:
        multiply(blas, (rows, units, inputs), x, weight, y, False, False)


@compiled
def multiply_transposed(blas, x, dy, gradient, by_columns):
    """``gradient <- x.T @ dy``, of (rows, inputs) and (rows, units)."""
    rows, line = x.shape[0], x.shape[0] if by_columns else gradient.shape[1]
    size = _rows_together(rows, gradient.shape[0], gradient.shape[1])
    if size:
        flat = dy.reshape(dy.size)
        _multiply_transposed(blas, x[:size], flat, line, gradient, by_columns)
        part = np.empty_like(gradient)
        for start in range(size, rows, size):
            begin = start if by_columns else start * line
            _multiply_transposed(blas, x[start : start + size], flat[begin:], line, part, by_columns)
            for i in range(part.size):
                gradient.flat[i] += part.flat[i]
    else:
        _multiply_transposed(blas, x, dy, line, gradient, by_columns)


@compiled
def _multiply_transposed(blas, x, dy, line, gradient, by_columns):
    """The same, for a `dy` whose rows or columns begin every `line` numbers in memory."""
    one, zero = x.dtype.type(1), x.dtype.type(0)
    (rows, inputs), units = x.shape, gradient.shape[1]
    if rows == 1:
        for entry in range(inputs):
            for unit in range(units):
                gradient[entry, unit] = x[0, entry] * dy.flat[unit * line if by_columns else unit] + zero
        return
    x, dy, product = x.ctypes.data, dy.ctypes.data, gradient.ctypes.data
    if units == 1:
        _gemv(blas[1], one, (_BY_ROWS, _TRANSPOSED, rows, inputs, one, x, inputs, dy, 1, zero, product, 1))
    else:
        how = _TRANSPOSED if by_columns else _AS_IT_IS
        sizes = inputs, units, rows
        _gemm(blas[0], one, (_BY_ROWS, _TRANSPOSED, how, *sizes, one, x, inputs, dy, line, zero, product, units))


@compiled
def multiply_by_transposed(blas, dy, weight, dx, by_columns):
    """``dx <- dy @ weight.T``, of (rows, units) and (inputs, units); with one unit, plain numbers are multiplied."""
    (rows, inputs), units = dx.shape, weight.shape[1]
    if units == 1:
        for row in range(rows):
            for entry in range(inputs):
                dx[row, entry] = dy.flat[row] * weight[entry, 0]
    else:
        multiply(blas, (rows, inputs, units), dy, weight, dx, by_columns, True)


@compiled
def sum_rows(blas, dy, ones, sums, by_columns):
    """``sums <- ones @ dy``, of (rows,) and (rows, units)."""
    one, zero = dy.dtype.type(1), dy.dtype.type(0)
    rows, units = ones.size, sums.size
    if units == 1:
        sums[0] = _dot(blas[2], one, (rows, ones.ctypes.data, 1, dy.ctypes.data, 1))
    else:
        dy, ones, sums = dy.ctypes.data, ones.ctypes.data, sums.ctypes.data
        how, line = (_BY_COLUMNS, rows) if by_columns else (_BY_ROWS, units)
        _gemv(blas[1], one, (how, _TRANSPOSED, rows, units, one, dy, line, ones, 1, zero, sums, 1))


@compiled
def sum_squares(blas, x):
    """Return the sum of the squares of a contiguous vector."""
    return _dot(blas[2], x.dtype.type(1), (x.size, x.ctypes.data, 1, x.ctypes.data, 1))
