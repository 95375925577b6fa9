"""Advice in errors about unknown words: what to write instead. `minidl.habits` has the words."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from minidl.errors import ArgumentTypeError, did_you_mean
from minidl.habits import FIXES, find_fix


def advise(word: str, place: type | Callable[..., Any], before: str = "") -> str:
    """Return `before` and what users of other libraries should write here instead of a word, or ""."""
    fix = find_fix(word, place)
    return fix and before + fix


def refuse(unknown: Iterable[str], function: Callable[..., Any]) -> None:
    """Raise ArgumentTypeError for unknown keyword arguments of a function, which takes them as its last parameter."""
    for name in unknown:
        known = [*inspect.signature(function).parameters][1:-1]  # without self
        fix = advise(name, function) or did_you_mean(name, known)
        raise ArgumentTypeError(f"{function.__qualname__} has no argument {name!r}; {fix}")


def refuse_settings(unknown: Iterable[str], kind: type, known: Iterable[str]) -> None:
    """Raise ArgumentTypeError for settings that a class does not have."""
    for name in unknown:
        fix = advise(name, kind) or did_you_mean(name, known)
        raise ArgumentTypeError(f"{kind.__name__} has no setting {name!r}; {fix}")


class Elsewhere:
    """Placeholder for an attribute that only other libraries have: reading it raises an error that says what to write.

    ``__getattr__`` would not need these objects. But it makes each step of a small network 5 % slower, because Python
    then looks up all attributes of the class in a slower way.
    """

    def __init__(self, word: str) -> None:
        self._word = word

    def __get__(self, instance: Any, kind: type) -> Any:
        text = f"{kind.__name__} has no {self._word!r}: {advise(self._word, kind)}"
        raise AttributeError(text, name=self._word, obj=instance)


def advise_on_attributes(kind: type) -> None:
    """Give a class placeholders for the words that `minidl.habits` has for it. `dir` does not show them."""
    words = {word for word in FIXES[kind.__name__] if not hasattr(kind, word)}
    for word in words:
        setattr(kind, word, Elsewhere(word))

    def public_names(self: Any) -> list[str]:
        return sorted(set(object.__dir__(self)) - words)

    kind.__dir__ = public_names  # type: ignore[assignment,method-assign]
