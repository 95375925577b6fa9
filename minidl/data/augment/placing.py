"""Distortions that move whole pixels without changing them: flips and shifts."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minidl.data.augment.base import Distortion
from minidl.settings import as_number, setting
from minidl.typing import Array


class HorizontalFlip(Distortion):
    """Flip images from left to right, as in a mirror.

    Parameters
    ----------
    probability : float in [0, 1], default 0.5
        The share of the images that are flipped.
    image_shape
        As in Distortion.
    """

    probability: float = setting(default=0.5, low=0, most=1)

    def distort(self, images: Array, rng: np.random.Generator) -> Array:
        return images[:, :, ::-1]


class VerticalFlip(Distortion):
    """Flip images upside down.

    Parameters
    ----------
    probability : float in [0, 1], default 0.5
        The share of the images that are flipped.
    image_shape
        As in Distortion.
    """

    probability: float = setting(default=0.5, low=0, most=1)

    def distort(self, images: Array, rng: np.random.Generator) -> Array:
        return images[:, ::-1]


class RandomCrop(Distortion):
    """Shift each image at random: add a margin around it, and cut out a piece of the original size anywhere.

    Parameters
    ----------
    padding : int >= 1, default 4
        The width of the margin, and so the largest shift in each direction, in pixels.
    fill : float, default 0
        The value of the margin's pixels; for uint8 images, 1 is white.
    image_shape, probability
        As in Distortion.

    Source: He et al. (2015), arXiv:1512.03385, for CIFAR-10: 4 pixels, and a horizontal flip.
    """

    padding: int = setting(default=4, kw_only=False, low=1, whole=True)
    fill: float = setting(default=0.0, check=as_number)

    def distort(self, images: Array, rng: np.random.Generator) -> Array:
        count, height, width, channels = images.shape
        margin = self.padding
        padded = np.full((count, height + 2 * margin, width + 2 * margin, channels), self.fill, images.dtype)
        padded[:, margin:-margin, margin:-margin] = images
        across, down, right, number = padded.strides
        # All pieces that could be cut out, (N, top, left, row, number in a row); each image takes one.
        shape = (count, 2 * margin + 1, 2 * margin + 1, height, width * channels)
        pieces = as_strided(padded, shape, (across, down, right, down, number), writeable=False)
        top, left = rng.integers(2 * margin + 1, size=(2, count))
        return pieces[np.arange(count), top, left].reshape(images.shape)
