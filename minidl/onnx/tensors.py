"""Read untrusted ONNX files: whatever sizes they declare, they use no more memory than they have bytes."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minidl.errors import FileFormatError, MissingFileError
from minidl.files import as_path
from minidl.onnx.graph import import_onnx
from minidl.typing import Array

_STORED = {
    1: ("<f4", "float_data"),
    2: ("<u1", "int32_data"),
    3: ("<i1", "int32_data"),
    6: ("<i4", "int32_data"),
    7: ("<i8", "int64_data"),
    9: ("<?", "int32_data"),
    10: ("<f2", "int32_data"),
    11: ("<f8", "double_data"),
}
"""ONNX's type numbers: the NumPy type, and the field that holds the numbers if they are not raw bytes."""


def read_proto(path: str | os.PathLike[str]) -> tuple[Any, int]:
    """Return the content of a file, and its size in bytes, including the files that it refers to.

    Raises MissingFileError if the file does not exist, and FileFormatError if ONNX's checker rejects it or if it
    refers to a file outside its own folder.
    """
    onnx, path = import_onnx(), as_path(path)
    if not path.is_file():
        raise MissingFileError(f"there is no file {path}{', but a folder' * path.is_dir()}")
    content = path.read_bytes()
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
        size = len(content) + _read_external(model, path.parent)
        onnx.checker.check_model(model)
    # The parser's error is a plain Exception; the checker raises these for texts that are not UTF-8.
    except FileFormatError as error:
        raise FileFormatError(f"{path} cannot be loaded: {error}") from error
    except Exception as error:
        raise FileFormatError(
            f"{path} is not an ONNX file, or it is corrupt: {' '.join(str(error).split())[:150]}"
        ) from error
    return model, size


def array_of(tensor: Any) -> Array:
    """Return the array of a tensor; raise FileFormatError unless it has the declared number of values."""
    shape, name = tuple(tensor.dims), tensor.name
    if tensor.data_type not in _STORED:
        raise FileFormatError(f"tensor {name!r:.60} has a number type that minidl does not know")
    kind, field = _STORED[tensor.data_type]
    dtype, count = np.dtype(kind), math.prod(shape)
    given = len(tensor.raw_data) / dtype.itemsize if tensor.HasField("raw_data") else len(getattr(tensor, field))
    if given != count or min(shape, default=0) < 0 or len(shape) > 32:
        raise FileFormatError(f"tensor {name!r:.60} declares shape {shape!s:.60}, but has another number of values")
    if tensor.HasField("raw_data"):
        return np.frombuffer(tensor.raw_data, dtype).reshape(shape)
    values = np.array(getattr(tensor, field), np.uint16 if kind == "<f2" else None)
    return values.view(dtype).reshape(shape) if kind == "<f2" else values.astype(dtype).reshape(shape)


def _tensors(model: Any) -> Iterator[Any]:
    yield from model.graph.initializer
    for node in model.graph.node:
        yield from (attribute.t for attribute in node.attribute if attribute.HasField("t"))


def _read_external(model: Any, folder: Path) -> int:
    """Load the values of tensors from other files into the model; return their size in bytes."""
    left: dict[Path, int] = {}
    total = 0
    for tensor in _tensors(model):
        if tensor.data_location != tensor.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        place = f"tensor {tensor.name!r:.60}"
        path = _inside(folder, entries.get("location", ""), place)
        size = path.stat().st_size
        try:
            offset = int(entries.get("offset", 0))
            count = math.prod(tensor.dims) * np.dtype(_STORED[tensor.data_type][0]).itemsize
            length = int(entries.get("length", count))
        except (ValueError, KeyError) as error:
            raise FileFormatError(f"{place} has a type, offset or length that cannot be read") from error
        left.setdefault(path, size)
        left[path] -= length
        if length != count or min(offset, length, left[path], *tensor.dims) < 0 or offset + length > size:
            raise FileFormatError(f"{place} declares {count} bytes, but {path.name!r} does not have them")
        with path.open("rb") as file:
            file.seek(offset)
            tensor.raw_data = file.read(length)
        tensor.data_location = tensor.DEFAULT
        del tensor.external_data[:]
        total += length
    return total


def _inside(folder: Path, location: str, place: str) -> Path:
    """Return the path of a file that a model names; raise FileFormatError unless it is in the model's folder."""
    try:
        home, path = folder.resolve(), (folder / location).resolve()
        inside = bool(location) and home in path.parents and path.is_file()
    except (OSError, ValueError):  # such as a name with a zero byte
        inside = False
    if not inside:
        raise FileFormatError(f"{place} is in the file {location!r:.80}, which is not in the folder of the model")
    return path
