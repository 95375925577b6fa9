"""The search: each run is that of a trainer alone, whatever pauses, processes or deaths lie between."""

import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from sklearn.datasets import load_iris, make_regression
from sklearn.model_selection import ParameterGrid, ParameterSampler, train_test_split
from threadpoolctl import threadpool_limits

from minidl import (
    LBFGS,
    SGD,
    Adam,
    CosineDecay,
    Dense,
    Dropout,
    ExponentialMovingAverage,
    Layer,
    MeanSquaredError,
    Momentum,
    ReLU,
    Schedule,
    Search,
    Sequential,
    SoftmaxCrossEntropy,
    Tanh,
    Trainer,
    search,
)
from minidl.data.augment import GaussianNoise
from minidl.errors import (
    ArgumentError,
    ArgumentTypeError,
    DataError,
    DivergenceError,
    FileFormatError,
    ShapeError,
)
from minidl.training.journal import Journal
from minidl.training.parameter_search import _Keeper, _Runner, plan_rungs

x, y = load_iris(return_X_y=True)
x = x.astype(np.float32)
NOISE = GaussianNoise(0.5, image_shape=(2, 2))  # of rows of four numbers
GRID = {"units": [4, 8], "rate": [0.01, 0.1, 0.001]}


def classifier(units, rate=0.01, seed=0):
    layers = [Dense(units), ReLU(), Dropout(0.2), Dense(3), SoftmaxCrossEntropy()]
    return Trainer(Sequential(layers, seed=seed), Adam(CosineDecay(rate, 80)), batch_size=16, seed=seed)


def network(units=8, seed=0):
    return Sequential([Dense(units), ReLU(), Dense(3), SoftmaxCrossEntropy()], seed=seed)


def regression(rate, units=4, seed=0):
    return Trainer(Sequential([Dense(units), Dense(1), MeanSquaredError()], seed=seed), Momentum(rate), seed=seed)


def look(build_model=classifier, space=GRID, x=x, y=y, **options):
    return search(build_model, space, x, y, **{"epochs": 2, "progress": False} | options)


brief = functools.partial(look, space={"units": [4, 8]}, epochs=1)


def by_hand(trainer, epochs, **options):
    """A trainer's run that nothing interrupts, without search."""
    x_train, x_val, y_train, y_val = train_test_split(x, y, test_size=30, random_state=0, stratify=y)
    with threadpool_limits(1, user_api="blas"):
        options = {"validation_data": (x_val, y_val)} | options
        trainer.fit(x_train, y_train, epochs=epochs, progress=False, **options)
    return trainer


def without_seconds(result):
    return result.table.drop(columns="seconds")


def assert_same(one, two):
    """Compare all but the time that it took, to the last bit."""
    pd.testing.assert_frame_equal(without_seconds(one), without_seconds(two), check_exact=True)
    assert [dict(history) for history in one.histories] == [dict(history) for history in two.histories]
    assert np.array_equal(one.best_model.parameters, two.best_model.parameters)
    assert one.best_trainer.place_in_run() == two.best_trainer.place_in_run()


# What the runs are


@pytest.mark.parametrize("jobs", [None, 2])
def test_each_run_of_a_grid_is_that_of_a_trainer_alone_on_the_rows_not_held_out(jobs):
    result = look(epochs=3, jobs=jobs)
    assert isinstance(result, Search)
    grid = [{"units": units, "rate": rate} for units in GRID["units"] for rate in GRID["rate"]]
    assert len(result.runs) == len(grid)
    for run in result.runs:
        grid.remove(run.parameters)
        assert dict(run.history) == dict(by_hand(classifier(**run.parameters), 3).history)
        assert (run.status, run.history.epochs) == ("finished", 3)
    figures = [run.history["val_loss"][-1] for run in result.runs]
    assert figures == sorted(figures)
    best = by_hand(classifier(**result.best_parameters), 3)
    assert np.array_equal(result.best_model.parameters, best.model.parameters)
    assert result.best_trainer.place_in_run() == best.place_in_run()


@pytest.mark.parametrize("jobs", [None, 2])
def test_with_halving_those_that_go_on_end_in_the_bits_of_a_run_that_never_stopped(jobs):
    result = look(epochs=9, halving=3, jobs=jobs, space={"units": [2, 4, 8], "rate": [0.1, 0.01, 0.001]})
    assert without_seconds(result)["epochs"].tolist() == [9] + 2 * [3] + 6 * [1]
    assert [run.status for run in result.runs] == ["finished"] + 8 * ["stopped"]
    for run in result.runs:
        assert dict(run.history) == dict(by_hand(classifier(**run.parameters), run.history.epochs).history)
    best = by_hand(classifier(**result.best_parameters), 9)
    assert np.array_equal(result.best_model.parameters, best.model.parameters)
    for name, vector in best.optimizer.state.items():
        assert np.array_equal(result.best_trainer.optimizer.state[name], vector)


def test_the_best_after_each_rung_are_those_that_go_on():
    result = look(epochs=4, halving=2, first_epochs=2)
    after_two = sorted(result.runs, key=lambda run: run.history["val_loss"][1])
    assert result.table["epochs"].tolist() == [4] * 3 + [2] * 3
    assert {run.number for run in after_two[:3]} == {run.number for run in result.runs[:3]}


