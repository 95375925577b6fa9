"""Distortions of what pixels hold: noise, squares cut out, and colours."""

from __future__ import annotations

import numpy as np

from minidl.data.augment.base import Distortion
from minidl.errors import ShapeError
from minidl.settings import as_number, setting
from minidl.typing import Array

_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
"""How bright red, green and blue look (ITU-R BT.601); they add up to 1."""


class PixelNoise(Distortion):
    """Add a normal random number to each pixel, ``y = x + standard_deviation z`` with z ~ N(0, 1).

    The layer `GaussianNoise` does so within a network, in training alone.

    Parameters
    ----------
    standard_deviation : float > 0, default 0.1
        In the units of the images; of uint8 pixels 1 is white.
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
    """Blank a square of each image, so that a network learns to do without any one part.

    The middle of the square may be any pixel, so that near the edge a part of the square lies outside.

    Parameters
    ----------
    size : int >= 1, default 8
        Of the square's side, in pixels; at most the image's longer side.
    fill : float, default 0
        What the square holds; of uint8 pixels 1 is white.
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
        """Draw which places along an axis are the square's: truth values (N, length)."""
        first = rng.integers(length, size=(count, 1)) - self.size // 2
        place = np.arange(length)
        return (first <= place) & (place < first + self.size)


class ColorJitter(Distortion):
    """Change brightness, contrast and saturation of each image, by factors drawn evenly from [1 - share, 1 + share].

    With the factors b, c and s, the gray g of a pixel, and the mean m of g over the image, in this order:
    brightness ``b x``, contrast ``c x + (1 - c) m``, saturation ``s x + (1 - s) g``. All at once that is
    ``y = b (c s x + c (1 - s) g + (1 - c) m)``.

    Parameters
    ----------
    brightness, contrast, saturation : float in [0, 1], default 0.2
        The shares; 0 leaves the property as it is.
    image_shape, probability
        As in Distortion.

    Of three channels g is 0.299 red + 0.587 green + 0.114 blue, of other numbers their mean; so images of one channel
    have no saturation to change. uint8 pixels are cut to 0 .. 255 at the end; floats may leave the range that they had.
    Sources: the names are those of torchvision's ``ColorJitter``; ITU-R BT.601 for gray.
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
