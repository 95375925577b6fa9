"""Random numbers of 16 bits."""

import numpy as np
import pytest
from scipy.stats import chisquare

from minidl.randomness import draw_16_bits


def test_all_numbers_of_16_bits_are_drawn_alike():
    drawn = draw_16_bits(np.random.default_rng(0), 400_000)
    assert drawn.dtype == np.uint16
    assert chisquare(np.bincount(drawn >> 8, minlength=256)).pvalue > 0.01  # the upper byte, and the lower one
    assert chisquare(np.bincount(drawn & 255, minlength=256)).pvalue > 0.01
    assert {0, 2**16 - 1} <= set(drawn)


@pytest.mark.parametrize("count", [0, 1, 4, 5, 7])
def test_there_are_as_many_as_asked_for_and_a_seed_gives_the_same(count):
    first, second = (draw_16_bits(np.random.default_rng(1), count) for _ in range(2))
    assert first.shape == (count,)
    np.testing.assert_array_equal(first, second)
