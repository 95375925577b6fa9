import math

import numpy as np
import pytest
from gradients import check_layer_gradients

from minidl.errors import ArgumentError, ArgumentTypeError, ShapeError
from minidl.initializers import Constant, HeNormal
from minidl.layers import Dense

rng = np.random.default_rng


def built(layer, features=4, seed=0):
    layer.set_up(features, seed)
    return layer


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize(("rows", "features", "units"), [(5, 4, 3), (1, 1, 1), (2, 1, 6)])
def test_gradients_agree_with_numbers(rows, features, units, use_bias):
    check_layer_gradients(Dense(units, use_bias=use_bias), rng(1).normal(size=(rows, features)))


def test_each_output_is_the_weighted_sum_of_the_inputs_plus_a_bias():
    layer = built(Dense(3))
    layer.bias.value[:] = [0.5, -1, 2]
    x = rng(1).normal(size=(5, 4)).astype(np.float32)
    weight, bias = layer.weight.value.tolist(), layer.bias.value.tolist()
    expected = [
        [math.fsum(xi * w[k] for xi, w in zip(row, weight, strict=True)) + bias[k] for k in range(3)]
        for row in x.tolist()
    ]
    # Five float32 additions of numbers of order 1, each off by at most 6e-8 of them.
    np.testing.assert_allclose(layer.forward(x), expected, rtol=1e-6, atol=1e-6)


def test_gradients_by_hand():
    layer = built(Dense(2, initializer=Constant(3)), features=2)
    layer.forward(np.float32([[1, 2], [10, 20]]), training=True)
    dx = layer.backward(np.float32([[1, 0], [0, 1]]))
    np.testing.assert_array_equal(layer.weight.gradient, [[1, 10], [2, 20]])
    np.testing.assert_array_equal(layer.bias.gradient, [1, 1])
    np.testing.assert_array_equal(dx, [[3, 3], [3, 3]])


def test_the_weight_is_drawn_by_the_initializer_and_the_bias_starts_at_zero():
    layer = built(Dense(3), seed=7)
    assert layer.weight.value.tobytes() == HeNormal()((4, 3), 7).tobytes()
    np.testing.assert_array_equal(layer.bias.value, [0, 0, 0])
    assert list(layer.named_parameters()) == ["weight", "bias"]
    np.testing.assert_array_equal(built(Dense(3, initializer=Constant(2))).weight.value, np.full((4, 3), 2))
    np.testing.assert_array_equal(built(Dense(3, initializer=Constant(2))).weight.value, np.full((4, 3), 2))


def test_without_a_bias_there_is_only_the_weight():
    layer = built(Dense(3, use_bias=False))
    assert list(layer.named_parameters()) == ["weight"]
    np.testing.assert_array_equal(layer.forward(np.zeros((2, 4), np.float32)), np.zeros((2, 3)))


def test_where_nobody_needs_the_input_gradient_only_the_parameters_get_theirs():
    layer, x, dy = built(Dense(3)), rng(1).normal(size=(5, 4)), rng(2).normal(size=(5, 3))
    layer.forward(x, training=True)
    assert layer.backward(dy) is not None
    expected = layer.weight.gradient.copy(), layer.bias.gradient.copy()
    layer.weight.gradient[:] = layer.bias.gradient[:] = np.nan
    layer.needs_input_gradient = False
    assert layer.backward(dy) is None
    np.testing.assert_array_equal(layer.weight.gradient, expected[0])
    np.testing.assert_array_equal(layer.bias.gradient, expected[1])


