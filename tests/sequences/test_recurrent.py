import math

import numpy as np
import pytest
from gradients import check_layer_gradients
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl import GRU, L2, LSTM, Adam, Bidirectional, Dense, MaxNorm, MeanSquaredError, Sequential, SimpleRNN, Trainer
from minidl.errors import ArgumentError, ArgumentTypeError, ShapeError
from minidl.serialization import decode, encode

FLAGS = (False, True)
KINDS = [SimpleRNN, GRU, LSTM]
every_kind = pytest.mark.parametrize("kind", KINDS)
LAYERS = [
    SimpleRNN(3),
    SimpleRNN(3, activation="relu", return_sequences=True),
    *(kind(3, return_sequences=returns, go_backwards=back) for kind in KINDS for returns in FLAGS for back in FLAGS),
    *(
        Bidirectional(LSTM(3, return_sequences=returns), merge=merge)
        for returns in FLAGS
        for merge in ("concatenate", "mean")
    ),
]
every_layer = pytest.mark.parametrize("layer", LAYERS, ids=repr)


def built(layer, shape, dtype="float64", seed=0):
    """A new layer like this one, with parameters of which none is zero."""
    layer = decode(encode(layer))
    rng = np.random.default_rng(seed)
    layer.set_up(shape, rng, dtype=dtype)
    for parameter in layer.named_parameters().values():
        parameter.value += 0.3 * rng.normal(size=parameter.value.shape)
    return layer


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


# Formulas


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_a_step_of_a_simple_rnn_by_hand():
    layer = built(SimpleRNN(1), (2, 1))
    w, u, b = layer.weight.value[0, 0], layer.recurrent_weight.value[0, 0], layer.bias.value[0]
    first = math.tanh(0.7 * w + b)
    second = math.tanh(-0.4 * w + first * u + b)
    assert layer.forward(np.array([[[0.7], [-0.4]]])).item() == pytest.approx(second, rel=1e-12)


def test_steps_of_a_gru_by_hand():
    layer = built(GRU(1), (2, 1))
    (w,), (u,), b = layer.weight.value, layer.recurrent_weight.value, layer.bias.value
    h = 0
    for x in (0.7, -0.4):
        r, z = (sigmoid(x * w[k] + h * u[k] + b[k]) for k in (0, 1))
        n = math.tanh(x * w[2] + b[2] + r * (h * u[2] + layer.recurrent_bias.value[0]))
        h = (1 - z) * n + z * h
    assert layer.forward(np.array([[[0.7], [-0.4]]])).item() == pytest.approx(h, rel=1e-12)


def test_steps_of_an_lstm_by_hand():
    layer = built(LSTM(1), (2, 1))
    (w,), (u,), b = layer.weight.value, layer.recurrent_weight.value, layer.bias.value
    h = c = 0
    for x in (0.7, -0.4):
        i, f, o = (sigmoid(x * w[k] + h * u[k] + b[k]) for k in (0, 1, 3))
        c = f * c + i * math.tanh(x * w[2] + h * u[2] + b[2])
        h = o * math.tanh(c)
    assert layer.forward(np.array([[[0.7], [-0.4]]])).item() == pytest.approx(h, rel=1e-12)


@every_layer
@pytest.mark.parametrize("shape", [(3, 4, 2), (1, 1, 1), (2, 5, 3)])
def test_gradients_agree_with_numbers(layer, shape):
    check_layer_gradients(decode(encode(layer)), draw(*shape))


@every_kind
def test_gradients_agree_with_numbers_where_steps_are_skipped(kind):
    class Masked(kind):
        def forward(self, x, training=False, mask=None):
            return super().forward(x, training, np.array([[1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0]], bool))

    for options in ({}, {"return_sequences": True}, {"return_sequences": True, "go_backwards": True}):
        check_layer_gradients(Masked(3, **options), draw(3, 4, 2))


# First values


