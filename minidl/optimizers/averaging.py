"""Wrappers around any optimizer: averages of the parameters on its way, and a slow copy that pulls it back.

A wrapper adds a vector of its own. Settings, step and state remain those of the optimizer inside, and are the
wrapper's, too: the state under "optimizer/...", so that the outermost `step` and `state` are all there is. The
optimizer inside is a copy of the one given, which stays as it is: settings are changed through the wrapper.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

from minidl.errors import ArgumentError
from minidl.inputs import check_whole_number
from minidl.optimizers.base import Optimizer
from minidl.optimizers.names import get_optimizer
from minidl.typing import Array

__all__ = ["ExponentialMovingAverage", "Lookahead", "StochasticWeightAveraging"]


def _of_inner(name: str) -> Any:
    """Make a property that is an attribute of the inner optimizer's, to get and to set."""

    def get(wrapper: _Wrapper) -> Any:
        return getattr(wrapper.inner, name)

    def change(wrapper: _Wrapper, value: Any) -> None:
        setattr(wrapper.inner, name, value)

    return property(get, change)


@dataclass(eq=False)
class _Wrapper(Optimizer, ABC):
    """Base of the wrappers: a subclass names in `kept` the one vector that it keeps, which begins as the parameters.

    It writes `follow`, which is called after each step of the inner optimizer.
    """

    def _get_state(self) -> Mapping[str, Array]:
        inner = {f"optimizer/{name}": vector for name, vector in self.inner.state.items()}
        return MappingProxyType(self._own | inner)  # to read only: writing on it would reach nobody

    def _set_state(self, state: Mapping[str, Array]) -> None:
        self._own = {name: vector for name, vector in state.items() if name == self.kept}
        inner = {name: vector for name, vector in state.items() if name != self.kept}
        self.inner.state = {name.removeprefix("optimizer/"): vector for name, vector in inner.items()}

    # No arguments, but all that the base has as such: a type checker needs to read them here, a test compares.
    learning_rate: Any = field(init=False, repr=False, default=_of_inner("learning_rate"))
    clip_norm: Any = field(init=False, repr=False, default=_of_inner("clip_norm"))
    clip_value: Any = field(init=False, repr=False, default=_of_inner("clip_value"))
    weight_decay: Any = field(init=False, repr=False, default=_of_inner("weight_decay"))
    step: Any = field(init=False, repr=False, default=_of_inner("step"))
    state: Any = field(init=False, repr=False, default=property(_get_state, _set_state))
    optimizer: Optimizer | str
    kept: ClassVar[str]

    def __post_init__(self) -> None:
        inner = get_optimizer(self.optimizer)
        # In two wrappers, or on its own beside one, an optimizer would go on where the other left its state. A rate
        # that is a function stays the one that was given, as it may be a method of what somebody else changes.
        rate = inner.learning_rate
        self.optimizer = copy.deepcopy(inner, {id(rate): rate})
        self.optimizer.exchanged = False
        self.step, self.state = 0, {}
        super().__post_init__()

    @property
    def inner(self) -> Optimizer:
        """The optimizer inside: a copy of the one given."""
        assert isinstance(self.optimizer, Optimizer)
        return self.optimizer

    @property
    def slots(self) -> tuple[str, ...]:  # type: ignore[override]
        """The vector kept, and the inner optimizer's slots."""
        return (self.kept, *(f"optimizer/{name}" for name in self.inner.slots))

    @property
    def elementwise(self) -> bool:  # type: ignore[override]
        """As the inner optimizer is."""
        return self.inner.elementwise

    @property
    def keeps_average(self) -> bool:  # type: ignore[override]
        """Whether this wrapper or one inside keeps an average."""
        return self.average_slot is not None

    @property
    def average_slot(self) -> str | None:
        """The slot of the outermost average there is."""
        inner = self.inner.average_slot if isinstance(self.inner, _Wrapper) else None
        return None if inner is None else f"optimizer/{inner}"

    def check(self) -> None:
        if self.inner.full_batch:
            raise ArgumentError(
                f"{type(self).__name__}: {type(self.inner).__name__} takes no single steps to wrap; use another "
                "optimizer"
            )
        self.inner.check()
        super().check()

    def first_state(self, parameters: Array) -> dict[str, Array]:
        inner = self.inner.first_state(parameters)
        return {self.kept: parameters.copy()} | {f"optimizer/{name}": vector for name, vector in inner.items()}

    def update(self, parameters: Array, gradients: Array, learning_rate: float, kept: Array, *inner: Array) -> None:
        self.inner.update(parameters, gradients, learning_rate, *inner)

    def finish_step(self, parameters: Array, kept: Array, *inner: Array) -> None:  # type: ignore[override]
        self.inner.finish_step(parameters, *inner)
        self.follow(parameters, kept)

    @abstractmethod
    def follow(self, parameters: Array, kept: Array) -> None:
        """Change `kept`, in place, after a step has led to `parameters`."""

    def exchange(self, parameters: Array) -> None:
        if self.average_slot is None:
            return
        state = self.state
        self._check_sizes(parameters, state)
        self._begin(parameters, state)
        average = self.state[self.average_slot]
        before = parameters.copy()
        parameters[:] = average
        average[:] = before
        self.exchanged = not self.exchanged


