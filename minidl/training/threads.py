"""Threads of matrix products: for small ones a second thread costs more than it gains."""

import contextlib
import functools
import math
from _thread import RLock
from collections.abc import Iterator
from typing import Any

from minidl.model import Sequential

WORTH_THREADS = 2**26
"""From so many multiplications on, in the largest product of a step, several threads pay (docs/performance.md)."""

_lock = RLock()
_limits: list[int] = []
_usual: list[int] = []


def threads_for(model: Sequential, rows: int) -> int | None:
    """Return how many threads products of so many rows are worth: 1, or None for as many as BLAS has.

    The shapes alone decide, so that what a small network learns does not depend on the number of cores.
    """
    return 1 if rows * multiplications_per_row(model) < WORTH_THREADS else None


def multiplications_per_row(model: Sequential) -> int:
    """Return how many multiplications the largest matrix product takes for one row."""
    sizes = (
        math.prod((layer.output_shape or ())[:-1]) * parameter.value.size
        for layer in model.walk()
        for parameter in layer._parameters.values()
    )
    return max(sizes, default=0)


@contextlib.contextmanager
def blas_threads(threads: int | None, *, spared: int = 0) -> Iterator[None]:
    """Within, BLAS has so many threads; by default as many as it had, without those `spared` for other work.

    BLAS keeps its threads spinning between products, where they take the time of other work. All threads of a program
    share the number: where several are within, the least holds, and the last to leave gives back what there was. The
    main thread does so when it leaves: once it has set the number, OpenBLAS does not listen to other threads.
    """
    import threading

    libraries, is_main = _libraries(), threading.current_thread() is threading.main_thread()
    with _lock:
        if not _limits:
            _usual[:] = [library.num_threads for library in libraries]
        limit = threads or max(min(_usual, default=1) - spared, 1)
        _limits.append(limit)
        _set([min(_limits)] * len(libraries))
    try:
        yield
    finally:
        with _lock:
            _limits.remove(limit)
            _set(_usual if is_main or not _limits else [min(_limits)] * len(libraries))


def _set(numbers: list[int]) -> None:
    for library, number in zip(_libraries(), numbers, strict=True):
        library.set_num_threads(number)


@functools.cache
def _libraries() -> list[Any]:
    from threadpoolctl import ThreadpoolController

    return list(ThreadpoolController().select(user_api="blas").lib_controllers)
