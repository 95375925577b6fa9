"""A digit in a photograph, made into an image as those of MNIST.

The brightness of the paper is estimated at each pixel, as light is uneven. What stands out from it is ink. The ink's
shape, in black and white, is made so small that it fits into a box, which gives gray levels at its edges; and it is
moved until its center of mass is in the middle. So did the makers of MNIST with what they had scanned.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from minidl.arrays import as_array, check_finite
from minidl.data.images import without_transparency
from minidl.errors import DataError, MissingDependencyError, ShapeError
from minidl.typing import Array

_FIELD, _BOX, _MIDDLE = 28, 20, 14
"""Pixels of a side of MNIST's images, and of the box that a digit fills; the pixel that its center of mass is at."""

_LUMINANCE = np.array([0.299, 0.587, 0.114])
"""Of red, green and blue, by ITU-R BT.601: Pillow's, too."""

_WORKING_SIDE, _FINE_SIDE = 400, 8 * _BOX
"""The longer side, in pixels, of what ink is looked for in, and, at least, of a digit while its shape is worked out."""

_FAINTEST, _NOISE = 0.22, 4
"""Ink differs from the paper by more than this share s of the brightness, and than 4 / s times the noise: what is faint
must be clear."""

# Shares of the longer side of the photograph.
_WIDEST = 0.3  # strokes are narrower
_SMALLEST = 0.03  # digits are larger
_INSIDE = 0.05  # what is inside and so large may be the digit, whatever is at the edges
_SOFTEST = 0.03  # the edges of ink are less wide, or less than six pixels; those of shadows are softer

_PIECE = 0.1
"""A piece of the digit has at least this share of the pixels of the largest one."""

_THINNEST, _THICKEST = 0.1, 0.2
"""Width of a stroke, as a share of the digit's longer side: that of most of MNIST's digits is between them."""


def center_digit(image: Any) -> Array:
    """Cut the one digit out of a photograph, and center it as the digits of MNIST are.

    The digit may be dark on light or light on dark, at any place, under uneven light. It must be upright, the largest
    thing on its paper, and not much smaller than a tenth of the photograph. What touches the edges, such as a table
    beside the paper, is left out if a digit is found inside.

    Parameters
    ----------
    image : array of shape (height, width), (height, width, 1) or (height, width, 3), or a Pillow image
        Brightness, or red, green and blue, on any scale: 0-255, 0-1, or 16 bits. A Pillow image is turned upright, and
        what is transparent becomes paper, as by :func:`load_images`.

    Returns
    -------
    array of shape (28, 28), uint8
        The digit, light (255) on dark (0). Its longer side is 20 pixels, its center of mass at pixel (14, 14), to half
        a pixel, as far as the image has room. Very thin strokes have become thicker, and very thick ones thinner, as
        other pens write than those of MNIST's digits.

    Raises
    ------
    ShapeError
        The image has another shape.
    DataError
        The image is empty: nothing stands out from its paper. Or it holds NaN or infinity.

    Source: LeCun et al. (1998), "Gradient-based learning applied to document recognition", section III.A, and the page
    of MNIST, http://yann.lecun.com/exdb/mnist/. Threshold: Otsu (1979), https://doi.org/10.1109/TSMC.1979.4310076.
    """
    gray = _as_gray(image)
    ink = _ink(_fitted(gray, _WORKING_SIDE))
    digit = _digit(ink)
    if max(gray.shape) > _WORKING_SIDE:  # there is more to see where the digit is
        ink = _ink(_fitted(_around(gray, digit), _WORKING_SIDE))
        digit = _digit(ink)
    return _at_center(_in_box(_usual_strokes(_shape(ink, digit))))


