import math
from dataclasses import dataclass
from decimal import Decimal, localcontext

import numpy as np
import pandas as pd
import pytest
from gradients import check_loss_gradient
from hypothesis import given
from hypothesis import strategies as st

from minidl.errors import ArgumentError, DataError, ShapeError
from minidl.losses import Loss, MeanSquaredError, SigmoidCrossEntropy, SoftmaxCrossEntropy

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


def mean_squared_error(scores, target):
    return math.fsum((score - t) ** 2 for score, t in zip(scores, target, strict=True)) / len(scores)


CASES = {
    "softmax, labels": (SoftmaxCrossEntropy(), labels(), np.eye(K)[labels()], softmax_cross_entropy),
    "softmax, one-hot": (SoftmaxCrossEntropy(), np.eye(K)[labels()], np.eye(K)[labels()], softmax_cross_entropy),
    "softmax, soft": (SoftmaxCrossEntropy(), soft_targets(), soft_targets(), softmax_cross_entropy),
    "sigmoid, several labels": (SigmoidCrossEntropy(), *[rng(3).integers(2, size=(N, K))] * 2, sigmoid_cross_entropy),
    "sigmoid, soft": (SigmoidCrossEntropy(), *[rng(4).uniform(size=(N, K))] * 2, sigmoid_cross_entropy),
    "squared error": (MeanSquaredError(), *[rng(5).normal(size=(N, K))] * 2, mean_squared_error),
}
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
    scores[0] = 0
    check_loss_gradient(loss, scores, targets, weights)


@pytest.mark.parametrize("loss", [SigmoidCrossEntropy(), MeanSquaredError()])
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


@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(), SigmoidCrossEntropy(), MeanSquaredError(), Loss()])
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


def test_errors_call_the_arguments_by_their_names():
    with pytest.raises(DataError, match="^scores holds .* values"):
        MeanSquaredError()(["high", "low"], [1, 0])
    with pytest.raises(DataError, match="^y holds .* values"):
        MeanSquaredError().prepare_targets(["high", "low"], (1,))


@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(), SigmoidCrossEntropy(), MeanSquaredError()])
@pytest.mark.parametrize("targets", [1, 0.5, math.nan])
def test_a_single_number_is_no_target_for_a_batch(loss, targets):
    with pytest.raises((DataError, ShapeError), match=r"y|targets"):
        loss(np.zeros((N, K)), targets)


# Softmax


