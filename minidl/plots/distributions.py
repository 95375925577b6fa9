"""The distributions of weights, gradients and activations per layer. They show vanishing, saturated or dead units."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from minidl.errors import ArgumentError, ArgumentTypeError, DataError, NotReadyError
from minidl.inspection import outputs_and_masks
from minidl.model import Sequential
from minidl.plots.canvas import BLUE, VERMILION, new_axes
from minidl.reprs import brief
from minidl.training.gradients import Tally, compute_gradients
from minidl.training.rows import prepare_rows
from minidl.typing import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HALF = 0.42
"""Half of the height of a band; its row has the height 1."""

_WIDEST = 6.0
"""The axis reaches at most this many times as far from 0 as three quarters of the bands; the rest is at its ends."""


class _Band(NamedTuple):
    """The values of a layer, the note beside them, and whether something is wrong with them."""

    name: str
    values: Array
    note: str
    is_wrong: bool = False


def plot_weight_distributions(model: Sequential, *, ax: Axes | None = None) -> Axes:
    """Draw how the parameters of each layer are distributed.

    Each parameter has a band, from the network's input at the top to its output, with its mean and standard deviation
    beside it. A weight is orange if all its numbers are equal, so that all units of its layer are the same. Values far
    outside the range of most layers are drawn at the ends of the axis.

    Parameters
    ----------
    model : Sequential
    ax : matplotlib Axes, optional

    Raises
    ------
    NotReadyError
        If the model is not set up.
    DataError
        If it has no parameters, or they are not finite.
    """
    check_model(model, "plot_weight_distributions")
    model.vectors()  # raises before the model is set up
    values = {path: parameter.value for path, parameter in model.named_parameters().items()}
    if not values:
        raise DataError("the model has no parameters: there is nothing to draw")
    bands = [_Band(path, each, _moments(each), each.ndim > 1 and np.ptp(each) == 0) for path, each in values.items()]
    return _draw(bands, "value", "    mean ± deviation", ax)


def plot_activation_distributions(
    model: Sequential, x: Any, layers: Sequence[str] | None = None, *, ax: Axes | None = None
) -> Axes:
    """Draw how the outputs of each layer are distributed, for given rows.

    Each layer has a band, from the first at the top to the last. Beside it are the shares of exact zeros and of dead
    units, whose output is the same for every row. A layer is orange if at least a tenth of its units are dead. The
    values of saturated sigmoids are at 0 and 1. Padding of sequences does not count.

    Parameters
    ----------
    model : Sequential
    x : array (N, *input_shape), or anything else that `predict` takes
        A few hundred rows are enough.
    layers : list of str, optional
        The paths of the layers to draw, as in ``model["dense_1"]``; by default all except the branches of blocks.
    ax : matplotlib Axes, optional

    Raises
    ------
    DataError
        If `x` has no rows or only padding, or `x` or an output holds numbers that are not finite.
    ShapeError
        If `x` does not fit the model.
    KeyError
        If the model has no such layer.
    """
    check_model(model, "plot_activation_distributions")
    outputs = outputs_and_masks(model, x, layers)
    if layers is None:  # the output of a branch is the output of its last layer
        outputs = {path: found for path, found in outputs.items() if not isinstance(model[path], Sequential)}
    bands, learns_before = [], False
    for path, (output, mask) in outputs.items():
        values = output if mask is None else output[mask]
        if not len(values):
            raise DataError(f"x is {'empty' if mask is None else 'all padding'}: there are no activations to draw")
        units = values.reshape(-1, values.shape[-1])
        dead = float((np.ptp(units, axis=0) == 0).mean()) if len(units) > 1 else 0.0
        learns_before = (
            learns_before or model[path].count_parameters() > 0
        )  # otherwise it is the input that never changes
        note = f"{_percent(values == 0)}  {dead:>5.0%}"
        bands.append(_Band(path, values, note, learns_before and dead >= 0.1))
    return _draw(bands, "output", "zeros   dead", ax)


def plot_gradient_distributions(
    model: Sequential, x: Any, y: Any, *, sample_weight: Any = None, ax: Axes | None = None
) -> Axes:
    """Draw the size of the gradients of each layer's parameters, on a logarithmic scale, for a batch.

    The gradients are of the mean loss over the rows, with the penalties of regularizers, in training mode: dropout is
    on, and batch normalization uses the statistics of the batch. Each parameter has a band, from the network's input at
    the top to its output, with the median size and the share of exact zeros beside it. A parameter is orange if its
    median is less than a thousandth of the largest median, as with vanishing gradients, or if more than half of its
    entries are 0. The model does not change: it keeps its gradients, running statistics and random generators.

    Parameters
    ----------
    model : Sequential
        It needs a loss. Frozen layers are left out.
    x : array (N, *input_shape), or anything else that `Trainer.fit` takes
    y : array (N, ...)
        Targets.
    sample_weight : array (N,), optional
    ax : matplotlib Axes, optional

    Raises
    ------
    ArgumentError
        If the model has no loss, or all its layers are frozen.
    DataError
        If the model cannot be trained on `x` or `y`, or a gradient is not finite.
    ShapeError
        If they do not fit the model.
    """
    check_model(model, "plot_gradient_distributions")
    gradients = _gradients(model, x, y, sample_weight)
    sizes = {path: np.abs(gradient) for path, gradient in gradients.items()}
    medians = {path: float(np.median(size)) for path, size in sizes.items()}
    largest = max(medians.values())
    bands = []
    for path, size in sizes.items():
        is_wrong = medians[path] < largest / 1000 or np.mean(size == 0) > 0.5
        bands.append(
            _Band(path, size, f"{f'{medians[path]:.0e}' if medians[path] else '0':>5}  {_percent(size == 0)}", is_wrong)
        )
    return _draw(bands, "size of the gradient", "median  zeros", ax, sizes=True)


def check_model(model: Any, function: str) -> None:
    """Raise ArgumentTypeError unless this is a Sequential model."""
    if not isinstance(model, Sequential):
        raise ArgumentTypeError(f"{function} draws a Sequential model, not {brief(model)}")


def check_set_up(model: Any, function: str) -> None:
    """Also raise NotReadyError for a model without parameters: a plot must not create them."""
    check_model(model, function)
    if model.input_shape is None:
        raise NotReadyError(f"{function}: the model does not know its input shape: call set_up, or fit it, first")


def _moments(values: Array) -> str:
    return f"{values.mean():>8.2g} ± {values.std():.2g}"


def _percent(chosen: Array) -> str:
    return f"{np.mean(chosen):>5.0%}"


def _gradients(model: Sequential, x: Any, y: Any, sample_weight: Any) -> dict[str, Array]:
    """Return the gradients of a copy of the model, by path, without frozen layers."""
    model.set_up_for(model.as_inputs(x))
    copied = copy.deepcopy(model)
    rows = prepare_rows(copied, x, y, sample_weight)
    compute_gradients(copied, [rows], Tally(copied, [], rows), rows.weight)
    copied.penalty(add_gradients=True)
    gradients = {
        f"{path}{name}": parameter.gradient
        for path, layer in copied.named_layers()
        for name, parameter in layer._parameters.items()
        if layer.own_trainable
    }
    if not gradients:
        raise ArgumentError("all layers are frozen, or none has parameters: there are no gradients to draw")
    return gradients


def _draw(bands: list[_Band], label: str, header: str, ax: Axes | None, *, sizes: bool = False) -> Axes:
    """Draw a band for each layer, the first at the top, and its note beside it; `sizes` are on a logarithmic scale."""
    for band in bands:
        if not np.isfinite(band.values).all():
            raise DataError(f"{band.name} holds nan or infinity: the training diverged")
    longest = max(len(band.name) for band in bands)
    widest = max(len(header), *(len(band.note) for band in bands))
    ax = ax if ax is not None else new_axes(5.2 + 0.075 * longest, min(1.3 + 0.3 * len(bands), 14))
    box = ax.get_window_extent()
    space = min(0.7 * box.height / (len(bands) + 1), box.width / (longest + widest))
    points = min(9.0, space * 72 / ax.figure.dpi)
    places = [_places(band, sizes) for band in bands]
    low, high = _limits([each for each in places if each.size], sizes)
    margin = 0.04 * (high - low)
    ends = np.array([low - margin, high + margin])
    if sizes:
        ax.set_xscale("log")
    ax.set(xlabel=label, xlim=10**ends if sizes else ends, ylim=(len(bands) - 0.4, -1.4))
    ax.set_yticks(range(len(bands)), [band.name for band in bands], fontsize=points)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", alpha=0.3)
    notes = ax.secondary_yaxis("right")
    notes.set_yticks([-1, *range(len(bands))], [header, *(band.note for band in bands)])
    notes.tick_params(axis="y", length=0, labelsize=points, labelfontfamily="monospace")
    for row, (band, text) in enumerate(zip(bands, notes.get_yticklabels()[1:], strict=True)):
        colour = VERMILION if band.is_wrong else BLUE
        text.set_color(colour if band.is_wrong else "black")
        zeros = 1 - places[row].size / band.values.size
        if zeros:
            _draw_line(ax, row, ends[0] if sizes else 0, zeros, colour, sizes)
        if places[row].size:
            _draw_density(ax, row, places[row].clip(low, high), colour, sizes)
    return ax


def _places(band: _Band, sizes: bool) -> Array:
    """Return the positions of the values on the axis, without zeros: the values, or their base-10 logarithms."""
    values = band.values[band.values != 0].astype(np.float64)
    return np.log10(values) if sizes else values


def _limits(places: list[Array], sizes: bool) -> tuple[float, float]:
    """Return the ends of the axis: they contain nearly all values, but no band may shrink the others to a line."""
    if not places:
        return -1, 1
    lowest, highest = np.array([np.quantile(each, [0.01 if sizes else 0.001, 0.999]) for each in places]).T
    if sizes:
        low, high = lowest.min(), highest.max()
    else:
        reach = _WIDEST * np.quantile(np.maximum(highest, -lowest), 0.75, method="lower")
        low, high = max(min(lowest.min(), 0), -reach), min(max(highest.max(), 0), reach)
    return float(low), float(high if high > low else low + 1)


def _draw_density(ax: Axes, row: int, places: Array, colour: str, sizes: bool) -> None:
    if np.ptp(places) == 0:
        _draw_line(ax, row, places[0], 1, colour, sizes)
        return
    counts, edges = np.histogram(places, bins=int(np.clip(math.sqrt(places.size), 8, 60)))
    heights = np.repeat(_HALF * counts / counts.max(), 2)
    across = np.repeat(10**edges if sizes else edges, 2)[1:-1]
    ax.fill_between(across, row - heights, row + heights, color=colour, alpha=0.75, linewidth=0.8)


def _draw_line(ax: Axes, row: int, place: float, height: float, colour: str, sizes: bool) -> None:
    """Draw a line across a band, for values that are all the same."""
    across, half = [10**place if sizes else place] * 2, _HALF * height
    ax.plot(across, [row - half, row + half], color=colour, linewidth=2.5, solid_capstyle="butt", clip_on=False)
