"""Measure a training step of an embedding by vocabulary size: updating all rows, or only the rows that occurred.

    python benchmarks/embeddings.py [--vocabularies 500 5000 50000 500000] [--optimizers SGD Adagrad Adam] [--compiled]

The network is the workload "embedding" of ``peers.py``: 64 features, 32 x 64 ids per step, their mean, and 10 classes.
To update all rows, the run has a callback for gradients: it could change the gradient of any row. The two ways take
turns, epoch by epoch. Times are lower quartiles, because other programs can only increase them. "update" is the whole
parameter update.

At the end it compares how far a row moves in 1,000 steps of Adam, and of a "lazy" Adam that skips rows that do not
occur in a step.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable

import numpy as np

from minidl import (
    SGD,
    Adagrad,
    Adam,
    Dense,
    Embedding,
    FunctionCallback,
    GlobalAveragePool1D,
    Sequential,
    SoftmaxCrossEntropy,
    Trainer,
)
from minidl.compiled import switch
from minidl.errors import DataWarning
from minidl.training import trainer as training

OPTIMIZERS = {"SGD": SGD, "Adagrad": Adagrad, "Adam": Adam}
POSITIONS, UNITS, CLASSES, BATCH = 64, 64, 10, 32
WAYS = {"all rows": [FunctionCallback(lambda trainer: None, moment="on_gradients")], "rows that occur": []}


class Calls:
    """Record when methods are called and how long they take; `stop` restores the methods."""

    def __init__(self) -> None:
        self.starts: dict[str, list[float]] = defaultdict(list)
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self._left: list[tuple[object, str, Callable]] = []

    def watch(self, owner: object, method: str) -> None:
        original = getattr(owner, method)

        def timed(*arguments, **options):
            start = time.perf_counter()
            returned = original(*arguments, **options)
            self.starts[method].append(start)
            self.seconds[method].append(time.perf_counter() - start)
            return returned

        self._left.append((owner, method, original))
        setattr(owner, method, timed)

    def stop(self) -> None:
        for owner, method, original in self._left:
            setattr(owner, method, original)


def measure(trainer: Trainer, x: np.ndarray, y: np.ndarray, callbacks: Iterable) -> list[list[float]]:
    """Train for an epoch; return the seconds of each step and of its parts, and the seconds of the end of the epoch."""
    calls, embedding = Calls(), trainer.model.layers[0]
    for owner, method in (
        *((embedding, "forward"), (embedding, "backward")),
        *((training, "move_rows"), (trainer.optimizer, "apply")),
    ):
        calls.watch(owner, method)
    trainer.fit(x, y, progress=False, callbacks=callbacks)
    end = time.perf_counter() - calls.starts["apply"][-1]
    calls.stop()
    update = np.add(calls.seconds["move_rows"], calls.seconds["apply"])
    steps = np.diff(calls.starts["forward"])
    return [steps, calls.seconds["forward"], calls.seconds["backward"], update, [end]]


def compare_adams(every: int) -> tuple[float, float]:
    """Return how far lazy Adam moves, and the distance between both ends; both are divided by how far Adam moves."""
    rng, (adam, lazy) = np.random.default_rng(0), (Adam(1e-3), Adam(1e-3))
    p, q = np.zeros(10_000), np.zeros(10_000)
    for step in range(1_000):
        occurs = step % every == 0
        gradient = rng.normal(1, 1, p.shape) if occurs else np.zeros_like(p)
        adam.apply(p, gradient)
        if occurs:
            lazy.apply(q, gradient)
        else:
            lazy.step += 1
    return float(np.linalg.norm(q) / np.linalg.norm(p)), float(np.linalg.norm(q - p) / np.linalg.norm(p))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabularies", type=int, nargs="+", default=[500, 5_000, 50_000, 500_000], metavar="IDS")
    parser.add_argument("--optimizers", nargs="+", choices=OPTIMIZERS, default=list(OPTIMIZERS), metavar="NAME")
    parser.add_argument("--compiled", action="store_true", help="use compiled code")
    parser.add_argument("--steps", type=int, default=20, help="steps per epoch (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="measured epochs of each way (default %(default)s)")
    options = parser.parse_args()
    warnings.simplefilter("ignore", DataWarning)  # so few steps learn nothing
    switch(options.compiled)
    print(f"milliseconds of a step, {'compiled' if options.compiled else 'NumPy'}")
    titles = ["step", "forward", "backward", "update", "epoch's end"]
    print(
        f"{'optimizer':<10}{'vocabulary':>10}  {'':<15}{''.join(f'{title:>10}' for title in titles[:4])}{titles[4]:>13}"
    )
    for name in options.optimizers:
        for vocabulary in options.vocabularies:
            rng, rows = np.random.default_rng(0), options.steps * BATCH
            x, y = rng.integers(0, vocabulary, (rows, POSITIONS)), rng.integers(0, CLASSES, rows)
            layers = [Embedding(vocabulary, UNITS), GlobalAveragePool1D(), Dense(CLASSES), SoftmaxCrossEntropy()]
            model = Sequential(layers, input_shape=POSITIONS, seed=0)
            trainer = Trainer(model, OPTIMIZERS[name](1e-3), batch_size=BATCH, seed=0)
            found: dict[str, list] = {way: [] for way in WAYS}
            for _ in range(1 + options.rounds):  # the first does not count
                for way, callbacks in WAYS.items():
                    found[way].append(measure(trainer, x, y, callbacks))
            for way, rounds in found.items():
                times = [1e3 * np.quantile(np.concatenate(parts), 0.25) for parts in zip(*rounds[1:], strict=True)]
                cells = [f"{each:>10.3f}" for each in times[:4]] + [f"{times[4]:>13.1f}"]
                print(f"{name:<10}{vocabulary:>10,}  {way:<15}{''.join(cells)}", flush=True)
    if "Adam" in options.optimizers:
        print("\na row that occurs in each       lazy Adam by Adam  difference by Adam")
        for every in (1, 5, 25, 125):
            moved, apart = compare_adams(every)
            print(f"{every:>4}th step{'':<18}{moved:>19.2f}{apart:>20.2f}")


if __name__ == "__main__":
    main()
