"""Compare optimizers on three problems: all optimizers of minidl, and your own.

    python benchmarks/optimizers.py --quick                       # a first impression, within two minutes
    python benchmarks/optimizers.py                               # in full
    python benchmarks/optimizers.py --problems friedman1 --optimizer "mine:Lion(beta=0.9)"

Each optimizer tries the same number of learning rates, once each and all with the same seed. If its best rate is the
lowest or the highest, the search continues in half decades. Then it trains at its best rate with other seeds; only
these runs are compared. Each problem writes to its own folder in --output: report.txt, results.csv (a row per run),
epochs.csv (a row per epoch of each run), summary.csv, curves.png and rates.png. docs/optimizers.md explains the
results.
"""

from __future__ import annotations

import argparse
import ast
import functools
import importlib.util
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from itertools import cycle, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from reports import machine, mnist_folder, number, put_into_document, table_text
from threadpoolctl import threadpool_limits

from minidl import (
    Adam,
    Average,
    Callback,
    Dense,
    ExponentialMovingAverage,
    Lookahead,
    MeanSquaredError,
    Optimizer,
    ReLU,
    Rescale,
    Sequential,
    SoftmaxCrossEntropy,
    StochasticWeightAveraging,
    Trainer,
)
from minidl.data import load_mnist, train_validation_split
from minidl.errors import ArgumentError, DivergenceError, MinidlError, MissingDependencyError, MissingFileError
from minidl.optimizers import OPTIMIZERS
from minidl.training.processes import run_tasks
from minidl.typing import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PROBLEMS = ("784-10-10", "784-128-64-10", "friedman1")
SEARCH_SEED = 0
"""The seed of the runs that choose a rate. The compared runs have seeds from 1 on, so no run chose its own rate."""

MOST_EXTENSIONS = 6
RUN = ["optimizer", "rate", "seed"]
"""The columns that identify a run."""


@dataclass
class Problem:
    """Data, network, and number of epochs."""

    name: str
    data: str
    sizes: tuple[int, ...]
    metric: str
    thresholds: tuple[float, ...]
    batch_size: int
    epochs: int
    x_train: Array = field(repr=False)
    y_train: Array = field(repr=False)
    x_validation: Array = field(repr=False)
    y_validation: Array = field(repr=False)

    def build(self, seed: int) -> Sequential:
        scale = [Rescale(1 / 255)] if self.x_train.dtype == np.uint8 else []
        hidden = [layer for units in self.sizes[1:-1] for layer in (Dense(units), ReLU())]
        loss = SoftmaxCrossEntropy() if self.metric == "accuracy" else MeanSquaredError()
        return Sequential([*scale, *hidden, Dense(self.sizes[-1]), loss], input_shape=self.sizes[0], seed=seed)

    def score(self, epochs: pd.DataFrame) -> pd.Series:
        """Return the validation score of each epoch: accuracy, or R^2 = 1 - MSE / variance. Higher is better."""
        if self.metric == "accuracy":
            return epochs["val_accuracy"]
        return 1 - epochs["val_loss"] / self.y_validation.var()

    def format(self, score: float) -> str:
        return f"{100 * score:.4g} %" if self.metric == "accuracy" else f"{score:.4g}"

    def threshold_name(self, threshold: float) -> str:
        return self.format(threshold) if self.metric == "accuracy" else f"{self.metric} {threshold:g}"

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.data}, {len(self.x_train):,} rows to train, {len(self.x_validation):,} to validate;\n"
            f"network {'-'.join(map(str, self.sizes))}, batch {self.batch_size}, {self.epochs} epochs"
        )


@dataclass
class Candidate:
    """An optimizer to compare: its class, and its arguments without the learning rate."""

    name: str
    kind: type[Optimizer]
    arguments: dict[str, Any] = field(default_factory=dict)
    average: type[Average] | None = None
    """An average of the parameters, used with the optimizer."""

    @property
    def family(self) -> str:
        """The name of the class, for --only."""
        return (self.average or self.kind).__name__

    def make(self, rate: float) -> Optimizer:
        return self.kind(**self.arguments) if self.kind.full_batch else self.kind(learning_rate=rate, **self.arguments)

    def make_trainer(self, model: Sequential, rate: float, batch_size: int | None, seed: int) -> Trainer:
        average = self.average and self.average()
        return Trainer(model, self.make(rate), batch_size=batch_size, seed=seed, average=average)


