"""Compile loops exactly as written, so that each operation rounds as in NumPy; and check which arrays they take."""

from __future__ import annotations

import functools
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, event
from numba.extending import intrinsic

from minidl.console import Console
from minidl.typing import Array

_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
FLOATS = frozenset({_FLOAT32, _FLOAT64})
"""The types of the loops, in native byte order."""


def are_alike(first: Array, *others: Array) -> bool:
    """Whether arrays have the same shape and a type that loops use; NumPy broadcasts and promotes others."""
    shape, dtype = first.shape, first.dtype
    if dtype not in (_FLOAT32, _FLOAT64):  # copied or unpickled types are other objects
        return False
    # A list is faster than a generator: this runs at every call.
    return False not in [each.dtype == dtype and each.shape == shape for each in others]


def are_by_rows(first: Array, *others: Array) -> bool:
    """Whether arrays are alike and C-contiguous: the memory layout of NumPy's results depends on the arguments."""
    return are_alike(first, *others) and False not in [each.flags.c_contiguous for each in (first, *others)]


@functools.cache
def _digest_of_sources() -> int:
    """Return a number that changes with any source file: a function is compiled together with those that it calls."""
    return zlib.crc32(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))))


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function at its first call with arrays of a kind; later processes read it from a file.

    numba writes the file beside this one, or else in the user's cache folder. There is no "fastmath", which would
    reorder operations, and no Python error for a division by zero. So the compiler makes vector instructions with the
    same operations as NumPy. Other threads continue meanwhile.
    """
    options: dict[str, Any] = {"error_model": "numpy", "nogil": True}
    function.__qualname__ += f"_{_digest_of_sources():08x}"  # it is a part of the file's name
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder for files: each process compiles again
        return numba.njit(**options)(function)


@intrinsic
def copy_bytes(_: Any, to: Any, source: Any, count: Any) -> Any:
    """Copy bytes from one address to another: a loop over numbers would take five times as long."""

    def generate(context: Any, builder: Any, __: Any, values: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        to, source = (builder.inttoptr(each, pointer) for each in values[:2])
        cgutils.raw_memcpy(builder, to, source, values[2], 1)
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, types.intp), generate


class _Note(event.Listener):
    """Print once, at the first compilation, that minidl compiles code, which takes some seconds."""

    said = False

    def on_start(self, event: Any) -> None:
        if not self.said and event.data["dispatcher"].py_func.__module__.startswith("minidl."):
            self.said = True
            Console(sys.stderr).write("minidl: compiling for some seconds; later runs read it from files\n")

    def on_end(self, _: Any) -> None:
        """Print nothing at the end."""


event.register("numba:compile", _Note())
