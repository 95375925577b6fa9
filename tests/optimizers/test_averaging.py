import copy
import dataclasses
import json

import numpy as np
import pytest
from trajectories import STEPS, draw

from minidl.configuration import decode, encode
from minidl.errors import ArgumentError, ArgumentTypeError, NotReadyError, ShapeError
from minidl.optimizers import (
    LBFGS,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    AMSGrad,
    ExponentialMovingAverage,
    Lion,
    Lookahead,
    Momentum,
    NAdam,
    Optimizer,
    RMSprop,
    StochasticWeightAveraging,
)

WRAPPERS = [ExponentialMovingAverage, StochasticWeightAveraging, Lookahead]
every_wrapper = pytest.mark.parametrize("wrapper", WRAPPERS)


def path_of(optimizer, steps=STEPS):
    """The parameters before the first step and after each, of an optimizer alone."""
    parameters, gradients = draw()
    path = [parameters.copy()]
    for gradient in gradients[:steps]:
        optimizer.apply(parameters, gradient)
        path.append(parameters.copy())
    return path


def average_after(optimizer, steps=STEPS):
    parameters, gradients = draw()
    for gradient in gradients[:steps]:
        optimizer.apply(parameters, gradient)
    walked = parameters.copy()
    optimizer.exchange(parameters)
    average = parameters.copy()
    optimizer.exchange(parameters)
    np.testing.assert_array_equal(parameters, walked)
    return average


@pytest.mark.parametrize("decay", [0.999, 0.5, 0])
def test_a_moving_average_fades_from_the_first_parameters_on(decay):
    path = path_of(AdamW(0.1))
    average = path[0]
    for step, parameters in enumerate(path[1:], start=1):
        share = min(decay, (1 + step) / (10 + step))
        average = share * average + (1 - share) * parameters
        if step in (1, 7, STEPS):
            found = average_after(ExponentialMovingAverage(AdamW(0.1), decay), step)
            np.testing.assert_allclose(found, average, rtol=1e-12)


@pytest.mark.parametrize(("start", "every"), [(0, 1), (0, 7), (5, 1), (10, 5), (49, 1), (60, 2)])
def test_a_weight_average_is_the_mean_of_the_parameters_after_the_steps_it_names(start, every):
    path = path_of(Momentum())
    for steps in (1, 4, 5, 12, STEPS):
        taken = [path[step] for step in range(start, steps + 1, every)] or [path[steps]]
        found = average_after(StochasticWeightAveraging(Momentum(), start, every), steps)
        np.testing.assert_allclose(found, np.mean(taken, axis=0), rtol=1e-12)


@pytest.mark.parametrize(("steps", "slow_rate"), [(5, 0.5), (1, 0.3), (7, 1.0)])
def test_lookahead_goes_part_of_the_way_every_few_steps(steps, slow_rate):
    fast, gradients = draw()
    slow, velocity = fast.copy(), np.zeros_like(fast)
    found = path_of(Lookahead(Momentum(0.02, 0.8), steps, slow_rate))
    for count, gradient in enumerate(gradients, start=1):
        velocity = 0.8 * velocity + gradient
        fast = fast - 0.02 * velocity
        if count % steps == 0:
            fast = slow = slow + slow_rate * (fast - slow)
        np.testing.assert_allclose(found[count], fast, rtol=1e-10)


def test_an_average_does_not_change_the_way():
    np.testing.assert_array_equal(path_of(ExponentialMovingAverage(StochasticWeightAveraging(Adam()))), path_of(Adam()))


def test_averages_and_lookahead_nest_and_the_outermost_average_is_the_one_exchanged():
    walked = path_of(Lookahead(Adam()))
    inside = average_after(Lookahead(StochasticWeightAveraging(Adam()), slow_rate=1.0))
    np.testing.assert_allclose(inside, np.mean(path_of(Adam()), axis=0), rtol=1e-12)
    outside = StochasticWeightAveraging(ExponentialMovingAverage(Lookahead(Adam())))
    np.testing.assert_allclose(average_after(outside), np.mean(walked, axis=0), rtol=1e-12)
    assert set(outside.state) == {
        "average",
        "optimizer/average",
        "optimizer/optimizer/slow",
        "optimizer/optimizer/optimizer/gradient_sum",
        "optimizer/optimizer/optimizer/square_sum",
    }
    assert outside.slots == tuple(outside.state)


