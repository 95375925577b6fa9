"""Weights of classes: in training, in evaluation, beside those of rows."""

import numpy as np
import pandas as pd
import pytest
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

from minidl import SGD, Dense, Hinge, MeanSquaredError, Sequential, SigmoidCrossEntropy, SoftmaxCrossEntropy, Trainer
from minidl.errors import ArgumentError, ArgumentTypeError, DataError


def problem(rows=60):
    rng = np.random.default_rng(0)
    y = np.minimum(rng.geometric(0.5, rows) - 1, 2)
    return rng.normal(size=(rows, 4)) + y[:, np.newaxis], y


def trainer(outputs=3, loss=None):
    model = Sequential([Dense(outputs), loss or SoftmaxCrossEntropy()], input_shape=4, seed=0, dtype="float64")
    return Trainer(model, SGD(0.1), batch_size=16, seed=0)


def same_run(class_weight, sample_weight, targets=None, **options):
    """Train once with class weights and once with the row weights that they stand for."""
    x, y = problem()
    targets = y if targets is None else targets
    one, other = trainer(**options), trainer(**options)
    one.fit(x, targets, epochs=3, class_weight=class_weight, progress=False)
    other.fit(x, targets, epochs=3, sample_weight=sample_weight, progress=False)
    np.testing.assert_allclose(one.model.parameters, other.model.parameters, rtol=1e-12)
    assert one.history["loss"] == pytest.approx(other.history["loss"])
    evaluated = one.evaluate(x, targets, class_weight=class_weight)
    assert evaluated == pytest.approx(one.evaluate(x, targets, sample_weight=sample_weight))
    assert evaluated != pytest.approx(one.evaluate(x, targets))


def test_a_dict_weighs_the_rows_of_its_classes_and_leaves_others_at_1():
    _, y = problem()
    same_run({2: 5.0, 0: 0.5}, np.array([0.5, 1, 5])[y])


def test_a_list_has_a_weight_for_each_class():
    _, y = problem()
    same_run([0.5, 2, 3], np.array([0.5, 2, 3])[y])


def test_a_pandas_series_goes_by_its_index():
    _, y = problem()
    same_run(pd.Series([5.0, 0.5], index=[2, 0]), np.array([0.5, 1, 5])[y])


def test_balanced_is_what_scikit_learn_calls_so():
    _, y = problem()
    same_run("balanced", compute_sample_weight("balanced", y))


def test_balanced_counts_only_the_classes_that_occur():
    x, y = problem()
    one, other = trainer(outputs=5), trainer(outputs=5)
    one.fit(x, y, class_weight="balanced", progress=False)
    other.fit(x, y, sample_weight=compute_sample_weight("balanced", y), progress=False)
    np.testing.assert_allclose(one.model.parameters, other.model.parameters, rtol=1e-12)
    assert compute_class_weight("balanced", classes=np.unique(y), y=y).shape == (3,)


def test_one_hot_rows_are_of_the_class_of_their_one():
    _, y = problem()
    same_run({1: 4.0}, np.array([1, 4, 1])[y], targets=np.eye(3)[y])


@pytest.mark.parametrize("as_column", [False, True])
def test_one_score_has_the_classes_0_and_1(as_column):
    _, y = problem()
    labels = (y > 0).astype(float)
    targets = labels[:, np.newaxis] if as_column else labels
    same_run({1: 0.25}, np.where(labels, 0.25, 1), targets=targets, outputs=1, loss=SigmoidCrossEntropy())


@pytest.mark.parametrize("outputs", [1, 3])
def test_the_classes_of_a_hinge_are_those_of_its_labels(outputs):
    _, y = problem()
    labels = np.minimum(y, 1) if outputs == 1 else y
    same_run({1: 3.0}, np.array([1, 3, 1])[labels], targets=labels, outputs=outputs, loss=Hinge())


