"""The results of a search: the monitored metric over each parameter."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.errors import ArgumentError, ArgumentTypeError
from minidl.plots.canvas import VERMILION, new_figure
from minidl.reprs import brief
from minidl.training import Search
from minidl.training.parameter_search import SearchRun

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

_DECADES = 30
"""An axis is logarithmic if its largest value is at least this many times the smallest."""

_LARGEST = 1e300
"""Larger numbers, such as 10**400, are placed side by side: a float axis needs room around them."""

_MOST_TICKS = 8
"""Up to this number of different values, each value has a tick."""

_NEAREST_TICKS = 0.07
"""As shares of the axis: closer tick labels would touch."""

_LONGEST_LABEL, _MOST_LETTERS = 18, 30
"""Longer labels are cut off; labels with too many letters for a panel are rotated."""


def plot_search(result: Search, *, figure: Figure | SubFigure | None = None) -> list[Axes]:
    """Draw the monitored metric of each candidate over its parameters, with a panel for each parameter that varies.

    Each point is a candidate. Its colour shows the number of epochs it was trained; the best has a ring around it.
    Diverged candidates are crosses at the edge of bad values. Numbers and losses with a large range have logarithmic
    axes; values that are not numbers are placed side by side.

    Parameters
    ----------
    result : Search
    figure : matplotlib Figure or SubFigure, optional
        Where to draw; its layout should be "constrained". Without one a new figure is made.

    Returns
    -------
    list of Axes
        The panels, in the order of the parameters.

    Raises
    ------
    ArgumentTypeError
        If `result` is not a Search.
    ArgumentError
        If no parameter has more than one value.
    """
    if not isinstance(result, Search):
        raise ArgumentTypeError(f"plot_search takes what search returned, not {brief(result)}")
    runs = sorted(result.runs, key=lambda run: run.number)  # so that values are in the order of the space
    names = dict.fromkeys(name for run in runs for name in run.parameters)
    columns = {name: _as_one([run.parameters.get(name, "-") for run in runs]) for name in names}
    columns = {name: values for name, values in columns.items() if len(set(map(repr, values))) > 1}
    if not columns:
        raise ArgumentError("plot_search: no parameter of the search has more than one value")
    across = len(columns) if len(columns) <= 3 else 2 if len(columns) == 4 else 3
    down = math.ceil(len(columns) / across)
    if figure is None:
        figure = new_figure(max(3.1 * across + 0.5, 5.5), 2.7 * down + 0.7)
    panels = list(figure.subplots(down, across, sharey=True, squeeze=False).flat)
    for ax in panels[len(columns) :]:
        ax.remove()
    panels = panels[: len(columns)]

    handles: list[Artist] = []
    for index, (ax, (name, values)) in enumerate(zip(panels, columns.items(), strict=True)):
        places = dict(zip(runs, _lay_out(ax, name, values), strict=True))
        handles = _draw_points(ax, places, result)
        if index % across == 0:
            ax.set_ylabel(result.monitor.replace("_", " "))
        ax.grid(alpha=0.3)
    _scale_metric(panels[0], result)
    figure.legend(
        handles=handles, loc="outside upper right", ncols=min(len(handles), 2 * across), fontsize="small", frameon=False
    )
    return panels


def _draw_points(ax: Axes, places: Mapping[SearchRun, float], result: Search) -> list[Artist]:
    """Draw the candidates; return the entries of the legend."""
    from matplotlib import colormaps
    from matplotlib.transforms import blended_transform_factory

    handles: list[Artist] = []
    whole = [run for run in result.runs if run.status != "diverged"]
    lengths = sorted({run.history.epochs for run in whole})
    colours = colormaps["viridis"](np.linspace(0.1, 0.85, len(lengths))[::-1])
    for number, (length, colour) in enumerate(zip(lengths, colours, strict=True), start=1):
        shown = [run for run in whole if run.history.epochs == length]
        handles += ax.plot(
            [places[run] for run in shown],
            [_metric(run, result) for run in shown],
            "o",
            color=colour,
            markersize=4 + 3 * number / len(lengths),  # candidates that trained longer are on top, and larger
            alpha=0.85,
            label=f"{length:,} epoch{'s' if length > 1 else ''}",
        )
    best = whole[0]
    handles += ax.plot(
        places[best],
        _metric(best, result),
        "o",
        color=VERMILION,
        markersize=13,
        markerfacecolor="none",
        label="best",
    )
    diverged = [places[run] for run in result.runs if run.status == "diverged"]
    if diverged:
        edge = 0.03 if result.mode == "max" else 0.97
        across = blended_transform_factory(ax.transData, ax.transAxes)
        style: dict[str, Any] = {"color": VERMILION, "markersize": 6, "label": "diverged", "transform": across}
        handles += ax.plot(diverged, [edge] * len(diverged), "x", **style)
    return handles


def _lay_out(ax: Axes, name: str, values: Sequence[Any]) -> list[float]:
    """Scale and label the axis of a parameter; return the position of each value."""
    from matplotlib.ticker import FixedLocator, NullLocator

    ax.set_xlabel(name)
    numbers = [value for value in values if _is_number(value)]
    distinct = np.unique(numbers) if numbers else np.zeros(1)
    smallest = min((number for number in distinct if number > 0), default=math.inf)
    wide = distinct[-1] >= _DECADES * smallest
    few = len(distinct) <= _MOST_TICKS
    # If numbers span decades and include zero, neither kind of axis separates them well.
    if len(numbers) < len(values) or (few and wide and distinct[0] <= 0):
        texts = _texts(values)
        sizes = {text: value for text, value in zip(texts, values, strict=True) if _is_number(value)}
        # Numbers by size, then other values in their order.
        ordered = dict.fromkeys(sorted(texts, key=lambda text: sizes.get(text, math.inf)))
        ax.set_xlim(-0.5, len(ordered) - 0.5)
        ax.xaxis.set_major_locator(FixedLocator(range(len(ordered))))
        _write_ticks(ax, list(ordered))
        return [list(ordered).index(text) for text in texts]
    if wide and distinct[0] > 0:
        ax.set_xscale("log")
        distances = np.diff(np.log(distinct))
    else:
        distances = np.diff(distinct)
    if few and distances.min() >= _NEAREST_TICKS * distances.sum():
        ax.xaxis.set_major_locator(FixedLocator(distinct.tolist()))
        ax.xaxis.set_minor_locator(NullLocator())
        _write_ticks(ax, [f"{number:g}" for number in distinct])
    ax.margins(x=0.08)
    return [float(value) for value in values]


def _as_one(values: Iterable[Any]) -> list[Any]:
    """Return the values; equal numbers, such as 1 and 1.0, are replaced by the first of them."""
    firsts: dict[float | str, Any] = {}
    return [firsts.setdefault(float(value) if _is_number(value) else repr(value), value) for value in values]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _texts(values: Sequence[Any]) -> list[str]:
    """Return a text for each value: for example, the class of a layer, if no other value has it."""
    texts = [value if isinstance(value, str) else repr(value) for value in values]
    kinds = [
        kind if text.startswith(kind := type(value).__name__) else text
        for text, value in zip(texts, values, strict=True)
    ]
    return kinds if len(set(kinds)) == len(set(texts)) else texts


def _write_ticks(ax: Axes, texts: Sequence[str]) -> None:
    labels = [text if len(text) <= _LONGEST_LABEL else f"{text[: _LONGEST_LABEL - 3]}..." for text in texts]
    crowded = sum(map(len, labels)) + 2 * len(labels) > _MOST_LETTERS
    style: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
    ax.set_xticklabels(labels, fontsize="small", **style)


def _scale_metric(ax: Axes, result: Search) -> None:
    """Scale the metric axis, which all panels share, and leave room for crosses at its edge."""
    values = [value for run in result.runs if math.isfinite(value := _metric(run, result))]
    if "accuracy" in result.monitor:
        ax.yaxis.set_major_formatter(lambda value, position: f"{100 * value:g}%")
    elif values and min(values) > 0 and max(values) >= _DECADES * min(values):
        ax.set_yscale("log")
    ax.margins(y=0.12)


def _metric(run: SearchRun, result: Search) -> float:
    """Return the monitored metric of a candidate, or NaN if it has none."""
    return run.metric_values.get(result.monitor, math.nan)
