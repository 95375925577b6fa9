"""Ctrl-C during training: it takes effect at once between steps, and at the end of the step within one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def interrupted_between_steps() -> Iterator[Step]:
    """Let Ctrl-C raise KeyboardInterrupt in this context, but within the yielded `Step` only at its end.

    So no interrupt happens in the middle of a step, and an interrupted run has only complete steps. A second Ctrl-C
    during the same step raises at once, in case the step hangs. This does nothing outside of the main thread, where
    Python delivers no signals, or if the program handles SIGINT itself.
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
    """A context that Ctrl-C does not interrupt. Such contexts may be nested."""

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
