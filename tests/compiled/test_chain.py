"""Chains of dense layers in one call give the bits of the NumPy code, and other networks are left to it."""

import copy
import pickle

import numpy as np
import pytest
from bits import assert_same_bits, compiled_functions
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import between_dense

from minidl import (
    L2,
    SGD,
    BatchNorm,
    Dense,
    Dropout,
    Dropout2D,
    Flatten,
    MeanSquaredError,
    ReLU,
    Rescale,
    Residual,
    Sequential,
    SoftmaxCrossEntropy,
    Tanh,
    Trainer,
)
from minidl.compiled import switch
from minidl.training.gradients import Tally
from minidl.training.rows import prepare_rows

pytest.importorskip("numba")

from minidl.compiled import chain as chains
from minidl.compiled.blas import routines

if routines(np.dtype(np.float32)) is None:
    pytest.skip("NumPy has another BLAS here", allow_module_level=True)


pytestmark = pytest.mark.usefixtures("compiled_code")


def passes(model, x, y, *, compiled):
    """The totals of a batch, the gradients of all parameters, running means, and what is drawn next."""
    (found,) = compiled_functions("_forward_backward")
    model = copy.deepcopy(model)
    rows = prepare_rows(model, x, y)
    model.gradients[:] = np.nan
    totals = (found.compiled if compiled else found.numpy)(model, rows, Tally(model, [], rows), 7.0)
    drawn = [generator.random(3) for generator in model.named_generators().values()]
    return totals, model.gradients, *(state.value for state in model.named_states().values()), *drawn


def is_chain(model):
    return chains.chain_of(model) is not None


@st.composite
def perceptrons(draw):
    sizes = draw(st.lists(st.integers(2, 70), min_size=1, max_size=4))
    layers = draw(st.sampled_from([[], [Rescale(1 / 255)], [Flatten()], [Rescale(0.1, offset=-1), Flatten()]]))
    layers = copy.deepcopy(layers)
    classifies = draw(st.booleans())  # by a loss whose gradient lies by columns in memory
    for units in sizes[1:]:
        layers += [Dense(units, use_bias=draw(st.booleans())), *copy.deepcopy(draw(between_dense))]
    layers += [Dense(draw(st.integers(2 if classifies else 1, 12)), use_bias=draw(st.booleans()))]
    loss = SoftmaxCrossEntropy() if classifies else MeanSquaredError()
    dtype = draw(st.sampled_from(["float32", "float64"]))
    return Sequential([*layers, loss], input_shape=sizes[0], seed=0, dtype=dtype)


@given(model=perceptrons(), rows=st.integers(2, 100), whole=st.booleans())
@settings(max_examples=150, derandomize=True)
def test_a_chain_has_the_totals_and_gradients_of_its_layers(model, rows, whole):
    rng = np.random.default_rng(rows)
    x = 128 + 60 * rng.normal(size=(rows, *model.input_shape))
    x = x.clip(0, 255).astype(np.uint8 if whole else model.dtype)
    outputs = model.output_shape
    classifies = type(model.loss) is SoftmaxCrossEntropy
    y = rng.integers(0, outputs[0], rows) if classifies else rng.normal(size=(rows, *outputs))
    assert is_chain(model)
    wanted, found = (passes(model, x, y, compiled=compiled) for compiled in (False, True))
    for each, expected in zip(found, wanted, strict=True):
        assert_same_bits(each, expected)


@pytest.mark.parametrize("layers", [[], [Dense(10), ReLU()]], ids=["one layer", "two layers"])
@pytest.mark.parametrize("rows", [128, 129, 1000])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_of_many_rows_and_few_units_are_made_in_the_parts_of_the_numpy_code(layers, rows, dtype):
    layers = [*copy.deepcopy(layers), Dense(10), SoftmaxCrossEntropy()]
    model, rng = Sequential(layers, input_shape=784, seed=0, dtype=dtype), np.random.default_rng(rows)
    assert is_chain(model)
    x, y = rng.normal(size=(rows, 784)).astype(dtype), rng.integers(0, 10, rows)
    wanted, found = (passes(model, x, y, compiled=compiled) for compiled in (False, True))
    for each, expected in zip(found, wanted, strict=True):
        assert_same_bits(each, expected)


def network(*layers, **options):
    return Sequential([*layers, SoftmaxCrossEntropy()], input_shape=6, seed=0, **options)


