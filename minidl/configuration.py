"""Objects that are described by their constructor arguments, to JSON and back.

A layer, a loss, an initializer, an optimizer or a distortion is a dataclass whose fields are its whole configuration.
That one rule gives it a repr, and lets a model file name it without holding code: reading looks the class up among
those already defined and never imports or executes anything that a file names.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import itertools
import reprlib
from typing import Any, TypeVar

import numpy as np

from minidl.errors import ArgumentTypeError, FileFormatError, did_you_mean

_CLASSES: dict[str, dict[str, type[Configurable]]] = {}
"""Every class there is: name -> module -> class."""

_LOADED_LATE = "minidl.data.augment"
"""A package of ours that has classes which files name, but that `import minidl` does not load."""

_Kind = TypeVar("_Kind", bound="Configurable")


class Configurable:
    """Base of everything that a model file describes by class and constructor arguments.

    A subclass with arguments is a dataclass, ``@dataclass(eq=False)``, and its fields are its arguments; one without
    needs no decorator.

    A NumPy number that is given to a field, by the constructor or later, becomes a plain one where the class declares
    fields of type float. A file keeps no NumPy types, so what is resumed from one would compute with other numbers:
    NumPy's float64 makes float32 arrays wider, a plain float does not.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__repr__" not in vars(cls):
            # The decorator @dataclass gives one of its own to every class that has none in its body.
            cls.__repr__ = cls.__repr__  # type: ignore[method-assign]
        # Only where there are numbers to compute with: in all layers it makes the steps of a small network 1 % slower.
        declares_numbers = any("float" in str(kind) for kind in inspect.get_annotations(cls).values())
        if declares_numbers and cls.__setattr__ is object.__setattr__:
            cls.__setattr__ = _set_plain  # type: ignore[method-assign]
        _CLASSES.setdefault(cls.__name__, {})[cls.__module__] = cls

    def __new__(cls: type[_Kind], *arguments: Any, **settings: Any) -> _Kind:
        if arguments or settings:
            _check_takes(cls, arguments, settings)
        return super().__new__(cls)

    @reprlib.recursive_repr()
    def __repr__(self) -> str:
        """Show the fields in the order of the constructor, but none that is off: None, as by default.

        What else is off the field itself says, as in ``field(default=0.0, metadata={"off": 0.0})``.
        """
        if not dataclasses.is_dataclass(self):
            return super().__repr__()
        shown = []
        for field in sorted(dataclasses.fields(self), key=lambda field: field.kw_only):
            value = getattr(self, field.name) if field.repr else None
            off = field.metadata.get("off")
            if field.repr and not (value is None and field.default is None) and (off is None or value != off):
                shown.append(f"{field.name}={value!r}")
        return f"{type(self).__qualname__}({', '.join(shown)})"

    def configuration(self) -> dict[str, Any]:
        """Return the constructor arguments that make an object equal to this one."""
        author = next(kind for kind in type(self).__mro__ if "__init__" in vars(kind))
        if author is not object and "__dataclass_fields__" not in vars(author):
            raise ArgumentTypeError(
                f"{type(self).__name__} has an __init__ of its own, so its configuration is not known: make it a "
                "dataclass (@dataclass(eq=False)) whose fields are its arguments, or define configuration()"
            )
        if not dataclasses.is_dataclass(self):
            return {}
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.init}

    @classmethod
    def from_configuration(cls: type[_Kind], **configuration: Any) -> _Kind:
        """Make an object from what `configuration` returned."""
        return cls(**configuration)


