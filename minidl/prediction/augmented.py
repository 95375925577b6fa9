"""Test-time augmentation: a model that looks at a sample several times, each time distorted otherwise."""

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
"""Rows that are distorted at once, whatever the batch size: so what a row becomes does not depend on that."""


class AugmentedPrediction(Predictor):
    """Test-time augmentation: the mean of what a model predicts for several distorted copies of each sample.

    The mean is that of `Ensemble`, over copies in place of models. It helps if the model was trained with the same
    kind of distortions. It costs accuracy if the model knows none of them.

    The same `x` gives the same result each time; `batch_size` changes nothing but the last bits. The distortions of a
    row depend on its place in `x`: the same row elsewhere, or beside other rows, can get others.

    Parameters
    ----------
    model : Sequential or another predictor
        It knows its input shape, and has a loss.
    augment : callable
        Gets samples (M, *input_shape), which it must not change, and a numpy Generator; returns as many distorted
        ones, of the same shape and in the same range.
    repeats : int, >= 1, default 8
        Distorted copies of each sample.
    seed : int, >= 0, default 0
        Of the generators.
    include_original : bool, default True
        Count the sample as it is, too, as one more copy.

    Raises
    ------
    ArgumentTypeError, ArgumentError, NotReadyError
        For settings out of range, and for a model that does not know its input shape or has no loss.
    ShapeError, DataError
        In prediction, when `augment` returns another shape, or anything but finite numbers.

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
        """Return a distorted copy of the block, always the same for its place and the number of the copy."""
        return apply_augment(self.augment, block, np.random.default_rng((self.seed, repeat, start)))
