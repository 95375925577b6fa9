"""Images with a classifier's predictions, and its mistakes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from minidl.arrays import as_array
from minidl.errors import DataError, ShapeError, counted
from minidl.plots.canvas import class_labels, new_axes
from minidl.plots.grid import WRONG, check_positive, draw_grid
from minidl.tables import as_labels
from minidl.typing import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_images(
    images: ArrayLike,
    *,
    predictions: ArrayLike | None = None,
    targets: ArrayLike | None = None,
    confidences: ArrayLike | None = None,
    columns: int | None = None,
    limit: int = 100,
    ax: Axes | None = None,
) -> Axes:
    """Draw images in a grid, each with a caption: prediction, confidence and true class.

    A wrong prediction has a cross before it, the true class after it, and another colour.

    Parameters
    ----------
    images : array of shape (N, h * h), (N, h, w), (N, h, w, 1) or (N, h, w, 3)
        Values in 0 .. 255 or in 0 .. 1, from black to full; other ranges are scaled from minimum to maximum.
    predictions, targets : arrays of shape (N,) or (N, K), optional
        Classes; or one-hot rows or probabilities, whose largest entry is the class.
    confidences : array of shape (N,), in [0, 1], optional
        Probability of each prediction.
    columns : int, > 0, optional
        Images per row; by default the grid is nearly square.
    limit : int, > 0, default 100
        Only the first `limit` images are drawn, and the title says so.
    ax : matplotlib Axes, optional

    Raises
    ------
    ShapeError
        If `images` has another shape, or another array does not have one value per image.
    DataError
        If there is no image, a number is not finite, or a confidence is not a probability.
    ArgumentError
        If `columns` or `limit` is not positive.
    """
    pixels = as_images(images)
    count = len(pixels)
    check_positive(columns=columns, limit=limit)
    predicted = None if predictions is None else class_labels("predictions", predictions, rows=count)
    true = None if targets is None else class_labels("targets", targets, rows=count)
    certain = None if confidences is None else _probabilities(confidences, count)

    pixels = pixels[:limit]
    captions = [_caption(index, predicted, true, certain) for index in range(len(pixels))]
    drawn = draw_grid(unit_range(pixels), captions, columns, ax, cmap="gray", vmin=0, vmax=1)
    if count > limit:
        drawn.axes.set_title(f"the first {limit:,} of {count:,} images")
    return drawn.axes


def plot_mistakes(
    images: ArrayLike,
    targets: ArrayLike,
    probabilities: ArrayLike,
    *,
    labels: Sequence[Any] | None = None,
    count: int = 25,
    columns: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the images that a classifier got wrong, sorted by confidence, highest first.

    Parameters
    ----------
    images : array of shape (N, h * h), (N, h, w), (N, h, w, 1) or (N, h, w, 3)
    targets : integers of shape (N,), in 0 .. K - 1, or one-hot rows of shape (N, K)
    probabilities : array of shape (N, K), or (N, 1) for two classes
        The result of ``model.predict_proba(images)``; the largest probability of a row is the prediction.
    labels : sequence of K names, optional
        The names of the classes.
    count : int, > 0, default 25
        The most images to draw.
    columns : int, > 0, optional
        Images per row.
    ax : matplotlib Axes, optional

    Raises
    ------
    ShapeError
        If the arrays do not fit each other, or `images` has another shape.
    DataError
        If there is no image, a target is not a class, or a number is not a probability.
    ArgumentError
        If `columns` or `count` is not positive.
    """
    pixels = as_images(images)
    check_positive(columns=columns, count=count)
    chances = as_array(probabilities, "probabilities")
    if chances.ndim == 2 and chances.shape[1] == 1:  # the probability of the second of two classes
        chances = np.hstack([1 - chances, chances])
    if chances.ndim != 2 or chances.shape[1] < 2 or len(chances) != len(pixels):
        raise ShapeError(
            f"probabilities must have shape (N, K) with N = {len(pixels)} images and K > 1 classes, not "
            f"{chances.shape}: pass what model.predict_proba returns"
        )
    classes = chances.shape[1]
    true, predicted = class_labels("targets", targets, rows=len(pixels)), chances.argmax(axis=1)
    strange = np.setdiff1d(true, np.arange(classes)).tolist()
    if strange:
        raise DataError(f"target {strange[0]!r} is not one of the classes 0 to {classes - 1}")
    names = np.arange(classes) if labels is None else as_labels(labels)
    if names.shape != (classes,):
        raise ShapeError(f"labels must name {classes} classes, not have shape {names.shape}")
    confidence = _probabilities(chances.max(axis=1), len(pixels))

    wrong = np.flatnonzero(predicted != true)
    shown = wrong[np.argsort(-confidence[wrong], kind="stable")][:count]
    if not len(shown):
        ax = ax if ax is not None else new_axes(4.5, 1.5)
        text = f"no mistakes in {counted(len(pixels), 'image')}"
        ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes)
        ax.set_axis_off()
        return ax
    ax = plot_images(
        pixels[shown],
        predictions=names[predicted[shown]],
        targets=names[true[shown]],
        confidences=confidence[shown],
        columns=columns,
        limit=count,
        ax=ax,
    )
    ax.set_title(f"{len(shown):,} of {len(wrong):,} mistakes")
    return ax


