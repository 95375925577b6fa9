import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from gradients import check_loss_gradient

from minidl import (
    FocalCrossEntropy,
    Hinge,
    Huber,
    KLDivergence,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    Poisson,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
)
from minidl.errors import DataError, ShapeError

N, K = 6, 4


def rng(seed=0):
    return np.random.default_rng(seed)


def labels(seed=1, classes=K):
    return rng(seed).integers(classes, size=N)


def soft_targets():
    """Rows of probabilities that sum to 1."""
    return rng(2).dirichlet(np.ones(K), size=N)


# The formulas of the docstrings, one number at a time and without regard to their range.


def softmax_cross_entropy(scores, target):
    log_total = math.log(math.fsum(math.exp(score) for score in scores))
    return math.fsum(t * (log_total - score) for t, score in zip(target, scores, strict=True))


def sigmoid_cross_entropy(scores, target):
    losses = []
    for score, t in zip(scores, target, strict=True):
        p = 1 / (1 + math.exp(-score))
        losses.append(-t * math.log(p) - (1 - t) * math.log(1 - p))
    return math.fsum(losses) / len(losses)


def smoothed_cross_entropy(scores, target):
    return softmax_cross_entropy(scores, [0.7 * t + 0.3 / len(target) for t in target])


def focal_cross_entropy(gamma):
    def formula(scores, target):
        total = math.fsum(math.exp(score) for score in scores)
        pairs = [(t, math.exp(score) / total) for score, t in zip(scores, target, strict=True)]
        return math.fsum(-t * (1 - p) ** gamma * math.log(p) for t, p in pairs)

    return formula


def divergence(scores, target):
    return softmax_cross_entropy(scores, target) + math.fsum(t * math.log(t) for t in target if t)


def strongest_rival(scores, target):
    label = list(target).index(1)
    return max(0, *(1 + score - scores[label] for k, score in enumerate(scores) if k != label))


def mean_squared_error(scores, target):
    return math.fsum((score - t) ** 2 for score, t in zip(scores, target, strict=True)) / len(scores)


def mean_absolute_error(scores, target):
    return math.fsum(abs(score - t) for score, t in zip(scores, target, strict=True)) / len(scores)


def huber(scores, target, delta=0.7):
    sizes = [abs(score - t) for score, t in zip(scores, target, strict=True)]
    return math.fsum(e * e / 2 if e <= delta else delta * (e - delta / 2) for e in sizes) / len(scores)


def poisson(scores, target):
    return math.fsum(math.exp(score) - t * score for score, t in zip(scores, target, strict=True)) / len(scores)


CASES = {
    "softmax, labels": (SoftmaxCrossEntropy(), labels(), np.eye(K)[labels()], softmax_cross_entropy),
    "softmax, one-hot": (SoftmaxCrossEntropy(), np.eye(K)[labels()], np.eye(K)[labels()], softmax_cross_entropy),
    "softmax, soft": (SoftmaxCrossEntropy(), soft_targets(), soft_targets(), softmax_cross_entropy),
    "smoothed, labels": (SoftmaxCrossEntropy(0.3), labels(), np.eye(K)[labels()], smoothed_cross_entropy),
    "smoothed, soft": (SoftmaxCrossEntropy(0.3), soft_targets(), soft_targets(), smoothed_cross_entropy),
    "focal, labels": (FocalCrossEntropy(), labels(), np.eye(K)[labels()], focal_cross_entropy(2)),
    "focal, soft": (FocalCrossEntropy(0.5), soft_targets(), soft_targets(), focal_cross_entropy(0.5)),
    "divergence": (KLDivergence(), soft_targets(), soft_targets(), divergence),
    "divergence, one-hot": (KLDivergence(), np.eye(K)[labels()], np.eye(K)[labels()], divergence),
    "hinge": (Hinge(), labels(), np.eye(K)[labels()], strongest_rival),
    "sigmoid, several labels": (SigmoidCrossEntropy(), *[rng(3).integers(2, size=(N, K))] * 2, sigmoid_cross_entropy),
    "sigmoid, soft": (SigmoidCrossEntropy(), *[rng(4).uniform(size=(N, K))] * 2, sigmoid_cross_entropy),
    "squared error": (MeanSquaredError(), *[rng(5).normal(size=(N, K))] * 2, mean_squared_error),
    "absolute error": (MeanAbsoluteError(), *[rng(5).normal(size=(N, K))] * 2, mean_absolute_error),
    "huber": (Huber(0.7), *[rng(5).normal(size=(N, K))] * 2, huber),
    "poisson": (Poisson(), *[rng(5).poisson(2, size=(N, K))] * 2, poisson),
}
NUMBERS = [SigmoidCrossEntropy(), MeanSquaredError(), MeanAbsoluteError(), Huber(), Poisson()]
every_loss = pytest.mark.parametrize(("loss", "targets", "rows", "formula"), CASES.values(), ids=CASES)


