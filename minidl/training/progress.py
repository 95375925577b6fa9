"""The progress bar."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from minidl.training.callbacks import Callback

if TYPE_CHECKING:
    from minidl.training.trainer import Trainer


class ProgressBar(Callback):
    """A tqdm bar over all epochs of a `fit`, with its metrics and the rows per second.

    Where there are validation data, metrics stand as training/validation: ``loss 0.136/0.167``. Where standard error is
    no terminal, such as a log file, the bar is drawn every ten seconds only.
    """

    ends_first = True

    def on_train_begin(self, trainer: Trainer) -> None:
        from tqdm.auto import tqdm

        self._seconds_between = 0.1 if sys.stderr.isatty() else 10.0
        self._first_epoch, self._drawn = trainer.epoch, time.monotonic()
        self._bar: Any = tqdm(
            total=(trainer.last_epoch - trainer.epoch) * trainer.position.rows,
            initial=trainer.position.row,
            unit=" rows",
            unit_scale=True,
            mininterval=0,  # when to draw is decided below: formatting the metrics of each batch would cost time
            dynamic_ncols=True,
            bar_format="{desc} |{bar}| {rate_fmt} {remaining}",
            desc="epoch",
        )

    def on_batch_end(self, trainer: Trainer) -> None:
        if time.monotonic() - self._drawn >= self._seconds_between:
            self._draw(trainer, trainer.epoch + 1)

    def on_epoch_end(self, trainer: Trainer) -> None:
        if time.monotonic() - self._drawn >= self._seconds_between:
            self._draw(trainer, trainer.epoch)

    def on_train_end(self, trainer: Trainer) -> None:
        self._draw(trainer, trainer.epoch + (trainer.position.row > 0))
        self._bar.close()

    def _draw(self, trainer: Trainer, epoch: int) -> None:
        last = {name: column[-1] for name, column in trainer.history.items()}
        now = {**last, **trainer.metric_values}
        texts = [
            f"{name} {value:.3f}" + (f"/{now[f'val_{name}']:.3f}" if f"val_{name}" in now else "")
            for name, value in now.items()
            if not name.startswith("val_")
        ]
        self._bar.set_description_str(f"epoch {epoch}/{trainer.last_epoch} {' '.join(texts)}", refresh=False)
        self._bar.update(
            (trainer.epoch - self._first_epoch) * trainer.position.rows + trainer.position.row - self._bar.n
        )
        self._drawn = time.monotonic()