@every_kind
def test_each_gates_recurrent_weight_starts_orthogonal_and_its_input_weight_between_glorots_limits(kind):
    layer = kind(16)
    layer.set_up((5, 8), 0, dtype="float64")
    blocks = np.hsplit(layer.recurrent_weight.value, kind.gates)
    for block in blocks:
        np.testing.assert_allclose(block.T @ block, np.eye(16), atol=1e-12)
    assert len({block.tobytes() for block in blocks}) == len(blocks)
    limit = math.sqrt(6 / (8 + 16))
    assert 0.9 * limit < abs(layer.weight.value).max() <= limit


def test_the_bias_of_the_forget_gate_starts_at_one_and_all_others_at_zero():
    layer = LSTM(2)
    layer.set_up((5, 3), 0)
    np.testing.assert_array_equal(layer.bias.value, [0, 0, 1, 1, 0, 0, 0, 0])
    for kind in (GRU, SimpleRNN):
        layer = kind(2)
        layer.set_up((5, 3), 0)
        assert not layer.bias.value.any()
    layer = GRU(2)
    layer.set_up((5, 3), 0)
    assert not layer.recurrent_bias.value.any()


def test_penalties_and_limits_are_for_both_weights_and_no_bias():
    layer = GRU(4, regularizer=L2(0.1), constraint=MaxNorm(1))
    layer.set_up((5, 3), 0)
    regularized = [name for name, parameter in layer.named_parameters().items() if parameter.regularized]
    decaying = [name for name, parameter in layer.named_parameters().items() if parameter.decays]
    assert regularized == decaying == ["weight", "recurrent_weight"]


# Directions


@every_kind
def test_going_backwards_is_reading_the_reversed_sequence(kind):
    x = draw(3, 5, 2)
    for returns in (False, True):
        ahead, back = (built(kind(4, return_sequences=returns, go_backwards=g), (5, 2)) for g in (False, True))
        np.testing.assert_array_equal(back.forward(x), ahead.forward(x[:, ::-1]))


@every_kind
@pytest.mark.parametrize("merge", ["concatenate", "sum", "mean"])
@pytest.mark.parametrize("returns", [False, True])
def test_both_ways_are_two_layers_with_outputs_in_the_order_of_the_positions(kind, merge, returns):
    layer, x = built(Bidirectional(kind(4, return_sequences=returns), merge=merge), (5, 2)), draw(3, 5, 2)
    parts = layer.sublayers()
    assert list(parts) == ["forward", "backward"]
    ahead, back = (part.forward(x) for part in parts.values())
    if returns:
        back = back[:, ::-1]
    merged = {"concatenate": np.concatenate([ahead, back], -1), "sum": ahead + back, "mean": (ahead + back) / 2}
    np.testing.assert_allclose(layer.forward(x), merged[merge], rtol=1e-12)
    assert not np.array_equal(parts["forward"].weight.value, parts["backward"].weight.value)


def test_a_layer_for_both_ways_must_be_recurrent_and_go_forwards():
    with pytest.raises(ArgumentTypeError, match="Bidirectional: layer is .*; it must be a SimpleRNN, GRU or LSTM"):
        Bidirectional(Dense(3))
    with pytest.raises(ArgumentError, match="goes backwards: give the layer that goes forwards"):
        Bidirectional(GRU(3, go_backwards=True))
    with pytest.raises(ArgumentError, match="must be one of 'concatenate', 'sum', 'mean'"):
        Bidirectional(GRU(3), merge="product")
    layer = GRU(4)
    layer.set_up((6, 3), 0)
    with pytest.raises(ArgumentError, match="^Bidirectional: layer is set up already: give a new GRU, because both"):
        Bidirectional(layer)


def test_samples_that_are_no_sequences_are_an_error_that_names_the_cure():
    for shape in ((5,), (5, 3, 2)):
        with pytest.raises(ShapeError, match="GRU expects sequences, samples of shape .positions, features., but got"):
            GRU(3).set_up(shape)


