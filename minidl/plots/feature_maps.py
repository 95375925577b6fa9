"""The feature maps of a convolutional network for an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from minidl.errors import ArgumentError, DataError, ShapeError, counted
from minidl.plots.canvas import tinted
from minidl.plots.distributions import check_set_up
from minidl.plots.grid import check_positive, draw_grid
from minidl.plots.images import as_images, stretched
from minidl.typing import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_feature_maps(
    model: Any,
    image: ArrayLike,
    *,
    layers: Sequence[str] | None = None,
    limit: int = 8,
    ax: Axes | None = None,
) -> Axes:
    """Draw an image, and below it a row of feature maps for each layer: one map per channel.

    Each row has its own scale. If no number is negative, as after a ReLU, it goes from black (0) to white (the
    largest); otherwise from blue over white (0) to orange.

    Parameters
    ----------
    model : Sequential
        It does not change.
    image : array of the shape of one sample, or a batch of one
    layers : list of str, optional
        Paths of layers, as for ``model.activations``. Default: all layers that output images and are not inside
        others, without those that make no visible change, such as Rescale and Dropout.
    limit : int, > 0, default 8
        Draw only the first `limit` channels of a layer.
    ax : matplotlib Axes, optional

    Raises
    ------
    ShapeError
        If the image does not fit the model.
    DataError
        If the image or the output of a layer holds numbers that are not finite.
    ArgumentError
        If no layer, or a named one does not, output images; or if `limit` is not positive.
    ArgumentTypeError
        If `model` is not a Sequential model; NotReadyError if it has no parameters yet.
    KeyError
        If the model has no such path.
    """
    check_set_up(model, "plot_feature_maps")
    check_positive(limit=limit)
    sample = model.as_inputs(image)
    sample = sample[np.newaxis] if sample.shape == model.input_shape else sample
    if len(sample) != 1:
        raise ShapeError(f"plot_feature_maps draws one image, not {len(sample)}: pass images[:1]")
    outputs = model.activations(sample, layers)
    chosen = [path for path in outputs if "/" not in path] if layers is None else list(layers)
    maps = {path: outputs[path][0] for path in chosen if outputs[path].ndim == 4}
    if layers is not None and (flat := [path for path in layers if path not in maps]):
        raise ArgumentError(f"the output of {flat[0]!r} is {outputs[flat[0]].shape[1:]}, which is not an image")
    if not maps:
        raise ArgumentError("no layer of the model outputs images (height, width, channels)")
    # One picture; but with two, or more than three channels, an image of each channel.
    channels = 1 if sample.ndim < 4 else sample.shape[-1]
    pictures = as_images(sample) if channels in {1, 3} else sample[0].transpose(2, 0, 1)[:limit]
    rows = {f"the image: {_sizes(sample.shape[1:])}": stretched(pictures)}
    seen = sample[0]
    for path, values in maps.items():
        if layers is None and _looks_the_same(seen, values):
            continue
        seen, channels = values, values.shape[-1]
        shown = f"{f'the first {limit} of ' if channels > limit else ''}{counted(channels, 'channel')}"
        rows[f"{path}: {_sizes(values.shape[:2])}, {shown}"] = _coloured(values.transpose(2, 0, 1)[:limit], path)
    columns = max(len(images) for images in rows.values())
    nothing = np.empty((0, 0))
    cells = [cell for images in rows.values() for cell in (*images, *[nothing] * (columns - len(images)))]
    captions = [caption for title in rows for caption in (title, *[""] * (columns - 1))]
    least = min(max(11 / len(rows), 0.5), 0.95)
    drawn = draw_grid(cells, captions, columns, ax, least_width=least, wide=True, cmap="gray", vmin=0, vmax=1)
    return drawn.axes


def _sizes(shape: Sequence[int]) -> str:
    return " \N{MULTIPLICATION SIGN} ".join(map(str, shape))


def _looks_the_same(before: Array, after: Array) -> bool:
    first, second = (stretched(values.astype(np.float64).ravel()) for values in (before, after))
    return before.size == after.size and np.allclose(first, second, atol=1e-3)


def _coloured(values: Array, path: str) -> Array:
    """Return maps (N, height, width) on one scale: gray if none is negative, else in two colours."""
    largest = float(np.abs(values).max())
    if not np.isfinite(largest):
        raise DataError(f"the output of {path} holds nan or infinity: the training diverged")
    scaled = values / (largest or 1)
    return tinted(scaled) if scaled.min() < 0 else scaled
