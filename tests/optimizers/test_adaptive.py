import copy
import math

import numpy as np
import pytest
from trajectories import assert_takes_the_way_of, decreasing, draw

from minidl.errors import ArgumentError, ArgumentTypeError
from minidl.optimizers import (
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    AMSGrad,
    ExponentialMovingAverage,
    Lion,
    Lookahead,
    NAdam,
    RMSprop,
)


def adam(p, gradients, rates, beta1=0.9, beta2=0.999, epsilon=1e-8):
    m = v = 0.0
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        p = p - rate * m_hat / (math.sqrt(v_hat) + epsilon)
        yield p


def adamw(p, gradients, rates, weight_decay=0.01):
    m = v = 0.0
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        p = p - rate * weight_decay * p
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g**2
        p = p - rate * m / (1 - 0.9**t) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)
        yield p


def amsgrad(p, gradients, rates, beta2=0.999, epsilon=1e-8):
    m = v = w = 0.0
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        m = 0.9 * m + 0.1 * g
        v = beta2 * v + (1 - beta2) * g**2
        w = max(w, v)
        p = p - rate * m / (1 - 0.9**t) / (math.sqrt(w / (1 - beta2**t)) + epsilon)
        yield p


def nadam(p, gradients, rates, beta1=0.9, momentum_decay=0.004):
    m = v = 0.0
    mus = [beta1 * (1 - 0.5 * 0.96 ** (t * momentum_decay)) for t in range(len(gradients) + 2)]
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        m = beta1 * m + (1 - beta1) * g
        v = 0.999 * v + 0.001 * g**2
        ahead = mus[t + 1] * m / (1 - math.prod(mus[1 : t + 2])) + (1 - mus[t]) * g / (1 - math.prod(mus[1 : t + 1]))
        p = p - rate * ahead / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)
        yield p


def rmsprop(p, gradients, rates, decay=0.9, momentum=0.0, centered=False, epsilon=1e-8):
    v = m = u = 0.0
    for g, rate in zip(gradients, rates, strict=True):
        v = decay * v + (1 - decay) * g**2
        m = decay * m + (1 - decay) * g
        size = math.sqrt(max(v - m**2, 0)) if centered else math.sqrt(v)
        u = momentum * u + g / (size + epsilon)
        p = p - rate * u
        yield p


def adagrad(p, gradients, rates, epsilon=1e-10):
    s = 0.0
    for g, rate in zip(gradients, rates, strict=True):
        s += g**2
        p = p - rate * g / (math.sqrt(s) + epsilon)
        yield p


def adadelta(p, gradients, rates, decay=0.9, epsilon=1e-6):
    v = u = 0.0
    for g, rate in zip(gradients, rates, strict=True):
        v = decay * v + (1 - decay) * g**2
        d = math.sqrt(u + epsilon) / math.sqrt(v + epsilon) * g
        u = decay * u + (1 - decay) * d**2
        p = p - rate * d
        yield p


def lion(p, gradients, rates, beta1=0.9, beta2=0.99, weight_decay=0.0):
    m = 0.0
    for g, rate in zip(gradients, rates, strict=True):
        p = p - rate * weight_decay * p
        p = p - rate * math.copysign(1, beta1 * m + (1 - beta1) * g)
        m = beta2 * m + (1 - beta2) * g
        yield p


CASES = [
    (Adam(), adam, 0.001, {}),
    (Adam(0.1, beta1=0.5, beta2=0.9, epsilon=0.1), adam, 0.1, {"beta1": 0.5, "beta2": 0.9, "epsilon": 0.1}),
    (Adam(0.1, beta1=0, beta2=0), adam, 0.1, {"beta1": 0, "beta2": 0}),
    (Adam(decreasing), adam, decreasing, {}),
    (AdamW(), adamw, 0.001, {}),
    (AdamW(decreasing, weight_decay=2), adamw, decreasing, {"weight_decay": 2}),
    (AMSGrad(), amsgrad, 0.001, {}),
    (AMSGrad(0.1, beta2=0.5, epsilon=0.1), amsgrad, 0.1, {"beta2": 0.5, "epsilon": 0.1}),
    (NAdam(), nadam, 0.002, {}),
    (NAdam(decreasing, 0.7, momentum_decay=0.5), nadam, decreasing, {"beta1": 0.7, "momentum_decay": 0.5}),
    (NAdam(0.1, 0), nadam, 0.1, {"beta1": 0}),
    (RMSprop(), rmsprop, 0.001, {}),
    (RMSprop(0.1, 0.5, 0.8, epsilon=0.1), rmsprop, 0.1, {"decay": 0.5, "momentum": 0.8, "epsilon": 0.1}),
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
    (Adadelta(0.5, 0.5, 0.1), adadelta, 0.5, {"decay": 0.5, "epsilon": 0.1}),
    (Lion(), lion, 0.0001, {}),
    (Lion(0.1, 0.5, 0.6, weight_decay=0.3), lion, 0.1, {"beta1": 0.5, "beta2": 0.6, "weight_decay": 0.3}),
    (Lion(decreasing, 0), lion, decreasing, {"beta1": 0}),
]


@pytest.mark.parametrize(("optimizer", "algorithm", "rate", "settings"), CASES, ids=repr)
def test_the_trajectory_is_that_of_the_published_algorithm(optimizer, algorithm, rate, settings):
    assert_takes_the_way_of(algorithm, optimizer, rate, settings)


