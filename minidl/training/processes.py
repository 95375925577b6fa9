"""Runs beside each other: how many processes a call may use, and tasks that they share out."""

from __future__ import annotations

import inspect
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from minidl.console import streams_that_flush
from minidl.errors import MissingDependencyError
from minidl.settings import as_whole_number
from minidl.training.progress import counted_on_bar

_Result = TypeVar("_Result")


def as_processes(jobs: int | None) -> int:
    """Return how many processes `jobs` stands for: None is this one alone, -1 one for each core.

    Raises ArgumentError or ArgumentTypeError for anything else but a whole number from 1; MissingDependencyError for
    several processes with a joblib that is too old.
    """
    if jobs is None:
        return 1
    if jobs == -1:
        from joblib import cpu_count

        jobs = cpu_count()
    processes = as_whole_number(jobs, "jobs", 1)
    if processes > 1:
        _check_joblib()
    return processes


def _check_joblib() -> None:
    """Raise MissingDependencyError for a joblib that cannot return results as they come, as scikit-learn 1.4 takes."""
    import joblib

    if "return_as" not in inspect.signature(joblib.Parallel).parameters:
        raise MissingDependencyError(
            f"jobs: several processes need joblib 1.3 or later, and this is {joblib.__version__}: pip install "
            "'joblib>=1.3', or leave jobs out"
        )


def run_tasks(tasks: Sequence[Callable[[], _Result]], *, processes: int, name: str, progress: bool) -> list[_Result]:
    """Call each task and return what they return, in their order.

    A bar of that name counts the tasks that are done. On Ctrl-C no process is left. Otherwise the processes wait for
    other tasks, as starting them costs a second or more, and end with this one, whatever ends it.
    """
    with streams_that_flush():
        if (processes := min(processes, len(tasks))) == 1:
            done = (task() for task in tasks)
        else:
            from joblib import Parallel, delayed

            # Larger arrays come to the processes as memory maps, not as copies: one that several tasks share is one.
            done = Parallel(processes, backend=_backend(), return_as="generator")(delayed(task)() for task in tasks)
        try:
            return list(counted_on_bar(done, len(tasks), name) if progress else done)
        finally:
            done.close()  # after Ctrl-C ends the processes


def _backend() -> Any:
    """Return joblib's own processes, but for how they end."""
    from joblib.parallel import LokyBackend

    class Backend(LokyBackend):  # type: ignore[misc]
        def configure(self, *arguments: Any, **options: Any) -> Any:
            return super().configure(*arguments, initializer=end_with, initargs=(os.getpid(),), **options)

    return Backend()


def end_with(parent: int) -> None:
    """Let this process end when the one that started it has ended, be that by a signal that nothing can catch.

    joblib's would work on for nobody, and then wait for tasks for five minutes more.
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
    if sys.stderr is None:  # into which joblib lets a process that crashes write
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115  # for as long as the process lives
