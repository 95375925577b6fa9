"""Several models that predict together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from minidl.errors import ArgumentError, ArgumentTypeError, ShapeError
from minidl.losses import Loss
from minidl.model import Sequential
from minidl.prediction.base import Predictor, as_model
from minidl.reprs import brief
from minidl.settings import setting
from minidl.tables import column_names
from minidl.typing import Array


def _as_models(models: Any, name: str) -> tuple[Sequential | Predictor, ...]:
    """Return models that go together, as a tuple; `name` is what errors call them."""
    if not isinstance(models, Iterable):
        raise ArgumentTypeError(f"{name} is {brief(models)}; it must be a list of models")
    models = tuple(models)
    if not models:
        raise ArgumentError(f"{name} is empty; give one or more")
    first = as_model(models[0], f"{name}[0]")
    for index, model in enumerate(models[1:], start=1):
        place = f"{name}[{index}]"
        as_model(model, place)
        for what in ("input", "output"):
            own, others = (getattr(each, f"{what}_shape") for each in (model, first))
            if own != others:
                raise ShapeError(f"{place} has {what} {own} per sample, but models[0] {others}: they must be the same")
        if not _mean_the_same(model.loss, first.loss):
            raise ArgumentError(
                f"{place} has the loss {model.loss!r}, but models[0] {first.loss!r}: scores mean something else to it"
            )
        earlier = next((number for number in range(index) if models[number] is model), None)
        if earlier is not None:
            raise ArgumentError(f"{place} is models[{earlier}] once more: give models that were trained apart")
    return models


def _mean_the_same(one: Loss | None, other: Loss | None) -> bool:
    """Whether both losses turn scores into probabilities, decisions and averages by the same methods, in one unit."""
    methods, units = ("activate", "decide", "average"), [getattr(loss, "units", None) for loss in (one, other)]
    return units[0] == units[1] and all(getattr(type(one), name) is getattr(type(other), name) for name in methods)


class Ensemble(Predictor):
    """Models that predict together, by the mean of what each predicts.

    For a classifier that is p = 1/M sum_m p_m, the mean of the probabilities, and `predict` decides on it as the loss
    does on those of one model: for the most probable class, or for each label with p > 1/2. For a regression it is the
    mean of the values, and with `Hinge`, which has no probabilities, the decision on the mean of the scores.

    What one model gets wrong by the chance of its first parameters and of its batches, the others get right. An
    ensemble gains the more, the better each model is and the more they differ: train them with different seeds.

    Parameters
    ----------
    models : iterable of Sequential or other predictors
        One or more, which know their input shape, each with a loss. Their losses may differ if scores mean the same to
        them, as to SoftmaxCrossEntropy and FocalCrossEntropy.

    Raises
    ------
    ArgumentError
        For no model, the same one twice, one without a loss, or losses to which scores do not mean the same.
    ShapeError
        When inputs or outputs have not all the same shape.
    NotReadyError, ArgumentTypeError
        For a model that does not know its input shape, and for what is no model.

    Source: Lakshminarayanan et al. (2017), arXiv:1612.01474.
    """

    models: Iterable[Sequential | Predictor] = setting(kw_only=False, check=_as_models)

    @property
    def model(self) -> Sequential | Predictor:
        return next(iter(self.models))

    def predict_scores(self, x: Any, batch_size: int | None = None) -> Array:
        if column_names(x) is None:  # the columns of a frame are for each model to look at
            x = self.model.as_inputs(x)
        return self.loss.average(np.stack([model.predict_scores(x, batch_size) for model in self.models]))
