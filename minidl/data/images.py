"""Load image files as arrays of pixels, also from one folder per class."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minidl.data.dataset import ImageFiles
from minidl.data.reading import open_bytes, shown
from minidl.errors import (
    ArgumentError,
    DataError,
    FileFormatError,
    MissingDependencyError,
    MissingFileError,
    naming,
)
from minidl.files import as_path
from minidl.signatures import kind_of
from minidl.typing import Array

if TYPE_CHECKING:
    from PIL.Image import Image

PathLike = str | os.PathLike[str]

_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
"""The pixel formats that Pillow reads. For some other formats it starts a program, such as Ghostscript for EPS."""

_SUFFIXES = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm"}


def load_images(
    paths: PathLike | Iterable[PathLike],
    *,
    size: int | tuple[int, int] | None = None,
    gray: bool = True,
    transform: Callable[[Array], Array] | None = None,
) -> ImageFiles:
    """Load images from files, from a folder, or from a folder with one folder per class.

    Pillow (the extra ``images``) reads PNG, JPEG, GIF, BMP, TIFF, WebP and PPM. A photograph is turned upright by its
    EXIF data. Transparent pixels become white, or black if the image is nearly white. 16 bits are scaled to 8; other
    large or fractional numbers are scaled from their minimum to their maximum. An animation gives its first frame.

    Parameters
    ----------
    paths : str or path, or several
        Files with any names. Or one folder: either of image files, or of one folder per class, with image files at any
        depth, as for Keras's ``image_dataset_from_directory`` and torchvision's ``ImageFolder``. In folders, files are
        chosen by their suffix and sorted by name; hidden ones are left out.
    size : int, or (height, width), optional
        Scale every image to this size; as in Keras, proportions may change. By default, all images must have the same
        shape.
    gray : bool, default True
        Brightness, with one number per pixel; if False: red, green and blue.
    transform : function of one image, optional
        Applied to each image before they become one array, such as :func:`center_digit`.

    Returns
    -------
    ImageFiles
        ``x`` : uint8 (N, height, width), or (N, height, width, 3) if not `gray`; or the results of `transform`.
        ``y`` : intp (N,), the position of each image's class in ``class_names``; None without folders of classes.
        ``class_names`` : the names of the folders, sorted as texts. ``paths`` : the file of each image.
        It unpacks as ``x, y = load_images(folder)``.

    Raises
    ------
    MissingFileError, FileFormatError
        A file does not exist, is not an image, is damaged, or has more pixels than ``PIL.Image.MAX_IMAGE_PIXELS``,
        which is checked before decoding. A folder has no images, or has images beside folders.
    DataError
        There is no path, or the images have different shapes.
    ArgumentError
        `size` is not positive.
    MissingDependencyError
        Pillow is not installed.
    """
    height_and_width = _checked_size(size)
    files, class_names = _find(paths)
    images = []
    for path, _ in files:
        pixels = _read(path, height_and_width, gray)
        with naming(shown(path)):
            images.append(np.asarray(transform(pixels)) if transform else pixels)
        if images[-1].shape != images[0].shape:
            shapes = f"{shown(files[0][0])} has shape {images[0].shape}, {shown(path)} {images[-1].shape}"
            raise DataError(f"{shapes}: give size=(height, width)")
    y = np.array([label for _, label in files], np.intp) if class_names else None
    return ImageFiles(np.stack(images), y, class_names, tuple(path for path, _ in files))


def _checked_size(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    pair = tuple(size) if isinstance(size, Iterable) else (size, size)
    if len(pair) != 2 or not all(isinstance(side, int | np.integer) and side > 0 for side in pair):
        raise ArgumentError(f"size must be a number of pixels, or (height, width), not {size!r}")
    return int(pair[0]), int(pair[1])


def _find(paths: PathLike | Iterable[PathLike]) -> tuple[list[tuple[Path, int]], tuple[str, ...]]:
    """Return each file with its class number, and the names of the classes, if there are any."""
    if not isinstance(paths, str | os.PathLike):
        if files := [(as_path(path), 0) for path in paths]:
            return files, ()
        raise DataError("there is no path to load an image from")
    folder = as_path(paths)
    if not folder.is_dir():
        return [(folder, 0)], ()
    images, folders = _images_in(folder), [each for each in sorted(folder.iterdir()) if _is_visible_folder(each)]
    if images and folders:
        raise FileFormatError(
            f"{shown(folder)} has images beside folders: give it either images, or a folder per class"
        )
    if not images and not folders:
        raise MissingFileError(
            f"{shown(folder)} holds no images: their names end in .png, .jpg, .gif, .tif, .webp, ..."
        )
    if images:
        return [(path, 0) for path in images], ()
    found = [_images_below(each) for each in folders]
    if not all(found):
        raise MissingFileError(f"{shown(folders[found.index([])])}, the folder of a class, holds no images")
    labelled = [(path, label) for label, files_of_class in enumerate(found) for path in files_of_class]
    return labelled, tuple(each.name for each in folders)


def _is_visible_folder(path: Path) -> bool:
    return path.is_dir() and path.name[0] != "." and path.name != "__MACOSX"


def _images_in(folder: Path) -> list[Path]:
    names = sorted(folder.iterdir())
    return [path for path in names if path.suffix.lower() in _SUFFIXES and path.name[0] != "." and path.is_file()]


def _images_below(folder: Path) -> list[Path]:
    """Return the images in a folder and its subfolders. Do not follow links: they may form a cycle."""
    found = _images_in(folder)
    for each in sorted(folder.iterdir()):
        if _is_visible_folder(each) and not each.is_symlink():
            found += _images_below(each)
    return found


def _read(path: Path, size: tuple[int, int] | None, gray: bool) -> Array:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingDependencyError("images need Pillow: pip install 'minidl[images]'") from error

    with open_bytes(path) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # for odd but readable files
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = without_transparency(Image.open(file, formats=_FORMATS)).convert("L" if gray else "RGB")
            return np.array(image.resize(size[::-1], Image.Resampling.BILINEAR) if size else image)
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            limit = f"the {Image.MAX_IMAGE_PIXELS:,} pixels that PIL.Image.MAX_IMAGE_PIXELS allows"
            raise FileFormatError(f"{shown(path)} has more than {limit}: make it smaller") from error
        except Image.UnidentifiedImageError as error:
            file.seek(0)
            raise FileFormatError(f"{shown(path)} is not an image that can be read{_hint(file.read(512))}") from error
        except Exception as error:  # Pillow's readers raise errors of all kinds for damaged fields
            raise FileFormatError(f"{shown(path)} is a damaged image: {error!s:.100}") from error


def _hint(start: bytes) -> str:
    """Return the end of an error about what a file is, by its first bytes."""
    if start[4:8] == b"ftyp":
        return ", but HEIC or AVIF, a format of phones: save it as JPEG"
    return f", but {kind}" if (kind := kind_of(start)) else " (PNG, JPEG, GIF, BMP, TIFF, WebP or PPM)"


def without_transparency(image: Image) -> Image:
    """Return an opened image upright, without transparency, in 8 bits."""
    from PIL import Image as Images
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(image)
    if upright.mode[0] in "IF":
        return Images.fromarray(_eight_bits(np.asarray(upright), is_16_bit=upright.mode.startswith("I;16")))
    if not upright.has_transparency_data:
        return upright.convert("RGB") if upright.mode == "P" else upright
    colored = upright.convert("RGBA")
    red_green_blue, cover = np.split(np.asarray(colored, np.float64), [3], axis=2)
    # White, like paper; black behind white ink, which would be invisible on white.
    brightness = (red_green_blue * cover).sum() / (3 * max(float(cover.sum()), 1))
    ground = Images.new("RGBA", colored.size, "black" if brightness > _NEARLY_WHITE else "white")
    return Images.alpha_composite(ground, colored)


_NEARLY_WHITE = 224
"""Return the mean brightness, from 0 to 255, of the pixels that are not transparent."""


def _eight_bits(pixels: Array, is_16_bit: bool) -> Array:
    if is_16_bit:
        return np.rint(pixels / 257).astype(np.uint8)
    low, high = float(pixels.min()), float(pixels.max())
    if not np.isfinite(high - low):
        raise DataError("the image holds NaN or infinity")
    if low < 0 or high > 255 or pixels.dtype.kind == "f":
        pixels = (pixels - low) / ((high - low) or 1) * 255
    return np.rint(pixels).astype(np.uint8)
