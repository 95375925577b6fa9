"""The learning curves of a cross-validation: all runs, their mean, and their spread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from minidl.errors import ArgumentTypeError
from minidl.plots.canvas import BLUE, VERMILION, legend_on_top, new_axes
from minidl.plots.history import curves_of, label_epochs
from minidl.reprs import brief
from minidl.training import CrossValidation

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

_STYLES = {"training": (BLUE, "-"), "validation": (VERMILION, "--")}


def plot_cross_validation(result: CrossValidation, metric: str = "loss", *, ax: Axes | None = None) -> Axes:
    """Draw a metric over the epochs: each run as a thin line, the mean of the runs as a thick line inside a band.

    The band is the mean plus and minus the sample standard deviation of the runs. Mean and band end with the shortest
    run, because a mean of fewer runs would jump.

    Parameters
    ----------
    result : CrossValidation
    metric : str, default "loss"
        The column of the training data. The validation column, of the held-out rows, is ``val_<metric>``; it can also
        be drawn alone.
    ax : matplotlib Axes, optional

    Raises
    ------
    ArgumentError
        If the runs have no such metric; the error lists their metrics.
    ArgumentTypeError
        If `result` is not a CrossValidation.
    """
    if not isinstance(result, CrossValidation):
        raise ArgumentTypeError(f"plot_cross_validation takes the result of cross_validate, not {brief(result)}")
    runs = [curves_of(f"seed {run.seed}, fold {run.fold}", run.history, metric) for run in result.runs]
    lengths = [run.history.epochs for run in result.runs]
    ax = ax if ax is not None else new_axes(6.4, 4.2)
    handles: list[Artist] = []
    for split in runs[0]:
        colour, style = _STYLES[split]
        marker = "o" if max(lengths) == 1 else None  # a line would not show a point
        for curves in runs:
            epochs = np.arange(1, len(curves[split]) + 1)
            ax.plot(epochs, curves[split], color=colour, linewidth=0.7, alpha=0.35, marker=marker, markersize=3)
        together = np.array([curves[split][: min(lengths)] for curves in runs])
        epochs, mean = np.arange(1, min(lengths) + 1), together.mean(axis=0)
        handles += ax.plot(epochs, mean, style, color=colour, linewidth=2, marker=marker, label=f"{split}, mean")
        if len(runs) > 1:
            deviation = together.std(axis=0, ddof=1)
            ax.fill_between(epochs, mean - deviation, mean + deviation, color=colour, alpha=0.15, linewidth=0)
    label_epochs(ax, metric, max(lengths))
    legend_on_top(ax, handles)
    return ax
