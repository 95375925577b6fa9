"""Gradients and totals of rows: sums, which blocks and parts add to, and of which means are read at the end."""

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest

from minidl import (
    L2,
    BatchNorm,
    Dense,
    Layer,
    Loss,
    MeanSquaredError,
    ReLU,
    Sequential,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    Tanh,
)
from minidl.metrics import Metric, as_metrics
from minidl.training.gradients import Tally, compute_gradients, score_rows
from minidl.training.rows import prepare_rows, split_rows


class Spread(Metric):
    """The variance of the truth: of three sums."""

    def per_row(self, rows):
        return np.column_stack([rows.truth, rows.truth.astype(float) ** 2, np.ones(len(rows.truth))])

    def value(self, sums, weight):
        assert sums[2] == pytest.approx(weight)
        return float(sums[1] / weight - (sums[0] / weight) ** 2)


def squared(predictions, targets):
    return (predictions - targets) ** 2


METRICS = (Spread(), squared, "accuracy")


def problem(rows=23, weighted=False, dtype="float64"):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(rows, 5)), rng.integers(0, 3, rows)
    layers = [Dense(7), Tanh(), Dense(3), SoftmaxCrossEntropy()]
    model = Sequential(layers, seed=0, dtype=dtype)
    data = prepare_rows(model, x, y, rng.random(rows) if weighted else None)
    return model, data, Tally(model, as_metrics(METRICS, model.loss), data)


def numeric_gradient(model, data, step=1e-6):
    """That of the mean loss, by differences of forward passes; and the mean loss."""

    def objective():
        scores = model.forward(data.x)
        losses = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(scores)), data.targets]
        return np.average(losses, weights=data.weights)

    gradient = np.empty(len(model.parameters))
    for place, value in enumerate(model.parameters.copy()):
        model.parameters[place] = value + step
        above = objective()
        model.parameters[place] = value - step
        gradient[place] = (above - objective()) / (2 * step)
        model.parameters[place] = value
    return gradient, objective()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rows_at_once", [1, 4, 23])
