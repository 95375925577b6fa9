"""Sequences that go on: what is remembered gives what all positions at once give, and ids are drawn as documented."""

import copy
import threading

import numpy as np
import pytest

from minidl import (
    ELU,
    GELU,
    GRU,
    LSTM,
    SELU,
    Adam,
    BatchNorm,
    Bidirectional,
    Concatenate,
    Continuation,
    Conv1D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GaussianNoise,
    GlobalAveragePool1D,
    Layer,
    LayerNorm,
    LeakyReLU,
    Masking,
    MeanSquaredError,
    MultiHeadAttention,
    PositionalEncoding,
    PositionEmbedding,
    PReLU,
    ReLU,
    Rescale,
    Reshape,
    Residual,
    Sequential,
    Sigmoid,
    SiLU,
    SimpleRNN,
    Softmax,
    SoftmaxCrossEntropy,
    Softplus,
    Tanh,
    TiedEmbedding,
    Trainer,
    TransformerBlock,
    generate,
)
from minidl.errors import ArgumentError, ArgumentTypeError, DataError, NotReadyError, ShapeError
from minidl.sequences.generation import continue_layer

WORDS, POSITIONS = 7, 12


def block(**options):
    return TransformerBlock(8, 2, causal=True, **options)


BODIES = {
    "rnn": lambda: [SimpleRNN(6, return_sequences=True)],
    "gru": lambda: [GRU(6, return_sequences=True), GRU(5, return_sequences=True)],
    "lstm": lambda: [LSTM(6, return_sequences=True)],
    "rotary": lambda: [block(rotary=True), block(rotary=True, dropout=0.3)],
    "encoding": lambda: [PositionalEncoding(), block(), block()],
    "embedding": lambda: [PositionEmbedding(), block(), block()],
    "convolution": lambda: [Conv1D(6, 3, padding="causal"), ReLU(), Conv1D(5, 2, padding="causal", dilation=3)],
    "branches": lambda: [
        Concatenate([GRU(3, return_sequences=True), [Conv1D(4, 2, padding="causal"), Tanh()], Rescale(1)])
    ],
    "shortcut": lambda: [Residual(LSTM(5, return_sequences=True), projection=Dense(5))],
    "nested": lambda: [Sequential([Residual([Residual([GRU(8, return_sequences=True)])]), LayerNorm()])],
    "alone": lambda: [
        *(BatchNorm(), Dropout(0.2), GaussianNoise(0.1), LayerNorm(), ELU(), SELU(), GELU(), LeakyReLU(), PReLU()),
        *(ReLU(), SiLU(), Dense(9), Sigmoid(), Softplus(), Tanh(), Softmax()),
    ],
}


def language_model(body="gru", positions=POSITIONS, seed=0, **options):
    layers = [Embedding(WORDS, 8, initializer="glorot_uniform"), *BODIES[body](), Dense(WORDS), SoftmaxCrossEntropy()]
    return Sequential(layers, input_shape=positions, seed=seed, **options)


def draw_ids(*shape, seed=0, words=WORDS):
    return np.random.default_rng(seed).integers(0, words, shape)


def in_parts(model, x, sizes):
    continuation = Continuation(model)
    parts = [continuation.next(part) for part in np.split(x, np.cumsum(sizes)[:-1], axis=1)]
    assert continuation.positions == x.shape[1]
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("sizes", [(1,) * 12, (12,), (5, 1, 1, 5), (1, 8, 3)], ids=str)
def test_pieces_get_the_scores_that_the_whole_gets(body, sizes):
    model, ids = language_model(body), draw_ids(3, POSITIONS)
    scores = in_parts(model, ids, sizes)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, model.forward(ids), rtol=1e-5, atol=1e-5)
    assert scores.std() > 0.01


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("tied", [False, True], ids=["two arrays", "tied"])
def test_in_float64_they_are_the_same_except_for_the_last_bits(body, tied):
    model, ids = language_model(body, dtype="float64"), draw_ids(2, POSITIONS)
    if tied:
        tying = TiedEmbedding(Embedding(WORDS, 8), [*BODIES[body](), Dense(8)])
        model = Sequential([tying, SoftmaxCrossEntropy()], input_shape=POSITIONS, seed=0, dtype="float64")
    model.parameters += 0.3 * np.random.default_rng(0).normal(size=model.parameters.size)
    scores, expected = in_parts(model, ids, (4, 1, 7)), model.forward(ids)
    assert scores.dtype == np.float64
    assert np.abs(scores - expected).max() < 1e-12 * np.abs(expected).max()  # rounding of 1e-16, through some sums


