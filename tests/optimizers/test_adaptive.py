import copy
import math

import numpy as np
import pytest
from labels import label
from trajectories import STEPS, assert_takes_the_way_of, decreasing, draw, entry_by_entry

from minidl.errors import ArgumentError, ArgumentTypeError
from minidl.optimizers import Adadelta, Adagrad, Adam, AdamW, AMSGrad, Lion, NAdam, RMSprop


def adam(p, gradients, rates, beta1=0.9, beta2=0.999, epsilon=1e-8):
    m = v = 0.0
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        p = p - rate * m_hat / (math.sqrt(v_hat) + epsilon)
        yield p, m, v


def adamw(p, gradients, rates, weight_decay=0.01):
    m = v = 0.0
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        p = p - rate * weight_decay * p
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g**2
        p = p - rate * m / (1 - 0.9**t) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)
        yield p, m, v


def amsgrad(p, gradients, rates, beta2=0.999, epsilon=1e-8):
    m = v = w = 0.0
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        m = 0.9 * m + 0.1 * g
        v = beta2 * v + (1 - beta2) * g**2
        w = max(w, v)
        p = p - rate * m / (1 - 0.9**t) / (math.sqrt(w / (1 - beta2**t)) + epsilon)
        yield p, m, v, w


def nadam(p, gradients, rates, beta1=0.9, momentum_decay=0.004):
    m = v = 0.0
    mus = [beta1 * (1 - 0.5 * 0.96 ** (t * momentum_decay)) for t in range(len(gradients) + 2)]
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        m = beta1 * m + (1 - beta1) * g
        v = 0.999 * v + 0.001 * g**2
        ahead = mus[t + 1] * m / (1 - math.prod(mus[1 : t + 2])) + (1 - mus[t]) * g / (1 - math.prod(mus[1 : t + 1]))
        p = p - rate * ahead / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)
        yield p, m, v


def rmsprop(p, gradients, rates, decay=0.9, momentum=0.0, centered=False, epsilon=1e-8):
    v = m = u = 0.0
    for g, rate in zip(gradients, rates, strict=True):
        v = decay * v + (1 - decay) * g**2
        m = decay * m + (1 - decay) * g
        size = math.sqrt(max(v - m**2, 0)) if centered else math.sqrt(v)
        u = momentum * u + g / (size + epsilon)
        p = p - rate * u
        yield p, v, *[u] * bool(momentum), *[m] * centered


def adagrad(p, gradients, rates, epsilon=1e-10):
    s = 0.0
    for g, rate in zip(gradients, rates, strict=True):
        s += g**2
        p = p - rate * g / (math.sqrt(s) + epsilon)
        yield p, s


def adadelta(p, gradients, rates, decay=0.9, epsilon=1e-6):
    v = u = 0.0
    for g, rate in zip(gradients, rates, strict=True):
        v = decay * v + (1 - decay) * g**2
        d = math.sqrt(u + epsilon) / math.sqrt(v + epsilon) * g
        u = decay * u + (1 - decay) * d**2
        p = p - rate * d
        yield p, v, u


def lion(p, gradients, rates, beta1=0.9, beta2=0.99, weight_decay=0.0):
    m = 0.0
    for g, rate in zip(gradients, rates, strict=True):
        p = p - rate * weight_decay * p
        p = p - rate * math.copysign(1, beta1 * m + (1 - beta1) * g)
        m = beta2 * m + (1 - beta2) * g
        yield p, m


