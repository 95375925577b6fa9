"""Compiled attention gives the bits of the NumPy code, at any numbers, masks and shapes."""

import numpy as np
import pytest
from bits import assert_same_bits, both, numbers

from minidl import MultiHeadAttention
from minidl.compiled import switch

HOME = "minidl.sequences.attention"
SHAPES = [(1, 1, 2, 2), (1, 1, 1, 5), (2, 1, 1, 1), (2, 3, 1, 9), (3, 2, 5, 5), (2, 2, 33, 33), (2, 4, 64, 64)]
SHAPES += [(1, 2, 3, 20), (2, 1, 7, 300), (0, 2, 4, 4), (16, 4, 64, 64)]
everywhere = pytest.mark.parametrize("dtype", [np.float32, np.float64])
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def masks(shape, seed=0):
    """None, and one of which the first row has no key."""
    counts = np.random.default_rng(seed).random((shape[0], shape[3])) < 0.7
    counts[:1] = False
    return [None, counts, np.ones_like(counts)]


@everywhere
@shapes
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("special", [False, True])
def test_softmax(shape, causal, special, dtype):
    rng = np.random.default_rng(0)
    scores = numbers(rng, shape, dtype) if special else (5 * rng.normal(size=shape)).astype(dtype)
    for mask in masks(shape):
        results = []
        for softmax in both(HOME, "_softmax"):
            results.append(scores.copy())
            with np.errstate(all="ignore"):
                assert softmax(results[-1], causal, mask) is None
        assert_same_bits(results[1], results[0])


@everywhere
def test_softmax_of_the_largest_and_smallest_numbers(dtype):
    limits, rng = np.finfo(dtype), np.random.default_rng(0)
    kinds = np.array([limits.max, limits.min, limits.tiny, -limits.smallest_subnormal, 0, -0.0, -np.inf, 1], dtype)
    for count in range(1, len(kinds) + 1):
        scores, results = rng.choice(kinds[:count], (4, 2, 6, 6)), []
        for softmax in both(HOME, "_softmax"):
            results.append(scores.copy())
            with np.errstate(all="ignore"):
                softmax(results[-1], False, None)
        assert_same_bits(results[1], results[0])


@everywhere
@shapes
def test_the_gradient_by_the_scores(shape, dtype):
    rng = np.random.default_rng(1)
    weights, dweights = numbers(rng, shape, dtype), numbers(rng, shape, dtype)
    heads_last = numbers(rng, (shape[0], shape[2], shape[1], 1), dtype)
    results = []
    for to_scores in both(HOME, "_to_scores"):
        results.append(dweights.copy())
        with np.errstate(all="ignore"):
            assert to_scores(weights, results[-1], heads_last.transpose(0, 2, 1, 3)) is None
    assert_same_bits(results[1], results[0])


@pytest.mark.parametrize("dtype", ["f2", ">f4"])
def test_numbers_of_another_type_go_to_numpy(dtype):
    scores, results = np.random.default_rng(0).normal(size=(2, 2, 5, 5)).astype(dtype), []
    for softmax, to_scores in zip(both(HOME, "_softmax"), both(HOME, "_to_scores"), strict=True):
        weights = scores.copy()
        softmax(weights, True, None)
        dscores = scores.copy()
        to_scores(weights, dscores, scores[..., :1])
        results.append((weights, dscores))
    for found, wanted in zip(*results, strict=True):
        assert_same_bits(found, wanted)


@pytest.mark.parametrize("arrange", [np.asfortranarray, lambda x: np.repeat(x, 2, axis=-1)[..., ::2]])
def test_scores_in_another_order_of_memory(arrange):
    scores, results = np.random.default_rng(0).normal(size=(2, 2, 5, 6)).astype(np.float32), []
    for softmax in both(HOME, "_softmax"):
        results.append(arrange(scores.copy()))
        softmax(results[-1], False, masks(scores.shape)[1])
    assert_same_bits(results[1], results[0])


@pytest.mark.parametrize(
    "options", [{}, {"causal": True, "rotary": True}, {"rotary": True, "use_bias": False}, {"dropout": 0.3}], ids=str
)
@pytest.mark.parametrize("mask", [False, True])
def test_all_that_a_layer_computes(options, mask, compiled_code):
    x = np.random.default_rng(0).normal(size=(5, 12, 8)).astype(np.float32)
    mask, results = masks((5, 2, 12, 12))[1] if mask else None, []
    for on in (False, True):
        switch(on)
        layer = MultiHeadAttention(2, **options)
        layer.set_up((12, 8), 0)
        y = layer.forward(x, training=True, mask=mask)
        gradients = [parameter.gradient for parameter in layer.named_parameters().values()]
        results.append([y, layer.backward(x), *gradients, layer.attention_weights(x, mask)])
        if layer.causal:
            memory = {}
            results[-1] += [layer.continued(x[:, :7], memory), layer.continued(x[:, 7:8], memory)]
    for found, wanted in zip(*reversed(results), strict=True):
        assert_same_bits(found, wanted)