@pytest.mark.parametrize("use_bias", [True, False])
def test_one_array_for_both_ends_continues_too(use_bias):
    tied = TiedEmbedding(Embedding(WORDS, 8), [PositionalEncoding(), block()], use_bias=use_bias)
    model, ids = Sequential([tied, SoftmaxCrossEntropy()], input_shape=POSITIONS, seed=0), draw_ids(2, POSITIONS)
    if use_bias:
        tied.bias.value = np.arange(WORDS)
    np.testing.assert_allclose(in_parts(model, ids, (3, 9)), model.forward(ids), rtol=1e-5, atol=1e-5)


def test_features_continue_as_ids_do():
    model = Sequential([LSTM(6, return_sequences=True), Dense(2), MeanSquaredError()], input_shape=(9, 3), seed=0)
    x = np.random.default_rng(0).normal(size=(4, 9, 3))
    np.testing.assert_allclose(in_parts(model, x, (2, 7)), model.forward(x), rtol=1e-5, atol=1e-6)


def test_integers_that_are_no_ids_become_numbers_of_the_model():
    model = Sequential([Rescale(0.1), GRU(4, return_sequences=True)], input_shape=(6, 2), seed=0)
    x = draw_ids(2, 6, 2).astype(np.uint8)
    np.testing.assert_allclose(in_parts(model, x, (2, 4)), model.forward(x), rtol=1e-5, atol=1e-6)
    plain = Sequential([GRU(4, return_sequences=True)], input_shape=(6, 2), seed=0)
    assert in_parts(plain, x, (2, 4)).dtype == np.float32


@pytest.mark.parametrize("body", ["gru", "rotary", "encoding", "convolution"])
def test_a_continuation_may_be_longer_than_the_samples_of_training(body):
    model, long = language_model(body), language_model(body, positions=40)
    long.parameters = model.parameters
    ids = draw_ids(2, 40)
    np.testing.assert_allclose(in_parts(model, ids, (11, 2, 27)), long.forward(ids), rtol=1e-4, atol=1e-5)


def test_a_trained_model_continues_with_its_running_statistics_and_without_noise():
    layers = [Embedding(WORDS, 8), BatchNorm(), Dropout(0.5), GRU(6, return_sequences=True), Dense(WORDS)]
    model, ids = Sequential([*layers, SoftmaxCrossEntropy()], input_shape=POSITIONS, seed=0), draw_ids(40, POSITIONS)
    Trainer(model, Adam(0.01), seed=0).fit(ids, np.roll(ids, -1, axis=1), epochs=2, progress=False)
    np.testing.assert_allclose(in_parts(model, ids, (7, 5)), model.forward(ids), rtol=1e-5, atol=1e-5)


def test_a_restart_forgets_and_an_error_does_not():
    model, ids = language_model("embedding"), draw_ids(2, POSITIONS)
    continuation, whole = Continuation(model), model.forward(ids)
    continuation.next(ids[:, :10])
    with pytest.raises(ShapeError, match=r"layer 2 'position_embedding_1': PositionEmbedding knows 12 positions"):
        continuation.next(ids[:, 9:])
    assert continuation.positions == 10
    np.testing.assert_allclose(continuation.next(ids[:, 10:]), whole[:, 10:], rtol=1e-5, atol=1e-5)
    continuation.restart()
    assert continuation.positions == 0
    np.testing.assert_allclose(continuation.next(ids[:1, :2]), whole[:1, :2], rtol=1e-5, atol=1e-5)


