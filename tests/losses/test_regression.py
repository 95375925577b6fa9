import math

import numpy as np
import pytest
from scipy import special, stats

from minidl import (
    SGD,
    Constant,
    Dense,
    Huber,
    MeanAbsoluteError,
    MeanSquaredError,
    Poisson,
    RegressionLoss,
    Sequential,
    Trainer,
)
from minidl.errors import ArgumentError, ArgumentTypeError, DataError, DivergenceError, ShapeError
from minidl.metrics import ScoredRows, as_metrics


def reported(loss, scores, targets):
    """Name and value of the metric that a loss has by default."""
    (metric,) = as_metrics(None, loss)
    rows = ScoredRows(loss, scores, loss.prepare_targets(targets, scores.shape[1:], scores.dtype))
    return metric.name, metric.value(np.array(metric.sums(rows, None)), len(scores))


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
    assert reported(loss, scores, [[2.0, 2.0], [3.0, 1.0]]) == ("mean_absolute_error", 1.0)
    with pytest.raises(ArgumentError, match=r"MeanSquaredError gives no probabilities: use predict\(x\)"):
        loss.activate(scores)


def test_squared_error_refuses_targets_of_fewer_axes():
    with pytest.raises(ShapeError, match=r"but the model's output has shape \(N, 2, 4\): make them equal"):
        MeanSquaredError()(np.zeros((3, 2, 4)), np.zeros((3, 2)))


@pytest.mark.parametrize("shape", [(3,), (3, 3), (3, 2, 1), (3, 3, 2)])
def test_squared_error_refuses_targets_of_another_shape(shape):
    with pytest.raises(ShapeError, match=r"y has shape \(3,.*\), but the model's output has shape \(N, 2\)"):
        MeanSquaredError()(np.zeros((3, 2)), np.zeros(shape))


# Absolute error


def test_absolute_error_by_hand():
    value, gradient = MeanAbsoluteError()([[1.0, 2.0], [3.0, 4.0]], [[1.0, 0.0], [6.0, 4.5]])
    assert value == (0 + 2 + 3 + 0.5) / 4
    np.testing.assert_array_equal(gradient, [[0, 0.25], [-0.25, -0.25]])


def test_absolute_error_reports_the_squared_error():
    loss, scores = MeanAbsoluteError(), np.array([[1.0, 2.0], [3.0, 4.0]])
    assert reported(loss, scores, [[2.0, 2.0], [3.0, 1.0]]) == ("mean_squared_error", 2.5)


@pytest.mark.parametrize(("loss", "centre"), [(MeanAbsoluteError(), np.median), (MeanSquaredError(), np.mean)])
def test_a_constant_that_fits_best_is_the_median_or_the_mean(loss, centre):
    targets = np.random.default_rng(0).exponential(size=101)
    best = centre(targets)
    least, _ = loss(np.full(101, best), targets)
    for other in (best - 1e-3, best + 1e-3):
        assert loss(np.full(101, other), targets)[0] > least


# Huber


@pytest.mark.parametrize("delta", [0.5, 1, 3])
def test_huber_is_scipys_function_of_the_error(delta):
    scores, targets = np.random.default_rng(0).normal(scale=3, size=(2, 50, 1))
    losses, gradient = Huber(delta=delta).per_sample(scores, targets)
    np.testing.assert_allclose(losses, special.huber(delta, scores - targets)[:, 0], rtol=1e-14)
    assert 0 < np.count_nonzero(np.abs(gradient) == delta) < 50


def test_huber_by_hand_inside_at_and_beyond_delta():
    losses, gradient = Huber(delta=2).per_sample(np.array([[1.0, -2.0], [5.0, -3.0]]), np.zeros((2, 2)))
    np.testing.assert_array_equal(losses, [(0.5 + 2) / 2, (2 * 4 + 2 * 2) / 2])
    np.testing.assert_array_equal(gradient, [[0.5, -1], [1, -1]])
    assert reported(Huber(), np.array([[1.0], [-2.0]]), [0, 0]) == ("mean_absolute_error", 1.5)
    assert repr(Huber(delta=2)) == "Huber(delta=2.0)"


@pytest.mark.parametrize("delta", [0, -1, math.nan, math.inf])
def test_the_delta_of_huber_is_above_0(delta):
    with pytest.raises(ArgumentError, match="Huber: delta is .*; it must be a finite number, above 0"):
        Huber(delta=delta)


@pytest.mark.parametrize("delta", ["1", True, None])
def test_the_delta_of_huber_is_a_number(delta):
    with pytest.raises(ArgumentTypeError, match="Huber: delta is .*; it must be a number"):
        Huber(delta=delta)


