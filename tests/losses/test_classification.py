import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import rel_entr, softmax
from scipy.stats import entropy
from sklearn.metrics import hinge_loss
from sklearn.preprocessing import LabelEncoder
from sklearn.svm import LinearSVC

from minidl import (
    SGD,
    Adam,
    CategoricalLoss,
    Dense,
    FocalCrossEntropy,
    Hinge,
    KLDivergence,
    Reshape,
    Sequential,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    Trainer,
)
from minidl.errors import ArgumentError, ArgumentTypeError, DataError, ShapeError
from minidl.metrics import ScoredRows, as_metrics


def rng(seed=0):
    return np.random.default_rng(seed)


def reported(loss, scores, targets):
    """Name and value of the metric that a loss has by default."""
    (metric,) = as_metrics(None, loss)
    rows = ScoredRows(loss, scores, loss.prepare_targets(targets, scores.shape[1:], scores.dtype))
    return metric.name, metric.value(np.array(metric.sums(rows, None)), len(scores))


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
    with pytest.raises(DataError, match=r"y is \[0.1 .* at row 0; one-hot rows hold no negative number and sum to 1$"):
        SoftmaxCrossEntropy()(np.zeros((1, 3)), [[0.1, 0.2, 0.702]])


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([0, 3, 1], "y is 3 at row 1; the model has 3 classes, labelled 0 to 2: number"),
        ([0, 4, 3], "y is 4 at row 1; the model has 3 classes"),
        ([0, 1, -1], "y is -1 at row 2; the model has 3 classes"),
        ([0, 1.5, 1], r"y is 1\.5 at row 1; the model has 3 classes, .*; for quantities use MeanSquared"),
        ([[0], [1], [3]], "y is 3 at row 2"),
        ([0, 1, math.nan], "y holds NaN at row 2"),
        ([0, math.inf, 0], "y holds inf at row 1"),
        ([0, 1e30, 0], r"y is 1e\+30 at row 1"),
        (np.array([0, 2**64 - 1, 0], np.uint64), "y is 18446744073709551615 at row 1"),
        (["cat", "dog", "cat"], r"^targets holds 'cat' \(str\) in row 0; give numbers only"),
        (
            [[1, 0, 0], [0, 1, 1], [0, 0, 1]],
            r"y is \[0 1 1\] at row 1; one-hot rows hold no negative number and sum to 1$",
        ),
        ([[1, 0, 0], [0, 1, 0], [0, 0, 0]], r"y is \[0 0 0\] at row 2"),
        ([[1, 0, 0], [0, 2, -1], [0, 0, 1]], r"y is \[ 0  2 -1\] at row 1"),
        ([[1, 0, 0], [0, 1, 0], [0, math.nan, 0]], "y holds NaN at row 2, entry 1"),
    ],
)
def test_targets_that_are_no_classes_are_refused_with_their_row(targets, message):
    with pytest.raises(DataError, match=message):
        SoftmaxCrossEntropy()(np.zeros((3, 3)), targets)


@pytest.mark.parametrize("shape", [(3, 2), (3, 4), (3, 3, 1), (3, 1, 1)])
def test_targets_of_another_width_are_refused(shape):
    with pytest.raises(ShapeError, match=r"give labels \(N,\) or one-hot rows \(N, 3\)"):
        SoftmaxCrossEntropy()(np.zeros((3, 3)), np.zeros(shape))


@pytest.mark.parametrize("output_shape", [(1,), (), (2, 1)])
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
    np.testing.assert_array_equal(loss.truth(np.array([1, 1])), [1, 1])
    np.testing.assert_array_equal(loss.truth(np.array([[0.4, 0.6], [0.7, 0.3]])), [1, 0])
    assert reported(loss, scores, [1, 1]) == reported(loss, scores, [[0.4, 0.6], [0.3, 0.7]]) == ("accuracy", 0.5)


