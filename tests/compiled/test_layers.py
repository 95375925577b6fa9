"""Compiled passes of layers give the bits of the NumPy code, at any numbers and shapes."""

import numpy as np
import pytest
from bits import assert_same_bits, both, numbers

from minidl import ReLU, Rescale

SHAPES = [(0, 3), (1, 1), (5, 7), (64, 128), (3, 5, 6, 4), (2, 9, 7, 33)]
everywhere = pytest.mark.parametrize("dtype", [np.float32, np.float64])
shaped = pytest.mark.parametrize("shape", SHAPES, ids=str)


def draw(seed, shape, dtype):
    return numbers(np.random.default_rng(seed), shape, dtype)


@everywhere
@shaped
@pytest.mark.parametrize("transposed", [False, True])
def test_a_relus_gradient(shape, dtype, transposed):
    layer, y, dy = ReLU(), draw(0, shape, dtype), draw(1, shape, dtype)
    if transposed:
        y, dy = y.T, dy.T
    layer.saved = y
    with np.errstate(all="ignore"):
        wanted, found = (backward(layer, dy) for backward in both("minidl.layers.rectifiers:ReLU", "backward"))
    assert_same_bits(found, wanted)


@everywhere
@shaped
@pytest.mark.parametrize("transposed", [False, True])
def test_a_relu(shape, dtype, transposed):
    x = draw(0, shape, dtype)
    x, saved = x.T if transposed else x, []
    for forward in both("minidl.layers.rectifiers:ReLU", "forward"):
        layer = ReLU()
        y = forward(layer, x, training=True)
        saved.append(y)
        assert layer.saved is y
        assert_same_bits(forward(ReLU(), x), y)
    assert_same_bits(saved[1] + 0, saved[0] + 0)  # which sign the larger of 0 and -0 has depends on the processor


@everywhere
@shaped
@pytest.mark.parametrize("kind", ["uint8", "int64", "float32", "float64", "bool"])
@pytest.mark.parametrize("offset", [0.0, -0.5])
def test_scaled_inputs(shape, dtype, kind, offset):
    layer = Rescale(1 / 255, offset=offset)
    layer.dtype = np.dtype(dtype)
    with np.errstate(all="ignore"):
        x = draw(0, shape, np.float64)
        x = x.astype(kind) if kind.startswith("float") else np.nan_to_num(x * 100).astype(kind)
        wanted, found = (forward(layer, x) for forward in both("minidl.layers.shaping:Rescale", "forward"))
    assert_same_bits(found, wanted)
