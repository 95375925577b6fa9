import copy
import functools
import inspect
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scored import CUTS, WEIGHTS, sums_of, value_of

from minidl.errors import ArgumentError, ArgumentTypeError, NotReadyError, ShapeError
from minidl.losses.base import Loss
from minidl.losses.classification import Hinge, SigmoidCrossEntropy, SoftmaxCrossEntropy
from minidl.losses.regression import MeanSquaredError, Poisson
from minidl.metrics import FunctionMetric, Metric, ScoredRows
from minidl.serialization import decode, encode


class Values(Loss):
    """Predicts its scores."""


class Misses(Metric):
    def per_row(self, rows):
        return rows.predictions != rows.truth


class HTTPErrorOf2Models(Metric):
    pass


class GeometricMean(Metric):
    """Two sums per row, of which only the first is needed."""

    def per_row(self, rows):
        return np.column_stack([np.log(rows.predictions), rows.truth])

    def value(self, sums, weight):
        return float(np.exp(sums[0] / weight))


PAIRS = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5), WEIGHTS), min_size=1, max_size=40)


def columns(pairs):
    predictions, truth, weights = (np.array(column, float) for column in zip(*pairs, strict=True))
    return predictions[:, np.newaxis], truth[:, np.newaxis], weights


@given(PAIRS, CUTS, st.booleans())
def test_a_metric_is_the_mean_of_what_it_gives_for_each_row(pairs, cuts, is_weighted):
    predictions, truth, weights = columns(pairs)
    weights = weights if is_weighted else None
    value = value_of(Misses(), Values(), predictions, truth, weights, cuts)
    assert type(value) is float
    assert value == pytest.approx(np.average((predictions != truth)[:, 0], weights=weights))


@given(PAIRS, CUTS, st.booleans())
def test_a_metric_can_be_another_function_of_several_sums(pairs, cuts, is_weighted):
    predictions, truth, weights = columns(pairs)
    weights = weights if is_weighted else None
    value = value_of(GeometricMean(), Values(), predictions, truth, weights, cuts)
    assert value == pytest.approx(np.exp(np.average(np.log(predictions[:, 0]), weights=weights)))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("weights", [None, np.array([2.0, 0, 0.5])])
@pytest.mark.parametrize("as_table", [False, True])
def test_sums_are_plain_numbers_in_float64_whatever_the_type_of_the_values(dtype, weights, as_table):
    values = np.array([1, 1, 0], dtype)

    class Given(Metric):
        def per_row(self, rows):
            return np.column_stack([values, values]) if as_table else values

    sums = Given().sums(ScoredRows(Values(), np.zeros((3, 1)), np.zeros((3, 1))), weights)
    assert sums == [2.0] * (1 + as_table)
    assert type(sums) is list
    assert type(sums[0]) is float


def test_many_small_values_of_float32_are_added_in_float64():
    values = np.full(2**20, np.float32(0.1))
    scores = values[:, np.newaxis]
    sums = FunctionMetric(first_argument).sums(ScoredRows(Values(), scores, scores), None)
    assert sums == [pytest.approx(2**20 * float(np.float32(0.1)), rel=1e-14)]


@pytest.mark.parametrize(
    ("kind", "name"),
    [(Misses, "misses"), (GeometricMean, "geometric_mean"), (HTTPErrorOf2Models, "http_error_of2_models")],
)
def test_the_name_is_that_of_the_class_in_small_letters(kind, name):
    assert kind().name == name


def test_a_metric_without_per_row_says_what_to_write():
    with pytest.raises(NotImplementedError, match=r"^HTTPErrorOf2Models must define per_row\(rows\)$"):
        sums_of(HTTPErrorOf2Models(), Values(), np.zeros((2, 1)), np.zeros((2, 1)))


def test_a_metric_with_several_sums_must_say_what_its_value_is():
    class Several(Misses):
        def per_row(self, rows):
            return np.zeros((len(rows.scores), 2))

    sums = sums_of(Several(), Values(), np.zeros((2, 1)), np.zeros((2, 1)))
    with pytest.raises(NotImplementedError, match=r"^Several has 2 sums: define value\(sums, weight\)$"):
        Several().value(sums, 2.0)


@pytest.mark.parametrize("shape", [(), (1,), (4,), (3, 3, 1), (1, 3)])
def test_a_metric_must_give_something_for_each_row(shape):
    class Wrong(Metric):
        def per_row(self, rows):
            return np.zeros(shape)

    with pytest.raises(ShapeError, match="^wrong must give a number for each of 3 rows, not "):
        sums_of(Wrong(), Values(), np.zeros((3, 1)), np.zeros((3, 1)))