@pytest.mark.parametrize("smoothing", [0, 0.1, 0.75])
@pytest.mark.parametrize("soft", [False, True])
def test_smoothing_is_cross_entropy_with_smoothed_rows(smoothing, soft):
    scores = rng().normal(scale=5, size=(6, 4))
    targets = rng(1).dirichlet(np.ones(4), size=6) if soft else rng(1).integers(4, size=6)
    rows = (1 - smoothing) * (targets if soft else np.eye(4)[targets]) + smoothing / 4
    value, gradient = SoftmaxCrossEntropy(label_smoothing=smoothing)(scores, targets)
    expected_value, expected_gradient = SoftmaxCrossEntropy()(scores, rows)
    assert value == pytest.approx(expected_value, rel=1e-14)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-13, atol=1e-16)


def test_a_smoothed_loss_is_least_at_the_smoothed_probabilities():
    smoothed = np.array([[0.05, 0.05, 0.9]])  # 0.85 of the class 2 and 0.05 for each
    _, gradient = SoftmaxCrossEntropy(label_smoothing=0.15)(np.log(smoothed), [2])
    np.testing.assert_allclose(gradient, 0, atol=1e-15)


def test_smoothing_holds_in_evaluation_too_and_leaves_the_accuracy_alone():
    model = Sequential([Dense(3), SoftmaxCrossEntropy(label_smoothing=0.3)], input_shape=2, seed=0)
    x, y = rng().normal(size=(6, 2)), np.array([0, 1, 2, 0, 1, 2])
    expected, _ = SoftmaxCrossEntropy(label_smoothing=0.3)(model.forward(x), y)
    metrics = Trainer(model, SGD(0.1), seed=0).evaluate(x, y)
    assert metrics["loss"] == pytest.approx(expected, rel=1e-6)
    assert metrics["accuracy"] == np.mean(model.predict(x) == y)


@pytest.mark.parametrize("value", [1, -0.1, math.nan, math.inf])
def test_a_share_to_smooth_is_less_than_1_and_not_below_0(value):
    with pytest.raises(ArgumentError, match=r"SoftmaxCrossEntropy: label_smoothing is .*, in \[0, 1\)"):
        SoftmaxCrossEntropy(label_smoothing=value)
    loss = SoftmaxCrossEntropy()
    with pytest.raises(ArgumentError, match=r"SoftmaxCrossEntropy: label_smoothing is .*, in \[0, 1\)"):
        loss.label_smoothing = value
    assert loss.label_smoothing == 0


@pytest.mark.parametrize(("kind", "name"), [(SoftmaxCrossEntropy, "label_smoothing"), (FocalCrossEntropy, "gamma")])
@pytest.mark.parametrize("value", ["0.1", True, None])
def test_settings_that_are_no_numbers_are_refused(kind, name, value):
    with pytest.raises(ArgumentTypeError, match="it must be a number"):
        kind(**{name: value})


@pytest.mark.parametrize("kind", [SoftmaxCrossEntropy, FocalCrossEntropy])
def test_the_settings_of_these_losses_are_given_by_name(kind):
    with pytest.raises(ArgumentTypeError, match="too many positional arguments; it is "):
        kind(0.1)


@pytest.mark.parametrize("loss", [FocalCrossEntropy(), KLDivergence()])
def test_losses_of_softmax_share_their_checks_and_call_themselves_by_their_names(loss):
    assert isinstance(loss, CategoricalLoss)
    with pytest.raises(
        ShapeError, match=f"{type(loss).__name__} expects scores .classes,. per sample, 2 classes or more"
    ):
        loss(np.zeros((3, 1)), [0, 0, 0])
    with pytest.raises(ShapeError, match=r"give labels \(N,\) or one-hot rows \(N, 3\)"):
        loss(np.zeros((3, 3)), np.zeros((3, 4)))
    with pytest.raises(DataError, match=r"y is \[0.5 0.5 0.5\] at row 1"):
        loss(np.zeros((2, 3)), [[0.5, 0.25, 0.25], [0.5, 0.5, 0.5]])
    with pytest.raises(DataError, match="y is 3 at row 1; the model has 3 classes"):
        loss(np.zeros((2, 3)), [0, 3])
    np.testing.assert_allclose(loss.activate(np.log([[0.2, 0.8]])), [[0.2, 0.8]])
    np.testing.assert_array_equal(loss.decide(np.array([[1.0, 2.0, 0.0], [3.0, 2.0, 0.0]])), [1, 0])


