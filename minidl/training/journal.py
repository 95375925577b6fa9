"""The journal of a search: a folder that holds what the search is, and how far each of its candidates is.

| file | what it holds |
|---|---|
| ``search.json`` | settings, candidates, and fingerprints of the data and of what the build function makes |
| ``candidate_0001.npz`` | the candidate's trainer at the end of its last epoch, as `Trainer.save` writes it |
| ``candidate_0001.json`` | its figures so far, for the result's table |

Each file is written whole or not at all; reading them executes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.errors import ArgumentError, FileFormatError
from minidl.files import as_json, atomic_write
from minidl.inputs import check_number, check_whole_number
from minidl.training.checkpoint import describe
from minidl.training.history import History
from minidl.training.parameter_space import Candidate
from minidl.training.trainer import Trainer
from minidl.typing import Array

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 1
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_OF_CANDIDATE = re.compile(r"candidate_\d{4,}\.(npz|json)")
_HALF = re.compile(rf"\.(search\.json|{_OF_CANDIDATE.pattern})\.[0-9a-f]{{8}}\.tmp")
"""What `atomic_write` leaves of one of the journal's files when it is killed; the file itself is the older one."""


@dataclass(frozen=True, eq=False)
class Progress:
    """How far a candidate is.

    Attributes
    ----------
    history : History
    reached : int
        The epochs of the last rung that it has done; 0 before the end of the first.
    seconds : float
        Time spent in training, in all processes that trained it.
    diverged : bool
    """

    history: History
    reached: int
    seconds: float
    diverged: bool

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

    def checkpoint(self, candidate: Candidate) -> Path:
        """Return the path of the candidate's trainer, which may not exist yet."""
        return self.folder / f"candidate_{candidate.number:04d}.npz"

    def read(self, candidate: Candidate) -> Progress | None:
        """Return how far the candidate is; None where it has not finished an epoch."""
        path = self._record(candidate)
        if not path.exists():
            return None
        content = _read(path)
        try:
            columns, epochs = dict(content["history"]), content["epochs"]
            for name, least in (("epochs", 0), ("reached", 0)):
                check_whole_number(content[name], name, least)
            history = History()
            for epoch in range(epochs):
                history.append({name: float(column[epoch]) for name, column in columns.items()})
            seconds = check_number(content["seconds"], "seconds", 0)
            progress = Progress(history, content["reached"], seconds, bool(content["diverged"]))
        except (ValueError, TypeError, LookupError) as error:
            raise FileFormatError(_damaged(path, error)) from error
        # One that diverged in its first epoch has no checkpoint; of any other, none means to begin anew.
        return progress if progress.diverged or self.checkpoint(candidate).exists() else None

    def write(self, candidate: Candidate, progress: Progress) -> None:
        """Note how far the candidate is."""
        content = {
            "parameters": described(candidate.parameters),
            "epochs": progress.history.epochs,
            "reached": progress.reached,
            "seconds": progress.seconds,
            "diverged": progress.diverged,
            "history": dict(progress.history),
        }
        _write(self._record(candidate), content)

    def load(self, candidate: Candidate, kind: type[Trainer]) -> Trainer:
        """Return the candidate's trainer where its last checkpoint left it."""
        path = self.checkpoint(candidate)
        try:
            return kind.load(path)
        except FileFormatError as error:
            raise FileFormatError(f"{error}. Delete the file, and the candidate is trained anew") from error

    def _record(self, candidate: Candidate) -> Path:
        return self.checkpoint(candidate).with_suffix(".json")


def described(value: Any) -> str:
    """Return the repr of a value, without the addresses in memory that differ in each process."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={described(each)}" for name, each in value.items())
    return _ADDRESS.sub("", repr(value))


def fingerprint(*arrays: Array | None) -> str:
    """Return a text that other values, types or shapes would change."""
    import hashlib

    digest = hashlib.sha256()
    for array in arrays:
        if array is None:
            digest.update(b"none")
            continue
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def fingerprint_of_trainer(trainer: Trainer) -> str:
    """Return a text that other layers, settings or first parameters would change; raise as `Trainer.save`."""
    description, arrays = describe(trainer)
    names = sorted(arrays)
    return fingerprint(
        np.frombuffer(as_json({"description": description, "arrays": names}).encode(), np.uint8),
        *(arrays[name] for name in names),
    )


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