def as_images(images: ArrayLike) -> Array:
    """Return images as (N, height, width) or (N, height, width, 3)."""
    pixels = as_array(images, "images")
    if not pixels.size:
        raise DataError("there is no image to draw")
    if pixels.ndim == 2:
        side = math.isqrt(pixels.shape[1])
        if side * side != pixels.shape[1]:
            raise ShapeError(
                f"rows of {pixels.shape[1]} pixels are not square images: reshape them to "
                "(N, height, width), and a single image to (1, height, width)"
            )
        pixels = pixels.reshape(-1, side, side)
    if pixels.ndim == 4 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim != 3 and not (pixels.ndim == 4 and pixels.shape[-1] == 3):
        raise ShapeError(f"images must be (N, pixels), (N, h, w), (N, h, w, 1) or (N, h, w, 3), not {pixels.shape}")
    return pixels


def unit_range(pixels: Array) -> Array:
    """Scale to 0 .. 1: from 0 .. 1 or 0 .. 255 if the values lie there, else from their own range."""
    low, high = float(pixels.min()), float(pixels.max())
    if not math.isfinite(high - low):
        raise DataError("the images hold nan or infinity")
    if low >= 0 and high <= 255:
        low, high = 0, 1 if high <= 1 else 255
    return (pixels.astype(np.float64) - low) / ((high - low) or 1)


def stretched(pixels: Array) -> Array:
    """Scale images to 0 .. 1: uint8 pixels from 0 .. 255, others from their minimum to their maximum."""
    low, high = (0.0, 255.0) if pixels.dtype == np.uint8 else (float(pixels.min()), float(pixels.max()))
    return (pixels.astype(np.float64) - low) / ((high - low) or 1)


def _probabilities(values: ArrayLike, rows: int) -> Array:
    chances = as_array(values, "confidences")
    if chances.shape != (rows,):
        raise ShapeError(f"confidences must have shape ({rows},), one per image, not {chances.shape}")
    strange = chances[~((chances >= 0) & (chances <= 1))]
    if len(strange):
        raise DataError(f"a probability must be between 0 and 1, not {strange[0]}")
    return chances


def _caption(index: int, predicted: Array | None, true: Array | None, certain: Array | None) -> str:
    """Return the caption of an image: "7 (93%)"; if wrong, with a cross before it and "true 9" below."""
    shown = true if predicted is None else predicted
    caption = "" if shown is None else str(shown[index])
    if certain is not None:
        caption = f"{caption} ({certain[index]:.0%})".strip()
    if predicted is not None and true is not None and predicted[index] != true[index]:
        caption = f"{WRONG}{caption}\ntrue {true[index]}"
    return caption
