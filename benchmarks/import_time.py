"""Compare the time of `import minidl` with the time of `import numpy`, which is most of it.

    python benchmarks/import_time.py [--rounds 15] [--limit 1.25]

Each import runs in a new process, and the two take turns. The process times only the import, not the start of Python.
A first round compiles the bytecode into a temporary folder; all later rounds read it. The medians are compared. Other
programs on the machine slow down both imports, but not equally: repeat the measurement if the ratio matters.
``python -X importtime -c "import minidl"`` shows the time of each module.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from reports import machine, number

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = "from time import perf_counter; start = perf_counter(); import {}; print(1000 * (perf_counter() - start))"


def milliseconds(module: str, bytecode: str) -> float:
    """Return the time of an import in a new process; its bytecode is in the folder `bytecode`."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(module)],
        env=environment | {"PYTHONPYCACHEPREFIX": bytecode}, cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(result.stdout)


def measure(rounds: int) -> dict[str, float]:
    """Return the median milliseconds of each import, by module."""
    found: dict[str, list[float]] = {"numpy": [], "minidl": []}
    with tempfile.TemporaryDirectory() as bytecode:
        for _ in range(1 + rounds):
            for module, times in found.items():
                times.append(milliseconds(module, bytecode))
    return {module: median(times[1:]) for module, times in found.items()}  # the first round compiles


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=number, default=15, help="measured processes per import")
    parser.add_argument("--limit", type=float, default=None, help="exit with 1 if the ratio is larger")
    options = parser.parse_args()
    medians = measure(options.rounds)
    ratio = medians["minidl"] / medians["numpy"]
    print(machine())
    print(f"import numpy   {medians['numpy']:6.1f} ms")
    print(f"import minidl  {medians['minidl']:6.1f} ms, {ratio:.2f} times as long")
    sys.exit(options.limit is not None and ratio > options.limit)


if __name__ == "__main__":
    main()
