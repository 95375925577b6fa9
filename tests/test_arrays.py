import math

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from minidl.arrays import as_array, as_class_indices, as_rows, as_weights, check_finite, check_lengths
from minidl.errors import DataError

TABLE = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


@pytest.fixture
def memory_map(tmp_path):
    values = np.memmap(tmp_path / "x.dat", np.float32, "w+", shape=(3, 2))
    values[:] = TABLE
    return values


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (3,), (3, 2), (3, 4, 4, 1), (0, 2)])
def test_an_array_of_numbers_is_returned_itself(dtype, shape):
    values = np.ones(shape, dtype)
    assert as_array(values, "x") is values


def test_a_memory_map_is_neither_read_nor_copied(memory_map):
    array = as_array(memory_map, "x")
    assert type(array) is np.ndarray
    assert np.shares_memory(array, memory_map)
    np.testing.assert_array_equal(array, TABLE)


def test_a_masked_array_is_refused_because_its_mask_would_be_lost():
    with pytest.raises(DataError, match="x is a masked array.*fill or drop"):
        as_array(np.ma.masked_array([1.0, 2.0], [False, True]), "x")


@pytest.mark.parametrize(
    "values",
    [
        np.asfortranarray(TABLE),
        np.array([row[::-1] for row in TABLE])[:, ::-1],
        np.repeat(TABLE, 2, axis=0)[::2],
        pd.DataFrame(TABLE),
        pd.DataFrame(np.asfortranarray(TABLE)),
        pd.DataFrame({"a": [1.0, 3.0, 5.0], "b": [2.0, 4.0, 6.0]}),
        TABLE,
        [tuple(row) for row in TABLE],
        [np.array(row) for row in TABLE],
    ],
    ids=["F-ordered", "reversed", "strided", "frame", "F-ordered frame", "columns", "lists", "tuples", "list of rows"],
)
def test_tables_of_every_kind_become_arrays_with_contiguous_rows(values):
    array = as_array(values, "x")
    assert type(array) is np.ndarray
    assert array.dtype == np.float64
    assert all(row.flags.c_contiguous for row in array)
    np.testing.assert_array_equal(array, TABLE)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint8, bool])
def test_finite_numbers_pass(dtype, memory_map):
    check_finite(np.ones((5000, 3), dtype), "x")
    check_finite(np.ones((0, 3), dtype), "x")
    check_finite(memory_map, "x")


@given(
    st.sampled_from([(9001,), (9001, 2), (4097, 2, 2)]),
    st.data(),
    st.sampled_from([math.nan, math.inf, -math.inf]),
    st.integers(0, 10**6),
)
def test_the_first_number_that_is_not_finite_is_named_with_its_row_and_entry(shape, data, bad, first_row):
    values = np.zeros(shape, np.float32)
    places = data.draw(st.lists(st.tuples(*(st.integers(0, size - 1) for size in shape)), min_size=1, max_size=3))
    for place in places:
        values[place] = bad
    row, *entry = min(places)
    where = f"row {first_row + row}" + (f", entry {', '.join(map(str, entry))}" if entry else "")
    with pytest.raises(DataError) as refusal:
        check_finite(values, "x", first_row=first_row)
    assert (
        str(refusal.value)
        == f"x holds {'NaN' if math.isnan(bad) else bad} at {where}: remove or fill such values first"
    )


def test_rows_are_counted_from_0_unless_said_otherwise():
    with pytest.raises(DataError, match="x holds NaN at row 1, entry 0:"):
        check_finite(np.array([[0], [math.nan]]), "x")


def test_a_single_number_that_is_not_finite_is_refused_too():
    check_finite(np.array(1.0), "y")
    with pytest.raises(DataError, match="y"):
        check_finite(np.array(math.nan), "y")


def test_the_number_of_rows_is_what_all_arrays_have():
    assert check_lengths(x=np.zeros((3, 2)), y=np.zeros(3), sample_weight=None) == 3


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((3, 2)), "y": np.zeros(4), "w": None}, "the lengths differ: x has 3 rows, y has 4 rows$"),
        ({"x": np.zeros((3, 2)), "y": np.zeros(3), "w": np.zeros(1)}, "x has 3 rows, y has 3 rows, w has 1 row$"),
        ({"x": np.zeros((3, 2)), "y": np.array(1.0)}, "y is a single number"),
        ({"x": np.zeros((0, 2)), "y": np.zeros(0)}, "x is empty: there are no rows"),
    ],
)
def test_arrays_without_the_same_rows_are_refused(arrays, message):
    with pytest.raises(DataError, match=message):
        check_lengths(**arrays)


def test_weights_are_one_number_a_row_from_zero_up():
    np.testing.assert_array_equal(as_weights(pd.Series([0, 0.5, 3])), [0, 0.5, 3])
    assert as_weights([0, 1]).dtype == np.float64


def test_weights_may_be_one_number_a_position():
    mask = np.array([[True, False], [True, True], [False, False]])
    weights = as_weights(mask)
    assert weights.dtype == np.float64
    np.testing.assert_array_equal(weights, [[1, 0], [1, 1], [0, 0]])
    given = np.ones((2, 3))
    assert as_weights(given) is not given  # who multiplies them by a class's weight changes nobody's array


@pytest.mark.parametrize(
    "values", [-1.0, [1, -0.1], [-1, 1], [1, math.nan], [math.inf, 1], ["a", "b"], [[1, 1], [1, -1]], [[1, math.nan]]]
)
def test_weights_below_zero_or_without_a_size_are_refused(values):
    with pytest.raises(DataError, match="^sample_weight "):
        as_weights(values)


@pytest.mark.parametrize(
    ("values", "place"), [([1, 1, -2.5], r"-2\.5 in row 2;"), ([[1, 1], [1, 1], [-3, 1]], r"-3 in row 2, 0;")]
)
def test_a_negative_weight_is_named_with_its_place(values, place):
    with pytest.raises(DataError, match=f"^sample_weight is {place} .*one number per row, 0 or more$"):
        as_weights(values)


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, np.float32, np.float64])
def test_labels_become_indices(kind):
    indices, wrong = as_class_indices(np.array([1, 0, 1], kind), 2)
    assert indices.tolist() == [1, 0, 1]
    assert indices.dtype == np.intp
    assert not wrong.any()


@pytest.mark.parametrize(
    "labels",
    [
        np.array([0, 3, 2, -1]),
        np.array([0, 1.5, 2, -0.5]),
        np.array([0, math.nan, 2, math.inf]),
        np.array([0, 1e30, 2, -1e30]),
        np.array([0, 2**63, 2, 2**64 - 1], np.uint64),
    ],
)
def test_labels_that_are_no_class_are_found_by_their_rows(labels):
    _, wrong = as_class_indices(labels, 3)
    assert wrong.tolist() == [False, True, False, True]
    _, wrong = as_class_indices(labels.reshape(2, 2), 3)
    assert wrong.tolist() == [[False, True], [False, True]]


@pytest.mark.parametrize("kind", [scipy.sparse.csr_matrix, scipy.sparse.csc_array, scipy.sparse.coo_array])
def test_sparse_inputs_become_dense_rows_when_they_are_used(kind):
    dense = np.random.default_rng(0).integers(0, 3, (6, 4)) * 1.0
    rows = as_rows(kind(dense), "x")
    assert (rows.shape, rows.ndim, rows.dtype, len(rows)) == ((6, 4), 2, np.float64, 6)
    np.testing.assert_array_equal(rows[2:5], dense[2:5])
    np.testing.assert_array_equal(rows[np.array([5, 0])], dense[[5, 0]])
    np.testing.assert_array_equal(rows[...], dense)
