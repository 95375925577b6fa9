"""Turn a digit in a photograph into an image like those of MNIST.

Light is uneven, so the code estimates the brightness of the paper at each pixel. Pixels that differ from it are ink.
The black-and-white shape of the ink is scaled down to fit into a box, which gives gray levels at its edges. Then it is
moved so that its center of mass is in the middle. The makers of MNIST did the same with their scans.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from minidl.arrays import as_array, check_finite
from minidl.data.images import without_transparency
from minidl.errors import DataError, MissingDependencyError, ShapeError
from minidl.typing import Array

_FIELD, _BOX, _MIDDLE = 28, 20, 14
"""In pixels: the side of MNIST's images, the side of a digit's box, and the position of its center of mass."""

_LUMINANCE = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue, by ITU-R BT.601; Pillow uses the same."""

_WORKING_SIDE, _FINE_SIDE = 400, 8 * _BOX
"""The longer side, in pixels, of the image in which ink is searched; and its minimum while the digit is shaped."""

_FAINTEST, _NOISE = 0.22, 4
"""Ink differs from the paper by a share s of the brightness: s > _FAINTEST, and s > _NOISE / s times the noise."""

# Shares of the longer side of the photograph.
_WIDEST = 0.3  # strokes are narrower
_SMALLEST = 0.03  # digits are larger
_INSIDE = 0.05  # a part of this size inside the image may be the digit, whatever is at the edges
_SOFTEST = 0.03  # the edges of ink are narrower than this or than six pixels; shadows have softer edges

_PIECE = 0.1
"""A piece of the digit has at least this share of the pixels of the largest one."""

_THINNEST, _THICKEST = 0.1, 0.2
"""Width of a stroke, as a share of the digit's longer side; most of MNIST's digits are between the two."""


def center_digit(image: Any) -> Array:
    """Cut the one digit out of a photograph, and center it like the digits of MNIST.

    The digit may be dark on light or light on dark, anywhere, under uneven light. It must be upright, the largest
    object on its paper, and not much smaller than a tenth of the photograph. Objects that touch the edges, such as a
    table beside the paper, are ignored if there is a digit inside.

    Parameters
    ----------
    image : array of shape (height, width), (height, width, 1) or (height, width, 3), or a Pillow image
        Brightness, or red, green and blue, on any scale: 0-255, 0-1, or 16 bits. A Pillow image is turned upright, and
        transparent pixels become paper, as in :func:`load_images`.

    Returns
    -------
    array of shape (28, 28), uint8
        The digit, light (255) on dark (0). Its longer side is 20 pixels. Its center of mass is within half a pixel of
        pixel (14, 14), if there is room. Very thin strokes become thicker and very thick ones thinner, to match the
        pens of MNIST's digits.

    Raises
    ------
    ShapeError
        The image has another shape.
    DataError
        The image is empty: nothing differs enough from its paper. Or it holds NaN or infinity.

    Source: LeCun et al. (1998), "Gradient-based learning applied to document recognition", section III.A, and the page
    of MNIST, http://yann.lecun.com/exdb/mnist/. Threshold: Otsu (1979), https://doi.org/10.1109/TSMC.1979.4310076.
    """
    gray = _as_gray(image)
    ink = _ink(_fitted(gray, _WORKING_SIDE))
    digit = _digit(ink)
    if max(gray.shape) > _WORKING_SIDE:  # more detail around the digit
        ink = _ink(_fitted(_around(gray, digit), _WORKING_SIDE))
        digit = _digit(ink)
    return _at_center(_in_box(_usual_strokes(_shape(ink, digit))))


def _as_gray(image: Any) -> Array:
    """Return brightness from 0 to 1, (height, width)."""
    if hasattr(image, "getexif"):  # a Pillow image, which may be on its side, have a palette, or be transparent
        image = without_transparency(image).convert("L")
    pixels = as_array(np.asarray(image), "image")
    if pixels.ndim not in {2, 3} or pixels.shape[2:] not in {(), (1,), (3,)}:
        cure = "give one image at a time, without transparency; load_images reads files in this way"
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
        raise MissingDependencyError("center_digit needs Pillow: pip install 'minidl[images]'") from error
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling[how]))


def _fitted(pixels: Array, longer_side: int, how: Literal["BOX", "BICUBIC"] = "BOX", enlarge: bool = False) -> Array:
    """Scale an image down until its longer side is `side`; if `enlarge`, also up."""
    share = longer_side / max(pixels.shape)
    if share >= 1 and not enlarge:
        return pixels
    height, width = (max(round(side * share), 1) for side in pixels.shape)
    return _resized(pixels, height, width, how)


