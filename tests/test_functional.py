import math
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from minidl.errors import DataError, ShapeError
from minidl.functional import log_mean_exp, log_softmax, one_hot, relu, sigmoid, softmax, sum_rows

# Multiples of 1/8 that a shift by a whole number up to a thousand leaves exact.
scores_on_a_grid = arrays(np.float64, array_shapes(min_dims=2, max_dims=3, max_side=5), elements=st.integers(-400, 400))
scores_on_a_grid = scores_on_a_grid.map(lambda values: values / 8)


def softmax_by_the_book(row):
    exponentials = [math.exp(score) for score in row]
    return [exponential / math.fsum(exponentials) for exponential in exponentials]


def test_relu_keeps_what_is_positive_and_the_dtype():
    np.testing.assert_array_equal(relu([-2.5, -0.0, 0.0, 3.5]), [0, 0, 0, 3.5])
    assert relu(np.float32([[-1, 2]])).dtype == np.float32
    assert math.isnan(relu([math.nan])[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "x", [0, 1e-6, -1e-6, 0.7, -0.7, 5, -5, 16, -16, 40, -40, 87, -87, 90, -100, 700, -740, 1e4, -1e4]
)
def test_sigmoid_is_accurate_to_the_last_bits_at_any_size(x, dtype):
    x = dtype(x)
    true = float(1 / (1 + (-Decimal(float(x))).exp()))
    # Three roundings (exp, sum, quotient), of which exp may be off by two units; subnormal results by a unit of theirs.
    limits = np.finfo(dtype)
    np.testing.assert_allclose(sigmoid(x), true, rtol=4 * limits.eps, atol=2 * float(limits.smallest_subnormal))


@pytest.mark.parametrize("function", [sigmoid, softmax, log_softmax, log_mean_exp])
def test_float_input_keeps_its_dtype_and_other_numbers_become_float64(function):
    for dtype in (np.float16, np.float32, np.float64):
        assert function(np.ones((2, 3), dtype)).dtype == dtype
    for values in ([[0, 1]], np.array([[0, 255]], np.uint8), [[True, False]]):
        assert function(values).dtype == np.float64


@pytest.mark.parametrize("function", [relu, sigmoid, softmax, log_softmax, log_mean_exp])
def test_the_input_stays_as_it_is(function):
    x = np.array([[-1.5, 0.0, 2.0]])
    function(x)
    np.testing.assert_array_equal(x, [[-1.5, 0.0, 2.0]])


@given(scores_on_a_grid, st.sampled_from([0, -1]))
def test_log_mean_exp_is_that_along_any_axis_and_of_numbers_whose_exponentials_underflow(values, axis):
    expected = np.log(np.apply_along_axis(lambda column: math.fsum(map(math.exp, column)) / len(column), axis, values))
    np.testing.assert_allclose(log_mean_exp(values, axis=axis), expected, rtol=1e-12, atol=1e-14)
    # A shift by a whole number adds it, up to the rounding of so large a sum.
    np.testing.assert_allclose(log_mean_exp(values - 5000, axis=axis), expected - 5000, rtol=1e-13)
    np.testing.assert_allclose(log_mean_exp(values + 5000, axis=axis), expected + 5000, rtol=1e-13)


def test_log_mean_exp_of_a_single_row_of_numbers_is_a_number():
    assert log_mean_exp([0.0, math.log(3)]) == pytest.approx(math.log(2))
    assert np.shape(log_mean_exp(np.float32([1, 2]))) == ()


@given(scores_on_a_grid)
def test_softmax_is_the_share_of_each_exponential_in_their_sum(scores):
    expected = np.apply_along_axis(softmax_by_the_book, -1, scores)
    # Sums of up to five terms: a few roundings, and none of the underflow that the book's form suffers from.
    np.testing.assert_allclose(softmax(scores), expected, rtol=1e-14)
    np.testing.assert_allclose(softmax(scores).sum(axis=-1), 1, rtol=1e-15)


@given(scores_on_a_grid, st.integers(-1000, 1000))
def test_softmax_and_its_logarithm_do_not_see_a_shift_of_all_scores(scores, shift):
    np.testing.assert_array_equal(softmax(scores + shift), softmax(scores))
    np.testing.assert_array_equal(log_softmax(scores + shift), log_softmax(scores))


@given(scores_on_a_grid)
def test_log_softmax_is_the_logarithm_of_softmax_where_that_can_be_represented(scores):
    # The relative error of a logarithm near 0 is the absolute one of its argument near 1.
    np.testing.assert_allclose(log_softmax(scores), np.log(softmax(scores)), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("function", [softmax, log_softmax])
def test_the_classes_may_lie_on_any_axis(function):
    scores = np.random.default_rng(0).normal(size=(2, 3, 4))
    for axis in (0, 1, 2, -2):
        moved = np.moveaxis(function(np.moveaxis(scores, axis, -1)), -1, axis)
        np.testing.assert_allclose(function(scores, axis=axis), moved, rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_and_its_logarithm_are_right_at_extreme_scores(dtype):
    scores = np.array([[1e4, -1e4, 1e4], [-1e4, -1e4, 0]], dtype)
    np.testing.assert_array_equal(softmax(scores), [[0.5, 0, 0.5], [0, 0, 1]])
    half = math.log(0.5)
    np.testing.assert_allclose(log_softmax(scores), [[half, -2e4 + half, half], [-1e4, -1e4, 0]], rtol=1e-7)


def test_one_hot_rows_hold_a_single_one_at_their_label():
    rows = one_hot([2, 0, 2])
    np.testing.assert_array_equal(rows, [[0, 0, 1], [1, 0, 0], [0, 0, 1]])
    assert rows.dtype == np.float32


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float32, bool, list, pd.Series])
def test_one_hot_takes_labels_in_whatever_they_come(kind):
    labels = kind([1, 0]) if kind in (list, pd.Series) else np.array([1, 0], kind)
    np.testing.assert_array_equal(one_hot(labels, 3), [[0, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(one_hot(labels), [[0, 1], [1, 0]])


def test_one_hot_of_no_labels_has_no_rows_but_its_width():
    assert one_hot([], classes=4).shape == (0, 4)
    assert one_hot([]).shape == (0, 0)


@pytest.mark.parametrize(
    ("labels", "place"),
    [
        ([0, 1, 3], "label 3 at row 2 is not in the classes 0 to 2"),
        ([0, -1, 5], "label -1 at row 1 is not in the classes 0 to 2"),
        ([0.0, 1.5], r"label 1\.5 at row 1 is not in the classes 0 to 2"),
        ([0, math.nan], "label nan at row 1 is not in the classes 0 to 2"),
        ([0, math.inf], "label inf at row 1 is not in the classes 0 to 2"),
        ([0, 1e30], r"label 1e\+30 at row 1"),
        (np.array([0, 2**63], np.uint64), "label 9223372036854775808 at row 1"),
    ],
)
def test_a_label_that_is_no_class_is_refused_with_its_row(labels, place):
    with pytest.raises(DataError, match=place):
        one_hot(labels, classes=3)


def test_one_hot_refuses_labels_that_are_text():
    with pytest.raises(DataError, match=r"^labels holds '.*' \(str\) in row 0; give numbers only"):
        one_hot(["0", "cat"])


def test_one_hot_refuses_labels_that_are_a_table():
    with pytest.raises(ShapeError, match=r"\(N,\) but got \(1, 2\)"):
        one_hot([[0, 1]])


tables = array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=6)


@given(
    st.sampled_from([np.float32, np.float64]).flatmap(lambda kind: arrays(kind, tables, elements=st.integers(-99, 99)))
)
def test_rows_are_summed_in_their_own_type_into_a_new_array_or_a_given_one(x):
    total = sum_rows(x)
    np.testing.assert_array_equal(total, x.sum(axis=0))
    assert total.dtype == x.dtype
    gradient = np.full(x.shape[1], 7, x.dtype)
    assert sum_rows(x, out=gradient) is gradient
    np.testing.assert_array_equal(gradient, total)


def test_functions_of_the_classes_take_positions_as_well():
    scores = np.random.default_rng(0).normal(size=(4, 3, 5))
    for function in (softmax, log_softmax):
        expected = np.stack([function(scores[:, position]) for position in range(3)], axis=1)
        np.testing.assert_allclose(function(scores), expected, rtol=1e-15)


def test_log_mean_exp_underflows_in_no_row_however_much_larger_the_others_are():
    values = np.array([[0.0, 1.0], [-5000.0, -5001.0]])
    mean = np.log((1 + np.exp(-1)) / 2)
    np.testing.assert_allclose(log_mean_exp(values, axis=1), [mean + 1, mean - 5000], rtol=1e-12)
