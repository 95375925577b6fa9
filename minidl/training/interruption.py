"""Ctrl-C during training: let through at once between steps, and after the present step within one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def interrupted_between_steps() -> Iterator[Step]:
    """Within, Ctrl-C raises KeyboardInterrupt; within the `Step` that it yields, only when that ends.

    So no interrupt falls between two halves of a step, and what a training run leaves behind is that of whole steps. A
    second Ctrl-C during the same step raises at once, for a step that hangs. Outside the main thread, where Python
    delivers no signals, and where the program handles SIGINT itself, this does nothing.
    """
    import signal
    import threading

    step, usual = Step(), signal.default_int_handler
    is_ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is usual
    if is_ours:
        signal.signal(signal.SIGINT, step.handle)
    try:
        yield step
    finally:
        if is_ours:
            signal.signal(signal.SIGINT, usual)


class Step:
    """What Ctrl-C does not interrupt; one may be within another."""

    depth = 0
    interrupted = False

    def handle(self, *_: object) -> None:
        if not self.depth or self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.depth -= 1
        if self.interrupted and not self.depth:
            self.interrupted = False
            if kind is None:
                raise KeyboardInterrupt