# Problems


def make_problem(name: str, options: argparse.Namespace) -> Problem:
    return make_friedman(options) if name == "friedman1" else make_mnist(name, options)


def make_mnist(name: str, options: argparse.Namespace) -> Problem:
    data = load_mnist(mnist_folder(options.data))
    rows = 6_000 if options.quick else len(data.y_train)
    parts = train_validation_split(data.x_train[:rows], data.y_train[:rows], 1 / 6, seed=0)
    x_train, x_validation, y_train, y_validation = parts
    return Problem(
        name,
        re.sub(r" \(.*", "", data.source),  # without the folder
        tuple(map(int, name.split("-"))),
        "accuracy",
        thresholds=(0.9, 0.95, 0.97),
        batch_size=64,
        epochs=options.epochs or (6 if options.quick else 10),
        x_train=x_train,
        y_train=y_train,
        x_validation=x_validation,
        y_validation=y_validation,
    )


def make_friedman(options: argparse.Namespace) -> Problem:
    """Make Friedman's first regression: five of ten inputs matter, and noise of variance 1 leaves R^2 <= 0.96.

    Source: Friedman (1991), "Multivariate adaptive regression splines", Annals of Statistics 19.
    """
    from sklearn.datasets import make_friedman1

    x, y = make_friedman1(n_samples=2_400 if options.quick else 6_000, noise=1.0, random_state=0)
    x_train, x_validation, y_train, y_validation = train_validation_split(x, y, 1 / 6, seed=0)
    return Problem(
        "friedman1",
        "scikit-learn's make_friedman1, standardized",
        (10, 32, 32, 1),
        "R²",
        thresholds=(0.8, 0.9, 0.94),
        batch_size=64,
        epochs=options.epochs or (20 if options.quick else 60),
        x_train=standardize(x_train, x_train),
        y_train=standardize(y_train, y_train),
        x_validation=standardize(x_validation, x_train),
        y_validation=standardize(y_validation, y_train),
    )


def standardize(values: Array, training: Array) -> Array:
    """Standardize by the mean and the standard deviation of the training part."""
    return ((values - training.mean(axis=0)) / training.std(axis=0)).astype(np.float32)


# Optimizers


def own_candidates() -> list[Candidate]:
    """Return minidl's optimizers: with their defaults, with each switch changed, and Adam with each average."""
    candidates = []
    for kind in OPTIMIZERS.values():
        candidates.append(Candidate(kind.__name__, kind))
        switches = [item for item in fields(kind) if item.init and isinstance(item.default, bool)]
        for switch in switches:
            turned = {switch.name: not switch.default}
            candidates.append(Candidate(f"{kind.__name__}({switch.name}={not switch.default})", kind, turned))
    averages = (ExponentialMovingAverage, Lookahead, StochasticWeightAveraging)
    return candidates + [Candidate(f"{average.__name__}(Adam)", Adam, average=average) for average in averages]


def parse_candidate(text: str) -> Candidate:
    """Read ``module:Class`` or ``module:Class(argument=value, ...)``, where values are literals."""
    module_name, _, call = text.partition(":")
    try:
        expression = ast.parse(call, mode="eval").body
        named = expression.func if isinstance(expression, ast.Call) else expression
        keywords = expression.keywords if isinstance(expression, ast.Call) else []
        arguments = {keyword.arg: ast.literal_eval(keyword.value) for keyword in keywords}
        if not isinstance(named, ast.Name) or None in arguments or getattr(expression, "args", []):
            raise ValueError
    except (SyntaxError, ValueError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no optimizer: write module:Class or 'module:Class(argument=value)'"
        ) from None
    if "learning_rate" in arguments:
        raise argparse.ArgumentTypeError(f"{text}: leave out learning_rate, which the benchmark sets")
    try:
        kind = getattr(importlib.import_module(module_name), named.id, None)
    except ImportError as error:
        raise argparse.ArgumentTypeError(f"{text}: cannot import {module_name}: {error}") from error
    if not (isinstance(kind, type) and issubclass(kind, Optimizer)):
        raise argparse.ArgumentTypeError(f"{module_name} has no subclass of minidl.Optimizer named {named.id}")
    candidate = Candidate(call, kind, arguments)
    try:
        candidate.make(1e-3)
    except (MinidlError, TypeError) as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from error
    return candidate


