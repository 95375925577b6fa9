"""Bytes from the network, within bounds of time and of size."""

from __future__ import annotations

import time
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

_ANSWER_SECONDS = 5.0
_SILENCE_SECONDS = 10.0


def fetch(url: str, deadline: float, most_bytes: int) -> bytes:
    """Return what ``url`` holds.

    Raises OSError or http.client.HTTPException: TimeoutError, which is an OSError, when no answer comes within
    5 seconds, nothing more within 10, or not all of it before ``deadline`` on the ``time.monotonic`` clock.
    """
    from urllib.request import urlopen

    answers: SimpleQueue[Any] = SimpleQueue()

    def ask() -> None:
        try:
            answers.put(urlopen(url, timeout=_SILENCE_SECONDS))
        except Exception as error:
            answers.put(error)

    # In a thread, since urlopen's own time-out bounds neither the look-up of a name nor the sum over all of
    # its addresses.
    Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=_ANSWER_SECONDS)
    except Empty:
        raise TimeoutError(f"no answer within {_ANSWER_SECONDS:g} seconds") from None
    if isinstance(answer, Exception):
        raise answer
    content = bytearray()
    with answer as response:
        while chunk := response.read1(1 << 16):
            content += chunk
            if time.monotonic() > deadline:
                raise TimeoutError(f"too slow: {len(content):,} bytes when the time was over")
            if len(content) > most_bytes:
                raise OSError(f"{url} holds more than {most_bytes:,} bytes")
    return bytes(content)
