"""Measure the gain of each regularization method and each schedule on MNIST, added one at a time to a plain network.

    python benchmarks/ablations.py                    # all studies: 10 minutes
    python benchmarks/ablations.py --quick            # few rows and epochs: within two minutes

The plain network is 784-128-64-10 with He initialization, trained with Adam in batches of 128. Every variant runs with
the same seeds. Regularization is studied on 50,000 and on 5,000 training rows, schedules on 50,000. Accuracies are
measured on 10,000 held-out rows of MNIST's training images. docs/regularization.md and docs/schedules.md explain the
numbers; ``--document docs`` updates them there.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from reports import machine, mnist_folder, number, put_into_document, table_text
from threadpoolctl import threadpool_limits

from minidl import (
    L1,
    L2,
    Adam,
    AdamW,
    Average,
    BatchNorm,
    Callback,
    CosineDecay,
    CosineRestarts,
    Dense,
    Dropout,
    EarlyStopping,
    ExponentialDecay,
    ExponentialMovingAverage,
    GaussianNoise,
    Layer,
    LayerNorm,
    MaxNorm,
    OneCycle,
    Optimizer,
    PolynomialDecay,
    ReduceLROnPlateau,
    ReLU,
    Rescale,
    Sequential,
    SoftmaxCrossEntropy,
    StepDecay,
    StochasticWeightAveraging,
    Trainer,
    Warmup,
)
from minidl.data import load_mnist, train_validation_split
from minidl.errors import MinidlError
from minidl.training.processes import run_tasks
from minidl.typing import Array

BATCH = 128


@dataclass
class Variant:
    """A change to the plain network. The functions get the number of steps of the run."""

    name: str
    dense: dict[str, Any] = field(default_factory=dict)
    after_dense: Callable[[], list[Layer]] = list
    after_relu: Callable[[], list[Layer]] = list
    loss: Callable[[], SoftmaxCrossEntropy] = SoftmaxCrossEntropy
    optimizer: Callable[[int], Optimizer] = lambda steps: Adam()
    average: Callable[[int], Average | None] = lambda steps: None
    callbacks: Callable[[], list[Callback]] = list

    def build(self, seed: int) -> Sequential:
        layers: list[Layer] = [Rescale(1 / 255)]
        for units in (128, 64):
            layers += [Dense(units, **self.dense), *self.after_dense(), ReLU(), *self.after_relu()]
        return Sequential([*layers, Dense(10), self.loss()], input_shape=784, seed=seed)


REGULARIZATION = [
    Variant("plain"),
    Variant("L2(1e-4)", dense={"regularizer": L2(1e-4)}),
    Variant("L1(1e-5)", dense={"regularizer": L1(1e-5)}),
    Variant("MaxNorm(2)", dense={"constraint": MaxNorm(2)}),
    Variant("AdamW, weight_decay 0.1", optimizer=lambda steps: AdamW(weight_decay=0.1)),
    Variant("Dropout(0.2)", after_relu=lambda: [Dropout(0.2)]),
    Variant("Dropout(0.5)", after_relu=lambda: [Dropout(0.5)]),
    Variant("GaussianNoise(0.3)", after_relu=lambda: [GaussianNoise(0.3)]),
    Variant("label smoothing 0.1", loss=lambda: SoftmaxCrossEntropy(label_smoothing=0.1)),
    Variant("BatchNorm", after_dense=lambda: [BatchNorm()]),
    Variant("LayerNorm", after_dense=lambda: [LayerNorm()]),
    Variant("BatchNorm and Dropout(0.2)", after_dense=lambda: [BatchNorm()], after_relu=lambda: [Dropout(0.2)]),
    Variant("average of weights, EMA", average=lambda steps: ExponentialMovingAverage(0.999)),
    Variant("average of weights, SWA", average=lambda steps: StochasticWeightAveraging(start=steps // 2)),
    Variant("early stopping, patience 3", callbacks=lambda: [EarlyStopping("val_accuracy", patience=3)]),
]

RATE = 3e-3
"""The initial rate of the schedules: too high for a constant rate, so the way it falls matters."""

SCHEDULES = [
    Variant("constant 0.001", optimizer=lambda steps: Adam(1e-3)),
    Variant("constant 0.003", optimizer=lambda steps: Adam(RATE)),
    Variant("StepDecay, 3 times by 0.3", optimizer=lambda steps: Adam(StepDecay(RATE, every=steps // 4, factor=0.3))),
    Variant("ExponentialDecay to 1 %", optimizer=lambda steps: Adam(ExponentialDecay(RATE, steps=steps, factor=0.01))),
    Variant("PolynomialDecay, linear to 0", optimizer=lambda steps: Adam(PolynomialDecay(RATE, steps=steps))),
    Variant("CosineDecay to 0", optimizer=lambda steps: Adam(CosineDecay(RATE, steps=steps))),
    Variant("CosineRestarts, 3 periods", optimizer=lambda steps: Adam(CosineRestarts(RATE, steps=-(-steps // 7)))),
    Variant("OneCycle", optimizer=lambda steps: Adam(OneCycle(RATE, steps=steps))),
    Variant(
        "Warmup, then CosineDecay",
        optimizer=lambda steps: Adam(Warmup(CosineDecay(RATE, steps=steps - steps // 20), steps=steps // 20)),
    ),
    Variant(
        "ReduceLROnPlateau by 0.3",
        optimizer=lambda steps: Adam(RATE),
        callbacks=lambda: [ReduceLROnPlateau("val_loss", factor=0.3, patience=2)],
    ),
]


@dataclass
class Study:
    """Variants to compare on a number of rows; `name` is the name of the block in `document`."""

    name: str
    document: str
    variants: list[Variant]
    rows: int
    epochs: int


STUDIES = [
    Study("regularization, 50,000 rows", "regularization.md", REGULARIZATION, 50_000, 20),
    Study("regularization, 5,000 rows", "regularization.md", REGULARIZATION, 5_000, 40),
    Study("schedules", "schedules.md", SCHEDULES, 50_000, 15),
]


def train(variant: Variant, seed: int, epochs: int, data: tuple[Array, Array, Array, Array]) -> dict[str, Any]:
    """Train one variant with one seed, in one thread; return its metrics."""
    x, x_validation, y, y_validation = data
    with threadpool_limits(1):
        steps = epochs * -(-len(x) // BATCH)
        optimizer, average = variant.optimizer(steps), variant.average(steps)
        trainer = Trainer(variant.build(seed), optimizer, batch_size=BATCH, seed=seed, average=average)
        trainer.fit(
            x,
            y,
            epochs=epochs,
            validation_data=(x_validation, y_validation),
            callbacks=variant.callbacks(),
            progress=False,
        )
        trained, validated = trainer.evaluate(x, y), trainer.evaluate(x_validation, y_validation)
    return {
        "variant": variant.name,
        "training accuracy": trained["accuracy"],
        "validation accuracy": validated["accuracy"],
        "validation loss": validated["loss"],
    }


def run(study: Study, options: argparse.Namespace, data: tuple[Array, Array, Array, Array]) -> str:
    """Run all variants with all seeds; return the table."""
    calls = [
        functools.partial(train, variant, seed, study.epochs, data)
        for seed in range(1, options.seeds + 1)
        for variant in study.variants
    ]
    results = pd.DataFrame(run_tasks(calls, processes=options.jobs, name=study.name, progress=True))
    grouped = results.groupby("variant")
    mean, deviation = grouped.mean(), grouped.std(ddof=1).fillna(0)

    def column(name: str, digits: int, scale: float = 1) -> pd.Series:
        return (mean[name] * scale).map(f"{{:.{digits}f}}".format) + (deviation[name] * scale).map(
            f" ± {{:.{digits}f}}".format
        )

    table = pd.DataFrame(
        {
            "validation accuracy": column("validation accuracy", 2, 100),
            "train accuracy": column("training accuracy", 2, 100),
            "validation loss": column("validation loss", 4),
        }
    ).reindex([variant.name for variant in study.variants])
    rows = f"{len(data[0]):,} rows to train, {len(data[1]):,} to validate"
    return (
        f"{study.name}: 784-128-64-10, {rows}, {study.epochs} epochs, Adam, batch {BATCH};\nmean ± standard deviation "
        f"over {options.seeds} seeds, accuracies in %\n{machine()}\n\n"
        f"{table_text(table)}"
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--only", choices=["regularization", "schedules"], help="run only one of the two (default: both)")
    add("--seeds", type=number, default=3, help="runs of each variant (default: %(default)s)")
    add("--quick", action="store_true", help="use 2,000 rows and 4 epochs")
    add("--data", type=Path, metavar="PATH", help="MNIST's folder or CSV file (default: found or downloaded)")
    add("--jobs", type=number, default=os.cpu_count(), help="processes at a time (default: one per core)")
    add("--document", type=Path, metavar="DIR", help="put the tables into the documents of this folder")
    options = parser.parse_args(arguments)
    mnist = load_mnist(mnist_folder(options.data))
    x, x_validation, y, y_validation = train_validation_split(mnist.x_train, mnist.y_train, 1 / 6, seed=0)
    for study in STUDIES:
        if options.only and not study.name.startswith(options.only):
            continue
        if options.quick:
            study.rows, study.epochs = 2_000, 4
        data = (x[: study.rows], x_validation, y[: study.rows], y_validation)
        text = run(study, options, data)
        print(f"\n{text}", flush=True)
        if options.document:
            put_into_document(options.document / study.document, study.name, text)


if __name__ == "__main__":
    try:
        main()
    except (MinidlError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")
