"""A recipe: everything that a training run depends on, except the images and the seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from minidl import Adam, ExponentialMovingAverage, OneCycle, Sequential, Trainer
from minidl.data.augment import Compose, Distortion
from minidl.typing import Shape


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of a training run; a subclass defines the network."""

    epochs: int
    batch_size: int
    learning_rate: float
    """The highest rate of the schedule."""
    distortions: tuple[Distortion, ...] = ()
    one_cycle: bool = True
    average: float | None = None
    """The decay of an exponential moving average of the parameters, which the model gets."""
    least_steps: int = 0
    """The least number of steps: with few images there are more epochs."""

    def network(self, image_shape: Shape, classes: int) -> str:
        """Return the network's name, which its files have, too."""
        raise NotImplementedError

    def layers(self, classes: int) -> list[Any]:
        """Return its layers and its loss."""
        raise NotImplementedError

    def epochs_for(self, rows: int) -> int:
        return max(self.epochs, -(-self.least_steps // -(-rows // self.batch_size)))

    def trainer(self, image_shape: Shape, rows: int, classes: int, seed: int) -> Trainer:
        """Make the trainer, with the model, and an optimizer with a schedule over the whole run."""
        steps = max(self.epochs * -(-rows // self.batch_size), 2)  # OneCycle needs two
        rate = OneCycle(self.learning_rate, steps=steps) if self.one_cycle else self.learning_rate
        flat = (28, 28) if len(image_shape) == 1 else image_shape
        augment = Compose(self.distortions, image_shape=flat) if self.distortions else None
        average = None if self.average is None else ExponentialMovingAverage(self.average)
        model = Sequential(self.layers(classes), input_shape=image_shape, seed=seed)
        return Trainer(model, Adam(rate), batch_size=self.batch_size, seed=seed, augment=augment, average=average)