@pytest.mark.parametrize(
    ("candidates", "epochs", "halving", "first_epochs", "expected"),
    [
        (27, 27, 3, 1, [1, 3, 9, 27]),
        (81, 27, 3, 1, [1, 3, 9, 27]),
        (26, 27, 3, 1, [3, 9, 27]),
        (9, 27, 3, 1, [3, 9, 27]),
        (27, 30, 3, 1, [1, 3, 10, 30]),
        (27, 27, 3, 2, [3, 9, 27]),
        (27, 27, 3, 9, [9, 27]),
        (2, 2, 2, 1, [1, 2]),
        (100, 20, 2, 1, [1, 2, 5, 10, 20]),
        (100, 8, 3, 1, [2, 8]),
        (100, 20, None, 1, [20]),
    ],
)
def test_rungs_are_counted_from_the_last_and_each_cut_leaves_a_candidate(
    candidates, epochs, halving, first_epochs, expected
):
    assert plan_rungs(candidates, epochs, halving, first_epochs) == expected


@pytest.mark.parametrize(
    ("space", "options", "message"),
    [
        (
            {"units": [4]},
            {"epochs": 9, "halving": 3},
            "of 1 candidate it cuts nothing: try 3 or more, or leave halving",
        ),
        ({"units": [4, 8]}, {"epochs": 9, "halving": 3}, "of 2 candidates it cuts nothing: try 3 or more"),
        (GRID, {"epochs": 1, "halving": 2}, "in 1 epoch it cuts nothing: with first_epochs=1 give 2 or more, or leave"),
        (GRID, {"epochs": 8, "halving": 3, "first_epochs": 3}, "in 8 epochs it cuts nothing: .*=3 give 9 or more"),
    ],
)
def test_a_halving_that_would_cut_nothing_is_refused_before_any_training(space, options, message, monkeypatch):
    monkeypatch.setattr(_Runner, "train", None)
    with pytest.raises(ArgumentError, match=f"halving is {options['halving']}, but {message}"):
        look(space=space, **options)


def test_how_long_to_train_is_asked_for():
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'epochs'"):
        search(classifier, {"units": [4]}, x, y)


def test_a_cut_leaves_the_share_that_halving_says_also_where_epochs_do_not_divide():
    epochs = look(epochs=8, halving=3, space={"units": [2, 3, 4, 5, 6, 7, 8]}).table["epochs"]
    assert epochs.tolist() == [8] * 2 + [2] * 5


def test_an_average_of_the_weights_goes_on_through_the_rungs():
    def build(units, seed):
        averaged = ExponentialMovingAverage(Adam(0.01), decay=0.9)
        return Trainer(network(units, seed), averaged, batch_size=16, seed=seed)

    result = look(build, {"units": [2, 4, 8]}, epochs=6, halving=3)
    best = by_hand(build(**result.best_parameters, seed=0), 6)
    assert dict(result.histories[0]) == dict(best.history)
    assert np.array_equal(result.best_model.parameters, best.model.parameters)


def test_the_best_trainer_goes_on_as_any_other():
    result = look(epochs=2, halving=2)
    assert by_hand(result.best_trainer, 2).epoch == 4
    assert dict(result.best_trainer.history) == dict(by_hand(classifier(**result.best_parameters), 4).history)


def test_a_model_is_trained_with_the_optimizer_the_batch_size_and_the_seed_of_the_call():
    optimizer = SGD(0.05)
    result = look(network, {"units": [8]}, optimizer=optimizer, batch_size=50, seed=0)
    expected = by_hand(Trainer(network(8, 0), SGD(0.05), batch_size=50, seed=0), 2)
    assert dict(result.histories[0]) == dict(expected.history)
    assert (optimizer.step, optimizer.state) == (0, {})


@pytest.mark.parametrize("jobs", [None, 2])
def test_a_model_is_trained_with_the_augment_of_the_call_and_rows_held_out_are_not_augmented(jobs):
    result = look(network, {"units": [8, 4]}, augment=NOISE, jobs=jobs, halving=2, seed=0)
    for run in result.runs:
        expected = by_hand(Trainer(network(run.parameters["units"], 0), "adam", seed=0, augment=NOISE), 2)
        assert dict(run.history) == {name: column[: run.history.epochs] for name, column in expected.history.items()}
    assert result.histories[0]["loss"] != look(network, {"units": [8]}, seed=0).histories[0]["loss"]
    assert repr(result.best_trainer.augment) == repr(NOISE)


def test_a_seed_in_the_space_is_that_of_model_and_trainer():
    result = look(network, {"seed": [3, 4]})
    for run in result.runs:
        expected = by_hand(Trainer(network(seed=run.parameters["seed"]), seed=run.parameters["seed"]), 2)
        assert dict(run.history) == dict(expected.history)


def test_the_seed_is_handed_to_a_function_that_takes_one_and_draws_other_rows():
    one, other = (look(network, {"units": [8]}, seed=seed) for seed in (0, 1))
    assert one.best_model.seed == 0
    assert other.best_model.seed == other.best_trainer.seed == 1
    assert one.table["val_loss"].tolist() != other.table["val_loss"].tolist()


def test_validation_data_and_weights_of_rows_and_classes_are_heeded():
    weights = np.linspace(0.5, 2, len(y))
    held_out = (x[::3], y[::3], weights[::3])
    result = look(space={"units": [8]}, validation_data=held_out, sample_weight=weights, class_weight={2: 3.0})
    trainer = classifier(8)
    with threadpool_limits(1, user_api="blas"):
        trainer.fit(
            x, y, epochs=2, validation_data=held_out, sample_weight=weights, class_weight={2: 3.0}, progress=False
        )
    assert dict(result.histories[0]) == dict(trainer.history)


