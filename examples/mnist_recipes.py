"""Recipes of `mnist_mlp.py --recipe` for fully connected networks. Each was chosen on a part of the training images.

docs/recipes.md explains how they were found, and the effect of each part. `benchmarks/recipes.py` measures both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recipe import Recipe

from minidl import BatchNorm, Dense, ReLU, Rescale, SoftmaxCrossEntropy
from minidl.data.augment import Elastic, Rotation, Scaling, Shear, Translation
from minidl.typing import Shape


@dataclass(frozen=True, kw_only=True)
class FullyConnected(Recipe):
    """A recipe for dense layers with ReLU between them."""

    hidden: tuple[int, ...]
    normalization: bool = False

    def network(self, image_shape: Shape, classes: int) -> str:
        return "-".join(map(str, (*image_shape, *self.hidden, classes)))

    def layers(self, classes: int) -> list[Any]:
        layers: list[Any] = [Rescale(1 / 255)]
        for units in self.hidden:
            layers += [Dense(units), *([BatchNorm()] if self.normalization else []), ReLU()]
        return [*layers, Dense(classes), SoftmaxCrossEntropy()]


RECIPES = {
    "best": FullyConnected(
        hidden=(128, 64),
        epochs=70,
        batch_size=256,
        learning_rate=0.02,
        distortions=(Rotation(9), Scaling(0.12, keep_aspect=False), Translation(0.06), Shear(9), Elastic(15)),
        normalization=True,
    ),
    "fast": FullyConnected(
        hidden=(128, 64),
        epochs=7,
        batch_size=256,
        learning_rate=0.02,
        distortions=(Rotation(6), Scaling(0.08, keep_aspect=False), Translation(0.04)),
        normalization=True,
    ),
    "wide": FullyConnected(
        hidden=(1024, 1024),
        epochs=140,
        batch_size=512,
        learning_rate=0.01,
        distortions=(Rotation(10), Scaling(0.15, keep_aspect=False), Translation(0.06), Shear(10), Elastic(20)),
        normalization=True,
        copies=16,
    ),
}
