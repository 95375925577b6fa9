"""Which kernels NumPy's matrix products run on; imported before NumPy, this chooses the faster ones.

NumPy's wheels bring OpenBLAS, which picks its kernels by the processor's name when it is loaded. It takes AMD
processors that have AVX-512 for older ones ("Haswell"), and so uses half the width of their registers. The variable
``OPENBLAS_CORETYPE`` tells it better. So, where

- minidl is imported before NumPy,
- that variable is not set, nor ``MINIDL_KEEP_KERNELS``, which leaves everything as it is,
- the system is Linux, and the processor AMD's with the instructions that the kernels "SkylakeX" need,

the variable is set while NumPy loads, and taken away again. Between kernels results differ in the last bits, as they do
between machines. `minidl.show_versions` tells which are in use. Figures: docs/performance.md.
"""

import os
import sys
from pathlib import Path

KERNELS = "SkylakeX"
INSTRUCTIONS = {"avx512f", "avx512cd", "avx512dq", "avx512bw", "avx512vl", "avx2", "fma"}


def are_faster(cpuinfo: str) -> bool:
    """Whether a processor, described as in /proc/cpuinfo, is AMD's and has the instructions."""
    fields = {name.strip(): value.split() for name, _, value in (line.partition(":") for line in cpuinfo.splitlines())}
    return fields.get("vendor_id") == ["AuthenticAMD"] and set(fields.get("flags", [])) >= INSTRUCTIONS


def are_faster_here() -> bool:
    """Whether this machine's processor is such a one."""
    path = Path("/proc/cpuinfo")
    if sys.platform != "linux" or not path.exists():
        return False
    with path.open(encoding="utf-8") as lines:  # up to the first empty one: there may be hundreds of processors
        return are_faster("".join(iter(lines.readline, "\n")))


def load_numpy() -> None:
    """Import NumPy; if nothing speaks against it, with the faster kernels."""
    settings = {"OPENBLAS_CORETYPE", "MINIDL_KEEP_KERNELS"} & os.environ.keys()
    if "numpy" in sys.modules or settings or not are_faster_here():
        return
    os.environ["OPENBLAS_CORETYPE"] = KERNELS
    try:
        import numpy  # noqa: F401 - for what it reads from the environment
    finally:
        del os.environ["OPENBLAS_CORETYPE"]


load_numpy()