def test_weights_are_split_with_their_rows():
    weights = np.linspace(0.5, 2, len(y))
    result = look(space={"units": [8]}, sample_weight=weights)
    train, apart = train_test_split(np.arange(len(y)), test_size=30, random_state=0, stratify=y)
    trainer = by_hand(
        classifier(8), 2, sample_weight=weights[train], validation_data=(x[apart], y[apart], weights[apart])
    )
    assert dict(result.histories[0]) == dict(trainer.history)


def test_pandas_and_a_regression_are_taken():
    features, targets = make_regression(60, 4, random_state=0)
    result = look(regression, {"rate": [1e-3, 1e-4]}, pd.DataFrame(features), pd.Series(targets), validation=15)
    train, apart = train_test_split(np.arange(60), test_size=15, random_state=0)
    trainer = regression(**result.best_parameters)
    with threadpool_limits(1, user_api="blas"):
        trainer.fit(
            features[train],
            targets[train],
            epochs=2,
            validation_data=(features[apart], targets[apart]),
            progress=False,
        )
    assert dict(result.histories[0]) == dict(trainer.history)


def test_of_a_figure_of_which_more_is_better_the_largest_is_first():
    figures = look(monitor="val_accuracy", epochs=4).table["val_accuracy"]
    assert figures.tolist() == sorted(figures, reverse=True)
    assert figures.iloc[0] > figures.iloc[-1]
    reversed_figures = look(monitor="val_accuracy", mode="min", epochs=4).table["val_accuracy"]
    assert reversed_figures.tolist() == sorted(figures)


def test_a_figure_that_is_not_defined_ranks_behind_all_that_are():
    class Odd(SoftmaxCrossEntropy):
        def metric(self, scores, targets):
            return np.full(len(scores), np.nan)

    def build(odd, units, seed):
        return Sequential([Dense(units), Dense(3), Odd() if odd else SoftmaxCrossEntropy()], seed=seed)

    result = look(build, {"odd": [True, False], "units": [4, 8]}, monitor="val_accuracy")
    assert result.table["odd"].tolist() == [False, False, True, True]


def test_own_parts_and_closures_and_large_arrays_reach_other_processes():
    rng = np.random.default_rng(0)
    large, labels = rng.normal(size=(2000, 100)), rng.integers(2, size=2000)  # joblib hands it on as a memory map
    scale = 2.0

    def build(units, seed):
        class Scale(Layer):
            def forward(self, x, training=False):
                return scale * x

            def backward(self, dy):
                return scale * dy

        return Sequential([Scale(), Dense(units), ReLU(), Dense(2), SoftmaxCrossEntropy()], seed=seed)

    one, two = (look(build, {"units": [8, 16]}, large, labels, jobs=jobs, halving=2, epochs=2) for jobs in (1, 2))
    assert_same(one, two)


def test_parts_in_the_space_serve_every_candidate_and_stay_as_they_were():
    optimizer, layer = Adam(0.01), Dense(8)

    def build(optimizer, layer, width, seed):
        layers = [layer, Dense(width), ReLU(), Dense(3), SoftmaxCrossEntropy()]
        return Trainer(Sequential(layers, input_shape=4, seed=seed), optimizer, seed=seed)

    result = look(build, {"optimizer": [optimizer], "layer": [layer], "width": [2, 4]})
    assert optimizer.step == 0
    assert [run.parameters["layer"] for run in result.runs] == [layer, layer]
    Sequential([layer], input_shape=3)  # it has no shape yet


def test_lbfgs_is_searched_too_and_may_end_early():
    def build(units, seed):
        layers = [Dense(units, "zeros"), Dense(1, "zeros"), MeanSquaredError()]
        return Trainer(Sequential(layers, seed=seed), LBFGS(), batch_size=None, seed=seed)

    result = look(build, {"units": [2, 3]}, y=np.zeros(len(y)), epochs=4, halving=2)  # there is nothing to learn
    assert [run.status for run in result.runs] == ["finished", "stopped"]


# Which candidates


def test_a_number_of_candidates_draws_without_repetition_from_lists():
    drawn = [run.parameters for run in look(candidates=4, seed=5).runs]
    expected = list(ParameterSampler(GRID, 4, random_state=5))
    assert len(drawn) == 4
    assert all(parameters in drawn for parameters in expected)
    numbers = [run.number for run in look(candidates=6).runs]
    assert sorted(numbers) == [1, 2, 3, 4, 5, 6]


def test_distributions_are_drawn_from_and_numbers_are_pythons():
    space = {"rate": scipy.stats.loguniform(1e-4, 1e-1), "units": scipy.stats.randint(2, 9)}
    result = look(space=space, candidates=3)
    expected = sorted(ParameterSampler(space, 3, random_state=0), key=lambda each: each["rate"])
    found = sorted((run.parameters for run in result.runs), key=lambda each: each["rate"])
    assert found == expected
    assert {type(value) for each in found for value in each.values()} == {int, float}
    assert list(found[0]) == ["rate", "units"]  # in the order of the space


def test_several_spaces_are_tried_one_by_one_and_what_one_lacks_has_nan():
    result = look(space=[{"units": np.array([4, 8])}, {"units": (4,), "rate": [0.1]}])
    table = result.table.sort_index()
    assert table["units"].tolist() == [4, 8, 4]
    assert table["rate"].isna().tolist() == [True, True, False]
    assert [run.parameters for run in sorted(result.runs, key=lambda run: run.number)] == list(
        ParameterGrid([{"units": [4, 8]}, {"units": [4], "rate": [0.1]}])
    )


# The result


