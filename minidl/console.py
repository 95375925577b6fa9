"""Output of notes and bars: standard error, if the program has one."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any


class Console:
    """A stream for notes that must never stop the program: it drops text that it cannot write.

    Parameters
    ----------
    stream
        Such as ``sys.stderr``. It may be None (in a program without a terminal, such as one of ``pythonw``), closed,
        broken, or any object that has `write`.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write the text, or drop it."""
        with contextlib.suppress(Exception):
            self._stream.write(text)

    def flush(self) -> None:
        """Show the written text immediately."""
        with contextlib.suppress(Exception):
            self._stream.flush()

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        with contextlib.suppress(Exception):
            return bool(self._stream.isatty())
        return False

    def fileno(self) -> int:
        """Return the number of its file, which gives the width of a terminal. Errors pass to the caller."""
        return int(self._stream.fileno())

    @property
    def encoding(self) -> str:
        """The encoding; tqdm chooses the characters of a bar by it."""
        return getattr(self._stream, "encoding", None) or "ascii"


@contextlib.contextmanager
def streams_that_flush() -> Iterator[None]:
    """Make standard output and standard error flushable in this context, whatever they are, because joblib flushes."""
    with contextlib.ExitStack() as redirections:
        for redirect, stream in ((contextlib.redirect_stdout, sys.stdout), (contextlib.redirect_stderr, sys.stderr)):
            try:
                stream.flush()
            except Exception:
                redirections.enter_context(redirect(Console(stream)))  # type: ignore[type-var]
        yield
