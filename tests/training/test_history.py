import math

import pandas as pd
import pytest

from minidl import History


def test_columns_are_lists_with_one_value_per_epoch():
    history = History()
    history.append({"loss": 2.0, "accuracy": 0.5})
    history.append({"loss": 1.0, "accuracy": 0.75})
    assert history["loss"] == [2.0, 1.0]
    assert dict(history) == {"loss": [2.0, 1.0], "accuracy": [0.5, 0.75]}
    assert (len(history), history.epochs) == (2, 2)


def test_an_epoch_without_a_metric_holds_nan_there():
    history = History()
    history.append({"loss": 3.0})
    history.append({"loss": 2.0, "val_loss": 2.5})
    history.append({"loss": 1.0})
    assert history["loss"] == [3.0, 2.0, 1.0]
    assert [math.isnan(value) for value in history["val_loss"]] == [True, False, True]


def test_the_frame_counts_epochs_from_one():
    history = History()
    history.append({"loss": 2.0, "accuracy": 0.5})
    history.append({"loss": 1.0, "accuracy": 0.75})
    expected = pd.DataFrame({"loss": [2.0, 1.0], "accuracy": [0.5, 0.75]}, index=pd.RangeIndex(1, 3, name="epoch"))
    pd.testing.assert_frame_equal(history.to_frame(), expected)


def test_an_unknown_metric_is_an_error_that_names_the_ones_there_are():
    history = History()
    history.append({"loss": 2.0, "val_loss": 2.5})
    with pytest.raises(KeyError, match="no metric 'vall_loss'; did you mean 'val_loss'\\? there are loss, val_loss"):
        history["vall_loss"]
    with pytest.raises(KeyError, match="no metric 'val_acc'; .*there are loss, val_loss"):
        history["val_acc"]


def test_repr_shows_the_last_epoch():
    history = History()
    assert repr(history) == "History(0 epochs)"
    history.append({"loss": 2.0, "accuracy": 0.5})
    assert repr(history) == "History(1 epoch, the last: loss=2, accuracy=0.5)"
    history.append({"loss": 1.0, "val_loss": 1.5})
    history.append({"loss": 0.5})
    assert repr(history) == "History(3 epochs, the last: loss=0.5)"  # without what other epochs have
