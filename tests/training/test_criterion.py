"""Which of two figures is better."""

import math

import pytest

from minidl.errors import ArgumentError
from minidl.training.criterion import Criterion


@pytest.mark.parametrize(
    ("monitor", "mode", "good", "bad"),
    [("val_loss", "auto", 1, 2), ("accuracy", "auto", 0.9, 0.8), ("own", "max", 2, 1), ("accuracy", "min", 1, 2)],
)
def test_a_loss_is_better_when_it_is_small_and_an_accuracy_when_it_is_large_unless_told(monitor, mode, good, bad):
    criterion = Criterion("search", monitor, mode)
    assert criterion.is_better(good, than=bad)
    assert not criterion.is_better(bad, than=good)
    assert not criterion.is_better(good, than=good)
    assert criterion.is_better(bad, than=criterion.worst)
    assert sorted([bad, math.nan, good], key=criterion.cost)[:2] == [good, bad]


def test_a_figure_that_is_no_number_is_better_than_none():
    criterion = Criterion("search", "loss")
    assert not criterion.is_better(math.nan, than=criterion.worst)
    assert criterion.is_better(1, than=math.nan)


def test_a_gain_counts_from_min_delta_on():
    criterion = Criterion("search", "accuracy", min_delta=0.1)
    assert not criterion.is_better(0.55, than=0.5)
    assert criterion.is_better(0.65, than=0.5)


def test_errors_say_who_asks():
    with pytest.raises(ArgumentError, match="search: mode is 'high'"):
        Criterion("search", "loss", "high")
    with pytest.raises(ArgumentError, match="search: the run has no figure 'val_loss'.*give fit validation_data"):
        Criterion("search", "val_loss").check(["loss"])
