"""The filters of a convolution as images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minidl.plots.canvas import fitted_title
from minidl.plots.grid import check_positive, draw_grid
from minidl.plots.weights import first_weight, largest_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_CHANNELS = 16


def plot_kernels(
    model_or_layer: Any,
    *,
    columns: int | None = None,
    limit: int = 128,
    ax: Axes | None = None,
) -> Axes:
    """Draw the kernels of a convolution: the patterns that its filters detect.

    For gray inputs, each filter is an image; all share one scale, symmetric around zero, which is white. For three
    colours, each filter is a colour image in which gray is zero. For more channels, each filter is a row with an image
    for each channel.

    Parameters
    ----------
    model_or_layer : Sequential, Layer, or array of shape (height, width, channels, filters)
        For a model, its first convolution is drawn; another one is ``model["conv2d_2"]``.
    columns : int, > 0, optional
        Filters per row, for gray and colour images.
    limit : int, > 0, default 128
        The most kernels to draw; the title gives the total number.
    ax : matplotlib Axes, optional

    Raises
    ------
    ShapeError
        If an array does not have four axes.
    DataError
        If a weight is not finite, or there is none.
    ArgumentError
        If `columns` or `limit` is not positive.
    NotReadyError
        If the model or layer has no such weight (yet).
    ArgumentTypeError
        If `model_or_layer` is none of these.
    """
    check_positive(columns=columns, limit=limit)
    weight = first_weight(model_or_layer, "plot_kernels", "(height, width, channels, filters)")
    channels, filters = weight.shape[2:]
    bound = largest_size(weight)
    kernels = weight.transpose(3, 2, 0, 1)
    if channels == 3:
        colours = 0.5 + 0.5 * kernels[:limit].transpose(0, 2, 3, 1) / bound
        image = draw_grid(colours, [""] * len(colours), columns, ax)
        title = (
            "gray is zero" if len(colours) == filters else f"the first {limit:,} of {filters:,} filters, gray is zero"
        )
    else:
        across = min(channels, _MOST_CHANNELS, limit)
        kernels = kernels[: max(limit // across, 1), :across]
        shown = len(kernels)
        images = kernels.reshape(-1, *weight.shape[:2])
        columns = columns if channels == 1 else across
        style: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -bound, "vmax": bound}
        least = 0.95 if channels == 1 else 0.45
        image = draw_grid(images, [""] * len(images), columns, ax, margin=0.8, least_width=least, **style)
        image.axes.figure.colorbar(image, ax=image.axes, label="weight", aspect=30, pad=0.03)
        title = f"the first {shown:,} of {filters:,} filters" if shown < filters else ""
        if channels > 1:
            rows = f"{title or f'{filters:,} filters'} (rows)"
            title = f"{rows}, {f'{across} of ' if across < channels else ''}{channels:,} channels (columns)"
    fitted_title(image.axes, title)
    return image.axes
