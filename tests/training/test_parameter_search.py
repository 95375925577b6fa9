"""The search: each run is that of a trainer alone, whatever pauses, processes or deaths lie between."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from searches import (
    FLOWERS,
    GRID,
    NOISE,
    assert_same,
    by_columns,
    by_hand,
    classifier,
    line,
    look,
    network,
    never,
    regression,
    without_seconds,
    x,
    y,
)
from sklearn.base import clone
from sklearn.datasets import make_regression
from sklearn.kernel_approximation import RBFSampler
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold, train_test_split
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from threadpoolctl import threadpool_limits

from minidl import (
    LBFGS,
    SGD,
    Adam,
    Dense,
    ExponentialMovingAverage,
    Layer,
    MeanSquaredError,
    Metric,
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
from minidl.data.augment import PixelNoise
from minidl.errors import (
    ArgumentError,
    ArgumentTypeError,
    DataError,
    DivergenceError,
    ShapeError,
)
from minidl.functional import softmax
from minidl.settings import setting
from minidl.training.folds import Split
from minidl.training.parameter_search import _Runner, plan_rungs

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
    losses = [run.history["val_loss"][-1] for run in result.runs]
    assert losses == sorted(losses)
    best = by_hand(classifier(**result.best_parameters), 3)
    assert np.array_equal(result.best_model.parameters, best.model.parameters)
    np.testing.assert_equal(vars(result.best_trainer.position), vars(best.position))


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
        average = ExponentialMovingAverage(0.9)
        return Trainer(network(units, seed), Adam(0.01), batch_size=16, average=average, seed=seed)

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


def test_of_a_metric_of_which_more_is_better_the_largest_is_first():
    values = look(monitor="val_accuracy", epochs=4).table["val_accuracy"]
    assert values.tolist() == sorted(values, reverse=True)
    assert values.iloc[0] > values.iloc[-1]
    reversed_values = look(monitor="val_accuracy", mode="min", epochs=4).table["val_accuracy"]
    assert reversed_values.tolist() == sorted(values)


def test_a_metric_that_is_not_defined_ranks_behind_all_that_are():
    class Odd(Metric):
        name = "accuracy"

        def per_row(self, rows):
            return np.full(len(rows.scores), np.nan)

    def build(odd, units, seed):
        return Trainer(network(units, seed), metrics=[Odd()] if odd else ["accuracy"], seed=seed)

    result = look(build, {"odd": [True, False], "units": [4, 8]}, monitor="val_accuracy")
    assert result.table["odd"].tolist() == [False, False, True, True]


def brier(scores, targets):
    return ((softmax(scores) - np.eye(3)[targets]) ** 2).sum(axis=1)


@pytest.mark.parametrize("jobs", [None, 2])
def test_a_model_is_trained_with_the_metrics_the_bounds_and_the_average_of_the_call(jobs):
    average = ExponentialMovingAverage(0.9)
    settings = {"clip_norm": 0.1, "clip_value": 0.02, "metrics": ["top_2_accuracy", brier]}
    result = look(network, {"units": [4, 8]}, average=average, **settings, monitor="val_brier", mode="min", jobs=jobs)
    assert average.vector is None
    assert [metric.name for metric in result.best_trainer.metrics] == ["top_2_accuracy", "brier"]
    assert list(result.table.columns)[3:-2] == [
        "val_brier",
        *("loss", "top_2_accuracy", "brier", "val_loss", "val_top_2_accuracy"),
    ]
    for run in result.runs:
        trainer = Trainer(network(**run.parameters), **settings, average=ExponentialMovingAverage(0.9), seed=0)
        assert dict(run.history) == dict(by_hand(trainer, 2).history)
        assert run.metric_values == trainer.metric_values
    assert result.table["val_brier"].tolist() == sorted(result.table["val_brier"])


def test_metrics_that_are_functions_go_on_through_rungs_and_the_journal(tmp_path):
    options = {"metrics": [brier], "monitor": "val_brier", "mode": "min", "epochs": 4, "halving": 2}
    result = look(network, {"units": [4, 8]}, **options)
    expected = by_hand(Trainer(network(**result.best_parameters), metrics=[brier], seed=0), 4)
    assert dict(result.histories[0]) == dict(expected.history)
    for _ in range(2):
        assert_same(look(network, {"units": [4, 8]}, **options, journal=tmp_path), result)


def test_candidates_may_have_metrics_of_their_own():
    def build(metrics, seed):
        return Trainer(network(seed=seed), metrics=metrics, seed=seed)

    table = look(build, {"metrics": [["accuracy"], []]}).table
    assert table["val_accuracy"].isna().tolist() == [not metrics for metrics in table["metrics"]]


def test_rows_of_positions_are_taken_with_the_weights_of_their_positions():
    positions, labels = x[:120].reshape(30, 4, 4), y[:120].reshape(30, 4)
    weights = np.linspace(0, 2, 120).reshape(30, 4)
    result = look(network, {"units": [8]}, positions, labels, sample_weight=weights, validation=6)
    train, apart = train_test_split(np.arange(30), test_size=6, random_state=0)
    trainer = Trainer(network(8), seed=0)
    held_out = (positions[apart], labels[apart], weights[apart])
    with threadpool_limits(1, user_api="blas"):
        trainer.fit(
            positions[train],
            labels[train],
            epochs=2,
            sample_weight=weights[train],
            validation_data=held_out,
            progress=False,
        )
    assert dict(result.histories[0]) == dict(trainer.history)


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
        zeros = {"initializer": "zeros"}
        layers = [Dense(units, **zeros), Dense(1, **zeros), MeanSquaredError()]
        return Trainer(Sequential(layers, seed=seed), LBFGS(), batch_size=None, seed=seed)

    result = look(build, {"units": [2, 3]}, y=np.zeros(len(y)), epochs=4, halving=2)  # there is nothing to learn
    assert [run.status for run in result.runs] == ["finished", "stopped"]


def test_a_run_that_lbfgs_ends_before_a_rung_does_not_go_on():
    def build(units, seed):
        layers = [Dense(units), Dense(1), MeanSquaredError()]
        model = Sequential(layers, dtype="float64", seed=seed)
        return Trainer(model, LBFGS(tolerance=1e-2), batch_size=None, seed=seed)

    held_out = (x[::3], y[::3])
    result = look(build, {"units": [2, 3]}, epochs=64, halving=2, validation_data=held_out)
    alone = build(**result.best_parameters, seed=0)
    with threadpool_limits(1, user_api="blas"):
        alone.fit(x, y, epochs=64, validation_data=held_out, progress=False)
    assert alone.epoch < 32  # it ended before the last but one of seven rungs
    assert result.runs[0].status == "finished"
    assert dict(result.histories[0]) == dict(alone.history)
    assert np.array_equal(result.best_model.parameters, alone.model.parameters)


# Folds and transformers

PAIRS = list(StratifiedKFold(3, shuffle=True, random_state=0).split(x, y))


def on_fold(trainer, train, held_out, epochs, table=x, **options):
    """A trainer's run on one fold, without search; `train` may be all rows, and `held_out` none."""
    with threadpool_limits(1, user_api="blas"):
        if held_out is not None:
            options["validation_data"] = (table[held_out], y[held_out])
        trainer.fit(table[train], y[train], epochs=epochs, progress=False, **options)
    return trainer


