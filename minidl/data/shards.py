"""Data larger than memory: a folder of files, the shards. A batch reads only the rows that it needs."""

from __future__ import annotations

import functools
import os
import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.arrays import check_finite
from minidl.data.reading import shown
from minidl.data.shard_files import Files, check_alike, kind_of_file, kind_of_files
from minidl.errors import ArgumentError, ArgumentTypeError, DataError, MissingFileError, counted
from minidl.files import as_path
from minidl.lazy_rows import LazyRows
from minidl.settings import as_whole_number
from minidl.typing import Array, Shape

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

_PAGE = 4096
_SAMPLED = 4
"""The number of files from which a sample of rows is taken."""


class Shards:
    """A data set in files that together need not fit into memory; rows are read when a batch needs them.

    Use ``data = Shards("folder", target="label")`` and then ``trainer.fit(data.x, data.y)``. It also works with
    ``evaluate``, ``model.predict(data.x)`` and ``validation_data=(data.x, data.y)``.

    In training, rows come in a random order. Files are shuffled and opened `buffer` at a time, and the rows of these
    files are shuffled together; the cost per row does not grow with the number of rows. So a batch has rows of at most
    `buffer` files, or of twice as many where one group of files ends. Write files whose rows are already mixed, or
    increase `buffer`. The order depends on the seed, the epoch, and the number of rows in each file. A thread reads
    the next files during training.

    Parameters
    ----------
    files : str, path, or list of them
        A folder, or files, all of one kind: ``.npy`` in pairs ``x_07.npy`` and ``y_07.npy``; ``.npz`` with the arrays
        ``x`` and ``y``; ``.parquet``, which needs the extra `parquet`; ``.csv`` or ``.csv.gz`` with a line of names.
        The files of a folder are sorted by name, with ``x_9`` before ``x_10``.
    target : str, optional
        The table column or the array that holds the targets. Default for arrays: ``y``. Without targets there is no
        `y`, and `x` can only be used for prediction.
    columns : list of str, optional
        The columns of a table that form `x`, in this order; by default all except the target, in the order of the
        first file.
    buffer : int >= 1, default 4
        The number of files that are mixed with each other. Twice as many are open at once (three if rows are read in
        order). ``.npy`` files are memory maps, so hardly more than a batch is in memory; other files are in memory as
        arrays.

    Attributes
    ----------
    x : LazyRows (N, ...)
        ``x[10:20]`` is an array. `predict` reads the rows in order, file by file.
    y : array (N,) or (N, ...)
        All targets, in memory.
    columns : tuple of str
        The columns of `x`, for tables.

    Numbers are checked when a file is read, in training shortly before its rows are needed. If one is not finite, the
    error names file and row. Do not change files during training: if a ``.npy`` file becomes smaller while it is open,
    the system kills the process (SIGBUS).

    Raises
    ------
    MissingFileError
        A folder or file does not exist, or was removed later; or a ``.npy`` file of targets has none of inputs.
    FileFormatError
        No file is of a kind named above, there are several kinds, or a file is damaged.
    DataError
        The files differ in the shape or type of their rows or in their columns, or hold anything but numbers.
    ArgumentError
        A table has no such column, or several; `columns` includes the target, or a column twice.
    MissingDependencyError
        pyarrow is needed but not installed.
    """

    def __init__(
        self,
        files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        target: str | None = None,
        columns: Sequence[str] | None = None,
        buffer: int = 4,
    ) -> None:
        if target is not None and not isinstance(target, str):
            raise ArgumentTypeError(f"target is {target!r:.80}; give the name of a column or an array")
        if isinstance(columns, str):
            raise ArgumentTypeError(f"columns is {columns!r:.80}; give a list of names")
        paths, self._where = _find(files)
        kind = kind_of_files(paths, self._where)(target, columns)
        looked = [(path, kind.look(path)) for path in kind.inputs(paths)]
        full = [(path, each) for path, each in looked if each.shape[:1] != (0,)]
        if not full:
            raise DataError(f"{self._where} holds no rows of x")
        check_alike(full, type(kind))
        self.columns, targets = full[0][1].columns, [each.targets for _, each in full]
        dtype = np.result_type(*(each.dtype for _, each in full))
        kind = replace(kind, columns=self.columns or None)
        self._table = _Table(kind, [path for path, _ in full], [each.shape for _, each in full], dtype, buffer)
        self._table.read(0)  # if it does not hold numbers, raise the error now
        self._y = None if targets[0] is None else np.concatenate([each for each in targets if each is not None])
        self.x = LazyRows(self._table)

    @property
    def y(self) -> Array:
        """All targets."""
        if self._y is None:
            missing = f"target=, one of {', '.join(self.columns):.80}" if self.columns else "y beside x"
            raise ArgumentError(f"the files of {self._where} have no targets: give {missing}")
        return self._y

    def __len__(self) -> int:
        return self._table.shape[0]

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        raise ArgumentTypeError("Shards are inputs and targets: pass both, as in trainer.fit(data.x, data.y)")

    def __repr__(self) -> str:
        files = counted(len(self._table.paths), "file")
        rows = f"{counted(len(self), 'row')} of {self._table.shape[1:]} {self._table.dtype}"
        return f"<Shards of {self._where}: {files}, {rows}>"


