"""Weights on the page: what is stored is what the model has, to the bits that the format has."""

import base64

import numpy as np
import pytest

from minidl.errors import ArgumentError, DataError
from minidl.page.weights import PackedArrays

LARGE = (200, 3, 20)


def stored(values, weights):
    """The bytes of one array after those of another, and its description."""
    packed = PackedArrays(weights)
    packed.add(np.ones(3))
    array = packed.add(values)
    return base64.b64decode(packed.as_text()), array


def lost_so_far(found, values):
    """What the weights of a unit have lost from the first on, (weights before and with this one, units)."""
    return np.cumsum((values - found).reshape(-1, values.shape[-1]), axis=0)


def test_float16_stores_numbers_of_16_bits_whose_errors_do_not_add_up():
    values = np.random.default_rng(0).normal(0, 1, LARGE)
    content, array = stored(values, "float16")
    assert array == {"type": "float16", "shape": LARGE, "start": 12}
    found = np.frombuffer(content[12:], "<f2").reshape(LARGE)
    steps = np.spacing(np.abs(found)).astype(float).reshape(-1, LARGE[-1])
    assert (np.abs(lost_so_far(found.astype(float), values)) <= steps / 2 * 1.0001).all()
    nearest = values.astype(np.float16).astype(float)
    assert np.abs(lost_so_far(nearest, values)).max() > 4 * steps.max()  # as they would, each rounded by itself


def test_int8_stores_whole_numbers_times_a_scale_for_each_unit_whose_errors_do_not_add_up():
    values = np.random.default_rng(0).normal(0, 1, LARGE) * np.geomspace(1e-6, 1e6, 20)
    values[..., 7] = 0
    content, array = stored(values, "int8")
    levels = np.frombuffer(content[12 : 12 + values.size], "i1").reshape(LARGE)
    scales = np.frombuffer(content[array["scales"] :], "<f4")
    assert len(content) == 12 + values.size + 4 * 20
    assert np.abs(levels).max() == 127
    largest = np.abs(values).max(axis=(0, 1))
    assert (np.abs(lost_so_far(levels * scales.astype(float), values)) <= largest / 254 * 1.0001).all()


@pytest.mark.parametrize("weights", ["float16", "int8"])
@pytest.mark.parametrize("shape", [(20_000,), (3, 4)])
def test_arrays_of_one_axis_and_small_ones_keep_32_bits(weights, shape):
    values = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    content, array = stored(values, weights)
    assert array["type"] == "float32"
    np.testing.assert_array_equal(np.frombuffer(content[12:], "<f4").reshape(shape), values)


@pytest.mark.parametrize("weights", ["float32", "int4", None])
def test_another_format_is_refused(weights):
    with pytest.raises(ArgumentError, match='it must be "float16" or "int8"'):
        PackedArrays(weights)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(number):
    with pytest.raises(DataError, match="its training diverged"):
        PackedArrays("int8").add(np.array([1, number]))


def test_numbers_too_large_for_float16_are_refused_and_fit_int8():
    values = np.full(LARGE, 1e5)
    with pytest.raises(DataError, match='give weights="int8"'):
        PackedArrays("float16").add(values)
    assert PackedArrays("int8").add(values)["type"] == "int8"
