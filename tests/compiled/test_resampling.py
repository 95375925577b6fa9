"""Compiled interpolation gives the bits of the NumPy code."""

import numpy as np
import pytest
from bits import assert_same_bits, both, numbers

RESAMPLING = "minidl.data.augment.resampling"


def frame(images):
    """Pad images as `resample` does."""
    count, height, width, channels = images.shape
    padded = np.zeros((count * (height + 2) * (width + 2) + width + 3, channels), np.float32)
    inside = padded[: count * (height + 2) * (width + 2)].reshape(count, height + 2, width + 2, channels)
    inside[:, 1:-1, 1:-1] = images
    return padded


@pytest.mark.parametrize("shape", [(3, 28, 28, 1), (2, 5, 7, 3), (1, 1, 1, 2), (0, 4, 4, 1)], ids=str)
@pytest.mark.parametrize("finite", [True, False])
def test_values_between_pixels(shape, finite):
    rng = np.random.default_rng(0)
    images = rng.random(shape, np.float32) if finite else numbers(rng, shape, np.float32)
    count, height, width, _ = shape
    places = rng.uniform(-3, max(height, width) + 2, (2, count, height + 1, width + 2)).astype(np.float32)
    places[:, :, 0] = np.round(places[:, :, 0])  # also on pixels
    with np.errstate(all="ignore"):
        wanted, found = (f(frame(images), height, width, *places.copy()) for f in both(RESAMPLING, "_interpolate"))
    assert_same_bits(found, wanted)


def test_positions_that_are_nan_give_nan():
    rng = np.random.default_rng(0)
    images, places = rng.random((3, 5, 5, 2)), rng.uniform(0, 5, (2, 3, 4, 4)).astype(np.float32)
    places[0, 0, 0, :2] = places[1, 1] = np.nan
    with np.errstate(all="ignore"):
        wanted, found = (f(frame(images), 5, 5, *places.copy()) for f in both(RESAMPLING, "_interpolate"))
    assert_same_bits(found, wanted)
    assert np.isnan(found).sum() == 2 * (2 + 16)


@pytest.mark.parametrize("change", [lambda places: places.astype(np.float64), lambda places: places.swapaxes(2, 3)])
def test_other_positions_are_left_to_numpy(change):
    rng = np.random.default_rng(0)
    padded, places = frame(rng.random((2, 3, 3, 1))), change(rng.uniform(0, 2, (2, 2, 3, 3)).astype(np.float32))
    wanted, found = (f(padded, 3, 3, *places.copy()) for f in both(RESAMPLING, "_interpolate"))
    assert_same_bits(found, wanted)
