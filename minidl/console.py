"""Where notes and bars are written: standard error as far as there is one, which a program need not have."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any


class Console:
    """A stream for notes that must not end what they tell of: what it does not take is dropped.

    Parameters
    ----------
    stream
        Such as ``sys.stderr``. It may be None (in a program without a terminal, such as one of ``pythonw``), closed,
        broken, or any object that has `write`.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write it, or drop it."""
        with contextlib.suppress(Exception):
            self._stream.write(text)

    def flush(self) -> None:
        """Show at once what was written."""
        with contextlib.suppress(Exception):
            self._stream.flush()

    def isatty(self) -> bool:
        """Whether somebody looks on: it is a terminal."""
        with contextlib.suppress(Exception):
            return bool(self._stream.isatty())
        return False

    def fileno(self) -> int:
        """Return the number of its file, by which the width of a terminal is found; what fails is the caller's."""
        return int(self._stream.fileno())

    @property
    def encoding(self) -> str:
        """By which tqdm decides what a bar is made of."""
        return getattr(self._stream, "encoding", None) or "ascii"


@contextlib.contextmanager
def streams_that_flush() -> Iterator[None]:
    """Within, standard output and standard error can be flushed, as joblib does, whatever they are."""
    with contextlib.ExitStack() as redirections:
        for redirect, stream in ((contextlib.redirect_stdout, sys.stdout), (contextlib.redirect_stderr, sys.stderr)):
            try:
                stream.flush()
            except Exception:
                redirections.enter_context(redirect(Console(stream)))  # type: ignore[type-var]
        yield