@pytest.mark.parametrize("jobs", [None, 2])
def test_with_folds_each_candidate_is_trained_on_each_and_ranked_by_the_mean(jobs):
    result = look(epochs=3, folds=3, jobs=jobs)
    means = []
    for run in result.runs:
        trainers = [on_fold(classifier(**run.parameters), *pair, epochs=3) for pair in PAIRS]
        assert list(map(dict, run.fold_histories)) == [dict(trainer.history) for trainer in trainers]
        assert run.fold_metric_values == [trainer.metric_values for trainer in trainers]
        for name, column in run.history.items():
            assert column == np.mean([trainer.history[name] for trainer in trainers], axis=0).tolist()
        values = [trainer.history["val_loss"][-1] for trainer in trainers]
        row = result.table.loc[run.number]
        assert row["val_loss"] == run.metric_values["val_loss"] == np.mean(values)
        assert row["std_val_loss"] == pytest.approx(np.std(values, ddof=1))
        assert result.fold_table.loc[run.number, "val_loss"].tolist() == values
        means.append(np.mean(values))
    assert means == sorted(means)
    assert len(means) == 6
    assert result.fold_table.index.names == ["candidate", "fold"]
    assert result.fold_table.index.tolist() == [(run.number, fold) for run in result.runs for fold in (1, 2, 3)]


