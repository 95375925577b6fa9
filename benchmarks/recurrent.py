"""Measure the time of recurrent layers, forward and backward, and compare it with PyTorch's.

    python benchmarks/recurrent.py [--rounds 5] [--layers LSTM GRU SimpleRNN] [--threads 2] [--torch-python PATH]

The layers have 64 units; the input has 32 rows, 100 steps and 64 features of float32. Its gradient is computed, too.
Each contestant is a separate process, and they take turns. A round's time is the median of 30 passes. "halves" means
two threads with 16 rows each: `Trainer` computes such a batch in this way. If PyTorch is installed in another
environment, give its Python with --torch-python.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

ROWS, TIME, FEATURES, UNITS, PASSES = 32, 100, 64, 64, 30
WAYS = ("numpy", "numpy, halves", "compiled", "compiled, halves", "pytorch")


def time_passes(run: Callable[[], object]) -> float:
    """Return the median time of a pass, in milliseconds."""
    seconds = []
    for _ in range(PASSES + 5):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return 1e3 * statistics.median(seconds[5:])


def of_minidl(kind: str, way: str, threads: int) -> float:
    import numpy as np

    import minidl
    from minidl.compiled import switch
    from minidl.threads import blas_threads, in_threads

    count = 2 if way.endswith("halves") else 1
    rng, rows = np.random.default_rng(0), ROWS // count
    work = []
    for _ in range(count):
        layer = getattr(minidl, kind)(UNITS, return_sequences=True)
        layer.set_up((TIME, FEATURES), 0)
        x, dy = (rng.normal(size=(rows, TIME, size)).astype(np.float32) for size in (FEATURES, UNITS))
        work.append((layer, x, dy))
    switch(way.startswith("compiled"))

    def passes(given: tuple) -> None:
        layer, x, dy = given
        layer.forward(x, training=True)
        layer.backward(dy)

    with blas_threads(threads // count):
        return time_passes(lambda: in_threads(passes, work, count))


def of_pytorch(kind: str, threads: int) -> float:
    import torch

    torch.set_num_threads(threads)
    layer = getattr(torch.nn, {"SimpleRNN": "RNN"}.get(kind, kind))(FEATURES, UNITS, batch_first=True)
    x, dy = torch.randn(ROWS, TIME, FEATURES, requires_grad=True), torch.randn(ROWS, TIME, UNITS)

    def passes() -> None:
        x.grad = None
        layer.zero_grad()
        layer(x)[0].backward(dy)

    return time_passes(passes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layers", nargs="+", default=["LSTM", "GRU", "SimpleRNN"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--torch-python", default=sys.executable)
    parser.add_argument("--contestant", nargs=2, metavar=("LAYER", "WAY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        kind, way = options.contestant
        found = of_pytorch(kind, options.threads) if way == "pytorch" else of_minidl(kind, way, options.threads)
        print(found)
        return
    print(f"{'milliseconds':<14}{'':<20}{'median':>8}{'least':>8}{'of pytorch':>12}")
    for kind in options.layers:
        times: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(options.rounds):
            for way, found in times.items():
                python = options.torch_python if way == "pytorch" else sys.executable
                command = [python, __file__, "--threads", str(options.threads), "--contestant", kind, way]
                done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
                found.append(float(done.stdout))
        medians = {way: statistics.median(found) for way, found in times.items()}
        for way, found in times.items():
            print(f"{kind:<14}{way:<20}{medians[way]:8.2f}{min(found):8.2f}{medians[way] / medians['pytorch']:12.2f}")


if __name__ == "__main__":
    main()
