"""Cross-validation: every run is that of a trainer on its folds, to the same bits with any number of processes."""

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import coo_array, csc_array, csr_matrix
from searches import FLOWERS, by_columns
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.datasets import load_iris, make_regression
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import KFold, ShuffleSplit, StratifiedKFold, TimeSeriesSplit
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from threadpoolctl import threadpool_limits

from minidl import (
    Adam,
    Callback,
    Checkpoint,
    CrossValidation,
    CSVLogger,
    Dense,
    EarlyStopping,
    Ensemble,
    ExponentialMovingAverage,
    Hinge,
    History,
    Layer,
    MeanSquaredError,
    Momentum,
    Poisson,
    ReLU,
    Sequential,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    TopKAccuracy,
    Trainer,
    cross_validate,
)
from minidl.errors import ArgumentError, ArgumentTypeError, DataError, DivergenceError, ShapeError
from minidl.functional import softmax
from minidl.training.cross_validation import Run

x, y = load_iris(return_X_y=True)


def classifier(seed, outputs=3):
    return Sequential([Dense(8), ReLU(), Dense(outputs), SoftmaxCrossEntropy()], seed=seed)


def regression(seed):
    return Sequential([Dense(8), ReLU(), Dense(1), MeanSquaredError()], seed=seed)


def validate(build_model=classifier, x=x, y=y, **options):
    return cross_validate(build_model, x, y, **{"folds": 3, "epochs": 2, "progress": False} | options)


def by_hand(seed, train, held_out, weights=None, x=x):
    """One run, without cross_validate."""
    trainer = Trainer(classifier(seed), Adam(0.01), batch_size=16, seed=seed)
    part = [None if weights is None else weights[rows] for rows in (train, held_out)]
    validation = (x[held_out], y[held_out], part[1])
    with threadpool_limits(1, user_api="blas"):
        trainer.fit(x[train], y[train], epochs=3, validation_data=validation, sample_weight=part[0], progress=False)
        return trainer.history, trainer.model.predict(x[held_out]), trainer.model.predict_proba(x[held_out])


# What the runs are


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("jobs", [None, 2])
def test_each_run_is_that_of_a_trainer_with_the_seed_on_the_fold(jobs, weighted):
    weights = np.linspace(0.5, 2, len(y)) if weighted else None
    result = validate(optimizer=Adam(0.01), batch_size=16, epochs=3, seeds=[4, 2], jobs=jobs, sample_weight=weights)
    runs = iter(zip(result.runs, result.fold_predictions, strict=True))
    for seed in (4, 2):
        splits = StratifiedKFold(3, shuffle=True, random_state=seed).split(x, y)
        for fold, (train, held_out) in enumerate(splits, start=1):
            run, predictions = next(runs)
            history, expected, probabilities = by_hand(seed, train, held_out, weights)
            assert (run.seed, run.fold) == (seed, fold)
            assert run.held_out.tolist() == held_out.tolist()
            assert dict(run.history) == dict(history)
            assert run.metric_values == {name: column[-1] for name, column in history.items()}
            assert predictions.tolist() == expected.tolist()
            assert np.array_equal(softmax(run.scores), probabilities)
    assert next(runs, None) is None


def test_any_number_of_processes_gives_the_same_bits_also_for_large_arrays_and_parts_of_ones_own():
    rng = np.random.default_rng(0)
    large, labels = rng.normal(size=(2000, 100)), rng.integers(2, size=2000)  # joblib hands it on as a memory map

    class Double(Layer):
        def forward(self, x, training=False):
            return 2 * x

        def backward(self, dy):
            return 2 * dy

    class Shrink(Callback):
        def on_gradients(self, trainer):
            trainer.model.gradients *= 0.5

    def build(seed):
        return Sequential([Double(), Dense(64), ReLU(), Dense(2), SoftmaxCrossEntropy()], input_shape=100, seed=seed)

    one, two = (
        validate(
            build,
            large,
            labels,
            seeds=2,
            jobs=jobs,
            batch_size=None,
            optimizer=Momentum(lambda step: 0.1 / (step + 1)),
            transformer=StandardScaler(),
            callbacks=[Shrink()],
        )
        for jobs in (1, 2)
    )
    assert [dict(history) for history in one.histories] == [dict(history) for history in two.histories]
    for first, second in zip(one.runs, two.runs, strict=True):
        assert np.array_equal(first.scores, second.scores)
    pd.testing.assert_frame_equal(one.scores, two.scores, check_exact=True)