def choose_candidates(options: argparse.Namespace) -> list[Candidate]:
    """Return minidl's optimizers, or only the requested ones, and the user's own, all with unique names."""
    own = own_candidates()
    wanted = options.only or [candidate.name for candidate in own]
    unknown = {*wanted} - {name for candidate in own for name in (candidate.name, candidate.family)}
    if unknown:
        raise ArgumentError(f"--only {', '.join(sorted(unknown))}: minidl has {', '.join(c.name for c in own)}")
    chosen = {c.name: c for c in own if c.name in wanted or c.family in wanted}
    for candidate in options.optimizer:
        if candidate.name in chosen:
            candidate.name = f"{candidate.kind.__module__}:{candidate.name}"
        chosen[candidate.name] = candidate
    return list(chosen.values())


# Runs


class EpochTimer(Callback):
    """Measures the training seconds of each epoch, from its start to its last step, without validation."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_epoch_begin(self, trainer: Trainer) -> None:
        self.start = time.perf_counter()

    def on_batch_end(self, trainer: Trainer) -> None:
        self.end = time.perf_counter()

    def on_epoch_end(self, trainer: Trainer) -> None:
        self.seconds.append(self.end - self.start)


def train(problem: Problem, candidate: Candidate, rate: float, seed: int) -> pd.DataFrame:
    """Train once; return a row per epoch. If the run diverges, the last row has no metrics."""
    timer, diverged = EpochTimer(), False
    # For a full-batch optimizer, one iteration is one epoch.
    batch_size = None if candidate.kind.full_batch else problem.batch_size
    trainer = candidate.make_trainer(problem.build(seed), rate, batch_size, seed)
    # One BLAS thread: parallel runs do not compete for cores, and the bits do not depend on the number of cores.
    with threadpool_limits(1):
        try:
            trainer.fit(
                problem.x_train,
                problem.y_train,
                epochs=problem.epochs,
                validation_data=(problem.x_validation, problem.y_validation),
                callbacks=[timer],
                progress=False,
            )
        except DivergenceError:
            diverged = True
    history = trainer.history.to_frame()
    if len(history):
        history = history.assign(score=problem.score, seconds=np.cumsum(timer.seconds))
    epochs = pd.RangeIndex(1, len(history) + diverged + 1, name="epoch")
    columns = ["loss", "val_loss", "score", "seconds"]
    named = {"optimizer": candidate.name, "rate": rate, "seed": seed}
    return history.reindex(index=epochs, columns=columns).reset_index().assign(**named)


def train_all(problem: Problem, runs: Iterable[tuple[Candidate, float, int]], jobs: int, purpose: str) -> pd.DataFrame:
    """Train in parallel processes; return the epochs of all runs, in their order."""
    tasks = [functools.partial(train, problem, *run) for run in runs]
    results = run_tasks(tasks, processes=jobs, name=f"{problem.name}, {purpose}", progress=True)
    return pd.concat(results, ignore_index=True).assign(purpose=purpose)


def search(problem: Problem, candidates: list[Candidate], options: argparse.Namespace) -> pd.DataFrame:
    """Train once at each rate; if the best rate is at the edge of the grid, go beyond it; return the epochs."""
    runs = [(candidate, rate, SEARCH_SEED) for candidate in candidates for rate in rates_of(candidate, options)]
    epochs = train_all(problem, runs, options.jobs, "search")
    for _ in range(0 if options.rates else MOST_EXTENSIONS):
        beyond = rates_beyond(summarize_runs(problem, epochs))
        runs = [
            (candidate, beyond[candidate.name], SEARCH_SEED) for candidate in candidates if candidate.name in beyond
        ]
        if not runs:
            break
        epochs = pd.concat([epochs, train_all(problem, runs, options.jobs, "search")], ignore_index=True)
    return epochs


def compare(problem: Problem, candidates: list[Candidate], options: argparse.Namespace) -> pd.DataFrame:
    """Search the best rate of each optimizer, train at it with several seeds, and return the epochs of all runs."""
    searched = search(problem, candidates, options)
    best = best_runs(summarize_runs(problem, searched))["rate"]
    runs = [
        (candidate, best[candidate.name], seed)
        for candidate in candidates
        if candidate.name in best
        for seed in range(SEARCH_SEED + 1, SEARCH_SEED + 1 + options.seeds)
    ]
    if not runs:
        return searched
    return pd.concat([searched, train_all(problem, runs, options.jobs, "comparison")], ignore_index=True)


# Rates


def half_decade(number: int) -> float:
    """Return ..., 0.1, 0.3, 1, 3, ... for ..., -2, -1, 0, 1, ..."""
    return float(f"{(1, 3)[number % 2]}e{number // 2}")


HIGHEST_RATES = {
    "Lion": 0.01,  # its steps are as long as the rate, in every parameter
    **dict.fromkeys(["Adam", "AdamW", "AMSGrad", "NAdam", "RMSprop"], 0.1),  # theirs are about as long
    "Adadelta": 10.0,  # finds the length itself
}
"""The highest rate in an optimizer's grid, if it is not 1."""


