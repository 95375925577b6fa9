"""MNIST from a folder, a CSV file, the user's cache or a mirror; if there is none, scikit-learn's digits instead."""

from __future__ import annotations

import math
import os
import sys
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np

from minidl.console import Console
from minidl.data.csv import load_csv
from minidl.data.dataset import ImageDataset
from minidl.data.digits import load_digits_as_mnist
from minidl.data.download import fetch
from minidl.data.idx import find, load_folder, read_idx
from minidl.data.reading import open_bytes, shown, unpack
from minidl.errors import FileFormatError, MissingFileError
from minidl.files import as_path, atomic_write
from minidl.typing import Array

MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
# Checksums of the unpacked files, because each mirror may pack them in its own way.
SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
_LARGEST_BYTES = 16 + 60_000 * 28 * 28
_MIRROR_SECONDS = 120.0


def load_mnist(
    path: str | os.PathLike[str] | None = None, *, flatten: bool = True, download: bool = True
) -> ImageDataset:
    """Load MNIST: 60,000 images of handwritten digits to train on and 10,000 to test with.

    It uses the first of these sources that is available:

    1. ``path``: a folder with the four IDX files (see :func:`load_idx`) or with the Digit Recognizer
       competition's ``train.csv``; or such a CSV file, of any name. A CSV file has no test part.
    2. The environment variable ``MINIDL_DATA``, if set: a path of the same kinds.
    3. The cache, ``minidl/mnist`` in ``$XDG_CACHE_HOME``, ``%LOCALAPPDATA%`` (Windows) or ``~/.cache``.
    4. Unless ``download`` is False, a public mirror: 11 MB, kept in the cache. Without a network this gives
       up after a few seconds.
    5. The 1,797 digits of 8 x 8 pixels that scikit-learn includes, scaled to 28 x 28 and split into 1,437 and
       360. They are not MNIST: a line on the standard error stream says so.

    Parameters
    ----------
    path : str or path, optional
        ``~`` is expanded.
    flatten : bool, default True
        Images as rows of 784 pixels, or, if False, as (28, 28, 1): height, width, channels.
    download : bool, default True
        Whether the function may use the network.

    Returns
    -------
    ImageDataset
        ``x_train``, ``x_test``: uint8 (N, 784) or (N, 28, 28, 1), 0 the paper and 255 the ink. ``y_train``,
        ``y_test``: intp (N,), 0-9. ``source``: the source that was used. It unpacks as in Keras:
        ``(x_train, y_train), (x_test, y_test) = load_mnist()``.

    Raises
    ------
    MissingFileError
        ``path``, or the path in ``MINIDL_DATA``, does not exist or lacks one of the four files.
    FileFormatError
        A file is damaged, or its images do not have 28 x 28 pixels.

    Source: Y. LeCun, C. Cortes, C. J. C. Burges, http://yann.lecun.com/exdb/mnist/ (CC BY-SA 3.0).
    """
    named = os.environ.get("MINIDL_DATA") if path is None else path
    if named:
        dataset = _load_path(as_path(named), "MINIDL_DATA names " if path is None else "")
    else:
        try:
            dataset = _load_cache_or_mirror(_cache_folder(), download)
        except OSError as error:
            _say(
                f"no MNIST ({error}). Using scikit-learn's 1,797 digits instead, scaled to 28 x 28. "
                "For MNIST, connect to the network or name a folder with it: load_mnist(path) or MINIDL_DATA"
            )
            dataset = load_digits_as_mnist()
    return replace(
        dataset,
        x_train=_shaped(dataset.x_train, flatten, dataset.source),
        y_train=dataset.y_train.astype(np.intp),
        x_test=_shaped(dataset.x_test, flatten, dataset.source),
        y_test=dataset.y_test.astype(np.intp),
    )


def _shaped(images: Array, flatten: bool, source: str) -> Array:
    if math.prod(images.shape[1:]) != 28 * 28:
        raise FileFormatError(f"{source}: images of shape {images.shape[1:]}, not 28 x 28")
    return images.reshape((len(images), 28 * 28) if flatten else (len(images), 28, 28, 1))


def _load_path(path: Path, origin: str) -> ImageDataset:
    if not path.exists():
        raise MissingFileError(
            f"{origin}{shown(path)}, which does not exist" if origin else f"there is no file or folder {shown(path)}"
        )
    table = path
    if path.is_dir():
        table = path / "train.csv"
        try:
            return replace(load_folder(path), source=f"IDX folder {path}")
        except MissingFileError:
            if not table.is_file():
                raise
    x, y = load_csv(table)
    return ImageDataset(x, y, x[:0], y[:0], source=f"CSV file {table}")


def _load_cache_or_mirror(folder: Path, download: bool) -> ImageDataset:
    contents = {name: content for name in SHA256 if (content := _cached(folder, name)) is not None}
    missing = [name for name in SHA256 if name not in contents]
    source = f"cache folder {folder}"
    if missing and not download:
        raise MissingFileError(f"{folder} lacks {', '.join(missing)}, and download=False")
    if missing:
        host, downloaded = _download(missing)
        _store(folder, downloaded)
        contents |= downloaded
        source = f"downloaded from {host}"
    x_train, y_train, x_test, y_test = (read_idx(BytesIO(contents[name]), name, len(contents[name])) for name in SHA256)
    return ImageDataset(x_train, y_train, x_test, y_test, source=f"MNIST ({source})")


def _cache_folder() -> Path:
    # LOCALAPPDATA exists on Windows only.
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or "~/.cache"
    return as_path(base) / "minidl" / "mnist"


def _cached(folder: Path, name: str) -> bytes | None:
    try:
        path = find(folder, name)
        with open_bytes(path) as file:
            return _verified(file, name, str(path))
    except MissingFileError:
        return None
    except OSError as error:
        _say(f"the cache cannot be used: {error}")
        return None


def _verified(file: IO[bytes], name: str, place: str) -> bytes:
    from hashlib import sha256

    content = file.read(_LARGEST_BYTES + 1)
    if sha256(content).hexdigest() != SHA256[name]:
        raise FileFormatError(f"{place} is damaged: its SHA-256 is not that of MNIST's {name}")
    return content


def _download(names: list[str]) -> tuple[str, dict[str, bytes]]:
    """Return the host that had the files, and their unpacked contents. Raises ConnectionError if no mirror has them."""
    from http.client import HTTPException

    failures = []
    for mirror in MIRRORS:
        host = mirror.split("/")[2]
        _say(f"downloading MNIST (11 MB) from {host} ...")
        deadline = time.monotonic() + _MIRROR_SECONDS
        contents = {}
        try:
            for name in names:
                url = f"{mirror}{name}.gz"
                with unpack(BytesIO(fetch(url, deadline, _LARGEST_BYTES)), url) as file:
                    contents[name] = _verified(file, name, url)
            return host, contents
        except (OSError, HTTPException) as error:
            failures.append(f"{host}: {error}")
    raise ConnectionError("; ".join(failures))


def _store(folder: Path, contents: dict[str, bytes]) -> None:
    """Write files, each whole or not at all; if the folder is not writable, continue without the cache."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            with atomic_write(folder / name) as file:
                file.write(content)
    except OSError as error:
        _say(f"the cache folder {folder} cannot be written ({error}): MNIST is kept only in memory")


def _say(text: str) -> None:
    Console(sys.stderr).write(f"minidl: {text}\n")