def test_runs_are_augmented_and_rows_held_out_are_not():
    def augment(inputs, rng):
        return inputs + rng.normal(size=inputs.shape).astype(np.float32)

    result = validate(optimizer=Adam(0.01), batch_size=16, epochs=2, seeds=[4], augment=augment)
    splits = list(StratifiedKFold(3, shuffle=True, random_state=4).split(x, y))
    trainer = Trainer(classifier(4), Adam(0.01), batch_size=16, seed=4, augment=augment)
    train, held_out = splits[0]
    with threadpool_limits(1):
        expected = trainer.fit(x[train], y[train], epochs=2, validation_data=(x[held_out], y[held_out]), progress=False)
    assert dict(result.runs[0].history) == dict(expected)
    with pytest.raises(ShapeError, match="augment must return an array of the shape that it gets"):
        validate(augment=lambda inputs, rng: inputs[:, :1])


def wide_misses(predictions, targets):
    return abs(predictions - targets) > 1


@pytest.mark.parametrize("jobs", [None, 2])
def test_runs_have_the_metrics_the_bounds_and_the_average_of_the_call(jobs):
    settings = {"clip_norm": 0.1, "clip_value": 0.02, "metrics": ["recall", TopKAccuracy(2), wide_misses]}
    average = ExponentialMovingAverage(0.9)
    result = validate(seeds=[4], average=average, **settings, jobs=jobs)
    assert average.vector is None
    names = ["loss", "recall", "top_2_accuracy", "wide_misses"]
    assert list(result.mean) == [*names, *(f"val_{name}" for name in names)]
    folds = StratifiedKFold(3, shuffle=True, random_state=4).split(x, y)
    for run, (train, held_out) in zip(result.runs, folds, strict=True):
        trainer = Trainer(classifier(4), seed=4, average=ExponentialMovingAverage(0.9), **settings)
        with threadpool_limits(1, user_api="blas"):
            trainer.fit(x[train], y[train], epochs=2, validation_data=(x[held_out], y[held_out]), progress=False)
            scores = trainer.model.predict_scores(x[held_out])
        assert dict(run.history) == dict(trainer.history)
        assert run.metric_values == trainer.metric_values
        assert np.array_equal(run.scores, scores)
        misses = np.abs(scores.argmax(axis=1) - y[held_out]) > 1
        assert run.metric_values["val_wide_misses"] == pytest.approx(misses.mean())


def test_metrics_may_be_any_iterable():
    names = ["loss", "recall", "val_loss", "val_recall"]
    result = validate(seeds=2, metrics=(name for name in ["recall"]))
    assert [list(run.metric_values) for run in result.runs] == [names] * 6


def test_rows_of_positions_are_taken_with_the_weights_of_their_positions():
    positions, labels = x[:120].reshape(30, 4, 4), y[:120].reshape(30, 4)
    weights = np.linspace(0, 2, 120).reshape(30, 4)
    result = validate(x=positions, y=labels, sample_weight=weights)
    assert result.predictions.shape == (30, 4)
    assert result.probabilities.shape == (30, 4, 3)
    for run, (train, held_out) in zip(
        result.runs, KFold(3, shuffle=True, random_state=0).split(positions), strict=True
    ):
        trainer = Trainer(classifier(0), seed=0)
        validation = (positions[held_out], labels[held_out], weights[held_out])
        with threadpool_limits(1, user_api="blas"):
            trainer.fit(
                positions[train],
                labels[train],
                epochs=2,
                sample_weight=weights[train],
                validation_data=validation,
                progress=False,
            )
        assert dict(run.history) == dict(trainer.history)
    masked = np.where(labels == 0, 1.0, 0)  # of a fold of the last rows, nothing counts
    with pytest.raises(DataError, match="fold 3, of the rows that it holds out: sample_weight is 0 for every row"):
        validate(x=positions, y=labels, sample_weight=masked, folds=KFold(3))


def test_a_transformer_learns_from_the_rows_trained_on_alone():
    result = validate(optimizer=Adam(0.01), batch_size=16, epochs=3, transformer=StandardScaler())
    for run, (train, held_out) in zip(
        result.runs, StratifiedKFold(3, shuffle=True, random_state=0).split(x, y), strict=True
    ):
        scaled = (x - x[train].mean(axis=0)) / x[train].std(axis=0)
        history, _, _ = by_hand(0, train, held_out, x=scaled)
        assert run.history["val_loss"] == pytest.approx(history["val_loss"], rel=1e-4)  # rounded in other places


def test_a_transformer_may_change_the_number_of_features():
    from sklearn.decomposition import PCA

    result = validate(transformer=PCA(2, random_state=0))
    assert result.probabilities.shape == (150, 3)


