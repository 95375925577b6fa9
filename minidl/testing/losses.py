"""Checks for a loss."""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minidl.errors import ArgumentError, MinidlError
from minidl.losses import Loss
from minidl.metrics.base import ScoredRows
from minidl.metrics.names import as_metrics
from minidl.serialization import decode, encode
from minidl.settings import as_shape
from minidl.testing.failures import Check, CheckFailure, assert_close, named, run_all
from minidl.testing.numerical import KinkError, directional_derivative
from minidl.typing import Array, Shape

Reference = Callable[[Array, Array], Any]


def check_loss(
    loss: Loss,
    output_shape: int | Shape = 3,
    *,
    targets: Any = None,
    invalid_targets: Any = None,
    reference: Reference | None = None,
    extreme_score: float = 1e4,
    seed: int = 0,
    tolerance: float = 1e-6,
) -> None:
    """Check everything that a loss must do.

    Parameters
    ----------
    loss : Loss
    output_shape : int or tuple of int, default 3
        Shape of one sample's scores; (positions, classes) for a loss with scores at each position.
    targets : array with a row per sample, optional
        Targets of at least two samples. By default the usual kinds are tried in turn: values in the scores' shape,
        integer labels (also of positions), zeros and ones.
    invalid_targets : array of the same length, optional
        Targets for which the loss must raise an error, such as a label out of range; NaN must always raise one.
    reference : function of (scores, targets), optional
        The loss of each sample (N,), or position (N, *positions), or the mean, in float64, written from the
        definition.
    extreme_score : float, default 1e4
        Size of the scores at which loss and gradient must still be finite. Use less for a loss that overflows float32
        by its definition, as an exponential does from 89 on.
    seed : int, default 0
    tolerance : float, default 1e-6
        Largest relative difference from numeric gradients and from the reference.

    Raises
    ------
    CheckFailure
        At the first check that fails.
    """
    checks = loss_checks(
        loss,
        output_shape,
        targets=targets,
        invalid_targets=invalid_targets,
        reference=reference,
        extreme_score=extreme_score,
        seed=seed,
        tolerance=tolerance,
    )
    run_all(checks)


def loss_checks(
    loss: Loss,
    output_shape: int | Shape = 3,
    *,
    targets: Any = None,
    invalid_targets: Any = None,
    reference: Reference | None = None,
    extreme_score: float = 1e4,
    seed: int = 0,
    tolerance: float = 1e-6,
) -> Iterator[tuple[str, Check]]:
    """Yield the checks of `check_loss` as pairs (name, function without arguments); same parameters."""
    checks = _LossChecks(
        loss, as_shape(output_shape), targets, invalid_targets, reference, extreme_score, seed, tolerance
    )
    for name in (
        "shapes and types",
        "value",
        "gradient",
        "scores and targets unchanged",
        "rows one by one",
        "sample weights",
        "sums over blocks",
        "extreme scores",
        "rank alignment",
        "invalid targets",
        "predictions",
        "metric",
        "averages",
        "description",
    ):
        yield named(loss, name, getattr(checks, name.replace(" ", "_")))


