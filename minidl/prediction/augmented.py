"""Test-time augmentation: a model predicts several distorted copies of each sample."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.arrays import Augment, apply_augment, as_augment, check_finite
from minidl.errors import ShapeError
from minidl.model import Sequential
from minidl.prediction.base import Predictor, as_model
from minidl.settings import as_flag, setting
from minidl.typing import Array

_ROWS_AT_ONCE = 1024
"""Rows that are distorted at once, so that the distortion of a row does not depend on the batch size."""


class AugmentedPrediction(Predictor):
    """Test-time augmentation: average a model's predictions for several distorted copies of each sample.

    The mean is computed as in `Ensemble`, over copies instead of models. It helps if the model was trained with the
    same kind of distortions. Otherwise it costs accuracy.

    The same `x` gives the same result each time; `batch_size` changes only the last bits. The distortions of a row
    depend on its position in `x`: the same row in another place can get other distortions.

    Parameters
    ----------
    model : Sequential or another predictor
        It must know its input shape and have a loss.
    augment : callable
        Takes samples (M, *input_shape), which it must not change, and a NumPy Generator. Returns distorted samples of
        the same shape and range.
    repeats : int, >= 1, default 8
        The number of distorted copies of each sample.
    seed : int, >= 0, default 0
        Seed of the generators.
    include_original : bool, default True
        Use the original sample as one more copy.

    Raises
    ------
    ArgumentTypeError, ArgumentError, NotReadyError
        For settings out of range, and for a model that does not know its input shape or has no loss.
    ShapeError, DataError
        In prediction, if `augment` returns another shape, or numbers that are not finite.

    Source: Krizhevsky et al. (2012), "ImageNet classification with deep convolutional neural networks".
    """

    model: Sequential | Predictor = setting(kw_only=False, check=as_model)
    augment: Augment = setting(kw_only=False, check=as_augment)
    repeats: int = setting(default=8, low=1, whole=True)
    seed: int = setting(default=0, low=0, whole=True)
    include_original: bool = setting(default=True, check=as_flag)

    def predict_scores(self, x: Any, batch_size: int | None = None) -> Array:
        x = self.model.as_inputs(x)
        if x.ndim == 0 or x.shape[1:] != self.input_shape:
            raise ShapeError(f"x has shape {x.shape}; the model takes {('N', *self.input_shape)}")
        if not len(x):
            return self.model.predict_scores(x, batch_size)
        blocks = []
        for start in range(0, len(x), _ROWS_AT_ONCE):
            block = x[start : start + _ROWS_AT_ONCE]
            check_finite(block, "x", first_row=start)
            copies = [block] if self.include_original else []
            copies += [self._distort(block, start, repeat) for repeat in range(self.repeats)]
            blocks.append(self.loss.average(np.stack([self.model.predict_scores(copy, batch_size) for copy in copies])))
        return np.concatenate(blocks)

    def _distort(self, block: Array, start: int, repeat: int) -> Array:
        """Return a distorted copy of the block; it depends only on the block's position and the copy's number."""
        return apply_augment(self.augment, block, np.random.default_rng((self.seed, repeat, start)))
