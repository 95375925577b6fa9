"""What an optimizer is: plain vector arithmetic on the vector of all parameters, whatever the network.

It declares its state in `slots`; the base class creates it and hands it to `update`, so a copy goes on to the same
bits. Clipping of gradients and decoupled weight decay are the base's, and so every optimizer's.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import numpy as np

from minidl.configuration import Configurable
from minidl.errors import ArgumentError, ArgumentTypeError, NotReadyError, ShapeError
from minidl.inputs import check_number, check_setting
from minidl.typing import Array

__all__ = ["Optimizer"]

_BLOCK = 131_072
"""Entries of a vector that an elementwise optimizer gets at once: the vectors' blocks stay in the processor's cache."""


_Own = TypeVar("_Own", bound="Optimizer")


@dataclass(eq=False)
class Optimizer(Configurable):
    """Base of the optimizers: a subclass writes `update`, and names its state in `slots`.

    Parameters
    ----------
    learning_rate : float >= 0 or callable, default 0.01
        The rate, or a function of the step (0, 1, 2, ...) that returns it, such as a Schedule.
    clip_norm : float > 0, optional, by keyword
        Gradients whose norm, of the whole vector, is larger are scaled down to it: ``g <- g clip_norm / |g|``.
    clip_value : float > 0, optional, by keyword
        Each entry of the gradients is cut to [-clip_value, clip_value]. With both, the norm is taken afterwards, so
        that both bounds hold (Keras takes one of them only).
    weight_decay : float >= 0, default 0, by keyword
        Before each update parameters shrink, ``p <- p (1 - learning_rate weight_decay)``, decoupled from gradients.
        PyTorch's Adam, and its SGD with momentum, add ``weight_decay p`` to the gradients, as a regularizer
        ``L2(weight_decay / 2)`` does here.

    Attributes
    ----------
    slots : tuple of str
        Names of the state vectors, of the parameters' size and zero at first, which `update` gets after the rate.
    elementwise : bool, default False
        True in a subclass of which each parameter moves by its own gradient and slots alone. `update` then gets long
        vectors in blocks that stay in the processor's cache, which is faster.
    full_batch : bool, default False
        True for one that needs the loss and the gradient of all rows at any place, as LBFGS does by `minimize`.
    keeps_average : bool, default False
        Whether it keeps an average of the parameters, which `exchange` puts in their place.
    exchanged : bool
        Whether the average is in the parameters' place now; together with `step` and `state` it is all that changes.
    step : int
        How many steps have been taken; during `update`, the number of the present one, from 1.
    state : dict of name -> array
        The slots' vectors; empty before the first step. Of a wrapper it can be set as a whole, but not written on.

    The constructor raises ArgumentError or ArgumentTypeError for settings out of their ranges.
    Sources: Pascanu et al. (2013), arXiv:1211.5063, for clip_norm; Loshchilov and Hutter (2019), arXiv:1711.05101, for
    weight_decay.
    """

    learning_rate: float | Callable[[int], float] = 0.01
    clip_norm: float | None = field(default=None, kw_only=True)
    clip_value: float | None = field(default=None, kw_only=True)
    weight_decay: float = field(default=0.0, kw_only=True, metadata={"off": 0.0})
    slots: ClassVar[tuple[str, ...]] = ()
    elementwise: ClassVar[bool] = False
    full_batch: ClassVar[bool] = False
    keeps_average: ClassVar[bool] = False
    exchanged: bool = field(default=False, init=False, repr=False)
    step: int = field(default=0, init=False, repr=False)
    state: dict[str, Array] = field(default_factory=dict, init=False, repr=False)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if inspect.isfunction(vars(cls).get("step")):
            raise ArgumentTypeError(
                f"{cls.__name__}.step would hide the number of steps: the method that takes one is "
                "update(parameters, gradients, learning_rate, ...), one vector for each name in slots"
            )
        # A new default of an inherited setting keeps its kind: else the decorator would make one that is given by
        # keyword positional, at the place it has in the base, and ignore a number that has no annotation.
        for inherited in dataclasses.fields(cls):
            default = vars(cls).get(inherited.name, inherited)
            if default is inherited or not inherited.init:
                continue
            if isinstance(default, dataclasses.Field):
                if default.kw_only is dataclasses.MISSING:
                    default.kw_only = inherited.kw_only
            elif not hasattr(default, "__get__"):
                setattr(cls, inherited.name, field(default=default, kw_only=inherited.kw_only))
                if inherited.name not in inspect.get_annotations(cls):
                    cls.__annotations__ = inspect.get_annotations(cls) | {inherited.name: inherited.type}

    def __new__(cls: type[_Own], *arguments: Any, **settings: Any) -> _Own:
        for each in dataclasses.fields(cls):
            # The decorator would have put the default itself in the field's place.
            default = inspect.getattr_static(cls, each.name, None)
            if isinstance(default, dataclasses.Field):
                kind = each.type if isinstance(each.type, str) else each.type.__name__
                raise ArgumentTypeError(
                    f"{cls.__name__}: the default of {each.name} would be ignored: write @dataclass(eq=False) above "
                    f"the class that sets it, and in it {each.name}: {kind} = {default.default!r}"
                )
        return super().__new__(cls, *arguments, **settings)

    def __post_init__(self) -> None:
        self.check()

    def update(self, parameters: Array, gradients: Array, learning_rate: float, *args: Any, **kwargs: Any) -> None:
        """Take one step: change `parameters` and the slots' vectors in place, and leave `gradients` as they are."""
        raise NotImplementedError(
            f"{type(self).__name__} must define update(parameters, gradients, learning_rate, ...)"
        )

    def finish_step(self, parameters: Array, *slots: Array) -> None:
        """Do what is left once the parameters are where the step leads; gets whole vectors."""

    def check(self) -> None:
        """Raise ArgumentError or ArgumentTypeError for a setting that cannot work.

        The constructor asks, and so does training before it changes anything, as settings may be changed in between. A
        rate that is a function is not called here, for it may use what does not exist yet: see `rate`.
        """
        if not callable(self.learning_rate):
            self.rate()
        self.check_range("weight_decay", 0)
        for name in ("clip_norm", "clip_value"):
            if getattr(self, name) is not None:
                self.check_range(name, above=0)

    def check_range(
        self,
        name: str,
        low: float = -math.inf,
        below: float = math.inf,
        *,
        above: float = -math.inf,
        most: float = math.inf,
    ) -> None:
        """Raise an error that names the setting unless it is finite, with low <= it < below and above < it <= most.

        It becomes a plain float.
        """
        check_setting(self, name, low, below, above=above, most=most)

    def rate(self) -> float:
        """Return the learning rate of the next step; ArgumentError or ArgumentTypeError when it is no rate."""
        place = f"{type(self).__name__}: learning_rate at step {self.step}"
        try:
            value = self.learning_rate(self.step) if callable(self.learning_rate) else self.learning_rate
        except OverflowError as error:
            raise ArgumentError(
                f"{place} overflows, by {self.learning_rate!r}: take one that does not grow without end, with a factor "
                "of at most 1"
            ) from error
        return check_number(value, place, 0)

    def apply(
        self,
        parameters: Array,
        gradients: Array,
        decaying: Sequence[slice] | None = None,
        constrain: Callable[[], None] | None = None,
    ) -> None:
        """Take one step on 1-D `parameters`, in place, along 1-D `gradients` of the same size, which stay as they are.

        Parameters
        ----------
        parameters, gradients : array (P,)
        decaying : sequence of slices, optional
            The parts of the vector that weight decay shrinks, each entry once; None: all of it.
        constrain : function, optional
            Called once the parameters have moved, to hold them to their limits, before averages follow them.

        Raises
        ------
        ShapeError
            When the vectors, or those of the state, differ in size.
        NotReadyError
            While the average is in the parameters' place.
        """
        if self.exchanged:
            raise NotReadyError(
                f"{type(self).__name__}: the average is in the parameters' place; call exchange(parameters) before "
                "the next step"
            )
        rate = self.rate()  # before the state is looked up: a function may change settings, which may replace it
        state = self.state
        self._check_sizes(parameters, {"gradients": gradients, **state})
        vectors = [parameters, self._clip(gradients), *self._begin(parameters, state)]
        shrinking = 1 - rate * self.weight_decay
        if decaying is None:
            decaying = [slice(None)]
        bounds = [part.indices(len(parameters)) for part in decaying] if self.weight_decay else []
        self.step += 1
        # Parts of equal length: a short last one costs as many calls.
        parts = math.ceil(len(parameters) / _BLOCK) if self.elementwise else 1
        size = math.ceil(len(parameters) / max(parts, 1))
        for start in range(0, len(parameters), size or 1):
            part, slopes, *slots = [vector[start : start + size] for vector in vectors] if parts > 1 else vectors
            for first, last, _ in bounds:
                part[max(first - start, 0) : max(last - start, 0)] *= shrinking
            returned: object = self.update(part, slopes, rate, *slots)  # type: ignore[func-returns-value]
            if returned is not None:
                raise ArgumentTypeError(
                    f"{type(self).__name__}: update must change the parameters in place, parameters -= ..., and return "
                    "None; what it returned would be lost"
                )
        if constrain is not None:
            constrain()
        self.finish_step(parameters, *vectors[2:])

    def minimize(
        self,
        objective: Callable[[Array], tuple[float, Array]],
        parameters: Array,
        iterations: int,
        after_iteration: Callable[[Array], bool | None] | None = None,
    ) -> None:
        """Lower `objective` from `parameters`, in place; for one that is `full_batch`, see `LBFGS.minimize`."""
        raise NotImplementedError(f"{type(self).__name__} takes steps: call apply(parameters, gradients)")

    def exchange(self, parameters: Array) -> None:
        """Swap `parameters` with their average, in place, and back when called again; without an average, do nothing.

        While `exchanged` says that the average is in, `apply` raises NotReadyError.
        """

    def first_state(self, parameters: Array) -> dict[str, Array]:
        """Return the slots' vectors as they are before the first step on these parameters: zeros."""
        return {name: np.zeros_like(parameters) for name in self.slots}

    def _begin(self, parameters: Array, state: Mapping[str, Array]) -> list[Array]:
        """Create what there is not yet of the state; return the vectors of the slots."""
        slots = self.slots
        if isinstance(slots, str):
            raise ArgumentTypeError(f"{type(self).__name__}: slots is text; one slot is written ({slots!r},)")
        if any(name not in state for name in slots):
            self.state = state = self.first_state(parameters) | dict(state)
        return [state[name] for name in slots]

    def _check_sizes(self, parameters: Array, vectors: Mapping[str, Array]) -> None:
        for which, vector in vectors.items():
            if vector.shape != parameters.shape:
                raise ShapeError(
                    f"{type(self).__name__}: parameters have shape {parameters.shape} but {which} {vector.shape}; "
                    "an optimizer serves one model: make a new one for another"
                )

    def _clip(self, gradients: Array) -> Array:
        """Return the gradients themselves where they are within the bounds, else a copy that is."""
        most = self.clip_value
        if most is not None and len(gradients) and not -most <= gradients.min() <= gradients.max() <= most:
            gradients = gradients.clip(-most, most)
        if self.clip_norm is None:
            return gradients
        with np.errstate(over="ignore"):
            norm = math.sqrt(gradients @ gradients)
        if 1e-15 < norm < math.inf:
            return gradients * (self.clip_norm / norm) if norm > self.clip_norm else gradients
        # Squares have overflowed, or may have vanished: once more, with the largest entry as the unit.
        largest = float(np.abs(gradients).max(initial=0))
        if not 0 < largest < math.inf:  # zeros, or what no scaling makes finite
            return gradients
        unit = gradients / largest
        norm = math.sqrt(unit @ unit)
        return unit * (self.clip_norm / norm) if norm * largest > self.clip_norm else gradients
