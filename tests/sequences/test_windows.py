"""Windows along time: convolutions beside NumPy's, poolings window by window, and padded rows beside the rows alone."""

import copy

import numpy as np
import pytest
from gradients import check_layer_gradients
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl import (
    AveragePool1D,
    BatchNorm,
    Conv1D,
    Conv2D,
    Dense,
    Embedding,
    GlobalAveragePool1D,
    GlobalMaxPool1D,
    MaxPool1D,
    MaxPool2D,
    ReLU,
)
from minidl.blocks import Concatenate
from minidl.errors import ArgumentError, ArgumentTypeError, ShapeError
from minidl.initializers import HeNormal
from minidl.model import Sequential

rng = np.random.default_rng

# The same sums in another order, of at most 100 products of order 1.
CLOSE = {"rtol": 1e-10, "atol": 1e-12}
GARBAGE = 1e3


def built(layer, shape, seed=0, dtype="float64"):
    layer.set_up(shape, seed, dtype=dtype)
    for parameter in layer.named_parameters().values():
        parameter.value = rng(seed).normal(size=parameter.value.shape)
    return layer


def passes(layer, x, dy, **options):
    """Return output, input gradient and parameter gradients."""
    y = layer.forward(x, training=True, **options)
    return y, layer.backward(dy), {name: p.gradient.copy() for name, p in layer.named_parameters().items()}


