"""Windows over images, counted one by one."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl.errors import ArgumentError, ArgumentTypeError, ShapeError
from minidl.layers import AveragePool2D, Conv2D, Conv2DTranspose, MaxPool2D, UpSample2D, ZeroPad2D
from minidl.layers.windows import Window, slide
from minidl.model import Sequential


def starts(image, before, after, size, stride, dilation):
    """Where windows begin along one side, counted from the padding's first entry."""
    last = before + image + after - (dilation * (size - 1) + 1)
    return [place for place in range(last + 1) if place % stride == 0]


sides = {
    "image": st.integers(1, 7),
    "size": st.integers(1, 4),
    "stride": st.integers(1, 4),
    "dilation": st.integers(1, 3),
}


@given(before=st.integers(0, 2), after=st.integers(0, 2), **sides)
def test_there_is_a_window_at_each_stride_that_fits(image, before, after, size, stride, dilation):
    expected = starts(image, before, after, size, stride, dilation)
    pairs = (size, 1), (stride, 1), ((before, after), (0, 0)), (dilation, 1)
    if not expected:
        with pytest.raises(ShapeError, match="does not fit into the image"):
            slide((image, 5, 1), *pairs)
        return
    window = slide((image, 5, 1), *pairs)
    assert window.places == (len(expected), 5)
    padded = np.pad(np.arange(1.0, image + 1), (before, after))
    column = window.pad(np.arange(1.0, image + 1).reshape(1, image, 1, 1).repeat(5, axis=2))
    np.testing.assert_array_equal(column[0, :, 2, 0], padded)
    seen = [[padded[start + entry * dilation] for entry in range(size)] for start in expected]
    np.testing.assert_array_equal(window.patches(column)[0, :, 3, :, 0, 0], seen)
    np.testing.assert_array_equal(np.stack([tap[0, :, 3, 0] for tap in window.taps(column)], axis=1), seen)