@given(st.integers(1, 5), st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_labels_columns_and_one_hot_rows_agree(rows, classes, seed):
    scores, true = rng(seed).normal(scale=5, size=(rows, classes)), rng(seed + 1).integers(classes, size=rows)
    value, gradient = SoftmaxCrossEntropy()(scores, true)
    for targets in (
        true[:, np.newaxis],
        true.astype(np.float32),
        np.eye(classes)[true],
        np.eye(classes, dtype=int)[true],
    ):
        same_value, same_gradient = SoftmaxCrossEntropy()(scores, targets)
        assert same_value == pytest.approx(value, rel=1e-14)
        np.testing.assert_allclose(same_gradient, gradient, rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("as_rows", [False, True])
@pytest.mark.parametrize(
    ("scores", "label", "loss", "gradient"),
    [
        ([1e4, -1e4, 0], 0, 0, [0, 0, 0]),
        ([1e4, -1e4, 0], 1, 2e4, [1, -1, 0]),
        ([1e4, -1e4, 0], 2, 1e4, [1, 0, -1]),
        ([-1e4, -1e4, -1e4], 1, math.log(3), [1 / 3, -2 / 3, 1 / 3]),
        ([1e4, 1e4, -1e4], 0, math.log(2), [-1 / 2, 1 / 2, 0]),
        ([0, -30, -1e4], 0, math.log1p(math.exp(-30)), [-math.exp(-30), math.exp(-30), 0]),
    ],
)
def test_softmax_cross_entropy_is_exact_at_extreme_scores(scores, label, loss, gradient, as_rows, dtype):
    targets = [np.eye(3)[label].tolist()] if as_rows else [label]
    value, dscores = SoftmaxCrossEntropy()(np.array([scores], dtype), targets)
    # A loss close to 0 is log(1 + tiny), which is as exact as numbers near 1 are.
    eps = float(np.finfo(dtype).eps)
    assert value == pytest.approx(loss, rel=2 * eps, abs=eps)
    np.testing.assert_allclose(dscores[0], gradient, rtol=2 * eps, atol=eps)


def test_soft_targets_are_taken_to_the_last_thousandth():
    SoftmaxCrossEntropy()(np.zeros((1, 3)), np.float16([[0.1, 0.2, 0.7]]))
    with pytest.raises(DataError, match="no probability distribution at row 0"):
        SoftmaxCrossEntropy()(np.zeros((1, 3)), [[0.1, 0.2, 0.702]])


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([0, 3, 1], "y is 3 at row 1; the model has 3 classes, labelled 0 to 2"),
        ([0, 4, 3], "y is 4 at row 1; the model has 3 classes"),
        ([0, 1, -1], "y is -1 at row 2; the model has 3 classes"),
        ([0, 1.5, 1], r"y is 1\.5 at row 1; the model has 3 classes"),
        ([[0], [1], [3]], "y is 3 at row 2"),
        ([0, 1, math.nan], "y holds nan at row 2"),
        ([0, math.inf, 0], "y holds inf at row 1"),
        ([0, 1e30, 0], r"y is 1e\+30 at row 1"),
        (np.array([0, 2**64 - 1, 0], np.uint64), "y is 18446744073709551615 at row 1"),
        (["cat", "dog", "cat"], "^targets holds .* values; give numbers only"),
        (
            [[1, 0, 0], [0, 1, 1], [0, 0, 1]],
            r"no probability distribution at row 1: \[0, 1, 1\]; one-hot rows hold no negative number and sum to 1$",
        ),
        ([[1, 0, 0], [0, 1, 0], [0, 0, 0]], "no probability distribution at row 2"),
        ([[1, 0, 0], [0, 2, -1], [0, 0, 1]], r"no probability distribution at row 1: \[0, 2, -1\]"),
        ([[1, 0, 0], [0, 1, 0], [0, math.nan, 0]], "y holds nan at row 2, entry 1"),
    ],
)
def test_targets_that_are_no_classes_are_refused_with_their_row(targets, message):
    with pytest.raises(DataError, match=message):
        SoftmaxCrossEntropy()(np.zeros((3, 3)), targets)


@pytest.mark.parametrize("shape", [(3, 2), (3, 4), (3, 3, 1), (3, 1, 1)])
def test_targets_of_another_width_are_refused(shape):
    with pytest.raises(ShapeError, match=r"give labels \(N,\) or one-hot rows \(N, 3\)"):
        SoftmaxCrossEntropy()(np.zeros((3, 3)), np.zeros(shape))


@pytest.mark.parametrize("output_shape", [(1,), (), (2, 3)])
def test_softmax_needs_a_score_for_each_of_two_classes_or_more(output_shape):
    with pytest.raises(ShapeError, match="SigmoidCrossEntropy"):
        SoftmaxCrossEntropy().check_output(output_shape)
    with pytest.raises(ShapeError, match="2 classes or more"):
        SoftmaxCrossEntropy()(np.zeros((3, *output_shape)), [0, 0, 0])


def test_softmax_cross_entropy_gives_probabilities_decisions_and_accuracy():
    scores = np.array([[0, math.log(3)], [math.log(4), 0]])
    loss = SoftmaxCrossEntropy()
    np.testing.assert_allclose(loss.activate(scores), [[0.25, 0.75], [0.8, 0.2]])
    np.testing.assert_array_equal(loss.decide(scores), [1, 0])
    np.testing.assert_array_equal(loss.metric(scores, np.array([1, 1])), [1, 0])
    np.testing.assert_array_equal(loss.metric(scores, np.array([[0.4, 0.6], [0.3, 0.7]])), [1, 0])
    assert loss.metric_name == "accuracy"


