import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from minidl.errors import ArgumentError, ArgumentTypeError, DataError, ShapeError
from minidl.metrics import (
    accuracy,
    classification_report,
    confusion_matrix,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    top_k_accuracy,
)

LABELS = [0, 2, 1, 2]
GUESSES = [0, 1, 1, 2]  # three of four are right
FORMS = {
    "labels": np.array,
    "a column": lambda labels: np.array(labels)[:, np.newaxis],
    "one-hot rows": lambda labels: np.eye(3)[labels],
    "one-hot rows of whole numbers": lambda labels: np.eye(3, dtype=np.uint8)[labels],
    "scores": lambda labels: 5 * np.eye(3)[labels] - np.array([1.0, 2.0, 1.5]),
    "a list": list,
    "a series": pd.Series,
}


@pytest.mark.parametrize("predictions", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("targets", FORMS.values(), ids=FORMS)
def test_accuracy_takes_labels_columns_one_hot_rows_and_scores_on_either_side(targets, predictions):
    result = accuracy(targets(LABELS), predictions(GUESSES))
    assert result == 0.75
    assert type(result) is float


def test_accuracy_compares_names_as_well():
    assert accuracy(["cat", "dog"], ["cat", "cow"]) == 0.5


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1))
def test_accuracy_agrees_with_scikit_learn(pairs):
    targets, predictions = zip(*pairs, strict=True)
    assert accuracy(targets, predictions) == pytest.approx(sklearn.metrics.accuracy_score(targets, predictions))


@pytest.mark.parametrize(
    ("targets", "predictions", "error", "message"),
    [
        ([0, 1], [0, 1, 1], ShapeError, "2 targets with 3 predictions"),
        ([[0], [1]], [0], ShapeError, "2 targets with 1 predictions"),
        (0, 0, ShapeError, r"got \(\)"),
        ([0], np.zeros((1, 2, 3)), ShapeError, r"got \(1, 2, 3\)"),
        ([], [], DataError, "^accuracy of no rows is not defined$"),
    ],
)
def test_accuracy_refuses_what_cannot_be_compared(targets, predictions, error, message):
    with pytest.raises(error, match=message):
        accuracy(targets, predictions)


def test_accuracy_refuses_a_single_probability_and_several_labels():
    with pytest.raises(
        DataError, match=r"^accuracy takes labels, .* for a single probability pass model\.predict\(x\)$"
    ):
        accuracy([1, 0], [[0.7], [0.2]])
    with pytest.raises(DataError, match="^accuracy takes one label per row: .* one by one$"):
        accuracy([[1, 1]], [[1, 0]])
    assert accuracy([1.0, 0.0], [[1], [1]]) == 0.5


@pytest.mark.parametrize("rows", [[[np.nan] * 3] * 2, [[0.1, 0.2, 0.7], [0.5, np.nan, 0.1]]])
def test_accuracy_of_scores_that_are_no_numbers_is_refused(rows):
    # Of NaNs argmax finds the first, which would pass for a prediction.
    with pytest.raises(DataError, match=r"^predictions holds NaN at row [01], entry [01]: "):
        accuracy([0, 0], rows)
    with pytest.raises(DataError, match=r"^targets holds NaN at row "):
        accuracy(rows, [0, 0])


@pytest.mark.parametrize("label", [np.nan, np.inf])
def test_accuracy_of_labels_that_are_no_numbers_is_refused(label):
    with pytest.raises(DataError, match="^targets holds (NaN|inf) at row 1: "):
        accuracy([1.0, label], [1, 0])


SCORES = [[0.1, 0.9, 0.5], [0.3, 0.2, 0.1], [0.0, 0.4, 0.4]]


@pytest.mark.parametrize(("k", "expected"), [(1, 1 / 3), (2, 2 / 3), (3, 1)])
def test_a_row_counts_when_its_class_is_among_the_k_largest_scores(k, expected):
    assert top_k_accuracy([2, 2, 1], SCORES, k=k) == pytest.approx(expected)


FEW_VALUES = {np.float32: [-1.5, 0.0, 2.0], np.int8: [-128, 0, 127], np.uint8: [0, 1, 255], bool: [False, True]}