def test_the_table_has_a_row_for_each_run_with_its_parameters_as_they_are():
    def build(shape, activation, loss, rest, seed):
        return Sequential([*map(Dense, shape), activation or ReLU(), Dense(3), SoftmaxCrossEntropy()], seed=seed)

    space = {"shape": [(4,), (4, 4)], "activation": [None, Tanh()], "loss": [np.float64(0.5)], "rest": [None]}
    result = look(build, space)
    table = result.table
    assert list(table.columns) == [
        "rank",
        *("shape", "activation", "loss (parameter)", "rest"),
        *("epochs", "val_loss", "loss", "accuracy", "val_accuracy"),
        *("seconds", "status"),
    ]
    assert table.index.name == "candidate"
    assert table["rank"].tolist() == [1, 2, 3, 4]
    assert sorted(table["shape"]) == [(4,), (4,), (4, 4), (4, 4)]
    assert {type(value) for value in table["activation"]} == {type(None), Tanh}
    assert table["rest"].tolist() == [None] * 4
    assert table["loss (parameter)"].tolist() == [0.5] * 4
    assert (table["seconds"] > 0).all()
    for row, run in zip(table.itertuples(), result.runs, strict=True):
        assert (row.Index, row.shape, row.val_loss) == (
            run.number,
            run.parameters["shape"],
            run.history["val_loss"][-1],
        )


def test_the_summary_is_the_table_and_says_what_became_of_all(capsys):
    look(epochs=4, halving=3).summary()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["rank", "units", "rate"]
    assert len(lines) == 9
    assert lines[-1].startswith("6 candidates, 4 stopped; best: units=")


def test_the_repr_names_the_best():
    result = look(space={"units": [8], "rate": [0.1]})
    assert (
        repr(result) == f"Search(1 candidate, best: val_loss={result.table['val_loss'][1]:.4g} with units=8, rate=0.1)"
    )


def test_a_bar_counts_the_runs_of_each_rung(capfd):
    look(epochs=4, halving=3, progress=True)
    bars = capfd.readouterr().err
    assert "search, to epoch 1: 100%" in bars
    assert "6/6" in bars
    assert "2/2" in bars
    look(space={"units": [4]}, progress=True)
    assert "search: 100%" in capfd.readouterr().err
    look()
    assert capfd.readouterr() == ("", "")


# Divergence


@dataclass(eq=False)
class Leap(Schedule):
    """A rate that is a billion times higher after the 25th step."""

    rate: float

    def __call__(self, step):
        return self.rate * (1e9 if step >= 25 else 1)


DIVERGING = {"rate": [1e9, 1e-3, 1e-4, 1e8]}
line = np.linspace(-1, 1, 100)[:, np.newaxis].astype(np.float32)


@pytest.mark.parametrize("jobs", [None, 2])
@pytest.mark.parametrize("halving", [None, 2])
def test_a_candidate_that_diverges_is_ranked_last(halving, jobs, capsys):
    result = look(regression, DIVERGING, line, line, epochs=8, halving=halving, first_epochs=4, jobs=jobs)
    assert result.table["status"].tolist()[-2:] == ["diverged", "diverged"]
    assert set(result.table["rate"].tolist()[:2]) == {1e-3, 1e-4}
    assert result.table["val_loss"].isna().tolist() == [False, False, True, True]
    assert "Search(4 candidates, 2 diverged, best: val_loss=" in repr(result)
    result.summary()
    assert "2 diverged; best" in capsys.readouterr().out


@pytest.mark.parametrize("halving", [None, 2])
def test_when_all_diverge_there_is_nothing_to_return(halving):
    with pytest.raises(
        DivergenceError,
        match=r"no candidate of 2 is left, for all diverged, candidate 1 \(rate=1000000000.0\) after \d",
    ):
        look(regression, {"rate": [1e9, 1e8]}, line, line, epochs=8, halving=halving)


def test_numpys_whole_numbers_are_settings_too(tmp_path):
    one = look(network, space={"units": [4]}, epochs=np.int64(2), batch_size=np.int64(16), journal=tmp_path)
    assert_same(one, look(network, space={"units": [4]}, epochs=2, batch_size=16, journal=tmp_path))


def test_one_that_diverges_after_it_won_a_rung_ranks_behind_those_that_it_beat():
    def build(rate, seed):
        optimizer = Momentum(Leap(rate))  # which leaps after five epochs of five steps
        return Trainer(Sequential([Dense(1), MeanSquaredError()], seed=seed), optimizer, batch_size=16, seed=seed)

    result = look(build, {"rate": [0.02, 1e-4]}, line, line, epochs=8, halving=2, first_epochs=1)
    assert [(run.parameters["rate"], run.status) for run in result.runs] == [(1e-4, "stopped"), (0.02, "diverged")]
    assert result.best_trainer.epoch == 4


# What cannot work


def never(units, rate=0.1, seed=0):
    """A model that must not be trained."""

    class Fails(Layer):
        def forward(self, x, training=False):
            assert not training, "trained"
            return x

        def backward(self, dy):
            raise AssertionError("trained")

    return Sequential([Fails(), Dense(units), Dense(3), SoftmaxCrossEntropy()], seed=seed)


def unseeded(units):
    return Sequential([Dense(units), Dense(3), SoftmaxCrossEntropy()])


def loose_order(units, seed):
    return Trainer(never(units, seed=seed))


def begun(units, seed):
    trainer = Trainer(network(units, seed), seed=seed)
    trainer.fit(x, y, progress=False)
    return trainer


same_optimizer = Adam()
same_model = network()


def raising(units):
    raise ZeroDivisionError("no reason")