@pytest.mark.parametrize("jobs", [None, 2])
def test_with_folds_the_best_trainer_is_a_new_one_trained_on_all_rows(jobs):
    result = look(epochs=3, folds=3, transformer=StandardScaler(), jobs=jobs)
    scaler = StandardScaler().fit(x)
    best = on_fold(classifier(**result.best_parameters), np.arange(150), None, 3, scaler.transform(x))
    assert np.array_equal(result.best_model.parameters, best.model.parameters)
    assert dict(result.best_trainer.history) == dict(best.history)
    assert np.array_equal(result.best_transformer.mean_, scaler.mean_)
    new = result.best_transformer.transform(x[:9])
    assert result.best_model.predict(new).tolist() == best.model.predict(scaler.transform(x[:9])).tolist()


@pytest.mark.parametrize("jobs", [None, 2])
def test_with_halving_the_folds_of_a_candidate_go_on_together_to_the_bits_of_runs_that_never_stopped(jobs):
    space = {"units": [2, 4, 8], "rate": [0.1, 0.01, 0.001]}
    result = look(epochs=6, halving=3, first_epochs=2, folds=3, jobs=jobs, space=space)
    assert result.table["epochs"].tolist() == [6] * 3 + [2] * 6
    for run in result.runs:
        for history, pair in zip(run.fold_histories, PAIRS, strict=True):
            assert dict(history) == dict(on_fold(classifier(**run.parameters), *pair, run.history.epochs).history)
    after_two = sorted(result.runs, key=lambda run: np.mean([each["val_loss"][1] for each in run.fold_histories]))
    assert {run.number for run in after_two[:3]} == {run.number for run in result.runs[:3]}
    best = on_fold(classifier(**result.best_parameters), np.arange(150), None, 6)
    assert np.array_equal(result.best_model.parameters, best.model.parameters)


def test_folds_may_be_a_splitter_with_groups_or_pairs_of_row_numbers():
    groups = np.arange(150) // 10
    dealt = list(GroupKFold(4).split(x, y, groups))
    one = look(space={"units": [4, 8]}, folds=GroupKFold(4), groups=groups)
    assert_same(one, look(space={"units": [4, 8]}, folds=dealt))
    for run in one.runs:
        expected = [dict(on_fold(classifier(**run.parameters), *pair, 2).history) for pair in dealt]
        assert list(map(dict, run.fold_histories)) == expected


def test_one_fold_ranks_as_validation_data_do_and_has_no_deviation():
    train, apart = PAIRS[0]
    one = look(folds=[(train, apart)])
    two = look(x=x[train], y=y[train], validation_data=(x[apart], y[apart]))
    assert list(map(dict, one.histories)) == list(map(dict, two.histories))
    assert list(one.table.columns) == list(two.table.columns)
    assert two.fold_table.index.tolist() == [(run.number, 1) for run in two.runs]


def test_weights_of_rows_and_classes_count_on_folds_and_on_all_rows():
    weights, class_weight = np.linspace(0.5, 2, 150), {2: 3.0}
    result = look(space={"units": [8]}, folds=3, sample_weight=weights, class_weight=class_weight)
    for history, (train, apart) in zip(result.runs[0].fold_histories, PAIRS, strict=True):
        held_out = (x[apart], y[apart], weights[apart])
        options = {"sample_weight": weights[train], "class_weight": class_weight, "validation_data": held_out}
        trainer = classifier(8)
        with threadpool_limits(1, user_api="blas"):
            trainer.fit(x[train], y[train], epochs=2, progress=False, **options)
        assert dict(history) == dict(trainer.history)
    options = {"sample_weight": weights, "class_weight": class_weight}
    best = on_fold(classifier(8), np.arange(150), None, 2, **options)
    assert np.array_equal(result.best_model.parameters, best.model.parameters)


