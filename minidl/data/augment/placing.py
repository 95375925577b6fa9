"""Distortions that put whole pixels elsewhere: images turned over, and shifted; no pixel changes."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minidl.data.augment.base import Distortion
from minidl.settings import as_number, setting
from minidl.typing import Array


class HorizontalFlip(Distortion):
    """Turn images over, left to right, as in a mirror.

    Parameters
    ----------
    probability : float in [0, 1], default 0.5
        The share of the images that are turned over.
    image_shape
        As in Distortion.
    """

    probability: float = setting(default=0.5, low=0, most=1)

    def distort(self, images: Array, rng: np.random.Generator) -> Array:
        return images[:, :, ::-1]


class VerticalFlip(Distortion):
    """Turn images upside down, as in water.

    Parameters
    ----------
    probability : float in [0, 1], default 0.5
        The share of the images that are turned over.
    image_shape
        As in Distortion.
    """

    probability: float = setting(default=0.5, low=0, most=1)

    def distort(self, images: Array, rng: np.random.Generator) -> Array:
        return images[:, ::-1]


class RandomCrop(Distortion):
    """Put a margin around each image and cut a piece of the image's size out of that, at any place: a shift.

    Parameters
    ----------
    padding : int >= 1, default 4
        The margin's width in pixels; so each image is shifted by at most so many, down or up, and right or left.
    fill : float, default 0
        What the margin holds; of uint8 pixels 1 is white.
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
        # Every piece that could be cut out, (N, top, left, row, number in a row), of which each image takes one.
        shape = (count, 2 * margin + 1, 2 * margin + 1, height, width * channels)
        pieces = as_strided(padded, shape, (across, down, right, down, number), writeable=False)
        top, left = rng.integers(2 * margin + 1, size=(2, count))
        return pieces[np.arange(count), top, left].reshape(images.shape)
