"""Files of named arrays: written atomically, read without trust.

The format is NumPy's ``.npz`` (a zip of ``.npy``), uncompressed, so ``numpy.load`` reads it too. Reading
never unpickles, and never allocates more than the file has bytes, whatever its headers declare.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Mapping
from typing import IO, TYPE_CHECKING

import numpy as np

from minidl.errors import FileFormatError, MissingFileError
from minidl.typing import Array, Shape

if TYPE_CHECKING:
    import zipfile


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of `path` only once it is written whole.

    Whatever happens on the way (an error, a full disk, ``kill -9``), `path` holds either its old content or the
    new one. The content goes to a temporary file beside `path`, reaches the disk, and is renamed.
    """
    from pathlib import Path  # noqa: PLC0415 - kept, like zipfile below, out of the time that importing minidl takes

    target = Path(path).expanduser().resolve()
    if not target.parent.is_dir():
        raise MissingFileError(f"cannot write {target}: its folder does not exist")
    temporary = target.with_name(f".{target.name}.{os.urandom(4).hex()}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_arrays(path: str | os.PathLike[str], arrays: Mapping[str, Array]) -> None:
    """Write named arrays to `path` in NumPy's ``.npz`` form; the same arrays give the same bytes."""
    with atomic_write(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_arrays(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Read every array of an ``.npz`` file written by `write_arrays`.

    Raises
    ------
    MissingFileError
        When there is no such file.
    FileFormatError
        When it is no zip, is truncated or corrupt, or holds anything but plain, uncompressed arrays.
    """
    import zipfile  # noqa: PLC0415
    from pathlib import Path  # noqa: PLC0415

    path = Path(path).expanduser()
    if not path.exists():
        raise MissingFileError(f"there is no file {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            size = path.stat().st_size
            arrays: dict[str, Array] = {}
            for entry in archive.infolist():
                name = entry.filename.removesuffix(".npy")
                if name in arrays or name == entry.filename:
                    raise FileFormatError(f"{path}: entry {entry.filename!r} is no array, or there twice")
                if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > size:
                    raise FileFormatError(f"{path}: entry {entry.filename!r} is compressed or has a wrong size")
                arrays[name] = _read_array(archive, entry, f"{path}: entry {entry.filename!r}")
            return arrays
    # The zip reader raises the last four for corrupt fields: encrypted or unknown flags, offsets outside the file.
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path} is no .npz file, or a truncated or corrupt one: {error}") from error


def _read_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, place: str) -> Array:
    with archive.open(entry) as file:
        try:
            shape, fortran, dtype = _read_header(file)
        except (ValueError, TypeError, SyntaxError) as error:
            raise FileFormatError(f"{place} has no valid array header: {error}") from error
        if dtype.hasobject:
            raise FileFormatError(f"{place} holds Python objects, which are never read")
        # The declared shape is compared with what is there before anything of its size is made.
        content = file.read()
        if len(content) != math.prod(shape) * dtype.itemsize:
            raise FileFormatError(f"{place} declares {shape} of {dtype}, which {len(content)} bytes are not")
    order = "F" if fortran else "C"
    return np.frombuffer(content, dtype=dtype).reshape(shape, order=order)  # type: ignore[call-overload]


def _read_header(file: IO[bytes]) -> tuple[Shape, bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise ValueError(f"array format {version} is not one that minidl writes")
