"""Recipes for handwritten digits: what `mnist_mlp.py --recipe` trains, each chosen on a part of the training images.

docs/recipes.md tells how they were found, and what each part of them gives. `benchmarks/recipes.py` measures both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from minidl import (
    Adam,
    BatchNorm,
    Dense,
    OneCycle,
    ReLU,
    Rescale,
    Sequential,
    SoftmaxCrossEntropy,
    Trainer,
)
from minidl.data.augment import Compose, Distortion, Elastic, Rotation, Scaling, Shear, Translation


@dataclass(frozen=True)
class Recipe:
    """All that a run depends on but the images and the seed."""

    hidden: tuple[int, ...]
    epochs: int
    batch_size: int
    learning_rate: float
    """The highest of the schedule."""
    distortions: tuple[Distortion, ...] = ()
    one_cycle: bool = True
    normalization: bool = False

    def network(self, classes: int) -> str:
        return "-".join(map(str, (784, *self.hidden, classes)))

    def trainer(self, rows: int, classes: int, seed: int) -> Trainer:
        """Make the model, the optimizer with a schedule over the whole run, and what trains them."""
        layers: list[Any] = [Rescale(1 / 255)]
        for units in self.hidden:
            layers += [Dense(units), *([BatchNorm()] if self.normalization else []), ReLU()]
        layers += [Dense(classes), SoftmaxCrossEntropy()]
        steps = max(self.epochs * -(-rows // self.batch_size), 2)  # the least that a cycle can have
        rate = OneCycle(self.learning_rate, steps=steps) if self.one_cycle else self.learning_rate
        augment = Compose(self.distortions, image_shape=(28, 28)) if self.distortions else None
        model = Sequential(layers, input_shape=784, seed=seed)
        return Trainer(model, Adam(rate), batch_size=self.batch_size, seed=seed, augment=augment)


SLIGHT = (Rotation(8), Scaling(0.1, keep_aspect=False), Translation(0.05), Shear(8))

RECIPES = {
    "best": Recipe((128, 64), epochs=32, batch_size=256, learning_rate=0.01, distortions=(*SLIGHT, Elastic(10))),
    "fast": Recipe((256, 128), epochs=5, batch_size=256, learning_rate=0.006),
    "wide": Recipe(
        (1024, 1024),
        epochs=60,
        batch_size=256,
        learning_rate=0.003,
        distortions=(*SLIGHT, Elastic(20)),
        normalization=True,
    ),
}
