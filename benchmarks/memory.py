"""Measure the memory of training with 60,000 uint8 images, with a memory map of 2,000,000 rows, and with convolutions.

    python benchmarks/memory.py

From a memory map, only the rows of a step are copied. The pages that were read from the file stay in the system's
cache. They count as memory of the process until the system needs them for something else; the column "its own" excludes
them. The process with the map may itself allocate at most 600 MB (RLIMIT_DATA); above this it ends with an error. The
benchmark runs only on Linux, because it reads the numbers from /proc.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

LIMIT = 600
"""The limit of the process with the memory map, in MB."""


class PeakMemory:
    """The peak memory so far, in MB: of the whole process, and without the pages of files."""

    def __init__(self) -> None:
        self.own = 0.0

    def look(self) -> None:
        self.own = max(self.own, _status("RssAnon"))

    def report(self) -> dict[str, float]:
        self.look()
        return {"whole": _status("VmHWM"), "own": self.own}


def _status(name: str) -> float:
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(text.split(f"{name}:")[1].split()[0]) / 1024


def train(x, y, batch_size: int | None, epochs: int) -> dict[str, float]:
    """Train 784-128-64-10; return the process's peak memory."""
    from minidl import SGD, Callback, Dense, ReLU, Rescale, Sequential, SoftmaxCrossEntropy, Trainer

    peak = PeakMemory()

    class Look(Callback):
        def on_gradients(self, trainer: Trainer) -> None:
            if trainer.step % 100 == 0:
                peak.look()

    layers = [Rescale(1 / 255), Dense(128), ReLU(), Dense(64), ReLU(), Dense(10), SoftmaxCrossEntropy()]
    trainer = Trainer(Sequential(layers, seed=0), SGD(0.01), batch_size=batch_size, seed=0)
    held_out = len(x) // 5
    trainer.fit(x, y, epochs=epochs, validation_data=(x[:held_out], y[:held_out]), callbacks=[Look()], progress=False)
    return peak.report()


def convolve(rng) -> dict[str, float]:
    """Train 32 and 64 filters on 640 images, evaluate 10,000, and return the growth of the process's memory.

    The growth does not include the model and the images.
    """
    import numpy as np

    from minidl import SGD, Conv2D, Dense, Flatten, MaxPool2D, ReLU, Sequential, SoftmaxCrossEntropy, Trainer

    layers = [Conv2D(32, 3), ReLU(), Conv2D(64, 3), ReLU(), MaxPool2D(2), Flatten(), Dense(10), SoftmaxCrossEntropy()]
    trainer = Trainer(Sequential(layers, input_shape=(28, 28, 1), seed=0), SGD(0.01), batch_size=64, seed=0)
    x, y = rng.random((10_000, 28, 28, 1), dtype=np.float32), rng.integers(0, 10, 10_000)
    before = _status("VmRSS")
    trainer.fit(x[:640], y[:640], progress=False)
    trained = _status("VmHWM") - before
    trainer.evaluate(x, y)
    return {"training": trained, "evaluation": _status("VmHWM") - before}


def run(job: str, folder: Path) -> dict[str, float]:
    """Run one job in the measured process."""
    import numpy as np

    rng = np.random.default_rng(0)
    if job == "convolutions":
        return convolve(rng)
    if job == "map":
        resource.setrlimit(resource.RLIMIT_DATA, (LIMIT * 2**20,) * 2)
        x = np.load(folder / "x.npy", mmap_mode="r")
        return train(x, rng.integers(0, 10, len(x)), 64, epochs=1)
    x = rng.integers(0, 256, (60_000, 784), dtype=np.uint8)
    return train(x, rng.integers(0, 10, len(x)), 64 if job == "batch 64" else None, epochs=2)


def write_rows(path: Path, rows: int) -> None:
    """Write random pixels, in pieces."""
    import numpy as np

    rng, piece = np.random.default_rng(0), 50_000
    file = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(rows, 784))
    for start in range(0, rows, piece):
        stop = min(start + piece, rows)
        file[start:stop] = rng.integers(0, 256, (stop - start, 784), dtype=np.uint8)


def peaks(job: str, folder: str) -> dict[str, float]:
    """Call `run` in a separate process, and return its result."""
    command = [sys.executable, __file__, "--job", job, "--folder", folder]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000, help="rows of the memory map (default %(default)s)")
    parser.add_argument("--folder", type=Path, help="where to write the memory map (default: a temporary folder)")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        print(json.dumps(run(arguments.job, arguments.folder)))
        return
    if not Path("/proc/self/status").exists():
        parser.exit(2, "this benchmark reads /proc, which this system does not have: run it on Linux\n")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        write_rows(Path(folder) / "x.npy", arguments.rows)
        print("MB at the peak, training 784-128-64-10     whole process   its own")
        for job, title in {
            "batch 64": "60,000 images of uint8, batch 64",
            "full batch": "60,000 images of uint8, full batch",
            "map": f"memory map, {arguments.rows:,} rows, batch 64",
        }.items():
            peak = peaks(job, folder)
            print(f"{title:<42}{peak['whole']:14.0f}{peak['own']:10.0f}", flush=True)
        grown = peaks("convolutions", folder)
        print("growth of the peak in MB, 32 and 64 filters on images of 28 x 28")
        print(f"{'640 images, batch 64':<42}{grown['training']:14.0f}")
        print(f"{'and 10,000 images evaluated':<42}{grown['evaluation']:14.0f}")


if __name__ == "__main__":
    main()
