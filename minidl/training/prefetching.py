"""Prefetching: a thread prepares the next batch while a step is computed with the current one."""

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable

from minidl.training.rows import Rows


def prefetch(make: Callable[[slice], Rows], places: Iterable[slice], ahead: int = 1) -> Generator[Rows, None, None]:
    """Yield ``make(place)`` for each place in turn. The next ones are made while the caller uses the current one.

    One thread makes them all, in order, so the results are the same as without it. It is at most `ahead` results ahead
    of the caller. An error of `make` is raised here in its turn. Close the iterator if you stop early: this waits for
    the results that are still being made.
    """
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1, thread_name_prefix="minidl-batches") as thread:
        submitted = (thread.submit(make, place) for place in places)
        waiting = deque(itertools.islice(submitted, ahead))
        while waiting:
            waiting.extend(itertools.islice(submitted, 1))
            yield waiting.popleft().result()
