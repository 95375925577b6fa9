"""Distortions that change pixel values: noise, blank squares, and colours."""

from __future__ import annotations

import numpy as np

from minidl.data.augment.base import Distortion
from minidl.errors import ShapeError
from minidl.settings import as_number, setting
from minidl.typing import Array

_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
"""The weights of red, green and blue in brightness (ITU-R BT.601); they sum to 1."""


class PixelNoise(Distortion):
    """Add a normal random number to each pixel, ``y = x + standard_deviation z`` with z ~ N(0, 1).

    The layer `GaussianNoise` does the same inside a network, only in training.

    Parameters
    ----------
    standard_deviation : float > 0, default 0.1
        In the units of the images; for uint8 images, 1 is white.
    image_shape, probability
        As in Distortion.

    Source: Bishop (1995), "Training with noise is equivalent to Tikhonov regularization", Neural Computation 7.
    """

    standard_deviation: float = setting(default=0.1, kw_only=False, above=0)

    def distort(self, images: Array, rng: np.random.Generator) -> Array:
        noise = rng.standard_normal(images.shape, np.float32)
        noise *= self.standard_deviation
        noise += images
        return noise


class CutOut(Distortion):
    """Blank a square of each image, so that the network does not rely on a single part.

    The center of the square may be any pixel; near an edge, part of the square lies outside the image.

    Parameters
    ----------
    size : int >= 1, default 8
        The side of the square in pixels; at most the image's longer side.
    fill : float, default 0
        The value of the square's pixels; for uint8 images, 1 is white.
    image_shape, probability
        As in Distortion.

    Source: DeVries and Taylor (2017), arXiv:1708.04552.
    """

    size: int = setting(default=8, kw_only=False, low=1, whole=True)
    fill: float = setting(default=0.0, check=as_number)

    def check_images(self, height: int, width: int) -> None:
        if self.size > max(height, width):
            raise ShapeError(f"CutOut: a square of {self.size} pixels does not fit images of {height} x {width}")

    def distort(self, images: Array, rng: np.random.Generator) -> Array:
        count, height, width, _ = images.shape
        rows, columns = (self._covered(length, count, rng) for length in (height, width))
        images[rows[:, :, None] & columns[:, None, :]] = self.fill
        return images

    def _covered(self, length: int, count: int, rng: np.random.Generator) -> Array:
        """Draw which positions along an axis belong to the square: booleans (N, length)."""
        first = rng.integers(length, size=(count, 1)) - self.size // 2
        place = np.arange(length)
        return (first <= place) & (place < first + self.size)


class ColorJitter(Distortion):
    """Change brightness, contrast and saturation of each image, by factors drawn evenly from [1 - share, 1 + share].

    The factors are b, c and s; g is the gray value of a pixel, and m the mean of g over the image. The changes are,
    in this order: brightness ``b x``, contrast ``c x + (1 - c) m``, saturation ``s x + (1 - s) g``. Together:
    ``y = b (c s x + c (1 - s) g + (1 - c) m)``.

    Parameters
    ----------
    brightness, contrast, saturation : float in [0, 1], default 0.2
        The shares; 0 does not change the property.
    image_shape, probability
        As in Distortion.

    With three channels, g is 0.299 red + 0.587 green + 0.114 blue; otherwise it is the mean of the channels. So images
    with one channel have no saturation to change. uint8 pixels are clipped to 0 .. 255 at the end; floats may leave
    their range. Sources: torchvision's ``ColorJitter`` for the names; ITU-R BT.601 for gray.
    """

    brightness: float = setting(default=0.2, low=0, most=1)
    contrast: float = setting(default=0.2, low=0, most=1)
    saturation: float = setting(default=0.2, low=0, most=1)

    def distort(self, images: Array, rng: np.random.Generator) -> Array:
        count, channels = len(images), images.shape[-1]
        shares = np.array([[self.brightness], [self.contrast], [self.saturation]])
        b, c, s = (1 + shares * rng.uniform(-1, 1, (3, count))).astype(np.float32)[:, :, None, None, None]
        weights = _LUMINANCE if channels == len(_LUMINANCE) else np.full(channels, 1 / channels, np.float32)
        gray = (images @ weights)[..., None]
        mean = gray.mean(axis=(1, 2), keepdims=True)
        images *= b * c * s
        gray *= b * c * (1 - s)
        gray += b * (1 - c) * mean
        images += gray
        return images
