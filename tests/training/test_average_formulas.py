"""The averages' formulas, alone; what a trainer does with them is in test_averages.py."""

import copy
import json
import pickle

import numpy as np
import pytest
from trajectories import STEPS, draw

from minidl.errors import ArgumentError, ArgumentTypeError
from minidl.optimizers import Adam, AdamW, Momentum
from minidl.serialization import decode, encode
from minidl.settings import setting
from minidl.training.averages import Average, ExponentialMovingAverage, Lookahead, StochasticWeightAveraging

KINDS = [ExponentialMovingAverage, StochasticWeightAveraging, Lookahead]
every_kind = pytest.mark.parametrize("kind", KINDS)


def path_of(optimizer, steps=STEPS, average=None):
    """The parameters before the first step and after each; and the vector of an average that follows them."""
    parameters, gradients = draw()
    path, vector = [parameters.copy()], parameters.copy()
    for step, gradient in enumerate(gradients[:steps], start=1):
        optimizer.apply(parameters, gradient)
        if average is not None:
            average.follow(parameters, vector, step)
        path.append(parameters.copy())
    return path, vector


@pytest.mark.parametrize("decay", [0.999, 0.5, 0])
def test_a_moving_average_fades_from_the_first_parameters_on(decay):
    path, _ = path_of(AdamW(0.1))
    average = path[0]
    for step, parameters in enumerate(path[1:], start=1):
        share = min(decay, (1 + step) / (10 + step))
        average = share * average + (1 - share) * parameters
        if step in (1, 7, STEPS):
            _, found = path_of(AdamW(0.1), step, ExponentialMovingAverage(decay))
            np.testing.assert_allclose(found, average, rtol=1e-12)


@pytest.mark.parametrize(("start", "every"), [(0, 1), (0, 7), (5, 1), (10, 5), (49, 1), (60, 2)])
def test_a_weight_average_is_the_mean_of_the_parameters_after_the_steps_it_names(start, every):
    path, _ = path_of(Momentum())
    for steps in (1, 4, 5, 12, STEPS):
        taken = [path[step] for step in range(start, steps + 1, every)] or [path[steps]]
        _, found = path_of(Momentum(), steps, StochasticWeightAveraging(start=start, every=every))
        np.testing.assert_allclose(found, np.mean(taken, axis=0), rtol=1e-12)


@pytest.mark.parametrize(("steps", "slow_rate"), [(5, 0.5), (1, 0.3), (7, 1.0)])
def test_lookahead_goes_part_of_the_way_every_few_steps(steps, slow_rate):
    fast, gradients = draw()
    slow, velocity = fast.copy(), np.zeros_like(fast)
    found, _ = path_of(Momentum(0.02, momentum=0.8), average=Lookahead(steps=steps, slow_rate=slow_rate))
    for count, gradient in enumerate(gradients, start=1):
        velocity = 0.8 * velocity + gradient
        fast = fast - 0.02 * velocity
        if count % steps == 0:
            fast = slow = slow + slow_rate * (fast - slow)
        np.testing.assert_allclose(found[count], fast, rtol=1e-10)


@pytest.mark.parametrize("average", [ExponentialMovingAverage(), StochasticWeightAveraging(start=3)], ids=repr)
def test_an_average_does_not_change_the_way(average):
    np.testing.assert_array_equal(path_of(Adam(), average=average)[0], path_of(Adam())[0])


def test_which_averages_take_the_parameters_place():
    assert [kind.shown for kind in KINDS] == [True, True, False]


@every_kind
def test_an_average_changes_its_vector_in_place_and_keeps_its_type(kind):
    average = kind()
    memory = np.ones((2, 9), np.float32)
    parameters, vector = memory[:, 2:7]
    parameters[:] = 2
    for step in range(1, 6):
        average.follow(parameters, vector, step)
    assert vector.dtype == np.float32
    assert (vector > 1).all()
    np.testing.assert_array_equal(memory[:, [0, 1, 7, 8]], 1)


