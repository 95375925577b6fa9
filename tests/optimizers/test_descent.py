import numpy as np
import pytest
from labels import label
from trajectories import assert_takes_the_way_of, decreasing

from minidl.errors import ArgumentError, ArgumentTypeError
from minidl.optimizers import SGD, Momentum


def sgd(p, gradients, rates):
    for g, rate in zip(gradients, rates, strict=True):
        p = p - rate * g
        yield (p,)


def momentum(p, gradients, rates, mu=0.9, nesterov=False):
    v = 0.0
    for g, rate in zip(gradients, rates, strict=True):
        v = mu * v + g
        p = p - rate * (g + mu * v) if nesterov else p - rate * v
        yield p, v


CASES = [
    (SGD(), sgd, 0.01, {}),
    (SGD(0.5), sgd, 0.5, {}),
    (SGD(decreasing), sgd, decreasing, {}),
    (Momentum(), momentum, 0.01, {}),
    (Momentum(0.1, momentum=0.5), momentum, 0.1, {"mu": 0.5}),
    (Momentum(0.1, momentum=0), momentum, 0.1, {"mu": 0}),
    (Momentum(0.1, nesterov=True), momentum, 0.1, {"nesterov": True}),
    (Momentum(decreasing, momentum=0.99, nesterov=True), momentum, decreasing, {"mu": 0.99, "nesterov": True}),
]


@pytest.mark.parametrize(("optimizer", "algorithm", "rate", "settings"), CASES, ids=label)
def test_the_trajectory_is_that_of_the_published_algorithm(optimizer, algorithm, rate, settings):
    assert_takes_the_way_of(algorithm, optimizer, rate, settings)


@pytest.mark.parametrize("value", [1, -0.1, np.nan])
def test_a_momentum_out_of_its_range_is_refused_when_made_and_when_changed(value):
    optimizer = Momentum(momentum=0.5)
    message = rf"Momentum: momentum is {value}; it must be a finite number, in \[0, 1\)"
    with pytest.raises(ArgumentError, match=message):
        Momentum(momentum=value)
    with pytest.raises(ArgumentError, match=message):
        optimizer.momentum = value
    assert optimizer.momentum == 0.5


@pytest.mark.parametrize("value", ["no", 0, None])
def test_a_flag_that_is_neither_true_nor_false_is_refused(value):
    with pytest.raises(ArgumentTypeError, match=rf"Momentum: nesterov is {value!r}; it must be True or False"):
        Momentum(nesterov=value)


def test_the_velocity_is_that_of_the_formula_also_where_the_momentum_changes_in_a_run():
    optimizer, parameters, velocity = Momentum(0.1), np.zeros(3), np.zeros(3)
    for step, momentum in enumerate([0.9, 0.5, 0.0, 0.99, 0.9]):
        optimizer.momentum, gradients = momentum, np.arange(3.0) - step
        velocity = momentum * velocity + gradients
        optimizer.apply(parameters, gradients)
        np.testing.assert_allclose(optimizer.state["v"], velocity, rtol=1e-14)
