"""A replica of the model: two threads compute the gradients of the two halves of a batch.

Both share the parameters. Each has its own gradients, which are added. The halves depend only on the shapes, so the
bits do not depend on the number of threads.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from minidl.model import Sequential
from minidl.threads import in_threads
from minidl.training.rows import split_rows
from minidl.typing import Array

Result = TypeVar("Result")
_PLAIN = (bool, int, float, str, type(None))


class Replica:
    """A copy of a model that shares its parameters and computes half of each batch.

    Parameters
    ----------
    model : Sequential
        A model that is set up, and for which `may_share` is true.
    threads : int
        Number of threads that may compute at the same time.
    """

    def __init__(self, model: Sequential, threads: int) -> None:
        vectors = {id(parameter.vectors): parameter.vectors for parameter in model.named_parameters().values()}
        own = {key: (values, np.zeros_like(gradients)) for key, (values, gradients) in vectors.items()}
        self.models, self.threads = (model, copy.deepcopy(model, own)), threads
        self._layers = list(zip(model.walk(), self.models[1].walk(), strict=True))

    def compute(self, work: Callable[[Sequential, int], tuple[Array, Array]]) -> list[tuple[Array, Array]]:
        """Return the results of `work` for the model and the number 0, and for the replica and the number 1.

        The replica copies the numbers, texts and flags among the model's settings, which may have changed. Its layers
        draw random numbers from a distant part of the model's stream.
        """
        for layer, replica in self._layers:
            settings = {name: vars(layer)[name] for name in (*layer._settings, "own_trainable")}
            vars(replica).update({name: value for name, value in settings.items() if isinstance(value, _PLAIN)})
            if layer.generator is not None and replica.generator is not None:
                replica.generator.bit_generator.state = distant(layer.generator).bit_generator.state
        halves = list(zip(self.models, (0, 1), strict=True))
        mixing = [pair for pair in self._layers if pair[0].mixes_batch]
        if not mixing:
            return in_threads(lambda half: work(*half), halves, self.threads)
        meeting = _Meeting(self.threads)
        for side in (0, 1):
            add = meeting.adder(side)
            for pair in mixing:
                pair[side].over_batch = add
        try:
            return in_threads(lambda half: meeting.attend(lambda: work(*half)), halves, 2)
        finally:
            for layer in itertools.chain(*mixing):
                layer.over_batch = None


class _Meeting:
    """Where both halves add up sums over the batch. With only one thread, they take turns from sum to sum."""

    error: BaseException | None = None

    def __init__(self, threads: int) -> None:
        import threading

        self.barrier, self.running = threading.Barrier(2), threading.Semaphore(threads)
        self.sums: tuple[list[Any], list[Any]] = ([None, None], [None, None])  # one is read while the other is filled

    def attend(self, work: Callable[[], Result]) -> Result:
        """Return the result of a side's work, or raise the first error of either side, so that none waits forever."""
        with self.running:
            try:
                return work()
            except BaseException as error:
                self.error = self.error or error
                self.barrier.abort()
                raise self.error from None

    def adder(self, side: int) -> Callable[[Array], None]:
        """Return a function that adds the other side's array to this side's array in place."""
        turns = itertools.cycle(self.sums)

        def add(array: Array) -> None:
            sums = next(turns)
            sums[side] = array.copy()
            self.running.release()
            try:
                self.barrier.wait()
            finally:
                self.running.acquire()
            np.add(sums[0], sums[1], out=array)

        return add


def distant(generator: np.random.Generator) -> np.random.Generator:
    """Return a generator of a distant part of another one's stream: the second half of a batch draws from it."""
    bits: Any = generator.bit_generator
    return np.random.Generator(bits.jumped())


def blocks_of(model: Sequential, rows: int, halved: bool) -> list[list[slice]]:
    """Return the blocks of a batch that the model computes in turn, and those of the replica if the batch is halved.

    Rows are computed as a whole, and not in blocks of ``model.rows_at_once``, if a layer mixes them, or draws for rows
    of other processes, too. So is a half of up to two blocks, because threads wait for each other between operations.
    """
    halves = [slice(0, rows // 2), slice(rows // 2, rows)] if halved else [slice(0, rows)]
    size, most = model.rows_at_once, len(halves) * model.rows_at_once
    if rows > most and any(layer.mixes_batch or layer.rows_of_batch for layer in model.walk()):
        most = rows
    return [split_rows(half.start, half.stop, size) if half.stop - half.start > most else [half] for half in halves]


def may_share(model: Sequential) -> bool:
    """Return whether two halves of a batch can be computed separately.

    This is not possible with a layer that mixes rows in another way than by sums `over_batch` or keeps a state from
    batch to batch, or with a random generator that cannot jump ahead.
    """
    layers, generators = model.walk(), model.named_generators().values()
    apart = all(layer.shares_batch or not (layer.mixes_batch or layer._states) for layer in layers)
    return apart and all(hasattr(generator.bit_generator, "jumped") for generator in generators)