@every_loss
def test_the_loss_is_the_mean_of_its_formula_over_the_batch(loss, targets, rows, formula):
    scores = rng().normal(scale=3, size=(N, K))
    expected = math.fsum(formula(row, target) for row, target in zip(scores, rows, strict=True)) / N
    value, gradient = loss(scores, targets)
    assert type(value) is float
    assert value == pytest.approx(expected, rel=1e-13)
    assert gradient.shape == scores.shape


@every_loss
def test_the_weighted_loss_is_the_weighted_mean(loss, targets, rows, formula):
    scores, weights = rng().normal(size=(N, K)), rng(6).uniform(size=N)
    summed = sum(w * formula(row, target) for w, row, target in zip(weights, scores, rows, strict=True))
    assert loss(scores, targets, weights)[0] == pytest.approx(summed / weights.sum(), rel=1e-13)


@every_loss
@pytest.mark.parametrize("weights", [None, [1, 0, 2.5, 0.3, 1, 4]])
def test_the_gradient_is_that_of_the_value(loss, targets, rows, formula, weights):
    scores = rng().normal(size=(N, K))
    if not isinstance(loss, Hinge):  # of which the rivals would be equal there: a kink
        scores[0] = 0
    check_loss_gradient(loss, scores, targets, weights)


@pytest.mark.parametrize("loss", NUMBERS)
@pytest.mark.parametrize("output_shape", [(), (1,), (2, 3), (5, 1)])
def test_the_gradient_is_that_of_the_value_for_outputs_of_any_shape(loss, output_shape):
    scores, targets = rng().normal(size=(3, *output_shape)), rng(1).uniform(size=(3, *output_shape))
    check_loss_gradient(loss, scores, targets, [1, 2, 0.5])


@every_loss
def test_a_weight_of_2_is_the_row_twice_and_a_weight_of_0_the_row_left_out(loss, targets, rows, formula):
    scores = rng().normal(size=(N, K))
    repeats = np.array([1, 2, 0, 1, 0, 2])
    value, gradient = loss(scores, targets, repeats)
    repeated_value, repeated_gradient = loss(np.repeat(scores, repeats, axis=0), np.repeat(targets, repeats, axis=0))
    assert value == pytest.approx(repeated_value, rel=1e-13)
    summed = np.zeros_like(gradient)
    np.add.at(summed, np.repeat(np.arange(N), repeats), repeated_gradient)
    np.testing.assert_allclose(gradient, summed, rtol=1e-13)


@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(), FocalCrossEntropy(), KLDivergence(), *NUMBERS, Loss()])
def test_prepared_targets_have_the_scores_dtype_and_are_copied_only_for_that(loss):
    targets = soft_targets()
    assert np.shares_memory(loss.prepare_targets(targets, (K,), np.float64), targets)
    assert loss.prepare_targets(targets, (K,)).dtype == np.float32
    whole = np.eye(K, dtype=np.uint8)
    # A loss of the user's own may take labels, so the base leaves whole numbers whole.
    assert loss.prepare_targets(whole, (K,), np.float64).dtype == (np.uint8 if type(loss) is Loss else np.float64)


@every_loss
@pytest.mark.parametrize("weights", [None, np.array([1, 0, 2.5, 0.3, 1, 4])])
def test_shares_of_a_total_weight_add_up_to_the_whole(loss, targets, rows, formula, weights):
    scores = rng().normal(size=(N, K))
    prepared = loss.prepare_targets(targets, (K,), np.float64)
    value, gradient = loss.mean(scores, prepared, weights)
    total = N if weights is None else float(weights.sum())
    parts = [
        loss.mean(scores[part], prepared[part], None if weights is None else weights[part], total)
        for part in (slice(0, 2), slice(2, 3), slice(3, N), slice(N, N))
    ]
    assert sum(share for share, _ in parts) == pytest.approx(value, rel=1e-13)
    np.testing.assert_allclose(np.concatenate([share for _, share in parts]), gradient, rtol=1e-13)


