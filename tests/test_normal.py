import math

import numpy as np
import pytest

from minidl.normal import probability_and_density


def exact(x):
    """By Python's own function, in float64."""
    below = [math.erfc(-number / math.sqrt(2)) / 2 for number in x.tolist()]
    return np.array(below), np.exp(-(x.astype(np.float64) ** 2) / 2) / math.sqrt(2 * math.pi)


def test_in_float64_both_are_exact_to_the_last_digits():
    x = np.linspace(-30, 10, 4001)
    for found, wanted in zip(probability_and_density(x), exact(x), strict=True):
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, wanted, rtol=30**2 * 2.3e-16)


@pytest.mark.parametrize(
    ("low", "high", "tolerance"), [(0, 20, 4.5e-7), (-1, 0, 4.5e-7), (-3, -1, 6e-7), (-13, -3, 13**2 * 6e-8)]
)
def test_in_float32_the_error_is_as_the_docstring_says(low, high, tolerance):
    x = np.linspace(low, high, 200_001, dtype=np.float32)
    found, density = probability_and_density(x)
    wanted, wanted_density = exact(x)
    assert found.dtype == density.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=1e-38)
    np.testing.assert_allclose(density, wanted_density, rtol=20**2 * 6e-8, atol=1e-38)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ends_zeros_and_numbers_that_are_none(dtype):
    with np.errstate(over="ignore"):
        below, density = probability_and_density(np.array([-np.inf, -1e30, -0.0, 0.0, 1e30, np.inf, np.nan], dtype))
    np.testing.assert_array_equal(below, [0, 0, 0.5, 0.5, 1, 1, np.nan])
    np.testing.assert_allclose(density, [0, 0, 0.39894228, 0.39894228, 0, 0, np.nan], rtol=1e-7)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (), (2, 3, 4)])
def test_any_shape_stays_as_it_is(shape):
    for dtype in (np.float32, np.float64):
        for each in probability_and_density(np.zeros(shape, dtype)):
            assert each.shape == shape
            assert each.dtype == dtype
