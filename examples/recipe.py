"""A recipe: everything that a training run depends on, except the images and the seed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from minidl import Adam, ExponentialMovingAverage, History, OneCycle, Sequential, Trainer
from minidl.data.augment import Compose, Distortion, Translation
from minidl.prediction import AugmentedPrediction
from minidl.typing import Array, Shape

AnyRecipe = TypeVar("AnyRecipe", bound="Recipe")


def unflattened(shape: Shape) -> Shape:
    """Return the shape of an image; a flat one is square."""
    return shape if len(shape) > 1 else (math.isqrt(shape[0]),) * 2


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
    copies: int = 0
    """The number of shifted copies of an image to predict; the prediction is their mean with that of the image."""
    least_steps: int = 0
    """The least number of steps: with few images there are more epochs."""

    def network(self, image_shape: Shape, classes: int) -> str:
        """Return the network's name, which its files have, too."""
        raise NotImplementedError

    def layers(self, classes: int) -> list[Any]:
        """Return its layers and its loss."""
        raise NotImplementedError

    def with_epochs(self: AnyRecipe, epochs: int | None, rows: int) -> AnyRecipe:
        """Return this recipe with the given number of epochs, or with as many as these rows need."""
        return replace(self, epochs=epochs or max(self.epochs, -(-self.least_steps // -(-rows // self.batch_size))))

    def trainer(self, image_shape: Shape, rows: int, classes: int, seed: int) -> Trainer:
        """Make the trainer, with the model, and an optimizer with a schedule over the whole run."""
        steps = max(self.epochs * -(-rows // self.batch_size), 2)  # OneCycle needs two
        rate = OneCycle(self.learning_rate, steps=steps) if self.one_cycle else self.learning_rate
        average = None if self.average is None else ExponentialMovingAverage(self.average)
        model = Sequential(self.layers(classes), input_shape=image_shape, seed=seed)
        return Trainer(
            model,
            Adam(rate),
            batch_size=self.batch_size,
            seed=seed,
            augment=self.augment(image_shape),
            average=average,
            metrics=["accuracy"],
        )

    def augment(self, image_shape: Shape) -> Distortion | None:
        """Return what distorts the images of each batch."""
        return self.distort(image_shape) if self.distortions else None

    def distort(self, image_shape: Shape) -> Distortion:
        return Compose(self.distortions, image_shape=unflattened(image_shape))

    def predictor(self, model: Sequential) -> Sequential | AugmentedPrediction:
        """Return what predicts with the trained model."""
        if not self.copies:
            return model
        shift = Translation(0.05, image_shape=unflattened(model.input_shape))
        return AugmentedPrediction(model, shift, repeats=self.copies)

    def fit(self, trainer: Trainer, x: Array, y: Array, **options: Any) -> History:
        """Train for the epochs that are left."""
        return trainer.fit(x, y, epochs=max(self.epochs - trainer.epoch, 0), **options)
