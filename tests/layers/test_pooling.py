"""Pooling, window by window; and layers that change the size of images in other ways."""

import numpy as np
import pytest
from gradients import check_layer_gradients
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl.layers import (
    AveragePool2D,
    Conv2D,
    GlobalAveragePool2D,
    GlobalMaxPool2D,
    MaxPool2D,
    ReLU,
    UpSample2D,
    ZeroPad2D,
)
from minidl.layers.windows import slide
from minidl.model import Sequential

rng = np.random.default_rng
everywhere = pytest.mark.parametrize("dtype", ["float32", "float64"])


@st.composite
def poolings(draw):
    """Draw the settings of a pooling layer, with the shape of images that its window fits into."""
    size = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    strides = draw(st.none() | st.tuples(st.integers(1, 4), st.integers(1, 4)))
    margins = st.tuples(*(st.tuples(st.integers(0, side - 1), st.integers(0, side - 1)) for side in size))
    padding = draw(st.sampled_from(["valid", "same"]) | margins)
    shape = [draw(st.integers(side, side + 4)) for side in size]
    return {"pool_size": size, "strides": strides, "padding": padding}, (*shape, draw(st.integers(1, 3)))


def windows(shape, pool_size, strides, padding):
    """For each place of the window, the rows and columns of the image that it sees."""
    window = slide(shape, pool_size, strides or pool_size, padding)
    (top, _), (left, _) = window.margins
    for place in np.ndindex(*window.places):
        first = np.multiply(place, window.strides) - (top, left)
        rows, columns = (
            range(max(start, 0), min(start + size, side))
            for start, size, side in zip(first, pool_size, shape, strict=False)
        )
        yield place, slice(rows.start, rows.stop), slice(columns.start, columns.stop)


@given(drawn=poolings())
@settings(max_examples=60, derandomize=True)
def test_the_maximum_of_each_window_passes_and_in_a_tie_the_first_one_gets_the_gradient(drawn):
    options, shape = drawn
    layer = MaxPool2D(**options)
    layer.set_up(shape)
    x = rng(1).integers(-3, 1, size=(3, *shape)).astype(np.float32)  # with many ties, and nothing above the padding
    dy = rng(2).integers(1, 9, size=(3, *layer.output_shape)).astype(np.float32)
    y = layer.forward(x, training=True)
    expected, expected_dx = np.full_like(y, np.nan), np.zeros_like(x)
    for (row, column), rows, columns in windows(shape, **options):
        for n, channel in np.ndindex(3, shape[2]):
            seen = x[n, rows, columns, channel]
            first = np.unravel_index(seen.argmax(), seen.shape)  # the first in row-major order
            expected[n, row, column, channel] = seen.max()
            expected_dx[n, rows, columns, channel][first] += dy[n, row, column, channel]
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(layer.forward(x), expected)
    np.testing.assert_array_equal(layer.backward(dy), expected_dx)


@given(drawn=poolings())
@settings(max_examples=60, derandomize=True)
def test_the_mean_is_over_what_lies_within_the_image(drawn):
    options, shape = drawn
    layer = AveragePool2D(**options)
    layer.set_up(shape, dtype="float64")
    x, dy = rng(1).normal(size=(3, *shape)), rng(2).normal(size=(3, *layer.output_shape))
    y = layer.forward(x, training=True)
    expected, expected_dx = np.full_like(y, np.nan), np.zeros_like(x)
    for (row, column), rows, columns in windows(shape, **options):
        seen = x[:, rows, columns]
        expected[:, row, column] = seen.mean(axis=(1, 2))
        expected_dx[:, rows, columns] += dy[:, row, column][:, None, None] / (seen.shape[1] * seen.shape[2])
    np.testing.assert_allclose(y, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(layer.backward(dy), expected_dx, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (MaxPool2D(), (4, 5, 2)),
        (MaxPool2D(3, strides=2, padding="same"), (5, 6, 2)),
        (MaxPool2D((2, 3), strides=1, padding=((1, 0), (2, 1))), (4, 3, 2)),
        (AveragePool2D(3, strides=2, padding=1), (5, 6, 2)),
        (GlobalAveragePool2D(), (4, 3, 2)),
        (GlobalMaxPool2D(), (4, 3, 2)),
        (ZeroPad2D(((1, 0), (0, 2))), (2, 3, 2)),
        (UpSample2D((2, 3)), (2, 3, 2)),
    ],
    ids=repr,
)
def test_gradients_agree_with_numbers(layer, shape):
    check_layer_gradients(layer, rng(1).normal(size=(2, *shape)))