def sides_of(layer, length, size):
    """How many zeros are before and after a sequence, by the words of the docstrings."""
    stride, span = layer.strides or size, getattr(layer, "dilation", 1) * (size - 1) + 1
    if layer.padding == "same":
        missing = max((-(-length // stride) - 1) * stride + span - length, 0)
        return missing // 2, missing - missing // 2
    return {"valid": (0, 0), "causal": (span - 1, 0)}.get(layer.padding) or layer.padding


@st.composite
def convolutions(draw):
    """Draw a convolution, with the shape of sequences that its window fits into."""
    size, dilation, groups = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
    padding = draw(
        st.sampled_from(["valid", "same", "causal"]) | st.tuples(st.integers(0, 3), st.integers(0, 3)),
    )
    layer = Conv1D(
        groups * draw(st.integers(1, 2)),
        size,
        strides=draw(st.integers(1, 3)),
        padding=padding,
        dilation=dilation,
        groups=groups,
        use_bias=draw(st.booleans()),
    )
    return layer, (draw(st.integers(dilation * (size - 1) + 1, 12)), groups * draw(st.integers(1, 2)))


@given(drawn=convolutions(), rows=st.integers(1, 3))
@settings(max_examples=150, derandomize=True)
def test_a_convolution_is_numpys_correlation_of_each_feature_with_each_filter(drawn, rows):
    layer, shape = built(*drawn), drawn[1]
    x, weight = rng(1).normal(size=(rows, *shape)), layer.weight.value
    padded = np.pad(x, ((0, 0), sides_of(layer, shape[0], layer.kernel_size), (0, 0)))
    dilated = np.zeros((layer.dilation * (layer.kernel_size - 1) + 1, *weight.shape[1:]))
    dilated[:: layer.dilation] = weight
    y = layer.forward(x)
    assert y.shape[1:] == layer.output_shape
    for n, filter_ in np.ndindex(rows, layer.filters):
        first = filter_ // (layer.filters // layer.groups) * weight.shape[1]
        expected = sum(
            np.correlate(padded[n, :, first + entry], dilated[:, entry, filter_], "valid")[:: layer.strides]
            for entry in range(weight.shape[1])
        )
        bias = 0 if layer.bias is None else layer.bias.value[filter_]
        np.testing.assert_allclose(y[n, :, filter_], expected + bias, **CLOSE)


@given(drawn=convolutions())
@settings(max_examples=25, derandomize=True)
def test_gradients_of_a_convolution_agree_with_numbers(drawn):
    layer, shape = drawn
    check_layer_gradients(layer, rng(1).normal(size=(2, *shape)))


@pytest.mark.parametrize("padding", ["valid", "same", (0, 2)])
@pytest.mark.parametrize(("strides", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_a_convolution_has_the_bits_of_one_of_images_of_one_row(padding, strides, dilation):
    layer = built(Conv1D(3, 2, strides=strides, padding=padding, dilation=dilation), (7, 4), dtype="float32")
    margins = ((0, 0), padding) if isinstance(padding, tuple) else padding
    images = Conv2D(3, (1, 2), strides=(1, strides), padding=margins, dilation=(1, dilation))
    built(images, (1, 7, 4), dtype="float32")
    images.weight.value, images.bias.value = layer.weight.value[np.newaxis], layer.bias.value
    x = rng(1).normal(size=(5, 7, 4)).astype(np.float32)
    dy = rng(2).normal(size=(5, *layer.output_shape)).astype(np.float32)
    y, dx, gradients = passes(layer, x, dy)
    other_y, other_dx, others = passes(images, x[:, np.newaxis], dy[:, np.newaxis])
    np.testing.assert_array_equal(y, other_y[:, 0])
    np.testing.assert_array_equal(dx, other_dx[:, 0])
    np.testing.assert_array_equal(gradients["weight"], others["weight"][0])
    np.testing.assert_array_equal(gradients["bias"], others["bias"])


def test_a_causal_convolution_sees_its_own_position_and_earlier_ones():
    layer = built(Conv1D(2, 3, padding="causal", dilation=2), (9, 2))
    x = rng(1).normal(size=(1, 9, 2))
    y = layer.forward(x)
    for position in range(9):
        changed = x.copy()
        changed[0, position] += 1
        differs = (layer.forward(changed) != y).any(axis=(0, 2))
        assert np.flatnonzero(differs).tolist() == [p for p in (position, position + 2, position + 4) if p < 9]


@pytest.mark.parametrize(
    ("layer", "before", "after", "weight"),
    [
        (Conv1D(16, 3), (100, 8), (98, 16), (3, 8, 16)),
        (Conv1D(16, 3, padding="same"), (100, 8), (100, 16), (3, 8, 16)),
        (Conv1D(16, 3, padding="causal"), (100, 8), (100, 16), (3, 8, 16)),
        (Conv1D(16, 3, padding="same", strides=2), (100, 8), (50, 16), (3, 8, 16)),
        (Conv1D(16, 3, padding="causal", strides=2), (101, 8), (51, 16), (3, 8, 16)),
        (Conv1D(6, 5, groups=3), (9, 12), (5, 6), (5, 4, 6)),
    ],
)
def test_shapes_are_those_that_the_docstring_works_out(layer, before, after, weight):
    assert layer.set_up(before, 0) == after
    assert layer.weight.value.shape == weight
    assert layer.bias.value.shape == after[1:]


def test_the_weight_is_drawn_by_the_fan_in_of_the_window_and_the_bias_starts_at_zero():
    layer = Conv1D(8, 3, groups=2)
    layer.set_up((4, 4), 7)
    assert layer.weight.value.tobytes() == HeNormal()((3, 2, 8), 7).tobytes()
    np.testing.assert_array_equal(layer.bias.value, np.zeros(8))
    wide = Conv1D(400, 5, groups=4)
    wide.set_up((5, 64), 0)
    # Of n normal numbers the standard deviation is known to 1 / sqrt(2 n): five times that.
    assert wide.weight.value.std() == pytest.approx(np.sqrt(2 / (5 * 16)), rel=5 / np.sqrt(2 * 32_000))


@pytest.mark.parametrize("pieces", [[9], [1] * 9, [4, 5], [2, 1, 6]])
@pytest.mark.parametrize(
    "layer", [Conv1D(3, 3, padding="causal", dilation=2), Conv1D(2, 1), Conv1D(2, 4, padding=(3, 0))]
)
def test_a_causal_convolution_continues_a_sequence_piece_by_piece(layer, pieces):
    layer, memory = built(copy.deepcopy(layer), (9, 2), dtype="float32"), {}
    x = rng(1).normal(size=(4, 9, 2)).astype(np.float32)
    parts = [layer.continued(part, memory) for part in np.split(x, np.cumsum(pieces)[:-1], axis=1)]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), layer.forward(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"padding": "same"}, {"padding": "causal", "strides": 2}])
def test_a_convolution_that_looks_ahead_or_skips_positions_does_not_continue(options):
    layer = built(Conv1D(2, 3, **options), (6, 2))
    with pytest.raises(ArgumentError, match=r'^Conv1D continues a sequence only with padding="causal" and strides=1$'):
        layer.continued(np.zeros((1, 1, 2)), {})


# Poolings


@st.composite
def poolings(draw):
    """Draw the settings of a pooling layer, with the shape of sequences that its window fits into."""
    size = draw(st.integers(1, 4))
    padding = draw(
        st.sampled_from(["valid", "same"]) | st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)),
    )
    shape = draw(st.integers(size, 12)), draw(st.integers(1, 3))
    return {"pool_size": size, "strides": draw(st.none() | st.integers(1, 4)), "padding": padding}, shape


