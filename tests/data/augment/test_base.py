"""What all distortions have in common: layouts, types, chance, seeds, errors."""

import re

import numpy as np
import pandas as pd
import pytest

from minidl.data.augment import (
    ColorJitter,
    Compose,
    CutOut,
    Distortion,
    Elastic,
    HorizontalFlip,
    PixelNoise,
    RandomCrop,
    Rotation,
    Scaling,
    Shear,
    Translation,
    VerticalFlip,
)
from minidl.errors import ArgumentError, ArgumentTypeError, DataError, ShapeError
from minidl.settings import setting

ALL = [
    Rotation(),
    Scaling(),
    Scaling(keep_aspect=False),
    Translation(),
    Shear(),
    Elastic(),
    PixelNoise(),
    CutOut(),
    ColorJitter(),
    HorizontalFlip(),
    VerticalFlip(),
    RandomCrop(),
    Compose([Rotation(), Elastic(), PixelNoise(), CutOut(), Shear()]),
    Compose([RandomCrop(), HorizontalFlip(), ColorJitter()]),
]
PIXELS = np.random.default_rng(0).integers(0, 256, (200, 28, 28, 1), np.uint8)


def with_settings(distortion, **settings):
    return type(distortion)(**{**distortion.configuration(), **settings})


@pytest.mark.parametrize("distortion", ALL, ids=repr)
def test_a_seed_gives_the_same_bits_and_images_stay_as_they_were(distortion):
    before = PIXELS.copy()
    first, second, other = distortion(PIXELS, 1), distortion(PIXELS, np.random.default_rng(1)), distortion(PIXELS, 2)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(PIXELS, before)
    assert first.shape == PIXELS.shape
    assert first.dtype == np.uint8
    assert (first != other).any()
    floats = PIXELS.astype(np.float64)
    distortion(floats, 1)
    np.testing.assert_array_equal(floats, PIXELS)


@pytest.mark.parametrize("distortion", ALL, ids=repr)
def test_layouts_are_distorted_alike(distortion):
    expected = distortion(PIXELS, 1)
    np.testing.assert_array_equal(distortion(PIXELS[..., 0], 1), expected[..., 0])
    flat = with_settings(distortion, image_shape=(28, 28))(PIXELS.reshape(200, 784), 1)
    np.testing.assert_array_equal(flat, expected.reshape(200, 784))
    frame = with_settings(distortion, image_shape=(28, 28, 1))(pd.DataFrame(PIXELS.reshape(200, 784)), 1)
    np.testing.assert_array_equal(frame, flat)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("distortion", ALL, ids=repr)
def test_floats_in_the_unit_interval_are_distorted_as_pixels_are(distortion, dtype):
    result = distortion((PIXELS / 255).astype(dtype), 1)
    assert result.dtype == dtype
    # Pixels are rounded to 1 / 255, and half precision has 11 bits.
    np.testing.assert_allclose(result.clip(0, 1), distortion(PIXELS, 1) / 255, atol=0.5 / 255 + 2e-3)


@pytest.mark.parametrize("distortion", [each for each in ALL if "Noise" not in repr(each)], ids=repr)
def test_channels_are_distorted_alike(distortion):
    colours = np.repeat(PIXELS[:20], 3, axis=3)
    result = distortion(colours, 3)
    np.testing.assert_array_equal(result[..., 0], result[..., 1])
    np.testing.assert_array_equal(result[..., 0], result[..., 2])
    flat = with_settings(distortion, image_shape=(28, 28, 3))(colours.reshape(20, -1), 3)
    np.testing.assert_array_equal(flat, result.reshape(20, -1))


@pytest.mark.parametrize("channels", [2, 3, 4, 7])
@pytest.mark.parametrize("distortion", ALL, ids=repr)
def test_images_of_any_number_of_channels_are_distorted(distortion, channels):
    images = np.random.default_rng(0).integers(0, 256, (12, 28, 28, channels), np.uint8)
    result = distortion(images, 1)
    assert (result.shape, result.dtype) == (images.shape, np.uint8)
    assert (result != images).any((0, 1, 2)).all()  # each channel
    floats = distortion((images / 255).astype(np.float32), 1)
    np.testing.assert_allclose(floats.clip(0, 1), result / 255, atol=0.51 / 255)


