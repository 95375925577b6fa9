"""Several distortions as one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np

from minidl.data.augment.base import Distortion
from minidl.data.augment.geometric import Geometric, move_pixels
from minidl.errors import ArgumentError, ArgumentTypeError
from minidl.settings import setting
from minidl.typing import Array


def _as_distortions(value: Any, name: str) -> tuple[Distortion, ...]:
    """Check distortions and return them as a tuple; errors call them `name`."""
    if not isinstance(value, list | tuple) or not value:
        raise ArgumentTypeError(f"{name} is {value!r}; it must be a list of distortions, such as [Rotation(10)]")
    for each in value:
        if isinstance(each, type):
            raise ArgumentTypeError(f"{name} holds the class {each.__name__}; create one with {each.__name__}(...)")
        if not isinstance(each, Distortion):
            raise ArgumentTypeError(f"{name} holds {each!r}, which is not a Distortion")
    return tuple(value)


class Compose(Distortion):
    """Apply several distortions, one after the other.

    Neighbouring distortions that move pixels and have the same `fill` are merged: images are resampled only once,
    which is faster and blurs them only once. The displacements of `Elastic` are then added to the positions in the old
    image, whatever its position among the merged distortions.

    Parameters
    ----------
    distortions : sequence of Distortion
        ``Compose([Rotation(10), Scaling(0.1), PixelNoise(0.05)], image_shape=(28, 28))``. They may have the
        `image_shape` instead; it must be the same for all.
    image_shape, probability
        As in Distortion. An image that is not chosen skips all distortions.

    Raises ArgumentTypeError for anything but a list or tuple of distortions, ArgumentError for several image shapes.
    """

    distortions: Sequence[Distortion] = setting(kw_only=False, check=_as_distortions)

    def __post_init__(self) -> None:
        shapes = {each.image_shape for each in (self, *self.distortions) if each.image_shape is not None}
        if len({(*shape, 1)[:3] for shape in shapes}) > 1:
            raise ArgumentError(f"Compose: image_shape differs: {', '.join(map(str, sorted(shapes)))}")
        self.image_shape = self.image_shape or next(iter(shapes), None)

    def check_images(self, height: int, width: int) -> None:
        for each in self.distortions:
            each.check_images(height, width)

    def distort(self, images: Array, rng: np.random.Generator) -> Array:
        for fill, group in groupby(self.distortions, key=_merged_by):
            if fill is None:
                for each in group:
                    images = each.apply(images, rng)
            else:
                images = move_pixels([each for each in group if isinstance(each, Geometric)], images, rng)
        return images


def _merged_by(distortion: Distortion) -> float | None:
    """Return the property that neighbours must share to be merged; None for a distortion that moves no pixels."""
    return distortion.fill if isinstance(distortion, Geometric) else None
