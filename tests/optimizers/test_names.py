import pytest

from minidl import optimizers
from minidl.errors import ArgumentError, ArgumentTypeError
from minidl.optimizers import Adam, Optimizer, get_optimizer

KINDS = {kind for kind in vars(optimizers).values() if isinstance(kind, type) and issubclass(kind, Optimizer)}
NAMED = {kind.__name__.lower(): kind for kind in KINDS - {Optimizer}}


def test_there_are_optimizers_to_name():
    assert len(NAMED) == 11


@pytest.mark.parametrize(("name", "kind"), sorted(NAMED.items()))
def test_a_name_stands_for_a_new_optimizer_with_its_defaults(name, kind):
    optimizer = get_optimizer(name)
    assert repr(optimizer) == repr(kind())
    assert get_optimizer(name) is not optimizer
    assert get_optimizer(optimizer) is optimizer
    assert type(get_optimizer(kind.__name__)) is kind


def test_an_unknown_name_is_answered_with_the_closest():
    with pytest.raises(ArgumentError, match="no optimizer is named 'adm'; did you mean 'adam'"):
        get_optimizer("adm")


@pytest.mark.parametrize(("value", "end"), [(None, "None"), (Adam, "<class .*Adam'>"), (0.1, r"0\.1")])
def test_what_is_neither_optimizer_nor_name_is_refused(value, end):
    with pytest.raises(ArgumentTypeError, match=f"or a name, such as .*, not {end}$"):
        get_optimizer(value)