@pytest.mark.parametrize("jobs", [None, 2])
@pytest.mark.parametrize("sparse", [False, True])
def test_a_transformer_of_a_frame_is_fitted_to_the_rows_that_are_trained_on(sparse, jobs):
    transformer = by_columns(sparse)
    result = look(network, {"units": [4, 8]}, FLOWERS, transformer=transformer, jobs=jobs)
    train, apart = train_test_split(np.arange(150), test_size=30, random_state=0, stratify=y)
    fitted = clone(transformer).fit(FLOWERS.iloc[train], y[train])
    table = fitted.transform(FLOWERS)
    table = table.toarray() if sparse else table
    for run in result.runs:
        expected = on_fold(Trainer(network(**run.parameters), seed=0), train, apart, 2, table)
        assert dict(run.history) == dict(expected.history)
    expected = on_fold(Trainer(network(**result.best_parameters), seed=0), train, apart, 2, table)
    returned = result.best_transformer.transform(FLOWERS[:20])
    assert result.best_model.predict(returned).tolist() == expected.model.predict(table[:20]).tolist()
    assert not hasattr(transformer, "transformers_")


def test_a_transformer_gets_the_rows_of_validation_data_too():
    train, apart = PAIRS[1]
    held_out = (FLOWERS.iloc[apart], y[apart])
    result = look(
        network, {"units": [8]}, FLOWERS.iloc[train], y[train], validation_data=held_out, transformer=by_columns()
    )
    table = by_columns().fit(FLOWERS.iloc[train]).transform(FLOWERS)
    assert dict(result.histories[0]) == dict(on_fold(Trainer(network(8), seed=0), train, apart, 2, table).history)


def test_folds_may_have_as_many_features_each_as_their_transformer_gives():
    result = look(network, {"units": [4, 8]}, FLOWERS, folds=3, transformer=by_columns())
    widths = set()
    for run in result.runs:
        for history, (train, apart) in zip(run.fold_histories, PAIRS, strict=True):
            table = by_columns().fit(FLOWERS.iloc[train]).transform(FLOWERS)
            widths.add(table.shape[1])
            expected = on_fold(Trainer(network(**run.parameters), seed=0), train, apart, 2, table)
            assert dict(history) == dict(expected.history)
    assert len(widths) > 1
    assert result.best_model.input_shape == (7,)  # two numbers and five colours


@pytest.mark.parametrize("folds", [None, 3])
def test_a_random_transformer_is_the_same_in_all_runs_and_calls(folds, tmp_path):
    options = {"epochs": 4, "halving": 2, "folds": folds}
    one = look(**options, transformer=RBFSampler(n_components=4), journal=tmp_path)
    again = look(**options, transformer=RBFSampler(n_components=4), journal=tmp_path)
    assert_same(one, again)
    given = look(**options, transformer=RBFSampler(n_components=4, random_state=0))
    assert_same(one, given)  # the search's seed


def test_a_transformer_is_fitted_once_for_each_fold_whatever_the_candidates(monkeypatch):
    calls = []
    transformed = Split.transformed
    monkeypatch.setattr(Split, "transformed", lambda *arguments: calls.append(1) or transformed(*arguments))
    look(folds=3, epochs=4, halving=2, transformer=StandardScaler())
    assert len(calls) == 1 + 3 + 1  # the check, the folds, all rows


@pytest.mark.parametrize("folds", [None, 3])
def test_a_sparse_matrix_gives_the_bits_of_the_same_numbers_in_an_array(folds, tmp_path):
    few = np.where(x > 3, x, 0)
    one = look(x=few, folds=folds)
    for _ in range(2):
        assert_same(look(x=csr_array(few), folds=folds, journal=tmp_path), one)


