"""NumPy's functions, called from compiled loops, give the bits that NumPy gives."""

import numpy as np
import pytest
from bits import SIZES, assert_same_bits, numbers

pytest.importorskip("numba")

from minidl.compiled.ufuncs import apply, loop_of


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ufunc", [np.exp, np.log])
@np.errstate(all="ignore")
def test_a_loop_gives_what_the_function_gives(ufunc, dtype, size):
    x = numbers(np.random.default_rng(size), size, dtype)
    loop, y = loop_of(ufunc, x.dtype), np.empty_like(x)
    apply(loop, x, y)
    assert_same_bits(y, ufunc(x))
    apply(loop, x, x)  # in the place of what it reads
    assert_same_bits(x, y)