# Masks


def passes(layer, x, dy, mask=None):
    y = layer.forward(x, training=True, mask=mask)
    dx = layer.backward(dy)
    return y, dx, {name: parameter.gradient.copy() for name, parameter in layer.named_parameters().items()}


@every_layer
@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(0, 6), min_size=1, max_size=4), left=st.booleans(), seed=st.integers(0, 99))
def test_a_padded_row_gives_what_it_gives_alone(layer, lengths, left, seed):
    """Whatever stands at the padding, before or after the row; also in the gradients, which add up over the rows."""
    shape, rng = (len(lengths), 6, 2), np.random.default_rng(seed)
    x, counts = rng.normal(size=shape), np.arange(6) < np.array(lengths)[:, np.newaxis]
    if left:
        counts = counts[:, ::-1]
    x[~counts] = rng.choice([1e3, -1e3], size=x[~counts].shape)
    whole = built(layer, (6, 2))
    mask_of_y = whole.mask_after(x, counts)
    dy = rng.normal(size=(len(x), *whole.output_shape))
    if mask_of_y is not None:
        dy[~mask_of_y] = 0
    y, dx, gradients = passes(whole, x, dy, counts)
    assert np.isfinite(y).all()
    assert not dx[~counts].any()
    sums = {name: np.zeros_like(gradient) for name, gradient in gradients.items()}
    for row, length in enumerate(lengths):
        if not length:
            assert mask_of_y is not None or not y[row].any()
            continue
        alone, own = built(layer, (length, 2)), slice(row, row + 1)
        here = (row,) if mask_of_y is None else (row, mask_of_y[row])
        y_alone, dx_alone, gradients_alone = passes(alone, x[own][:, counts[row]], dy[here][np.newaxis])
        np.testing.assert_allclose(y[here], y_alone[0], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(dx[row, counts[row]], dx_alone[0], rtol=1e-9, atol=1e-11)
        for name, gradient in gradients_alone.items():
            sums[name] += gradient
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, sums[name], rtol=1e-9, atol=1e-10, err_msg=name)


@every_kind
def test_a_skipped_step_puts_out_what_the_step_before_did(kind):
    layer, mask = built(kind(4, return_sequences=True), (5, 2)), np.array([[False, True, False, True, False]])
    y = layer.forward(draw(1, 5, 2), mask=mask)[0]
    assert not y[0].any()
    np.testing.assert_array_equal(y[2], y[1])
    np.testing.assert_array_equal(y[4], y[3])
    assert (y[3] != y[1]).all()


@every_layer
def test_a_mask_that_is_true_everywhere_changes_no_bit(layer):
    layer, x = built(layer, (5, 2), "float32"), draw(3, 5, 2).astype("float32")
    np.testing.assert_array_equal(layer.forward(x, mask=np.ones((3, 5), bool)), layer.forward(x))


@every_kind
def test_a_mask_follows_sequences_and_ends_with_the_last_output(kind):
    x, mask = draw(2, 4, 3), np.array([[True, True, False, False], [True, True, True, True]])
    assert kind(3).mask_after(x, mask) is None
    assert kind(3, return_sequences=True).mask_after(x, None) is None
    np.testing.assert_array_equal(kind(3, return_sequences=True).mask_after(x, mask), mask)
    backwards = kind(3, return_sequences=True, go_backwards=True)
    np.testing.assert_array_equal(backwards.mask_after(x, mask), mask[:, ::-1])
    both = Bidirectional(kind(3, return_sequences=True))
    np.testing.assert_array_equal(both.mask_after(x, mask), mask)
    assert Bidirectional(kind(3)).mask_after(x, mask) is None


# Continuing


