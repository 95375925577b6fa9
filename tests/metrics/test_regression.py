from fractions import Fraction

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import assume, given
from hypothesis import strategies as st
from scored import CUTS, WEIGHTS, sums_of, value_of

from minidl.losses.classification import SoftmaxCrossEntropy
from minidl.losses.regression import MeanSquaredError, Poisson
from minidl.metrics import MeanAbsoluteError, R2Score, RootMeanSquaredError
from minidl.metrics import MeanSquaredError as MeanSquaredErrorMetric

LOSS = MeanSquaredError()
ROUNDING = 1e-12  # of sums of up to 40 numbers


@st.composite
def compared(draw):
    """Targets and predictions (N, outputs), in sixteenths, and weights, or none."""
    outputs = draw(st.integers(1, 3))
    row = st.lists(st.integers(-800, 800), min_size=outputs, max_size=outputs)
    rows = draw(st.lists(st.tuples(row, row, WEIGHTS), min_size=1, max_size=40))
    targets, predictions, weights = (np.array(column) for column in zip(*rows, strict=True))
    return targets / 16, predictions / 16, draw(st.sampled_from([None, weights]))


@pytest.mark.parametrize(
    ("metric", "oracle"),
    [
        (MeanAbsoluteError(), sklearn.metrics.mean_absolute_error),
        (MeanSquaredErrorMetric(), sklearn.metrics.mean_squared_error),
        (RootMeanSquaredError(), sklearn.metrics.root_mean_squared_error),
    ],
)
@given(drawn=compared(), cuts=CUTS)
def test_errors_are_those_of_scikit_learn_over_all_rows(metric, oracle, drawn, cuts):
    targets, predictions, weights = drawn
    value = value_of(metric, LOSS, predictions, targets, weights, cuts)
    assert value == pytest.approx(oracle(targets, predictions, sample_weight=weights), rel=ROUNDING)
    assert metric.name == oracle.__name__
    assert type(value) is float


@given(compared(), CUTS)
def test_r2_is_that_of_scikit_learn_over_all_rows(drawn, cuts):
    targets, predictions, weights = drawn
    assume(len(targets) > 1)  # scikit-learn gives NaN for one row
    value = value_of(R2Score(), LOSS, predictions, targets, weights, cuts)
    expected = sklearn.metrics.r2_score(targets, predictions, sample_weight=weights)
    # As far as scikit-learn knows it: the rounded mean of equal targets may differ from them.
    if all(len(set(column)) > 1 for column in targets.T):
        assert value == pytest.approx(expected, rel=1e-9)
    assert R2Score().name == "r2_score"
    assert type(value) is float


def test_r2_by_hand():
    targets, predictions = np.array([[1.0], [2], [6]]), np.array([[1.0], [4], [2]])
    assert value_of(R2Score(), LOSS, predictions, targets) == pytest.approx(1 - 20 / 14)
    assert value_of(R2Score(), LOSS, targets, targets) == 1
    assert value_of(R2Score(), LOSS, np.full((3, 1), 3.0), targets) == 0


@pytest.mark.parametrize("target", [0.0, 0.1, 1 / 3, 2000.1, 1e9 / 7])
@pytest.mark.parametrize("weights", [None, np.random.default_rng(0).random(30)])
def test_targets_that_are_all_the_same_give_1_without_an_error_and_else_0(target, weights):
    targets = np.full((30, 2), target)
    targets[:, 1] = np.arange(30)  # whose own R2 is 1
    predictions = targets.copy()
    assert value_of(R2Score(), LOSS, predictions, targets, weights) == 1
    predictions[3, 0] += 1
    assert value_of(R2Score(), LOSS, predictions, targets, weights) == 0.5


def test_one_row_has_an_r2_as_targets_that_are_all_the_same():
    assert value_of(R2Score(), LOSS, np.array([[2.5]]), np.array([[2.5]])) == 1
    assert value_of(R2Score(), LOSS, np.array([[2.5]]), np.array([[2.0]])) == 0