@pytest.mark.parametrize("distortion", ALL, ids=repr)
def test_probability_is_the_share_of_images_that_are_distorted(distortion):
    sometimes = with_settings(distortion, probability=0.3)
    changed = (sometimes(PIXELS, 4) != PIXELS).any((1, 2, 3)).mean()
    assert 0.2 < changed < 0.4  # three standard deviations of a mean of 200
    np.testing.assert_array_equal(with_settings(distortion, probability=0)(PIXELS, 4), PIXELS)


def test_images_larger_than_a_block_are_distorted_one_by_one():
    large = np.random.default_rng(0).random((3, 300, 250), np.float32)
    result = Translation(0.1)(large, 0)
    assert len({image.tobytes() for image in result}) == 3


def test_no_images_give_no_images():
    assert Rotation()(PIXELS[:0], 0).shape == (0, 28, 28, 1)


class Returns(Distortion):
    what: object = setting(kw_only=False)

    def distort(self, images, rng):
        return self.what(images)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (lambda images: None, "not None"),
        (lambda images: images[:1], r"input's shape, \(20, 28, 28, 1\), not float32 \(1, 28, 28, 1\)"),
        (lambda images: images.mean((1, 2, 3), keepdims=True), r"not float32 \(20, 1, 1, 1\)"),
        (lambda images: images.astype(int), "not int64"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda each: each, lambda each: Compose([each])])
def test_what_a_distortion_of_the_users_own_returns_is_checked(what, words, wrap):
    with pytest.raises(ShapeError, match=f"Returns: distort must return floats of the .*{words}"):
        wrap(Returns(what))(PIXELS[:20], 0)


@pytest.mark.parametrize(
    "what", [lambda images: np.broadcast_to(np.float32(0.2), images.shape), lambda i: i * 0.0 + 0.2]
)
def test_it_may_return_an_array_that_cannot_be_written_or_of_another_precision(what):
    assert (Returns(what)(PIXELS, 0) == 51).all()


@pytest.mark.parametrize("wrap", [lambda each: each, lambda each: Compose([each])])
def test_probability_counts_for_a_distortion_of_the_users_own(wrap):
    changed = (wrap(Negative(probability=0.3))(PIXELS, 0) != PIXELS).any((1, 2, 3)).mean()
    assert 0.2 < changed < 0.4


@pytest.mark.parametrize("rng", [-1, "a", 2.5])
def test_what_is_no_generator_is_refused(rng):
    with pytest.raises(ArgumentTypeError, match=f"Rotation: rng is {rng!r}; it must be a Generator, a seed or None"):
        Rotation()(PIXELS, rng)


class Negative(Distortion):
    def distort(self, images, rng):
        return 1 - images


def test_a_distortion_of_the_users_own_gets_pixels_in_the_unit_interval():
    np.testing.assert_array_equal(Negative()(PIXELS, 0), 255 - PIXELS)
    np.testing.assert_array_equal(Compose([Negative(), Negative()])(PIXELS, 0), PIXELS)


class Faded(Distortion):
    share: float = setting(0.5, low=0, most=1)

    def distort(self, images, rng):
        return images * self.share


def test_the_fields_of_a_distortion_of_the_users_own_are_its_settings():
    assert (Faded(share=0.2)(np.full_like(PIXELS, 255), 0) == 51).all()
    assert repr(Faded(share=0.2)) == "Faded(probability=1.0, share=0.2)"
    with pytest.raises(ArgumentError, match=r"^Faded: share is 2; it must be a finite number, in \[0, 1\]"):
        Faded(share=2)
    with pytest.raises(ArgumentTypeError, match="^Faded: too many positional arguments; it is .*probability=.*share="):
        Faded(0.2)


def test_a_distortion_without_distort_says_what_to_define():
    with pytest.raises(NotImplementedError, match=r"Distortion must define distort\(images, rng\)"):
        Distortion()(PIXELS)