class _Table:
    """The inputs of all files as one table: rows are read by their numbers, and `hold` says which files are kept.

    Parameters
    ----------
    kind : Files
    paths : list of Path
    shapes : list of tuple of int
        The shape of the inputs of each file, which is checked each time that the file is read.
    dtype : dtype
        The type of all inputs.
    buffer : int
    """

    def __init__(self, kind: Files, paths: list[Path], shapes: list[Shape], dtype: np.dtype[Any], buffer: int) -> None:
        self.buffer = as_whole_number(buffer, "buffer", 1)
        self.paths, self.dtype = paths, dtype
        self._kind, self._shapes = kind, shapes
        self.counts = np.array([shape[0] for shape in shapes])
        self.layout: list[int] = [self.buffer, *self.counts.tolist()]
        self.stops = np.cumsum(self.counts)
        self.starts = self.stops - self.counts
        self.shape: Shape = (int(self.stops[-1]), *shapes[0][1:])
        self._held: dict[int, Future[Array]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_held": {}}

    def __getitem__(self, rows: Any) -> Array:
        """Return the rows of a slice, an index or ``...`` as an array; a slice within one file gives a view."""
        if rows is ...:
            rows = slice(None)
        if isinstance(rows, slice) and rows.step in {None, 1}:
            return self._run(*rows.indices(self.shape[0])[:2])
        if isinstance(rows, tuple) or (not isinstance(rows, slice) and np.ndim(rows) != 1):
            # Code that makes an array of all rows comes here: scikit-learn with x[index, ...], NumPy with x[0], x[1].
            cure = "for an array of all rows use x[...], if they fit; to hold out rows, make Shards of other files"
            raise ArgumentTypeError(f"rows of Shards are read by slices or lists, such as x[3:4]; {cure}")
        index = np.arange(self.shape[0])[rows] if isinstance(rows, slice) else np.asarray(rows)
        index = np.flatnonzero(index) if index.dtype == np.bool_ else index
        index = np.where(index < 0, index + self.shape[0], index)
        files = np.searchsorted(self.stops, index, side="right")
        taken = np.empty((len(index), *self.shape[1:]), self.dtype)
        for file in np.unique(files).tolist():
            places = np.flatnonzero(files == file)
            taken[places] = self._file(file).take(index[places] - self.starts[file], axis=0)
        return taken

    def order(self, seed: tuple[int, int]) -> _Order:
        """Return a random order of the rows, whose slices are row numbers: training takes one batch at a time."""
        return _Order(self, seed)

    def sample(self, size: int) -> Array:
        """Return the numbers of about `size` rows, at equal distances in a few files."""
        files = range(0, len(self.paths), -(-len(self.paths) // _SAMPLED))
        steps = {file: max(self.counts[file] * len(files) // size, 1) for file in files}
        return np.concatenate([np.arange(self.starts[file], self.stops[file], step) for file, step in steps.items()])

    def hold(self, files: Sequence[int]) -> None:
        """Keep only these files in memory; a thread reads the missing ones, in this order."""
        held = self._held
        if held.keys() != {*files}:
            self._held = {file: held.get(file) or _reader().submit(self.read, file) for file in files}
            for file, future in list(held.items()):
                if file not in self._held:
                    future.cancel()

    def _run(self, start: int, stop: int) -> Array:
        """Return consecutive rows. Meanwhile, read the next file; keep the previous file for other threads."""
        first = int(np.searchsorted(self.stops, start, side="right"))
        parts = []
        for file in range(first, len(self.paths)):
            if self.starts[file] >= stop:
                break
            self.hold(range(max(file - 1, 0), min(file + 2, len(self.paths))))
            offset = self.starts[file]
            parts.append(self._file(file)[max(start - offset, 0) : stop - offset])
        return parts[0] if len(parts) == 1 else np.concatenate([*parts, np.empty((0, *self.shape[1:]), self.dtype)])

    def _file(self, number: int) -> Array:
        """Return a file's inputs from memory, or read them here if the thread has not started to."""
        from concurrent.futures import Future

        with _lock:  # if several threads need the file, one reads it
            held = self._held.get(number)
            is_ours = held is not None and held.cancel()
            if is_ours:
                self._held[number] = held = Future()
                held.set_running_or_notify_cancel()
        if held is None:
            return self.read(number)
        if is_ours:
            try:
                held.set_result(self.read(number))
            except Exception as error:  # raised below, in each thread that waits for the file
                held.set_exception(error)
        try:
            return held.result()
        except Exception:
            self._held.pop(number, None)  # once the file is repaired, reading can continue
            raise

    def read(self, number: int) -> Array:
        """Read and check the inputs of a file."""
        path, shape = self.paths[number], self._shapes[number]
        array = self._kind.read(path)
        if array.shape != shape:
            raise DataError(f"{shown(path)} has the shape {array.shape}, but had {shape} before: make new Shards of it")
        check_finite(array, f"{shown(path)}: x")
        if not np.can_cast(array.dtype, self.dtype):
            raise DataError(f"{shown(path)} holds {array.dtype}, but held {self.dtype} before: make new Shards of it")
        # For a memory map, this makes the system read the file, as the check above does.
        array.ravel(order="K").view(np.uint8)[::_PAGE].max(initial=0)
        return array.astype(self.dtype, copy=False)


class _Order:
    """A random order of the rows in an epoch: random lots of files, and in each lot a random order of its rows.

    A slice returns row numbers. The first slice that begins in a lot makes the table read the files of the next lot.
    """

    def __init__(self, table: _Table, seed: tuple[int, int]) -> None:
        self._table, self._seed = table, seed
        files = np.random.default_rng(seed).permutation(len(table.paths)).tolist()
        self._lots = [files[start : start + table.buffer] for start in range(0, len(files), table.buffer)]
        self._stops = np.cumsum([table.counts[lot].sum() for lot in self._lots])
        self._made: dict[int, Array] = {}

    def __getitem__(self, places: slice) -> Array:
        # An empty slice, as a process may have for a small batch, also belongs to a lot.
        found = np.searchsorted(self._stops, (places.start, max(places.start, places.stop - 1)), side="right")
        first, last = np.minimum(found, len(self._lots) - 1).tolist()
        self._table.hold([file for lot in self._lots[first : first + 2] for file in lot])
        parts = []
        for lot in range(first, last + 1):
            rows = self._rows(lot)
            start = int(self._stops[lot]) - len(rows)
            parts.append(rows[max(places.start - start, 0) : places.stop - start])
        return np.concatenate(parts)

    def _rows(self, lot: int) -> Array:
        """Return the row numbers of a lot in random order; keep the last two lots, because a batch may need both."""
        if lot not in self._made:
            table = self._table
            rows = np.concatenate([np.arange(table.starts[file], table.stops[file]) for file in self._lots[lot]])
            np.random.default_rng((*self._seed, lot, 2)).shuffle(rows)  # the trainer has streams that end in 0 and 1
            self._made = {made: kept for made, kept in self._made.items() if abs(made - lot) == 1} | {lot: rows}
        return self._made[lot]


def _find(files: Any) -> tuple[list[Path], str]:
    """Return the files of a folder, sorted by name, or the files of a list; and their name in errors."""
    if not isinstance(files, str | os.PathLike):
        paths = [as_path(path) for path in files]
        wrong = [path for path in paths if not path.is_file()]
        if wrong:
            raise MissingFileError(f"{shown(wrong[0])} is not a file: give a folder, or a list of files")
        return paths, f"{shown(paths[0])}, ..." if paths else "the list"
    folder = as_path(files)
    if not folder.is_dir():
        raise MissingFileError(
            f"{shown(folder)} is not a folder: give one, or a list of files (in {shown(Path.cwd())})"
        )
    return sorted((path for path in folder.iterdir() if kind_of_file(path)), key=_by_number), shown(folder)


def _by_number(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", path.name)]


_lock = threading.Lock()


@functools.cache
def _reader() -> ThreadPoolExecutor:
    """Return the thread that reads files ahead for all tables."""
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(1, thread_name_prefix="minidl-shards")


if hasattr(os, "register_at_fork"):  # a forked process has none of its parent's threads
    os.register_at_fork(after_in_child=_reader.cache_clear)