# What rows know


@pytest.mark.parametrize(
    ("loss", "scores", "targets", "predictions", "truth"),
    [
        (SoftmaxCrossEntropy(), [[1, 2, 3], [3, 2, 1]], [2, 1], [2, 0], [2, 1]),
        (SoftmaxCrossEntropy(), [[1, 2, 3], [3, 2, 1]], [[0.1, 0.2, 0.7], [0, 1, 0]], [2, 0], [2, 1]),
        (SigmoidCrossEntropy(), [[1], [-1]], [1, 1], [1, 0], [1, 1]),
        (SigmoidCrossEntropy(), [[1, -1], [-1, 2]], [[1, 0], [1, 0.8]], [[1, 0], [0, 1]], [[1, 0], [1, 1]]),
        (Hinge(), [[1], [-1]], [-1, 1], [1, 0], [0, 1]),
        (Hinge(), [[1, 2, 3], [3, 2, 1]], [2, 1], [2, 0], [2, 1]),
        (MeanSquaredError(), [[1], [2]], [3, 4], [1, 2], [3, 4]),
        (MeanSquaredError(), [[1, 2], [3, 4]], [[5, 6], [7, 8]], [[1, 2], [3, 4]], [[5, 6], [7, 8]]),
        (Poisson(), [[0], [np.log(2)]], [3, 4], [1, 2], [3, 4]),
        (Values(), [[1], [2]], [[3], [4]], [1, 2], [3, 4]),
    ],
)
def test_rows_know_their_predictions_and_the_truth_in_the_same_form(loss, scores, targets, predictions, truth):
    scores = np.array(scores, float)
    rows = ScoredRows(loss, scores, loss.prepare_targets(targets, scores.shape[1:], np.float64))
    np.testing.assert_allclose(rows.predictions, predictions, rtol=1e-15)
    np.testing.assert_array_equal(rows.truth, truth)


def test_rows_know_their_probabilities_where_the_loss_gives_some():
    rows = ScoredRows(SigmoidCrossEntropy(), np.array([[0.0], [np.log(3)]]), np.zeros((2, 1)))
    np.testing.assert_allclose(rows.probabilities, [[0.5], [0.75]])
    rows = ScoredRows(MeanSquaredError(), np.zeros((2, 1)), np.zeros((2, 1)))
    with pytest.raises(ArgumentError, match="MeanSquaredError gives no probabilities"):
        _ = rows.probabilities


def test_a_loss_whose_truth_would_be_broadcast_is_refused():
    class Classes(Loss):
        def decide(self, scores):
            return scores.argmax(axis=1)

    with pytest.raises(ShapeError, match=r"^Classes: truth gives \(3, 3\), decide \(3,\)"):
        ScoredRows(Classes(), np.eye(3), np.eye(3))


# Plain functions


def first_argument(predictions, targets):
    return predictions


def scores_of(scores, targets):
    return scores[:, 1]


def is_right(predictions, targets):
    return predictions == targets


class FarOff:
    """A callable object with a setting."""

    def __init__(self, limit):
        self.limit = limit

    def __call__(self, predictions, targets):
        return abs(predictions - targets) > self.limit


def named(name: str, function: Any) -> Any:
    function.__name__ = name
    return function


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), WEIGHTS), min_size=1, max_size=40), CUTS, st.booleans())
def test_a_function_of_predictions_gives_the_mean_over_all_rows(rows, cuts, is_weighted):
    predicted, truth, weights = (np.array(column) for column in zip(*rows, strict=True))
    weights = weights if is_weighted else None
    metric = FunctionMetric(is_right)
    value = value_of(metric, SoftmaxCrossEntropy(), np.eye(3)[predicted], truth, weights, cuts)
    assert value == pytest.approx(np.average(predicted == truth, weights=weights))
    assert metric.name == "is_right"


def test_a_function_whose_first_parameter_is_called_scores_gets_the_scores():
    scores, targets = np.array([[1.0, 2.0], [3.0, 5.0]]), np.array([1, 0])
    assert value_of(FunctionMetric(scores_of), SoftmaxCrossEntropy(), scores, targets) == 3.5


def test_a_later_parameter_called_scores_changes_nothing():
    metric = FunctionMetric(named("f", lambda predictions, scores: predictions + 10 * scores))
    assert value_of(metric, SoftmaxCrossEntropy(), np.eye(3)[[1, 1]], np.array([2, 2])) == 21