@every_kind
def test_the_parts_of_two_vectors_are_followed_as_the_whole_is(kind):
    average, (parameters, gradients) = kind(), draw()
    whole, vector = parameters.copy(), parameters.copy()
    parts, part_of_vector = parameters.copy(), parameters.copy()
    for step, gradient in enumerate(gradients, start=1):
        whole -= 0.01 * gradient
        parts -= 0.01 * gradient
        average.follow(whole, vector, step)
        for part in (slice(0, 3), slice(3, 7)):
            average.follow(parts[part], part_of_vector[part], step)
    np.testing.assert_array_equal(part_of_vector, vector)
    np.testing.assert_array_equal(parts, whole)


@every_kind
def test_an_average_is_described_by_its_settings_and_not_by_its_vector(kind):
    average = kind(0.5) if kind is ExponentialMovingAverage else kind()
    average.vector = np.ones(3)
    again = decode(json.loads(json.dumps(encode(average))))
    assert repr(again) == repr(average)
    assert again.vector is None
    assert "vector" not in average.configuration()
    with pytest.raises(ArgumentTypeError, match=f"{kind.__name__} has no setting 'vector'"):
        kind(vector=np.ones(3))


@every_kind
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda average: pickle.loads(pickle.dumps(average))])
def test_a_copy_has_a_vector_of_its_own(kind, duplicate):
    average = kind()
    average.vector = np.ones(3)
    twin = duplicate(average)
    twin.vector += 1
    assert average.vector.tolist() == [1, 1, 1]


class EveryTenth(Average):
    """A part of the user's own: a snapshot now and then."""

    steps: int = setting(10, low=1, whole=True)

    def follow(self, parameters, vector, step):
        if step % self.steps == 0:
            vector[:] = parameters


def test_an_average_of_ones_own_needs_only_follow():
    path, vector = path_of(Adam(), 17, EveryTenth(steps=5))
    np.testing.assert_array_equal(vector, path[15])
    assert repr(EveryTenth()) == "EveryTenth(steps=10)"
    with pytest.raises(ArgumentError, match="EveryTenth: steps is 0; it must be a whole number, 1 or more"):
        EveryTenth(steps=0)


def test_the_base_alone_says_what_is_missing():
    with pytest.raises(NotImplementedError, match=r"Average must define follow\(parameters, vector, step\)"):
        Average().follow(np.ones(3), np.ones(3), 1)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ExponentialMovingAverage(1.0), ArgumentError, r"ExponentialMovingAverage: decay is 1\.0"),
        (lambda: ExponentialMovingAverage("adam"), ArgumentTypeError, "decay is 'adam'; it must be a number"),
        (lambda: ExponentialMovingAverage(0.9, 3), ArgumentTypeError, "too many positional arguments; it is "),
        (
            lambda: StochasticWeightAveraging(5),
            ArgumentTypeError,
            "too many positional arguments; it is .*start=",
        ),
        (lambda: StochasticWeightAveraging(start=-1), ArgumentError, "StochasticWeightAveraging: start is -1"),
        (lambda: StochasticWeightAveraging(every=0), ArgumentError, "StochasticWeightAveraging: every is 0"),
        (lambda: StochasticWeightAveraging(start=0.5), ArgumentTypeError, "start is 0.5; it must be a whole"),
        (lambda: Lookahead(steps=0), ArgumentError, "Lookahead: steps is 0"),
        (lambda: Lookahead(slow_rate=0), ArgumentError, r"Lookahead: slow_rate is 0; it must be a finite .* \(0, 1\]"),
        (lambda: Lookahead(slow_rate=1.5), ArgumentError, r"slow_rate is 1\.5; it must be a finite .* \(0, 1\]"),
    ],
)
def test_what_an_average_cannot_do_is_refused_when_it_is_made(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_settings_may_be_changed_and_are_checked_then():
    average = Lookahead()
    average.steps, average.slow_rate = np.int64(3), np.float32(0.25)
    assert repr(average) == "Lookahead(steps=3, slow_rate=0.25)"
    with pytest.raises(ArgumentError, match="Lookahead: slow_rate is 2"):
        average.slow_rate = 2
    assert average.slow_rate == 0.25
