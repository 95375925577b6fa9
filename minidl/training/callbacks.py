"""Callbacks: code that runs at fixed moments of the training. The progress bar is one."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from minidl.errors import ArgumentError, ArgumentTypeError, did_you_mean

if TYPE_CHECKING:
    from minidl.training.trainer import Trainer


class Callback:
    """Base of callbacks: a subclass overrides the moments that it needs; each gets the trainer.

    The trainer's ``model``, ``optimizer``, ``epoch``, ``step``, ``history`` and ``figures`` say how things stand;
    ``trainer.stop()`` ends the training after the present step.

    Attributes
    ----------
    runs_last : bool, default False
        True in a subclass that must see what the others did at the same moment, as one that saves does.
    """

    runs_last = False
    writes_files = False
    """True in a subclass that writes where its constructor said, so that two runs must not share one."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        moments = _moments()
        for name in vars(cls):
            if name.startswith("on_") and name not in moments:
                raise ArgumentError(f"{cls.__name__}.{name} would never be called; {did_you_mean(name, moments)}")

    def __repr__(self) -> str:
        return self.key if self.key.endswith(")") else f"{self.key}()"

    @property
    def key(self) -> str:
        """What tells its state from those of other callbacks in a checkpoint: its class, and what it watches."""
        return type(self).__name__

    def check(self, trainer: Trainer) -> None:
        """Raise an error for what cannot work; called before any callback begins, and nothing has changed yet."""

    def on_train_begin(self, trainer: Trainer) -> None:
        """`fit` has checked its input and begins."""

    def on_epoch_begin(self, trainer: Trainer) -> None:
        """An epoch begins, or goes on where an interrupted one stopped; ``trainer.epoch`` epochs are done."""

    def on_gradients(self, trainer: Trainer) -> None:
        """The moment to change ``trainer.model.gradients`` in place: they are whole, the optimizer has not run."""

    def on_batch_end(self, trainer: Trainer) -> None:
        """A step is done; ``trainer.figures`` are the means over the epoch so far."""

    def on_epoch_end(self, trainer: Trainer) -> None:
        """An epoch is done and counted; ``trainer.figures`` are those that ``trainer.history`` got.

        With an optimizer that keeps averaged weights, these are in the model now, as they were for the validation; what
        is written on them here changes the average, and not the parameters that the next step goes on from.
        """

    def on_train_end(self, trainer: Trainer) -> None:
        """`fit` ends, be it by an error or Ctrl-C: ``trainer.interrupted`` tells."""

    def state(self) -> dict[str, Any]:
        """Return what a resumed run must know again: by name, numbers, text, None, and arrays."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` returned; called after `on_train_begin` of a `fit` that goes on with a run."""


def _moments() -> list[str]:
    """Return the names of a callback's moments."""
    return [name for name in vars(Callback) if name.startswith("on_")]


class FunctionCallback(Callback):
    """A callback made of a plain function, which gets the trainer.

    Parameters
    ----------
    function : callable
    moment : str, default "on_epoch_end"
        Which of a callback's moments it is for: on_train_begin, on_epoch_begin, on_gradients, on_batch_end,
        on_epoch_end or on_train_end.
    """

    def __init__(self, function: Callable[[Trainer], None], moment: str = "on_epoch_end") -> None:
        if not callable(function):
            raise ArgumentTypeError(f"FunctionCallback takes a function, not {function!r}")
        moments = _moments()
        if moment not in moments:
            raise ArgumentError(f"a callback has no moment {moment!r}; {did_you_mean(str(moment), moments)}")
        setattr(self, moment, function)


def as_callbacks(callbacks: Iterable[Callback | Callable[[Trainer], None]] | None) -> list[Callback]:
    """Return what `fit` was given as a list of callbacks; raise ArgumentTypeError for anything else."""
    if callbacks is not None and not isinstance(callbacks, Iterable):
        raise ArgumentTypeError(f"callbacks is {callbacks!r}; give a list of callbacks")
    found: list[Callback] = []
    for callback in callbacks or ():
        if isinstance(callback, Callback):
            found.append(callback)
        elif callable(callback) and not isinstance(callback, type):
            found.append(FunctionCallback(callback))
        else:
            cure = f": did you mean {callback.__name__}()?" if isinstance(callback, type) else ""
            raise ArgumentTypeError(f"callbacks holds {callback!r}, which is no Callback and no function{cure}")
    return found


def restore_callbacks(callbacks: list[Callback], states: list[tuple[str, dict[str, Any]]]) -> None:
    """Give each state to the callback of its key; of several of a key, in their order."""
    left = list(callbacks)
    for key, state in states:
        heir = next((callback for callback in left if callback.key == key), None)
        if heir is None:
            warnings.warn(f"the run goes on without its {key}: fit was given none", stacklevel=3)
            continue
        left.remove(heir)
        heir.restore(state)


class Moments:
    """What callbacks do during the epochs: at each moment, the methods of those that override it and of no others."""

    def __init__(self, callbacks: list[Callback]) -> None:
        self.on_epoch_begin = self._of(callbacks, "on_epoch_begin")
        self.on_gradients = self._of(callbacks, "on_gradients")
        self.on_batch_end = self._of(callbacks, "on_batch_end")
        self.on_epoch_end = self._of(callbacks, "on_epoch_end")

    @staticmethod
    def _of(callbacks: list[Callback], moment: str) -> list[Callable[[Trainer], None]]:
        methods = [getattr(callback, moment) for callback in callbacks]
        empty = getattr(Callback, moment)
        return [method for method in methods if getattr(method, "__func__", None) is not empty]


class ProgressBar(Callback):
    """A tqdm bar over all epochs of a `fit`, with its figures and the rows per second.

    Where there are validation data, figures stand as training/validation: ``loss 0.136/0.167``. Where standard error is
    no terminal, such as a log file, the bar is drawn every ten seconds only.
    """

    def on_train_begin(self, trainer: Trainer) -> None:
        from tqdm.auto import tqdm

        self._seconds_between = 0.1 if sys.stderr.isatty() else 10.0
        self._first_epoch, self._drawn = trainer.epoch, time.monotonic()
        self._bar: Any = tqdm(
            total=(trainer.last_epoch - trainer.epoch) * trainer.rows,
            initial=trainer.row,
            unit=" rows",
            unit_scale=True,
            mininterval=0,  # when to draw is decided below: formatting the figures of each batch would cost time
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
        self._draw(trainer, trainer.epoch + (trainer.row > 0))
        self._bar.close()

    def _draw(self, trainer: Trainer, epoch: int) -> None:
        last = {name: column[-1] for name, column in trainer.history.items()}
        now = {**last, **trainer.figures}
        texts = [
            f"{name} {value:.3f}" + (f"/{now[f'val_{name}']:.3f}" if f"val_{name}" in now else "")
            for name, value in now.items()
            if not name.startswith("val_")
        ]
        self._bar.set_description_str(f"epoch {epoch}/{trainer.last_epoch} {' '.join(texts)}", refresh=False)
        self._bar.update((trainer.epoch - self._first_epoch) * trainer.rows + trainer.row - self._bar.n)
        self._drawn = time.monotonic()
