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


def assert_takes_the_way_of(algorithm, optimizer, rate, settings, tolerance=1e-13):
    """Compare every step with those of ``algorithm(p, gradients, rates, **settings)``, which yields p after each."""
    optimizer = copy.deepcopy(optimizer)
    optimizer.check()
    parameters, gradients = draw()
    rates = [rate(step) if callable(rate) else rate for step in range(STEPS)]
    expected = [
        list(algorithm(p, gs, rates, **settings))
        for p, gs in zip(parameters.tolist(), gradients.T.tolist(), strict=True)
    ]
    for step in range(STEPS):
        optimizer.apply(parameters, gradients[step])
        assert optimizer.step == step + 1
        # Rounding in another order: at most some 1e-16 a step of the largest number on the way.
        largest = np.abs(expected).max(axis=1)
        np.testing.assert_array_less(np.abs(parameters - np.array(expected)[:, step]), tolerance * (1 + largest))
