"""The base of the distortions: it takes images in any layout, works in blocks of floats, and uses one generator."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.arrays import as_array
from minidl.errors import ArgumentError, ArgumentTypeError, DataError, ShapeError, counted
from minidl.settings import Configurable, as_shape, setting
from minidl.typing import Array, Shape

_NUMBERS_AT_ONCE = 131_072
"""Images are distorted in blocks of at most this many numbers, which stay in the processor's cache."""


def _as_image_shape(value: Any, name: str) -> Shape:
    """Check an image shape and return it; errors call it `name`."""
    shape = as_shape(value, name)
    if not 2 <= len(shape) <= 3:
        raise ArgumentError(f"{name} is {value}; it must be (height, width) or (height, width, channels)")
    return shape


class Distortion(Configurable):
    """Base of the distortions: a subclass writes `distort`; its fields are its settings.

    Parameters
    ----------
    image_shape : (height, width) or (height, width, channels), optional
        Required for flat images, (N, height * width * channels). Other images need it only if their channels seem to
        be first, such as images of height 1.
    probability : float in [0, 1], default 1
        The share of the images that are distorted; the others do not change.

    Raises ArgumentError or ArgumentTypeError whenever a setting gets a value out of its range.
    """

    image_shape: Shape | None = setting(default=None, check=_as_image_shape)
    probability: float = setting(default=1.0, low=0, most=1)

    def distort(self, images: Array, rng: np.random.Generator) -> Array:
        """Return all images distorted: an array of floats of the same shape.

        `images` is a float32 array (N, height, width, channels) that may be overwritten; uint8 pixels have been scaled
        to [0, 1]. All random numbers come from `rng`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define distort(images, rng)")

    def apply(self, images: Array, rng: np.random.Generator) -> Array:
        """Distort the images that `probability` chooses; `images` and the result are as for `distort`."""
        chosen = self.choose(len(images), rng)
        before = None if chosen.all() else images.copy()
        distorted = self.distort(images, rng)
        if not isinstance(distorted, np.ndarray) or distorted.shape != images.shape or distorted.dtype.kind != "f":
            returned = (
                f"{distorted.dtype} {distorted.shape}" if isinstance(distorted, np.ndarray) else f"{distorted!r:.80}"
            )
            raise ShapeError(
                f"{type(self).__name__}: distort must return floats of the input's shape, {images.shape}, not "
                f"{returned}"
            )
        if before is None:
            return distorted
        before[chosen] = distorted[chosen]
        return before

    def __call__(self, images: Array, rng: np.random.Generator | int | None = None) -> Array:
        """Return images distorted at random, each in its own way.

        Parameters
        ----------
        images : array (N, height, width, channels), (N, height, width), or flat (N, height * width * channels)
            uint8 pixels or floats. Flat images need `image_shape`.
        rng : Generator or seed, optional
            The same seed gives the same bits. None: different each time.

        Returns
        -------
        array of the same shape and dtype
            Computed as float32. uint8 pixels are rounded and clipped to 0 .. 255.

        Raises
        ------
        ShapeError
            If the images' shape is not known or does not fit. Also for images that seem to have their channels first:
            channels must be last.
        DataError
            For anything but uint8 pixels and floats.
        """
        images, generator = as_array(images, "images"), self._generator(rng)
        if images.dtype != np.uint8 and images.dtype.kind != "f":
            raise DataError(f"{type(self).__name__}: images hold {images.dtype} values; give uint8 pixels or floats")
        height, width, channels = self._shape_of(images)
        count = len(images)
        self.check_images(height, width)
        pixels = images.reshape(count, height, width, channels)
        distorted = np.empty_like(pixels)
        blocks = math.ceil(count / max(_NUMBERS_AT_ONCE // (height * width * channels), 1))
        at_once = math.ceil(count / max(blocks, 1)) or 1
        for start in range(0, count, at_once):
            block = slice(start, start + at_once)
            if images.dtype == np.uint8:
                result = self.apply(np.multiply(pixels[block], np.float32(1 / 255), dtype=np.float32), generator)
                result = result * np.float32(255)
                np.rint(result, out=result)
                distorted[block] = np.clip(result, 0, 255, out=result)
            else:
                distorted[block] = self.apply(pixels[block].astype(np.float32), generator)
        return distorted.reshape(images.shape)

    def check_images(self, height: int, width: int) -> None:
        """Raise ShapeError if images of this size are too small for the distortion."""

    def choose(self, count: int, rng: np.random.Generator) -> Array:
        """Draw which images are distorted: booleans (N,)."""
        return rng.random(count) < self.probability if self.probability < 1 else np.ones(count, bool)

    def _generator(self, rng: np.random.Generator | int | None) -> np.random.Generator:
        try:
            return np.random.default_rng(rng)
        except (TypeError, ValueError) as error:
            raise ArgumentTypeError(
                f"{type(self).__name__}: rng is {rng!r:.80}; it must be a Generator, a seed or None"
            ) from error

    def _shape_of(self, images: Array) -> Shape:
        """Return height, width and channels."""
        name, shape = type(self).__name__, images.shape[1:]
        if not 1 <= len(shape) <= 3 or 0 in shape:
            raise ShapeError(
                f"{name}: images have shape (N, height, width, channels), (N, height, width) or (N, numbers), not "
                f"{images.shape}"
            )
        if len(shape) == 1 and self.image_shape is None:
            raise ShapeError(
                f"{name}: the images are flat, {counted(shape[0], 'number')} each: give image_shape, such as (28, 28), "
                "or a single image as images[None]"
            )
        expected = self.image_shape
        given = expected if len(shape) == 1 and expected is not None else shape
        height, width, channels = given if len(given) == 3 else (*given, 1)
        if math.prod(shape) != height * width * channels or (
            expected is not None and (height, width, channels) != (*expected, 1)[:3]
        ):
            raise ShapeError(f"{name}: image_shape is {expected}, but the images have shape {shape} each")
        if _has_channels_first(given) and shape != expected:
            if len(shape) == 3:
                cure = f"pass images.transpose(0, 2, 3, 1), or, if their height is {height}, image_shape={shape}"
            elif height == 1:
                cure = f"give image_shape={given[1:]}"
            else:
                cure = f"pass images.reshape{(-1, *given)}.transpose(0, 2, 3, 1)"
            raise ShapeError(
                f"{name}: images of shape {given} look like (channels, height, width), but channels are last "
                f"here: {cure}"
            )
        return height, width, channels


def _has_channels_first(shape: Shape) -> bool:
    """Whether it looks like the shape (channels, height, width) of an image: gray or in colour, also with alpha."""
    return len(shape) == 3 and shape[0] in {1, 3, 4} and min(shape[1:]) > 4
