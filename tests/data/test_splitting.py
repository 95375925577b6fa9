"""train_validation_split keeps rows together, classes in proportion and its promises about types."""

import math
import re

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from minidl.data import train_validation_split
from minidl.errors import ArgumentError, ArgumentTypeError, DataError


def rows_and_labels(rows=100, classes=4):
    """Return x whose only column is the row's number, and labels that follow from it."""
    x = np.arange(rows)[:, None]
    return x, x[:, 0] % classes


@settings(max_examples=50)
@given(
    rows=st.integers(2, 60),
    size=st.one_of(st.fractions("1/100", "99/100", max_denominator=1000), st.integers(1, 59)),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_row_is_in_one_part_beside_its_target(rows, size, seed):
    expected = math.ceil(size * rows)  # of fractions as they are meant, not as floats hold them
    size = size if isinstance(size, int) else float(size)
    if expected >= rows:
        return
    x = np.arange(rows)[:, None]
    x_train, x_validation, y_train, y_validation = train_validation_split(x, x[:, 0] * 0.5, size, seed=seed)
    assert len(x_validation) == expected
    assert sorted(np.concatenate([x_train, x_validation])[:, 0]) == list(range(rows))
    np.testing.assert_array_equal(y_train, x_train[:, 0] * 0.5)
    np.testing.assert_array_equal(y_validation, x_validation[:, 0] * 0.5)


@pytest.mark.parametrize(
    ("fraction", "rows", "expected"),
    [
        (0.07, 100, 7),  # 0.07 * 100 == 7.000000000000001
        (0.55, 100, 55),
        (5 / 6, 60_000, 50_000),
        (0.071, 100, 8),
        (0.2, 42_000, 8_400),
        (1 / 6, 60_000, 10_000),
        (1 / 7, 70_000, 10_000),
        (1e-9, 10, 1),
        (1 / 3, 10, 4),
    ],
)
def test_a_fraction_of_the_rows_is_rounded_up_and_its_own_rounding_is_not(fraction, rows, expected):
    assert len(train_validation_split(np.arange(rows), np.zeros(rows), fraction)[1]) == expected


def test_the_parts_are_those_of_scikit_learn():
    x, y = rows_and_labels()
    ours = train_validation_split(x, y, 0.3, seed=5)
    theirs = train_test_split(x, y, test_size=0.3, random_state=5, stratify=y)
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(our, their)


def test_the_seed_decides_the_split():
    x, y = rows_and_labels()
    first, again, other = (train_validation_split(x, y, seed=seed)[1] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    "as_targets",
    [
        lambda y: y,
        lambda y: y[:, None],
        lambda y: y.astype(np.uint8),
        lambda y: y == 0,
        lambda y: np.array(list("abcd"))[y],
        lambda y: np.array(list("abcd"), object)[y],
        lambda y: np.eye(4)[y],
        lambda y: np.eye(4, dtype=bool)[y],
        pd.Series,
        lambda y: pd.DataFrame({"label": y}),
        lambda y: pd.Series(np.array(list("abcd"))[y], dtype="category"),
        lambda y: y.tolist(),
    ],
    ids=[
        *("integers", "column", "uint8", "bool", "strings", "objects", "one-hot", "bool one-hot"),
        *("series", "frame", "category", "list"),
    ],
)
def test_each_class_keeps_its_share_in_both_parts(as_targets):
    labels = np.repeat([0, 1, 2, 3], [40, 30, 20, 10])
    x = np.arange(100)
    x_train, x_validation, _, _ = train_validation_split(x, as_targets(labels), 0.2)
    assert np.bincount(labels[x_train]).tolist() == [32, 24, 16, 8]
    assert np.bincount(labels[x_validation]).tolist() == [8, 6, 4, 2]


@pytest.mark.parametrize(
    "targets",
    [
        np.linspace(0, 1, 50),
        np.linspace(0, 1, 100).reshape(50, 2),
        np.arange(100).reshape(50, 2),  # integers, but not one-hot
        np.zeros((50, 2)),  # of zeros and ones, but not one-hot
        np.zeros((50, 2, 2)),
        np.array([["a", "b"]] * 50),
    ],
    ids=["float", "float pairs", "integer pairs", "zeros", "images", "string pairs"],
)
def test_targets_that_are_no_classes_are_split_without_strata(targets):
    x = np.arange(50)
    ours = train_validation_split(x, targets, 10, seed=3)
    np.testing.assert_array_equal(ours[1], train_test_split(x, test_size=10, random_state=3)[1])
    np.testing.assert_array_equal(ours[3], targets[ours[1]])


def test_frames_come_back_as_frames_with_their_index():
    x, y = rows_and_labels()
    index = [f"row{i}" for i in range(100)]
    parts = train_validation_split(pd.DataFrame(x, index=index, columns=["n"]), pd.Series(y, index=index))
    assert [type(part) for part in parts] == [pd.DataFrame, pd.DataFrame, pd.Series, pd.Series]
    assert parts[1].index.tolist() == parts[3].index.tolist()
    assert parts[1].index.tolist() == [f"row{n}" for n in parts[1]["n"]]


def test_lists_come_back_as_lists():
    x, y = rows_and_labels()
    parts = train_validation_split(x.tolist(), y.tolist())
    assert all(isinstance(part, list) for part in parts)
    assert [row[0] % 4 for row in parts[1]] == parts[3]


def test_a_memmap_is_split_into_arrays_in_memory(tmp_path):
    x, y = rows_and_labels()
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for part, expected in zip(train_validation_split(mapped, y), train_validation_split(x, y), strict=True):
        np.testing.assert_array_equal(part, expected)


def test_different_lengths_are_refused():
    with pytest.raises(DataError, match="x has 3 rows, but y has 2"):
        train_validation_split(np.zeros((3, 1)), np.zeros(2))


def test_an_empty_set_is_refused():
    with pytest.raises(DataError, match="no rows to split"):
        train_validation_split(np.zeros((0, 4)), np.zeros(0))


@pytest.mark.parametrize("size", [1.0, 3.0, -0.1, 1.5, math.nan])
def test_a_fraction_outside_0_and_1_is_refused(size):
    message = f"validation_size is {size}; it must be a finite number, in (0, 1)"
    with pytest.raises(ArgumentError, match=re.escape(message)):
        train_validation_split(*rows_and_labels(), size)


@pytest.mark.parametrize("size", [0, 0.0])
def test_who_asks_for_no_validation_is_told_not_to_split(size):
    message = f"validation_size={size} holds out no row: to train without validation, do not split the data"
    with pytest.raises(ArgumentError, match=re.escape(message)):
        train_validation_split(*rows_and_labels(), size)


@pytest.mark.parametrize("size", [-1])
def test_a_number_of_rows_below_1_is_refused(size):
    with pytest.raises(ArgumentError, match=f"validation_size is {size}; it must be a whole number, 1 or more"):
        train_validation_split(*rows_and_labels(), size)


@pytest.mark.parametrize(("size", "rows"), [(100, 100), (101, 101), (0.999, 100)])
def test_a_size_that_leaves_no_row_to_train_on_is_refused(size, rows):
    message = f"validation_size={size} holds out {rows} of 100 rows: some must be left to train on"
    with pytest.raises(ArgumentError, match=re.escape(message)):
        train_validation_split(*rows_and_labels(), size)


@pytest.mark.parametrize("size", ["0.2", None, True, np.True_])
def test_a_size_that_is_no_number_is_refused(size):
    with pytest.raises(ArgumentTypeError, match=re.escape(f"validation_size is {size!r}; it must be a number")):
        train_validation_split(*rows_and_labels(), size)


@pytest.mark.parametrize(
    ("seed", "error", "message"),
    [
        (-1, ArgumentError, r"seed is -1; it must be a whole number, in \[0, "),
        (2**32, ArgumentError, r"seed is 4294967296; it must be a whole number, in \[0, "),
        (1.5, ArgumentTypeError, "seed is 1.5; it must be a whole number"),
        (True, ArgumentTypeError, "seed is True"),
        ("3", ArgumentTypeError, "seed is '3'"),
    ],
)
def test_a_seed_that_is_none_of_those_allowed_is_refused(seed, error, message):
    with pytest.raises(error, match=message):
        train_validation_split(*rows_and_labels(), seed=seed)


@pytest.mark.parametrize("targets", [[0, 0, 1, 1, 7], list("aabb7"), np.eye(8)[[0, 0, 1, 1, 7]]])
def test_a_class_with_one_member_is_named_with_the_cure(targets):
    x = np.arange(5)
    with pytest.raises(
        DataError, match="class 7 has one row, but the training rows and the held-out rows need one: give more"
    ):
        train_validation_split(x, targets, 2)
    assert len(train_validation_split(x, targets, 2, stratify=False)[1]) == 2


@pytest.mark.parametrize("size", [3, 97])
def test_a_part_too_small_for_all_classes_is_refused_with_the_cure(size):
    x, y = rows_and_labels()
    message = f"validation_size={size} holds out {size} of 100 rows, too few or too many for both parts to have all 4 c"
    with pytest.raises(ArgumentError, match=f"{message}.*: change it, or give more rows, or pass stratify=False"):
        train_validation_split(x, y, size)
    assert len(train_validation_split(x, y, size, stratify=False)[1]) == size


def test_without_a_seed_splits_differ():
    x, y = np.arange(200)[:, np.newaxis], np.zeros(200)
    first, other = (train_validation_split(x, y, seed=None)[1] for _ in range(2))
    assert (first != other).any()


def test_whole_numbers_of_a_float_type_are_stratified():
    x, y = rows_and_labels(rows=40, classes=4)
    ours = train_validation_split(x, y.astype(np.float64), 0.2, seed=3)
    theirs = train_validation_split(x, y, 0.2, seed=3)
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(our, their)


@pytest.mark.parametrize("y", [np.arange(40.0), np.arange(40) % 15 * 1.0])
def test_whole_floats_of_too_many_values_are_those_of_a_regression(y):
    ours = train_validation_split(np.arange(40), y, 0.2, seed=3)
    theirs = train_test_split(np.arange(40), y, test_size=8, random_state=3)
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(our, their)


@pytest.mark.parametrize("kind", [np.asarray, list, pd.Series, lambda values: pd.DataFrame({"a": values})])
def test_without_shuffling_the_last_rows_are_held_out(kind):
    values = kind(range(10))
    x_train, x_validation, y_train, y_validation = train_validation_split(values, np.arange(10), 0.25, shuffle=False)
    assert type(x_train) is type(x_validation) is type(values)
    np.testing.assert_array_equal(np.ravel(x_train), range(7))
    np.testing.assert_array_equal(np.ravel(x_validation), range(7, 10))
    np.testing.assert_array_equal(y_train, range(7))
    np.testing.assert_array_equal(y_validation, range(7, 10))


def test_without_shuffling_a_part_of_no_rows_is_refused_as_well():
    with pytest.raises(ArgumentError, match="holds out no row"):
        train_validation_split(np.arange(10), np.arange(10), 0, shuffle=False)


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_sparse_matrix_is_split_as_its_dense_rows_are(shuffle):
    dense, y = np.eye(40), np.arange(40) % 2
    parts = train_validation_split(scipy.sparse.csr_matrix(dense), y, 0.25, shuffle=shuffle)
    for ours, theirs in zip(parts[:2], train_validation_split(dense, y, 0.25, shuffle=shuffle)[:2], strict=True):
        np.testing.assert_array_equal(ours.toarray(), theirs)