def test_an_inference_between_forward_and_backward_changes_nothing():
    layer = built(Dense(1), features=2)
    layer.forward(np.float32([[1, 2]]), training=True)
    layer.forward(np.float32([[30, 40]]))
    layer.backward(np.float32([[1]]))
    np.testing.assert_array_equal(layer.weight.gradient, [[1], [2]])


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float64])
def test_input_of_any_dtype_is_multiplied_without_overflow(dtype):
    layer = built(Dense(3, initializer=Constant(2)))
    largest = 1 if dtype is bool else 200
    y = layer.forward(np.full((2, 4), largest, dtype), training=True)
    np.testing.assert_array_equal(y, np.full((2, 3), 4 * 2 * largest))
    layer.backward(np.ones((2, 3), np.float32))
    np.testing.assert_array_equal(layer.weight.gradient, np.full((4, 3), 2 * largest))


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize(("shape", "units"), [((2, 3), 4), ((2, 2, 3, 1), 2), ((3, 1), 1), ((1, 1, 1), 1)])
def test_an_input_of_any_rank_is_one_of_many_rows(shape, units, use_bias):
    layer = Dense(units, use_bias=use_bias)
    assert layer.set_up(shape, 0, dtype="float64") == layer.output_shape == (*shape[:-1], units)
    assert layer.weight.value.shape == (shape[-1], units)
    x, dy = rng(1).normal(size=(5, *shape)), rng(2).normal(size=(5, *shape[:-1], units))
    y = layer.forward(x, training=True)
    dx = layer.backward(dy)
    weight, total_weight, total_bias = layer.weight.value, np.zeros_like(layer.weight.value), np.zeros(units)
    assert y.shape == dy.shape
    assert dx.shape == x.shape
    for place in np.ndindex(5, *shape[:-1]):  # row by row, by a vector
        np.testing.assert_allclose(y[place], x[place] @ weight, rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(dx[place], weight @ dy[place], rtol=1e-12, atol=1e-15)
        total_weight += np.outer(x[place], dy[place])
        total_bias += dy[place]
    np.testing.assert_allclose(layer.weight.gradient, total_weight, rtol=1e-10)
    if use_bias:
        np.testing.assert_allclose(layer.bias.gradient, total_bias, rtol=1e-10)
    check_layer_gradients(Dense(units, use_bias=use_bias), x)


@pytest.mark.parametrize("rows", [0, 1])
def test_an_input_of_any_rank_may_have_no_rows_or_any_memory_layout(rows):
    layer = built(Dense(3))
    layer.set_up((2, 4), 0)
    x = np.ones((rows, 4, 2), np.float32).swapaxes(1, 2)
    assert layer.forward(x, training=True).shape == (rows, 2, 3)
    assert layer.backward(np.ones((rows, 3, 2), np.float32).swapaxes(1, 2)).shape == (rows, 2, 4)
    np.testing.assert_array_equal(layer.bias.gradient, [2 * rows] * 3)
    layer.needs_input_gradient = False
    assert layer.backward(np.ones((rows, 2, 3), np.float32)) is None


def test_samples_without_an_axis_are_refused():
    with pytest.raises(ShapeError, match="^Dense expects samples with an axis of features but got single numbers$"):
        Dense(3).set_up(())


@pytest.mark.parametrize("units", [1, 1000, np.int64(3), np.uint8(3)])
def test_units_may_be_any_whole_number_from_1(units):
    assert Dense(units).set_up((4,)) == (units,)


@pytest.mark.parametrize(
    ("units", "error", "message"),
    [
        (0, ArgumentError, "^Dense: units is 0; it must be a whole number, 1 or more$"),
        (-3, ArgumentError, "Dense: units is -3"),
        (2.5, ArgumentTypeError, r"Dense: units is 2\.5; it must be a whole number, 1 or more"),
        ("64", ArgumentTypeError, "Dense: units is '64'"),
        (None, ArgumentTypeError, "Dense: units is None"),
    ],
)
def test_units_that_cannot_be_are_refused_where_they_are_written(units, error, message):
    with pytest.raises(error, match=message):
        Dense(units)


@pytest.mark.parametrize("use_bias", ["no", 1, None, np.int64(1)])
def test_there_is_a_bias_or_there_is_none(use_bias):
    with pytest.raises(ArgumentTypeError, match="^Dense: use_bias is .*; it must be True or False$"):
        Dense(3, use_bias=use_bias)
    assert Dense(3, use_bias=np.True_).use_bias is True


def test_a_misspelt_initializer_is_refused_where_it_is_written():
    with pytest.raises(ArgumentError, match="did you mean 'he_normal'"):
        Dense(3, initializer="he_nromal")
    with pytest.raises(ArgumentTypeError, match="give an Initializer or a name"):
        Dense(3, initializer=0.1)


def test_a_dense_layer_is_printed_with_its_settings():
    assert repr(Dense(3, use_bias=False)) == "Dense(units=3, initializer='he_normal', use_bias=False)"
