"""Random stacks of sequence layers, for tests that compare them with other libraries."""

import numpy as np

from minidl import (
    GELU,
    GRU,
    LSTM,
    Bidirectional,
    Concatenate,
    Conv1D,
    Dense,
    Embedding,
    GlobalAveragePool1D,
    GlobalMaxPool1D,
    LayerNorm,
    MultiHeadAttention,
    PositionalEncoding,
    PositionEmbedding,
    Residual,
    Sequential,
    SimpleRNN,
    SoftmaxCrossEntropy,
    TransformerBlock,
)


def draw_stack(rng, dtype="float64"):
    """Return a model of ids with a random stack of layers, ids with padding at the end, and labels."""
    rows, positions, ids, features, classes = 3, int(rng.integers(2, 7)), 6, 2 * int(rng.integers(1, 4)), 3

    def recurrent(**more):
        kind = (SimpleRNN, GRU, LSTM)[rng.integers(3)]
        return kind(int(rng.integers(1, 5)), **more)

    def attention():
        heads = int(rng.choice([each for each in (1, 2) if features % (2 * each) == 0]))
        return MultiHeadAttention(heads, causal=bool(rng.integers(2)), rotary=bool(rng.integers(2)))

    def convolution():
        size = int(rng.integers(1, 4))
        return Conv1D(3, size, padding=str(rng.choice(["same", "causal"])), dilation=int(rng.integers(1, 3)))

    def back(layer):
        """Return the layer and one that makes as many features as there were."""
        return [layer, Dense(features)]

    between = [
        lambda: back(recurrent(return_sequences=True)),
        lambda: back(Bidirectional(recurrent(return_sequences=True), merge=str(rng.choice(["sum", "concatenate"])))),
        lambda: back(convolution()),
        lambda: [attention()],
        lambda: [Residual([LayerNorm(), attention()])],
        lambda: [TransformerBlock(features, 1, causal=bool(rng.integers(2)), rotary=bool(rng.integers(2)))],
        lambda: [LayerNorm(), Dense(features), GELU()],
        lambda: [Concatenate([Dense(features // 2), [*back(convolution()), Dense(features - features // 2)]])],
    ]
    ends = [
        list,
        lambda: [GlobalAveragePool1D()],
        lambda: [GlobalMaxPool1D()],
        lambda: [recurrent()],
        lambda: [Bidirectional(recurrent())],
    ]
    where = [list, lambda: [PositionEmbedding()], lambda: [PositionalEncoding()]][rng.integers(3)]()
    chosen = [layer for _ in range(rng.integers(1, 4)) for layer in between[rng.integers(len(between))]()]
    end = ends[rng.integers(len(ends))]()
    padding_id = 0 if rng.random() < 0.8 else None
    layers = [Embedding(ids, features, padding_id=padding_id), *where, *chosen, *end, Dense(classes)]
    model = Sequential([*layers, SoftmaxCrossEntropy()], input_shape=positions, seed=0, dtype=dtype)
    lengths = rng.integers(1, positions + 1, rows)
    inputs = np.where(np.arange(positions) < lengths[:, np.newaxis], rng.integers(1, ids, (rows, positions)), 0)
    return model, inputs, rng.integers(0, classes, (rows, *model.output_shape[:-1]))
