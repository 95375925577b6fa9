"""Predict how a disease progresses with a small network and a linear model, and compare both by cross-validation.

    python examples/regression.py                                  # 10-32-16-1, 5 folds, 3 seeds
    python examples/regression.py --network 10-64-1 --epochs 60 --folds 10 --jobs -1

The data come from scikit-learn: ten measurements of each of 442 patients with diabetes, and a number from 25 to 346 for
the progression of the disease a year later. Ridge regression trains and predicts on the same folds; its penalty is
chosen on the training rows. With so few and so noisy rows, a linear model is hard to beat. The network's learning rate
and number of epochs were chosen by these metrics, so its results are a little too good. Plots and report.json go to the
folder --output.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from example_options import (
    Parser,
    network_name,
    output_folder,
    pictures_possible,
    positive,
    resized,
    run_program,
    whole_number,
)

from minidl import Adam, CrossValidation, Dense, MeanSquaredError, ReLU, Rescale, Sequential, cross_validate
from minidl.errors import ArgumentError, counted
from minidl.metrics import mean_absolute_error, r2_score
from minidl.typing import Array

FIGURES = {"R^2": r2_score, "mean absolute error": mean_absolute_error}


def load_patients() -> tuple[Array, Array]:
    from sklearn.datasets import load_diabetes

    # Unscaled: scikit-learn would standardize with all rows, but each run must use only its training rows.
    return load_diabetes(return_X_y=True, scaled=False)


def build(network: str, seed: int) -> Sequential:
    """Make the model that a name such as 10-32-16-1 describes."""
    _, *hidden, outputs = map(int, network.split("-"))
    layers: list[Any] = []
    for units in hidden:
        layers += [Dense(units), ReLU()]
    # The progression is between 25 and 346: the first predictions are 150, and the network learns in units of 75.
    return Sequential(
        [*layers, Dense(outputs, initializer="zeros"), Rescale(75, offset=150), MeanSquaredError()], seed=seed
    )


def ridge_predictions(result: CrossValidation, x: Array, y: Array) -> list[Array]:
    """For each run, train ridge regression on the network's training rows, and predict the held-out rows."""
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    predictions = []
    for held_out in result.held_out:
        train = np.setdiff1d(np.arange(len(x)), held_out)
        linear = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 25)))
        predictions.append(linear.fit(x[train], y[train]).predict(x[held_out]))
    return predictions


def evaluate(result: CrossValidation, y: Array, predictions: list[Array]) -> dict[str, Array]:
    """Return each metric for every run."""
    return {
        name: np.array([figure(y[rows], run) for rows, run in zip(result.held_out, predictions, strict=True)])
        for name, figure in FIGURES.items()
    }


def table(results: dict[str, dict[str, Array]]) -> str:
    """Format both models' metrics, and their differences on the same folds."""
    ours, theirs = results.values()
    rows = {**results, "difference": {name: ours[name] - theirs[name] for name in FIGURES}}
    width = max(map(len, rows)) + 2
    lines = [" " * width + "".join(f"{name:>24}" for name in FIGURES)]
    for label, figures in rows.items():
        texts = [f"{values.mean():.3f} +- {values.std(ddof=1):.3f}" for values in figures.values()]
        lines.append(f"{label:<{width}}" + "".join(f"{text:>24}" for text in texts))
    return "\n".join(lines)