@given(**sides)
def test_same_padding_is_the_least_that_gives_a_place_for_each_stride(image, size, stride, dilation):
    window = slide((5, image, 1), (1, size), (1, stride), "same", (1, dilation))
    assert window.places == (5, -(-image // stride))
    (top, bottom), (left, right) = window.margins
    assert (top, bottom) == (0, 0)
    assert right - left in {0, 1}  # the larger half is on the right
    less = slide_or_none(image, size, stride, dilation, left + right - 1)
    assert left + right == 0 or less is None or less.places[1] < window.places[1]


def slide_or_none(image, size, stride, dilation, padding):
    try:
        return slide((5, image, 1), (1, size), (1, stride), ((0, 0), (padding, 0)), (1, dilation))
    except ShapeError:
        return None


@given(before=st.integers(0, 2), after=st.integers(0, 2), **sides)
def test_a_reversed_window_meets_each_entry_where_the_window_did(image, before, after, size, stride, dilation):
    """Window i sees pixel p by entry e if and only if reversed window p sees place i by entry size - 1 - e."""
    window = slide_or_none(image, size, stride, dilation, 0)
    if window is None:
        return
    window = Window((5, image), (1, size), (1, stride), ((0, 0), (before, after)), (1, dilation))
    back = window.reversed
    assert back.places == (5, image)

    def meetings(window, steps):
        numbers = np.zeros((1, *window.image, 1))
        numbers[0, 0, ::steps, 0] = np.arange(1, len(range(0, window.image[1], steps)) + 1)
        patches = window.patches(window.pad(numbers))[0, 0, :, 0, :, 0]
        return {(i, int(seen) - 1, entry) for (i, entry), seen in np.ndenumerate(patches) if seen}

    forth = {(pixel, place, size - 1 - entry) for place, pixel, entry in meetings(window, 1)}
    assert meetings(back, stride) == forth


@pytest.mark.parametrize(
    ("padding", "expected"),
    [
        (2, ((2, 2), (2, 2))),
        ((1, 2), ((1, 1), (2, 2))),
        (((0, 1), (2, 3)), ((0, 1), (2, 3))),
        ([[0, 1], [2, 3]], ((0, 1), (2, 3))),
        (np.array([1, 2]), ((1, 1), (2, 2))),
        (np.int64(1), ((1, 1), (1, 1))),
        ("same", "same"),
        ("valid", "valid"),
    ],
)
def test_padding_is_a_name_or_numbers_for_all_for_each_axis_or_for_each_side(padding, expected):
    assert Conv2D(1, 3, padding=padding).padding == MaxPool2D(3, padding=padding).padding == expected
    if not isinstance(expected, str):
        assert ZeroPad2D(padding).padding == expected


@pytest.mark.parametrize("size", [3, (3, 3), [3, 3], np.int64(3), np.array([3, 3])])
def test_a_size_is_one_number_or_two(size):
    layer = Conv2D(1, size, strides=size, dilation=size)
    assert layer.kernel_size == layer.strides == layer.dilation == (3, 3)
    assert AveragePool2D(size).pool_size == UpSample2D(size).size == (3, 3)
    assert MaxPool2D().strides is None


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Conv2D(4, 0), ArgumentError, "^Conv2D: kernel_size is 0; it must be a whole number, 1 or more"),
        (lambda: Conv2D(4, (3, 3, 3)), ArgumentError, r"^Conv2D: kernel_size is \(3, 3, 3\); give one number, or two"),
        (lambda: Conv2D(4, 2.5), ArgumentTypeError, "^Conv2D: kernel_size is 2.5"),
        (lambda: Conv2D(4, "3"), ArgumentTypeError, "^Conv2D: kernel_size is '3'"),
        (lambda: Conv2D(4, 3, strides=(0, 1)), ArgumentError, "^Conv2D: strides is 0"),
        (
            lambda: Conv2D(4, 3, padding="full"),
            ArgumentError,
            '^Conv2D: padding is \'full\'; it must be "valid", "same"',
        ),
        (
            lambda: Conv2D(4, 3, padding=-1),
            ArgumentError,
            "^Conv2D: padding is -1; it must be a whole number, 0 or more",
        ),
        (lambda: Conv2D(4, 3, padding=((1, 2), 3)), ArgumentTypeError, "^Conv2D: padding is "),
        (lambda: Conv2D(4, 3, groups=0), ArgumentError, "^Conv2D: groups is 0"),
        (lambda: MaxPool2D(2, padding=None), ArgumentTypeError, "^MaxPool2D: padding is None"),
        (lambda: ZeroPad2D("same"), ArgumentTypeError, "^ZeroPad2D: padding is 'same'"),
    ],
)
def test_settings_that_cannot_be_are_refused_where_they_are_written(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (
            Conv2D(4, 3, name="first"),
            784,
            r"^layer 1 'first': it takes images \(height, width, channels\), not samples \(784,\): add "
            r"Reshape\(\(height, width, channels\)\) before, or give the model this shape as input_shape$",
        ),
        (MaxPool2D(), (28, 28), r"^layer 1 'max_pool2d_1': it takes images .* not samples \(28, 28\): add Reshape"),
        (Conv2DTranspose(4, 3), 784, r"^layer 1 'conv2d_transpose_1': it takes images"),
        (UpSample2D(), 784, r"^layer 1 'up_sample2d_1': it takes images"),
        (ZeroPad2D(), 784, r"^layer 1 'zero_pad2d_1': it takes images"),
        (
            Conv2D(4, 5, padding=((1, 0), (0, 0))),
            (3, 4, 2),
            r"^layer 1 'conv2d_1': a window of \(5, 5\) does not fit into the image \(3, 4, 2\), padded to \(4, 4\)$",
        ),
        (
            Conv2D(4, 3, dilation=2),
            (4, 4, 2),
            r"a window of \(5, 5\), with its dilation, does not fit into the image \(4, 4, 2\)$",
        ),
        (
            Conv2D(4, 3),
            (1, 28, 28),
            r"^layer 1 'conv2d_1': a window of \(3, 3\) does not fit into the image \(1, 28, 28\); are its channels "
            r"first\? np\.moveaxis\(x, 1, -1\) moves them$",
        ),
        (MaxPool2D(3), (2, 2, 5), r"^layer 1 'max_pool2d_1': a window of \(3, 3\) does not fit"),
        (
            MaxPool2D(2, padding=2),
            (4, 4, 1),
            r"^layer 1 'max_pool2d_1': a window of \(2, 2\) may be outside of the image \(4, 4, 1\) with padding "
            r"\(\(2, 2\), \(2, 2\)\): give less than the window$",
        ),
        (
            Conv2D(4, 3, groups=3),
            (5, 5, 3),
            r"groups=3 must divide the 3 channels of the image \(5, 5, 3\) and the 4 filters$",
        ),
        (Conv2D(4, 3, groups=2), (5, 5, 3), r"groups=2 must divide the 3 channels of the image \(5, 5, 3\) and the 4"),
        (
            Conv2DTranspose(4, 1, padding=1),
            (2, 2, 3),
            r"^layer 1 'conv2d_transpose_1': a padding of \(\(1, 1\), \(1, 1\)\) cuts off all",
        ),
    ],
)
def test_an_image_that_a_window_cannot_slide_over_is_refused_with_the_layer_the_window_and_the_image(
    layer, shape, message
):
    with pytest.raises(ShapeError, match=message) as caught:
        Sequential([layer], input_shape=shape)
    assert len(str(caught.value)) <= 300
    assert layer.input_shape is None


def test_a_window_is_checked_along_both_axes():
    for height, width in itertools.product((2, 3), repeat=2):
        if (height, width) == (3, 3):
            assert Conv2D(1, 3).set_up((height, width, 1)) == (1, 1, 1)
        else:
            with pytest.raises(ShapeError):
                Conv2D(1, 3).set_up((height, width, 1))
