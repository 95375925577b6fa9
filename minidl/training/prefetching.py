"""Prefetching: a thread prepares the next batches while a step is computed with the current one."""

import contextlib
import itertools
from collections.abc import Callable, Generator, Iterable

from minidl.training.rows import Rows


def prefetch(make: Callable[[slice], Rows], places: Iterable[slice], ahead: int = 1) -> Generator[Rows, None, None]:
    """Yield ``make(place)`` for each place in turn. The next ones are made while the caller uses the current one.

    One thread makes them all, in order, so the results are the same as without it. It is at most `ahead` results ahead
    of the caller. An error of `make` is raised here in its turn. Close the iterator if you stop early: this waits for
    the result in progress.
    """
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1, thread_name_prefix="minidl-batches") as thread, contextlib.ExitStack() as stack:
        stack.callback(thread.shutdown, cancel_futures=True)
        submitted = (thread.submit(make, place) for place in places)
        waiting = list(itertools.islice(submitted, ahead))
        while waiting:
            waiting += itertools.islice(submitted, 1)
            yield waiting.pop(0).result()
