"""Checkpoints: a training run as a file, and from it a trainer that goes on to the same bits."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.configuration import Configurable, decode, encode
from minidl.errors import ArgumentTypeError, FileFormatError, MinidlError, MissingFileError
from minidl.files import as_json, as_path, read_described, write_described
from minidl.inputs import check_whole_number
from minidl.model import Sequential
from minidl.optimizers import Optimizer
from minidl.typing import Array

if TYPE_CHECKING:
    from pathlib import Path

    from minidl.training.trainer import Trainer

KIND, VERSION = "training run", 1
KEYS = {"input_shape", "model", "optimizer", "trainer", "history", "generators", "callbacks"}
BEST = "best.npz"


def write_checkpoint(trainer: Trainer, path: str | os.PathLike[str]) -> None:
    """Write what `Trainer.save` says."""
    description, arrays = describe(trainer)
    write_described(path, KIND, VERSION, description, arrays)


def describe(trainer: Trainer) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the run as what JSON can hold and arrays; raise as `Trainer.save`."""
    model, optimizer = trainer.model, trainer.optimizer
    optimizer.check()  # callbacks may have set since `fit` did so what no file could be loaded with
    described, arrays = model.description(), model.named_arrays()
    arrays |= {f"optimizer/{name}": vector for name, vector in optimizer.state.items()}
    callbacks = []
    for index, (key, state) in enumerate(trainer.callback_states):
        own = {name: value for name, value in state.items() if isinstance(value, np.ndarray)}
        plain = {name: value for name, value in state.items() if name not in own}
        try:
            as_json(plain)
        except (TypeError, ValueError) as error:
            raise ArgumentTypeError(f"the state of the callback {key} cannot be saved: {error}") from error
        if strange := [name for name, array in own.items() if array.dtype.kind not in "biufU"]:
            raise ArgumentTypeError(
                f"the state of the callback {key} cannot be saved: arrays {strange} hold no numbers"
            )
        arrays |= {f"callbacks/{index}/{name}": array for name, array in own.items()}
        callbacks.append({"key": key, "state": plain})
    if not (trainer.augment is None or isinstance(trainer.augment, Configurable)):
        raise ArgumentTypeError(
            f"the trainer's augment = {trainer.augment!r} cannot be saved: make it a class derived from "
            "minidl.data.augment.Distortion (docs/augmentation.md), or train without saving"
        )
    description = {
        **described,
        "optimizer": {"object": encode(optimizer), "step": optimizer.step, "exchanged": optimizer.exchanged},
        "trainer": {**trainer.place_in_run(), "augment": encode(trainer.augment, "the trainer's augment")},
        "history": {"epochs": trainer.history.epochs, "columns": dict(trainer.history)},
        "generators": {name: each.bit_generator.state for name, each in model.named_generators().items()},
        "callbacks": callbacks,
    }
    return description, arrays


def read_checkpoint(path: str | os.PathLike[str], kind: type[Trainer]) -> Trainer:
    """Read what `Trainer.load` says."""
    path = as_path(path)
    if path.is_dir():
        path = newest_checkpoint(path)
    description, arrays = read_described(path, KIND, VERSION, KEYS)
    try:
        return _make_trainer(kind, description, arrays)
    # What wrong types in the description raise, of a file that another program wrote.
    except (MinidlError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise FileFormatError(f"{path} cannot be loaded: {error}") from error


def _make_trainer(kind: type[Trainer], description: dict[str, Any], arrays: dict[str, Array]) -> Trainer:
    model = Sequential.from_description(
        description, {name: array for name, array in arrays.items() if name.startswith(("parameters/", "states/"))}
    )
    for name, generator in model.named_generators().items():
        generator.bit_generator.state = description["generators"][name]
    optimizer = decode(description["optimizer"]["object"])
    if not isinstance(optimizer, Optimizer):
        raise FileFormatError(f"its optimizer is {optimizer!r}")
    settings = description["trainer"]
    trainer = kind(
        model,
        optimizer,
        batch_size=settings["batch_size"],
        shuffle=bool(settings["shuffle"]),
        seed=settings["seed"],
        augment=decode(settings["augment"]),
    )
    _restore_optimizer(optimizer, description["optimizer"], _within("optimizer/", arrays), model)
    states = [
        (str(each["key"]), {**each["state"], **_within(f"callbacks/{index}/", arrays)})
        for index, each in enumerate(description["callbacks"])
    ]
    columns = dict(description["history"]["columns"])
    for epoch in range(description["history"]["epochs"]):
        trainer.history.append({str(name): float(column[epoch]) for name, column in columns.items()})
    trainer.go_to(settings, states)
    return trainer


def _restore_optimizer(
    optimizer: Optimizer, description: dict[str, Any], slots: dict[str, Array], model: Sequential
) -> None:
    check_whole_number(description["step"], "its optimizer's step", 0)
    optimizer.step, optimizer.exchanged = description["step"], bool(description["exchanged"])
    expected = set(optimizer.slots) if optimizer.step or optimizer.exchanged or slots else set()
    if slots.keys() != expected:
        raise FileFormatError(f"its optimizer has the slots {sorted(slots)}, not {sorted(expected)}")
    for name, vector in slots.items():
        if vector.shape != model.parameters.shape or vector.dtype != model.dtype:
            raise FileFormatError(f"its optimizer's slot {name!r} is {vector.dtype} {vector.shape}")
    optimizer.state = slots


def _within(start: str, arrays: dict[str, Array]) -> dict[str, Array]:
    return {name.removeprefix(start): array.copy() for name, array in arrays.items() if name.startswith(start)}


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder that the callback `Checkpoint` filled, oldest first."""
    return sorted(path for path in folder.iterdir() if re.fullmatch(r"step_\d{10}\.npz", path.name))


def newest_checkpoint(folder: Path) -> Path:
    """Return the newest checkpoint of a folder, else the best; raise MissingFileError where there is neither."""
    if found := checkpoints(folder):
        return found[-1]
    if (folder / BEST).exists():
        return folder / BEST
    raise MissingFileError(f"there is no checkpoint, step_....npz or {BEST}, in the folder {folder}")
