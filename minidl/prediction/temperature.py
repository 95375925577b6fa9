"""Temperature scaling: probabilities that are as sure as the model is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.errors import ArgumentError, DataError, NotReadyError, counted
from minidl.inputs import as_array, check_lengths, check_setting
from minidl.losses import CategoricalLoss, Loss, SigmoidCrossEntropy, SoftmaxCrossEntropy
from minidl.model import Sequential
from minidl.prediction.base import Predictor
from minidl.typing import Array

_NOTHING = 1e-12
"""Slopes of scores up to 1 that are smaller are roundings."""


@dataclass(eq=False)
class TemperatureScaling(Predictor):
    """A classifier whose scores are divided by one number, the temperature T, so that its probabilities come true.

    p = softmax(s / T), or sigmoid(s / T). A network that was trained until it has its rows by heart is surer than it is
    right, and T > 1 takes the excess away; T < 1 makes a timid one surer. What `predict` returns stays as it is.

    Parameters
    ----------
    model : Sequential or another predictor
        Built, with SigmoidCrossEntropy or a loss whose probabilities are softmax's.
    temperature : float, > 0, optional
        By default it is found by `fit`.

    Attributes
    ----------
    temperature : float or None
        None before `fit`.

    Raises ArgumentError for a loss that gives no such probabilities, as those of regressions and `Hinge`, and for a
    temperature that is not above 0; NotReadyError when it predicts before `fit`. Other errors as `Ensemble`.
    Source: Guo et al. (2017), arXiv:1706.04599.
    """

    model: Sequential | Predictor
    temperature: float | None = None

    def __post_init__(self) -> None:
        self.take_after(self.model, "TemperatureScaling: model")
        self._cross_entropy()
        if self.temperature is not None:
            check_setting(self, "temperature", above=0)

    def fit(self, x: Any, y: Any, batch_size: int = 1024) -> TemperatureScaling:
        """Set the temperature to the one with the least mean cross-entropy, and return the predictor itself.

        With b = 1 / T the mean of -log p_t is convex in b, with the derivative mean_n sum_k (p_nk - t_nk) s_nk, so that
        there is one least value, where this is 0.

        Parameters
        ----------
        x : array of shape (N, *input_shape)
            Rows that the model was not trained with, such as the validation rows.
        y : array
            Their targets, as the loss takes them; rows of probabilities serve too, with softmax.
        batch_size : int, default 1024
            As in `predict`.

        Raises
        ------
        DataError, ShapeError
            For rows that cannot be predicted, and wrong targets.
        DataError
            When no temperature is best: the model has all rows right, so that a lower one is always better, or is no
            better than guessing, so that a higher one is.
        """
        loss = self._cross_entropy()
        # One number from all rows, found to its last digits: the sums are worth float64.
        scores = self.model.predict_scores(x, batch_size).astype(np.float64)
        targets = as_array(y, "y")
        rows = check_lengths(x=scores, y=targets)
        targets = loss.prepare_targets(targets, self.output_shape, np.float64)
        size = float(np.abs(scores).max()) or 1.0
        scores /= size

        def slope(b: float) -> float:
            """Return the derivative of the mean cross-entropy with respect to b."""
            return float((loss.mean(b * scores, targets)[1] * scores).sum())

        if slope(0) >= -_NOTHING:
            raise DataError(
                "the scores are no better than guessing, so no temperature is best: are these rows and targets of "
                "the kind that the model was trained for?"
            )
        if loss.mean(1e100 * scores, targets)[0] / 1e100 <= _NOTHING:  # the slope at a b beyond all bounds
            raise DataError(
                f"the model is right in all of {counted(rows, 'row')}, so that any lower temperature is better still: "
                "give more rows, which it was not trained with"
            )
        from scipy.optimize import brentq

        above = 1.0
        while slope(above) < 0:
            above *= 2
        self.temperature = size / brentq(slope, 0, above, xtol=1e-300, rtol=1e-12)
        return self

    def predict_scores(self, x: Any, batch_size: int = 1024) -> Array:
        scores, temperature = self.model.predict_scores(x, batch_size), self._found()
        # Quotients stay finite: with a lower temperature, too, the surest class has all of the probability.
        size = np.maximum(np.abs(scores).max(axis=-1, keepdims=True), 1)
        return scores / np.maximum(size * np.finfo(scores.dtype).tiny, temperature)

    def predict(self, x: Any, batch_size: int = 1024) -> Array:
        self._found()
        return self.model.predict(x, batch_size)  # not of the quotients: of two scores these may round to one

    def _found(self) -> float:
        if self.temperature is None:
            raise NotReadyError("TemperatureScaling has no temperature yet: call fit with validation data, or give it")
        return self.temperature

    def _cross_entropy(self) -> Loss:
        """Return the cross-entropy of the probabilities that the model's loss gives."""
        for base, cross_entropy in ((CategoricalLoss, SoftmaxCrossEntropy), (SigmoidCrossEntropy, SigmoidCrossEntropy)):
            if type(self.loss).activate is base.activate:
                return cross_entropy()
        raise ArgumentError(
            f"TemperatureScaling is for probabilities of softmax or sigmoid, which {self.loss!r} does not give"
        )
