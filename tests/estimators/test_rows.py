"""Rows to train on: what they are decides the model to the bit, and not how they are written down."""

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from minidl import Adam, BatchNorm, Dense, Dropout, ReLU
from minidl.estimators import MLPClassifier, MLPRegressor, NetworkClassifier, NetworkRegressor
from minidl.estimators.rows import TrainingRows, content_keys, split_rows, training_rows
from minidl.lazy_rows import LazyRows

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def problem(rows=60, classes=3):
    rng = np.random.default_rng(0)
    x = np.where(rng.random((rows, 5)) < 0.6, rng.normal(size=(rows, 5)), 0)
    return x, rng.integers(classes, size=rows)


# Keys


@pytest.mark.parametrize("shape", [(70, 5), (9, 4, 3, 2), (3, 20_000), (5, 0)])
def test_keys_are_the_same_for_the_same_content_alone(shape):
    rng = np.random.default_rng(0)
    x, targets = rng.integers(3, size=shape).astype(float), rng.integers(2, size=(len(rng.permutation(shape[0])), 1))
    keys = content_keys(x, targets)
    flat = np.hstack([x.reshape(len(x), -1), targets])
    same_rows = (flat[:, np.newaxis] == flat).all(axis=2)
    np.testing.assert_array_equal(keys[:, np.newaxis] == keys, same_rows)


@given(arrays.arrays(np.float64, 30, elements=st.floats(allow_nan=False), unique=True))
def test_different_numbers_never_have_one_key(numbers):
    numbers = np.unique(numbers + 0.0)  # 0 and -0 are one number of two bit patterns
    assert len(np.unique(content_keys(numbers[:, np.newaxis], np.zeros(len(numbers))))) == len(numbers)


def test_keys_do_not_depend_on_how_the_numbers_are_stored():
    x, y = problem()
    x = np.round(4 * x).astype(np.int8)
    keys = content_keys(x, y)
    for same in (x.astype(float), x.astype(np.float32), np.asfortranarray(x), LazyRows(scipy.sparse.csr_array(x))):
        np.testing.assert_array_equal(content_keys(same, y.astype(float)[:, np.newaxis]), keys)


def test_targets_count_for_keys():
    x = np.zeros((3, 2))
    assert len(set(content_keys(x, np.array([0, 1, 2])))) == 3
    assert len(set(content_keys(x, np.array([[0, 1], [1, 0], [0, 1]])))) == 2


# Rows to train on


def contents(rows):
    weights = np.ones(len(rows)) if rows.weights is None else rows.weights
    return np.column_stack([rows.x[...], rows.targets, weights])


def test_rows_that_may_be_shuffled_come_in_an_order_of_their_own():
    x, y = problem()
    weights = np.random.default_rng(1).random(60)
    expected = contents(training_rows(x, y, weights, True))
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(60)
        np.testing.assert_array_equal(contents(training_rows(x[order], y[order], weights[order], True)), expected)
    assert sorted(map(tuple, expected)) == sorted(map(tuple, np.column_stack([x, y, weights])))
    np.testing.assert_array_equal(contents(training_rows(x, y, weights, False)), np.column_stack([x, y, weights]))


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("make", [np.array, scipy.sparse.csr_array, scipy.sparse.csc_matrix])
def test_whole_number_weights_are_copies(make, shuffle):
    x, y = problem()
    weights = np.random.default_rng(1).integers(4, size=60)
    rows = training_rows(make(x), y, weights.astype(float), shuffle)
    copies = training_rows(np.repeat(x, weights, axis=0), np.repeat(y, weights), None, shuffle)
    assert rows.weights is None
    assert rows.mean_weight == 1
    assert len(rows) == weights.sum()
    np.testing.assert_array_equal(contents(rows), contents(copies))
    np.testing.assert_array_equal(rows.keys, copies.keys)


@pytest.mark.parametrize(
    ("weights", "become_copies"),
    [
        (np.full(60, 10.0), True),
        (np.r_[np.full(59, 10.0), 11.0], False),  # more than ten times as many rows
        (np.r_[np.zeros(59), 600.0], True),
        (np.r_[np.ones(59), 0.5], False),
        (np.zeros(60), False),
    ],
)
def test_others_stay_weights(weights, become_copies):
    x, y = problem()
    rows = training_rows(x, y, weights, False)
    assert (rows.weights is None) == become_copies
    if not become_copies:
        np.testing.assert_array_equal(rows.weights, weights)
        assert rows.mean_weight == weights.mean()


def test_inputs_are_not_copied():
    x, y = problem()
    rows = training_rows(x, y, None, True)
    assert rows.x._table is x
    assert rows.take(np.arange(5)).x._table is x


# Rows held out


