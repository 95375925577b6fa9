"""Vectors of ids: looked up, trained by rows, and with a mask of the ids that are no padding."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import together
from scipy import sparse

from minidl import (
    GRU,
    SGD,
    Accuracy,
    BatchNorm,
    Concatenate,
    Conv2D,
    Dense,
    Embedding,
    Flatten,
    GlobalAveragePool1D,
    GlobalAveragePool2D,
    Huber,
    LayerNorm,
    MaxPool2D,
    MeanAbsoluteError,
    MeanSquaredError,
    Rescale,
    Reshape,
    Residual,
    Sequential,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    Tanh,
    Trainer,
    UpSample2D,
    ZeroPad2D,
)
from minidl.data import Shards
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
    message = rf"^row 2 of the batch, position 3, holds {wrong}; ids are the whole numbers 0 to 6$"
    with pytest.raises(DataError, match=message):
        layer.forward(x)


def test_a_whole_id_that_is_a_float_is_named_as_an_id():
    x = np.zeros((4, 5))
    x[2, 3] = 77
    with pytest.raises(DataError, match="holds 77; ids are"):
        built(7, 3).forward(x)


def test_before_training_and_in_predictions_the_row_is_that_of_all_data():
    model = Sequential([Embedding(7, 3), Flatten(), Dense(2), SoftmaxCrossEntropy()], seed=0)
    x = np.zeros((5000, 5), int)
    x[4321, 1] = 9
    message = r"^layer 1 'embedding_1': row 4321, position 1, holds 9; ids are the whole numbers 0 to 6$"
    with pytest.raises(DataError, match=message):
        Trainer(model, seed=0).fit(x, np.zeros(5000, int), progress=False)
    with pytest.raises(DataError, match=message):
        model.predict(x, batch_size=10)
    with pytest.raises(DataError, match=message):
        Trainer(model, seed=0).fit(sparse.csr_array(x), np.zeros(5000, int), progress=False)


def test_each_process_checks_its_own_ids():
    x = np.zeros((20, 6), int)
    x[13, 2] = 9

    def work(communicator):
        trainer = Trainer(model_of_positions(), batch_size=4, seed=0, communicator=communicator)
        with pytest.raises(ValueError, match="counted from row 10, layer 1 'embedding_1': row 3, position 2, holds 9"):
            trainer.fit(x, np.zeros((20, 6), int), progress=False)
        return True

    assert together(work) == [True, True]


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
        ArgumentError, match=r"MeanSquaredError scores a row as a whole, with its padding: .*\(position_wise=True\)"
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
    layers = [Embedding(9, 4, padding_id=0), Dense(2), GlobalAveragePool1D(), Dense(3), SoftmaxCrossEntropy()]
    model = Sequential(layers, seed=0)
    model.set_up_for(x)
    assert model.mask_after(x, None) is None
    np.testing.assert_array_equal(model.layers[1].mask_after(None, x != 0), x != 0)
    assert model.makes_mask
    assert not Sequential([Embedding(9, 4)], input_shape=3).makes_mask


def test_padding_is_known_where_ids_enter_and_not_behind_other_layers():
    x, y, _ = padded()
    layers = [Reshape(6), Embedding(9, 4, padding_id=0), Dense(3), SoftmaxCrossEntropy()]
    with pytest.raises(DataError, match="padding is found in the input of a model: put the Embedding first"):
        Trainer(Sequential(layers)).fit(x, y, progress=False)


@pytest.mark.parametrize("arguments", [(0, 3), (3, 0), (2.5, 3)])
def test_sizes_that_cannot_work_are_refused(arguments):
    with pytest.raises((ArgumentError, TypeError)):
        Embedding(*arguments)


def test_ids_of_another_shape_are_refused_with_the_place():
    model = model_of_positions()
    with pytest.raises(ShapeError, match="'embedding_1' expects 6 ids per sample but got 7: pad the rows, or cut them"):
        model.predict(np.zeros((2, 7), int))
    with pytest.raises(ShapeError, match="layer 1 'embedding_1' expects input"):
        model.predict(np.zeros((2, 6, 1), int))


def test_a_padding_id_must_be_an_id():
    with pytest.raises(ArgumentError, match="^padding_id is 9; ids are 0 to 8$"):
        Embedding(9, 4, padding_id=9)


@pytest.mark.parametrize("kind", ["balanced", {1: 2.0}])
def test_weights_of_classes_do_not_depend_on_labels_of_the_padding(kind):
    x, y, _ = padded()
    other = np.where(x == 0, 2, y)
    model = model_of_positions(Dense(5), Tanh())
    values = [Trainer(model).evaluate(x, labels, class_weight=kind) for labels in (y, other)]
    assert values[0] == values[1]


@pytest.mark.parametrize("mask", [np.ones((12, 6), int), np.ones((12, 5), bool), np.ones(12, bool), [[True] * 6] * 12])
def test_a_mask_of_another_shape_or_type_is_refused(mask):
    x, _, _ = padded()
    with pytest.raises(ShapeError, match=r"a mask is a bool array \(N, T\), True where .* x has the shape \(12, 6\)"):
        model_of_positions().forward(x, mask=mask)


def test_where_all_is_padding_the_error_says_so():
    model = model_of_positions()
    with pytest.raises(DataError, match="is 0 for every row, or all of x is padding"):
        Trainer(model).fit(np.zeros((4, 6), int), np.zeros((4, 6), int), progress=False)


# Masks in blocks


@pytest.mark.parametrize("before", [True, False])
def test_positions_joined_one_after_the_other_have_the_masks_of_each(before):
    x, _, _ = padded()
    branches = [Rescale(1), [Dense(4), Tanh()]] if before else [[Dense(4)], Rescale(2)]
    model = Sequential([Embedding(9, 4, padding_id=0), Concatenate(branches, axis=1)], input_shape=6, seed=0)
    np.testing.assert_array_equal(model.mask_after(x, None), np.tile(x != 0, (1, 2)))
    pooled = Sequential([*model.layers, GlobalAveragePool1D()], input_shape=6)
    y = model.forward(x)
    counts = np.tile(x != 0, (1, 2))[..., np.newaxis]
    np.testing.assert_allclose(pooled.forward(x), (y * counts).sum(1) / counts.sum(1), rtol=1e-5)


def test_a_branch_without_a_mask_counts_wholly_where_positions_are_joined():
    x, _, _ = padded()
    branches = [Embedding(9, 4, padding_id=0), Embedding(9, 4)]
    joined = Sequential([Concatenate(branches, axis=1)], input_shape=6, seed=0)
    np.testing.assert_array_equal(joined.mask_after(x, None), np.hstack([x != 0, np.ones_like(x, bool)]))
    beside = Sequential([Concatenate([Embedding(9, 4, padding_id=0), Embedding(9, 4, padding_id=3)])], input_shape=6)
    np.testing.assert_array_equal(beside.mask_after(x, None), (x != 0) & (x != 3))


def test_ids_of_two_axes_keep_their_mask_in_branches_and_not_without_an_axis():
    ids = np.random.default_rng(0).integers(0, 4, (5, 3, 4))
    layers = [Embedding(4, 2, padding_id=0), Concatenate([Rescale(1), Dense(3)]), BatchNorm()]
    model = Sequential([*layers, Dense(3), SoftmaxCrossEntropy()], seed=0, dtype="float64")
    labels = np.random.default_rng(1).integers(0, 3, ids.shape)
    other = np.where(ids == 0, 2 - labels, labels)
    losses = [Trainer(model).evaluate(ids, each)["loss"] for each in (labels, other)]
    assert losses[0] == losses[1]
    Trainer(model, SGD(0.1), seed=0).fit(ids, labels, progress=False)
    flat = Sequential([Embedding(4, 2, padding_id=0), Reshape((3, 8)), GRU(2)], input_shape=(3, 4), seed=0)
    with pytest.raises(ArgumentError, match="Reshape cannot leave padding out"):
        flat.mask_after(ids, None)


@pytest.mark.parametrize("layer", [Flatten(), Reshape((3, 2)), Reshape((3, 2, 1)), Reshape(6)], ids=repr)
def test_layers_that_join_positions_say_that_they_cannot_leave_padding_out(layer):
    x, _, _ = padded()
    cure = r"pool the positions before it, score each, as with position_wise=True, or leave"
    message = f"{type(layer).__name__} cannot leave padding out: {cure} padding_id out"
    layers = [Embedding(9, 4, padding_id=0), GRU(8, return_sequences=True), Dense(1), layer]
    model = Sequential([*layers, SigmoidCrossEntropy()], input_shape=6, seed=0)
    with pytest.raises(ArgumentError, match=f"layer 4 '{layer.name}': {message}"):
        model.forward(x)
    with pytest.raises(ArgumentError, match=message):
        Trainer(model).evaluate(x, np.zeros((12, *model.output_shape)))


@pytest.mark.parametrize("shape", [(6, 2, 2), (6, 4, 1), (6, 1, 4)])
def test_reshaping_the_features_keeps_the_mask(shape):
    x, _, _ = padded()
    model = Sequential([Embedding(9, 4, padding_id=0), Reshape(shape)], input_shape=6, seed=0)
    np.testing.assert_array_equal(model.mask_after(x, None), x != 0)


IMAGE_LAYERS = [Conv2D(2, 3, padding="same"), MaxPool2D(1), GlobalAveragePool2D(), UpSample2D(2), ZeroPad2D(1)]


@pytest.mark.parametrize("layer", IMAGE_LAYERS, ids=repr)
def test_layers_of_images_say_that_they_cannot_leave_padding_out(layer):
    x, _, _ = padded()
    model = Sequential([Embedding(9, 4, padding_id=0), Reshape((6, 1, 4)), layer], input_shape=6, seed=0)
    with pytest.raises(ArgumentError, match="cannot leave padding out: use a layer of sequences"):
        model.forward(x)


@pytest.mark.parametrize("positions", [0, 1])
def test_a_batch_of_nothing_but_padding_is_normalized_as_in_inference(positions):
    x, y, _ = padded()
    x[:4] = 0
    x[0, :positions] = 1
    model = model_of_positions(BatchNorm())
    run = Trainer(model, SGD(0.1), batch_size=4, shuffle=False, seed=0)
    run.fit(x, y, progress=False)
    assert np.isfinite(model.parameters).all()
    assert np.isfinite(run.history["loss"]).all()

    def work(communicator):
        trainer = Trainer(model_of_positions(BatchNorm()), SGD(0.1), batch_size=4, shuffle=False, seed=0)
        trainer.communicator = communicator
        trainer.fit(x, y, progress=False)
        return trainer.model.parameters

    for found in together(work):
        np.testing.assert_allclose(found, model.parameters, rtol=1e-9, atol=1e-12)


def test_the_mask_of_rows_in_files_is_found_block_by_block(tmp_path):
    rng = np.random.default_rng(0)
    ids, labels = rng.integers(0, 9, (9000, 6)), rng.integers(0, 3, (9000, 6))
    for number, part in enumerate(np.split(np.arange(9000), 3)):
        np.save(tmp_path / f"x_{number}.npy", ids[part])
        np.save(tmp_path / f"y_{number}.npy", labels[part])
    data = Shards(tmp_path, target="y")
    expected = Trainer(model_of_positions()).evaluate(ids, labels)
    assert Trainer(model_of_positions()).evaluate(data.x, data.y) == pytest.approx(expected, rel=1e-12)
