"""Random stacks of sequence layers, for tests that compare them with other libraries."""

import copy

import numpy as np

from minidl import (
    GELU,
    GRU,
    LSTM,
    AveragePool1D,
    Bidirectional,
    Concatenate,
    Conv1D,
    Dense,
    Embedding,
    GlobalAveragePool1D,
    GlobalMaxPool1D,
    LayerNorm,
    Masking,
    MaxPool1D,
    MultiHeadAttention,
    PositionalEncoding,
    PositionEmbedding,
    Residual,
    Sequential,
    SimpleRNN,
    SoftmaxCrossEntropy,
    TiedEmbedding,
    TransformerBlock,
)

ROWS, IDS = 3, 6


def draw_stack(rng, dtype="float64"):
    """Return a model with a random stack of layers, inputs with padding at the end, and labels.

    The inputs are ids for an `Embedding` or a `TiedEmbedding`, or features for `Masking`.
    """
    start = rng.choice(["embedding", "tied embedding", "masking"], p=[0.6, 0.2, 0.2])
    positions, features = int(rng.integers(2, 9)), 2 * int(rng.integers(1, 4))
    where = [list, lambda: [PositionEmbedding()], lambda: [PositionalEncoding()]][rng.integers(3)]()
    body, end = draw_body(rng, positions, features)
    padding_id = 0 if rng.random() < 0.8 else None
    classes = IDS if start == "tied embedding" else 3
    first = Masking() if start == "masking" else Embedding(IDS, features, padding_id=padding_id)
    layers = [first, *where, *body, *end]
    if start == "tied embedding":
        tied = [*where, *body, *end, *([Dense(features)] if end else [])]
        model = [TiedEmbedding(first, tied or [GELU()], use_bias=bool(rng.integers(2)))]
    else:
        model = [*layers, Dense(classes)]
    shape = (positions, features) if start == "masking" else (positions,)
    model = Sequential([*model, SoftmaxCrossEntropy()], input_shape=shape, seed=0, dtype=dtype)

    lengths = rng.integers(least_length(layers, np.ones((1, *shape), int)), positions + 1, ROWS)
    size = (ROWS, *shape)
    inputs = rng.normal(size=size).astype(dtype) if start == "masking" else rng.integers(1, IDS, size)
    inputs[np.arange(positions) >= lengths[:, np.newaxis]] = 0
    return model, inputs, rng.integers(0, classes, (ROWS, *model.output_shape[:-1]))


def draw_body(rng, positions, features):
    """Return layers between sequences with this number of features, and perhaps one that ends the sequence."""
    length = positions

    def recurrent(**more):
        kind = (SimpleRNN, GRU, LSTM)[rng.integers(3)]
        own = {"activation": str(rng.choice(["tanh", "relu"]))} if kind is SimpleRNN else {}
        return kind(int(rng.integers(1, 5)), **own, **more)

    def both_ways(**more):
        return Bidirectional(recurrent(**more), merge=str(rng.choice(["concatenate", "sum", "mean"])))

    def attention():
        heads = int(rng.choice([each for each in (1, 2) if features % (2 * each) == 0]))
        return MultiHeadAttention(heads, causal=bool(rng.integers(2)), rotary=bool(rng.integers(2)))

    def convolution():
        size = int(rng.integers(1, 4))
        return Conv1D(3, size, padding=str(rng.choice(["same", "causal"])), dilation=int(rng.integers(1, 3)))

    def window():
        """Return a layer that may change the number of positions."""
        nonlocal length
        size, strides = int(rng.integers(1, min(3, length) + 1)), int(rng.integers(1, 3))
        sides = tuple(rng.integers(0, size, 2).tolist())
        if rng.integers(2):
            padding = (sides, "causal", "valid")[rng.integers(3)]
            dilation = int(rng.integers(1, 3)) if padding == "causal" else 1
            groups = int(rng.integers(1, 3))
            layer = Conv1D(4, size, strides=strides, padding=padding, dilation=dilation, groups=groups)
        else:
            kind = (MaxPool1D, AveragePool1D)[rng.integers(2)]
            options = [{"strides": strides, "padding": sides}, {}, {"strides": 1, "padding": "same"}][rng.integers(3)]
            layer = kind(size, **options)
        length = copy.deepcopy(layer).set_up((length, features))[0]
        return layer

    def back(layer):
        """Return the layer and one that makes as many features as there were."""
        return [layer, Dense(features)]

    between = [
        lambda: back(recurrent(return_sequences=True)),
        # The second one puts the outputs of the first one back into the order of the positions.
        lambda: [each for _ in "ab" for each in back(recurrent(return_sequences=True, go_backwards=True))],
        lambda: back(both_ways(return_sequences=True)),
        lambda: back(convolution()),
        lambda: back(window()),
        lambda: back(window()),
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
        lambda: [recurrent(go_backwards=bool(rng.integers(2)))],
        lambda: [both_ways()],
    ]
    body = [layer for _ in range(rng.integers(1, 4)) for layer in between[rng.integers(len(between))]()]
    return body, ends[rng.integers(len(ends))]()


def least_length(layers, row):
    """Return the length from which on a row has positions that count after each of these layers."""
    for length in range(row.shape[1], 0, -1):
        row[:, length:] = 0
        x, mask = row, None
        for layer in layers:
            mask, x = layer.mask_after(x, mask), None
            if mask is not None and not mask.any():
                return length + 1
    return 1
