"""Files of named arrays: written atomically, read without trust.

The format is NumPy's uncompressed ``.npz`` (a zip of ``.npy``), so ``numpy.load`` can read it. Reading never
unpickles. It never allocates more bytes than the file has, whatever its headers declare.
"""

import contextlib
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from minidl.errors import FileFormatError, MinidlError, MissingFileError
from minidl.typing import Array

_NPY_HEADER = re.compile(
    rb"(?s)\x93NUMPY\x01\x00..\{'descr': '(?P<dtype>[<>|](?:b1|[iu][1248]|f[248]|f16|U\d{1,9}))', "
    rb"'fortran_order': (?P<fortran>True|False), 'shape': \((?P<shape>[\d, ]*)\), \} *\n"
)


def as_path(path: str | os.PathLike[str], _: str = "") -> Path:
    """Return a user's path with ``~`` expanded. This is also the check of a setting."""
    # Path.expanduser raises RuntimeError for an unknown ~user. Here the path stays, and is reported as missing.
    return Path(os.path.expanduser(path))  # noqa: PTH111


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a file that replaces `path` only when it is completely written.

    Whatever happens before (an error, a full disk, ``kill -9``), `path` holds either its old or its new content. The
    content is written to a temporary file next to `path` and flushed to the disk. Then the file is renamed.
    """
    target = as_path(path).resolve()
    if not target.parent.is_dir():
        raise MissingFileError(f"cannot write {target}: its folder does not exist")
    temporary = target.with_name(f".{target.name}.{os.urandom(4).hex()}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            temporary.chmod(target.stat().st_mode)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)  # if it has not become the target


def write_arrays(path: str | os.PathLike[str], arrays: Mapping[str, Array]) -> None:
    """Write named arrays to `path` in NumPy's ``.npz`` form; the same arrays give the same bytes."""
    import zipfile

    # numpy.savez is not used: before version 2, it leaves the zip open if writing fails.
    with atomic_write(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, version=(1, 0), allow_pickle=False)


def read_arrays(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Read every array of an ``.npz`` file written by `write_arrays`.

    Raises
    ------
    MissingFileError
        If there is no such file.
    FileFormatError
        If it is not a zip, is truncated or corrupt, or holds anything except plain, uncompressed arrays.
    """
    import zipfile

    path = as_path(path)
    if not path.is_file():
        raise MissingFileError(f"there is no file {path}{', but a folder' * path.is_dir()}")
    arrays: dict[str, Array] = {}
    size = left = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                name = entry.filename.removesuffix(".npy")
                if name == entry.filename or name in arrays:
                    raise FileFormatError(f"entry {entry.filename!r} is not an array, or occurs twice")
                # Uncompressed entries without overlap are together no larger than the file. Overlapping ones could be.
                left -= entry.file_size
                inside = 0 <= entry.header_offset < size and left >= 0
                if entry.compress_type or entry.compress_size != entry.file_size or not inside:
                    raise FileFormatError(f"entry {entry.filename!r} is compressed, or has a wrong size or place")
                arrays[name] = _array(archive.read(entry), f"entry {entry.filename!r}")
    # Includes the zip reader's errors for corrupt fields: a wrong checksum, unknown flags, offsets outside the file.
    except (zipfile.BadZipFile, EOFError, RuntimeError, ValueError, OverflowError, TypeError) as error:
        from minidl.signatures import kind_of

        with path.open("rb") as file:
            start = file.read(512)
        if (kind := kind_of(start)) and not start.startswith(b"PK"):
            raise FileFormatError(f"{path} is not an .npz file, but {kind}") from error
        raise FileFormatError(f"{path} is not an .npz file, or it is truncated or corrupt: {error}") from error
    return arrays


def write_described(
    path: str | os.PathLike[str], kind: str, version: int, description: Mapping[str, Any], arrays: Mapping[str, Array]
) -> None:
    """Write named arrays and a description that JSON can hold, such as a model's architecture."""
    header = {"format": f"minidl {kind}", "version": version, **description}
    write_arrays(path, {"header": np.array(as_json(header)), **arrays})


def as_json(description: Mapping[str, Any], *, indent: int | None = None) -> str:
    """Return a description as the JSON text that `write_described` writes. Raise TypeError if JSON cannot hold it."""
    import json

    def plain(value: Any) -> Any:
        if isinstance(value, np.generic | np.ndarray):
            return value.tolist()
        raise TypeError(f"{value!r} is not a number, text, list or dict")

    return json.dumps(description, default=plain, indent=indent)


def read_described(path: str | os.PathLike[str], kind: str, versions: range, make: Callable[..., Any]) -> Any:
    """Return the object that `make` creates from a description and arrays that `write_described` wrote.

    Raises the errors of `read_arrays`, and FileFormatError for another kind of file, a version that is not in
    `versions`, or content that `make` cannot use.
    """
    import json

    arrays = read_arrays(path)
    try:
        if "header" not in arrays:
            raise FileFormatError(f"it has no header; every {kind} that minidl saved has one")
        content = json.loads(str(arrays.pop("header")))
        if content["format"] != f"minidl {kind}":
            raise FileFormatError(f"it is not a {kind} that minidl saved, but {content['format']!r:.80}")
        if content["version"] not in versions:
            raise FileFormatError(f"its version is {content['version']!r}, this minidl reads {[*versions]}")
        return make(content, arrays)
    # Wrong types in the description raise these, in a file that another program wrote.
    except (MinidlError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else error
        raise FileFormatError(f"{path} cannot be loaded: {why}") from error


def _array(content: bytes, place: str) -> Array:
    """Make the array of an ``.npy`` file of version 1.0 with plain numbers or text. This never evaluates content."""
    header = _NPY_HEADER.match(content)
    if header is None:
        raise FileFormatError(f"{place} does not hold a plain array of numbers")
    shape = tuple(int(size) for size in header["shape"].split(b",") if size.strip())
    dtype = np.dtype(header["dtype"].decode())
    values = content[10 + int.from_bytes(content[8:10], "little") :]
    # The declared shape is compared with the number of bytes before an array of its size is made.
    if len(values) != math.prod(shape) * dtype.itemsize:
        raise FileFormatError(f"{place} declares shape {shape} of {dtype}, which does not fit its {len(values)} bytes")
    return np.frombuffer(values, dtype).reshape(shape, order="F" if header["fortran"] == b"True" else "C").copy()
