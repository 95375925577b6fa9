"""Batch normalization's running statistics, computed anew: those of all rows, whatever the batches."""

from dataclasses import field

import numpy as np
import pytest

from minidl import (
    Adam,
    BatchNorm,
    Dense,
    Dropout,
    Embedding,
    Layer,
    Masking,
    ReLU,
    Residual,
    Sequential,
    SoftmaxCrossEntropy,
    StochasticWeightAveraging,
    Trainer,
    recompute_statistics,
)
from minidl.errors import ArgumentError, DataError, ShapeError


def test_statistics_are_computed_anew_for_the_average():
    x = np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int)
    layers = [
        Dense(12),
        BatchNorm(),
        ReLU(),
        Dropout(0.2),
        Dense(12),
        BatchNorm(),
        ReLU(),
        Dense(2),
        SoftmaxCrossEntropy(),
    ]
    model = Sequential(layers, input_shape=6, seed=0)
    trainer = Trainer(model, Adam(0.05), average=StochasticWeightAveraging(), batch_size=20, seed=0)
    trainer.fit(x, y, epochs=5, progress=False)
    momentum, drawn = model.layers[1].momentum, model.layers[3].generator.bit_generator.state
    x[480:] += 3  # the last batch has 20 rows, unlike all others
    recompute_statistics(model, x, batch_size=120)
    first = model.layers[0].forward(x)
    np.testing.assert_allclose(model.layers[1].running_mean.value, first.mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.layers[1].running_variance.value, first.var(axis=0, ddof=1), rtol=1e-4)
    assert model.layers[1].momentum == momentum
    assert model.layers[3].generator.bit_generator.state == drawn