# Sigmoid


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("target", [0, 1, 0.25])
@pytest.mark.parametrize("score", [1e4, -1e4, 100, -100, 30, -30, 0.0])
def test_sigmoid_cross_entropy_is_exact_at_extreme_scores(score, target, dtype):
    s, t = Decimal(score), Decimal(target)
    with localcontext() as context:
        context.prec = 60  # 1 + exp(-100) differs from 1 in the 44th digit
        loss = t * (1 + (-s).exp()).ln() + (1 - t) * (1 + s.exp()).ln()
    value, gradient = SigmoidCrossEntropy()(np.array([[score]], dtype), [[target]])
    # Relative accuracy, also of losses as small as exp(-100); below float32's smallest number there is only 0.
    eps = float(np.finfo(dtype).eps)
    assert value == pytest.approx(float(loss), rel=4 * eps, abs=2 * float(np.finfo(dtype).smallest_subnormal))
    np.testing.assert_allclose(gradient, float(1 / (1 + (-s).exp()) - t), rtol=4 * eps, atol=eps)


def test_several_labels_are_averaged_over_a_sample():
    # Scores of 0 cost log 2 each; a right score of 1e4 nothing, a wrong one 1e4.
    value, gradient = SigmoidCrossEntropy()([[0.0, 1e4], [1e4, 0.0]], [[1, 1], [0, 1]])
    assert value == pytest.approx((math.log(2) / 2 + (1e4 + math.log(2)) / 2) / 2, rel=1e-14)
    np.testing.assert_allclose(gradient, [[-0.125, 0], [0.25, -0.125]])


@pytest.mark.parametrize(
    ("targets", "error", "message"),
    [
        ([[0, 1], [-1, 1], [0, 0]], DataError, "y is -1 at row 1; the labels are 0 and 1"),
        ([[0, 1], [1, 1], [0, 1.5]], DataError, r"y is 1\.5 at row 2"),
        ([[0, 1], [1, math.nan], [0, 1]], DataError, "y holds nan at row 1, entry 1"),
        ([[[0, 1]]] * 3, ShapeError, r"has shape \(N, 2\)$"),
        (
            [0, 1, 1],
            ShapeError,
            r"y has shape \(3,\), but the model's output has shape \(N, 2\): end the model with Dense\(1\)",
        ),
        ([[0], [1], [1]], ShapeError, r"the model's output has shape \(N, 2\)"),
        (
            [[0, 1, 1]] * 3,
            ShapeError,
            r"y has shape \(3, 3\), but .* with Dense\(3\), or, for labels, use SoftmaxCrossEntropy",
        ),
    ],
)
def test_labels_that_are_no_zeros_and_ones_of_the_output_are_refused(targets, error, message):
    with pytest.raises(error, match=message):
        SigmoidCrossEntropy()(np.zeros((3, 2)), targets)


def test_sigmoid_cross_entropy_gives_probabilities_decisions_and_accuracy():
    loss, scores = SigmoidCrossEntropy(), np.array([[math.log(3), -1.0], [0.0, 0.1]])
    np.testing.assert_allclose(loss.activate(scores[:, :1]), [[0.75], [0.5]])
    np.testing.assert_array_equal(loss.decide(scores), [[1, 0], [0, 1]])
    assert loss.decide(scores).dtype.kind == "i"
    np.testing.assert_array_equal(loss.decide(scores[:, :1]), [1, 0])
    np.testing.assert_array_equal(loss.metric(scores, np.array([[1.0, 1.0], [0.0, 1.0]])), [0.5, 1])
    np.testing.assert_array_equal(loss.metric(scores, np.array([[0.5, 0.4], [0.6, 0.6]])), [0.5, 0.5])
    np.testing.assert_array_equal(loss.metric(np.array([[0.1], [-0.1]]), np.array([[1.0], [1.0]])), [1, 0])
    assert loss.metric_name == "accuracy"


# Squared error


def test_squared_error_by_hand():
    value, gradient = MeanSquaredError()([[1.0, 2.0], [3.0, 4.0]], [[1.0, 0.0], [6.0, 4.0]])
    assert value == (0 + 4 + 9 + 0) / 4
    np.testing.assert_array_equal(gradient, [[0, 1], [-1.5, 0]])


