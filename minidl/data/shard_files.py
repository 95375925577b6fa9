"""Files that each hold some rows of a data set: look at their contents without the inputs, and read the inputs.

Each kind of file is a class. `look` returns rows, shapes and types, and reads the targets, which are small. `read`
returns the inputs: a memory map for ``.npy``, otherwise an array.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from minidl.arrays import as_array
from minidl.data.npz import look_into_npz, read_header, read_npz
from minidl.data.reading import shown
from minidl.errors import (
    ArgumentError,
    DataError,
    FileFormatError,
    MinidlError,
    MissingDependencyError,
    MissingFileError,
    did_you_mean,
)
from minidl.tables import as_frame
from minidl.typing import Array, Shape


class Contents(NamedTuple):
    """The contents of a file: shape and type of its inputs, their columns if it is a table, and its targets."""

    shape: Shape
    dtype: np.dtype[Any]
    targets: Array | None
    columns: tuple[str, ...] = ()


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the errors that libraries raise for missing or invalid files into minidl's errors."""
    try:
        yield
    except MinidlError:
        raise
    except FileNotFoundError as error:
        raise MissingFileError(f"{shown(path)} does not exist (any more): restore it") from error
    except (OSError, ValueError, EOFError, OverflowError, TypeError) as error:
        raise FileFormatError(f"{shown(path)} is not a {path.suffix} file, or it is damaged: {error!s:.100}") from error


@dataclass(frozen=True)
class Files:
    """A kind of file, with the names of the targets and columns to read.

    Parameters
    ----------
    target : str or None
        The name of the array or column that holds the targets; None for the usual name, if it exists.
    columns : sequence of str or None
        The columns of a table that are the inputs; None for all except the target.
    """

    target: str | None = None
    columns: Sequence[str] | None = None

    one_type: ClassVar[bool] = True
    """Whether inputs must be of the same type in all files."""

    def inputs(self, paths: list[Path]) -> list[Path]:
        """Return the files of a folder that hold inputs."""
        return paths

    def look(self, path: Path) -> Contents:
        """Return the contents of the file."""
        raise NotImplementedError

    def read(self, path: Path) -> Array:
        """Return the inputs."""
        raise NotImplementedError


class ArrayFiles(Files):
    """Pairs of ``.npy`` files: inputs in ``x_07.npy``, their targets in ``y_07.npy``."""

    def inputs(self, paths: list[Path]) -> list[Path]:
        target = self.target or "y"
        if wrong := [path for path in paths if not path.name.startswith(("x", target))]:
            raise FileFormatError(f"{shown(wrong[0])} is neither x nor y: name such files x_07.npy and {target}_07.npy")
        inputs = [path for path in paths if path.name.startswith("x")]
        known = {*inputs}
        for path in paths:
            beside = path if path in known else path.with_name("x" + path.name.removeprefix(target))
            if beside not in known:
                raise MissingFileError(f"{shown(path)} has no {beside.name:.60}: give both, or leave these targets out")
        return inputs

    def look(self, path: Path) -> Contents:
        x, beside = self.read(path), path.with_name((self.target or "y") + path.name[1:])
        targets = None if self.target is None and not beside.exists() else np.array(self.read(beside))
        return Contents(x.shape, x.dtype, targets)

    def read(self, path: Path) -> Array:
        with reading(path), path.open("rb") as file:
            shape, fortran, dtype = read_header(file)
            if dtype.hasobject:
                raise FileFormatError(f"{shown(path)} holds pickled objects, which could run any code: give numbers")
            return np.asarray(np.memmap(path, dtype, "r", file.tell(), shape, "F" if fortran else "C"))


class ArchiveFiles(Files):
    """``.npz`` files of two arrays: one holds the targets, by default ``y``, and the other the inputs."""

    def look(self, path: Path) -> Contents:
        x, y = self._names(path)
        shape, dtype = look_into_npz(path)[x]
        return Contents(shape, dtype, None if y is None else read_npz(path, [y])[y])

    def read(self, path: Path) -> Array:
        with reading(path):
            x, _ = self._names(path)
            return read_npz(path, [x])[x]

    def _names(self, path: Path) -> tuple[str, str | None]:
        with reading(path):
            path.stat()  # raises if there is no file
            names = [*look_into_npz(path)]
        y = self.target or ("y" if "y" in names else None)
        others = [name for name in names if name != y]
        if len(others) != 1 or y not in {None, *names}:
            cure = "give target=, the name of the targets; the inputs are the only other one"
            raise FileFormatError(f"{shown(path)} holds the arrays {', '.join(names):.80}: {cure}")
        return others[0], y


class TableFiles(Files):
    """Tables: one column is the target; the others, or the chosen ones, are the inputs."""

    def choose(self, names: list[str], path: Path) -> list[str]:
        """Return the columns of a file that are inputs."""
        target = [] if self.target is None else [self.target]
        chosen = [name for name in names if name not in target] if self.columns is None else [*self.columns]
        found = Counter(names)
        for name, times in Counter(target + chosen).items():
            if not found[name]:
                raise ArgumentError(f"{shown(path)} has no column {name!r:.40}: {did_you_mean(name, names)}")
            if found[name] > 1:
                raise ArgumentError(f"{shown(path)} has several columns {name!r:.40}: give each another name")
            if times > 1 and name in target:
                raise ArgumentError(f"{shown(path)}: columns= includes the target {name!r:.40}; x must not hold it")
            if times > 1:
                raise ArgumentError(f"{shown(path)}: columns= lists the column {name!r:.40} twice; list it once")
        if not chosen:
            raise ArgumentError(f"{shown(path)} has no columns for x, only {self.target!r:.40}")
        return chosen