@pytest.mark.parametrize("shape", [(1026, 3), (1025, 3), (2, 3), (7, 4, 5, 3)])
@pytest.mark.parametrize("batch_size", [2, 3, 1024])
def test_the_batches_do_not_show_in_the_statistics_of_the_first_layer(shape, batch_size):
    x = np.random.default_rng(0).normal(5, 2, shape)
    x[-2:] += 50
    model = Sequential([BatchNorm()], seed=0)
    recompute_statistics(model, x, batch_size=batch_size)
    layer, values = model.layers[0], x.reshape(-1, 3)
    np.testing.assert_allclose(layer.running_mean.value, values.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(layer.running_variance.value, values.var(axis=0, ddof=1), rtol=1e-5)


def test_statistics_of_later_layers_are_those_of_what_training_batches_give_them():
    x = np.random.default_rng(0).normal(size=(7, 3)) ** 3
    model = Sequential([BatchNorm(epsilon=1e-12), ReLU(), BatchNorm()], seed=0, dtype="float64")
    recompute_statistics(model, x, batch_size=3)  # three rows, and four: the single one that is left joins them
    batches = [np.maximum((rows - rows.mean(axis=0)) / rows.std(axis=0), 0) for rows in (x[:3], x[3:])]
    values = np.concatenate(batches)
    np.testing.assert_allclose(model.layers[2].running_mean.value, values.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(model.layers[2].running_variance.value, values.var(axis=0, ddof=1), rtol=1e-9)


def test_statistics_that_cannot_be_had_are_refused_and_the_old_ones_stay():
    model = Sequential([Dense(3), BatchNorm()], input_shape=6, seed=0)
    before = {name: values.copy() for name, values in model.named_arrays().items()}
    with pytest.raises(ArgumentError, match="batch_size is 1; it must be a whole number, 2 or more"):
        recompute_statistics(model, np.ones((4, 6)), batch_size=1)
    with pytest.raises(DataError, match="x holds NaN"):
        recompute_statistics(model, np.full((4, 6), np.nan))
    with pytest.raises(DataError, match="x is empty: there are no rows"):
        recompute_statistics(model, np.ones((0, 6)))
    with pytest.raises(DataError, match="x has one row, and a variance takes two or more"):
        recompute_statistics(model, np.ones((1, 6)))
    with pytest.raises(ShapeError, match="expects input"):
        recompute_statistics(model, np.ones((4, 5)))
    for name, values in model.named_arrays().items():
        np.testing.assert_array_equal(values, before[name])


def test_a_pass_that_fails_leaves_the_statistics_momenta_and_generators_as_they_were():
    class Fails(ReLU):
        def forward(self, x, training=False):
            if (x > 100).any():
                raise RuntimeError("too large")
            return super().forward(x, training)

    model = Sequential([BatchNorm(), Dropout(0.5), Fails()], input_shape=1, seed=0)
    before = model.layers[1].generator.bit_generator.state
    x = np.r_[np.random.default_rng(0).normal(size=30), 1e6][:, np.newaxis]
    with pytest.raises(RuntimeError, match="too large"):
        model.layers[0].scale.value = 1e3
        recompute_statistics(model, x, batch_size=10)
    layer = model.layers[0]
    assert (layer.momentum, layer.running_mean.value, layer.running_variance.value) == (0.9, 0, 1)
    assert model.layers[1].generator.bit_generator.state == before


def test_frozen_layers_keep_their_statistics_and_pass_on_what_these_make_of_a_batch():
    x = np.random.default_rng(0).normal(3, 2, (20, 3))
    model = Sequential([BatchNorm(), BatchNorm()], input_shape=3, seed=0, dtype="float64")
    frozen, other = model.layers
    frozen.trainable = False
    recompute_statistics(model, x)
    np.testing.assert_array_equal([frozen.running_mean.value, frozen.running_variance.value], [[0] * 3, [1] * 3])
    passed = x / np.sqrt(1 + frozen.epsilon)
    np.testing.assert_allclose(other.running_mean.value, passed.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(other.running_variance.value, passed.var(axis=0, ddof=1), rtol=1e-12)


def test_what_layers_kept_for_backward_is_let_go():
    model = Sequential([BatchNorm(), Dense(2)], input_shape=3, seed=0)
    recompute_statistics(model, np.random.default_rng(0).normal(size=(20, 3)))
    assert not any(hasattr(layer, "saved") for layer in model.walk())


def test_layers_in_blocks_are_found():
    x = np.random.default_rng(0).normal(3, 2, (20, 3))
    model = Sequential([Residual([BatchNorm()])], seed=0, dtype="float64")
    recompute_statistics(model, x)
    (layer,) = (layer for layer in model.walk() if isinstance(layer, BatchNorm))
    np.testing.assert_allclose(layer.running_mean.value, x.mean(axis=0), rtol=1e-12)


@pytest.mark.parametrize("batch_size", [2, 3, 5, 1024])
def test_padding_has_no_part_whatever_the_batches(batch_size):
    rng = np.random.default_rng(0)
    # The first two rows are nothing but padding, then comes a batch in which one position counts.
    lengths = np.array([0, 0, 1, 0, 4, 2, 4, 1, 0, 0, 3])
    x = np.where((np.arange(4) < lengths[:, np.newaxis])[..., np.newaxis], rng.normal(3, 2, (11, 4, 3)), 0)
    model = Sequential([Masking(), BatchNorm()], input_shape=(4, 3), seed=0, dtype="float64")
    recompute_statistics(model, x, batch_size=batch_size)
    layer, counted = model.layers[1], x[x.any(axis=2)]
    assert len(counted) == 15
    np.testing.assert_allclose(layer.running_mean.value, counted.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(layer.running_variance.value, counted.var(axis=0, ddof=1), rtol=1e-12)


@pytest.mark.parametrize("counted", [0, 1])
def test_fewer_than_two_positions_that_count_are_refused(counted):
    model = Sequential([Embedding(5, 3, padding_id=0), BatchNorm()], input_shape=4, seed=0)
    x = np.zeros((3, 4), int)
    x[1, :counted] = 2
    with pytest.raises(DataError, match=f"a variance takes two positions or more, and {counted} of x count"):
        recompute_statistics(model, x)
    assert model.layers[1].running_variance.value.tolist() == [1, 1, 1]


class Sometimes(Layer):
    """Normalizes only batches with large numbers, and never by the other layer that it holds."""

    norm: BatchNorm = field(default_factory=BatchNorm, init=False)
    unused: BatchNorm = field(default_factory=BatchNorm, init=False)

    def sublayers(self):
        return {"norm": self.norm, "unused": self.unused}

    def build(self, input_shape, declare):
        declare.sublayer("norm", input_shape)
        return declare.sublayer("unused", input_shape)

    def forward(self, x, training=False):
        return self.norm.forward(x, training) if x.max() > 5 else x


def test_a_layer_that_is_not_called_for_a_batch_has_the_statistics_of_the_others():
    x = np.random.default_rng(0).normal(size=(12, 3))
    x[4:8] += 10
    model = Sequential([Sometimes()], input_shape=3, seed=0, dtype="float64")
    recompute_statistics(model, x, batch_size=4)
    norm, unused = model.layers[0].norm, model.layers[0].unused
    np.testing.assert_allclose(norm.running_mean.value, x[4:8].mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(norm.running_variance.value, x[4:8].var(axis=0, ddof=1), rtol=1e-12)
    assert (unused.running_mean.value.tolist(), unused.running_variance.value.tolist()) == ([0] * 3, [1] * 3)


def test_no_batch_counts_for_a_layer_that_was_not_called_for_it():
    x = np.random.default_rng(0).normal(size=(16, 3))
    x[4:8] += 10
    x[12:] += 30
    model = Sequential([Sometimes()], input_shape=3, seed=0, dtype="float64")
    model.forward(x[4:8] + 100, training=True)  # before the first batch, the layer has saved this one
    recompute_statistics(model, x, batch_size=4)
    mean = model.layers[0].norm.running_mean.value
    np.testing.assert_allclose(mean, np.concatenate([x[4:8], x[12:]]).mean(axis=0), rtol=1e-12)
