import copy
import math

import numpy as np
import pytest
from gradients import check_layer_gradients

from minidl import (
    Adam,
    Dense,
    Dropout,
    MeanSquaredError,
    MultiHeadAttention,
    PositionalEncoding,
    Sequential,
    Trainer,
)
from minidl.errors import ArgumentError, ArgumentTypeError, NotReadyError, ShapeError
from minidl.regularizers import L2
from minidl.testing import check_layer

OPTIONS = [
    {},
    {"causal": True},
    {"rotary": True},
    {"use_bias": False},
    {"causal": True, "rotary": True},
    {"dropout": 0.3},
    {"causal": True, "rotary": True, "dropout": 0.3},
]
every_option = pytest.mark.parametrize("options", OPTIONS, ids=str)
without_dropout = pytest.mark.parametrize("options", OPTIONS[:5], ids=str)


def built(shape, heads=2, dtype="float64", seed=0, **options):
    """A layer whose biases are random, too."""
    layer = MultiHeadAttention(heads, **options)
    layer.set_up(shape, seed, dtype=dtype)
    rng = np.random.default_rng(seed + 1)
    for parameter in layer.named_parameters().values():
        parameter.value = rng.normal(size=parameter.value.shape)
    return layer


def batch(*shape, seed=0, dtype="float64"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def attend_in_loops(layer, x, mask):
    """The definition, number by number: outputs and weights."""
    rows, positions, features = x.shape
    size = features // layer.heads
    bias, output_bias = (0, 0) if layer.bias is None else (layer.bias.value, layer.output_bias.value)
    joined, weights = np.zeros_like(x), np.zeros((rows, layer.heads, positions, positions))
    for row, head, position in np.ndindex(rows, layer.heads, positions):
        projected = x[row] @ layer.weight.value + bias
        queries, keys, values = (
            projected[:, part * features + head * size : part * features + (head + 1) * size] for part in range(3)
        )
        known = [
            other
            for other in range(positions)
            if (mask is None or mask[row, other]) and (other <= position or not layer.causal)
        ]
        scores = [math.exp(queries[position] @ keys[other] / math.sqrt(size)) for other in known]
        for other, score in zip(known, scores, strict=True):
            weights[row, head, position, other] = score / sum(scores)
        taken = sum((weights[row, head, position, other] * values[other] for other in known), np.zeros(size))
        joined[row, position, head * size : (head + 1) * size] = taken
    return joined @ layer.output_weight.value + output_bias, weights


@pytest.mark.parametrize("options", [each for each in OPTIONS[:5] if "rotary" not in each], ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_it_is_its_definition_also_of_positions_without_a_key(options, masked):
    layer, x = built((5, 6), **options), batch(3, 5, 6)
    mask = np.array([[1, 1, 1, 0, 0], [0, 1, 0, 1, 1], [0, 0, 0, 0, 0]], bool) if masked else None
    y, weights = attend_in_loops(layer, x, mask)
    np.testing.assert_allclose(layer.forward(x, mask=mask), y, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(layer.forward(x, training=True, mask=mask), y, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(layer.attention_weights(x, mask), weights, rtol=1e-12, atol=1e-13)


@every_option
@pytest.mark.parametrize(("heads", "shape"), [(2, (5, 8)), (1, (3, 2)), (2, (1, 4))])
def test_the_kit_finds_nothing(options, heads, shape):
    check_layer(MultiHeadAttention(heads, **options), shape, tolerance=5e-6)  # some of its gradients are small


@every_option
def test_gradients_agree_with_numbers(options):
    check_layer_gradients(MultiHeadAttention(2, **options), batch(1, 3, 4) / 2)


class Masked(MultiHeadAttention):
    """Attention to some positions, for checks that hand on no mask."""

    def forward(self, x, training=False, mask=None):
        mask = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0]], bool)
        return super().forward(x, training, mask)


@every_option
def test_gradients_of_masked_sequences_agree_with_numbers(options):
    check_layer_gradients(Masked(2, **options), batch(3, 3, 4) / 2)


# Masks


@every_option
def test_a_padded_sequence_gives_what_it_gives_alone(options):
    lengths, positions = (1, 3, 6), 6
    x, dy = batch(3, positions, 8), batch(3, positions, 8, seed=1)
    mask = np.arange(positions) < np.array(lengths)[:, np.newaxis]
    for garbage in (0.0, 1e3, -1e3):
        x[~mask], dy[~mask] = garbage, 0
        whole = built((positions, 8), **options | {"dropout": 0.0})
        y = whole.forward(x, training=True, mask=mask)
        dx = whole.backward(dy)
        assert np.isfinite(y).all()
        assert np.isfinite(dx).all()
        sums = dict.fromkeys(whole.named_parameters(), 0)
        for row, length in enumerate(lengths):
            alone = built((length, 8), **options | {"dropout": 0.0})
            close = {"rtol": 1e-10, "atol": 1e-12}
            np.testing.assert_allclose(y[row, :length], alone.forward(x[row : row + 1, :length], True)[0], **close)
            np.testing.assert_allclose(dx[row, :length], alone.backward(dy[row : row + 1, :length])[0], **close)
            for name, parameter in alone.named_parameters().items():
                sums[name] = sums[name] + parameter.gradient
        for name, parameter in whole.named_parameters().items():
            np.testing.assert_allclose(parameter.gradient, sums[name], rtol=1e-10, atol=1e-11)
        np.testing.assert_array_equal(dx[~mask], 0)


@without_dropout
def test_what_is_padding_moves_nothing_whatever_it_is(options):
    layer = built((6, 8), dtype="float32", **options)
    x, mask = batch(4, 6, 8, dtype="float32"), np.random.default_rng(0).uniform(size=(4, 6)) < 0.6
    other = np.where(mask[..., np.newaxis], x, np.float32(1e3))
    first, second = (layer.forward(each, mask=mask)[mask] for each in (x, other))
    np.testing.assert_array_equal(first, second)


@without_dropout
def test_sequences_of_padding_alone_give_the_bias_and_no_gradient(options):
    layer, x = built((4, 8), dtype="float32", **options), batch(2, 4, 8, dtype="float32")
    none = np.zeros((2, 4), bool)
    y = layer.forward(x, training=True, mask=none)
    bias = layer.output_bias.value if layer.output_bias else np.zeros(8)
    np.testing.assert_array_equal(y, np.broadcast_to(bias, y.shape))
    np.testing.assert_array_equal(layer.backward(np.ones_like(y)), 0)
    np.testing.assert_array_equal(layer.weight.gradient, 0)
    np.testing.assert_array_equal(layer.attention_weights(x, none), 0)


def test_padding_on_the_left_gives_what_the_sequence_gives_alone():
    # Also with rotary positions: scores depend on differences of positions.
    for options in OPTIONS[:5]:
        x, mask = batch(1, 6, 8), np.array([[False, False, True, True, True, True]])
        alone = built((4, 8), **options).forward(x[:, 2:])
        np.testing.assert_allclose(built((6, 8), **options).forward(x, mask=mask)[:, 2:], alone, rtol=1e-10, atol=1e-12)


WRONG_MASKS = [np.ones(shape, bool) for shape in [(3, 4), (2, 5), (2,), (2, 4, 1), (2, 4, 8)]]
WRONG_MASKS += [np.ones((2, 4), int), np.ones((2, 4)), [[True] * 4] * 2, [[True], [True, False]], True]


@pytest.mark.parametrize("mask", WRONG_MASKS)
def test_a_mask_of_another_shape_or_type_is_an_error(mask):
    layer, x = built((4, 8)), batch(2, 4, 8)
    message = r"a mask is a bool array \(N, T\), True where a position counts; x has the shape \(2, 4, 8\)"
    for attend in (layer.forward, layer.attention_weights):
        with pytest.raises(ShapeError, match=message):
            attend(x, mask=mask)


def test_before_set_up_it_is_not_ready():
    layer, x = MultiHeadAttention(2), batch(2, 4, 8)
    for attend in (layer.forward, layer.attention_weights):
        with pytest.raises(NotReadyError, match="MultiHeadAttention has no weights yet: first call set_up"):
            attend(x)


def test_a_number_of_features_is_checked_at_set_up():
    assert MultiHeadAttention(2, features=8).set_up((4, 8), 0) == (4, 8)
    with pytest.raises(ShapeError, match=r"takes 8 features per position, not 4: give it 4, or put Dense\(8\) before"):
        MultiHeadAttention(2, features=8).set_up((4, 4), 0)
    with pytest.raises(ArgumentError, match="MultiHeadAttention: features is 0"):
        MultiHeadAttention(2, features=0)


# Causal


@pytest.mark.parametrize("rotary", [False, True])
def test_what_comes_later_changes_nothing_earlier(rotary):
    layer, x = built((7, 8), causal=True, rotary=rotary), batch(2, 7, 8)
    y = layer.forward(x)
    for position in range(7):
        changed = x.copy()
        changed[:, position:] += batch(2, 7 - position, 8, seed=5) * 100
        found = layer.forward(changed)
        np.testing.assert_array_equal(found[:, :position], y[:, :position])
        assert (found[:, position:] != y[:, position:]).any(axis=-1).all()
    np.testing.assert_array_equal(np.triu(layer.attention_weights(x), 1), 0)


@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("sizes", [(1,) * 9, (9,), (4, 5), (1, 6, 2)], ids=str)
def test_a_sequence_that_is_continued_gives_what_it_gives_at_once(sizes, rotary):
    layer, x = built((9, 8), dtype="float32", causal=True, rotary=rotary), batch(3, 9, 8, dtype="float32")
    before, memory = copy.deepcopy(vars(layer)).keys(), {}
    parts = [layer.continued(part, memory) for part in np.split(x, np.cumsum(sizes)[:-1], axis=1)]
    y = np.concatenate(parts, axis=1)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, layer.forward(x), rtol=1e-5, atol=1e-5)
    assert vars(layer).keys() == before
    assert memory["keys"].shape == memory["values"].shape == (3, 2, 9, 4)


