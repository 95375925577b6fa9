"""Images as rows of a CSV file, in the form of the Digit Recognizer competition."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator
from io import BytesIO
from operator import index
from pathlib import Path
from reprlib import repr as shortened
from typing import IO, NamedTuple, overload

import numpy as np

from minidl.data.reading import open_bytes
from minidl.errors import ArgumentError, ArgumentTypeError, FileFormatError, counted
from minidl.files import as_path
from minidl.typing import Array

# As int64 a block of this size takes 18 MB; much smaller ones would make pandas' fixed cost felt.
_BLOCK_BYTES = 4 << 20
# A row of a million pixels; what goes on longer is no table but, perhaps, a small gzip file that swells.
_LONGEST_LINE = 4 << 20
_PIXELS = range(256)
_LABELS = range(-(2**63), 2**63)
# Of all else, pandas would take "1e2" and "5.0" for integers, and pandas 2.1 would end a cell at a NUL byte.
_INTEGER = re.compile(r"[ \t]*[+-]?[0-9]{1,4000}[ \t]*")
_CHARACTERS = b'0123456789+- \t,"\r\n'


@overload
def load_csv(
    path: str | os.PathLike[str], *, label: str | int = "label", header: bool = True
) -> tuple[Array, Array]: ...
@overload
def load_csv(path: str | os.PathLike[str], *, label: None, header: bool = True) -> tuple[Array, None]: ...
def load_csv(
    path: str | os.PathLike[str], *, label: str | int | None = "label", header: bool = True
) -> tuple[Array, Array | None]:
    """Load images and labels from a CSV file: a line of column names, then one image a row.

    Parameters
    ----------
    path : str or path
        UTF-8 text, plain or gzip. ``~`` is expanded; blank lines are skipped.
    label : str, int or None, default "label"
        The label column by name or by position (negative: from the end), or None for a file without
        labels, such as the competition's ``test.csv``. Every other column is a pixel.
    header : bool, default True
        Whether line 1 holds the column names. If False, it is the first image, and ``label`` a position.

    Returns
    -------
    x : uint8 array, (N, pixels), C-contiguous
    y : intp array, (N,), or None if ``label`` is None

    Raises
    ------
    MissingFileError
        The file does not exist.
    FileFormatError
        The file is not such a table of integers, pixels in 0-255: names the file, the line (counted from 1,
        the header included) and the column.
    ArgumentError, ArgumentTypeError
        ``label`` is no column of the file.

    Source: the data page of https://www.kaggle.com/competitions/digit-recognizer.
    """
    from concurrent.futures import ThreadPoolExecutor

    path = as_path(path)
    with open_bytes(path) as file, ThreadPoolExecutor(max_workers=2) as pool:
        first_line = _rest_of_line(file, path, 1).removeprefix(b"\xef\xbb\xbf")  # the mark that Excel puts before UTF-8
        names = _column_names(first_line, header, path)
        table = _Table(path, names, _label_column(label, names, path))
        blocks = _blocks(file, path, 2, b"") if header else _blocks(file, path, 1, first_line)
        # pandas' parser releases the GIL, so that the two threads overlap.
        parts = list(pool.map(lambda block: _parse(table, *block), blocks))
    if not any(len(pixels) for pixels, _ in parts):
        raise FileFormatError(f"{path}: a header, but no rows after it")
    x = np.concatenate([pixels for pixels, _ in parts])
    return x, None if label is None else np.concatenate([labels for _, labels in parts])


class _Table(NamedTuple):
    path: Path
    names: list[str]
    label_column: int | None


def _column_names(line: bytes, header: bool, path: Path) -> list[str]:
    """Read the names in the first line; without a header they are ``"0"``, ``"1"``, ..."""
    if not line:
        raise FileFormatError(f"{path} is empty")
    try:
        cells = [cell.strip() for cell in _cells(line)]
    except ValueError as error:
        raise FileFormatError(f"{path}, line 1: not CSV text: {error}") from error
    if not any(cells):
        raise FileFormatError(f"{path}, line 1: blank, where the column names should be")
    if not header:
        return [str(position) for position in range(len(cells))]
    # Whole numbers that repeat are pixels; a frame saved without names has the distinct names 0, 1, 2, ...
    if all(map(_INTEGER.fullmatch, cells)) and len(set(cells)) < len(cells):
        raise FileFormatError(f"{path}, line 1: numbers, where the column names should be; pass header=False")
    return cells


def _label_column(label: str | int | None, names: list[str], path: Path) -> int | None:
    """Turn ``label`` into a position among ``names``."""
    from difflib import get_close_matches

    if label is None:
        return None
    if isinstance(label, str):
        if label in names:
            return names.index(label)
        close = " or ".join(map(repr, get_close_matches(label, names[:1000])))  # comparing takes time
        guess = f", did you mean {close}?" if close else ";"
        raise ArgumentError(
            f"{path} has no column {label!r}{guess} its columns are {shortened(names)}; "
            "pass label=None if none of them is the label"
        )
    try:
        position = index(label)
    except TypeError as error:
        raise ArgumentTypeError(f"label={label!r} is neither a name nor a position nor None") from error
    if not -len(names) <= position < len(names):
        raise ArgumentError(f"{path} has {counted(len(names), 'column')}, so none at label={position}")
    return position % len(names)


def _blocks(file: IO[bytes], path: Path, line: int, start: bytes) -> Iterator[tuple[int, bytes]]:
    """Cut ``start`` and the rest of the file into blocks of whole lines, each with its first line number."""
    while block := start + file.read(_BLOCK_BYTES):
        last_line = line + block.count(b"\n")
        block += _rest_of_line(file, path, last_line)
        yield line, block
        line += block.count(b"\n")
        start = b""


def _rest_of_line(file: IO[bytes], path: Path, number: int) -> bytes:
    line = file.readline(_LONGEST_LINE)
    if len(line) == _LONGEST_LINE:
        raise FileFormatError(f"{path}, line {number}: longer than {_LONGEST_LINE:,} bytes")
    return line


def _parse(table: _Table, first_line: int, block: bytes) -> tuple[Array, Array]:
    """Parse whole lines into pixels, (rows, pixels), and labels, (rows,): zeros without a label column."""
    import pandas as pd

    # pandas holds a row to the width of the row before it; these zeros hold the first.
    zeros = b",".join([b"0"] * len(table.names)) + b"\n"
    try:
        if block.translate(None, delete=_CHARACTERS):
            raise ValueError("a character that no integer has")
        # As uint8, pandas 2.1 would take 256 for 0 and -1 for 255.
        frame = pd.read_csv(BytesIO(zeros + block), header=None, dtype=np.int64, na_filter=False, low_memory=False)
        values = frame.to_numpy()[1:]
        wrong = (values.min(axis=0, initial=0) < 0) | (values.max(axis=0, initial=0) > 255)
        if table.label_column is not None:
            wrong[table.label_column] = False
        if wrong.any() or values.dtype != np.int64:
            raise ValueError("a number out of range")
    except (ValueError, OverflowError) as error:
        raise _diagnosis(table, first_line, block, error) from error
    pixels = values.astype(np.uint8, order="C")
    if table.label_column is None:
        return pixels, np.zeros(len(pixels), np.intp)
    return np.delete(pixels, table.label_column, axis=1), values[:, table.label_column].astype(np.intp)


def _diagnosis(table: _Table, first_line: int, block: bytes, error: Exception) -> FileFormatError:
    """Find the line and the column that made a block fail, cell by cell: slow, but only ever once."""
    for number, line in enumerate(block.split(b"\n"), first_line):
        if line.strip(b" \t\r") and (fault := _fault(table, line)):
            return FileFormatError(f"{table.path}, line {number}{fault}")
    return FileFormatError(f"{table.path}, from line {first_line} on: pandas cannot read it: {error}")


def _fault(table: _Table, line: bytes) -> str | None:
    """Say what is wrong with one row, if anything."""
    try:
        cells = _cells(line)
    except ValueError as error:
        return f": not CSV text: {error}"
    if len(cells) != len(table.names):
        return f": {counted(len(cells), 'cell')}, where line 1 has {len(table.names)}"
    for position, (name, cell) in enumerate(zip(table.names, cells, strict=True)):
        allowed = _LABELS if position == table.label_column else _PIXELS
        if not (_INTEGER.fullmatch(cell) and int(cell) in allowed):
            wanted = "a 64-bit integer" if allowed is _LABELS else "an integer in 0-255"
            return f", column {name!r}: {shortened(cell)} is not {wanted}"
    return None


def _cells(line: bytes) -> list[str]:
    """Split one line at its commas; a ValueError says why it is not a line of CSV text."""
    if b"\0" in line:
        raise ValueError(f"a NUL byte at position {line.index(0)}")
    try:
        return next(csv.reader([line.decode().rstrip("\r\n")], strict=True), [])
    except csv.Error as error:
        raise ValueError(str(error)) from error
