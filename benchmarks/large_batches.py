"""Measure the accuracy lost with large batches for many machines, on MNIST: scaled rates, LARS, LAMB and local SGD.

    python benchmarks/large_batches.py                     # a few minutes, in one thread
    python benchmarks/large_batches.py --rows 8192 --seeds 1

784-128-64-10 trains for a fixed number of epochs, with batches of 64, 512 and 4,096 rows, and by local SGD (Stich 2019,
arXiv:1805.09767). In local SGD, each of eight workers takes steps on batches of 64 of its own rows, with its own
optimizer. After a fixed number of steps their parameters are averaged. Here the workers run one after the other.

The methods "same" and the scaled rates use the best rates for batches of 64. All other methods try seven rates once
each, and then train at the best one with other seeds. Accuracies are measured on held-out rows of MNIST's training
images. All rates fall linearly to 0 until the end of the run. With large batches, rates first rise over a tenth of the
steps, except for the method "same".
"""

from __future__ import annotations

import argparse
import functools
import math
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from reports import machine, mnist_folder, number, put_into_document, table_text
from threadpoolctl import threadpool_limits

from minidl import (
    Adam,
    Callback,
    Dense,
    Momentum,
    Optimizer,
    PolynomialDecay,
    ReLU,
    Rescale,
    Sequential,
    SoftmaxCrossEntropy,
    Trainer,
    Warmup,
)
from minidl.data import load_mnist, train_validation_split
from minidl.errors import DataWarning, DivergenceError, MinidlError
from minidl.typing import Array

BATCH = 64
"""The batch size whose best rates are scaled. The workers of local SGD use it, too."""

WORKERS = 8
SEARCH_SEED = 0
"""The seed of the runs that choose a rate. The compared runs have seeds from 1 on."""

Data = tuple[Array, Array, Array, Array]
"""Inputs for training and validation, and their labels."""


class LARS(Momentum):
    """Momentum with steps proportional to the norm of each weight array, whatever the norm of the gradient.

    For each array: ``v <- momentum v + learning_rate r g``, ``p <- p - v`` with ``r = |p| / |g|``; biases have r = 1.
    The paper's trust coefficient is part of the learning rate. There is no weight decay.

    Parameters
    ----------
    weights : sequence of slices
        The places of the weight arrays in the vector of all parameters.

    Source: You et al. (2017), arXiv:1708.03888, algorithm 1.
    """

    weights: Sequence[slice] = ()
    elementwise = False

    def update(self, p: Array, g: Array, learning_rate: float, v: Array) -> None:
        direction = learning_rate * g
        for part in self.weights:
            direction[part] *= ratio(p[part], g[part])
        v *= self.momentum
        v += direction
        p -= v


class LAMB(Adam):
    """Adam with steps proportional to the norm of each weight array.

    With Adam's m' and v': ``u = m' / (sqrt(v') + epsilon)``, and ``p <- p - learning_rate |p| / |u| u``; for biases
    ``p <- p - learning_rate u``. There is no weight decay.

    Parameters
    ----------
    weights : sequence of slices
        The places of the weight arrays in the vector of all parameters.

    Source: You et al. (2019), arXiv:1904.00962, algorithm 2, with the norm itself for phi.
    """

    weights: Sequence[slice] = ()
    elementwise = False

    def update(self, p: Array, g: Array, learning_rate: float, m: Array, v: Array) -> None:
        m += (1 - self.beta1) * (g - m)
        v += (1 - self.beta2) * (g * g - v)
        root = np.sqrt(v / (1 - self.beta2**self.step))
        direction = m / (1 - self.beta1**self.step) / (root + self.epsilon)
        for part in self.weights:
            direction[part] *= ratio(p[part], direction[part])
        p -= learning_rate * direction


def ratio(values: Array, direction: Array) -> float:
    """Return the norm of the values divided by the norm of the direction, or 1 if one of them is zero."""
    norms = float(np.linalg.norm(values)), float(np.linalg.norm(direction))
    return norms[0] / norms[1] if all(norms) else 1.0


class Pause(Callback):
    """Ends `fit` after a number of steps; the next `fit` continues from there."""

    every: int = 1

    def on_batch_end(self, trainer: Trainer) -> None:
        if trainer.step % self.every == 0:
            trainer.stop()


