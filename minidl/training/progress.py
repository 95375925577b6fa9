"""The progress bar, for the epochs of a `fit` and for a number of runs."""

from __future__ import annotations

import functools
import importlib
import math
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from minidl.console import Console
from minidl.training.callbacks import Callback

if TYPE_CHECKING:
    from minidl.training.trainer import Trainer

_Result = TypeVar("_Result")


class Bar:
    """The progress of some work: a tqdm bar in a terminal or a notebook, or occasional lines in a log.

    Parameters
    ----------
    text : str
        The first text before the bar.
    total, initial : int
        The total amount of work, and the amount done before.
    unit, form : str
        tqdm's `unit` and `bar_format`; the latter contains ``|{bar}|``.

    Attributes
    ----------
    live : bool
        Whether the bar is drawn in place again and again. Else each drawing is a line.
    """

    def __init__(self, text: str, total: int, *, initial: int = 0, unit: str, form: str) -> None:
        from tqdm import tqdm

        self._console, notebook = Console(sys.stderr), _in_notebook()
        self.live = notebook or self._console.isatty()
        self._began, self._drawn, self._drawn_at = time.monotonic(), initial, -math.inf
        options = {"total": total, "initial": initial, "unit": unit, "unit_scale": True}
        if self.live:
            # `due` decides when to draw, before texts are made: making a text for each batch would take time.
            options |= {"mininterval": 0, "miniters": 0, "dynamic_ncols": True, "file": self._console}
            self._bar: Any = (_tqdm_of_notebooks() if notebook else tqdm)(desc=text, bar_format=form, **options)
        else:
            self._line = functools.partial(tqdm.format_meter, bar_format=form.replace("|{bar}|", "|"), **options)

    @property
    def due(self) -> bool:
        """Return whether the last drawing was long enough ago to draw again."""
        return time.monotonic() - self._drawn_at >= (0.1 if self.live else 10)

    def draw(self, text: str, done: int) -> None:
        """Show how much is done. In a log, do nothing if the last line already shows this."""
        if self.live:
            self._bar.set_description_str(text, refresh=False)
            self._bar.update(done - self._bar.n)
        elif done != self._drawn:
            line = self._line(done, elapsed=time.monotonic() - self._began, prefix=text)
            self._console.write(f"{line}\n")
            self._console.flush()
        self._drawn, self._drawn_at = done, time.monotonic()

    def end(self, text: str, done: int) -> None:
        """Draw the bar for the last time."""
        self.draw(text, done)
        if self.live:
            self._bar.close()


def counted_on_bar(results: Iterable[_Result], total: int, name: str) -> Iterator[_Result]:
    """Yield the results, and count them on a bar."""
    bar, done = Bar(name, total, unit=" runs", form="{desc}: {n}/{total} |{bar}| {elapsed}<{remaining}"), 0
    try:
        for done, result in enumerate(results, start=1):
            if bar.due:
                bar.draw(name, done)
            yield result
    finally:
        bar.end(name, done)


class ProgressBar(Callback):
    """A tqdm bar over all epochs of a `fit`, with the metrics and the rows per second.

    With validation data, metrics are shown as training/validation: ``loss 0.136/0.167``. If standard error is a log,
    such as a file, an epoch has at most one line: the first epoch, one epoch every ten seconds, and the last epoch.
    Without standard error, nothing is shown.
    """

    ends_first = True

    def on_train_begin(self, trainer: Trainer) -> None:
        self._first_epoch = trainer.epoch
        total = (trainer.last_epoch - trainer.epoch) * trainer.position.rows
        form = "{desc} |{bar}| {rate_fmt} {remaining}"
        self._bar = Bar("epoch", total, initial=trainer.position.row, unit=" rows", form=form)

    def on_batch_end(self, trainer: Trainer) -> None:
        if self._bar.live and self._bar.due:
            self._bar.draw(self._text(trainer, trainer.epoch + 1), self._done(trainer))

    def on_epoch_end(self, trainer: Trainer) -> None:
        if self._bar.due:
            self._bar.draw(self._text(trainer, trainer.epoch), self._done(trainer))

    def on_train_end(self, trainer: Trainer) -> None:
        self._bar.end(self._text(trainer, trainer.epoch + (trainer.position.row > 0)), self._done(trainer))

    def _done(self, trainer: Trainer) -> int:
        return (trainer.epoch - self._first_epoch) * trainer.position.rows + trainer.position.row

    def _text(self, trainer: Trainer, epoch: int) -> str:
        last = {name: column[-1] for name, column in trainer.history.items() if name in trainer.metric_names}
        if trainer.epoch == self._first_epoch:  # the epoch before this `fit` may have had fewer metrics
            last = {name: value for name, value in last.items() if not math.isnan(value)}
        now = {**last, **trainer.metric_values}
        texts = [
            f"{name} {value:.3f}" + (f"/{now[f'val_{name}']:.3f}" if f"val_{name}" in now else "")
            for name, value in now.items()
            if not name.startswith("val_")
        ]
        return f"epoch {epoch}/{trainer.last_epoch} {' '.join(texts)}"


def _in_notebook() -> bool:
    """Return whether this is a notebook kernel. Its standard error is not a terminal, but is shown immediately."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    kinds = [kind.__name__ for kind in type(shell).__mro__]
    return shell is not None and "TerminalInteractiveShell" not in kinds


def _tqdm_of_notebooks() -> Any:
    """Return the widget bar, or the text bar if there are no widgets."""
    if "tqdm.auto" not in sys.modules:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tqdm warns if ipywidgets are missing; a text bar is enough
            importlib.import_module("tqdm.auto")
    return sys.modules["tqdm.auto"].tqdm
