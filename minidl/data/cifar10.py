"""CIFAR-10: small photographs of ten classes, from the binary version or from arrays in an .npz file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np

from minidl.data.dataset import ImageDataset
from minidl.data.npz import read_npz
from minidl.data.reading import open_bytes, shown
from minidl.errors import FileFormatError, MissingFileError, counted
from minidl.files import as_path
from minidl.signatures import kind_of
from minidl.typing import Array

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""The names of CIFAR-10's classes 0 to 9."""

_IMAGE = (32, 32, 3)
_RECORD = 1 + 32 * 32 * 3
_LARGEST_BYTES = 50_000 * _RECORD
_TRAINING = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_TEST = "test_batch.bin"
_FOLDER, _ARCHIVE = "cifar-10-batches-bin", "cifar-10-binary.tar.gz"
_OTHER_VERSIONS = (
    *("cifar-10-batches-py", "cifar-10-python.tar.gz", "data_batch_1"),
    *("cifar-10-batches-mat", "cifar-10-matlab.tar.gz", "data_batch_1.mat"),
)
_CURE = f"fetch the binary version, {_ARCHIVE}, from https://www.cs.toronto.edu/~kriz/cifar.html"
_OTHER = f"another version of CIFAR-10, with pickles or for MATLAB: {_CURE}"
_PICKLES = f"holds Python pickles, which could run any code when they are read: {_CURE}"


def load_cifar10(path: str | os.PathLike[str]) -> ImageDataset:
    """Load CIFAR-10: 50,000 photographs of 32 x 32 pixels to train on and 10,000 to test with, of ten classes.

    Parameters
    ----------
    path : str or path
        One of these; ``~`` is expanded:

        - a folder with ``data_batch_1.bin`` to ``data_batch_5.bin`` and ``test_batch.bin``, or with the folder
          ``cifar-10-batches-bin`` or the archive that holds them;
        - the published archive, ``cifar-10-binary.tar.gz``;
        - one of the ``.bin`` files: its images, without a test part;
        - an ``.npz`` file with ``x_train``, ``y_train``, ``x_test`` and ``y_test``, or with ``x`` and ``y``.
          Images are uint8, (N, 32, 32, 3) or (N, 3, 32, 32); labels (N,) or (N, 1).

    Returns
    -------
    ImageDataset
        ``x_train``, ``x_test``: uint8 (N, 32, 32, 3): height, width, and the colours red, green, blue. ``y_train``,
        ``y_test``: intp (N,), 0-9; ``CIFAR10_CLASSES`` has their names. It unpacks as in Keras:
        ``(x_train, y_train), (x_test, y_test) = load_cifar10(path)``.

    Raises
    ------
    MissingFileError
        ``path`` does not exist, or lacks one of the files.
    FileFormatError
        A file is damaged or of another kind. The Python version, with pickles, is never read: the error says what to
        fetch instead.

    Source: A. Krizhevsky (2009), "Learning multiple layers of features from tiny images".
    """
    path = as_path(path)
    if path.is_dir():
        return _load_folder(path)
    if not path.exists():
        raise MissingFileError(f"there is no file or folder {shown(path)}")
    if _is_npz(path):
        return _from_arrays(read_npz(path), path)
    with open_bytes(path) as file:
        start = file.read(512)
        file.seek(0)
        if "tar archive" in (kind_of(start) or ""):
            return _from_files(_read_archive(file, shown(path)), path)
        x, y = _read_records(file, shown(path))
    return ImageDataset(x, y, x[:0], y[:0], source=f"CIFAR-10 file {path}")


def _load_folder(folder: Path) -> ImageDataset:
    for place in (folder, folder / _FOLDER):
        if any((place / name).is_file() for name in (*_TRAINING, _TEST)):
            return _from_files({name: _read_file(place, name) for name in (*_TRAINING, _TEST)}, place)
    if (folder / _ARCHIVE).is_file():
        return load_cifar10(folder / _ARCHIVE)
    for name in _OTHER_VERSIONS:
        if (folder / name).exists():
            raise FileFormatError(f"{shown(folder / name)} is {_OTHER}")
    raise MissingFileError(f"{shown(folder)} lacks {_TRAINING[0]}, and {_ARCHIVE}, which holds it")


def _read_file(folder: Path, name: str) -> tuple[Array, Array]:
    if not (folder / name).is_file():
        raise MissingFileError(f"{shown(folder)} lacks {name}")
    with open_bytes(folder / name) as file:
        return _read_records(file, shown(folder / name))


