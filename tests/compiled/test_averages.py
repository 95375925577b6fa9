"""The compiled average of the parameters gives the bits of the NumPy code."""

import numpy as np
import pytest
from bits import SIZES, assert_same_bits, compiled_functions, numbers

from minidl import ExponentialMovingAverage


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("step", [1, 5, 10_000])
def test_an_exponential_moving_average_gives_the_bits_of_numpys(dtype, step):
    (follow,) = compiled_functions("follow")
    for size in SIZES:
        rng = np.random.default_rng(size)
        parameters, vector = (numbers(rng, size, dtype) for _ in range(2))
        vectors = vector.copy(), vector.copy()
        with np.errstate(all="ignore"):
            follow.numpy(ExponentialMovingAverage(0.99), parameters, vectors[0], step)
            follow.compiled(ExponentialMovingAverage(0.99), parameters, vectors[1], step)
        assert_same_bits(vectors[1], vectors[0])
