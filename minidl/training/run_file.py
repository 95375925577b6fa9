"""A training run as a file, from which a trainer continues to the same bits."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.errors import FileFormatError, MissingFileError, naming
from minidl.files import as_json, as_path, read_described
from minidl.layers.base import within
from minidl.model import Sequential
from minidl.serialization import decode, encode
from minidl.settings import as_whole_number
from minidl.typing import Array, Shape

if TYPE_CHECKING:
    from minidl.training.trainer import Trainer

KIND, VERSION = "training run", 2
BEST = "best.npz"


def describe(trainer: Trainer) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the run as JSON data and arrays for `write_described`. Raise the errors of `Trainer.save`."""
    model, optimizer = trainer.model, trainer.optimizer
    arrays = model.named_arrays()
    if optimizer.step:
        slots = zip(optimizer.slots, optimizer.prepare_state(model.parameters), strict=True)
        arrays |= {f"optimizer/{name}": vector for name, vector in slots}
    if (average := trainer.average) is not None:
        average.show(model.parameters, average.shown_as is not None)  # changes of the shown weights count from now on
        arrays |= {} if average.vector is None else {"average": average.vector}
    callbacks = []
    for index, (key, state) in enumerate(trainer.callback_states):
        own = {name: one for name, one in state.items() if isinstance(one, np.ndarray) and one.dtype.kind in "biufU"}
        plain = {name: value for name, value in state.items() if name not in own}
        with naming(f"the state of the callback {key} cannot be saved"):
            as_json(plain)
        arrays |= {f"callbacks/{index}/{name}": array for name, array in own.items()}
        callbacks.append({"key": key, "state": plain})
    settings = {name: value for name, value in trainer.configuration().items() if name not in {"model", "communicator"}}
    description = {
        **model.description(),
        "trainer": {name: encode(value, f"the trainer's {name}") for name, value in settings.items()},
        "step": optimizer.step,
        "ended": optimizer.ended,
        "position": {**vars(trainer.position), "average_shown": average is not None and average.shown_as is not None},
        "history": {"epochs": trainer.history.epochs, "columns": dict(trainer.history)},
        "generators": {name: each.bit_generator.state for name, each in model.named_generators().items()},
        "callbacks": callbacks,
    }
    return description, arrays


def read_run(path: str | os.PathLike[str], kind: type[Trainer]) -> Trainer:
    """Implement `Trainer.load`."""
    path = as_path(path)
    if path.is_dir():
        if not (found := [*path.glob(BEST), *checkpoints(path)]):
            raise MissingFileError(f"there is no checkpoint, step_....npz or {BEST}, in the folder {path}")
        path = found[-1]
    # Before version 2, the optimizers had other slots.
    return read_described(path, KIND, range(2, VERSION + 1), functools.partial(_make_trainer, kind))


def _make_trainer(kind: type[Trainer], description: dict[str, Any], arrays: dict[str, Array]) -> Trainer:
    of_model = {name: array for name, array in arrays.items() if name.startswith(("parameters/", "states/"))}
    model = Sequential.from_description(description, of_model)
    for name, generator in model.named_generators().items():
        generator.bit_generator.state = description["generators"][name]
    settings = {name: decode(value) for name, value in description["trainer"].items()}
    trainer = kind(model=model, **settings)
    shown = description["position"].pop("average_shown")
    optimizer, slots, average = trainer.optimizer, within("optimizer/", arrays), arrays.get("average")
    optimizer.step, optimizer.ended = as_whole_number(description["step"], "its step"), str(description["ended"])
    expected = optimizer.first_state(model.parameters) if optimizer.step or slots else {}
    if _kinds(slots) != _kinds(expected):
        raise FileFormatError(f"its optimizer has the slots {_kinds(slots)}, not those of {optimizer!r}")
    optimizer.state = slots
    if average is not None:
        if trainer.average is None or _kinds({"": average}) != _kinds({"": model.parameters}):
            raise FileFormatError(f"its average is {average.dtype} {average.shape}, of {trainer.average!r}")
        trainer.average.vector = average
        trainer.average.shown_as = model.parameters.copy() if shown else None
    for epoch in range(description["history"]["epochs"]):
        columns = description["history"]["columns"].items()
        trainer.history.append({str(name): float(column[epoch]) for name, column in columns})
    states = [
        (str(each["key"]), {**each["state"], **within(f"callbacks/{index}/", arrays)})
        for index, each in enumerate(description["callbacks"])
    ]
    trainer.go_to(type(trainer.position)(**description["position"]), states)
    return trainer


def _kinds(arrays: dict[str, Array]) -> dict[str, tuple[Shape, str]]:
    return {name: (array.shape, array.dtype.name) for name, array in arrays.items()}


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder of the callback `Checkpoint`, oldest first."""
    return sorted(path for path in folder.iterdir() if re.fullmatch(r"step_\d{10}\.npz", path.name))
