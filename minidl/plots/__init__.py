"""Plots of a training run and of what the model learned: curves, rates, confusions, layers, images, ...

Every function draws into one matplotlib Axes and returns it: into `ax` if given, else into a new figure of a
suitable size. ``plt.show()`` shows it, and ``axes.figure.savefig(path)`` saves it. For several axes use
``plt.subplots(..., layout="constrained")``; otherwise their labels overlap. Only `plot_search` takes a figure, because
it draws a panel for each parameter.
matplotlib is an extra, ``pip install 'minidl[plots]'``, and is imported only when something is drawn.
"""

from minidl.plots.boundary import plot_decision_boundary
from minidl.plots.confusion import plot_confusion_matrix
from minidl.plots.distributions import (
    plot_activation_distributions,
    plot_gradient_distributions,
    plot_weight_distributions,
)
from minidl.plots.evidence import plot_evidence
from minidl.plots.feature_maps import plot_feature_maps
from minidl.plots.history import plot_history
from minidl.plots.images import plot_images, plot_mistakes
from minidl.plots.kernels import plot_kernels
from minidl.plots.reliability import plot_reliability
from minidl.plots.schedules import plot_rate_search, plot_schedule
from minidl.plots.search import plot_search
from minidl.plots.validation import plot_cross_validation
from minidl.plots.weights import plot_weights

__all__ = [
    "plot_activation_distributions",
    "plot_confusion_matrix",
    "plot_cross_validation",
    "plot_decision_boundary",
    "plot_evidence",
    "plot_feature_maps",
    "plot_gradient_distributions",
    "plot_history",
    "plot_images",
    "plot_kernels",
    "plot_mistakes",
    "plot_rate_search",
    "plot_reliability",
    "plot_schedule",
    "plot_search",
    "plot_weight_distributions",
    "plot_weights",
]


def __dir__() -> list[str]:
    return sorted(__all__)
