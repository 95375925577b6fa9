"""Distortions that move pixels, against SciPy's transformations with the numbers that they drew."""

import numpy as np
import pytest
from labels import label
from scipy.ndimage import affine_transform, gaussian_filter, map_coordinates

from minidl.data.augment import Compose, Elastic, Geometric, Rotation, Scaling, Shear, Translation
from minidl.errors import ArgumentError, ArgumentTypeError, DataError, ShapeError
from minidl.settings import setting

IMAGES = np.random.default_rng(5).random((3, 12, 9, 2), np.float32)


class Draws(np.random.Generator):
    """Draws the highest number of every range that a distortion asks for."""

    def __init__(self):
        super().__init__(np.random.PCG64(0))

    def uniform(self, low=0.0, high=1.0, size=None):
        return np.full(size, float(high))


def looked_up(matrix, shift=(0, 0)):
    """IMAGES with each new pixel looked up at `matrix` times its place from the middle, plus `shift`, by SciPy."""
    middle = (np.array(IMAGES.shape[1:3]) - 1) / 2
    offset = middle + shift - np.asarray(matrix) @ middle
    result = np.empty_like(IMAGES)
    for number, channel in np.ndindex(len(IMAGES), IMAGES.shape[3]):
        image = IMAGES[number, ..., channel].astype(float)
        result[number, ..., channel] = affine_transform(image, matrix, offset, order=1, mode="grid-constant")
    return result


def turned_back(degrees):
    """The matrix from a place in a picture turned by so many degrees to that in the one before."""
    angle = np.deg2rad(degrees)
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


@pytest.mark.parametrize(
    ("distortion", "expected"),
    [
        (Rotation(30), lambda: looked_up(turned_back(30))),
        (Scaling(0.25), lambda: looked_up(np.eye(2) / 1.25)),
        (Scaling(0.25, keep_aspect=False), lambda: looked_up(np.eye(2) / 1.25)),
        (Translation(0.5), lambda: looked_up(np.eye(2), shift=(6, 4.5))),
        (Shear(20), lambda: looked_up([[1, 0], [np.tan(np.deg2rad(20)), 1]])),
    ],
    ids=label,
)
def test_it_agrees_with_scipys_transformation(distortion, expected):
    np.testing.assert_allclose(distortion(IMAGES, Draws()), expected(), atol=1e-4)


def test_a_quarter_turn_moves_whole_pixels():
    squares = np.random.default_rng(1).integers(0, 256, (2, 8, 8), np.uint8)
    np.testing.assert_array_equal(Rotation(90)(squares, Draws()), np.rot90(squares, axes=(1, 2)))


def test_composed_distortions_are_one_after_the_other_resampled_once():
    turned_then_moved = looked_up(turned_back(30), shift=turned_back(30) @ (3, 2.25))
    result = Compose([Rotation(30), Translation(0.25)])(IMAGES, Draws())
    np.testing.assert_allclose(result, turned_then_moved, atol=1e-4)
    moved_then_turned = looked_up(turned_back(30), shift=(3, 2.25))
    result = Compose([Translation(0.25), Rotation(30)])(IMAGES, Draws())
    np.testing.assert_allclose(result, moved_then_turned, atol=1e-4)


