"""Threads: how many threads BLAS uses in matrix products, and how several threads share a computation."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import math
import os
from _thread import RLock
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from minidl.model import Sequential

Item = TypeVar("Item")
Result = TypeVar("Result")

WORTH_THREADS = 2**26
"""BLAS gains from threads if the largest product of a step has this many multiplications (docs/performance.md)."""

_lock = RLock()
_limits: list[tuple[int, int]] = []
"""Thread and limit of each active `blas_threads` context."""
_usual: list[int] = []


def threads_for(model: Sequential, rows: int) -> int | None:
    """Return how many threads to use for products with this number of rows: 1, or None for as many as BLAS has.

    Only the shapes decide, so the result of training a small network does not depend on the number of cores.
    """
    return 1 if rows * multiplications_per_row(model) < WORTH_THREADS else None


def multiplications_per_row(model: Sequential) -> int:
    """Return the number of multiplications per row in the largest matrix product.

    Convolutions do not count: they multiply patches of a megabyte at a time, which is fastest in one thread.
    """
    sizes = (
        math.prod((layer.output_shape or ())[:-1]) * parameter.value.size
        for layer in model.walk()
        for parameter in layer._parameters.values()
        if parameter.value.ndim <= 2
    )
    return max(sizes, default=0)


def count_threads() -> int:
    """Return how many threads the program may use: the number that BLAS has outside of `blas_threads`."""
    with _lock:
        return min(_usual if _limits else [library.num_threads for library in _libraries()], default=1)


def plan_threads(
    model: Sequential, rows: int, allowed: int | None = None, *, apart: bool = True
) -> tuple[int, int | None]:
    """Return how many threads share the work on these rows, and how many threads BLAS has then (None: all).

    Two threads with one block each use two cores better than BLAS does. Large products can use more cores.

    Parameters
    ----------
    model : Sequential
    rows : int
    allowed : int, optional
        The number of threads that may be used. The default is as many as BLAS has.
    apart : bool, default True
        Whether the work can be shared.
    """
    worth, usable = threads_for(model, min(rows, model.rows_at_once)), allowed or count_threads()
    return (2, 1) if apart and (usable == 2 or (usable > 2 and worth == 1)) else (1, allowed or worth)


def in_blocks(
    model: Sequential, work: Callable[[slice], Result], rows: int, size: int | None = None, threads: int | None = None
) -> list[Result]:
    """Return the results of `work` for all blocks of rows, in order. Two threads take the blocks in turn.

    Parameters
    ----------
    model : Sequential
    work : callable
        Must not change the model. Inference does not.
    rows : int
        0 rows give one block without rows.
    size : int, optional
        Rows of a block. By default, as many as fit into the processor's cache.
    threads : int, optional
        Number of threads that may be used. The default is as many as BLAS has.
    """
    if size is None:  # twice as many as in training, because nothing is kept for a backward pass
        at_once = model.rows_at_once
        size = min(2 * at_once, -(-rows // 2)) if rows > at_once else at_once
    blocks = [slice(start, min(start + size, rows)) for start in range(0, max(rows, 1), size)]
    if len(blocks) == 1:
        return [work(blocks[0])]
    shared, worth = plan_threads(model, size, threads)
    with blas_threads(worth):
        return in_threads(work, blocks, shared)


def in_threads(work: Callable[[Item], Result], items: Sequence[Item], threads: int) -> list[Result]:
    """Return ``[work(item) for item in items]``. Several threads take the items in turn.

    An error ends the work. The function raises the error of the first item that has one.
    """
    threads = min(threads, len(items))
    if threads < 2:
        return [work(item) for item in items]
    results: list[Any] = [None] * len(items)
    errors: dict[int, BaseException] = {}
    waiting = iter(range(len(items)))

    def take() -> None:
        for index in waiting:
            try:
                results[index] = work(items[index])
            except BaseException as error:
                errors[index] = error
                for _ in waiting:  # remove the remaining items
                    pass

    # The context includes NumPy's handling of overflows.
    others = [_pool().submit(contextvars.copy_context().run, take) for _ in range(threads - 1)]
    take()
    for other in others:
        if not other.cancel():
            other.result()
    if errors:
        raise errors[min(errors)]
    return results


@contextlib.contextmanager
def blas_threads(threads: int | None, *, spared: int = 0) -> Iterator[None]:
    """Give BLAS this many threads in a context. By default, as many as before minus those `spared` for other work.

    BLAS threads spin between products, which takes time from other work. All threads of a program share the number. If
    several threads are in such a context, the smallest number holds, and the last one to leave restores the old number.
    The main thread restores it when it leaves its outermost context: after the main thread has set the number, OpenBLAS
    ignores other threads.
    """
    import threading

    libraries, thread = _libraries(), threading.get_ident()
    is_main = threading.current_thread() is threading.main_thread()
    with _lock:
        if not _limits:
            _usual[:] = [library.num_threads for library in libraries]
        own = thread, threads or max(min(_usual, default=1) - spared, 1)
        _limits.append(own)
        _set([min(limit for _, limit in _limits)] * len(libraries))
    try:
        yield
    finally:
        with _lock:
            _limits.remove(own)
            is_out = is_main and all(other != thread for other, _ in _limits)
            least = min((limit for _, limit in _limits), default=0)
            _set(_usual if is_out or not _limits else [least] * len(libraries))


def _set(numbers: list[int]) -> None:
    for library, number in zip(_libraries(), numbers, strict=True):
        library.set_num_threads(number)


@functools.cache
def _libraries() -> list[Any]:
    from threadpoolctl import ThreadpoolController

    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


@functools.cache
def _pool() -> ThreadPoolExecutor:
    """Return the pool of additional threads. They start with the first work and then wait for more."""
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="minidl")


if hasattr(os, "register_at_fork"):  # a forked process does not have its parent's threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
