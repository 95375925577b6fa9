"""Augmentation: distort images at random each time they are used, so that the network generalizes better.

Call a distortion with images and a random generator: ``Rotation(10)(images, rng)``. `Trainer` does this with each
batch: ``Trainer(model, augment=Compose([Rotation(10), Scaling(0.1)], image_shape=(28, 28)))``.
"""

from minidl.data.augment.base import Distortion
from minidl.data.augment.composition import Compose
from minidl.data.augment.geometric import Elastic, Geometric, Rotation, Scaling, Shear, Translation
from minidl.data.augment.pixels import ColorJitter, CutOut, PixelNoise
from minidl.data.augment.placing import HorizontalFlip, RandomCrop, VerticalFlip

__all__ = [
    "ColorJitter",
    "Compose",
    "CutOut",
    "Distortion",
    "Elastic",
    "Geometric",
    "HorizontalFlip",
    "PixelNoise",
    "RandomCrop",
    "Rotation",
    "Scaling",
    "Shear",
    "Translation",
    "VerticalFlip",
]


def __dir__() -> list[str]:
    return sorted(__all__)
