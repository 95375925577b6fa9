"""Images as rows of a CSV file, in the form of the Digit Recognizer competition.

The separator is the one of comma, semicolon and tab that occurs most often in the first line.
"""

from __future__ import annotations

import csv
import os
import re
import warnings
from collections.abc import Iterator
from io import BytesIO
from operator import index
from reprlib import repr as shortened
from typing import IO, NamedTuple, overload

import numpy as np

from minidl.data.reading import open_bytes, shown
from minidl.errors import ArgumentError, ArgumentTypeError, DataWarning, FileFormatError, counted
from minidl.files import as_path
from minidl.signatures import kind_of
from minidl.typing import Array

# As int64 a block of this size takes 18 MB; with much smaller blocks, pandas' fixed cost would matter.
_BLOCK_BYTES = 4 << 20
# A row of a million pixels; a longer line is not a table but perhaps a small gzip file that expands without end.
_LONGEST_LINE = 4 << 20
_PIXELS = range(256)
_LABELS = range(-(2**63), 2**63)
# pandas would accept "1e2" and "5.0" as integers, and pandas 2.1 would end a cell at a NUL byte.
_INTEGER = re.compile(r"[ \t]*[+-]?[0-9]{1,4000}[ \t]*")
_CHARACTERS = b'0123456789+- \t"\r\n'
_NUMBER = re.compile(r"[ \t]*[+-]?([0-9]+([.,][0-9]*)?|[.,][0-9]+)([eE][+-]?[0-9]+)?[ \t]*")
_SEPARATORS = ",;\t"
_MARK = b"\xef\xbb\xbf"  # Excel writes it before UTF-8
_UNNAMED = re.compile(r"(Unnamed: [0-9]+)?")
# The rows that are checked for an index; without column names, fewer could not distinguish it from labels and pixels.
_ROWS_OF_INDEX = 1000


@overload
def load_csv(
    path: str | os.PathLike[str], *, label: str | int = "label", header: bool = True
) -> tuple[Array, Array]: ...
@overload
def load_csv(path: str | os.PathLike[str], *, label: None, header: bool = True) -> tuple[Array, None]: ...
def load_csv(
    path: str | os.PathLike[str], *, label: str | int | None = "label", header: bool = True
) -> tuple[Array, Array | None]:
    """Load images and labels from a CSV file: a line of column names, then one image per row.

    Parameters
    ----------
    path : str or path
        UTF-8 text with commas, semicolons or tabs; plain, gzip or the only file in a zip archive. ``~`` is expanded.
        Blank lines are skipped.
    label : str, int or None, default "label"
        The label column by name or by position (negative: from the end), or None for a file without
        labels, such as the competition's ``test.csv``. Every other column is a pixel.
    header : bool, default True
        Whether line 1 holds the column names. If False, it is the first image, and ``label`` is a position. Names may
        be the numbers 0, 1, 2, ..., as for a frame without names. Other numbers raise an error: they may be an image.

    Returns
    -------
    x : uint8 array, (N, pixels), C-contiguous
    y : intp array, (N,), or None if ``label`` is None

    Raises
    ------
    MissingFileError
        The file does not exist.
    FileFormatError
        The file is not a table of integers with pixels in 0-255. The error names the file, the line (counted from 1,
        including the header) and the column. A column that counts the rows is an index, saved without
        ``index=False``. For a file of another kind, the error says which kind it is.
    ArgumentError, ArgumentTypeError
        ``label`` is not a column of the file.

    Source: the data page of https://www.kaggle.com/competitions/digit-recognizer.
    """
    from concurrent.futures import ThreadPoolExecutor

    path = as_path(path)
    with open_bytes(path) as file, ThreadPoolExecutor(max_workers=2) as pool:
        place = shown(path)
        first_line = _rest_of_line(file, place, 1).removeprefix(_MARK)
        separator = _separator(first_line)
        names = _column_names(first_line, separator, header, place)
        table = _Table(place, names, separator, header, _label_column(label, names, header, place))
        blocks = _blocks(file, place, 2, b"") if header else _blocks(file, place, 1, first_line)
        # pandas' parser releases the GIL, so that the two threads overlap.
        parts = list(pool.map(lambda block: _parse(table, *block), blocks))
    if not any(len(pixels) for pixels, _ in parts):
        raise FileFormatError(f"{place}: a header, but no rows after it")
    x = np.concatenate([pixels for pixels, _ in parts])
    return x, None if label is None else np.concatenate([labels for _, labels in parts])


