"""Rows that become an array only when they are used: each part is that of the whole table, made dense."""

import numpy as np
import pytest
import scipy.sparse

from minidl import Adam, Dense, MeanSquaredError, ReLU, Sequential, Trainer
from minidl.lazy_rows import LazyRows, take_rows

INDEX = np.array([5, 0, 0, 7, 2, 2, 2, 6])


def table():
    rng = np.random.default_rng(0)
    return np.where(rng.random((9, 4)) < 0.4, rng.normal(size=(9, 4)), 0)


TABLES = {
    "dense": table,
    "not contiguous": lambda: np.asfortranarray(table()),
    "csr matrix": lambda: scipy.sparse.csr_matrix(table()),
    "csc array": lambda: scipy.sparse.csc_array(table()),
    "coo array": lambda: scipy.sparse.coo_array(table()),
    "lazy rows": lambda: LazyRows(scipy.sparse.csr_array(table())),
    "lazy rows by an index": lambda: LazyRows(np.vstack([np.zeros((2, 4)), table()]), np.arange(2, 11)),
}
every_table = pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
PARTS = [slice(2, 5), slice(None), slice(0, 100), slice(6, 6), ..., np.array([3, 1, 1]), np.array([], int)]


@pytest.mark.parametrize("part", PARTS, ids=str)
@pytest.mark.parametrize("index", [None, INDEX], ids=["all", "index"])
@every_table
def test_a_part_is_that_of_the_whole_table_as_an_array(make, index, part):
    whole = table() if index is None else table()[index]
    rows = LazyRows(make(), index)
    found = rows[part]
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, whole[part])
    assert (rows.shape, rows.ndim, rows.dtype, len(rows)) == (whole.shape, 2, whole.dtype, len(whole))


@every_table
def test_rows_of_rows_of_rows_are_those_of_the_table(make):
    rows = LazyRows(LazyRows(LazyRows(make(), INDEX), np.array([4, 0, 7])), np.array([2, 2, 1]))
    np.testing.assert_array_equal(rows[...], table()[[6, 6, 5]])


def test_the_table_is_not_copied_and_images_keep_their_axes():
    images = np.arange(3 * 4 * 5 * 1, dtype=np.uint8).reshape(3, 4, 5, 1)
    rows = LazyRows(images)
    assert rows.shape == images.shape
    assert rows.dtype == np.uint8
    assert np.shares_memory(rows[1:], images)
    np.testing.assert_array_equal(LazyRows(images, np.array([2, 0]))[:1], images[2:])


@pytest.mark.parametrize("part", PARTS, ids=str)
@every_table
def test_rows_of_another_shape_are_those_of_the_whole_table_in_it(make, part):
    rows, images = LazyRows(make(), INDEX).reshape(8, 2, 2, 1), table()[INDEX].reshape(8, 2, 2, 1)
    assert (rows.shape, rows.ndim, len(rows)) == (images.shape, 4, 8)
    np.testing.assert_array_equal(rows[part], images[part])
    again = LazyRows(rows, np.array([3, 0]))  # as a sample of a data set is taken
    assert again.shape == (2, 2, 2, 1)
    np.testing.assert_array_equal(again[...], images[[3, 0]])


@pytest.mark.parametrize("rows", [slice(1, 3), np.array([2, 0, 2]), np.array([True, False, True, False]), ...])
@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_are_taken_as_numpy_takes_them(order, rows):
    array = np.array(np.arange(8.0).reshape(4, 2), order=order)
    np.testing.assert_array_equal(take_rows(array, rows), array[rows])


@pytest.mark.parametrize("make", [scipy.sparse.csr_array, scipy.sparse.csc_matrix])
def test_a_trainer_takes_sparse_rows_and_gives_the_bits_of_dense_ones(make):
    x = table()
    y, runs = x[:, 0] - x[:, 2], []
    for inputs in (x, make(x)):
        model = Sequential([Dense(6), ReLU(), Dense(1), MeanSquaredError()], input_shape=4, seed=0, dtype="float64")
        trainer = Trainer(model, Adam(0.01), batch_size=4, seed=0)
        trainer.fit(inputs, y, epochs=3, validation_data=(inputs, y), progress=False)
        runs.append((trainer.history.to_frame().to_numpy(), model.predict(inputs), model.forward(inputs)))
        runs[-1] += (list(trainer.evaluate(inputs, y).values()),)
    for one, other in zip(*runs, strict=True):
        np.testing.assert_array_equal(one, other)