def test_a_copy_goes_on_by_itself():
    model, ids = language_model("rotary"), draw_ids(1, POSITIONS)
    continuation = Continuation(model)
    continuation.next(ids[:, :5])
    other = copy.copy(continuation)
    continuation.next(draw_ids(1, 4, seed=1))
    np.testing.assert_allclose(other.next(ids[:, 5:]), model.forward(ids)[:, 5:], rtol=1e-5, atol=1e-5)


def test_threads_continue_with_one_model_at_once():
    model, ids = language_model("rotary"), draw_ids(4, POSITIONS)
    expected, found = model.forward(ids), {}

    def go_on(row):
        found[row] = in_parts(model, ids[row : row + 1], (1,) * POSITIONS)

    threads = [threading.Thread(target=go_on, args=(row,)) for row in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for row, scores in found.items():
        np.testing.assert_allclose(scores[0], expected[row], rtol=1e-5, atol=1e-5)
    assert len(found) == 4


def test_blocks_may_be_nested_deeply():
    layer = GRU(3, return_sequences=True)
    for _ in range(150):
        layer = Residual(layer)
    model, ids = Sequential([Embedding(5, 3), layer], input_shape=6, seed=0, dtype="float64"), draw_ids(2, 6, words=5)
    np.testing.assert_allclose(in_parts(model, ids, (2, 4)), model.forward(ids), rtol=1e-9)


class Doubled(Layer):
    """A layer of a user who has not said how it continues."""

    def forward(self, x, training=False):
        return 2 * x

    def backward(self, dy):
        return 2 * dy


class DoubledAlone(Doubled):
    def continued(self, x, memory):
        return self.forward(x)


class RunningSum(Layer):
    """A layer of a user that looks back."""

    def forward(self, x, training=False):
        return x.cumsum(axis=1)

    def continued(self, x, memory):
        sums = memory.get("sum", 0) + x.cumsum(axis=1)
        memory["sum"] = sums[:, -1:]
        return sums


class Twice(Layer):
    """A block of a user: one layer, which is applied to what another makes."""

    def __post_init__(self):
        self.inner = {"first": RunningSum(), "second": RunningSum()}

    def sublayers(self):
        return self.inner

    def build(self, input_shape, declare):
        return declare.sublayer("second", declare.sublayer("first", input_shape))

    def forward(self, x, training=False):
        return self.inner["second"].forward(self.inner["first"].forward(x))

    def continued(self, x, memory):
        for name, layer in self.inner.items():
            x = continue_layer(layer, x, memory.setdefault(name, {}))
        return x


class MeanOfAll(Dense):
    """A subclass of a layer that treats each position alone, which does not."""

    def forward(self, x, training=False):
        return super().forward(x, training) + x.mean()


@pytest.mark.parametrize("layer", [DoubledAlone(), RunningSum(), Twice()], ids=repr)
def test_a_layer_of_ones_own_continues_by_its_method(layer):
    model, ids = Sequential([Embedding(5, 3), layer], input_shape=8, seed=0), draw_ids(2, 8, words=5)
    np.testing.assert_allclose(in_parts(model, ids, (3, 1, 4)), model.forward(ids), rtol=1e-5, atol=1e-5)


ALONE = r"if it treats each position alone, define continued\(self, x, memory\): return self.forward\(x\)"


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([Doubled()], rf"layer 2 'doubled_1': Doubled cannot continue .*{ALONE}"),
        ([MeanOfAll(4)], "layer 2 'mean_of_all_1': MeanOfAll cannot continue"),
        ([Flatten(), Reshape((6, 4))], "layer 2 'flatten_1': Flatten cannot continue"),
        ([Residual([Dense(4), Doubled()])], "layer 2 'residual_1', layer 1 'layers', layer 2 'doubled_1': Doubled"),
        ([Concatenate([ReLU(), Doubled()])], "'concatenate_1', layer 2 'branch_2', layer 1 'doubled_1': Doubled"),
        ([MultiHeadAttention(2)], "uses later positions, too, and cannot continue: give causal=True"),
        ([GRU(3, return_sequences=True, go_backwards=True)], "GRU goes backwards"),
        ([Bidirectional(GRU(3, return_sequences=True))], "Bidirectional reads a sequence from its end"),
        ([Conv1D(3, 3, padding="same")], 'Conv1D continues a sequence only with padding="causal"'),
    ],
    ids=repr,
)
def test_a_layer_that_cannot_continue_is_named_with_the_reason(layers, message):
    model = Sequential([Embedding(5, 4), *copy.deepcopy(layers)], input_shape=6, seed=0)
    with pytest.raises(ArgumentError, match=message) as caught:
        Continuation(model)
    assert len(str(caught.value)) <= 300