# Focal


@pytest.mark.parametrize("soft", [False, True])
def test_focal_loss_without_focus_is_cross_entropy(soft):
    scores = rng().normal(scale=5, size=(6, 4))
    targets = rng(1).dirichlet(np.ones(4), size=6) if soft else rng(1).integers(4, size=6)
    value, gradient = FocalCrossEntropy(gamma=0)(scores, targets)
    expected_value, expected_gradient = SoftmaxCrossEntropy()(scores, targets)
    assert value == pytest.approx(expected_value, rel=1e-14)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("as_rows", [False, True])
@pytest.mark.parametrize("gamma", [0, 0.1, 0.5, 1, 2, 5])
@pytest.mark.parametrize("label", [0, 1, 2])
@pytest.mark.parametrize(
    "scores", [[1e4, -1e4, 0], [-1e4, -1e4, -1e4], [0, -30, -1e4], [0, -100, 100], [1, 2, 3], [0, 0, -12]]
)
def test_focal_loss_is_exact_at_extreme_scores(scores, label, gamma, as_rows, dtype):
    with localcontext() as context:
        context.prec = 60
        powers = [(Decimal(score) - Decimal(max(scores))).exp() for score in scores]
        p = [power / sum(powers) for power in powers]
        # 1 - p of the class as the sum of the others: it may be as small as exp(-1e4).
        missing, focus = sum(other for k, other in enumerate(p) if k != label), Decimal(gamma)
        log_p = Decimal(scores[label]) - Decimal(max(scores)) - sum(powers).ln()
        loss = -(missing**focus) * log_p
        slope = missing**focus - focus * missing ** (focus - 1) * p[label] * log_p
        gradient = [float(slope * (own - (k == label))) for k, own in enumerate(p)]
    targets = np.eye(3)[[label]] if as_rows else [label]
    value, dscores = FocalCrossEntropy(gamma=gamma)(np.array([scores], dtype), targets)
    eps = float(np.finfo(dtype).eps)
    # A probability near 1 is known to eps, and what is missing to 1 is so to the same absolute error.
    assert value == pytest.approx(float(loss), rel=20 * eps, abs=2 * eps)
    np.testing.assert_allclose(dscores[0], gradient, rtol=20 * eps, atol=10 * eps)


def test_focal_loss_of_a_class_by_hand():
    value, gradient = FocalCrossEntropy(gamma=2)(np.log([[0.25, 0.75]]), [1])
    assert value == pytest.approx(-(0.25**2) * math.log(0.75), rel=1e-14)
    slope = 0.25**2 - 2 * 0.25 * 0.75 * math.log(0.75)
    np.testing.assert_allclose(gradient, [[0.25 * slope, -0.25 * slope]], rtol=1e-13)


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_a_focus_is_a_number_from_0_up(value):
    with pytest.raises(ArgumentError, match="FocalCrossEntropy: gamma is .*, 0 or more"):
        FocalCrossEntropy(gamma=value)


# Divergence


