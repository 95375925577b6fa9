"""Optimizers: how the vector of gradients moves the vector of parameters.

All parameters of a model are one 1-D vector, so an optimizer is plain vector arithmetic, whatever the network. It
declares its state in `slots`; the base class creates it and hands it to `update`, so a copy goes on to the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from minidl.configuration import Configurable
from minidl.errors import ArgumentTypeError, ShapeError
from minidl.inputs import check_number
from minidl.typing import Array

__all__ = ["Optimizer"]

_BLOCK = 65_536
"""Entries of a vector that an elementwise optimizer gets at once: with Adam's temporaries they fit a 2 MB cache."""


@dataclass(eq=False)
class Optimizer(Configurable):
    """Base of the optimizers: a subclass writes `update`, and names its state in `slots`.

    Parameters
    ----------
    learning_rate : float or callable, default 0.01
        The rate, or a function of the step (0, 1, 2, ...) that returns it.

    Attributes
    ----------
    slots : tuple of str
        Names of the state vectors, of the parameters' size and zero at first, which `update` gets after the rate.
    elementwise : bool, default False
        True in a subclass of which each parameter moves by its own gradient and slots alone. `update` then gets long
        vectors in blocks that stay in the processor's cache, which is faster.
    step : int
        How many steps have been taken; during `update`, the number of the present one, from 1.
    state : dict of name -> array
        The slots' vectors; empty before the first step.
    """

    learning_rate: float | Callable[[int], float] = 0.01
    slots: ClassVar[tuple[str, ...]] = ()
    elementwise: ClassVar[bool] = False
    step: int = field(default=0, init=False, repr=False)
    state: dict[str, Array] = field(default_factory=dict, init=False, repr=False)

    def update(self, parameters: Array, gradients: Array, learning_rate: float, *args: Any, **kwargs: Any) -> None:
        """Take one step: change `parameters` and the slots' vectors in place, and leave `gradients` as they are."""
        raise NotImplementedError(
            f"{type(self).__name__} must define update(parameters, gradients, learning_rate, ...)"
        )

    def check(self) -> None:
        """Raise ArgumentError for a setting that cannot work; called before training, so that nothing changes."""
        self.rate()

    def check_decay(self, name: str) -> None:
        """Raise ArgumentError unless the setting of this name, which past steps are multiplied by, is in [0, 1)."""
        check_number(getattr(self, name), f"{type(self).__name__}: {name}", 0, 1)

    def rate(self) -> float:
        """Return the learning rate of the next step."""
        value = self.learning_rate(self.step) if callable(self.learning_rate) else self.learning_rate
        return check_number(value, f"{type(self).__name__}: learning_rate at step {self.step}", 0)

    def apply(self, parameters: Array, gradients: Array) -> None:
        """Take one step on 1-D `parameters`, in place, along 1-D `gradients` of the same size."""
        for which, vector in {"gradients": gradients, **self.state}.items():
            if vector.shape != parameters.shape:
                raise ShapeError(
                    f"{type(self).__name__}: parameters have shape {parameters.shape} but {which} {vector.shape}; "
                    "an optimizer serves one model: make a new one for another"
                )
        rate = self.rate()
        if isinstance(self.slots, str):
            raise ArgumentTypeError(f"{type(self).__name__}: slots is text; one slot is written ({self.slots!r},)")
        if not self.state:
            self.state = {name: np.zeros_like(parameters) for name in self.slots}
        self.step += 1
        vectors = [parameters, gradients, *(self.state[name] for name in self.slots)]
        size = _BLOCK if self.elementwise else len(parameters)
        for start in range(0, len(parameters), size or 1):
            parameters, gradients, *slots = [vector[start : start + size] for vector in vectors]
            self.update(parameters, gradients, rate, *slots)
