"""Models of sequences whose padding ONNX Runtime leaves out as minidl does."""

import copy

import numpy as np
import pytest
from onnxfiles import assert_close, onnx, random_model, run
from stacks import draw_stack

import minidl.onnx
from minidl import (
    BatchNorm,
    Concatenate,
    Dense,
    Dropout,
    Flatten,
    Layer,
    LayerNorm,
    ReLU,
    Reshape,
    Residual,
    Sequential,
    SoftmaxCrossEntropy,
    Tanh,
    UpSample2D,
)
from minidl.errors import ArgumentError
from minidl.sequences import (
    GRU,
    LSTM,
    AveragePool1D,
    Bidirectional,
    Conv1D,
    Embedding,
    GlobalAveragePool1D,
    GlobalMaxPool1D,
    Masking,
    MaxPool1D,
    MultiHeadAttention,
    PositionalEncoding,
    PositionEmbedding,
    SimpleRNN,
    TiedEmbedding,
    TransformerBlock,
)

rng = np.random.default_rng(0)

# Layers between an embedding with a padding id and the output: (N, 8, 4) goes in.
WITH_MASK = [
    [Conv1D(3, 3)],
    [Conv1D(3, 3, padding="same"), MaxPool1D(3, strides=2, padding=1), Conv1D(3, 2)],
    [Conv1D(3, 2, padding="causal", strides=2), AveragePool1D(2, strides=1)],
    [Conv1D(3, 2, padding=(0, 3), strides=2), GlobalMaxPool1D()],
    [AveragePool1D(3, strides=2, padding=1), GlobalAveragePool1D()],
    [MaxPool1D(), GRU(3)],
    [GlobalAveragePool1D()],
    [GlobalMaxPool1D()],
    [PositionEmbedding(), BatchNorm(), Dropout(0.5), LayerNorm(), SimpleRNN(3)],
    [PositionalEncoding(), MultiHeadAttention(2), GlobalMaxPool1D()],
    [MultiHeadAttention(2, causal=True, rotary=True)],
    [TransformerBlock(4, 2), LSTM(3)],
    *(
        [kind(3, go_backwards=back, return_sequences=whole)]
        for kind in (SimpleRNN, GRU, LSTM)
        for back in (False, True)
        for whole in (False, True)
    ),
    [LSTM(4, return_sequences=True, go_backwards=True), GRU(3), Dense(2)],
    [Bidirectional(GRU(3, return_sequences=True)), GlobalAveragePool1D()],
    [Bidirectional(LSTM(3), merge="mean")],
    [Residual([Conv1D(4, 3, padding="same"), ReLU()]), GlobalAveragePool1D()],
    [Concatenate([Conv1D(4, 3, padding="causal"), Tanh()]), GlobalAveragePool1D()],
    [Concatenate([GlobalMaxPool1D(), GRU(3)])],
    [Dense(4), Reshape((8, 2, 2)), Reshape((8, 4)), GRU(3)],
]


@pytest.mark.parametrize("between", WITH_MASK, ids=repr)
def test_onnx_runtime_leaves_out_the_padding_that_minidl_leaves_out(between, tmp_path):
    model = Sequential([Embedding(9, 4, padding_id=0), *copy.deepcopy(between)], input_shape=8)
    minidl.onnx.export(random_model(model, rng), tmp_path / "model.onnx")
    ids = rng.integers(1, 9, (12, 8))
    ids[np.arange(8) >= np.arange(12)[:, np.newaxis]] = 0  # padded on the right, by up to all positions
    ids[9:11, :3] = 0  # and on the left
    ids[11, ::2] = 0
    assert_close(run(tmp_path / "model.onnx", ids)[0], model.forward(ids))


@pytest.mark.parametrize("layer", [GRU(3), GlobalMaxPool1D(), MultiHeadAttention(2)], ids=repr)
def test_padding_of_features_is_left_out(layer, tmp_path):
    model = Sequential([Masking(-1.0), copy.deepcopy(layer)], input_shape=(8, 4), seed=0)
    minidl.onnx.export(model, tmp_path / "model.onnx")
    x = rng.normal(size=(9, 8, 4)).astype(np.float32)
    x[np.arange(8) >= np.arange(9)[:, np.newaxis]] = -1
    x[8, 2, 1:] = -1  # one feature is another number
    assert_close(run(tmp_path / "model.onnx", x)[0], model.forward(x))