def test_a_transformer_may_fill_what_is_missing():
    from sklearn.impute import SimpleImputer

    assert validate(x=np.where(x > 5, np.nan, x), transformer=SimpleImputer()).predictions.shape == (150,)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("jobs", [None, 2])
def test_a_frame_reaches_a_transformer_that_selects_its_columns_by_name(jobs, sparse):
    transformer = by_columns(sparse)
    result = validate(optimizer=Adam(0.01), batch_size=16, epochs=3, x=FLOWERS, transformer=transformer, jobs=jobs)
    widths = set()
    for run, (train, held_out) in zip(
        result.runs, StratifiedKFold(3, shuffle=True, random_state=0).split(x, y), strict=True
    ):
        fitted = clone(transformer).fit(FLOWERS.iloc[train])
        table = np.zeros((150, len(fitted.get_feature_names_out())))
        for rows in (train, held_out):
            returned = fitted.transform(FLOWERS.iloc[rows])
            table[rows] = returned.toarray() if sparse else returned
        widths.add(table.shape[1])
        history, predictions, _ = by_hand(0, train, held_out, x=table)
        assert dict(run.history) == dict(history)
        assert result.predictions[held_out].tolist() == predictions.tolist()
    assert len(widths) > 1
    assert not hasattr(transformer, "transformers_")


class Look(TransformerMixin, BaseEstimator):
    """Returns numbers, and tells the class what it gets."""

    def __init__(self, seen=()):
        self.seen = seen

    def __deepcopy__(self, memo):
        return self

    def __sklearn_clone__(self):
        return self

    def fit(self, x, y):
        self.seen.append(("fit", x))
        return self

    def transform(self, x):
        self.seen.append(("transform", x))
        return np.arange(2.0 * x.shape[0]).reshape(-1, 2)


def seen_of(data):
    look = Look([])
    validate(x=data, transformer=look, folds=[(np.arange(149, 49, -1), np.arange(50))])
    return dict(zip(["all", "all again", "training", "training again", "held out"], look.seen, strict=True))


def test_a_frame_stays_a_frame_with_its_columns_types_and_index():
    frame = FLOWERS.astype({"colour": "category"})
    seen = seen_of(frame)
    for name, expected in (("all", frame), ("training", frame.iloc[:49:-1]), ("held out", frame.iloc[:50])):
        pd.testing.assert_frame_equal(seen[name][1], expected)


@pytest.mark.parametrize("kind", [csr_matrix, csc_array, coo_array])
def test_a_sparse_matrix_stays_sparse_on_its_way_to_the_transformer(kind):
    seen = seen_of(kind(x))
    for name, expected in (("all", x), ("training", x[:49:-1]), ("held out", x[:50])):
        assert np.array_equal(seen[name][1].toarray(), expected)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (x.tolist(), x),
        (["a", "b"] * 75, np.array(["a", "b"] * 75, object)),
        ([[1, "a"]] * 150, np.array([[1, "a"]] * 150, object)),
    ],
)
def test_a_list_becomes_an_array_on_its_way_to_the_transformer(data, expected):
    kind, seen = seen_of(data)["training"]
    assert kind == "fit"
    assert seen.dtype == expected.dtype
    assert np.array_equal(seen, expected[:49:-1])


def test_texts_are_taken_by_a_transformer_that_makes_sparse_numbers_of_them():
    words = np.array(["sepal petal", "petal leaf", "leaf stem"])[y]
    result = validate(x=words.tolist(), transformer=TfidfVectorizer(), optimizer=Adam(0.1), epochs=5)
    assert result.mean["val_accuracy"] == 1


@pytest.mark.parametrize("kind", [csr_matrix, csc_array, coo_array])
def test_a_sparse_matrix_gives_the_bits_of_the_same_numbers_in_an_array(kind):
    few = np.where(x > 3, x, 0)
    one, two = validate(x=few), validate(x=kind(few))
    assert [dict(history) for history in one.histories] == [dict(history) for history in two.histories]
    assert np.array_equal(one.probabilities, two.probabilities)


class OthersMean(BaseEstimator):
    """The mean target of the rows of a name; of the rows that it is fitted to, without the row itself."""

    def fit(self, names, y):
        self.sums_ = {name: (y[names[:, 0] == name].sum(), (names[:, 0] == name).sum()) for name in np.unique(names)}
        return self

    def transform(self, names):
        found = [self.sums_.get(name, (0.0, 1)) for name in names[:, 0]]
        return np.array([[total / count] for total, count in found])

    def fit_transform(self, names, y):
        found = [self.fit(names, y).sums_[name] for name in names[:, 0]]
        return np.array([[(total - own) / max(count - 1, 1)] for (total, count), own in zip(found, y, strict=True)])


