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
    """Check that models fit together, and return them as a tuple; errors call them `name`."""
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
                f"{place} has the loss {model.loss!r}, but models[0] {first.loss!r}: it interprets scores differently"
            )
        earlier = next((number for number in range(index) if models[number] is model), None)
        if earlier is not None:
            raise ArgumentError(f"{place} is models[{earlier}] again: give models that were trained separately")
    return models


def _mean_the_same(one: Loss | None, other: Loss | None) -> bool:
    """Whether both losses use the same methods and unit for probabilities, decisions and averages."""
    methods, units = ("activate", "decide", "average"), [getattr(loss, "units", None) for loss in (one, other)]
    return units[0] == units[1] and all(getattr(type(one), name) is getattr(type(other), name) for name in methods)


class Ensemble(Predictor):
    """Several models that predict together: their predictions are averaged.

    For a classifier the mean is p = 1/M sum_m p_m, over the probabilities. `predict` decides from it as the loss does
    for one model: the most probable class, or each label with p > 1/2. For a regression it is the mean of the values.
    `Hinge` has no probabilities: the decision uses the mean of the scores.

    Random initial parameters and batches cause different errors in each model, and the average cancels part of them.
    An ensemble is better if each model is good and if the models differ: train them with different seeds.

    Parameters
    ----------
    models : iterable of Sequential or other predictors
        One or more models, each with a known input shape and a loss. The losses may differ if they interpret scores in
        the same way, such as SoftmaxCrossEntropy and FocalCrossEntropy.

    Raises
    ------
    ArgumentError
        For no model, the same model twice, a model without a loss, or losses that interpret scores differently.
    ShapeError
        If the inputs or outputs do not all have the same shape.
    NotReadyError, ArgumentTypeError
        For a model that does not know its input shape, and for anything that is not a model.

    Source: Lakshminarayanan et al. (2017), arXiv:1612.01474.
    """

    models: Iterable[Sequential | Predictor] = setting(kw_only=False, check=_as_models)

    @property
    def model(self) -> Sequential | Predictor:
        return next(iter(self.models))

    def predict_scores(self, x: Any, batch_size: int | None = None) -> Array:
        if column_names(x) is None:  # each model checks the columns of a frame itself
            x = self.model.as_inputs(x)
        return self.loss.average(np.stack([model.predict_scores(x, batch_size) for model in self.models]))