def test_both_kinds_of_weights_multiply():
    x, y = problem()
    own = np.random.default_rng(1).random(len(y))
    one, other = trainer(), trainer()
    one.fit(x, y, sample_weight=own, class_weight=[1, 2, 3], progress=False)
    other.fit(x, y, sample_weight=own * np.array([1, 2, 3])[y], progress=False)
    np.testing.assert_allclose(one.model.parameters, other.model.parameters, rtol=1e-12)


def test_a_weight_helps_the_rare_class():
    x, y = problem(400)
    rare = y == 2

    def recall(class_weight):
        t = trainer()
        t.fit(x, y, epochs=20, class_weight=class_weight, progress=False)
        return np.mean(t.model.predict(x)[rare] == 2)

    assert recall({2: 20.0}) > recall(None) + 0.05


@pytest.mark.parametrize(
    ("class_weight", "error", "message"),
    [
        ("even", ArgumentError, "class_weight is 'even'; the only name is \"balanced\""),
        ({3: 1.0}, ArgumentError, "names the class 3; there are 0 to 2"),
        ({"a": 1.0}, ArgumentError, "names the class 'a'"),
        ({1: -1.0}, ArgumentError, "class_weight of 1 is -1.0"),
        ({1: "x"}, ArgumentTypeError, "class_weight of 1 is 'x'"),
        ([1, 2], ArgumentError, "has length 2; the model has 3 classes"),
        ([1, 2, np.nan], ArgumentError, "class_weight of 2 is nan"),
        ({1.0, 2.0, 3.0}, ArgumentTypeError, "give a dict by label, a list, or"),
        (7, ArgumentTypeError, "class_weight is 7; give a dict"),
        ([0, 0, 0], DataError, "sample_weight times class_weight is 0 for every row"),
    ],
)
def test_class_weights_that_cannot_be_are_refused_before_anything_changes(class_weight, error, message):
    x, y = problem()
    t = trainer()
    before = t.model.parameters.copy()
    for call in (t.fit, t.evaluate):
        with pytest.raises(error, match=message):
            call(x, y, class_weight=class_weight)
    np.testing.assert_array_equal(t.model.parameters, before)
    assert t.step == 0


def test_a_regression_and_several_labels_have_no_classes():
    x, y = problem()
    with pytest.raises(ArgumentError, match="for classifiers; with MeanSquaredError give sample_weight"):
        trainer(1, MeanSquaredError()).fit(x, y, class_weight={0: 2})
    with pytest.raises(ArgumentError, match="one class per row; for several labels give sample_weight"):
        trainer(3, SigmoidCrossEntropy()).fit(x, np.eye(3)[y], class_weight={0: 2})


def test_each_position_weighs_what_its_own_class_does():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 5, 4)), rng.integers(0, 3, (12, 5))
    runs = []
    for options in (
        {"class_weight": [1, 0.5, 4]},
        {"sample_weight": np.array([1, 0.5, 4])[y]},
        {"class_weight": {1: 0.5, 2: 2}, "sample_weight": np.array([1, 1, 2])[y]},
    ):
        model = Sequential([Dense(3), SoftmaxCrossEntropy()], input_shape=(5, 4), seed=0, dtype="float64")
        t = Trainer(model, SGD(0.1), batch_size=5, seed=0)
        t.fit(x, y, epochs=3, progress=False, **options)
        runs.append(t)
    for t in runs[1:]:
        np.testing.assert_allclose(t.model.parameters, runs[0].model.parameters, rtol=1e-12)
        np.testing.assert_allclose(t.history["loss"], runs[0].history["loss"], rtol=1e-12)


def test_balanced_counts_positions():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 5, 4)), np.minimum(rng.geometric(0.5, (12, 5)) - 1, 2)
    balanced = compute_sample_weight("balanced", y.ravel()).reshape(y.shape)
    model = Sequential([Dense(3), SoftmaxCrossEntropy()], input_shape=(5, 4), seed=0, dtype="float64")
    t = Trainer(model, SGD(0.1))
    found = t.evaluate(x, y, class_weight="balanced")
    assert found == pytest.approx(t.evaluate(x, y, sample_weight=balanced), rel=1e-12)
