"""Dropout in one call: the generator's C function draws the mask, so bits and states are the same."""

import ctypes
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minidl.compiled.loops import FLOATS, are_by_rows, compiled
from minidl.compiled.switching import replaces
from minidl.typing import Array

_LEVELS = 2**16


@replaces("minidl.layers.noise:Dropout")
class _Dropout:
    def forward(self: Any, x: Array, training: bool = False) -> Any:
        if not training:
            return x
        is_alone = self.rows_of_batch is None and type(self.generator) is np.random.Generator
        if not is_alone or not are_by_rows(x) or self.mask_shape(x) != x.shape:
            return NotImplemented
        mask, y = np.empty(x.shape, x.dtype), np.empty(x.shape, x.dtype)
        bits = self.generator.bit_generator
        with bits.lock:
            drop(*source_of(bits), x, *kept_levels(self), mask, y)
        self.saved = mask
        return y


def kept_levels(layer: Any) -> tuple[int, float]:
    """Return the 16-bit level below which a number is kept, and the factor for kept numbers."""
    levels = max(_LEVELS - round(layer.rate * _LEVELS), 1)
    return levels, _LEVELS / levels


def source_of(bits: np.random.BitGenerator) -> tuple[int, int]:
    """Return the addresses of the function that draws 64 bits and of its state."""
    interface = bits.ctypes
    return ctypes.c_void_p.from_buffer(interface.next_uint64).value or 0, interface.state_address


@intrinsic
def _next_64_bits(_: Any, function: Any, state: Any) -> Any:
    def generate(__: Any, builder: Any, ___: Any, values: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        function, state = values
        function = builder.inttoptr(function, ir.FunctionType(ir.IntType(64), [pointer]).as_pointer())
        return builder.call(function, [builder.inttoptr(state, pointer)])

    return types.uint64(function, state), generate


@compiled
def drop(function, state, x, kept_levels, factor, mask, y):
    """Draw a mask of 0 and `factor`, and write ``y <- x mask``; the caller holds the generator's lock."""
    draws = np.empty((x.size + 3) // 4, np.uint64)
    for i in range(draws.size):
        draws[i] = _next_64_bits(function, state)
    _mask(draws.view(np.uint16), mask, kept_levels, factor)
    for i in range(x.size):
        y.flat[i] = x.flat[i] * mask.flat[i]


@replaces("minidl.layers.noise")
class _Noise:
    @staticmethod
    def _mask(draws: Array, kept_levels: int, x: Array) -> Any:
        if x.dtype not in FLOATS:
            return NotImplemented
        mask = np.empty(draws.shape, x.dtype)
        _mask(draws.ravel(), mask, kept_levels, _LEVELS / kept_levels)
        return mask


@compiled
def _mask(draws, mask, kept_levels, factor):
    number = mask.dtype.type
    kept, dropped = number(factor), number(0)
    for i in range(mask.size):
        mask.flat[i] = kept if draws[i] < kept_levels else dropped
