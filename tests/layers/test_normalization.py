import numpy as np
import pytest
from gradients import check_layer_gradients

from minidl import Adam, BatchNorm, Dense, LayerNorm, ReLU, Sequential, SoftmaxCrossEntropy, Trainer
from minidl.errors import ArgumentError, ArgumentTypeError, ShapeError


def batch_of(*shape, seed=0):
    """Features of different means and scales."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) * rng.uniform(0.5, 3, shape[-1]) + rng.normal(scale=4, size=shape[-1])


def built(layer, shape, dtype="float64"):
    """Set the layer up, with a scale and a shift that differ from 1 and 0."""
    layer.set_up(shape, dtype=dtype)
    rng = np.random.default_rng(1)
    layer.scale.value, layer.shift.value = rng.normal(size=(2, shape[-1]))
    return layer


# Batch normalization


@pytest.mark.parametrize("shape", [(20, 3), (4, 5, 2, 3)])
def test_a_training_batch_comes_out_with_the_mean_and_the_deviation_that_were_learnt(shape):
    layer = built(BatchNorm(epsilon=1e-12), shape[1:])
    y = layer.forward(batch_of(*shape), training=True).reshape(-1, 3)
    np.testing.assert_allclose(y.mean(axis=0), layer.shift.value, atol=1e-12)
    np.testing.assert_allclose(y.std(axis=0), abs(layer.scale.value), rtol=1e-10)


def test_epsilon_is_added_to_the_variance():
    layer, x = BatchNorm(epsilon=5), np.array([[1.0], [3.0], [5.0]])
    layer.set_up(1, dtype="float64")
    variance = 8 / 3
    np.testing.assert_allclose(layer.forward(x, training=True), (x - 3) / np.sqrt(variance + 5))
    assert layer.forward(np.array([[2.0]])) == pytest.approx((2 - 0.3) / (0.9 + 0.1 * 4 + 5) ** 0.5)


@pytest.mark.parametrize("momentum", [0, 0.9, 0.5])
def test_running_means_follow_the_batches_and_the_variance_has_no_bias(momentum):
    layer = built(BatchNorm(momentum=momentum), (3,))
    mean, variance = np.zeros(3), np.ones(3)
    for seed in range(4):
        x = batch_of(7, 3, seed=seed)
        layer.forward(x, training=True)
        mean = momentum * mean + (1 - momentum) * x.mean(axis=0)
        variance = momentum * variance + (1 - momentum) * x.var(axis=0, ddof=1)
    np.testing.assert_allclose(layer.running_mean.value, mean, rtol=1e-12)
    np.testing.assert_allclose(layer.running_variance.value, variance, rtol=1e-12)


def test_inference_uses_the_running_means_alone():
    layer, x = built(BatchNorm(epsilon=0.5), (3,)), batch_of(6, 3)
    layer.running_mean.value, layer.running_variance.value = [1, 2, 3], [4, 5, 6]
    expected = layer.scale.value * (x - [1, 2, 3]) / np.sqrt([4.5, 5.5, 6.5]) + layer.shift.value
    np.testing.assert_allclose(layer.forward(x), expected, rtol=1e-12)
    np.testing.assert_allclose(layer.forward(x[2:3]), expected[2:3], rtol=1e-12)


@pytest.mark.parametrize("shape", [(6, 3), (2, 1, 2, 3), (2, 3)])
def test_gradients_agree_with_numbers(shape):
    check_layer_gradients(BatchNorm(epsilon=0.1), batch_of(*shape))
    check_layer_gradients(LayerNorm(epsilon=0.1), batch_of(*shape))


def test_in_training_a_batch_of_one_number_a_feature_is_an_error_and_changes_nothing():
    layer = built(BatchNorm(), (3,))
    layer.forward(batch_of(7, 3), training=True)
    before = layer.running_mean.value.copy(), layer.running_variance.value.copy()
    with pytest.raises(ShapeError, match="one sample has no variance: use a batch_size of 2 or more, or LayerNorm"):
        layer.forward(batch_of(1, 3, seed=5), training=True)
    np.testing.assert_array_equal((layer.running_mean.value, layer.running_variance.value), before)
    layer.trainable = False
    x = batch_of(1, 3, seed=5)
    np.testing.assert_array_equal(layer.forward(x, training=True), layer.forward(x))


def test_one_image_of_several_pixels_has_a_variance():
    layer = built(BatchNorm(epsilon=1e-12), (4, 4, 3))
    y = layer.forward(batch_of(1, 4, 4, 3), training=True)
    np.testing.assert_allclose(y.std(axis=(0, 1, 2)), abs(layer.scale.value), rtol=1e-10)


def test_no_rows_change_nothing_and_have_gradients_of_zero():
    layer = built(BatchNorm(), (2, 3))
    assert layer.forward(np.empty((0, 2, 3)), training=True).shape == (0, 2, 3)
    assert layer.backward(np.empty((0, 2, 3))).shape == (0, 2, 3)
    np.testing.assert_array_equal(layer.running_mean.value, 0)
    np.testing.assert_array_equal(layer.running_variance.value, 1)
    np.testing.assert_array_equal((layer.scale.gradient, layer.shift.gradient), 0)


def test_an_epoch_whose_last_batch_has_one_row_trains():
    x = np.random.default_rng(0).normal(size=(33, 4))
    y = (x[:, 0] > 0).astype(int)
    model = Sequential([Dense(8), BatchNorm(), ReLU(), Dense(2), SoftmaxCrossEntropy()], input_shape=4, seed=0)
    history = Trainer(model, Adam(0.01), batch_size=16, seed=0).fit(x, y, epochs=40, progress=False)
    assert history["loss"][-1] < history["loss"][0] / 2
    assert np.isfinite(model.named_states()["batch_norm_1/running_variance"].value).all()


def test_a_large_batch_is_normalized_as_a_whole():
    # The trainer computes large batches in blocks; their means would differ from that of the batch.
    x = np.concatenate([np.full((1500, 1), -1.0), np.full((1500, 1), 1.0)])
    model = Sequential([BatchNorm(momentum=0.0), Dense(2), SoftmaxCrossEntropy()], input_shape=1, seed=0)
    Trainer(model, batch_size=None, seed=0).fit(x, x[:, 0] > 0, progress=False)
    np.testing.assert_allclose(model.layers[0].running_mean.value, 0, atol=1e-6)
    np.testing.assert_allclose(model.layers[0].running_variance.value, 3000 / 2999, rtol=1e-5)


def test_a_constant_feature_becomes_the_shift():
    layer = built(BatchNorm(), (2,), "float32")
    y = layer.forward(np.full((64, 2), 1000.25, np.float32), training=True)
    np.testing.assert_array_equal(y, np.broadcast_to(layer.shift.value, (64, 2)))


def test_a_mean_far_from_zero_costs_no_digits_of_the_variance():
    # As the mean square less the square of the mean, the variance 1 would be lost beside 1e8.
    x = (np.random.default_rng(0).normal(size=(512, 4)) + 1e4).astype(np.float32)
    y = built(BatchNorm(), (4,), "float32").forward(x, training=True)
    expected = built(BatchNorm(), (4,)).forward(x.astype(np.float64), training=True)
    np.testing.assert_allclose(y, expected, atol=2e-3)  # numbers around 1e4 come in steps of 1e-3


def test_a_frozen_layer_is_normalized_by_the_running_statistics_and_leaves_them_as_they_are():
    layer, x = built(BatchNorm(), (2, 3)), batch_of(6, 2, 3)
    layer.forward(batch_of(7, 2, 3, seed=1), training=True)
    before = layer.running_mean.value.copy(), layer.running_variance.value.copy()
    layer.trainable = False
    np.testing.assert_array_equal(layer.forward(x, training=True), layer.forward(x))
    np.testing.assert_array_equal((layer.running_mean.value, layer.running_variance.value), before)
    # So each number is multiplied by a constant, and its gradient by the same.
    dy = batch_of(6, 2, 3, seed=2)
    factor = layer.scale.value / np.sqrt(before[1] + layer.epsilon)
    np.testing.assert_allclose(layer.backward(dy), dy * factor, rtol=1e-12)
    layer.trainable = True
    assert (layer.forward(x, training=True) != layer.forward(x)).any()
    assert (layer.running_mean.value != before[0]).all()


def test_gradients_of_a_frozen_layer_agree_with_numbers():
    layer = BatchNorm(epsilon=0.1)
    layer.trainable = False
    check_layer_gradients(layer, batch_of(6, 3))


def test_a_frozen_layer_keeps_its_running_statistics_in_training():
    x = np.random.default_rng(0).normal(3, 2, size=(60, 4))
    model = Sequential([Dense(5), BatchNorm(), Dense(2), SoftmaxCrossEntropy()], input_shape=4, seed=0)
    trainer = Trainer(model, Adam(0.01), seed=0)
    y = (x[:, 0] > 3).astype(int)
    trainer.fit(x, y, progress=False)
    layer = model.layers[1]
    before = [state.value.copy() for state in layer.named_states().values()]
    layer.trainable = False
    trainer.fit(x, y, epochs=2, progress=False)
    np.testing.assert_array_equal([state.value for state in layer.named_states().values()], before)


# Layer normalization


def test_each_row_is_normalized_by_itself():
    layer, x = built(LayerNorm(epsilon=1e-12), (2, 5)), batch_of(4, 2, 5)
    y = (layer.forward(x, training=True) - layer.shift.value) / layer.scale.value
    np.testing.assert_allclose(y.mean(axis=-1), 0, atol=1e-12)
    np.testing.assert_allclose(y.std(axis=-1), 1, rtol=1e-10)
    np.testing.assert_array_equal(layer.forward(x), layer.forward(x, training=True))
    np.testing.assert_array_equal(layer.forward(x[:1]), layer.forward(x)[:1])
    assert not layer.mixes_batch


# Both


@pytest.mark.parametrize("kind", [BatchNorm, LayerNorm])
def test_scale_and_shift_start_as_the_identity_and_do_not_decay(kind):
    layer = kind()
    assert layer.set_up((4, 3)) == (4, 3)
    assert layer.scale.value.tolist() == [1, 1, 1]
    assert layer.shift.value.tolist() == [0, 0, 0]
    assert not any(parameter.decays for parameter in layer.named_parameters().values())


@pytest.mark.parametrize("kind", [BatchNorm, LayerNorm])
def test_samples_without_an_axis_are_refused(kind):
    with pytest.raises(ShapeError, match=f"^{kind.__name__} expects samples with an axis of features"):
        kind().set_up(())


@pytest.mark.parametrize("kind", [BatchNorm, LayerNorm])
@pytest.mark.parametrize("epsilon", [0, -1e-5])
def test_an_epsilon_that_is_not_above_zero_is_refused(kind, epsilon):
    message = f"^{kind.__name__}: epsilon is {epsilon}; it must be a finite number, above 0$"
    with pytest.raises(ArgumentError, match=message):
        kind(epsilon=epsilon)


@pytest.mark.parametrize("kind", [BatchNorm, LayerNorm])
def test_an_epsilon_is_a_finite_number(kind):
    with pytest.raises(ArgumentTypeError, match=f"^{kind.__name__}: epsilon is 'small'; it must be a number, above 0$"):
        kind(epsilon="small")
    with pytest.raises(ArgumentError, match=f"^{kind.__name__}: epsilon is nan"):
        kind(epsilon=float("nan"))


@pytest.mark.parametrize("momentum", [1, -0.1, float("nan")])
def test_a_momentum_outside_0_to_1_is_refused(momentum):
    with pytest.raises(ArgumentError, match=r"^BatchNorm: momentum is .*; it must be a finite number, in \[0, 1\)"):
        BatchNorm(momentum=momentum)
