"""Callbacks that watch a metric: early stopping, and a lower rate on a plateau."""

from __future__ import annotations

import sys
from dataclasses import field
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.errors import ArgumentError, DivergenceError, NotReadyError
from minidl.settings import as_flag, as_text, setting
from minidl.training.callbacks import Callback
from minidl.training.monitored_metric import MonitoredMetric, as_mode
from minidl.typing import Array

if TYPE_CHECKING:
    from minidl.model import Sequential
    from minidl.training.trainer import Trainer


def copy_arrays(model: Sequential) -> dict[str, Array]:
    """Return copies of a model's parameters and states, for `put_back`."""
    return {name: array.copy() for name, array in model.named_arrays().items()}


def put_back(arrays: dict[str, Array], model: Sequential) -> None:
    """Give a model the parameters and states that `copy_arrays` has returned."""
    for name, array in model.named_arrays().items():
        array[...] = arrays[name]


def restore_best(trainer: Trainer) -> int:
    """Implement `Trainer.restore_best`."""
    names = trainer.model.named_arrays().keys()
    kept = [state for _, state in trainer.callback_states if "best_epoch" in state and names <= state.keys()]
    if not kept:
        raise NotReadyError(
            "no best model is kept: EarlyStopping() keeps one during fit, also if Ctrl-C or an error ends fit"
        )
    put_back(kept[-1], trainer.model)
    return int(kept[-1]["best_epoch"])


def say_in_error(how: str) -> None:
    """Add how to get the best model to the KeyboardInterrupt or DivergenceError that ends `fit`, but only once."""
    error = sys.exc_info()[1]
    if isinstance(error, KeyboardInterrupt | DivergenceError) and "best" not in str(error):
        error.args = (f"{error}. {how}" if str(error) else how,)


class Monitor(Callback):
    """Base of callbacks that follow one metric and know its best value so far.

    Parameters
    ----------
    monitor : str
        The metric's name in the history, such as "val_loss". A name that the run does not have raises ArgumentError
        when the training begins.
    min_delta : float >= 0, default 0
        An epoch is better only if its metric is better by more than this.
    mode : "auto", "min" or "max", default "auto"
        Whether a small or a large metric is good. "auto" means small for losses and errors, and large for accuracies.
        For other names, "auto" raises ArgumentError.
    """

    monitor: str = setting(default="val_loss", kw_only=False, check=as_text)
    min_delta: float = setting(default=0.0, low=0)
    mode: str = setting(default="auto", check=as_mode)

    def __post_init__(self) -> None:
        self._forget()

    @property
    def metric(self) -> MonitoredMetric:
        """The monitored metric, from the current settings."""
        kind = type(self).__name__
        return MonitoredMetric(asker=kind, monitor=self.monitor, mode=self.mode, min_delta=self.min_delta)

    @property
    def key(self) -> str:
        return f"{type(self).__name__}({self.monitor!r}, mode={self.mode!r})"

    def check(self, trainer: Trainer) -> None:
        self.metric.check(trainer.metric_names)

    def on_train_begin(self, trainer: Trainer) -> None:
        self._forget()

    def state(self) -> dict[str, Any]:
        return {"best": self.best, "best_epoch": self.best_epoch}

    def restore(self, state: dict[str, Any]) -> None:
        self.best, self.best_epoch = float(state["best"]), int(state["best_epoch"])

    def improves(self, value: float, epoch: int) -> bool:
        """Return whether the value of an epoch, counted from 1, is better than the best so far. If so, store it."""
        if not self.metric.is_better(value, self.best):
            return False
        self.best, self.best_epoch = value, epoch
        return True

    def _forget(self) -> None:
        self.best, self.best_epoch = self.metric.worst, 0


