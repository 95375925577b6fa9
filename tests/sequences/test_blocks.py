"""Blocks of sequences: what they are made of, and that one array may serve both ends of a model."""

import numpy as np
import pytest

from minidl import (
    SGD,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    LayerNorm,
    MultiHeadAttention,
    PositionEmbedding,
    ReLU,
    Residual,
    Sequential,
    SoftmaxCrossEntropy,
    Tanh,
    TiedEmbedding,
    Trainer,
    TransformerBlock,
)
from minidl.errors import ArgumentError, ArgumentTypeError, ShapeError
from minidl.testing import check_layer

OPTIONS = [
    {},
    {"causal": True},
    {"rotary": True, "hidden_units": 5},
    {"causal": True, "dropout": 0.3},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_block_passes_the_kit(options):
    check_layer(TransformerBlock(4, 2, **options), (3, 4), tolerance=3e-6)


def test_a_block_is_attention_and_two_dense_layers_each_behind_a_normalization_and_with_a_shortcut():
    block = TransformerBlock(8, 2, hidden_units=12, causal=True, dropout=0.1)
    block.set_up((5, 8), 0, dtype="float64")
    first, second = block.layers
    kinds = [[type(layer).__name__ for layer in part.layers.layers] for part in (first, second)]
    assert kinds == [["LayerNorm", "MultiHeadAttention", "Dropout"], ["LayerNorm", "Dense", "GELU", "Dense", "Dropout"]]
    norm, attention, _ = first.layers.layers
    x = np.random.default_rng(0).normal(size=(3, 5, 8))
    h = x + attention.forward(norm.forward(x))
    norm, dense, gelu, last, _ = second.layers.layers
    np.testing.assert_allclose(
        block.forward(x), h + last.forward(gelu.forward(dense.forward(norm.forward(h)))), rtol=1e-12
    )
    assert dense.units == 12
    assert TransformerBlock(8, 2).layers[1].layers.layers[1].units == 32
    assert attention.causal
    assert attention.dropout == 0.1


def test_a_block_for_another_number_of_features_is_refused_at_set_up():
    layers = [Dense(4), TransformerBlock(8, 2)]
    with pytest.raises(ShapeError, match=r"TransformerBlock, takes 8 features per position, not 4: give it 4") as found:
        Sequential(layers, input_shape=(5, 3))
    assert len(str(found.value)) <= 300


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((4.5, 2), ArgumentTypeError, "TransformerBlock: units is 4.5; it must be a whole number, 1 or more"),
        ((0, 2), ArgumentError, "TransformerBlock: units is 0; it must be a whole number, 1 or more"),
        (("4", 2), ArgumentTypeError, "TransformerBlock: units is '4'; it must be a whole number, 1 or more"),
        ((4, 2, 0), ArgumentError, "TransformerBlock: hidden_units is 0; it must be a whole number, 1 or more"),
        ((4, 2, 2.5), ArgumentTypeError, "TransformerBlock: hidden_units is 2.5; it must be a whole number, 1 or more"),
        ((4, 0), ArgumentError, "MultiHeadAttention: heads is 0; it must be a whole number, 1 or more"),
    ],
)
def test_settings_of_a_block_that_cannot_work_are_refused(arguments, error, message):
    units, heads, *hidden = arguments
    with pytest.raises(error, match=f"^{message}$"):
        TransformerBlock(units, heads, **dict(zip(["hidden_units"], hidden, strict=False)))


def test_numbers_of_numpy_are_settings_of_a_block():
    assert TransformerBlock(np.int64(4), 2).layers[1].layers.layers[1].units == 16


def test_a_block_hands_the_mask_on_so_that_padding_changes_nothing():
    rng = np.random.default_rng(0)
    lengths = [6, 4, 1, 0]
    ids = np.where(np.arange(6) < np.array(lengths)[:, np.newaxis], rng.integers(1, 9, (4, 6)), 0)

    def model(positions, rotary):
        where = [] if rotary else [PositionEmbedding()]
        blocks = [TransformerBlock(8, 2, rotary=rotary), TransformerBlock(8, 4, rotary=rotary)]
        layers = [Embedding(9, 8, padding_id=0), *where, *blocks, LayerNorm(), Dense(3), SoftmaxCrossEntropy()]
        return Sequential(layers, input_shape=positions, seed=0, dtype="float64")

    for rotary in (False, True):
        whole = model(6, rotary)
        scores = whole.forward(ids)
        assert np.isfinite(scores).all()
        for row, length in enumerate(lengths):
            if length:
                short = model(length, rotary)
                for name, parameter in short.named_parameters().items():
                    parameter.value = whole.named_parameters()[name].value[: len(parameter.value)]
                alone = short.forward(ids[row : row + 1, :length])
                np.testing.assert_allclose(scores[row, :length], alone[0], rtol=1e-9, atol=1e-12)