def test_the_layers_of_a_tied_embedding_are_named_too():
    model = Sequential([TiedEmbedding(Embedding(5, 4), [ReLU(), Doubled()])], input_shape=6, seed=0)
    with pytest.raises(ArgumentError, match=r"layer 1 'tied_embedding_1', layer 2 'layers', layer 2 'doubled_1'"):
        Continuation(model)


@pytest.mark.parametrize("layers", [[GRU(3)], [GlobalAveragePool1D()], [GRU(3), Dense(6)], [Conv1D(3, 2)]], ids=repr)
def test_a_model_without_an_output_for_each_position_is_refused(layers):
    model = Sequential([Embedding(5, 4), *copy.deepcopy(layers)], input_shape=6, seed=0)
    with pytest.raises(ShapeError, match=r"must have an output \(T, K\) for its T positions, but of samples \(6,\)"):
        Continuation(model)


def test_what_is_no_model_or_not_set_up_is_refused():
    with pytest.raises(ArgumentTypeError, match="a Sequential can be continued, not Dense"):
        Continuation(Dense(3))
    with pytest.raises(NotReadyError, match="does not know its input shape"):
        Continuation(Sequential([Embedding(5, 4)]))


@pytest.mark.parametrize("shape", [(3,), (2, 0), (0, 2), (2, 3, 1)], ids=str)
def test_positions_of_another_shape_are_refused(shape):
    continuation = Continuation(language_model())
    with pytest.raises(ShapeError, match=r"continues with positions \(N, n\), at least one, not"):
        continuation.next(np.zeros(shape, int))


def test_other_features_or_another_number_of_sequences_are_refused():
    continuation = Continuation(Sequential([GRU(3, return_sequences=True)], input_shape=(5, 2), seed=0))
    with pytest.raises(ShapeError, match=r"positions \(N, n, 2\), at least one, not \(1, 1, 3\)"):
        continuation.next(np.zeros((1, 1, 3)))
    continuation.next(np.zeros((3, 1, 2)))
    with pytest.raises(ShapeError, match="3 sequences cannot continue with 1 row"):
        continuation.next(np.zeros((1, 1, 2)))


def test_an_id_out_of_range_is_refused_with_its_place():
    with pytest.raises(DataError, match="row 0 of the batch, position 1, holds 9; ids are the whole numbers 0 to 6"):
        Continuation(language_model()).next([[1, 9]])


def padded_model():
    layers = [Embedding(WORDS, 8, padding_id=2), GRU(6, return_sequences=True), Dense(WORDS), SoftmaxCrossEntropy()]
    return Sequential(layers, input_shape=POSITIONS, seed=0)


def test_features_with_padding_have_a_continuation_up_to_their_padding():
    layers = [Masking(-1.0), Conv1D(4, 2, padding="causal"), GRU(5, return_sequences=True), Dense(2)]
    model = Sequential(layers, input_shape=(POSITIONS, 3), seed=0)
    x = np.random.default_rng(0).normal(size=(4, POSITIONS, 3)).astype(np.float32)
    np.testing.assert_allclose(in_parts(model, x, (3, 1, POSITIONS - 4)), model.forward(x), rtol=1e-5, atol=1e-6)
    continuation = Continuation(model)
    x[2, 1] = -1
    with pytest.raises(DataError, match="x holds a position of nothing but -1, but padding has no continuation"):
        continuation.next(x)
    x[2, 1, 0] = 0
    continuation.next(x)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e300])
