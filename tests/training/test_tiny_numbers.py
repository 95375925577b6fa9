"""Slots of an optimizer lose their subnormal numbers, and keep all others."""

import numpy as np
import pytest

from minidl import SGD, Adagrad, Adam, Dense, Momentum, ReLU, Sequential, SoftmaxCrossEntropy, Trainer
from minidl.training.tiny_numbers import EVERY, clear_tiny_numbers

VALUES = [0.0, 1.0, -1e-30, 9e-32, -1e-38, 1e-45, np.inf, np.nan]
CLEARED = [0.0, 1.0, -1e-30, 0.0, 0.0, 0.0, np.inf, np.nan]


@pytest.mark.parametrize("steps", [EVERY, 7 * EVERY])
def test_numbers_below_the_limit_become_zero(steps):
    optimizer = Adam()
    optimizer.step, optimizer.state = steps, {name: np.array(VALUES, np.float32) for name in ("m", "v")}
    clear_tiny_numbers(optimizer)
    for slot in optimizer.state.values():
        np.testing.assert_array_equal(slot, np.array(CLEARED, np.float32))


def test_the_limit_is_that_of_the_slots_type():
    optimizer = Momentum()
    optimizer.step, optimizer.state = EVERY, {"v": np.array([1e-31, -1e-290, 1e-293, 5e-324])}
    clear_tiny_numbers(optimizer)
    np.testing.assert_array_equal(optimizer.state["v"], [1e-31, -1e-290, 0, 0])


@pytest.mark.parametrize(("optimizer", "steps"), [(Adam(), EVERY - 1), (Adam(), EVERY + 1), (Adagrad(), EVERY)])
def test_other_steps_and_sums_that_never_shrink_change_nothing(optimizer, steps):
    optimizer.step, optimizer.state = steps, {"s": np.array(VALUES, np.float32)}
    clear_tiny_numbers(optimizer)
    np.testing.assert_array_equal(optimizer.state["s"], np.array(VALUES, np.float32))


def test_an_optimizer_without_slots_has_nothing_to_clear():
    optimizer = SGD()
    optimizer.step = EVERY
    clear_tiny_numbers(optimizer)
    assert optimizer.state == {}


@pytest.mark.parametrize("optimizer", [Adam(), Momentum()])
def test_the_mean_of_gradients_of_an_input_that_is_no_longer_used_ends_at_zero(optimizer):
    rng = np.random.default_rng(0)
    x, y = rng.random((32, 5), np.float32), rng.integers(0, 3, 32)
    model = Sequential([Dense(4), ReLU(), Dense(3), SoftmaxCrossEntropy()], input_shape=5, seed=0)
    trainer = Trainer(model, optimizer, batch_size=8, seed=0)
    trainer.fit(x, y, progress=False)
    x[:, 0] = 0
    trainer.fit(x, y, epochs=300, progress=False)  # without the limit, rounding would keep the numbers above 0
    slot = trainer.optimizer.state[optimizer.slots[0]]
    assert not slot[:4].any()
    assert (np.abs(slot[4:20]) > np.finfo(np.float32).tiny).sum() > 8
