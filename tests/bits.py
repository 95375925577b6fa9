"""Numbers of all kinds, and whether two arrays of them have the same bits."""

import inspect

import numpy as np
import pytest

from minidl.compiled.switching import replacements

SIZES = (0, 1, 2, 7, 16, 33, 1000, 100_000)


def compiled_functions(name):
    """The compiled functions of a name, with those that they replace; without numba the test is skipped."""
    pytest.importorskip("numba")
    return [each for each in replacements() if each.name == name]


def both(home, name):
    """NumPy's function and the compiled one, which take the same arguments."""
    (found,) = [each for each in compiled_functions(name) if each.home == home]
    wanted, given = (list(inspect.signature(each).parameters.values()) for each in (found.numpy, found.compiled))
    assert [(each.name, each.default) for each in given] == [(each.name, each.default) for each in wanted]
    return found.numpy, found.compiled


def numbers(rng, shape, dtype, stride=1):
    """Random numbers of all sizes, among them zeros of both signs, infinities, NaN and subnormal ones.

    They are every `stride`-th of an array along its last axis.
    """
    shape = (shape,) if isinstance(shape, int) else shape
    whole = (*shape[:-1], shape[-1] * stride)
    values = (rng.normal(size=whole) * 10.0 ** rng.integers(-3, 4, whole)).astype(dtype)
    smallest = np.finfo(dtype).smallest_subnormal
    special = np.array([0, -0.0, np.inf, -np.inf, np.nan, smallest, -7 * smallest, np.finfo(dtype).max, 1], dtype)
    chosen = rng.random(whole) < 0.1
    values[chosen] = rng.choice(special, chosen.sum())
    return values[..., ::stride]


def assert_same_bits(found, wanted):
    """Also the sign of a zero counts; all NaN are the same."""
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    kind = f"u{wanted.itemsize}"
    bits, expected = (
        np.ascontiguousarray(np.where(np.isnan(each), np.nan, each)).astype(each.dtype).view(kind)
        for each in (found, wanted)
    )
    np.testing.assert_array_equal(bits, expected)
