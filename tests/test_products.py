"""Products in parts are those of all rows at once, up to the order of the sums."""

import numpy as np
import pytest

from minidl import products
from minidl.products import multiply, multiply_transposed, rows_together

SHAPES = [(1024, 784, 10), (129, 1024, 10), (200, 784, 2), (1030, 64, 16), (63, 784, 10), (0, 784, 10), (40, 30, 200)]


def numbers(*shape, dtype=np.float64):
    return np.random.default_rng(shape).normal(size=shape).astype(dtype)


@pytest.mark.parametrize(
    ("sizes", "together"),
    [
        ((1024, 784, 10), 64),
        ((1024, 784, 2), 512),
        ((20_000, 4, 2), 0),  # 160,000 multiplications
        ((200_000, 4, 2), 65_536),
        ((127, 784, 10), 0),  # 995,680
        ((128, 784, 10), 64),
        ((1024, 784, 1), 0),
        ((1024, 784, 17), 0),
        ((1024, 1600, 10), 0),  # 62 rows
        ((0, 784, 10), 0),
        ((1024, 0, 10), 0),
        ((1024, 784, 0), 0),
    ],
)
def test_as_many_rows_are_multiplied_together_as_openblas_does_not_copy(sizes, together):
    assert rows_together(*sizes) == together
    if together:
        assert together * sizes[1] * sizes[2] <= 1_000_000 < 2 * together * sizes[1] * sizes[2]


@pytest.mark.parametrize(("rows", "inputs", "units"), SHAPES)
@pytest.mark.parametrize("order", ["C", "F"])
def test_products_are_those_of_all_rows_at_once(rows, inputs, units, order):
    x, weight = np.asarray(numbers(rows, inputs), order=order), numbers(inputs, units)
    dy, gradient = np.asarray(numbers(rows, units), order=order), np.full((inputs, units), np.nan)
    multiply_transposed(x, dy, gradient)
    np.testing.assert_allclose(multiply(x, weight), x @ weight, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(gradient, x.T @ dy, rtol=1e-12, atol=1e-12)


def test_each_part_is_a_product_and_their_gradients_are_added_in_order():
    x, weight, dy = numbers(200, 784), numbers(784, 10), numbers(200, 10)
    gradient, wanted = np.empty((784, 10)), np.zeros((784, 10))
    multiply_transposed(x, dy, gradient)
    for start, stop in ((0, 64), (64, 128), (128, 192), (192, 200)):
        np.testing.assert_array_equal(multiply(x, weight)[start:stop], x[start:stop] @ weight)
        wanted += x[start:stop].T @ dy[start:stop]
    np.testing.assert_array_equal(gradient, wanted)


@pytest.mark.parametrize("rows", [3, 1024])
def test_numbers_of_several_types_are_promoted_as_by_numpy(rows):
    x, weight, dy = numbers(rows, 784, dtype=np.float32), numbers(784, 10), numbers(rows, 10)
    gradient, wanted = np.empty((2, 784, 10), np.float32)
    multiply_transposed(x, dy, gradient)
    np.matmul(x.T, dy, out=wanted)
    np.testing.assert_array_equal(gradient, wanted)
    assert multiply(x, weight).dtype == np.float64


def test_rows_that_overlap_or_lie_apart_in_memory_are_not_copied_first():
    x, weight = numbers(400, 784), numbers(784, 10)
    for rows in (x[::2], x[::-1], np.broadcast_to(x[:1], (200, 784))):
        assert np.shares_memory(products._cut(rows[:128], 64), x)
        np.testing.assert_allclose(multiply(rows, weight), rows @ weight, rtol=1e-12, atol=1e-12)