def by_windows(layer, x, dy, mask, kind):
    """Return y and dx of a pooling, window by window: of the positions that it sees, are there, and count."""
    y, dx = np.zeros(dy.shape), np.zeros(x.shape)
    before, _ = sides_of(layer, x.shape[1], layer.pool_size)
    for n, place, feature in np.ndindex(dy.shape):
        first = place * (layer.strides or layer.pool_size) - before
        seen = [p for p in range(first, first + layer.pool_size) if 0 <= p < x.shape[1] and mask[n, p]]
        values = [x[n, p, feature] for p in seen]
        if not seen:
            continue
        if kind is MaxPool1D:
            y[n, place, feature] = max(values)
            dx[n, seen[values.index(max(values))], feature] += dy[n, place, feature]
        else:
            y[n, place, feature] = sum(values) / len(values)
            dx[n, seen, feature] += dy[n, place, feature] / len(values)
    return y, dx


@pytest.mark.parametrize("kind", [MaxPool1D, AveragePool1D])
@given(case=poolings(), seed=st.integers(0, 100), has_mask=st.booleans())
@settings(max_examples=80, derandomize=True)
def test_pooling_looks_at_what_counts_in_each_window(kind, case, seed, has_mask):
    layer = built(kind(**case[0]), case[1])
    x = rng(seed).integers(-2, 3, (3, *case[1])).astype(float)  # small whole numbers: many windows have ties
    dy = rng(seed + 1).normal(size=(3, *layer.output_shape))
    mask = rng(seed + 2).random(x.shape[:2]) < 0.6 if has_mask else np.ones(x.shape[:2], bool)
    if has_mask and (layer.strides or layer.pool_size) > 1 and layer.padding == "same":
        return  # some of these are refused, below
    expected = by_windows(layer, x, dy, mask, kind)
    y, dx, _ = passes(layer, np.where(mask[..., np.newaxis], x, GARBAGE), dy, **{"mask": mask} if has_mask else {})
    np.testing.assert_allclose(y, expected[0], **CLOSE)
    np.testing.assert_allclose(dx, expected[1], **CLOSE)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (MaxPool1D(), (6, 2)),
        (MaxPool1D(3, strides=2, padding="same"), (6, 2)),
        (AveragePool1D(), (5, 2)),
        (AveragePool1D(3, strides=2, padding=1), (6, 2)),
        (GlobalAveragePool1D(), (4, 2)),
        (GlobalMaxPool1D(), (4, 2)),
    ],
    ids=repr,
)
def test_gradients_of_poolings_agree_with_numbers(layer, shape):
    check_layer_gradients(layer, rng(1).normal(size=(2, *shape)))


@pytest.mark.parametrize(
    ("layer", "before", "after"),
    [
        (MaxPool1D(2), (100, 16), (50, 16)),
        (MaxPool1D(2, strides=1), (100, 16), (99, 16)),
        (MaxPool1D(3), (7, 5), (2, 5)),
        (AveragePool1D(3, padding="same"), (7, 5), (3, 5)),
        (GlobalAveragePool1D(), (100, 64), (64,)),
        (GlobalMaxPool1D(), (100, 64), (64,)),
    ],
)
def test_shapes_of_poolings_are_those_that_the_docstrings_work_out(layer, before, after):
    assert layer.set_up(before) == after


