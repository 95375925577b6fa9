import copy

import numpy as np
import pytest
from scipy import stats

from minidl import Dense, Dropout, Dropout2D, GaussianNoise, Layer, MeanSquaredError, Sequential, Trainer
from minidl.errors import ArgumentError, ArgumentTypeError, NotReadyError

RANDOM = [Dropout(0.3), Dropout2D(0.3), GaussianNoise(0.5)]


def built(layer, shape, seed=0):
    layer = copy.deepcopy(layer)
    layer.set_up(shape, seed)
    return layer


@pytest.mark.parametrize("layer", RANDOM, ids=repr)
def test_inference_lets_the_input_through_and_draws_nothing(layer):
    layer, x = built(layer, (3, 4)), np.random.default_rng(0).normal(size=(5, 3, 4)).astype(np.float32)
    state = layer.generator.bit_generator.state
    np.testing.assert_array_equal(layer.forward(x), x)
    assert layer.generator.bit_generator.state == state


@pytest.mark.parametrize("layer", RANDOM, ids=repr)
def test_each_training_pass_draws_other_numbers_and_a_seed_the_same_again(layer):
    x = np.ones((20, 30), np.float32)
    one, other, third = built(layer, 30), built(layer, 30), built(layer, 30, seed=1)
    first, second = one.forward(x, training=True), one.forward(x, training=True)
    assert (first != second).any()
    np.testing.assert_array_equal(other.forward(x, training=True), first)
    assert (third.forward(x, training=True) != first).any()


@pytest.mark.parametrize("layer", RANDOM, ids=repr)
def test_before_it_is_set_up_there_is_nothing_to_draw_from(layer):
    with pytest.raises(NotReadyError, match=f"^{type(layer).__name__} draws random numbers: first call set_up"):
        layer.forward(np.ones((2, 3), np.float32), training=True)


@pytest.mark.parametrize("layer", RANDOM, ids=repr)
def test_parts_of_a_batch_draw_what_several_generators_draw_for_the_whole(layer):
    x = np.random.default_rng(0).normal(size=(7, 3, 5)).astype(np.float32)  # 15 numbers, not a multiple of four
    counts, seeds = (2, 1, 4), (1, 1, 2)
    whole, generators = built(layer, (3, 5)), [np.random.default_rng(seed) for seed in range(3)]
    drawn = []
    for seed, rows in zip(seeds, np.split(x, np.cumsum(counts)[:-1]), strict=True):
        whole.generator = generators[seed]
        drawn.append(whole.forward(rows, training=True))
    for first, stop in ((0, 0), (0, 2), (2, 6), (6, 7)):
        part, generators = built(layer, (3, 5)), [np.random.default_rng(seed) for seed in range(3)]
        part.rows_of_batch = first, [(generators[seed], rows) for seed, rows in zip(seeds, counts, strict=True)]
        np.testing.assert_array_equal(part.forward(x[first:stop], training=True), np.concatenate(drawn)[first:stop])


# Dropout


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.9])
def test_dropout_zeroes_numbers_at_its_rate_and_scales_the_others(rate):
    x = np.full((1000, 201), 3, np.float32)  # no multiple of the four that come at a time
    y = built(Dropout(rate), 201).forward(x, training=True)
    kept = y != 0
    # Of a binomial distribution: five standard deviations on either side.
    assert abs(kept.mean() - (1 - rate)) < 5 * np.sqrt(rate * (1 - rate) / x.size)
    np.testing.assert_allclose(y[kept], 3 / (1 - rate), rtol=2**-15 / (1 - rate))


def test_what_dropout_keeps_of_one_number_says_nothing_of_its_neighbours():
    kept = built(Dropout(0.5), 512).forward(np.ones((512, 512), np.float32), training=True) != 0
    signs = 2.0 * kept.ravel() - 1
    for lag in (1, 2, 3, 4, 8, 512):
        assert abs((signs[lag:] * signs[:-lag]).mean()) < 5 / np.sqrt(signs.size - lag)
    # Rows and columns each hold a binomial number of ones.
    for axis in (0, 1):
        counts = kept.sum(axis=axis)
        assert (
            stats.kstest(counts + np.random.default_rng(0).uniform(-0.5, 0.5, 512), "norm", (256, 128**0.5)).pvalue
            > 1e-4
        )


def test_dropout_keeps_the_mean():
    # A rate that is no multiple of 2^-16: divided by 1 - rate itself, the mean would be off by 1 part in 2,000.
    rate = 1 - 100.4 / 2**16
    y = built(Dropout(rate), 1).forward(np.ones((4_000_000, 1), np.float32), training=True)
    assert set(np.unique(y)) == {0, np.float32(2**16 / 100)}
    probability = 100 / 2**16
    assert abs(y.mean(dtype=float) - 1) < 5 * np.sqrt((1 - probability) / probability / y.size)


def test_the_largest_rates_leave_a_little():
    y = built(Dropout(1 - 1e-9), 1).forward(np.ones((1_000_000, 1), np.float32), training=True)
    assert set(np.unique(y)) == {0, 2**16}


