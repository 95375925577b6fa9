"""Several processes that train one model together: what a `Trainer` needs of an MPI communicator.

Each process runs the same program on the same data, and reads its own rows of each batch alone. Gradients and sums are
added over all, so that every process takes the same step and comes to the same decisions (docs/distributed.md).
Communicators of mpi4py are passed as they are: ``Trainer(..., communicator=MPI.COMM_WORLD)``.
"""

from __future__ import annotations

import contextlib
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from minidl.errors import ArgumentError, ArgumentTypeError, DivergenceError
from minidl.lazy_rows import LazyRows
from minidl.typing import Array
from minidl.version import __version__

if TYPE_CHECKING:
    from minidl.layers.base import Layer
    from minidl.model import Sequential
    from minidl.training.callbacks import Callback
    from minidl.training.interruption import Step
    from minidl.training.trainer import Fit, Trainer

Result = TypeVar("Result")
_METHODS = ("Get_rank", "Get_size", "Allreduce", "allgather", "bcast", "Abort")


def as_communicator(value: Any, name: str) -> Any:
    """Return a communicator, or None; raise ArgumentTypeError for anything else."""
    if isinstance(value, Processes):
        return value
    if value is not None and (missing := [method for method in _METHODS if not hasattr(value, method)]):
        fix = "give one of mpi4py, such as MPI.COMM_WORLD"
        raise ArgumentTypeError(f"{name} is {value!r:.80}, without {missing[0]}: {fix}")
    return value


