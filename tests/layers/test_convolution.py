"""Convolutions beside SciPy's correlations of two matrices, beside numbers, and by hand."""

import numpy as np
import pytest
from gradients import check_layer_gradients
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import convolve2d, correlate2d

from minidl.errors import ShapeError
from minidl.initializers import Constant, GlorotUniform, HeNormal
from minidl.layers import Conv2D, Conv2DTranspose, Dense, DepthwiseConv2D, ReLU
from minidl.layers.windows import slide
from minidl.model import Sequential

rng = np.random.default_rng

# The same sums in another order, of at most 100 products of order 1.
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def built(layer, shape, seed=0, dtype="float64"):
    layer.set_up(shape, seed, dtype=dtype)
    if layer.bias is not None:
        layer.bias.value = rng(seed).normal(size=layer.bias.value.shape)
    return layer


def spread(matrix, height, width):
    """Put the entries of a matrix so many places apart, with zeros between."""
    wide = np.zeros([(size - 1) * step + 1 for size, step in zip(matrix.shape, (height, width), strict=True)])
    wide[::height, ::width] = matrix
    return wide


def pairs(filters, channels, groups):
    """Which channels a filter sees: (filter, channel, entry of the filter's channels)."""
    for filter_ in range(filters):
        group = filter_ // (filters // groups)
        for entry in range(channels // groups):
            yield filter_, group * (channels // groups) + entry, entry


def by_scipy(layer, x, dy):
    """Return y, dx, dW and db of a convolution, image by image and channel by channel."""
    kernel, (height, width), groups = layer.weight.value, layer.strides, layer.groups
    margins = slide(x.shape[1:], layer.kernel_size, layer.strides, layer.padding, layer.dilation).margins
    padded = np.pad(x, ((0, 0), *margins, (0, 0)))
    y, dpadded, dkernel = np.zeros(dy.shape), np.zeros(padded.shape), np.zeros(kernel.shape)
    for n in range(len(x)):
        for filter_, channel, entry in pairs(kernel.shape[3], x.shape[3], groups):
            image, dilated = padded[n, :, :, channel], spread(kernel[:, :, entry, filter_], *layer.dilation)
            y[n, :, :, filter_] += correlate2d(image, dilated, "valid")[::height, ::width]
            apart = spread(dy[n, :, :, filter_], height, width)
            rows, columns = np.add(apart.shape, dilated.shape) - 1  # of the pixels that a window has met
            dpadded[n, :rows, :columns, channel] += convolve2d(apart, dilated, "full")
            met = correlate2d(image[:rows, :columns], apart, "valid")
            dkernel[:, :, entry, filter_] += met[:: layer.dilation[0], :: layer.dilation[1]]
    (top, _), (left, _) = margins
    dx = dpadded[:, top : top + x.shape[1], left : left + x.shape[2]]
    return y + (0 if layer.bias is None else layer.bias.value), dx, dkernel, dy.sum(axis=(0, 1, 2))


two = st.tuples(st.integers(1, 3), st.integers(1, 3))
margins = st.tuples(st.integers(0, 2), st.integers(0, 2))


@st.composite
def convolutions(draw):
    """Draw a convolution, with the shape of images that its window fits into."""
    size, strides, dilation = draw(two), draw(two), draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    padding = draw(st.one_of(st.sampled_from(["valid", "same"]), st.tuples(margins, margins)))
    groups = draw(st.integers(1, 3))
    spans = [step * (entries - 1) + 1 for entries, step in zip(size, dilation, strict=True)]
    height, width = (draw(st.integers(span, span + 4)) for span in spans)
    layer = Conv2D(
        groups * draw(st.integers(1, 2)),
        size,
        strides=strides,
        padding=padding,
        dilation=dilation,
        groups=groups,
        use_bias=draw(st.booleans()),
    )
    return layer, (height, width, groups * draw(st.integers(1, 2)))


@given(drawn=convolutions(), rows=st.integers(1, 3))
@settings(max_examples=150, derandomize=True)
def test_outputs_and_gradients_are_those_of_scipys_correlations(drawn, rows):
    layer, shape = built(*drawn), drawn[1]
    x, dy = rng(1).normal(size=(rows, *shape)), rng(2).normal(size=(rows, *layer.output_shape))
    y = layer.forward(x, training=True)
    dx = layer.backward(dy)
    expected = by_scipy(layer, x, dy)
    for found, other in zip((y, dx, layer.weight.gradient), expected[:3], strict=True):
        np.testing.assert_allclose(found, other, **CLOSE)
    if layer.bias is not None:
        np.testing.assert_allclose(layer.bias.gradient, expected[3], **CLOSE)


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("shape", [(6, 7), (5, 5), (8, 4)])
def test_same_padding_of_an_odd_window_is_that_of_scipy(shape, size):
    layer, x = built(Conv2D(1, size, padding="same"), (*shape, 1)), rng(0).normal(size=(1, *shape, 1))
    layer.bias.value = 0
    expected = correlate2d(x[0, :, :, 0], layer.weight.value[:, :, 0, 0], "same")
    np.testing.assert_allclose(layer.forward(x)[0, :, :, 0], expected, **CLOSE)


@given(drawn=convolutions())
@settings(max_examples=25, derandomize=True)
def test_gradients_agree_with_numbers(drawn):
    layer, shape = drawn
    check_layer_gradients(layer, rng(1).normal(size=(2, *shape)))


@pytest.mark.parametrize("shape", [(4, 5, 2), (5, 4, 3)])
@pytest.mark.parametrize(
    "layer",
    [
        DepthwiseConv2D(2),
        DepthwiseConv2D(3, multiplier=2, strides=2, padding="same"),
        Conv2DTranspose(2, 3),
        Conv2DTranspose(2, (2, 3), strides=(3, 2), padding="same", dilation=(1, 2)),
        Conv2DTranspose(3, 2, strides=1, padding=((1, 0), (1, 1)), use_bias=False),
    ],
    ids=repr,
)
def test_gradients_of_the_other_convolutions_agree_with_numbers(layer, shape):
    check_layer_gradients(layer, rng(1).normal(size=(2, *shape)))


def test_a_convolution_by_hand():
    layer = Conv2D(1, 2, initializer=Constant(1))
    layer.set_up((3, 3, 1), 0)
    layer.weight.value = np.reshape([1, 2, 0, -1], (2, 2, 1, 1))
    layer.bias.value = 10
    y = layer.forward(np.float32([[1, 2, 3], [4, 5, 6], [7, 8, 9]]).reshape(1, 3, 3, 1), training=True)
    np.testing.assert_array_equal(y[0, :, :, 0], [[10 + 1 + 4 - 5, 10 + 2 + 6 - 6], [10 + 4 + 10 - 8, 10 + 5 + 12 - 9]])
    dx = layer.backward(np.float32([[1, 0], [0, 2]]).reshape(1, 2, 2, 1))
    np.testing.assert_array_equal(dx[0, :, :, 0], [[1, 2, 0], [0, -1 + 2, 4], [0, 0, -2]])
    np.testing.assert_array_equal(layer.weight.gradient[:, :, 0, 0], [[1 + 10, 2 + 12], [4 + 16, 5 + 18]])
    np.testing.assert_array_equal(layer.bias.gradient, [3])


@pytest.mark.parametrize("shape", [(1, 1, 5), (3, 4, 5)])
def test_a_window_of_one_pixel_is_a_dense_layer_at_each(shape):
    layer, dense = built(Conv2D(3, 1), shape), built(Dense(3), shape)
    dense.weight.value, dense.bias.value = layer.weight.value[0, 0], layer.bias.value
    x, dy = rng(1).normal(size=(2, *shape)), rng(2).normal(size=(2, *shape[:2], 3))
    np.testing.assert_allclose(layer.forward(x, training=True), dense.forward(x, training=True), **CLOSE)
    np.testing.assert_allclose(layer.backward(dy), dense.backward(dy), **CLOSE)
    np.testing.assert_allclose(layer.weight.gradient[0, 0], dense.weight.gradient, **CLOSE)


@pytest.mark.parametrize("multiplier", [1, 2])
def test_a_depthwise_convolution_has_a_group_for_each_channel(multiplier):
    shape, options = (5, 6, 3), {"strides": (1, 2), "padding": "same"}
    layer = built(DepthwiseConv2D(3, multiplier=multiplier, **options), shape)
    assert layer.weight.value.shape == (3, 3, 1, 3 * multiplier)
    for channel in range(3):
        alone = built(Conv2D(multiplier, 3, **options), (5, 6, 1))
        own = slice(channel * multiplier, (channel + 1) * multiplier)
        alone.weight.value, alone.bias.value = layer.weight.value[..., own], layer.bias.value[own]
        x = rng(1).normal(size=(2, *shape))
        np.testing.assert_allclose(layer.forward(x)[..., own], alone.forward(x[..., channel : channel + 1]), **CLOSE)
    assert layer.set_up((5, 6, 2), 0) == (5, 3, 2 * multiplier)  # its filters follow the image


@pytest.mark.parametrize("padding", ["valid", "same", 1, ((0, 1), (1, 0))])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("strides", [1, 2, (3, 1)])
@pytest.mark.parametrize("size", [2, 3])
def test_a_transposed_convolution_is_the_backward_pass_of_one(size, strides, dilation, padding):
    options = {"strides": strides, "padding": padding, "dilation": dilation, "use_bias": False}
    layer = built(Conv2DTranspose(2, size, **options), (3, 2, 4))
    forth = built(Conv2D(4, size, **options), layer.output_shape)
    assert forth.output_shape == (3, 2, 4)
    forth.weight.value = layer.weight.value.swapaxes(2, 3)
    x, big = rng(1).normal(size=(2, 3, 2, 4)), rng(2).normal(size=(2, *layer.output_shape))
    forth.forward(big, training=True)
    y = layer.forward(x, training=True)
    np.testing.assert_allclose(y, forth.backward(x), **CLOSE)
    np.testing.assert_allclose(layer.backward(big), forth.forward(big), **CLOSE)
    np.testing.assert_allclose(layer.weight.gradient, forth.weight.gradient.swapaxes(2, 3), **CLOSE)
    assert np.vdot(y, big) == pytest.approx(np.vdot(x, forth.forward(big)))  # transposed matrices


@pytest.mark.parametrize(
    ("layer", "before", "after", "weight"),
    [
        (Conv2D(16, 3), (28, 28, 1), (26, 26, 16), (3, 3, 1, 16)),
        (Conv2D(16, 3, padding="same"), (28, 28, 1), (28, 28, 16), (3, 3, 1, 16)),
        (Conv2D(16, 3, padding="same", strides=2), (28, 28, 1), (14, 14, 16), (3, 3, 1, 16)),
        (Conv2D(16, 3, padding="same", strides=2), (7, 6, 1), (4, 3, 16), (3, 3, 1, 16)),
        (Conv2D(6, (1, 5), groups=3), (4, 9, 12), (4, 5, 6), (1, 5, 4, 6)),
        (DepthwiseConv2D(3, multiplier=2), (14, 14, 8), (12, 12, 16), (3, 3, 1, 16)),
        (Conv2DTranspose(16, 3, strides=2), (7, 7, 32), (15, 15, 16), (3, 3, 32, 16)),
        (Conv2DTranspose(16, 3, strides=2, padding="same"), (7, 7, 32), (14, 14, 16), (3, 3, 32, 16)),
    ],
)
def test_shapes_are_those_that_the_docstrings_work_out(layer, before, after, weight):
    assert layer.set_up(before, 0) == after
    assert layer.weight.value.shape == weight
    assert layer.bias.value.shape == after[2:]


def test_the_weight_is_drawn_by_the_fan_in_of_the_window_and_the_bias_starts_at_zero():
    layer = Conv2D(8, (2, 3), groups=2)
    layer.set_up((4, 5, 4), 7)
    assert layer.weight.value.tobytes() == HeNormal()((2, 3, 2, 8), 7).tobytes()
    np.testing.assert_array_equal(layer.bias.value, np.zeros(8))
    wide = Conv2D(400, 5, groups=4)
    wide.set_up((5, 5, 16), 0)
    # Of n normal numbers the standard deviation is known to 1 / sqrt(2 n): five times that.
    assert wide.weight.value.std() == pytest.approx(np.sqrt(2 / (5 * 5 * 4)), rel=5 / np.sqrt(2 * 40_000))
    deep = DepthwiseConv2D(5, initializer=GlorotUniform())
    deep.set_up((5, 5, 400), 0)
    assert np.abs(deep.weight.value).max() <= np.sqrt(6 / (25 + 25 * 400))


def test_he_initialization_keeps_the_size_of_activations_through_convolutions():
    model = Sequential([make() for _ in range(6) for make in (lambda: Conv2D(64, 3), ReLU)])
    model.set_up((14, 14, 64), 0)
    scores = model.forward(rng(0).normal(size=(4, 14, 14, 64)).astype(np.float32))
    assert 0.5 < np.mean(scores**2) < 2  # without the window in the fan-in it would be 9^6


def test_where_nobody_needs_the_input_gradient_only_the_parameters_get_theirs():
    for layer in (Conv2D(3, 2), Conv2DTranspose(3, 2)):
        built(layer, (4, 4, 2))
        dy = rng(2).normal(size=(5, *layer.output_shape))
        layer.forward(rng(1).normal(size=(5, 4, 4, 2)), training=True)
        assert layer.backward(dy) is not None
        expected = layer.weight.gradient.copy(), layer.bias.gradient.copy()
        layer.weight.gradient = layer.bias.gradient = np.nan
        layer.needs_input_gradient = False
        assert layer.backward(dy) is None
        np.testing.assert_array_equal(layer.weight.gradient, expected[0])
        np.testing.assert_array_equal(layer.bias.gradient, expected[1])


def test_images_of_another_shape_are_refused_by_name_and_those_with_their_channels_first_with_the_cure():
    model = Sequential([Conv2D(4, 3)], input_shape=(8, 8, 3), seed=0)
    with pytest.raises(
        ShapeError, match=r"^layer 1 'conv2d_1' expects input \(8, 8, 3\) per sample but got \(8, 8, 1\)$"
    ):
        model.forward(np.zeros((2, 8, 8, 1)))
    first = r"but got \(3, 8, 8\): its channels must be last, np.moveaxis\(x, 1, -1\)$"
    with pytest.raises(ShapeError, match=first):
        model.forward(np.zeros((2, 3, 8, 8)))
    assert model.forward(np.moveaxis(np.zeros((2, 3, 8, 8)), 1, -1)).shape == (2, 6, 6, 4)


def test_a_batch_larger_than_what_is_computed_at_once_gives_what_its_parts_give():
    layer = built(Conv2D(8, 3, padding="same"), (16, 16, 4), dtype="float32")
    x = rng(1).normal(size=(130, 16, 16, 4)).astype(np.float32)
    whole = layer.forward(x)
    np.testing.assert_allclose(
        np.concatenate([layer.forward(part) for part in np.split(x, 10)]), whole, rtol=1e-4, atol=1e-5
    )


def test_layers_are_printed_with_their_settings():
    assert repr(Conv2D(3, 5, padding=1)) == (
        "Conv2D(filters=3, kernel_size=(5, 5), strides=(1, 1), padding=((1, 1), (1, 1)), dilation=(1, 1), groups=1, "
        "use_bias=True, initializer='he_normal')"
    )
    assert repr(DepthwiseConv2D(5)).startswith("DepthwiseConv2D(kernel_size=(5, 5), strides=(1, 1), ")