def test_dropout_of_nothing_is_the_identity():
    x = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    np.testing.assert_array_equal(built(Dropout(0), 7).forward(x, training=True), x)


def test_the_gradient_passes_where_the_input_did():
    layer, rng = built(Dropout(0.4), 50), np.random.default_rng(0)
    x, dy = rng.normal(size=(2, 20, 50)).astype(np.float32)
    np.testing.assert_array_equal(layer.forward(x, training=True) != 0, layer.backward(dy) != 0)
    np.testing.assert_allclose(layer.backward(x), layer.backward(np.ones_like(x)) * x)


def test_dropout_of_channels_keeps_or_zeroes_each_at_all_its_pixels():
    layer, x = built(Dropout2D(0.3), (3, 5, 200)), np.ones((100, 3, 5, 200), np.float32)
    y = layer.forward(x, training=True)
    np.testing.assert_array_equal(y, np.broadcast_to(y[:, :1, :1], y.shape))
    channels = y[:, 0, 0]
    # Of n draws the share has a deviation of sqrt(0.21 / n), here of 0.0032.
    assert abs((channels == 0).mean() - 0.3) < 0.016
    np.testing.assert_allclose(channels[channels != 0], 1 / 0.7, rtol=1e-4)
    assert len({sample.tobytes() for sample in channels}) == 100  # each sample has its own
    dy = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    np.testing.assert_array_equal(layer.backward(dy), dy * y)


@pytest.mark.parametrize("rate", [1, 1.5, -0.1, float("nan")])
def test_a_rate_outside_0_to_1_is_refused(rate):
    with pytest.raises(ArgumentError, match=r"^Dropout: rate is .*; it must be a finite number, in \[0, 1\)"):
        Dropout(rate)


def test_a_rate_is_a_number():
    with pytest.raises(ArgumentTypeError, match=r"^Dropout: rate is 'half'; it must be a number, in \[0, 1\)$"):
        Dropout("half")


# Gaussian noise


def test_gaussian_noise_is_normal_with_its_standard_deviation():
    x = np.full((200, 300), 7, np.float32)
    noise = (built(GaussianNoise(0.5), 300).forward(x, training=True) - x).ravel()
    assert stats.kstest(noise, "norm", (0, 0.5)).pvalue > 1e-4


def test_the_gradient_passes_noise_as_it_is():
    layer, dy = built(GaussianNoise(0.5), 3), np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    layer.forward(dy, training=True)
    np.testing.assert_array_equal(layer.backward(dy), dy)


@pytest.mark.parametrize("deviation", [-1, float("inf")])
def test_a_standard_deviation_below_zero_is_refused(deviation):
    with pytest.raises(ArgumentError, match=r"^GaussianNoise: standard_deviation is .*, 0 or more"):
        GaussianNoise(deviation)


# Generators in a model


def test_each_random_layer_of_a_model_has_a_generator_of_its_own_known_by_path():
    model = Sequential(
        [Dropout(), Dense(3), Sequential([GaussianNoise(1.0), Dropout()]), Dropout()], input_shape=8, seed=0
    )
    generators = model.named_generators()
    assert list(generators) == [
        "dropout_1/generator",
        "sequential_1/gaussian_noise_1/generator",
        "sequential_1/dropout_1/generator",
        "dropout_2/generator",
    ]
    assert generators["sequential_1/dropout_1/generator"] is model.layers[2].layers[1].generator
    assert len({each.bit_generator.state["state"]["state"] for each in generators.values()}) == 4
    assert Dense(3).named_generators() == {}


def test_a_layer_that_is_set_up_again_or_not_at_all_has_the_generator_of_that():
    class Fails(Dropout):
        def build(self, input_shape, declare):
            super().build(input_shape, declare)
            if input_shape != (4,):
                raise ValueError("no")
            return input_shape

    layer, rng = Fails(), np.random.default_rng(0)
    with pytest.raises(ValueError, match="no"):
        layer.set_up(3, 0)
    assert layer.generator is None
    layer.set_up(4, rng)
    with pytest.raises(ValueError, match="no"):
        layer.set_up(3, 0)
    assert layer.generator is rng


def test_a_layer_without_random_numbers_has_no_generator():
    class Plain(Layer):
        pass

    layer = Plain()
    layer.set_up(3, 0)
    assert layer.generator is None


def test_training_on_after_loading_is_reproducible(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 5)), rng.normal(size=60)
    model = Sequential([Dense(8), Dropout(0.3), Dense(1), MeanSquaredError()], input_shape=5, seed=3)
    Trainer(model, seed=0).fit(x, y, progress=False)
    model.save(tmp_path / "model.npz")
    results = []
    for _ in range(2):
        loaded = Sequential.load(tmp_path / "model.npz")
        Trainer(loaded, seed=0).fit(x, y, epochs=2, progress=False)
        results.append(loaded.parameters)
    np.testing.assert_array_equal(*results)
    made_anew = Sequential([Dense(8), Dropout(0.3), Dense(1), MeanSquaredError()], input_shape=5, seed=3)
    loaded = Sequential.load(tmp_path / "model.npz")
    states = [each.layers[1].generator.bit_generator.state for each in (made_anew, loaded)]
    assert states[0] == states[1]