def test_targets_have_the_form_of_the_predictions():
    def check(predictions, targets):
        assert targets.shape == predictions.shape == (2,)
        np.testing.assert_array_equal(targets, [1, 0])
        return targets

    scores = np.array([[1.0, 2.0], [3.0, 5.0]])
    assert value_of(FunctionMetric(check), SoftmaxCrossEntropy(), scores, np.array([[0.2, 0.8], [1, 0]])) == 0.5


def test_a_callable_object_is_called_by_its_class():
    metric = FunctionMetric(FarOff(2))
    assert metric.name == "FarOff"
    scores = np.array([[1.0], [2.0], [7.0]])
    assert value_of(metric, MeanSquaredError(), scores, np.zeros((3, 1))) == pytest.approx(1 / 3)


def test_a_function_of_numpy_serves_as_well():
    metric = FunctionMetric(np.equal)
    assert metric.name == "equal"
    assert value_of(metric, SoftmaxCrossEntropy(), np.eye(3), np.array([0, 1, 1])) == pytest.approx(2 / 3)


def test_a_function_that_does_not_tell_its_parameters_gets_the_predictions(monkeypatch):
    def tells_nothing(function):
        raise ValueError("no signature found")

    monkeypatch.setattr(inspect, "signature", tells_nothing)
    assert value_of(FunctionMetric(is_right), SoftmaxCrossEntropy(), np.eye(2), np.array([0, 0])) == 0.5


def test_the_parameters_of_a_function_are_looked_at_once(monkeypatch):
    metric = FunctionMetric(scores_of)
    monkeypatch.delattr(inspect, "signature")
    assert value_of(metric, SoftmaxCrossEntropy(), np.eye(2), np.array([0, 0])) == 0.5


def test_a_list_of_numbers_serves_as_well():
    metric = FunctionMetric(named("listed", lambda predictions, targets: predictions.tolist()))
    assert value_of(metric, SoftmaxCrossEntropy(), np.eye(3), np.array([0, 0, 0])) == 1


@pytest.mark.parametrize("result", [0.53, np.float32(2), None, np.array(7)])
def test_a_function_that_returns_one_number_for_all_rows_is_told_to_return_one_for_each(result):
    metric = FunctionMetric(named("score", lambda predictions, targets: result))
    with pytest.raises(ShapeError, match=r"^score must return a number for each row, not \(\), and not their mean$"):
        sums_of(metric, SoftmaxCrossEntropy(), np.eye(3), np.zeros(3, int))


@pytest.mark.parametrize("shape", [(1,), (4,), (3, 1), (3, 3), (1, 3)])
def test_a_function_that_returns_another_shape_is_refused(shape):
    metric = FunctionMetric(named("score", lambda predictions, targets: np.zeros(shape)))
    with pytest.raises(
        ShapeError, match="^score must (return a number for each row|give a number for each of 3 rows), not "
    ):
        sums_of(metric, SoftmaxCrossEntropy(), np.eye(3), np.zeros(3, int))


def test_one_score_per_row_that_a_function_broadcasts_to_a_square_is_refused():
    def distance(scores, targets):
        return abs(scores - targets)  # (N, 1) and (N,)

    for rows in (1, 3):  # of one row, too, by which a trainer tries the metric
        with pytest.raises(ShapeError, match=f"not .{rows}, {rows}"):
            sums_of(FunctionMetric(distance), MeanSquaredError(), np.zeros((rows, 1)), np.zeros((rows, 1)))


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda predictions, targets: predictions, ArgumentError, "is a lambda, without a name .* write it with def$"),
        (functools.partial(is_right, targets=0), ArgumentError, "is a partial, without a name"),
        (5, ArgumentTypeError, "is 5; give a name"),
        (FarOff, ArgumentTypeError, "is <class .*; give a name, a Metric"),
    ],
)
def test_what_is_no_function_with_a_name_is_refused(function, error, message):
    with pytest.raises(error, match=f"^FunctionMetric: function {message}"):
        FunctionMetric(function)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda metric: pickle.loads(pickle.dumps(metric))])
def test_a_metric_can_be_copied_and_sent_to_another_process(copied):
    metric = copied(FunctionMetric(scores_of))
    assert metric.name == "scores_of"
    assert value_of(metric, SoftmaxCrossEntropy(), np.array([[1.0, 2.0], [3.0, 5.0]]), np.array([1, 0])) == 3.5


def test_a_file_holds_the_name_of_a_function_which_must_be_set_again():
    metric = decode(encode(FunctionMetric(named("far_off", lambda predictions, targets: predictions))))
    assert (metric.name, metric.function) == ("far_off", "far_off")
    with pytest.raises(NotReadyError, match="the file holds only the name of the metric far_off: set metrics again"):
        sums_of(metric, SoftmaxCrossEntropy(), np.eye(3), np.zeros(3, int))
