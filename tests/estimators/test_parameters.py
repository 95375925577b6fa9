"""Settings inside settings, read and set by path."""

import copy

import numpy as np
import pytest

from minidl import L2, Adam, Callback, Dense, Dropout, ReLU, Residual, Sequential
from minidl.estimators.parameters import inner_settings, with_setting


def test_the_settings_of_objects_in_lists_are_named_by_their_path():
    dense = Dense(8, regularizer=L2(0.5))
    found = dict(inner_settings("layers", [dense, ReLU()]))
    assert found["layers__0"] is dense
    assert found["layers__0__units"] == 8
    assert found["layers__0__regularizer"] is dense.regularizer
    assert found["layers__0__regularizer__strength"] == 0.5
    assert found["layers__1__name"] is None
    assert not [name for name in found if name.startswith("layers__2")]
    assert dict(inner_settings("optimizer", Adam(0.25)))["optimizer__learning_rate"] == 0.25


def test_blocks_have_their_layers():
    found = dict(inner_settings("layers", [Residual([Dense(3), Dropout(0.25)])]))
    assert found["layers__0__layers__layers__1__rate"] == 0.25


@pytest.mark.parametrize("value", [None, 3, "adam", [], [1, 2], ("a", "b"), {"a": 1}])
def test_other_values_have_none(value):
    assert list(inner_settings("name", value)) == []
    with pytest.raises(KeyError, match="0"):
        with_setting(value, "0", 1)
    with pytest.raises(KeyError, match="0"):
        with_setting(value, "0__units", 1)


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_setting_is_set_and_the_list_made_anew(kind):
    layers = kind([Dense(8), Dropout(0.5)])
    changed = with_setting(layers, "1__rate", 0.25)
    assert type(changed) is kind
    assert changed[1].rate == 0.25
    assert changed[0] is layers[0]
    replaced = with_setting(layers, "0", ReLU())
    assert isinstance(replaced[0], ReLU)
    assert isinstance(layers[0], Dense)


def test_every_setting_that_is_named_can_be_set_to_what_it_is():
    layers = [Dense(8, regularizer=L2(0.5)), Residual([Dense(8), Dropout(0.25)]), Sequential([ReLU()])]
    before = repr(layers)
    for name, value in list(inner_settings("layers", layers)):
        layers = with_setting(layers, name.partition("__")[2], copy.deepcopy(value))
    assert repr(layers) == before
    assert Sequential(layers, input_shape=4).forward(np.zeros((2, 4))).shape == (2, 8)


class Watch(Callback):
    """Has an `__init__` of its own, and so no settings that are known."""

    def __init__(self, name):
        self.watched = name


def test_what_has_an_init_of_its_own_is_a_value_like_any_other():
    watch = Watch("loss")
    assert dict(inner_settings("callbacks", [watch])) == {"callbacks__0": watch}
    assert with_setting([watch], "0", None) == [None]
    with pytest.raises(KeyError):
        with_setting([watch], "0__watched", "accuracy")


@pytest.mark.parametrize("path", ["2", "2__units", "0__size", "0__regularizer__strength", "0__units__0", "x"])
def test_a_path_that_is_not_there_is_a_key_error(path):
    with pytest.raises(KeyError):
        with_setting([Dense(8), ReLU()], path, 1)
