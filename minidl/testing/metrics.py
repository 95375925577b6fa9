"""Checks for a metric."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minidl.errors import MinidlError
from minidl.losses import Loss, MeanSquaredError, SigmoidCrossEntropy, SoftmaxCrossEntropy
from minidl.metrics.base import FunctionMetric, Metric, ScoredRows
from minidl.metrics.names import as_metrics
from minidl.serialization import decode, encode
from minidl.settings import as_shape
from minidl.testing.failures import Check, CheckFailure, assert_close, named, run_all, same
from minidl.typing import Array, Shape

Function = Callable[[Array, Array], Array]
Reference = Callable[[Array, Array], Any]

_ROWS = 24


def check_metric(
    metric: Metric | Function,
    loss: Loss | None = None,
    output_shape: int | Shape = 3,
    *,
    targets: Any = None,
    reference: Reference | None = None,
    seed: int = 0,
    tolerance: float = 1e-6,
) -> None:
    """Check everything that a metric must do.

    Parameters
    ----------
    metric : Metric or function of (predictions, targets)
        It is copied, never changed.
    loss : Loss, optional
        The loss of the model whose scores are measured. By default the checks try a classification, then a regression,
        then several labels per row.
    output_shape : int or tuple of int, default 3
        Shape of one sample's scores.
    targets : array with a row per sample, optional
        Targets of at least four samples, as the loss takes them; by default random ones.
    reference : function of (scores, targets), optional
        The metric of all rows, in float64, written from the definition.
    seed : int, default 0
        Seed for scores, targets and weights.
    tolerance : float, default 1e-6
        Largest relative difference from the reference.

    Raises
    ------
    CheckFailure
        At the first check that fails.
    """
    options: dict[str, Any] = {"targets": targets, "reference": reference, "seed": seed, "tolerance": tolerance}
    run_all(metric_checks(metric, loss, output_shape, **options))


def metric_checks(
    metric: Metric | Function,
    loss: Loss | None = None,
    output_shape: int | Shape = 3,
    *,
    targets: Any = None,
    reference: Reference | None = None,
    seed: int = 0,
    tolerance: float = 1e-6,
) -> Iterator[tuple[str, Check]]:
    """Yield the checks of `check_metric` as pairs (name, function without arguments); same parameters."""
    subject = metric if isinstance(metric, Metric) else FunctionMetric(metric)
    checks = _MetricChecks(subject, loss, as_shape(output_shape), targets, reference, seed, tolerance)
    for name in (
        "name",
        "sums",
        "rows unchanged",
        "value",
        "sums over blocks",
        "weights",
        "description",
    ):
        yield named(subject, name, getattr(checks, name.replace(" ", "_")))


class _MetricChecks:
    """Each method is a check with the same name."""

    def __init__(
        self,
        metric: Metric,
        loss: Loss | None,
        output_shape: Shape,
        targets: Any,
        reference: Reference | None,
        seed: int,
        tolerance: float,
    ) -> None:
        self.metric, self.output_shape, self.reference = copy.deepcopy(metric), output_shape, reference
        self.seed, self.tolerance = seed, tolerance
        rng = np.random.default_rng(seed)
        rows = _ROWS if targets is None else len(targets)
        self.scores = rng.normal(size=(rows, *output_shape))
        possible: dict[Any, Array] = {
            SoftmaxCrossEntropy: rng.integers(0, max(output_shape[-1], 2), (rows, *output_shape[:-1])),
            MeanSquaredError: rng.normal(size=(rows, *output_shape)),
            SigmoidCrossEntropy: rng.integers(0, 2, (rows, *output_shape)),
        }
        losses = [kind() for kind in possible] if loss is None else [loss]
        known = possible.values() if targets is None else [np.asarray(targets)]
        pairs = [(one, given) for one in losses for given in known]
        # A wrong metric may accept none of them: then its checks fail with the targets that the loss accepts.
        pairs = [pair for pair in pairs if self._works(self.rows, *pair)] or pairs
        measure = lambda: self.metric.sums(self.rows(), None)  # noqa: E731
        self.loss, self.targets = next((pair for pair in pairs if self._works(measure, *pair)), pairs[0])

    def _works(self, compute: Callable[[], Any], loss: Loss, targets: Array) -> bool:
        self.loss, self.targets = loss, targets
        try:
            compute()
        except (MinidlError, IndexError, ValueError):
            return False
        return True

    def rows(self, chosen: Array | slice = slice(None)) -> ScoredRows:
        """Return the chosen rows with their scores; if there are positions, each is a row."""
        prepared = self.loss.prepare_targets(self.targets, self.output_shape, np.float64)
        scores, targets, _ = self.loss.flatten(self.scores, prepared)
        return ScoredRows(self.loss, scores[chosen].copy(), targets[chosen].copy())

    def sums_of(self, rows: ScoredRows, weights: Array | None = None) -> Array:
        return np.array(self.metric.sums(rows, weights), np.float64)

    def value_of(self, sums: Array, weight: float) -> float:
        return self.metric.value(sums, weight)

    def name(self) -> None:
        name: Any = self.metric.name
        if not isinstance(name, str) or not name.isprintable():
            raise CheckFailure(f"its name is {name!r}, not a text for the history", "a custom property `name`")
        as_metrics([self.metric], self.loss)  # raises for a name that the history cannot have

    def sums(self) -> None:
        whole, hint = self.rows(), "a mean or a maximum instead of a number for each row"
        size = len(whole.scores)
        for count, rows in ((size, whole), (1, self.rows(slice(1))), (2, self.rows(slice(2)))):
            for weights in (None, np.ones(count)):
                sums = self.metric.sums(rows, weights)
                if not isinstance(sums, list) or not all(isinstance(each, float | int) for each in sums):
                    raise CheckFailure(
                        f"its sums of {count} rows are {sums!r:.60}", "Metric.sums returns a list of plain numbers"
                    )
                if not np.isfinite(sums).all():
                    raise CheckFailure(f"its sums of {count} rows are {sums!r:.60}", "a ratio taken for each row")
                if len(sums) != len(self.metric.sums(whole, None)):
                    raise CheckFailure(f"{count} rows have {len(sums)} sums, and all rows another number", hint)
            weighted = self.sums_of(rows, np.ones(count))
            assert_close(weighted, self.sums_of(rows), 1e-9, "a sum with weights of 1", "sums", hint)

    def rows_unchanged(self) -> None:
        rows, fresh = self.rows(), copy.deepcopy(self.metric)
        arrays = {"scores": rows.scores, "targets": rows.targets, "predictions": rows.predictions, "truth": rows.truth}
        before, attributes = copy.deepcopy(arrays), copy.deepcopy(vars(fresh))
        first = fresh.sums(rows, None)
        for name, array in arrays.items():
            if not np.array_equal(array, before[name]):
                raise CheckFailure(f"it changed the rows' {name}", "an in-place operation: make a new array")
        fresh.value(np.array(first), float(len(rows.scores)))
        if fresh.sums(rows, None) != first or not same(vars(fresh), attributes):
            raise CheckFailure(
                "it keeps something between calls",
                "an attribute that sums or value writes: put kept values, such as a count, into the sums",
            )

    def value(self) -> None:
        rows = self.rows()
        size = len(rows.scores)
        of_one_class = np.flatnonzero(rows.truth.reshape(size, -1)[:, 0] == rows.truth.reshape(size, -1)[0, 0])
        for chosen in (np.arange(size), of_one_class, *np.arange(size)[:, np.newaxis]):
            value = self.value_of(self.sums_of(self.rows(chosen)), float(len(chosen)))
            if type(value) is not float:
                raise CheckFailure(f"value returned {value!r}, a {type(value).__name__}", "no float(...) around it")
            if not np.isfinite(value):
                raise CheckFailure(
                    f"the metric of the rows {chosen.tolist()!s:.60} is {value}",
                    "0 / 0, if no row belongs to a class or is predicted as it: define the value for this case",
                )
        if self.reference is not None:
            expected = float(self.reference(self.scores, self.targets))
            value = self.value_of(self.sums_of(rows), float(size))
            hint = "a value that differs from the definition"
            assert_close(np.array([value]), np.array([expected]), self.tolerance, "the metric", "value", hint)

    def sums_over_blocks(self) -> None:
        size = len(self.rows().scores)
        hint = "sums that are means, or rows compared with each other: only the sums of blocks are added"
        for weights in (None, np.random.default_rng(self.seed).uniform(0.5, 2, size)):
            whole = self.sums_of(self.rows(), weights)
            blocks = [slice(start, start + 5) for start in range(0, size, 5)]
            added = sum(self.sums_of(self.rows(one), None if weights is None else weights[one]) for one in blocks)
            assert_close(np.asarray(added), whole, 1e-9, "the sum over blocks", "sums", hint)

    def weights(self) -> None:
        size = len(self.rows().scores)
        times = np.random.default_rng(self.seed).integers(0, 4, size)
        times[:2] = 0, 2
        weighted = self.sums_of(self.rows(), times.astype(np.float64))
        repeated = self.sums_of(self.rows(np.repeat(np.arange(size), times)))
        hint = "a custom sums that forgets the weights: row n counts weights[n] times"
        assert_close(weighted, repeated, 1e-9, "the sum with weights, compared with repeated rows,", "sums", hint)
        values = [[self.value_of(sums, float(times.sum()))] for sums in (weighted, repeated)]
        assert_close(np.array(values[0]), np.array(values[1]), 1e-9, "the weighted metric", "value", hint)

    def description(self) -> None:
        if isinstance(self.metric, FunctionMetric):
            return  # a file does not hold functions
        again = decode(json.loads(json.dumps(encode(self.metric))))
        if repr(again) != repr(self.metric) or again.name != self.metric.name:
            raise CheckFailure(f"its copy from the description is {again!r}", "an argument that is not a field")
        rows = self.rows()
        sums, hint = np.array(again.sums(rows, None)), "an argument that is not a field"
        assert_close(sums, self.sums_of(rows), 1e-9, "the sum of the copied metric", "sums", hint)
        values = [[metric.value(sums, float(len(rows.scores)))] for metric in (again, self.metric)]
        assert_close(np.array(values[0]), np.array(values[1]), 1e-9, "the value of the copied metric", "value", hint)
