"""The one place that chooses between the NumPy functions and the compiled ones."""

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
    "blocks",
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
    "resampling",
    "steps",
)


class Replacement:
    """A compiled function, and the NumPy function with the same name and arguments that it replaces.

    For unsupported arguments it returns NotImplemented before it changes anything; then the NumPy code runs.

    Parameters
    ----------
    home : str
        The place of the NumPy function: a class, ``"minidl.optimizers.adaptive:Adam"``, or a module,
        ``"minidl.layers.normalization"``.
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
        """The NumPy function."""
        if self._numpy is None:
            self._numpy = vars(resolve_name(self.home))[self.name]
        return self._numpy

    def is_loaded(self) -> bool:
        """Whether the program has imported the module of the NumPy function."""
        return self.home.partition(":")[0] in sys.modules

    def call(self, *, compiled: bool) -> None:
        """Make the program call the compiled function or the NumPy function."""
        numpy = self.numpy  # before it is replaced
        setattr(resolve_name(self.home), self.name, self.compiled if compiled else numpy)


class _State:
    """The functions in use (None before the first fit), and the reason if numba does not work."""

    on: bool | None = None
    failure = ""


_lock = RLock()
_state = _State()
_entered: list[Replacement] = []
_called: list[Replacement] = []


def replaces(home: str) -> Callable[[type], type]:
    """Register the functions of the decorated class as replacements of those in `home`."""

    def enter(functions: type) -> type:
        names = [name for name, each in vars(functions).items() if callable(each)]
        _entered.extend(Replacement(home, name, getattr(functions, name)) for name in names)
        return functions

    return enter


def replacements() -> list[Replacement]:
    """Return all compiled functions. The first call imports numba but compiles nothing."""
    with _lock:
        for name in _MODULES:
            importlib.import_module(f"minidl.compiled.{name}")
    return _entered


def is_on() -> bool:
    """Whether compiled code is used. Before the first fit it is not."""
    return bool(_state.on)


def describe() -> str:
    """Return a short text: whether compiled code is used, and if not, why."""
    if find_spec("numba") is None:
        return "not installed: pip install 'minidl[fast]'"
    if _state.on is None:
        return "off" if os.environ.get(VARIABLE) == "0" else "on from the first fit on"
    return "on" if _state.on else f"off: {_state.failure}" if _state.failure else "off"


def switch(on: bool) -> None:
    """Use compiled code, or NumPy code, from now on in the whole program. Both give the same bits.

    Raises MissingDependencyError if compiled code is requested but numba is not installed or does not work.
    """
    with _lock:
        if on:
            _load()
        _state.on, _state.failure = on, ""
        _put_in_place()


def start() -> None:
    """Use compiled code from the first fit on, if it is installed and not turned off."""
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
        on, _state.failure = False, str(error)  # numba may be installed for other programs: continue without it
    _state.on = on


def _put_in_place() -> None:
    """Make the program call the chosen functions; those of modules that are not loaded wait for a later fit."""
    while _called and not _state.on:
        _called.pop().call(compiled=False)
    for each in [each for each in _entered if _state.on and each not in _called and each.is_loaded()]:
        each.call(compiled=True)
        _called.append(each)


def _load() -> None:
    """Import numba and all compiled functions. If this fails, raise MissingDependencyError with the reason."""
    if find_spec("numba") is None:
        raise MissingDependencyError("compiled code needs numba: pip install 'minidl[fast]'")
    try:
        replacements()
    except (ImportError, AttributeError) as error:  # such as a NumPy version too new for numba
        raise MissingDependencyError(f"numba does not work here: {error!s:.200}; pip install 'minidl[fast]'") from error
