"""Compiled losses give the bits of the NumPy code."""

import numpy as np
import pytest
from bits import assert_same_bits, both, numbers

from minidl import MeanSquaredError

everywhere = pytest.mark.parametrize("dtype", [np.float32, np.float64])
OUTPUTS = [1, 2, 3, 7, 8, 9, 10, 16, 17, 100, 127, 128, 129, 130, 137, 300, 1000]


@everywhere
@pytest.mark.parametrize("outputs", OUTPUTS)
@pytest.mark.parametrize("special", [False, True])
def test_the_squared_error(outputs, special, dtype):
    rng = np.random.default_rng(outputs)
    draw = (
        (lambda: numbers(rng, (9, outputs), dtype))
        if special
        else (lambda: rng.normal(size=(9, outputs)).astype(dtype))
    )
    scores, targets = draw(), draw()
    with np.errstate(all="ignore"):
        wanted, found = (
            per_sample(MeanSquaredError(), scores, targets)
            for per_sample in both("minidl.losses.regression:MeanSquaredError", "per_sample")
        )
    for each, expected in zip(found, wanted, strict=True):
        assert_same_bits(each, expected)


@pytest.mark.parametrize("shape", [(0, 3), (5, 2, 3), (4,)])
def test_the_squared_error_of_other_shapes(shape):
    scores, targets = np.ones(shape, np.float32), np.zeros(shape, np.float32)
    wanted, found = (
        per_sample(MeanSquaredError(), scores, targets)
        for per_sample in both("minidl.losses.regression:MeanSquaredError", "per_sample")
    )
    for each, expected in zip(found, wanted, strict=True):
        assert_same_bits(each, expected)


@everywhere
@pytest.mark.parametrize("shape", [(0, 3), (1, 2), (64, 10), (7, 1000), (1024, 10)])
@pytest.mark.parametrize("special", [False, True])
def test_softmax(shape, special, dtype):
    rng = np.random.default_rng(0)
    scores = numbers(rng, shape, dtype) if special else (9 * rng.normal(size=shape)).astype(dtype)
    with np.errstate(all="ignore"):
        wanted, found = (softmax(scores) for softmax in both("minidl.losses.classification", "_softmax"))
    for each, expected in zip(found, wanted, strict=True):
        assert_same_bits(each, expected)
        assert (each.flags.c_contiguous, each.flags.f_contiguous) == (
            expected.flags.c_contiguous,
            expected.flags.f_contiguous,
        )  # on which depends how BLAS is called with it
