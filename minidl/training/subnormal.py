"""Subnormal numbers in an optimizer's state become 0, because many processors compute with them slowly."""

import itertools
from collections.abc import Sequence

import numpy as np

from minidl.optimizers import Adagrad, Optimizer
from minidl.optimizers.base import cache_blocks

EVERY = 100
"""The number of steps between two calls that change something."""


def clear_subnormal(optimizer: Optimizer, trained: Sequence[slice]) -> None:
    """Set subnormal numbers in the trained parts of the slots to 0, after every 100th step.

    These are numbers below about 1e-38 (float32) or 1e-308 (float64), which have lost a part of their digits. If the
    gradient of a parameter stays 0, as for a pixel that is rarely drawn or a unit that no row activates, a running mean
    shrinks by a factor in each step. After some hundred steps it is subnormal, and rounding can keep it there. Some
    processors take a hundred times as long for such a number.
    """
    if optimizer.step % EVERY or isinstance(optimizer, Adagrad):  # its sums never shrink
        return
    floats = [slot for slot in optimizer.state.values() if slot.dtype.kind == "f"]
    for slot, part in itertools.product(floats, trained):
        for (block,) in cache_blocks([slot[part]]):
            block[np.abs(block) < np.finfo(slot.dtype).tiny] = 0
