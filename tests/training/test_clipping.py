import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from minidl import SGD, Dense, MeanSquaredError, Momentum, Sequential, Trainer
from minidl.errors import ArgumentError, ArgumentTypeError
from minidl.training.gradients import clip


def clipped(gradients, clip_norm=None, clip_value=None):
    """What `clip` makes of a copy of the gradients."""
    result = gradients.copy()
    assert clip(result, clip_norm, clip_value) is None
    assert result.dtype == gradients.dtype
    return result


def test_gradients_longer_than_clip_norm_are_scaled_down_to_it_and_others_are_left():
    np.testing.assert_allclose(clipped(np.array([3.0, -4.0]), clip_norm=0.5), [0.3, -0.4], rtol=1e-15)
    for bounds in ({"clip_norm": 5.0}, {"clip_norm": 5.1}, {"clip_value": 4.0}, {}):
        np.testing.assert_array_equal(clipped(np.array([3.0, -4.0]), **bounds), [3, -4])


def test_entries_beyond_clip_value_are_cut_on_both_sides_and_the_norm_comes_after():
    gradients = np.array([3.0, -4.0, 0.5])
    np.testing.assert_array_equal(clipped(gradients, clip_value=1.0), [1, -1, 0.5])
    np.testing.assert_array_equal(clipped(gradients, clip_value=3.5), [3, -3.5, 0.5])
    np.testing.assert_allclose(clipped(gradients, clip_value=1.0, clip_norm=0.75), [0.5, -0.5, 0.25], rtol=1e-15)


vectors = arrays(np.float64, st.integers(1, 20), elements=st.floats(-1e3, 1e3, allow_subnormal=False))
bounds = st.none() | st.floats(1e-3, 1e3)


@given(vectors, bounds, bounds)
def test_both_bounds_hold_and_only_what_is_beyond_them_changes(gradients, clip_norm, clip_value):
    found = clipped(gradients, clip_norm, clip_value)
    expected = [max(min(g, clip_value), -clip_value) for g in gradients] if clip_value else gradients.tolist()
    norm = math.hypot(*expected)
    if clip_norm and norm > clip_norm:
        expected = [g * clip_norm / norm for g in expected]
    # The norm is a sum of up to 20 squares, and comes with as many roundings.
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    assert clip_norm is None or math.hypot(*found) <= clip_norm * (1 + 1e-14)
    assert clip_value is None or np.abs(found).max() <= clip_value


@pytest.mark.parametrize("size", [1e30, 3e38, 1e-30, 1e-44])
def test_squares_that_overflow_or_vanish_in_float32_make_no_other_norm(size):
    gradients = np.full(100_000, size, np.float32)
    clip_norm = 1e-3 * float(gradients[0])
    # Entries of 1e-44 have three bits left.
    np.testing.assert_allclose(
        clipped(gradients, clip_norm=1e-3), np.full(100_000, min(size, 1e-3 / 100_000**0.5)), rtol=0.2
    )
    if size > 1e-44:
        expected = np.full(100_000, clip_norm / 100_000**0.5)
        np.testing.assert_allclose(clipped(gradients, clip_norm=clip_norm), expected, rtol=1e-4)


@pytest.mark.parametrize("size", [1e300, 1e-200, 1e-160])
def test_squares_that_overflow_or_vanish_in_float64_make_no_other_norm(size):
    gradients = size * np.array([3.0, 0.0, -4.0])
    np.testing.assert_allclose(clipped(gradients, clip_norm=2.5 * size), gradients / 2, rtol=1e-14)
    np.testing.assert_array_equal(clipped(gradients, clip_norm=6 * size), gradients)
    np.testing.assert_array_equal(clipped(gradients, clip_norm=6 * size, clip_value=5 * size), gradients)


@pytest.mark.parametrize("size", [1e-15, 1e-14, 1e-16])
def test_a_norm_where_the_one_way_of_taking_it_meets_the_other_is_clipped_alike(size):
    gradients = size * np.array([0.6, -0.8])
    np.testing.assert_allclose(clipped(gradients, clip_norm=size / 2), gradients / 2, rtol=1e-14)


def test_gradients_that_are_not_finite_are_not_made_to_look_so():
    for bad in (math.inf, math.nan):
        assert not np.isfinite(clipped(np.array([1.0, bad]), clip_norm=1.0)).all()
    assert np.isnan(clipped(np.array([1.0, math.nan]), clip_value=0.5)[1])


def test_zeros_and_no_gradients_at_all_stay_as_they_are():
    for size in (3, 0):
        found = clipped(np.zeros(size), clip_norm=1.0, clip_value=1.0)
        np.testing.assert_array_equal(found, np.zeros(size))


def test_a_vector_within_another_is_clipped_in_place_and_alone():
    memory = np.full((2, 6), 3.0, np.float32)
    clip(memory[0, 1:5], 3.0, None)
    np.testing.assert_allclose(memory, [[3, 1.5, 1.5, 1.5, 1.5, 3], [3] * 6])


# The bounds as settings of a trainer


def step_of(optimizer, gradient, **bounds):
    """How far a trainer's first step goes, on one weight for each entry whose gradients are these."""
    model = Sequential([Dense(1, initializer="zeros", use_bias=False), MeanSquaredError()], seed=0, dtype="float64")
    trainer = Trainer(model, optimizer, batch_size=None, seed=0, **bounds)
    trainer.fit([gradient], [-0.5], progress=False)  # the gradient of a weight w of 0 is 2 (0 - y) x = x
    return model.parameters


@pytest.mark.parametrize("make", [lambda: SGD(0.1), lambda: Momentum(0.1)], ids=["sgd", "momentum"])
def test_a_trainer_clips_for_every_optimizer(make):
    np.testing.assert_allclose(step_of(make(), [3.0, -4.0]), [-0.3, 0.4], rtol=1e-14)
    np.testing.assert_allclose(step_of(make(), [3.0, -4.0], clip_norm=0.5), [-0.03, 0.04], rtol=1e-14)
    np.testing.assert_allclose(step_of(make(), [3.0, -4.0], clip_value=1.0), [-0.1, 0.1], rtol=1e-14)
    both = step_of(make(), [3.0, -4.0], clip_value=1.0, clip_norm=0.5**0.5)
    np.testing.assert_allclose(both, [-0.05, 0.05], rtol=1e-14)


@pytest.mark.parametrize("name", ["clip_norm", "clip_value"])
def test_a_bound_of_the_gradients_is_a_number_above_zero(name):
    model = Sequential([Dense(1), MeanSquaredError()])
    trainer = Trainer(model, SGD(), **{name: 2})
    for value in (0, -1.0, math.nan, math.inf):
        message = f"Trainer: {name} is {value}; it must be a finite number, above 0"
        with pytest.raises(ArgumentError, match=message):
            Trainer(model, SGD(), **{name: value})
        with pytest.raises(ArgumentError, match=message):
            setattr(trainer, name, value)
    with pytest.raises(ArgumentTypeError, match=f"Trainer: {name} is '1'"):
        Trainer(model, SGD(), **{name: "1"})
    assert getattr(trainer, name) == 2
    setattr(trainer, name, None)
