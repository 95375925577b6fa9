"""Images turned over and shifted: the pixels are the old ones, elsewhere."""

import numpy as np
import pytest

from minidl.data.augment import Compose, HorizontalFlip, RandomCrop, Rotation, VerticalFlip
from minidl.errors import ArgumentError, ArgumentTypeError

IMAGES = np.random.default_rng(0).integers(0, 256, (400, 7, 9, 3), np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize(("distortion", "turn"), [(HorizontalFlip, np.fliplr), (VerticalFlip, np.flipud)])
def test_half_of_the_images_are_turned_over_and_no_pixel_changes(distortion, turn, dtype):
    images = IMAGES.astype(dtype)
    result = distortion()(images, 0)
    turned = (result != images).any((1, 2, 3))
    assert 0.42 < turned.mean() < 0.58  # three standard deviations of a mean of 400
    np.testing.assert_array_equal(result[~turned], images[~turned])
    np.testing.assert_array_equal(result[turned], np.stack([turn(image) for image in images[turned]]))
    np.testing.assert_array_equal(distortion(probability=1)(images, 0), np.stack([turn(image) for image in images]))


def test_a_crop_is_a_piece_of_the_image_with_its_margin_and_every_piece_is_as_frequent():
    result = RandomCrop(2, fill=1)(IMAGES, 0)
    counts = np.zeros((5, 5), int)
    for image, found in zip(IMAGES, result, strict=True):
        padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), constant_values=255)
        places = [
            (top, left) for top, left in np.ndindex(5, 5) if (padded[top : top + 7, left : left + 9] == found).all()
        ]
        assert len(places) == 1
        counts[places[0]] += 1
    assert ((counts - 16) ** 2 / 16).sum() < 43  # chi-squared of 24 degrees of freedom: less in 99 of 100 cases


def test_the_margin_holds_the_fill_and_may_be_wider_than_the_image():
    result = RandomCrop(20, fill=0.25)(np.ones((300, 3, 4), np.float32), 0)
    assert set(np.unique(result)) == {0.25, 1}
    assert (result == 0.25).all((1, 2)).mean() > 0.8


def test_they_stand_beside_others_in_a_composition():
    steps = [RandomCrop(1), HorizontalFlip(), Rotation(5)]
    result = Compose(steps)(IMAGES[:10], 0)
    rng, expected = np.random.default_rng(0), IMAGES[:10] / np.float32(255)
    for step in steps:
        expected = step.apply(expected, rng)
    np.testing.assert_array_equal(result, np.rint(expected * 255))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: RandomCrop(0), ArgumentError, "padding is 0; it must be a whole number, 1 or more"),
        (lambda: RandomCrop(1.5), ArgumentTypeError, "padding is 1.5"),
        (lambda: RandomCrop(2, fill=None), ArgumentTypeError, "fill"),
        (lambda: HorizontalFlip(probability=2), ArgumentError, "probability is 2"),
    ],
)
def test_settings_that_cannot_work_are_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()
