"""What to write instead of a word that a class or function does not have; `minidl.habits` has the words."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from minidl.errors import ArgumentTypeError, did_you_mean
from minidl.habits import FIXES, find_fix


def advise(word: str, place: type | Callable[..., Any], before: str = "") -> str:
    """Return what users of other libraries should write here instead of a word, with `before` before it, or ""."""
    fix = find_fix(word, place)
    return fix and before + fix


def refuse(unknown: Iterable[str], function: Callable[..., Any]) -> None:
    """Raise ArgumentTypeError for keyword arguments that a function does not have; it takes them as its last."""
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
    """A word of other libraries in the place of an attribute, which there is not: the error says what to write.

    ``__getattr__`` would do without these, and make each step of a small network 5 % slower: Python looks up all
    attributes of a class that has it in a slower way.
    """

    def __init__(self, word: str) -> None:
        self._word = word

    def __get__(self, instance: Any, kind: type) -> Any:
        text = f"{kind.__name__} has no {self._word!r}: {advise(self._word, kind)}"
        raise AttributeError(text, name=self._word, obj=instance)


def advise_on_attributes(kind: type) -> None:
    """Let objects of a class answer the words that `minidl.habits` has for it; `dir` does not show them."""
    words = {word for word in FIXES[kind.__name__] if not hasattr(kind, word)}
    for word in words:
        setattr(kind, word, Elsewhere(word))

    def public_names(self: Any) -> list[str]:
        return sorted(set(object.__dir__(self)) - words)

    kind.__dir__ = public_names  # type: ignore[assignment,method-assign]
