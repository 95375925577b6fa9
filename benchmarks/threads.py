"""Where a second BLAS thread pays: the time of a training step with one thread and with all, by shape.

    python benchmarks/threads.py [--rounds 5] [--busy]

Networks of one hidden layer, trained with SGD on random rows, float32. The two kinds of runs take turns; each figure is
the median of its rounds. With --busy, as many other processes as there are cores compute all the while.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator

import numpy as np

from minidl import SGD, Dense, ReLU, Sequential, SoftmaxCrossEntropy, Trainer

INPUTS, UNITS, ROWS = (64, 256, 784, 2048), (64, 128, 512, 1024), (32, 64, 128, 256, 1024)


def spin() -> None:
    while True:
        sum(range(100_000))


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """Within, so many other processes compute."""
    others = [multiprocessing.Process(target=spin, daemon=True) for _ in range(processes)]
    for other in others:
        other.start()
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.join()


def seconds_per_step(inputs: int, units: int, rows: int, threads: int, rounds: int) -> Iterator[float]:
    """Yield the time of a step again and again, each time of a `fit` of at least 20 ms."""
    rng = np.random.default_rng(0)
    steps = max(2, min(200, 60_000_000 // (inputs * units * rows)))
    x = rng.random((rows * steps, inputs), dtype=np.float32)
    y = rng.integers(0, 10, len(x))
    model = Sequential([Dense(units), ReLU(), Dense(10), SoftmaxCrossEntropy()], input_shape=inputs, seed=0)
    trainer = Trainer(model, SGD(1e-3), batch_size=rows, seed=0, threads=threads)
    trainer.fit(x, y, progress=False)
    for _ in range(rounds):
        start = time.perf_counter()
        trainer.fit(x, y, progress=False)
        yield (time.perf_counter() - start) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--busy", action="store_true", help="beside as many busy processes as there are cores")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), metavar="N", help="default: the cores")
    options = parser.parse_args()
    shapes = [(rows, inputs, units) for rows in ROWS for inputs in INPUTS for units in UNITS]
    shapes.sort(key=lambda shape: shape[0] * shape[1] * shape[2])
    print(f"{'multiplications':>15}  {'rows x inputs x units':>21}  {'1 thread':>11}  {options.threads} threads  ratio")
    ratios: dict[int, list[float]] = {}
    with busy(os.cpu_count() or 1) if options.busy else contextlib.nullcontext():
        for rows, inputs, units in shapes:
            runs = (seconds_per_step(inputs, units, rows, n, options.rounds) for n in (1, options.threads))
            one, several = (statistics.median(times) for times in zip(*zip(*runs, strict=True), strict=True))
            shape = f"{rows} x {inputs} x {units}"
            times = f"{one * 1e6:8,.0f} us  {several * 1e6:6,.0f} us  {several / one:5.2f}"
            print(f"{rows * inputs * units:15,}  {shape:>21}  {times}", flush=True)
            ratios.setdefault(math.frexp(rows * inputs * units)[1] // 2 * 2, []).append(several / one)
    print("\nby size                      median ratio    from    to")
    for power, found in ratios.items():
        size = f"2^{power - 1} to 2^{power + 1} multiplications"
        print(f"{size:27}  {statistics.median(found):12.2f}  {min(found):6.2f} {max(found):5.2f}")


if __name__ == "__main__":
    main()