class Processes:
    """The processes of a communicator, and the place of this one among them.

    Parameters
    ----------
    communicator : mpi4py.MPI.Comm, or None for this process alone
        Or other `Processes`, of which these are the same.
    share_batch : bool, default True
        Whether layers that mix the rows of a batch, such as BatchNorm, see all of it. Else each process's see its own
        rows, which saves sums; running means differ between processes, and become their mean at the end of `fit`.

    Attributes
    ----------
    rank, size : int
        The number of this process, from 0, and how many there are.
    stopped : bool
        Whether a process has told the others that the run shall stop.
    interrupted : bool
        Whether one has told them of a Ctrl-C.
    watched : bool
        Whether a callback of some process is called after each step.
    threads : int or None
        How many threads each process computes with, unless it is told otherwise: several share the cores.
    """

    def __init__(self, communicator: Any = None, *, share_batch: bool = True) -> None:
        if isinstance(communicator, Processes):
            communicator, share_batch = communicator.communicator, communicator.share_batch
        self.communicator: Any = communicator
        self.share_batch, self.stopped, self.interrupted, self.watched = share_batch, False, False, False
        self.rank: int = 0 if communicator is None else communicator.Get_rank()
        self.size: int = 1 if communicator is None else communicator.Get_size()
        self.threads = 1 if self.size > 1 else None
        self._layers: list[Layer] = []

    def add_up(self, array: Array) -> Array:
        """Add up the arrays of all processes, in place, and return the sum, which has the same bits in all."""
        if self.size > 1:
            self.communicator.Allreduce(array.copy(), array)
        return array

    def from_first(self, value: Result) -> Result:
        """Return what the first process has."""
        return self.communicator.bcast(value) if self.size > 1 else value

    def keep(self, callbacks: list[Callback]) -> list[Callback]:
        """Return the callbacks of this process: the first one's alone write files, and draw on the terminal."""
        return [each for each in callbacks if self.rank == 0 or not (each.writes_files or each.ends_first)]

    def rows(self, rows: slice) -> slice:
        """Return this process's part of rows: in the order of processes, of the same number but for one.

        Of few rows some processes have none, so that no row is alone: it would have no variance.
        """
        count = rows.stop - rows.start
        sharing = min(self.size, max(count // 2, 1))
        start, stop = (min(rank, sharing) * count // sharing for rank in (self.rank, self.rank + 1))
        return slice(rows.start + start, rows.start + stop)

    def part(self, x: Array) -> tuple[Array, int]:
        """Return this process's part of the rows of a data set, and the number of the first of them.

        Rows of files, which are checked when they are read, stay all of them.
        """
        if self.size == 1 or getattr(x, "shards", None) is not None:
            return x, 0
        rows = self.rows(slice(0, len(x)))
        return (x[rows] if isinstance(x, np.ndarray) else LazyRows(x, np.arange(rows.start, rows.stop))), rows.start

    def add_up_step(self, gradients: Array, totals: Array, stopping: bool, whole: Step) -> Array:
        """Add up the gradients of all processes, in place; return their totals, after which `stopped` is up to date."""
        self.add_up(gradients)
        for layer in self._layers:  # what a callback computes is no part of a batch
            layer.rows_of_batch = None
        return self._hear(totals, stopping, whole)

    def _hear(self, sums: Array, stopping: bool, whole: Step) -> Array:
        """Return sums over all processes, and hear from each whether the run shall stop, or was interrupted."""
        if self.size == 1:
            return sums
        told = self.add_up(np.array([*sums, stopping, whole.interrupted], np.float64))
        self.stopped, self.interrupted = bool(told[-2]), bool(told[-1])
        return told[:-2]

    def stop(self, stopping: bool, whole: Step, *, within_epoch: bool = False) -> bool:
        """Return whether the run stops here, in all processes, or raise KeyboardInterrupt in all.

        Within an epoch they ask each other only where a callback may have changed its mind since the last sums.
        """
        if self.size > 1 and (self.watched or not within_epoch):
            self._hear(np.zeros(0), stopping, whole)
        if self.interrupted:
            whole.interrupted = False
            raise KeyboardInterrupt
        return stopping if self.size == 1 else self.stopped

    @contextlib.contextmanager
    def training(self, model: Sequential, whole: Step) -> Iterator[None]:
        """Within, layers add up their sums over all processes, and Ctrl-C ends all of them after the same step.

        An error of one process alone ends all, since the others would wait for it.
        """
        if self.size == 1:
            yield
            return
        self._layers = model.walk()
        for layer in self._layers:
            layer.over_batch = self.add_up if layer.mixes_batch and self.share_batch else None
        try:
            with whole:  # Ctrl-C is noted, and heard by all with the next sums
                try:
                    yield
                    for state in model.named_states().values() if not self.share_batch else ():
                        state.value = self.add_up(state.value / self.size)
                except DivergenceError:  # which all raise
                    raise
                except BaseException:
                    if self.interrupted:  # which all are
                        raise
                    traceback.print_exc()
                    print(f"process {self.rank} ends all {self.size}", file=sys.stderr, flush=True)
                    self.communicator.Abort(1)
                    raise
        finally:
            for layer in self._layers:
                layer.over_batch = layer.rows_of_batch = None


ALONE = Processes()


def prepare_together(trainer: Trainer, prepare: Callable[[], Fit]) -> Fit:
    """Return what `prepare` returns, in all processes of a trainer or in none; they begin with the first one's numbers.

    Raises what `prepare` raises, in the other processes an ArgumentError that names the process and its error; and in
    all an ArgumentError where they differ in what must be the same.
    """
    processes = Processes(trainer.communicator)
    if processes.size == 1:
        return prepare()
    error: Exception | None = None
    try:
        _check_layers(trainer.model, processes)
        fit = prepare()
    except Exception as caught:  # the others wait to hear of it
        error = caught
    own = {"error": repr(error)} if error else {name: _as_text(fact) for name, fact in _facts(trainer, fit).items()}
    found: list[dict[str, str]] = processes.communicator.allgather(own)
    if error:
        raise error
    for rank, other in enumerate(found):
        if "error" in other:
            raise ArgumentError(f"process {rank} cannot train: {other['error']:.200}")
    for rank, other in enumerate(found):
        for name, fact in other.items():
            if fact != (expected := found[0].get(name, "")):
                first, second = _where_they_differ(expected, fact)
                raise ArgumentError(f"process {rank} differs from process 0 in {name}: {second}, and not {first}")
    watching = [each for each in fit.callbacks.doing("on_batch_end") if not _draws_bar(each)]
    fit.processes.watched = bool(processes.add_up(np.array(len(watching))))
    _take_over(trainer, processes)
    return fit


def _draws_bar(method: Callable[[Trainer], None]) -> bool:
    from minidl.training.progress import ProgressBar

    return type(getattr(method, "__self__", None)) is ProgressBar


def _check_layers(model: Sequential, processes: Processes) -> None:
    """Raise ArgumentError where a layer mixes the rows of a batch in another way than by sums that it shares."""
    for path, layer in model.named_layers():
        if processes.share_batch and layer.mixes_batch and not layer.shares_batch:
            fix = "give communicator=Processes(communicator, share_batch=False) of minidl.distributed"
            kind = type(layer).__name__
            raise ArgumentError(
                f"{kind}, {path.strip('/')}, needs the whole batch, of which a process has a part: {fix}"
            )


def _take_over(trainer: Trainer, processes: Processes) -> None:
    """Let all processes have the parameters, states and random generators of the first one."""
    model = trainer.model
    states = [state.value for state in model.named_states().values()]
    for array in (model.parameters, *states, *trainer.optimizer.state.values()):
        array[...] = processes.from_first(array)
    for generator in model.named_generators().values():
        generator.bit_generator.state = processes.from_first(generator.bit_generator.state)


def draws_for_batch(model: Sequential, first: int, whole: int, rows: int) -> bool:
    """Whether the model draws random numbers for a batch of which it gets a part; if so, let its layers know which."""
    if whole == rows and model.rows_of_batch is None:
        return False
    for layer in model.walk():
        layer.rows_of_batch = first, whole
    return bool(model.named_generators())


def _facts(trainer: Trainer, fit: Fit) -> dict[str, Any]:
    """Return what must be the same in all processes, by the names that errors call it."""
    settings = {name: value for name, value in trainer.configuration().items() if name not in {"model", "communicator"}}
    versions = {"the version of minidl": __version__, "the version of NumPy": np.__version__}
    rows = {"the number of rows": len(fit.data), "the number of rows to validate": len(fit.validation or ())}
    shards = getattr(fit.data.x, "shards", None)
    rows |= {} if shards is None else {"the rows of each file": shards.counts.tolist(), "buffer": shards.buffer}
    place = {"the epoch": trainer.epoch, "the step": trainer.step, "the row": trainer.position.row}
    return {**versions, "the model": (trainer.model, trainer.model.dtype), **settings, **rows, **place}


def _as_text(fact: Any) -> str:
    """Return what tells a fact from others, without the place in memory that a function's text names."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(fact))


def _where_they_differ(first: str, second: str) -> tuple[str, str]:
    """Return two texts from a little before the place where they differ."""
    same = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), 0)
    start = max(same - 20, 0)
    return first[start : start + 60], second[start : start + 60]
