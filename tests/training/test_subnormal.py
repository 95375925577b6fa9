"""Slots of an optimizer lose their subnormal numbers, and keep all others."""

import numpy as np
import pytest

from minidl import SGD, Adagrad, Adam, Dense, Lion, Momentum, ReLU, RMSprop, Sequential, SoftmaxCrossEntropy, Trainer
from minidl.training.subnormal import EVERY, clear_subnormal

VALUES = [0.0, 1.0, -1e-30, 1.2e-38, -1.1e-38, 1e-45, np.inf, np.nan]
CLEARED = [0.0, 1.0, -1e-30, 1.2e-38, 0.0, 0.0, np.inf, np.nan]
ALL = [slice(0, len(VALUES))]


@pytest.mark.parametrize("steps", [EVERY, 7 * EVERY])
def test_subnormal_numbers_become_zero(steps):
    optimizer = Adam()
    optimizer.step, optimizer.state = steps, {name: np.array(VALUES, np.float32) for name in ("m", "v")}
    clear_subnormal(optimizer, ALL)
    for slot in optimizer.state.values():
        np.testing.assert_array_equal(slot, np.array(CLEARED, np.float32))


def test_the_limit_is_that_of_the_slots_type():
    optimizer = Momentum()
    optimizer.step, optimizer.state = EVERY, {"v": np.array([1e-40, -3e-308, 2e-308, 5e-324])}
    clear_subnormal(optimizer, [slice(0, 4)])
    np.testing.assert_array_equal(optimizer.state["v"], [1e-40, -3e-308, 0, 0])


@pytest.mark.parametrize(("optimizer", "steps"), [(Adam(), EVERY - 1), (Adam(), EVERY + 1), (Adagrad(), EVERY)])
def test_other_steps_and_sums_that_never_shrink_change_nothing(optimizer, steps):
    optimizer.step, optimizer.state = steps, {"s": np.array(VALUES, np.float32)}
    clear_subnormal(optimizer, ALL)
    np.testing.assert_array_equal(optimizer.state["s"], np.array(VALUES, np.float32))


def test_frozen_parts_and_slots_of_whole_numbers_do_not_change():
    optimizer = Momentum()
    optimizer.step, optimizer.state = EVERY, {"v": np.full(6, 1e-40, np.float32), "count": np.arange(6)}
    clear_subnormal(optimizer, [slice(1, 2), slice(4, 6)])
    np.testing.assert_array_equal(optimizer.state["v"] == 0, [False, True, False, False, True, True])
    np.testing.assert_array_equal(optimizer.state["count"], np.arange(6))


def test_an_optimizer_without_slots_has_nothing_to_clear():
    optimizer = SGD()
    optimizer.step = EVERY
    clear_subnormal(optimizer, ALL)
    assert optimizer.state == {}


def run_with_an_input_that_ends(optimizer):
    """Train for an epoch with all inputs, and then without the first; return the trainer."""
    rng = np.random.default_rng(0)
    x, y = rng.random((32, 5), np.float32), rng.integers(0, 3, 32)
    model = Sequential([Dense(4), ReLU(), Dense(3), SoftmaxCrossEntropy()], input_shape=5, seed=0)
    trainer = Trainer(model, optimizer, batch_size=8, seed=0)
    trainer.fit(x, y, progress=False)
    x[:, 0] = 0
    trainer.fit(x, y, epochs=300, progress=False)
    return trainer


@pytest.mark.parametrize("make", [Adam, Momentum, RMSprop, Lion])
def test_a_mean_of_gradients_that_stay_zero_ends_at_zero_and_no_parameter_differs(make, monkeypatch):
    trainer = run_with_an_input_that_ends(make())
    slot = trainer.optimizer.state[trainer.optimizer.slots[0]]
    if make is not Lion:  # its mean is still a normal number
        assert not slot[:4].any()
    assert (np.abs(slot[4:20]) > np.finfo(np.float32).tiny).sum() > 8

    monkeypatch.setattr("minidl.training.trainer.clear_subnormal", lambda optimizer, trained: None)
    monkeypatch.setattr("minidl.training.subnormal.clear_subnormal", lambda optimizer, trained: None)
    kept = run_with_an_input_that_ends(make())
    np.testing.assert_array_equal(kept.model.parameters, trainer.model.parameters)
    if make is not Lion:
        assert kept.optimizer.state[trainer.optimizer.slots[0]][:4].any()
