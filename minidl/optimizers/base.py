"""What an optimizer is: a formula on vectors, whatever the network.

It moves the vector of all parameters, in place, along the vector of all gradients. It declares its state in `slots`:
the base class creates these vectors and hands them to `update`, and a checkpoint saves them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Any, ClassVar

import numpy as np

from minidl.errors import ArgumentTypeError, ShapeError
from minidl.settings import Configurable, as_number, as_rate, setting
from minidl.typing import Array

Rate = float | Callable[[int], float]
"""A learning rate, or a function of the step (0, 1, 2, ...) that returns it, such as a Schedule."""

Parts = Sequence[slice] | None
"""Parts of a vector, in order; None: all of it."""

_BLOCK = 131_072
"""Entries of a vector that an elementwise optimizer gets at once: the vectors' blocks stay in the processor's cache."""


class Optimizer(Configurable):
    """Base of the optimizers: a subclass writes `update`, and names its state in `slots`.

    Parameters
    ----------
    learning_rate : float >= 0 or callable, default 0.01
        The rate, or a function of the step (0, 1, 2, ...) that returns it, such as a Schedule.
    weight_decay : float >= 0, default 0
        Before each update the weights shrink, ``p <- p (1 - learning_rate weight_decay)``, decoupled from gradients;
        biases and the parameters of normalization do not. PyTorch's Adam, and its SGD with momentum, add
        ``weight_decay p`` to the gradients instead, as a regularizer ``L2(weight_decay / 2)`` does here.

    Attributes
    ----------
    slots : tuple of str
        Names of the state vectors, of the parameters' size and zero at first, which `update` gets after the rate.
    elementwise : bool, default False
        True in a subclass in which each parameter moves by its own gradient and slots alone. `update` then gets long
        vectors in blocks that stay in the processor's cache, which is faster.
    full_batch : bool, default False
        True for one that needs the loss and the gradient of all rows at any place, as `LBFGS` does by `minimize`.
    ended : str
        Why such a one cannot, or need not, go on; empty while it does.
    step : int
        How many steps have been taken; during `update`, the number of the present one, from 1.
    state : dict of name -> array
        The slots' vectors; empty before the first step.

    Source: Loshchilov and Hutter (2019), arXiv:1711.05101, for weight_decay.
    """

    learning_rate: Rate = setting(default=0.01, kw_only=False, check=as_rate)
    weight_decay: float = setting(default=0.0, low=0, quiet=True)
    slots: ClassVar[tuple[str, ...]] = ()
    elementwise: ClassVar[bool] = False
    full_batch: ClassVar[bool] = False
    ended: str = field(default="", init=False, repr=False)
    step: int = field(default=0, init=False, repr=False)
    state: dict[str, Array] = field(default_factory=dict, init=False, repr=False)

    def update(self, parameters: Array, gradients: Array, learning_rate: float, *args: Any, **kwargs: Any) -> None:
        """Take one step: change `parameters` and the slots' vectors in place, and leave `gradients` as they are."""
        raise NotImplementedError(f"{type(self).__name__} must define update(parameters, gradients, learning_rate)")

    def rate(self) -> float:
        """Return the learning rate of the next step; ArgumentError or ArgumentTypeError when it is no rate."""
        if not callable(self.learning_rate):
            return self.learning_rate
        place = f"{type(self).__name__}: learning_rate at step {self.step}"
        return float(as_number(self.learning_rate(self.step), place, 0))

    def apply(self, parameters: Array, gradients: Array, trained: Parts = None, decaying: Parts = None) -> None:
        """Take one step on 1-D `parameters`, in place, along 1-D `gradients` of the same size, which stay as they are.

        Parameters
        ----------
        parameters, gradients : array (P,)
        trained : sequence of slices, optional
            The parts of the vector that move, in order; None: all of it. The others and their slots stay as they are.
        decaying : sequence of slices, optional
            The parts that weight decay shrinks, each entry once; None: those that move.

        Raises ShapeError when the vectors, or those of the state, differ in size.
        """
        rate, size = self.rate(), len(parameters)
        vectors = [parameters, gradients, *self.prepare_state(parameters)]
        if {len(vector) for vector in vectors} != {size}:
            raise ShapeError(f"{type(self).__name__} got vectors {[v.shape for v in vectors]}: make one for each model")
        self.step += 1
        trained = [slice(0, size)] if trained is None else trained
        if self.weight_decay:
            for part in trained if decaying is None else decaying:
                parameters[part] *= 1 - rate * self.weight_decay
        # A norm or a mean must be one of what moves alone; so frozen parts are left out of the vectors.
        is_one = len(trained) == 1
        moving = [v[trained[0]] if is_one else np.concatenate([v[:0], *(v[part] for part in trained)]) for v in vectors]
        for p, g, *slots in _blocks(moving) if self.elementwise else [moving]:
            returned: object = self.update(p, g, rate, *slots)  # type: ignore[func-returns-value]
            if returned is not None:
                raise ArgumentTypeError(f"{type(self).__name__}.update must work in place, and return None")
        if not is_one:
            ends = np.cumsum([part.stop - part.start for part in trained])
            for vector, moved in zip(vectors, moving, strict=True):
                for part, values in zip(trained, np.split(moved, ends), strict=False):
                    vector[part] = values

    def first_state(self, parameters: Array) -> dict[str, Array]:
        """Return the slots' vectors as they are before the first step on these parameters: zeros."""
        return {name: np.zeros_like(parameters) for name in self.slots}

    def prepare_state(self, parameters: Array) -> list[Array]:
        """Create what the state lacks, and drop what is no slot now; return the slots' vectors, in order."""
        if self.state.keys() != set(self.slots):
            self.state = {name: self.state.get(name, zeros) for name, zeros in self.first_state(parameters).items()}
        return [self.state[name] for name in self.slots]


def _blocks(vectors: list[Array]) -> list[list[Array]]:
    """Cut long vectors into blocks of equal length that the cache can hold: a short last one costs as many calls."""
    size = len(vectors[0])
    if size <= _BLOCK:
        return [vectors]
    length = math.ceil(size / math.ceil(size / _BLOCK))
    return [[vector[start : start + length] for vector in vectors] for start in range(0, size, length)]