def test_the_gradient_is_that_of_the_mean_loss(weighted, rows_at_once):
    model, data, tally = problem(weighted=weighted)
    model.rows_at_once = rows_at_once
    expected, loss = numeric_gradient(model, data)
    model.gradients = np.nan  # nothing of an older gradient may remain
    totals = compute_gradients(model, [data], tally, data.weight)
    # Central differences of step 1e-6 are off by about 1e-10 through rounding, and less through curvature.
    np.testing.assert_allclose(model.gradients, expected, atol=1e-8)
    assert totals[0] == pytest.approx(data.weight)
    assert totals[1] / totals[0] == pytest.approx(loss, rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rows_at_once", [1, 2, 7, 22])
def test_many_blocks_give_the_sums_and_gradients_of_the_whole(weighted, rows_at_once):
    model, data, tally = problem(weighted=weighted)
    model.rows_at_once = 23
    whole, gradients = compute_gradients(model, [data], tally, 5.0), model.gradients.copy()
    scored = score_rows(model, data, tally)
    model.rows_at_once = rows_at_once
    # Sums of 23 numbers in another order differ by rounding: some 1e-15 of them.
    np.testing.assert_allclose(compute_gradients(model, [data], tally, 5.0), whole, rtol=1e-13)
    np.testing.assert_allclose(model.gradients, gradients, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(score_rows(model, data, tally), scored, rtol=1e-13)


def test_the_shares_of_parts_in_a_mean_add_up_to_that_of_the_whole():
    model, data, tally = problem(weighted=True)
    whole, gradients = compute_gradients(model, [data], tally, data.weight), model.gradients.copy()
    totals, summed = tally.zeros(), np.zeros_like(gradients)
    for part in split_rows(0, len(data), 6):
        totals += compute_gradients(model, [data[part]], tally, data.weight)
        summed += model.gradients
    np.testing.assert_allclose(totals, whole, rtol=1e-13)
    np.testing.assert_allclose(summed, gradients, rtol=1e-11, atol=1e-14)


def test_in_training_and_in_inference_the_totals_are_the_same_where_the_model_is():
    model, data, tally = problem(weighted=True)
    np.testing.assert_allclose(score_rows(model, data, tally), compute_gradients(model, [data], tally, 1.0), rtol=1e-13)


def test_the_score_of_rows_has_the_penalty_once_for_each_unit_of_weight():
    model, data, tally = problem(weighted=True)
    plain = score_rows(model, data, tally)
    model.layers[0].regularizer = L2(0.5)
    penalty = 0.5 * float((model.layers[0].weight.value ** 2).sum())
    expected = plain + np.array([0, penalty * data.weight, *[0] * (len(plain) - 2)])
    np.testing.assert_allclose(score_rows(model, data, tally), expected, rtol=1e-13)


class Seen(Layer):
    """Notes how many rows it gets."""

    def forward(self, x, training=False):
        self.counts = [*getattr(self, "counts", []), len(x)]
        return x

    def backward(self, dy):
        return dy


@pytest.mark.parametrize("block", [lambda inner: inner, lambda inner: Sequential([Sequential([inner])])])
def test_a_model_with_a_layer_that_mixes_rows_gets_the_batch_whole_in_training_alone(block):
    rng, seen = np.random.default_rng(0), Seen()
    x, y = rng.normal(2, 3, (9, 4)), rng.normal(size=9)
    norm = BatchNorm()
    model = Sequential([seen, block(norm), Dense(1), MeanSquaredError()], seed=0, dtype="float64")
    data = prepare_rows(model, x, y)
    model.rows_at_once = 2
    tally = Tally(model, [], data)
    compute_gradients(model, [data], tally, 9.0)
    assert seen.counts == [9]
    np.testing.assert_allclose(norm.running_mean.value, 0.1 * x.mean(axis=0), rtol=1e-12)
    for threads in (None, 1, 2):  # which change who computes a block, and not what is in it
        seen.counts.clear()
        score_rows(model, data, tally, threads)
        assert sorted(seen.counts) == [1, 4, 4]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_totals_are_in_float64_whatever_the_model_is(dtype):
    model, data, tally = problem(dtype=dtype)
    totals = compute_gradients(model, [data], tally, data.weight)
    assert totals.dtype == np.float64
    assert totals.shape == tally.zeros().shape == (2 + 3 + 1 + 1,)
    assert model.gradients.dtype == dtype


class TestMeans:
    @pytest.mark.parametrize("weighted", [True, False])
    def test_the_totals_of_parts_add_up_to_the_weighted_means_of_the_whole(self, weighted):
        model, data, tally = problem(weighted=weighted)
        parts = slice(0, 4), slice(4, 9), slice(9, 23)
        totals = sum(score_rows(model, data[part], tally) for part in parts)
        alone = {"add_up": lambda totals: totals, "agreeing": contextlib.nullcontext, "threads": 1}
        processes = [SimpleNamespace(rows=lambda _, part=part: part, **alone) for part in parts]
        of_processes = sum(score_rows(model, data, tally, None, each) for each in processes)
        np.testing.assert_array_equal(of_processes, totals)
        scores, weights = model.forward(data.x), data.weights
        chosen, y = scores.argmax(axis=1), data.targets
        losses = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(23), y]
        mean = np.average(y, weights=weights)
        assert tally.means(totals) == pytest.approx(
            {
                "loss": np.average(losses, weights=weights),
                "spread": np.average((y - mean) ** 2, weights=weights),
                "squared": np.average((chosen - y) ** 2, weights=weights),
                "accuracy": np.average(chosen == y, weights=weights),
            },
            rel=1e-12,
        )
        assert tuple(tally.means(totals)) == tally.names == ("loss", "spread", "squared", "accuracy")

    def test_a_loss_without_a_metric_has_its_own_mean_alone(self):
        class Plain(Loss):
            def per_sample(self, scores, targets):
                return np.abs(scores - targets).sum(axis=1), np.sign(scores - targets)

        model = Sequential([Dense(1), Plain()], seed=0, dtype="float64")
        x, y = np.arange(4.0)[:, np.newaxis], np.zeros(4)
        data = prepare_rows(model, x, y)
        tally = Tally(model, as_metrics(None, model.loss), data)
        assert tally.means(score_rows(model, data, tally)) == {"loss": pytest.approx(np.abs(model.forward(x)).mean())}
        assert tally.means(np.array([10.0, 5.0])) == {"loss": 0.5}

    def test_before_any_row_that_counts_a_mean_is_no_number(self):
        tally = problem()[2]
        means = tally.means(tally.zeros())
        assert list(means) == ["loss", "spread", "squared", "accuracy"]
        assert np.isnan(list(means.values())).all()

    def test_rows_that_weigh_nothing_add_nothing(self):
        model, data, tally = problem(weighted=True)
        data.weights[5:] = 0
        np.testing.assert_allclose(score_rows(model, data, tally), score_rows(model, data[:5], tally), rtol=1e-13)
        compute_gradients(model, [data], tally, 1.0)
        expected = model.gradients.copy()
        compute_gradients(model, [data[:5]], tally, 1.0)
        np.testing.assert_allclose(model.gradients, expected, rtol=1e-11, atol=1e-14)


class TestPositions:
    """Scores (N, time, classes): each position is a row of its own, and a mask of weights says which count."""

    def problem(self, mask):
        rng = np.random.default_rng(1)
        x, y = rng.normal(size=(6, 4, 3)), rng.integers(0, 5, (6, 4))
        model = Sequential([Dense(8), ReLU(), Dense(5), SoftmaxCrossEntropy()], seed=0, dtype="float64")
        data = prepare_rows(model, x, y, mask)
        return model, data, Tally(model, as_metrics(["accuracy"], model.loss), data)

    def test_masked_positions_count_nothing_and_others_as_rows_alone(self):
        mask = np.random.default_rng(2).integers(0, 2, (6, 4))
        model, data, tally = self.problem(mask)
        totals = compute_gradients(model, [data], tally, data.weight)
        layers = [Dense(8), ReLU(), Dense(5), SoftmaxCrossEntropy()]
        flat_model = Sequential(layers, input_shape=3, dtype="float64")
        flat_model.parameters = model.parameters
        flat = prepare_rows(flat_model, data.x[mask == 1], data.targets[mask == 1])
        flat_tally = Tally(flat_model, as_metrics(["accuracy"], flat_model.loss), flat)
        flat_totals = compute_gradients(flat_model, [flat], flat_tally, flat.weight)
        assert len(flat) == mask.sum() < mask.size
        np.testing.assert_allclose(totals, flat_totals, rtol=1e-13)
        np.testing.assert_allclose(model.gradients, flat_model.gradients, rtol=1e-11, atol=1e-14)
        assert tally.means(totals) == pytest.approx(flat_tally.means(flat_totals), rel=1e-13)

    @pytest.mark.parametrize("rows_at_once", [1, 4])
    def test_blocks_of_rows_of_positions_add_up(self, rows_at_once):
        mask = np.random.default_rng(2).random((6, 4))
        model, data, tally = self.problem(mask)
        model.rows_at_once = 6
        whole, gradients = compute_gradients(model, [data], tally, data.weight), model.gradients.copy()
        model.rows_at_once = rows_at_once
        np.testing.assert_allclose(compute_gradients(model, [data], tally, data.weight), whole, rtol=1e-13)
        np.testing.assert_allclose(model.gradients, gradients, rtol=1e-11, atol=1e-14)

    def test_several_labels_of_a_row_are_no_positions(self):
        model = Sequential([Dense(4), SigmoidCrossEntropy()], seed=0)
        data = prepare_rows(model, np.zeros((3, 2)), np.eye(4)[:3], [1, 2, 3])
        assert (data.positions, data.weight) == (1, 6)
