"""ONNX files read without trust: whatever sizes they declare, no more memory is taken than they have bytes."""

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
"""ONNX's numbers of types: what they are in NumPy, and the field that has the numbers where they are not raw bytes."""


def read_proto(path: str | os.PathLike[str]) -> tuple[Any, int]:
    """Return the content of a file, and how many bytes it has together with those that it refers to.

    Raises MissingFileError where there is no such file, and FileFormatError for one that ONNX's checker refuses, or
    that refers to a file outside of its own folder.
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
    # What the parser raises is an Exception and no more; the checker raises these for texts that are no UTF-8.
    except FileFormatError as error:
        raise FileFormatError(f"{path} cannot be loaded: {error}") from error
    except Exception as error:
        raise FileFormatError(
            f"{path} is no ONNX file, or a corrupt one: {' '.join(str(error).split())[:150]}"
        ) from error
    return model, size


def array_of(tensor: Any) -> Array:
    """Return the array of a tensor; raise FileFormatError unless it has as many numbers as it declares."""
    shape, name = tuple(tensor.dims), tensor.name
    if tensor.data_type not in _STORED:
        raise FileFormatError(f"tensor {name!r:.60} has a type of numbers that minidl does not know")
    kind, field = _STORED[tensor.data_type]
    dtype, count = np.dtype(kind), math.prod(shape)
    given = len(tensor.raw_data) / dtype.itemsize if tensor.HasField("raw_data") else len(getattr(tensor, field))
    if given != count or min(shape, default=0) < 0 or len(shape) > 32:
        raise FileFormatError(f"tensor {name!r:.60} declares shape {shape!s:.60}, which its numbers do not have")
    if tensor.HasField("raw_data"):
        return np.frombuffer(tensor.raw_data, dtype).reshape(shape)
    values = np.array(getattr(tensor, field), np.uint16 if kind == "<f2" else None)
    return values.view(dtype).reshape(shape) if kind == "<f2" else values.astype(dtype).reshape(shape)


def _tensors(model: Any) -> Iterator[Any]:
    yield from model.graph.initializer
    for node in model.graph.node:
        yield from (attribute.t for attribute in node.attribute if attribute.HasField("t"))


def _read_external(model: Any, folder: Path) -> int:
    """Bring the numbers of tensors that are in other files into the model; return how many bytes they have."""
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
            raise FileFormatError(f"{place} declares {count} bytes, which {path.name!r} does not have for it")
        with path.open("rb") as file:
            file.seek(offset)
            tensor.raw_data = file.read(length)
        tensor.data_location = tensor.DEFAULT
        del tensor.external_data[:]
        total += length
    return total


def _inside(folder: Path, location: str, place: str) -> Path:
    """Return the path of a file that a model names; raise FileFormatError unless it is within the model's folder."""
    try:
        home, path = folder.resolve(), (folder / location).resolve()
        inside = bool(location) and home in path.parents and path.is_file()
    except (OSError, ValueError):  # such as a name with a zero byte
        inside = False
    if not inside:
        raise FileFormatError(f"{place} is in the file {location!r:.80}, which is not in the folder of the model")
    return path
