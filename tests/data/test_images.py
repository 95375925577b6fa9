"""Images in files: every kind that Pillow reads becomes 8 bits, upright and opaque; what is none is a plain error."""

import struct
import sys
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from minidl import data
from minidl.data import load_images
from minidl.errors import ArgumentError, DataError, FileFormatError, MissingDependencyError, MissingFileError

RAMP = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20


@pytest.fixture
def saved(tmp_path):
    """Saves pixels or a Pillow image and returns the path."""

    def save(image, name="image.png", **options):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
        return path

    return save


def test_one_file_is_one_image_to_the_pixel(saved):
    path = saved(RAMP)
    loaded = load_images(path)
    assert loaded.x.dtype == np.uint8
    np.testing.assert_array_equal(loaded.x, RAMP[np.newaxis])
    assert (loaded.y, loaded.class_names, loaded.paths, len(loaded)) == (None, (), (path,), 1)
    assert repr(loaded) == "ImageFiles(x=(1, 3, 4), y=None, class_names=())"


def test_several_files_keep_their_order_and_take_part_whatever_their_names(saved):
    paths = [saved(RAMP + 1, "b.png"), saved(RAMP, "a.upload", format="PNG")]
    x, y = load_images([str(paths[0]), paths[1]])
    np.testing.assert_array_equal(x, [RAMP + 1, RAMP])
    assert y is None


def test_gray_is_pillows_brightness_and_otherwise_there_are_three_channels(saved):
    color = np.random.default_rng(0).integers(0, 256, (5, 6, 3)).astype(np.uint8)
    path = saved(color)
    np.testing.assert_array_equal(load_images(path, gray=False).x[0], color)
    assert np.abs(load_images(path).x[0] - color @ [0.299, 0.587, 0.114]).max() <= 1
    np.testing.assert_array_equal(load_images(saved(RAMP, "gray.png"), gray=False).x[0], np.dstack([RAMP] * 3))


def test_size_is_a_side_or_height_and_width(saved):
    half = np.zeros((40, 80), np.uint8)
    half[:, 40:] = 200
    path = saved(half)
    assert load_images(path, size=10).x.shape == (1, 10, 10)
    x = load_images([path, saved(RAMP, "other.png")], size=(10, 20)).x
    assert x.shape == (2, 10, 20)
    np.testing.assert_array_equal(x[0, :, :8], 0)
    np.testing.assert_array_equal(x[0, :, 12:], 200)


def test_a_folder_per_class_gives_labels_and_names_as_torchvision_and_keras_do(saved, tmp_path):
    for name in ("dog/2.png", "dog/1.PNG", "cat/deep/er/3.jpg", "cat/4.gif", "cat/notes.txt.png"):
        saved(RAMP, f"pets/{name}")
    for name in ("pets/.ipynb_checkpoints/5.png", "pets/dog/.6.png", "pets/__MACOSX/7.png"):
        saved(RAMP, name)
    (tmp_path / "pets" / "dog" / "Thumbs.db").write_bytes(b"no image")
    (tmp_path / "pets" / "cat" / "loop").symlink_to(tmp_path / "pets")
    loaded = load_images(tmp_path / "pets")
    x, y = loaded
    assert loaded.class_names == ("cat", "dog")
    assert [str(path.relative_to(tmp_path / "pets")) for path in loaded.paths] == [
        "cat/4.gif",
        "cat/notes.txt.png",
        "cat/deep/er/3.jpg",
        "dog/1.PNG",
        "dog/2.png",
    ]
    assert y.tolist() == [0, 0, 0, 1, 1]
    assert y.dtype == np.intp
    assert x.shape == (5, 3, 4)
    assert repr(loaded) == "ImageFiles(x=(5, 3, 4), y=(5,), class_names=('cat', 'dog'))"


