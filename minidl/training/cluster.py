"""Tasks on a cluster: on Dask's workers, or by a backend given to joblib, such as Ray's.

Dask runs a task again if its worker is gone. It cannot restore data that were on no other worker. Then it cancels the
tasks, and this module scatters their data and submits them again.
"""

from __future__ import annotations

import io
import math
import pickle
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError
from typing import Any, TypeVar

import numpy as np

from minidl.errors import ArgumentError, MinidlError

try:
    import cloudpickle
except ImportError:  # joblib had its own before it asked for one
    from joblib.externals import cloudpickle

_Result = TypeVar("_Result")
Follow = Callable[[int, Any], Callable[[], Any] | None]
"""Takes the number of a task and its result. Returns the task that continues from there, or None at the end."""

TASK_SECONDS = 10.0
"""A run that can continue from a file returns at the end of an epoch after this time."""

_LARGE = 100_000
"""An array or table of this many bytes is not part of a task, but separate data that tasks refer to."""

_LOSSES = 20
"""How often in a row data may be lost before any task has a result."""

_busy = threading.Lock()


class ClusterError(MinidlError, RuntimeError):
    """A cluster whose scheduler is gone, or whose workers die because of their tasks."""


class DaskCluster:
    """The workers of a Dask client, which may come and go."""

    def __init__(self, client: Any) -> None:
        if client.asynchronous:
            raise ArgumentError("jobs: the Dask client is asynchronous, but this call waits: give a plain Client(...)")
        if client.status != "running":
            raise ArgumentError(f"jobs: the Dask client is {client.status}; give one that is connected: Client(...)")
        if max(client.nthreads().values(), default=1) > 1:
            warnings.warn(
                "jobs: a Dask worker trains one network at a time, with any number of threads; start workers with one "
                "thread each: LocalCluster(threads_per_worker=1), or dask worker --nworkers=-1 --nthreads=1",
                stacklevel=4,
            )
        self.client, self.task_seconds, self._data = client, TASK_SECONDS, _Data(client)

    def results(
        self, tasks: Sequence[Callable[[], Any]], follow: Follow | None = None
    ) -> Generator[tuple[int, Any], None, None]:
        """Yield the number of each task and its last result, in the order of completion."""
        from distributed import KilledWorker, as_completed

        packed, data = dict(enumerate(map(pack, tasks))), self._data
        used = [item for _, items in packed.values() for item in items]
        data.users.update(map(id, used))
        data.place(used)
        waiting: dict[Any, int] = {}

        def submit(number: int) -> Any:
            content, items = packed[number]
            future = self.client.submit(train, content, *data.place(items), pure=False)
            waiting[future] = number
            return future

        try:
            completed = as_completed([submit(number) for number in packed])
            for future in completed:
                number = waiting.pop(future)
                try:
                    result = future.result()
                except CancelledError as error:
                    if self.client.status != "running":
                        raise self._data.lost() from error
                    completed.add(submit(number))
                    continue
                except KilledWorker as error:
                    raise ClusterError(
                        f"run {number + 1} of {len(tasks)} was on {error.allowed_failures + 1} Dask workers that died: "
                        "their logs say why, often memory. If workers come and go all the time, raise "
                        "distributed.scheduler.allowed-failures"
                    ) from error
                data.losses = 0
                data.forget(packed.pop(number)[1])
                if follow is not None and (task := follow(number, result)) is not None:
                    packed[number] = pack(task)
                    completed.add(submit(number))
                else:
                    yield number, result
        finally:
            if self.client.status == "running":
                self.client.cancel(list(waiting))


