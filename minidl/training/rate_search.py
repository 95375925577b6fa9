"""The search for a learning rate: a short run in which the rate grows until the loss grows, too."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.arrays import Augment
from minidl.errors import ArgumentError, DataError, DivergenceError
from minidl.model import Sequential
from minidl.optimizers import Optimizer, get_optimizer
from minidl.settings import as_number, as_whole_number
from minidl.training.callbacks import Callback
from minidl.training.hints import no_hints
from minidl.training.trainer import Trainer
from minidl.typing import Array

_SMOOTHING = 0.9
"""Decay of the running mean of the losses: the loss of a single batch is too noisy for a slope."""

_TOO_HIGH = 4
"""The search ends when the loss is this many times its lowest value."""


@dataclass(frozen=True, repr=False)
class RateSearch:
    """The result of a learning-rate search.

    Attributes
    ----------
    rates, losses : arrays of shape (steps taken,)
        The rate of each step, and the smoothed loss of the batch before it. Steps with all weights 0 are omitted.
    suggestion : float
        The rate at which the loss falls fastest.
    """

    rates: Array
    losses: Array

    @property
    def suggestion(self) -> float:
        # Over a fifth of the search, because from step to step the loss also falls by chance.
        half, lowest = max(len(self.losses) // 10, 1), int(self.losses.argmin())
        if lowest < 2 * half:
            raise ArgumentError(
                f"the loss never falls: it is lowest at the rate {self.rates[lowest]:.3g}, at or near the start "
                "of the search; if it rose, search from a lower rate; if it stayed level, up to a higher one"
            )
        before_lowest = self.losses[: lowest + 1]
        falls = before_lowest[: -2 * half] - before_lowest[2 * half :]
        return float(self.rates[half + falls.argmax()])

    def __repr__(self) -> str:
        lowest = int(self.losses.argmin())
        return (
            f"RateSearch({len(self.rates)} rates from {self.rates[0]:.3g} to {self.rates[-1]:.3g}, "
            f"lowest loss {self.losses[lowest]:.4g} at {self.rates[lowest]:.3g})"
        )


class _Notes(Callback):
    """Stores the smoothed loss of each step's batch, and ends the search."""

    steps: int

    def __post_init__(self) -> None:
        self.losses: dict[int, float] = {}
        """The rate by step, counted from 0."""
        self._mean = 0.0

    def on_batch_end(self, trainer: Trainer) -> None:
        if trainer.step == self.steps:
            trainer.stop()
        if math.isnan(trainer.batch_loss):  # all rows of the batch have weight 0
            return
        self._mean = _SMOOTHING * self._mean + (1 - _SMOOTHING) * trainer.batch_loss
        loss = self._mean / (1 - _SMOOTHING ** (len(self.losses) + 1))
        self.losses[trainer.step - 1] = loss
        if loss > _TOO_HIGH * min(self.losses.values()) > 0:
            trainer.stop()


def find_learning_rate(
    model: Sequential,
    x: Any,
    y: Any,
    *,
    optimizer: Optimizer | str = "adam",
    low: float = 1e-6,
    high: float = 1.0,
    steps: int = 100,
    batch_size: int | None = 32,
    sample_weight: Any = None,
    class_weight: Any = None,
    augment: Augment | None = None,
    seed: int | None = 0,
) -> RateSearch:
    """Search for a good learning rate in a short run on a copy of the model. The arguments do not change.

    The rate grows by a constant factor from `low` to `high` in `steps` steps. While the rate is too low, the loss does
    not change; then it falls; when the rate is too high, it grows again, which ends the search. A good first choice is
    the rate with the steepest fall, ``result.suggestion``; `minidl.plots.plot_rate_search` shows the whole search.

    Parameters
    ----------
    model : Sequential
    x, y : as for `Trainer.fit`
    optimizer : Optimizer or its name, default "adam"
        The optimizer. Its own rate does not matter.
    low, high : float, 0 < low < high, default 1e-6 and 1
    steps : int >= 10, default 100
        Number of steps. It takes as many epochs as necessary.
    batch_size, augment, seed : as for `Trainer`
    sample_weight, class_weight : as for `Trainer.fit`

    Returns
    -------
    RateSearch

    Raises
    ------
    ArgumentError
        For an invalid range, and as for `Trainer.fit`.

    Source: Smith (2017), "Cyclical learning rates for training neural networks", arXiv:1506.01186, section 3.3.
    """
    steps = as_whole_number(steps, "find_learning_rate: steps", 10)
    low = as_number(low, "find_learning_rate: low", above=0)
    high = as_number(high, "find_learning_rate: high", above=0)
    if low >= high:
        raise ArgumentError(f"find_learning_rate: low is {low:g} and high {high:g}; low must be below high")
    rates = np.geomspace(low, high, steps)
    optimizer = copy.deepcopy(get_optimizer(optimizer))
    if optimizer.full_batch:
        raise ArgumentError(f"{type(optimizer).__name__} has no learning rate to search for")
    optimizer.step, optimizer.state = 0, {}  # as it was before its first step
    optimizer.learning_rate = lambda step: float(rates[min(step, steps - 1)])
    trainer = Trainer(copy.deepcopy(model), optimizer, batch_size=batch_size, seed=seed, augment=augment)
    notes = _Notes(steps=steps)
    try:
        with no_hints():
            trainer.fit(
                x,
                y,
                epochs=steps,  # an epoch has at least one step
                sample_weight=sample_weight,
                class_weight=class_weight,
                callbacks=[notes],
                progress=False,
            )
    except DivergenceError:  # this, too, means that the rate is too high, and ends the search
        if not notes.losses:
            raise
    if not notes.losses:
        raise DataError("sample_weight or class_weight is 0 for every row of the batches in the search")
    return RateSearch(rates[list(notes.losses)], np.array(list(notes.losses.values())))
