"""The parts that all plots use: axes, legends, class labels, and colours that everyone can distinguish."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from minidl.errors import DataError, MissingDependencyError, ShapeError, counted
from minidl.tables import as_labels
from minidl.typing import Array

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE = "#0072B2"
VERMILION = "#D55E00"
COLOURS = (BLUE, VERMILION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""The palette of Okabe and Ito (2008), for any colour vision."""


def new_figure(width: float, height: float) -> Figure:
    """Return a new figure with a size in inches and a layout that keeps every label inside."""
    try:
        import matplotlib.pyplot as plt
    except ModuleNotFoundError as error:
        raise MissingDependencyError("drawing needs matplotlib: pip install 'minidl[plots]'") from error
    return plt.figure(figsize=(width, height), layout="constrained")


def new_axes(width: float, height: float, *, frame: bool = True) -> Axes:
    """Return the axes of a new figure with a size in inches."""
    figure = new_figure(width, height)
    ax = figure.subplots()
    if not frame:
        ax.set_axis_off()
    figure.draw_without_rendering()  # compute the layout, so that later code can measure the axes
    return ax


def tinted(values: Array) -> Array:
    """Return colours (..., 3) for values in [-1, 1]: blue for -1, over white for 0, to vermilion for 1."""
    ends = [np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]) for colour in (BLUE, VERMILION)]
    strength = np.abs(values)[..., np.newaxis]
    return 1 - strength * (1 - np.where(values[..., np.newaxis] < 0, *ends))


def class_labels(name: str, values: ArrayLike, rows: int | None = None) -> Array:
    """Return classes of shape (N,): the values, or the index of the largest entry of one-hot rows or probabilities.

    Raises ShapeError for other shapes or if N is not `rows`, and DataError for numbers that are not classes.
    """
    labels = as_labels(values)
    if labels.ndim == 2 and labels.shape[1] > 1 and labels.dtype.kind in "biu" and (labels.sum(axis=1) != 1).any():
        cure = "for positions, pass the ones that count, such as targets[mask] and predictions[mask]"
        raise DataError(f"{name} {labels.shape} are not one-hot rows, and a row can have only one class: {cure}")
    if labels.ndim == 2:
        labels = labels[:, 0] if labels.shape[1] == 1 else labels.argmax(axis=1)
    if labels.ndim != 1:
        raise ShapeError(f"{name} must have shape (N,) or (N, K), not {labels.shape}")
    if rows is not None and len(labels) != rows:
        raise ShapeError(f"there are {len(labels)} {name} for {counted(rows, 'row')}: give one per row")
    if labels.dtype.kind == "f":
        strange = labels[~np.isfinite(labels) | (labels != np.rint(labels))]
        if len(strange):
            raise DataError(f"{name} must be classes, not {strange[0]}: pass what model.predict returns")
        labels = labels.astype(np.intp)
    return labels


def fitted_title(ax: Axes, text: str) -> None:
    """Set a title that is no wider than the axes."""
    title = ax.set_title(text)
    if text:
        shrunk = ax.get_window_extent().width / title.get_window_extent().width
        title.set_fontsize(float(title.get_fontsize()) * min(shrunk, 1))


def legend_on_top(ax: Axes, handles: Sequence[Artist]) -> None:
    """Put a legend over the axes, in as many columns as fit: inside it would cover curves."""
    from matplotlib.transforms import ScaledTranslation

    for columns in range(len(handles), 0, -1):
        legend = ax.legend(
            handles=handles,
            ncols=columns,
            loc="lower right",
            bbox_to_anchor=(1, 1),
            borderaxespad=0,
            fontsize="small",
            handlelength=1.9,
            handletextpad=0.5,
            columnspacing=1.2,
            frameon=False,
        )
        box = legend.get_window_extent()
        if box.width <= 0.85 * ax.get_window_extent().width:  # leaves the corner free for an axis factor such as "1e-5"
            break
    # Titles rise above insets, not above legends: an empty inset that ends where the legend ends lifts them.
    rise = ScaledTranslation(0, box.height / ax.figure.dpi, ax.figure.dpi_scale_trans)
    ax.inset_axes((0, 0.99, 1, 0.01), transform=ax.transAxes + rise).set_axis_off()