def test_the_rows_trained_on_are_those_of_fit_transform_as_in_a_pipeline():
    names, numbers = (10 * x[:, [0]]).astype(int).astype(str), y.astype(float)
    result = validate(regression, names, numbers, transformer=OthersMean())
    for run, (train, held_out) in zip(result.runs, KFold(3, shuffle=True, random_state=0).split(names), strict=True):
        fitted = OthersMean()
        encoded = fitted.fit_transform(names[train], numbers[train])
        assert not np.array_equal(encoded, fitted.transform(names[train]))
        trainer = Trainer(regression(0), seed=0)
        with threadpool_limits(1, user_api="blas"):
            validation = (fitted.transform(names[held_out]), numbers[held_out])
            trainer.fit(encoded, numbers[train], epochs=2, validation_data=validation, progress=False)
        assert dict(run.history) == dict(trainer.history)


def test_a_transformer_without_a_random_state_has_that_of_the_run():
    from sklearn.kernel_approximation import RBFSampler
    from sklearn.pipeline import make_pipeline

    one, two = (validate(transformer=make_pipeline(StandardScaler(), RBFSampler(n_components=5))) for _ in range(2))
    assert dict(one.histories[0]) == dict(two.histories[0])
    given = validate(transformer=make_pipeline(StandardScaler(), RBFSampler(n_components=5, random_state=0)))
    assert dict(one.histories[0]) == dict(given.histories[0])  # of the seed 0
    other = validate(transformer=make_pipeline(StandardScaler(), RBFSampler(n_components=5, random_state=7)))
    assert dict(one.histories[0]) != dict(other.histories[0])


def test_a_transformer_that_works_in_place_does_not_reach_the_data_of_the_caller():
    mine = x.copy()
    one = validate(x=mine, transformer=StandardScaler(copy=False))
    assert np.array_equal(mine, x)
    assert dict(one.histories[0]) == dict(validate(transformer=StandardScaler()).histories[0])


def texts(table):
    return np.full((len(table), 2), "red", object)


def missing(table):
    return np.where(np.arange(len(table))[:, np.newaxis] == 7, np.nan, table)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (texts, r"what the transformer returned holds '.*' \(str\) in column 0, row 0; give numbers only"),
        (missing, "what the transformer returned holds NaN at row 7, entry 0: remove or fill"),
        (lambda table: csr_matrix(missing(table)), "what the transformer returned holds NaN at row 7, entry 0"),
        (
            lambda table: pd.DataFrame({"a": ["red"] * len(table)}),
            r"what the transformer returned holds 'red' \(str\) in column 'a', row 0; give numbers only",
        ),
        (lambda table: table[1:], "what the transformer returned has 149 rows, y has 150 rows"),
        (lambda table: None, "what the transformer returned is missing"),
    ],
)
def test_what_a_network_cannot_use_is_said_to_come_from_the_transformer(function, message):
    with pytest.raises(DataError, match=message):
        validate(transformer=FunctionTransformer(function), callbacks=[NoTraining()])


def test_what_only_the_rows_of_a_fold_make_unusable_is_said_to_come_from_the_transformer_there():
    with pytest.raises(DataError, match="^seed 0, fold 1: what the transformer returned holds NaN at row 0"):
        validate(transformer=FunctionTransformer(lambda table: table * np.nan if len(table) == 100 else table))


def test_lists_of_rows_of_different_lengths_are_no_table():
    with pytest.raises(DataError, match="x is not a table: .*give an array or a pandas frame"):
        validate(x=[[1.0]] * 149 + [[1.0, 2.0]], transformer=StandardScaler())
    with pytest.raises(DataError, match="x is missing"):
        validate(x=None, transformer=StandardScaler())


def test_a_regression_is_dealt_without_classes_and_pandas_are_taken():
    features, targets = make_regression(60, 4, random_state=0)
    result = validate(regression, pd.DataFrame(features), pd.Series(targets))
    expected = KFold(3, shuffle=True, random_state=0).split(features)
    for held_out, (_, rows) in zip(result.held_out, expected, strict=True):
        assert held_out.tolist() == rows.tolist()
    assert result.predictions.shape == (60,)
    with pytest.raises(ArgumentError, match="MeanSquaredError gives no probabilities"):
        _ = result.probabilities