@pytest.mark.parametrize("first", range(0, 100, 25))
def test_random_stacks_agree_with_onnx_runtime_on_padded_rows(first, tmp_path):
    for seed in range(first, first + 25):
        model, ids, _ = draw_stack(np.random.default_rng(seed), dtype="float32")
        minidl.onnx.export(random_model(model, np.random.default_rng(seed)), tmp_path / "model.onnx")
        # Sums may nearly cancel, and lose their digits: errors are relative to the largest number in the network.
        scale = max(np.abs(values).max() for values in model.activations(ids).values())
        assert_close(run(tmp_path / "model.onnx", ids)[0] / scale, model.forward(ids) / scale)


def test_a_file_of_padded_ids_gives_a_row_what_it_gives_alone(tmp_path):
    def exported(length):
        between = [
            Bidirectional(LSTM(3, return_sequences=True)),
            Conv1D(5, 3, padding="causal"),
        ]
        between += [MultiHeadAttention(1), GlobalAveragePool1D()]
        model = Sequential([Embedding(9, 4, padding_id=0), *between], input_shape=length, seed=0)
        minidl.onnx.export(model, tmp_path / f"{length}.onnx")
        return tmp_path / f"{length}.onnx"

    ids = rng.integers(1, 9, (4, 7)) * (np.arange(7) < np.array([[7], [5], [2], [1]]))
    (together,) = run(exported(7), ids)
    for row, length in enumerate([7, 5, 2, 1]):
        assert_close(run(exported(length), ids[row : row + 1, :length])[0], together[row : row + 1])


def test_a_tied_embedding_is_written_once_and_a_mask_goes_through_it(tmp_path):
    inner = [PositionEmbedding(), TransformerBlock(4, 2, causal=True)]
    tied = TiedEmbedding(Embedding(300, 4, padding_id=0), inner, use_bias=True)
    model = Sequential([tied, SoftmaxCrossEntropy()], input_shape=6)
    minidl.onnx.export(random_model(model, rng), tmp_path / "model.onnx", output="probabilities")
    ids = rng.integers(0, 3, (5, 6))
    assert_close(run(tmp_path / "model.onnx", ids)[0], model.predict_proba(ids))
    sizes = [each.dims for each in onnx.load(tmp_path / "model.onnx").graph.initializer]
    assert [list(size) for size in sizes].count([300, 4]) == 1


def test_embeddings_beside_each_other_take_one_input_and_their_masks_are_joined(tmp_path):
    branches = [Embedding(9, 4, padding_id=0), [Embedding(9, 2, padding_id=3), Tanh()]]
    model = Sequential([Concatenate(branches), GRU(3)], input_shape=8)
    minidl.onnx.export(random_model(model, rng), tmp_path / "model.onnx")
    ids = rng.integers(0, 5, (6, 8))
    assert_close(run(tmp_path / "model.onnx", ids)[0], model.forward(ids))


def test_a_mask_that_a_layer_refuses_is_an_error_at_export(tmp_path):
    embedding, convolution = Embedding(9, 4, padding_id=0), Conv1D(3, 3, strides=2, padding="same")
    with pytest.raises(ArgumentError, match=r"^layer 2 'conv1d_1': with strides, padding=\"same\" depends"):
        minidl.onnx.export(Sequential([embedding, convolution], input_shape=8), tmp_path / "model.onnx")
    for layers in ([Flatten()], [Reshape((8, 2, 2)), UpSample2D()]):
        model = Sequential([Embedding(9, 4, padding_id=0), *layers], input_shape=8)
        with pytest.raises(ArgumentError, match=r"^layer \d '(flatten|up_sample2d)_1': .* cannot leave padding out"):
            minidl.onnx.export(model, tmp_path / "model.onnx")


class Doubled(Layer):
    """A layer of one's own that keeps the positions."""

    def forward(self, x, training=False):
        return 2 * x

    def to_onnx(self, graph, x):
        return graph.node("Add", x, x)


class Total(Layer):
    """A layer of one's own that takes a mask: the sum over positions that count."""

    takes_mask = True

    def build(self, input_shape, declare):
        return input_shape[1:]

    def forward(self, x, training=False, mask=None):
        return x.sum(axis=1, where=mask[..., np.newaxis])

    def to_onnx(self, graph, x):
        counts = graph.node("Unsqueeze", graph.mask_of(x), graph.constant([2]))
        hidden = graph.node("Where", counts, x, graph.constant(0.0))
        return graph.node("ReduceSum", hidden, graph.constant([1]), keepdims=0)


def test_layers_of_ones_own_get_masks_and_hand_them_on(tmp_path):
    model = Sequential([Embedding(9, 4, padding_id=0), Doubled(), Total()], input_shape=8)
    ids = rng.integers(0, 3, (5, 8))
    minidl.onnx.export(model, tmp_path / "model.onnx")
    assert_close(run(tmp_path / "model.onnx", ids)[0], model.forward(ids))
