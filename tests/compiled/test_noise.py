"""Compiled dropout draws and gives the bits of the NumPy code, and leaves its generator in the same state."""

import copy
import threading

import numpy as np
import pytest
from bits import SIZES, assert_same_bits, both, numbers

from minidl import Dropout, Dropout2D
from minidl.errors import NotReadyError

FORWARD = "minidl.layers.noise:Dropout", "forward"
everywhere = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def state_of(generator):
    state = copy.deepcopy(generator.bit_generator.state)
    return {name: str(value) for name, value in state.items()}


def passes(x, rate, kind=Dropout, bits=np.random.PCG64, drawn_before=0, training=True):
    """Return what two passes of NumPy, and of compiled code, give and keep, and the state that they end in."""
    results = []
    for forward in both(*FORWARD):
        layer = kind(rate)
        layer.generator = np.random.Generator(bits(3))
        layer.generator.integers(9, size=drawn_before, dtype=np.int32)  # a half of a number of 64 bits may be left
        made = []
        with np.errstate(all="ignore"):
            for _ in range(2):
                made += [forward(layer, x, training=training), *([layer.saved] if training else [])]
        results.append((made, state_of(layer.generator)))
    return results


def assert_same(x, *args, **options):
    (wanted, state), (found, end) = passes(x, *args, **options)
    for each, expected in zip(found, wanted, strict=True):
        assert_same_bits(each, expected)
        assert each.strides == expected.strides or not x.size
    assert end == state


@everywhere
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 0.999999])
def test_what_is_dropped_and_what_is_left(size, rate, dtype):
    assert_same(numbers(np.random.default_rng(0), size, dtype), rate)


@pytest.mark.parametrize("shape", [(128, 128), (5, 7), (0, 3), (3, 5, 6, 2), ()], ids=str)
def test_batches_of_any_shape(shape):
    assert_same(np.random.default_rng(0).normal(size=shape).astype(np.float32)[...], 0.3)


@pytest.mark.parametrize("kind", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
@pytest.mark.parametrize("drawn_before", [0, 1, 2])
def test_any_generator_of_bits_and_state_of_it(kind, drawn_before):
    x = np.ones((9, 5), np.float32)
    assert_same(x, 0.4, bits=getattr(np.random, kind), drawn_before=drawn_before)


@pytest.mark.parametrize("kind", ["f2", ">f4", "i4"])
def test_numbers_of_other_types(kind):
    assert_same(np.arange(10).astype(kind), 0.5)


@pytest.mark.parametrize("arrange", [np.asfortranarray, lambda x: np.repeat(x, 2, axis=-1)[..., ::2]])
def test_arrays_in_another_order_of_memory(arrange):
    assert_same(arrange(np.random.default_rng(0).normal(size=(9, 6))), 0.5)


def test_whole_channels_and_inference():
    x = np.random.default_rng(0).normal(size=(5, 4, 3, 6))
    assert_same(x, 0.5, kind=Dropout2D)
    assert_same(x, 0.5, training=False)


class Own(np.random.Generator):
    def integers(self, *args, **options):
        return np.zeros_like(super().integers(*args, **options))


def test_a_generator_of_ones_own_draws_in_its_way():
    layer = Dropout(0.5)
    layer.generator = Own(np.random.PCG64(0))
    assert_same_bits(both(*FORWARD)[1](layer, np.ones(9, np.float32), training=True), np.full(9, 2, np.float32))


def test_without_a_generator_the_error_says_what_to_do():
    for forward in both(*FORWARD):
        with pytest.raises(NotReadyError, match="set_up"):
            forward(Dropout(0.5), np.ones(3, np.float32), training=True)


def test_it_waits_for_another_thread_that_draws_from_the_generator():
    layer, x = Dropout(0.5), np.ones(8, np.float32)
    layer.generator = np.random.default_rng(0)
    forward = both(*FORWARD)[1]
    forward(layer, x, training=True)
    thread = threading.Thread(target=forward, args=(layer, x), kwargs={"training": True})
    with layer.generator.bit_generator.lock:
        thread.start()
        thread.join(timeout=0.05)
        assert thread.is_alive()
    thread.join()


@everywhere
@pytest.mark.parametrize("kept_levels", [1, 20_000, 2**16])
def test_a_mask(dtype, kept_levels):
    draws = np.random.default_rng(0).integers(0, 2**16, 1000, np.uint16)
    wanted, found = (f(draws, kept_levels, np.empty(3, dtype)) for f in both("minidl.layers.noise", "_mask"))
    assert_same_bits(found, wanted)
