"""Several processes that train one model together: what a `Trainer` needs from an MPI communicator.

Each process runs the same program on the same data, but computes only its own rows of each batch. Gradients and sums
are added over all processes, so every process takes the same step and makes the same decisions (docs/distributed.md).
Pass a communicator of mpi4py directly: ``Trainer(..., communicator=MPI.COMM_WORLD)``. Start the program by
``mpiexec -n 4 python -m mpi4py train.py``: then also an error outside of `fit` in one process ends all of them.
"""

from __future__ import annotations

import contextlib
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from minidl.errors import ArgumentError, ArgumentTypeError
from minidl.lazy_rows import LazyRows
from minidl.typing import Array
from minidl.version import __version__

if TYPE_CHECKING:
    from minidl.layers.base import Layer
    from minidl.model import Sequential
    from minidl.training.callbacks import Callback
    from minidl.training.interruption import Step
    from minidl.training.rows import Rows
    from minidl.training.trainer import Fit, Trainer

Result = TypeVar("Result")
Error = TypeVar("Error", bound=BaseException)
_METHODS = ("Get_rank", "Get_size", "Allreduce", "allgather", "bcast", "Abort")


def as_communicator(value: Any, name: str) -> Any:
    """Return a communicator or None. Raise ArgumentTypeError for anything else."""
    if isinstance(value, Processes):
        return value
    if value is not None and (missing := [method for method in _METHODS if not hasattr(value, method)]):
        fix = "give one of mpi4py, such as MPI.COMM_WORLD"
        raise ArgumentTypeError(f"{name} is {value!r:.80}, without {missing[0]}: {fix}")
    return value


