"""Turn objects into text and back: a file stores the class and the settings of a part.

Reading looks for the class among those that are already defined. It never imports or executes what a file names.
Both functions call themselves with `map`, which adds no extra call for each level of nested blocks.
"""

import importlib
from typing import Any

import numpy as np

from minidl.errors import ArgumentTypeError, FileFormatError
from minidl.settings import CLASSES, Configurable

_LOADED_LATE = ("data.augment", "estimators", "layers.convolution", "layers.pooling", "sequences")
"""Modules and packages of minidl with classes that files name, but that `import minidl` does not load."""


def encode(value: Any, place: str = "the value") -> Any:
    """Turn a configurable object, or the value of a setting, into data that JSON can hold."""
    if isinstance(value, Configurable):
        name, settings = type(value).__name__, value.configuration()
        places = [f"{name}.{key}" for key in settings]
        encoded = dict(zip(settings, map(encode, settings.values(), places), strict=True))
        return {"class": name, "module": type(value).__module__, "configuration": encoded}
    if isinstance(value, list | tuple):
        return [*map(encode, value, [f"{place}[{index}]" for index in range(len(value))])]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    cure = "; write the function as a class derived from Schedule, Distortion or such" * callable(value)
    raise ArgumentTypeError(f"{place} = {value!r} cannot be saved: give numbers, text, None, lists or parts{cure}")


def decode(data: Any) -> Any:
    """Make the object that `encode` described. Raise FileFormatError for anything else."""
    if isinstance(data, list):
        return tuple(map(decode, data))
    if not isinstance(data, dict):
        return data
    if data.keys() != {"class", "module", "configuration"} or not isinstance(data["configuration"], dict):
        raise FileFormatError(f"an object is described by class, module and configuration, not by {sorted(data)}")
    found = _find_class(str(data["class"]), str(data["module"]))
    settings = dict(zip(data["configuration"], map(decode, data["configuration"].values()), strict=True))
    try:
        return found.from_configuration(**settings)
    except (TypeError, ValueError, OverflowError) as error:
        raise FileFormatError(f"{data['class']} cannot be made from {settings}: {error}") from error


def _find_class(name: str, module: str) -> type[Configurable]:
    for late in _LOADED_LATE:
        if f"{module}.".startswith(f"minidl.{late}."):
            importlib.import_module(f"minidl.{late}")
    candidates = CLASSES.get(name, {})
    if module in candidates:
        return candidates[module]
    if not module.startswith("minidl."):
        # The class is not minidl's. If minidl's classes were candidates, the result would depend on what is loaded.
        candidates = {each: kind for each, kind in candidates.items() if not each.startswith("minidl.")} or candidates
    # A class saved by a script has the module "__main__". Imported from another file, it has the name of its file.
    if len(candidates) == 1:
        return next(iter(candidates.values()))
    saved = f"it was saved from {module!r}" + f", and {sorted(candidates)} have one" * bool(candidates)
    raise FileFormatError(f"class {name!r} is not known: import the module that defines it first; {saved}")
