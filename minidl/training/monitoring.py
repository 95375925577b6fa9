"""Callbacks that watch a figure: early stopping, checkpoints of the best, a lower rate on a plateau."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.errors import ArgumentError
from minidl.files import as_path
from minidl.inputs import check_flag, check_number, check_whole_number
from minidl.training.callbacks import Callback
from minidl.training.checkpoint import BEST, checkpoints, describe
from minidl.training.criterion import Criterion
from minidl.typing import Array

if TYPE_CHECKING:
    from pathlib import Path

    from minidl.training.trainer import Trainer


class Monitor(Callback):
    """Base of callbacks that follow one figure and know its best value so far.

    Parameters
    ----------
    monitor : str
        The figure's name in the history, such as "val_loss". One that the run does not have raises ArgumentError when
        the training begins.
    min_delta : float >= 0, default 0
        An epoch is better only if its figure is so by more than this.
    mode : "auto", "min" or "max", default "auto"
        Whether a small or a large figure is good; "auto" knows that of losses and errors a small one is, and of
        accuracies a large one. For a name that tells neither it raises ArgumentError.
    """

    def __init__(self, monitor: str = "val_loss", *, min_delta: float = 0.0, mode: str = "auto") -> None:
        criterion = Criterion(type(self).__name__, monitor, mode, min_delta)
        self.monitor, self.mode, self.min_delta = criterion.monitor, criterion.mode, criterion.min_delta
        self._forget()

    @property
    def criterion(self) -> Criterion:
        """Which figure is better, by the settings as they are."""
        return Criterion(type(self).__name__, self.monitor, self.mode, self.min_delta)

    @property
    def key(self) -> str:
        return f"{type(self).__name__}({self.monitor!r}, mode={self.mode!r})"

    def check(self, trainer: Trainer) -> None:
        self.criterion.check(trainer.figure_names)

    def on_train_begin(self, trainer: Trainer) -> None:
        self._forget()

    def state(self) -> dict[str, Any]:
        return {"best": self.best, "best_epoch": self.best_epoch}

    def restore(self, state: dict[str, Any]) -> None:
        self.best, self.best_epoch = float(state["best"]), int(state["best_epoch"])

    def improves(self, figure: float, epoch: int) -> bool:
        """Compare the figure of an epoch, counted from 1, with the best so far, and note it if it is better."""
        if not self.criterion.is_better(figure, self.best):
            return False
        self.best, self.best_epoch = figure, epoch
        return True

    def _forget(self) -> None:
        self.best, self.best_epoch = self.criterion.worst, 0


class EarlyStopping(Monitor):
    """Ends the training when a figure has not become better for `patience` epochs; restores the best epoch's model.

    Parameters
    ----------
    monitor : str, default "val_loss"
    patience : int >= 1, default 10
        Epochs without a better figure after which the training ends.
    restore_best : bool, default True
        At the end of the training, however many epochs it took, put back the model's parameters and states of the best
        epoch. Not after an error, Ctrl-C, or a callback's `stop` in the midst of an epoch, which another `fit` would
        finish: there the model stays as the last step left it. A limit of time calls `stop` at the end of an epoch.
    min_delta, mode : as for `Monitor`

    Attributes
    ----------
    best : float
        The best figure; ``best_epoch`` is the epoch that had it, counted from 1.

    Source: Prechelt (1998), "Early stopping - but when?".
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        *,
        patience: int = 10,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best: bool = True,
    ) -> None:
        check_whole_number(patience, "EarlyStopping: patience", 1)
        check_flag(restore_best, "EarlyStopping: restore_best")
        self.patience, self.restore_best = patience, restore_best
        super().__init__(monitor, min_delta=min_delta, mode=mode)

    def on_epoch_begin(self, trainer: Trainer) -> None:
        if self.waited >= self.patience:  # a run resumed after its end
            trainer.stop()

    def on_epoch_end(self, trainer: Trainer) -> None:
        if self.improves(trainer.history[self.monitor][-1], trainer.epoch):
            self.waited = 0
            if self.restore_best:
                self._best_model = {name: array.copy() for name, array in trainer.model.named_arrays().items()}
            return
        self.waited += 1
        if self.waited >= self.patience:
            trainer.stop()

    def on_train_end(self, trainer: Trainer) -> None:
        if self._best_model and not trainer.interrupted:
            for name, array in trainer.model.named_arrays().items():
                array[...] = self._best_model[name]

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
    """Lowers the learning rate when a figure has not become better for `patience` epochs.

    ``learning_rate <- max(factor * learning_rate, min_rate)``; for a rate that is a number, not a schedule.

    Parameters
    ----------
    monitor : str, default "val_loss"
    factor : float in (0, 1), default 0.1
    patience : int >= 1, default 10
        Epochs without a better figure before the rate falls, each time.
    cooldown : int >= 0, default 0
        Epochs after a fall in which no epoch counts as one without a better figure.
    min_rate : float >= 0, default 0
    min_delta : float >= 0, default 1e-4
    mode : as for `Monitor`

    Raises ArgumentError when the training begins with an optimizer whose rate is a schedule.
    """

    waited: int
    cooling: int

    def __init__(
        self,
        monitor: str = "val_loss",
        *,
        factor: float = 0.1,
        patience: int = 10,
        cooldown: int = 0,
        min_rate: float = 0.0,
        min_delta: float = 1e-4,
        mode: str = "auto",
    ) -> None:
        self.factor = check_number(factor, "ReduceLROnPlateau: factor", above=0, below=1)
        check_whole_number(patience, "ReduceLROnPlateau: patience", 1)
        check_whole_number(cooldown, "ReduceLROnPlateau: cooldown", 0)
        self.patience, self.cooldown = patience, cooldown
        self.min_rate = check_number(min_rate, "ReduceLROnPlateau: min_rate", 0)
        super().__init__(monitor, min_delta=min_delta, mode=mode)

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


