"""What a report of a fault, or of a time, should say about the machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path

from minidl import kernels
from minidl.version import __version__

__all__ = ["show_versions"]

_PACKAGES = ("numpy", "pandas", "scikit-learn", "tqdm", "scipy", "matplotlib", "joblib", "threadpoolctl")


def show_versions() -> None:
    """Print the versions of Python, minidl and its libraries; the processor; and NumPy's BLAS, its kernels and threads.

    Where NumPy was loaded with slower kernels than the processor has, it says so, and what to do.
    """
    # A dependency of scikit-learn, so it is always there.
    from threadpoolctl import threadpool_info

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    _print_table(
        "System",
        {
            "python": sys.version.replace("\n", " "),
            "executable": sys.executable,
            "machine": platform.platform(),
            "processor": f"{_processor()}, {cores} cores",
        },
    )
    _print_table("Packages", {"minidl": __version__} | {name: _version(name) for name in _PACKAGES})
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    for pool in pools:
        _print_table(
            "Matrix products",
            {
                "library": f"{pool['internal_api']} {pool['version']}",
                "file": pool["filepath"],
                "kernels": pool.get("architecture", "unknown"),
                "threads": str(pool["num_threads"]),
            },
        )
    if not pools:
        print("\nMatrix products: by a library whose kernels and threads are not known")
    if kernels.are_faster_here() and any(pool.get("architecture") == "Haswell" for pool in pools):
        print(
            f"\nThis processor has faster kernels, {kernels.KERNELS}. Import minidl before NumPy (and before anything "
            f"that imports it), or set OPENBLAS_CORETYPE={kernels.KERNELS} before Python starts; "
            "MINIDL_KEEP_KERNELS must not be set."
        )


def _print_table(title: str, rows: dict[str, str]) -> None:
    print(f"\n{title}:")
    for name, value in rows.items():
        print(f"{name:>14}: {value}")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
