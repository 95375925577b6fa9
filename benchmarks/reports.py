"""Shared code of the benchmarks: find MNIST, read options, describe the machine, and format tables."""

from __future__ import annotations

import argparse
import os
import platform
import re
from pathlib import Path

import numpy as np
import pandas as pd

from minidl.diagnostics import blas_pools
from minidl.errors import ArgumentError

MNIST_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist"


def mnist_folder(given: Path | None) -> Path | None:
    """Return the folder of MNIST: the given one, or the one next to the checkout if it exists."""
    return given or (MNIST_BESIDE if MNIST_BESIDE.is_dir() else None)


def number(text: str) -> int:
    """Read an option: a whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def machine() -> str:
    """Describe processor, versions and BLAS kernels: times, and the last bits of metrics, depend on them."""
    kernels = {f"{pool['internal_api']} {pool.get('architecture', '')}".strip() for pool in blas_pools()}
    python = f"Python {platform.python_version()}, NumPy {np.__version__}"
    return ", ".join([f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores", python, *sorted(kernels)])


def table_text(table: pd.DataFrame) -> str:
    """Format a table in 80 columns.

    pandas continues a wider table below, and marks this with a backslash. A row without an entry is left out there.
    """
    table = table.rename_axis(index=None, columns=None)
    lines = table.to_string().splitlines()
    if len(lines[0]) > 80:
        label = max(len(str(name)) for name in table.index)
        continued = table.to_string(line_width=80).splitlines()
        lines = [line for line in continued if not line.strip() or line[label:].strip()]
    return "\n".join(line.rstrip() for line in lines)


def put_into_document(path: Path, name: str, text: str) -> None:
    """Put a report into the document's text block after ``<!-- name -->``."""
    marker = rf"(<!-- {re.escape(name)} -->\n+```text\n).*?(?=```)"
    old = path.read_text(encoding="utf-8")
    if not re.search(marker, old, re.DOTALL):
        raise ArgumentError(f"{path} has no line <!-- {name} --> with a text block after it")
    path.write_text(re.sub(marker, lambda found: f"{found[1]}{text}\n", old, flags=re.DOTALL), encoding="utf-8")