def test_a_cpu_with_several_cores_is_used_by_minus_one():
    assert repr(validate(jobs=-1)) == repr(validate())


def test_optimizer_callbacks_and_transformer_of_the_caller_are_left_as_they_were():
    class Count(Callback):
        epochs = 0

        def on_epoch_end(self, trainer):
            self.epochs += 1
            assert self.epochs <= 2  # each run begins with a copy that has counted nothing

    optimizer, count, scaler = Adam(), Count(), StandardScaler()
    validate(optimizer=optimizer, callbacks=[count], transformer=scaler)
    assert (optimizer.step, optimizer.state, count.epochs) == (0, {}, 0)
    assert not hasattr(scaler, "mean_")


def test_the_metrics_are_those_of_the_model_that_a_callback_leaves():
    class Forget(Callback):
        def on_train_end(self, trainer):
            trainer.model.parameters[:] = 0

    result = validate(callbacks=[Forget()])
    assert result.mean["val_loss"] == pytest.approx(np.log(3), rel=1e-5)
    assert result.histories[0]["val_loss"][-1] != pytest.approx(np.log(3), rel=1e-5)


def test_models_may_begin_with_equal_parameters_for_another_reason_than_the_seed():
    def zeros(seed):
        return Sequential([Dense(3, initializer="zeros"), SoftmaxCrossEntropy()], seed=seed)

    result = validate(zeros, seeds=2)
    assert result.histories[0]["loss"] != result.histories[3]["loss"]


def test_a_bar_counts_the_runs(capfd):
    validate(progress=True)
    assert "3/3" in capfd.readouterr().err
    validate()
    assert capfd.readouterr() == ("", "")


# What it returns


def test_scores_have_a_row_for_each_run_and_their_mean_and_deviation_are_the_frames():
    result = validate(seeds=2)
    assert isinstance(result, CrossValidation)
    assert list(result.scores.columns) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert list(result.scores.index) == [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3)]
    assert result.scores.index.names == ["seed", "fold"]
    assert result.mean == pytest.approx(result.scores.mean().to_dict())
    assert result.standard_deviation == pytest.approx(result.scores.std().to_dict())


def test_with_one_seed_each_row_has_the_prediction_of_the_model_that_did_not_see_it():
    result = validate()
    assert result.predictions.dtype.kind == "i"
    for rows, predictions, run in zip(result.held_out, result.fold_predictions, result.runs, strict=True):
        assert np.array_equal(result.predictions[rows], predictions)
        assert np.array_equal(result.probabilities[rows], softmax(run.scores))


def test_with_several_seeds_the_probabilities_are_averaged_and_the_most_probable_class_is_predicted():
    result = validate(seeds=3)
    means = np.zeros((150, 3))
    for run in result.runs:
        means[run.held_out] += softmax(run.scores.astype(np.float64)) / 3
    np.testing.assert_allclose(result.probabilities, means, rtol=1e-5)
    assert np.array_equal(result.predictions, means.argmax(axis=1))


def test_predictions_of_several_seeds_are_those_of_their_models_in_an_ensemble():
    counts = np.random.default_rng(0).poisson(np.exp(x[:, 0] - 5)).astype(float)

    def poisson(seed):
        return Sequential([Dense(4), ReLU(), Dense(1), Poisson()], seed=seed)

    pairs = [(np.arange(100), np.arange(100, 150))]
    result = validate(poisson, y=counts, seeds=2, folds=pairs, optimizer=Adam(0.02))
    trainers = [Trainer(poisson(seed), Adam(0.02), batch_size=32, seed=seed) for seed in (0, 1)]
    with threadpool_limits(1, user_api="blas"):
        for trainer in trainers:
            trainer.fit(x[:100], counts[:100], epochs=2, progress=False)
    ensemble = Ensemble([trainer.model for trainer in trainers])
    np.testing.assert_allclose(result.predictions[100:], ensemble.predict(x[100:]), rtol=1e-6)
    rates = np.mean(result.fold_predictions, axis=0)
    np.testing.assert_allclose(result.predictions[100:], rates, rtol=1e-5)


def of_scores(loss, *scores):
    """The result of one run for each of `scores`, which hold out as many rows as it has, from row 0 on."""
    runs = [
        Run(0, number, np.arange(len(each)), History(), {}, np.array(each, np.float32))
        for number, each in enumerate(scores, start=1)
    ]
    return CrossValidation(runs, max(map(len, scores)), loss)


