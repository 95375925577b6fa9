"""A gradient that is given by rows is whole for everybody who asks for it."""

import copy
import pickle

import numpy as np
import pytest

from minidl.layers.parameter_rows import ParameterOfRows

ROWS = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
WHOLE = np.array([[0, 0, 0], [1, 2, 3], [0, 0, 0], [4, 5, 6]], np.float32)


@pytest.fixture
def parameter():
    """One with numbers in its gradient, which somebody has left there."""
    made = ParameterOfRows(np.ones((4, 3), np.float32), decays=True, regularized=False)
    made.gradient = 1e3
    return made


def test_rows_overwrite_all_that_was_there(parameter):
    parameter.write_rows(np.array([1, 3]), ROWS)
    assert np.array_equal(parameter.vectors[1].reshape(4, 3), WHOLE)
    parameter.write_rows(np.array([0]), ROWS[:1])
    assert np.array_equal(parameter.vectors[1].reshape(4, 3), [[1, 2, 3], [0] * 3, [0] * 3, [0] * 3])


def test_rows_that_wait_are_written_when_somebody_asks(parameter):
    parameter.waits = True
    parameter.write_rows(np.array([1, 3]), ROWS)
    assert (parameter.vectors[1] == 1e3).all()
    assert np.array_equal(parameter.gradient, WHOLE)
    assert parameter.rows is None
    assert np.array_equal(parameter.vectors[1].reshape(4, 3), WHOLE)


def test_what_is_added_is_added_to_rows_that_wait(parameter):
    parameter.waits = True
    parameter.write_rows(np.array([1, 3]), ROWS)
    parameter.gradient[...] += 1
    parameter.settle()
    assert np.array_equal(parameter.gradient, WHOLE + 1)


def test_what_is_assigned_replaces_rows_that_wait(parameter):
    parameter.waits = True
    parameter.write_rows(np.array([1, 3]), ROWS)
    parameter.gradient = 7
    assert (parameter.gradient == 7).all()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda parameter: pickle.loads(pickle.dumps(parameter))])
def test_a_copy_has_the_rows_that_wait_too(parameter, copied):
    parameter.waits = True
    parameter.write_rows(np.array([1, 3]), ROWS)
    other = copied(parameter)
    parameter.write_rows(np.array([0]), ROWS[:1])
    assert np.array_equal(other.gradient, WHOLE)
