import copy
import math
import pickle
from dataclasses import dataclass

import numpy as np
import pytest

from minidl.configuration import decode, encode
from minidl.errors import ArgumentError, ArgumentTypeError, ShapeError
from minidl.optimizers import SGD, Adam, Momentum, Optimizer, get_optimizer

STEPS, SIZE = 50, 7


@dataclass(eq=False)
class SignMomentum(Optimizer):
    """A part of the user's own, as the documents show it."""

    momentum: float = 0.9
    slots = ("velocity",)

    def update(self, parameters, gradients, learning_rate, velocity):
        velocity *= self.momentum
        velocity += gradients
        parameters -= learning_rate * np.sign(velocity)


def decreasing(step):
    return 0.1 / (1 + step)


# The papers' algorithms for one parameter, in Python's own numbers. Each yields the parameter after every step.


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


def adam(p, gradients, rates, beta1=0.9, beta2=0.999, epsilon=1e-8):
    m = v = 0.0
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        p = p - rate * m_hat / (math.sqrt(v_hat) + epsilon)
        yield p


def sign_momentum(p, gradients, rates, mu=0.9):
    v = 0.0
    for g, rate in zip(gradients, rates, strict=True):
        v = mu * v + g
        p = p - rate * math.copysign(1, v)
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
    (Adam(), adam, 0.001, {}),
    (Adam(0.1, beta1=0.5, beta2=0.9, epsilon=0.1), adam, 0.1, {"beta1": 0.5, "beta2": 0.9, "epsilon": 0.1}),
    (Adam(0.1, beta1=0, beta2=0), adam, 0.1, {"beta1": 0, "beta2": 0}),
    (Adam(decreasing), adam, decreasing, {}),
    (SignMomentum(0.1), sign_momentum, 0.1, {}),
]
every_optimizer = pytest.mark.parametrize(("optimizer", "algorithm", "rate", "settings"), CASES, ids=repr)
every_class = pytest.mark.parametrize("kind", [SGD, Momentum, Adam, SignMomentum])


def draw(dtype=np.float64, seed=0):
    """First parameters, and a gradient for each of the steps, of very different sizes."""
    rng = np.random.default_rng(seed)
    sizes = np.logspace(-4, 2, SIZE)
    return rng.normal(size=SIZE).astype(dtype), (sizes * rng.normal(size=(STEPS, SIZE))).astype(dtype)


@every_optimizer
def test_the_trajectory_is_that_of_the_published_algorithm(optimizer, algorithm, rate, settings):
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
        np.testing.assert_array_less(np.abs(parameters - np.array(expected)[:, step]), 1e-13 * (1 + largest))


@every_optimizer
def test_a_long_vector_moves_as_its_short_parts_do(optimizer, algorithm, rate, settings):
    rng, size = np.random.default_rng(0), 150_000
    start, gradients = rng.normal(size=size), rng.normal(size=(3, size))
    cuts = [slice(0, 70_000), slice(70_000, size)]  # none of them a multiple of a block
    whole, parts = start.copy(), [start[cut].copy() for cut in cuts]
    optimizers = [copy.deepcopy(optimizer) for _ in range(3)]
    for gradient in gradients:
        optimizers[0].apply(whole, gradient)
        for part, cut, own in zip(parts, cuts, optimizers[1:], strict=True):
            own.apply(part, gradient[cut])
    assert (whole != start).all()
    np.testing.assert_array_equal(whole, np.concatenate(parts))


@pytest.mark.parametrize("elementwise", [True, False])
def test_only_an_elementwise_optimizer_gets_its_vectors_in_blocks(elementwise):
    sizes = []

    class Noting(Optimizer):
        slots = ("slot",)

        def update(self, parameters, gradients, learning_rate, slot):
            sizes.append((parameters.size, gradients.size, slot.size))

    Noting.elementwise = elementwise
    for size in (0, 5, 150_000):
        sizes.clear()
        Noting().apply(np.zeros(size), np.zeros(size))
        assert [sum(column) for column in zip(*sizes, strict=True)] in ([size] * 3, [])
        assert len(sizes) == (size > 0 and 1 + 2 * (elementwise and size > 5))


