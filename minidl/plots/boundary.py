"""The class that a classifier predicts for each point of a plane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from minidl.arrays import as_array, check_finite, check_lengths
from minidl.errors import ArgumentError, ArgumentTypeError, ShapeError
from minidl.model import Sequential
from minidl.plots.canvas import COLOURS, class_labels, new_axes
from minidl.prediction import Predictor
from minidl.reprs import brief
from minidl.settings import as_whole_number
from minidl.typing import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARGIN = 0.08
"""The margin beyond the outermost points, as a share of the width of the data."""

_TINT = 0.45
"""The strength of a region's colour, relative to the colour of its points."""


def plot_decision_boundary(
    model: Sequential | Predictor, x: ArrayLike, y: ArrayLike, *, resolution: int = 200, ax: Axes | None = None
) -> Axes:
    """Draw points of two features over the regions of the classes that a classifier predicts.

    The colours of the classes are mixed by the model's probabilities: a pale or mixed region means low confidence. A
    line marks where the most probable class changes. A point whose colour differs from its region is a mistake.

    Parameters
    ----------
    model : Sequential or other predictor, such as an Ensemble
        It has two inputs, and a loss that gives probabilities of exclusive classes.
    x : array (N, 2)
    y : array (N,) or (N, K)
        Classes 0 .. K - 1, or one-hot rows.
    resolution : int >= 2, default 200
        Number of points along each axis at which the model predicts.
    ax : matplotlib Axes, optional

    Raises
    ------
    ShapeError
        If `x` does not have two features, or `y` does not have one class for each row.
    DataError
        If `x` has no rows or holds numbers that are not finite, or if `y` does not hold classes.
    ArgumentError
        If the model gives no probabilities of exclusive classes, or `y` holds a class that it does not have.
    """
    if not isinstance(model, Sequential | Predictor):
        raise ArgumentTypeError(f"plot_decision_boundary draws a Sequential model, not {brief(model)}")
    resolution = as_whole_number(resolution, "resolution", 2)
    points = as_array(x, "x")
    if points.ndim != 2 or points.shape[1] != 2:
        raise ShapeError(f"x has shape {points.shape}; it must have two features, (N, 2)")
    check_lengths(x=points)
    check_finite(points, "x")
    classes = class_labels("y", y, rows=len(points))
    low, high = points.min(axis=0).astype(float), points.max(axis=0).astype(float)
    margin = _MARGIN * np.where(high > low, high - low, 1)
    (left, bottom), (right, top) = low - margin, high + margin
    across, up = np.linspace(left, right, resolution), np.linspace(bottom, top, resolution)
    plane = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)
    probabilities = _class_probabilities(model, plane)
    count = probabilities.shape[1]
    if classes.min() < 0 or classes.max() >= count:
        raise ArgumentError(f"y has the classes {classes.min()} to {classes.max()}, the model 0 to {count - 1}")

    ax = ax if ax is not None else new_axes(5, 5)
    from matplotlib.colors import to_rgb

    colours = np.array([to_rgb(colour) for colour in _colours(count)])
    tints = 1 - _TINT * (1 - colours)
    image = (probabilities @ tints).reshape(resolution, resolution, 3).clip(0, 1)
    # A colour belongs to the point in the middle of its pixel, so the image reaches half a pixel further.
    half = (right - left) / (resolution - 1) / 2, (top - bottom) / (resolution - 1) / 2
    extent = (left - half[0], right + half[0], bottom - half[1], top + half[1])
    ax.imshow(image, extent=extent, origin="lower", aspect="auto", interpolation="bilinear")
    for number in range(count if count > 2 else 1):
        others = np.delete(probabilities, number, axis=1).max(axis=1)
        lead = (probabilities[:, number] - others).reshape(resolution, resolution)
        if lead.min() < 0 < lead.max():  # else the class has no boundary, and matplotlib would warn
            ax.contour(across, up, lead, levels=[0], colors="0.25", linewidths=1)
    ax.scatter(points[:, 0], points[:, 1], c=colours[classes], s=18, edgecolors="white", linewidths=0.5, zorder=3)
    ax.set(xlim=(left, right), ylim=(bottom, top))
    return ax


def _class_probabilities(model: Sequential | Predictor, plane: Array) -> Array:
    """Return probabilities (M, K) of K exclusive classes; a single output gives two."""
    probabilities, decisions = model.predict_proba(plane), model.predict(plane)
    if decisions.ndim != 1 or probabilities.ndim != 2:
        raise ArgumentError(
            "plot_decision_boundary needs a model that gives each point one class, not several labels: "
            f"its predictions have shape {decisions.shape}"
        )
    return np.hstack([1 - probabilities, probabilities]) if probabilities.shape[1] == 1 else probabilities


def _colours(count: int) -> Any:
    from matplotlib import colormaps

    return COLOURS[:count] if count <= len(COLOURS) else colormaps["turbo"](np.linspace(0.05, 0.95, count))
