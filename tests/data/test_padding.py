"""Sequences of different lengths become one array, filled up on the right."""

import numpy as np
import pytest

from minidl.data import pad_sequences
from minidl.errors import ArgumentError, ArgumentTypeError, DataError


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
    ("sequences", "error", "message"),
    [
        ([], DataError, "there are no sequences: give one or more"),
        ({}, DataError, "there are no sequences"),
        ([[1], 2], DataError, r"sequence 1: it is a single number, but a sequence has the shape \(T,\) or \(T, F\)"),
        ([np.ones((2, 3)), np.ones((2, 4))], DataError, r"the same F, not \(3,\) and \(4,\) after T"),
        ([[1], np.ones((2, 4))], DataError, r"the same F, not \(\) and \(4,\) after T"),
        ([[1], ["a"]], DataError, "sequence 1: it holds 'a'"),
        (5, ArgumentTypeError, r"pad_sequences takes a list of sequences, \[\[1, 2\], \[3\]\], not 5"),
        (None, ArgumentTypeError, "takes a list of sequences"),
    ],
)
def test_what_is_no_list_of_sequences_is_refused(sequences, error, message):
    with pytest.raises(error, match=message):
        pad_sequences(sequences)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"maxlen": 3}, "pad_sequences has no argument 'maxlen'; use length=, the second value"),
        ({"value": 0.0}, "'value'; use padding=, the value of the padding"),
        ({"truncating": "post"}, "'truncating'; leave it out: long sequences are cut at the end"),
        ({"dtype": "int32"}, "'dtype'; leave it out"),
        ({"lenght": 3}, "'lenght'; did you mean 'length'"),
        ({"padding": "post"}, "padding is 'post'; give the number to pad with; it is always put on the right"),
    ],
)
def test_words_of_other_libraries_are_answered_with_what_to_write(words, message):
    with pytest.raises(ArgumentTypeError, match=message):
        pad_sequences([[1, 2]], **words)


def test_a_length_below_one_is_refused():
    with pytest.raises(ArgumentError, match="length"):
        pad_sequences([[1]], 0)
