"""Which figure is looked at, and which of two values is the better one."""

import math

import pytest

from minidl.errors import ArgumentError, ArgumentTypeError
from minidl.training.criterion import Criterion


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
    criterion = Criterion("here", monitor, mode)
    worse = 0.3 - better
    assert criterion.is_better(better, worse)
    assert not criterion.is_better(worse, better)
    assert not criterion.is_better(better, better)
    assert sorted([worse, math.nan, better], key=criterion.cost)[:2] == [better, worse]
    assert criterion.is_better(worse, criterion.worst)
    assert not criterion.is_better(math.nan, worse)


def test_better_means_by_more_than_the_least_difference():
    criterion = Criterion("here", "loss", min_delta=0.25)
    assert criterion.is_better(0.5, 1.0)
    assert not criterion.is_better(0.75, 1.0)


def test_a_figure_that_the_run_has_is_let_through():
    assert Criterion("here", "val_loss").check(["loss", "val_loss"]) is None
    assert Criterion("here", "share", "min").check(["share"]) is None


@pytest.mark.parametrize(
    ("monitor", "figures", "message"),
    [
        ("val_los", ["loss", "val_loss"], "here: the run has no figure 'val_los'; .*'val_loss'"),
        ("val_loss", ["loss", "accuracy"], "here: the run has no figure 'val_loss'; .*fit validation_data"),
        ("share", ["share"], 'here: say by mode="min" or mode="max" which \'share\' is good'),
    ],
)
def test_a_figure_that_the_run_lacks_and_a_name_that_does_not_tell_are_refused(monitor, figures, message):
    with pytest.raises(ArgumentError, match=message):
        Criterion("here", monitor).check(figures)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"monitor": 3}, ArgumentTypeError, "here: monitor is 3"),
        ({"mode": "up"}, ArgumentError, "here: mode is 'up'; it must be"),
        ({"min_delta": -1}, ArgumentError, "here: min_delta is -1"),
        ({"min_delta": "0"}, ArgumentTypeError, "here: min_delta is '0'"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        Criterion("here", **{"monitor": "loss"} | settings)