def test_which_optimizers_keep_an_average():
    for optimizer, expected in [
        (ExponentialMovingAverage("sgd"), True),
        (StochasticWeightAveraging("sgd"), True),
        (Lookahead(Lookahead(ExponentialMovingAverage("sgd"))), True),
        (Lookahead("sgd"), False),
        (SGD(), False),
    ]:
        assert optimizer.keeps_average is expected
        optimizer.exchange(np.zeros(3))
        assert optimizer.exchanged is expected


def test_no_step_is_taken_while_the_average_is_in():
    optimizer, parameters = ExponentialMovingAverage(Adam(0.1)), np.zeros(3)
    optimizer.apply(parameters, np.ones(3))
    walked = parameters.copy()
    optimizer.exchange(parameters)
    assert optimizer.exchanged
    assert (parameters > walked).all()
    with pytest.raises(NotReadyError, match=r"the average is in the parameters' place; call exchange\(parameters\)"):
        optimizer.apply(parameters, np.ones(3))
    assert optimizer.step == 1
    optimizer.exchange(parameters)
    assert parameters.tobytes() == walked.tobytes()
    optimizer.apply(parameters, np.ones(3))


def test_before_the_first_step_the_average_is_the_parameters():
    optimizer, parameters = Lookahead(ExponentialMovingAverage("adam")), np.arange(3.0)
    for exchanged in (True, False):
        optimizer.exchange(parameters)
        np.testing.assert_array_equal(parameters, [0, 1, 2])
        assert optimizer.exchanged is exchanged
    with pytest.raises(ShapeError, match="an optimizer serves one model"):
        optimizer.exchange(np.zeros(4))


SETTINGS = {
    "learning_rate": (0.5, 0.75),
    "clip_norm": (3.0, 2.0),
    "clip_value": (1.0, 0.5),
    "weight_decay": (0.25, 0.125),
}
INNER = [SGD, Momentum, Adam, AdamW, AMSGrad, NAdam, RMSprop, Adagrad, Adadelta, Lion]


@every_wrapper
@pytest.mark.parametrize("kind", INNER)
def test_every_setting_of_the_base_is_the_inner_optimizers_to_get_to_set_and_to_save(wrapper, kind):
    first, second = ({name: values[index] for name, values in SETTINGS.items()} for index in (0, 1))
    assert SETTINGS.keys() == {setting.name for setting in dataclasses.fields(Optimizer) if setting.init}
    inner = kind(**first)
    optimizer = wrapper(wrapper(inner))
    assert {name: getattr(optimizer, name) for name in SETTINGS} == first
    for name, value in second.items():
        setattr(optimizer, name, value)
    optimizer.check()
    assert repr(optimizer.inner.inner) == repr(kind(**second))
    assert repr(inner) == repr(kind(**first))
    again = decode(json.loads(json.dumps(encode(optimizer))))
    assert {name: getattr(again, name) for name in SETTINGS} == second
    wrapped, alone = path_of(again, 4), path_of(kind(**second), 4)  # Lookahead steps in after the fifth
    np.testing.assert_array_equal(wrapped, alone)


@every_wrapper
def test_a_wrapper_is_elementwise_where_the_inner_optimizer_is(wrapper):
    assert wrapper(wrapper(Adam())).elementwise
    assert not wrapper(type("Whole", (SGD,), {"elementwise": False})()).elementwise


@every_wrapper
def test_a_wrapper_is_described_by_its_optimizer_and_its_own_settings(wrapper):
    optimizer = wrapper("momentum", 3 if wrapper is not ExponentialMovingAverage else 0.5)
    assert repr(optimizer).startswith(f"{wrapper.__name__}(optimizer=Momentum(learning_rate=0.01, ")
    again = decode(json.loads(json.dumps(encode(optimizer))))
    assert repr(again) == repr(optimizer)
    assert again.configuration().keys() == optimizer.configuration().keys()
    assert "learning_rate" not in optimizer.configuration()


def test_of_an_optimizer_that_has_taken_steps_a_copy_begins_anew_inside_a_wrapper():
    used = Adam()
    path_of(used, 5)
    state = {name: vector.copy() for name, vector in used.state.items()}
    wrapper = Lookahead(ExponentialMovingAverage(used))
    assert (wrapper.step, dict(wrapper.state)) == (0, {})
    np.testing.assert_array_equal(path_of(wrapper), path_of(Lookahead(Adam())))
    again = Lookahead(wrapper)
    assert (again.step, dict(again.state), wrapper.step) == (0, {}, STEPS)
    assert used.step == 5
    for name, vector in state.items():
        np.testing.assert_array_equal(used.state[name], vector)


