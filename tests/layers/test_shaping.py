import numpy as np
import pytest
from gradients import check_layer_gradients
from hypothesis import given
from hypothesis import strategies as st

from minidl.errors import ArgumentError, ArgumentTypeError, ShapeError
from minidl.layers import Flatten, Rescale, Reshape
from minidl.model import Sequential


@pytest.mark.parametrize(
    ("target_shape", "expected"),
    [
        ((4, 3), (4, 3)),
        ([3, 4], (3, 4)),
        (12, (12,)),
        (-1, (12,)),
        ((-1, 2), (6, 2)),
        ((3, -1, 2), (3, 2, 2)),
        ((12, -1), (12, 1)),
        (np.int64(12), (12,)),
        ((np.int64(6), 2), (6, 2)),
    ],
)
def test_a_sample_gets_the_target_shape_in_row_major_order(target_shape, expected):
    layer = Reshape(target_shape)
    assert layer.set_up((2, 6)) == layer.output_shape == expected
    x = np.arange(24).reshape(2, 2, 6)
    y = layer.forward(x, training=True)
    assert y.shape == (2, *expected)
    assert y.ravel().tolist() == list(range(24))
    np.testing.assert_array_equal(layer.backward(y), x)


@given(st.lists(st.integers(1, 4), max_size=4), st.integers(0, 3))
def test_flatten_makes_one_axis_of_all(shape, rows):
    layer = Flatten()
    size = int(np.prod(shape, dtype=int))
    assert layer.set_up(tuple(shape)) == (size,)
    x = np.random.default_rng(0).normal(size=(rows, *shape))
    y = layer.forward(x, training=True)
    assert y.tolist() == [sample.ravel().tolist() for sample in x]
    np.testing.assert_array_equal(layer.backward(y), x)


def test_flatten_has_no_settings_but_its_name():
    assert Flatten(name="f").configuration() == {"name": "f"}
    with pytest.raises(TypeError):
        Flatten((3, 4))


@pytest.mark.parametrize("layer", [Flatten(), Reshape((3, 4)), Rescale(0.5), Rescale(-2, offset=3)])
def test_gradients_agree_with_numbers(layer):
    check_layer_gradients(layer, np.random.default_rng(0).normal(size=(3, 2, 6)))


@pytest.mark.parametrize(
    ("target_shape", "printed"),
    [((5, 2), "(5, 2)"), (11, "(11,)"), ((5, -1), "(5, -1)"), ((24, -1), "24"), ((-1, -1), "(-1, -1)")],
)
def test_a_shape_of_another_size_is_refused_with_both(target_shape, printed):
    with pytest.raises(ShapeError) as refusal:
        Reshape(target_shape).set_up((2, 6))
    assert str(refusal.value).startswith("Reshape cannot give samples of shape (2, 6) the shape ")
    assert printed in str(refusal.value)


@pytest.mark.parametrize(
    ("target_shape", "error", "message"),
    [
        ((0, 3), ArgumentError, r"1 or more, not \(0, 3\)"),
        (-2, ArgumentError, r"not \(-2,\)"),
        (2.5, ArgumentTypeError, r"2\.5"),
        ((2.0, 6), ArgumentTypeError, r"not \(2\.0, 6\)"),
        (None, ArgumentTypeError, "None"),
    ],
)
def test_a_target_shape_that_cannot_be_is_refused_where_it_is_written(target_shape, error, message):
    with pytest.raises(error, match=message):
        Reshape(target_shape)


@pytest.mark.parametrize("layer", [Flatten(), Reshape((3, 4))])
def test_a_batch_of_another_shape_is_refused_though_its_size_would_fit(layer):
    with pytest.raises(ShapeError, match=r"^layer 1 '.*' expects input \(2, 6\) per sample but got \(4, 3\)$"):
        Sequential([layer], input_shape=(2, 6)).forward(np.zeros((5, 4, 3)))


def test_rescale_scales_and_shifts_each_number():
    np.testing.assert_array_equal(Rescale(0.5, offset=3).forward(np.float32([[0, 1, -4]])), [[3, 3.5, 1]])
    np.testing.assert_array_equal(Rescale(2).forward(np.float32([[[0, 1, -4]]])), [[[0, 2, -8]]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("given_dtype", [np.uint8, np.int64, bool, np.float32, np.float64])
def test_rescale_takes_any_numbers_and_returns_the_layers_dtype(dtype, given_dtype):
    layer = Rescale(np.float64(1 / 255), offset=np.float64(0.25))
    layer.set_up((2,), dtype=dtype)
    x = np.array([[0, 255], [1, 7]]).astype(given_dtype)
    y = layer.forward(x, training=True)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, [[value / 255 + 0.25 for value in row] for row in x.tolist()], rtol=1e-6)
    assert layer.backward(y).dtype == dtype
    assert layer.takes_integers


@pytest.mark.parametrize("setting", ["scale", "offset"])
def test_rescale_takes_numbers_only(setting):
    with pytest.raises(ArgumentTypeError, match=f"^Rescale: {setting} is 'wide'; it must be a number$"):
        Rescale(**{"scale": 1.0, setting: "wide"})


def test_shaping_layers_are_printed_with_their_settings():
    assert repr(Flatten()) == "Flatten()"
    assert repr(Reshape((3, -1))) == "Reshape(target_shape=(3, -1))"
    assert repr(Rescale(0.5)) == "Rescale(scale=0.5, offset=0.0)"