class _Data:
    """The data on the workers. Each item is there once, or on each worker if several tasks use it."""

    def __init__(self, client: Any) -> None:
        self.client, self.losses = client, 0
        self.users: Counter[int] = Counter()
        self._placed: dict[int, tuple[Any, Any]] = {}  # includes the item, so that no other object gets its id

    def place(self, items: Sequence[Any]) -> list[Any]:
        """Return the future of each item. Scatter items that are not on the workers, or no longer."""
        missing = {id(item): item for item in items if not self._is_there(id(item))}
        for shared in (True, False):
            if part := {key: item for key, item in missing.items() if (self.users[key] > 1) == shared}:
                futures = self._scatter([*part.values()], broadcast=shared)
                self._placed |= {key: (part[key], future) for key, future in zip(part, futures, strict=True)}
        return [self._placed[id(item)][1] for item in items]

    def forget(self, items: Sequence[Any]) -> None:
        """Delete data on the workers that no other task uses."""
        for item in items:
            if self.users[id(item)] <= 1:
                self._placed.pop(id(item), None)
                del self.users[id(item)]

    def _is_there(self, key: int) -> bool:
        return key in self._placed and self._placed[key][1].status == "finished"

    def _scatter(self, items: list[Any], *, broadcast: bool) -> Sequence[Any]:
        while self.client.status == "running" and self.losses <= _LOSSES:
            self.losses += 1
            try:
                # Waits for a worker, and lets an adaptive cluster start one.
                self.client.submit(bool, pure=False).result()
                futures: Sequence[Any] = self.client.scatter(items, broadcast=broadcast, hash=False)
                return futures
            except (OSError, TimeoutError, CancelledError):  # that worker has left since
                continue
        raise self.lost()

    def lost(self) -> ClusterError:
        """Return the error to raise when the cluster no longer answers."""
        return ClusterError(
            f"the Dask client is {self.client.status}, and the data are on no worker: see whether scheduler and "
            "workers run and have memory for the data, and call again; a search continues from its journal"
        )


class BackendCluster:
    """The active backend of joblib, ``parallel_config(backend="dask")`` or ``"ray"``."""

    task_seconds = math.inf

    def __init__(self, backend: Any, jobs: int) -> None:
        self.backend, self.jobs = backend, jobs

    def results(
        self, tasks: Sequence[Callable[[], Any]], follow: Follow | None = None
    ) -> Generator[tuple[int, Any], None, None]:
        """Yield the number of each task and its result, in their order."""
        from joblib import Parallel, delayed

        kind = "generator" if self.backend.supports_return_generator else "list"
        packed = [pack(task) for task in tasks]
        calls = (delayed(train)(content, *items) for content, items in packed)
        done = Parallel(self.jobs, return_as=kind, pre_dispatch="all")(calls)
        try:
            for number, result in enumerate(done):
                if follow is not None:
                    follow(number, result)
                yield number, result
        finally:
            if kind == "generator":
                done.close()


def pack(task: Callable[[], Any]) -> tuple[bytes, list[Any]]:
    """Return a task as bytes, and separately the larger arrays and tables that it refers to."""
    file = io.BytesIO()
    packer = _Packer(file, protocol=pickle.HIGHEST_PROTOCOL)
    packer.dump(task)
    return file.getvalue(), [*packer.items.values()]


def train(content: bytes, *items: Any) -> Any:
    """Run a task from `pack`. Several threads of a process run their tasks one after the other.

    At the same time, they would share the number of BLAS threads and the warning filters. A transformer's own calls of
    joblib must not wait for other tasks of this cluster, which would wait for this one.
    """
    from joblib import parallel_config

    with _busy, parallel_config(backend="sequential"):
        return _Unpacker(io.BytesIO(content), items).load()()


class _Packer(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, file: io.BytesIO, **options: Any) -> None:
        super().__init__(file, **options)
        self.items: dict[int, Any] = {}
        self._numbers: dict[int, int] = {}

    def persistent_id(self, item: Any) -> int | None:
        if type(item).__module__.partition(".")[0] not in {"numpy", "pandas", "polars", "scipy"}:
            return None
        shape = getattr(item, "shape", None)
        if not isinstance(shape, tuple) or not shape:
            return None
        size = getattr(item, "nbytes", 8 * math.prod(shape))
        holds_numbers = isinstance(item, np.ndarray) and item.dtype != object  # else `nbytes` leaves out texts
        if size < _LARGE and (holds_numbers or len(cloudpickle.dumps(item)) < _LARGE):
            return None
        self.items.setdefault(id(item), item)
        return self._numbers.setdefault(id(item), len(self._numbers))


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, items: Sequence[Any]) -> None:
        super().__init__(file)
        self._items = items

    def persistent_load(self, number: Any) -> Any:
        return self._items[number]