@every_class
def test_a_step_changes_the_parameters_given_and_nothing_else(kind):
    parameters, (gradients, *_) = draw(np.float32)
    optimizer, memory, given = kind(), np.zeros(SIZE + 4, np.float32), gradients.copy()
    view = memory[2:-2]
    view[:] = parameters
    optimizer.apply(view, gradients)
    assert (view != parameters).all()
    np.testing.assert_array_equal(memory[[0, 1, -2, -1]], 0)
    np.testing.assert_array_equal(gradients, given)
    assert not any(
        np.shares_memory(vector, other) for vector in optimizer.state.values() for other in (view, gradients)
    )


@every_class
def test_state_is_a_vector_for_each_slot_of_the_parameters_dtype(kind):
    parameters, (gradients, *_) = draw(np.float32)
    optimizer = kind()
    assert optimizer.state == {}
    optimizer.apply(parameters, gradients)
    assert tuple(optimizer.state) == kind.slots
    assert {(vector.dtype, vector.shape) for vector in optimizer.state.values()} <= {(np.dtype("float32"), (SIZE,))}


@every_class
@pytest.mark.parametrize("order", [list, reversed])
def test_slots_and_step_are_all_that_a_run_needs_to_go_on_to_the_same_bits(kind, order):
    parameters, gradients = draw(np.float32)
    optimizer = kind(decreasing)
    for gradient in gradients[:20]:
        optimizer.apply(parameters, gradient)
    resumed, resumed_parameters = kind(decreasing), parameters.copy()
    resumed.step = optimizer.step
    resumed.state = {name: optimizer.state[name].copy() for name in order(list(optimizer.state))}
    for gradient in gradients[20:]:
        optimizer.apply(parameters, gradient)
        resumed.apply(resumed_parameters, gradient)
    assert resumed_parameters.tobytes() == parameters.tobytes()


@every_class
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda optimizer: pickle.loads(pickle.dumps(optimizer))])
def test_a_copy_goes_on_by_itself(kind, duplicate):
    parameters, gradients = draw()
    optimizer = kind()
    optimizer.apply(parameters, gradients[0])
    twin, twin_parameters = duplicate(optimizer), parameters.copy()
    optimizer.apply(parameters, gradients[1])
    assert (twin.step, optimizer.step) == (1, 2)
    twin.apply(twin_parameters, gradients[1])
    assert twin_parameters.tobytes() == parameters.tobytes()


@every_class
def test_an_optimizer_is_described_by_its_settings_alone(kind):
    optimizer = kind(0.25)
    optimizer.apply(*(array.copy() for array in (np.ones(2), np.ones(2))))
    again = decode(encode(optimizer))
    assert type(again) is kind
    assert again.learning_rate == 0.25
    assert (again.step, again.state) == (0, {})


def test_an_optimizer_is_printed_with_its_settings():
    assert repr(SGD()) == "SGD(learning_rate=0.01)"
    assert repr(Momentum(0.1)) == "Momentum(learning_rate=0.1, momentum=0.9, nesterov=False)"
    assert repr(Adam()) == "Adam(learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-08)"


def test_the_first_step_of_adam_is_the_learning_rate_whatever_the_size_of_the_gradient():
    parameters = np.zeros(3)
    Adam(0.1).apply(parameters, np.array([1e-3, -1.0, 1e3]))
    # Corrected for the start at zero, mean / sqrt(square) is +-1, but for epsilon = 1e-8 beside a gradient of 1e-3.
    np.testing.assert_allclose(parameters, [-0.1, 0.1, -0.1], rtol=1.1e-5)


def test_a_rate_may_be_zero_or_any_kind_of_number():
    for rate in (0, 0.0, np.float32(0.5), np.array(0.5), lambda step: np.float64(step + 1)):
        SGD(rate).check()
    parameters = np.ones(2, np.float32)
    SGD(np.float64(0.5)).apply(parameters, np.ones(2, np.float32))
    np.testing.assert_array_equal(parameters, [0.5, 0.5])