def test_pooling_over_all_positions_that_count():
    x = np.float32([[[1, -1], [4, -5], [4, -9]], [[7, 7], [1e3, 1e3], [1e3, 1e3]], [[1e3, 1e3]] * 3])
    mask = np.array([[True, True, True], [True, False, False], [False, False, False]])
    mean, largest = GlobalAveragePool1D(), GlobalMaxPool1D()
    dy = np.float32([[3, 6]] * 3)
    y, dx, _ = passes(built(mean, (3, 2), dtype="float32"), x, dy, mask=mask)
    np.testing.assert_allclose(y, [[3, -5], [7, 7], [0, 0]], rtol=1e-6)
    np.testing.assert_allclose(dx, [[[1, 2]] * 3, [[3, 6], [0, 0], [0, 0]], [[0, 0]] * 3], rtol=1e-6)
    y, dx, _ = passes(built(largest, (3, 2), dtype="float32"), x, dy, mask=mask)
    np.testing.assert_array_equal(y, [[4, -1], [7, 7], [0, 0]])
    np.testing.assert_array_equal(dx, [[[0, 6], [3, 0], [0, 0]], [[3, 6], [0, 0], [0, 0]], [[0, 0]] * 3])


def test_a_number_that_is_not_finite_is_not_hidden_unless_it_is_masked():
    x = np.ones((1, 4, 2))
    x[0, 1, 0] = np.nan
    for layer in (MaxPool1D(), AveragePool1D(), GlobalMaxPool1D(), GlobalAveragePool1D(), Conv1D(2, 3, groups=2)):
        built(layer, (4, 2))
        assert np.isnan(layer.forward(x)).any(axis=1).ravel().any()
        assert np.isfinite(layer.forward(x, mask=np.array([[True, False, True, True]]))).all()


def test_a_model_computes_a_relu_after_the_pooling_that_follows_it():
    layers = [Conv1D(2, 1), ReLU(), MaxPool1D(2), ReLU(), GlobalMaxPool1D()]
    model = Sequential(layers, input_shape=(6, 2), seed=0)
    x = rng(1).normal(size=(3, 6, 2)).astype(np.float32)
    expected = x
    for layer in layers:
        expected = layer.forward(expected)
    np.testing.assert_array_equal(model.forward(x, training=True), expected)
    assert [layer.saved.shape for layer in layers[1:4:2]] == [(3, 3, 2), (3, 2)]


# Padded rows


def same_parameters(layer, other):
    for name, parameter in layer.named_parameters().items():
        other.named_parameters()[name].value = parameter.value
    return other


POOLINGS = [
    {},
    {"pool_size": 3},
    {"padding": "same"},
    {"pool_size": 3, "strides": 1, "padding": "same"},
    {"pool_size": 3, "strides": 2, "padding": 1},
    {"pool_size": 3, "strides": 2, "padding": (0, 2)},
]
WITH_WINDOWS = [
    Conv1D(3, 3),
    Conv1D(3, 3, padding="same"),
    Conv1D(3, 3, padding="causal"),
    Conv1D(3, 3, strides=2),
    Conv1D(3, 3, padding="causal", strides=3, dilation=2),
    Conv1D(3, 3, padding=1, strides=2),
    Conv1D(3, 3, padding=(3, 2)),
    Conv1D(3, 3, padding=(0, 4), strides=2, dilation=2),
    Conv1D(4, 3, padding="same", dilation=2, groups=2),
    Conv1D(2, 1, padding="same", strides=2),
    *(kind(**options) for kind in (MaxPool1D, AveragePool1D) for options in POOLINGS),
]
LENGTHS = [8, 7, 6, 5, 3, 1, 0]


def padded_batch(features=2):
    """Rows of different lengths in one batch, with large numbers as padding, and their mask."""
    mask = np.arange(8) < np.array(LENGTHS)[:, np.newaxis]
    return np.where(mask[..., np.newaxis], rng(5).normal(size=(len(LENGTHS), 8, features)), GARBAGE), mask


@pytest.mark.parametrize("layer", WITH_WINDOWS, ids=repr)
def test_a_padded_row_gives_what_it_gives_alone(layer):
    layer = built(copy.deepcopy(layer), (8, 2))
    x, mask = padded_batch()
    y = layer.forward(x, mask=mask)
    counts = layer.mask_after(x, mask)
    assert counts.shape == y.shape[:2]
    assert np.isfinite(y).all()
    for row, length in enumerate(LENGTHS):
        places = counts[row].sum()
        assert counts[row, :places].all()  # they are the first ones
        alone = copy.deepcopy(layer)
        alone.input_shape = alone.output_shape = None
        try:
            alone.set_up((length, 2), dtype="float64") if length else None
        except ShapeError:  # no window fits into it
            assert places == 0
            continue
        if length:
            same_parameters(layer, alone)
            expected = alone.forward(x[row : row + 1, :length])
            np.testing.assert_allclose(y[row : row + 1, :places], expected, **CLOSE)
        else:
            assert places == 0