def nothing():
    return network()


def losses(smoothing, seed=0):
    return Sequential([Dense(3), SoftmaxCrossEntropy(label_smoothing=smoothing)], seed=seed)


class NoRandomState:
    def rvs(self):
        return 1


@pytest.mark.parametrize(
    ("build_model", "space", "options", "error", "message"),
    [
        (
            never,
            {"unit": [4]},
            {},
            ArgumentError,
            r"takes no parameter 'unit'; did you mean 'units'\? there are units, rate, seed. It may be",
        ),
        (never, {"rate": [4]}, {}, ArgumentError, "build_model needs units, of which the space has no value"),
        (never, [{"units": [4]}, {"rate": [4]}], {}, ArgumentError, "build_model needs units"),
        (never, {3: [4]}, {}, ArgumentError, "takes no parameter 3"),
        (nothing, {"units": [4]}, {}, ArgumentError, "takes no parameter 'units', nor any other"),
        (network(), {"units": [4]}, {}, ArgumentTypeError, "give a function that takes the parameters"),
        (3, {"units": [4]}, {}, ArgumentTypeError, "build_model is 3; give a function"),
        (max, {"units": [4]}, {}, ArgumentTypeError, "does not tell what it takes"),
        (never, {}, {}, ArgumentError, "space is {}: it names no parameter"),
        (never, [], {}, ArgumentError, r"space is \[\]: it names no parameter"),
        (never, [{}], {}, ArgumentError, "it names no parameter"),
        (never, "units", {}, ArgumentTypeError, "space is 'units'; give a dict"),
        (never, [["units", 4]], {}, ArgumentTypeError, "give a dict of name -> list"),
        (never, {"units": 4}, {}, ArgumentTypeError, "space: units is 4; give a list of values, or a distribution"),
        (never, {"units": "48"}, {}, ArgumentTypeError, "space: units is '48'; give a list"),
        (never, {"units": {4, 8}}, {}, ArgumentTypeError, "give a list of values"),
        (never, {"units": np.ones((2, 2))}, {}, ArgumentTypeError, "give a list of values"),
        (never, {"units": []}, {}, ArgumentError, "space: units is an empty list"),
        (never, {"units": [threading.Lock()]}, {}, ArgumentTypeError, r"candidate 1 \(units=.*copy of its own"),
        (
            never,
            {"units": [4], "rate": scipy.stats.uniform()},
            {},
            ArgumentError,
            "rate is a distribution, which has no end of values: say how many candidates",
        ),
        (never, {"units": NoRandomState()}, {"candidates": 2}, ArgumentTypeError, "cannot be drawn from by rvs"),
        (never, {"units": [4]}, {"candidates": 2}, ArgumentError, "candidates is 2, but the space has 1 combination:"),
        (never, {"units": [4]}, {"candidates": 0}, ArgumentError, "candidates is 0"),
        (never, {"units": [4]}, {"candidates": True}, ArgumentTypeError, "candidates is True"),
        (never, {"units": [4]}, {"epochs": 0}, ArgumentError, "epochs is 0"),
        (never, {"units": [4]}, {"epochs": 2.0}, ArgumentTypeError, "epochs is 2.0"),
        (never, {"units": [4]}, {"halving": 1}, ArgumentError, "halving is 1; it must be 2 or more"),
        (never, {"units": [4]}, {"halving": True}, ArgumentTypeError, "halving is True"),
        (never, {"units": [4]}, {"first_epochs": 3}, ArgumentError, "first_epochs is 3, more than the 2 epochs"),
        (never, {"units": [4]}, {"first_epochs": 0}, ArgumentError, "first_epochs is 0"),
        (never, {"units": [4]}, {"seed": -1}, ArgumentError, "seed is -1"),
        (never, {"units": [4]}, {"seed": 2**32}, ArgumentError, "it must be below"),
        (never, {"units": [4]}, {"seed": None}, ArgumentTypeError, "seed is None"),
        (never, {"units": [4]}, {"jobs": 0}, ArgumentError, "jobs is 0"),
        (never, {"units": [4]}, {"batch_size": 0}, ArgumentError, r"candidate 1 \(units=4\): batch_size is 0"),
        (never, {"units": [4]}, {"optimizer": "adm"}, ArgumentError, "did you mean 'adam'"),
        (never, {"units": [4]}, {"monitor": 3}, ArgumentTypeError, "search: monitor is 3"),
        (
            never,
            {"units": [4]},
            {"monitor": "val_los"},
            ArgumentError,
            "search: the run has no figure 'val_los'; did you",
        ),
        (never, {"units": [4]}, {"mode": "up"}, ArgumentError, "search: mode is 'up'"),
        (
            never,
            {"units": [4]},
            {"validation": 0.0},
            ArgumentError,
            "validation is 0.0, but candidates are ranked by rows held out",
        ),
        (never, {"units": [4]}, {"validation": 150}, ArgumentError, "holds out 150 of 150 rows"),
        (never, {"units": [4]}, {"validation_data": x}, ArgumentTypeError, r"must be \(x, y\)"),
        (never, {"units": [4]}, {"validation_data": 0}, ArgumentTypeError, "give None, to hold out rows of x and y by"),
        (never, {"units": [4]}, {"validation_data": (x, y[:3])}, DataError, "validation_data: the lengths differ"),
        (never, {"units": [4]}, {"validation_data": (x[:, :2], y)}, ShapeError, "validation_data"),
        (never, {"units": [4]}, {"x": x[:5]}, DataError, "x has 5 rows, y has 150 rows"),
        (never, {"units": [4]}, {"x": np.where(x > 5, np.nan, x)}, DataError, "^x holds nan"),
        (never, {"units": [4]}, {"y": y + 1}, DataError, "y is 3 at row"),
        (never, {"units": [4]}, {"sample_weight": -y}, DataError, "none below 0"),
        (never, {"units": [4]}, {"class_weight": "even"}, ArgumentError, "even"),
        (never, {"units": [4, 0]}, {}, ArgumentError, r"candidate 2 \(units=0\): .*units is 0"),
        (unseeded, {"units": [4]}, {}, ArgumentError, r"\(units=4\): build_model makes something else at each call"),
        (loose_order, {"units": [4]}, {}, ArgumentError, "something else at each call: let it take seed"),
        (begun, {"units": [4]}, {}, ArgumentError, "a trainer that has begun already"),
        (lambda units: same_model, {"units": [4]}, {}, ArgumentError, "the same object twice"),
        (
            lambda units, seed: Trainer(never(units, seed=seed), same_optimizer, seed=seed),
            {"units": [4]},
            {},
            ArgumentError,
            "the same object twice",
        ),
        (
            classifier,
            {"units": [4]},
            {"optimizer": SGD()},
            ArgumentError,
            "returned a Trainer, whose own optimizer, batch",
        ),
        (classifier, {"units": [4]}, {"batch_size": None}, ArgumentError, "leave those of the call out"),
        (
            classifier,
            {"units": [4]},
            {"augment": NOISE},
            ArgumentError,
            "batch size and augment count: leave those of the call out",
        ),
        (
            never,
            {"units": [4]},
            {"augment": lambda x, rng: x},
            ArgumentTypeError,
            r"\(units=4\): the trainer's augment = .* make it a class derived from minidl.data.augment.Distortion",
        ),
        (never, {"units": [4]}, {"augment": GaussianNoise(0.1)}, ShapeError, r"\(units=4\): .*images are flat"),
        (lambda units: units, {"units": [4]}, {}, ArgumentTypeError, "build_model returned 4; it must return"),
        (raising, {"units": [4]}, {}, ArgumentError, r"\(units=4\): build_model raised ZeroDivisionError: no reason"),
        (lambda units: Sequential([Dense(3)], seed=0), {"units": [4]}, {}, ArgumentError, "the model has no loss"),
        (
            lambda rate, seed: Trainer(never(4, seed=seed), Adam(rate), seed=seed),
            {"rate": [0.1, lambda step: 0.1]},
            {},
            ArgumentTypeError,
            r"candidate 2 .*learning_rate",
        ),
        (
            lambda size, seed: Trainer(network(4, seed), LBFGS(), batch_size=size, seed=seed),
            {"size": [None, 32]},
            {},
            ArgumentError,
            r"candidate 2 \(size=32\): LBFGS takes all rows at once",
        ),
        (
            losses,
            {"smoothing": [0.0, 0.1]},
            {},
            ArgumentError,
            r"measured by SoftmaxCrossEntropy\(label_smoothing=0.0\) for candidate 1 .* cannot be compared",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_any_training(build_model, space, options, error, message, tmp_path):
    with pytest.raises(error, match=message):
        look(build_model, space, **{"journal": tmp_path / "journal"} | options)
    assert not (tmp_path / "journal").exists()


@pytest.mark.parametrize("jobs", [None, 2])
def test_an_error_of_code_of_ones_own_in_training_names_the_candidate(jobs):
    def build(units, seed):
        class Fails(Layer):
            def forward(self, x, training=False):
                return x

            def backward(self, dy):
                if units == 8:
                    raise ValueError("no slope")
                return dy

        return Sequential([Dense(units), Fails(), Dense(3), SoftmaxCrossEntropy()], seed=seed)

    with pytest.raises(ValueError, match=r"^candidate 2 \(units=8\): no slope$"):
        look(build, {"units": [4, 8]}, jobs=jobs)


def test_losses_that_differ_are_compared_by_another_figure():
    assert len(look(losses, {"smoothing": [0.0, 0.1]}, monitor="val_accuracy").runs) == 2


def test_any_name_goes_to_a_function_that_takes_all():
    result = look(lambda **settings: network(settings["width"]), {"width": [4, 8]})
    assert set(result.table["width"]) == {4, 8}
    assert look(functools.partial(network, seed=0), {"units": [4]}).best_parameters == {"units": 4}


# The journal


def test_a_journal_changes_nothing_and_a_search_that_is_over_trains_nothing_more(tmp_path, monkeypatch):
    options = {"epochs": 4, "halving": 3}
    first = look(**options, journal=tmp_path)
    assert_same(first, look(**options))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["search.json", *(f"candidate_000{number}.{end}" for number in range(1, 7) for end in ("json", "npz"))]
    )
    monkeypatch.setattr(_Runner, "train", None)
    again = look(**options, journal=str(tmp_path), jobs=2)
    assert_same(first, again)
    pd.testing.assert_frame_equal(first.table, again.table, check_exact=True)  # with the seconds


class Stop(BaseException):
    pass


def count_writes(monkeypatch, stop_at=None):
    """Count what is written; raise Stop in place of one of the writes, as a kill before it would."""
    written = []

    def counted(write):
        def wrapped(self, *arguments, **options):
            if len(written) == stop_at:
                raise Stop
            written.append(write)
            return write(self, *arguments, **options)

        return wrapped

    monkeypatch.setattr(Trainer, "save", counted(Trainer.save))
    monkeypatch.setattr(Journal, "write", counted(Journal.write))
    return written


def full_batch(units, seed):
    model = Sequential([Dense(units), Tanh(), Dense(1), MeanSquaredError()], seed=seed)
    return Trainer(model, LBFGS(), batch_size=None, seed=seed)


@pytest.mark.parametrize(
    "run",
    [
        functools.partial(look, epochs=3, halving=3, candidates=3),
        functools.partial(look, regression, {"rate": [1e9, 1e-3]}, line, line, epochs=4, halving=2),
        functools.partial(look, full_batch, {"units": [2, 3]}, line, line**2, epochs=4, halving=2),
    ],
    ids=["mini-batches", "diverging", "full batch"],
)
def test_stopped_before_any_of_its_writes_it_goes_on_to_the_same_bits(run, tmp_path, monkeypatch):
    undisturbed = run()
    with monkeypatch.context() as patch:
        written = count_writes(patch)
        run(journal=tmp_path / "undisturbed")
    assert len(written) >= 6
    for stop_at in range(len(written)):
        journal = tmp_path / f"stopped_{stop_at}"
        with monkeypatch.context() as patch, pytest.raises(Stop):
            count_writes(patch, stop_at)
            run(journal=journal)
        assert_same(run(journal=journal), undisturbed)


PROGRAM = """
import sys
import numpy as np
from minidl import Adam, Dense, Dropout, Sequential, SoftmaxCrossEntropy, Trainer, search

x = np.random.default_rng(0).normal(size=(600, 5))

def build(units, rate, seed):
    layers = [Dense(units), Dropout(0.1), Dense(2), SoftmaxCrossEntropy()]
    return Trainer(Sequential(layers, seed=seed), Adam(rate), batch_size=8, seed=seed)

def look(journal, jobs, epochs=9):
    space = {"units": [4, 8, 16], "rate": [0.01, 0.1, 0.001]}
    return search(
        build, space, x, (x[:, 0] > 0).astype(int), epochs=epochs, halving=3, jobs=jobs, journal=journal, progress=False
    )

if __name__ == "__main__":
    try:
        look(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    except KeyboardInterrupt as interrupt:
        print(interrupt, flush=True)
"""


def start(folder, jobs, epochs=9):
    program = folder / "program.py"
    program.write_text(PROGRAM)
    return subprocess.Popen(
        [sys.executable, program, folder / "journal", str(jobs), str(epochs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(path, process):
    end = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs the signals of POSIX")
def test_killed_and_started_again_a_search_ends_in_the_same_bits(tmp_path):
    process = start(tmp_path, 2)
    wait_for(tmp_path / "journal" / "candidate_0004.json", process)
    process.send_signal(signal.SIGKILL)  # to the first process alone; those that it started find that out
    process.wait()
    process.stdout.close()
    process.stderr.close()
    program = {"__name__": "program"}
    exec(PROGRAM, program)
    undisturbed = program["look"](None, 1)
    assert len(list((tmp_path / "journal").glob("candidate_*.npz"))) < 9
    assert_same(program["look"](tmp_path / "journal", 2), undisturbed)


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs the process groups of POSIX")
def test_ctrl_c_ends_all_processes_and_says_how_to_go_on(tmp_path):
    process = start(tmp_path, 2, epochs=10**6)
    try:
        wait_for(tmp_path / "journal" / "candidate_0001.json", process)
        os.killpg(process.pid, signal.SIGINT)
        # Output ends only when no process is left that holds its end of the pipe.
        out, errors = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, errors = process.communicate()
    assert out == f"called again with journal={str(tmp_path / 'journal')!r}, the search goes on\n", errors
    assert "Traceback" not in errors


def test_ctrl_c_without_a_journal_is_let_through_and_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def interrupt(self, path):
        assert list(tmp_path.iterdir())
        raise KeyboardInterrupt("by hand")

    monkeypatch.setattr(Trainer, "save", interrupt)
    with pytest.raises(KeyboardInterrupt, match="by hand"):
        look()
    assert not list(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt, match=r"called again with journal='.*here', the search goes on"):
        look(journal=tmp_path / "here")


def test_without_a_journal_no_file_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    look(epochs=4, halving=2)
    assert not list(tmp_path.iterdir())


def test_a_process_whose_search_was_killed_ends_its_run(tmp_path, monkeypatch):
    result = look(space={"units": [4]})
    keeper = _Keeper(Journal(tmp_path), result.runs[0], None, os.getpid())
    by_hand(classifier(4), 1, callbacks=[keeper])
    monkeypatch.setattr("os.getpid", lambda: 1234)
    monkeypatch.setattr("os.getppid", lambda: 1)
    with pytest.raises(KeyboardInterrupt, match="the search that this process worked for is over"):
        by_hand(classifier(4), 1, callbacks=[keeper])


def wider(units, rate=0.01, seed=0):
    return classifier(2 * units, rate, seed)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": {"units": [4, 8, 16]}}, "its number of candidates is 2, here it is 3"),
        (
            {"space": {"units": [4, 9]}},
            "its candidate 2 is 'units=8', here it is 'units=9'",
        ),
        ({"epochs": 3}, "its epochs is 1, here it is 3"),
        ({"monitor": "val_accuracy"}, "its monitor is 'val_loss'"),
        ({"mode": "max"}, "its mode is 'min'"),
        ({"seed": 1}, "its seed is 0"),
        ({"optimizer": "sgd", "build_model": network}, r"its optimizer is 'Adam\("),
        ({"batch_size": 8, "build_model": network}, "its batch_size is 32"),
        (
            {"augment": NOISE, "build_model": network},
            r"its augment is 'None', here it is .GaussianNoise\(standard_deviation=0.5, image_shape=\(2, 2\)",
        ),
        ({"x": x + 1}, "its training data"),
        ({"sample_weight": np.ones(150)}, "its training data"),
        ({"class_weight": "balanced"}, "its class_weight is 'None', here it is \"'balanced'\""),
        ({"validation": 31}, "its training data"),
        ({"build_model": wider}, "its trainer that build_model makes of candidate 1"),
    ],
)
def test_the_journal_of_another_search_is_refused_with_what_differs(options, message, tmp_path, monkeypatch):
    brief(journal=tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(_Runner, "train", None)
    with pytest.raises(
        ArgumentError, match=f"is that of another search: {message}.* Call search as before to go on, or"
    ):
        brief(**{"journal": tmp_path} | options)
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}


def test_other_rows_to_validate_with_are_another_search(tmp_path):
    brief(journal=tmp_path, validation_data=(x, y))
    with pytest.raises(ArgumentError, match=r"its validation data \(fingerprint\) is"):
        brief(journal=tmp_path, validation_data=(x + 1, y))


def test_functions_and_objects_in_the_space_are_known_again(tmp_path):
    def build(activation, seed):
        return Sequential([Dense(4), activation(), Dense(3), SoftmaxCrossEntropy()], seed=seed)

    class Plain:  # its repr has an address
        def __call__(self):
            return Tanh()

    one, two = (
        look(build, {"activation": [ReLU, lambda: Dense(4, "zeros"), Plain()]}, journal=tmp_path) for _ in range(2)
    )
    assert one.table["val_loss"].tolist() == two.table["val_loss"].tolist()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("search.json", b"{", r"search.json is damaged: .*Delete the search's folder"),
        ("search.json", b"[]", "search.json is damaged: it holds no description"),
        ("search.json", b"{}", "search.json is no description of a search that this minidl reads"),
        (
            "candidate_0002.json",
            b"\xff",
            r"candidate_0002.json is damaged: .*Delete the file, and what it held is comp",
        ),
        ("candidate_0002.json", b"{}", "candidate_0002.json is damaged: 'history'"),
        (
            "candidate_0002.json",
            b'{"history": {"loss": []}, "epochs": 2, "reached": 1}',
            "candidate_0002.json is damaged",
        ),
        ("candidate_0002.json", b'{"history": {}, "epochs": true}', "epochs is True; it must be a whole number"),
        (
            "candidate_0002.npz",
            b"PK",
            r"candidate 2 \(units=8\): .*npz.* Delete the file, and the candidate",
        ),
    ],
)
def test_a_damaged_file_is_an_error_that_names_it_and_the_cure(name, content, message, tmp_path):
    whole = brief(journal=tmp_path)
    path = tmp_path / name
    record = path.with_suffix(".json")
    if path.suffix == ".npz":
        record.write_text(json.dumps(json.loads(record.read_text()) | {"reached": 0}))  # it was killed in between
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=message):
        brief(journal=tmp_path)
    path.unlink()
    if name != "search.json":
        assert_same(brief(journal=tmp_path), whole)
    else:
        with pytest.raises(FileFormatError, match=r"holds candidate_0001.json, but no search.json"):
            brief(journal=tmp_path)


