"""Bilinear resampling, against SciPy's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from minidl.data.augment.resampling import resample


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 3),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    new_size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    channels=st.integers(1, 3),
    fill=st.sampled_from([0.0, 1.0, -0.5]),
    seed=st.integers(0, 2**32 - 1),
)
def test_it_agrees_with_scipy_at_any_place_within_and_outside(count, size, new_size, channels, fill, seed):
    rng = np.random.default_rng(seed)
    images = rng.random((count, *size, channels), np.float32)
    rows = rng.uniform(-3, size[0] + 3, (count, *new_size)).astype(np.float32)
    columns = rng.uniform(-3, size[1] + 3, (count, *new_size)).astype(np.float32)

    expected = np.empty((count, *new_size, channels))
    for index in np.ndindex(count, channels):
        number, channel = index
        expected[number, ..., channel] = map_coordinates(
            images[number, ..., channel].astype(float),
            (rows[number], columns[number]),
            order=1,
            mode="grid-constant",
            cval=fill,
        )
    result = resample(images, rows, columns, fill)

    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, atol=1e-5)  # places have 24 bits: 1e-6 of a pixel


@pytest.mark.parametrize("far", [-1e6, 1e6])
def test_places_far_outside_have_the_fill(far):
    image = np.ones((1, 4, 5, 1), np.float32)
    rows, columns = np.full((1, 2, 2), far, np.float32), np.zeros((1, 2, 2), np.float32)
    np.testing.assert_array_equal(resample(image, rows, columns, 0.25), 0.25)


def test_pixels_at_their_own_places_stay_as_they_are():
    images = np.random.default_rng(0).random((3, 6, 7, 2), np.float32)
    rows, columns = np.broadcast_to(np.indices((6, 7), np.float32)[:, None], (2, 3, 6, 7)).copy()
    np.testing.assert_array_equal(resample(images, rows, columns), images)
