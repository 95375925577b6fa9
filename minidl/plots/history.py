"""The curves of a training run, or of several side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from minidl.errors import ArgumentError, ArgumentTypeError, DataError, counted, did_you_mean
from minidl.plots.canvas import COLOURS, legend_on_top, new_axes
from minidl.reprs import brief
from minidl.typing import Array

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Columns: TypeAlias = "Mapping[str, Sequence[float]] | pd.DataFrame"
"""One run: columns such as ``loss`` and ``val_loss``, with one value per epoch."""


def plot_history(
    history: Columns | Mapping[str, Columns] | Sequence[Columns],
    metric: str = "loss",
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw a metric over the epochs, training solid and validation dashed, for one run or for several.

    Parameters
    ----------
    history : mapping of columns, or a dict or list of mappings
        The result of ``Trainer.fit``, or its data frame. Several runs, ``{"name": history, ...}`` or
        ``[history, ...]``, have one colour each.
    metric : str, default "loss"
        The column of the training data. The validation column is ``val_<metric>``; it can also be drawn alone. Epochs
        without a finite value (no validation) are skipped, and their neighbours are joined.
    ax : matplotlib Axes, optional
        Where to draw. The legend is above it, where it covers nothing.

    Raises
    ------
    ArgumentError
        If a run has no such metric; the error lists its metrics.
    DataError
        If there is no run or no finite value, or a run's two columns have different lengths.
    ArgumentTypeError
        If `history` or `metric` has another type.
    """
    if not isinstance(metric, str):
        raise ArgumentTypeError(f"metric is {metric!r}; give the name of one metric, such as 'loss', for each plot")
    runs = {name: curves_of(name, columns, metric) for name, columns in _named_runs(history).items()}
    ax = ax if ax is not None else new_axes(6.4, 4.2)
    from matplotlib import colormaps
    from matplotlib.lines import Line2D

    colours = COLOURS if len(runs) <= len(COLOURS) else colormaps["viridis"](np.linspace(0, 0.9, len(runs)))
    handles, splits = [], {}
    for colour, (name, curves) in zip(colours, runs.items(), strict=False):
        if name:
            handles.append(Line2D([], [], color=colour, label=name))
        for split, values in curves.items():
            epochs = np.flatnonzero(np.isfinite(values)) + 1
            (line,) = ax.plot(epochs, values[epochs - 1], color=colour, markersize=5)
            if len(epochs) <= 15:  # a line would not show a single epoch
                line.set_marker("o")
            if split == "validation":
                line.set(linestyle="--", markerfacecolor="white")
            splits[split] = line
    named = bool(handles)
    for split, line in splits.items():
        handle = Line2D([], [])
        handle.update_from(line)
        handle.set(label=split, color="0.35" if named else line.get_color())
        handles.append(handle)

    longest = max(len(values) for curves in runs.values() for values in curves.values())
    label_epochs(ax, metric, longest)
    legend_on_top(ax, handles)
    return ax


def _named_runs(history: Any) -> dict[str, Any]:
    """Return histories by name: a mapping to numbers is one history, named ""; a mapping to mappings is several."""
    runs = history
    if _is_columns(history) and not any(map(_is_columns, dict(history).values())):
        runs = {"": history}
    elif isinstance(history, Iterable) and not isinstance(history, Mapping):
        runs = {f"run {number}": columns for number, columns in enumerate(history, start=1)}
    if not isinstance(runs, Mapping) or not all(map(_is_columns, runs.values())):
        raise ArgumentTypeError(
            "plot_history takes a history (a mapping of columns such as 'loss' and 'val_loss'), a dict of "
            f"histories by name or a list of histories, not {brief(history)}"
        )
    if not runs:
        raise DataError("plot_history got no history to draw")
    return {str(name): columns for name, columns in runs.items()}


def _is_columns(value: Any) -> bool:
    """Whether this holds columns by name: a mapping, or a data frame (not a mapping, but with two axes)."""
    return isinstance(value, Mapping) or (hasattr(value, "keys") and getattr(value, "ndim", 0) == 2)


def label_epochs(ax: Axes, metric: str, longest: int) -> None:
    """Label axes on which a metric is drawn over the epochs 1 .. `longest`."""
    ax.set(xlabel="epoch", ylabel=metric.removeprefix("val_").replace("_", " "), xlim=(0.5, longest + 0.5))
    ax.locator_params(axis="x", integer=True, min_n_ticks=1)
    if "accuracy" in metric:
        ax.yaxis.set_major_formatter(lambda value, position: f"{100 * value:g}%")
    ax.grid(alpha=0.3)


def curves_of(name: str, columns: Columns, metric: str) -> dict[str, Array]:
    """Return the metric's values per epoch for "training" and "validation", or for the one that exists."""
    run = f"history {name!r}" if name else "the history"
    both = {"training": metric, "validation": f"val_{metric}"}
    keys = {"validation": metric} if metric.startswith("val_") else both
    found = {split: np.asarray(columns[key], dtype=float) for split, key in keys.items() if key in columns}
    if not found:
        if not len(columns):
            raise DataError(f"{run} is empty: train first")
        raise ArgumentError(f"{run} has no metric {metric!r}; {did_you_mean(metric, map(str, columns))}")
    lengths = [len(values) for values in found.values()]
    if len(set(lengths)) > 1:
        raise DataError(
            f"{run} has {counted(lengths[0], 'epoch')} of {metric!r} but {lengths[1]} of 'val_{metric}': "
            "give one value per epoch, nan where there was no validation"
        )
    curves = {split: values for split, values in found.items() if np.isfinite(values).any()}
    if not curves:
        raise DataError(f"{run} has no finite value of {metric!r} in {counted(lengths[0], 'epoch')}: train first")
    return curves
