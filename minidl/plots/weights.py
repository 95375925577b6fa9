"""The weights of a first layer as images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.errors import ArgumentTypeError, DataError, NotReadyError, ShapeError
from minidl.plots.grid import check_positive, draw_grid
from minidl.reprs import brief
from minidl.tables import as_labels
from minidl.typing import Array, Shape

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_weights(
    model_or_weight: Any,
    *,
    image_shape: Shape | None = None,
    columns: int | None = None,
    limit: int = 100,
    ax: Axes | None = None,
) -> Axes:
    """Draw the weights of the first dense layer as one image per unit: the pattern that the unit detects.

    All images share one scale, symmetric around zero, which is white.

    Parameters
    ----------
    model_or_weight : Sequential, or array of shape (inputs, units)
        For a model, the first parameter with two axes whose name ends with ``weight`` is drawn.
    image_shape : (height, width) or (height, width, 1), optional
        The shape of the input images; by default a square.
    columns : int, > 0, optional
        Units per row.
    limit : int, > 0, default 100
        Draw only the first `limit` units; the title gives the total number.
    ax : matplotlib Axes, optional

    Raises
    ------
    ShapeError
        If the weight does not have two axes, or its inputs do not fill the image.
    DataError
        If a weight is not finite, or there is none.
    ArgumentError
        If `columns` or `limit` is not positive.
    NotReadyError
        If the model has no such parameter (yet).
    ArgumentTypeError
        If `model_or_weight` is neither a model nor numbers.
    """
    check_positive(columns=columns, limit=limit)
    weight = first_weight(model_or_weight, "plot_weights", "(inputs, units)")
    inputs, units = weight.shape
    shape = tuple(image_shape) if image_shape else (math.isqrt(inputs), math.isqrt(inputs))
    if len(shape) == 3 and shape[2] == 1:
        shape = shape[:2]
    if len(shape) != 2 or math.prod(shape) != inputs:
        raise ShapeError(
            f"the {inputs} inputs of a unit do not fill an image of shape {shape}: give "
            "image_shape=(height, width), and for colour images the weights of one channel"
        )
    filters = weight.T[:limit].reshape(-1, *shape)
    bound = largest_size(filters)
    image = draw_grid(filters, [""] * len(filters), columns, ax, margin=0.8, cmap="RdBu_r", vmin=-bound, vmax=bound)
    image.axes.figure.colorbar(image, ax=image.axes, label="weight", aspect=30, pad=0.03)
    if units > limit:
        image.axes.set_title(f"the first {limit:,} of {units:,} units")
    return image.axes


def first_weight(model_or_weight: Any, function: str, shape: str) -> Array:
    """Return the weight to draw: an array, or a model's first weight with as many axes as `shape` names."""
    axes = shape.count(",") + 1
    if hasattr(model_or_weight, "named_parameters"):
        for path, parameter in model_or_weight.named_parameters().items():
            if path.endswith("weight") and np.ndim(parameter.value) == axes:
                return np.asarray(parameter.value)
        raise NotReadyError(f"the model has no weight of shape {shape}: call set_up, or fit it, first")
    weight = as_labels(model_or_weight)
    if weight.dtype.kind not in "biuf":
        raise ArgumentTypeError(f"{function} takes a model or a weight array, not {brief(model_or_weight)}")
    if weight.ndim != axes:
        raise ShapeError(f"a weight to draw must have shape {shape}, not {weight.shape}")
    if not weight.size:
        raise DataError(f"a weight of shape {weight.shape} has nothing to draw")
    return weight


def largest_size(weight: Array) -> float:
    """Return the largest absolute value, or 1 if all numbers are 0. Raises DataError if one is not finite."""
    bound = float(np.abs(weight).max())
    if not math.isfinite(bound):
        raise DataError("the weights hold nan or infinity: the training diverged")
    return bound or 1.0
