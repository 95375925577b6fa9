"""Download bytes, with limits on time and size."""

from __future__ import annotations

import time
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

_ANSWER_SECONDS = 5.0
_SILENCE_SECONDS = 10.0


def fetch(url: str, deadline: float, most_bytes: int) -> bytes:
    """Return the content of ``url``.

    Raises OSError or http.client.HTTPException. TimeoutError, an OSError, means: no answer within 5 seconds, no more
    data for 10 seconds, or not all data before ``deadline`` on the ``time.monotonic`` clock.
    """
    from urllib.request import urlopen

    answers: SimpleQueue[Any] = SimpleQueue()

    def ask() -> None:
        try:
            answers.put(urlopen(url, timeout=_SILENCE_SECONDS))
        except Exception as error:
            answers.put(error)

    # In a thread: urlopen's own timeout does not limit the name lookup, or the total over all addresses of the name.
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
                raise TimeoutError(f"too slow: only {len(content):,} bytes within the time limit")
            if len(content) > most_bytes:
                raise OSError(f"{url} holds more than {most_bytes:,} bytes")
    return bytes(content)