def test_the_first_step_of_adam_is_the_learning_rate_whatever_the_size_of_the_gradient():
    parameters = np.zeros(3)
    Adam(0.1).apply(parameters, np.array([1e-3, -1.0, 1e3]))
    # Corrected for the start at zero, mean / sqrt(square) is +-1, but for epsilon = 1e-8 beside a gradient of 1e-3.
    np.testing.assert_allclose(parameters, [-0.1, 0.1, -0.1], rtol=1.1e-5)


def one_cycle(step):
    """Betas that change at each step, as the momentum of a one-cycle schedule does."""
    return 0.9 + 0.09 * math.cos(step / 5), 0.99 - 0.009 * math.sin(step / 3)


def with_changing_betas(kind, p, gradients, rate):
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
        yield p


@pytest.mark.parametrize("kind", [Adam, AMSGrad, NAdam])
@pytest.mark.parametrize(
    "wrap",
    [lambda inner: inner, ExponentialMovingAverage, lambda inner: ExponentialMovingAverage(Lookahead(inner, 99))],
)
def test_betas_that_change_at_each_step_give_the_steps_of_the_formula(kind, wrap):
    optimizer = inner = wrap(kind(0.1))
    while hasattr(inner, "optimizer"):
        inner = inner.optimizer
    parameters, gradients = draw()
    expected = [
        list(with_changing_betas(kind, p, gs, 0.1))
        for p, gs in zip(parameters.tolist(), gradients.T.tolist(), strict=True)
    ]
    for step, gradient in enumerate(gradients):
        inner.beta1, inner.beta2 = one_cycle(step)
        optimizer.apply(parameters, gradient)
        # A rescaling is one rounding more of each entry.
        np.testing.assert_allclose(parameters, np.array(expected)[:, step], rtol=1e-11, atol=1e-13)


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
    optimizer = Adam(beta1=0.7)
    optimizer.apply(np.ones(3, np.float32), np.full(3, 0.1, np.float32))
    before = optimizer.state["gradient_sum"].copy()
    optimizer.beta1 = np.float64(0.7)
    optimizer.check()
    assert type(optimizer.beta1) is float
    np.testing.assert_array_equal(optimizer.state["gradient_sum"], before)


def test_a_product_of_nadam_costs_no_more_the_longer_the_run():
    optimizer, calls = NAdam(), []
    optimizer._momentum = lambda step: calls.append(step) or NAdam._momentum(optimizer, step)
    optimizer.step, optimizer.state = 100_000, {name: np.ones(1) for name in optimizer.slots}
    for beta in (0.95, 0.9, 0.85):
        optimizer.beta1 = beta
        optimizer.apply(np.ones(1), np.ones(1))
    assert len(calls) < 1000


def test_nadams_product_is_a_function_of_step_and_settings():
    def step_from(optimizer, step):
        parameters = np.ones(1)
        optimizer.step, optimizer.state = step, {name: np.ones(1) for name in optimizer.slots}
        optimizer.apply(parameters, np.ones(1))
        return parameters[0]

    used = NAdam()
    for step in (4, 100_000, 2, 3):  # the product of a hundred thousand factors below 0.9 is 0
        assert step_from(used, step) == step_from(NAdam(), step)
    used.beta1 = 0.5
    assert step_from(used, 3) == step_from(NAdam(beta1=0.5), 3) != step_from(NAdam(), 3)


@pytest.mark.parametrize("wrap", [lambda inner: inner, lambda inner: Lookahead(ExponentialMovingAverage(inner))])
def test_rmsprop_keeps_what_its_settings_need_and_begins_or_drops_it_when_they_are_changed(wrap):
    optimizer, parameters = wrap(RMSprop()), np.ones(2)
    inner = optimizer.optimizer.optimizer if optimizer.keeps_average else optimizer
    optimizer.apply(parameters, np.ones(2))
    start = optimizer.slots[-1].removesuffix("square")
    assert [name for name in optimizer.state if name.startswith(start)] == [f"{start}square"]
    square = optimizer.state[f"{start}square"]
    inner.momentum, inner.centered = 0.9, True
    assert tuple(optimizer.state) == optimizer.slots
    assert optimizer.slots[-3:] == (f"{start}square", f"{start}velocity", f"{start}mean")
    assert not optimizer.state[f"{start}velocity"].any()
    optimizer.apply(parameters, np.ones(2))
    velocity = optimizer.state[f"{start}velocity"]
    assert velocity.all()
    inner.momentum = 0.5  # no other slots
    assert optimizer.state[f"{start}velocity"] is velocity
    inner.momentum = 0
    assert tuple(optimizer.state) == optimizer.slots
    assert f"{start}velocity" not in optimizer.state
    inner.momentum = 0.5
    assert not optimizer.state[f"{start}velocity"].any()
    assert optimizer.state[f"{start}square"] is square


def test_a_variance_that_rounding_makes_negative_counts_as_zero():
    optimizer, parameters = RMSprop(centered=True, decay=0.5, epsilon=1.0), np.zeros(1, np.float32)
    for _ in range(100):
        optimizer.apply(parameters, np.full(1, 0.1, np.float32))
    assert np.isfinite(parameters).all()


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
        with pytest.raises(ArgumentError, match=rf"{kind.__name__}: {setting} is {value}; it must be a {message}"):
            kind(**{setting: value})
        optimizer = copy.copy(kind())
        setattr(optimizer, setting, value)
        with pytest.raises(ArgumentError, match=f"{kind.__name__}: {setting}"):
            optimizer.check()
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