def test_a_tie_by_hand():
    layer = MaxPool2D(2, strides=1)
    layer.set_up((2, 3, 1))
    y = layer.forward(np.float32([[7, 5, 7], [5, 7, 7]]).reshape(1, 2, 3, 1), training=True)
    np.testing.assert_array_equal(y[0, :, :, 0], [[7, 7]])
    dx = layer.backward(np.float32([[1, 10]]).reshape(1, 1, 2, 1))
    np.testing.assert_array_equal(dx[0, :, :, 0], [[1, 0, 10], [0, 0, 0]])


def test_a_window_of_more_entries_than_a_byte_counts_finds_its_maximum():
    layer = MaxPool2D(17)
    layer.set_up((17, 17, 1))
    x = np.zeros((2, 17, 17, 1), np.float32)
    x[0, 16, 16], x[1, 15, 3] = 1, 1
    assert layer.forward(x, training=True).tolist() == [[[[1.0]]], [[[1.0]]]]
    np.testing.assert_array_equal(layer.backward(np.ones((2, 1, 1, 1), np.float32)), x)


def test_a_number_that_is_not_finite_is_not_hidden():
    for layer in (MaxPool2D(), AveragePool2D(), GlobalMaxPool2D(), GlobalAveragePool2D()):
        layer.set_up((2, 2, 2))
        x = np.ones((1, 2, 2, 2), np.float32)
        x[0, 1, 0, 0] = np.nan
        for training in (True, False):
            assert np.isnan(layer.forward(x, training=training)).ravel().tolist() == [True, False]