def test_the_average_is_that_of_what_scores_mean_to_the_loss():
    rates = of_scores(Poisson(), [[np.log(1)], [0]], [[np.log(3)], [0]], [[np.log(8)]])
    assert rates.predictions.tolist() == pytest.approx([4, 1])
    # The mean of the scores 9, 0.2 and -10 is below 0, but that of their probabilities, 1, 0.55 and 0, above 1/2.
    label = of_scores(SigmoidCrossEntropy(), [[9]], [[0.2]], [[-10]])
    assert label.probabilities.tolist() == [pytest.approx([0.5166], rel=1e-3)]
    assert label.predictions.tolist() == [1]
    # One model is sure of class 1, and its scores outweigh those of the two that are rather for class 0.
    sure, rather = np.log([0.001, 0.999]), np.log([0.8, 0.2])
    classes = of_scores(SoftmaxCrossEntropy(), [sure], [rather], [rather])
    assert classes.probabilities.tolist() == [pytest.approx([1.601 / 3, 1.399 / 3], rel=1e-5)]
    assert classes.predictions.tolist() == [0]
    assert of_scores(Hinge(), [[3]], [[-1]], [[-1]]).predictions.tolist() == [1]
    assert of_scores(MeanSquaredError(), [[1, 4]], [[2, 6]]).predictions.tolist() == [[1.5, 5]]


def test_a_row_that_is_never_held_out_has_nan():
    result = validate(folds=TimeSeriesSplit(2))
    assert np.isnan(result.predictions[:50]).all()
    assert np.isnan(result.probabilities[:50]).all()
    assert set(result.predictions[50:]) <= {0, 1, 2}
    np.testing.assert_allclose(result.probabilities[50:].sum(axis=1), 1, rtol=1e-5)


def test_a_row_that_one_seed_holds_out_repeatedly_has_the_mean():
    result = validate(folds=ShuffleSplit(6, test_size=0.5, random_state=0))
    counts = np.bincount(np.concatenate(result.held_out), minlength=150)
    assert counts.max() > 1
    for row in range(150):
        scores = [run.scores[run.held_out == row][0] for run in result.runs if row in run.held_out]
        expected = np.mean([softmax(each) for each in scores], axis=0) if scores else [np.nan] * 3
        np.testing.assert_allclose(result.probabilities[row], expected, rtol=1e-5)


def test_a_single_run_has_no_deviation():
    result = validate(folds=[(np.arange(0, 150, 2), np.arange(1, 150, 2))])
    assert np.isnan(list(result.standard_deviation.values())).all()
    assert "± nan" in repr(result)


def test_the_summary_is_a_table_of_the_runs(capsys):
    result = validate(seeds=[11])
    result.summary()
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["seed", "fold", "rows", "loss", "accuracy", "val_loss", "val_accuracy"]
    for line, run in zip(lines[1:4], result.runs, strict=True):
        assert line == ["11", str(run.fold), "50", *(f"{value:.4f}" for value in run.metric_values.values())]
    assert lines[4:] == [
        ["mean", *(f"{value:.4f}" for value in result.mean.values())],
        ["deviation", *(f"{value:.4f}" for value in result.standard_deviation.values())],
    ]


def test_large_values_are_written_with_commas(capsys):
    features, targets = make_regression(60, 4, random_state=0)
    result = validate(regression, features, 100 * targets)
    result.summary()
    assert f"{result.mean['val_loss']:,.0f}" in capsys.readouterr().out


def test_the_repr_tells_the_metrics_on_rows_held_out():
    result = validate()
    loss, accuracy = (
        f"{result.mean[name]:.4g} ± {result.standard_deviation[name]:.2g}" for name in ("val_loss", "val_accuracy")
    )
    assert repr(result) == f"CrossValidation(3 runs, val_loss={loss}, val_accuracy={accuracy})"


# What is refused, before any training


class NoTraining(Callback):
    def on_train_begin(self, trainer):
        raise AssertionError("the training has begun")


one_model = classifier(0)
models_by_seed = {0: classifier(0), 1: classifier(1)}