def test_of_a_write_that_was_killed_the_half_is_removed(tmp_path):
    whole = brief(journal=tmp_path)
    for name in ("search.json", "candidate_0001.npz", "candidate_12345.json"):
        (tmp_path / f".{name}.0badcafe.tmp").write_bytes(b"half")
    assert_same(brief(journal=tmp_path), whole)
    assert not list(tmp_path.glob(".*"))


def test_files_of_the_user_in_the_journals_folder_stay(tmp_path):
    names = (".thesis.tmp", ".search.json.tmp", ".thesis.json.0badcafe.tmp", "candidate_list.csv", "candidate_1.json")
    for name in names:
        (tmp_path / name).write_text("mine")
    for _ in range(2):
        brief(journal=tmp_path)
        assert [(tmp_path / name).read_text() for name in names] == ["mine"] * len(names)


def test_in_a_folder_that_is_refused_nothing_is_removed(tmp_path):
    brief(journal=tmp_path)
    half = tmp_path / ".candidate_0001.npz.0badcafe.tmp"  # which a search that runs now may be writing
    half.write_bytes(b"half")
    with pytest.raises(ArgumentError, match="that of another search"):
        brief(journal=tmp_path, epochs=3)
    (tmp_path / "search.json").unlink()
    with pytest.raises(FileFormatError, match=r"holds candidate_0001.json, but no search.json"):
        brief(journal=tmp_path)
    assert half.read_bytes() == b"half"


def test_another_halving_is_another_search(tmp_path):
    brief(journal=tmp_path, epochs=2)
    with pytest.raises(ArgumentError, match="that of another search: its halving is None, here it is 2"):
        brief(journal=tmp_path, epochs=2, halving=2)


@pytest.mark.parametrize("end", ["json", "npz"])
def test_a_candidate_of_which_a_file_is_gone_is_trained_anew_where_that_is_needed(end, tmp_path):
    options = {"epochs": 2, "halving": 2}
    whole = brief(journal=tmp_path, **options)
    for path in tmp_path.glob(f"candidate_*.{end}"):
        path.unlink()
    assert_same(brief(journal=tmp_path, **options), whole)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    path = tmp_path / "journal"
    path.write_text("mine")
    with pytest.raises(ArgumentError, match=r"journal is a file; give a folder"):
        look(journal=path)
    assert path.read_text() == "mine"
