"""What a bug report or a time measurement should say about the machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Any

from minidl.compiled.switching import describe
from minidl.version import __version__

_PACKAGES = ("numpy", "pandas", "scikit-learn", "tqdm", "scipy", "matplotlib", "joblib", "threadpoolctl", "numba")

_WIDE = {"avx512f", "avx512cd", "avx512dq", "avx512bw", "avx512vl"}
"""Processor instructions for which OpenBLAS has the kernels "SkylakeX", 1.5 times as fast as "Haswell"."""


def show_versions() -> None:
    """Print the versions of Python, minidl and its libraries; the processor; NumPy's BLAS, its kernels and threads.

    It also prints whether minidl calls compiled code.

    If OpenBLAS uses slower kernels than the processor allows, it says so and what to do.
    """
    _print_table(
        "System",
        {
            "python": sys.version.replace("\n", " "),
            "executable": sys.executable,
            "machine": platform.platform(),
            "processor": f"{processor()}, {usable_cores()} cores",
        },
    )
    _print_table(
        "Packages", {"minidl": __version__} | {name: installed_version(name) or "not installed" for name in _PACKAGES}
    )
    print(f"\nCompiled code: {describe()}")
    pools = blas_pools()
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
    if any(pool.get("architecture") in {"Haswell", "Zen"} for pool in pools) and _has_avx512():
        setting = os.environ.get("OPENBLAS_CORETYPE")
        cure = "set OPENBLAS_CORETYPE=SkylakeX" if setting is None else f"unset OPENBLAS_CORETYPE, which is {setting}"
        print(f"\nThis processor has AVX-512, which these kernels do not use: {cure}, before Python starts.")


def processor() -> str:
    """Return the processor's name."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def usable_cores() -> int | None:
    """Return how many cores this process may use, or None if the system does not say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def installed_version(package: str) -> str | None:
    """Return the version of a distribution, or None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def blas_pools() -> list[dict[str, Any]]:
    """Return threadpoolctl's information about each loaded BLAS."""
    # It is a dependency of scikit-learn, so it is always installed.
    from threadpoolctl import threadpool_info

    return [pool for pool in threadpool_info() if pool["user_api"] == "blas"]


def _print_table(title: str, rows: dict[str, str]) -> None:
    print(f"\n{title}:")
    for name, value in rows.items():
        print(f"{name:>14}: {value}")


def _has_avx512() -> bool:
    return set(_cpuinfo().get("flags", "").split()) >= _WIDE


def _cpuinfo() -> dict[str, str]:
    """Return Linux's data about the last processor, or an empty dict on other systems."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
