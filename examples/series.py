"""Forecast a year of carbon dioxide in the air with recurrent and convolutional networks and simple methods.

    python examples/series.py                         # half a minute
    python examples/series.py --epochs 2 --seeds 2    # a few seconds, and worse forecasts

The series was measured at Mauna Loa: weekly means from March 1958 to December 2001, in parts per million (ppm). It is
part of statsmodels: pip install -e '.[series]'. It rises faster and faster, and repeats a pattern every year. Each
forecast uses the last two years and predicts the next 52 weeks. All values are changes from the last known week,
because a network cannot predict numbers far from its training data.

The networks and a linear autoregression (ridge) are trained on forecasts that end before 1986. Settings and epochs are
chosen with forecasts from 1986 to 1993. Only then all models are tested once, on forecasts made from 1994 on. Three
simple forecasts learn nothing: the last week's value, the value of the same week a year before, and this value plus the
rise of the past year. A table shows the mean absolute errors. Lines below it compare each network with ridge.

The linear forecast has the lowest error on the validation data. The convolution has the lowest error on the test data,
but not in every year: on such a smooth series a network gains little. No model predicts 1998, when El Nino made carbon
dioxide rise by 2.9 ppm instead of about 1.6. Forecasts made a week apart have similar errors. So seven years are few
data, and differences of a few per cent can be chance. Pictures and report.json go to the folder --output.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from example_options import Parser, needing, output_folder, pictures_possible, run_program, whole_number

from minidl import (
    GRU,
    Adam,
    Conv1D,
    Dense,
    EarlyStopping,
    Flatten,
    MeanSquaredError,
    OneCycle,
    ReLU,
    Rescale,
    Sequential,
    Trainer,
)
from minidl.data import windows
from minidl.typing import Array

YEAR = 52
PAST = 2 * YEAR
SHOWN = (1, 4, 13, 26, 52)
VALIDATION, TEST = pd.Timestamp("1986-01-01"), pd.Timestamp("1994-01-01")
LINEAR = "linear (ridge)"


def load_carbon_dioxide() -> pd.Series:
    """Return the weekly means by date.

    59 weeks have no measurement, all before 1986. They are interpolated linearly, so only training data contain
    information about later weeks.
    """
    with needing("the series needs statsmodels", "series"):
        from statsmodels.datasets import co2

    measured = co2.load_pandas().data["co2"]
    return measured.interpolate()


class Forecasts:
    """All weeks with the two known years before each week, and the year after it to forecast.

    ``x`` (N, 104) and ``y`` (N, 52) are differences from the week's own value ``now`` (N,), and ``date`` is its date.
    """

    def __init__(self, series: pd.Series) -> None:
        values = series.to_numpy()
        past, _ = windows(values, PAST, horizon=YEAR)
        future, _ = windows(values[PAST:], YEAR, horizon=0)
        self.now = past[:, -1, 0]
        self.x, self.y = past[..., 0] - past[:, -1], future[..., 0] - past[:, -1]
        self.date = series.index[PAST - 1 : len(values) - YEAR]
        end = series.index[PAST + YEAR - 1 :]
        # The forecasts of one part end before the forecasts of the next part begin.
        self.train = np.flatnonzero(end < VALIDATION)
        self.validation = np.flatnonzero((self.date >= VALIDATION) & (end < TEST))
        self.test = np.flatnonzero(self.date >= TEST)


def simple_forecasts(x: Array) -> dict[str, Array]:
    """Return the forecasts that need no learning."""
    last_year = x[:, -YEAR:]  # the value a year before each forecast week
    return {
        "last week": np.zeros_like(last_year),
        "a year before": last_year,
        "a year before + rise": last_year - x[:, -YEAR - 1 : -YEAR],
    }


def networks() -> dict[str, list[Any]]:
    """Return the layers of each network. Their sizes were the best on the validation forecasts."""
    return {
        "Conv1D": [Conv1D(16, 8, strides=4), ReLU(), Conv1D(16, 5, strides=2), ReLU(), Flatten(), Dense(64), ReLU()],
        "GRU": [GRU(32)],
        "Conv1D, GRU": [Conv1D(16, 8, strides=4), ReLU(), GRU(32)],
    }


def train(layers: list[Any], data: Forecasts, epochs: int, seed: int) -> Trainer:
    """Train one network; keep the parameters of the epoch with the lowest validation error."""
    rows, validation = data.train, data.validation
    unit = float(data.y[rows].std())
    model = Sequential(
        [Rescale(1 / unit), *layers, Dense(YEAR), Rescale(unit), MeanSquaredError()], input_shape=(PAST, 1), seed=seed
    )
    batch_size = 32
    rate = OneCycle(0.005, steps=max(epochs * -(-len(rows) // batch_size), 2))
    trainer = Trainer(model, Adam(rate), metrics=["mean_absolute_error"], batch_size=batch_size, seed=seed, clip_norm=1)
    x = data.x[..., np.newaxis]
    trainer.fit(
        x[rows],
        data.y[rows],
        epochs=epochs,
        validation_data=(x[validation], data.y[validation]),
        callbacks=[EarlyStopping("val_mean_absolute_error", patience=epochs)],
        progress=False,
    )
    return trainer


def linear_forecast(data: Forecasts) -> tuple[Array, float]:
    """Return the forecasts of ridge regression, and the penalty that was best on the validation forecasts."""
    from sklearn.linear_model import Ridge

    rows, validation = data.train, data.validation
    candidates = []
    for penalty in np.logspace(-2, 4, 13):
        predictions = Ridge(penalty).fit(data.x[rows], data.y[rows]).predict(data.x)
        candidates.append((np.abs(predictions - data.y)[validation].mean(), predictions, float(penalty)))
    _, predictions, penalty = min(candidates, key=lambda candidate: candidate[0])
    return predictions, penalty


def errors(data: Forecasts, predictions: Array, part: Array) -> Array:
    """Return the mean absolute error for each number of weeks ahead, in ppm."""
    return np.abs(predictions - data.y)[part].mean(axis=0)


def table(results: dict[str, dict[str, Array]]) -> str:
    """Format the errors of some weeks and of all weeks, and below each network its deviation over the seeds."""
    header = [*(f"{weeks} wk" for weeks in SHOWN), "all", "validation"]
    lines = [f"{'weeks ahead':<22}" + "".join(f"{text:>8}" for text in header[:-1]) + f"{header[-1]:>12}"]
    for name, parts in results.items():
        rows = np.column_stack(
            [parts["test"][:, np.subtract(SHOWN, 1)], parts["test"].mean(axis=1), parts["validation"].mean(axis=1)]
        )
        summaries = {name: rows.mean(axis=0)}
        if len(rows) > 1:
            summaries["  +- between seeds"] = rows.std(axis=0, ddof=1)
        for label, values in summaries.items():
            *most, last = values
            lines.append(f"{label:<22}" + "".join(f"{value:8.3f}" for value in most) + f"{last:12.3f}")
    return "\n".join(lines)


def ranges(weeks: Array) -> str:
    """Write ascending numbers as ranges, such as "1-4, 7"."""
    runs = np.split(weeks, np.flatnonzero(np.diff(weeks) > 1) + 1)
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def verdict(name: str, data: Forecasts, predictions: list[Array], linear: Array) -> str:
    """Say where a network, averaged over its seeds, beats the linear forecast, and in how many years."""
    truth = data.y[data.test]
    ours = np.mean([np.abs(each[data.test] - truth) for each in predictions], axis=0)
    theirs = np.abs(linear[data.test] - truth)
    better = 1 + np.flatnonzero(ours.mean(axis=0) < theirs.mean(axis=0))
    by_year = pd.Series((ours - theirs).mean(axis=1)).groupby(data.date[data.test].year).mean()
    change = ours.mean() / theirs.mean() - 1
    return (
        f"{name}: errors {abs(change):.1%} {'larger' if change > 0 else 'smaller'} than the linear forecast's, smaller "
        f"in {(by_year < 0).sum()} of {len(by_year)} years"
        + (f";\n  better {ranges(better)} weeks ahead" if len(better) else "")
    )


def draw(
    folder: Path, series: pd.Series, data: Forecasts, results: dict[str, Any], predictions: dict[str, Any]
) -> None:
    """Save a picture of the errors by weeks ahead, and one of the test forecasts and the measurements."""
    import matplotlib.pyplot as plt

    weeks = np.arange(1, YEAR + 1)
    figure, ax = plt.subplots(figsize=(9, 5), layout="constrained")
    for name, parts in results.items():
        test = parts["test"]
        (line,) = ax.plot(weeks, test.mean(axis=0), label=name, linestyle="-" if len(test) > 1 else "--")
        ax.fill_between(weeks, test.min(axis=0), test.max(axis=0), color=line.get_color(), alpha=0.2)
    ax.set(xlabel="weeks ahead", ylabel="mean absolute error (ppm)", xlim=(1, YEAR), ylim=(0, 2))
    ax.set_title(f"{len(data.test)} forecasts from 1994 on; shaded: range over the seeds")
    ax.grid(alpha=0.3)
    ax.legend(ncols=2)
    figure.savefig(folder / "errors.png")

    best = min((name for name in predictions if name != LINEAR), key=lambda name: results[name]["validation"].mean())
    figure, (whole, ahead, missed) = plt.subplots(3, 1, figsize=(10, 11), layout="constrained")
    whole.plot(series.index, series, color="0.3", linewidth=0.8)
    for begin, text in ((series.index[0], "training"), (VALIDATION, "validation"), (TEST, "test")):
        whole.axvline(begin, color="0.7", linewidth=1)
        whole.text(begin, series.max(), f" {text}", va="top")
    whole.set(ylabel="ppm", title="carbon dioxide at Mauna Loa, weekly")

    since = series[series.index >= data.date[data.test[0]]]
    ahead.plot(since.index, since, color="0.3", linewidth=1, label="measured")
    for name, color in ((LINEAR, "#D55E00"), (best, "#0072B2")):
        for number, row in enumerate(data.test[::YEAR]):
            dates = data.date[row] + pd.to_timedelta(7 * weeks, unit="D")
            label = f"{name}, from the first week of a year" if number == 0 else None
            ahead.plot(dates, data.now[row] + predictions[name][0][row], color=color, linewidth=1, label=label)
        target = data.date[data.test] + pd.Timedelta(weeks=YEAR)
        error = (predictions[name][0] - data.y)[data.test, -1]
        missed.plot(target, error, color=color, linewidth=1, label=name)
    ahead.set(ylabel="ppm", title="forecasts of whole years")
    missed.axhline(0, color="0.5", linewidth=1)
    missed.set(ylabel="forecast minus measured (ppm)", title="error of the forecast made 52 weeks before, seed 0")
    for ax in (ahead, missed):
        ax.legend()
        ax.grid(alpha=0.3)
    figure.savefig(folder / "forecasts.png")
    plt.close("all")


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    count = whole_number(1)
    parser.add_argument("--epochs", type=count, default=15, help="(default: %(default)s)")
    parser.add_argument(
        "--seeds", type=count, default=3, help="number of trainings of each network (default: %(default)s)"
    )
    parser.add_argument(
        "--output", type=output_folder, default=Path("runs/series"), metavar="DIR", help="(default: %(default)s)"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    series = load_carbon_dioxide()
    data = Forecasts(series)
    print(
        f"{len(series):,} weeks of carbon dioxide at Mauna Loa: {len(data.train):,} forecasts for training, "
        f"{len(data.validation)} for validation, {len(data.test)} for the test\n"
    )
    linear, penalty = linear_forecast(data)
    predictions = {name: [values] for name, values in simple_forecasts(data.x).items()} | {LINEAR: [linear]}
    histories: dict[str, Any] = {}
    for name in networks():
        trainers = [train(networks()[name], data, options.epochs, seed) for seed in range(options.seeds)]
        predictions[name] = [trainer.model.predict(data.x[..., np.newaxis]) for trainer in trainers]
        histories[name] = [dict(trainer.history) for trainer in trainers]
        print(f"{name}: {trainers[0].model.parameters.size:,} parameters, {options.seeds} x {options.epochs} epochs")
    results = {
        name: {
            part: np.array([errors(data, each, getattr(data, part)) for each in seeds])
            for part in ("validation", "test")
        }
        for name, seeds in predictions.items()
    }
    chosen = min(results, key=lambda name: results[name]["validation"].mean())
    best = min(results, key=lambda name: results[name]["test"].mean())
    print(f"\nmean absolute errors in ppm on the test data (last column: validation data):\n\n{table(results)}\n")
    print(f"lowest error on the validation data, which chooses a model: {chosen}; on the test data: {best}")
    for name in histories:
        print(verdict(name, data, predictions[name], linear))

    options.output.mkdir(parents=True, exist_ok=True)
    report = {
        "epochs": options.epochs,
        "penalty": penalty,
        "errors": {name: {part: each.tolist() for part, each in parts.items()} for name, parts in results.items()},
        "histories": histories,
    }
    (options.output / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    pictures = pictures_possible()
    if pictures:
        draw(options.output, series, data, results, predictions)
    print(f"\nreport.json{' and pictures' if pictures else ''}: {options.output}")


if __name__ == "__main__":
    run_program(main)
