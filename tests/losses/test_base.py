import math

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
from minidl.errors import ArgumentError, DataError, ShapeError
from minidl.settings import setting

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


SMOOTHED = SoftmaxCrossEntropy(label_smoothing=0.3)
CASES = {
    "softmax, labels": (SoftmaxCrossEntropy(), labels(), np.eye(K)[labels()], softmax_cross_entropy),
    "softmax, one-hot": (SoftmaxCrossEntropy(), np.eye(K)[labels()], np.eye(K)[labels()], softmax_cross_entropy),
    "softmax, soft": (SoftmaxCrossEntropy(), soft_targets(), soft_targets(), softmax_cross_entropy),
    "smoothed, labels": (SMOOTHED, labels(), np.eye(K)[labels()], smoothed_cross_entropy),
    "smoothed, soft": (SMOOTHED, soft_targets(), soft_targets(), smoothed_cross_entropy),
    "focal, labels": (FocalCrossEntropy(), labels(), np.eye(K)[labels()], focal_cross_entropy(2)),
    "focal, soft": (FocalCrossEntropy(gamma=0.5), soft_targets(), soft_targets(), focal_cross_entropy(0.5)),
    "divergence": (KLDivergence(), soft_targets(), soft_targets(), divergence),
    "divergence, one-hot": (KLDivergence(), np.eye(K)[labels()], np.eye(K)[labels()], divergence),
    "hinge": (Hinge(), labels(), np.eye(K)[labels()], strongest_rival),
    "sigmoid, several labels": (SigmoidCrossEntropy(), *[rng(3).integers(2, size=(N, K))] * 2, sigmoid_cross_entropy),
    "sigmoid, soft": (SigmoidCrossEntropy(), *[rng(4).uniform(size=(N, K))] * 2, sigmoid_cross_entropy),
    "squared error": (MeanSquaredError(), *[rng(5).normal(size=(N, K))] * 2, mean_squared_error),
    "absolute error": (MeanAbsoluteError(), *[rng(5).normal(size=(N, K))] * 2, mean_absolute_error),
    "huber": (Huber(delta=0.7), *[rng(5).normal(size=(N, K))] * 2, huber),
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
    total = N if weights is None else float(weights.sum())
    value, gradient = loss.total(scores, prepared, weights, 1 / total)
    parts = [
        loss.total(scores[part], prepared[part], None if weights is None else weights[part], 1 / total)
        for part in (slice(0, 2), slice(2, 3), slice(3, N), slice(N, N))
    ]
    assert sum(share for share, _ in parts) == pytest.approx(value, rel=1e-13)
    np.testing.assert_allclose(np.concatenate([share for _, share in parts]), gradient, rtol=1e-13)
    mean, gradient_of_mean = loss(scores, targets, weights)
    assert value / total == pytest.approx(mean, rel=1e-14)
    np.testing.assert_allclose(gradient, gradient_of_mean, rtol=1e-14)


@every_loss
@pytest.mark.parametrize("weights", [None, np.array([1, 0, 2.5, 0.3, 1, 4])])
def test_a_total_is_the_weighted_sum_of_the_losses_and_its_gradient_comes_in_any_scale(
    loss, targets, rows, formula, weights
):
    scores = rng().normal(size=(N, K))
    prepared = loss.prepare_targets(targets, (K,), np.float64)
    losses = [formula(row, target) for row, target in zip(scores, rows, strict=True)]
    expected = math.fsum(losses if weights is None else losses * weights)
    value, gradient = loss.total(scores, prepared, weights)
    assert type(value) is float
    assert value == pytest.approx(expected, rel=1e-13)
    for scale in (1.0, 0.25, 3.0):
        same, scaled = loss.total(scores, prepared, weights, scale)
        assert same == value
        np.testing.assert_allclose(scaled, scale * gradient, rtol=1e-14)


def test_weights_that_the_scores_type_cannot_hold_are_scaled_before_they_meet_it():
    scores = np.ones((2, 1), np.float32)
    for size in (1e300, 1e-300):
        value, gradient = MeanSquaredError()(scores, [0, 0], [size, 3 * size])
        assert value == pytest.approx(1, rel=1e-6)
        np.testing.assert_allclose(gradient, [[0.5], [1.5]], rtol=1e-6)


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
    with pytest.raises(DataError, match=r"^scores holds 'high' \(str\) in row 0; give numbers only"):
        MeanSquaredError()(["high", "low"], [1, 0])
    with pytest.raises(DataError, match=r"^y holds '.*' \(str\) in row 0; give numbers only"):
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
        (Huber(delta=0.7), huber),
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


class OwnHuber(Loss):
    """Squared below `delta`, linear beyond; for one output."""

    delta: float = setting(1.0, kw_only=False, above=0)

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
    assert OwnHuber().default_metric == ""
    assert repr(OwnHuber(2)) == "OwnHuber(delta=2.0)"
    with pytest.raises(ArgumentError, match="OwnHuber: delta is 0; it must be a finite number, above 0"):
        OwnHuber(0)


@pytest.mark.parametrize("loss", [Broken(), BrokenGradient()])
def test_a_loss_that_returns_other_shapes_is_told_so(loss):
    with pytest.raises(
        ShapeError,
        match=rf"{type(loss).__name__}\.per_sample must give losses \(N,\) and gradients, not .* for scores \(3, 2\)",
    ):
        loss(np.zeros((3, 2)), np.zeros((3, 2)))


def test_the_base_alone_says_what_is_missing():
    with pytest.raises(NotImplementedError, match=r"Loss must define per_sample\(scores, targets\)"):
        Loss()(np.zeros((3, 2)), np.zeros((3, 2)))
    with pytest.raises(ArgumentError, match="class_weight is for classifiers; with OwnHuber give sample_weight"):
        OwnHuber().labels(np.zeros((3, 1)))
    Loss().check_output((1, 2, 3))  # any shape will do


# Truth: targets in the form of the predictions

TRUTHS = {
    "softmax, labels": (SoftmaxCrossEntropy(), [2, 0, 1], (3,), [2, 0, 1]),
    "softmax, a column": (SoftmaxCrossEntropy(), [[2], [0], [1]], (3,), [2, 0, 1]),
    "softmax, one-hot": (SoftmaxCrossEntropy(), [[0, 0, 1], [1, 0, 0]], (3,), [2, 0]),
    "softmax, soft": (SoftmaxCrossEntropy(), [[0.2, 0.5, 0.3], [0.4, 0.3, 0.3]], (3,), [1, 0]),
    "divergence": (KLDivergence(), [[0.2, 0.5, 0.3], [0.4, 0.3, 0.3]], (3,), [1, 0]),
    "one label": (SigmoidCrossEntropy(), [0, 1, 1], (1,), [0, 1, 1]),
    "one probability": (SigmoidCrossEntropy(), [0.4, 0.6, 0.5], (1,), [0, 1, 0]),
    "several labels": (SigmoidCrossEntropy(), [[0, 1], [1, 1]], (2,), [[0, 1], [1, 1]]),
    "hinge, 0 and 1": (Hinge(), [1, 0, 1], (1,), [1, 0, 1]),
    "hinge, -1 and 1": (Hinge(), [[1], [-1], [1]], (1,), [1, 0, 1]),
    "hinge without an axis": (Hinge(), [1, -1], (), [1, 0]),
    "hinge, classes": (Hinge(), [2, 0, 1], (3,), [2, 0, 1]),
    "one number": (MeanSquaredError(), [1.5, 2.5], (1,), [1.5, 2.5]),
    "numbers": (MeanAbsoluteError(), [[1.5, 2.5]], (2,), [[1.5, 2.5]]),
    "counts": (Poisson(), [[3], [0]], (1,), [3, 0]),
    "a loss of ones own": (OwnHuber(), [1.5, 2.5], (1,), [1.5, 2.5]),
}


@pytest.mark.parametrize(("loss", "targets", "output_shape", "truth"), TRUTHS.values(), ids=TRUTHS)
def test_the_truth_is_what_the_targets_are_in_the_form_of_predictions(loss, targets, output_shape, truth):
    prepared = loss.prepare_targets(targets, output_shape)
    found = loss.truth(prepared)
    predictions = loss.decide(rng().normal(size=(len(targets), *output_shape)))
    assert found.shape == predictions.shape
    assert found.dtype.kind == predictions.dtype.kind
    np.testing.assert_array_equal(found, truth)


# Positions: scores (N, T, K), of which each row of K is a sample of its own

T = 3


def softmax_positions(kind):
    labels = rng(8).integers(K, size=(N, T))
    return {"labels": labels, "one-hot": np.eye(K)[labels], "soft": rng(9).dirichlet(np.ones(K), size=(N, T))}[kind]


POSITION_WISE = {
    "softmax, labels": (SoftmaxCrossEntropy(), K, softmax_positions("labels")),
    "softmax, one-hot": (SoftmaxCrossEntropy(), K, softmax_positions("one-hot")),
    "softmax, soft": (SoftmaxCrossEntropy(), K, softmax_positions("soft")),
    "smoothed": (SoftmaxCrossEntropy(label_smoothing=0.2), K, softmax_positions("labels")),
    "focal": (FocalCrossEntropy(), K, softmax_positions("labels")),
    "divergence": (KLDivergence(), K, softmax_positions("soft")),
    "hinge": (Hinge(), K, softmax_positions("labels")),
    "hinge, one score": (Hinge(), 1, rng(10).integers(2, size=(N, T))),
    "sigmoid": (SigmoidCrossEntropy(), K, rng(11).integers(2, size=(N, T, K))),
    "sigmoid, one score": (SigmoidCrossEntropy(), 1, rng(12).integers(2, size=(N, T))),
}
position_wise = pytest.mark.parametrize(("loss", "outputs", "targets"), POSITION_WISE.values(), ids=POSITION_WISE)
WEIGHTS = {
    "none": None,
    "of rows": np.array([1, 0, 2.5, 0.3, 1, 4]),
    "of positions": rng(13).uniform(size=(N, T)),
    "a mask": rng(14).integers(2, size=(N, T)),
    "a mask of truth values": rng(14).integers(2, size=(N, T)) > 0,
}


@position_wise
@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
def test_a_position_wise_loss_is_the_weighted_mean_over_a_loop_of_rows_and_positions(loss, outputs, targets, weights):
    scores = rng(7).normal(size=(N, T, outputs))
    every = np.ones((N, T)) if weights is None else (np.ones((N, T)).T * weights.T).T  # a row's weight at each position
    summed, expected = [], np.zeros_like(scores)
    for row in range(N):
        for position in range(T):
            value, gradient = loss(scores[row, position][np.newaxis], targets[row, position][np.newaxis])
            summed.append(every[row, position] * value)
            expected[row, position] = every[row, position] / every.sum() * gradient[0]
    value, gradient = loss(scores, targets, weights)
    assert value == pytest.approx(math.fsum(summed) / every.sum(), rel=1e-13)
    np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-17)


