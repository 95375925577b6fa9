import math

import numpy as np
import pytest
from gradients import check_layer_gradients

from minidl import Constant, PositionalEncoding, PositionEmbedding, Sequential
from minidl.errors import ShapeError
from minidl.testing import check_layer

LAYERS = [PositionalEncoding(), PositionEmbedding(), PositionEmbedding(initializer=Constant(2))]
both = pytest.mark.parametrize("kind", [PositionalEncoding, PositionEmbedding])


def batch(*shape, seed=0, dtype="float64"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def built(kind, shape, dtype="float64"):
    layer = kind()
    layer.set_up(shape, 0, dtype=dtype)
    return layer


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
@pytest.mark.parametrize("shape", [(5, 4), (3, 7), (1, 1)], ids=str)
def test_the_kit_finds_nothing(layer, shape):
    check_layer(layer, shape)


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_gradients_agree_with_numbers(layer):
    check_layer_gradients(layer, batch(3, 4, 2))


@pytest.mark.parametrize(("positions", "features"), [(6, 4), (50, 16), (3, 5), (4, 1)])
def test_the_table_is_the_one_of_the_paper(positions, features):
    x = batch(2, positions, features)
    added = built(PositionalEncoding, (positions, features)).forward(x) - x
    for position, feature in np.ndindex(positions, features):
        angle = position / 10000 ** (2 * (feature // 2) / features)
        expected = math.cos(angle) if feature % 2 else math.sin(angle)
        np.testing.assert_allclose(added[:, position, feature], expected, rtol=1e-9, atol=1e-12)


def test_far_positions_are_as_exact_as_float32_can_be():
    # Angles are computed in float64: as float32, those of position 100,000 would be off by hundredths.
    memory, layer = {"positions": 100_000}, built(PositionalEncoding, (1, 4), "float32")
    added = layer.continued(np.zeros((1, 1, 4), np.float32), memory)[0, 0]
    expected = [math.sin(1e5), math.cos(1e5), math.sin(1e3), math.cos(1e3)]
    np.testing.assert_allclose(added, expected, atol=1e-7)


def test_each_position_has_a_vector_that_is_trained():
    layer, x = built(PositionEmbedding, (4, 3)), batch(5, 4, 3)
    assert layer.weight.value.shape == (4, 3)
    np.testing.assert_array_equal(layer.forward(x), x + layer.weight.value)
    layer.forward(x, training=True)
    dy = batch(5, 4, 3, seed=1)
    np.testing.assert_array_equal(layer.backward(dy), dy)
    np.testing.assert_allclose(layer.weight.gradient, dy.sum(axis=0), rtol=1e-12)
    layer.needs_input_gradient = False
    assert layer.backward(dy) is None


@both
@pytest.mark.parametrize("sizes", [(1,) * 6, (6,), (2, 4), (3, 1, 2)], ids=str)
def test_a_sequence_that_is_continued_gives_what_it_gives_at_once(kind, sizes):
    layer, x, memory = built(kind, (6, 4), "float32"), batch(2, 6, 4, dtype="float32"), {}
    parts = [layer.continued(part, memory) for part in np.split(x, np.cumsum(sizes)[:-1], axis=1)]
    y = np.concatenate(parts, axis=1)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, layer.forward(x), rtol=1e-6, atol=1e-6)
    assert memory == {"positions": 6}


def test_an_encoding_goes_on_as_far_as_one_likes():
    short, long, memory = built(PositionalEncoding, (3, 4)), built(PositionalEncoding, (8, 4)), {}
    x = batch(1, 8, 4)
    parts = [short.continued(x[:, first : first + 2], memory) for first in range(0, 8, 2)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), long.forward(x))


def test_an_embedding_ends_where_its_positions_do_and_counts_none_that_it_refused():
    layer, memory = built(PositionEmbedding, (3, 4)), {}
    layer.continued(batch(1, 2, 4), memory)
    with pytest.raises(ShapeError, match="PositionEmbedding knows 3 positions, but the sequence has 4"):
        layer.continued(batch(1, 2, 4), memory)
    layer.continued(batch(1, 1, 4), memory)
    assert memory == {"positions": 3}


@both
@pytest.mark.parametrize("shape", [(4,), (2, 3, 4)], ids=str)
def test_samples_that_are_no_sequences_are_an_error(kind, shape):
    with pytest.raises(ShapeError, match=rf"{kind.__name__} expects sequences, .* but got"):
        Sequential([kind()], input_shape=shape)