@every_loss
def test_a_batch_of_which_no_row_counts_has_no_loss_and_no_gradient(loss, targets, rows, formula):
    value, gradient = loss(np.ones((N, K)), targets, np.zeros(N))
    assert value == 0
    np.testing.assert_array_equal(gradient, np.zeros((N, K)))


@every_loss
def test_float32_scores_give_a_float32_gradient_of_the_same_value(loss, targets, rows, formula):
    scores = rng().normal(size=(N, K)).astype(np.float32)
    for weights in (None, np.arange(N), np.arange(N, dtype=np.float64)):
        value, gradient = loss(scores, targets, weights)
        precise_value, precise_gradient = loss(scores.astype(np.float64), targets, weights)
        assert gradient.dtype == np.float32
        # A dozen float32 operations on numbers of order 1, each off by at most 6e-8.
        assert value == pytest.approx(precise_value, rel=1e-6)
        np.testing.assert_allclose(gradient, precise_gradient, rtol=1e-6, atol=1e-7)


def test_the_mean_of_many_small_float32_losses_is_as_exact_as_they_are():
    errors = rng().uniform(size=(1000, 1)).astype(np.float32)
    value, _ = MeanSquaredError()(errors, np.zeros(1000))
    assert value == pytest.approx(math.fsum((errors * errors).ravel().tolist()) / 1000, rel=1e-14)


@every_loss
def test_neither_scores_nor_targets_nor_weights_are_changed(loss, targets, rows, formula):
    given_arrays = [rng().normal(size=(N, K)), targets.copy(), np.arange(N, dtype=np.float64)]
    copies = [array.copy() for array in given_arrays]
    loss(*given_arrays)
    for array, copy in zip(given_arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@every_loss
def test_lists_frames_and_whole_numbers_are_taken_as_well(loss, targets, rows, formula):
    scores = rng().integers(-3, 4, size=(N, K))
    expected = loss(scores.astype(np.float64), targets, np.arange(N))[0]
    frame = pd.DataFrame(scores)
    series = pd.Series(targets, index=range(10, 10 + N)) if targets.ndim == 1 else pd.DataFrame(targets)
    assert loss(frame, series, pd.Series(range(N)))[0] == expected
    assert loss(scores.tolist(), targets.tolist(), list(range(N)))[0] == expected


@pytest.mark.parametrize(
    "weights", [np.ones((N, 1)), np.ones((N, 2)), [1, 1, 1, 1, 1, math.nan], [1, 1, 1, 1, 1, -1], np.ones(N - 1), 1.0]
)
def test_weights_that_are_not_one_number_a_row_from_zero_up_are_refused(weights):
    with pytest.raises((DataError, ShapeError), match="sample_weight"):
        MeanSquaredError()(np.zeros((N, K)), np.zeros((N, K)), weights)


@every_loss
def test_scores_and_targets_of_different_numbers_of_rows_are_refused(loss, targets, rows, formula):
    with pytest.raises(DataError, match="lengths differ: scores has 5 rows, targets has 6 rows"):
        loss(np.zeros((N - 1, K)), targets)


@every_loss
def test_an_empty_batch_is_refused(loss, targets, rows, formula):
    with pytest.raises(DataError, match="scores is empty: there are no rows"):
        loss(np.zeros((0, K)), targets[:0])


def test_a_target_too_large_for_the_models_type_is_refused_with_its_row():
    with pytest.raises(DataError, match=r"y holds 1e\+300 at row 1"):
        MeanSquaredError().prepare_targets([0.0, 1e300], (1,), np.float32)
    assert MeanSquaredError().prepare_targets([0.0, 1e300], (1,), np.float64)[1, 0] == 1e300


def test_errors_call_the_arguments_by_their_names():
    with pytest.raises(DataError, match="^scores holds .* values"):
        MeanSquaredError()(["high", "low"], [1, 0])
    with pytest.raises(DataError, match="^y holds .* values"):
        MeanSquaredError().prepare_targets(["high", "low"], (1,))


@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(), KLDivergence(), Hinge(), *NUMBERS])
@pytest.mark.parametrize("targets", [1, 0.5, math.nan])
def test_a_single_number_is_no_target_for_a_batch(loss, targets):
    with pytest.raises((DataError, ShapeError), match=r"y|targets"):
        loss(np.zeros((N, K)), targets)


