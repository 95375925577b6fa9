"""What a recipe is: all that a training run depends on, but the images and the seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from minidl import Adam, ExponentialMovingAverage, OneCycle, Sequential, Trainer
from minidl.data.augment import Compose, Distortion
from minidl.typing import Shape


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained; a subclass says which one."""

    epochs: int
    batch_size: int
    learning_rate: float
    """The highest of the schedule."""
    distortions: tuple[Distortion, ...] = ()
    one_cycle: bool = True
    average: float | None = None
    """The decay of a fading average of the parameters, which then is the model."""
    least_steps: int = 0
    """Few images get more epochs, so that there are at least so many steps."""

    def network(self, image_shape: Shape, classes: int) -> str:
        """Return the network's name, which is also that of its files."""
        raise NotImplementedError

    def layers(self, classes: int) -> list[Any]:
        """Return its layers and its loss."""
        raise NotImplementedError

    def epochs_for(self, rows: int) -> int:
        return max(self.epochs, -(-self.least_steps // -(-rows // self.batch_size)))

    def trainer(self, image_shape: Shape, rows: int, classes: int, seed: int) -> Trainer:
        """Make the model, the optimizer with a schedule over the whole run, and what trains them."""
        steps = max(self.epochs * -(-rows // self.batch_size), 2)  # the least that a cycle can have
        rate = OneCycle(self.learning_rate, steps=steps) if self.one_cycle else self.learning_rate
        flat = (28, 28) if len(image_shape) == 1 else image_shape
        augment = Compose(self.distortions, image_shape=flat) if self.distortions else None
        average = None if self.average is None else ExponentialMovingAverage(self.average)
        model = Sequential(self.layers(classes), input_shape=image_shape, seed=seed)
        return Trainer(model, Adam(rate), batch_size=self.batch_size, seed=seed, augment=augment, average=average)
