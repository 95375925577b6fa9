"""Open files for reading, plain, gzip or zip, with errors that name them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from reprlib import repr as shortened
from typing import IO, TYPE_CHECKING, cast

from minidl.errors import FileFormatError, MissingFileError, counted
from minidl.signatures import kind_of_archive

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

_LONGEST_PLACE = 110
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")


def shown(path: Path) -> str:
    """Return a path as errors show it; a very long one is cut to its end."""
    text = str(path)
    return text if len(text) <= _LONGEST_PLACE else f"...{text[3 - _LONGEST_PLACE :]}"


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading, unpacked if it is gzip, or a zip archive of one file.

    Raises MissingFileError, or FileFormatError for a folder, a damaged file, and an archive of several files.
    """
    if path.is_dir():
        raise FileFormatError(f"{shown(path)} is a folder, but must be a file")
    try:
        file = path.open("rb")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingFileError(f"{shown(path)} does not exist (current folder: {shown(Path.cwd())})") from error
    with file, unpack(file, shown(path)) as content:
        yield content


@contextmanager
def unpack(file: IO[bytes], place: str) -> Iterator[IO[bytes]]:
    """Read an open file through gzip or zip if its first bytes say so; the file's name does not matter.

    Raises FileFormatError, beginning with ``place``, if the packed data are damaged or are several files.
    """
    start = file.read(4)
    file.seek(0)
    if start in _ZIP:
        with _unzipped(file, place) as content:
            yield content
        return
    if start[:2] != b"\x1f\x8b":
        yield file
        return

    import gzip
    import zlib

    try:
        with gzip.GzipFile(fileobj=file) as content:
            yield cast(IO[bytes], content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FileFormatError(f"{place}: damaged gzip file: {error}") from error


@contextmanager
def _unzipped(file: IO[bytes], place: str) -> Iterator[IO[bytes]]:
    import zipfile
    import zlib

    try:
        archive = zipfile.ZipFile(file)
        content = archive.open(_only_file(archive, place))
    except FileFormatError:
        raise
    # The errors of the zip reader for corrupt fields.
    except (zipfile.BadZipFile, EOFError, RuntimeError, ValueError, OverflowError, TypeError, OSError) as error:
        raise FileFormatError(f"{place}: damaged zip file: {error!s:.100}") from error
    try:
        with archive, content:
            yield content
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise FileFormatError(f"{place}: damaged zip file: {error!s:.100}") from error


def _only_file(archive: ZipFile, place: str) -> ZipInfo:
    """Return the entry of the only file; ignore the entries that macOS adds."""
    names = archive.namelist()
    if kind := kind_of_archive(names):
        raise FileFormatError(f"{place} is {kind}")
    files = [
        entry
        for entry in archive.infolist()
        if not entry.is_dir() and not entry.filename.startswith("__MACOSX/") and Path(entry.filename).name[:1] != "."
    ]
    if len(files) != 1:
        found = f", {shortened([entry.filename for entry in files[:2]])[1:-1]}, ..." if files else ""
        raise FileFormatError(f"{place} is a zip archive of {counted(len(files), 'file')}{found}: unpack it first")
    if files[0].flag_bits & 1 or files[0].compress_type not in {0, 8}:
        raise FileFormatError(f"{place} is a zip archive with a password, or not packed by deflate: unpack it first")
    return files[0]
