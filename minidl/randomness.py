"""Random numbers in bulk, cheaper than the generator's own."""

from __future__ import annotations

import numpy as np

from minidl.typing import Array

__all__ = ["draw_16_bits"]


def draw_16_bits(rng: np.random.Generator, count: int) -> Array:
    """Draw whole numbers evenly from 0 .. 2^16 - 1: uint16 (count,).

    Four come from each number of 64 bits that the generator makes, which costs half of what random floats do or less.
    """
    bits = rng.integers(2**64 - 1, size=-(-count // 4), dtype=np.uint64, endpoint=True)
    return bits.view(np.uint16)[:count]