class _LossChecks:
    """Each method is a check with the same name."""

    def __init__(
        self,
        loss: Loss,
        output_shape: Shape,
        targets: Any,
        invalid_targets: Any,
        reference: Reference | None,
        extreme_score: float,
        seed: int,
        tolerance: float,
    ) -> None:
        self.loss, self.output_shape, self.reference = loss, output_shape, reference
        self._invalid, self._extreme, self.seed, self.tolerance = invalid_targets, extreme_score, seed, tolerance
        self.targets = self._possible_targets() if targets is None else np.asarray(targets)
        self.rows = len(self.targets)

    def _possible_targets(self) -> Array:
        """Return targets of the first usual kind that the loss accepts."""
        rng, rows = np.random.default_rng(self.seed), 6
        kinds = (
            rng.normal(size=(rows, *self.output_shape)),
            rng.integers(0, max(self.output_shape[-1], 2), rows),
            rng.integers(0, max(self.output_shape[-1], 2), (rows, *self.output_shape[:-1])),
            rng.integers(0, 2, (rows, *self.output_shape)),
        )
        for targets in kinds:
            try:
                prepared = self.loss.prepare_targets(targets, self.output_shape, np.float64)
                scores, prepared, _ = self.loss.flatten(self.scores(rows), prepared)
                self.loss.per_sample(scores, prepared)
            except (MinidlError, IndexError, ValueError):
                continue
            return targets
        return kinds[0]

    def scores(self, rows: int | None = None, draw: int = 0) -> Array:
        rng = np.random.default_rng((self.seed, draw, 1))
        return rng.normal(size=(self.rows if rows is None else rows, *self.output_shape))

    def prepared(self, dtype: str = "float64") -> Array:
        return self.loss.prepare_targets(self.targets, self.output_shape, dtype)

    def flat(self, draw: int = 0, dtype: str = "float64") -> tuple[Array, Array]:
        """Return scores and targets as `per_sample` gets them; if there are positions, each is a row."""
        scores, targets, _ = self.loss.flatten(self.scores(draw=draw).astype(dtype), self.prepared(dtype))
        return scores, targets

    def shapes_and_types(self) -> None:
        for dtype in ("float32", "float64"):
            all_scores, all_targets = self.flat(dtype=dtype)
            for rows in (len(all_scores), 1):
                scores, targets = all_scores[:rows], all_targets[:rows]
                losses, dscores = self.loss.per_sample(scores, targets)
                for what, array, shape in (("losses", losses, (rows,)), ("gradient", dscores, scores.shape)):
                    if array.shape != shape or array.dtype != dtype:
                        raise CheckFailure(
                            f"the {what} of {rows} {dtype} rows: {array.dtype} {array.shape}, not {dtype} {shape}",
                            "a sum over all axes, a mean over the batch, which the base class takes, or a float64",
                        )

    def value(self) -> None:
        if self.reference is None:
            return
        for draw in range(3):
            scores = self.scores(draw=draw)
            expected = np.asarray(self.reference(scores, self.targets), dtype=np.float64)
            losses, _ = self.loss.per_sample(*self.flat(draw))
            if expected.shape == (self.rows, *self.loss.positions(self.output_shape)):
                expected = expected.reshape(losses.shape)
            hint = "a value that differs from the definition: a sum instead of a mean, a factor, a missing term"
            if expected.ndim:
                assert_close(losses, expected, self.tolerance, "the loss of a sample", "losses", hint)
            mean, _ = self.loss(scores, self.targets)
            assert_close(np.array([mean]), np.array([expected.mean()]), self.tolerance, "the mean loss", "mean", hint)

    def gradient(self) -> None:
        for draw in range(20):
            try:
                self._compare_gradient(*self.flat(draw))
                return
            except KinkError as error:
                kink = error
        raise CheckFailure(f"at 20 random scores the loss has a kink: {kink}", "a loss that jumps or rounds")

    def _compare_gradient(self, scores: Array, targets: Array) -> None:
        _, analytic = self.loss.per_sample(scores.copy(), targets)
        numeric = np.empty_like(scores)
        for index in np.ndindex(scores.shape):
            direction = np.zeros_like(scores)
            direction[index] = 1
            numeric[index] = directional_derivative(
                functools.partial(self._one_loss, scores, targets, index[0]), scores, direction
            )
        hint = "a sign, a missing factor, or a mean over the batch inside per_sample, which the base class takes"
        assert_close(analytic, numeric, self.tolerance, "the gradient", "scores", hint)

    def _one_loss(self, scores: Array, targets: Array, row: int) -> float:
        return float(self.loss.per_sample(scores.copy(), targets)[0][row])

    def scores_and_targets_unchanged(self) -> None:
        scores, targets = self.flat()
        before = scores.copy(), targets.copy()
        fresh = copy.deepcopy(self.loss)
        losses, dscores = fresh.per_sample(scores, targets)
        if not (np.array_equal(scores, before[0]) and np.array_equal(targets, before[1])):
            raise CheckFailure("per_sample changed its scores or targets", "an in-place operation on an argument")
        if vars(fresh).keys() - self.loss.configuration().keys():
            raise CheckFailure(
                "per_sample set an attribute of the loss", "a loss keeps nothing between calls: return the value"
            )
        if any(np.shares_memory(dscores, given) for given in (scores, targets)) or np.shares_memory(losses, dscores):
            raise CheckFailure("per_sample returned a view of an argument", "return a new array")

    def rows_one_by_one(self) -> None:
        scores, targets = self.flat()
        losses, dscores = self.loss.per_sample(scores, targets)
        singles = [self.loss.per_sample(scores[i : i + 1], targets[i : i + 1]) for i in range(len(scores))]
        hint = "a sum or mean over the batch axis in per_sample: the base class takes the mean"
        assert_close(losses, np.concatenate([one for one, _ in singles]), 1e-9, "the loss in a batch", "losses", hint)
        assert_close(
            dscores, np.concatenate([one for _, one in singles]), 1e-9, "the gradient in a batch", "scores", hint
        )

    def sample_weights(self) -> None:
        scores, targets, hint = (
            self.scores(),
            self.targets,
            "a loss that overrides total or __call__ and forgets weights",
        )
        weights = np.ones(self.rows)
        weights[0], weights[-1] = 2, 0
        value, gradient = self.loss(scores, targets, weights)
        rows = np.array([0, 0, *range(1, self.rows - 1)])
        expected, repeated = self.loss(scores[rows], targets[rows])
        assert_close(
            np.array([value]),
            np.array([expected]),
            1e-9,
            "the loss with weight 2 for a row, compared with two copies of the row,",
            "mean",
            hint,
        )
        assert_close(gradient[0], repeated[0] + repeated[1], 1e-9, "the gradient of a row of weight 2", "scores", hint)
        if gradient[-1].any():
            raise CheckFailure("a row of weight 0 has a gradient", hint)

    def sums_over_blocks(self) -> None:
        scores, targets = self.flat()
        hint = "a loss that overrides total and returns a mean: it returns the sum, and the gradient times scale"
        for weights in (None, np.linspace(0.5, 2, len(scores))):
            whole = self.loss.total(scores, targets, weights, 0.1)
            blocks = [
                self.loss.total(scores[block], targets[block], None if weights is None else weights[block], 0.1)
                for block in (slice(1), slice(1, None))
            ]
            total, gradient = sum(value for value, _ in blocks), np.concatenate([part for _, part in blocks])
            assert_close(np.array([total]), np.array([whole[0]]), 1e-9, "the sum of two blocks' losses", "sum", hint)
            assert_close(gradient, whole[1], 1e-9, "the gradient in a block", "scores", hint)
            expected = (self.loss.per_sample(scores, targets)[0] * (1 if weights is None else weights)).sum()
            assert_close(np.array([whole[0]]), np.array([expected]), 1e-9, "the sum of the losses", "sum", hint)

    def extreme_scores(self) -> None:
        for size in (self._extreme, -self._extreme):
            scores = np.full((self.rows, *self.output_shape), size)
            scores.reshape(self.rows, -1)[:, 0] *= -1
            for dtype in ("float32", "float64"):
                rows, targets, _ = self.loss.flatten(scores.astype(dtype), self.prepared(dtype))
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    losses, dscores = self.loss.per_sample(rows, targets)
                if not (np.isfinite(losses).all() and np.isfinite(dscores).all()):
                    raise CheckFailure(
                        f"at scores of +-{self._extreme:g} in {dtype} the loss or its gradient is not finite",
                        "an exponential that overflows, or the logarithm of 0: subtract the largest score first",
                    )

    def rank_alignment(self) -> None:
        if self.output_shape != (1,):
            return
        flat = self.targets.reshape(self.rows)
        scores = self.scores()
        one, other = self.loss(scores, flat), self.loss(scores, flat[:, np.newaxis])
        hint = "(N,) against (N, 1) broadcast to (N, N): call super().prepare_targets, which aligns them"
        assert_close(
            np.array([one[0]]),
            np.array([other[0]]),
            1e-9,
            "the loss for targets (N,) compared with (N, 1)",
            "mean",
            hint,
        )
        assert_close(one[1], other[1], 1e-9, "the gradient for targets (N,) compared with (N, 1)", "scores", hint)

    def invalid_targets(self) -> None:
        wrong = {"targets with a NaN": np.nan}
        if self.targets.ndim == len(self.output_shape) and self.prepared().dtype.kind in "iu":
            wrong |= {"targets with the label -1": -1, "targets with a label above the last": self.output_shape[-1]}
        invalid: dict[str, Any] = {} if self._invalid is None else {"the targets given as invalid": self._invalid}
        for kind, value in wrong.items():
            invalid[kind] = self.targets.astype(np.float64)
            invalid[kind].reshape(-1)[0] = value
        for kind, targets in invalid.items():
            try:
                self.loss(self.scores(), targets)
            except ValueError:  # as DataError and ShapeError are
                continue
            raise CheckFailure(
                f"{kind} are accepted without an error",
                "prepare_targets without a check: call super().prepare_targets, and raise minidl.errors.DataError",
            )

    def predictions(self) -> None:
        scores = self.scores()
        found = {"decide": self.loss.decide(scores)}
        with contextlib.suppress(ArgumentError):  # a loss without probabilities
            found["activate"] = self.loss.activate(scores)
        for name, array in found.items():
            if np.shape(array)[:1] != (self.rows,):
                raise CheckFailure(
                    f"{name} returns shape {np.shape(array)} for {self.rows} rows",
                    "a maximum or sum over the batch axis",
                )
        truth = np.asarray(self.loss.truth(self.prepared()))
        if truth.shape != np.shape(found["decide"]):
            raise CheckFailure(
                f"truth returns shape {truth.shape}, decide {np.shape(found['decide'])}",
                "a custom decide without a custom truth: metrics compare the two",
            )

    def metric(self) -> None:
        scores, targets = self.flat()
        for metric in as_metrics(None, self.loss):
            value = metric.value(np.array(metric.sums(ScoredRows(self.loss, scores, targets), None)), len(scores))
            if not np.isfinite(value):
                raise CheckFailure(f"its default metric {metric.name} is {value}", "decide, truth or activate")

    def averages(self) -> None:
        scores = np.stack([self.scores(draw=draw) for draw in range(3)])
        average = np.asarray(self.loss.average(scores.copy()))
        hint = "probabilities or values that differ from the base class, without a custom average"
        if average.shape != scores.shape[1:]:
            raise CheckFailure(f"average returns shape {average.shape} for scores of shape {scores.shape}", hint)
        with contextlib.suppress(ArgumentError):  # a loss without probabilities
            each = np.stack([self.loss.activate(one) for one in scores])
            assert_close(self.loss.activate(average), each.mean(axis=0), 1e-9, "the mean probability", "average", hint)
        each = np.stack([self.loss.decide(one) for one in scores])
        if each.dtype.kind == "f":  # labels have no mean
            assert_close(self.loss.decide(average), each.mean(axis=0), 1e-9, "the mean value", "average", hint)
        elif not np.array_equal(self.loss.decide(self.loss.average(scores[:1])), each[0]):
            raise CheckFailure("the average of a single prediction leads to another decision than the prediction", hint)

    def description(self) -> None:
        again = decode(json.loads(json.dumps(encode(self.loss))))
        if repr(again) != repr(self.loss):
            raise CheckFailure(f"its copy from the description is {again!r}", "an argument that is not a field")
        targets, scores = self.targets, self.scores()
        assert_close(
            again(scores, targets)[1],
            self.loss(scores, targets)[1],
            1e-9,
            "the gradient of the copied loss",
            "scores",
            "see above",
        )
