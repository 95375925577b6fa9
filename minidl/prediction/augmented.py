"""Test-time augmentation: a model that looks at a sample several times, each time distorted otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.errors import ShapeError
from minidl.inputs import apply_augment, as_array, check_augment, check_finite, check_flag, check_whole_number
from minidl.model import Sequential
from minidl.prediction.base import Predictor
from minidl.typing import Array

_ROWS_AT_ONCE = 1024
"""Rows that are distorted at once, whatever the batch size: so what a row becomes does not depend on that."""


@dataclass(eq=False)
class AugmentedPrediction(Predictor):
    """Test-time augmentation: the mean of what a model predicts for several distorted copies of each sample.

    The mean is that of `Ensemble`, over copies in place of models. It helps where the model was trained with the same
    kind of distortions, or comes with a loss of accuracy where it knows none of them.

    The same `x` gives the same result each time, with any `batch_size` but for the last bits. The distortions of a row
    depend on its place in `x`: the same row elsewhere, or beside other rows, can get others.

    Parameters
    ----------
    model : Sequential or another predictor
        Built, with a loss.
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
        For settings out of range, and a model that cannot predict yet or has no loss.
    ShapeError, DataError
        In prediction, when `augment` returns another shape, or anything but finite numbers.

    Source: Krizhevsky et al. (2012), "ImageNet classification with deep convolutional neural networks".
    """

    model: Sequential | Predictor
    augment: Callable[[Array, np.random.Generator], Array]
    repeats: int = 8
    seed: int = 0
    include_original: bool = True

    def __post_init__(self) -> None:
        self.take_after(self.model, "AugmentedPrediction: model")
        check_augment(self.augment, "AugmentedPrediction")
        check_whole_number(self.repeats, "AugmentedPrediction: repeats", 1)
        check_whole_number(self.seed, "AugmentedPrediction: seed", 0)
        check_flag(self.include_original, "AugmentedPrediction: include_original")

    def predict_scores(self, x: Any, batch_size: int = 1024) -> Array:
        x = as_array(x, "x")
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