@given(st.integers(1, 5), st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_the_divergence_is_scipys_relative_entropy_and_0_only_at_the_targets(rows, classes, seed):
    scores, targets = rng(seed).normal(size=(rows, classes)), rng(seed + 1).dirichlet(np.ones(classes), size=rows)
    value, _ = KLDivergence()(scores, targets)
    assert value == pytest.approx(rel_entr(targets, softmax(scores, axis=1)).sum(axis=1).mean(), rel=1e-11, abs=1e-14)
    assert value > 0
    at_targets, gradient = KLDivergence()(np.log(targets), targets)
    assert at_targets == pytest.approx(0, abs=1e-14)
    np.testing.assert_allclose(gradient, 0, atol=1e-15)


def test_the_divergence_is_cross_entropy_less_the_entropy_of_the_targets():
    scores, targets = rng().normal(size=(6, 4)), rng(1).dirichlet(np.ones(4), size=6)
    value, gradient = KLDivergence()(scores, targets)
    cross_entropy, same_gradient = SoftmaxCrossEntropy()(scores, targets)
    assert value == pytest.approx(cross_entropy - entropy(targets, axis=1).mean(), rel=1e-13)
    np.testing.assert_array_equal(gradient, same_gradient)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_divergence_is_exact_at_extreme_scores_and_where_targets_are_0(dtype):
    tiny = float(np.finfo(dtype).smallest_subnormal)
    scores = np.array([[1e4, -1e4], [1e4, -1e4], [1e4, -1e4], [1e4, -1e4]], dtype)
    targets = np.array([[1, 0], [0, 1], [0.5, 0.5], [1, tiny]], dtype)
    losses, gradient = KLDivergence().per_sample(scores, targets)
    eps = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(losses, [0, 2e4, 1e4 - math.log(2), 0], rtol=2 * eps, atol=3e4 * tiny)
    np.testing.assert_array_equal(gradient, [[0, 0], [1, -1], [0.5, -0.5], [0, -tiny]])


def test_the_divergence_reports_how_far_the_probabilities_are_off():
    loss, scores = KLDivergence(), np.log([[0.2, 0.3, 0.5], [0.5, 0.25, 0.25]])
    name, value = reported(loss, scores, [[0.4, 0.3, 0.3], [0.0, 0.0, 1.0]])
    assert name == "total_variation"
    assert value == pytest.approx((0.2 + 0.75) / 2, rel=1e-14)


@pytest.mark.parametrize("labels", [[0, 1, 2], [[0], [1], [2]]])
def test_the_divergence_from_labels_is_the_cross_entropy(labels):
    loss, scores = KLDivergence(), rng().normal(size=(3, 3))
    value, gradient = loss(scores, labels)
    expected_value, expected_gradient = SoftmaxCrossEntropy()(scores, [0, 1, 2])
    assert value == pytest.approx(expected_value, rel=1e-14)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-14)
    assert reported(loss, scores, labels)[0] == "total_variation"


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
        (
            [[0, 1], [-1, 1], [0, 0]],
            DataError,
            "y is -1 at row 1, 0; labels are 0 and 1: number them so, as Lab",
        ),
        ([[0, 1], [1, 1], [0, 1.5]], DataError, r"y is 1\.5 at row 2"),
        ([[0, 1], [1, math.nan], [0, 1]], DataError, "y holds NaN at row 1, entry 1"),
        ([[[0, 1]]] * 3, ShapeError, r"has shape \(N, 2\): make them equal or"),
        (
            [0, 1, 1],
            ShapeError,
            r"y has shape \(3,\), but the model's output has shape \(N, 2\): make them equal or",
        ),
        ([[0], [1], [1]], ShapeError, r"the model's output has shape \(N, 2\)"),
        (
            [[0, 1, 1]] * 3,
            ShapeError,
            r"y has shape \(3, 3\), but .* equal or, for labels, use SoftmaxCrossEntropy",
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
    assert reported(loss, scores, [[1.0, 1.0], [0.0, 1.0]]) == ("accuracy", 0.75)
    assert reported(loss, scores, [[0.5, 0.4], [0.6, 0.6]]) == ("accuracy", 0.5)
    assert reported(loss, np.array([[0.1], [-0.1]]), [1, 1]) == ("accuracy", 0.5)


# Hinge


@pytest.mark.parametrize("labels", [[1, 0, 0, 1, 1], [1, -1, -1, 1, 1]])
@pytest.mark.parametrize("shape", [(5,), (5, 1)])
def test_hinge_of_one_score_is_scikit_learns_however_the_second_label_is_called(labels, shape):
    scores = np.array([0.5, -0.25, 2.0, 1.5, -3.0])
    value, gradient = Hinge()(scores.reshape(shape), labels)
    assert value == pytest.approx(hinge_loss([1, 0, 0, 1, 1], scores), rel=1e-15)
    np.testing.assert_array_equal(gradient, np.reshape([-0.2, 0.2, 0.2, 0, -0.2], shape))


@given(st.integers(1, 8), st.integers(3, 6), st.integers(0, 2**32 - 1))
def test_hinge_of_several_scores_is_scikit_learns(rows, classes, seed):
    scores, labels = rng(seed).normal(size=(rows, classes)), rng(seed + 1).integers(classes, size=rows)
    value, _ = Hinge()(scores, labels)
    assert value == pytest.approx(hinge_loss(labels, scores, labels=range(classes)), rel=1e-13)


def test_hinge_of_several_scores_by_hand():
    scores = np.array([[3.0, 1.0, 2.5], [3.0, 1.0, 1.5], [0.0, 0.0, -1.0], [2.0, 2.0, 0.0]])
    losses, gradient = Hinge().per_sample(scores, np.array([0, 0, 2, 1]))
    # A margin of half, one that is wide enough, two rivals of which the first counts, and one that draws level.
    np.testing.assert_array_equal(losses, [0.5, 0, 2, 1])
    np.testing.assert_array_equal(gradient, [[-1, 0, 1], [0, 0, 0], [1, 0, -1], [1, -1, 0]])


@pytest.mark.parametrize("classes", [2, 3])
def test_a_linear_model_with_hinge_loss_separates_as_a_support_vector_machine_does(classes):
    centres = np.array([[3.0, 0.0], [-3.0, 2.0], [0.0, -4.0]])[:classes]
    y = np.arange(90) % classes
    x = centres[y] + rng().normal(size=(90, 2))
    model = Sequential([Dense(1 if classes == 2 else classes), Hinge()], seed=0)
    trainer = Trainer(model, SGD(0.1), batch_size=10, seed=0)
    history = trainer.fit(x, y, epochs=30, progress=False)
    machine = LinearSVC(loss="hinge", dual=True, C=100, random_state=0, max_iter=100_000).fit(x, y)
    assert history["accuracy"][-1] >= machine.score(x, y) - 0.02
    assert model.predict(x).shape == y.shape
    with pytest.raises(ArgumentError, match=r"Hinge gives no probabilities: use predict\(x\)"):
        model.predict_proba(x)


def test_hinge_gives_decisions_and_accuracy():
    loss, one, several = Hinge(), np.array([[0.5], [-0.5], [0.0]]), np.array([[1.0, 2.0, 0.0], [3.0, 2.0, 0.0]])
    np.testing.assert_array_equal(loss.decide(one), [1, 0, 0])
    np.testing.assert_array_equal(loss.decide(one[:, 0]), [1, 0, 0])
    assert loss.decide(one).dtype.kind == "i"
    np.testing.assert_array_equal(loss.decide(several), [1, 0])
    for labels in ([1, 1, 0], [1, 1, -1]):
        assert loss.prepare_targets(labels, (1,)).dtype == np.float32
        assert reported(loss, one, labels) == ("accuracy", pytest.approx(2 / 3))
        assert reported(loss, one[:, 0], labels) == ("accuracy", pytest.approx(2 / 3))
    assert reported(loss, several, [1, 1]) == ("accuracy", 0.5)


@pytest.mark.parametrize(
    ("targets", "error", "message"),
    [
        ([0, 2, 1], DataError, "y is 2 at row 1; with one score labels are 0 and 1, or -1 and 1"),
        ([0, 1, 0.5], DataError, r"y is 0\.5 at row 2"),
        ([-2, 1, 1], DataError, "y is -2 at row 0"),
        ([0, 1, -1], DataError, "^y is 0 at row 0; with one score labels are 0 and 1, or -1 and 1$"),
        ([0, 1, math.nan], DataError, "y holds NaN at row 2"),
        (np.eye(3), ShapeError, r"y has shape \(3, 3\); Hinge takes labels: for one-hot, pass"),
    ],
)
@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_labels_that_are_not_of_two_classes_are_refused(shape, targets, error, message):
    with pytest.raises(error, match=message):
        Hinge()(np.zeros(shape), targets)


@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(), Hinge()])
@pytest.mark.parametrize(
    ("targets", "outputs", "first"),
    [
        (np.arange(1, 11), 10, "10 at row 9"),
        (np.arange(1, 11), 5, "5 at row 4"),
        (np.arange(11), 10, "10 at row 10"),
        (np.float32([-1, 1]), 2, r"-1\.0 at row 0"),
    ],
)
def test_labels_that_are_not_numbered_as_the_outputs_are_answered_with_the_first_and_the_cure(
    loss, targets, outputs, first
):
    cure = r"number the labels from 0, as LabelEncoder\(\)\.fit_tr.*, or add outputs; for quantities"
    with pytest.raises(DataError, match=f"y is {first}; the model has {outputs} classes, labelled 0 to .*: {cure}"):
        loss.prepare_targets(targets, (outputs,))
    encoded = LabelEncoder().fit_transform(targets)
    loss.prepare_targets(encoded, (len(targets),))


