"""What to write instead of a word that a class or function does not have; `minidl.habits` has the words."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from minidl.errors import ArgumentTypeError, did_you_mean


def advise(word: str, place: type | Callable[..., Any], before: str = "") -> str:
    """Return what users of other libraries should write here instead of a word, with `before` before it, or ""."""
    from minidl.habits import find_fix  # at the first mistake

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


class Advising:
    """Base of classes whose missing attributes are explained where they are another library's methods."""

    if not TYPE_CHECKING:  # type checkers would take any name for an attribute

        def __getattr__(self, name: str) -> Any:
            # Python calls it only for what there is not.
            if name[0] != "_" and (fix := advise(name, type(self))):
                raise AttributeError(f"{type(self).__name__} has no {name!r}: {fix}", name=name, obj=self)
            return object.__getattribute__(self, name)  # raises what it raised, also what a property did
