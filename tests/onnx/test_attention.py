"""Attention in files that minidl wrote is found again; nodes that differ from it in any way are not taken for it."""

import copy

import numpy as np
import pytest
from onnxfiles import assert_close, onnx, random_model, run

from minidl import Dense, Sequential, SoftmaxCrossEntropy
from minidl.errors import FileFormatError
from minidl.onnx import export, load
from minidl.sequences import Embedding, MultiHeadAttention, PositionEmbedding, TiedEmbedding, TransformerBlock

rng = np.random.default_rng(0)
LAYERS = [
    MultiHeadAttention(2),
    MultiHeadAttention(4, use_bias=False),
    MultiHeadAttention(1, causal=True, rotary=True),
    MultiHeadAttention(2, rotary=True, use_bias=False),
]


def written(layer, path):
    model = random_model(Sequential([copy.deepcopy(layer)], input_shape=(5, 8), seed=0), rng)
    export(model, path)
    return model


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_an_attention_that_is_written_is_read_as_one(layer, tmp_path):
    model, x = written(layer, tmp_path / "model.onnx"), rng.normal(size=(3, 5, 8)).astype(np.float32)
    back = load(tmp_path / "model.onnx")
    assert type(back.layers[0]) is MultiHeadAttention
    for name in ("heads", "causal", "rotary", "use_bias"):
        assert getattr(back.layers[0], name) == getattr(layer, name)
    assert_close(back.forward(x), model.forward(x))


def test_a_transformer_of_ids_comes_back_as_layers_that_train(tmp_path):
    blocks = [
        PositionEmbedding(),
        TransformerBlock(8, 2, causal=True),
        TransformerBlock(8, 4, causal=True, rotary=True),
    ]
    model = Sequential([TiedEmbedding(Embedding(20, 8), blocks), SoftmaxCrossEntropy()], input_shape=6)
    export(random_model(model, rng), tmp_path / "model.onnx")
    back, ids = load(tmp_path / "model.onnx"), rng.integers(20, size=(4, 6))
    assert_close(back.forward(ids), model.forward(ids))
    assert_close(back.predict_proba(ids), model.predict_proba(ids))
    assert sum(isinstance(layer, MultiHeadAttention) for layer in back.walk()) == 2
    assert isinstance(back.layers[-1], Dense)  # what was tied is an array of its own


def perm(model, place, axes):
    [node for node in model.graph.node if node.op_type == "Transpose"][place].attribute[0].ints[:] = axes


def replace_constant(model, wanted, made):
    """Replace the first constant for which `wanted` holds."""
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if wanted(array):
            tensor.CopyFrom(onnx.numpy_helper.from_array(made(array), tensor.name))
            return
    raise LookupError


CHANGES = {
    "other heads": lambda model: perm(model, 0, [0, 1, 2, 3]),
    "keys as they are": lambda model: perm(model, 3, [0, 1, 2, 3]),
    "another mask": lambda model: replace_constant(model, lambda a: a.dtype == bool, lambda a: a[::-1].copy()),
    "a mask of one": lambda model: replace_constant(model, lambda a: a.dtype == bool, lambda a: a[:1, :1]),
    "another least score": lambda model: replace_constant(
        model, lambda a: a.size == 1 and (a < -1).all(), lambda a: a * 0
    ),
    "other angles": lambda model: replace_constant(
        model, lambda a: a.shape == (5, 8) and (a[0] == 1).all(), lambda a: a + np.float32(0.1)
    ),
    "other halves": lambda model: replace_constant(model, lambda a: a.tolist() == [4], lambda a: a + 1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_computes_something_else_is_not_taken_for_an_attention(change, tmp_path):
    path = tmp_path / "model.onnx"
    written(MultiHeadAttention(1, causal=True, rotary=True), path)
    model = onnx.load(path)
    CHANGES[change](model)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(FileFormatError, match=r"model.onnx "):
        load(path)


def test_another_scale_of_the_scores_is_in_the_weights(tmp_path):
    path = tmp_path / "model.onnx"
    written(MultiHeadAttention(2, causal=True), path)
    model = onnx.load(path)
    replace_constant(model, lambda a: a.shape == () and a == np.float32(0.5), lambda a: np.float32(0.3).reshape(()))
    path.write_bytes(model.SerializeToString())
    x = rng.normal(size=(3, 5, 8)).astype(np.float32)
    assert_close(load(path).forward(x), run(path, x)[0])