# Alignment of (N,) with (N, 1)


@pytest.mark.parametrize(
    ("loss", "formula"),
    [
        (MeanSquaredError(), mean_squared_error),
        (MeanAbsoluteError(), mean_absolute_error),
        (Huber(0.7), huber),
        (Poisson(), poisson),
        (SigmoidCrossEntropy(), sigmoid_cross_entropy),
    ],
)
@pytest.mark.parametrize(
    ("scores_shape", "targets_shape"),
    [((N, 1), (N,)), ((N,), (N, 1)), ((N, 1), (N, 1)), ((N,), (N,)), ((N, 3, 1), (N, 3)), ((1, 1), (1,))],
)
def test_a_column_and_a_row_of_numbers_meet_one_by_one(loss, formula, scores_shape, targets_shape):
    scores, targets = rng().normal(size=scores_shape), rng(1).uniform(size=targets_shape)
    value, gradient = loss(scores, targets)
    assert value == pytest.approx(formula(scores.ravel().tolist(), targets.ravel().tolist()), rel=1e-13)
    assert gradient.shape == scores_shape


@pytest.mark.parametrize("loss", [*NUMBERS, Hinge()])
@pytest.mark.parametrize("shape", [(1, N), (N, N), (N, 1, 1)])
def test_targets_that_would_broadcast_are_refused(loss, shape):
    with pytest.raises((ShapeError, DataError)):
        loss(np.zeros((N, 1)), np.zeros(shape))


# A loss of the user's own


@dataclass(eq=False)
class OwnHuber(Loss):
    """Squared below `delta`, linear beyond; for one output."""

    delta: float = 1.0

    def per_sample(self, scores, targets):
        errors = scores - targets
        small = np.abs(errors) <= self.delta
        losses = np.where(small, errors**2 / 2, self.delta * (np.abs(errors) - self.delta / 2))
        return losses[:, 0], np.where(small, errors, self.delta * np.sign(errors))


class Broken(Loss):
    def per_sample(self, scores, targets):
        return np.zeros((len(scores), 1)), scores


class BrokenGradient(Loss):
    def per_sample(self, scores, targets):
        return np.zeros(len(scores)), scores[:, 0]


def test_a_loss_of_the_users_own_gets_mean_weights_and_alignment_from_the_base():
    scores, targets = np.array([[0.5], [3.0], [-2.0]]), [0, 0, 0]  # a 1-D list beside a column
    value, gradient = OwnHuber()(scores, targets)
    assert value == pytest.approx((0.125 + 2.5 + 1.5) / 3)
    np.testing.assert_allclose(gradient, [[0.5 / 3], [1 / 3], [-1 / 3]])
    check_loss_gradient(OwnHuber(2.5), scores, targets, [1, 0, 3])
    assert OwnHuber().metric_name == ""
    assert repr(OwnHuber(2)) == "OwnHuber(delta=2)"


@pytest.mark.parametrize("loss", [Broken(), BrokenGradient()])
def test_a_loss_that_returns_other_shapes_is_told_so(loss):
    with pytest.raises(
        ShapeError, match=rf"{type(loss).__name__}\.per_sample must return losses \(3,\) and a gradient \(3, 2\)"
    ):
        loss(np.zeros((3, 2)), np.zeros((3, 2)))


def test_the_base_alone_says_what_is_missing():
    with pytest.raises(NotImplementedError, match=r"Loss must define per_sample\(scores, targets\)"):
        Loss()(np.zeros((3, 2)), np.zeros((3, 2)))
    with pytest.raises(NotImplementedError, match="OwnHuber names a metric but does not define it"):
        OwnHuber().metric(np.zeros((3, 1)), np.zeros((3, 1)))
    Loss().check_output((1, 2, 3))  # any shape will do