def grid(quick: bool, kind: type[Optimizer]) -> list[float]:
    """Return seven rates in half decades up to the optimizer's highest, by default 1; if quick, three in decades."""
    highest = round(2 * np.log10(HIGHEST_RATES.get(kind.__name__, 1.0)))
    numbers = range(highest - 4, highest + 1, 2) if quick else range(highest - 6, highest + 1)
    return [half_decade(number) for number in numbers]


def rates_of(candidate: Candidate, options: argparse.Namespace) -> list[float]:
    """Return the rates to try; an optimizer with a line search has only the rate 1."""
    return [1.0] if candidate.kind.full_batch else options.rates or grid(options.quick, candidate.kind)


def best_runs(results: pd.DataFrame) -> pd.DataFrame:
    """Return each optimizer's run with the best final score; if scores are equal, the run with the lower loss."""
    ended = results[~results["diverged"]].sort_values(["score", "val_loss"], ascending=[False, True], kind="stable")
    return ended.groupby("optimizer", sort=False).head(1).set_index("optimizer")


def rates_beyond(results: pd.DataFrame) -> pd.Series:
    """Return the next rate, half a decade further, for each optimizer whose best rate is the lowest or highest."""
    tried = results.groupby("optimizer")["rate"].agg(["min", "max"])
    # If all rates diverged, try a lower one.
    best = best_runs(results)["rate"].reindex(tried.index).fillna(tried["min"])
    shift = (best == tried["max"]).astype(int) - (best == tried["min"])
    return ((2 * np.log10(best)).round() + shift)[shift != 0].astype(int).map(half_decade)


# Tables


def summarize_runs(problem: Problem, epochs: pd.DataFrame) -> pd.DataFrame:
    """Return a row per run: its final metrics, and the epochs and seconds until it reached each threshold."""
    runs = epochs.groupby(["purpose", *RUN], sort=False)
    results = runs.tail(1).set_index(["purpose", *RUN]).rename(columns={"epoch": "epochs"})
    results["diverged"] = results["score"].isna()
    for threshold in problem.thresholds:
        reached = epochs[epochs["score"] >= threshold].groupby(["purpose", *RUN]).head(1).set_index(["purpose", *RUN])
        results[f"epochs_to_{threshold}"] = reached["epoch"]
        results[f"seconds_to_{threshold}"] = reached["seconds"]
    return results.reset_index()


def summarize(problem: Problem, results: pd.DataFrame) -> pd.DataFrame:
    """Return a row per optimizer: mean and standard deviation over the seeds, and how many reached each threshold."""
    compared = results[results["purpose"] == "comparison"]
    figures = [name for name in results if name.startswith(("epochs_to", "seconds_to"))] + ["loss", "val_loss", "score"]
    summary = compared.groupby("optimizer", sort=False)[figures].agg(["mean", "std", "count"])
    summary.columns = ["_".join(column) for column in summary.columns]
    tried = results.groupby("optimizer")["rate"].agg(["min", "max"]).reindex(summary.index)
    rate = compared.groupby("optimizer", sort=False)["rate"].first()
    summary.insert(0, "rate", rate)
    has_rates = ~summary.index.isin([candidate.name for candidate in own_candidates() if candidate.kind.full_batch])
    summary.insert(1, "rate_at_edge", has_rates & ((rate == tried["min"]) | (rate == tried["max"])))
    summary.insert(2, "seeds", compared.groupby("optimizer", sort=False)["seed"].nunique())
    return summary


