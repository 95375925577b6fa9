"""Files opened for reading, plain or gzip, with errors that name them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from minidl.errors import FileFormatError, MissingFileError


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading, unpacked if it is gzip.

    Raises MissingFileError, or FileFormatError for a folder and for a damaged gzip file.
    """
    if path.is_dir():
        raise FileFormatError(f"{path} is a folder, where a file is needed")
    try:
        file = path.open("rb")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingFileError(f"{path} does not exist (current folder: {Path.cwd()})") from error
    with file, unpack(file, str(path)) as content:
        yield content


@contextmanager
def unpack(file: IO[bytes], place: str) -> Iterator[IO[bytes]]:
    """Read an open file through gzip if its first two bytes say so; its name does not count.

    Raises FileFormatError, beginning with ``place``, when the gzip data turn out to be damaged.
    """
    is_gzip = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    if not is_gzip:
        yield file
        return

    import gzip
    import zlib

    try:
        with gzip.GzipFile(fileobj=file) as content:
            yield cast(IO[bytes], content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FileFormatError(f"{place}: damaged gzip file: {error}") from error
