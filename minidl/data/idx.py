"""Arrays in IDX files, the format of MNIST and similar data sets."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import IO

import numpy as np

from minidl.data.dataset import ImageDataset
from minidl.data.reading import open_bytes, shown
from minidl.errors import FileFormatError, MissingFileError, counted
from minidl.files import as_path
from minidl.signatures import kind_of
from minidl.typing import Array

# Numbers in a file are big-endian.
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_DIMENSIONS = 32  # of an array in NumPy 1; NumPy 2 has 64
_MOST_PACKED = 1032  # deflate packs at most this many bytes into one
_CHUNK_BYTES = 1 << 20
_FOUR_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def load_idx(path: str | os.PathLike[str]) -> Array | ImageDataset:
    """Load an IDX file, or the four IDX files of a data set such as MNIST.

    Parameters
    ----------
    path : str or path
        An IDX file of any name: plain, gzip or the only file in a zip archive. ``~`` is expanded. Or a folder with
        ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte`` and
        ``t10k-labels-idx1-ubyte``, each with or without ``.gz``; the spelling ``train-images.idx3-ubyte`` works, too.

    Returns
    -------
    array or ImageDataset
        For a file, its array: C-contiguous, in native byte order, of dtype uint8, int8, int16, int32, float32
        or float64. For a folder, the data set as stored: ``x`` uint8 (N, height, width), ``y`` uint8 (N,).

    Raises
    ------
    MissingFileError
        The file, or one of the four, does not exist.
    FileFormatError
        The file is not IDX, is damaged, or is shorter or longer than its header says; or the numbers of images and
        labels differ. The error names the file, and the byte or the numbers of bytes.

    Source: the page of MNIST, http://yann.lecun.com/exdb/mnist/.
    """
    path = as_path(path)
    return load_folder(path) if path.is_dir() else _load_file(path)


def load_folder(folder: Path) -> ImageDataset:
    """Load the four files of MNIST, or of a data set in the same form."""
    paths = [find(folder, name) for name in _FOUR_FILES]
    x_train, y_train, x_test, y_test = map(_load_named, paths, _FOUR_FILES)
    for images, labels, path in ((x_train, y_train, paths[0]), (x_test, y_test, paths[2])):
        if len(images) != len(labels):
            held = f"{counted(len(images), 'image')}, but has {counted(len(labels), 'label')} beside it"
            raise FileFormatError(f"{shown(path)} holds {held}")
    return ImageDataset(x_train, y_train, x_test, y_test, source=f"idx folder {folder}")


def find(folder: Path, name: str) -> Path:
    """Find one of the four files in any of its spellings."""
    spellings = (name, name.replace("-idx", ".idx"))
    for candidate in (folder / (spelling + suffix) for spelling in spellings for suffix in ("", ".gz")):
        if candidate.is_file():
            return candidate
    raise MissingFileError(f"{shown(folder)} lacks {name} (or {name}.gz)")


def _load_named(path: Path, name: str) -> Array:
    array = _load_file(path)
    dimensions = 3 if "idx3" in name else 1
    if array.ndim != dimensions or array.dtype != np.uint8:
        raise FileFormatError(
            f"{shown(path)} should hold a {dimensions}-dimensional array of uint8, "
            f"but holds {array.dtype} of shape {array.shape}"
        )
    return array


def _load_file(path: Path) -> Array:
    with open_bytes(path) as file:
        return read_idx(file, shown(path), path.stat().st_size)


def read_idx(file: IO[bytes], place: str, size: int) -> Array:
    """Read one IDX array from an open file of ``size`` bytes, possibly packed.

    Errors begin with ``place``. The header is not trusted: memory is allocated only for data that exist.
    """
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        if kind := kind_of(magic + file.read(508)):
            raise FileFormatError(f"{place} is not an IDX file, but {kind}")
        hint = "; load_csv reads tables" if magic.decode("latin-1").isprintable() and magic else ""
        raise FileFormatError(f"{place} is not an IDX file: it begins with {magic!r}, not with two zero bytes{hint}")
    code, dimensions = magic[2:]
    if code not in _TYPES:
        known = ", ".join(f"0x{known:02x}" for known in _TYPES)
        raise FileFormatError(f"{place}, byte 2: unknown type code 0x{code:02x}, not one of {known}")
    if not 1 <= dimensions <= _MOST_DIMENSIONS:
        raise FileFormatError(f"{place}, byte 3: {dimensions} dimensions, not 1-{_MOST_DIMENSIONS}")
    header = file.read(4 * dimensions)
    if len(header) < 4 * dimensions:
        raise FileFormatError(f"{place} ends in its header, at byte {4 + len(header)} of {4 + 4 * dimensions}")

    shape = tuple(np.frombuffer(header, ">u4").tolist())
    dtype = np.dtype(_TYPES[code])
    declared = math.prod(shape) * dtype.itemsize
    claim = f"{place}: the header declares {shape} of {dtype.name}, {declared:,} bytes"
    if declared > _MOST_PACKED * size:
        raise FileFormatError(f"{claim}, far more than a file of {size:,} bytes can hold")
    data = bytearray()
    # Read one byte more than declared, to notice extra data and to let gzip verify its checksum.
    while len(data) <= declared and (chunk := file.read(min(_CHUNK_BYTES, declared + 1 - len(data)))):
        data += chunk
    if len(data) != declared:
        held = f"{len(data):,}" if len(data) < declared else "more"
        raise FileFormatError(f"{claim}, but the file holds {held}")
    try:
        return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)
    except ValueError as error:  # dimensions such as (0, 4294967295, 4294967295)
        raise FileFormatError(f"{claim}, which NumPy cannot shape: {error}") from error
