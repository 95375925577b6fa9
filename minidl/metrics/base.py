"""The base of the metrics: sums over rows, and a value computed from the sums.

The sums of blocks, batches and processes are added, so a metric is exact over all rows.
"""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.errors import ArgumentError, ArgumentTypeError, NotReadyError, ShapeError
from minidl.losses.base import Loss
from minidl.settings import Configurable, setting, snake_case
from minidl.typing import Array


class ScoredRows:
    """Rows with the scores of a model; the model's loss defines what the scores mean.

    Attributes
    ----------
    scores : array (N, *output_shape)
        With a position-wise output, each position is a row.
    targets : array
        As `Loss.prepare_targets` returns them.
    predictions : array (N,) or (N, K)
        As `Sequential.predict` returns them: labels, or values.
    truth : array (N,) or (N, K)
        The targets in the form of the predictions.
    probabilities : array (N, K)
        As `Sequential.predict_proba` returns them. Raises ArgumentError if the loss gives none.
    """

    def __init__(self, loss: Loss, scores: Array, targets: Array) -> None:
        self.loss, self.scores, self.targets = loss, scores, targets
        self.predictions, self.truth = loss.decide(scores), loss.truth(targets)
        if self.truth.shape != self.predictions.shape:  # which NumPy might broadcast, (N,) and (N, 1) to (N, N)
            raise ShapeError(f"{type(loss).__name__}: truth gives {self.truth.shape}, decide {self.predictions.shape}")

    @property
    def probabilities(self) -> Array:
        """The loss's activation of the scores."""
        return self.loss.activate(self.scores)


class Metric(Configurable):
    """Base of the metrics: a subclass writes `per_row` and, unless it is a mean over the rows, `value`."""

    @property
    def name(self) -> str:
        """The metric's name in the history: the class name in snake case, such as ``mean_absolute_error``."""
        return snake_case(type(self).__name__)

    def per_row(self, rows: ScoredRows) -> Array:
        """Return the numbers that each row adds to the sums: one (N,), or several (N, size)."""
        raise NotImplementedError(f"{type(self).__name__} must define per_row(rows)")

    def value(self, sums: Array, weight: float) -> float:
        """Return the metric from the sums (size,) and the total weight, > 0, of the rows; by default the mean."""
        if len(sums) != 1:
            raise NotImplementedError(f"{type(self).__name__} has {len(sums)} sums: define value(sums, weight)")
        return float(sums[0] / weight)

    def sums(self, rows: ScoredRows, weights: Array | None) -> list[float]:
        """Return the (weighted) sums of `per_row` over the rows."""
        values = np.asarray(self.per_row(rows))
        if values.shape[:1] != rows.scores.shape[:1] or values.ndim > 2:
            raise ShapeError(f"{self.name} must give a number for each of {len(rows.scores)} rows, not {values.shape}")
        if weights is None and values.ndim == 1 and values.dtype.kind == "b":
            return [float(np.count_nonzero(values))]  # ten times as fast as a sum
        total = np.add.reduce(values, axis=0, dtype=np.float64) if weights is None else weights @ values
        return total.tolist() if values.ndim == 2 else [float(total)]


def _as_function(value: Any, place: str) -> Any:
    """Return a named function, or the name of one. Raises ArgumentTypeError or ArgumentError for anything else."""
    if isinstance(value, type | Loss) or not (callable(value) or isinstance(value, str)):
        raise ArgumentTypeError(f"{place} is {value!r}; give a name, a Metric() or a function(predictions, targets)")
    if (name := _name_of(value)) in {"<lambda>", "partial"}:
        raise ArgumentError(f"{place} is a {name.strip('<>')}, without a name for the history: write it with def")
    return value


def _name_of(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


class FunctionMetric(Metric):
    """A metric made from a plain function of (predictions, targets) or (scores, targets): the mean of a number per row.

    The metric has the function's name. If the function's first parameter is called ``scores``, it gets the model's
    scores, of shape (N, *output_shape); otherwise it gets the predictions, (N,) or (N, K), as `Sequential.predict`
    returns them. Targets have the form of the predictions. The function returns numbers (N,), or booleans: then the
    metric is the share of True.

    A file holds only the name of the function. After loading a run, set ``trainer.metrics = [...]`` again.

    Raises ShapeError if the function returns anything else, such as one number for all rows: a mean of batch means is
    not the mean over all rows. Raises NotReadyError if only the name is known.
    """

    function: Callable[[Array, Array], Array] | str = setting(kw_only=False, check=_as_function)

    def __post_init__(self) -> None:
        try:
            parameters = list(inspect.signature(self.function).parameters)  # type: ignore[arg-type]
        except (ValueError, TypeError):  # a name, or a function written in C without a signature
            parameters = []
        self._takes_scores = parameters[:1] == ["scores"]

    @property
    def name(self) -> str:
        return self.function if isinstance(self.function, str) else _name_of(self.function)

    def configuration(self) -> dict[str, Any]:
        return {"function": self.name}

    def per_row(self, rows: ScoredRows) -> Array:
        if isinstance(self.function, str):
            raise NotReadyError(f"the file holds only the name of the metric {self.name}: set metrics again")
        values = np.asarray(self.function(rows.scores if self._takes_scores else rows.predictions, rows.truth))
        if values.ndim != 1:
            raise ShapeError(f"{self.name} must return a number for each row, not {values.shape}, and not their mean")
        return values
