"""NumPy's exponentials and logarithms in compiled loops: they call NumPy's own loops, so the bits are the same."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import numpy as np

from minidl.compiled.blas import routine
from minidl.compiled.loops import compiled

Loop = tuple[int, int]
"""The address of a loop over contiguous numbers, and the address of its data."""


class _Ufunc(ctypes.Structure):
    """The beginning of a NumPy function in memory: PyUFuncObject of numpy/ufuncobject.h."""

    _fields_ = (
        ("head", ctypes.c_byte * object.__basicsize__),
        ("numbers", ctypes.c_int * 4),
        ("loops", ctypes.POINTER(ctypes.c_void_p)),
        ("data", ctypes.POINTER(ctypes.c_void_p)),
    )


@functools.cache
def loop_of(ufunc: Any, dtype: np.dtype[Any]) -> Loop:
    """Return the loop of a function of one argument, such as `numpy.exp`, for numbers of a type."""
    index = ufunc.types.index(f"{dtype.char}->{dtype.char}")
    whole = _Ufunc.from_address(id(ufunc))
    return whole.loops[index] or 0, whole.data[index] or 0


_call = routine("aaaa")


@compiled
def apply(loop, x, y):
    """``y <- ufunc(x)``, of contiguous numbers; both may be one array."""
    arrays = np.array([x.ctypes.data, y.ctypes.data])
    count, strides = np.array([x.size]), np.array([x.itemsize, y.itemsize])
    one = x.dtype.type(1)
    _call(loop[0], one, (arrays.ctypes.data, count.ctypes.data, strides.ctypes.data, loop[1]))
    return arrays.size + count.size + strides.size  # keep them alive until here: an address does not
