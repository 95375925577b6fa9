"""Colour images without a download: pieces of scikit-learn's two photographs."""

from __future__ import annotations

import numpy as np
from example_options import needing

from minidl.data import ImageDataset
from minidl.typing import Array

SIZE, STEP = 32, 16
"""The side of a piece, and the distance to the next piece, in pixels: neighbouring pieces overlap by half."""

TRAINED_ON = 0.7
"""The left part of a photograph, from which the training pieces are cut. The test pieces are right of it."""


def load_photographs() -> ImageDataset:
    """Cut pieces out of two photographs: a temple in China, class 0, and a flower, class 1.

    Shapes: x (1350, 32, 32, 3) and (550, 32, 32, 3), uint8, y (1350,) and (550,). No pixel is in both parts.

    Raises MissingDependencyError without Pillow, with which scikit-learn reads the photographs.
    """
    from sklearn.datasets import load_sample_images

    with needing("the photographs need Pillow", "images"):
        photographs = load_sample_images().images
    middle = int(TRAINED_ON * photographs[0].shape[1])
    left = [cut(photograph[:, :middle]) for photograph in photographs]
    right = [cut(photograph[:, middle:]) for photograph in photographs]
    source = "scikit-learn's photographs, in pieces of 32 x 32"
    return ImageDataset(*labelled(left), *labelled(right), source)


def cut(photograph: Array) -> Array:
    """Return all pieces of a photograph (height, width, 3): (N, SIZE, SIZE, 3)."""
    pieces = np.lib.stride_tricks.sliding_window_view(photograph, (SIZE, SIZE), axis=(0, 1))[::STEP, ::STEP]
    return np.moveaxis(pieces, 2, -1).reshape(-1, SIZE, SIZE, 3)


def labelled(pieces: list[Array]) -> tuple[Array, Array]:
    return np.concatenate(pieces), np.repeat(np.arange(len(pieces)), [len(each) for each in pieces])