def test_attention_that_looks_ahead_cannot_continue():
    with pytest.raises(ArgumentError, match="uses later positions, too, and cannot continue: give causal=True"):
        built((4, 8)).continued(batch(1, 1, 8), {})


# Rotary positions


def test_rotary_scores_depend_on_how_far_apart_two_positions_are_alone():
    layer = built((10, 8), rotary=True)
    one, other = batch(2, 8)
    weights = []
    for first in (0, 1, 4):
        x = np.zeros((1, 10, 8))
        x[0, first], x[0, first + 3] = one, other
        mask = np.zeros((1, 10), bool)
        mask[0, [first, first + 3]] = True
        weights.append(layer.attention_weights(x, mask)[0][:, [first, first + 3]][..., [first, first + 3]])
    np.testing.assert_allclose(weights[1], weights[0], rtol=1e-10)
    np.testing.assert_allclose(weights[2], weights[0], rtol=1e-10)


def test_without_positions_an_order_changes_nothing_and_with_them_it_does():
    x, order = batch(1, 6, 8), np.array([3, 0, 5, 1, 2, 4])
    plain, rotary = built((6, 8)), built((6, 8), rotary=True)
    np.testing.assert_allclose(plain.forward(x[:, order]), plain.forward(x)[:, order], rtol=1e-10, atol=1e-12)
    assert abs(rotary.forward(x[:, order]) - rotary.forward(x)[:, order]).max() > 0.01