@pytest.mark.parametrize(
    ("optimizer", "error", "message"),
    [
        (SGD(-0.1), ArgumentError, r"SGD: learning_rate at step 0 is -0\.1; it must be a finite number, 0 or more"),
        (SGD(math.nan), ArgumentError, "SGD: learning_rate at step 0 is nan"),
        (SGD(math.inf), ArgumentError, "SGD: learning_rate at step 0 is inf"),
        (SGD(lambda step: -1), ArgumentError, "learning_rate at step 0 is -1"),
        (SGD(None), ArgumentTypeError, "SGD: learning_rate at step 0 is None; it must be a number"),
        (SGD("fast"), ArgumentTypeError, "learning_rate at step 0 is 'fast'; it must be a number"),
        (Adam(lambda step: [0.1]), ArgumentTypeError, r"Adam: .* is \[0\.1\]; it must be a number"),
        (Momentum(momentum=1), ArgumentError, r"Momentum: momentum is 1; it must be a finite number, in \[0, 1\)"),
        (Momentum(momentum=-0.1), ArgumentError, r"momentum is -0\.1"),
        (Momentum(-1), ArgumentError, "Momentum: learning_rate at step 0 is -1"),
        (Adam(beta1=1.0), ArgumentError, r"Adam: beta1 is 1\.0"),
        (Adam(beta2=-1e-3), ArgumentError, r"Adam: beta2 is -0\.001"),
        (Adam(beta2=math.nan), ArgumentError, "Adam: beta2 is nan"),
        (Adam(epsilon=0), ArgumentError, "Adam: epsilon is 0; it must be above 0"),
        (Adam(epsilon=math.nan), ArgumentError, "Adam: epsilon is nan"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_anything_changes(optimizer, error, message):
    with pytest.raises(error, match=message):
        optimizer.check()
    assert (optimizer.step, optimizer.state) == (0, {})


def test_a_rate_that_turns_bad_on_the_way_is_refused_with_its_step_and_changes_nothing():
    optimizer, parameters = Momentum(lambda step: 0.1 - 0.05 * step), np.zeros(2)
    for _ in range(3):
        optimizer.apply(parameters, np.ones(2))
    before = parameters.copy(), optimizer.state["velocity"].copy()
    with pytest.raises(ArgumentError, match=r"learning_rate at step 3 is -0\.05"):
        optimizer.apply(parameters, np.ones(2))
    np.testing.assert_array_equal((parameters, optimizer.state["velocity"]), before)
    assert optimizer.step == 3


@every_class
def test_gradients_of_another_size_are_refused_and_change_nothing(kind):
    optimizer, parameters = kind(), np.zeros(3)
    with pytest.raises(ShapeError, match=rf"{kind.__name__}: parameters have shape \(3,\) but gradients \(1,\)"):
        optimizer.apply(parameters, np.ones(1))
    np.testing.assert_array_equal(parameters, 0)
    assert optimizer.step == 0
    optimizer.apply(np.zeros(1), np.ones(1))  # it has served no model yet


def test_the_parameters_of_another_model_are_refused():
    optimizer = Momentum()
    optimizer.apply(np.zeros(3), np.ones(3))
    with pytest.raises(ShapeError, match=r"shape \(4,\) but velocity \(3,\); an optimizer serves one model"):
        optimizer.apply(np.zeros(4), np.ones(4))
    assert optimizer.step == 1


def test_the_base_alone_says_what_is_missing():
    with pytest.raises(NotImplementedError, match=r"Optimizer must define update\(parameters, gradients"):
        Optimizer().apply(np.zeros(3), np.ones(3))


@pytest.mark.parametrize(("name", "kind"), [("sgd", SGD), ("momentum", Momentum), ("adam", Adam)])
def test_a_name_stands_for_a_new_optimizer_with_its_defaults(name, kind):
    optimizer = get_optimizer(name)
    assert repr(optimizer) == repr(kind())
    assert get_optimizer(name) is not optimizer
    assert get_optimizer(optimizer) is optimizer


def test_an_unknown_name_is_answered_with_the_closest():
    with pytest.raises(ArgumentError, match="no optimizer is named 'adm'; did you mean 'adam'"):
        get_optimizer("adm")


@pytest.mark.parametrize("value", [None, Adam, 0.1])
def test_what_is_neither_optimizer_nor_name_is_refused(value):
    with pytest.raises(ArgumentTypeError, match="or a name, not"):
        get_optimizer(value)


def test_slots_without_the_comma_are_noticed():
    class Forgetful(Optimizer):
        slots = "velocity"

    with pytest.raises(ArgumentTypeError, match=r"Forgetful: slots is text; one slot is written \('velocity',\)"):
        Forgetful().apply(np.zeros(2), np.ones(2))
