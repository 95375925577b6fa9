"""Vectors of ids: looked up, trained by rows, and with a mask of the ids that are no padding."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl import (
    SGD,
    Accuracy,
    BatchNorm,
    Concatenate,
    Dense,
    Embedding,
    Flatten,
    Huber,
    LayerNorm,
    MeanAbsoluteError,
    MeanSquaredError,
    Reshape,
    Residual,
    Sequential,
    SoftmaxCrossEntropy,
    Tanh,
    Trainer,
)
from minidl.errors import ArgumentError, DataError, ShapeError

DTYPES = ["uint8", "int16", "int64", "float32"]


def built(*arguments, shape=5, dtype="float64", **options):
    layer = Embedding(*arguments, **options)
    layer.set_up(shape, 0, dtype=dtype)
    return layer


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (5,), (2, 3)], ids=str)
def test_each_id_becomes_its_vector_and_its_gradient_is_the_sum_over_its_positions(shape, dtype):
    rng = np.random.default_rng(0)
    layer = built(7, 3, shape=shape)
    x = rng.integers(0, 7, (4, *shape)).astype(dtype)
    y = layer.forward(x, training=True)
    one_hot = np.eye(7)[x.astype(int)]
    np.testing.assert_array_equal(y, one_hot @ layer.weight.value)
    dy = rng.normal(size=y.shape)
    layer.weight.gradient = 1e3
    assert layer.backward(dy) is None
    np.testing.assert_allclose(layer.weight.gradient, one_hot.reshape(-1, 7).T @ dy.reshape(-1, 3), rtol=1e-12)


@settings(max_examples=50, deadline=None)
@given(ids=st.lists(st.integers(0, 19), max_size=40), units=st.integers(1, 4))
def test_the_gradient_is_that_of_a_product_with_one_hot_rows(ids, units):
    layer = built(20, units, shape=())
    dy = np.random.default_rng(len(ids)).normal(size=(len(ids), units))
    layer.forward(np.array(ids, int), training=True)
    layer.backward(dy)
    np.testing.assert_allclose(layer.weight.gradient, np.eye(20)[np.array(ids, int)].T @ dy, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("wrong", [-1, 7, 300, 2.5, np.nan])
def test_what_is_no_id_is_named_with_its_row_and_position(wrong):
    layer = built(7, 3)
    x = np.zeros((4, 5), type(wrong))
    x[2, 3] = wrong
    message = rf"^row 2, position 3, holds {wrong}; ids are 0 to 6$"
    with pytest.raises(DataError, match=message):
        layer.forward(x)


def test_before_training_and_in_predictions_the_row_is_that_of_all_data():
    model = Sequential([Embedding(7, 3), Flatten(), Dense(2), SoftmaxCrossEntropy()], seed=0)
    x = np.zeros((5000, 5), int)
    x[4321, 1] = 9
    message = r"^layer 1 'embedding_1': row 4321, position 1, holds 9; ids are 0 to 6$"
    with pytest.raises(DataError, match=message):
        Trainer(model, seed=0).fit(x, np.zeros(5000, int), progress=False)
    with pytest.raises(DataError, match=message):
        model.predict(x, batch_size=10)


def model_of_positions(*between, padding_id=0, dtype="float64"):
    layers = [Embedding(9, 4, padding_id=padding_id), *between, Dense(3), SoftmaxCrossEntropy()]
    return Sequential(layers, input_shape=6, seed=0, dtype=dtype)


def padded(rows=12, positions=6):
    rng = np.random.default_rng(1)
    x = rng.integers(1, 9, (rows, positions))
    lengths = rng.integers(1, positions + 1, rows)
    return np.where(np.arange(positions) < lengths[:, np.newaxis], x, 0), rng.integers(0, 3, (rows, positions)), lengths


BLOCKS = {
    "alone": list,
    "dense": lambda: [Dense(5), Tanh()],
    "nested": lambda: [Sequential([Dense(4), LayerNorm()]), Residual([Dense(4), Tanh()])],
    "branches": lambda: [Concatenate([Dense(2), [Dense(3), Tanh()]])],
    "batch normalization": lambda: [BatchNorm(), Residual([BatchNorm(), Dense(4)])],
    "more axes": lambda: [Reshape((6, 2, 2)), Reshape((6, 4))],
}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_step_on_padded_rows_is_that_on_their_positions_alone(name):
    x, y, _ = padded()
    model = model_of_positions(*BLOCKS[name]())
    counts = x != 0
    # Without padding each position is a row of its own, as these layers look at one position at a time.
    flat = [layer for layer in BLOCKS[name]() if not isinstance(layer, Reshape)]
    flat_model = Sequential(
        [Embedding(9, 4), *flat, Dense(3), SoftmaxCrossEntropy()], input_shape=(), seed=0, dtype="float64"
    )
    flat_model.parameters = model.parameters
    runs = []
    for net, inputs, targets in ((model, x, y), (flat_model, x[counts], y[counts])):
        run = Trainer(net, SGD(0.5), batch_size=None, seed=0)
        run.fit(inputs, targets, epochs=3, progress=False)
        runs.append(run)
    for metric in ("loss", "accuracy"):
        np.testing.assert_allclose(runs[0].history[metric], runs[1].history[metric], rtol=1e-10)
    np.testing.assert_allclose(model.parameters, flat_model.parameters, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(model.forward(x)[counts], flat_model.forward(x[counts]), rtol=1e-9, atol=1e-12)


def test_losses_and_metrics_leave_the_padding_out_also_with_weights():
    x, y, _ = padded()
    model = model_of_positions(Dense(5), Tanh())
    weights = np.random.default_rng(2).random(len(x)) + 0.5
    values = Trainer(model, metrics=[Accuracy()]).evaluate(x, y, sample_weight=weights)
    by_position = np.where(x != 0, weights[:, np.newaxis], 0)
    losses = -np.log(np.take_along_axis(model.predict_proba(x), y[..., np.newaxis], axis=2))[..., 0]
    assert values["loss"] == pytest.approx((losses * by_position).sum() / by_position.sum(), rel=1e-12)
    right = model.predict(x) == y
    assert values["accuracy"] == pytest.approx((right * by_position).sum() / by_position.sum(), rel=1e-12)


def test_batch_normalization_gives_positions_that_do_not_count_zero_and_leaves_them_out_of_its_means():
    rng = np.random.default_rng(0)
    layer = BatchNorm()
    layer.set_up((5, 3), 0, dtype="float64")
    x, mask = rng.normal(size=(4, 5, 3)), rng.random((4, 5)) < 0.6
    layer.forward(np.where(mask[..., np.newaxis], x, 1e3), training=True, mask=mask)
    np.testing.assert_allclose(layer.running_mean.value, 0.1 * x[mask].mean(axis=0), rtol=1e-12)
    y = layer.forward(x, mask=mask)
    assert not y[~mask].any()
    np.testing.assert_allclose(y[mask], layer.forward(x)[mask], rtol=1e-12)


def test_a_loss_of_whole_rows_cannot_leave_positions_out_and_says_so():
    model = Sequential([Embedding(9, 4, padding_id=0), Dense(1), MeanSquaredError()], seed=0)
    x, y, _ = padded()
    with pytest.raises(
        ArgumentError, match=r"MeanSquaredError scores a row as a whole, and its padding too: .*\(position_wise=True\)"
    ):
        Trainer(model).fit(x, y[..., np.newaxis], progress=False)


@pytest.mark.parametrize("loss", [MeanSquaredError, Huber, MeanAbsoluteError])
def test_losses_of_numbers_leave_the_padding_out_where_positions_are_their_samples(loss):
    model = Sequential([Embedding(9, 4, padding_id=0), Dense(2), loss(position_wise=True)], seed=0, dtype="float64")
    x, _, _ = padded()
    y = np.random.default_rng(3).normal(size=(*x.shape, 2))
    metrics = ["mean_absolute_error", "r2"]
    values = Trainer(model, metrics=metrics).evaluate(x, y)
    flat = Sequential([Embedding(9, 4), Dense(2), loss()], input_shape=(), seed=0, dtype="float64")
    flat.parameters = model.parameters
    expected = Trainer(flat, metrics=metrics).evaluate(x[x != 0], y[x != 0])
    assert values == pytest.approx(expected, rel=1e-10)
    whole = Sequential([Embedding(9, 4), Dense(2), loss()], input_shape=6, seed=0, dtype="float64")
    whole.parameters = model.parameters
    apart = Sequential([Embedding(9, 4), Dense(2), loss(position_wise=True)], input_shape=6, dtype="float64")
    apart.parameters = model.parameters
    of_all = [Trainer(each).evaluate(x, y)["loss"] for each in (whole, apart)]
    assert of_all[0] == pytest.approx(of_all[1], rel=1e-12)


def test_a_mask_ends_where_positions_do():
    x, _, _ = padded()
    model = Sequential([Embedding(9, 4, padding_id=0), Dense(2), Flatten(), Dense(3), SoftmaxCrossEntropy()], seed=0)
    model.set_up_for(x)
    assert model.mask_after(x, None) is None
    np.testing.assert_array_equal(model.layers[1].mask_after(None, x != 0), x != 0)
    assert model.makes_mask
    assert not Sequential([Embedding(9, 4)], input_shape=3).makes_mask


def test_padding_is_known_where_ids_enter_and_not_behind_other_layers():
    x, y, _ = padded()
    layers = [Reshape(6), Embedding(9, 4, padding_id=0), Dense(3), SoftmaxCrossEntropy()]
    with pytest.raises(DataError, match="padding is found in what enters a model: put the Embedding first"):
        Trainer(Sequential(layers)).fit(x, y, progress=False)


@pytest.mark.parametrize("arguments", [(0, 3), (3, 0), (2.5, 3)])
def test_sizes_that_cannot_work_are_refused(arguments):
    with pytest.raises((ArgumentError, TypeError)):
        Embedding(*arguments)


def test_ids_of_another_shape_are_refused_with_the_place():
    model = model_of_positions()
    with pytest.raises(ShapeError, match="layer 1 'embedding_1' expects input"):
        model.predict(np.zeros((2, 7), int))