class EarlyStopping(Monitor):
    """End the training when a metric has not improved for `patience` epochs, and restore the best epoch's model.

    Parameters
    ----------
    monitor : str, default "val_loss"
    patience : int >= 1, default 10
        Number of epochs without a better metric after which the training ends.
    restore_best : bool, default True
        At the end of every complete training, restore the model's parameters and states of the best epoch. After an
        error, Ctrl-C, or a callback's `stop` in the middle of an epoch, another `fit` can finish the epoch. Then the
        model stays as after the last step, and `Trainer.restore_best` restores the best one. A time limit should call
        `stop` at the end of an epoch.
    min_delta, mode : as for `Monitor`

    Attributes
    ----------
    best : float
        The best value of the metric; ``best_epoch`` is its epoch, counted from 1.

    Source: Prechelt (1998), "Early stopping - but when?".
    """

    patience: int = setting(default=10, low=1, whole=True)
    restore_best: bool = setting(default=True, check=as_flag)

    def on_epoch_begin(self, trainer: Trainer) -> None:
        if self.waited >= self.patience:  # a run resumed after its end
            trainer.stop()

    def on_epoch_end(self, trainer: Trainer) -> None:
        if self.improves(trainer.history[self.monitor][-1], trainer.epoch):
            self.waited = 0
            if self.restore_best:
                self._best_model = copy_arrays(trainer.model)
            return
        self.waited += 1
        if self.waited >= self.patience:
            trainer.stop()

    def on_train_end(self, trainer: Trainer) -> None:
        if self._best_model and trainer.interrupted:
            say_in_error("trainer.restore_best() restores the model of the best epoch")
        elif self._best_model:
            put_back(self._best_model, trainer.model)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "waited": self.waited, **self._best_model}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.waited = int(state["waited"])
        self._best_model = {name: value for name, value in state.items() if isinstance(value, np.ndarray)}

    def _forget(self) -> None:
        super()._forget()
        self.waited, self._best_model = 0, dict[str, Array]()


class ReduceLROnPlateau(Monitor):
    """Lower the learning rate when a metric has not improved for `patience` epochs.

    ``learning_rate <- max(factor * learning_rate, min_rate)``. The rate must be a number, not a schedule.

    Parameters
    ----------
    monitor : str, default "val_loss"
    factor : float in (0, 1), default 0.1
    patience : int >= 1, default 10
        Number of epochs without a better metric before the rate is lowered, each time.
    cooldown : int >= 0, default 0
        Number of epochs after a lower rate that do not count for `patience`.
    min_rate : float >= 0, default 0
    min_delta : float >= 0, default 1e-4
    mode : as for `Monitor`

    Raises ArgumentError at the start of the training if the optimizer's rate is a schedule.
    """

    factor: float = setting(default=0.1, above=0, below=1)
    patience: int = setting(default=10, low=1, whole=True)
    cooldown: int = setting(default=0, low=0, whole=True)
    min_rate: float = setting(default=0.0, low=0)
    min_delta: float = 1e-4
    waited: int = field(default=0, init=False, repr=False)
    cooling: int = field(default=0, init=False, repr=False)

    def check(self, trainer: Trainer) -> None:
        super().check(trainer)
        if trainer.optimizer.full_batch:
            raise ArgumentError(f"ReduceLROnPlateau: {type(trainer.optimizer).__name__} has no learning rate to lower")
        if callable(trainer.optimizer.learning_rate):
            raise ArgumentError(
                "ReduceLROnPlateau lowers a learning rate that is a number, but the optimizer's is "
                f"{trainer.optimizer.learning_rate!r}: use one of the two"
            )

    def on_epoch_end(self, trainer: Trainer) -> None:
        better = self.improves(trainer.history[self.monitor][-1], trainer.epoch)
        if self.cooling:
            self.cooling -= 1
            return
        self.waited = 0 if better else self.waited + 1
        if self.waited >= self.patience:
            rate = trainer.optimizer.rate()
            trainer.optimizer.learning_rate = min(rate, max(self.factor * rate, self.min_rate))
            self.waited, self.cooling = 0, self.cooldown

    def state(self) -> dict[str, Any]:
        return {**super().state(), "waited": self.waited, "cooling": self.cooling}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.waited, self.cooling = int(state["waited"]), int(state["cooling"])

    def _forget(self) -> None:
        super()._forget()
        self.waited, self.cooling = 0, 0