def _read_archive(file: IO[bytes], place: str) -> dict[str, tuple[Array, Array]]:
    """Return the records of the .bin files in a tar archive, which is read from its start to its end."""
    import tarfile

    files = {}
    try:
        with tarfile.open(fileobj=file, mode="r|") as archive:
            for entry in archive:
                name = PurePosixPath(entry.name).name
                if name in _OTHER_VERSIONS:
                    raise FileFormatError(f"{place} holds {name}, {_OTHER}")
                if name in (*_TRAINING, _TEST) and entry.isfile() and (content := archive.extractfile(entry)):
                    files[name] = _read_records(content, f"{place}, {name}")
    # The errors of the tar reader for corrupt fields.
    except (tarfile.TarError, ValueError, OverflowError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{place}: damaged tar file: {error!s:.100}") from error
    return files


def _read_records(file: IO[bytes], place: str) -> tuple[Array, Array]:
    """Read records: a label, then the pixels of an image, channel by channel."""
    content = file.read(_LARGEST_BYTES + 1)
    if (kind := kind_of(content[:512])) and content[:1] > b"\x09":  # a label is 0 to 9
        raise FileFormatError(f"{place} {_PICKLES if 'pickle' in kind else f'is not a CIFAR-10 file, but {kind}'}")
    if not content or len(content) % _RECORD or len(content) > _LARGEST_BYTES:
        size = counted(len(content), "byte") if len(content) <= _LARGEST_BYTES else "more bytes than all of CIFAR-10"
        raise FileFormatError(
            f"{place} holds {size}, which are not whole records of {_RECORD:,} bytes: download it again"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    x = np.ascontiguousarray(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return x, _checked_labels(records[:, 0], place)


def _from_files(files: Mapping[str, tuple[Array, Array]], path: Path) -> ImageDataset:
    if missing := [name for name in (*_TRAINING, _TEST) if name not in files]:
        raise MissingFileError(f"{shown(path)} lacks {', '.join(missing)}")
    x_train, y_train = (np.concatenate(parts) for parts in zip(*(files[name] for name in _TRAINING), strict=True))
    return ImageDataset(x_train, y_train, *files[_TEST], source=f"CIFAR-10 ({path})")


def _is_npz(path: Path) -> bool:
    import zipfile

    if not zipfile.is_zipfile(path):
        return path.suffix.lower() == ".npz"
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith(".npy") for name in archive.namelist())


def _from_arrays(arrays: Mapping[str, Array], path: Path) -> ImageDataset:
    first = ("x_train", "y_train") if "x_train" in arrays else ("x", "y")
    if missing := [name for name in first if name not in arrays]:
        found = ", ".join(arrays)
        raise FileFormatError(f"{shown(path)} has no array {missing[0]!r}, but {found:.60}: name them x_train, y_train")
    x, y = _checked_pair(arrays, *first, path)
    has_test = "x_test" in arrays and "y_test" in arrays
    x_test, y_test = _checked_pair(arrays, "x_test", "y_test", path) if has_test else (x[:0], y[:0])
    return ImageDataset(x, y, x_test, y_test, source=f"CIFAR-10 arrays {path}")


def _checked_pair(arrays: Mapping[str, Array], images: str, labels: str, path: Path) -> tuple[Array, Array]:
    place = f"{shown(path)}, {images}"
    x, y = arrays[images], arrays[labels]
    if x.shape[1:] == (3, 32, 32):
        x = x.transpose(0, 2, 3, 1)
    if x.shape[1:] != _IMAGE or x.dtype != np.uint8:
        raise FileFormatError(f"{place}: {x.dtype} of shape {x.shape}; it must be uint8 pixels (N, 32, 32, 3)")
    if y.dtype.kind not in "iu" or y.shape not in {(len(x),), (len(x), 1)}:
        raise FileFormatError(f"{place}: its labels {labels} are {y.dtype} {y.shape}; give integers ({len(x)},)")
    return np.ascontiguousarray(x), _checked_labels(y.reshape(-1), f"{shown(path)}, {labels}")


def _checked_labels(labels: Array, place: str) -> Array:
    strange = np.flatnonzero((labels < 0) | (labels > 9))
    if len(strange):
        raise FileFormatError(
            f"{place}: label {labels[strange[0]]} of image {strange[0]} is not a CIFAR-10 label, 0 to 9"
        )
    return labels.astype(np.intp)
