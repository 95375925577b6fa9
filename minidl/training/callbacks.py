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
    """Base of callbacks: a subclass overrides the moments that it needs; each gets the trainer.

    The trainer's ``model``, ``optimizer``, ``epoch``, ``step``, ``history`` and ``metric_values`` say how things stand;
    ``trainer.stop()`` ends the training after the present step.

    Attributes
    ----------
    runs_last : bool, default False
        True in a subclass that must see what the others did at the same moment, as one that saves does.
    """

    runs_last = False
    writes_files = False
    """True in a subclass that writes where its constructor said, so that two runs must not share one."""
    ends_first = False
    """True in a subclass that draws on the terminal, which others may print on when they end."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in vars(cls):
            if name.startswith("on_") and name not in MOMENTS:
                raise ArgumentError(f"{cls.__name__}.{name} would never be called; {did_you_mean(name, MOMENTS)}")

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
        """A step is done; ``trainer.metric_values`` are the means over the epoch so far."""

    def on_epoch_end(self, trainer: Trainer) -> None:
        """An epoch is done and counted; ``trainer.metric_values`` are those that ``trainer.history`` got.

        With an average of the parameters, that is in the model now, as it was for the validation. From what is written
        on it here the next step goes on, and the average begins anew.
        """

    def on_train_end(self, trainer: Trainer) -> None:
        """`fit` ends, be it by an error or Ctrl-C: ``trainer.interrupted`` tells."""

    def state(self) -> dict[str, Any]:
        """Return what a resumed run must know again: by name, numbers, text, None, and arrays."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` returned; called after `on_train_begin` of a `fit` that goes on with a run."""


MOMENTS = [name for name in vars(Callback) if name.startswith("on_")]


def _as_function(value: Any, _: str) -> Callable[[Trainer], None]:
    if not callable(value) or isinstance(value, type):
        raise ArgumentTypeError(f"a callback is {value!r}; give a function, or a Callback such as EarlyStopping()")
    return value


class FunctionCallback(Callback):
    """A callback made of a plain function, which gets the trainer.

    Parameters
    ----------
    function : callable
    moment : str, default "on_epoch_end"
        Which of a callback's moments it is for: on_train_begin, on_epoch_begin, on_gradients, on_batch_end,
        on_epoch_end or on_train_end.
    """

    function: Callable[[Trainer], None] = setting(kw_only=False, check=_as_function)
    moment: str = setting(default="on_epoch_end", check=one_of(*MOMENTS))

    def __post_init__(self) -> None:
        setattr(self, self.moment, self.function)


def as_callbacks(callbacks: Iterable[Callback | Callable[[Trainer], None]] | None) -> list[Callback]:
    """Return what `fit` was given as a list of callbacks; raise ArgumentTypeError for anything else."""
    if callbacks is not None and not isinstance(callbacks, Iterable):
        raise ArgumentTypeError(f"callbacks is {callbacks!r}; give a list of callbacks")
    return [each if isinstance(each, Callback) else FunctionCallback(each) for each in callbacks or ()]


class CallbackList:
    """The callbacks of a `fit` as one object: at each moment it calls those that do something then, in their order."""

    def __init__(self, callbacks: Iterable[Callback]) -> None:
        self.callbacks = sorted(callbacks, key=lambda callback: callback.runs_last)
        self._begun: list[Callback] = []
        # Asked once: most callbacks do nothing at most moments, of which there are thousands a second.
        self._doing = {moment: self.doing(moment) for moment in MOMENTS}

    def doing(self, moment: str) -> list[Callable[[Trainer], None]]:
        """Return what the callbacks do at a moment; nothing of those that do not override it."""
        methods = [getattr(callback, moment) for callback in self.callbacks]
        return [method for method in methods if getattr(method, "__func__", None) is not getattr(Callback, moment)]

    def call(self, moment: str, trainer: Trainer) -> None:
        """Let them do what they do at a moment within the epochs, such as "on_batch_end"."""
        for method in self._doing[moment]:
            method(trainer)

    def begin(self, trainer: Trainer) -> None:
        """Let each begin."""
        for callback in self.callbacks:
            callback.on_train_begin(trainer)
            self._begun.append(callback)

    def end(self, trainer: Trainer) -> None:
        """End each that has begun, whatever another raises; a bar first, as what others print would run into it."""
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
        """Give each state to the callback of its key; of several of a key, in their order."""
        heirs = {key: [callback for callback in self.callbacks if callback.key == key] for key, _ in states}
        for key, state in states:
            if heirs[key]:
                heirs[key].pop(0).restore(state)
            else:
                warnings.warn(f"the run goes on without its {key}: fit was given none", stacklevel=3)