class _Table(NamedTuple):
    place: str
    names: list[str]
    separator: str
    header: bool
    label_column: int | None


def _separator(line: bytes) -> str:
    """Return the separator of a line's cells: the one that occurs most often outside quotes."""
    plain = re.sub(rb'"[^"]*"', b"", line)
    return max(_SEPARATORS, key=lambda separator: plain.count(separator.encode()))


def _column_names(line: bytes, separator: str, header: bool, place: str) -> list[str]:
    """Read the column names from the first line; without a header they are ``"0"``, ``"1"``, ..."""
    if not line:
        raise FileFormatError(f"{place} is empty")
    if kind := kind_of(line):
        raise FileFormatError(f"{place} is not a CSV file, but {kind}")
    try:
        cells = [cell.strip() for cell in _cells(line, separator)]
    except ValueError as error:
        raise FileFormatError(f"{place}, line 1: not CSV text: {error}") from error
    if not any(cells):
        raise FileFormatError(f"{place}, line 1: blank, where the column names should be")
    if len(cells) == 1 and len(cells[0].split()) > 1 and all(map(_NUMBER.fullmatch, cells[0].split())):
        cure = "commas, semicolons or tabs, such as with numpy.savetxt(..., fmt='%d', delimiter=',')"
        raise FileFormatError(f"{place}, line 1: spaces between numbers: separate cells by {cure}")
    if not header:
        return [str(position) for position in range(len(cells))]
    # A frame that was saved without names has the names 0, 1, 2, ...
    named = [cell for cell in cells if cell]
    if all(map(_NUMBER.fullmatch, named)):
        cure = "if it is the first image, load_csv(path, header=False, label=0) reads it"
        if named != [str(position) for position in range(len(named))]:
            raise FileFormatError(f"{place}, line 1: numbers, where the column names should be; {cure}")
        warnings.warn(f"check the data: {place}, line 1: 0, 1, 2, ... are read as column names; {cure}", DataWarning, 3)
    return cells


def _label_column(label: str | int | None, names: list[str], header: bool, place: str) -> int | None:
    """Turn ``label`` into a position among ``names``."""
    from difflib import get_close_matches

    if label is None:
        return None
    if isinstance(label, str):
        if label in names:
            return names.index(label)
        if not header or all(map(_NUMBER.fullmatch, names)):
            cure = "give a position, label=0; if line 1 is the first image, header=False, label=0"
            raise ArgumentError(f"{place} has no column {label!r:.25} and no column names: {cure}")
        known = [name for name in names[:1000] if len(name) < 30]  # comparing takes time
        close = get_close_matches(label, known, 1)
        guess = f", did you mean {close[0]!r}?" if close else ";"
        some = f"{', '.join(map(repr, names[:4])):.50}{', ...' * (len(names) > 4)}"
        raise ArgumentError(
            f"{place} has no column {label!r:.25}{guess} its columns are [{some}]; pass label=None if none is the label"
        )
    try:
        position = index(label)
    except TypeError as error:
        raise ArgumentTypeError(f"label={shortened(label)} is not a name, a position or None") from error
    if not -len(names) <= position < len(names):
        raise ArgumentError(
            f"{place} has {counted(len(names), 'column')}, but no column at label={shortened(position)}"
        )
    return position % len(names)


def _blocks(file: IO[bytes], place: str, line: int, start: bytes) -> Iterator[tuple[int, bytes]]:
    """Cut ``start`` and the rest of the file into blocks of whole lines, each with its first line number."""
    while block := start + file.read(_BLOCK_BYTES):
        last_line = line + block.count(b"\n")
        block += _rest_of_line(file, place, last_line)
        yield line, block
        line += block.count(b"\n")
        start = b""


def _rest_of_line(file: IO[bytes], place: str, number: int) -> bytes:
    line = file.readline(_LONGEST_LINE)
    if len(line) == _LONGEST_LINE:
        raise FileFormatError(f"{place}, line {number}: longer than {_LONGEST_LINE:,} bytes")
    return line