def _as_gray(image: Any) -> Array:
    """Return brightness from 0 to 1, (height, width)."""
    if hasattr(image, "getexif"):  # a Pillow image, which may be on its side, have a palette, or be transparent
        image = without_transparency(image).convert("L")
    pixels = as_array(np.asarray(image), "image")
    if pixels.ndim not in {2, 3} or pixels.shape[2:] not in {(), (1,), (3,)}:
        cure = "give one image at a time, and without transparency, as load_images reads files"
        raise ShapeError(f"an image has shape (height, width) or (height, width, 3), not {pixels.shape}: {cure}")
    if not pixels.size:
        raise DataError(f"the image is empty: its shape is {pixels.shape}")
    check_finite(pixels, "image")
    gray = np.asarray(pixels @ _LUMINANCE if pixels.shape[2:] == (3,) else pixels.reshape(pixels.shape[:2]))
    gray = gray - min(float(gray.min()), 0.0)
    return (gray / (gray.max() or 1)).astype(np.float32)


def _resized(pixels: Array, height: int, width: int, how: Literal["BOX", "BILINEAR", "BICUBIC"]) -> Array:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingDependencyError("center_digit needs Pillow: pip install -e '.[images]'") from error
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling[how]))


def _fitted(pixels: Array, longer_side: int, how: Literal["BOX", "BICUBIC"] = "BOX", enlarge: bool = False) -> Array:
    """Make an image smaller until its longer side is this one; also larger, if `enlarge`."""
    share = longer_side / max(pixels.shape)
    if share >= 1 and not enlarge:
        return pixels
    height, width = (max(round(side * share), 1) for side in pixels.shape)
    return _resized(pixels, height, width, how)


def _ink(gray: Array) -> Array:
    """Return how much each pixel differs from the paper, as a share of the brightness; ink is positive.

    The paper is what remains when all is filled that is narrower than a square: closing fills dark ink, opening light
    ink. Both keep the edge of a shadow as it is, and light that falls off to one side.
    """
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(gray, max(gray.shape) / _WORKING_SIDE)
    square = [max(round(_WIDEST * max(gray.shape)), 3)] * 2
    if _is_light_on_dark(gray):
        ink = smooth - ndimage.grey_opening(smooth, square)
    else:
        paper = ndimage.grey_closing(smooth, square)
        ink = (paper - smooth) / np.maximum(paper, 0.05)  # of the light on paper, ink takes a share
    return ink - np.percentile(ink, 25)  # noise makes that paper as bright as its brightest grains


