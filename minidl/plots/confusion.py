"""The confusion matrix: which classes a classifier confuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from minidl.errors import ArgumentError, DataError
from minidl.metrics import confusion_matrix
from minidl.plots.canvas import class_labels, new_axes
from minidl.tables import as_labels
from minidl.typing import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHARES = {
    None: (1, ""),
    "true": (1, "\n% of each true class"),
    "pred": (0, "\n% of each predicted class"),
    "all": (None, "\n% of all"),
}
"""normalize -> the axis along which the shares sum to one, and the text for the title."""


def plot_confusion_matrix(
    targets: ArrayLike,
    predictions: ArrayLike,
    *,
    labels: Sequence[Any] | None = None,
    normalize: Literal["true", "pred", "all"] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw how often each true class (row) was predicted as each class (column).

    Right predictions are blue and wrong ones orange, each on its own scale, so that many right predictions do not hide
    a few mistakes. The colour shows the share of the row, or the share that `normalize` chooses.

    Parameters
    ----------
    targets, predictions : arrays of shape (N,) or (N, K)
        Classes; or one-hot rows or probabilities, whose largest entry is the class.
    labels : sequence of K labels, optional
        The classes, in the order to draw; by default all that occur, sorted. With integer classes, strings are the
        names of the classes 0 .. K - 1.
    normalize : {"true", "pred", "all"}, optional
        Write percentages of the row, of the column or of everything (as in scikit-learn), not counts.
    ax : matplotlib Axes, optional

    Raises
    ------
    ShapeError
        If the lengths differ or an array has more than two axes.
    DataError
        If there are no rows, or a class that occurs is not in `labels`.
    ArgumentError
        If `normalize` has another value.
    """
    if normalize not in _SHARES:
        raise ArgumentError(f"normalize must be None, 'true', 'pred' or 'all', not {normalize!r}")
    true = class_labels("targets", targets)
    predicted = class_labels("predictions", predictions, rows=len(true))
    classes, names = _classes(true, predicted, labels)
    counts = confusion_matrix(true, predicted, labels=classes)
    axis, unit = _SHARES[normalize]
    shares = counts / np.maximum(counts.sum(axis=axis, keepdims=True), 1)
    texts = [[f"{share:.1f}" for share in row] for row in 100 * shares] if normalize else counts.astype(str)

    size = min(max(3.6, 2 + 0.4 * len(names)), 12)
    ax = ax if ax is not None else new_axes(size, size)
    box = ax.get_window_extent()
    cell = min(box.width, box.height) * 72 / ax.figure.dpi / len(names)  # in points, like text sizes
    right = np.eye(len(names), dtype=bool)
    most = shares[right].max() or 1
    # Mistakes are pale if they are few compared with a tenth of the best class: dark orange means a bad model.
    worst = max(shares[~right].max(initial=0), most / 10)
    _draw_cells(ax, shares, right, texts, cell, cmap="Blues", top=2 * most)
    _draw_cells(ax, shares, ~right, texts, cell, cmap="Oranges", top=worst)

    ax.set(xlabel="predicted", ylabel="true", title=f"{np.trace(counts):,} of {len(true):,} right{unit}")
    fontsize = min(10, 0.75 * cell)
    wide = 0.65 * fontsize * max(map(len, names)) > cell
    turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if wide else {}
    ax.set_xticks(range(len(names)), names, fontsize=fontsize, **turned)
    ax.set_yticks(range(len(names)), names, fontsize=fontsize)
    return ax


def _classes(true: Array, predicted: Array, labels: Sequence[Any] | None) -> tuple[Array, list[str]]:
    """Return the classes to draw, in order, and their names."""
    if not len(true):
        raise DataError("plot_confusion_matrix got no rows, so there is nothing to count")
    if _are_names(true) != _are_names(predicted):
        raise DataError(f"targets such as {true[0]!r} cannot be compared with predictions such as {predicted[0]!r}")
    present = np.unique(np.concatenate([true, predicted]))
    names = present if labels is None else as_labels(labels)
    classes = np.arange(len(names)) if _are_names(names) and not _are_names(present) else names
    unknown = np.setdiff1d(present, classes).tolist()
    if unknown:
        raise DataError(f"class {unknown[0]!r} is not among the {len(classes)} labels {classes.tolist()}")
    return classes, [str(name) for name in names]


def _are_names(labels: Array) -> bool:
    return labels.dtype.kind not in "biuf"


def _draw_cells(ax: Axes, shares: Array, cells: Array, texts: Any, width: float, *, cmap: str, top: float) -> None:
    """Colour the given cells, the square root of 0 .. `top` along `cmap`, and write their texts."""
    from matplotlib.colors import PowerNorm

    blank = ~cells | (shares == 0)
    image = ax.imshow(np.ma.array(shares, mask=blank), cmap=cmap, norm=PowerNorm(0.5, 0, top))
    longest = max(len(text) for row in texts for text in row)
    for row, column in np.argwhere(cells):
        luminance = np.dot(image.to_rgba(shares[row, column])[:3], (0.299, 0.587, 0.114))
        text = ax.text(column, row, texts[row][column], ha="center", va="center")
        text.set_fontsize(min(11, width / (0.7 * max(3, longest))))
        text.set_color("0.6" if blank[row, column] else "white" if luminance < 0.5 else "black")
