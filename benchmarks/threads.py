"""Measure where a second thread helps: the time of a training step with one thread and with several, by shape.

    python benchmarks/threads.py [--rounds 5] [--busy]
    python benchmarks/threads.py --large

The first table is for BLAS threads in matrix products. The second is for large batches and images, where two threads
compute half of the batch each; --large prints only this table.

The networks of the first table have one hidden layer, and train with SGD on random rows of float32. Runs with one and
with several threads take turns; each number is the median of its rounds. With --busy, one other process per core
computes all the time, but only during the first table.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import itertools
import math
import multiprocessing
import os
import statistics
import time
import warnings
from collections.abc import Iterator

import numpy as np

from minidl import (
    SGD,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    Layer,
    MaxPool2D,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
    Trainer,
)
from minidl.errors import DataWarning

INPUTS, UNITS, ROWS = (64, 256, 784, 2048), (64, 128, 512, 1024), (32, 64, 128, 256, 1024)


def dense(*units: int) -> list[Layer]:
    return [layer for each in units for layer in (Dense(each), ReLU())]


def convolutions(normalized: bool) -> list[Layer]:
    blocks = (
        [Conv2D(filters, 3, padding="same"), *[BatchNorm()] * normalized, ReLU(), MaxPool2D(2)] for filters in (16, 32)
    )
    return [*itertools.chain(*blocks), Flatten()]


LARGE = {
    "784-10-10, full batch": (dense(10), (784,), 20_000, 20_000),
    "784-128-64-10, full batch": (dense(128, 64), (784,), 20_000, 20_000),
    "two convolutions, batch 64": (convolutions(False), (28, 28, 1), 1_920, 64),
    "the same with BatchNorm": (convolutions(True), (28, 28, 1), 1_920, 64),
}


def spin() -> None:
    while True:
        sum(range(100_000))


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """Let other processes compute inside the `with` block."""
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
    """Yield the time of a step repeatedly, each measured in a `fit` of at least 20 ms."""
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


def print_large(rounds: int, threads: int) -> None:
    """Print an epoch's time for each network in `LARGE`, with one and several threads, and if the results agree."""
    rng = np.random.default_rng(0)
    print(f"{'':28}  {'1 thread':>11}  {threads} threads  ratio")
    for name, (layers, shape, rows, batch) in LARGE.items():
        x, y = rng.random((rows, *shape), dtype=np.float32), rng.integers(0, 10, rows)
        trainers = [
            Trainer(
                Sequential([*copy.deepcopy(layers), Dense(10), SoftmaxCrossEntropy()], input_shape=shape, seed=0),
                SGD(0.01), batch_size=batch, seed=0, threads=number,
            )
            for number in (1, threads)
        ]  # fmt: skip
        times: list[list[float]] = [[], []]
        for _ in range(1 + rounds):
            for trainer, found in zip(trainers, times, strict=True):
                start = time.perf_counter()
                trainer.fit(x, y, progress=False)
                found.append(time.perf_counter() - start)
        one, several = (statistics.median(found[1:]) * 1e3 for found in times)
        same = "the same bits" if np.array_equal(*(each.model.parameters for each in trainers)) else "OTHER BITS"
        print(f"{name:28}  {one:8.1f} ms  {several:6.1f} ms  {several / one:5.2f}  {same}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--busy", action="store_true", help="run one busy process per core at the same time")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), metavar="N", help="(default: one per core)")
    parser.add_argument("--large", action="store_true", help="print only the table of large batches")
    options = parser.parse_args()
    warnings.simplefilter("ignore", DataWarning)  # random rows contain nothing to learn
    if options.large:
        print_large(options.rounds, options.threads)
        return
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
    print()
    print_large(options.rounds, options.threads)


if __name__ == "__main__":
    main()
