"""Several distortions as one."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from minidl.data import augment
from minidl.data.augment import Compose, CutOut, Elastic, PixelNoise, Rotation, Shear, Translation
from minidl.errors import ArgumentError, ArgumentTypeError, ShapeError
from minidl.serialization import decode, encode

IMAGES = np.random.default_rng(0).random((30, 12, 12), np.float32)


def test_distortions_of_pixels_keep_their_place_between_others():
    noise_last = Compose([CutOut(6), PixelNoise(0.1)])(IMAGES, 1)
    noise_first = Compose([PixelNoise(0.1), CutOut(6)])(IMAGES, 1)
    assert (noise_last == 0).mean() < 0.001
    assert (noise_first == 0).mean() > 0.1


def test_composing_one_is_the_same_as_that_one():
    np.testing.assert_array_equal(Compose([Rotation(20)])(IMAGES, 1), Rotation(20)(IMAGES, 1))


def test_an_image_shape_of_its_parts_serves_for_all():
    flat = IMAGES.reshape(30, 144)
    composed = Compose([Rotation(20, image_shape=(12, 12)), Shear(5, image_shape=(12, 12, 1))])
    np.testing.assert_array_equal(composed(flat, 1), Compose([Rotation(20), Shear(5)])(IMAGES, 1).reshape(30, 144))


def test_compositions_nest():
    nested = Compose([Compose([Rotation(20), Shear(10)]), Compose([CutOut(3)])])
    np.testing.assert_array_equal(nested(IMAGES, 1), Compose([Rotation(20), Shear(10), CutOut(3)])(IMAGES, 1))


def test_one_inside_another_is_resampled_by_itself():
    by_hand = np.random.default_rng(1)
    expected = Shear(10)(Rotation(20)(IMAGES, by_hand), by_hand)
    np.testing.assert_allclose(Compose([Compose([Rotation(20)]), Shear(10)])(IMAGES, 1), expected, atol=1e-6)


def test_distortions_with_another_fill_are_not_merged():
    zeros = np.zeros((50, 12, 12), np.float32)
    assert Compose([Rotation(1e-6), Translation(0.5, fill=1)])(zeros, 0).max() == 1
    by_hand = np.random.default_rng(1)
    expected = Translation(0.2, fill=1)(Rotation(20)(IMAGES, by_hand), by_hand)
    result = Compose([Rotation(20), Translation(0.2, fill=1)])(IMAGES, 1)
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_an_elastic_field_is_added_to_the_places_that_the_others_lead_to():
    draws = np.random.default_rng(1)
    matrices = Rotation(30).matrices(30, 12, 12, draws)
    field = Elastic(20, smoothness=2).displacements(30, 12, 12, draws)
    grid = np.indices((12, 12)) - 5.5
    result = Compose([Rotation(30), Elastic(20, smoothness=2)])(IMAGES, 1)
    for number, image in enumerate(IMAGES):
        places = np.tensordot(matrices[number, :2, :2], grid, 1) + 5.5 + field[:, number]
        expected = map_coordinates(image.astype(float), places, order=1, mode="grid-constant")
        np.testing.assert_allclose(result[number], expected, atol=1e-4)


def test_it_is_described_to_json_and_back():
    composed = Compose([Rotation(20), Shear(5, probability=0.5)], image_shape=(12, 12))
    again = decode(encode(composed))
    assert repr(again) == repr(composed)
    np.testing.assert_array_equal(again(IMAGES, 1), composed(IMAGES, 1))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Compose([]), ArgumentTypeError, "distortions is .*; it must be a list of distortions"),
        (lambda: Compose(Rotation()), ArgumentTypeError, "distortions is .*; it must be a list of distortions"),
        (
            lambda: Compose([Rotation, Shear()]),
            ArgumentTypeError,
            r"holds the class Rotation; create one with Rotation\(...\)",
        ),
        (lambda: Compose([Shear(), "Rotation"]), ArgumentTypeError, "holds 'Rotation', which is not a Distortion"),
        (
            lambda: Compose([Rotation(image_shape=(6, 24))], image_shape=(12, 12)),
            ArgumentError,
            r"image_shape differs: \(6, 24\), \(12, 12\)",
        ),
        (lambda: Compose([Rotation(), CutOut(13)])(IMAGES), ShapeError, "CutOut"),
    ],
)
def test_what_cannot_work_is_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_a_setting_of_one_of_them_is_checked_when_it_is_set():
    composed = Compose([Rotation(20)])
    with pytest.raises(ArgumentError, match="degrees is 400"):
        composed.distortions[0].degrees = 400
    assert composed.distortions[0].degrees == 20


def test_all_distortions_are_shown_by_the_package():
    kinds = {name for name in augment.__all__ if isinstance(getattr(augment, name), type)}
    assert {"Compose", "CutOut", "Elastic", "PixelNoise", "Rotation", "Scaling", "Shear", "Translation"} <= kinds
