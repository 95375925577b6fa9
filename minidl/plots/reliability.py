"""Whether a classifier is right as often as its confidence says: accuracy over confidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from minidl.errors import DataError
from minidl.metrics import ReliabilityTable, reliability_table
from minidl.plots.canvas import COLOURS, legend_on_top, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

_STYLES = ("-", "--", ":", "-.")
"""Line styles in addition to the colours, for outlines that overlap."""


def plot_reliability(
    targets: ArrayLike,
    probabilities: ArrayLike | Mapping[str, ArrayLike],
    bins: int = 15,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw a reliability diagram: the accuracy of predictions over their confidence.

    Each bin with rows is a point at its mean confidence and its accuracy. On the diagonal the model is right as often
    as its confidence says; below it the model is overconfident. The distance is shaded. The panel below shows the
    number of rows in each bin: points with few rows lie off the diagonal by chance. The title is the expected
    calibration error, the mean distance over the rows.

    Parameters
    ----------
    targets, probabilities, bins
        As for `minidl.metrics.reliability_table`. Several predictions of the same targets,
        ``{"name": probabilities, ...}``, such as before and after temperature scaling, have one colour each; at most
        six.
    ax : matplotlib Axes, optional

    Raises
    ------
    ShapeError, DataError, ArgumentError, ArgumentTypeError
        As for `minidl.metrics.reliability_table`; DataError also for no predictions or more than six.

    Source: Niculescu-Mizil and Caruana (2005), "Predicting good probabilities with supervised learning"; Guo et al.
    (2017), arXiv:1706.04599.
    """
    named = probabilities if isinstance(probabilities, Mapping) else {"": probabilities}
    if not 1 <= len(named) <= len(COLOURS):
        raise DataError(f"plot_reliability draws 1 to {len(COLOURS)} predictions, not {len(named)}")
    tables = {str(name): reliability_table(targets, each, bins) for name, each in named.items()}
    ax = ax if ax is not None else new_axes(4.8, 5.4)
    ax.plot([0, 1], [0, 1], color="0.5", linewidth=1, linestyle=(0, (4, 3)))
    spread = _panel_beneath(ax)
    lines = [
        _draw(ax, spread, table, name, colour, style)
        for (name, table), colour, style in zip(tables.items(), COLOURS, _STYLES * 2, strict=False)
    ]
    ax.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    ax.tick_params(labelbottom=False)
    spread.set(xlabel="confidence", ylabel="rows")
    spread.locator_params(axis="y", nbins=2, integer=True)
    for panel in (ax, spread):
        panel.grid(alpha=0.3)
    if "" in tables:
        ax.set_title(f"expected calibration error {tables[''].expected_calibration_error:.4f}", fontsize="medium")
    else:
        legend_on_top(ax, lines)
    return ax


def _panel_beneath(ax: Axes) -> Axes:
    """Return axes of a fixed height below `ax`: if they grew with `ax`, the layout would not converge."""
    from matplotlib.transforms import ScaledTranslation, blended_transform_factory

    height = 0.22 * ax.get_window_extent().height / ax.figure.dpi
    bottom = ScaledTranslation(0, 0, ax.transAxes)  # type: ignore[arg-type] # affine, but its type does not say so
    inches_from_bottom = ax.figure.dpi_scale_trans + bottom
    place = blended_transform_factory(ax.transAxes, inches_from_bottom)
    return ax.inset_axes((0, -0.18 - height, 1, height), transform=place, sharex=ax)


def _draw(ax: Axes, spread: Axes, table: ReliabilityTable, name: str, colour: str, style: str) -> Line2D:
    """Draw the accuracies of one prediction, and below the numbers of rows; return the line for the legend."""
    there = table.rows > 0
    confidence, accuracy = table.confidence[there], table.accuracy[there]
    label = f"{name}: ECE {table.expected_calibration_error:.4f}"
    # Points at 0 and 1 are drawn whole, over the frame.
    (line,) = ax.plot(
        confidence, accuracy, style, color=colour, marker="o", markersize=4, label=label, clip_on=False, zorder=3
    )
    ax.fill_between(confidence, confidence, accuracy, color=colour, alpha=0.15, linewidth=0)
    for x, low, high in zip(confidence, confidence, accuracy, strict=True):  # a single point shades nothing
        ax.plot([x, x], [low, high], color=colour, alpha=0.4, linewidth=1)
    spread.stairs(table.rows, table.edges, color=colour, linestyle=style, linewidth=1.2)
    spread.stairs(table.rows, table.edges, color=colour, alpha=0.15, fill=True)
    return line