@pytest.mark.parametrize("layer", [*WITH_WINDOWS, GlobalAveragePool1D(), GlobalMaxPool1D()], ids=repr)
def test_gradients_are_those_of_the_rows_alone_and_those_of_masked_positions_are_zero(layer):
    layer = built(copy.deepcopy(layer), (8, 2))
    x, mask = padded_batch()
    counts = layer.mask_after(x, mask) if len(layer.output_shape) == 2 else mask.any(axis=1)
    dy = rng(6).normal(size=(len(x), *layer.output_shape)) * counts[..., np.newaxis]
    _, dx, gradients = passes(layer, x, dy, mask=mask)
    expected = {name: np.zeros(gradient.shape) for name, gradient in gradients.items()}
    for row, length in enumerate(LENGTHS):
        np.testing.assert_array_equal(dx[row, length:], 0)
        if not counts[row].any():
            np.testing.assert_array_equal(dx[row], 0)
            continue
        alone = copy.deepcopy(layer)
        alone.input_shape = alone.output_shape = None
        alone.set_up((length, 2), dtype="float64")
        same_parameters(layer, alone)
        places = counts[row].sum() if counts.ndim == 2 else None
        own = passes(alone, x[row : row + 1, :length], dy[row : row + 1, :places] if places else dy[row : row + 1])
        np.testing.assert_allclose(dx[row : row + 1, :length], own[1], **CLOSE)
        for name, gradient in own[2].items():
            expected[name] += gradient
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, expected[name], **CLOSE)


@pytest.mark.parametrize("layer", [*WITH_WINDOWS, GlobalAveragePool1D(), GlobalMaxPool1D()], ids=repr)
def test_a_mask_in_which_all_positions_count_changes_no_bit(layer):
    layer = built(copy.deepcopy(layer), (8, 2), dtype="float32")
    x = rng(1).normal(size=(3, 8, 2)).astype(np.float32)
    dy = rng(2).normal(size=(3, *layer.output_shape)).astype(np.float32)
    masked, plain = passes(layer, x, dy, mask=np.ones((3, 8), bool)), passes(layer, x, dy)
    for found, other in zip(masked[:2], plain[:2], strict=True):
        np.testing.assert_array_equal(found, other)
        assert found.dtype == np.float32


def test_a_model_of_padded_ids_predicts_for_a_row_what_it_predicts_for_that_row_alone():
    def model(length):
        layers = [Embedding(9, 4, padding_id=0), Conv1D(6, 3, padding="causal"), ReLU(), MaxPool1D(2), BatchNorm()]
        layers += [Conv1D(5, 2), Concatenate([GlobalAveragePool1D(), GlobalMaxPool1D()]), Dense(3)]
        return Sequential(layers, input_shape=length, seed=0, dtype="float64")

    ids = rng(1).integers(1, 9, (6, 10)) * (np.arange(10) < np.array([[10], [9], [7], [6], [5], [4]]))
    scores = model(10).forward(ids)
    for row in range(6):
        alone = ids[row : row + 1, : np.count_nonzero(ids[row])]
        np.testing.assert_allclose(scores[row : row + 1], model(alone.shape[1]).forward(alone), **CLOSE)
    assert np.isfinite(model(10).forward(np.zeros((2, 10), int))).all()
    assert built(GlobalMaxPool1D(), (3, 3)).mask_after(None, np.ones((2, 3), bool)) is None


def test_of_a_mask_with_gaps_the_windows_count_that_see_no_masked_position():
    layer = built(Conv1D(1, 2), (6, 1))
    mask = np.array([[False, True, True, False, True, True]])
    assert layer.mask_after(np.zeros((1, 6, 1)), mask).tolist() == [[False, True, False, False, True]]
    assert layer.mask_after(np.zeros((1, 6, 1)), None) is None


