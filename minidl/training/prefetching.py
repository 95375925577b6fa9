"""Prefetching: a thread prepares the next batch while a step is computed with the current one."""

import itertools
from collections.abc import Callable, Generator, Iterable

from minidl.training.rows import Rows


def prefetch(make: Callable[[slice], Rows], places: Iterable[slice]) -> Generator[Rows, None, None]:
    """Yield ``make(place)`` for each place in turn. The next one is made while the caller uses the current one.

    One thread makes them all, in order, so the results are the same as without it. An error of `make` is raised here in
    its turn. Close the iterator if you stop early: this waits for the batch in progress.
    """
    from concurrent.futures import Future, ThreadPoolExecutor

    with ThreadPoolExecutor(1, thread_name_prefix="minidl-batches") as thread:
        submitted = (thread.submit(make, place) for place in places)
        for present, _ in itertools.pairwise(itertools.chain(submitted, [Future[Rows]()])):
            yield present.result()
