"""Oracles of the optimizers: gradients, and the comparison with an algorithm in Python's own numbers."""

import copy

import numpy as np

STEPS, SIZE = 50, 7


def decreasing(step):
    return 0.1 / (1 + step)


def draw(dtype=np.float64, seed=0):
    """First parameters, and a gradient for each of the steps, of very different sizes."""
    rng = np.random.default_rng(seed)
    sizes = np.logspace(-4, 2, SIZE)
    return rng.normal(size=SIZE).astype(dtype), (sizes * rng.normal(size=(STEPS, SIZE))).astype(dtype)


def entry_by_entry(algorithm, *arguments, **settings):
    """What ``algorithm(p, gradients, *arguments, **settings)`` yields after each step: (STEPS, values, SIZE)."""
    parameters, gradients = draw()
    ways = zip(parameters.tolist(), gradients.T.tolist(), strict=True)
    return np.moveaxis([list(algorithm(p, slopes, *arguments, **settings)) for p, slopes in ways], 0, -1)


def assert_takes_the_way_of(algorithm, optimizer, rate, settings, tolerance=1e-13):
    """Compare parameters and slots with those of ``algorithm(p, gradients, rates, **settings)`` after every step.

    It yields p and the slots, in their order.
    """
    optimizer = copy.deepcopy(optimizer)
    parameters, gradients = draw()
    expected = entry_by_entry(algorithm, [rate(step) if callable(rate) else rate for step in range(STEPS)], **settings)
    # Rounding in another order: at most some 1e-16 a step of the largest number on the way.
    largest = np.abs(expected).max(axis=0)
    for step in range(STEPS):
        optimizer.apply(parameters, gradients[step])
        assert optimizer.step == step + 1
        found = np.array([parameters, *optimizer.state.values()])
        assert tuple(optimizer.state) == optimizer.slots
        np.testing.assert_array_less(np.abs(found - expected[step]), tolerance * (1 + largest))
