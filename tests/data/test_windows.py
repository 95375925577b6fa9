"""Windows over a series, against plain slices of it."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from minidl.data import train_validation_split, windows
from minidl.errors import ArgumentError, DataError


@pytest.mark.parametrize("horizon", [0, 1, 5])
@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("shape", [(40,), (40, 1), (40, 4)])
def test_each_window_is_a_slice_of_the_series_and_its_target_comes_after_it(shape, stride, horizon):
    series = np.random.default_rng(0).normal(size=shape)
    x, y = windows(series, 7, horizon=horizon, stride=stride)
    starts = range(0, 40 - 7 - horizon + 1, stride)
    assert len(x) == len(y) == len(starts)
    for window, target, start in zip(x, y, starts, strict=True):
        np.testing.assert_array_equal(window, series[start : start + 7].reshape(7, -1))
        np.testing.assert_array_equal(target, series[start + 7 + horizon - 1])


def test_targets_of_their_own_take_the_place_of_the_series():
    frame = pd.DataFrame({"temperature": np.arange(10.0), "pressure": np.arange(10.0, 20.0)})
    rain = pd.Series(np.arange(10) % 2)
    x, y = windows(frame, 3, targets=rain)
    assert x.shape == (7, 3, 2)
    np.testing.assert_array_equal(y, rain.to_numpy()[3:])


def test_targets_may_be_a_column_of_the_frame():
    frame = pd.DataFrame({"temperature": np.arange(10.0), "pressure": np.arange(10.0, 20.0)})
    np.testing.assert_array_equal(windows(frame, 3, targets="pressure")[1], np.arange(13.0, 20.0))


def test_windows_are_views_that_cannot_be_written():
    series = np.arange(10.0)
    x, y = windows(series, 3)
    assert np.shares_memory(x, series)
    assert np.shares_memory(y, series)
    assert not x.flags.writeable
    assert not y.flags.writeable
    assert series.flags.writeable


def test_the_last_windows_are_held_out_without_copying_any():
    series = np.arange(100.0)
    x, y = windows(series, 10)
    x_train, x_validation, y_train, y_validation = train_validation_split(x, y, 0.25, shuffle=False)
    assert all(np.shares_memory(part, series) for part in (x_train, x_validation, y_train, y_validation))
    assert x_train[-1, -1, 0] < y_validation[0]
    assert (len(x_train), len(x_validation)) == (67, 23)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.arange(5.0), 5), ArgumentError, "series has 5 steps; a window of 5 and its target 1 later need 6"),
        ((np.arange(5.0), 0), ArgumentError, "length is 0"),
        ((np.zeros((2, 2, 2)), 1), DataError, "series and targets are"),
        ((["a", "b"], 1), DataError, "series holds"),
    ],
)
def test_what_cannot_be_cut_says_why(arguments, error, message):
    with pytest.raises(error, match=message):
        windows(*arguments)


def test_targets_of_another_length_are_refused():
    with pytest.raises(DataError, match="series has 5 steps, but targets has 4"):
        windows(np.arange(5.0), 2, targets=np.arange(4))


TRAINING = """
import resource
import numpy as np
from minidl import Dense, Flatten, MeanSquaredError, Sequential, Trainer
from minidl.data import windows

series = np.random.default_rng(0).random(2_500_000)  # 20 MB
x, y = windows(series, 100, stride=50)
model = Sequential([Flatten(), Dense(1), MeanSquaredError()], seed=0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
Trainer(model, "sgd", batch_size=256, seed=0).fit(x, y, progress=False)
model.predict(x)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux alone")
def test_training_cuts_windows_batch_by_batch():
    # All 49,999 windows would be 40 MB; the series has 20.
    finished = subprocess.run([sys.executable, "-c", TRAINING], capture_output=True, text=True, check=True)
    assert int(finished.stdout) < 20_000