def draw(folder: Path, network: str, result: CrossValidation, y: Array, linear: list[Array]) -> None:
    """Save plots of the learning curves, and of the first seed's predictions against the truth.

    The R² in the plot covers all patients, each predicted by the run that did not train on it.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from minidl import plots

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    plots.plot_cross_validation(result, "loss", ax=left)
    plots.plot_cross_validation(result, "mean_absolute_error", ax=right)
    figure.suptitle(f"{network}: {len(result.runs)} runs")
    figure.savefig(folder / "curves.png")

    figure, axes = plt.subplots(1, 2, figsize=(10, 5), sharex=True, sharey=True, layout="constrained")
    first = [index for index, run in enumerate(result.runs) if run.seed == result.runs[0].seed]
    rows = np.concatenate([result.held_out[index] for index in first])
    for ax, name, predictions in zip(axes, (network, "ridge"), (result.fold_predictions, linear), strict=True):
        predicted = np.concatenate([predictions[index] for index in first])
        ax.axline((150, 150), slope=1, color="0.5", linewidth=1, zorder=1)
        ax.scatter(predicted, y[rows], s=16, alpha=0.6, edgecolors="none")
        ax.set(xlabel="prediction for a held-out patient", title=f"{name}: R² {r2_score(y[rows], predicted):.3f}")
        ax.set(xlim=(0, 360), ylim=(0, 360), aspect="equal")
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("progression after a year")
    figure.suptitle(
        f"all {len(rows)} patients, each predicted by the run of seed {result.runs[0].seed} that held it out"
    )
    figure.savefig(folder / "predictions.png")
    plt.close("all")


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    count = whole_number(1)
    parser.add_argument(
        "--network",
        type=network_name("10-32-16-1"),
        default="10-32-16-1",
        metavar="SIZES",
        help="(default: %(default)s)",
    )
    parser.add_argument("--epochs", type=count, default=20, help="(default: %(default)s)")
    parser.add_argument("--batch-size", type=count, default=32, metavar="ROWS", help="(default: %(default)s)")
    parser.add_argument(
        "--learning-rate", type=positive, default=0.001, metavar="RATE", help="Adam's (default: %(default)s)"
    )
    parser.add_argument(
        "--folds", type=whole_number(2), default=5, help="number of parts; each is held out once (default: %(default)s)"
    )
    parser.add_argument(
        "--seeds",
        type=count,
        default=3,
        help="number of repetitions, each with new folds (default: %(default)s)",
    )
    parser.add_argument("--jobs", type=jobs, help="number of processes; -1: one for each core (default: 1)")
    parser.add_argument(
        "--output", type=output_folder, default=Path("runs/regression"), metavar="DIR", help="(default: %(default)s)"
    )
    return parser.parse_args(arguments)


def jobs(text: str) -> int:
    if text == "-1":
        return -1
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of processes: give 1 or more, or -1")
    return int(text)


def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    from sklearn.preprocessing import StandardScaler

    x, y = load_patients()
    if 2 * options.folds > len(y):
        raise ArgumentError(f"--folds {options.folds}: R^2 needs two patients in each fold: give at most {len(y) // 2}")
    inputs, *_, outputs = map(int, options.network.split("-"))
    if (inputs, outputs) != (x.shape[1], 1):
        raise ArgumentError(
            f"--network {options.network} has {counted(inputs, 'input')} and {counted(outputs, 'output')}, but the "
            f"data have {x.shape[1]} measurements and one progression: give {resized(options.network, x.shape[1], 1)}"
        )
    result = cross_validate(
        lambda seed: build(options.network, seed),
        x,
        y,
        folds=options.folds,
        seeds=options.seeds,
        optimizer=Adam(options.learning_rate),
        batch_size=options.batch_size,
        epochs=options.epochs,
        transformer=StandardScaler(),
        jobs=options.jobs,
    )
    linear = ridge_predictions(result, x, y)
    results = {options.network: evaluate(result, y, result.fold_predictions), "ridge": evaluate(result, y, linear)}

    options.output.mkdir(parents=True, exist_ok=True)
    report = {
        "network": options.network,
        "epochs": options.epochs,
        "folds": options.folds,
        "seeds": options.seeds,
        "histories": [dict(history) for history in result.histories],
        "figures": {
            name: {figure: values.tolist() for figure, values in figures.items()} for name, figures in results.items()
        },
    }
    (options.output / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    pictures = pictures_possible()
    if pictures:
        draw(options.output, options.network, result, y, linear)
    print(
        f"{len(y)} patients, {len(result.runs)} runs ({counted(options.folds, 'fold')}, "
        f"{counted(options.seeds, 'seed')}). Each run is evaluated on its held-out rows;\n"
        f"mean and standard deviation of the runs' metrics:\n\n{table(results)}\n"
    )
    if pictures:
        print(f"predictions.png shows the R^2 of all {len(y)} patients together, from the first seed's runs")
    print(f"report.json{' and pictures' if pictures else ''}: {options.output}")


if __name__ == "__main__":
    run_program(main)
