"""The words of other libraries: each leads to a fix, and none to what there is."""

import inspect

import pytest

import minidl
import minidl.data
from minidl.habits import FIXES, TOO_MANY, find_fix
from minidl.settings import Configurable

WORDS = [(place, word) for place, fixes in FIXES.items() for word in fixes]


def place_of(name):
    """The class or function that a key of the table names."""
    owner, _, method = name.partition(".")
    kind = Configurable if owner == "Configurable" else getattr(minidl, owner, None) or getattr(minidl.data, owner)
    return getattr(kind, method) if method else kind


@pytest.mark.parametrize("name", FIXES)
def test_each_place_of_the_table_is_there(name):
    assert place_of(name).__qualname__ == name


@pytest.mark.parametrize(("name", "word"), WORDS)
def test_no_word_of_the_table_is_one_that_there_is(name, word):
    place = place_of(name)
    if inspect.isfunction(place):
        assert word not in inspect.signature(place).parameters
    elif word != TOO_MANY and name != "Configurable":  # what a subclass has, it may have
        assert word not in place._settings
        # The shape of a layer's input is an attribute, but no setting.
        assert not hasattr(place, word) or (name, word) == ("Layer", "input_shape")


def test_a_class_gets_the_fixes_of_its_bases_and_the_nearest_first():
    assert find_fix("activation", minidl.Dense) == FIXES["Layer"]["activation"]
    assert find_fix("lr", minidl.Adam) == find_fix("lr", minidl.Trainer.fit) == FIXES["Configurable"]["lr"]
    assert find_fix("loss", minidl.Trainer.fit) == FIXES["Trainer.fit"]["loss"]
    assert find_fix("weights", minidl.Sequential) == FIXES["Sequential"]["weights"] != FIXES["Layer"]["weights"]
    assert find_fix("nothing", minidl.Dense) == find_fix("nothing", minidl.Trainer.fit) == ""
