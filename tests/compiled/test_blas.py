"""Products in compiled loops have the bits of NumPy's."""

import numpy as np
import pytest
from bits import assert_same_bits

from minidl import products

pytest.importorskip("numba")

from minidl.compiled.blas import multiply_by_transposed, multiply_by_weight, multiply_transposed, routines, sum_rows

IN_PARTS = [(1024, 784, 10), (129, 1024, 10), (200, 784, 2), (1030, 64, 16), (1300, 784, 2), (513, 784, 3)]
SHAPES = [
    *IN_PARTS,
    (2, 2, 2),
    (7, 5, 3),
    (64, 784, 128),
    (128, 10, 46),
    (128, 500, 1),
    (33, 65, 17),
    (2, 3, 1),
    (1000, 4, 10),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("rows", "inputs", "units"), SHAPES)
@pytest.mark.parametrize("by_columns", [False, True])
def test_products_have_the_bits_of_numpys(rows, inputs, units, dtype, by_columns):
    blas = routines(np.dtype(dtype))
    if blas is None:
        pytest.skip("NumPy has another BLAS here")
    rng = np.random.default_rng(0)
    x, weight, dy = (rng.normal(size=shape).astype(dtype) for shape in ((rows, inputs), (inputs, units), (rows, units)))
    found = [np.full(shape, np.nan, dtype) for shape in (dy.shape, weight.shape, x.shape, (units,))]
    ones = np.ones(rows, dtype)
    memory, dy = (np.ascontiguousarray(dy.T), np.asfortranarray(dy)) if by_columns else (dy, dy)
    multiply_by_weight(blas, x, weight, found[0])
    multiply_transposed(blas, x, memory, found[1], by_columns)
    multiply_by_transposed(blas, memory, weight, found[2], by_columns)
    sum_rows(blas, memory, ones, found[3], by_columns)
    dx = dy * weight.T if units == 1 else dy @ weight.T
    gradient = np.empty_like(weight)
    products.multiply_transposed(x, dy, gradient)
    for each, wanted in zip(found, (products.multiply(x, weight), gradient, dx, ones @ dy), strict=True):
        assert_same_bits(each, wanted)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("units", [1, 2, 10])
def test_a_row_has_the_bits_of_numpys(units, dtype):
    blas = routines(np.dtype(dtype))
    if blas is None:
        pytest.skip("NumPy has another BLAS here")
    rng = np.random.default_rng(units)
    x, weight = rng.normal(size=(1, 784)).astype(dtype), rng.normal(size=(784, units)).astype(dtype)
    y = np.full((1, units), np.nan, dtype)
    multiply_by_weight(blas, x, weight, y)
    assert_same_bits(y, products.multiply(x, weight))


def test_a_zero_gradient_of_a_last_row_has_the_sign_of_numpys():
    blas = routines(np.dtype(np.float32))
    if blas is None:
        pytest.skip("NumPy has another BLAS here")
    rng = np.random.default_rng(0)
    x, dy = rng.choice([-1, 0, 0], (129, 1024)).astype(np.float32), rng.choice([-1, 0, 0], (129, 10)).astype(np.float32)
    wanted, found = np.empty((1024, 10), np.float32), np.empty((1024, 10), np.float32)
    products.multiply_transposed(x, dy, wanted)
    multiply_transposed(blas, x, dy, found, False)
    assert_same_bits(found, wanted)


def test_another_library_is_none(monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", lambda path: object())
    assert routines.__wrapped__(np.dtype(np.float32)) is None
