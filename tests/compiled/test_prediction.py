"""Chains of dense layers predict in one call with the bits of the NumPy code, and other models are left to it."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest
from bits import assert_same_bits
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl import (
    Dense,
    Flatten,
    MeanSquaredError,
    ReLU,
    Rescale,
    Sequential,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    Tanh,
)
from minidl.compiled import is_on, switch
from minidl.errors import DataError, ShapeError

pytest.importorskip("numba")

from minidl.compiled import prediction
from minidl.compiled.blas import routines

if routines(np.dtype(np.float32)) is None:
    pytest.skip("NumPy has another BLAS here", allow_module_level=True)


@pytest.fixture(autouse=True)
def _switch():
    before = is_on()
    yield
    switch(before)


def scores(model, x, **options):
    """What the NumPy code and the compiled code return."""
    found = []
    for on in (False, True):
        switch(on)
        found.append(model.predict_scores(x, **options))
    return found


def assert_same_scores(model, x, **options):
    wanted, found = scores(model, x, **options)
    assert_same_bits(found, wanted)


def is_compiled(model):
    return prediction._plan_of(model) is not None


def network(*layers, seed=0, **options):
    layers = layers or (Dense(5), ReLU(), Dense(3))
    model = Sequential([*layers, SoftmaxCrossEntropy()], input_shape=6, seed=seed, **options)
    model.parameters = np.random.default_rng(seed).normal(size=model.parameters.shape)  # biases that are not zero
    return model


def rows(count, inputs=6, dtype=np.float32):
    return np.random.default_rng(count).normal(size=(count, inputs)).astype(dtype)


@st.composite
def perceptrons(draw):
    sizes = draw(st.lists(st.integers(2, 150), min_size=1, max_size=4))
    layers = copy.deepcopy(draw(st.sampled_from([[], [], [Rescale(1 / 255)], [Rescale(0.1, offset=-1), Flatten()]])))
    for units in sizes[1:]:
        layers += [Dense(units, use_bias=draw(st.booleans())), *[ReLU()] * draw(st.booleans())]
    layers += [Dense(draw(st.integers(1, 12)), use_bias=draw(st.booleans())), MeanSquaredError()]
    model = Sequential(layers, input_shape=sizes[0], seed=0, dtype=draw(st.sampled_from(["float32", "float64"])))
    model.parameters = np.random.default_rng(sizes[0]).normal(size=model.parameters.shape)
    return model


@given(
    model=perceptrons(),
    count=st.sampled_from([0, 1, 1, 2, 3, 60]),
    dtype=st.sampled_from(["float32", "float64", "uint8", "int64"]),
)
@settings(max_examples=150, derandomize=True, deadline=None)
def test_a_chain_has_the_scores_of_its_layers(model, count, dtype):
    assert is_compiled(model)
    assert_same_scores(model, (100 + 30 * rows(count, *model.input_shape)).clip(0, 255).astype(dtype))


@pytest.mark.parametrize("count", [0, 1, 2, 5_000])
def test_predictions_and_probabilities_are_those_of_the_numpy_code(count):
    model, x = network(), rows(count)
    for method in (model.predict, model.predict_proba):
        found = []
        for on in (False, True):
            switch(on)
            found.append(method(x))
        np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("count", [128, 129, 2_000])
def test_products_of_many_rows_and_few_units_are_made_in_the_parts_of_the_numpy_code(count):
    model = Sequential([Dense(10), ReLU(), Dense(3), SoftmaxCrossEntropy()], input_shape=784, seed=0)
    assert_same_scores(model, rows(count, 784))


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_rows_in_batches_are_those_of_the_numpy_code(batch_size):
    assert_same_scores(network(), rows(100), batch_size=batch_size)


@pytest.mark.parametrize(
    "x",
    [
        rows(8, 12)[:, ::2],
        rows(1, 12)[:, ::2],
        rows(16)[::2],
        rows(8)[::-1],
        np.asfortranarray(rows(9)),
        np.broadcast_to(rows(1), (4, 6)),
        rows(3).astype(">f4"),
        rows(3).tolist(),
        np.frombuffer(b"." + rows(1).tobytes(), np.float32, offset=1).reshape(1, 6),
    ],
    ids=["columns", "columns of a row", "rows", "backwards", "Fortran", "repeated", "big-endian", "lists", "unaligned"],
)
def test_rows_that_lie_otherwise_in_memory_are_those_of_the_numpy_code(x):
    assert_same_scores(network(), x)


def test_rows_that_cannot_be_written_to_are_those_of_the_numpy_code():
    for count in (1, 5):
        x = rows(count)
        x.flags.writeable = False
        assert_same_scores(network(), x)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("count", [1, 3])
def test_a_number_that_is_not_finite_is_named_as_without_compiled_code(value, count):
    switch(True)
    x = rows(count)
    x[-1, 4] = value
    with pytest.raises(DataError, match=f"^x holds .* at row {count - 1}, entry 4: remove or fill such values first$"):
        network().predict(x)


def test_large_numbers_whose_sum_overflows_are_finite():
    model = network(dtype="float64")
    model.parameters = 1e-3 * model.parameters
    assert_same_scores(model, np.full((1, 6), 1e308))


@pytest.mark.parametrize("x", [rows(1, 5), rows(1)[0], np.float32(1), rows(2, 36).reshape(2, 6, 6)])
def test_inputs_of_another_shape_raise_the_error_of_the_numpy_code(x):
    messages = []
    for on in (False, True):
        switch(on)
        with pytest.raises(ShapeError) as caught:
            network().predict(x)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_a_wrong_batch_size_is_refused_for_one_row_too():
    switch(True)
    with pytest.raises(ValueError, match="batch_size"):
        network().predict(rows(1), batch_size=0)


class Doubled(Sequential):
    """A model with a way of its own to compute."""

    def forward(self, x, training=False):
        return 2 * super().forward(x, training)


def test_a_subclass_computes_in_its_own_way():
    model = Doubled([Dense(3), MeanSquaredError()], input_shape=6, seed=0)
    plain = Sequential([Dense(3), MeanSquaredError()], input_shape=6, seed=0)
    switch(True)
    assert not is_compiled(model)
    for count in (1, 4):
        np.testing.assert_array_equal(model.predict(rows(count)), 2 * plain.predict(rows(count)))


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("owner", [lambda model: model, lambda model: model[0], lambda model: model[1]])
def test_a_forward_of_ones_own_on_the_model_or_a_layer_is_called(owner, count):
    switch(True)
    model = network()
    before, part, seen = model.predict_scores(rows(count)), owner(model), []
    forward = part.forward

    def watched(x, training=False):
        seen.append(len(x))
        return forward(x, training=training)

    part.forward = watched
    np.testing.assert_array_equal(model.predict_scores(rows(count)), before)
    assert seen == [count]
    del part.forward
    model.predict_scores(rows(count))
    assert seen == [count]
    assert is_compiled(model)


@pytest.mark.parametrize(
    "layers",
    [[Dense(5), Tanh(), Dense(3)], [Dense(1), ReLU(), Dense(3)], [type("Own", (Dense,), {})(5), Dense(3)]],
    ids=["Tanh", "one unit", "subclass"],
)
def test_other_networks_are_computed_layer_by_layer(layers):
    model = network(*layers)
    assert not is_compiled(model)
    for count in (1, 4):
        assert_same_scores(model, rows(count))


@pytest.mark.parametrize("count", [1, 4])
def test_frozen_layers_and_models_without_a_loss_are_computed_in_one_call(count):
    model = network()
    model[0].trainable = False
    without = Sequential([Dense(5), ReLU(), Dense(3)], input_shape=6, seed=0)
    for each in (model, without):
        assert is_compiled(each)
        assert_same_scores(each, rows(count))


def test_images_are_taken_flat_or_without_channels():
    model = Sequential([Flatten(), Dense(4), SoftmaxCrossEntropy()], input_shape=(3, 2, 1), seed=0)
    assert is_compiled(model)
    for count in (1, 3):
        for shape in [(3, 2, 1), (3, 2), (6,)]:
            assert_same_scores(model, rows(count).reshape(count, *shape))


def test_parameters_that_change_are_used_at_once():
    switch(True)
    model, x = network(), rows(1)
    model.predict(x)
    model.parameters = network(seed=1).parameters
    np.testing.assert_array_equal(model.predict_scores(x), network(seed=1).predict_scores(x))
    model[0].weight.value = 0.0
    model[0].bias.value = 0.0
    np.testing.assert_array_equal(model.predict_scores(x)[0], model[-1].bias.value)


def test_a_model_that_is_copied_or_becomes_part_of_another_goes_on_with_the_vectors_that_it_has_then():
    switch(True)
    x, model = rows(1), network()
    before = model.predict_scores(x)
    copies = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    larger = Sequential([Rescale(1.0), *model.layers, SoftmaxCrossEntropy()], input_shape=6)
    for each in (model, *copies, larger):
        np.testing.assert_array_equal(each.predict_scores(x), before)
    larger.parameters = 0.0
    for each in (model, larger):
        assert not each.predict_scores(x).any()
    for each in copies:
        np.testing.assert_array_equal(each.predict_scores(x), before)


def test_a_model_without_an_input_shape_takes_it_from_the_first_row():
    found = []
    for on in (False, True):
        switch(on)
        model = Sequential([Dense(5), ReLU(), Dense(1), SigmoidCrossEntropy()], seed=0)
        found.append([model.predict_scores(rows(1)) for _ in range(2)])
    np.testing.assert_array_equal(*found)


def test_a_model_that_is_not_used_any_more_is_let_go():
    switch(True)
    model = network()
    model.predict(rows(1))
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None


def test_layers_that_have_become_part_of_another_model_predict_with_the_parameters_that_they_have_there():
    old = network(Dense(5), ReLU(), Dense(7))
    x = rows(9)
    assert_same_scores(old, x)
    new = Sequential([*old.layers[:-1], Dense(3), SoftmaxCrossEntropy()], input_shape=6, seed=1)
    new.parameters = 0.1
    assert not is_compiled(old)
    for model in (old, new):
        assert_same_scores(model, x)
        assert_same_scores(model, x[:1])
