"""Noise and squares cut out."""

import numpy as np
import pytest
from scipy.stats import kstest

from minidl.data.augment import CutOut, PixelNoise
from minidl.errors import ArgumentError, ArgumentTypeError, ShapeError

WHITE = np.ones((2000, 10, 14, 2), np.float32)


def test_noise_is_normal_with_the_given_deviation():
    noise = PixelNoise(0.3)(WHITE, 0) - WHITE
    assert kstest(noise.ravel()[:5000] / 0.3, "norm").pvalue > 0.01


def test_noise_leaves_pixels_in_their_range():
    grey = np.full((20, 10, 10), 250, np.uint8)
    result = PixelNoise(0.5)(grey, 0)
    assert result.max() == 255
    assert result.min() == 0
    assert abs(np.median(result.astype(int)) - 250) < 10


@pytest.mark.parametrize("size", [1, 4, 5])
def test_a_square_is_cut_out_around_any_pixel(size):
    result = CutOut(size)(WHITE, 0)
    blank = result[..., 0] == 0
    np.testing.assert_array_equal(result[..., 0], result[..., 1])
    assert set(np.unique(result)) == {0, 1}
    rows, columns = blank.any(2), blank.any(1)
    np.testing.assert_array_equal(blank, rows[:, :, None] & columns[:, None, :])  # a rectangle in each
    for sides, length in ((rows.sum(1), 10), (columns.sum(1), 14)):
        assert sides.max() == size
        assert sides.min() == -(-size // 2)  # in a corner, of which the square has its middle
        # Each pixel is the middle as often as any other: so many lie near an edge.
        assert (sides < size).mean() == pytest.approx((size - 1) / length, abs=0.05)
    assert blank.any(0).all()


def test_the_square_holds_the_fill():
    assert set(np.unique(CutOut(3, fill=0.5)(WHITE, 0))) == {0.5, 1}


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: PixelNoise(0), ArgumentError, "standard_deviation is 0; .* above 0"),
        (lambda: PixelNoise("much"), ArgumentTypeError, "standard_deviation"),
        (lambda: CutOut(0), ArgumentError, "size is 0; it must be a whole number, 1 or more"),
        (lambda: CutOut(2.5), ArgumentTypeError, "size is 2.5"),
        (lambda: CutOut(3, fill="black"), ArgumentTypeError, "fill"),
        (lambda: CutOut(15)(WHITE), ShapeError, "square of 15 pixels does not fit images of 10 x 14"),
    ],
)
def test_settings_that_cannot_work_are_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()
