"""Keep the memory of freed arrays for the next arrays.

The arrays of a training step are made and freed thousands of times a second. By default the C library of Linux (glibc)
gives arrays of more than 128 KB back to the system when they are freed, and gets them again page by page: a ReLU of
64,000 numbers then takes many times as long (``python benchmarks/tries.py``). After it has freed an array of up to
32 MB, glibc keeps freed memory of this size. So `keep_freed_memory` makes such an array, and frees it untouched. With
other C libraries this does nothing.
"""

import numpy as np

LARGEST = 2**25 - 2**16
"""Bytes: as much as glibc learns from (its DEFAULT_MMAP_THRESHOLD_MAX), less room for its own bookkeeping."""


def keep_freed_memory() -> None:
    """Let glibc keep up to 64 MB of freed memory, twice the size of the array, in this process from now on."""
    np.empty(LARGEST, np.uint8)
