"""The one place that decides whether NumPy's functions are called, or the compiled ones."""

from __future__ import annotations

import functools
import importlib
import os
import sys
from _thread import RLock
from collections.abc import Callable
from importlib.util import find_spec
from pkgutil import resolve_name
from typing import Any

from minidl.errors import ArgumentError, MissingDependencyError

VARIABLE = "MINIDL_COMPILED"

_MODULES = (
    "activations",
    "attention",
    "averages",
    "chain",
    "convolution",
    "layers",
    "losses",
    "noise",
    "normalization",
    "optimizers",
    "pooling",
    "prediction",
    "recurrent",
    "steps",
)


class Replacement:
    """A compiled function, and the one of the same name and arguments that it replaces.

    It returns NotImplemented, before it has changed anything, for arguments that it is not written for: they then go to
    the NumPy code.

    Parameters
    ----------
    home : str
        Where that is: ``"minidl.optimizers.adaptive:Adam"``, a class, or ``"minidl.layers.normalization"``, a module.
    name : str
    compiled : callable
    """

    def __init__(self, home: str, name: str, compiled: Callable[..., Any]) -> None:
        self.home, self.name = home, name
        self._numpy: Callable[..., Any] | None = None

        @functools.wraps(compiled)
        def compiled_or_numpy(*args: Any, **kwargs: Any) -> Any:
            result = compiled(*args, **kwargs)
            return self.numpy(*args, **kwargs) if result is NotImplemented else result

        self.compiled = compiled_or_numpy

    @property
    def numpy(self) -> Callable[..., Any]:
        """The function of the NumPy code."""
        if self._numpy is None:
            self._numpy = vars(resolve_name(self.home))[self.name]
        return self._numpy

    def is_loaded(self) -> bool:
        """Whether the program has the module in which it is."""
        return self.home.partition(":")[0] in sys.modules

    def call(self, *, compiled: bool) -> None:
        """Let the program call the one or the other."""
        numpy = self.numpy  # before it is replaced
        setattr(resolve_name(self.home), self.name, self.compiled if compiled else numpy)


class _State:
    """What is called now, None before the first fit; and why not compiled code, where numba does not work."""

    on: bool | None = None
    failure = ""


_lock = RLock()
_state = _State()
_entered: list[Replacement] = []
_called: list[Replacement] = []


def replaces(home: str) -> Callable[[type], type]:
    """Enter the functions of the decorated class as those that replace the ones of `home`."""

    def enter(functions: type) -> type:
        names = [name for name, each in vars(functions).items() if callable(each)]
        _entered.extend(Replacement(home, name, getattr(functions, name)) for name in names)
        return functions

    return enter


def replacements() -> list[Replacement]:
    """Return all compiled functions. The first call imports numba, and compiles nothing."""
    with _lock:
        for name in _MODULES:
            importlib.import_module(f"minidl.compiled.{name}")
    return _entered


def is_on() -> bool:
    """Whether compiled code is called. Before the first fit it is not."""
    return bool(_state.on)


def describe() -> str:
    """Return in a few words whether compiled code is called, and why not."""
    if find_spec("numba") is None:
        return "not installed: pip install -e '.[fast]'"
    if _state.on is None:
        return "off" if os.environ.get(VARIABLE) == "0" else "on from the first fit on"
    return "on" if _state.on else f"off: {_state.failure}" if _state.failure else "off"


def switch(on: bool) -> None:
    """Call compiled code from now on, in all of the program, or NumPy's. Both give the same bits.

    Raises MissingDependencyError where compiled code is asked for and numba is not installed, or does not work.
    """
    with _lock:
        if on:
            _load()
        _state.on, _state.failure = on, ""
        _put_in_place()


def start() -> None:
    """Call compiled code from the first fit on, where it is installed and nobody has turned it off."""
    with _lock:
        if _state.on is None:
            _decide()
        _put_in_place()


def _decide() -> None:
    wanted = os.environ.get(VARIABLE, "")
    if wanted not in {"", "0", "1"}:
        raise ArgumentError(f"the environment variable {VARIABLE} is {wanted!r}; it must be 0 or 1")
    on = wanted == "1" or (wanted == "" and find_spec("numba") is not None)
    try:
        if on:
            _load()
    except MissingDependencyError as error:
        if wanted:
            raise
        on, _state.failure = False, str(error)  # people who have numba for something else go on without it
    _state.on = on


def _put_in_place() -> None:
    """Let the program call what it shall; compiled functions of modules that are not loaded wait for a later fit."""
    while _called and not _state.on:
        _called.pop().call(compiled=False)
    for each in [each for each in _entered if _state.on and each not in _called and each.is_loaded()]:
        each.call(compiled=True)
        _called.append(each)


def _load() -> None:
    """Import numba and all compiled functions; raise MissingDependencyError, which says why, where that fails."""
    if find_spec("numba") is None:
        raise MissingDependencyError("compiled code needs numba: pip install -e '.[fast]'")
    try:
        replacements()
    except (ImportError, AttributeError) as error:  # such as a NumPy that is newer than numba knows
        raise MissingDependencyError(f"numba does not work here: {error!s:.200}; pip install -e '.[fast]'") from error