@given(st.data(), st.integers(1, 6), st.integers(1, 6), st.sampled_from(list(FEW_VALUES)))
def test_ties_go_to_the_lower_class_in_scores_of_any_dtype(data, rows, classes, dtype):
    targets = data.draw(arrays(np.int64, rows, elements=st.integers(0, classes - 1)))
    scores = data.draw(arrays(dtype, (rows, classes), elements=st.sampled_from(FEW_VALUES[dtype])))
    k = data.draw(st.integers(1, classes))
    hits = 0
    for target, row in zip(targets.tolist(), scores.tolist(), strict=True):
        ahead = [c for c, score in enumerate(row) if score > row[target] or (score == row[target] and c < target)]
        hits += len(ahead) < k
    assert top_k_accuracy(targets, scores, k=k) == pytest.approx(hits / rows)


def test_k_is_5_unless_said_otherwise():
    assert top_k_accuracy([5, 4], [[6, 5, 4, 3, 2, 1]] * 2) == 0.5


@pytest.mark.parametrize(
    ("targets", "scores", "k", "error", "message"),
    [
        ([0, 1], SCORES, 1, ShapeError, r"not \(2,\) and \(3, 3\)"),
        ([[0], [1], [2]], SCORES, 1, ShapeError, r"not \(3, 1\)"),
        ([0, 1], [0, 1], 1, ShapeError, r"and \(2,\)"),
        ([], np.zeros((0, 3)), 1, DataError, "no rows"),
        ([0, 1, 2], SCORES, 0, ArgumentError, "k is 0; it must be a whole number, 1 or more"),
        ([0, 1, 2], SCORES, 4, ArgumentError, "k is 4; with 3 classes it can be 1 to 3"),
        ([0, 1, 2], SCORES, 1.5, ArgumentTypeError, "k is 1.5; it must be a whole number"),
        ([0, 1, 2], SCORES, True, ArgumentTypeError, "k is True; it must be a whole number"),
        ([0, 1, 2], np.full((3, 3), np.nan), 1, DataError, "scores holds NaN at row 0, entry 0"),
        ([0, 1, 2], [[0, 1, 2], [0, 1, np.inf], [0, 1, 2]], 1, DataError, "scores holds inf at row 1, entry 2"),
        ([0, 1, 3], SCORES, 1, DataError, "whole numbers in 0 to 2"),
        ([0, -1, 2], SCORES, 1, DataError, "whole numbers in 0 to 2"),
        ([0, 1.5, 2], SCORES, 1, DataError, "whole numbers in 0 to 2"),
    ],
)
def test_what_has_no_top_k_accuracy_is_refused(targets, scores, k, error, message):
    with pytest.raises(error, match=message):
        top_k_accuracy(targets, scores, k=k)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1))
def test_the_confusion_matrix_counts_true_labels_in_rows_and_predicted_ones_in_columns(pairs):
    targets, predictions = zip(*pairs, strict=True)
    expected = [[pairs.count((true, predicted)) for predicted in range(4)] for true in range(4)]
    np.testing.assert_array_equal(confusion_matrix(targets, predictions, labels=range(4)), expected)


def test_the_confusion_matrix_has_the_labels_there_are_unless_said_otherwise():
    np.testing.assert_array_equal(confusion_matrix([7, 7, 9], pd.Series([7, 9, 9])), [[1, 1], [0, 1]])


def test_the_classification_report_hands_its_options_on():
    report = classification_report([0, 0, 1, 1], [0, 1, 1, 1], output_dict=True)
    assert report["1"]["precision"] == pytest.approx(2 / 3)
    assert report["0"]["recall"] == pytest.approx(1 / 2)
    text = classification_report([0, 0, 1, 1], [0, 1, 1, 1], target_names=["cat", "dog"], digits=3)
    assert "dog      0.667     1.000     0.800         2" in text


@pytest.mark.parametrize("targets", [[1.0, 2.0, 3.0], [[1.0], [2.0], [3.0]], pd.Series([1, 2, 3])])
@pytest.mark.parametrize("predictions", [[1.0, 4.0, 2.0], [[1.0], [4.0], [2.0]], np.float32([1, 4, 2])])
def test_the_errors_of_a_regression_by_hand(targets, predictions):
    values = [metric(targets, predictions) for metric in (mean_absolute_error, mean_squared_error, r2_score)]
    assert values == pytest.approx([3 / 3, 5 / 3, 1 - 5 / 2])
    assert all(type(value) is float for value in values)


def test_r2_is_1_when_perfect_and_0_for_the_mean():
    assert r2_score([1, 2, 6], [1, 2, 6]) == 1
    assert r2_score([1, 2, 6], [3, 3, 3]) == 0
