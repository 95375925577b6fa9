"""Plots of learning rates: schedules over the steps, and the search for a learning rate."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from minidl.errors import ArgumentTypeError, DataError
from minidl.plots.canvas import COLOURS, legend_on_top, new_axes
from minidl.reprs import brief
from minidl.schedules import Schedule
from minidl.settings import as_number, as_whole_number
from minidl.training import RateSearch

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rate: TypeAlias = Callable[[int], float] | float
"""The types that an optimizer takes as its learning_rate."""

_MOST_POINTS = 5_000
"""More than there are pixels; up to this number, each step is a point."""


def plot_schedule(
    schedule: Rate | Mapping[str, Rate] | Sequence[Rate],
    steps: int,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw the learning rate over the optimizer's steps.

    Parameters
    ----------
    schedule : Schedule, other function of the step, or number; or a dict or list of these
        Several, ``{"name": schedule, ...}`` or ``[schedule, ...]``, have one colour each; from the seventh on, lines
        are dashed. In a list, the names are the classes, with settings if two have the same class.
    steps : int >= 1
        The number of steps: epochs * ceil(rows / batch_size).
    ax : matplotlib Axes, optional
        Where to draw.

    Raises
    ------
    ArgumentTypeError, ArgumentError
        If one of them is not a schedule or returns an invalid rate, or `steps` is not a whole number of 1 or more.
    DataError
        If there is no schedule.
    """
    steps = as_whole_number(steps, "plot_schedule: steps", 1)
    named = _named(schedule)
    asked = np.unique(np.linspace(0, steps - 1, min(steps, _MOST_POINTS)).round().astype(int))
    curves = {}
    for name, rate in named.items():
        values = [rate(step) if callable(rate) else rate for step in asked.tolist()]
        where = f"plot_schedule: {name or 'the schedule'} at step"
        curves[name] = [as_number(value, f"{where} {step}", 0) for step, value in zip(asked, values, strict=True)]

    ax = ax if ax is not None else new_axes(6.4, 4.2)
    marker = "o" if steps <= 15 else ""  # a line would not show a single step
    styles = itertools.cycle(itertools.product(("-", "--", ":", "-."), COLOURS))  # all colours before the next dashes
    lines = [
        ax.plot(asked, rates, style, color=colour, label=name, marker=marker, markersize=5, drawstyle="steps-post")[0]
        for (style, colour), (name, rates) in zip(styles, curves.items(), strict=False)
    ]
    ax.set(xlabel="step", ylabel="learning rate")
    ax.set_ylim(bottom=0)
    ax.locator_params(axis="x", integer=True, min_n_ticks=1)
    ax.grid(alpha=0.3)
    if any(curves):
        legend_on_top(ax, lines)
    return ax


def plot_rate_search(search: RateSearch, *, ax: Axes | None = None) -> Axes:
    """Draw the loss over the learning rate, and the suggested rate.

    Parameters
    ----------
    search : RateSearch
        The result of `find_learning_rate`.
    ax : matplotlib Axes, optional
        Where to draw.

    Raises ArgumentTypeError for anything else, and ArgumentError if the loss never falls.
    """
    if not isinstance(search, RateSearch):
        raise ArgumentTypeError(f"plot_rate_search takes what find_learning_rate returned, not {brief(search)}")
    suggestion = search.suggestion
    ax = ax if ax is not None else new_axes(6.4, 4.2)
    ax.plot(search.rates, search.losses, color=COLOURS[0])
    line = ax.axvline(suggestion, color=COLOURS[1], linestyle="--", label=f"suggested: {suggestion:.2g}")
    ax.set(xscale="log", xlabel="learning rate", ylabel="loss, smoothed")
    ax.grid(alpha=0.3)
    legend_on_top(ax, [line])
    return ax


def _named(schedule: Any) -> dict[str, Rate]:
    """Return schedules by name; a single one is named ""."""
    if callable(schedule) or isinstance(schedule, int | float | np.number):
        return {"": schedule}
    if isinstance(schedule, Mapping):
        named = {str(name): rate for name, rate in schedule.items()}
    elif isinstance(schedule, Sequence) and not isinstance(schedule, str):
        kinds = [type(rate).__name__ if isinstance(rate, Schedule) else f"{rate!r}" for rate in schedule]
        named = {
            kind if kinds.count(kind) == 1 else f"{rate!r}": rate for kind, rate in zip(kinds, schedule, strict=True)
        }
    else:
        raise ArgumentTypeError(
            "plot_schedule takes a Schedule, another function of the step or a number, or a dict by name or a list of "
            f"these, not {brief(schedule)}"
        )
    if not named:
        raise DataError("plot_schedule got no schedule to draw")
    return named
