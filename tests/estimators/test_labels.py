"""Labels of all kinds, there and back."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from minidl.estimators.labels import Labels

KINDS = {
    "text": ["b", "a", "c", "a"],
    "two texts": np.array(["yes", "no", "no", "yes"]),
    "truth values": [True, False, True, True],
    "integers": [10, -3, 7, 7],
    "large integers": np.array([2**62, 0, 2**62, 5]),
    "whole floats": [1.0, 0.0, 3.0, 1.0],
    "objects": np.array(["b", "a", "c", "a"], dtype=object),
    "one class": ["only"] * 4,
    "categories": pd.Series(["b", "a", "c", "a"], dtype="category"),
    "string series": pd.Series(["b", "a", "c", "a"], dtype="string").to_numpy(dtype=object),
}


@pytest.mark.parametrize("y", KINDS.values(), ids=KINDS)
def test_encoded_and_decoded_they_are_what_they_were(y):
    labels = Labels.of(y)
    np.testing.assert_array_equal(labels.classes, np.unique(np.asarray(y)))
    encoded = labels.encode(y)
    assert encoded.dtype.kind == "i"
    assert set(encoded) == set(range(len(labels.classes)))
    np.testing.assert_array_equal(labels.decode(encoded), np.asarray(y))
    assert labels.outputs == (1 if len(labels.classes) <= 2 else len(labels.classes))
    assert not labels.several


@pytest.mark.parametrize("make", [np.array, scipy.sparse.csr_array, scipy.sparse.coo_matrix])
def test_indicators_of_several_labels_stay_as_they_are(make):
    indicators = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 1], [1, 0, 0]])
    labels = Labels.of(make(indicators))
    assert labels.several
    assert labels.outputs == 3
    np.testing.assert_array_equal(labels.classes, [0, 1, 2])
    np.testing.assert_array_equal(labels.encode(make(indicators)), indicators)
    np.testing.assert_array_equal(labels.decode(indicators), indicators)


def test_of_one_class_every_decision_is_that_one():
    np.testing.assert_array_equal(Labels.of(["a", "a"]).decode(np.array([0, 1, 1])), ["a"] * 3)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0.5, 1.2, 2.7], "Unknown label type: continuous"),
        (np.array([[1, 2], [3, 4], [5, 0]]), "y has several columns of classes: give one, or 0 and 1"),
    ],
)
def test_what_are_no_labels_is_refused(y, message):
    with pytest.raises(ValueError, match=message):
        Labels.of(y)