def test_labels_from_1_serve_with_an_output_that_no_label_uses():
    x = np.repeat(np.eye(3, dtype=np.float32), 20, axis=0)
    y = np.repeat([1, 2, 3], 20)
    model = Sequential([Dense(4), SoftmaxCrossEntropy()], seed=0)
    Trainer(model, Adam(0.1), seed=0).fit(x, y, epochs=50, progress=False)
    np.testing.assert_array_equal(model.predict(x), y)


@pytest.mark.parametrize(
    ("targets", "error", "message"),
    [
        ([0, 3, 1], DataError, "y is 3 at row 1; the model has 3 classes, labelled 0 to 2"),
        ([0, -1, 1], DataError, "y is -1 at row 1"),
        ([0, 1.5, 1], DataError, r"y is 1\.5 at row 1"),
        (np.eye(3), ShapeError, r"y has shape \(3, 3\); .* for one-hot, pass y\.argmax\(axis=-1\)"),
    ],
)
def test_labels_that_are_not_of_the_models_classes_are_refused_by_hinge(targets, error, message):
    with pytest.raises(error, match=message):
        Hinge()(np.zeros((3, 3)), targets)


def test_hinge_takes_scores_of_positions():
    model = Sequential([Dense(6), Reshape((2, 3)), Hinge()], input_shape=4, seed=0)
    x = rng().normal(size=(60, 4))
    y = (x @ rng(1).normal(size=(4, 6))).reshape(60, 2, 3).argmax(axis=-1)  # which a linear model can separate
    assert model.predict(x).shape == y.shape
    history = Trainer(model, Adam(0.05), seed=0).fit(x, y, epochs=100, progress=False)
    assert history["loss"][-1] < history["loss"][0] / 10
    assert history["accuracy"][-1] > 0.95
    assert Trainer(model, SGD()).evaluate(x, y)["accuracy"] == np.mean(model.predict(x) == y)