@pytest.mark.parametrize("layer", [Conv1D(2, 3, padding="same", strides=2), MaxPool1D(3, padding="same")], ids=repr)
def test_where_the_first_window_depends_on_the_length_a_mask_is_refused(layer):
    layer = built(copy.deepcopy(layer), (8, 2))
    x, mask = padded_batch()
    assert layer.forward(x).shape[1] == layer.output_shape[0]
    for call in (lambda: layer.forward(x, mask=mask), lambda: layer.mask_after(x, mask)):
        with pytest.raises(
            ArgumentError, match=r'^with strides, padding="same" depends on the length, .* give padding='
        ):
            call()


# Settings


def test_layers_are_printed_with_their_settings_as_given():
    assert repr(Conv1D(3, 5, padding=1)) == (
        "Conv1D(filters=3, kernel_size=5, strides=1, padding=(1, 1), dilation=1, groups=1, use_bias=True, "
        "initializer='he_normal')"
    )
    assert repr(MaxPool1D(3, strides=1)) == "MaxPool1D(pool_size=3, strides=1, padding='valid')"
    assert MaxPool1D().pool_size == AveragePool1D().pool_size == 2


def test_defaults_are_those_of_the_layers_of_images():
    images, poolings = Conv2D(4, 3).configuration(), MaxPool2D().configuration()
    for name, value in Conv1D(4, 3).configuration().items():
        assert images[name] == ((value, value) if name in {"kernel_size", "strides", "dilation"} else value)
    assert MaxPool1D().configuration() == poolings | {"pool_size": 2}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Conv1D(3), ArgumentTypeError, "^Conv1D: missing a required argument: 'kernel_size'"),
        (lambda: Conv1D(3, (3, 3)), ArgumentTypeError, "^Conv1D: kernel_size is .* must be a whole number"),
        (lambda: Conv1D(3, 3, padding="cause"), ArgumentError, '^Conv1D: padding is .cause.; it must be "valid"'),
        (lambda: MaxPool1D(2, padding="causal"), ArgumentError, "^MaxPool1D: padding is 'causal'"),
        (lambda: MaxPool1D(2, padding=-1), ArgumentError, "^MaxPool1D: padding is -1"),
        (lambda: AveragePool1D(0), ArgumentError, "^AveragePool1D: pool_size is 0"),
    ],
)
def test_settings_out_of_range_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (Conv1D(3, 3), (28, 28, 1), r"Conv1D expects sequences, .* but got \(28, 28, 1\): "),
        (GlobalMaxPool1D(), 7, r"GlobalMaxPool1D expects sequences, .* but got \(7,\): .* Reshape"),
        (Conv1D(3, 3, dilation=2), (4, 1), r"a window over 5 positions does not fit into the sequence \(4, 1\)$"),
        (
            MaxPool1D(6, padding=(1, 0)),
            (4, 1),
            r"a window over 6 positions does not fit .* \(4, 1\) with padding \(1, 0\)",
        ),
        (
            MaxPool1D(2, padding=2),
            (4, 1),
            r"a window of 2 may be outside of the sequence \(4, 1\) with padding \(2, 2\)",
        ),
        (Conv1D(4, 1, groups=2), (4, 3), r"groups=2 must divide the 3 features of the sequence \(4, 3\) and the 4"),
    ],
)
def test_samples_that_do_not_fit_are_refused_by_name(layer, shape, message):
    with pytest.raises(ShapeError, match=rf"^layer 1 '\w+': {message}"):
        Sequential([copy.deepcopy(layer)], input_shape=shape)


WRONG_MASKS = [np.ones(shape, bool) for shape in [(4, 3), (1, 6), (4, 6, 4)]] + [np.ones((4, 6), int), [[True] * 6] * 4]


@pytest.mark.parametrize("layer", [Conv1D(3, 2), MaxPool1D(2), GlobalMaxPool1D(), GlobalAveragePool1D()], ids=repr)
@pytest.mark.parametrize("mask", WRONG_MASKS)
def test_a_mask_of_another_shape_or_type_is_refused(layer, mask):
    layer = copy.deepcopy(layer)
    layer.set_up((6, 4), 0)
    with pytest.raises(ShapeError, match=r"a mask is a bool array \(N, T\), True where a position counts"):
        layer.forward(np.ones((4, 6, 4), np.float32), mask=mask)
