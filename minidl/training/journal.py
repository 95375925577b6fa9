"""The journal of a search: a folder that holds what the search is, and how far each of its candidates is.

| file | what it holds |
|---|---|
| ``search.json`` | settings, candidates, and fingerprints of the data and of what the build function makes |
| ``candidate_0001.npz`` | the candidate's trainer at the end of its last epoch, as `Trainer.save` writes it |
| ``candidate_0001.json`` | its metrics so far, for the result's table |

With folds a candidate has such files for each, ``candidate_0001_fold_1.npz``, and the best one for its run on all rows,
``candidate_0001_all_rows.npz``.

Each file is written whole or not at all; reading them executes nothing.
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
"""What `atomic_write` leaves of one of the journal's files when it is killed; the file itself is the older one."""


@dataclass(frozen=True)
class FoldRun:
    """The run of a candidate on one fold: "fold 1", "all rows", or "" where there is but one."""

    candidate: Candidate
    fold: str = ""

    @property
    def file_name(self) -> str:
        """What its files are called in the journal, without their endings."""
        number = f"candidate_{self.candidate.number:04d}"
        return f"{number}_{self.fold.replace(' ', '_')}" if self.fold else number

    def __str__(self) -> str:
        return f"{self.candidate}, {self.fold}" if self.fold else str(self.candidate)


@dataclass(frozen=True, eq=False)
class Progress:
    """How far a run is, or a candidate with the runs of all its folds.

    Attributes
    ----------
    history : History
    reached : int
        The epochs of the last rung that it has done; 0 before the end of the first.
    seconds : float
        Time spent in training, in all processes that trained it.
    diverged : bool
    ended : bool
        Whether its optimizer saw no use in going on after these epochs.
    """

    history: History = field(default_factory=History)
    reached: int = 0
    seconds: float = 0.0
    diverged: bool = False
    ended: bool = False

    @classmethod
    def together(cls, folds: Sequence[Progress]) -> Progress:
        """Return how far a candidate is: the mean history of its folds, and no further than the last of them.

        A fold that its optimizer ended keeps its last metrics. Where a fold diverged, the others' further epochs have
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
        """Return whether there is nothing left to do for this rung."""
        return self.diverged or self.reached >= rung


class Journal:
    """The files of a search in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, description: Mapping[str, Any]) -> None:
        """Note what the search is, or compare it with what an earlier call noted.

        Raises ArgumentError when that was another search; FileFormatError for files that cannot be.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise ArgumentError(f"journal: {self.folder} is a file; give a folder")
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "search.json"
        if path.exists():
            self._compare(_read(path), description)
        elif strays := self._names(_OF_CANDIDATE):
            raise FileFormatError(
                f"the journal {self.folder} holds {strays[0]}, but no search.json, which says what search that is "
                "of: give another folder, or delete that file"
            )
        else:
            _write(path, {"format": "minidl search", "version": VERSION, **description})
        for half in self._names(_HALF):  # only now: the folder of another search, or of no search, is left alone
            (self.folder / half).unlink()

    def _names(self, pattern: re.Pattern[str]) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if pattern.fullmatch(path.name))

    def _compare(self, found: dict[str, Any], description: Mapping[str, Any]) -> None:
        if found.get("format") != "minidl search" or found.get("version") != VERSION:
            raise FileFormatError(
                f"{self.folder / 'search.json'} is no description of a search that this minidl reads: give another "
                "folder, or upgrade minidl"
            )
        for name, value in description.items():
            if found.get(name) != value:
                raise ArgumentError(
                    f"the journal {self.folder} is that of another search: its {name} is {found.get(name)!r}, here it "
                    f"is {value!r}. Call search as before to go on, or give another folder"
                )

    def checkpoint(self, run: FoldRun) -> Path:
        """Return the path of the run's trainer, which may not exist yet."""
        return self.folder / f"{run.file_name}.npz"

    def read(self, run: FoldRun) -> Progress:
        """Return how far the run is."""
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
        # One that diverged in its first epoch has no checkpoint; of any other, none means to begin anew.
        return progress if progress.diverged or self.checkpoint(run).exists() else Progress()

    def write(self, run: FoldRun, progress: Progress) -> None:
        """Note how far the run is."""
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
        """Write the run's trainer, with the model that was validated."""
        with trainer.averaged_weights(), _without_functions(trainer):
            trainer.save(self.checkpoint(run))

    def take(self, run: FoldRun, before: Progress, progress: Progress, file: Array | None) -> None:
        """Write down how far a run is that another machine trained, and the file that it saved the trainer in.

        Killed between the writes, it goes on as one that was trained here.
        """
        if progress.ended:  # which the trainer's file would not tell
            self.write(run, replace(progress, reached=before.reached))
        if file is not None:
            with atomic_write(self.checkpoint(run)) as target:
                target.write(file.data)
        self.write(run, progress)

    def load(self, run: FoldRun, new: Trainer) -> Trainer:
        """Return the run's trainer where its last checkpoint left it, with the metrics of a new one."""
        _name_classes(new)
        try:
            trainer = type(new).load(self.checkpoint(run))
        except FileFormatError as error:
            raise FileFormatError(f"{error}. Delete the file, and the candidate is trained anew") from error
        trainer.metrics = new.metrics
        return trainer

    def _record(self, run: FoldRun) -> Path:
        return self.checkpoint(run).with_suffix(".json")


def _name_classes(value: Any) -> None:
    """Let a file's names stand for the classes of these objects.

    A class of a script comes to another process as a pickle. Each time that this is read, an empty class of its name is
    made, and given up if the whole one is there already.
    """
    if isinstance(value, Configurable):
        CLASSES.setdefault(type(value).__name__, {})[type(value).__module__] = type(value)
        value = [*value.configuration().values()]
    if isinstance(value, list | tuple):
        for each in value:
            _name_classes(each)


@contextlib.contextmanager
def _without_functions(trainer: Trainer) -> Iterator[None]:
    """Within, the trainer lacks the metrics that are plain functions, which a file cannot hold."""
    metrics = trainer.metrics
    if metrics is not None:
        trainer.metrics = [metric for metric in metrics if not isinstance(metric, FunctionMetric)]
    try:
        yield
    finally:
        trainer.metrics = metrics


def described(value: Any) -> Any:
    """Return a number, None, or the repr of a value, without the addresses in memory that differ in each process."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={described(each)}" for name, each in value.items())
    if isinstance(value, np.generic):
        value = value.item()
    return value if value is None or isinstance(value, int | float) else _ADDRESS.sub("", repr(value))


def fingerprint(*arrays: Any) -> str:
    """Return a text that other values, types or shapes, of arrays, frames or CSR matrices, would change."""
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
    """Return a text that other layers, settings or first parameters would change; raise as `Trainer.save`."""
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
    cure = "the search's folder" if path.name == "search.json" else "the file, and what it held is computed anew"
    return f"{path} is damaged: {error}. Delete {cure}"
