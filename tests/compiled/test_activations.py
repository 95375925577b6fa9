"""Compiled GELU gives the bits of the NumPy code, at any numbers and shapes."""

import numpy as np
import pytest
from bits import SIZES, assert_same_bits, both, numbers

from minidl import GELU

SHAPES = [*((size,) for size in SIZES), (), (3, 4, 5), (0, 3), (7, 2048), (2047,), (2049,)]


def passes(x, **options):
    """Output in training and inference, and what is kept, by NumPy and by compiled code."""
    results = []
    for forward in both("minidl.layers.activations:GELU", "forward"):
        layer = GELU(**options)
        with np.errstate(all="ignore"):
            inference = forward(layer, x)
            assert "saved" not in vars(layer)
            results.append((inference, forward(layer, x, training=True), layer.saved))
    return results


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("options", [{}, {"approximate": True}], ids=str)
def test_a_pass_and_what_it_leaves(shape, dtype, options):
    rng = np.random.default_rng(0)
    x = numbers(rng, shape, dtype) if shape else np.array(1.25, dtype)
    for found, wanted in zip(*reversed(passes(x, **options)), strict=True):
        assert_same_bits(np.asarray(found), np.asarray(wanted))


def test_numbers_over_the_whole_range():
    x = np.linspace(-20, 20, 400_001, dtype=np.float32)
    for found, wanted in zip(*reversed(passes(x)), strict=True):
        assert_same_bits(found, wanted)


@pytest.mark.parametrize("arrange", [np.asfortranarray, lambda x: np.repeat(x, 2, axis=-1)[..., ::2]])
def test_arrays_in_another_order_of_memory(arrange):
    x = arrange(numbers(np.random.default_rng(0), (9, 5), np.float32))
    for found, wanted in zip(*reversed(passes(x)), strict=True):
        assert_same_bits(found, wanted)
        assert found.strides == wanted.strides
