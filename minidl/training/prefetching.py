"""Prefetching: a thread prepares the next batch while a step is computed with the current one."""

from collections import deque
from collections.abc import Callable, Generator, Iterable

from minidl.training.rows import Rows


def prefetch(make: Callable[[slice], Rows], places: Iterable[slice], ahead: int = 1) -> Generator[Rows, None, None]:
    """Yield ``make(place)`` for each place in turn. The next ones are made while the caller uses the current one.

    One thread makes them all, in order, so the results are the same as without it. It is at most `ahead` results ahead
    of the caller. An error of `make` is raised here in its turn. Close the iterator if you stop early: this waits for
    the result in progress.
    """
    from concurrent.futures import Future, ThreadPoolExecutor

    thread, made = ThreadPoolExecutor(1, thread_name_prefix="minidl-batches"), deque[Future[Rows]]()
    try:
        for place in places:
            made.append(thread.submit(make, place))
            if len(made) > ahead:
                yield made.popleft().result()
        while made:
            yield made.popleft().result()
    finally:
        thread.shutdown(cancel_futures=True)
