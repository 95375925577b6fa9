import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl import functional
from minidl.errors import ArgumentError, ArgumentTypeError, DataError, ShapeError
from minidl.metrics import expected_calibration_error, reliability_table


def calibration_error_by_the_book(labels, rows, bins):
    """The definition in loops, over rows of Python floats."""
    total = 0
    for number in range(bins):
        confidences, hits = [], []
        for label, row in zip(labels, rows, strict=True):
            confidence = max(row)
            if number / bins < confidence <= (number + 1) / bins:
                confidences.append(confidence)
                hits.append(row.index(confidence) == label)
        if hits:
            total += abs(sum(hits) - sum(confidences))
    return total / len(rows)


@st.composite
def predictions(draw):
    """Labels, and rows of probabilities: some round, on the edges of bins."""
    classes = draw(st.integers(2, 5))
    parts = draw(st.lists(st.lists(st.integers(0, 20), min_size=classes, max_size=classes).filter(any), min_size=1))
    rows = [[part / sum(row) for part in row] for row in parts]
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=len(rows), max_size=len(rows)))
    return labels, rows


@given(predictions(), st.integers(1, 20))
def test_the_calibration_error_is_that_of_the_definition_between_0_and_1(drawn, bins):
    labels, rows = drawn
    error = expected_calibration_error(labels, rows, bins)
    assert type(error) is float
    assert error == pytest.approx(calibration_error_by_the_book(labels, rows, bins), abs=1e-12)
    assert 0 <= error <= 1


