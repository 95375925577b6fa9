"""Prefetching: a thread makes the next batch ready while a step is computed with the present one."""

import itertools
from collections.abc import Callable, Generator, Iterable

from minidl.training.rows import Rows


def prefetch(make: Callable[[slice], Rows], places: Iterable[slice]) -> Generator[Rows, None, None]:
    """Yield ``make(place)`` for each place in turn; the next one is made while the caller works with the present one.

    One thread makes them all, in order, so that each is what it would be without it. What `make` raises is raised here,
    at its turn. Close the iterator when it is left early: that waits for the batch being made.
    """
    from concurrent.futures import Future, ThreadPoolExecutor

    with ThreadPoolExecutor(1, thread_name_prefix="minidl-batches") as thread:
        submitted = (thread.submit(make, place) for place in places)
        for present, _ in itertools.pairwise(itertools.chain(submitted, [Future[Rows]()])):
            yield present.result()
