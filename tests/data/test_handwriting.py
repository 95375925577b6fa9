"""A digit in a photograph becomes an image as those of MNIST: its box, its middle, whatever paper, pen and light."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scripts import ROOT

from minidl.data import center_digit, load_images
from minidl.errors import DataError, ShapeError


@pytest.fixture(scope="module")
def drawing():
    """The module that draws digits, which the benchmark shares."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        import drawn_digits

        yield drawn_digits


@pytest.fixture(scope="module")
def photographs(drawing):
    return [np.asarray(Image.open(io.BytesIO(each.jpeg))) for each in drawing.drawn_digits(20, seed=1)]


def five(height=300, width=400, corner=(150, 80), size=120, pen=12, paper=220, ink=50):
    """A five of straight lines, without noise, and the light on the paper."""
    image = Image.new("L", (width, height), paper)
    right, down = corner
    points = [(0.55, 0), (0, 0), (0, 0.45), (0.55, 0.45), (0.55, 1), (0, 1)]
    ImageDraw.Draw(image).line([(right + size * x, down + size * y) for x, y in points], ink, pen, joint="curve")
    return np.asarray(image)


def apart(one, other):
    """The mean difference of two images, of 255, where they lie best on each other: middles are rounded to pixels."""
    moves = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    return min(np.abs(np.roll(one, move, (0, 1)).astype(float) - other).mean() for move in moves)


def test_a_bar_fills_its_box_to_the_pixel():
    photograph = np.full((300, 400), 230, np.uint8)
    photograph[60:210, 300:330] = 30  # 150 x 30, which is 20 x 4
    centered = center_digit(photograph)
    expected = np.zeros((28, 28), np.uint8)
    expected[4:24, 12:16] = 255
    assert centered.dtype == np.uint8
    assert apart(centered, expected) < 3  # corners are round


def test_each_digit_has_its_box_and_its_middle(photographs):
    rows, columns = np.mgrid[:28, :28]
    for photograph in photographs:
        digit = center_digit(photograph).astype(float)
        assert digit.shape == (28, 28)
        assert max(np.ptp(np.flatnonzero(digit.any(1))), np.ptp(np.flatnonzero(digit.any(0)))) + 1 == 20
        middle = (digit * rows).sum() / digit.sum(), (digit * columns).sum() / digit.sum()
        assert np.abs(np.subtract(middle, 14)).max() < 0.51  # it is moved by whole pixels
        assert digit.max() > 200


def test_what_does_not_matter_changes_nearly_nothing():
    plain = center_digit(five())
    down, right = np.mgrid[-1:1:300j, -1:1:400j]
    ramp, shadow = 1 - 0.3 * (down + right + 2) / 4, np.where(down + 0.4 * right > 0.2, 0.55, 1)
    noise = np.random.default_rng(0).normal(0, 6, (300, 400))
    lines = five().astype(float)
    lines[np.arange(300) % 25 < 2] *= 0.85
    table = five().copy()
    table[:, :50] = table[:30] = 40
    same = {
        "light on dark": 255 - five(),
        "of 0 to 1": five() / 255,
        "of 16 bits": five().astype(np.uint16) * 257,
        "in colour": np.repeat(five()[..., np.newaxis], 3, axis=2),
        "with one channel": five()[..., np.newaxis],
        "a Pillow image": Image.fromarray(five()),
        "elsewhere": five(corner=(20, 160)),
        "larger": five(size=240, pen=24, corner=(100, 30)),
        "in a large photograph": five(1500, 2000, corner=(900, 200), size=480, pen=48),
        "small in a large photograph": five(1500, 2000, corner=(900, 200), size=180, pen=18),
        "faint, as of a pencil": five(ink=140),
        "under light that falls off": five() * ramp,
        "half in a hard shadow": five() * shadow,
        "light on dark, half in a shadow": (255 - five()) * shadow,
        "with noise": np.clip(five() + noise, 0, 255),
        "on ruled paper": lines,
        "beside a dark table": table,
    }
    # A pixel at the edge of a stroke may differ by half, and 80 of 784 pixels are edges.
    differences = {name: apart(center_digit(image), plain) for name, image in same.items()}
    assert max(differences.values()) < 8, differences
    assert plain.mean() > 20


def test_a_centered_digit_stays_as_it_is(photographs):
    for photograph in photographs:
        once = center_digit(photograph)
        assert apart(center_digit(once), once) < 8
        assert apart(center_digit(255 - once), once) < 8