@given(predictions(), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(drawn, random):
    labels, rows = drawn
    order = random.sample(range(len(rows)), len(rows))
    shuffled = expected_calibration_error([labels[i] for i in order], [rows[i] for i in order])
    assert shuffled == pytest.approx(expected_calibration_error(labels, rows), abs=1e-12)


@given(st.lists(st.tuples(st.integers(3, 9), st.integers(1, 4)), min_size=1, max_size=6), st.integers(1, 20))
def test_predictions_that_come_true_as_often_as_they_say_have_no_error(groups, bins):
    labels, rows = [], []
    for size, wanted in groups:
        misses = min(wanted, (size - 1) // 2)  # else the other class would be predicted
        labels += [0] * (size - misses) + [1] * misses
        rows += [[(size - misses) / size, misses / size]] * size
    assert expected_calibration_error(labels, rows, bins) == pytest.approx(0, abs=1e-12)


def test_sure_mistakes_have_the_error_1_and_one_bin_compares_the_means():
    assert expected_calibration_error([1, 0], [[1.0, 0.0], [0.0, 1.0]]) == 1
    assert expected_calibration_error([0, 1], [[0.9, 0.1], [0.7, 0.3]], bins=1) == pytest.approx(0.8 - 0.5)


def test_there_are_15_bins_unless_said_otherwise():
    assert len(reliability_table([0], [[1.0, 0.0]]).rows) == 15


def test_the_table_has_the_rows_of_each_bin_with_their_mean_confidence_and_accuracy():
    table = reliability_table([0, 1, 0, 0], [[0.9, 0.1], [0.8, 0.2], [0.45, 0.55], [1.0, 0.0]], bins=4)
    np.testing.assert_array_equal(table.edges, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_array_equal(table.rows, [0, 0, 1, 3])
    np.testing.assert_allclose(table.confidence, [np.nan, np.nan, 0.55, 0.9])
    np.testing.assert_allclose(table.accuracy, [np.nan, np.nan, 0, 2 / 3])
    assert table.expected_calibration_error == pytest.approx((0.55 + 3 * (0.9 - 2 / 3)) / 4)
    frame = table.to_frame()
    assert list(frame) == ["above", "to", "rows", "confidence", "accuracy"]
    assert frame["to"].tolist() == [0.25, 0.5, 0.75, 1]
    assert frame["rows"].tolist() == [0, 0, 1, 3]


def test_a_confidence_on_an_edge_belongs_to_the_bin_below_it():
    rows = reliability_table([0] * 4, [[0.6, 0.4], [0.7, 0.3], [0.8, 0.2], [0.9, 0.1]], bins=10).rows
    np.testing.assert_array_equal(rows, [0, 0, 0, 0, 0, 1, 1, 1, 1, 0])


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1), st.integers(1, 20))
def test_one_probability_is_that_of_two_classes(pairs, bins):
    labels, chances = (np.array(column) for column in zip(*pairs, strict=True))
    both = expected_calibration_error(labels, np.column_stack([1 - chances, chances]), bins)
    for targets in (labels, labels[:, np.newaxis], labels.astype(float)):
        assert expected_calibration_error(targets, chances, bins) == both
        assert expected_calibration_error(targets, chances[:, np.newaxis], bins) == both


@pytest.mark.parametrize("function", [expected_calibration_error, reliability_table])
def test_probabilities_in_the_place_of_the_targets_are_said_to_be_swapped(function):
    rows = functional.softmax(np.random.default_rng(0).normal(size=(50, 3)))
    labels = np.random.default_rng(1).integers(0, 3, 50)
    binary = labels > 0
    for targets, probabilities in (
        (labels, rows),
        (labels[:, np.newaxis], rows),
        (labels.tolist(), rows.tolist()),
        (np.eye(3)[labels], rows),
        (binary, rows[:, 0]),
        (binary.astype(float), rows[:, :1]),
        (pd.Series(labels), pd.DataFrame(rows)),
    ):
        function(targets, probabilities)
        with pytest.raises(
            ArgumentError, match=r"targets and probabilities are swapped: targets come first, \(targets"
        ):
            function(probabilities, targets)


def test_labels_series_one_hot_rows_and_float32_give_the_same():
    rows = functional.softmax(np.random.default_rng(0).normal(size=(50, 3)))
    labels = np.random.default_rng(1).integers(0, 3, 50)
    error = expected_calibration_error(labels, rows)
    for targets in (pd.Series(labels), labels[:, np.newaxis], np.eye(3)[labels], labels.tolist()):
        assert expected_calibration_error(targets, rows) == error
    assert expected_calibration_error(labels, rows.astype(np.float32)) == pytest.approx(error, abs=1e-6)
    assert expected_calibration_error(labels, pd.DataFrame(rows)) == error


ROWS = [[0.9, 0.1], [0.2, 0.8]]


@pytest.mark.parametrize(
    ("targets", "probabilities", "bins", "error", "message"),
    [
        ([0, 1], ROWS, 0, ArgumentError, "bins is 0; it must be a whole number, 1 or more"),
        ([0, 1], ROWS, 2.5, ArgumentTypeError, "bins is 2.5; it must be a whole number"),
        ([0, 1], ROWS, True, ArgumentTypeError, "bins is True"),
        ([0, 1, 1], ROWS, 5, ShapeError, r"targets have shape \(3,\); for 2 rows .* labels \(2,\)"),
        ([[0, 1, 1], [0, 0, 1]], ROWS, 5, ShapeError, r"one-hot rows \(2, 2\)"),
        ([[0, 1]], [ROWS], 5, ShapeError, r"not \(1, 2, 2\): for positions, pass the ones that count"),
        ([0, 1], np.empty((2, 0)), 5, ShapeError, r"not \(2, 0\)"),
        ([], np.empty((0, 2)), 5, DataError, "no rows"),
        ([0, 2], ROWS, 5, DataError, "whole numbers in 0 to 1, not 2"),
        ([0, -1], ROWS, 5, DataError, "whole numbers in 0 to 1, not -1"),
        ([0, 0.5], ROWS, 5, DataError, "not 0.5"),
        ([0, np.nan], ROWS, 5, DataError, "not nan"),
        (["a", "b"], ROWS, 5, DataError, "targets holds .* give numbers only"),
        ([[1, 1], [0, 1]], ROWS, 5, DataError, "rows with a single 1"),
        ([[0.5, 0.5], [0, 1]], ROWS, 5, DataError, "rows with a single 1"),
        ([0, 1], [[0.9, 0.1], [0.2, np.nan]], 5, DataError, "probabilities holds NaN at row 1"),
        ([0, 1], [[0.9, 0.1], [1.2, -0.2]], 5, DataError, r"in \[0, 1\]; row 1 has \[1.2, -0.2\]"),
        ([0, 1], [0.5, 1.5], 5, DataError, "; row 1 has"),
        ([0, 1], [[0.9, 0.1], [0.8, 0.8]], 5, DataError, r"row 1 do not sum to 1: \[0.8, 0.8\]; if labels"),
    ],
)
def test_what_has_no_calibration_error_is_refused(targets, probabilities, bins, error, message):
    with pytest.raises(error, match=message):
        expected_calibration_error(targets, probabilities, bins)


def test_probabilities_may_sum_to_1_but_for_rounding():
    for off, is_refused in ((0.0009, False), (0.0011, True)):
        for rows in ([[0.5, 0.5], [0.2, 0.8 + off]], [[0.5, 0.5], [0.2, 0.8 - off]]):
            if is_refused:
                with pytest.raises(DataError, match="the probabilities of row 1 do not sum to 1"):
                    reliability_table([0, 1], rows)
            else:
                assert reliability_table([0, 1], rows).rows.sum() == 2