class Processes:
    """The processes of a communicator, and the rank of this process.

    Parameters
    ----------
    communicator : mpi4py.MPI.Comm, or None for this process alone
        Or another `Processes` object for the same processes.
    share_batch : bool, default True
        Whether layers that mix the rows of a batch, such as BatchNorm, see the whole batch. If False, the layers of
        each process see only its rows, which saves sums. Then running means differ between processes; at the end of
        `fit` they become their mean.

    Attributes
    ----------
    rank, size : int
        The number of this process, starting at 0, and the number of processes.
    stopped : bool
        Whether a process has told the others to stop the run.
    interrupted : bool
        Whether a process has told the others about a Ctrl-C.
    watched : bool
        Whether any process has a callback that is called after each step.
    failing : bool
        Whether all processes raise an error now, so that none has to end the others.
    threads : int or None
        Default number of threads in each process, because several processes share the cores.
    """

    def __init__(self, communicator: Any = None, *, share_batch: bool = True) -> None:
        if isinstance(communicator, Processes):
            communicator, share_batch = communicator.communicator, communicator.share_batch
        self.communicator: Any = communicator
        self.share_batch, self.stopped, self.interrupted = share_batch, False, False
        self.watched, self.failing, self._asked_in_epoch = False, False, False
        self.rank: int = 0 if communicator is None else communicator.Get_rank()
        self.size: int = 1 if communicator is None else communicator.Get_size()
        self.threads = 1 if self.size > 1 else None
        self._layers: list[Layer] = []

    def add_up(self, array: Array) -> Array:
        """Add up the arrays of all processes in place, and return the sum. It has the same bits in all processes."""
        if self.size > 1:
            self.communicator.Allreduce(array.copy(), array)
        return array

    def from_first(self, value: Result) -> Result:
        """Return the value of the first process."""
        return self.communicator.bcast(value) if self.size > 1 else value

    def keep(self, callbacks: list[Callback]) -> list[Callback]:
        """Return the callbacks of this process. Only the first process writes files and draws on the terminal."""
        return [each for each in callbacks if self.rank == 0 or not (each.writes_files or each.ends_first)]

    def rows(self, rows: slice) -> slice:
        """Return this process's part of the rows. The parts are in the order of processes, and nearly equal in size.

        With few rows, some processes get none, so that no process gets a single row, which would have no variance.
        """
        count = rows.stop - rows.start
        sharing = min(self.size, max(count // 2, 1))
        start, stop = (min(rank, sharing) * count // sharing for rank in (self.rank, self.rank + 1))
        return slice(rows.start + start, rows.start + stop)

    def part(self, x: Array) -> tuple[Array, int]:
        """Return this process's part of the rows of a data set, and the index of the first row.

        Data in files stay complete, because their rows are checked when they are read.
        """
        if self.size == 1 or getattr(x, "shards", None) is not None:
            return x, 0
        rows = self.rows(slice(0, len(x)))
        return (x[rows] if isinstance(x, np.ndarray) else LazyRows(x, np.arange(rows.start, rows.stop))), rows.start

    def announce(self, model: Sequential, batches: list[Rows]) -> Iterable[Rows]:
        """Return the batches of a step. While one is computed, its random layers know the draws for the whole batch."""
        return batches if self.size == 1 else _announce(model, batches)

    def add_up_step(self, gradients: Array, totals: Array, stopping: bool, whole: Step) -> Array:
        """Add up the gradients of all processes in place, and return their totals. This updates `stopped`."""
        self.add_up(gradients)
        return self._hear(totals, stopping, whole)

    def _hear(self, sums: Array, stopping: bool, whole: Step) -> Array:
        """Return sums over all processes, and learn from each whether to stop the run or whether it was interrupted."""
        if self.size == 1:
            return sums
        told = self.add_up(np.array([*sums, stopping, whole.interrupted], np.float64))
        self.stopped, self.interrupted = bool(told[-2]), bool(told[-1])
        return told[:-2]

    def stop(self, stopping: bool, whole: Step, *, within_epoch: bool = False) -> bool:
        """Return whether the run stops here in all processes, or raise KeyboardInterrupt in all of them.

        Within an epoch, processes ask each other only if a callback may have decided to stop since the last sums: one
        that is called after each step, or one that was called at the start of the epoch.
        """
        if self.size > 1 and (self.watched or not within_epoch or not self._asked_in_epoch):
            self._hear(np.zeros(0), stopping, whole)
        self._asked_in_epoch = within_epoch
        if self.interrupted:
            whole.interrupted = False
            raise self.in_all(KeyboardInterrupt())
        return stopping if self.size == 1 else self.stopped

    def in_all(self, error: Error) -> Error:
        """Return an error that all processes raise now, because they found it in the same sums."""
        self.failing = True
        return error

    @contextlib.contextmanager
    def agreeing(self, facts: dict[str, Any]) -> Iterator[None]:
        """After this context, raise in all processes if it has raised in one, or if their facts differ.

        Parameters
        ----------
        facts : dict of str -> value
            Values that must be the same in all processes, by their names in errors. The context may add some.

        Raises the error of the context. Processes without an error raise an ArgumentError that names another process
        and its error, or KeyboardInterrupt. All raise an ArgumentError if their facts differ.
        """
        if self.size == 1:
            yield
            return
        error: BaseException | None = None
        try:
            yield
        except BaseException as caught:  # the other processes wait for this information
            error = caught
        own = {"error": repr(error)} if error else {name: _as_text(fact) for name, fact in facts.items()}
        found: list[dict[str, str]] = self.communicator.allgather(own)
        if error:
            raise self.in_all(error)
        for rank, other in enumerate(found):
            if other.get("error") == repr(KeyboardInterrupt()):
                raise self.in_all(KeyboardInterrupt())
            if "error" in other:
                raise self.in_all(ArgumentError(f"process {rank} has an error: {other['error']:.200}"))
        for rank, other in enumerate(found):
            for name, fact in other.items():
                if fact != (expected := found[0].get(name, "")):
                    first, second = _where_they_differ(expected, fact)
                    differs = f"process {rank} differs from process 0 in {name}: {second}, and not {first}"
                    raise self.in_all(ArgumentError(differs))

    @contextlib.contextmanager
    def training(self, model: Sequential, whole: Step) -> Iterator[None]:
        """In this context, layers add up sums over all processes, and Ctrl-C ends all of them after the same step.

        So does SIGTERM. An error in only one process ends all processes, because the others would wait for it.
        """
        if self.size == 1:
            yield
            return
        self._layers = model.walk()
        for layer in self._layers:
            layer.over_batch = self.add_up if layer.mixes_batch and self.share_batch else None
        try:
            with _sigterm_as_ctrl_c(whole), whole:  # Ctrl-C is noted, and all learn of it with the next sums
                try:
                    yield
                    for state in model.named_states().values() if not self.share_batch else ():
                        state.value = self.add_up(state.value / self.size)
                    self.stop(False, whole)  # for a Ctrl-C after the last step
                except BaseException:
                    if self.failing:
                        self.from_first(None)  # a process that ends now would end the first, which may still write
                        raise
                    traceback.print_exc()
                    print(f"process {self.rank} ends all {self.size}", file=sys.stderr, flush=True)
                    self.communicator.Abort(1)
                    raise
        finally:
            for layer in self._layers:
                layer.over_batch = layer.rows_of_batch = None


ALONE = Processes()


@contextlib.contextmanager
def _sigterm_as_ctrl_c(whole: Step) -> Iterator[None]:
    """Handle SIGTERM like Ctrl-C in this context: Open MPI's `mpiexec` answers Ctrl-C with a SIGTERM to each process.

    This does nothing outside of the main thread, or if the program handles SIGTERM itself.
    """
    import signal
    import threading

    is_main = threading.current_thread() is threading.main_thread()
    is_ours = is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    def handle(*_: object) -> None:
        if not whole.interrupted:  # after a SIGINT that this process got, too, it is no second Ctrl-C
            whole.handle()

    if is_ours:
        signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        if is_ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def prepare_together(trainer: Trainer, epochs: int, prepare: Callable[[], Fit]) -> Fit:
    """Return the result of `prepare`, or raise, in all processes. All begin with the parameters of the first.

    Raises the errors of `Processes.agreeing`.
    """
    processes, facts = Processes(trainer.communicator), dict[str, Any]()
    if processes.size == 1:
        return prepare()
    with processes.agreeing(facts):
        _check_layers(trainer.model, processes)
        fit = prepare()
        facts |= _facts(trainer, fit) | {"the last epoch": trainer.epoch + epochs}
    watching = [each for each in fit.callbacks.doing("on_batch_end") if not _draws_bar(each)]
    fit.processes.watched = bool(processes.add_up(np.array(len(watching))))
    _take_over(trainer, processes)
    return fit


def _draws_bar(method: Callable[[Trainer], None]) -> bool:
    from minidl.training.progress import ProgressBar

    return type(getattr(method, "__self__", None)) is ProgressBar


def _check_layers(model: Sequential, processes: Processes) -> None:
    """Raise ArgumentError if a layer mixes the rows of a batch in another way than by shared sums."""
    for path, layer in model.named_layers():
        if processes.share_batch and layer.mixes_batch and not layer.shares_batch:
            fix = "give communicator=Processes(communicator, share_batch=False) of minidl.distributed"
            kind = type(layer).__name__
            raise ArgumentError(
                f"{kind}, {path.strip('/')}, needs the whole batch, but a process has only a part: {fix}"
            )


def _take_over(trainer: Trainer, processes: Processes) -> None:
    """Copy the parameters, states and random generators of the first process to all others."""
    model = trainer.model
    states = [state.value for state in model.named_states().values()]
    for array in (model.parameters, *states, *trainer.optimizer.state.values()):
        array[...] = processes.from_first(array)
    for generator in model.named_generators().values():
        generator.bit_generator.state = processes.from_first(generator.bit_generator.state)


def _announce(model: Sequential, batches: list[Rows]) -> Iterator[Rows]:
    """Yield each batch, and meanwhile tell random layers which rows they get, and what a single process draws for all.

    It divides large batches into blocks. With a `Replica` these are in two halves, and the second half draws from
    generators that jump ahead at the start of a step.
    """
    from minidl.training.replica import blocks_of, distant, may_share

    halved = batches[0].whole > model.rows_at_once and may_share(model)
    drawing = []
    for layer in model.walk():
        if (own := layer.generator) is not None:
            drawing.append((layer, [own, distant(own)] if halved else [own]))
    for batch in batches:
        halves = blocks_of(model, batch.whole, halved)
        for layer, sources in drawing:
            drawn = ((source, block) for source, blocks in zip(sources, halves, strict=True) for block in blocks)
            layer.rows_of_batch = batch.first, [(source, block.stop - block.start) for source, block in drawn]
        yield batch
        for layer, _ in drawing:
            layer.rows_of_batch = None


def _facts(trainer: Trainer, fit: Fit) -> dict[str, Any]:
    """Return the values that must be the same in all processes, by their names in errors."""
    from minidl.training.monitoring import Monitor

    settings = {name: value for name, value in trainer.configuration().items() if name not in {"model", "communicator"}}
    versions = {"the version of minidl": __version__, "the version of NumPy": np.__version__}
    rows = {"the number of rows": len(fit.data), "the number of rows to validate": len(fit.validation or ())}
    shards = getattr(fit.data.x, "shards", None)
    rows |= {} if shards is None else {"the rows of each file": shards.counts.tolist(), "buffer": shards.buffer}
    place = {"the epoch": trainer.epoch, "the step": trainer.step, "the row": trainer.position.row}
    model = trainer.model
    frozen = [path.strip("/") for path, layer in model.named_layers() if not layer.own_trainable]
    settings |= {"the frozen layers": frozen, "share_batch": fit.processes.share_batch}
    # Others may be in one process only, such as one that prints.
    settings["the monitoring callbacks"] = [each for each in fit.callbacks.callbacks if isinstance(each, Monitor)]
    for name, data in (("", fit.data), (" to validate", fit.validation)):
        if data is not None:
            rows["the checksum of the targets" + name] = _checksum(data.targets)
            rows["the checksum of the weights" + name] = data.weights is not None and _checksum(data.weights)
    shapes: dict[str, Any] = {"the inputs per row": fit.data.x.shape[1:], "the outputs per row": model.output_shape}
    shapes |= {"the parameters": {name: array.shape for name, array in model.named_arrays().items()}}
    shapes |= {"rows_at_once": model.rows_at_once}  # which decides the random numbers of a row
    return {**versions, "the model": (model, model.dtype), **settings, **rows, **shapes, **place}


def _checksum(array: Array) -> int:
    import zlib  # here, so that importing minidl.data stays light

    return zlib.crc32(np.ascontiguousarray(array).data)


def _as_text(fact: Any) -> str:
    """Return a fact as text, without the memory address in the repr of a function."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(fact))


def _where_they_differ(first: str, second: str) -> tuple[str, str]:
    """Return two texts from shortly before the place where they differ."""
    same = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), 0)
    start = max(same - 20, 0)
    return first[start : start + 60], second[start : start + 60]
