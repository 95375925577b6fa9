"""What an optimizer is: a formula on vectors, independent of the network.

It changes the vector of all parameters in place, given the vector of all gradients. It declares its state in `slots`:
the base class creates these vectors and passes them to `update`, and a checkpoint saves them.
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
"""Parts of a vector, in order. None means the whole vector."""

_BLOCK = 131_072
"""Number of entries that an elementwise optimizer gets at once: blocks of this size stay in the processor's cache."""


class Optimizer(Configurable):
    """Base of the optimizers: a subclass defines `update`, and names its state vectors in `slots`.

    Parameters
    ----------
    learning_rate : float >= 0 or callable, default 0.01
        The rate, or a function of the step (0, 1, 2, ...) that returns it, such as a Schedule.
    weight_decay : float >= 0, default 0
        Before each update the weights shrink, ``p <- p (1 - learning_rate weight_decay)``, independently of gradients.
        Biases and the parameters of normalization do not shrink. PyTorch's Adam, and its SGD with momentum, add
        ``weight_decay p`` to the gradients instead. A regularizer ``L2(weight_decay / 2)`` does this here.

    Attributes
    ----------
    slots : tuple of str
        Names of the state vectors. They have the size of the parameters and start at zero. `update` gets them after
        the rate.
    elementwise : bool, default False
        True in a subclass in which the step of a parameter depends only on its own gradient and slots. `update` then
        gets long vectors in blocks that stay in the processor's cache, which is faster.
    full_batch : bool, default False
        True for an optimizer that needs the loss and gradient of all rows at points that it chooses, as `LBFGS` does
        in `minimize`.
    ended : str
        Why a `full_batch` optimizer cannot or need not continue; "" while it continues.
    step : int
        Number of steps taken. During `update`, the number of the current step, starting at 1.
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
        """Take one step: change `parameters` and the slots' vectors in place. Do not change `gradients`."""
        raise NotImplementedError(f"{type(self).__name__} must define update(parameters, gradients, learning_rate)")

    def rate(self) -> float:
        """Return the learning rate of the next step. Raise ArgumentError or ArgumentTypeError if it is not a rate."""
        if not callable(self.learning_rate):
            return self.learning_rate
        place = f"{type(self).__name__}: learning_rate at step {self.step}"
        return float(as_number(self.learning_rate(self.step), place, 0))

    def apply(self, parameters: Array, gradients: Array, trained: Parts = None, decaying: Parts = None) -> None:
        """Take one step: change `parameters` in place, given `gradients`, which do not change.

        Parameters
        ----------
        parameters, gradients : array (P,)
        trained : sequence of slices, optional
            The parts of the vector that change, in order. The default is the whole vector. The other parts and their
            slots do not change.
        decaying : sequence of slices, optional
            The parts that weight decay shrinks, without overlap. The default is the parts in `trained`.

        Raises ShapeError if the vectors or the state vectors differ in size.
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
        # A norm or a mean must cover only what moves, so frozen parts are left out of the vectors.
        is_one = len(trained) == 1
        moving = [v[trained[0]] if is_one else np.concatenate([v[:0], *(v[part] for part in trained)]) for v in vectors]
        for p, g, *slots in cache_blocks(moving) if self.elementwise else [moving]:
            returned: object = self.update(p, g, rate, *slots)  # type: ignore[func-returns-value]
            if returned is not None:
                raise ArgumentTypeError(f"{type(self).__name__}.update must work in place, and return None")
        if not is_one:
            ends = np.cumsum([part.stop - part.start for part in trained])
            for vector, moved in zip(vectors, moving, strict=True):
                for part, values in zip(trained, np.split(moved, ends), strict=False):
                    vector[part] = values

    def first_state(self, parameters: Array) -> dict[str, Array]:
        """Return the slots' vectors before the first step on these parameters: zeros."""
        return {name: np.zeros_like(parameters) for name in self.slots}

    def prepare_state(self, parameters: Array) -> list[Array]:
        """Create missing state vectors, drop those that are no longer slots, and return the slots' vectors in order."""
        if self.state.keys() != set(self.slots):
            self.state = {name: self.state.get(name, zeros) for name, zeros in self.first_state(parameters).items()}
        return [self.state[name] for name in self.slots]


def cache_blocks(vectors: list[Array]) -> list[list[Array]]:
    """Cut long vectors into blocks of equal length that fit into the cache. A short last block would cost a call."""
    size = len(vectors[0])
    if size <= _BLOCK:
        return [vectors]
    length = math.ceil(size / math.ceil(size / _BLOCK))
    return [[vector[start : start + length] for vector in vectors] for start in range(0, size, length)]
