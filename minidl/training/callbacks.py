"""Callbacks: code that runs at fixed moments of the training."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from minidl.errors import ArgumentError, ArgumentTypeError, did_you_mean
from minidl.settings import Configurable, one_of, setting

if TYPE_CHECKING:
    from minidl.training.trainer import Trainer


class Callback(Configurable):
    """Base of callbacks: a subclass overrides the methods of the moments that it needs. Each gets the trainer.

    The trainer's ``model``, ``optimizer``, ``epoch``, ``step``, ``history`` and ``metric_values`` show the state of the
    training. ``trainer.stop()`` ends the training after the current step.

    Attributes
    ----------
    runs_last : bool, default False
        True in a subclass that must run after the other callbacks of the same moment, for example to save the run.
    """

    runs_last = False
    writes_files = False
    """True in a subclass that writes to a place given in its constructor: two runs must not share one."""
    ends_first = False
    """True in a subclass that draws on the terminal. Other callbacks may print there when they end."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in vars(cls):
            if name.startswith("on_") and name not in MOMENTS:
                raise ArgumentError(f"{cls.__name__}.{name} would never be called; {did_you_mean(name, MOMENTS)}")

    @property
    def key(self) -> str:
        """Return the key of its state in a checkpoint: its class, and what it watches."""
        return type(self).__name__

    def check(self, trainer: Trainer) -> None:
        """Raise an error for wrong settings. It is called before any callback begins and before anything changes."""

    def on_train_begin(self, trainer: Trainer) -> None:
        """Called when `fit` has checked its input and begins."""

    def on_epoch_begin(self, trainer: Trainer) -> None:
        """Called when an epoch begins, or continues after an interruption. ``trainer.epoch`` epochs are complete."""

    def on_gradients(self, trainer: Trainer) -> None:
        """Called before the optimizer runs: change the complete ``trainer.model.gradients`` in place here."""

    def on_batch_end(self, trainer: Trainer) -> None:
        """Called after a step. ``trainer.metric_values`` are the means over the epoch so far."""

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Called after an epoch. ``trainer.metric_values`` are the new values in ``trainer.history``.

        With an average of the parameters, the model has the averaged weights now, as in the validation. If you change
        them here, the next step continues from the change, and the average restarts.
        """

    def on_train_end(self, trainer: Trainer) -> None:
        """Called when `fit` ends, also by an error or Ctrl-C: see ``trainer.interrupted``."""

    def state(self) -> dict[str, Any]:
        """Return the state that a resumed run needs: numbers, text, None and arrays by name."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned. It is called after `on_train_begin` if `fit` continues a run."""


MOMENTS = [name for name in vars(Callback) if name.startswith("on_")]


def _as_function(value: Any, _: str) -> Callable[[Trainer], None]:
    if not callable(value) or isinstance(value, type):
        raise ArgumentTypeError(f"a callback is {value!r}; give a function, or a Callback such as EarlyStopping()")
    return value


class FunctionCallback(Callback):
    """A callback made from a plain function, which gets the trainer.

    Parameters
    ----------
    function : callable
    moment : str, default "on_epoch_end"
        The moment to call it: on_train_begin, on_epoch_begin, on_gradients, on_batch_end, on_epoch_end or
        on_train_end.
    """

    function: Callable[[Trainer], None] = setting(kw_only=False, check=_as_function)
    moment: str = setting(default="on_epoch_end", check=one_of(*MOMENTS))

    def __post_init__(self) -> None:
        setattr(self, self.moment, self.function)


def as_callbacks(callbacks: Iterable[Callback | Callable[[Trainer], None]] | None) -> list[Callback]:
    """Return the callbacks given to `fit` as a list. Raise ArgumentTypeError for anything else."""
    if callbacks is not None and not isinstance(callbacks, Iterable):
        raise ArgumentTypeError(f"callbacks is {callbacks!r}; give a list of callbacks")
    return [each if isinstance(each, Callback) else FunctionCallback(each) for each in callbacks or ()]


class CallbackList:
    """The callbacks of a `fit` as one object. At each moment it calls, in order, those that do something then."""

    def __init__(self, callbacks: Iterable[Callback]) -> None:
        self.callbacks = sorted(callbacks, key=lambda callback: callback.runs_last)
        self._begun: list[Callback] = []
        # Computed once: most callbacks do nothing at most moments, and there are thousands of moments per second.
        self._doing = {moment: self.doing(moment) for moment in MOMENTS}

    def doing(self, moment: str) -> list[Callable[[Trainer], None]]:
        """Return the methods to call at a moment, only from callbacks that override it."""
        methods = [getattr(callback, moment) for callback in self.callbacks]
        return [method for method in methods if getattr(method, "__func__", None) is not getattr(Callback, moment)]

    def call(self, moment: str, trainer: Trainer) -> None:
        """Call the callbacks at a moment within the epochs, such as "on_batch_end"."""
        for method in self._doing[moment]:
            method(trainer)

    def begin(self, trainer: Trainer) -> None:
        """Begin each callback."""
        for callback in self.callbacks:
            callback.on_train_begin(trainer)
            self._begun.append(callback)

    def end(self, trainer: Trainer) -> None:
        """End each callback that has begun, even if another raises. A bar ends first, because others may print."""
        self._begun.sort(key=lambda callback: not callback.ends_first)
        if self._begun:
            try:
                self._begun.pop(0).on_train_end(trainer)
            finally:  # Ctrl-C, too, waits until all have ended
                self.end(trainer)

    def states(self) -> list[tuple[str, dict[str, Any]]]:
        """Return key and state of each callback that has one."""
        return [(each.key, each.state()) for each in self.callbacks if type(each).state is not Callback.state]

    def restore_states(self, states: list[tuple[str, dict[str, Any]]]) -> None:
        """Give each state to the callback with its key, in order if several have the same key."""
        heirs = {key: [callback for callback in self.callbacks if callback.key == key] for key, _ in states}
        for key, state in states:
            if heirs[key]:
                heirs[key].pop(0).restore(state)
            else:
                warnings.warn(f"the run continues without its {key}: fit was given none", stacklevel=3)