@pytest.mark.parametrize(
    ("images", "settings", "error", "words"),
    [
        (PIXELS.reshape(200, 784), {}, ShapeError, r"flat, 784 numbers each: give image_shape, such as \(28, 28\)"),
        (
            PIXELS.reshape(200, 784),
            {"image_shape": (28, 27)},
            ShapeError,
            r"image_shape is \(28, 27\), but .* \(784,\)",
        ),
        (PIXELS, {"image_shape": (14, 56)}, ShapeError, r"\(28, 28, 1\)"),
        (PIXELS.reshape(200, 28, 14, 2), {"image_shape": (28, 28)}, ShapeError, r"\(28, 14, 2\)"),
        (
            PIXELS.reshape(200, 4, 7, 4, 7),
            {},
            ShapeError,
            r"have shape \(N, height, width, channels\), .* not \(200, 4",
        ),
        (np.arange(5.0), {}, ShapeError, r"not \(5,\)"),
        (np.float32(3), {}, ShapeError, r"not \(\)"),
        (np.zeros((3, 0, 8)), {}, ShapeError, r"not \(3, 0, 8\)"),
        (np.zeros((28, 28)), {}, ShapeError, r"or a single image as images\[None\]"),
        (PIXELS.astype(int), {}, DataError, "hold int64 values; give uint8 pixels or floats"),
        (PIXELS > 128, {}, DataError, "bool"),
        (PIXELS.astype(str), {}, DataError, "images"),
    ],
)
def test_images_that_do_not_fit_are_refused(images, settings, error, words):
    with pytest.raises(error, match=words):
        Rotation(**settings)(images)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (4, 5, 5), (3, 64, 48)])
def test_channels_that_come_first_are_recognized_and_the_cure_serves(shape):
    images = np.random.default_rng(0).random((2, *shape), np.float32)
    message = rf": images of shape {re.escape(str(shape))} look like \(channels, height, width\)"
    cure = rf"pass images.transpose\(0, 2, 3, 1\), or, if their height is {shape[0]}, image_shape="
    with pytest.raises(ShapeError, match=f"{message}, .*: {cure}"):
        Rotation()(images, 0)
    with pytest.raises(ShapeError, match=message):
        Compose([Rotation(), CutOut(2)])(images, 0)
    turned = Rotation()(images.transpose(0, 2, 3, 1), 0)
    by_channel = [Rotation()(images[:, channel], 0) for channel in range(shape[0])]
    np.testing.assert_allclose(turned, np.stack(by_channel, axis=-1), atol=1e-6)


def test_flat_images_whose_shape_has_the_channels_first_are_recognized_and_the_cure_serves():
    images = np.random.default_rng(0).random((2, 3 * 32 * 32), np.float32)
    with pytest.raises(ShapeError, match=r"pass images.reshape\(-1, 3, 32, 32\).transpose\(0, 2, 3, 1\)$"):
        Rotation(image_shape=(3, 32, 32))(images, 0)
    assert Rotation()(images.reshape(2, 3, 32, 32).transpose(0, 2, 3, 1), 0).shape == (2, 32, 32, 3)
    with pytest.raises(ShapeError, match=r"but channels are last here: give image_shape=\(64, 48\)$"):
        Rotation(image_shape=(1, 64, 48))(images, 0)
    assert Rotation(image_shape=(64, 48))(images, 0).shape == images.shape


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 7)])
def test_images_as_low_as_channels_serve_where_their_shape_is_said(shape):
    images = np.random.default_rng(0).random((2, *shape), np.float32)
    assert Translation(image_shape=shape)(images, 0).shape == images.shape
    assert Compose([Translation()], image_shape=shape)(images, 0).shape == images.shape


@pytest.mark.parametrize(
    "shape", [(1, 28, 1), (3, 3, 64), (28, 28, 28), (2, 9, 9), (4, 9, 4), (28, 28), (1, 28), (3, 9)]
)
def test_other_shapes_are_taken_for_what_they_are(shape):
    images = np.random.default_rng(0).random((2, *shape), np.float32)
    assert Translation()(images, 0).shape == images.shape


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"probability": 1.01}, ArgumentError, r"probability is 1.01; .* in \[0, 1\]"),
        ({"probability": -0.1}, ArgumentError, "probability"),
        ({"probability": True}, ArgumentTypeError, "probability"),
        ({"image_shape": 784}, ArgumentError, r"image_shape is 784; it must be \(height, width\)"),
        ({"image_shape": (28, 28, 1, 1)}, ArgumentError, "image_shape"),
        ({"image_shape": "28"}, ArgumentTypeError, "shape"),
        ({"image_shape": (0, 28)}, ArgumentError, "1 or more"),
    ],
)
def test_settings_out_of_range_are_refused(settings, error, words):
    with pytest.raises(error, match=words):
        Elastic(**settings)