def _parse(table: _Table, first_line: int, block: bytes) -> tuple[Array, Array]:
    """Parse whole lines into pixels, (rows, pixels), and labels, (rows,); without a label column they are zeros."""
    import pandas as pd

    if first_line == 1 + table.header:
        _check_no_index(table, block)
    separator = table.separator.encode()
    # pandas checks each row against the width of the row before it; these zeros check the first row.
    zeros = separator.join([b"0"] * len(table.names)) + b"\n"
    try:
        if block.translate(None, delete=_CHARACTERS + separator):
            raise ValueError("a character that no integer has")
        # As uint8, pandas 2.1 would read 256 as 0 and -1 as 255.
        frame = pd.read_csv(
            BytesIO(zeros + block),
            sep=table.separator,
            header=None,
            dtype=np.int64,
            na_filter=False,
            low_memory=False,
        )
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


def _check_no_index(table: _Table, block: bytes) -> None:
    """Raise FileFormatError for an unnamed column that counts the first rows: a saved index."""
    unnamed = [0] if not table.header else [at for at, name in enumerate(table.names) if _UNNAMED.fullmatch(name)]
    if not unnamed:
        return
    # Every line of a block is complete; do not split the block after the rows that are checked.
    lines = [line for line in block.split(b"\n", 2 * _ROWS_OF_INDEX)[: 2 * _ROWS_OF_INDEX] if line.strip()]
    try:
        rows = [_cells(line, table.separator) for line in lines[:_ROWS_OF_INDEX]]
    except ValueError:
        return  # this error is reported later, with its line
    if not table.header and len(rows) < _ROWS_OF_INDEX:
        return
    for column in unnamed:
        cells = [row[column].strip() for row in rows if column < len(row)]
        if cells and any(cells == [str(start + row) for row in range(len(rows))] for start in (0, 1)):
            name = shortened(table.names[column]) if table.names[column] else "without a name"
            raise FileFormatError(
                f"{table.place}: column {name} counts the rows: an index, saved by mistake. "
                "Save the table without it: table.to_csv(path, index=False)"
            )


def _diagnosis(table: _Table, first_line: int, block: bytes, error: Exception) -> FileFormatError:
    """Find the line and the column that made a block fail, cell by cell: slow, but done only once."""
    for number, line in enumerate(block.split(b"\n"), first_line):
        blank = b" \r" if table.separator == "\t" else b" \t\r"
        if line.strip(blank) and (fault := _fault(table, line)):
            hint = "" if table.header or number > 1 else "; if line 1 holds the column names, remove header=False"
            return FileFormatError(f"{table.place}, line {number}{fault}{hint}")
    return FileFormatError(f"{table.place}, from line {first_line} on: pandas cannot read it: {error!s:.80}")


def _fault(table: _Table, line: bytes) -> str | None:
    """Describe the error in one row, if there is one."""
    try:
        cells = _cells(line, table.separator)
    except ValueError as error:
        return f": not CSV text: {error}"
    if len(cells) != len(table.names):
        return f": {counted(len(cells), 'cell')}, where line 1 has {len(table.names)}"
    for position, (name, cell) in enumerate(zip(table.names, cells, strict=True)):
        allowed = _LABELS if position == table.label_column else _PIXELS
        if not (_INTEGER.fullmatch(cell) and int(cell) in allowed):
            wanted = "a 64-bit integer" if allowed is _LABELS else "an integer in 0-255"
            return f", column {shortened(name)}: {shortened(cell)} is not {wanted}{_cure(cell)}"
    return None


def _cure(cell: str) -> str:
    """Return how to turn a cell into an integer, if there is an obvious way."""
    if not cell.strip() or cell.strip().lower() in {"nan", "na", "null", "none"}:
        return ": fill missing values"
    if not _NUMBER.fullmatch(cell) or _INTEGER.fullmatch(cell):
        return ""
    if "," in cell:
        return ": a decimal comma? write whole numbers"
    return ": write whole numbers, with astype(int), or with fmt='%d' of numpy.savetxt"


def _cells(line: bytes, separator: str) -> list[str]:
    """Split one line into its cells; a ValueError says why it is not a line of CSV text."""
    if b"\0" in line:
        raise ValueError(f"a NUL byte at position {line.index(0)}")
    try:
        return next(csv.reader([line.decode().rstrip("\r\n")], delimiter=separator, strict=True), [])
    except csv.Error as error:
        raise ValueError(str(error)) from error
