"""Compiled max pooling gives the bits of the NumPy code."""

import numpy as np
import pytest
from bits import assert_same_bits, both, numbers

POOLING = "minidl.layers.pooling"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize(("size", "stride"), [(1, 1), (2, 2), (2, 1), (3, 2), (2, 3), (3, 3), (5, 1), (300, 300)])
@pytest.mark.parametrize(
    "shape", [(2, 9, 7, 3), (3, 28, 28, 16), (0, 6, 5, 2), (1, 5, 400, 1), (1, 400, 5, 1)], ids=str
)
@pytest.mark.parametrize("ties", [False, True])
def test_maxima_winners_and_gradients(shape, size, stride, axis, dtype, ties):
    if shape[axis] < size:
        pytest.skip("the window does not fit")
    rng = np.random.default_rng(0)
    x = numbers(rng, shape, dtype)
    if ties:
        x = np.nan_to_num(x).clip(-1, 1).round()
    (maxima, winners), (found, places) = (f(x, axis, size, stride) for f in both(POOLING, "_maxima_and_winners"))
    assert_same_bits(found + 0, maxima + 0)  # which sign the larger of 0 and -0 has depends on the processor
    np.testing.assert_array_equal(places, np.broadcast_to(winners, maxima.shape))
    dy = numbers(rng, maxima.shape, dtype)
    with np.errstate(all="ignore"):
        wanted, found = (
            f(dy, each, axis, shape[axis], size, stride)
            for f, each in zip(both(POOLING, "_to_winners"), (winners, places), strict=True)
        )
    assert_same_bits(found, wanted)
