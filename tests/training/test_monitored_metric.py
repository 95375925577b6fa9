"""Which metric is looked at, and which of two values is the better one."""

import math

import pytest

from minidl.errors import ArgumentError, ArgumentTypeError
from minidl.training.monitored_metric import MonitoredMetric


@pytest.mark.parametrize(
    ("monitor", "mode", "better"),
    [
        ("val_loss", "auto", 0.1),
        ("mean_absolute_error", "auto", 0.1),
        ("val_total_variation", "auto", 0.1),
        ("accuracy", "auto", 0.2),
        ("val_r2_score", "auto", 0.2),
        ("val_loss", "max", 0.2),
        ("accuracy", "min", 0.1),
    ],
)
def test_the_name_says_which_of_two_values_is_better_unless_the_mode_does(monitor, mode, better):
    metric = MonitoredMetric(asker="here", monitor=monitor, mode=mode)
    worse = 0.3 - better
    assert metric.is_better(better, worse)
    assert not metric.is_better(worse, better)
    assert not metric.is_better(better, better)
    assert sorted([worse, math.nan, better], key=metric.cost)[:2] == [better, worse]
    assert metric.is_better(worse, metric.worst)
    assert not metric.is_better(math.nan, worse)


def test_better_means_by_more_than_the_least_difference():
    metric = MonitoredMetric(asker="here", monitor="loss", min_delta=0.25)
    assert metric.is_better(0.5, 1.0)
    assert not metric.is_better(0.75, 1.0)


def test_a_metric_that_the_run_has_is_let_through():
    assert MonitoredMetric(asker="here", monitor="val_loss").check(["loss", "val_loss"]) is None
    assert MonitoredMetric(asker="here", monitor="share", mode="min").check(["share"]) is None


@pytest.mark.parametrize(
    ("monitor", "metrics", "message"),
    [
        ("val_los", ["loss", "val_loss"], "here: the run has no metric 'val_los'; .*'val_loss'"),
        ("val_loss", ["loss", "accuracy"], "here: the run has no metric 'val_loss'; .*fit validation_data"),
        ("share", ["share"], 'here: say by mode="min" or mode="max" whether a small or large \'share\' is good'),
    ],
)
def test_a_metric_that_the_run_lacks_and_a_name_that_does_not_tell_are_refused(monitor, metrics, message):
    with pytest.raises(ArgumentError, match=message):
        MonitoredMetric(asker="here", monitor=monitor).check(metrics)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"monitor": 3}, ArgumentTypeError, "MonitoredMetric: monitor is 3; it must be text"),
        ({"mode": "up"}, ArgumentError, "MonitoredMetric: mode is 'up'; it must be"),
        ({"min_delta": -1}, ArgumentError, "MonitoredMetric: min_delta is -1"),
        ({"min_delta": "0"}, ArgumentTypeError, "MonitoredMetric: min_delta is '0'"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        MonitoredMetric(asker="here", **{"monitor": "loss"} | settings)
