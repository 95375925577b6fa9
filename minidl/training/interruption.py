"""Ctrl-C during training: let through at once between steps, and after the present step within one."""

from __future__ import annotations

from types import FrameType, TracebackType


class WholeSteps:
    """Within the outer ``with``, Ctrl-C raises KeyboardInterrupt; within an inner one, only when that ends.

    So no interrupt falls between two halves of a step, and what a training run leaves behind is that of whole steps. A
    second Ctrl-C during the same step raises at once, for a step that hangs. Outside the main thread, where Python
    delivers no signals, and where the program handles SIGINT itself, this does nothing.

    >>> with WholeSteps() as whole_steps:
    ...     with whole_steps.step:
    ...         ...
    """

    def __init__(self) -> None:
        self.step = _Step()

    def __enter__(self) -> WholeSteps:
        import signal
        import threading

        self._installed = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )
        if self._installed:
            signal.signal(signal.SIGINT, self.step.handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self._installed:
            import signal

            signal.signal(signal.SIGINT, signal.default_int_handler)


class _Step:
    inside = False
    interrupted = False

    def handle(self, signal_number: int, frame: FrameType | None) -> None:
        if not self.inside or self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True

    def __enter__(self) -> None:
        self.inside = True

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        self.inside = False
        if self.interrupted:
            self.interrupted = False
            if kind is None:
                raise KeyboardInterrupt
