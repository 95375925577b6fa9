"""Runs beside each other: how many processes a call may use, and tasks that they share out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from minidl.inputs import check_whole_number

_Result = TypeVar("_Result")


def as_processes(jobs: int | None) -> int:
    """Return how many processes `jobs` stands for: None is this one alone, -1 one for each core.

    Raises ArgumentError or ArgumentTypeError for anything else but a whole number from 1.
    """
    from joblib import cpu_count

    if jobs is None:
        return 1
    if jobs == -1:
        return cpu_count()
    check_whole_number(jobs, "jobs", 1)
    return jobs


def run_tasks(
    tasks: Sequence[Callable[..., _Result]], *arguments: Any, processes: int, name: str, progress: bool
) -> list[_Result]:
    """Call each task with the same arguments and return what they return, in their order.

    A bar of that name counts the tasks that are done. On Ctrl-C no process is left.
    """
    from joblib import Parallel, delayed
    from tqdm.auto import tqdm

    # With one process joblib calls the tasks here. Larger arrays come to others as memory maps, not as copies.
    parallel = Parallel(min(processes, len(tasks)), backend="loky", return_as="generator")
    done = parallel(delayed(task)(*arguments) for task in tasks)
    try:
        return list(tqdm(done, total=len(tasks), unit=" runs", desc=name, disable=not progress))
    finally:
        done.close()  # after Ctrl-C ends the processes
