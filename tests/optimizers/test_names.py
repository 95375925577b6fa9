import pytest

from minidl import optimizers
from minidl.errors import ArgumentError, ArgumentTypeError
from minidl.optimizers import Adam, Optimizer, get_optimizer
from minidl.optimizers.averaging import _Wrapper

KINDS = {name.lower(): kind for name in optimizers.__all__ if isinstance(kind := getattr(optimizers, name), type)}
NAMED = {name: kind for name, kind in KINDS.items() if kind is not Optimizer and not issubclass(kind, _Wrapper)}


@pytest.mark.parametrize(("name", "kind"), NAMED.items())
def test_a_name_stands_for_a_new_optimizer_with_its_defaults(name, kind):
    optimizer = get_optimizer(name)
    assert repr(optimizer) == repr(kind())
    assert get_optimizer(name) is not optimizer
    assert get_optimizer(optimizer) is optimizer


def test_an_unknown_name_is_answered_with_the_closest():
    with pytest.raises(ArgumentError, match="no optimizer is named 'adm'; did you mean 'adam'"):
        get_optimizer("adm")


@pytest.mark.parametrize("value", [None, Adam, 0.1])
def test_what_is_neither_optimizer_nor_name_is_refused(value):
    with pytest.raises(ArgumentTypeError, match="or a name, not"):
        get_optimizer(value)