def r2_in_fractions(targets, predictions, weights):
    targets, predictions, weights = ([Fraction(float(x)) for x in column] for column in (targets, predictions, weights))
    mean = sum(w * t for w, t in zip(weights, targets, strict=True)) / sum(weights)
    unexplained = sum(w * (t - p) ** 2 for w, t, p in zip(weights, targets, predictions, strict=True))
    return float(1 - unexplained / sum(w * (t - mean) ** 2 for w, t in zip(weights, targets, strict=True)))


# How far from 0 the targets are, whose spread is 1, and what R2 may lose without weights or with weights of few digits,
# and with weights of many. Rounding costs the variance the square of the distance times 2^-65, or 2^-53, a few times.
FAR = [(10, 1e-14, 1e-13), (2000, 1e-12, 1e-8), (1e5, 1e-9, 1e-5), (1e6, 1e-6, 1e-3)]


@pytest.mark.parametrize(("size", "rounding", "rounding_weighted"), FAR)
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weights", ["none", "of few digits", "of many digits"])
def test_r2_loses_few_digits_where_targets_are_far_from_0(size, rounding, rounding_weighted, sign, dtype, weights):
    rng = np.random.default_rng(0)
    targets = (sign * (size + rng.normal(size=1000))).astype(dtype)
    predictions = (targets + rng.normal(size=1000) / 2).astype(dtype)
    drawn = {"none": None, "of few digits": rng.choice([0.5, 1, 3], 1000), "of many digits": rng.random(1000)}[weights]
    value = value_of(R2Score(), LOSS, predictions[:, np.newaxis], targets[:, np.newaxis], drawn, range(40))
    exact = r2_in_fractions(targets, predictions, np.ones(1000) if drawn is None else drawn)
    assert value == pytest.approx(exact, abs=rounding_weighted if weights == "of many digits" else rounding)


def test_r2_of_many_rows_of_float32_is_exact_to_rounding():
    # As many as an epoch may have; 2^17 blocks of the same sums are theirs.
    rng = np.random.default_rng(0)
    targets = (2000 + rng.normal(size=64)).astype(np.float32)
    predictions = targets + rng.normal(size=64).astype(np.float32)
    sums = sums_of(R2Score(), LOSS, predictions[:, np.newaxis], targets[:, np.newaxis])
    totals = np.zeros(6)
    for _ in range(2**17):
        totals += sums
    exact = r2_in_fractions(targets, predictions, np.ones(64))
    assert R2Score().value(totals, 64.0 * 2**17) == pytest.approx(exact, abs=1e-12)


def test_predictions_that_are_no_numbers_give_no_number():
    targets, predictions = np.array([[1.0], [2], [6]]), np.array([[1.0], [np.nan], [2]])
    for metric in (MeanAbsoluteError(), MeanSquaredErrorMetric(), RootMeanSquaredError(), R2Score()):
        assert np.isnan(value_of(metric, LOSS, predictions, targets))


@pytest.mark.parametrize("metric", [MeanAbsoluteError(), MeanSquaredErrorMetric(), RootMeanSquaredError(), R2Score()])
def test_outputs_of_any_shape_count_each(metric):
    rng = np.random.default_rng(0)
    targets, predictions = rng.normal(size=(2, 10, 3, 2))
    value = value_of(metric, LOSS, predictions, targets, cuts=[4])
    assert value == pytest.approx(value_of(metric, LOSS, predictions.reshape(10, 6), targets.reshape(10, 6)), rel=1e-14)


def test_errors_are_those_of_the_predictions_not_of_the_scores():
    scores, targets = np.log([[1.0], [2.0], [4.0]]), np.array([[1.0], [3.0], [6.0]])
    assert value_of(MeanAbsoluteError(), Poisson(), scores, targets) == pytest.approx(1)
    assert value_of(RootMeanSquaredError(), Poisson(), scores, targets) == pytest.approx((5 / 3) ** 0.5)


def test_labels_in_an_order_have_errors_as_well():
    assert value_of(MeanAbsoluteError(), SoftmaxCrossEntropy(), np.eye(4)[[0, 3, 1]], np.array([0, 1, 2])) == 1


def test_errors_of_float32_are_added_in_float64():
    targets = np.full((2**20, 1), np.float32(0.1))
    value = value_of(MeanAbsoluteError(), LOSS, np.zeros_like(targets), targets)
    assert value == pytest.approx(float(np.float32(0.1)), rel=1e-14)
