import numpy as np
import pytest
from trajectories import assert_takes_the_way_of, decreasing

from minidl.errors import ArgumentError, ArgumentTypeError
from minidl.optimizers import SGD, Momentum


def sgd(p, gradients, rates):
    for g, rate in zip(gradients, rates, strict=True):
        p = p - rate * g
        yield p


def momentum(p, gradients, rates, mu=0.9, nesterov=False):
    v = 0.0
    for g, rate in zip(gradients, rates, strict=True):
        v = mu * v + g
        p = p - rate * (g + mu * v) if nesterov else p - rate * v
        yield p


CASES = [
    (SGD(), sgd, 0.01, {}),
    (SGD(0.5), sgd, 0.5, {}),
    (SGD(decreasing), sgd, decreasing, {}),
    (Momentum(), momentum, 0.01, {}),
    (Momentum(0.1, momentum=0.5), momentum, 0.1, {"mu": 0.5}),
    (Momentum(0.1, momentum=0), momentum, 0.1, {"mu": 0}),
    (Momentum(0.1, nesterov=True), momentum, 0.1, {"nesterov": True}),
    (Momentum(decreasing, 0.99, True), momentum, decreasing, {"mu": 0.99, "nesterov": True}),
]


@pytest.mark.parametrize(("optimizer", "algorithm", "rate", "settings"), CASES, ids=repr)
def test_the_trajectory_is_that_of_the_published_algorithm(optimizer, algorithm, rate, settings):
    assert_takes_the_way_of(algorithm, optimizer, rate, settings)


@pytest.mark.parametrize("value", [1, -0.1, np.nan])
def test_a_momentum_out_of_its_range_is_refused(value):
    with pytest.raises(ArgumentError, match=rf"Momentum: momentum is {value}; it must be a finite number, in \[0, 1\)"):
        Momentum(momentum=value)


@pytest.mark.parametrize("value", ["no", 0, None])
def test_a_flag_that_is_neither_true_nor_false_is_refused(value):
    with pytest.raises(ArgumentTypeError, match=rf"Momentum: nesterov is {value!r}; it must be True or False"):
        Momentum(nesterov=value)
