"""The text of parts: one line or several, and what `eval` makes of it."""

import numpy as np
import pytest

import minidl
from minidl import (
    L2,
    Adam,
    Concatenate,
    CosineDecay,
    Dense,
    Layer,
    MeanSquaredError,
    ReLU,
    Residual,
    Sequential,
    Tanh,
    Trainer,
)
from minidl.data.augment import Compose, Rotation, Scaling
from minidl.settings import setting


def deep_model(blocks):
    model = Sequential([Dense(2), ReLU()])
    for _ in range(blocks):
        model = Sequential([Residual(model)])
    return model


def test_a_short_model_is_a_line():
    assert repr(Sequential([ReLU(), Tanh(), MeanSquaredError()])) == "Sequential([ReLU(), Tanh(), MeanSquaredError()])"


def test_each_layer_of_a_longer_one_has_a_line_and_those_in_blocks_are_indented():
    layers = [Dense(8), Residual([Dense(8), ReLU(), Dense(8)]), Concatenate([Dense(3), [Dense(2), Tanh()]])]
    assert repr(Sequential([*layers, MeanSquaredError()])).replace(", initializer='he_normal', use_bias=True", "") == (
        """Sequential([
    Dense(units=8),
    Residual(
        layers=Sequential([
            Dense(units=8),
            ReLU(),
            Dense(units=8),
        ]),
    ),
    Concatenate(
        branches=(
            Sequential([Dense(units=3)]),
            Sequential([Dense(units=2), Tanh()]),
        ),
        axis=-1,
    ),
    MeanSquaredError(),
])"""
    )


PARTS = {
    "model": lambda: Sequential([Dense(64, regularizer=L2(0.1)), ReLU(), Dense(64), ReLU(), MeanSquaredError()]),
    "nested": lambda: Sequential([Residual([Dense(8), Residual([Dense(8), Dense(8)])]), Concatenate([Dense(3)])]),
    "concatenate": lambda: Concatenate([Dense(3), [Dense(2), Tanh()], Residual(Dense(3))], axis=1),
    "optimizer": lambda: Adam(CosineDecay(0.1, steps=5)),
    "augmentation": lambda: Compose([Rotation(10), Scaling(0.1), Rotation(20)], image_shape=(28, 28)),
    "trainer": lambda: Trainer(Sequential([Dense(8), Tanh(), Dense(8), MeanSquaredError()]), Adam(), seed=0),
}


@pytest.mark.parametrize("make", PARTS.values(), ids=PARTS)
def test_eval_makes_the_part_again(make):
    names = {
        **{name: getattr(minidl, name) for name in minidl.__all__},
        "Compose": Compose,
        "Rotation": Rotation,
        "Scaling": Scaling,
    }
    text = repr(make())
    assert repr(eval(text, names)) == text
    assert max(map(len, text.splitlines())) <= 120


def test_a_tuple_of_one_and_empty_lists_stay_what_they_are():
    class Holder(Layer):
        items: tuple = setting(())

    for items in ((), (1,), (1, 2), [], [None], [[1], (2,)], (np.float64, "a\nb")):
        assert repr(Holder(items=items)).endswith(f"Holder(items={items!r})")


def test_five_hundred_blocks_in_each_other_do_not_reach_the_limit_of_python():
    part = Dense(2)
    for _ in range(500):
        outer = Residual.__new__(Residual)  # its checks call each other, once for each block
        vars(outer).update(layers=part)
        part = outer
    text = repr(part)
    assert text.count("Residual(") == 500
    assert text.endswith(")" * 501)


def test_a_part_that_holds_itself_says_so_instead_of_failing():
    class Loop(Layer):
        inner: object = None

    loop = Loop()
    loop.inner = [loop]
    assert repr(loop).endswith("Loop(inner=[...])")


def test_a_layer_with_a_repr_of_its_own_is_shown_by_it():
    class Quiet(Layer):
        def __repr__(self):
            return "~"

    class Louder(Layer):
        units: int = setting(kw_only=False)

        def __repr__(self):
            return f"{super().__repr__()}!"

    assert repr(Sequential([Quiet(), Residual(Louder(3))])).count("~") == 1
    assert "Louder(units=3)!,\n])" in repr(Sequential([Louder(3)]))


def test_a_model_of_a_subclass_with_an_init_of_its_own_has_a_repr():
    class Twice(Sequential):
        def __init__(self, units):
            super().__init__([Dense(units), ReLU()])

    assert repr(Twice(3)).startswith("Twice([Dense(units=3")


def test_an_error_about_a_large_layer_stays_short():
    block = Residual([Dense(8) for _ in range(30)])
    with pytest.raises(minidl.errors.ArgumentError, match="or what it holds is in the model twice") as raised:
        Sequential([block, block])
    assert len(str(raised.value)) <= 300


def test_an_error_shows_a_model_in_a_line():
    model = Sequential([Dense(8), ReLU(), Dense(8), ReLU()])
    with pytest.raises(minidl.errors.ArgumentTypeError) as raised:
        minidl.Ensemble(model)
    shown = "Sequential([Dense(units=8, initializer='he_normal', use_bias=True), ReLU(), Dens"
    assert str(raised.value) == f"Ensemble: models is {shown}; it must be a list of models"
