"""Compiled convolutions give the bits of the NumPy code."""

import numpy as np
import pytest
from bits import assert_same_bits, both

from minidl.layers.windows import slide

WINDOWS = "minidl.layers.windows"
CASES = [
    ((5, 28, 28, 1), (3, 3), (1, 1), "same", (1, 1), 16),
    ((40, 14, 14, 16), (3, 3), (1, 1), "same", (1, 1), 32),
    ((7, 9, 8, 3), (3, 2), (2, 1), "valid", (1, 2), 4),
    ((7, 9, 8, 5), (2, 3), (1, 3), ((1, 0), (2, 1)), (2, 1), 3),
    ((3, 6, 6, 4), (1, 1), (2, 2), "valid", (1, 1), 8),
    ((2, 300, 200, 2), (5, 5), (1, 1), "same", (1, 1), 2),
    # Those that are left to NumPy: no product of matrices, or groups.
    ((3, 6, 6, 4), (3, 3), (1, 1), "same", (1, 1), 1),
    ((3, 6, 6, 1), (1, 1), (1, 1), "same", (1, 1), 4),
    ((3, 3, 3, 4), (3, 3), (1, 1), "valid", (1, 1), 4),
    ((0, 6, 6, 4), (3, 3), (1, 1), "same", (1, 1), 4),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "size", "strides", "padding", "dilation", "filters"), CASES)
@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions_and_their_gradients(shape, size, strides, padding, dilation, filters, groups, dtype):
    if shape[3] % groups or filters % groups:
        pytest.skip("the channels cannot be split")
    rng = np.random.default_rng(0)
    window = slide(shape[1:], size, strides, padding, dilation)
    padded = window.pad(rng.normal(size=shape).astype(dtype))
    kernel = rng.normal(size=(*size, shape[3] // groups, filters)).astype(dtype)
    dy = rng.normal(size=(shape[0], *window.places, filters)).astype(dtype)
    transposed = kernel.swapaxes(2, 3) if groups == 1 and shape[3] == filters else kernel
    for each in (kernel, transposed):
        assert_same_bits(*(convolve(padded, each, window) for convolve in both(WINDOWS, "convolve")))
    gradients = [gradient(padded, dy, window, groups) for gradient in both(WINDOWS, "kernel_gradient")]
    assert_same_bits(*gradients)
    if groups == 1:
        found = both(WINDOWS, "kernel_gradient")[1](np.asfortranarray(padded), np.asfortranarray(dy), window, groups)
        assert_same_bits(found, gradients[0])
        convolve = both(WINDOWS, "convolve")
        assert_same_bits(convolve[1](np.asfortranarray(padded), kernel, window), convolve[0](padded, kernel, window))