def test_a_single_target_far_off_moves_huber_less_than_the_squared_error():
    x, y = np.ones((20, 1)), np.r_[np.zeros(19), 1000.0]
    predictions = {}
    for loss in (Huber(), MeanSquaredError()):
        model = Sequential([Dense(1), loss], seed=0)
        Trainer(model, SGD(0.1), batch_size=None, seed=0).fit(x, y, epochs=200, progress=False)
        predictions[type(loss)] = model.predict(x[:1])[0]
    # 19 errors of e against one pull of delta: e = 1 / 19. The mean is 50.
    assert predictions[Huber] == pytest.approx(1 / 19, rel=1e-4)
    assert predictions[MeanSquaredError] == pytest.approx(50, rel=1e-4)


# Poisson


def test_poisson_loss_is_the_negative_log_likelihood_less_the_part_of_the_counts_alone():
    scores, counts = np.random.default_rng(0).normal(size=(9, 1)), np.arange(9)[:, np.newaxis]
    losses, _ = Poisson().per_sample(scores, counts.astype(np.float64))
    likelihood = stats.poisson.logpmf(counts, np.exp(scores)) + special.gammaln(counts + 1)
    np.testing.assert_allclose(losses, -likelihood[:, 0], rtol=1e-13)


def test_poisson_by_hand_predicts_rates_and_reports_their_absolute_error():
    loss, scores = Poisson(), np.log([[1.0, 2.0], [4.0, 0.5]])
    value, gradient = loss(scores, [[1, 4], [0, 0]])
    assert value == pytest.approx((1 + 2 - 4 * math.log(2) + 4 + 0.5) / 4, rel=1e-15)
    np.testing.assert_allclose(gradient, [[0, -0.5], [1, 0.125]], atol=1e-16)
    np.testing.assert_allclose(loss.decide(scores), [[1, 2], [4, 0.5]])
    np.testing.assert_allclose(loss.decide(scores[:, :1]), [1, 4])
    name, value = reported(loss, scores, [[1.0, 4.0], [0.0, 0.0]])
    assert name == "mean_absolute_error"
    assert value == pytest.approx((1 + 2.25) / 2, rel=1e-14)
    with pytest.raises(ArgumentError, match=r"Poisson gives no probabilities: use predict\(x\)"):
        loss.activate(scores)


def test_a_model_with_poisson_loss_finds_the_rates_of_counts():
    counts = np.random.default_rng(0).poisson([2.0, 9.0], size=(50, 2))
    model = Sequential([Dense(2), Poisson()], seed=0)
    Trainer(model, SGD(0.1), batch_size=None, seed=0).fit(np.ones((50, 1)), counts, epochs=300, progress=False)
    np.testing.assert_allclose(model.predict([[1.0]])[0], counts.mean(axis=0), rtol=1e-4)


@pytest.mark.parametrize(
    ("targets", "error", "message"),
    [
        ([0, -1, 2], DataError, "y is -1.* at row 1; counts are 0 or more"),
        ([0, 1, math.nan], DataError, "y holds NaN at row 2"),
        ([[1, 2], [1, 2], [0, 0]], ShapeError, r"y has shape \(3, 2\), but the model's output has shape \(N, 1\)"),
    ],
)
def test_targets_that_are_no_counts_are_refused(targets, error, message):
    with pytest.raises(error, match=message):
        Poisson()(np.zeros((3, 1)), targets)


def test_a_rate_too_large_for_the_type_ends_the_training_before_a_step():
    model = Sequential([Dense(1, initializer=Constant(100)), Poisson()], input_shape=1, seed=0)
    before = model.parameters.copy()
    with pytest.raises(DivergenceError, match="loss is inf"):
        Trainer(model, SGD(0.1), seed=0).fit([[1.0]], [1], epochs=1, progress=False)
    np.testing.assert_array_equal(model.parameters, before)


# What they share


@pytest.mark.parametrize("loss", [MeanAbsoluteError(), Huber(), Poisson()])
def test_losses_of_numbers_share_their_checks(loss):
    assert isinstance(loss, RegressionLoss)
    with pytest.raises(ShapeError, match=r"y has shape \(3, 3\), but the model's output has shape \(N, 2\)"):
        loss(np.zeros((3, 2)), np.zeros((3, 3)))
    with pytest.raises(ArgumentError, match=rf"{type(loss).__name__} gives no probabilities: use predict\(x\)"):
        loss.activate(np.zeros((3, 2)))