@position_wise
@pytest.mark.parametrize("weights", [None, WEIGHTS["of positions"]], ids=["none", "of positions"])
def test_the_gradient_of_a_position_wise_loss_is_that_of_the_value(loss, outputs, targets, weights):
    check_loss_gradient(loss, rng(7).normal(size=(N, T, outputs)), targets, weights)


@position_wise
def test_a_position_that_weighs_0_counts_for_nothing_whatever_its_scores_are(loss, outputs, targets):
    scores, mask = rng(7).normal(size=(N, T, outputs)), np.ones((N, T))
    mask[2, 1] = mask[4] = 0
    value, gradient = loss(scores, targets, mask)
    scores[2, 1] = scores[4] = 1e6 * rng(15).normal(size=outputs)
    same, same_gradient = loss(scores, targets, mask)
    assert value == same
    np.testing.assert_array_equal(gradient, same_gradient)
    assert not gradient[2, 1].any()
    assert not gradient[4].any()


@pytest.mark.parametrize("axes", [(T,), (2, T), (1,), (2, 1, 2)])
def test_positions_may_lie_on_any_number_of_axes(axes):
    loss, scores, labels = SoftmaxCrossEntropy(), rng().normal(size=(N, *axes, K)), rng(1).integers(K, size=(N, *axes))
    assert loss.positions((*axes, K)) == axes
    value, gradient = loss(scores, labels, rng(2).uniform(size=(N, *axes)))
    flat, flat_gradient = loss(scores.reshape(-1, K), labels.ravel(), rng(2).uniform(size=(N, *axes)).ravel())
    assert value == flat
    np.testing.assert_array_equal(gradient.reshape(-1, K), flat_gradient)
    np.testing.assert_array_equal(loss.decide(scores).shape, labels.shape)
    np.testing.assert_allclose(loss.activate(scores).sum(axis=-1), 1, rtol=1e-14)