def test_numbers_that_are_not_finite_are_refused_and_change_nothing(wrong):
    x = np.random.default_rng(0).normal(size=(2, 3, 2))
    continuation = Continuation(Sequential([GRU(3, return_sequences=True)], input_shape=(5, 2), seed=0))
    first = continuation.next(x)
    x[1, 2, 0] = wrong
    with pytest.raises(DataError, match="x holds .* at row 1, entry 2, 0: remove or fill such values first"):
        continuation.next(x)
    assert continuation.positions == 3
    continuation.restart()
    np.testing.assert_array_equal(continuation.next(np.where(x == wrong, 0, x)[:, :2]), first[:, :2])


def test_what_pads_is_refused_and_never_drawn():
    model = padded_model()
    with pytest.raises(DataError, match="x holds the padding id 2, but padding has no continuation"):
        generate(model, [[1, 2]], 3)
    model["dense_1"].bias.value[2] = 100
    assert (generate(model, draw_ids(4, 1, words=2), 20, seed=0) != 2).all()
    assert (generate(model, draw_ids(4, 1, words=2), 20, temperature=0) != 2).all()


def largest_scores(model, ids, length, window=None):
    """The ids of the largest scores, each computed from all that a window shows: ids are padded on the right."""
    made, start = list(ids), max(0, len(ids) - (window or len(ids)))
    for _ in range(length):
        if window and len(made) - start > window:
            start = len(made) - window // 2
        seen = made[start:]
        filled = np.zeros((1, model.input_shape[0]), int)
        filled[0, : len(seen)] = seen
        made.append(int(model.forward(filled)[0, len(seen) - 1].argmax()))
    return made[len(ids) :]


@pytest.mark.parametrize("body", BODIES)
def test_temperature_0_takes_the_largest_scores(body):
    model = language_model(body, positions=30)
    assert generate(model, [3, 1, 4], 25, temperature=0).tolist() == largest_scores(model, [3, 1, 4], 25)


@pytest.mark.parametrize("body", ["embedding", "encoding", "rotary"])
@pytest.mark.parametrize("start", [1, 11, 12, 13, 20])
def test_a_full_window_starts_anew_with_its_last_half(body, start):
    model, ids = language_model(body), draw_ids(start).tolist()
    expected = largest_scores(model, ids, 30, window=POSITIONS)
    assert generate(model, ids, 30, temperature=0).tolist() == expected
    assert generate(model, ids, 30, temperature=0, window=POSITIONS).tolist() == expected


@pytest.mark.parametrize("window", [1, 2, 5])
def test_a_smaller_window_may_be_given(window):
    model, ids = language_model("gru"), draw_ids(7).tolist()
    found = generate(model, ids, 20, temperature=0, window=window).tolist()
    if window == 1:
        scores = model.forward(np.tile(np.arange(WORDS)[:, np.newaxis], POSITIONS))[:, 0]
        assert found == [scores[each].argmax() for each in (ids[-1], *found[:-1])]
    else:
        assert found == largest_scores(model, ids, 20, window=window)


def test_a_recurrent_model_remembers_more_than_the_samples_of_training():
    model, long = language_model("gru"), language_model("gru", positions=50)
    long.parameters = model.parameters
    assert generate(model, [1, 2], 45, temperature=0).tolist() == largest_scores(long, [1, 2], 45)


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, None), (0.4, None), (2.0, 3), (1, 100)])
def test_ids_are_drawn_with_the_probabilities_of_softmax(temperature, top_k):
    model, rows = language_model("rnn"), 4000
    scores = model.forward(np.full((1, POSITIONS), 3))[0, 0].astype(float) / temperature
    if top_k is not None:
        scores[np.argsort(scores)[: max(WORDS - top_k, 0)]] = -np.inf
    expected = np.exp(scores) / np.exp(scores).sum()
    drawn = generate(model, np.full((rows, 1), 3), 1, temperature=temperature, top_k=top_k, seed=0)
    shares = np.bincount(drawn[:, 0], minlength=WORDS) / rows
    np.testing.assert_array_less(abs(shares - expected), 4.5 * np.sqrt(expected * (1 - expected) / rows) + 1e-12)


