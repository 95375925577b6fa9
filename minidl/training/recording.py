"""Callbacks that write the figures of a run: to a CSV file, or for TensorBoard."""

from __future__ import annotations

import csv
import io
import math
import os
from typing import TYPE_CHECKING, Any

from minidl.errors import MissingDependencyError
from minidl.files import as_path, atomic_write
from minidl.training.callbacks import Callback

if TYPE_CHECKING:
    from minidl.training.trainer import Trainer


class CSVLogger(Callback):
    """Writes the history to a CSV file after each epoch: a column "epoch", from 1, and one per figure.

    The file always holds the whole history, also of a run that was resumed, and is replaced by a whole one each time.
    A figure that an epoch does not have is left empty.

    Parameters
    ----------
    path : str or path
        Its folder is made if it does not exist; an older file is replaced.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = as_path(path)

    def on_train_begin(self, trainer: Trainer) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._write(trainer)  # a path that cannot be written is an error now, not after the first epoch

    def on_epoch_end(self, trainer: Trainer) -> None:
        self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        history = trainer.history
        names = list(history) or trainer.figure_names
        writer.writerow(["epoch", *names])
        for epoch in range(history.epochs):
            figures = [history[name][epoch] for name in names]
            writer.writerow([epoch + 1, *("" if math.isnan(figure) else repr(figure) for figure in figures)])
        with atomic_write(self.path) as file:
            file.write(text.getvalue().encode())


class TensorBoard(Callback):
    """Writes the figures and the learning rate of each epoch for TensorBoard: ``tensorboard --logdir folder``.

    Needs tensorboardX, which the extra "tensorboard" brings.

    Parameters
    ----------
    folder : str or path
        Made if it does not exist; a resumed run goes on in the same one.

    Raises MissingDependencyError when the training begins without tensorboardX.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = as_path(folder)

    def on_train_begin(self, trainer: Trainer) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise MissingDependencyError("TensorBoard needs tensorboardX: pip install 'minidl[tensorboard]'") from error
        # What a killed run wrote of epochs that are now done again is hidden.
        self._writer: Any = SummaryWriter(str(self.folder), purge_step=trainer.epoch + 1)

    def on_epoch_end(self, trainer: Trainer) -> None:
        for name, figure in trainer.figures.items():
            self._writer.add_scalar(name, figure, trainer.epoch)
        self._writer.add_scalar("learning_rate", trainer.optimizer.rate(), trainer.epoch)
        self._writer.flush()

    def on_train_end(self, trainer: Trainer) -> None:
        self._writer.close()