def _is_light_on_dark(gray: Array) -> bool:
    from scipy import ndimage

    small = _fitted(gray, _WORKING_SIDE // 2)
    difference = small - ndimage.gaussian_filter(small, 0.08 * max(small.shape))
    return bool((difference**3).sum() > 0)  # there is less ink than paper, and it differs more


def _threshold(values: Array) -> float:
    """Return the number that divides values into two groups best, by Otsu's rule: their means are far apart."""
    counts, edges = np.histogram(values, 256)
    weighted = counts * (edges[:-1] + edges[1:]) / 2
    below, sum_below = np.cumsum(counts)[:-1], np.cumsum(weighted)[:-1]
    above, sum_above = values.size - below, weighted.sum() - sum_below
    gap = sum_above / np.maximum(above, 1) - sum_below / np.maximum(below, 1)
    return float(edges[1 + (below * above * gap**2).argmax()])


def _digit(ink: Array) -> Array:
    """Return where the digit is; raise DataError if there is none."""
    mask = ink > _threshold(ink)
    strength = float(np.percentile(ink[mask], 99)) if mask.any() else 0.0
    noise = float(ink[~mask].std()) if not mask.all() else 0.0
    if strength > _FAINTEST and strength**2 > _NOISE * noise:
        # Otsu's rule may have put what is faint on the side of ink, such as the lines of ruled paper.
        digit = _main_parts(mask & (ink > 0.4 * strength), ink / strength)
        if digit.any() and max(digit[_box(digit)].shape) >= _SMALLEST * max(ink.shape):
            return digit
    raise DataError("the image is empty: no digit stands out from its paper")


def _main_parts(mask: Array, ink: Array) -> Array:
    """Return the largest connected part, and those that are not much smaller, as a digit may be in pieces.

    Shadows are left out, as their edges are soft. Parts at the edges of the image are taken only if nothing inside is
    large enough for a digit.
    """
    from scipy import ndimage

    parts, count = ndimage.label(mask, np.ones((3, 3)))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    edges = np.where(ndimage.binary_erosion(mask, border_value=1), 0, parts)
    slope = np.hypot(*np.gradient(ink)) if min(ink.shape) > 1 else np.ones_like(ink)
    lengths = np.bincount(edges.ravel(), minlength=count + 1)
    slopes = np.bincount(edges.ravel(), slope.ravel(), count + 1) / np.maximum(lengths, 1)
    sizes[slopes * max(_SOFTEST * max(ink.shape), 6) < 0.5] = 0
    sizes[0] = 0
    inside = sizes.copy()
    inside[np.concatenate([parts[[0, -1]].ravel(), parts[:, [0, -1]].ravel()])] = 0
    if inside.any() and np.ptp(np.argwhere(parts == inside.argmax()), axis=0).max() >= _INSIDE * max(mask.shape):
        sizes = inside
    return ((sizes > 0) & (sizes >= _PIECE * sizes.max()))[parts]


def _box(mask: Array) -> tuple[slice, slice]:
    """Return the smallest box that holds all that is True, as rows and columns."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _around(gray: Array, digit: Array) -> Array:
    """Cut out of a photograph what is around the digit, which was found in a smaller copy."""
    box = _box(digit)
    margin = max(digit[box].shape) / 2
    places = []
    for side, small_side, found in zip(gray.shape, digit.shape, box, strict=True):
        scale = side / small_side
        places.append(slice(max(round((found.start - margin) * scale), 0), round((found.stop + margin) * scale)))
    return gray[tuple(places)]


def _shape(ink: Array, digit: Array) -> Array:
    """Return the digit's shape, black or white, enlarged."""
    from scipy import ndimage

    box = _box(digit)
    ink, digit = np.pad(ink[box], 2), np.pad(digit[box], 2).astype(np.float32)
    # Where light on dark is in a shadow, its ink is fainter: an edge is at half of the ink nearby.
    reach = max(digit.shape) / 6
    nearby = ndimage.gaussian_filter(ink * digit, reach) / np.maximum(ndimage.gaussian_filter(digit, reach), 1e-6)
    share = np.clip(ink / np.maximum(nearby, 1e-6), 0, 1) * ndimage.maximum_filter(digit, 3)
    return _fitted(share.astype(np.float32), max(_FINE_SIDE, *share.shape), "BICUBIC", enlarge=True) > 0.5


def _usual_strokes(shape: Array) -> Array:
    """Make strokes thicker that are thinner than any of MNIST's, and those thinner that are thicker."""
    from scipy import ndimage

    longer_side = max(shape[_box(shape)].shape)
    shape = np.pad(shape, round(_THICKEST * longer_side))
    depth = ndimage.distance_transform_edt(shape)
    width = (4 * depth[shape].mean() - 2) / longer_side  # in a bar of w pixels, the next outside is w / 4 + 0.5 away
    change = (np.clip(width, _THINNEST, _THICKEST) - width) / 2 * longer_side
    return ndimage.distance_transform_edt(~shape) <= change if change > 0 else depth > -change


def _in_box(shape: Array) -> Array:
    """Make the shape so small that its longer side is that of the box; each pixel is the mean of what was there."""
    digit = shape[_box(shape)].astype(np.float32)
    return np.rint(255 * _fitted(digit, _BOX)).astype(np.uint8)


def _at_center(digit: Array) -> Array:
    """Put the digit onto a dark field, with its center of mass in the middle, as far as it has room."""
    from scipy import ndimage

    center = ndimage.center_of_mass(digit)
    top, left = (
        int(np.clip(round(_MIDDLE - place), 0, _FIELD - side)) for place, side in zip(center, digit.shape, strict=True)
    )
    field = np.zeros((_FIELD, _FIELD), np.uint8)
    field[top : top + digit.shape[0], left : left + digit.shape[1]] = digit
    return field