FLAT = {"beta1": 0.5, "beta2": 0.9, "epsilon": 0.1}
CASES = [
    (Adam(), adam, 0.001, {}),
    (Adam(0.1, **FLAT), adam, 0.1, FLAT),
    (Adam(0.1, beta1=0, beta2=0), adam, 0.1, {"beta1": 0, "beta2": 0}),
    (Adam(decreasing), adam, decreasing, {}),
    (AdamW(), adamw, 0.001, {}),
    (AdamW(decreasing, weight_decay=2), adamw, decreasing, {"weight_decay": 2}),
    (AMSGrad(), amsgrad, 0.001, {}),
    (AMSGrad(0.1, beta2=0.5, epsilon=0.1), amsgrad, 0.1, {"beta2": 0.5, "epsilon": 0.1}),
    (NAdam(), nadam, 0.002, {}),
    (NAdam(decreasing, beta1=0.7, momentum_decay=0.5), nadam, decreasing, {"beta1": 0.7, "momentum_decay": 0.5}),
    (NAdam(0.1, beta1=0), nadam, 0.1, {"beta1": 0}),
    (RMSprop(), rmsprop, 0.001, {}),
    (RMSprop(0.1, decay=0.5, momentum=0.8, epsilon=0.1), rmsprop, 0.1, {"decay": 0.5, "momentum": 0.8, "epsilon": 0.1}),
    (RMSprop(decreasing, centered=True, epsilon=0.1), rmsprop, decreasing, {"centered": True, "epsilon": 0.1}),
    (
        RMSprop(0.01, momentum=0.5, centered=True, epsilon=0.1),
        rmsprop,
        0.01,
        {"momentum": 0.5, "centered": True, "epsilon": 0.1},
    ),
    (Adagrad(), adagrad, 0.01, {}),
    (Adagrad(decreasing, epsilon=0.1), adagrad, decreasing, {"epsilon": 0.1}),
    (Adadelta(), adadelta, 1.0, {}),
    (Adadelta(0.5, decay=0.5, epsilon=0.1), adadelta, 0.5, {"decay": 0.5, "epsilon": 0.1}),
    (Lion(), lion, 0.0001, {}),
    (Lion(0.1, beta1=0.5, beta2=0.6, weight_decay=0.3), lion, 0.1, {"beta1": 0.5, "beta2": 0.6, "weight_decay": 0.3}),
    (Lion(decreasing, beta1=0), lion, decreasing, {"beta1": 0}),
]


@pytest.mark.parametrize(("optimizer", "algorithm", "rate", "settings"), CASES, ids=label)
def test_trajectory_and_slots_are_those_of_the_published_algorithm(optimizer, algorithm, rate, settings):
    assert_takes_the_way_of(algorithm, optimizer, rate, settings)


def test_the_first_step_of_adam_is_the_learning_rate_whatever_the_size_of_the_gradient():
    parameters = np.zeros(3)
    Adam(0.1).apply(parameters, np.array([1e-3, -1.0, 1e3]))
    # Corrected for the start at zero, mean / sqrt(square) is +-1, but for epsilon = 1e-8 beside a gradient of 1e-3.
    np.testing.assert_allclose(parameters, [-0.1, 0.1, -0.1], rtol=1.1e-5)


def one_cycle(step):
    """Betas that change at each step, as the momentum of a one-cycle schedule does."""
    return 0.9 + 0.09 * math.cos(step / 5), 0.99 - 0.009 * math.sin(step / 3)


def with_changing_betas(p, gradients, kind, rate):
    """Adam's kin as published, with other betas at each step: they keep the means themselves."""
    m = v = w = 0.0
    for t, g in enumerate(gradients, start=1):
        beta1, beta2 = one_cycle(t - 1)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        w = max(w, v)
        if kind is NAdam:
            mus = [beta1 * (1 - 0.5 * 0.96 ** (i * 0.004)) for i in range(t + 2)]
            ahead = mus[t + 1] / (1 - math.prod(mus[1 : t + 2])) * m + (1 - mus[t]) / (1 - math.prod(mus[1:-1])) * g
        else:
            ahead = m / (1 - beta1**t)
        p = p - rate * ahead / (math.sqrt((w if kind is AMSGrad else v) / (1 - beta2**t)) + 1e-8)
        yield p, m, v, *[w] * (kind is AMSGrad)