def test_the_same_seed_gives_the_same_ids_and_a_row_those_that_it_gets_alone():
    model, ids = language_model("rotary"), draw_ids(3, 4)
    made = generate(model, ids, 30, seed=5)
    assert made.shape == (3, 30)
    assert made.dtype == np.intp
    np.testing.assert_array_equal(made, generate(model, ids, 30, seed=np.random.default_rng(5)))
    np.testing.assert_array_equal(made[0], generate(model, ids[0], 30, seed=5))
    np.testing.assert_array_equal(made[:, :10], generate(model, ids, 10, seed=5))
    assert (made != generate(model, ids, 30, seed=6)).any()
    assert (generate(model, ids, 30) != generate(model, ids, 30)).any()
    same = generate(model, [ids[0], ids[0]], 30, seed=5)
    assert (same[0] != same[1]).any()


def test_small_integers_are_ids_too_and_no_length_is_nothing():
    model, ids = language_model(), draw_ids(2, 4)
    np.testing.assert_array_equal(generate(model, ids.astype(np.uint8), 9, seed=0), generate(model, ids, 9, seed=0))
    assert generate(model, ids, 0).shape == (2, 0)


@pytest.mark.parametrize(
    ("ids", "options", "error", "message"),
    [
        ([], {}, ShapeError, r"ids are \(N, n\) or \(n,\), with at least one id each, not \(0,\)"),
        ([[[1]]], {}, ShapeError, r"not \(1, 1, 1\)"),
        ([1.5], {}, DataError, "holds 1.5"),
        ([7], {}, DataError, "ids are the whole numbers 0 to 6"),
        ([1], {"length": -1}, ArgumentError, "length"),
        ([1], {"temperature": -0.1}, ArgumentError, "temperature"),
        ([1], {"temperature": np.nan}, ArgumentError, "temperature"),
        ([1], {"top_k": 0}, ArgumentError, "top_k"),
        ([1], {"window": 0}, ArgumentError, "window"),
        (["a"], {}, DataError, "ids"),
    ],
    ids=repr,
)
def test_wrong_arguments_are_refused(ids, options, error, message):
    with pytest.raises(error, match=message):
        generate(language_model(), ids, **{"length": 3, **options})


@pytest.mark.parametrize(
    ("layers", "shape", "message"),
    [
        ([GRU(3, return_sequences=True)], (5, 2), r"the model takes samples \(5, 2\), not ids"),
        ([Embedding(5, 5), Softmax()], 5, r"end it with the scores, or with SoftmaxCrossEntropy\(\)"),
        ([Embedding(5, 5), MeanSquaredError()], 5, "ids are drawn by softmax of scores"),
    ],
    ids=repr,
)
def test_a_model_that_does_not_score_ids_is_refused(layers, shape, message):
    with pytest.raises(ArgumentError, match=message):
        generate(Sequential(copy.deepcopy(layers), input_shape=shape, seed=0), [1], 3)


def test_a_model_learns_a_sequence_and_goes_on_with_it():
    ids = np.tile([3, 1, 4, 1, 5, 0], 40)
    x = np.lib.stride_tricks.sliding_window_view(ids, POSITIONS + 1)[:-1:2]
    model = language_model("rotary")
    Trainer(model, Adam(0.01), seed=0).fit(x[:, :-1], x[:, 1:], epochs=8, progress=False)
    assert generate(model, [3, 1, 4], 40, temperature=0).tolist() == np.tile([1, 5, 0, 3, 1, 4], 7)[:40].tolist()