@pytest.mark.parametrize(
    "layers",
    [
        [Dense(5), Tanh(), Dense(3)],
        [Dense(5), Dropout(0.5), ReLU(), Dense(3)],
        [Dense(5), BatchNorm(), Dropout2D(0.5), Dense(3)],
        [BatchNorm(), Dense(3)],
        [Dense(3), BatchNorm()],
        [Residual([Dense(6), ReLU()]), Dense(3)],
        [ReLU(), Dense(3)],
        [Dense(5), ReLU(), ReLU(), Dense(3)],
        [Dense(1), ReLU(), Dense(3)],
        [Dense(3), ReLU()],
        [Sequential([Dense(5), ReLU()]), Dense(3)],
        [type("Own", (Dense,), {})(5), Dense(3)],
    ],
    ids=lambda layers: layers[0].__class__.__name__ + str(len(layers)),
)
def test_other_networks_are_computed_layer_by_layer(layers):
    model, rng = network(*layers), np.random.default_rng(0)
    assert not is_chain(model)
    history = Trainer(model, SGD(0.1), batch_size=8, seed=0).fit(
        rng.normal(size=(20, 6)), rng.integers(0, 3, 20), epochs=2, progress=False
    )
    assert history["loss"][1] != history["loss"][0]


def test_what_is_frozen_or_needs_the_inputs_gradient_is_computed_layer_by_layer():
    model = network(Dense(5), BatchNorm(), ReLU(), Dense(3))
    model.layers[0].trainable = False
    assert not is_chain(model)
    model.layers[0].trainable = True
    assert is_chain(model)
    model.layers[1].trainable = False
    assert not is_chain(model)
    model.layers[1].trainable = True
    model.needs_input_gradient = True
    assert not is_chain(model)


@pytest.mark.parametrize(
    "x",
    [np.ones((1, 6)), np.ones((8, 12))[:, ::2], np.asfortranarray(np.ones((4, 6)))],
    ids=["one row", "every second column", "by columns"],
)
def test_batches_of_other_forms_are_computed_layer_by_layer(x):
    model = network(Dense(5), ReLU(), Dense(3))
    y = np.arange(len(x)) % 3
    wanted, found = (passes(model, x, y, compiled=compiled) for compiled in (False, True))
    for each, expected in zip(found, wanted, strict=True):
        assert_same_bits(each, expected)


def test_a_model_that_becomes_part_of_another_or_is_copied_goes_on_with_the_vectors_that_it_has_then():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 6)).astype(np.float32), rng.integers(0, 3, 64)
    model = network(Dense(5), ReLU(), Dense(3))
    Trainer(model, SGD(0.1), batch_size=16, seed=0).fit(x, y, progress=False)
    copies = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    larger = Sequential([Rescale(1.0), *model.layers, SoftmaxCrossEntropy()], input_shape=6)
    for each in (*copies, larger):
        assert is_chain(each)
        before = each.parameters.copy()
        Trainer(each, SGD(0.1), batch_size=16, seed=1).fit(x, y, progress=False)
        assert (each.parameters != before).all(axis=None)
    for each in copies:
        np.testing.assert_array_equal(each.parameters, larger.parameters)


def test_penalties_callbacks_and_clipping_are_as_with_numpy():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(90, 6)), rng.integers(0, 3, 90)
    seen = []

    def run():
        model = network(Dense(9, regularizer=L2(0.01)), ReLU(), Dense(3))
        trainer = Trainer(model, SGD(0.5), batch_size=16, seed=0, clip_norm=0.4)
        callback = lambda trainer: seen.append(trainer.model.gradients.copy())  # noqa: E731
        trainer.fit(x, y, epochs=2, progress=False, callbacks=[callback], sample_weight=rng.uniform(0, 2, 90))
        return model.parameters, dict(trainer.history), seen.pop()

    rng = np.random.default_rng(1)
    compiled = run()
    switch(False)
    rng = np.random.default_rng(1)
    wanted = run()
    np.testing.assert_array_equal(compiled[0], wanted[0])
    assert compiled[1] == wanted[1]
    np.testing.assert_array_equal(compiled[2], wanted[2])


def test_a_loss_of_ones_own_whose_gradient_numpy_multiplies_is_asked_once():
    asked = []

    class PreciseError(MeanSquaredError):
        def total(self, scores, targets, weights=None, scale=1.0):
            asked.append(len(scores))
            total, gradient = super().total(scores, targets, weights, scale)
            return total, gradient.astype(np.float64)

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 6)).astype(np.float32), rng.normal(size=(9, 3)).astype(np.float32)
    layers = [Rescale(2.0), Dense(5), BatchNorm(), ReLU(), Dropout(0.3), Dense(4), Dense(3), PreciseError()]
    model = Sequential(layers, input_shape=6, seed=0)
    assert is_chain(model)
    wanted, found = (passes(model, x, y, compiled=compiled) for compiled in (False, True))
    assert asked == [9, 9]
    for each, expected in zip(found, wanted, strict=True):
        assert_same_bits(each, expected)
