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
    """Return distortions as a tuple; `name` is what errors call them."""
    if not isinstance(value, list | tuple) or not value:
        raise ArgumentTypeError(f"{name} is {value!r}; it must be a list of distortions, such as [Rotation(10)]")
    for each in value:
        if isinstance(each, type):
            raise ArgumentTypeError(f"{name} holds the class {each.__name__}; make one, {each.__name__}(...)")
        if not isinstance(each, Distortion):
            raise ArgumentTypeError(f"{name} holds {each!r}, which is no Distortion")
    return tuple(value)


class Compose(Distortion):
    """Distort images by one distortion after the other.

    Those that move pixels, follow on each other and have the same `fill` are merged: images are resampled once for all
    of them, which is quicker than once for each, and blurs them once. The fields of `Elastic` are then added to the
    places in the old image, wherever among them it stands.

    Parameters
    ----------
    distortions : sequence of Distortion
        ``Compose([Rotation(10), Scaling(0.1), PixelNoise(0.05)], image_shape=(28, 28))``. An `image_shape` of
        theirs serves as well, and must be the same for all.
    image_shape, probability
        As in Distortion; an image that is not chosen passes all of them by.

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
    """Return what neighbours must have in common to be merged; None for one that does not move pixels."""
    return distortion.fill if isinstance(distortion, Geometric) else None
