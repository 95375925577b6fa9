"""Noise, squares cut out, and colours."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy.stats import kstest

from minidl.data.augment import ColorJitter, CutOut, PixelNoise
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


PHOTOGRAPHS = np.random.default_rng(0).integers(60, 150, (50, 9, 11, 3), np.uint8)
NOTHING = {"brightness": 0, "contrast": 0, "saturation": 0}


@pytest.mark.parametrize(
    ("name", "enhance"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
    ],
)
def test_each_property_is_changed_as_by_pillow(name, enhance):
    result = ColorJitter(**NOTHING | {name: 0.5})(PHOTOGRAPHS, 3)
    property_at = ["brightness", "contrast", "saturation"].index(name)
    factors = 1 + 0.5 * np.random.default_rng(3).uniform(-1, 1, (3, len(PHOTOGRAPHS)))[property_at]
    assert factors.min() < 0.6
    assert factors.max() > 1.4
    expected = [
        np.asarray(enhance(Image.fromarray(image)).enhance(factor))
        for image, factor in zip(PHOTOGRAPHS, factors, strict=True)
    ]
    # Pillow rounds the gray to whole numbers, and the result downwards.
    np.testing.assert_allclose(result.astype(int), np.stack(expected), atol=1.6)


def test_all_properties_at_once_are_changed_one_after_the_other():
    images = PHOTOGRAPHS / 255
    result = ColorJitter(brightness=0.3, contrast=0.6, saturation=0.9)(images, 0)
    shares, gray_of = np.array([0.3, 0.6, 0.9]), [0.299, 0.587, 0.114]
    draws = np.random.default_rng(0).uniform(-1, 1, (3, len(images))).T
    for image, found, draw in zip(images, result, draws, strict=True):
        brightness, contrast, saturation = 1 + shares * draw
        brighter = image * brightness
        harder = contrast * brighter + (1 - contrast) * (brighter @ gray_of).mean()
        expected = saturation * harder + (1 - saturation) * (harder @ gray_of)[..., None]
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_factors_fill_their_range_evenly():
    gray = np.full((4000, 2, 2, 1), 0.5, np.float32)
    factors = ColorJitter(brightness=0.4, contrast=0, saturation=0)(gray, 0)[:, 0, 0, 0] / 0.5
    assert kstest((factors - 0.6) / 0.8, "uniform").pvalue > 0.01


def test_what_has_one_colour_or_no_share_stays():
    np.testing.assert_array_equal(ColorJitter(**NOTHING)(PHOTOGRAPHS, 0), PHOTOGRAPHS)
    images = PHOTOGRAPHS[..., :1]
    np.testing.assert_array_equal(ColorJitter(**NOTHING | {"saturation": 1})(images, 0), images)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: PixelNoise(0), ArgumentError, "standard_deviation is 0; .* above 0"),
        (lambda: PixelNoise("much"), ArgumentTypeError, "standard_deviation"),
        (lambda: CutOut(0), ArgumentError, "size is 0; it must be a whole number, 1 or more"),
        (lambda: CutOut(2.5), ArgumentTypeError, "size is 2.5"),
        (lambda: CutOut(3, fill="black"), ArgumentTypeError, "fill"),
        (lambda: ColorJitter(brightness=1.5), ArgumentError, r"brightness is 1.5; .* in \[0, 1\]"),
        (lambda: ColorJitter(0.2), ArgumentTypeError, "brightness=.*contrast=.*saturation="),
        (lambda: CutOut(15)(WHITE), ShapeError, "square of 15 pixels does not fit images of 10 x 14"),
    ],
)
def test_settings_that_cannot_work_are_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()
