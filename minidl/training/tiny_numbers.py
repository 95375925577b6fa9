"""Numbers near 0 in an optimizer's state become 0, because many processors compute with subnormal numbers slowly."""

import numpy as np

from minidl.optimizers import Adagrad, Optimizer

EVERY = 100
"""The number of steps between two calls that change something."""


def clear_tiny_numbers(optimizer: Optimizer) -> None:
    """Set numbers below about 1e-31 (float32) or 1e-292 (float64) in the slots to 0, after every 100th step.

    If the gradient of a parameter stays 0, as for a pixel that is rarely drawn or a unit that no row activates, a
    running mean shrinks by a factor in each step. After some hundred steps it is subnormal, and rounding can keep it
    there. Some processors take a hundred times as long for such a number. The change of the next parameters is far
    below their rounding errors.
    """
    if optimizer.step % EVERY or isinstance(optimizer, Adagrad):  # its sums never shrink
        return
    for slot in optimizer.state.values():
        limits = np.finfo(slot.dtype)
        for part in np.array_split(slot, slot.size // 100_000 + 1):  # parts stay in the processor's cache
            part[np.abs(part) < limits.tiny / limits.eps] = 0