def test_a_folder_of_images_has_no_classes(saved, tmp_path):
    saved(RAMP, "photos/b.png")
    saved(RAMP + 1, "photos/a.png")
    x, y = load_images(tmp_path / "photos")
    np.testing.assert_array_equal(x, [RAMP + 1, RAMP])
    assert y is None


def test_a_transform_makes_one_array_of_images_of_many_sizes(saved):
    paths = [saved(RAMP), saved(RAMP[:2], "small.png")]
    x = load_images(paths, transform=lambda image: image[:1, :2] / 255).x
    np.testing.assert_allclose(x, [RAMP[:1, :2] / 255] * 2)
    with pytest.raises(DataError, match=r"image.png: the image is empty"):
        load_images(saved(np.full((30, 30), 9, np.uint8)), transform=data.center_digit)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_upright_as_their_exif_data_say(saved, orientation):
    # What a camera writes so that a viewer shows RAMP, by the standard: the sides that row 0 and column 0 are.
    stored = {
        1: RAMP, 2: RAMP[:, ::-1], 3: RAMP[::-1, ::-1], 4: RAMP[::-1],
        5: RAMP.T, 6: RAMP.T[::-1], 7: RAMP.T[::-1, ::-1], 8: RAMP.T[:, ::-1],
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(load_images(saved(stored.copy(), exif=exif)).x[0], RAMP)


def test_what_is_transparent_is_paper(saved):
    cover = np.zeros((4, 6), np.uint8)
    cover[1:3, 2:4] = 255
    black = Image.merge("LA", [Image.new("L", (6, 4), 0), Image.fromarray(cover)])
    np.testing.assert_array_equal(load_images(saved(black)).x[0], 255 - cover)
    white = Image.merge("LA", [Image.new("L", (6, 4), 255), Image.fromarray(cover)])
    np.testing.assert_array_equal(load_images(saved(white)).x[0], cover)
    red = Image.merge("RGBA", [Image.new("L", (6, 4), value) for value in (255, 0, 0)] + [Image.fromarray(cover // 2)])
    x = load_images(saved(red), gray=False).x[0]
    np.testing.assert_array_equal(x[0, 0], [255, 255, 255])
    np.testing.assert_allclose(x[1, 2], [255, 128, 128], atol=1)
    np.testing.assert_array_equal(load_images(saved(Image.new("RGBA", (2, 2)))).x[0], 255)


def test_palettes_bits_and_inks_become_eight_bits(saved):
    palette = Image.fromarray(RAMP).convert("RGB").quantize(16)
    np.testing.assert_array_equal(load_images(saved(palette)).x[0], RAMP)
    palette.info["transparency"] = palette.getpixel((0, 0))  # RAMP's 0 becomes paper
    clear = load_images(saved(palette, transparency=palette.getpixel((0, 0)))).x[0]
    assert clear[0, 0] == 255
    np.testing.assert_array_equal(clear.ravel()[1:], RAMP.ravel()[1:])
    np.testing.assert_array_equal(load_images(saved(RAMP > 100)).x[0], (RAMP > 100) * 255)
    inks = Image.fromarray(RAMP).convert("RGB").convert("CMYK")
    np.testing.assert_allclose(load_images(saved(inks, "image.tif")).x[0], RAMP, atol=1)


@pytest.mark.parametrize("name", ["image.png", "image.tif"])
def test_sixteen_bits_are_scaled_to_eight_not_cut_off(saved, name):
    np.testing.assert_array_equal(load_images(saved(RAMP.astype(np.uint16) * 257, name)).x[0], RAMP)


def test_numbers_on_another_scale_go_from_their_least_to_their_greatest(saved):
    fractions = (RAMP / 440 - 0.25).astype(np.float32)
    np.testing.assert_allclose(load_images(saved(fractions, "a.tif")).x[0], RAMP * (255 / 220), atol=0.51)
    np.testing.assert_array_equal(load_images(saved(RAMP.astype(np.int32), "b.tif")).x[0], RAMP)
    np.testing.assert_array_equal(load_images(saved(np.full((2, 2), 0.5, np.float32), "c.tif")).x[0], 0)
    with pytest.raises(FileFormatError, match="NaN or infinity"):
        load_images(saved(np.full((2, 2), np.nan, np.float32), "d.tif"))


def test_of_an_animation_the_first_frame_counts(saved):
    frames = [Image.fromarray(RAMP), Image.fromarray(255 - RAMP)]
    path = saved(frames[0], "moving.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(load_images(path).x[0], RAMP)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.mark.parametrize("side", [10_000, 60_000, 2**31 - 1])
def test_a_giant_image_is_refused_before_it_is_decoded(tmp_path, side):
    path = tmp_path / "giant.png"
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b""))
    tracemalloc.start()
    with pytest.raises(FileFormatError, match=r"giant.png has more than the 89,478,485 pixels that PIL"):
        load_images(path)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is not an image that can be read \(PNG, JPEG, GIF,"),
        (b"1,2,3\n", "is not an image that can be read"),
        (b"%PDF-1.4 ...", "is not an image that can be read, but a PDF document"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not an image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "but HEIC or AVIF, a format of phones: save it as JPEG"),
        (b"\x89PNG\r\n\x1a\n", "is not an image|is a damaged image"),
    ],
)
def test_a_file_that_is_no_image_is_a_plain_error(tmp_path, content, message):
    path = tmp_path / "file.png"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=message) as caught:
        load_images(path)
    assert "file.png" in str(caught.value)
    assert len(str(caught.value)) <= 300


@pytest.mark.parametrize("name", ["image.png", "image.jpg", "image.gif", "image.tif", "image.bmp", "image.webp"])
def test_damaged_files_are_an_image_or_a_documented_error(saved, name):
    rng = np.random.default_rng(0)
    path = saved(rng.integers(0, 256, (20, 30, 3)).astype(np.uint8), name)
    whole = path.read_bytes()
    for _ in range(60):
        damaged = bytearray(whole[: rng.integers(1, len(whole))] if rng.random() < 0.3 else whole)
        for place in rng.integers(0, len(damaged), rng.integers(1, 4)):
            damaged[place] = rng.integers(0, 256)
        path.write_bytes(damaged)
        try:
            assert load_images(path, size=8).x.shape == (1, 8, 8)
        except FileFormatError as error:
            assert name in str(error)  # noqa: PT017


def test_wrong_arguments_and_folders_are_plain_errors(saved, tmp_path):
    image = saved(RAMP)
    for size in (0, (3, -1), (1, 2, 3), (2.5, 2), 28.0, "28"):
        with pytest.raises(ArgumentError, match="size must be a number of pixels"):
            load_images(image, size=size)
    with pytest.raises(DataError, match="there is no path"):
        load_images([])
    with pytest.raises(MissingFileError, match=r"nowhere.png does not exist"):
        load_images(tmp_path / "nowhere.png")
    with pytest.raises(FileFormatError, match="is a folder, but must be a file"):
        load_images([image, tmp_path])
    with pytest.raises(DataError, match=r"image.png has shape \(3, 4\), .*a.png \(2, 4\): give size=\(height, width\)"):
        load_images([image, saved(RAMP[:2], "a.png")])
    (tmp_path / "empty" / "class").mkdir(parents=True)
    with pytest.raises(MissingFileError, match="class, the folder of a class, holds no images"):
        load_images(tmp_path / "empty")
    with pytest.raises(MissingFileError, match="class holds no images"):
        load_images(tmp_path / "empty" / "class")
    with pytest.raises(FileFormatError, match="has images beside folders"):
        load_images(tmp_path)


def test_without_pillow_the_error_names_the_extra(saved, monkeypatch):
    path = saved(RAMP)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'minidl\[images\]'"):
        load_images(path)
    with pytest.raises(MissingDependencyError, match=r"pip install 'minidl\[images\]'"):
        data.center_digit(np.eye(500))