# An embedding that also scores

TIED = [
    TiedEmbedding(Embedding(7, 4), Tanh()),
    TiedEmbedding(Embedding(7, 4), [Dense(5), Tanh(), Dense(4)], use_bias=True),
    TiedEmbedding(Embedding(7, 4, padding_id=0), [Residual([LayerNorm(), Dense(4)])]),
]


@pytest.mark.parametrize("layer", TIED, ids=str)
def test_a_tied_embedding_passes_the_kit(layer):
    check_layer(layer, 5, integers=7)


def test_its_scores_are_products_with_the_vectors_and_both_uses_add_to_the_gradient():
    layer = TiedEmbedding(Embedding(7, 4), [Dense(4), Tanh()], use_bias=True)
    layer.set_up(5, 0, dtype="float64")
    rng = np.random.default_rng(1)
    x, dy = rng.integers(0, 7, (3, 5)), rng.normal(size=(3, 5, 7))
    layer.bias.value = rng.normal(size=7)
    table = layer.embedding.weight.value
    h = layer.layers.forward(table[x])
    np.testing.assert_allclose(layer.forward(x, training=True), h @ table.T + layer.bias.value, rtol=1e-12)
    layer.backward(dy)
    found = layer.embedding.weight.gradient.copy()
    apart = Embedding(7, 4)
    apart.set_up(5, 0, dtype="float64")
    apart.weight.value = table
    apart.forward(x, training=True)
    apart.backward(layer.layers.backward(dy @ table))
    expected = apart.weight.gradient + dy.reshape(-1, 7).T @ h.reshape(-1, 4)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    np.testing.assert_allclose(layer.bias.gradient, dy.sum(axis=(0, 1)), rtol=1e-12)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_model_of_it_learns_ids_that_follow_each_other_and_comes_back_from_a_file(tmp_path, frozen):
    ids = (np.arange(12)[:, np.newaxis] + np.arange(6)) % 7
    block = TransformerBlock(8, 2, causal=True)
    layers = [TiedEmbedding(Embedding(7, 8, initializer="glorot_normal"), [PositionEmbedding(), block, LayerNorm()])]
    model = Sequential([*layers, SoftmaxCrossEntropy()], seed=0)
    model.layers[0].embedding.trainable = not frozen
    run = Trainer(model, "adam", batch_size=4, seed=0)
    run.optimizer.learning_rate = 0.02
    run.fit(ids[:, :-1], ids[:, 1:], epochs=30, progress=False)
    assert run.history["accuracy"][-1] == 1
    model.save(tmp_path / "model.npz")
    loaded = Sequential.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(loaded.predict_scores(ids[:, :-1]), model.predict_scores(ids[:, :-1]))
    assert loaded.count_parameters() == model.count_parameters()
    assert repr(loaded) == repr(model)


def test_padding_is_left_out_of_its_loss():
    layers = [TiedEmbedding(Embedding(7, 4, padding_id=0), [Dense(4), Tanh()]), SoftmaxCrossEntropy()]
    model = Sequential(layers, input_shape=4, seed=0, dtype="float64")
    x, y = np.array([[1, 2, 0, 0], [3, 4, 5, 6]]), np.array([[1, 2, 3, 3], [0, 1, 2, 3]])
    other = y.copy()
    other[0, 2:] = 5
    values = [Trainer(model, SGD(0.1)).evaluate(x, targets) for targets in (y, other)]
    assert values[0] == values[1]


def test_what_cannot_be_tied_is_refused():
    with pytest.raises(ShapeError, match="TiedEmbedding's layers must return the 4 features that they get, not"):
        Sequential([TiedEmbedding(Embedding(7, 4), [Dense(3), ReLU()])], input_shape=5)
    with pytest.raises(ShapeError, match="must return the 4 features"):
        Sequential([TiedEmbedding(Embedding(7, 4), Flatten())], input_shape=5)
    with pytest.raises(ArgumentTypeError, match="an Embedding"):
        TiedEmbedding(Dense(4), Tanh())


def test_dropout_is_where_it_is_asked_for_alone():
    block = TransformerBlock(8, 2)
    block.set_up((5, 8), 0)
    assert not any(isinstance(layer, Dropout) for layer in block.walk())
    assert [layer.dropout for layer in block.walk() if isinstance(layer, MultiHeadAttention)] == [0]