def format_mean(row: pd.Series, name: str, digits: str) -> str:
    """Format mean and deviation; if some seeds did not reach the threshold, add how many did."""
    count, seeds = int(row[f"{name}_count"]), int(row["seeds"])
    if count == 0:
        return "-"
    deviation = "" if count == 1 else f" ± {row[f'{name}_std']:{digits}}"
    return f"{row[f'{name}_mean']:{digits}}{deviation}" + (f" ({count} of {seeds})" if count < seeds else "")


def summary_tables(problem: Problem, summary: pd.DataFrame) -> str:
    """Format the comparison for the terminal: the final metrics, and the epochs to the thresholds."""
    percent = 100 if problem.metric == "accuracy" else 1
    scaled = summary.assign(score_mean=summary["score_mean"] * percent, score_std=summary["score_std"] * percent)

    def column(name: str, digits: str) -> pd.Series:
        return scaled.apply(format_mean, axis=1, name=name, digits=digits)

    final = pd.DataFrame(
        {
            "rate": summary["rate"].map("{:g}".format) + np.where(summary["rate_at_edge"], " (edge)", ""),
            "training loss": column("loss", ".4f"),
            "validation loss": column("val_loss", ".4f"),
            f"validation {problem.metric}": column("score", ".2f" if percent == 100 else ".4f"),
        }
    )
    way = pd.DataFrame(
        {
            f"{quantity} to {problem.threshold_name(threshold)}": column(f"{quantity}_to_{threshold}", digits)
            for threshold in problem.thresholds
            for quantity, digits in (("epochs", ".1f"), ("seconds", ".3f"))
        }
    )
    return "\n\n".join(table_text(table) for table in (final, way))


def rates_table(problem: Problem, results: pd.DataFrame) -> str:
    """Format the final score of every run of the search: a row per optimizer, a column per rate."""
    searched = results[results["purpose"] == "search"]
    number = "{:.1%}" if problem.metric == "accuracy" else "{:.3f}"
    texts = searched["score"].map(number.format).where(~searched["diverged"], "diverged")
    table = searched.assign(text=texts).pivot(index="optimizer", columns="rate", values="text")
    table = table.reindex(searched["optimizer"].unique()).fillna("").rename(columns="{:g}".format)
    return table_text(table)


def report(problem: Problem, results: pd.DataFrame, summary: pd.DataFrame, options: argparse.Namespace) -> str:
    """Return the whole report of a problem."""
    parts = [f"Final validation {problem.metric} at each rate, seed {SEARCH_SEED}:\n{rates_table(problem, results)}"]
    if lost := [name for name in results["optimizer"].unique() if name not in summary.index]:
        parts.append(f"Diverged at every rate: {', '.join(lost)}")
    if len(summary):
        tables = summary_tables(problem, summary)
        parts.append(f"At the best rate, mean ± standard deviation over {options.seeds} seeds:\n{tables}")
        parts.append(
            "-: not reached; (3 of 5): reached with 3 of 5 seeds. Seconds are the time of training, without\n"
            f"validation; runs at a time: {options.jobs}, each in one thread."
        )
    if summary["rate_at_edge"].any():
        parts.append("edge: the best rate is the lowest or the highest that was tried; a rate beyond may be better.")
    return f"{problem}\n{machine()}\n\n" + "\n\n".join(parts)


def update_document(path: Path, problem: Problem, text: str, folder: Path) -> None:
    """Put the report into the document's block with the problem's name, and copy the pictures."""
    put_into_document(path, problem.name, text)
    for picture in folder.glob("*.png"):
        shutil.copy(picture, path.parent / "images" / f"optimizers_{problem.name}_{picture.name}")


# Pictures