@pytest.mark.parametrize("kind", [Adam, AMSGrad, NAdam])
def test_betas_that_change_at_each_step_give_the_steps_and_the_means_of_the_formula(kind):
    optimizer, (parameters, gradients) = kind(0.1), draw()
    expected = entry_by_entry(with_changing_betas, kind, 0.1)
    for step, gradient in enumerate(gradients):
        optimizer.beta1, optimizer.beta2 = one_cycle(step)
        optimizer.apply(parameters, gradient)
        found = np.array([parameters, *optimizer.state.values()])
        # Rounding in another order, of numbers up to 1e4, the square of a gradient.
        np.testing.assert_allclose(found, expected[step], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", [Adam, AdamW, AMSGrad, NAdam])
@pytest.mark.parametrize("name", ["beta1", "beta2"])
def test_a_beta_that_is_set_in_a_run_changes_nothing_of_the_state(kind, name):
    optimizer, parameters = kind(), np.ones(3)
    optimizer.apply(parameters, np.array([1.0, -2.0, 3.0]))
    before = {slot: (vector, vector.copy()) for slot, vector in optimizer.state.items()}
    assert before.keys() >= {"m", "v"}
    setattr(optimizer, name, 0.25)
    for slot, (vector, values) in before.items():
        assert optimizer.state[slot] is vector
        np.testing.assert_array_equal(vector, values)


@pytest.mark.parametrize("kind", [Adam, AdamW, AMSGrad, NAdam])
@pytest.mark.parametrize("name", ["beta1", "beta2"])
def test_a_beta_that_cannot_work_is_refused_in_a_run_and_changes_nothing(kind, name):
    optimizer, parameters = kind(), np.ones(3)
    optimizer.apply(parameters, np.ones(3))
    before, settings = {slot: vector.copy() for slot, vector in optimizer.state.items()}, repr(optimizer)
    for value in (1, -0.1, math.nan, "0.5", None):
        error = ArgumentTypeError if value in ("0.5", None) else ArgumentError
        with pytest.raises(error, match=f"{kind.__name__}: {name} is "):
            setattr(optimizer, name, value)
    assert repr(optimizer) == settings
    assert {slot: vector.tolist() for slot, vector in optimizer.state.items()} == {
        slot: vector.tolist() for slot, vector in before.items()
    }


def test_a_beta_that_is_set_to_what_it_was_changes_no_bit():
    one, other = Adam(beta1=0.7), Adam(beta1=0.7)
    parameters = np.ones((2, 3), np.float32)
    for optimizer, row in zip((one, other), parameters, strict=True):
        optimizer.apply(row, np.full(3, 0.1, np.float32))
    other.beta1 = np.float64(0.7)
    assert type(other.beta1) is float
    for optimizer, row in zip((one, other), parameters, strict=True):
        optimizer.apply(row, np.full(3, 0.3, np.float32))
    assert parameters[0].tobytes() == parameters[1].tobytes()
    assert {vector.dtype for vector in other.state.values()} == {np.dtype("float32")}


def test_a_product_of_nadam_costs_no_more_the_longer_the_run():
    optimizer, factors = NAdam(), []
    optimizer._mu = lambda t: factors.append(np.size(t)) or NAdam._mu(optimizer, t)
    optimizer.step, optimizer.state = 100_000, {name: np.ones(1) for name in optimizer.slots}
    for beta in (0.95, 0.9, 0.85):
        optimizer.beta1 = beta
        optimizer.apply(np.ones(1), np.ones(1))
    assert 3 < sum(factors) < 3000


def step_of_nadam(optimizer, step):
    """How far the step after so many goes, from means and gradients of 1."""
    parameters = np.zeros(1)
    optimizer.step, optimizer.state = step, {name: np.ones(1) for name in optimizer.slots}
    optimizer.apply(parameters, np.ones(1))
    return -parameters[0]


@pytest.mark.parametrize("steps", [3, 200, 459, 460, 461, 4601, 10_000])
@pytest.mark.parametrize("beta1", [0.0, 0.5, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("momentum_decay", [0.0, 0.004, 0.5, 100.0])
def test_nadams_product_may_leave_out_the_factors_that_change_nothing(steps, beta1, momentum_decay):
    mus = [beta1 * (1 - 0.5 * 0.96 ** (t * momentum_decay)) for t in range(steps + 3)]
    t = steps + 1
    m, v, g = beta1 + (1 - beta1), 0.999 + 0.001, 1.0
    ahead = mus[t + 1] * m / (1 - math.prod(mus[1 : t + 2])) + (1 - mus[t]) * g / (1 - math.prod(mus[1 : t + 1]))
    expected = 0.1 * ahead / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)
    found = step_of_nadam(NAdam(0.1, beta1=beta1, momentum_decay=momentum_decay), steps)
    # The largest product is that of four factors 0.999, and 1 less it has three digits less.
    assert found == pytest.approx(expected, rel=1e-12)


def test_nadams_product_is_a_function_of_step_and_settings():
    used = NAdam()
    for step in (4, 100_000, 2, 3):  # the product of a hundred thousand factors below 0.9 is 0
        assert step_of_nadam(used, step) == step_of_nadam(NAdam(), step)
    used.beta1 = 0.5
    assert step_of_nadam(used, 3) == step_of_nadam(NAdam(beta1=0.5), 3) != step_of_nadam(NAdam(), 3)


def test_rmsprop_keeps_what_its_settings_need_and_begins_or_drops_it_at_the_step_after_a_change():
    optimizer, parameters = RMSprop(), np.ones(2)
    optimizer.apply(parameters, np.ones(2))
    assert tuple(optimizer.state) == optimizer.slots == ("v",)
    square = optimizer.state["v"]
    optimizer.momentum, optimizer.centered = 0.9, True
    assert optimizer.slots == ("v", "u", "m")
    optimizer.apply(parameters, np.ones(2))
    assert tuple(optimizer.state) == optimizer.slots
    np.testing.assert_allclose(optimizer.state["m"], 0.1, rtol=1e-15)  # it has begun at zero
    velocity = optimizer.state["u"]
    optimizer.momentum = 0.5  # no other slots
    optimizer.apply(parameters, np.ones(2))
    assert optimizer.state["u"] is velocity
    optimizer.momentum = 0
    optimizer.apply(parameters, np.ones(2))
    assert tuple(optimizer.state) == optimizer.slots == ("v", "m")
    optimizer.momentum = 0.5
    optimizer.apply(parameters, np.zeros(2))
    assert not optimizer.state["u"].any()  # nor has it kept the old one
    assert optimizer.state["v"] is square


def rmsprop_with_changes(p, gradients, changes, epsilon=0.1):
    """As published; the velocity and the mean are there only while they are asked for, and begin at zero."""
    v = m = u = 0.0
    for t, g in enumerate(gradients):
        momentum, centered = changes(t)
        v = 0.9 * v + 0.1 * g**2
        m = 0.9 * m + 0.1 * g if centered else 0.0
        u = momentum * u + g / (math.sqrt(v - m**2 if centered else v) + epsilon)
        p = p - 0.01 * u
        u = u if momentum else 0.0
        yield (p,)


@pytest.mark.parametrize(
    "changes",
    [
        lambda step: (0.9 if step >= 10 else 0.0, False),
        lambda step: (0.0, step >= 10),
        lambda step: (0.5 if step % 20 < 10 else 0.0, False),
        lambda step: (0.9 - 0.01 * step, step < 25),
    ],
)
def test_rmsprop_with_settings_that_change_in_a_run_takes_the_steps_of_the_formula(changes):
    optimizer, (parameters, gradients) = RMSprop(0.01, epsilon=0.1), draw()
    expected = entry_by_entry(rmsprop_with_changes, changes)
    for step in range(STEPS):
        optimizer.momentum, optimizer.centered = changes(step)
        optimizer.apply(parameters, gradients[step])
        # A variance is a difference of squares up to 1e4, each rounded to some 1e-12.
        np.testing.assert_allclose(parameters, expected[step, 0], rtol=1e-9, atol=1e-11)


def test_a_variance_that_rounding_makes_negative_counts_as_zero():
    optimizer, parameters = RMSprop(centered=True, decay=0.5, epsilon=1.0), np.zeros(1, np.float32)
    for _ in range(100):
        optimizer.apply(parameters, np.full(1, 0.1, np.float32))
    assert np.isfinite(parameters).all()


@pytest.mark.parametrize("size", [1e-30, 1e-10, 1.0, 1e10])
def test_a_step_of_lion_is_the_learning_rate_whatever_the_size_of_the_gradient(size):
    parameters = np.zeros(3, np.float32)
    Lion(0.5).apply(parameters, np.float32(size) * np.array([1, -1, 0], np.float32))
    # The sign is a quotient with the smallest normal number, 1e-38, beside a tenth of the gradient.
    np.testing.assert_allclose(parameters, [-0.5, 0.5, 0], rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "setting", "values", "message"),
    [
        *((kind, name, (1, -0.1, math.nan), r"finite number, in \[0, 1\)") for kind, name in [
            (Adam, "beta1"), (Adam, "beta2"), (AdamW, "beta1"), (AMSGrad, "beta2"), (NAdam, "beta1"),
            (RMSprop, "decay"), (RMSprop, "momentum"), (Adadelta, "decay"), (Lion, "beta1"), (Lion, "beta2"),
        ]),
        *((kind, "epsilon", (0, -1, math.nan, math.inf), "finite number, above 0")
          for kind in (Adam, AdamW, AMSGrad, NAdam, RMSprop, Adagrad, Adadelta)),
        *((kind, "weight_decay", (-0.1, math.nan, math.inf), "finite number, 0 or more") for kind in (AdamW, Lion)),
        (NAdam, "momentum_decay", (-0.1, math.nan), "finite number, 0 or more"),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused_when_made_and_when_changed(kind, setting, values, message):
    for value in values:
        optimizer, message_of_value = kind(), rf"{kind.__name__}: {setting} is {value}; it must be a {message}"
        before = getattr(optimizer, setting)
        with pytest.raises(ArgumentError, match=message_of_value):
            kind(**{setting: value})
        with pytest.raises(ArgumentError, match=message_of_value):
            setattr(optimizer, setting, value)
        assert getattr(optimizer, setting) == before
    for value in ("0.5", None, True):
        with pytest.raises(ArgumentTypeError, match=f"{kind.__name__}: {setting} is .*; it must be a number"):
            kind(**{setting: value})


@pytest.mark.parametrize("value", ["false", 1, None])
def test_a_flag_that_is_neither_true_nor_false_is_refused(value):
    with pytest.raises(ArgumentTypeError, match=rf"RMSprop: centered is {value!r}; it must be True or False"):
        RMSprop(centered=value)


@pytest.mark.parametrize("name", ["beta1", "beta2"])
def test_a_beta_that_changes_in_a_shallow_copy_leaves_the_sums_of_the_other(name):
    optimizer = AMSGrad()
    optimizer.apply(np.zeros(3), np.ones(3))
    before = {slot: (vector, vector.copy()) for slot, vector in optimizer.state.items()}
    other = copy.copy(optimizer)
    setattr(other, name, 0.5)
    assert getattr(optimizer, name) != 0.5
    assert optimizer.state.keys() == other.state.keys() == before.keys()
    for slot, (vector, values) in before.items():
        assert optimizer.state[slot] is vector
        np.testing.assert_array_equal(vector, values)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("momentum", None, ArgumentTypeError),
        ("momentum", 1.0, ArgumentError),
        ("momentum", math.nan, ArgumentError),
        ("centered", 0, ArgumentTypeError),
        ("centered", "no", ArgumentTypeError),
    ],
)
def test_a_setting_of_rmsprop_that_cannot_work_is_refused_in_a_run_and_changes_nothing(name, value, error):
    optimizer = RMSprop(momentum=0.9, centered=True)
    optimizer.apply(np.zeros(3), np.ones(3))
    state = dict(optimizer.state)
    with pytest.raises(error, match=f"^RMSprop: {name} is {value!r}"):
        setattr(optimizer, name, value)
    assert (optimizer.momentum, optimizer.centered) == (0.9, True)
    assert optimizer.state.keys() == state.keys()
    assert all(optimizer.state[slot] is vector for slot, vector in state.items())