@every_wrapper
def test_an_optimizer_in_two_wrappers_takes_the_steps_of_each_by_a_copy(wrapper):
    given = Adam()
    wrappers = [wrapper(given), wrapper(wrapper(given)), wrapper(given)]
    given.learning_rate = 0.5
    for each, expected in zip(wrappers, (wrapper(Adam()), wrapper(wrapper(Adam())), wrapper(Adam())), strict=True):
        np.testing.assert_array_equal(path_of(each), path_of(expected))
        assert each.step == STEPS
    assert (given.step, given.state) == (0, {})


def test_the_copy_in_a_wrapper_has_the_very_function_that_gives_the_rate():
    class Plateau:
        factor = 1.0

        def rate(self, step):
            return 0.5 * self.factor

    plateau = Plateau()
    optimizer, parameters = Lookahead(ExponentialMovingAverage(SGD(plateau.rate))), np.zeros(1)
    optimizer.apply(parameters, np.ones(1))
    plateau.factor = 0.5
    optimizer.apply(parameters, np.ones(1))
    np.testing.assert_array_equal(parameters, [-0.75])


def test_the_average_of_an_optimizer_that_is_wrapped_is_not_in_place_in_the_copy():
    average, parameters = ExponentialMovingAverage(Adam()), np.zeros(3)
    average.apply(parameters, np.ones(3))
    average.exchange(parameters)
    wrapper = Lookahead(average)
    assert (average.exchanged, wrapper.exchanged, wrapper.inner.exchanged) == (True, False, False)
    np.testing.assert_array_equal(path_of(wrapper), path_of(Lookahead(ExponentialMovingAverage(Adam()))))


def test_step_and_state_of_the_inner_optimizer_are_those_of_the_wrapper():
    optimizer, parameters = Lookahead(ExponentialMovingAverage(Momentum())), np.ones(3)
    for _ in range(3):
        optimizer.apply(parameters, np.ones(3))
    assert optimizer.step == optimizer.inner.step == optimizer.inner.inner.step == 3
    velocity = optimizer.inner.inner.state["velocity"]
    assert optimizer.state["optimizer/optimizer/velocity"] is velocity
    assert velocity.all()
    with pytest.raises(TypeError, match="does not support item assignment"):
        optimizer.state["slow"] = parameters
    twin = copy.deepcopy(optimizer)
    twin.step, twin.state = 0, {}
    assert (twin.inner.inner.step, twin.inner.inner.state) == (0, {})
    assert optimizer.state["optimizer/optimizer/velocity"] is velocity


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ExponentialMovingAverage(3), ArgumentTypeError, "an optimizer is an Optimizer such as"),
        (lambda: Lookahead("adm"), ArgumentError, "did you mean 'adam'"),
        (lambda: ExponentialMovingAverage("adam", 1.0), ArgumentError, r"ExponentialMovingAverage: decay is 1\.0"),
        (lambda: StochasticWeightAveraging("adam", -1), ArgumentError, "StochasticWeightAveraging: start is -1"),
        (lambda: StochasticWeightAveraging("adam", 0, 0), ArgumentError, "StochasticWeightAveraging: every is 0"),
        (lambda: StochasticWeightAveraging("adam", 0.5), ArgumentTypeError, "start is 0.5; it must be a whole"),
        (lambda: Lookahead("adam", 0), ArgumentError, "Lookahead: steps is 0"),
        (lambda: Lookahead("adam", 5, 0), ArgumentError, r"Lookahead: slow_rate is 0; it must be a finite .* \(0, 1\]"),
        (lambda: Lookahead("adam", 5, 1.5), ArgumentError, r"slow_rate is 1\.5; it must be a finite .* \(0, 1\]"),
        (lambda: Lookahead(LBFGS()), ArgumentError, "Lookahead: LBFGS takes no single steps to wrap"),
    ],
)
def test_what_a_wrapper_cannot_do_is_refused_when_it_is_made(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_setting_of_the_inner_optimizer_that_turned_bad_is_named_by_it():
    optimizer = Lookahead(ExponentialMovingAverage(Adam()))
    twin = copy.deepcopy(optimizer)
    optimizer.inner.inner.beta1 = 2
    with pytest.raises(ArgumentError, match="^Adam: beta1 is 2"):
        optimizer.check()
    twin.check()
