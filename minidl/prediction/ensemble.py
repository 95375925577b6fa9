"""Several models that predict together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.errors import ArgumentError, ArgumentTypeError, ShapeError
from minidl.inputs import as_array
from minidl.losses import Loss
from minidl.model import Sequential
from minidl.prediction.base import Predictor, check_model
from minidl.typing import Array


@dataclass(eq=False)
class Ensemble(Predictor):
    """Models that predict together, by the mean of what each predicts.

    For a classifier that is p = 1/M sum_m p_m, the mean of the probabilities, and `predict` decides on it as the loss
    does on those of one model: for the most probable class, or for each label with p > 1/2. For a regression it is the
    mean of the values, and with `Hinge`, which has no probabilities, the decision on the mean of the scores.

    What one model gets wrong by the chance of its first parameters and of its batches, the others get right: the more,
    the better each is and the more they differ. So the models are trained with different seeds.

    Parameters
    ----------
    models : iterable of Sequential or other predictors
        One or more, built, each with a loss. Their losses may differ if scores mean the same to them, as to
        SoftmaxCrossEntropy and FocalCrossEntropy.

    Raises
    ------
    ArgumentError
        For no model, the same one twice, one without a loss, or losses to which scores do not mean the same.
    ShapeError
        When inputs or outputs have not all the same shape.
    NotReadyError, ArgumentTypeError
        For a model that is not built, and for what is no model.

    Source: Lakshminarayanan et al. (2017), arXiv:1612.01474.
    """

    models: Iterable[Sequential | Predictor]

    def __post_init__(self) -> None:
        if not isinstance(self.models, Iterable):
            raise ArgumentTypeError(f"Ensemble takes a list of models, not {self.models!r:.80}")
        self.models = models = tuple(self.models)
        if not models:
            raise ArgumentError("Ensemble: models is empty; give one or more")
        self.take_after(models[0], "Ensemble: models[0]")
        for index, model in enumerate(models[1:], start=1):
            self._compare(model, f"Ensemble: models[{index}]")
            earlier = next((number for number in range(index) if models[number] is model), None)
            if earlier is not None:
                raise ArgumentError(
                    f"Ensemble: models[{index}] is models[{earlier}] once more: give models that were trained apart"
                )

    def _compare(self, model: Sequential | Predictor, name: str) -> None:
        loss, input_shape, output_shape = check_model(model, name)
        for what, own, first in (
            ("input", input_shape, self.input_shape),
            ("output", output_shape, self.output_shape),
        ):
            if own != first:
                raise ShapeError(f"{name} has {what} {own} per sample, but models[0] {first}: they must be the same")
        if not _mean_the_same(loss, self.loss):
            raise ArgumentError(
                f"{name} has the loss {loss!r}, but models[0] {self.loss!r}: scores do not mean the same to them"
            )

    def predict_scores(self, x: Any, batch_size: int = 1024) -> Array:
        x = as_array(x, "x")  # once, not by each model
        return self.loss.average(np.stack([model.predict_scores(x, batch_size) for model in self.models]))


def _mean_the_same(one: Loss, other: Loss) -> bool:
    """Whether both losses turn scores into probabilities, decisions and averages by the same methods."""
    return all(getattr(type(one), name) is getattr(type(other), name) for name in ("activate", "decide", "average"))
