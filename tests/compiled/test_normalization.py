"""Compiled normalization gives the bits of the NumPy code, at any numbers and shapes."""

import numpy as np
import pytest
from bits import assert_same_bits, both, numbers

from minidl import BatchNorm, LayerNorm
from minidl.errors import ShapeError

HOME = "minidl.layers.normalization"
SHAPES = [(2, 1), (2, 2), (3, 7), (16, 33), (128, 128), (64, 1), (5, 6, 7, 3), (1000, 100), (100_000, 1), (2, 50_000)]
everywhere = pytest.mark.parametrize("dtype", [np.float32, np.float64])
kinds = pytest.mark.parametrize("kind", [BatchNorm, LayerNorm])


def draw(seed, shape, dtype, special=True):
    rng = np.random.default_rng(seed)
    return numbers(rng, shape, dtype) if special else (3 + rng.normal(size=shape)).astype(dtype)


def passes(kind, x, dy, dtype=None, special=False, change=lambda layer: None):
    """All that a training pass and its backward make, by NumPy and by compiled code."""
    ways = (both(f"{HOME}:{kind.__name__}", name) for name in ("forward", "backward"))
    results = []
    for forward, backward in zip(*ways, strict=True):
        layer = kind(epsilon=1e-3)
        layer.set_up(x.shape[1:], 0, dtype=dtype or x.dtype)
        for seed, parameter in enumerate((layer.scale, layer.shift)):
            parameter.value = draw(seed, parameter.value.shape, parameter.value.dtype, special)
        change(layer)
        with np.errstate(all="ignore"):
            made = [forward(layer, x, training=True), *map(np.asarray, layer.saved[:3]), backward(layer, dy)]
        made += [layer.scale.gradient, layer.shift.gradient]
        if kind is BatchNorm:
            made += [layer.running_mean.value, layer.running_variance.value]
        results.append(made)
    return results


def assert_same(numpy, compiled):
    for found, wanted in zip(compiled, numpy, strict=True):
        assert_same_bits(found, wanted)
        assert found.strides == wanted.strides or found.size <= max(found.shape, default=1)


@kinds
@everywhere
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("special", [False, True])
def test_passes_and_all_that_they_leave(kind, shape, special, dtype):
    x, dy = (draw(seed, shape, dtype, special) for seed in (5, 6))
    assert_same(*passes(kind, x, dy, special=special))


@kinds
@pytest.mark.parametrize("shape", [(0, 3), (0, 4, 4, 2), (1, 5), (1, 1), (1, 1, 9), (7, 1)], ids=str)
def test_batches_without_rows_of_one_row_or_of_one_feature(kind, shape):
    x, dy = (draw(seed, shape, np.float32) for seed in (5, 6))
    if kind is BatchNorm and np.prod(shape[:-1]) == 1:
        for forward in both(f"{HOME}:BatchNorm", "forward"):
            layer = BatchNorm()
            layer.set_up(shape[1:], 0)
            with pytest.raises(ShapeError, match="one sample has no variance"):
                forward(layer, x, training=True)
    else:
        assert_same(*passes(kind, x, dy))


@kinds
@pytest.mark.parametrize("arrange", [np.asfortranarray, lambda x: np.repeat(x, 2, axis=-1)[..., ::2]])
@pytest.mark.parametrize("which", [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("shape", [(9, 5), (64, 128), (4, 6, 5, 3)], ids=str)
def test_arrays_in_another_order_of_memory(kind, arrange, which, shape):
    x, dy = (
        arrange(draw(seed, shape, np.float32)) if other else draw(seed, shape, np.float32)
        for seed, other in enumerate(which)
    )
    assert_same(*passes(kind, x, dy))


def read_only(x, path):
    x.flags.writeable = False
    return x


def not_aligned(x, path):
    return np.frombuffer(b"-" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape)


def in_a_file(x, path):
    x.tofile(path / "x")
    return np.memmap(path / "x", x.dtype, "r", shape=x.shape)


@kinds
@pytest.mark.parametrize("arrange", [read_only, not_aligned, in_a_file])
def test_arrays_of_other_kinds_of_memory(kind, arrange, tmp_path):
    x = arrange(draw(0, (9, 5), np.float32), tmp_path)
    numpy, compiled = passes(kind, x, x)
    assert_same(numpy, compiled)
    assert [type(each) for each in compiled] == [type(each) for each in numpy]


@kinds
@pytest.mark.parametrize(
    "types", [("f4", "f4", "f8"), ("f8", "f8", "f4"), ("f4", "f8", "f4"), ("f2", "f2", "f4"), (">f4", ">f4", "f4")]
)
def test_numbers_of_another_type_than_the_layers(kind, types):
    x, dy = (draw(seed, (9, 5), np.float32, special=False).astype(each) for seed, each in enumerate(types[:2]))
    assert_same(*passes(kind, x, dy, dtype=np.dtype(types[2])))


def freeze(layer):
    layer.trainable = False


def share(layer):
    layer.over_batch = lambda sums: np.multiply(sums, 2, out=sums)


@pytest.mark.parametrize("change", [freeze, share])
def test_a_frozen_layer_and_one_that_shares_its_batch(change):
    x, dy = (draw(seed, (9, 5), np.float32, special=False) for seed in (5, 6))
    assert_same(*passes(BatchNorm, x, dy, change=change))


@kinds
@everywhere
@pytest.mark.parametrize("shape", SHAPES[:6], ids=str)
def test_inference(kind, shape, dtype):
    x, results = draw(0, shape, dtype), []
    for forward in both(f"{HOME}:{kind.__name__}", "forward"):
        layer = kind()
        layer.set_up(shape[1:], 0, dtype=dtype)
        with np.errstate(all="ignore"):
            results.append(forward(layer, x))
        assert not hasattr(layer, "saved")
    assert_same_bits(*results)


def test_a_gradient_of_another_size_is_an_error_as_it_is_to_numpy():
    for kind in (BatchNorm, LayerNorm):
        for backward in both(f"{HOME}:{kind.__name__}", "backward"):
            layer = kind()
            layer.set_up((5,), 0)
            layer.forward(draw(0, (9, 5), np.float32, special=False), training=True)
            with pytest.raises(ValueError, match="reshape"):
                backward(layer, draw(0, (8, 5), np.float32))


@everywhere
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (5, 7), (64, 128)], ids=str)
def test_the_ends_of_a_pass(shape, dtype):
    x, scale, shift = draw(0, shape, dtype), draw(1, shape[1], dtype), draw(2, shape[1], dtype)
    with np.errstate(all="ignore"):
        wanted, found = (f(x, scale, shift) for f in both(HOME, "_scale_and_shift"))
        assert_same_bits(found, wanted)
        taken = [draw(3, shape, dtype) for _ in range(2)]
        for dx, take_off in zip(taken, both(HOME, "_take_off"), strict=True):
            take_off(dx, x, scale, shift)
    assert_same_bits(taken[1], taken[0])