class Checkpoint(Callback):
    """Saves the run to a folder as it goes, so that `Trainer.load` can go on after whatever ended it.

    The files are ``step_0000000525.npz`` and so on, each written whole or not at all. With `monitor`, the best epoch's
    is kept as ``best.npz``, too, until a better one takes its place; ``Trainer.load(folder / "best.npz").model`` is its
    model. Of an optimizer that keeps averaged weights, the model in a file has these, as after `fit`.

    Parameters
    ----------
    folder : str or path
        Made if it does not exist. A checkpoint of a later step that is there when the training begins raises
        ArgumentError: it is another run's, and would be taken for this one's newest.
    every_epochs : int >= 1 or None, default 1
        Save at the end of every so many epochs; and when Ctrl-C, or a callback's `stop` in the midst of an epoch, ends
        the training.
    every_steps : int >= 1 or None, default None
        Save after every so many steps, in the middle of epochs too; and, in the same way, when the training ends.
    keep : int >= 1 or None, default 1
        How many of the newest to keep; None keeps all.
    monitor, min_delta, mode : optional
        As for `Monitor`; without a monitor there is no ``best.npz``.
    """

    runs_last = True
    writes_files = True

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        every_epochs: int | None = 1,
        every_steps: int | None = None,
        keep: int | None = 1,
        monitor: str | None = None,
        min_delta: float = 0.0,
        mode: str = "auto",
    ) -> None:
        for name, number in (("every_epochs", every_epochs), ("every_steps", every_steps), ("keep", keep)):
            if number is not None:
                check_whole_number(number, f"Checkpoint: {name}", 1)
        if every_epochs is None and every_steps is None and monitor is None:
            raise ArgumentError("Checkpoint: with neither every_epochs, every_steps nor monitor it would save nothing")
        self.folder, self.keep = as_path(folder), keep
        self.every_epochs, self.every_steps = every_epochs, every_steps
        self._criterion = None if monitor is None else Criterion("Checkpoint", monitor, mode, min_delta)

    def check(self, trainer: Trainer) -> None:
        if self._criterion:
            self._criterion.check(trainer.figure_names)
        describe(trainer)  # a setting that cannot be saved is an error now, not after the first epoch
        if not self.folder.exists():
            return
        if not self.folder.is_dir():
            raise ArgumentError(f"Checkpoint: {self.folder} is a file; give a folder")
        found = checkpoints(self.folder)
        later = found[-1] if found and found[-1] > self._path(trainer) else None
        if self._criterion and trainer.step == 0 and (self.folder / BEST).exists():
            later = self.folder / BEST
        if later:
            raise ArgumentError(
                f"Checkpoint: the folder {self.folder} holds {later.name}, of a later step than this run's, "
                f"{trainer.step}: go on with Trainer.load(folder), or give another folder, or delete it"
            )

    def on_train_begin(self, trainer: Trainer) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.glob(".*.npz.*.tmp"):  # half a file, of a save that was killed
            path.unlink(missing_ok=True)
        if self._criterion:
            self._best = self._criterion.worst
            for figure in dict(trainer.history).get(self._criterion.monitor, []):  # of a run that was resumed
                self._is_best(figure)

    def on_batch_end(self, trainer: Trainer) -> None:
        # The last step of an epoch is saved at the epoch's end, with its figures. Where parameters are no longer
        # finite, the trainer is about to say so, and the last good checkpoint stays.
        due = self.every_steps and trainer.step % self.every_steps == 0 and trainer.row < trainer.rows
        if due and _is_finite(trainer):
            self._save_step(trainer)

    def on_epoch_end(self, trainer: Trainer) -> None:
        # First the best: killed between the two, the run goes on from the older file, and finds the best once more.
        if self._criterion and self._is_best(trainer.history[self._criterion.monitor][-1]):
            self._save(trainer, self.folder / BEST)
        if (self.every_epochs and trainer.epoch % self.every_epochs == 0) or (
            self.every_steps and trainer.step % self.every_steps == 0
        ):
            self._save_step(trainer)

    def on_train_end(self, trainer: Trainer) -> None:
        # What else would be lost of a run that somebody stopped. After an error the last good checkpoint stays.
        stopped = trainer.interrupted and trainer.ended_by in {None, KeyboardInterrupt} and trainer.step > 0
        saves_steps = self.every_epochs or self.every_steps
        if stopped and saves_steps and not self._path(trainer).exists() and _is_finite(trainer):
            self._save_step(trainer)

    def _is_best(self, figure: float) -> bool:
        """Compare a figure with the best so far, and note it if it is better."""
        assert self._criterion is not None
        better = self._criterion.is_better(figure, self._best)
        self._best = figure if better else self._best
        return better

    def _path(self, trainer: Trainer) -> Path:
        return self.folder / f"step_{trainer.step:010d}.npz"

    @staticmethod
    def _save(trainer: Trainer, path: Path) -> None:
        with trainer.averaged_weights():  # so that the file's model is the one that was validated
            trainer.save(path)

    def _save_step(self, trainer: Trainer) -> None:
        self._save(trainer, self._path(trainer))
        if self.keep is not None:
            for path in checkpoints(self.folder)[: -self.keep]:
                path.unlink(missing_ok=True)


def _is_finite(trainer: Trainer) -> bool:
    return bool(np.isfinite(trainer.model.parameters).all())
