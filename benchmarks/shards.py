"""Measure training on data larger than memory: the memory of the process, and its speed compared with data in memory.

    python benchmarks/shards.py --gigabytes 4 [--kind npy] [--folder /tmp]

The benchmark writes shards with 25 MB of float32 pixels each, and trains 784-128-64-10 on them for one epoch, batch 64,
in a separate process. With pairs of .npy files this process may allocate at most 600 MB (RLIMIT_DATA); above this it
ends with an error. Another process trains on the rows of the first files in memory. "Its own" memory excludes the pages
of files, because the system can free them at any time. The benchmark runs only on Linux, because it reads the numbers
from /proc. It deletes the files at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from memory import LIMIT, PeakMemory

ROWS, PIXELS, BATCH, BUFFER = 8_000, 784, 64, 4
BYTES_OF_FILE = ROWS * PIXELS * 4


def write_shards(folder: Path, files: int, kind: str) -> None:
    """Write files of random pixels, with labels that depend on them, and drop them from the system's file cache."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(0)
    for number in range(files):
        x = rng.random((ROWS, PIXELS), dtype=np.float32)
        y, path = x[:, :10].argmax(axis=1), folder / f"x_{number:05}.{kind}"
        if kind == "npy":
            np.save(path, x)
            np.save(folder / f"y_{number:05}.npy", y)
        elif kind == "npz":
            np.savez(path, x=x, y=y)
        else:
            pd.DataFrame(x).add_prefix("pixel_").assign(y=y).to_parquet(path)
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def train(x, y) -> dict[str, float]:
    """Train 784-128-64-10 for an epoch; return the process's peak memory and the rows per second."""
    from minidl import SGD, Dense, ReLU, Sequential, SoftmaxCrossEntropy, Trainer

    layers = [Dense(128), ReLU(), Dense(64), ReLU(), Dense(10), SoftmaxCrossEntropy()]
    trainer = Trainer(Sequential(layers, seed=0), SGD(0.01), batch_size=BATCH, seed=0)
    trainer.fit(x[: 2 * BATCH], y[: 2 * BATCH], progress=False)  # compiles, if numba is installed
    peak, ended = PeakMemory(), threading.Event()

    def look() -> None:  # not in a callback: it would be called in each step
        while not ended.wait(0.05):
            peak.look()

    looking = threading.Thread(target=look)
    looking.start()
    began = time.perf_counter()
    trainer.fit(x, y, progress=False)
    seconds = time.perf_counter() - began
    ended.set()
    looking.join()
    return peak.report() | {"rows": len(y) / seconds}


def run(job: str, folder: Path) -> dict[str, float]:
    """Run one job in the measured process."""
    from minidl.data import Shards

    files = sorted(folder.glob("x_*"))
    if job == "shards":
        if files[0].suffix == ".npy":
            resource.setrlimit(resource.RLIMIT_DATA, (LIMIT * 2**20,) * 2)
        data = Shards(folder, target="y", buffer=BUFFER)
        return train(data.x, data.y)
    data = Shards(files[: round(2e8 / BYTES_OF_FILE)], target="y")
    return train(data.x[...], data.y)


def in_process(job: str, folder: str) -> dict[str, float]:
    """Call `run` in a separate process, and return its result."""
    command = [sys.executable, __file__, "--job", job, "--folder", folder]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=0.4, help="size of the data (default %(default)s)")
    parser.add_argument(
        "--kind", choices=["npy", "npz", "parquet"], default="npy", help="kind of files (default %(default)s)"
    )
    parser.add_argument("--folder", type=Path, help="where to write the files (default: a temporary folder)")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        print(json.dumps(run(arguments.job, arguments.folder)))
        return
    if not Path("/proc/self/status").exists():
        parser.exit(2, "this benchmark reads /proc, which this system does not have: run it on Linux\n")
    files = max(round(arguments.gigabytes * 1e9 / BYTES_OF_FILE), BUFFER)
    in_memory = min(files, round(2e8 / BYTES_OF_FILE))
    titles = {"shards": f"{files} .{arguments.kind}, {BUFFER} at a time", "memory": f"{in_memory} of them in memory"}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        write_shards(Path(folder), files, arguments.kind)
        print("an epoch of 784-128-64-10          rows     GB   rows/s  whole process  its own (MB)")
        found = {}
        for job, count in (("shards", files), ("memory", in_memory)):
            found[job] = each = in_process(job, folder)
            size = f"{count * ROWS:>9,}{count * BYTES_OF_FILE / 1e9:>7.2f}"
            print(f"{titles[job]:<30}{size}{each['rows']:>9,.0f}{each['whole']:>15.0f}{each['own']:>9.0f}", flush=True)
    # Only the int64 labels grow with the rows. While they are joined, they are in memory twice.
    rows = round(20e9 / PIXELS / 4)
    more = 2 * 8 * (rows - files * ROWS) / 2**20
    print(
        f"20 GB, calculated: {rows:,} rows; their labels take {8 * rows / 2**20:.0f} MB, and twice as much while they"
    )
    print(f"are read: {found['shards']['own']:.0f} + {more:.0f} = {found['shards']['own'] + more:.0f} MB of its own")


if __name__ == "__main__":
    main()