@pytest.mark.parametrize(
    ("build_model", "options", "error", "message"),
    [
        (one_model, {}, ArgumentTypeError, r"build_model is Sequential.*lambda seed: Sequential\(\[...\], seed=seed\)"),
        (None, {}, ArgumentTypeError, "build_model is None; give a function"),
        (lambda: one_model, {}, ArgumentTypeError, "build_model must take one argument, the seed"),
        (lambda seed: "model", {}, ArgumentTypeError, r"build_model\(0\) returned 'model', not a Sequential"),
        (lambda seed: one_model, {"seeds": 2}, ArgumentError, r"build_model\(1\) returned the same model as for anoth"),
        (
            lambda seed: models_by_seed[seed],
            {"seeds": 2},
            ArgumentError,
            r"build_model\(0\) returned the same model twice",
        ),
        (lambda seed: classifier(None), {}, ArgumentError, "different first parameters in each call: pass the seed on"),
        (lambda seed: classifier(7), {"seeds": [3, 5]}, ArgumentError, "same first parameters for the seeds 3 and 5"),
        (lambda seed: Sequential([Dense(3)], seed=seed), {}, ArgumentError, "the model has no loss"),
        (lambda seed: classifier(seed, 2), {}, DataError, "y is 2 at row"),
        (
            lambda seed: Sequential([Dense(3), SoftmaxCrossEntropy()], input_shape=5, seed=seed),
            {},
            ShapeError,
            "expects",
        ),
        (classifier, {"folds": 1}, ArgumentError, "folds is 1"),
        (classifier, {"folds": 51}, DataError, "class 0 has 50 rows, fewer than the 51 folds"),
        (classifier, {"seeds": 0}, ArgumentError, "seeds is 0; it must be a whole number, 1 or more"),
        (classifier, {"seeds": True}, ArgumentTypeError, "seeds is True; it must be a whole number"),
        (classifier, {"seeds": "12"}, ArgumentTypeError, "seeds is '12'"),
        (classifier, {"seeds": 1.5}, ArgumentTypeError, "seeds is 1.5"),
        (classifier, {"seeds": []}, ArgumentError, r"seeds is \[\]; give one or more, each once"),
        (classifier, {"seeds": [1, 1]}, ArgumentError, r"seeds is \[1, 1\]"),
        (classifier, {"seeds": [-1]}, ArgumentError, r"a seed is -1; it must be a whole number, in \[0, 4294967296\)"),
        (classifier, {"seeds": [2**32]}, ArgumentError, r"a seed is 4294967296; it must be a whole number, in \[0, 42"),
        (classifier, {"epochs": 0}, ArgumentError, "epochs is 0"),
        (classifier, {"jobs": 0}, ArgumentError, "jobs is 0"),
        (classifier, {"jobs": -2}, ArgumentError, "jobs is -2"),
        (classifier, {"jobs": True}, ArgumentTypeError, "jobs is True"),
        (classifier, {"batch_size": 0}, ArgumentError, "batch_size is 0"),
        (classifier, {"optimizer": "adm"}, ArgumentError, "did you mean 'adam'"),
        (classifier, {"metrics": ["acuracy"]}, ArgumentError, "did you mean 'accuracy'"),
        (classifier, {"metrics": "accuracy"}, ArgumentTypeError, "metrics must be a list"),
        (classifier, {"clip_norm": 0}, ArgumentError, "clip_norm is 0"),
        (classifier, {"average": 0.9}, ArgumentTypeError, "average is 0.9"),
        (classifier, {"optimizer": Adam(lambda step: -1)}, ArgumentError, "learning_rate at step 0 is -1"),
        (classifier, {"callbacks": [3]}, ArgumentTypeError, "a callback is 3"),
        (classifier, {"transformer": StandardScaler}, ArgumentTypeError, "such as StandardScaler"),
        (classifier, {"transformer": "standard"}, ArgumentTypeError, "transformer is 'standard'"),
        (classifier, {"sample_weight": y == 9}, DataError, "sample_weight is 0 for every row"),
        (classifier, {"x": x[:5]}, DataError, "x has 5 rows, y has 150 rows"),
        (classifier, {"x": np.where(x > 5, np.nan, x)}, DataError, "x holds NaN"),
        (classifier, {"groups": y}, ArgumentError, "groups are for a splitter"),
        (
            classifier,
            {"folds": KFold(3), "sample_weight": (y == 0).astype(float)},
            DataError,
            "seed 0, fold 1, of the rows that it trains on: sample_weight is 0 for every row",
        ),
        (
            classifier,
            {"folds": KFold(3), "sample_weight": (y != 1).astype(float)},
            DataError,
            "seed 0, fold 2, of the rows that it holds out: sample_weight is 0 for every row",
        ),
        (
            classifier,
            {"folds": KFold(3), "class_weight": {0: 0, 2: 0}},
            DataError,
            "seed 0, fold 2, of the rows that it trains on: sample_weight times class_weight is 0",
        ),
        (classifier, {"callbacks": [EarlyStopping("val_los")]}, ArgumentError, "no metric 'val_los'"),
        (classifier, {"optimizer": "lbfgs"}, ArgumentError, "LBFGS takes all rows at once"),
    ],
)
def test_what_cannot_work_is_refused_before_the_training(build_model, options, error, message):
    with pytest.raises(error, match=message):
        validate(build_model, **{"callbacks": [NoTraining()]} | options)


