"""What a metric is: sums over rows, and the number that they make.

Sums are exact over all rows, whether these are computed at once or in blocks, batches and processes: theirs are added.
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
    """Rows with the scores that a model gave them; what these mean, its loss says.

    Attributes
    ----------
    scores : array (N, *output_shape)
        Of a position-wise output each position is a row.
    targets : array
        As `Loss.prepare_targets` has returned them.
    predictions : array (N,) or (N, K)
        As `Sequential.predict` returns them: labels, or values.
    truth : array (N,) or (N, K)
        The targets in the same form, to be compared with the predictions.
    probabilities : array (N, K)
        As `Sequential.predict_proba` returns them; ArgumentError where the loss gives none.
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
        """What the history calls it: the class's name, as in ``mean_absolute_error``."""
        return snake_case(type(self).__name__)

    def per_row(self, rows: ScoredRows) -> Array:
        """Return what each row adds to the sums: one number (N,), or several (N, size)."""
        raise NotImplementedError(f"{type(self).__name__} must define per_row(rows)")

    def value(self, sums: Array, weight: float) -> float:
        """Return the metric of rows with these sums (size,) and this summed weight, > 0; by default the mean."""
        if len(sums) != 1:
            raise NotImplementedError(f"{type(self).__name__} has {len(sums)} sums: define value(sums, weight)")
        return float(sums[0] / weight)

    def sums(self, rows: ScoredRows, weights: Array | None) -> list[float]:
        """Return the (weighted) sums over the rows of what `per_row` gives."""
        values = np.asarray(self.per_row(rows))
        if values.shape[:1] != rows.scores.shape[:1] or values.ndim > 2:
            raise ShapeError(f"{self.name} must give a number for each of {len(rows.scores)} rows, not {values.shape}")
        if weights is None and values.ndim == 1 and values.dtype.kind == "b":
            return [float(np.count_nonzero(values))]  # in a tenth of the time of a sum
        total = np.add.reduce(values, axis=0, dtype=np.float64) if weights is None else weights @ values
        return total.tolist() if values.ndim == 2 else [float(total)]


def _as_function(value: Any, place: str) -> Any:
    """Return a function that has a name, or the name of one; ArgumentTypeError or ArgumentError for anything else."""
    if isinstance(value, type | Loss) or not (callable(value) or isinstance(value, str)):
        raise ArgumentTypeError(f"{place} is {value!r}; give a name, a Metric() or a function(predictions, targets)")
    if (name := _name_of(value)) in {"<lambda>", "partial"}:
        raise ArgumentError(f"{place} is a {name.strip('<>')}, without a name for the history: write it with def")
    return value


def _name_of(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


class FunctionMetric(Metric):
    """A metric made of a plain function of (predictions, targets) or (scores, targets): the mean of a number per row.

    Its name is the function's. One whose first parameter is called ``scores`` gets the model's scores, of shape
    (N, *output_shape); any other gets the predictions, (N,) or (N, K), as `Sequential.predict` returns them. Targets
    have the predictions' form. The function returns numbers (N,), or truth values: the metric is the share of True.

    A file holds the name of the function alone: a run that was loaded needs ``trainer.metrics = [...]`` once more.

    Raises ShapeError for a function that returns anything else, such as one number for all rows: a mean over batches
    would not be the mean over all rows; NotReadyError where only the name is known.
    """

    function: Callable[[Array, Array], Array] | str = setting(kw_only=False, check=_as_function)

    def __post_init__(self) -> None:
        try:
            parameters = list(inspect.signature(self.function).parameters)  # type: ignore[arg-type]
        except (ValueError, TypeError):  # a name; and some functions that are written in C do not tell theirs
            parameters = []
        self._takes_scores = parameters[:1] == ["scores"]

    @property
    def name(self) -> str:
        return self.function if isinstance(self.function, str) else _name_of(self.function)

    def configuration(self) -> dict[str, Any]:
        return {"function": self.name}

    def per_row(self, rows: ScoredRows) -> Array:
        if isinstance(self.function, str):
            raise NotReadyError(f"of the metric {self.name} a file holds the name alone: set metrics again")
        values = np.asarray(self.function(rows.scores if self._takes_scores else rows.predictions, rows.truth))
        if values.ndim != 1:
            raise ShapeError(f"{self.name} must return a number for each row, not {values.shape}, and not their mean")
        return values
