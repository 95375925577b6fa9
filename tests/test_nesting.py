"""Blocks inside blocks: hundreds of levels, with Python's own limit of nested calls."""

import copy
import pickle
import sys

import numpy as np
import pytest

from minidl import Concatenate, Dense, EarlyStopping, Layer, MeanSquaredError, ReLU, Residual, Sequential, Trainer

# Coverage would more than double the time of walks over hundreds of levels, whose lines other tests reach as well.
pytestmark = pytest.mark.no_cover

LEVELS = 200
x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
each_block = pytest.mark.parametrize(
    "block", [lambda inner: Sequential([inner]), Residual, lambda inner: Concatenate([inner])], ids=["s", "r", "c"]
)


def nested(block, levels=LEVELS):
    inner = Dense(3, initializer="zeros")
    for _ in range(levels):
        inner = block(inner)
    return Sequential([inner, MeanSquaredError()], seed=0)


@each_block
def test_two_hundred_nested_blocks_do_all_that_a_model_does(block, tmp_path, capsys):
    assert sys.getrecursionlimit() <= 1000
    model = nested(block)
    model.set_up(3, 0)
    assert model.count_parameters() == 12
    # Zeros inside; each shortcut around them adds x.
    np.testing.assert_allclose(model.forward(x), LEVELS * x if block is Residual else np.zeros_like(x), rtol=1e-5)
    trainer = Trainer(model, "sgd", seed=0)
    trainer.fit(x, x + 1, epochs=2, progress=False, callbacks=[EarlyStopping("loss")])
    assert model.parameters.any()
    wanted, shown = model.predict(x), repr(model)
    names = [name for name, _ in model.named_layers()]
    trainer.save(tmp_path / "run.npz")
    model.save(tmp_path / "model.npz")
    for again in (
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        Sequential.load(tmp_path / "model.npz"),
        Trainer.load(tmp_path / "run.npz").model,
    ):
        np.testing.assert_array_equal(again.predict(x), wanted)
        assert [name for name, _ in again.named_layers()] == names
        assert repr(again) == shown
    assert shown.count("Dense(") == 1
    model.summary()
    assert len(capsys.readouterr().out.splitlines()) > LEVELS


@each_block
def test_the_gradient_goes_down_all_levels(block):
    model = nested(block)
    model.set_up(3, 0)
    model.forward(x, training=True)
    dy = np.ones_like(x)
    model.backward(dy)
    # The innermost Dense gets x, and the gradient as it is: shortcuts and branches hand both on.
    (weight,) = (each for name, each in model.named_parameters().items() if name.endswith("weight"))
    np.testing.assert_allclose(weight.gradient, x.T @ dy, rtol=1e-5)


def test_copies_of_nested_layers_share_what_the_original_shares_and_nothing_with_it():
    model = Sequential([Residual([Dense(3), Residual([ReLU(), Dense(3)])]), MeanSquaredError()], input_shape=3)
    first = model.layers[0]
    for other, inner in (copy.deepcopy((model, first)), pickle.loads(pickle.dumps((model, first)))):
        assert inner is other.layers[0]
        assert not {id(layer) for layer in other.walk()} & {id(layer) for layer in model.walk()}
        assert [type(layer) for layer in other.walk()] == [type(layer) for layer in model.walk()]
        assert all(vars(one).keys() == vars(two).keys() for one, two in zip(other.walk(), model.walk(), strict=True))
        other.parameters[:] = 1
        assert not (model.parameters == 1).all()
    assert copy.copy(model).layers[0] is first


class Forgetful(Layer):
    """Has a copying of its own, as before there was another."""

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "saved"}

    def forward(self, x, training=False):
        self.saved = x
        return x


def test_a_layer_may_say_itself_what_a_copy_gets():
    layer = Forgetful()
    layer.forward(x, training=True)
    assert not hasattr(copy.deepcopy(layer), "saved")
    assert not hasattr(pickle.loads(pickle.dumps(layer)), "saved")


def test_branches_are_saved_with_their_names(tmp_path):
    named = Concatenate([Sequential([Dense(2)], name="a"), Sequential([Dense(2)], name="branch_2"), [Dense(1)]])
    plain = Concatenate([Dense(2), [Dense(2), ReLU()]])
    inner = Residual(Sequential([Dense(5)], name="own"), projection=Dense(5))
    model = Sequential([named, plain, inner, MeanSquaredError()], input_shape=3, seed=0)
    model.save(tmp_path / "model.npz")
    loaded = Sequential.load(tmp_path / "model.npz")
    assert list(loaded.named_parameters()) == list(model.named_parameters())
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
