"""Parallel runs: how many processes a call may use, and the tasks that they share."""

from __future__ import annotations

import inspect
import multiprocessing
import operator
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from minidl.console import streams_that_flush
from minidl.errors import ArgumentTypeError, MissingDependencyError
from minidl.reprs import brief
from minidl.settings import as_whole_number
from minidl.training.progress import counted_on_bar

if TYPE_CHECKING:
    from minidl.training.cluster import BackendCluster, DaskCluster, Follow

_Result = TypeVar("_Result")


def as_processes(jobs: Any) -> int | DaskCluster | BackendCluster:
    """Return how many processes `jobs` means: None is only this one, -1 is one for each core.

    A Dask client means its workers. Any number except 1 means the workers within joblib's
    ``parallel_config(backend="dask")`` or ``"ray"``.

    Raises ArgumentError or ArgumentTypeError for anything except these and whole numbers of 1 or more, and
    MissingDependencyError for several processes with a joblib that is too old.
    """
    if jobs is None:
        return 1
    if isinstance(jobs, getattr(sys.modules.get("distributed"), "Client", ())):
        from minidl.training.cluster import DaskCluster

        return DaskCluster(jobs)
    if isinstance(jobs, str) or hasattr(jobs, "scheduler_address"):
        raise ArgumentTypeError(
            f"jobs is {brief(jobs)}; give a number of processes, -1, or a client of Dask (pip install 'minidl[dask]'): "
            "from distributed import Client; jobs=Client(...)"
        )
    processes = jobs if jobs == -1 else as_whole_number(jobs, "jobs", 1)
    if processes != 1 and (backend := _backend_of_cluster()) is not None:
        from minidl.training.cluster import BackendCluster

        _check_joblib()
        return BackendCluster(backend, processes)
    if jobs == -1:
        from joblib import cpu_count

        processes = cpu_count()
    if processes > 1:
        _check_joblib()
    return processes


def _backend_of_cluster() -> Any:
    """Return joblib's active backend if it is not one of its own, which use only this machine."""
    from joblib.parallel import get_active_backend

    backend, _ = get_active_backend()
    return None if type(backend).__module__ == "joblib._parallel_backends" else backend


def _check_joblib() -> None:
    """Raise MissingDependencyError for a joblib, allowed by scikit-learn 1.4, that cannot return results one by one."""
    import joblib

    if "return_as" not in inspect.signature(joblib.Parallel).parameters:
        raise MissingDependencyError(
            f"jobs: several processes need joblib 1.3 or later, but this is {joblib.__version__}: pip install "
            "'joblib>=1.3', or leave jobs out"
        )


def run_tasks(
    tasks: Sequence[Callable[[], _Result]],
    *,
    processes: int | DaskCluster | BackendCluster,
    name: str,
    progress: bool,
    follow: Follow | None = None,
) -> list[_Result]:
    """Call each task and return the results in order.

    A bar with this name counts the completed tasks. After Ctrl-C, no process is left. Otherwise the processes wait for
    other tasks, because starting them takes a second or more. They end when this process ends for any reason.

    On a cluster, `follow` gets the number of a task and its result as soon as it arrives. It returns the task that
    continues from there, or None.
    """
    with streams_that_flush():
        on_cluster = not isinstance(processes, int)
        if not isinstance(processes, int):
            done: Any = processes.results(tasks, follow)
        elif (processes := min(processes, len(tasks))) == 1:
            done = (task() for task in tasks)
        else:
            from joblib import Parallel, delayed

            # Processes get larger arrays as memory maps, not as copies: several tasks share one array.
            done = Parallel(processes, backend=_backend(), return_as="generator")(delayed(task)() for task in tasks)
        try:
            results = list(counted_on_bar(done, len(tasks), name) if progress else done)
        finally:
            done.close()  # ends the processes after Ctrl-C
        return [result for _, result in sorted(results, key=operator.itemgetter(0))] if on_cluster else results


def _backend() -> Any:
    """Return joblib's own processes, except for the way they end."""
    from joblib.parallel import LokyBackend

    class Backend(LokyBackend):  # type: ignore[misc]
        def configure(self, *arguments: Any, **options: Any) -> Any:
            return super().configure(*arguments, initializer=end_with, initargs=(os.getpid(),), **options)

    return Backend()


def end_with(parent: int) -> None:
    """End this process when its parent has ended, even by a signal that nothing can catch.

    Otherwise joblib's processes would finish useless work, and then wait five minutes for more tasks.
    """

    def wait() -> None:
        if os.name == "nt":
            process = multiprocessing.parent_process()
            assert process is not None
            process.join()
        else:
            while os.getppid() == parent:  # an orphan gets another one
                time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
    if sys.stderr is None:  # joblib lets a crashing process write to it
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115  # for as long as the process lives


def is_wanted() -> bool:
    """Return whether a caller still waits for this thread. On Ctrl-C, Dask informs a worker but does not stop it."""
    try:
        worker = sys.modules["distributed"].get_worker()
        task = worker.state.tasks.get(worker.get_current_task())
    except (AttributeError, LookupError, ValueError):  # not a Dask worker
        return True
    return task is not None and task.state != "cancelled" and worker.status.name not in {"closing", "closed"}