def test_an_elastic_field_is_uniform_noise_smoothed_by_scipys_gaussian():
    count, height, width = 2, 20, 15
    bits = np.random.default_rng(3).integers(0, 2**64, 2 * count * height * width // 4, dtype=np.uint64)
    noise = bits.view(np.int16).reshape(2, count, height, width) / 2**15
    expected = 30 * gaussian_filter(noise.astype(float), (0, 0, 2.5, 2.5), mode="constant", truncate=4)
    field = Elastic(30, smoothness=2.5).displacements(count, height, width, np.random.default_rng(3))
    np.testing.assert_allclose(field, expected, atol=1e-4)


def test_an_elastic_deformation_looks_pixels_up_where_the_field_says():
    distortion = Elastic(20, smoothness=2)
    rows, columns = np.indices((12, 9))[:, None] + distortion.displacements(3, 12, 9, np.random.default_rng(4))
    result = distortion(IMAGES, np.random.default_rng(4))
    for number in range(3):
        expected = map_coordinates(
            IMAGES[number, ..., 1].astype(float), (rows[number], columns[number]), order=1, mode="grid-constant"
        )
        np.testing.assert_allclose(result[number, ..., 1], expected, atol=1e-4)


def test_a_field_of_default_strength_moves_pixels_by_what_its_docstring_says():
    field = Elastic().displacements(200, 60, 60, np.random.default_rng(0))
    assert field[..., 20:40, 20:40].std() == pytest.approx(0.16 * 34 / 4, rel=0.05)


@pytest.mark.parametrize(
    "distortion", [Rotation(40), Scaling(0.3), Translation(0.3), Shear(30), Elastic(60)], ids=label
)
def test_each_image_is_distorted_in_its_own_way_and_both_ways(distortion):
    blob = np.zeros((400, 21, 21), np.float32)
    blob[:, 6:8, 12:15] = 1
    result = distortion(blob, 0)
    assert len({image.tobytes() for image in result}) == 400
    middle = np.tensordot(result, np.indices((21, 21)), ([1, 2], [1, 2])) / result.sum((1, 2))[:, None]
    # The blob's middle, which was in column 13, goes to either side; a shear moves it along its row only.
    assert 0.35 < (middle[:, 1] > 13).mean() < 0.65


class Moves(Geometric):
    how: object = setting(kw_only=False)

    def matrices(self, count, height, width, rng):
        return self.how


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        (None, NotImplementedError, "Moves must define matrices or displacements, and return them"),
        (np.eye(3), ShapeError, r"Moves: the result of matrices has shape \(3, 3\); it must have \(3, 3, 3\)"),
        (np.full((3, 3, 3), np.nan), DataError, "Moves: the result of matrices holds NaN"),
        ("turn", DataError, "Moves: the result of matrices"),
    ],
)
def test_what_a_distortion_of_the_users_own_returns_is_checked(how, error, words):
    for distortion in (Moves(how), Compose([Rotation(), Moves(how)])):
        with pytest.raises(error, match=words):
            distortion(IMAGES, 0)


def test_outside_of_the_image_is_the_fill():
    white = np.full((4, 6, 6), 255, np.uint8)
    corner = Translation(0.5, fill=1)(white, Draws())
    np.testing.assert_array_equal(corner, 255)
    corner = Translation(0.5, fill=0.2)(white, Draws())
    assert set(np.unique(corner)) == {51, 255}


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Rotation(0), ArgumentError, r"degrees is 0; .* in \(0, 180\]"),
        (lambda: Rotation(180.5), ArgumentError, r"in \(0, 180\]"),
        (lambda: Rotation("10"), ArgumentTypeError, "degrees is '10'; it must be a number"),
        (lambda: Rotation(float("nan")), ArgumentError, "finite"),
        (lambda: Scaling(1), ArgumentError, r"share is 1; .* in \(0, 1\)"),
        (lambda: Scaling(-0.1), ArgumentError, "share"),
        (lambda: Translation(1.1), ArgumentError, r"in \(0, 1\]"),
        (lambda: Shear(90), ArgumentError, r"in \(0, 90\)"),
        (lambda: Elastic(0), ArgumentError, r"strength is 0; .* in \(0, 10000\]"),
        (lambda: Elastic(1, smoothness=-4), ArgumentError, "smoothness"),
        (lambda: Elastic(1e300), ArgumentError, "strength"),
        (lambda: Elastic(1, smoothness=1e12), ArgumentError, r"smoothness .* in \(0, 1000\]"),
        (lambda: Scaling(0.1, keep_aspect="no"), ArgumentTypeError, "keep_aspect is 'no'; it must be True or False"),
        (lambda: Rotation(fill=np.inf), ArgumentError, "fill"),
        (lambda: Rotation(fill=None), ArgumentTypeError, "fill"),
    ],
)
def test_settings_out_of_range_are_refused_with_the_range(make, error, words):
    with pytest.raises(error, match=words):
        make()