def styles(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Give each optimizer a colour; when the colours are used up, change the line style."""
    from minidl.plots.canvas import COLOURS

    looks = cycle({"linestyle": line, "color": colour} for line, colour in product(("-", "--", ":"), COLOURS))
    return dict(zip(names, looks, strict=False))


def set_score_axis(ax: Axes, problem: Problem, scores: pd.Series) -> None:
    """Stretch the scale towards 1, where the optimizers differ: equal steps halve the distance to 1."""

    def place(score: Any) -> Any:
        return -np.log(np.maximum(1 - score, 1e-6))

    ax.set_yscale("function", functions=(place, lambda place: 1 - np.exp(-place)))
    worst, best = np.clip([scores.min(), scores.max()], 0, 0.999)
    low, high = 1 - (1 - worst) * 1.08, 1 - (1 - best) / 1.08
    ax.set_ylim(low, high)
    least = 0.06 * (place(high) - place(low))
    ticks: list[float] = []
    for tick in (0.9, 0.5, 0, 0.98, 0.95, 0.8, 0.7, 0.97, 0.99, 0.93, 0.96, 0.2, 0.85, 0.92, 0.94, 0.91, 0.975, 0.985):
        if low <= tick <= high and all(abs(place(tick) - place(other)) > least for other in ticks):
            ticks.append(tick)
    ax.set_yticks(ticks)
    ax.yaxis.set_major_formatter(lambda value, _: problem.format(value))
    ax.set_ylabel(f"validation {problem.metric}")


def finish(figure: Figure, problem: Problem, handles: list[Any], path: Path) -> None:
    """Put one legend below all axes, in as many columns as fit, and save the figure."""
    width, height = figure.get_size_inches()
    longest = max(len(handle.get_label()) for handle in handles)
    columns = min(len(handles), max(int(width / (0.6 + 0.075 * longest)), 1))
    figure.set_size_inches(width, height + 0.19 * -(-len(handles) // columns))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize="small")
    figure.savefig(path, dpi=120)


def draw_curves(problem: Problem, epochs: pd.DataFrame, best: pd.Series, path: Path) -> None:
    """Draw the loss and the score of the compared runs by epoch, and the score by seconds."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 4.6), layout="constrained")
    compared = epochs[epochs["purpose"] == "comparison"].dropna()
    handles = []
    for name, style in styles(epochs["optimizer"].unique()).items():
        if name not in best:
            continue
        of_epoch = compared[compared["optimizer"] == name].groupby("epoch")[["loss", "score", "seconds"]]
        mean, deviation = of_epoch.mean(), of_epoch.std().fillna(0)
        for ax, x, figure_name in (
            (left, mean.index, "loss"),
            (middle, mean.index, "score"),
            (right, mean["seconds"], "score"),
        ):
            y, spread = mean[figure_name], deviation[figure_name]
            (line,) = ax.plot(x, y, **style, label=f"{name}, rate {best[name]:g}", linewidth=1.6)
            ax.fill_between(x, y - spread, y + spread, color=style["color"], alpha=0.18, linewidth=0)
        handles.append(line)
    left.set(yscale="log", xlabel="epoch", ylabel="training loss")
    left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    left.yaxis.set_major_formatter("{x:g}")
    left.yaxis.set_minor_formatter("")
    middle.set(xlabel="epoch")
    right.set(xlabel="seconds of training")
    for ax in (middle, right):
        set_score_axis(ax, problem, compared["score"])
    for ax in (left, middle, right):
        ax.grid(alpha=0.3)
    seeds = compared["seed"].nunique()
    figure.suptitle(f"{problem.name}: mean ± standard deviation of {seeds} seeds, each optimizer at its best rate")
    finish(figure, problem, handles, path)
    plt.close(figure)


def draw_rates(problem: Problem, results: pd.DataFrame, best: pd.Series, path: Path) -> None:
    """Draw the final score against the rate, and below it the rates that diverged."""
    import matplotlib.pyplot as plt

    searched = results[results["purpose"] == "search"].sort_values("rate")
    looks = styles(results["optimizer"].unique())
    lost = list(dict.fromkeys(searched.loc[searched["diverged"], "optimizer"]))
    heights = (6, 0.5 + 0.25 * len(lost))
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(7.5, 5.2), height_ratios=heights, sharex=True, layout="constrained"
    )
    handles = []
    for name, style in looks.items():
        runs = searched[searched["optimizer"] == name]
        ended, diverged = runs[~runs["diverged"]], runs[runs["diverged"]]
        handles += above.plot(
            ended["rate"], ended["score"].clip(lower=0), **style, marker="o", markersize=4, label=name
        )
        if name in best:
            chosen = ended[ended["rate"] == best[name]]
            above.plot(
                chosen["rate"], chosen["score"], "*", color=style["color"], markersize=14, markeredgecolor="white"
            )
        if name in lost:
            below.plot(diverged["rate"], [-lost.index(name)] * len(diverged), "x", color=style["color"], markersize=5)
    set_score_axis(above, problem, searched["score"])
    above.set(xscale="log")
    above.set_title(
        f"{problem.name}: after {problem.epochs} epochs, by learning rate; star: the chosen rate", fontsize="medium"
    )
    below.set(xlabel="learning rate", yticks=[], ylim=(-max(len(lost), 1) + 0.3, 0.7))
    below.set_ylabel("diverged", rotation=0, ha="right", va="center")
    if not lost:
        below.text(0.5, 0.5, "none", transform=below.transAxes, ha="center", va="center", color="0.4")
    for ax in (above, below):
        ax.grid(alpha=0.3)
    finish(figure, problem, handles, path)
    plt.close(figure)


