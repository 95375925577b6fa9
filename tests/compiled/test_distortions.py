"""Compiled distortions of images give the bits of the NumPy code."""

import numpy as np
import pytest
from bits import assert_same_bits, compiled_functions


@pytest.mark.parametrize("shape", [(0, 5, 4, 1), (3, 28, 28, 1), (2, 7, 5, 3), (4, 1, 1, 2)], ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("fill", [0.0, -1.5])
def test_images_looked_at_in_other_places(shape, dtype, fill):
    (resample,) = compiled_functions("resample")
    rng = np.random.default_rng(0)
    images = (rng.random(shape) * 255).astype(dtype)
    count, height, width, _ = shape
    for new in ((height, width), (4, 9)):
        # Within the image and outside; between pixels, on them, at its edges, and far away.
        rows, columns = (rng.uniform(-3, side + 3, (count, *new)).astype(np.float32) for side in (height, width))
        for places, side in ((rows, height), (columns, width)):
            special = rng.choice([-2, -1, 0, side - 1, side, side + 1, 1e6, -1e6], places.shape).astype(np.float32)
            places[...] = np.where(rng.random(places.shape) < 0.3, special, places)
        wanted, found = (f(images, rows.copy(), columns.copy(), fill) for f in (resample.numpy, resample.compiled))
        assert_same_bits(found, wanted)
