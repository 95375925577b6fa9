"""Measure the gain of ensembles, test-time augmentation and temperature scaling on MNIST, alone and together.

    python benchmarks/predictions.py                  # the table, and reliability.png into docs/images
    python benchmarks/predictions.py --quick          # few rows and epochs: within a minute

The networks are 784-128-64-10 with He initialization, trained with Adam in batches of 128 on a few of MNIST's training
images: once on these images alone, and once also on shifted copies of them, with the same number of steps. Temperatures
are fitted on other training images, and all metrics are measured on the 10,000 test images. docs/prediction.md explains
them; ``--document docs`` updates them there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from reports import machine, mnist_folder, number, put_into_document, table_text

from minidl import (
    Adam,
    AugmentedPrediction,
    Dense,
    Ensemble,
    Predictor,
    ReLU,
    Rescale,
    Sequential,
    SoftmaxCrossEntropy,
    TemperatureScaling,
    Trainer,
)
from minidl.data import load_mnist, train_validation_split
from minidl.errors import MinidlError
from minidl.metrics import accuracy, expected_calibration_error
from minidl.training.progress import counted_on_bar
from minidl.typing import Array

MEMBERS, COPIES = 5, 3
"""The number of networks in an ensemble, and the number of shifted copies of each row, for networks that use them."""

COLUMNS = {"accuracy": (100, 2), "loss": (1, 4), "calibration error": (100, 2), "temperature": (1, 2)}
"""The factor and the number of digits of each metric in the table."""


@dataclass
class Rows:
    """Rows for training, for fitting temperatures, and for testing."""

    x: Array
    y: Array
    x_validation: Array
    y_validation: Array
    x_test: Array
    y_test: Array


def shift(images: Array, rng: np.random.Generator) -> Array:
    """Move each image of (N, 784) by at most one pixel along both axes; new pixels are black."""
    padded = np.pad(images.reshape(-1, 28, 28), ((0, 0), (1, 1), (1, 1)))
    down, right = rng.integers(0, 3, (2, len(images)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (28, 28), axis=(1, 2))
    return windows[np.arange(len(images)), down, right].reshape(images.shape)


def train(rows: Rows, seed: int, epochs: int, shifted: bool) -> Sequential:
    """Train one network, with or without shifted copies; both take the same number of steps."""
    x, y = rows.x, rows.y
    if shifted:
        rng = np.random.default_rng(seed)
        x = np.concatenate([x, *(shift(x, rng) for _ in range(COPIES))])
        y, epochs = np.tile(y, COPIES + 1), max(epochs // (COPIES + 1), 1)
    layers = [Rescale(1 / 255), Dense(128), ReLU(), Dense(64), ReLU(), Dense(10), SoftmaxCrossEntropy()]
    model = Sequential(layers, seed=seed)
    Trainer(model, Adam(), batch_size=128, seed=seed).fit(x, y, epochs=epochs, progress=False)
    return model


def evaluate(predictor: Sequential | Predictor, rows: Rows) -> dict[str, float]:
    """Return the metrics on the test images."""
    loss, scores = SoftmaxCrossEntropy(), predictor.predict_scores(rows.x_test)
    return {
        "accuracy": accuracy(rows.y_test, loss.decide(scores)),
        "loss": loss(scores, rows.y_test)[0],
        "calibration error": expected_calibration_error(rows.y_test, loss.activate(scores)),
        "temperature": getattr(predictor, "temperature", 1.0),
    }


def look_again(model: Sequential) -> Predictor:
    return AugmentedPrediction(model, shift)


def compare(models: list[Sequential], rows: Rows) -> dict[str, dict[str, float]]:
    """Return the mean metrics of the networks, and the metrics of the predictors made from them."""
    ways: dict[str, Callable[[], list[Sequential | Predictor]]] = {
        "one network": lambda: [*models],
        "8 shifted copies": lambda: [look_again(model) for model in models],
        f"ensemble of {MEMBERS}": lambda: [Ensemble(models)],
        "ensemble, 8 copies": lambda: [Ensemble([look_again(model) for model in models])],
    }
    found = {}
    for name, make in ways.items():
        predictors = make()
        scaled = [TemperatureScaling(each).fit(rows.x_validation, rows.y_validation) for each in predictors]
        for label, group in ((name, predictors), (f"{name}, temperature", scaled)):
            found[label] = pd.DataFrame([evaluate(each, rows) for each in group]).mean().to_dict()
    return found


def report(results: list[dict[str, dict[str, float]]]) -> str:
    """Return a table of means and standard deviations over the rounds."""
    cells = {}
    for name in results[0]:
        figures = pd.DataFrame([result[name] for result in results])
        mean, deviation = figures.mean(), figures.std(ddof=1).fillna(0)
        cells[name] = {
            column: f"{scale * mean[column]:.{digits}f} ± {scale * deviation[column]:.{digits}f}"
            for column, (scale, digits) in COLUMNS.items()
        }
    return table_text(pd.DataFrame(cells).T)


def draw(model: Sequential, rows: Rows, path: Path) -> None:
    """Draw the reliability of one network before and after its temperature."""
    import matplotlib

    matplotlib.use("Agg")
    from minidl import plots

    scaled = TemperatureScaling(model).fit(rows.x_validation, rows.y_validation)
    named = {"T = 1": model.predict_proba(rows.x_test)}
    named[f"T = {scaled.temperature:.2f}"] = scaled.predict_proba(rows.x_test)
    path.parent.mkdir(parents=True, exist_ok=True)
    plots.plot_reliability(rows.y_test, named).figure.savefig(path)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--rows", type=number, default=5_000, help="training rows (default: %(default)s)")
    add("--epochs", type=number, default=40, help="epochs on these rows (default: %(default)s)")
    add("--rounds", type=number, default=3, help=f"rounds, each with {MEMBERS} new networks (default: %(default)s)")
    add("--quick", action="store_true", help="use 1,000 rows, 8 epochs and 2 rounds")
    add("--data", type=Path, metavar="PATH", help="MNIST's folder or CSV file (default: found or downloaded)")
    add("--output", type=Path, default=Path("docs/images"), metavar="DIR", help="(default: %(default)s)")
    add("--document", type=Path, metavar="DIR", help="put the tables into prediction.md of this folder")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rows, options.epochs, options.rounds = 1_000, 8, 2
    mnist = load_mnist(mnist_folder(options.data))
    x, x_validation, y, y_validation = train_validation_split(mnist.x_train, mnist.y_train, 1 / 6, seed=0)
    rows = Rows(x[: options.rows], y[: options.rows], x_validation, y_validation, mnist.x_test, mnist.y_test)
    for name, shifted in (("trained on the rows", False), ("trained on shifted copies, too", True)):
        results, seeds = [], iter(range(options.rounds * MEMBERS))
        for number_of_round in counted_on_bar(range(options.rounds), options.rounds, name):
            models = [train(rows, next(seeds), options.epochs, shifted) for _ in range(MEMBERS)]
            results.append(compare(models, rows))
            if number_of_round == 0 and not shifted:
                draw(models[0], rows, options.output / "reliability.png")
        text = (
            f"{name}: 784-128-64-10, {len(rows.x):,} rows to train, {len(x_validation):,} for the temperature, "
            f"{len(rows.x_test):,} to test;\nmean ± standard deviation over {options.rounds} rounds of {MEMBERS} "
            f"networks, accuracy and calibration error in %\n{machine()}\n\n{report(results)}"
        )
        print(f"\n{text}", flush=True)
        if options.document:
            put_into_document(options.document / "prediction.md", name, text)


if __name__ == "__main__":
    try:
        main()
    except (MinidlError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")
