"""What standard error may be in place of a stream."""

import os
from pathlib import Path


class OnlyWrites:
    """Has no `isatty`, and no `flush`."""

    def __init__(self):
        self.texts = []

    def write(self, text):
        self.texts.append(text)


class Broken:
    """As a pipe that nobody reads any more."""

    encoding = "utf-8"

    def write(self, text):
        raise BrokenPipeError

    flush = isatty = fileno = write


def closed_stream():
    stream = Path(os.devnull).open("w")  # noqa: SIM115
    stream.close()
    return stream


NO_STREAMS = {"None": lambda: None, "closed": closed_stream, "broken": Broken, "an object": object}
