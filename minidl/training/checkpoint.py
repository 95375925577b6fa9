"""The callback that saves a run during training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.errors import ArgumentError
from minidl.files import as_path
from minidl.settings import as_text, setting
from minidl.training.callbacks import Callback
from minidl.training.monitored_metric import MonitoredMetric, as_mode
from minidl.training.monitoring import say_in_error
from minidl.training.run_file import BEST, checkpoints, describe

if TYPE_CHECKING:
    from pathlib import Path

    from minidl.training.trainer import Trainer


_FILES = {".npz", ".npy", ".keras", ".h5", ".hdf5", ".ckpt", ".pt", ".pth", ".pkl", ".joblib"}
"""File name endings of checkpoints in other libraries."""


def as_folder(value: Any, name: str) -> Path:
    """Return a path. Raise ArgumentError for the name of a file."""
    path = as_path(value)
    if path.suffix.lower() in _FILES and not path.is_dir():
        cure = f"give a folder, such as {path.stem!r}: its files get their own names"
        raise ArgumentError(f"{name} is {str(value)!r:.80}, the name of a file; {cure}")
    return path


class Checkpoint(Callback):
    """Save the run to a folder during training, so that `Trainer.load` can continue it after any interruption.

    The files are ``step_0000000525.npz`` and so on. Each is written completely or not at all. With `monitor`, the best
    epoch is also saved as ``best.npz``, until a better one replaces it; ``Trainer.load(folder / "best.npz").model`` is
    its model. With an average of the parameters, the saved model has the averaged weights, as after `fit`.

    Parameters
    ----------
    folder : str or path
        Created if it does not exist. A checkpoint of a later step at the start of the training raises ArgumentError: it
        is from another run, but would be read as the newest one of this run.
    every_epochs : int >= 1 or None, default 1
        Save every `every_epochs` epochs, and when Ctrl-C or a callback's `stop` ends the training in the middle of an
        epoch.
    every_steps : int >= 1 or None, default None
        Save every `every_steps` steps, also in the middle of epochs, and in the same way when the training ends.
    keep : int >= 1 or None, default 1
        Number of newest files to keep; None keeps all.
    monitor, min_delta, mode : optional
        As for `Monitor`. Without a monitor there is no ``best.npz``.
    """

    runs_last = True
    writes_files = True

    folder: Any = setting(kw_only=False, check=as_folder)
    every_epochs: int | None = setting(default=1, low=1, whole=True, optional=True)
    every_steps: int | None = setting(default=None, low=1, whole=True)
    keep: int | None = setting(default=1, low=1, whole=True, optional=True)
    monitor: str | None = setting(default=None, check=as_text)
    min_delta: float = setting(default=0.0, low=0)
    mode: str = setting(default="auto", check=as_mode)

    def __post_init__(self) -> None:
        if self.every_epochs is None and self.every_steps is None and self.monitor is None:
            raise ArgumentError("Checkpoint: without every_epochs, every_steps and monitor it would save nothing")

    @property
    def metric(self) -> MonitoredMetric | None:
        """The monitored metric, from the current settings; None without a monitor."""
        if self.monitor is None:
            return None
        return MonitoredMetric(asker="Checkpoint", monitor=self.monitor, mode=self.mode, min_delta=self.min_delta)

    def check(self, trainer: Trainer) -> None:
        if self.metric:
            self.metric.check(trainer.metric_names)
        describe(trainer)  # raise now for a setting that cannot be saved, not after the first epoch
        if not self.folder.exists():
            return
        if not self.folder.is_dir():
            raise ArgumentError(f"Checkpoint: {self.folder} is a file; give a folder")
        found = checkpoints(self.folder)
        later = found[-1] if found and found[-1] > self._path(trainer) else None
        if self.metric and trainer.step == 0 and (self.folder / BEST).exists():
            later = self.folder / BEST
        if later:
            raise ArgumentError(
                f"Checkpoint: the folder {self.folder} holds {later.name}, of a later step than this run's, "
                f"{trainer.step}: continue with Trainer.load(folder), or give another folder, or delete it"
            )

    def on_train_begin(self, trainer: Trainer) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.glob(".*.npz.*.tmp"):  # an incomplete file from a killed save
            path.unlink(missing_ok=True)
        if self.metric:
            self._best = self.metric.worst
            for value in dict(trainer.history).get(self.metric.monitor, []):  # from a run that was resumed
                self._is_best(self.metric, value)

    def on_batch_end(self, trainer: Trainer) -> None:
        # The last step of an epoch is saved at the epoch's end, with its metrics. If parameters are no longer finite,
        # the trainer will raise an error, and the last good checkpoint stays.
        due = self.every_steps and trainer.step % self.every_steps == 0 and trainer.position.row < trainer.position.rows
        if due and _is_finite(trainer):
            self._save_step(trainer)

    def on_epoch_end(self, trainer: Trainer) -> None:
        # The best is saved first: if killed between the two, the run continues from the older file and finds it again.
        if self.metric and self._is_best(self.metric, trainer.history[self.metric.monitor][-1]):
            self._save(trainer, self.folder / BEST)
        if (self.every_epochs and trainer.epoch % self.every_epochs == 0) or (
            self.every_steps and trainer.step % self.every_steps == 0
        ):
            self._save_step(trainer)

    def on_train_end(self, trainer: Trainer) -> None:
        # Saves what would be lost of a run that was stopped. After an error, the last good checkpoint stays.
        if self.metric and (self.folder / BEST).exists():
            say_in_error(f"The model of the best epoch is Trainer.load({str(self.folder / BEST)!r}).model")
        stopped = trainer.interrupted and trainer.ended_by in {None, KeyboardInterrupt} and trainer.step > 0
        saves_steps = self.every_epochs or self.every_steps
        if stopped and saves_steps and not self._path(trainer).exists() and _is_finite(trainer):
            self._save_step(trainer)

    def _is_best(self, metric: MonitoredMetric, value: float) -> bool:
        """Return whether a value is better than the best so far, and store it if so."""
        better = metric.is_better(value, self._best)
        self._best = value if better else self._best
        return better

    def _path(self, trainer: Trainer) -> Path:
        return self.folder / f"step_{trainer.step:010d}.npz"

    @staticmethod
    def _save(trainer: Trainer, path: Path) -> None:
        with trainer.averaged_weights():  # the file then has the validated model
            trainer.save(path)

    def _save_step(self, trainer: Trainer) -> None:
        self._save(trainer, self._path(trainer))
        if self.keep is not None:
            for path in checkpoints(self.folder)[: -self.keep]:
                path.unlink(missing_ok=True)


def _is_finite(trainer: Trainer) -> bool:
    return bool(np.isfinite(trainer.model.parameters).all())