def pictures_possible() -> bool:
    try:
        import matplotlib
    except ImportError:
        print("no pictures: they need matplotlib, pip install -e '.[bench]'", file=sys.stderr)
        return False
    matplotlib.use("Agg")
    return True


# Command line


def rate_list(text: str) -> list[float]:
    try:
        rates = sorted({float(rate) for rate in text.split(",")})
    except ValueError:
        rates = []
    if not rates or not rates[0] > 0 or not np.isfinite(rates).all():
        raise argparse.ArgumentTypeError(f"{text!r} are no rates above 0: write them as 0.001,0.01,0.1")
    return rates


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--problems", nargs="+", choices=PROBLEMS, default=PROBLEMS, metavar="NAME", help=f"of {', '.join(PROBLEMS)}")
    add(
        "--optimizer",
        action="append",
        type=parse_candidate,
        default=[],
        metavar="MODULE:CLASS",
        help="also compare this subclass of minidl.Optimizer, from an installed module or one in the current folder; "
        "with arguments: 'mine:Lion(beta=0.9)'; repeatable",
    )
    add("--only", nargs="+", metavar="NAME", help="compare only these optimizers of minidl, such as: SGD Adam")
    add(
        "--rates",
        type=rate_list,
        metavar="R,R,...",
        help="learning rates to try (default: half decades, such as 0.0001 to 1)",
    )
    add("--seeds", type=number, default=5, help="runs at the best rate (default: %(default)s)")
    add("--epochs", type=number, help="epochs of every run (default: 10 for MNIST, 60 for friedman1)")
    add("--quick", action="store_true", help="use fewer rows, epochs and rates: ends within two minutes")
    add("--data", type=Path, metavar="PATH", help="MNIST's folder or CSV file (default: found or downloaded)")
    add("--jobs", type=number, default=os.cpu_count(), help="processes at a time (default: one per core)")
    add("--output", type=Path, default=Path("runs/optimizers"), metavar="DIR", help="(default: %(default)s)")
    add(
        "--document",
        type=Path,
        metavar="FILE",
        help="put the reports into this copy of docs/optimizers.md, and the pictures next to it",
    )
    return parser.parse_args(arguments)


def run_problem(problem: Problem, candidates: list[Candidate], options: argparse.Namespace) -> None:
    """Compare on one problem; print the tables, and save tables and pictures."""
    epochs = compare(problem, candidates, options)
    results = summarize_runs(problem, epochs)
    summary = summarize(problem, results)
    text = report(problem, results, summary, options)
    folder = options.output / problem.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.txt").write_text(f"{text}\n", encoding="utf-8")
    epochs.to_csv(folder / "epochs.csv", index=False)
    results.drop(columns="seconds").to_csv(folder / "results.csv", index=False)
    summary.to_csv(folder / "summary.csv")
    if options.pictures and len(summary):
        draw_curves(problem, epochs, summary["rate"], folder / "curves.png")
        draw_rates(problem, results, summary["rate"], folder / "rates.png")
    if options.document:
        update_document(options.document, problem, text, folder)
    print(f"{text}\n\nsaved in {folder}\n", flush=True)


def main(arguments: list[str] | None = None) -> None:
    sys.path.insert(0, str(Path.cwd()))  # for the user's modules; the processes get the same path
    options = parse_arguments(arguments)
    if importlib.util.find_spec("joblib") is None:
        raise MissingDependencyError("this benchmark needs joblib: pip install -e '.[bench]'")
    if options.document and not options.document.is_file():
        raise MissingFileError(f"--document {options.document}: there is no such file")
    candidates = choose_candidates(options)
    options.pictures = pictures_possible()
    for name in options.problems:
        print(f"{name} ...", file=sys.stderr, flush=True)
        run_problem(make_problem(name, options), candidates, options)


if __name__ == "__main__":
    try:
        main()
    except (MinidlError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted: the problems that were finished before are saved")
