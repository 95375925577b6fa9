"""The halves of a transformer block in one call each: the bits of their layers, forward and backward."""

import numpy as np
import pytest
from bits import assert_same_bits

from minidl import (
    GELU,
    Adam,
    Dense,
    Embedding,
    Layer,
    LayerNorm,
    MultiHeadAttention,
    PositionEmbedding,
    Residual,
    Sequential,
    SoftmaxCrossEntropy,
    Tanh,
    Trainer,
    TransformerBlock,
)
from minidl.compiled import switch
from minidl.errors import ShapeError

pytestmark = pytest.mark.usefixtures("compiled_code")


class Scale(Layer):
    """Saves a number instead of arrays."""

    def forward(self, x, training=False):
        if training:
            self.saved = 3
        return 3 * x

    def backward(self, dy):
        return self.saved * dy


SHAPES = [(1, 2, 4), (3, 7, 12), (5, 33, 8), (16, 64, 64)]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def attending(**options):
    return [LayerNorm(), MultiHeadAttention(2, **options)]


def feeding(features, use_bias=True, **options):
    return [LayerNorm(), Dense(11, use_bias=use_bias), GELU(**options), Dense(features, use_bias=use_bias)]


def draw(shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def masks(shape):
    """None, and one by which the first row has no position."""
    counts = np.random.default_rng(1).random(shape[:2]) < 0.7
    counts[0] = False
    return [None, counts]


def passes(layers, x, mask=None, on=(True, True), change=lambda block: None):
    """Return all that a block computes in inference and in training; `on` is for the passes forward and backward."""
    block = Residual(layers)
    block.set_up(x.shape[1:], 0, dtype=x.dtype)
    change(block)
    switch(on[0])
    found = [block.forward(x, mask=mask), block.forward(x, training=True, mask=mask)]
    switch(on[1])
    dx = block.backward(draw(x.shape, x.dtype, seed=2))
    return [*found, *([] if dx is None else [dx]), *(each.gradient for each in block.named_parameters().values())]


def assert_same_passes(new_layers, x, mask=None, **options):
    wanted = passes(new_layers(), x, mask, (False, False), **options)
    for on in ((True, True), (True, False), (False, True)):
        found = passes(new_layers(), x, mask, on, **options)
        for one, other in zip(found, wanted, strict=True):
            assert_same_bits(one, other)


@pytest.fixture
def calls(monkeypatch):
    """The names of the compiled halves that are called."""
    from minidl.compiled import blocks

    called = []

    def note(name):
        function = getattr(blocks, name)
        monkeypatch.setattr(blocks, name, lambda *args: called.append(name) or function(*args))

    for name in ("_attend", "_attend_back", "_feed", "_feed_back"):
        note(name)
    return called


@shapes
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", [{}, {"causal": True, "rotary": True}, {"use_bias": False}], ids=str)
def test_attention_with_its_normalization_and_shortcut(shape, dtype, options, calls):
    for mask in masks(shape):
        assert_same_passes(lambda: attending(**options), draw(shape, dtype), mask)
    assert {"_attend", "_attend_back"} == set(calls)


@shapes
@pytest.mark.parametrize("use_bias", [True, False])
def test_dense_layers_with_their_normalization_and_shortcut(shape, use_bias, calls):
    for mask in masks(shape):
        assert_same_passes(lambda: feeding(shape[2], use_bias), draw(shape), mask)
    assert {"_feed", "_feed_back"} == set(calls)


def test_dense_layers_for_vectors(calls):
    assert_same_passes(lambda: feeding(6), draw((9, 6)))
    assert {"_feed", "_feed_back"} == set(calls)


@pytest.mark.parametrize("place", [np.nan, np.inf, -np.inf, 1e30])
def test_numbers_that_overflow(place):
    x = draw((3, 5, 8))
    x[1, 2, 3] = place
    with np.errstate(all="ignore"):
        for new_layers in (lambda: attending(causal=True), lambda: feeding(8)):
            assert_same_passes(new_layers, x)


def freeze(place):
    return lambda block: setattr(block.layers.layers[place], "trainable", False)


def watch(block):
    layer = block.layers.layers[1]
    layer.forward = layer.forward  # its own attribute, as of callers that record outputs


class OwnNorm(LayerNorm):
    """A subclass, which may compute in another way."""


@pytest.mark.parametrize(
    ("new_layers", "shape"),
    [
        (attending, (3, 1, 8)),  # vectors: a single position, or heads of a single feature
        (attending, (3, 7, 2)),
        (lambda: [OwnNorm(), MultiHeadAttention(2)], (3, 7, 8)),
        (lambda: feeding(8, approximate=True), (3, 7, 8)),
        (lambda: feeding(1), (9, 1)),
        (lambda: feeding(8), (1, 8)),
        (lambda: [LayerNorm(), Dense(1), GELU(), Dense(8)], (3, 7, 8)),
        (lambda: [LayerNorm(), Dense(8), GELU()], (3, 7, 8)),
        (lambda: [Dense(4), GELU(), Dense(8)], (3, 7, 8)),
    ],
)
def test_other_blocks_are_computed_layer_by_layer(new_layers, shape, calls):
    assert_same_passes(new_layers, draw(shape))
    assert calls == []


def test_dropout_of_weights_is_left_to_numpy_in_training(calls):
    assert_same_passes(lambda: attending(dropout=0.3), draw((3, 7, 8)))
    assert calls == ["_attend", "_attend"]  # both in inference


def test_dense_layers_of_float64_are_computed_layer_by_layer(calls):
    assert_same_passes(lambda: feeding(8), draw((3, 7, 8), np.float64))
    assert calls == []


@pytest.mark.parametrize("new_layers", [attending, lambda: feeding(8)])
@pytest.mark.parametrize("place", [0, 1])
def test_a_frozen_layer(new_layers, place, calls):
    assert_same_passes(new_layers, draw((3, 7, 8)), change=freeze(place))
    assert not {"_attend_back", "_feed_back"} & set(calls)


@pytest.mark.parametrize("new_layers", [attending, lambda: feeding(8)])
def test_without_a_gradient_of_the_input(new_layers):
    assert_same_passes(new_layers, draw((3, 7, 8)), change=lambda block: setattr(block, "needs_input_gradient", False))


@pytest.mark.parametrize("new_layers", [attending, lambda: feeding(8)])
def test_a_layer_that_a_caller_watches(new_layers, calls):
    assert_same_passes(new_layers, draw((3, 7, 8)), change=watch)
    assert calls == []


@pytest.mark.parametrize("new_layers", [attending, lambda: feeding(8)])
def test_a_block_with_a_projection(new_layers, calls):
    def block_with_projection(on):
        block = Residual(new_layers(), projection=Dense(8, initializer="he_normal"))
        block.set_up((7, 8), 0)
        switch(on)
        x = draw((3, 7, 8))
        return [block.forward(x, training=True), block.backward(x)]

    for one, other in zip(block_with_projection(True), block_with_projection(False), strict=True):
        assert_same_bits(one, other)
    assert calls == []


@pytest.mark.parametrize("new_layers", [attending, lambda: feeding(8)])
@pytest.mark.parametrize("arrange", [np.asfortranarray, lambda x: np.repeat(x, 2, axis=-1)[..., ::2]])
def test_inputs_in_another_order_of_memory(new_layers, arrange):
    assert_same_passes(new_layers, arrange(draw((3, 7, 8))))


@pytest.mark.parametrize("new_layers", [attending, lambda: feeding(8)])
def test_a_wrong_mask_is_the_same_error(new_layers):
    block = Residual(new_layers())
    block.set_up((7, 8), 0)
    for mask in (np.ones((3, 6), bool), np.ones((3, 7)), [[True] * 7] * 3):
        errors = []
        for on in (False, True):
            switch(on)
            with pytest.raises(ShapeError) as caught:
                block.forward(draw((3, 7, 8)), mask=mask)
            errors.append(str(caught.value))
        assert errors[0] == errors[1]


@pytest.mark.parametrize("new_layers", [attending, lambda: feeding(8)])
def test_no_rows(new_layers):
    block = Residual(new_layers())
    block.set_up((7, 8), 0)
    assert block.forward(draw((0, 7, 8))).shape == (0, 7, 8)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_transformer_trains_to_the_same_bits(threads, calls):
    rng, trained = np.random.default_rng(0), []
    x = rng.integers(0, 12, (40, 16))
    for on in (False, True):
        switch(on)
        blocks = [TransformerBlock(16, 4, causal=True) for _ in range(2)]
        layers = [Embedding(12, 16), PositionEmbedding(), *blocks, LayerNorm(), Dense(12), SoftmaxCrossEntropy()]
        model = Sequential(layers, input_shape=16, seed=0)
        model.rows_at_once = 4  # so that two threads share a batch
        trainer = Trainer(model, Adam(0.01), batch_size=16, seed=0, threads=threads)
        history = trainer.fit(x, np.roll(x, -1, axis=1), epochs=3, progress=False)
        trained.append((model.parameters, np.array(history["loss"])))
    assert len(calls) == 2 * 2 * 4 * 9  # two parts of a batch, two blocks, four calls, nine steps
    for found, wanted in zip(*reversed(trained), strict=True):
        assert_same_bits(found, wanted)


@pytest.mark.parametrize("rows", [0, 3])
@pytest.mark.parametrize("first", [Tanh(), Scale()], ids=["Tanh", "Scale"])
def test_a_first_layer_that_saves_something_else_is_computed_as_without_compiled_code(first, rows):
    x = draw((rows, 4))
    for one, other in zip(passes([first], x), passes([first], x, on=(False, False)), strict=True):
        assert_same_bits(one, other)
