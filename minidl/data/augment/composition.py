"""Several distortions as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from minidl.data.augment.base import Distortion
from minidl.data.augment.geometric import Geometric, move_pixels
from minidl.errors import ArgumentTypeError
from minidl.typing import Array

__all__ = ["Compose"]


@dataclass(eq=False)
class Compose(Distortion):
    """Distort images by one distortion after the other.

    Those that move pixels and follow on each other are merged: images are resampled once for all of them, which is
    quicker than once for each, and blurs them once. Their `fill` is then that of the first.

    Parameters
    ----------
    distortions : sequence of Distortion
        ``Compose([Rotation(10), Scaling(0.1), GaussianNoise(0.05)], image_shape=(28, 28))``. Their own `image_shape`
        does not count.
    image_shape, probability
        As in Distortion; an image that is not chosen passes all of them by.
    """

    distortions: Sequence[Distortion]

    def check(self) -> None:
        super().check()
        if not isinstance(self.distortions, list | tuple) or not self.distortions:
            raise ArgumentTypeError(
                f"Compose takes a list of distortions, such as [Rotation(10)], not {self.distortions!r}"
            )
        for each in self.distortions:
            if not isinstance(each, Distortion):
                raise ArgumentTypeError(f"Compose: {each!r} is no Distortion")
            each.check()

    def check_images(self, height: int, width: int) -> None:
        for each in self.distortions:
            each.check_images(height, width)

    def distort(self, images: Array, rng: np.random.Generator) -> Array:
        kept = ~self.choose(len(images), rng)
        originals = images[kept]
        for moving, group in groupby(self.distortions, key=lambda each: isinstance(each, Geometric)):
            if moving:
                images = move_pixels([each for each in group if isinstance(each, Geometric)], images, rng)
            else:
                for each in group:
                    images = each.distort(images, rng)
        images[kept] = originals
        return images