@every_kind
@pytest.mark.parametrize("parts", [[1] * 7, [7], [3, 1, 3]], ids=str)
@pytest.mark.parametrize("returns", [False, True])
def test_a_sequence_continued_in_parts_gives_what_it_gives_in_one(kind, parts, returns):
    layer, x, memory = built(kind(4, return_sequences=returns), (7, 2), "float32"), draw(3, 7, 2).astype("f4"), {}
    before = dict(vars(layer))
    ends = np.cumsum(parts)
    outputs = [layer.continued(x[:, end - part : end], memory) for part, end in zip(parts, ends, strict=True)]
    found = np.concatenate(outputs, axis=1) if returns else outputs[-1]
    np.testing.assert_allclose(found, layer.forward(x), rtol=1e-5, atol=1e-6)
    assert vars(layer) == before


def test_what_begins_at_the_end_cannot_be_continued():
    for layer in (LSTM(3, go_backwards=True), Bidirectional(GRU(3))):
        with pytest.raises(ArgumentError, match="cannot continue"):
            built(layer, (5, 2)).continued(draw(1, 5, 2), {})


# In models


@every_kind
def test_a_stack_learns_to_add_up_a_sequence(kind):
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(256, 6, 1)).astype("f4")
    model = Sequential([kind(12, return_sequences=True), kind(12), Dense(1), MeanSquaredError()], seed=0)
    history = Trainer(model, Adam(0.01), batch_size=32, seed=0).fit(x, x.sum((1, 2)), epochs=25, progress=False)
    assert history["loss"][-1] < 0.1 * x.sum((1, 2)).var()


def test_a_model_with_both_ways_is_saved_by_the_paths_of_both(tmp_path):
    model, x = Sequential([Bidirectional(LSTM(3)), Dense(2)], input_shape=(5, 2), seed=0), draw(3, 5, 2)
    assert "bidirectional_1/backward/recurrent_weight" in model.named_parameters()
    model.save(tmp_path / "model.npz")
    np.testing.assert_array_equal(Sequential.load(tmp_path / "model.npz").forward(x), model.forward(x))
    assert model.layers[0].numbers_per_row() == 2 * 5 * 3 * (4 + 2)


def test_activations_show_the_outputs_of_both_ways():
    model, x = Sequential([Bidirectional(GRU(3, return_sequences=True))], input_shape=(5, 2), seed=0), draw(4, 5, 2)
    shown = model.activations(x.astype("f4"))
    assert {path: each.shape for path, each in shown.items()} == {
        "bidirectional_1": (4, 5, 6),
        "bidirectional_1/forward": (4, 5, 3),
        "bidirectional_1/backward": (4, 5, 3),
    }


def test_settings_that_change_before_the_set_up_are_those_of_both_directions():
    both = Bidirectional(LSTM(3))
    both.layer.units = 5
    both.layer.regularizer = L2(0.1)
    both.set_up((4, 2), 0)
    assert both.output_shape == (10,)
    assert both.forward(np.zeros((2, 4, 2), np.float32)).shape == (2, 10)
    assert both.sublayers()["backward"].regularizer is both.layer.regularizer
    other = Bidirectional(LSTM(3))
    other.layer = GRU(4)
    other.set_up((4, 2), 0)
    assert [type(each) for each in other.sublayers().values()] == [GRU, GRU]
    assert other.sublayers()["backward"].go_backwards


WRONG_MASKS = [np.ones(shape, bool) for shape in [(4, 3), (1, 6), (4, 6, 4)]] + [np.ones((4, 6), int)]


@every_kind
@pytest.mark.parametrize("mask", WRONG_MASKS)
def test_a_mask_of_another_shape_or_type_is_refused_by_the_layer_alone(kind, mask):
    mask[0, -1] = 0  # a mask of True alone would be left out
    for layer in (kind(4), Bidirectional(kind(4))):
        layer.set_up((6, 4), 0)
        with pytest.raises(ShapeError, match=r"a mask is a bool array \(N, T\), True where a position counts"):
            layer.forward(np.ones((4, 6, 4), np.float32), mask=mask)