# A row that is so large that a high rate diverges where it is trained on.
LARGE = np.concatenate([line, [[1e4]]]).astype(np.float32)


@pytest.mark.parametrize("jobs", [None, 2])
@pytest.mark.parametrize("halving", [None, 2])
def test_a_candidate_that_diverges_on_one_fold_is_ranked_as_diverged(halving, jobs):
    even, odd = np.arange(0, 100, 2), np.arange(1, 100, 2)
    folds = [(even, odd), (np.append(odd, 100), even)]
    space = {"rate": [0.05, 1e-9, 2e-9, 0.04]}
    result = look(regression, space, LARGE, LARGE, epochs=4, halving=halving, folds=folds, jobs=jobs, first_epochs=2)
    assert [(run.parameters["rate"], run.status) for run in result.runs[2:]] == [(0.05, "diverged"), (0.04, "diverged")]
    assert result.table["val_loss"].isna().tolist() == [False, False, True, True]
    assert result.table["std_val_loss"].isna().tolist() == [False, False, True, True]
    assert result.fold_table.loc[result.runs[2].number].isna().to_numpy().all()
    assert result.runs[2].fold_histories[0].epochs > 0  # that fold went well
    assert result.best_trainer.epoch == 4


def test_where_the_best_diverges_on_all_rows_alone_the_ranking_is_kept(tmp_path):
    even, odd = np.arange(0, 100, 2), np.arange(1, 100, 2)
    options = {"epochs": 4, "folds": [(even, odd), (odd, even)], "journal": tmp_path}  # none is trained on the last row
    for _ in range(2):
        result = look(regression, {"rate": [0.05, 1e-9]}, LARGE, LARGE, **options)
        assert result.best_parameters == {"rate": 0.05}
        assert [run.status for run in result.runs] == ["finished", "finished"]
        with pytest.raises(DivergenceError, match="best candidate, rate=0.05, diverged on all rows, but not on a fold"):
            _ = result.best_trainer


def test_a_fold_that_lbfgs_ends_keeps_its_last_metrics():
    def build(units, seed):
        layers = [Dense(units), Dense(1), MeanSquaredError()]
        model = Sequential(layers, dtype="float64", seed=seed)
        return Trainer(model, LBFGS(tolerance=1e-2), batch_size=None, seed=seed)

    result = look(build, {"units": [2, 3]}, y=y.astype(float), epochs=64, halving=2, folds=KFold(3))
    for run in result.runs:
        last = [history["val_loss"][-1] for history in run.fold_histories]
        assert run.metric_values["val_loss"] == np.mean(last)
    lengths = [history.epochs for history in result.runs[0].fold_histories]
    assert min(lengths) < max(lengths) == result.runs[0].history.epochs


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
    assert "search, to epoch 1: 6/6 |" in bars
    assert "search, to epoch 4: 2/2 |" in bars
    look(space={"units": [4]}, progress=True)
    assert "search: 1/1 |" in capfd.readouterr().err
    look()
    assert capfd.readouterr() == ("", "")


# Divergence


class Leap(Schedule):
    """A rate that is a billion times higher after the 25th step."""

    rate: float = setting(kw_only=False)

    def __call__(self, step):
        return self.rate * (1e9 if step >= 25 else 1)


DIVERGING = {"rate": [1e9, 1e-3, 1e-4, 1e8]}


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
        match=r"no candidate of 2 is left, because all diverged, candidate 1 \(rate=1000000000.0\) after \d",
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


def unseeded(units):
    return Sequential([Dense(units), Dense(3), SoftmaxCrossEntropy()])


def loose_order(units, seed):
    return Trainer(never(units, seed=seed))


def lost_in_a_fold(table):
    return table * np.nan if len(table) == 100 else table


same_optimizer = Adam()
same_average = ExponentialMovingAverage()
same_model = network()


def losses(smoothing, seed=0):
    return Sequential([Dense(3), SoftmaxCrossEntropy(label_smoothing=smoothing)], seed=seed)