class _Average(_Wrapper):
    """A wrapper whose vector is an average of the parameters."""

    kept = "average"

    @property
    def average_slot(self) -> str | None:
        return self.kept


@dataclass(eq=False)
class ExponentialMovingAverage(_Average):
    """Keep a fading average of the parameters, beside the steps of another optimizer: ``a <- d a + (1 - d) p``.

    The average begins as the first parameters. ``d = min(decay, (1 + t) / (10 + t))`` at step t, from 1, so that the
    average of a short run does not consist of them. `exchange` puts the average in the parameters' place.

    Parameters
    ----------
    optimizer : Optimizer or its name
        A copy of it takes the steps, from the first on; rate, clipping and decay are its, and the wrapper's to change.
    decay : float in [0, 1), default 0.999

    Sources: Polyak and Juditsky (1992), "Acceleration of stochastic approximation by averaging", SIAM Journal on
    Control and Optimization 30; the growing d is that of TensorFlow's ``tf.train.ExponentialMovingAverage``.
    """

    decay: float = 0.999

    def check(self) -> None:
        super().check()
        self.check_range("decay", 0, 1)

    def follow(self, parameters: Array, kept: Array) -> None:
        step = self.step
        _approach(kept, parameters, 1 - min(self.decay, (1 + step) / (10 + step)))


@dataclass(eq=False)
class StochasticWeightAveraging(_Average):
    """Keep the plain average of the parameters after steps start, start + every, start + 2 every, ...

    Before there is one, the average is the parameters themselves. `exchange` puts it in their place. In a model with
    `BatchNorm`, call ``model.recompute_statistics(x_train)`` after `fit`: the running statistics are those of the last
    steps, not of the average.

    Parameters
    ----------
    optimizer : Optimizer or its name
        A copy of it takes the steps, from the first on; rate, clipping and decay are its, and the wrapper's to change.
    start : int >= 0, default 0
        0 begins with the parameters before the first step. In steps: epochs * ceil(rows / batch_size).
    every : int >= 1, default 1

    Source: Izmailov et al. (2018), arXiv:1803.05407, algorithm 1.
    """

    start: int = 0
    every: int = 1

    def check(self) -> None:
        super().check()
        check_whole_number(self.start, f"{type(self).__name__}: start", 0)
        check_whole_number(self.every, f"{type(self).__name__}: every", 1)

    def follow(self, parameters: Array, kept: Array) -> None:
        if self.step <= self.start:
            kept[:] = parameters
        elif (self.step - self.start) % self.every == 0:
            _approach(kept, parameters, 1 / (1 + (self.step - self.start) // self.every))


@dataclass(eq=False)
class Lookahead(_Wrapper):
    """Let another optimizer explore, and every few steps go only a part of the way it went.

    That is ``s <- s + slow_rate (p - s)``, then ``p <- s``.

    Parameters
    ----------
    optimizer : Optimizer or its name
        A copy of it takes the steps, from the first on; rate, clipping and decay are its, and the wrapper's to change.
    steps : int >= 1, default 5
        The inner optimizer's steps between two of the slow vector s, which begins as the first parameters.
    slow_rate : float in (0, 1], default 0.5

    Source: Zhang et al. (2019), arXiv:1907.08610, algorithm 1; the inner optimizer keeps its state.
    """

    steps: int = 5
    slow_rate: float = 0.5
    kept = "slow"

    def check(self) -> None:
        super().check()
        check_whole_number(self.steps, "Lookahead: steps", 1)
        self.check_range("slow_rate", above=0, most=1)

    def follow(self, parameters: Array, kept: Array) -> None:
        if self.step % self.steps == 0:
            _approach(kept, parameters, self.slow_rate)
            parameters[:] = kept


def _approach(vector: Array, target: Array, share: float) -> None:
    """Move the vector, in place, by this share of the way to the target."""
    way = target - vector
    way *= share
    vector += way
