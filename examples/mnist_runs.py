"""The folder of a run, with which a run can be stopped and resumed, and knows when it is complete.

The folder contains models, pictures and checkpoints. report.json has an entry for each trained network. settings.json
has the options of the run, its networks, and the networks that are left to train.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from minidl import Trainer
from minidl.errors import ArgumentError, FileFormatError
from minidl.files import atomic_write


class RunFolder:
    """A run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.networks: list[str] = []
        self.left: list[str] = []
        self.options: dict[str, str] = {}

    def checkpoints(self, network: str) -> Path:
        return self.path / f"{network}_checkpoints"

    def begin(self, networks: list[str], options: dict[str, str], epochs: int | None, resume: bool) -> list[Any]:
        """Begin a run of these networks, or continue it; return the report entries of the trained networks.

        `options` has everything that the run depends on, as text by name. `epochs` is the number of epochs if it may
        change when the run is resumed, else None. Raises ArgumentError if the folder has another run, or if a new run
        would replace a stopped one.
        """
        report = self._read()
        for network in self.networks:
            if network not in self.left:  # left by a run that was killed in `finish`
                shutil.rmtree(self.checkpoints(network), ignore_errors=True)
        saved = sorted(self.path.glob("*_checkpoints/step_*.npz"))
        stopped = bool(saved) or 0 < len(self.left) < len(self.networks)
        complete = bool(self.networks) and not self.left
        if saved and not self.networks:
            raise ArgumentError(
                f"{self.path} contains checkpoints without the settings of their run: give another --output, or delete "
                f"{saved[0].parent}"
            )
        if stopped and not resume:
            rests = [self.path / "settings.json", *sorted({path.parent for path in saved})]
            raise ArgumentError(
                f"{self.path} contains a stopped run: add --resume to continue it, or give another --output, "
                f"or delete {' and '.join(map(str, rests))}"
            )
        if resume and not (stopped or complete):
            print(f"there is nothing to resume in {self.path}: the run starts from the beginning")
        if resume and (stopped or complete):
            self._check_options(options, epochs)
        else:
            self.networks, self.left, report = networks, networks, []
        self.path.mkdir(parents=True, exist_ok=True)
        self.options = options
        self._write_settings()
        return report

    def finish(self, network: str, report: list[Any]) -> None:
        """Save the report, which now has this network's entry, and delete the network's checkpoints."""
        _write(self.path / "report.json", report)
        self.left = [each for each in self.left if each != network]
        self._write_settings()
        shutil.rmtree(self.checkpoints(network), ignore_errors=True)

    def after_interruption(self) -> str:
        """Return what the user can do after Ctrl-C."""
        if not self.left:
            return f"all networks are trained and saved in {self.path}"
        saved = any(any(self.checkpoints(network).glob("step_*.npz")) for network in self.left)
        if saved or len(self.left) < len(self.networks):
            return "run the same command with --resume to continue"
        return "nothing of this run is saved yet"

    def _check_options(self, options: dict[str, str], epochs: int | None) -> None:
        """Raise ArgumentError unless the run had these options, or differs only in an allowed number of epochs."""
        names = [name for name in {**self.options, **options} if self.options.get(name) != options.get(name)]
        if not names:
            return
        had = " and ".join(self.options.get(name, f"no --{name.replace('_', '-')}") for name in names)
        cure = "resume it with the options it had, or give another --output"
        if names != ["epochs"] or epochs is None:
            raise ArgumentError(f"the run in {self.path} had {had}: {cure}")
        if len(self.left) < len(self.networks):
            trained = " and ".join(network for network in self.networks if network not in self.left)
            raise ArgumentError(f"the run in {self.path} had {had}, and trained {trained} with it: {cure}")
        for network in self.left:
            if any(self.checkpoints(network).glob("step_*.npz")):
                trainer = Trainer.load(self.checkpoints(network))
                begun = trainer.epoch + (trainer.position.row > 0)
                if begun > epochs:
                    raise ArgumentError(
                        f"{network} was stopped in epoch {begun}: give --epochs {begun} or more, or another --output"
                    )

    def _read(self) -> list[Any]:
        """Read the settings of the run in the folder, if any; return the entries of its trained networks."""
        path = self.path / "settings.json"
        try:
            settings = json.loads(path.read_text(encoding="utf-8"))
            self.options, self.networks, self.left = (settings[name] for name in ("options", "networks", "left"))
            if self.left == self.networks:
                return []
            path = self.path / "report.json"
            trained = [network for network in self.networks if network not in self.left]
            entries = {entry["network"]: entry for entry in json.loads(path.read_text(encoding="utf-8"))}
            return [entries[network] for network in trained]
        except FileNotFoundError:
            self.options, self.networks, self.left = {}, [], []
            return []
        except (ValueError, LookupError, TypeError) as error:
            raise FileFormatError(f"{path} cannot be read ({error!r}): give another --output, or delete it") from error

    def _write_settings(self) -> None:
        _write(self.path / "settings.json", {"options": self.options, "networks": self.networks, "left": self.left})


def _write(path: Path, content: Any) -> None:
    with atomic_write(path) as file:
        file.write(json.dumps(content, indent=1).encode() + b"\n")