@pytest.mark.parametrize(
    ("build_model", "space", "options", "error", "message"),
    [
        (never, {"units": [4]}, {"epochs": 0}, ArgumentError, "epochs is 0"),
        (never, {"units": [4]}, {"epochs": 2.0}, ArgumentTypeError, "epochs is 2.0"),
        (never, {"units": [4]}, {"halving": 1}, ArgumentError, "halving is 1; it must be a whole number, 2 or more"),
        (never, {"units": [4]}, {"halving": True}, ArgumentTypeError, "halving is True"),
        (never, {"units": [4]}, {"first_epochs": 3}, ArgumentError, "first_epochs is 3, more than the 2 epochs"),
        (never, {"units": [4]}, {"first_epochs": 0}, ArgumentError, "first_epochs is 0"),
        (never, {"units": [4]}, {"seed": -1}, ArgumentError, "seed is -1"),
        (
            never,
            {"units": [4]},
            {"seed": 2**32},
            ArgumentError,
            r"it must be .* in \[0, 4294967296\)",
        ),
        (never, {"units": [4]}, {"seed": None}, ArgumentTypeError, "seed is None"),
        (never, {"units": [4]}, {"jobs": 0}, ArgumentError, "jobs is 0"),
        (never, {"units": [4]}, {"batch_size": 0}, ArgumentError, r"candidate 1 \(units=4\): Trainer: batch_size is 0"),
        (never, {"units": [4]}, {"optimizer": "adm"}, ArgumentError, "did you mean 'adam'"),
        (never, {"units": [4]}, {"clip_norm": 0}, ArgumentError, r"\(units=4\): Trainer: clip_norm is 0"),
        (never, {"units": [4]}, {"metrics": ["acuracy"]}, ArgumentError, "did you mean 'accuracy'"),
        (
            never,
            {"units": [4]},
            {"average": 0.9},
            ArgumentTypeError,
            r"average is 0.9; it must be an Average",
        ),
        (never, {"units": [4]}, {"monitor": 3}, ArgumentTypeError, "search: monitor is 3"),
        (
            never,
            {"units": [4]},
            {"monitor": "val_los"},
            ArgumentError,
            "search: the run has no metric 'val_los'; did you",
        ),
        (never, {"units": [4]}, {"mode": "up"}, ArgumentError, "search: mode is 'up'"),
        (
            never,
            {"units": [4]},
            {"validation": 0.0},
            ArgumentError,
            "validation is 0.0, but candidates are ranked by held-out rows",
        ),
        (never, {"units": [4]}, {"validation": 150}, ArgumentError, "holds out 150 of 150 rows"),
        (
            never,
            {"units": [4]},
            {"folds": 3, "validation": 0.2},
            ArgumentError,
            "search: validation and folds each choose the held-out rows: give only one of them",
        ),
        (
            never,
            {"units": [4]},
            {"folds": 3, "validation_data": (x, y)},
            ArgumentError,
            "search: validation_data and folds each choose the held-out rows",
        ),
        (never, {"units": [4]}, {"folds": 1}, ArgumentError, "folds is 1; it must be"),
        (never, {"units": [4]}, {"groups": y}, ArgumentError, r"groups are for .* such as folds=GroupKFold\(5\)"),
        (never, {"units": [4]}, {"folds": 3, "groups": y}, ArgumentError, "groups are for a splitter"),
        (
            never,
            {"units": [4]},
            {"folds": KFold(3), "class_weight": {0: 0, 2: 0}},
            DataError,
            r"candidate 1 \(units=4\), fold 2: sample_weight times class_weight is 0",
        ),
        (never, {"units": [4]}, {"transformer": StandardScaler}, ArgumentTypeError, "transformer is <class"),
        (
            never,
            {"units": [4]},
            {"transformer": FunctionTransformer(lambda table: table.astype(str))},
            DataError,
            r"what the transformer returned holds '5.1' \(str\) in column 0, row 0; give numbers only",
        ),
        (
            never,
            {"units": [4]},
            {
                "folds": 3,
                "transformer": FunctionTransformer(lambda table: table * (np.nan if len(table) == 100 else 1)),
            },
            DataError,
            "^fold 1: what the transformer returned holds NaN at row 0, entry 0",
        ),
        (
            lambda units, seed: Sequential([Dense(units), SoftmaxCrossEntropy()], input_shape=7, seed=seed),
            {"units": [4]},
            {"x": FLOWERS, "folds": 3, "transformer": by_columns()},
            ShapeError,
            r"candidate 1 \(units=4\), fold 2, layer 1 'dense_1' expects input \(7,\) per sample but got \(6,\)",
        ),
        (never, {"units": [4]}, {"validation_data": x}, ArgumentTypeError, r"must be \(x, y\)"),
        (never, {"units": [4]}, {"validation_data": 0}, ArgumentTypeError, "or None, to hold out rows of x and y by"),
        (never, {"units": [4]}, {"validation_data": (x, y[:3])}, DataError, "validation_data: the lengths differ"),
        (never, {"units": [4]}, {"validation_data": (x[:, :2], y)}, ShapeError, "validation_data"),
        (never, {"units": [4]}, {"x": x[:5]}, DataError, "x has 5 rows, y has 150 rows"),
        (never, {"units": [4]}, {"x": np.where(x > 5, np.nan, x)}, DataError, "^x holds NaN"),
        (never, {"units": [4]}, {"y": y + 1}, DataError, "y is 3 at row"),
        (never, {"units": [4]}, {"sample_weight": -y}, DataError, "0 or more"),
        (never, {"units": [4]}, {"class_weight": "even"}, ArgumentError, "even"),
        (never, {"units": [4, 0]}, {}, ArgumentError, r"candidate 2 \(units=0\): .*units is 0"),
        (unseeded, {"units": [4]}, {}, ArgumentError, r"\(units=4\): build_model makes a different result in each"),
        (loose_order, {"units": [4]}, {}, ArgumentError, "different result in each call: let it take seed"),
        (lambda units: same_model, {"units": [4]}, {}, ArgumentError, "the same object twice"),
        (
            lambda units, seed: Trainer(never(units, seed=seed), same_optimizer, seed=seed),
            {"units": [4]},
            {},
            ArgumentError,
            "the same object twice",
        ),
        (
            lambda units, seed: Trainer(never(units, seed=seed), average=same_average, seed=seed),
            {"units": [4]},
            {},
            ArgumentError,
            "the same object twice",
        ),
        (
            never,
            {"units": [4]},
            {"augment": lambda x, rng: x},
            ArgumentTypeError,
            r"\(units=4\): the trainer's augment = .* cannot be saved: .* write the function as a class",
        ),
        (never, {"units": [4]}, {"augment": PixelNoise(0.1)}, ShapeError, r"\(units=4\): .*images are flat"),
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

    with pytest.raises(ValueError, match=r"^candidate 2 \(units=8\), layer 2 'fails_1': no slope$"):
        look(build, {"units": [4, 8]}, jobs=jobs)


def test_losses_that_differ_are_compared_by_another_metric():
    assert len(look(losses, {"smoothing": [0.0, 0.1]}, monitor="val_accuracy").runs) == 2


def test_the_best_model_knows_the_columns_and_validation_data_must_have_them():
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 3)), columns=["a", "b", "c"])
    y = np.arange(40) % 2

    def build(units, seed):
        return Sequential([Dense(units), ReLU(), Dense(2), SoftmaxCrossEntropy()], seed=seed)

    arguments = {"epochs": 1, "progress": False}
    for more in ({}, {"folds": 2}, {"validation_data": (frame, y)}):
        best = search(build, {"units": [2, 3]}, frame, y, **arguments, **more).best_model
        assert best.feature_names == ["a", "b", "c"]
    with pytest.raises(ShapeError, match="another order"):
        search(build, {"units": [2, 3]}, frame, y, validation_data=(frame[["b", "a", "c"]], y), **arguments)
