"""The journal of a search: a folder with the description of the search and the progress of each candidate.

| file | content |
|---|---|
| ``search.json`` | settings, candidates, and fingerprints of the data and of the results of the build function |
| ``candidate_0001.npz`` | the candidate's trainer at the end of its last epoch, as `Trainer.save` writes it |
| ``candidate_0001.json`` | its metrics so far, for the table of the result |

With folds a candidate has such files for each, ``candidate_0001_fold_1.npz``, and the best one for its run on all rows,
``candidate_0001_all_rows.npz``.

Each file is written completely or not at all. Reading them executes nothing.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.arrays import as_array
from minidl.errors import ArgumentError, FileFormatError
from minidl.files import as_json, atomic_write
from minidl.metrics.base import FunctionMetric
from minidl.settings import CLASSES, Configurable, as_number, as_whole_number
from minidl.tables import column_names
from minidl.training.history import History
from minidl.training.parameter_space import Candidate
from minidl.training.run_file import describe
from minidl.training.trainer import Trainer
from minidl.typing import Array

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 2
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_OF_CANDIDATE = re.compile(r"candidate_\d{4,}(_fold_\d+|_all_rows)?\.(npz|json)")
_HALF = re.compile(rf"\.(search\.json|{_OF_CANDIDATE.pattern})\.[0-9a-f]{{8}}\.tmp")
"""Names of the temporary files that `atomic_write` leaves if it is killed. The journal's file is then the older one."""


@dataclass(frozen=True)
class FoldRun:
    """The run of a candidate on one fold: "fold 1", "all rows", or "" if there is only one run."""

    candidate: Candidate
    fold: str = ""

    @property
    def file_name(self) -> str:
        """The names of its files in the journal, without their endings."""
        number = f"candidate_{self.candidate.number:04d}"
        return f"{number}_{self.fold.replace(' ', '_')}" if self.fold else number

    def __str__(self) -> str:
        return f"{self.candidate}, {self.fold}" if self.fold else str(self.candidate)


@dataclass(frozen=True, eq=False)
class Progress:
    """The progress of a run, or of a candidate with the runs of all its folds.

    Attributes
    ----------
    history : History
    reached : int
        Number of epochs at its last completed rung; 0 before the end of the first rung.
    seconds : float
        Training time in seconds, in all processes that trained it.
    diverged : bool
    ended : bool
        Whether its optimizer ended the run after these epochs.
    """

    history: History = field(default_factory=History)
    reached: int = 0
    seconds: float = 0.0
    diverged: bool = False
    ended: bool = False

    @classmethod
    def together(cls, folds: Sequence[Progress]) -> Progress:
        """Return the progress of a candidate: the mean history of its folds, up to the slowest fold.

        A fold that its optimizer ended keeps its last metrics. If a fold diverged, later epochs of the other folds have
        no mean.
        """
        diverged = any(fold.diverged for fold in folds)
        histories = [fold.history for fold in folds]
        epochs = [each.epochs for each in histories]
        history = History()
        for epoch in range(min(epochs) if diverged else max(epochs)):
            values = {name: [each[name][: epoch + 1][-1] for each in histories] for name in histories[0]}
            history.append({name: float(np.mean(column)) for name, column in values.items()})
        return cls(
            history,
            reached=min(fold.reached for fold in folds),
            seconds=sum(fold.seconds for fold in folds),
            diverged=diverged,
        )

    def is_past(self, rung: int) -> bool:
        """Return whether this rung is complete."""
        return self.diverged or self.reached >= rung