# Numbers


@pytest.mark.parametrize("scale", [1e2, 1e4, 1e8, 1e12])
@without_dropout
def test_large_scores_stay_finite(options, scale):
    layer, x = built((6, 8), dtype="float32", **options), batch(2, 6, 8, dtype="float32")
    x *= np.float32(scale)
    with np.errstate(over="raise", invalid="raise"):
        y = layer.forward(x, training=True)
        dx = layer.backward(np.ones_like(y))
        weights = layer.attention_weights(x)
    assert np.isfinite(y).all()
    assert np.isfinite(dx).all()
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)


def test_attention_weights_are_those_of_the_forward_pass_and_write_nothing():
    layer, x = built((6, 8), dtype="float32", dropout=0.5), batch(2, 6, 8)
    weights = layer.attention_weights(x)
    assert weights.shape == (2, 2, 6, 6)
    assert weights.dtype == np.float32
    assert "saved" not in vars(layer)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-6)
    with pytest.raises(ShapeError, match=r"expects input \(6, 8\) per sample"):
        layer.attention_weights(x[:, :5])


# Dropout


def test_dropout_of_the_weights_is_the_one_that_dropout_draws():
    layer, x = built((6, 8), dropout=0.4), batch(3, 6, 8)
    layer.generator = np.random.default_rng(7)
    y = layer.forward(x, training=True)
    dropout = Dropout(0.4)
    dropout.set_up((2, 6, 6), dtype="float64")
    dropout.generator = np.random.default_rng(7)
    weights = dropout.forward(layer.attention_weights(x), training=True)
    values = (x @ layer.weight.value + layer.bias.value)[..., 16:].reshape(3, 6, 2, 4)
    joined = np.einsum("nhqk,nkhd->nqhd", weights, values).reshape(3, 6, 8)
    np.testing.assert_allclose(y, joined @ layer.output_weight.value + layer.output_bias.value, rtol=1e-10, atol=1e-12)
    assert (layer.forward(x, training=True) != y).any()
    np.testing.assert_array_equal(layer.forward(x), built((6, 8)).forward(x))


