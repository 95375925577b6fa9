"""Recipes of `mnist_cnn.py --recipe` for convolutional networks. Each was chosen on a part of the training images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recipe import Recipe

from minidl import BatchNorm, Dense, Dropout, Flatten, ReLU, Rescale, SoftmaxCrossEntropy
from minidl.data.augment import ColorJitter, Elastic, HorizontalFlip, RandomCrop, Rotation, Scaling, Shear, Translation
from minidl.layers import Conv2D, GlobalAveragePool2D, MaxPool2D
from minidl.typing import Shape


@dataclass(frozen=True, kw_only=True)
class Convolutional(Recipe):
    """A recipe for stages of convolutions, then dense layers. Each stage ends by halving height and width."""

    stages: tuple[tuple[int, ...], ...]
    """The filters of each stage's convolutions."""
    hidden: tuple[int, ...] = ()
    kernel_size: int = 3
    normalization: bool = True
    average_pool: bool = False
    """Whether to take the mean of each channel of the last images instead of all their numbers."""
    dropout: float = 0.0
    """The rate of the dropout before the last layer."""

    def network(self, image_shape: Shape, classes: int) -> str:
        stages = [f"c{'-'.join(map(str, stage))}" for stage in self.stages]
        return "-".join(["x".join(map(str, image_shape[:2])), *stages, *map(str, self.hidden), str(classes)])

    def layers(self, classes: int) -> list[Any]:
        layers: list[Any] = [Rescale(1 / 255)]
        for stage in self.stages:
            for place, filters in enumerate(stage, start=1):
                layers += [Conv2D(filters, self.kernel_size, padding="same", use_bias=not self.normalization)]
                # Pool first, so that the rest has a quarter of the work; for ReLU the order does not matter.
                layers += [MaxPool2D(2)] if place == len(stage) else []
                layers += [BatchNorm(), ReLU()] if self.normalization else [ReLU()]
        layers += [GlobalAveragePool2D() if self.average_pool else Flatten()]
        for units in self.hidden:
            layers += [Dense(units), *([BatchNorm()] if self.normalization else []), ReLU()]
        layers += [Dropout(self.dropout)] if self.dropout else []
        return [*layers, Dense(classes), SoftmaxCrossEntropy()]


RECIPES = {
    "fast": Convolutional(
        stages=((8,), (24,)), hidden=(128,), epochs=2, batch_size=192, learning_rate=0.025, least_steps=240
    ),
    "conv": Convolutional(
        stages=((16,), (32, 32), (64, 64)),
        hidden=(64,),
        epochs=18,
        batch_size=128,
        learning_rate=0.012,
        distortions=(Rotation(10), Scaling(0.1), Translation(0.07), Shear(6), Elastic(12)),
        dropout=0.2,
        average=0.998,
        copies=16,
    ),
    "color": Convolutional(
        stages=((32, 32), (64, 64), (128, 128)),
        epochs=30,
        batch_size=128,
        learning_rate=0.004,
        distortions=(RandomCrop(4), HorizontalFlip(), ColorJitter()),
        average_pool=True,
        dropout=0.2,
    ),
}
