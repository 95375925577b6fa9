"""The search for a learning rate."""

import numpy as np
import pytest

from minidl import Adam, Dense, RateSearch, ReLU, Sequential, SoftmaxCrossEntropy, Trainer, find_learning_rate
from minidl.errors import ArgumentError, DataError, DivergenceError


def problem(rows=300):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, rows)
    return (rng.normal(size=(rows, 6)) + 2 * np.eye(6)[y]).astype(np.float32), y


def model():
    return Sequential([Dense(16), ReLU(), Dense(3), SoftmaxCrossEntropy()], input_shape=6, seed=0)


def test_the_suggested_rate_trains_better_than_far_lower_and_far_higher_ones():
    x, y = problem()
    found = find_learning_rate(model(), x, y, optimizer="sgd", low=1e-5, high=100)

    def loss(rate):
        net = model()
        trainer = Trainer(net, "sgd", batch_size=32, seed=0)
        trainer.optimizer.learning_rate = rate
        return trainer.fit(x, y, epochs=3, progress=False)["loss"][-1]

    assert loss(found.suggestion) < loss(found.suggestion / 100)
    assert loss(found.suggestion) < loss(found.suggestion * 100)


def test_the_rates_grow_by_a_constant_factor_and_the_search_ends_when_the_loss_does():
    x, y = problem()
    found = find_learning_rate(model(), x, y, optimizer="sgd", low=1e-4, high=1e4, steps=50)
    np.testing.assert_allclose(np.diff(np.log(found.rates)), np.log(1e8) / 49)
    assert len(found.rates) == len(found.losses) < 50
    assert found.losses[-1] > 4 * found.losses.min()


def test_a_search_that_stays_low_takes_all_its_steps():
    x, y = problem()
    found = find_learning_rate(model(), x, y, low=1e-6, high=1e-2, steps=40)
    assert len(found.losses) == 40
    assert found.rates[[0, -1]] == pytest.approx([1e-6, 1e-2])


def test_it_trains_as_the_run_will_with_weights_and_distortions():
    x, y = problem()
    seen = []

    def distort(inputs, generator):
        seen.append(len(inputs))
        return inputs + generator.normal(scale=0.1, size=inputs.shape).astype(np.float32)

    plain = find_learning_rate(model(), x, y, steps=20, high=1e-2)
    for options in ({"augment": distort}, {"class_weight": {0: 5.0}}, {"sample_weight": np.arange(300.0)}):
        found = find_learning_rate(model(), x, y, steps=20, high=1e-2, **options)
        assert len(found.losses) == 20
        assert (found.losses != plain.losses).any()
    assert seen


def test_batches_in_which_no_row_counts_are_left_out():
    x, y = problem()
    weights = np.zeros(300)
    weights[0] = 1  # so that one batch in ten counts
    found = find_learning_rate(model(), x, y, steps=40, high=1e-2, sample_weight=weights)
    assert len(found.rates) == len(found.losses) == 4
    assert np.isfinite(found.losses).all()


def test_a_search_in_which_no_row_counts_says_so():
    x, y = problem()
    weights = np.zeros(300)
    weights[np.random.default_rng((0, 0)).permutation(300)[-1]] = 1  # in the last batch of the first epoch
    with pytest.raises(DataError, match="0 for every row of the batches in the search"):
        find_learning_rate(model(), x, y, steps=10, batch_size=1, sample_weight=weights)


def test_the_repr_is_a_line():
    assert repr(RateSearch(np.array([0.1, 0.2, 0.4]), np.array([3, 1.5, 2]))) == (
        "RateSearch(3 rates from 0.1 to 0.4, lowest loss 1.5 at 0.2)"
    )


def test_nothing_given_is_changed():
    (x, y), net, optimizer = problem(), model(), Adam(0.5)
    before = net.parameters.copy()
    find_learning_rate(net, x, y, optimizer=optimizer)
    np.testing.assert_array_equal(net.parameters, before)
    assert (optimizer.step, optimizer.learning_rate, optimizer.state) == (0, 0.5, {})


def test_an_optimizer_that_has_taken_steps_begins_anew():
    (x, y), trainer = problem(), Trainer(model(), "adam", seed=0)
    fresh = find_learning_rate(model(), x, y, optimizer="adam")
    trainer.fit(x, y, epochs=3, progress=False)
    used = find_learning_rate(model(), x, y, optimizer=trainer.optimizer)
    np.testing.assert_array_equal(used.losses, fresh.losses)


def test_the_losses_are_smoothed_means_of_those_of_the_batches():
    x, y = problem()
    found = find_learning_rate(model(), x, y, low=1e-12, high=1e-11, steps=10, batch_size=None)
    # Nothing moves at such rates, so that all batches, each the whole of the data, have one loss.
    expected = Trainer(model(), "adam").evaluate(x, y)["loss"]
    np.testing.assert_allclose(found.losses, expected, rtol=1e-6)


def test_the_suggestion_is_where_the_loss_falls_fastest():
    rates = np.geomspace(1e-4, 1, 9)
    found = RateSearch(rates, np.array([3, 3, 2.9, 2.5, 1.5, 1.0, 0.9, 1.5, 4.0]))
    assert found.suggestion == rates[4]  # the largest difference of neighbours: 2.5 to 1.0


def test_a_loss_that_never_falls_gives_no_suggestion():
    found = RateSearch(np.geomspace(1, 10, 4), np.array([1.0, 2, 3, 4]))
    with pytest.raises(ArgumentError, match="the loss never falls: it is lowest at the rate 1.*lower rate"):
        _ = found.suggestion


def test_a_run_that_diverges_ends_the_search_and_one_that_never_begins_raises():
    (x, y), net = problem(), model()
    for high in (1e30, 1e300):  # growing step by step, or not finite from one step to the next
        found = find_learning_rate(net, x, y, optimizer="sgd", low=1e-3, high=high, steps=10)
        assert 1 < len(found.losses) < 10
    net.parameters[:] = np.nan
    with pytest.raises(DivergenceError):
        find_learning_rate(net, x, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 0}, "low is 0; it must be .*above 0"),
        ({"low": 1, "high": 1}, "low is 1 and high 1; low must be below high"),
        ({"optimizer": "lbfgs", "batch_size": None}, "LBFGS has no learning rate to search for"),
        ({"steps": 9}, "steps is 9; it must be a whole number, 10 or more"),
    ],
)
def test_a_range_that_is_none_is_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        find_learning_rate(model(), *problem(), **options)


def test_bad_data_are_refused_as_in_training():
    x, y = problem()
    with pytest.raises(DataError, match="x holds NaN"):
        find_learning_rate(model(), np.full_like(x, np.nan), y)
