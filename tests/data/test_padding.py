"""Sequences of different lengths become one array, filled up on the right."""

import numpy as np
import pytest

from minidl.data import pad_sequences
from minidl.errors import ArgumentError, DataError


def test_ids_are_filled_up_on_the_right():
    rows = pad_sequences([[1, 2], [3], [4, 5, 6]])
    np.testing.assert_array_equal(rows, [[1, 2, 0], [3, 0, 0], [4, 5, 6]])
    assert rows.dtype.kind == "i"


def test_long_sequences_lose_their_end_and_an_empty_one_is_all_padding():
    rows = pad_sequences([[1, 2, 3], [], np.array([4], np.uint8)], 2, padding=9)
    np.testing.assert_array_equal(rows, [[1, 2], [9, 9], [4, 9]])


def test_features_are_filled_up_at_each_position():
    x = [np.ones((2, 3), np.float32), np.full((1, 3), 2, np.float32)]
    rows = pad_sequences(x, 4, padding=-1.5)
    assert rows.shape == (2, 4, 3)
    np.testing.assert_array_equal(rows[1, :, 0], [2, -1.5, -1.5, -1.5])
    assert rows.dtype == np.float32


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        ([], "at least one"),
        ([[1], 2], "shapes"),
        ([np.ones((2, 3)), np.ones((2, 4))], "the same F"),
        ([[1], ["a"]], "sequence 1: it holds 'a'"),
    ],
)
def test_what_is_no_list_of_sequences_is_refused(sequences, message):
    with pytest.raises(DataError, match=message):
        pad_sequences(sequences)


def test_a_length_below_one_is_refused():
    with pytest.raises(ArgumentError, match="length"):
        pad_sequences([[1]], 0)