class Journal:
    """The files of a search in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, description: Mapping[str, Any]) -> None:
        """Write the description of the search, or compare it with the description from an earlier call.

        Raises ArgumentError if that was another search, and FileFormatError for invalid files.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise ArgumentError(f"journal: {self.folder} is a file; give a folder")
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "search.json"
        if path.exists():
            self._compare(_read(path), description)
        elif strays := self._names(_OF_CANDIDATE):
            raise FileFormatError(
                f"the journal {self.folder} holds {strays[0]}, but no search.json, which describes its search: "
                "give another folder, or delete that file"
            )
        else:
            _write(path, {"format": "minidl search", "version": VERSION, **description})
        for half in self._names(_HALF):  # only now: other folders must not change
            (self.folder / half).unlink()

    def _names(self, pattern: re.Pattern[str]) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if pattern.fullmatch(path.name))

    def _compare(self, found: dict[str, Any], description: Mapping[str, Any]) -> None:
        if found.get("format") != "minidl search" or found.get("version") != VERSION:
            raise FileFormatError(
                f"{self.folder / 'search.json'} is not a description of a search that this minidl reads: give another "
                "folder, or upgrade minidl"
            )
        for name, value in description.items():
            if found.get(name) != value:
                raise ArgumentError(
                    f"the journal {self.folder} belongs to another search: its {name} is {found.get(name)!r}, here it "
                    f"is {value!r}. Call search as before to continue, or give another folder"
                )

    def checkpoint(self, run: FoldRun) -> Path:
        """Return the path of the run's trainer, which may not exist yet."""
        return self.folder / f"{run.file_name}.npz"

    def read(self, run: FoldRun) -> Progress:
        """Return the progress of the run."""
        path = self._record(run)
        if not path.exists():
            return Progress()
        content = _read(path)
        try:
            columns, history = dict(content["history"]), History()
            for epoch in range(as_whole_number(content["epochs"], "epochs")):
                history.append({name: float(column[epoch]) for name, column in columns.items()})
            reached = as_whole_number(content["reached"], "reached")
            seconds = as_number(content["seconds"], "seconds", 0)
            progress = Progress(history, reached, seconds, bool(content["diverged"]), bool(content["ended"]))
        except (ValueError, TypeError, LookupError) as error:
            raise FileFormatError(_damaged(path, error)) from error
        # A run that diverged in its first epoch has no checkpoint. Any other run without one must start again.
        return progress if progress.diverged or self.checkpoint(run).exists() else Progress()

    def write(self, run: FoldRun, progress: Progress) -> None:
        """Write the progress of the run."""
        content = {
            "parameters": described(run.candidate.parameters),
            "epochs": progress.history.epochs,
            "reached": progress.reached,
            "seconds": progress.seconds,
            "diverged": progress.diverged,
            "ended": progress.ended,
            "history": dict(progress.history),
        }
        _write(self._record(run), content)

    def save(self, run: FoldRun, trainer: Trainer) -> None:
        """Write the run's trainer with the validated model."""
        with trainer.averaged_weights(), _without_functions(trainer):
            trainer.save(self.checkpoint(run))

    def take(self, run: FoldRun, before: Progress, progress: Progress, file: Array | None) -> None:
        """Write the progress of a run that another machine trained, and the file with its trainer.

        If killed between the two writes, it continues like a run that was trained here.
        """
        if progress.ended:  # the trainer's file does not contain this
            self.write(run, replace(progress, reached=before.reached))
        if file is not None:
            with atomic_write(self.checkpoint(run)) as target:
                target.write(file.data)
        self.write(run, progress)

    def load(self, run: FoldRun, new: Trainer) -> Trainer:
        """Return the run's trainer from its last checkpoint, with the metrics of a new trainer."""
        _name_classes(new)
        try:
            trainer = type(new).load(self.checkpoint(run))
        except FileFormatError as error:
            raise FileFormatError(f"{error}. Delete the file to train the candidate again") from error
        trainer.metrics = new.metrics
        return trainer

    def _record(self, run: FoldRun) -> Path:
        return self.checkpoint(run).with_suffix(".json")


def _name_classes(value: Any) -> None:
    """Make the names in a file mean the classes of these objects.

    A class of a script reaches another process as a pickle. Each time it is read, Python makes an empty class with its
    name, and drops it if the complete class already exists.
    """
    if isinstance(value, Configurable):
        CLASSES.setdefault(type(value).__name__, {})[type(value).__module__] = type(value)
        value = [*value.configuration().values()]
    if isinstance(value, list | tuple):
        for each in value:
            _name_classes(each)


@contextlib.contextmanager
def _without_functions(trainer: Trainer) -> Iterator[None]:
    """Remove the metrics that are plain functions in this context, because a file cannot hold them."""
    metrics = trainer.metrics
    if metrics is not None:
        trainer.metrics = [metric for metric in metrics if not isinstance(metric, FunctionMetric)]
    try:
        yield
    finally:
        trainer.metrics = metrics


def described(value: Any) -> Any:
    """Return a number, None, or the repr of a value, without memory addresses, which differ in each process."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={described(each)}" for name, each in value.items())
    if isinstance(value, np.generic):
        value = value.item()
    return value if value is None or isinstance(value, int | float) else _ADDRESS.sub("", repr(value))


def fingerprint(*arrays: Any) -> str:
    """Return a text that depends on all values, types and shapes of arrays, frames or CSR matrices."""
    import hashlib

    digest = hashlib.sha256()
    for array in arrays:
        if array is None:
            digest.update(b"none")
            continue
        if hasattr(array, "indptr"):
            digest.update(fingerprint(array.data, array.indices, array.indptr, np.array(array.shape)).encode())
            continue
        if names := column_names(array):
            digest.update(repr(names).encode())
            array = as_array(array, "x")  # noqa: PLW2901 - of a frame the numbers
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def fingerprint_of_trainer(trainer: Trainer) -> str:
    """Return a text that depends on layers, settings and first parameters. Raise the errors of `Trainer.save`."""
    with _without_functions(trainer):
        description, arrays = describe(trainer)
    names = sorted(arrays)
    content = {"description": description, "metrics": described(trainer.metrics), "arrays": names}
    return fingerprint(np.frombuffer(as_json(content).encode(), np.uint8), *(arrays[name] for name in names))


def _write(path: Path, content: Mapping[str, Any]) -> None:
    with atomic_write(path) as file:
        file.write(as_json(content, indent=1).encode())


def _read(path: Path) -> dict[str, Any]:
    import json

    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise FileFormatError(_damaged(path, error)) from error
    if not isinstance(content, dict):
        raise FileFormatError(_damaged(path, "it holds no description"))
    return content


def _damaged(path: Path, error: object) -> str:
    cure = "the search's folder" if path.name == "search.json" else "the file to compute its content again"
    return f"{path} is damaged: {error}. Delete {cure}"
