"""Parts as text: the call that creates them, in one line, or in several lines if a network is inside."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

WIDTH = 80
"""The maximal length of a line with several parts, such as layers."""


class Call(NamedTuple):
    """The text form of a part: its items, separated by commas, between a start and an end.

    Attributes
    ----------
    start, end : str
        Such as ``"Dense("`` and ``")"``.
    items : list of (str, value)
        Each value with the text before it: ``"units="``, or nothing.
    width : int or None
        The maximal length of a line with all items. None means no limit, unless an item has several lines.
    """

    start: str
    items: list[tuple[str, Any]]
    end: str
    width: int | None = None

    def joined(self, texts: Sequence[str]) -> str:
        """Return the call, given its values as texts. Each value gets its own line if one line is too short."""
        named = [f"{name}{text}" for (name, _), text in zip(self.items, texts, strict=True)]
        comma = "," * (self.start == "(" and len(named) == 1)  # without it, (1) would be a number
        line = f"{self.start}{', '.join(named)}{comma}{self.end}"
        if "\n" not in line and len(line) <= (self.width or len(line)):
            return line
        lines = ["    " + text.replace("\n", "\n    ") + ",\n" for text in named]
        return f"{self.start}\n{''.join(lines)}{self.end}"


def call_with_settings(part: Any) -> Call:
    """Return the call that makes a part from its settings, without settings that are off."""
    items = []
    for field in sorted(dataclasses.fields(part), key=lambda field: bool(field.kw_only)):
        value = getattr(part, field.name, None)
        is_off = value is None if field.default is None else field.metadata.get("quiet") and value == field.default
        if field.repr and not is_off:
            items.append((f"{field.name}=", value))
    return Call(f"{type(part).__qualname__}(", items, ")")


def brief(value: Any) -> str:
    """Return a value in one line of at most 80 characters, for an error."""
    return re.sub(r"(?<=[([]) ", "", " ".join(repr(value).split()))[:80]


def represent(part: Any) -> str:
    """Return a part and all parts inside it as text. A class with this function as ``__repr__`` also has ``as_call``.

    It keeps a list of remaining tasks. A function that calls itself would reach Python's limit in deep networks.
    """
    texts: list[str] = []
    unfinished: list[tuple[Any, Call]] = []
    tasks = [part]
    while tasks:
        task = tasks.pop()
        if task is _FINISH:
            _, call = unfinished.pop()
            start = len(texts) - len(call.items)
            texts[start:] = [call.joined(texts[start:])]
        elif any(task is other for other, _ in unfinished):
            texts.append("...")  # a part that contains itself
        elif call_or_none := _call_of(task, is_own=task is part or _has_call(task)):
            unfinished.append((task, call_or_none))
            tasks += [_FINISH, *(value for _, value in reversed(call_or_none.items))]
        else:
            texts.append(repr(task))
    return texts[0]


_FINISH = object()
"""A task: all items of the last unfinished call are written."""


def _call_of(value: Any, is_own: bool) -> Call | None:
    """Return the call of a part, list or tuple. None for a value with its own repr."""
    if is_own:
        return value.as_call()
    if type(value) in {list, tuple} and value:
        start, end = "[]" if isinstance(value, list) else "()"
        width = WIDTH if any(map(_has_call, value)) else None
        return Call(start, [("", item) for item in value], end, width)
    return None


def _has_call(value: Any) -> bool:
    own: Any = type(value).__repr__
    return own is represent