def _check_takes(kind: type[Configurable], arguments: tuple[Any, ...], settings: dict[str, Any]) -> None:
    """Raise ArgumentTypeError for names that are no arguments, and for those that were if the class were a dataclass.

    Python's own TypeError speaks of the ``__init__`` of whichever class has one. TypeError for others.
    """
    without_init = itertools.takewhile(lambda each: "__init__" not in vars(each), kind.__mro__)
    fields = [
        name
        for each in without_init
        for name, its_type in inspect.get_annotations(each).items()
        if "ClassVar" not in str(its_type)
    ]
    takes_none = kind.__init__ is object.__init__  # which takes anything, now that there is a __new__
    signature = inspect.Signature() if takes_none else inspect.signature(functools.partial(kind.__init__, None))
    known = signature.parameters
    meant = {name: value for name, value in settings.items() if name in fields and name not in known}
    try:
        signature.bind_partial(*arguments, **meant)
    except TypeError as error:
        if fields:
            raise ArgumentTypeError(
                f"{kind.__name__}: {error}; write @dataclass(eq=False) above the class, which makes arguments of its "
                f"fields, {', '.join(fields)}"
            ) from error
    if takes_none and not fields:
        raise TypeError(f"{kind.__name__}() takes no arguments")
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    if not takes_any and (unknown := [name for name in settings if name not in known]):
        names = list(dict.fromkeys([*known, *fields]))
        raise ArgumentTypeError(f"{kind.__name__} has no argument {unknown[0]!r}; {did_you_mean(unknown[0], names)}")


def _set_plain(owner: object, name: str, value: Any) -> None:
    """Set an attribute, and of a field's NumPy number the plain one."""
    if isinstance(value, np.generic) and name in getattr(owner, "__dataclass_fields__", ()):
        value = value.item()
    object.__setattr__(owner, name, value)


def encode(value: Any, place: str = "the value") -> Any:
    """Turn a configurable object, or a value of its configuration, into what JSON can hold."""
    if isinstance(value, Configurable):
        name = type(value).__name__
        return {
            "class": name,
            "module": type(value).__module__,
            "configuration": {key: encode(item, f"{name}.{key}") for key, item in value.configuration().items()},
        }
    if isinstance(value, list | tuple):
        return [encode(item, f"{place}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    cure = "; write the function as a class, such as one derived from Schedule, docs/extending.md" * callable(value)
    raise ArgumentTypeError(
        f"{place} = {value!r} cannot be saved: a configuration holds numbers, strings, None, lists of these, "
        f"and layers, losses, initializers, schedules or distortions{cure}"
    )


def decode(data: Any) -> Any:
    """Make the object that `encode` described; raises FileFormatError for anything else."""
    if isinstance(data, list):
        return tuple(decode(item) for item in data)
    if not isinstance(data, dict):
        return data
    if data.keys() != {"class", "module", "configuration"} or not isinstance(data["configuration"], dict):
        raise FileFormatError(f"an object is described by class, module and configuration, not by {sorted(data)}")
    found = _find_class(str(data["class"]), str(data["module"]))
    arguments = {key: decode(item) for key, item in data["configuration"].items()}
    try:
        return found.from_configuration(**arguments)
    except (TypeError, ValueError, OverflowError) as error:
        raise FileFormatError(f"{data['class']} cannot be made from {arguments}: {error}") from error


def _find_class(name: str, module: str) -> type[Configurable]:
    if module.startswith(f"{_LOADED_LATE}."):
        importlib.import_module(_LOADED_LATE)
    candidates = _CLASSES.get(name, {})
    if module in candidates:
        return candidates[module]
    if not module.startswith("minidl."):
        # It was none of ours. Were ours among the candidates, it would matter which of them happen to be loaded.
        candidates = {each: kind for each, kind in candidates.items() if not each.startswith("minidl.")} or candidates
    # A class saved by a script has the module "__main__"; loaded from elsewhere it has its file's name.
    if len(candidates) == 1:
        return next(iter(candidates.values()))
    if candidates:
        raise FileFormatError(f"class {name!r} of {module!r} is not defined, but {sorted(candidates)} each have one")
    raise FileFormatError(
        f"class {name!r} is not known: import the module that defines it (it was saved from {module!r}) first"
    )