@position_wise
def test_flat_rows_are_the_positions_in_order_with_their_targets_and_weights(loss, outputs, targets):
    scores, weights = rng(7).normal(size=(N, T, outputs)), rng(13).uniform(size=(N, T))
    prepared = loss.prepare_targets(targets, (T, outputs), np.float64)
    rows, flat_targets, flat_weights = loss.flatten(scores, prepared, weights)
    assert rows.shape == (N * T, outputs)
    assert len(flat_targets) == N * T
    np.testing.assert_array_equal(flat_weights, weights.ravel())
    np.testing.assert_array_equal(rows[5], scores[1, 2])
    np.testing.assert_array_equal(flat_targets[5], prepared[1, 2])
    assert loss.truth(flat_targets).shape == loss.decide(rows).shape


@pytest.mark.parametrize("loss", [MeanSquaredError(), MeanAbsoluteError(), Huber(), Poisson(), OwnHuber()])
def test_a_loss_of_numbers_has_no_positions_and_leaves_rows_as_they_are(loss):
    scores, targets, weights = np.ones((N, T, K)), np.ones((N, T, K)), np.ones(N)
    assert loss.positions((T, K)) == ()
    for given, found in zip((scores, targets, weights), loss.flatten(scores, targets, weights), strict=True):
        assert found is given