def test_thin_and_thick_pens_write_strokes_as_mnist_has_them():
    def width(size, pen):
        """In pixels, by area: the lines of the five are 2.65 times as long as it is high without its pen."""
        image = center_digit(five(size=size, corner=(100, 50), pen=pen))
        return image.sum() / 255 / (2.65 * 20 * size / (size + pen))

    assert width(120, 2) == pytest.approx(2, rel=0.2)  # a tenth of 20 pixels
    assert width(230, 1) == pytest.approx(2, rel=0.25)
    assert width(120, 15) == pytest.approx(20 * 15 / 135, rel=0.2)  # as it is
    assert width(180, 60) == pytest.approx(4, rel=0.2)  # a fifth, in place of a quarter


def test_pieces_of_a_digit_stay_together_and_specks_do_not():
    photograph = five().copy()
    photograph[134:146, 165:190] = 220  # a gap in the middle stroke
    photograph[::37, ::41] = 40
    assert apart(center_digit(photograph), center_digit(five())) < 10


def test_a_small_image_that_the_digit_fills_is_read():
    tight = five()[74:206, 144:222]
    assert apart(center_digit(tight), center_digit(five())) < 12
    assert apart(center_digit(np.asarray(Image.fromarray(five()).resize((40, 30)))), center_digit(five())) < 20


def test_a_pillow_image_is_read_as_its_file_is(tmp_path):
    upright = Image.fromarray(five())
    on_its_side = Image.Exif()
    on_its_side[0x0112] = 6  # row 0 is the right side
    ink = Image.merge("LA", [Image.new("L", upright.size, 0), Image.fromarray(255 - five())]).convert("RGBA")
    files = {
        "turned.png": (upright.transpose(Image.Transpose.ROTATE_90), {"exif": on_its_side}),
        "transparent.png": (ink, {}),
        "palette.png": (Image.fromarray(255 - five()).convert("RGB").quantize(8), {}),
        "colored.png": (upright.convert("RGB"), {}),
    }
    for name, (image, options) in files.items():
        image.save(tmp_path / name, **options)
        with Image.open(tmp_path / name) as opened:
            digit = center_digit(opened)
        np.testing.assert_array_equal(digit, load_images(tmp_path / name, transform=center_digit).x[0])
        assert apart(digit, center_digit(five())) < 12, name


def test_paper_without_a_digit_is_empty(drawing):
    down, right = np.mgrid[:300, :400]
    rng = np.random.default_rng(0)
    empty = [np.full((300, 400), 200), np.zeros((300, 400)), np.ones((1, 1)), right / 400, (right + 2 * down) / 1000]
    empty += [right > 200, 200 + rng.normal(0, 5, (300, 400)), np.zeros((0, 4)), np.ones((5, 1))]
    no_ink = Image.new("L", (40, 40))
    papers = [np.asarray(Image.open(io.BytesIO(drawing.photograph(no_ink, rng)))) for _ in range(25)]
    for image in [*empty, *papers, rng.integers(0, 256, (300, 400))]:
        with pytest.raises(DataError, match="the image is empty"):
            center_digit(image)


@pytest.mark.parametrize(
    ("image", "kind", "message"),
    [
        (np.zeros(784), ShapeError, r"an image has shape \(height, width\) or \(height, width, 3\), not \(784,\)"),
        (np.zeros((2, 30, 30)), ShapeError, r"not \(2, 30, 30\)"),
        (np.zeros((30, 30, 4)), ShapeError, r"not \(30, 30, 4\)"),
        (np.full((30, 30), np.nan), DataError, "image"),
        (Image.fromarray(np.full((30, 30), np.nan, np.float32)), DataError, "the image holds NaN"),
        ([["a", "b"]], DataError, "image"),
    ],
)
def test_what_is_no_image_is_an_error(image, kind, message):
    with pytest.raises(kind, match=message):
        center_digit(image)


def test_any_image_gives_a_digit_or_says_that_it_is_empty():
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(150):
        image = rng.random(rng.integers(1, 40, 2)) ** rng.integers(1, 30) * 10.0 ** rng.integers(-300, 300)
        try:
            digit = center_digit(image - rng.integers(2) * image.max() / 2)
        except DataError:
            continue
        found += 1
        assert digit.shape == (28, 28)
        assert digit.any()
    assert found > 10


def test_the_given_image_is_left_as_it_is():
    image = five().astype(np.float32)
    before = image.copy()
    center_digit(image)
    np.testing.assert_array_equal(image, before)