@dataclass
class Method:
    """A method of training, with its name in the table."""

    name: str
    batch: int
    kind: type[Optimizer]
    rates: tuple[float, ...]
    """The rates to choose from; a single rate is the rate of the method."""

    has_warmup: bool = True
    every: int | None = None
    """Local SGD averages parameters after this number of steps; None: there is only one model."""

    @property
    def column(self) -> str:
        """Return the table's column. Each column has fewer sums than the one before."""
        return f"every {self.every}" if self.every else f"batch {self.batch:,}"

    def sums(self, rows: int) -> int:
        """Return how often machines sum gradients or parameters in an epoch of this number of rows."""
        return -(-rows // (WORKERS * BATCH * self.every if self.every else self.batch))


RATES: dict[type[Optimizer], tuple[float, ...]] = {
    Momentum: (0.01, 0.03, 0.1, 0.3, 1.0),
    Adam: (0.001, 0.003, 0.01, 0.03, 0.1),
    LARS: (0.001, 0.003, 0.01, 0.03, 0.1),
    LAMB: (0.003, 0.01, 0.03, 0.1, 0.3),
}
"""Five rates for each optimizer, in half decades around the best rates for these batches."""

SCALINGS: dict[type[Optimizer], tuple[str, Callable[[float], float]]] = {
    Momentum: ("x k", lambda factor: factor),
    Adam: ("x sqrt(k)", math.sqrt),
}
"""How rates grow with the batch: Goyal et al. (2017), arXiv:1706.02677; Malladi et al. (2022), arXiv:2205.10287."""


def references() -> list[Method]:
    """Return the methods for small batches."""
    return [Method(f"{kind.__name__}, best", BATCH, kind, RATES[kind], has_warmup=False) for kind in (Momentum, Adam)]


def large_batches(batch: int, best: dict[type[Optimizer], float]) -> list[Method]:
    """Return the methods for a large batch; `best` has the best rates for small batches."""
    factor = batch // BATCH
    methods = []
    for kind, (words, scale) in SCALINGS.items():
        methods += [
            Method(f"{kind.__name__}, same", batch, kind, (best[kind],), has_warmup=False),
            Method(f"{kind.__name__}, {words}", batch, kind, (best[kind] * scale(factor),)),
        ]
    return methods + [Method(f"{kind.__name__}, best", batch, kind, rates) for kind, rates in RATES.items()]


def local_methods() -> list[Method]:
    return [
        Method(kind.__name__, BATCH, kind, RATES[kind], every=every)
        for kind in (Momentum, Adam)
        for every in (1, 8, 64)
    ]


# Runs


def build(seed: int) -> Sequential:
    hidden = [layer for units in (128, 64) for layer in (Dense(units), ReLU())]
    return Sequential([Rescale(1 / 255), *hidden, Dense(10), SoftmaxCrossEntropy()], input_shape=784, seed=seed)


def make_trainer(method: Method, rate: float, seed: int, steps: int, order: int = 0) -> Trainer:
    """Return a trainer of a new model; workers have the same initial model and a different `order`."""
    model = build(seed)
    warmup = steps // 10 if method.has_warmup else 0
    falling = PolynomialDecay(rate, steps=steps - warmup)
    schedule = Warmup(falling, steps=warmup, start=rate / (warmup + 1)) if warmup else falling
    weights = model.parts(lambda layer, parameter: parameter.decays)
    arguments = {"weights": weights} if method.kind in {LARS, LAMB} else {}
    optimizer = method.kind(schedule, **arguments)
    return Trainer(model, optimizer, batch_size=method.batch, seed=seed + 1000 * order, threads=1)


def train(method: Method, rate: float, seed: int, epochs: int, data: Data) -> float:
    """Train once; return the accuracy on the held-out rows, or 0 if the run diverged."""
    x, x_validation, y, y_validation = data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # the rate may be so high that nothing is learned
        try:
            if method.every:
                trainer = train_locally(method, rate, seed, epochs, data)
            else:
                trainer = make_trainer(method, rate, seed, epochs * -(-len(x) // method.batch))
                trainer.fit(x, y, epochs=epochs, progress=False)
        except DivergenceError:
            return 0.0
    return trainer.evaluate(x_validation, y_validation)["accuracy"]


def train_locally(method: Method, rate: float, seed: int, epochs: int, data: Data) -> Trainer:
    """Train the workers, each with its own rows and momentum, and average their parameters."""
    x, _, y, _ = data
    shards = [slice(worker, None, WORKERS) for worker in range(WORKERS)]
    steps = epochs * -(-len(y[shards[0]]) // method.batch)
    workers = [make_trainer(method, rate, seed, steps, order) for order in range(WORKERS)]
    rows = [(np.ascontiguousarray(x[shard]), y[shard]) for shard in shards]
    pause = Pause(every=method.every)
    while workers[0].epoch < epochs:
        for trainer, (own_x, own_y) in zip(workers, rows, strict=True):
            trainer.fit(own_x, own_y, epochs=epochs - trainer.epoch, callbacks=[pause], progress=False)
        mean = np.mean([trainer.model.parameters for trainer in workers], axis=0)
        for trainer in workers:
            trainer.model.parameters[...] = mean
    return workers[0]


def search(method: Method, epochs: int, data: Data) -> float:
    """Return the best rate for one seed, of the method's rates and of two more next to the best of them."""
    if len(method.rates) == 1:
        return method.rates[0]

    @functools.cache
    def score(rate: float) -> float:
        return train(method, rate, SEARCH_SEED, epochs, data)

    best = max(method.rates, key=score)
    return max([best, best * 10**0.25, best / 10**0.25], key=score)


def compare(method: Method, options: argparse.Namespace, data: Data) -> dict[str, str]:
    """Choose the rate, train at this rate with several seeds, and return the entries of the table."""
    start = time.perf_counter()
    rate = search(method, options.epochs, data)
    seeds = range(SEARCH_SEED + 1, SEARCH_SEED + 1 + options.seeds)
    accuracies = 100 * np.array([train(method, rate, seed, options.epochs, data) for seed in seeds])
    deviation = accuracies.std(ddof=1) if len(seeds) > 1 else 0.0
    print(f"{method.name}, {method.column}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    return {
        "name": method.name,
        "column": method.column,
        "rate": f"{rate:.2g}",
        "sums": str(method.sums(len(data[0]))),
        "accuracy": f"{accuracies.mean():.1f} ± {deviation:.1f}" if accuracies.all() else "diverged",
    }


def format_table(results: list[dict[str, str]]) -> str:
    """Format accuracies and rates: a row with the number of sums, then a row for each method."""
    frame = pd.DataFrame(results)
    frame["cell"] = frame["accuracy"] + " (" + frame["rate"] + ")"
    cells = frame.pivot(index="name", columns="column", values="cell")
    cells.loc["sums an epoch"] = frame.groupby("column")["sums"].first()
    order = ["sums an epoch", *frame["name"].unique()]
    return table_text(cells.reindex(index=order, columns=frame["column"].unique()).fillna("-"))


def report(large: list[dict[str, str]], local: list[dict[str, str]], data: Data, options: argparse.Namespace) -> str:
    """Return the whole report."""
    return (
        f"784-128-64-10 on MNIST, {options.epochs} epochs of {len(data[0]):,} rows, {len(data[1]):,} to validate;\n"
        f"validation accuracy in %, mean ± deviation over {options.seeds} seeds (learning rate)\n{machine()}\n\n"
        f"{format_table(large)}\n\nlocal SGD, {WORKERS} workers, batch {BATCH}\n{format_table(local)}"
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--rows", type=number, default=32_768, help="training rows (default: %(default)s)")
    add("--epochs", type=number, default=5, help="epochs of each run (default: %(default)s)")
    add("--seeds", type=number, default=3, help="runs of each method at its best rate (default: %(default)s)")
    add("--data", type=Path, metavar="PATH", help="MNIST's folder or CSV file (default: found or downloaded)")
    add("--document", type=Path, metavar="FILE", help="put the table into this document")
    options = parser.parse_args(arguments)
    mnist = load_mnist(mnist_folder(options.data))
    x, x_validation, y, y_validation = train_validation_split(mnist.x_train, mnist.y_train, 1 / 6, seed=0)
    data = (x[: options.rows], x_validation, y[: options.rows], y_validation)
    with threadpool_limits(1):
        large = [compare(method, options, data) for method in references()]
        best = dict(zip((Momentum, Adam), (float(result["rate"]) for result in large), strict=True))
        methods = [*large_batches(512, best), *large_batches(4096, best)]
        large += [compare(method, options, data) for method in methods]
        local = [compare(method, options, data) for method in local_methods()]
    text = report(large, local, data, options)
    print(text)
    if options.document:
        put_into_document(options.document, "large batches", text)


if __name__ == "__main__":
    try:
        main()
    except (MinidlError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")