def _ink(gray: Array) -> Array:
    """Return how much each pixel differs from the paper, as a share of the brightness; ink is positive.

    To find the paper, everything narrower than a square is filled: closing fills dark ink, opening fills light ink.
    Both keep the edges of shadows, and light that falls off to one side.
    """
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(gray, max(gray.shape) / _WORKING_SIDE)
    square = [max(round(_WIDEST * max(gray.shape)), 3)] * 2
    if _is_light_on_dark(gray):
        ink = smooth - ndimage.grey_opening(smooth, square)
    else:
        paper = ndimage.grey_closing(smooth, square)
        ink = (paper - smooth) / np.maximum(paper, 0.05)  # ink absorbs a share of the light on the paper
    return ink - np.percentile(ink, 25)  # noise makes the estimated paper as bright as its brightest grains


def _is_light_on_dark(gray: Array) -> bool:
    from scipy import ndimage

    small = _fitted(gray, _WORKING_SIDE // 2)
    difference = small - ndimage.gaussian_filter(small, 0.08 * max(small.shape))
    return bool((difference**3).sum() > 0)  # there is less ink than paper, and it differs more


def _threshold(values: Array) -> float:
    """Return the best threshold between two groups of values by Otsu's rule: it separates their means most."""
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
        # Otsu's rule may count faint pixels as ink, such as the lines of ruled paper.
        digit = _main_parts(mask & (ink > 0.4 * strength), ink / strength)
        if digit.any() and max(digit[_box(digit)].shape) >= _SMALLEST * max(ink.shape):
            return digit
    raise DataError("the image is empty: no digit differs clearly from its paper")


def _main_parts(mask: Array, ink: Array) -> Array:
    """Return the largest connected part and those that are not much smaller: a digit may be in pieces.

    Shadows are left out because their edges are soft. Parts at the edges of the image are used only if nothing inside
    is large enough for a digit.
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
    """Return the smallest box that contains all True entries, as rows and columns."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _around(gray: Array, digit: Array) -> Array:
    """Cut the digit and its surroundings out of a photograph; the digit was found in a smaller copy."""
    box = _box(digit)
    margin = max(digit[box].shape) / 2
    places = []
    for side, small_side, found in zip(gray.shape, digit.shape, box, strict=True):
        scale = side / small_side
        places.append(slice(max(round((found.start - margin) * scale), 0), round((found.stop + margin) * scale)))
    return gray[tuple(places)]


def _shape(ink: Array, digit: Array) -> Array:
    """Return the digit's enlarged shape in black and white."""
    from scipy import ndimage

    box = _box(digit)
    ink, digit = np.pad(ink[box], 2), np.pad(digit[box], 2).astype(np.float32)
    # Light ink in a shadow is fainter: an edge is at half of the ink nearby.
    reach = max(digit.shape) / 6
    nearby = ndimage.gaussian_filter(ink * digit, reach) / np.maximum(ndimage.gaussian_filter(digit, reach), 1e-6)
    share = np.clip(ink / np.maximum(nearby, 1e-6), 0, 1) * ndimage.maximum_filter(digit, 3)
    return _fitted(share.astype(np.float32), max(_FINE_SIDE, *share.shape), "BICUBIC", enlarge=True) > 0.5


def _usual_strokes(shape: Array) -> Array:
    """Make strokes thicker if they are thinner than MNIST's, and thinner if they are thicker."""
    from scipy import ndimage

    longer_side = max(shape[_box(shape)].shape)
    shape = np.pad(shape, round(_THICKEST * longer_side))
    depth = ndimage.distance_transform_edt(shape)
    width = (4 * depth[shape].mean() - 2) / longer_side  # in a bar of w pixels, the next outside is w / 4 + 0.5 away
    change = (np.clip(width, _THINNEST, _THICKEST) - width) / 2 * longer_side
    return ndimage.distance_transform_edt(~shape) <= change if change > 0 else depth > -change


def _in_box(shape: Array) -> Array:
    """Scale the shape down until its longer side is that of the box; each pixel is the mean of the pixels it covers."""
    digit = shape[_box(shape)].astype(np.float32)
    return np.rint(255 * _fitted(digit, _BOX)).astype(np.uint8)


def _at_center(digit: Array) -> Array:
    """Put the digit onto a dark field, with its center of mass in the middle if there is room."""
    from scipy import ndimage

    center = ndimage.center_of_mass(digit)
    top, left = (
        int(np.clip(round(_MIDDLE - place), 0, _FIELD - side)) for place, side in zip(center, digit.shape, strict=True)
    )
    field = np.zeros((_FIELD, _FIELD), np.uint8)
    field[top : top + digit.shape[0], left : left + digit.shape[1]] = digit
    return field
