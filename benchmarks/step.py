"""Measure the microseconds of each part of a training step: layers, loss, optimizer, and the rest.

    python benchmarks/step.py [WORKLOAD ...]

It trains workloads of ``peers.py`` on random data, and times each call of each method during whole epochs. It measures
only NumPy code, because compiled code computes several layers in one call.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections import defaultdict

import numpy as np
from contestants.lineup import WORKLOADS
from contestants.minidl import network

from minidl import SGD, Adam, Trainer
from minidl.compiled import switch
from minidl.errors import DataWarning
from minidl.metrics import Metric
from minidl.training.rows import Rows

# No full batches: a replica of the model computes one half of them, and its methods are not timed.
SMALL = [each for each in WORKLOADS if each.kind == "training" and not each.network and each.batch < each.rows]
NAMES = [workload.name for workload in SMALL]


class Stopwatch:
    """The seconds spent in methods, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def watch(self, owner: object, method: str, name: str) -> None:
        """Time every call of a method of an object or a class from now on."""
        original = getattr(owner, method)

        def timed(*args, **options):
            start = time.perf_counter()
            try:
                return original(*args, **options)
            finally:
                self.seconds[name] += time.perf_counter() - start

        setattr(owner, method, timed)


def profile(workload, epochs: int) -> tuple[float, dict[str, float]]:
    """Train for some epochs; return the microseconds of a step and of its parts."""
    rng = np.random.default_rng(0)
    x = rng.random((workload.rows, workload.sizes[0]), dtype=np.float32)
    y = (
        rng.integers(0, 10, workload.rows)
        if workload.classifies
        else rng.random((workload.rows, workload.sizes[-1]), dtype=np.float32)
    )
    switch(False)
    model = network(workload)
    optimizer = {"sgd": SGD, "adam": Adam}[workload.optimizer](workload.learning_rate)
    trainer = Trainer(model, optimizer, batch_size=workload.batch, seed=0)
    trainer.fit(x, y, progress=False)

    stopwatch = Stopwatch()
    stopwatch.watch(Rows, "__getitem__", "rows of the batch")
    for layer in model.layers:
        stopwatch.watch(layer, "forward", f"{layer.name} forward")
    stopwatch.watch(model.loss, "total", "loss and its gradient")
    stopwatch.watch(Metric, "sums", "accuracy or error")
    for layer in reversed(model.layers):
        stopwatch.watch(layer, "backward", f"{layer.name} backward")
    stopwatch.watch(optimizer, "apply", f"{type(optimizer).__name__}")
    start = time.perf_counter()
    trainer.fit(x, y, epochs=epochs, progress=False)
    seconds = time.perf_counter() - start

    steps = epochs * -(-workload.rows // workload.batch)
    parts = {name: spent / steps * 1e6 for name, spent in stopwatch.seconds.items()}
    return seconds / steps * 1e6, parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", default=["deep-sgd", "deep-adam", "tiny"], metavar="WORKLOAD")
    parser.add_argument("--epochs", type=int, default=10, help="epochs to average over (default %(default)s)")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", DataWarning)  # random rows contain nothing to learn
    if unknown := set(arguments.workloads) - set(NAMES):
        parser.error(f"no workload {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    for workload in WORKLOADS:
        if workload.name in arguments.workloads:
            original = Rows.__getitem__, Metric.sums
            whole, parts = profile(workload, arguments.epochs)
            Rows.__getitem__, Metric.sums = original
            print(f"\n{workload.name}: {whole:.0f} microseconds a step")
            for name, microseconds in parts.items():
                print(f"  {name:<24}{microseconds:8.1f}")
            print(f"  {'everything else':<24}{whole - sum(parts.values()):8.1f}")


if __name__ == "__main__":
    main()
