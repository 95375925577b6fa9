"""Read arrays of numbers safely from an untrusted .npz file, compressed or not."""

from __future__ import annotations

import math
from _thread import allocate_lock
from collections.abc import Callable, Collection
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import numpy as np

from minidl.data.reading import shown
from minidl.errors import FileFormatError
from minidl.typing import Array, Shape

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

Result = TypeVar("Result")
_parsing = allocate_lock()  # NumPy calls ast.literal_eval, which fails in two threads at once in Python 3.11
_MOST_PACKED = 1032  # deflate packs at most this many bytes into one


def read_npz(path: Path, names: Collection[str] | None = None) -> dict[str, Array]:
    """Return the arrays of an ``.npz`` file by name, as ``numpy.savez`` and ``numpy.savez_compressed`` write it.

    If `names` is given, only those arrays. Nothing is unpickled, and memory is allocated only for data that the file
    can hold. Raises FileFormatError.
    """
    return _read_entries(path, names, _read_entry)


def look_into_npz(path: Path) -> dict[str, tuple[Shape, np.dtype[Any]]]:
    """Return shapes and types of the arrays of an ``.npz`` file by name, without reading them."""

    def look(archive: ZipFile, entry: ZipInfo, _: int) -> tuple[Shape, np.dtype[Any]]:
        with archive.open(entry) as file:
            shape, _, dtype = read_header(file)
        return shape, dtype

    return _read_entries(path, None, look)


def _read_entries(
    path: Path, names: Collection[str] | None, read: Callable[[ZipFile, ZipInfo, int], Result]
) -> dict[str, Result]:
    import zipfile
    import zlib

    found = {}
    # The errors of the zip reader for corrupt fields, and of NumPy for headers that it cannot read.
    damages = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OverflowError, TypeError, OSError)
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                name = entry.filename.removesuffix(".npy")
                if names is None or name in names:
                    found[name] = read(archive, entry, path.stat().st_size)
    except FileFormatError as error:
        raise FileFormatError(f"{shown(path)}: {error}") from error
    except damages as error:
        raise FileFormatError(f"{shown(path)} is not an .npz file, or it is damaged: {error!s:.100}") from error
    return found


def _read_entry(archive: ZipFile, entry: ZipInfo, size: int) -> Array:
    with archive.open(entry) as file:
        shape, fortran, dtype = read_header(file)
        if dtype.hasobject:
            raise FileFormatError(f"the array {entry.filename!r} holds pickled objects, which could run any code")
        length = math.prod(shape) * dtype.itemsize
        if length > min(entry.file_size, _MOST_PACKED * size):
            raise FileFormatError(f"the array {entry.filename!r} declares {shape} of {dtype}, more than the file holds")
        content = file.read(length + 1)
    if len(content) != length:
        raise FileFormatError(f"the array {entry.filename!r} declares {shape} of {dtype}, but holds something else")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


def read_header(file: IO[bytes]) -> tuple[Shape, bool, np.dtype[Any]]:
    """Return shape, order and type of an array in NumPy's format; the file position is then where its numbers begin."""
    with _parsing:
        if np.lib.format.read_magic(file) == (1, 0):
            return np.lib.format.read_array_header_1_0(file)
        return np.lib.format.read_array_header_2_0(file)
