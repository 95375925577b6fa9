"""Turn ``["accuracy", TopKAccuracy(5), my_function]``, as given to a `Trainer`, into metric objects."""

import re
from collections.abc import Callable, Iterable
from typing import Any

from minidl.errors import ArgumentError, ArgumentTypeError
from minidl.losses.base import Loss
from minidl.metrics.base import FunctionMetric, Metric
from minidl.metrics.classification import F1, Accuracy, Precision, Recall, TopKAccuracy, TotalVariation
from minidl.metrics.regression import MeanAbsoluteError, MeanSquaredError, R2Score, RootMeanSquaredError
from minidl.settings import by_name

_OF_NUMBERS = (MeanAbsoluteError, MeanSquaredError, RootMeanSquaredError, R2Score)
_KINDS = (Accuracy, TopKAccuracy, Precision, Recall, F1, TotalVariation, *_OF_NUMBERS)
METRICS: dict[str, type[Metric]] = {kind().name: kind for kind in _KINDS}
"""Classes by the names that `as_metrics` takes; "top_5_accuracy" may have any number in place of 5."""

_SHORT = {"mae": MeanAbsoluteError, "mse": MeanSquaredError, "rmse": RootMeanSquaredError, "r2": R2Score}
"""Short names from scikit-learn and Keras."""


def as_metrics(metrics: Iterable[Metric | str | Callable[..., Any]] | None, loss: Loss | None = None) -> list[Metric]:
    """Return metrics as objects; None gives the loss's default metric, if it has one.

    Parameters
    ----------
    metrics : iterable of Metric, of names such as "accuracy" or "top_3_accuracy", or of functions
        A name is a class name in snake case, or "mae", "mse", "rmse" or "r2". A plain function becomes a
        `FunctionMetric`.
    loss : Loss, optional
        Without a loss, None means no metrics.

    Raises
    ------
    ArgumentError
        For an unknown name, two metrics with the same name, and a name that the history cannot have: "loss", "epoch",
        an empty name, or one that begins with "val_" or contains a slash.
    ArgumentTypeError
        For anything else, such as a single metric without a list, or a class.
    """
    if metrics is None:
        metrics = [loss.default_metric] if loss is not None and loss.default_metric else []
    if isinstance(metrics, str | Metric) or not isinstance(metrics, Iterable):
        raise ArgumentTypeError(f"metrics must be a list, also for a single metric, not {metrics!r:.80}")
    found = [_as_metric(metric) for metric in metrics]
    names = [metric.name for metric in found]
    for index, name in enumerate(names):
        if name in {"loss", "epoch", ""} or name.startswith("val_") or "/" in name:
            raise ArgumentError(f"the history cannot have a metric named {name!r}: give it another name")
        if name in names[:index]:
            raise ArgumentError(f"two metrics are named {name!r}: remove one, or derive a class with another name")
    return found


def _as_metric(metric: Any) -> Metric:
    if not isinstance(metric, str):
        return metric if isinstance(metric, Metric) else FunctionMetric(metric)
    if k := re.fullmatch(r"top_(\d+)_accuracy", metric.lower()):
        return TopKAccuracy(int(k[1]))
    return by_name(metric, Metric, METRICS | _SHORT)
