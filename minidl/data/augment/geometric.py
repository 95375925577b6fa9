"""Distortions that move pixels: each defines where in the old image a pixel of the new image is read."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from minidl.arrays import as_array, check_finite
from minidl.data.augment.base import Distortion
from minidl.data.augment.resampling import resample
from minidl.errors import ShapeError
from minidl.randomness import draw_16_bits
from minidl.settings import as_flag, as_number, setting
from minidl.typing import Array, Shape


class Geometric(Distortion):
    """Base of the distortions that move pixels: a subclass writes `matrices` or `displacements`.

    Parameters
    ----------
    fill : float, default 0
        The value of pixels outside the image; for uint8 images, 1 is white.
    image_shape, probability
        As in Distortion.
    """

    fill: float = setting(default=0.0, check=as_number)

    def matrices(self, count: int, height: int, width: int, rng: np.random.Generator) -> Array | None:
        """Return matrices (N, 3, 3) that map the position (row, column, 1) of a new pixel to one in the old image.

        Positions are in pixels from the middle of the image.
        """
        return None

    def displacements(self, count: int, height: int, width: int, rng: np.random.Generator) -> Array | None:
        """Return displacements that are added to these positions: (2, N, height, width), rows and columns."""
        return None

    def apply(self, images: Array, rng: np.random.Generator) -> Array:
        return move_pixels([self], images, rng)


def move_pixels(distortions: Sequence[Geometric], images: Array, rng: np.random.Generator) -> Array:
    """Apply several distortions, but resample the images only once.

    With the matrices A, then B, the pixel at u is read at A B u. Displacements are added to this, in any order.
    """
    count, height, width, _ = images.shape
    middle = np.array([(height - 1) / 2, (width - 1) / 2])
    matrices, moves = np.broadcast_to(np.eye(3), (count, 3, 3)), []
    for each in distortions:
        chosen = each.choose(count, rng)
        own = _checked(each, "matrices", (count, 3, 3), rng, images.shape)
        if own is not None:
            matrices = matrices @ np.where(chosen[:, None, None], own, np.eye(3))
        move = _checked(each, "displacements", (2, count, height, width), rng, images.shape)
        if own is None and move is None:
            raise NotImplementedError(f"{type(each).__name__} must define matrices or displacements, and return them")
        if move is not None:
            moves.append(move if chosen.all() else move * chosen[:, None, None].astype(np.float32))

    # One product of matrices: the sums of rows and columns by broadcasting take twice as long.
    halves = np.array(matrices[:, :2].swapaxes(0, 1))  # the rows' and the columns'
    halves[..., 2] += middle[:, None]
    places = halves.reshape(-1, 3).astype(np.float32) @ _grid(height, width)
    places = places.reshape(2, count, height, width)
    for move in moves:
        places += move
    return resample(images, places[0], places[1], distortions[0].fill)


def _checked(each: Geometric, method: str, shape: Shape, rng: np.random.Generator, images: Shape) -> Array | None:
    """Return the result of a distortion's method. Raises ShapeError or DataError unless it holds finite numbers."""
    result: Array | None = getattr(each, method)(*images[:3], rng)
    if result is None:
        return None
    name = f"{type(each).__name__}: the result of {method}"
    result = as_array(result, name)
    if result.shape != shape:
        raise ShapeError(f"{name} has shape {result.shape}; it must have {shape}")
    check_finite(result, name)
    return result


@functools.lru_cache(maxsize=8)
def _grid(height: int, width: int) -> Array:
    """Return row and column of each pixel, counted from the middle, and 1: (3, height * width)."""
    rows, columns = np.indices((height, width)).reshape(2, -1)
    return np.stack([rows - (height - 1) / 2, columns - (width - 1) / 2, np.ones(height * width)]).astype(np.float32)


def _matrices(count: int, **entries: Array) -> Array:
    """Return identity matrices (N, 3, 3), except for the entries given, such as m01 in row 0 and column 1."""
    matrices = np.zeros((count, 3, 3))
    matrices[:, (0, 1, 2), (0, 1, 2)] = 1
    for name, values in entries.items():
        matrices[:, int(name[1]), int(name[2])] = values
    return matrices