@pytest.mark.parametrize("weighted", [False, True])
def test_copies_of_a_row_are_held_out_together(weighted):
    x, y = problem(40)
    times = np.random.default_rng(1).integers(1, 5, size=40)
    rows = training_rows(np.repeat(x, times, axis=0), np.repeat(y, times), None, True)
    if weighted:
        rows.weights = np.arange(1.0, len(rows) + 1)
    train, held_out = split_rows(rows, 0.25, 0, None)
    assert len(np.unique(held_out.keys)) == 10
    assert not set(train.keys) & set(held_out.keys)
    assert len(train) + len(held_out) == len(rows)
    if weighted:
        assert sorted([*train.weights, *held_out.weights]) == list(range(1, len(rows) + 1))


def test_each_class_has_its_share_of_the_rows_held_out():
    x, _ = problem(100)
    y = np.repeat([0, 1, 2], [70, 20, 10])
    rows = training_rows(x, y, None, True)
    _, held_out = split_rows(rows, 0.2, 0, rows.targets)
    np.testing.assert_array_equal(np.bincount(held_out.targets), [14, 4, 2])


def test_the_random_state_draws_what_is_held_out():
    rows = training_rows(*problem(), None, True)
    drawn = [set(split_rows(rows, 0.25, seed, None)[1].keys) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_fewer_than_two_rows_are_no_validation():
    rows = TrainingRows(np.zeros((4, 1)), np.arange(4), None, np.arange(4, dtype=np.uint64))
    with pytest.raises(ValueError, match="The validation set is too small"):
        split_rows(rows, 0.1, 0, None)


# Whole estimators


LAYERS = [Dense(8), BatchNorm(), ReLU(), Dropout(0.25)]
ESTIMATORS = {
    "plain": lambda: MLPClassifier(max_iter=4, random_state=0),
    "small batches": lambda: MLPRegressor(max_iter=4, batch_size=8, random_state=0),
    "dropout": lambda: MLPClassifier(max_iter=4, dropout=0.25, batch_size=8, random_state=0),
    "batch norm": lambda: MLPRegressor(max_iter=4, normalization="batch", batch_size=8, random_state=0),
    "early stopping": lambda: MLPClassifier(
        max_iter=4, dropout=0.25, normalization="batch", batch_size=8, early_stopping=True, random_state=0
    ),
    "standardize": lambda: MLPRegressor(max_iter=4, standardize=True, early_stopping=True, random_state=0),
    "lbfgs": lambda: MLPRegressor(max_iter=20, solver="lbfgs", random_state=0),
    "network classifier": lambda: NetworkClassifier(
        LAYERS, max_iter=4, batch_size=8, validation_fraction=0.2, class_weight="balanced", random_state=0
    ),
    "network regressor": lambda: NetworkRegressor(
        LAYERS, optimizer=Adam(0.01), max_iter=4, standardize=True, random_state=0
    ),
}
every_estimator = pytest.mark.parametrize("make", ESTIMATORS.values(), ids=ESTIMATORS)


@every_estimator
def test_rows_in_any_order_give_the_same_bits(make):
    x, y = problem()
    order = np.random.default_rng(1).permutation(60)
    one, other = make().fit(x, y), make().fit(x[order], y[order])
    np.testing.assert_array_equal(one.model_.parameters, other.model_.parameters)
    assert one.history_ == other.history_


@every_estimator
def test_whole_number_weights_give_the_bits_of_copies(make):
    x, y = problem()
    weights = np.random.default_rng(1).integers(4, size=60)
    copies = np.random.default_rng(2).permutation(np.repeat(np.arange(60), weights))
    one, other = make().fit(x, y, weights), make().fit(x[copies], y[copies])
    np.testing.assert_array_equal(one.model_.parameters, other.model_.parameters)
    assert one.history_ == other.history_
    assert not np.array_equal(one.model_.parameters, make().fit(x, y).model_.parameters)


@every_estimator
@pytest.mark.parametrize("make_sparse", [scipy.sparse.csr_matrix, scipy.sparse.csc_array])
def test_sparse_rows_give_the_bits_of_dense_ones(make, make_sparse):
    x, y = problem()
    one, other = make().fit(x, y), make().fit(make_sparse(x), y)
    np.testing.assert_array_equal(one.model_.parameters, other.model_.parameters)
    np.testing.assert_array_equal(one.predict(x), other.predict(make_sparse(x)))


@every_estimator
def test_weights_of_hundreds_stay_weights(make):
    x, y = problem()
    weights = np.random.default_rng(1).integers(1, 1000, size=60)
    one, other = make().fit(x, y, weights), make().fit(x, y, weights * 0.25)
    # Only the ratios of weights matter, but for the penalty of an MLP.
    np.testing.assert_allclose(one.predict(x), other.predict(x), rtol=1e-2, atol=1e-2)
    assert one.trainer_.position.rows <= 60


def test_both_zeros_are_one_number():
    x = np.array([[0.0, 1.0], [2.0, 0.0]])
    np.testing.assert_array_equal(content_keys(x, np.zeros(2)), content_keys(np.where(x == 0, -0.0, x), np.zeros(2)))