def test_parts_of_a_batch_drop_what_the_whole_batch_does():
    x, whole = batch(5, 6, 8), built((6, 8), dropout=0.4)
    y = whole.forward(x, training=True)
    for first, stop in ((0, 2), (2, 5)):
        part = built((6, 8), dropout=0.4)
        part.rows_of_batch = first, [(part.generator, 5)]
        np.testing.assert_allclose(part.forward(x[first:stop], training=True), y[first:stop], rtol=1e-12)


def test_before_it_is_set_up_there_is_nothing_to_draw_from():
    layer = built((6, 8), dropout=0.4)
    layer.generator = None
    with pytest.raises(NotReadyError, match="draws random numbers"):
        layer.forward(batch(2, 6, 8), training=True)


# Settings


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (MultiHeadAttention(2), 4, r"expects sequences, samples of shape .positions, features., but got \(4,\)"),
        (
            MultiHeadAttention(2),
            (3, 4, 5),
            r"expects sequences, samples of shape .positions, features., but got \(3, 4, 5\)",
        ),
        (MultiHeadAttention(3), (5, 8), "cannot cut 8 features into 3 heads$"),
        (MultiHeadAttention(2, rotary=True), (5, 6), "cannot cut 6 features into 2 heads of an even size, as rotary"),
    ],
)
def test_shapes_that_it_cannot_take(layer, shape, message):
    with pytest.raises(ShapeError, match=message):
        layer.set_up(shape)


def test_settings_have_limits():
    for wrong in (0, -1):
        with pytest.raises(ArgumentError, match="MultiHeadAttention: heads"):
            MultiHeadAttention(wrong)
    with pytest.raises(ArgumentTypeError, match="MultiHeadAttention: heads"):
        MultiHeadAttention(1.5)
    with pytest.raises(ArgumentError, match="MultiHeadAttention: dropout"):
        MultiHeadAttention(2, dropout=1.0)
    with pytest.raises(ArgumentTypeError, match="MultiHeadAttention: causal is 1; it must be True or False"):
        MultiHeadAttention(2, causal=1)


def test_a_penalty_is_one_of_both_weights():
    plain, penalized = built((3, 4)), MultiHeadAttention(2, regularizer=L2(0.1))
    model = Sequential([penalized, MeanSquaredError()], input_shape=(3, 4), seed=0, dtype="float64")
    for name, parameter in plain.named_parameters().items():
        penalized.named_parameters()[name].value = parameter.value
    x, y = batch(2, 3, 4), batch(2, 3, 4, seed=1)
    expected = 0.1 * sum((weight.value**2).sum() for weight in (plain.weight, plain.output_weight))
    without = ((plain.forward(x) - y) ** 2).mean()
    assert Trainer(model, seed=0).evaluate(x, y)["loss"] - without == pytest.approx(expected)


# Training


def test_a_layer_learns_to_copy_what_came_two_positions_before():
    x = batch(256, 8, 3, dtype="float32")
    y = np.concatenate([x[:, :2], x[:, :-2]], axis=1)
    layers = [Dense(16), PositionalEncoding(), MultiHeadAttention(2, causal=True), Dense(3), MeanSquaredError()]
    model = Sequential(layers, input_shape=(8, 3), seed=0)
    history = Trainer(model, Adam(0.02), batch_size=32, seed=0).fit(x, y, epochs=40, progress=False)
    assert history["loss"][-1] < 0.02 * history["loss"][0]