def test_squared_error_decides_nothing_and_reports_the_absolute_error():
    loss, scores = MeanSquaredError(), np.array([[1.0, 2.0], [3.0, 4.0]])
    assert loss.decide(scores) is scores
    np.testing.assert_array_equal(loss.decide(scores[:, 1:]), [2, 4])
    np.testing.assert_array_equal(loss.decide(scores[:, 1]), [2, 4])
    np.testing.assert_array_equal(loss.metric(scores, np.array([[2.0, 2.0], [3.0, 1.0]])), [0.5, 1.5])
    assert loss.metric_name == "mean_absolute_error"
    with pytest.raises(ArgumentError, match=r"MeanSquaredError gives no probabilities: use predict\(x\)"):
        loss.activate(scores)


def test_squared_error_names_no_layer_as_the_cure_for_outputs_of_two_axes():
    with pytest.raises(ShapeError, match=r"but the model's output has shape \(N, 2, 4\)$"):
        MeanSquaredError()(np.zeros((3, 2, 4)), np.zeros((3, 2)))


@pytest.mark.parametrize("shape", [(3,), (3, 3), (3, 2, 1), (3, 3, 2)])
def test_squared_error_refuses_targets_of_another_shape(shape):
    with pytest.raises(ShapeError, match=r"y has shape \(3,.*\), but the model's output has shape \(N, 2\)"):
        MeanSquaredError()(np.zeros((3, 2)), np.zeros(shape))


# Alignment of (N,) with (N, 1)


@pytest.mark.parametrize("loss", [MeanSquaredError(), SigmoidCrossEntropy()])
@pytest.mark.parametrize(
    ("scores_shape", "targets_shape"),
    [((N, 1), (N,)), ((N,), (N, 1)), ((N, 1), (N, 1)), ((N,), (N,)), ((N, 3, 1), (N, 3)), ((1, 1), (1,))],
)
def test_a_column_and_a_row_of_numbers_meet_one_by_one(loss, scores_shape, targets_shape):
    formula = mean_squared_error if isinstance(loss, MeanSquaredError) else sigmoid_cross_entropy
    scores, targets = rng().normal(size=scores_shape), rng(1).uniform(size=targets_shape)
    value, gradient = loss(scores, targets)
    assert value == pytest.approx(formula(scores.ravel().tolist(), targets.ravel().tolist()), rel=1e-13)
    assert gradient.shape == scores_shape


@pytest.mark.parametrize("loss", [MeanSquaredError(), SigmoidCrossEntropy()])
@pytest.mark.parametrize("shape", [(1, N), (N, N), (N, 1, 1)])
def test_targets_that_would_broadcast_are_refused(loss, shape):
    with pytest.raises((ShapeError, DataError)):
        loss(np.zeros((N, 1)), np.zeros(shape))


# A loss of the user's own


@dataclass(eq=False)
class Huber(Loss):
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
    value, gradient = Huber()(scores, targets)
    assert value == pytest.approx((0.125 + 2.5 + 1.5) / 3)
    np.testing.assert_allclose(gradient, [[0.5 / 3], [1 / 3], [-1 / 3]])
    check_loss_gradient(Huber(2.5), scores, targets, [1, 0, 3])
    assert Huber().metric_name == ""
    assert repr(Huber(2)) == "Huber(delta=2)"


@pytest.mark.parametrize("loss", [Broken(), BrokenGradient()])
def test_a_loss_that_returns_other_shapes_is_told_so(loss):
    with pytest.raises(
        ShapeError, match=rf"{type(loss).__name__}\.per_sample must return losses \(3,\) and a gradient \(3, 2\)"
    ):
        loss(np.zeros((3, 2)), np.zeros((3, 2)))


def test_the_base_alone_says_what_is_missing():
    with pytest.raises(NotImplementedError, match=r"Loss must define per_sample\(scores, targets\)"):
        Loss()(np.zeros((3, 2)), np.zeros((3, 2)))
    with pytest.raises(NotImplementedError, match="Huber names a metric but does not define it"):
        Huber().metric(np.zeros((3, 1)), np.zeros((3, 1)))
    Loss().check_output((1, 2, 3))  # any shape will do
