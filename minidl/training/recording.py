"""Callbacks that write the metrics of a run: to a CSV file, or for TensorBoard."""

from __future__ import annotations

import io
import math
import time
from typing import TYPE_CHECKING, Any

from minidl.errors import ArgumentError, MissingDependencyError
from minidl.files import as_path, atomic_write
from minidl.settings import setting
from minidl.training.callbacks import Callback

if TYPE_CHECKING:
    from minidl.training.trainer import Trainer


class CSVLogger(Callback):
    """Write the history to a CSV file after each epoch: a column "epoch", counted from 1, and one column per metric.

    The file always holds the whole history, also of a resumed run, and each epoch once. A missing metric is empty.

    Parameters
    ----------
    path : str or path
        The file. Its folder is created if it does not exist; an older file is replaced.
    """

    writes_files = True

    path: Any = setting(kw_only=False, check=as_path)

    def check(self, trainer: Trainer) -> None:
        if self.path.is_dir():
            raise ArgumentError(f"CSVLogger: {self.path} is a folder; give the name of a file")

    def on_train_begin(self, trainer: Trainer) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._write_all(trainer)

    def on_epoch_end(self, trainer: Trainer) -> None:
        import csv

        if list(trainer.history) != self._names:  # the first epoch, or one with another metric
            self._write_all(trainer)
            return
        with self.path.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(self._row(trainer, trainer.history.epochs))

    def _write_all(self, trainer: Trainer) -> None:
        import csv

        self._names = list(trainer.history)
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["epoch", *(self._names or trainer.metric_names)])
        writer.writerows(self._row(trainer, epoch) for epoch in range(1, trainer.history.epochs + 1))
        with atomic_write(self.path) as file:
            file.write(text.getvalue().encode())

    def _row(self, trainer: Trainer, epoch: int) -> list[Any]:
        metrics = [trainer.history[name][epoch - 1] for name in self._names]
        return [epoch, *("" if math.isnan(metric) else repr(metric) for metric in metrics)]


class TensorBoard(Callback):
    """Write the metrics and the learning rate of each epoch for TensorBoard: ``tensorboard --logdir folder``.

    It needs tensorboardX, which the extra "tensorboard" installs.

    Parameters
    ----------
    folder : str or path
        Created if it does not exist. A resumed run continues in the same folder.

    Raises MissingDependencyError at the start of the training if tensorboardX is missing.
    """

    writes_files = True

    folder: Any = setting(kw_only=False, check=as_path)

    def check(self, trainer: Trainer) -> None:
        try:
            import tensorboardX  # noqa: F401
        except ImportError as error:
            raise MissingDependencyError("TensorBoard needs tensorboardX: pip install 'minidl[tensorboard]'") from error

    def on_train_begin(self, trainer: Trainer) -> None:
        from tensorboardX import SummaryWriter

        # This hides what a killed run wrote about epochs that are repeated now.
        # The name of a file has the second; with the nanoseconds no other run writes into it.
        suffix = f".{time.time_ns()}"
        self._writer: Any = SummaryWriter(str(self.folder), purge_step=trainer.epoch + 1, filename_suffix=suffix)

    def on_epoch_end(self, trainer: Trainer) -> None:
        for name, metric in trainer.metric_values.items():
            self._writer.add_scalar(name, metric, trainer.epoch)
        self._writer.add_scalar("learning_rate", trainer.optimizer.rate(), trainer.epoch)
        self._writer.flush()

    def on_train_end(self, trainer: Trainer) -> None:
        self._writer.close()