@everywhere
def test_pooling_over_all_pixels(dtype):
    x = rng(1).normal(size=(3, 4, 5, 2)).astype(dtype)
    x[0, 1, 1] = x[0, 3, 2] = 9  # a tie
    mean, largest = GlobalAveragePool2D(), GlobalMaxPool2D()
    assert mean.set_up((4, 5, 2), dtype=dtype) == largest.set_up((4, 5, 2), dtype=dtype) == (2,)
    np.testing.assert_allclose(mean.forward(x), x.reshape(3, 20, 2).mean(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(largest.forward(x, training=True), x.reshape(3, 20, 2).max(axis=1))
    dx = largest.backward(np.full((3, 2), 5, dtype))
    assert (dx[0, 1, 1] == 5).all()
    assert np.count_nonzero(dx) == 6
    assert dx.dtype == dtype


def test_zeros_are_put_around_and_taken_off_the_gradient():
    layer = ZeroPad2D(((1, 0), (0, 2)))
    assert layer.set_up((2, 3, 1)) == (3, 5, 1)
    x = np.arange(1.0, 7).reshape(1, 2, 3, 1)
    y = layer.forward(x, training=True)
    np.testing.assert_array_equal(y, np.pad(x, ((0, 0), (1, 0), (0, 2), (0, 0))))
    np.testing.assert_array_equal(layer.backward(y), x)
    assert ZeroPad2D().set_up((28, 28, 1)) == (30, 30, 1)


def test_zeros_of_no_width_change_nothing():
    layer = ZeroPad2D(0)
    layer.set_up((2, 3, 1))
    x = np.ones((1, 2, 3, 1))
    y = layer.forward(x)
    np.testing.assert_array_equal(y, x)


def test_each_pixel_is_repeated_and_gets_the_sum_of_the_gradients():
    layer = UpSample2D((1, 2))
    assert layer.set_up((2, 2, 1)) == (2, 4, 1)
    y = layer.forward(np.float32([[1, 2], [3, 4]]).reshape(1, 2, 2, 1), training=True)
    np.testing.assert_array_equal(y[0, :, :, 0], [[1, 1, 2, 2], [3, 3, 4, 4]])
    dx = layer.backward(np.float32([[1, 10, 100, 1000], [2, 20, 200, 2000]]).reshape(1, 2, 4, 1))
    np.testing.assert_array_equal(dx[0, :, :, 0], [[11, 1100], [22, 2200]])
    assert UpSample2D().set_up((7, 7, 16)) == (14, 14, 16)


@pytest.mark.parametrize(
    ("layer", "before", "after"),
    [
        (MaxPool2D(2), (28, 28, 16), (14, 14, 16)),
        (MaxPool2D(2, strides=1), (28, 28, 16), (27, 27, 16)),
        (MaxPool2D(2), (7, 5, 16), (3, 2, 16)),
        (MaxPool2D(2, padding="same"), (7, 5, 16), (4, 3, 16)),
        (AveragePool2D((1, 3), strides=(2, 3)), (7, 6, 2), (4, 2, 2)),
        (GlobalAveragePool2D(), (7, 7, 64), (64,)),
        (GlobalMaxPool2D(), (7, 7, 64), (64,)),
    ],
)
def test_shapes_are_those_that_the_docstrings_work_out(layer, before, after):
    assert layer.set_up(before) == after


def test_a_layer_that_moves_into_a_model_of_another_type_computes_in_that():
    for layer in (AveragePool2D(3, strides=2, padding="same"), MaxPool2D(2), GlobalAveragePool2D(), UpSample2D()):
        layer.set_up((4, 5, 2), dtype="float64")
        model = Sequential([layer], input_shape=(4, 5, 2), dtype="float32")
        y = model.forward(np.ones((2, 4, 5, 2), np.float32), training=True)
        assert y.dtype == layer.backward(np.ones_like(y)).dtype == np.float32


class Means(MaxPool2D):
    """A pooling of one's own, which picks no maxima."""

    def forward(self, x, training=False):
        return x.reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2, x.shape[3]).mean(axis=(2, 4))


def test_a_relu_stays_before_a_pooling_of_ones_own():
    model = Sequential([ReLU(), Means(2)], input_shape=(4, 6, 2))
    x = rng(0).normal(size=(3, 4, 6, 2)).astype(np.float32)
    np.testing.assert_array_equal(model.forward(x), Means.forward(model.layers[1], x.clip(0)))


@everywhere
@given(case=poolings(), seed=st.integers(0, 100))
@settings(max_examples=60)
def test_a_model_gives_the_bits_of_a_relu_computed_before_the_pooling_that_follows_it(dtype, case, seed):
    options, shape = case
    layers = [Conv2D(2, 1), ReLU(), MaxPool2D(**options), ReLU(), GlobalMaxPool2D()]
    model = Sequential(layers, input_shape=shape, seed=seed, dtype=dtype)
    x = rng(seed).integers(-2, 3, (4, *shape)).astype(dtype)  # small whole numbers: many windows have ties, or no ink
    dy = rng(seed + 1).normal(size=(4, 2)).astype(dtype)
    y, dx = model.forward(x, training=True), model.backward(dy)
    gradients, shapes = model.gradients.copy(), [layer.saved.shape for layer in layers[1:4:2]]

    expected = x
    for layer in layers:
        expected = layer.forward(expected, training=True)
    for layer in reversed(layers):
        dy = layer.backward(dy)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(dx, dy)
    np.testing.assert_array_equal(gradients, model.gradients)
    assert shapes == [(4, *layers[2].output_shape), (4, 2)]  # each ReLU had what its pooling left