def test_an_optimizer_that_has_been_used_is_refused():
    optimizer = Adam()
    Trainer(classifier(0), optimizer).fit(x, y, progress=False)
    with pytest.raises(ArgumentError, match="the optimizer has taken 5 steps with another model: make a new one"):
        validate(optimizer=optimizer)


def test_a_callback_that_cannot_be_copied_is_refused():
    class Locked(NoTraining):
        def __init__(self):
            self.lock = threading.Lock()

    with pytest.raises(ArgumentTypeError, match="callbacks: each run needs its own copy"):
        validate(callbacks=[Locked()])


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_in_a_run_names_its_seed_and_fold(jobs):
    with (
        np.errstate(over="ignore", invalid="ignore"),
        pytest.raises(DivergenceError, match=r"seed 3, fold \d: the loss is .* at epoch"),
    ):
        validate(regression, x, y, seeds=[3], optimizer=Momentum(1e6), jobs=jobs, epochs=30)


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_of_code_of_ones_own_names_seed_and_fold_too(jobs):
    def augment(inputs, rng):
        if len(inputs) == 4:  # the last of 100 rows in batches of 32; the trial before the training has one row
            raise ValueError("too few")
        return inputs

    with pytest.raises(ValueError, match=r"^seed 3, fold \d: too few$"):
        validate(seeds=[3], augment=augment, jobs=jobs)


def test_an_error_of_the_transformer_names_seed_and_fold_too():
    class Fussy(StandardScaler):
        def transform(self, x):
            if len(x) == 50:
                raise IndexError("fifty rows")
            return super().transform(x)

    with pytest.raises(IndexError, match="^seed 0, fold 1: fifty rows$"):
        validate(transformer=Fussy())


# Ctrl-C


INTERRUPTED = """
import os
import numpy as np
from minidl import Callback, Dense, Sequential, SoftmaxCrossEntropy, cross_validate

class Tell(Callback):
    def on_batch_end(self, trainer):
        if trainer.step == 20:  # while numba compiles, in the first epoch, Python can lose a Ctrl-C
            os.write(1, b"begun\\n")  # in one piece: two processes may write at once

x = np.random.default_rng(0).normal(size=(200, 5))
try:
    cross_validate(
        lambda seed: Sequential([Dense(2), SoftmaxCrossEntropy()], seed=seed),
        x, x[:, 0] > 0, folds=2, epochs=10**9, jobs={jobs}, callbacks=[Tell()], progress=False,
    )
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs the process groups of POSIX")
@pytest.mark.parametrize(
    ("jobs", "send"),
    [(1, "kill"), (2, "kill"), (2, "killpg")],  # to the first process alone, or to all as a terminal does
)
def test_ctrl_c_ends_all_processes(jobs, send):
    program = INTERRUPTED.format(jobs=jobs)
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        begun = [process.stdout.readline() for _ in range(jobs)]
        getattr(os, send)(process.pid, signal.SIGINT)
        # Output ends only when no process is left that holds its end of the pipe.
        out, errors = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, errors = process.communicate()
    assert (begun, out, process.returncode) == (["begun\n"] * jobs, "interrupted\n", 0), errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("make", [lambda p: CSVLogger(p / "log.csv"), Checkpoint])
def test_callbacks_that_write_files_are_refused_before_any_training(make, tmp_path):
    with pytest.raises(ArgumentError, match="every run would write what .* writes to the same place"):
        cross_validate(classifier, x, y, epochs=1, callbacks=[make(tmp_path)], progress=False)
    assert not list(tmp_path.iterdir())


def test_class_weights_count_in_training_and_not_for_the_rows_held_out():
    weighted = cross_validate(classifier, x, y, epochs=1, class_weight={2: 5.0}, progress=False)
    plain = cross_validate(classifier, x, y, epochs=1, progress=False)
    assert weighted.scores["loss"].tolist() != plain.scores["loss"].tolist()
    fold = weighted.held_out[0]
    trainer = Trainer(classifier(0), "adam", seed=0)
    rows = np.setdiff1d(np.arange(len(y)), fold)
    trainer.fit(x[rows], y[rows], class_weight={2: 5.0}, progress=False)
    assert weighted.runs[0].metric_values["val_loss"] == pytest.approx(
        trainer.evaluate(x[fold], y[fold])["loss"], rel=1e-4
    )