class Rotation(Geometric):
    """Turn each image about its middle, by an angle drawn evenly from [-degrees, degrees].

    Parameters
    ----------
    degrees : float in (0, 180], default 10
    fill, image_shape, probability
        As in Geometric and Distortion.
    """

    degrees: float = setting(default=10.0, kw_only=False, above=0, most=180)

    def matrices(self, count: int, height: int, width: int, rng: np.random.Generator) -> Array:
        angle = np.deg2rad(rng.uniform(-self.degrees, self.degrees, count))
        cosine, sine = np.cos(angle), np.sin(angle)
        return _matrices(count, m00=cosine, m01=sine, m10=-sine, m11=cosine)


class Scaling(Geometric):
    """Enlarge or shrink each image about its middle, by a factor drawn evenly from [1 - share, 1 + share].

    Parameters
    ----------
    share : float in (0, 1), default 0.1
    keep_aspect : bool, default True
        Use the same factor for height and width; if False, draw a factor for each.
    fill, image_shape, probability
        As in Geometric and Distortion.
    """

    share: float = setting(default=0.1, kw_only=False, above=0, below=1)
    keep_aspect: bool = setting(default=True, check=as_flag)

    def matrices(self, count: int, height: int, width: int, rng: np.random.Generator) -> Array:
        tall, wide = 1 / rng.uniform(1 - self.share, 1 + self.share, (2, count))
        return _matrices(count, m00=tall, m11=tall if self.keep_aspect else wide)


class Translation(Geometric):
    """Shift each image, down and to the right by shares of its height and width drawn evenly from [-share, share].

    Parameters
    ----------
    share : float in (0, 1], default 0.1
    fill, image_shape, probability
        As in Geometric and Distortion.
    """

    share: float = setting(default=0.1, kw_only=False, above=0, most=1)

    def matrices(self, count: int, height: int, width: int, rng: np.random.Generator) -> Array:
        down, right = rng.uniform(-self.share, self.share, (2, count))
        return _matrices(count, m02=down * height, m12=right * width)


class Shear(Geometric):
    """Shear each image, so that its vertical lines lean by an angle drawn evenly from [-degrees, degrees].

    Parameters
    ----------
    degrees : float in (0, 90), default 10
    fill, image_shape, probability
        As in Geometric and Distortion.
    """

    degrees: float = setting(default=10.0, kw_only=False, above=0, below=90)

    def matrices(self, count: int, height: int, width: int, rng: np.random.Generator) -> Array:
        return _matrices(count, m10=np.tan(np.deg2rad(rng.uniform(-self.degrees, self.degrees, count))))


class Elastic(Geometric):
    """Move each pixel by a random field that changes smoothly, like the tremor of a writing hand.

    Two numbers for each pixel, drawn evenly from [-1, 1], are smoothed by a Gaussian and multiplied by `strength`. They
    are the shifts down and to the right.

    Parameters
    ----------
    strength : float in (0, 10_000], default 34
        alpha in the paper. Far from the edges, the standard deviation of a shift is about
        ``0.16 strength / smoothness``: by default 1.4 pixels.
    smoothness : float in (0, 1000], default 4
        sigma in the paper: standard deviation of the Gaussian, in pixels. Numbers outside the image count as 0.
    fill, image_shape, probability
        As in Geometric and Distortion.

    Source: Simard, Steinkraus and Platt (2003), "Best practices for convolutional neural networks applied to visual
    document analysis", ICDAR; the defaults are theirs for 28 x 28 pixels.
    """

    strength: float = setting(default=34.0, kw_only=False, above=0, most=10_000)
    smoothness: float = setting(default=4.0, above=0, most=1000)

    def displacements(self, count: int, height: int, width: int, rng: np.random.Generator) -> Array:
        # Signed 16-bit numbers: -2^15 means -1.
        noise = draw_16_bits(rng, 2 * count * height * width).view(np.int16).reshape(2, count, height, width)
        field = noise.astype(np.float32) @ _smoothing(width, self.smoothness)
        return np.float32(self.strength / 2**15) * _smoothing(height, self.smoothness) @ field


@functools.lru_cache(maxsize=8)
def _smoothing(size: int, deviation: float) -> Array:
    """Return the symmetric matrix (size, size) that smooths along an axis with a Gaussian of this deviation."""
    reach = math.ceil(4 * deviation)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    distances = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    within = np.where(distances <= reach, np.exp(-0.5 * (distances / deviation) ** 2), 0)
    return (within / weights.sum()).astype(np.float32)