@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(), FocalCrossEntropy(), Hinge()])
@pytest.mark.parametrize(
    "shape", [(N,), (N, 1), (N, K), (N, T + 1), (N, T, 1), (N, T, K + 1), (N, K, T), (N, T, K, 1), (N, 1, T)]
)
def test_targets_of_other_positions_are_refused(loss, shape):
    with pytest.raises(ShapeError, match=r"y has shape \(6,"):
        loss(np.zeros((N, T, K)), np.zeros(shape, int))


def test_the_error_about_targets_of_positions_says_both_forms_and_the_cure_for_one_label_a_row():
    cure = "for one label per sample, pool or flatten the positions before$"
    with pytest.raises(ShapeError, match=rf"give labels \(N, 3\) or one-hot rows \(N, 3, 4\); {cure}"):
        SoftmaxCrossEntropy()(np.zeros((N, T, K)), np.zeros(N, int))


@pytest.mark.parametrize(
    ("loss", "outputs", "targets", "message"),
    [
        (SoftmaxCrossEntropy(), 3, [[0, 1], [2, 3]], "y is 3 at row 1, 1; the model has 3 classes, labelled 0 to 2"),
        (Hinge(), 3, [[0, -1], [2, 1]], "y is -1 at row 0, 1; the model has 3 classes"),
        (Hinge(), 1, [[0, 1], [1, 3]], "y is 3 at row 1, 1, 0; with one score labels are 0 and 1"),
        (SigmoidCrossEntropy(), 1, [[0, 1], [2, 1]], "y is 2 at row 1, 0, 0; labels are 0 and 1"),
        (
            SoftmaxCrossEntropy(),
            2,
            [[[1, 0], [0, 1]], [[0.5, 0.5], [0.5, 0.6]]],
            r"y is \[0\.5 0\.6\] at row 1, 1; one-hot rows",
        ),
    ],
)
def test_a_wrong_target_of_a_position_is_named_with_its_place(loss, outputs, targets, message):
    with pytest.raises(DataError, match=message):
        loss(np.zeros((2, 2, outputs)), targets)


@pytest.mark.parametrize("shape", [(N, 1), (N, T + 1), (N, T, 1), (N, T, K)])
def test_weights_of_other_positions_are_refused_with_the_shapes_that_serve(shape):
    with pytest.raises(ShapeError, match=r"^sample_weight has shape \(6, .*; it must be \(N,\) or \(N, 3\)$"):
        SoftmaxCrossEntropy()(np.zeros((N, T, K)), np.zeros((N, T), int), np.ones(shape))
    with pytest.raises(ShapeError, match=r"^sample_weight has shape \(6, .*; it must be \(N,\)$"):
        SoftmaxCrossEntropy()(np.zeros((N, K)), np.zeros(N, int), np.ones(shape))


def test_a_negative_weight_of_a_position_is_refused_with_its_place():
    weights = np.ones((N, T))
    weights[4, 2] = -0.5
    with pytest.raises(DataError, match=r"^sample_weight is -0\.5 in row 4, 2;"):
        SoftmaxCrossEntropy()(np.zeros((N, T, K)), np.zeros((N, T), int), weights)
