import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from minidl import functional, metrics
from minidl.errors import ArgumentError, DataError, ShapeError
from minidl.metrics import (
    classification_report,
    confusion_matrix,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    top_k_accuracy,
)

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
        ([0, 1, 2], SCORES, 0, ArgumentError, "k is 0; with 3 classes it can be 1 to 3"),
        ([0, 1, 2], SCORES, 4, ArgumentError, "k is 4"),
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
    figures = [metric(targets, predictions) for metric in (mean_absolute_error, mean_squared_error, r2_score)]
    assert figures == pytest.approx([3 / 3, 5 / 3, 1 - 5 / 2])
    assert all(type(figure) is float for figure in figures)


def test_r2_is_1_when_perfect_and_0_for_the_mean():
    assert r2_score([1, 2, 6], [1, 2, 6]) == 1
    assert r2_score([1, 2, 6], [3, 3, 3]) == 0


def test_accuracy_is_the_function_of_the_ground_floor():
    assert metrics.accuracy is functional.accuracy