def test_a_class_is_told_for_each_row_or_position_and_not_for_several_labels():
    for loss, targets, output_shape, classes in [
        (SoftmaxCrossEntropy(), [[0, 1], [2, 0]], (2, 3), [[0, 1], [2, 0]]),
        (SigmoidCrossEntropy(), [0, 1, 1], (1,), [0, 1, 1]),
        (SoftmaxCrossEntropy(), [[[0, 1, 0], [0, 0, 1]]], (2, 3), [[1, 2]]),
        (Hinge(), [-1, 1], (1,), [0, 1]),
    ]:
        found = loss.labels(loss.prepare_targets(targets, output_shape))
        assert found.dtype.kind == "i"
        np.testing.assert_array_equal(found, classes)
    with pytest.raises(
        ArgumentError, match="^class_weight is for one class per row; for several labels give sample_weight$"
    ):
        SigmoidCrossEntropy().labels(np.zeros((3, 2)))


@pytest.mark.parametrize("loss", [SigmoidCrossEntropy(), Hinge()])
def test_one_score_for_each_position_gives_one_label_for_each_position(loss):
    model = Sequential([Dense(1), loss], seed=0)
    x = rng().normal(size=(40, 5, 3))
    y = (x.sum(axis=-1) > 0).astype(int)
    history = Trainer(model, Adam(0.05), seed=0).fit(
        x, y[..., None], epochs=30, class_weight={0: 1, 1: 2}, progress=False
    )
    assert model.predict(x).shape == y.shape
    assert history["accuracy"][-1] > 0.9
    assert np.mean(model.predict(x) == y) > 0.9


def test_flatten_is_the_cure_only_where_there_are_positions():
    with pytest.raises(ShapeError, match=r"give labels \(N,\) or one-hot rows \(N, 3\)$"):
        SoftmaxCrossEntropy().prepare_targets(np.zeros((4, 2)), (3,))
