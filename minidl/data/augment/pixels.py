"""Distortions of what pixels hold: noise, and squares cut out."""

from __future__ import annotations

import numpy as np

from minidl.data.augment.base import Distortion
from minidl.errors import ShapeError
from minidl.settings import as_number, setting
from minidl.typing import Array


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