class ParquetFiles(TableFiles):
    """Parquet files: their rows and types are known without reading them. They need pyarrow."""

    def look(self, path: Path) -> Contents:
        with reading(path), _open_parquet(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
            columns = self.choose(_without_index(schema.names), path)
            empty = schema.empty_table().select(columns)
            types = self._columns(empty, path)
            # An empty column of text would pass as numbers. Its values raise an error that names column and row.
            others = [name for name in columns if empty[name].to_numpy().dtype.kind not in "biuf"]
            self._columns(file.read(others), path)
            targets = None
            if self.target is not None:
                targets = as_frame(file.read([self.target]))[self.target].to_numpy()
        return Contents((rows, len(columns)), np.result_type(*types), targets, tuple(columns))

    def read(self, path: Path) -> Array:
        with reading(path), _open_parquet(path) as file:
            columns = self.choose(_without_index(file.schema_arrow.names), path)
            found = self._columns(file.read(columns).select(columns), path)
        x = np.empty((len(found[0]), len(found)), np.result_type(*found))
        for place, column in enumerate(found):  # a frame of many columns would need more time and twice the memory
            x[:, place] = column
        return x

    def _columns(self, table: Any, path: Path) -> list[Array]:
        names = table.column_names
        return [as_array(table[name], f"{shown(path)}: the column {name!r:.40} of x") for name in names]


class CsvFiles(TableFiles):
    """CSV files with a line of names. Their rows and types are unknown before reading: `look` reads them once."""

    one_type: ClassVar[bool] = False

    def look(self, path: Path) -> Contents:
        frame, columns = self._frame(path)
        x = as_array(frame[columns], f"{shown(path)}: x")
        return Contents(x.shape, x.dtype, None if self.target is None else frame[self.target].to_numpy(), (*columns,))

    def read(self, path: Path) -> Array:
        frame, columns = self._frame(path)
        return as_array(frame[columns], f"{shown(path)}: x")

    def _frame(self, path: Path) -> tuple[Any, list[str]]:
        import pandas as pd

        with reading(path):
            frame = pd.read_csv(path)
        columns = self.choose([*map(str, frame.columns)], path)
        if unnamed := [name for name in columns if name.startswith("Unnamed: ")]:
            cure = "write the table with to_csv(path, index=False), or choose columns="
            raise FileFormatError(f"{shown(path)} has a column without a name ({unnamed[0]}), as an index has: {cure}")
        return frame, columns


def _without_index(names: list[str]) -> list[str]:
    """Return the column names, without an index that pandas has saved."""
    return [name for name in names if not name.startswith("__index_level_")]


def _open_parquet(path: Path) -> Any:
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise MissingDependencyError("Parquet files need pyarrow: pip install 'minidl[parquet]'") from error
    return ParquetFile(path)


KINDS: dict[str, type[Files]] = {
    ".npy": ArrayFiles,
    ".npz": ArchiveFiles,
    ".parquet": ParquetFiles,
    ".csv": CsvFiles,
    ".csv.gz": CsvFiles,
}


def kind_of_file(path: Path) -> type[Files] | None:
    """Return the class for a file of this name, or None if the name is unknown or begins with a dot or underscore.

    Programs leave marks such as ``_SUCCESS`` or ``.part.crc`` beside the data.
    """
    endings = [kind for ending, kind in KINDS.items() if path.name.lower().endswith(ending)]
    return endings[0] if endings and path.name[0] not in "._" else None


def kind_of_files(paths: Sequence[Path], where: str) -> type[Files]:
    """Return the class for all of these files; raise FileFormatError if there are no files, or several kinds."""
    found = {kind: path for path in paths if (kind := kind_of_file(path))}
    if not found:
        raise FileFormatError(f"{where} has no files {', '.join(KINDS)}: give the folder that holds the data's files")
    if len(found) > 1:
        one, other = [path.name for path in found.values()][:2]
        raise FileFormatError(
            f"{where} has files of several kinds, {one:.60} and {other:.60}: keep one kind in a folder"
        )
    return next(iter(found))


def check_alike(files: Sequence[tuple[Path, Contents]], kind: type[Files]) -> None:
    """Raise DataError for the first file that does not hold rows of numbers, or differs from the first file."""
    first_path, first = files[0]
    for path, own in files:
        if not own.shape or own.dtype.kind not in "biuf":
            raise DataError(f"{shown(path)} holds x of shape {own.shape} and type {own.dtype}: give rows of numbers")
        if own.targets is not None and own.targets.shape[:1] != own.shape[:1]:
            counts = f"{own.shape[0]:,} rows of x, but targets of shape {own.targets.shape}"
            raise DataError(f"{shown(path)} has {counts}: give one target per row")
        targets = ["none" if each.targets is None else each.targets.shape[1:] for each in (own, first)]
        differences: dict[str, tuple[Any, Any]] = {
            "columns": ([*{*own.columns} - {*first.columns}], [*{*first.columns} - {*own.columns}]),
            "the shape of a row": (own.shape[1:], first.shape[1:]),
            "the type": (own.dtype, first.dtype) if kind.one_type else (None, None),
            "the shape of a target": (targets[0], targets[1]),
        }
        for what, (this, that) in differences.items():
            if this != that:
                place = f"{shown(path)} differs from {first_path.name:.40} in {what}"
                raise DataError(f"{place}: {this!s:.50}, and not {that!s:.50}. Write all files in the same way")
