"""Settings inside settings: ``layers__0__units`` reaches the units of the first layer, as in a Pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from minidl.errors import ArgumentTypeError
from minidl.settings import Configurable


def inner_settings(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the full name and the value of each setting inside a parameter's value.

    A list contains its elements, ``layers__0``; a layer or an optimizer contains its settings, ``layers__0__units``.
    """
    for key, inner in _parts(value).items():
        yield f"{name}__{key}", inner
        yield from inner_settings(f"{name}__{key}", inner)


def with_setting(value: Any, path: str, new: Any) -> Any:
    """Set the part of a parameter's value that `path` names, such as ``0__units``, to `new`, and return the value.

    Lists are copied; objects are changed in place. Raises KeyError for a path that the value does not have.
    """
    key, _, rest = path.partition("__")
    parts = _parts(value)
    if rest:
        new = with_setting(parts[key], rest, new)
    elif key not in parts:
        raise KeyError(key)
    if isinstance(value, Configurable):
        setattr(value, key, new)
        return value
    return type(value)(new if name == key else part for name, part in parts.items())


def _parts(value: Any) -> dict[str, Any]:
    if isinstance(value, list | tuple) and any(isinstance(each, Configurable) for each in value):
        return {str(index): each for index, each in enumerate(value)}
    if not isinstance(value, Configurable):
        return {}
    try:
        return {name: getattr(value, name) for name in value.configuration()}
    except ArgumentTypeError:  # it defines its own __init__, so its settings are not known
        return {}
