"""Temperature scaling: probabilities that say how often the model is right."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from minidl.arrays import as_array, check_lengths
from minidl.errors import ArgumentError, DataError, NotReadyError, counted
from minidl.losses import CategoricalLoss, Loss, SigmoidCrossEntropy, SoftmaxCrossEntropy
from minidl.model import Sequential
from minidl.prediction.base import Predictor, as_model
from minidl.settings import setting
from minidl.typing import Array

_NOTHING = 1e-12
"""Smaller slopes, for scores up to 1, are rounding errors."""


def _as_classifier(model: Any, name: str) -> Sequential | Predictor:
    """Check that a model's probabilities can have a temperature, and return it; errors call it `name`."""
    found = as_model(model, name)
    _cross_entropy(cast(Loss, found.loss))
    return found


def _cross_entropy(loss: Loss) -> Loss:
    """Return the cross-entropy that fits the probabilities of a model's loss."""
    for base, cross_entropy in ((CategoricalLoss, SoftmaxCrossEntropy), (SigmoidCrossEntropy, SigmoidCrossEntropy)):
        if type(loss).activate is base.activate:
            return cross_entropy()
    raise ArgumentError(f"TemperatureScaling is for probabilities of softmax or sigmoid, which {loss!r} does not give")


class TemperatureScaling(Predictor):
    """Calibrate a classifier: divide its scores by one number, the temperature T, so that confidence matches accuracy.

    p = softmax(s / T), or sigmoid(s / T). A network that overfits is too confident: its predictions are right less
    often than its probabilities say. T > 1 lowers the confidence, T < 1 raises it. `predict` returns the same classes
    as before.

    Parameters
    ----------
    model : Sequential or another predictor
        It must know its input shape and have SigmoidCrossEntropy or a loss with softmax probabilities.
    temperature : float, > 0, optional
        By default `fit` finds it.

    Attributes
    ----------
    temperature : float or None
        None before `fit`.

    Raises ArgumentError for a loss without such probabilities, such as `Hinge` or a regression loss, and for a
    temperature that is not above 0. Raises NotReadyError if it predicts before `fit`. Other errors as for `Ensemble`.
    Source: Guo et al. (2017), arXiv:1706.04599.
    """

    model: Sequential | Predictor = setting(kw_only=False, check=_as_classifier)
    temperature: float | None = setting(default=None, above=0)

    def fit(self, x: Any, y: Any, batch_size: int | None = None) -> TemperatureScaling:
        """Set the temperature that minimizes the mean cross-entropy, and return the predictor itself.

        With b = 1 / T, the mean of -log p_t is convex in b. Its derivative is mean_n sum_k (p_nk - t_nk) s_nk, so
        there is one minimum, where the derivative is 0. If each position has scores, n goes over all positions except
        padding.

        Parameters
        ----------
        x : array of shape (N, *input_shape)
            Rows that the model was not trained on, such as the validation rows.
        y : array
            Their targets, as the loss takes them; with softmax, also rows of probabilities.
        batch_size : int, optional
            As in `predict`.

        Raises
        ------
        DataError, ShapeError
            For rows that cannot be predicted, and wrong targets.
        DataError
            If no temperature is best: the model has all rows right, so a lower one is always better; or it is no
            better than guessing, so a higher one is always better.
        """
        loss = _cross_entropy(self.loss)
        # One number from all rows, to full precision: float64 for the sums is worth it.
        scores = self.model.predict_scores(x, batch_size).astype(np.float64)
        targets = as_array(y, "y")
        rows = check_lengths(x=scores, y=targets)
        targets = loss.prepare_targets(targets, self.output_shape, np.float64)
        weights = None
        if self.model.makes_mask:
            from minidl.sequences.masking import leave_out_padding  # few programs need sequences

            weights = leave_out_padding(self.model, self.model.as_inputs(x), loss.positions(self.output_shape))
        scores, targets, weights = loss.flatten(scores, targets, weights)
        if weights is not None:
            scores, targets = scores[weights > 0], targets[weights > 0]
            if not len(scores):
                raise DataError("all of x is padding, so no temperature is best")
        size = float(np.abs(scores).max()) or 1.0
        scores /= size

        def slope(b: float) -> float:
            """Return the derivative of the mean cross-entropy with respect to b."""
            return float((loss.total(b * scores, targets, scale=1 / len(scores))[1] * scores).sum())

        if slope(0) >= -_NOTHING:
            raise DataError(
                "the scores are no better than guessing, so no temperature is best: are these rows and targets of "
                "the kind that the model was trained for?"
            )
        # The slope at a very large b.
        if loss.total(1e100 * scores, targets)[0] / len(scores) / 1e100 <= _NOTHING:
            raise DataError(
                f"the model is right in all of {counted(rows, 'row')}, so a lower temperature is always better: "
                "give more rows that it was not trained on"
            )
        from scipy.optimize import brentq

        above = 1.0
        while slope(above) < 0:
            above *= 2
        self.temperature = size / brentq(slope, 0, above, xtol=1e-300, rtol=1e-12)
        return self

    def predict_scores(self, x: Any, batch_size: int | None = None) -> Array:
        scores, temperature = self.model.predict_scores(x, batch_size), self._found()
        # Quotients stay finite: at a lower temperature, too, the top class has all of the probability.
        size = np.maximum(np.abs(scores).max(axis=-1, keepdims=True), 1)
        return scores / np.maximum(size * np.finfo(scores.dtype).tiny, temperature)

    def predict(self, x: Any, batch_size: int | None = None) -> Array:
        self._found()
        return self.model.predict(x, batch_size)  # not from the quotients: two scores may round to the same one

    def _found(self) -> float:
        if self.temperature is None:
            raise NotReadyError("TemperatureScaling has no temperature yet: call fit with validation data, or give it")
        return self.temperature
