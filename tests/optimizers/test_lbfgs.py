import copy
import math

import numpy as np
import pytest
from scipy.optimize import minimize as minimize_by_scipy
from scipy.optimize import rosen, rosen_der
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import StandardScaler

from minidl import L2, Dense, MeanSquaredError, Sequential, SoftmaxCrossEntropy, Trainer
from minidl.errors import ArgumentError, ArgumentTypeError, NotReadyError, ShapeError
from minidl.optimizers import LBFGS
from minidl.optimizers.lbfgs import _between, _direction, _search_along, _Trial
from minidl.serialization import decode, encode


def rosenbrock(p):
    return rosen(p), rosen_der(p)


def quadratic(seed, size, condition):
    """A bowl with its axes in random directions; its bottom; where to begin."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(size, size)))[0]
    matrix = (axes * np.geomspace(1, condition, size)) @ axes.T
    bottom = rng.normal(size=size)

    def function(p):
        slope = matrix @ (p - bottom)
        return 0.5 * (p - bottom) @ slope, slope

    return function, bottom, bottom + rng.normal(size=size)


def logistic_regression(seed, rows=200, features=20, strength=1e-3):
    """The mean cross-entropy of two classes with an L2 penalty; where to begin."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, features))
    signs = np.sign(x @ rng.normal(size=features) + rng.normal(size=rows))

    def function(p):
        margins = signs * (x @ p)
        slopes = -signs * np.exp(-np.logaddexp(0, margins))
        return np.logaddexp(0, -margins).mean() + strength * p @ p, x.T @ slopes / rows + 2 * strength * p

    return function, np.zeros(features)


def iterations(optimizer, function, parameters, most=1000, trained=None, noted=None):
    """Take iterations until it ends; yield the loss and the gradient after each. Note where it evaluates."""
    buffer = np.empty_like(parameters)  # of the caller, who uses it again, as a model does its gradients

    def evaluate():
        if noted is not None:
            noted.append(parameters.copy())
        loss, buffer[:] = function(parameters)
        return loss, buffer

    loss, gradient = evaluate()
    for _ in range(most):
        loss, gradient = optimizer.minimize(evaluate, parameters, loss, gradient, trained)
        yield loss, gradient
        if optimizer.ended:
            return


def minimized(optimizer, function, parameters, *args):
    """Take all iterations; return what they yielded."""
    return list(iterations(optimizer, function, parameters, *args))


def exact(**settings):
    """Return one that goes on for as long as the numbers let it."""
    return LBFGS(tolerance=0, gradient_tolerance=0, **settings)


# The way: the same as SciPy's, with the directions of BFGS and the conditions of Wolfe.


def evaluations_until(level, function, start, by_scipy):
    """How often the function is evaluated until an iteration ends where no entry of the gradient is above the level."""
    if by_scipy:
        options = {"maxcor": 10, "ftol": 0, "gtol": level, "maxiter": 5000, "maxfun": 50_000}
        found = minimize_by_scipy(function, start, jac=True, method="L-BFGS-B", options=options)
        assert found.success
        return found.nfev
    noted = []
    for _, gradient in iterations(exact(), function, start.copy(), noted=noted):
        if np.abs(gradient).max() <= level:
            return len(noted)
    raise AssertionError("it ended too early")


PROBLEMS = {
    "quadratics": [
        quadratic(seed, size, condition)[::2]
        for size in (2, 10, 50, 200)
        for condition in (10, 1e2, 1e4)
        for seed in range(4)
    ],
    "Rosenbrock": [
        (rosenbrock, start)
        for size in (2, 10)
        for start in [np.resize([-1.2, 1.0], size), *np.random.default_rng(0).uniform(-2, 2, (20, size))]
    ],
    "logistic regressions": [
        (logistic_regression(seed, strength=strength)) for seed in range(6) for strength in (1e-3, 1e-2, 1e-1)
    ],
}


@pytest.mark.parametrize("kind", PROBLEMS)
def test_it_needs_no_more_evaluations_than_scipy(kind):
    """Both count all evaluations until the gradient is a millionth of the first, with the same memory.

    Both make the same steps at first, but in a run of hundreds of them rounding grows until one ends some percent
    sooner, either of them. So it is the mean share that counts; half a percent is that of a problem that just misses.
    """
    shares = []
    for function, start in PROBLEMS[kind]:
        level = 1e-6 * np.abs(function(start)[1]).max()
        ours, scipys = (evaluations_until(level, function, start, by_scipy) for by_scipy in (False, True))
        shares.append(ours / scipys)
    assert np.exp(np.mean(np.log(shares))) <= 1.005
    assert max(shares) <= 1.5


@pytest.mark.parametrize("size", [2, 10, 200])
@pytest.mark.parametrize("condition", [1, 1e2, 1e4])
def test_it_finds_the_bottom_of_a_bowl(size, condition):
    function, bottom, parameters = quadratic(0, size, condition)
    minimized(exact(), function, parameters)
    # The loss is known to some 1e-16 of that on the way: places as far off as this, 1e-7, may look the same.
    np.testing.assert_allclose(parameters, bottom, atol=1e-6)


@pytest.mark.parametrize("size", [2, 10])
def test_it_finds_the_bottom_of_rosenbrocks_valley(size):
    optimizer, parameters = LBFGS(), np.full(size, 0.5)
    places = minimized(optimizer, rosenbrock, parameters)
    np.testing.assert_allclose(parameters, 1, atol=1e-5)
    assert 10 < optimizer.step == len(places) < 100
    heights = [rosenbrock(np.full(size, 0.5))[0], *(loss for loss, _ in places)]
    assert (np.diff(heights)[:-1] < 0).all()


@pytest.mark.parametrize("strength", [1e-3, 1e-1])
def test_a_logistic_regression_ends_where_scipys_does(strength):
    function, parameters = logistic_regression(0, strength=strength)
    options = {"ftol": 0, "gtol": 1e-10}
    reference = minimize_by_scipy(function, parameters, jac=True, method="L-BFGS-B", options=options)
    minimized(exact(), function, parameters)
    np.testing.assert_allclose(parameters, reference.x, atol=1e-6)


@pytest.mark.parametrize("rate", [0.01, 1.0, 3.0])
@pytest.mark.parametrize("kind", PROBLEMS)
def test_the_strong_wolfe_conditions_hold_wherever_an_iteration_ends(kind, rate):
    for function, start in PROBLEMS[kind][::5]:
        parameters = start.copy()
        before, (loss, gradient) = start, function(start)
        for new_loss, new_gradient in iterations(exact(learning_rate=rate), function, parameters):
            if np.abs(new_gradient).max() < 1e-6 * np.abs(function(start)[1]).max():
                break  # nearer to the bottom, rounding decides
            step = parameters - before  # alpha times the direction
            assert new_loss <= loss + 1e-4 * gradient @ step
            assert abs(new_gradient @ step) <= 0.9 * abs(gradient @ step)
            before, loss, gradient = parameters.copy(), new_loss, new_gradient


def dense_bfgs(s, y):
    """The inverse Hessian of BFGS, (6.17) of Nocedal and Wright, with the scaling (7.20)."""
    h = np.eye(len(s[0])) * (s[-1] @ y[-1]) / (y[-1] @ y[-1])
    for step, change in zip(s, y, strict=True):
        rho = 1 / (step @ change)
        v = np.eye(len(step)) - rho * np.outer(change, step)
        h = v.T @ h @ v + rho * np.outer(step, step)
    return h


@pytest.mark.parametrize("pairs", [1, 2, 5])
@pytest.mark.parametrize("seed", range(3))
def test_the_direction_is_that_of_the_dense_inverse_hessian(pairs, seed):
    rng = np.random.default_rng(seed)
    s, y, gradient = np.zeros((5, 8)), np.zeros((5, 8)), rng.normal(size=8)
    s[-pairs:] = rng.normal(size=(pairs, 8))
    factor = rng.normal(size=(8, 8))
    y[-pairs:] = s[-pairs:] @ (factor @ factor.T)
    kept = gradient.copy()
    expected = -dense_bfgs(s[-pairs:], y[-pairs:]) @ gradient
    # Rounding of some dozens of sums, whose terms may be a hundred times the result.
    np.testing.assert_allclose(_direction(gradient, s, y), expected, rtol=1e-10, atol=1e-12 * np.abs(expected).max())
    np.testing.assert_array_equal(gradient, kept)


def test_without_pairs_the_direction_is_the_steepest_and_of_length_1():
    direction = _direction(np.array([3.0, -4.0]), np.zeros((5, 2)), np.zeros((5, 2)))
    np.testing.assert_allclose(direction, [-0.6, 0.8], rtol=1e-15)


def test_the_pairs_are_the_last_changes_of_parameters_and_gradient():
    optimizer, parameters = LBFGS(memory=3), np.array([-1.2, 1.0])
    places, slopes = [parameters.copy()], [rosen_der(parameters)]
    for count, (loss, gradient) in enumerate(iterations(optimizer, rosenbrock, parameters, 6), 1):
        assert (loss, *gradient) == (rosen(parameters), *rosen_der(parameters))
        assert type(loss) is float
        places.append(parameters.copy())
        slopes.append(gradient)
        s, y = np.diff(places, axis=0)[-3:], np.diff(slopes, axis=0)[-3:]
        assert optimizer.state["s"].shape == optimizer.state["y"].shape == (3, 2)
        kept = min(count, 3)
        np.testing.assert_array_equal(optimizer.state["s"][-kept:], s)
        # y is in a unit, a power of 2, in which the first gradient is about 1.
        unit = 2 ** math.ceil(math.log2(np.abs(slopes[0]).max()))
        np.testing.assert_array_equal(optimizer.state["y"][-kept:] * unit, y)
        assert not optimizer.state["s"][:-kept].any()
    assert optimizer.state["steepest"].tolist() == [np.abs(slopes[0]).max()]
    assert [array.shape for array in LBFGS(memory=3).prepare_state(parameters)] == [(3, 2), (3, 2), (1,)]


@pytest.mark.parametrize(("cosine", "kept"), [(1.2e-10, True), (0.8e-10, False)])
def test_a_pair_is_kept_where_the_angle_between_its_changes_is_below_a_right_one(cosine, kept):
    optimizer, parameters = LBFGS(), np.zeros(2)
    # Along x the slope falls to a half; the rest of the change is across.
    optimizer.minimize(lambda: (-0.7, np.array([-0.5, 0.5 / cosine])), parameters, 0.0, np.array([-1.0, 0.0]))
    np.testing.assert_array_equal(parameters, [1, 0])
    assert optimizer.state["s"].any() == kept


def test_a_change_that_tells_of_no_curvature_is_not_kept():
    optimizer, parameters = LBFGS(), np.zeros(2)
    minimized(optimizer, lambda p: (-p.sum(), -np.ones(2)), parameters, 1)  # a plane: it falls without end
    assert parameters.min() > 1e6
    assert optimizer.step == 1
    assert not optimizer.state["s"].any()


def test_the_rate_is_the_first_trial_of_each_line_search():
    """In units of the direction, and a function of the step may give it."""
    asked, noted, parameters = [], [], np.array([-1.2, 1.0])

    def rate(step):
        asked.append(step)
        return 0.5 + 0.1 * step

    places, slopes, evaluated = [parameters.copy()], [rosen_der(parameters)], 1
    for _, gradient in iterations(LBFGS(rate), rosenbrock, parameters, 4, noted=noted):
        s, y = np.diff(places, axis=0), np.diff(slopes, axis=0)
        direction = -dense_bfgs(s, y) @ slopes[-1] if len(s) else -slopes[0] / np.linalg.norm(slopes[0])
        np.testing.assert_allclose(noted[evaluated], places[-1] + (0.5 + 0.1 * len(s)) * direction, rtol=1e-9)
        places.append(parameters.copy())
        slopes.append(gradient)
        evaluated = len(noted)
    assert asked == [0, 1, 2, 3]


# The line search alone.


def along(function):
    """Return phi for a function of alpha to (value, slope), and the list of the trials that are made."""
    trials = []

    def phi(alpha):
        trials.append(alpha)
        value, slope = function(alpha)
        return _Trial(alpha, value, slope, np.zeros(1))

    return phi, trials


LINES = {
    "the first of More and Thuente": lambda a: (-a / (a * a + 2), (a * a - 2) / (a * a + 2) ** 2),
    "a steep power": lambda a: ((a - 3) ** 8, 8 * (a - 3) ** 7),
    "a wall": lambda a: (math.exp(a - 20) - a, math.exp(a - 20) - 1) if a < 700 else (math.inf, math.nan),
    "a long valley": lambda a: (math.sqrt(1 + (a - 100) ** 2), (a - 100) / math.sqrt(1 + (a - 100) ** 2)),
    "waves": lambda a: (a * a / 50 - math.sin(a), a / 25 - math.cos(a)),
}


@pytest.mark.parametrize("first", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("line", LINES)
def test_a_line_search_ends_at_a_point_that_meets_the_conditions(line, first):
    phi, trials = along(LINES[line])
    start = phi(0.0)
    found = _search_along(phi, start, first)
    assert found.phi <= start.phi + 1e-4 * found.alpha * start.slope
    assert abs(found.slope) <= 0.9 * abs(start.slope)
    assert trials[1] == first
    assert trials[-1] == found.alpha
    assert len(trials) <= 15


@pytest.mark.parametrize(
    ("value", "slope", "accepted"),
    [
        (-1e-4, 0.0, True),
        (-0.9e-4, 0.0, False),
        (-1.1e-4, 0.0, True),
        (-0.5, -0.9, True),
        (-0.5, -0.91, False),
        (-0.5, -0.89, True),
        (-0.5, 0.9, True),
        (-0.5, 0.91, False),
    ],
)
def test_a_trial_is_accepted_by_the_constants_of_the_book(value, slope, accepted):
    phi, trials = along(lambda a: (value, slope) if a == 1 else (-1.0 * (a > 0), -1.0 * (a == 0)))
    found = _search_along(phi, phi(0.0), 1.0)
    assert (found.alpha == 1) == accepted
    assert len(trials) == 3 - accepted


def test_the_middle_is_tried_where_a_trial_has_hardly_made_the_interval_shorter():
    """A wall that lets the cubic creep on by hundredths."""
    phi, trials = along(lambda a: (-a, -1.0) if a < 5 else (1e30, 1e29))
    _search_along(phi, phi(0.0), 10.0)
    np.testing.assert_allclose(trials[:6], [0, 10, 0.1, 5.05, 0.1495, (0.1495 + 5.05) / 2])


@pytest.mark.parametrize("bottom", [0.02, 0.4, 30, 90])
def test_on_a_parabola_the_second_trial_is_its_bottom(bottom):
    phi, trials = along(lambda a: ((a - bottom) ** 2, 2 * (a - bottom)))
    _search_along(phi, phi(0.0), 1.0)
    np.testing.assert_allclose(trials, [0, 1, bottom], rtol=1e-12)


def test_a_line_search_goes_a_hundred_times_as_far_at_most():
    phi, trials = along(lambda a: (-a if a < 5e3 else a - 1e4, -1.0 if a < 5e3 else 1.0))
    _search_along(phi, phi(0.0), 1.0)
    assert trials[:4] == [0, 1, 100, 10_000]


def test_the_lowest_point_of_a_cubic_is_found_exactly():
    def cubic(a):  # lowest at 2, highest at -1
        return _Trial(a, 2 * a**3 - 3 * a**2 - 12 * a, 6 * (a - 2) * (a + 1), np.zeros(1))

    for low, high in [(0.0, 5.0), (3.0, 0.0), (1.5, 2.5), (1.0, 20.0)]:
        assert _between(cubic(low), cubic(high)) == pytest.approx(2, rel=1e-12)


def test_a_trial_is_some_way_off_the_lower_end_of_the_interval():
    low, room = _Trial(2.0, 5.0, -1.0, np.zeros(1)), np.zeros(1)
    assert _between(low, _Trial(4.0, 1e9, 1e9, room)) == pytest.approx(2.02)
    assert _between(low, _Trial(4.0, 1e300, 1e302, room)) == pytest.approx(2.02)  # its square overflows
    assert _between(low, _Trial(4.0, math.inf, math.nan, room)) == pytest.approx(2.2)
    assert 3.3 < _between(low, _Trial(4.0, 5.0, 1e9, room)) < 3.34  # t^3 - t^2, lowest at 2/3
    assert _between(low, _Trial(4.0, 5 - 1e-15, 1.0, room)) == pytest.approx(3)  # lower by rounding alone


def test_at_a_kink_a_line_search_is_content_with_a_short_interval():
    phi, trials = along(lambda a: (abs(a - 0.3) + 1e-3 * (a - 0.3) ** 2, math.copysign(1, a - 0.3) + 2e-3 * (a - 0.3)))
    found = _search_along(phi, phi(0.0), 1.0)
    assert found.alpha == pytest.approx(0.3, rel=0.01)
    assert trials[-1] == found.alpha
    assert len(trials) < 12


@pytest.mark.parametrize("slope", [0.0, 1.0, math.nan])
def test_a_line_that_does_not_fall_is_not_searched(slope):
    phi, trials = along(lambda a: (a, 1.0))
    start = _Trial(0.0, 0.0, slope, np.zeros(1))
    assert _search_along(phi, start, 1.0) is start
    assert not trials


def test_a_line_search_makes_twenty_trials_at_most():
    phi, trials = along(lambda a: (0.0 if a == 0 else 1.0 + a, -1e300))
    start = phi(0.0)
    assert _search_along(phi, start, 1.0) is start
    assert len(trials) == 21


# What the caller may rely on.


def test_nothing_is_evaluated_twice_and_the_last_evaluation_is_that_of_what_is_left():
    for function, start in [(rosenbrock, np.array([-1.2, 1.0])), logistic_regression(1)]:
        noted, optimizer, parameters = [], LBFGS(), start.copy()
        for _ in iterations(optimizer, function, parameters, noted=noted):
            np.testing.assert_array_equal(noted[-1], parameters)
        assert len({tuple(place) for place in noted}) == len(noted)
    noted, parameters = [], np.zeros(3)
    ((loss, _),) = minimized(LBFGS(), lambda p: (1.0 if not p.any() else 2.0, np.ones(3)), parameters, 1, None, noted)
    assert loss == 1
    np.testing.assert_array_equal(noted[-1], 0)


def moved(array):
    """Return a copy that lies elsewhere in memory, where a vector unit might sum up in another order."""
    room = np.empty(array.size + 1, array.dtype)[1:].reshape(array.shape)
    room[...] = array
    return room


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("after", [1, 7, 25])
def test_a_run_that_is_continued_from_a_copy_of_its_state_takes_the_same_way_to_the_bit(after, dtype):
    function, start = logistic_regression(0, features=37)
    whole, first, second = exact(memory=5), exact(memory=5), exact(memory=5)
    expected, parameters = start.astype(dtype), start.astype(dtype)
    losses = [loss for loss, _ in minimized(whole, function, expected, 40)]
    head = [loss for loss, _ in minimized(first, function, parameters, after)]
    parameters = moved(parameters)
    second.state, second.step = {name: moved(array) for name, array in first.state.items()}, first.step
    tail = [loss for loss, _ in minimized(second, function, parameters, 40 - after)]
    assert head + tail == losses
    np.testing.assert_array_equal(parameters, expected)
    assert second.step == whole.step
    for name, array in whole.state.items():
        np.testing.assert_array_equal(second.state[name], array)


def test_parameters_of_float32_get_a_state_and_a_gradient_of_float64():
    function, bottom, start = quadratic(0, 5, 100)
    optimizer, parameters, before = LBFGS(memory=4), start.astype(np.float32), start.astype(np.float32)
    for _, gradient in iterations(optimizer, lambda p: function(p.astype(np.float64)), parameters):
        assert (parameters.dtype, gradient.dtype) == (np.float32, np.float64)
        if (parameters != before).any():  # the step that was made, not the one that was meant
            np.testing.assert_array_equal(optimizer.state["s"][-1], parameters.astype(np.float64) - before)
        before = parameters.copy()
    assert {array.dtype for array in optimizer.state.values()} == {np.dtype(np.float64)}
    np.testing.assert_allclose(parameters, bottom, atol=1e-4)  # of the numbers' 1e-7, times the condition


def test_loss_and_gradient_that_are_given_stay_as_they_are():
    parameters, given = np.array([-1.2, 1.0]), rosen_der(np.array([-1.2, 1.0]))
    kept = given.copy()
    _, gradient = LBFGS().minimize(lambda: rosenbrock(parameters), parameters, rosen(parameters), given)
    np.testing.assert_array_equal(given, kept)
    assert gradient is not given
    _, same = LBFGS().minimize(lambda: rosenbrock(parameters), parameters, 0.0, zero := np.zeros(2))
    assert same is not zero


@pytest.mark.parametrize("beyond", [(np.nan, 1.0), (np.inf, 1.0), (-np.inf, 1.0), (0.0, np.nan), (-1.0, np.inf)])
def test_a_region_without_numbers_is_too_far(beyond):
    """A barrier, -log(1 - x), with the bottom near it; trials beyond have no loss or no gradient."""

    def barrier(p):
        if p[0] >= 1:
            return beyond[0], np.full(2, beyond[1])
        rest = 1 - p[0]
        return -10 * p[0] - np.log(rest) + p[1] ** 2, np.array([-10 + 1 / rest, 2 * p[1]])

    for rate in (1.0, 1e6):
        optimizer, parameters, noted = exact(learning_rate=rate), np.array([-5.0, 3.0]), []
        minimized(optimizer, barrier, parameters, 200, None, noted)
        np.testing.assert_allclose(parameters, [0.9, 0], atol=1e-6)
        assert any(place[0] >= 1 for place in noted)


def test_slices_that_are_not_trained_stay_and_the_others_move_as_if_alone():
    start, trained = np.array([-0.0, 1.5, -1.2, 0.3, 1.0, -0.0, np.pi]), [slice(2, 3), slice(4, 5)]

    def function(p):
        gradient = np.zeros(7)
        gradient[[2, 4]] = rosen_der(p[[2, 4]])
        return rosen(p[[2, 4]]), gradient

    alone, optimizer, parameters = np.array([-1.2, 1.0]), LBFGS(), start.copy()
    losses = [loss for loss, _ in minimized(LBFGS(), rosenbrock, alone, 15)]
    # Sums are rounded in another order, and the way through the valley makes differences of 1e-16 larger.
    np.testing.assert_allclose(
        [loss for loss, _ in minimized(optimizer, function, parameters, 15, trained)], losses, rtol=1e-9
    )
    np.testing.assert_allclose(parameters[[2, 4]], alone, rtol=1e-9)
    minimized(optimizer, function, parameters, 1000, trained)
    np.testing.assert_allclose(parameters[[2, 4]], 1, atol=1e-5)
    others = [0, 1, 3, 5, 6]
    assert parameters[others].tobytes() == start[others].tobytes()
    assert not optimizer.state["s"][:, others].any()


def test_slices_may_be_frozen_on_the_way():
    function, _, parameters = quadratic(0, 6, 10)
    optimizer, trained = exact(), [slice(0, 2), slice(5, 6)]
    minimized(optimizer, function, parameters, 4)
    frozen = parameters[2:5].copy()

    def partly(p):
        loss, gradient = function(p)
        gradient[2:5] = 0
        return loss, gradient

    minimized(optimizer, partly, parameters, 100, trained)
    np.testing.assert_array_equal(parameters[2:5], frozen)
    np.testing.assert_allclose(partly(parameters)[1], 0, atol=1e-6)


@pytest.mark.parametrize("last", range(2, 12))
def test_an_error_on_the_way_leaves_the_last_whole_iteration_and_it_can_go_on(last):
    calls, parameters, optimizer = [], np.array([-1.2, 1.0]), LBFGS()
    expected = np.array([-1.2, 1.0])
    minimized(LBFGS(), rosenbrock, expected)

    def interrupted(p):
        calls.append(p)
        if len(calls) == last:
            raise KeyboardInterrupt
        return rosenbrock(p)

    kept = parameters.copy()
    with pytest.raises(KeyboardInterrupt):
        for count, _ in enumerate(iterations(optimizer, interrupted, parameters), 1):
            kept, step, state = parameters.copy(), count, copy.deepcopy(optimizer.state)
            assert optimizer.step == step
    np.testing.assert_array_equal(parameters, kept)
    if optimizer.step:
        for name, array in state.items():
            np.testing.assert_array_equal(optimizer.state[name], array)
    minimized(optimizer, rosenbrock, parameters)
    np.testing.assert_array_equal(parameters, expected)


# Its end.


def test_a_looser_tolerance_ends_earlier():
    steps = []
    for settings in ({}, {"tolerance": 1e-2}, {"gradient_tolerance": 1.0}):
        optimizer = LBFGS(**settings)
        minimized(optimizer, rosenbrock, np.array([-1.2, 1.0]))
        steps.append(optimizer.step)
    assert steps[0] > max(steps[1:])


@pytest.mark.parametrize("scale", [2.0**-660, 1e-200, 1e-12, 1e12, 1e200, 2.0**660])
def test_the_units_of_the_loss_make_no_other_end(scale):
    ends = []
    for factor in (1.0, scale):
        optimizer, parameters = LBFGS(), np.array([-1.2, 1.0])
        minimized(optimizer, lambda p, factor=factor: tuple(factor * part for part in rosenbrock(p)), parameters)
        ends.append((optimizer.step, optimizer.ended, *parameters))
    assert ends[0][:2] == ends[1][:2]
    # A power of 2 changes no digit; another factor rounds the last one.
    np.testing.assert_allclose(ends[0][2:], ends[1][2:], rtol=0 if math.frexp(scale)[0] == 0.5 else 1e-5)


@pytest.mark.parametrize("tolerance", [1e-2, 1e-6])
def test_it_ends_when_an_iteration_lowers_the_loss_by_no_more_than_the_tolerance_says(tolerance):
    rng, start = np.random.default_rng(0), np.zeros(30)
    matrix = rng.normal(size=(40, 30))
    target = rng.normal(size=40)

    def function(vector):
        rest = matrix @ vector - target
        return 1e-6 * rest @ rest, 2e-6 * matrix.T @ rest

    optimizer = LBFGS(tolerance=tolerance, gradient_tolerance=0)
    heights = [function(start)[0]]
    heights += [loss for loss, _ in minimized(optimizer, function, start, 200)]
    shares = -np.diff(heights) / heights[:-1]
    assert len(shares) > 3
    assert (shares[:-1] > tolerance).all()
    assert shares[-1] <= tolerance
    assert optimizer.ended == f"the loss fell by no more than tolerance = {tolerance:g} of it"


@pytest.mark.parametrize("lowest", [0.5, 1e6])
def test_it_ends_when_the_gradient_has_become_as_small_as_its_tolerance_says(lowest):
    def function(place):
        height, slope = rosenbrock(place)
        return height + lowest, slope

    start = np.array([-1.2, 1.0])
    first = np.abs(rosen_der(start)).max()
    optimizer = LBFGS(tolerance=0, gradient_tolerance=1e-3)
    found = [
        np.abs(gradient).max() <= 1e-3 * min(loss, first) for loss, gradient in iterations(optimizer, function, start)
    ]
    assert len(found) > 10
    assert found == [False] * (len(found) - 1) + [True]
    assert optimizer.ended == "no entry of the gradient is above gradient_tolerance = 0.001 of the loss"


@pytest.mark.parametrize(
    ("before", "loss", "slope", "reason"),
    [
        (1.0, 0.5, 1.0, "tolerance = 0.5 of it"),
        (1.0, 0.49, 1.0, ""),
        (-4.0, -8.0, 9.0, "tolerance = 0.5 of it"),
        (-3.9, -8.0, 9.0, ""),
        (9.0, 2.0, 0.5, "gradient_tolerance = 0.25 of the loss"),
        (9.0, 2.0, 0.51, ""),
        (9.0, -2.0, 0.5, "gradient_tolerance = 0.25 of the loss"),
        (900.0, 100.0, 2.0, "gradient_tolerance = 0.25 of the loss"),
        (900.0, 100.0, 2.1, ""),
    ],
)
def test_the_tolerances_are_shares_of_the_size_of_the_loss_and_of_the_first_gradient(before, loss, slope, reason):
    optimizer, parameters = LBFGS(tolerance=0.5, gradient_tolerance=0.25), np.zeros(2)
    optimizer.prepare_state(parameters)
    optimizer.state["steepest"][:] = 8
    optimizer.minimize(lambda: (loss, np.array([0.0, slope])), parameters, before, np.array([-1e-3, 0.0]))
    assert optimizer.step == 1
    assert optimizer.ended.endswith(reason)
    assert bool(optimizer.ended) == bool(reason)


def test_losses_below_zero_end_it_as_well():
    function, bottom, parameters = quadratic(0, 5, 10)
    optimizer = LBFGS(tolerance=1e-6)
    minimized(optimizer, lambda p: (function(p)[0] - 100, function(p)[1]), parameters)
    assert optimizer.ended == "the loss fell by no more than tolerance = 1e-06 of it"
    np.testing.assert_allclose(parameters, bottom, atol=0.05)


@pytest.mark.parametrize(
    ("parameters", "rate", "what"), [(np.ones(2), 1.0, "gradient"), (np.zeros(2), 0, "learning rate")]
)
def test_at_the_bottom_or_without_a_rate_it_goes_nowhere(parameters, rate, what):
    optimizer, kept, noted = LBFGS(rate), parameters.copy(), []
    ((loss, _),) = minimized(optimizer, rosenbrock, parameters, 10, None, noted)
    np.testing.assert_array_equal(parameters, kept)
    assert optimizer.ended == f"the {what} is zero"
    assert (loss, len(noted), optimizer.step) == (rosen(kept), 1, 1)
    assert type(loss) is float


def test_where_nothing_is_lower_it_says_so_and_stays():
    optimizer, parameters = LBFGS(), np.array([1.0, -0.0])
    ((loss, gradient),) = minimized(optimizer, lambda p: (p @ p, -2 * p), parameters, 10)  # a gradient that lies
    assert optimizer.ended == "float64 finds no lower loss along the gradient"
    assert parameters.tobytes() == np.array([1.0, -0.0]).tobytes()
    assert (loss, *gradient) == (1, -2, 0)


def test_a_memory_that_leads_nowhere_is_dropped():
    optimizer, parameters = LBFGS(), np.array([-1.2, 1.0])
    optimizer.prepare_state(parameters)
    # Hardly any curvature: it would go so far that twenty trials do not lead back from where there are no numbers.
    optimizer.state["s"][-1], optimizer.state["y"][-1] = [1e-3, 0], [1e-50, 0]
    optimizer.state["steepest"][:] = 200

    def function(p):
        return rosenbrock(p) if np.abs(p).max() < 1e10 else (np.nan, np.zeros(2))

    minimized(optimizer, function, parameters, 1)
    assert not optimizer.ended
    assert rosen(parameters) < rosen([-1.2, 1.0])
    assert not optimizer.state["s"][:-1].any()
    np.testing.assert_allclose(optimizer.state["s"][-1], parameters - [-1.2, 1.0], rtol=1e-12)
    minimized(optimizer, function, parameters)
    np.testing.assert_allclose(parameters, 1, atol=1e-5)


def test_ended_is_of_the_last_iteration_alone():
    optimizer, parameters = LBFGS(tolerance=1.0), np.array([-1.2, 1.0])
    minimized(optimizer, rosenbrock, parameters)
    assert optimizer.step == 1
    assert optimizer.ended
    optimizer.tolerance = 0
    minimized(optimizer, rosenbrock, parameters, 1)
    assert optimizer.ended == ""
    optimizer.tolerance = 1.0
    minimized(optimizer, rosenbrock, parameters, 1)
    with pytest.raises(ZeroDivisionError):
        optimizer.minimize(lambda: 1 / 0, parameters, *rosenbrock(parameters))
    assert optimizer.ended == ""


# What it refuses.


def test_single_steps_are_refused_with_what_to_do():
    optimizer, parameters = LBFGS(), np.zeros(2)
    assert optimizer.full_batch
    with pytest.raises(NotReadyError, match=r"LBFGS takes no single steps: .* batch_size=None"):
        optimizer.apply(parameters, np.ones(2))
    assert optimizer.step == 0


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"memory": 0}, ArgumentError, "LBFGS: memory is 0; it must be a whole number, 1 or more"),
        ({"memory": 2.5}, ArgumentTypeError, "LBFGS: memory is 2.5; it must be a whole number"),
        ({"tolerance": -1e-9}, ArgumentError, "LBFGS: tolerance is -1e-09"),
        ({"gradient_tolerance": np.nan}, ArgumentError, "LBFGS: gradient_tolerance is nan"),
        ({"learning_rate": -0.1}, ArgumentError, "LBFGS: learning_rate is -0.1"),
        ({"weight_decay": 0.1}, ArgumentError, r"LBFGS: weight_decay is 0.1; .*, in \[0, 0\]"),
        ({"weight_decay": -0.1}, ArgumentError, "LBFGS: weight_decay is -0.1; it must be a finite number"),
        ({"clip_norm": 1.0}, ArgumentTypeError, "LBFGS has no setting 'clip_norm'"),
    ],
)
def test_settings_out_of_range_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        LBFGS(**settings)


def test_weight_decay_is_refused_also_when_it_is_set_afterwards():
    optimizer = LBFGS(weight_decay=0)
    with pytest.raises(ArgumentError, match=r"LBFGS: weight_decay is 0.1; .*, in \[0, 0\]"):
        optimizer.weight_decay = 0.1
    assert optimizer.weight_decay == 0


def test_a_rate_that_is_none_is_refused_before_anything_changes():
    optimizer, parameters = LBFGS(lambda step: -1.0), np.array([-1.2, 1.0])
    with pytest.raises(ArgumentError, match="LBFGS: learning_rate at step 0 is -1.0"):
        minimized(optimizer, rosenbrock, parameters)
    assert optimizer.step == 0
    np.testing.assert_array_equal(parameters, [-1.2, 1.0])


def test_a_gradient_or_a_model_or_a_memory_of_another_size_is_refused():
    optimizer, parameters = LBFGS(), np.array([-1.2, 1.0])
    with pytest.raises(ShapeError, match=r"LBFGS: \(2,\), \(3,\) and pairs"):
        optimizer.minimize(lambda: (0.0, np.zeros(3)), parameters, 0.0, np.zeros(3))
    minimized(optimizer, rosenbrock, parameters, 3)
    with pytest.raises(ShapeError, match=r"LBFGS: \(3,\), .* and pairs \(10, 2\) differ: make a new"):
        minimized(optimizer, rosenbrock, np.zeros(3))
    optimizer.memory = 5
    with pytest.raises(ShapeError, match=r"pairs \(10, 2\) differ: make a new one"):
        minimized(optimizer, rosenbrock, parameters)
    assert optimizer.step == 3


def test_it_is_described_by_its_settings():
    assert repr(LBFGS()) == "LBFGS(learning_rate=1.0, memory=10, tolerance=1e-09, gradient_tolerance=1e-09)"
    optimizer = LBFGS(0.5, memory=5, tolerance=1e-6)
    assert repr(optimizer) == "LBFGS(learning_rate=0.5, memory=5, tolerance=1e-06, gradient_tolerance=1e-09)"
    assert repr(decode(encode(optimizer))) == repr(optimizer)


# On models.


def test_the_coefficients_of_a_logistic_regression_are_those_of_scikit_learn():
    x, y = load_breast_cancer(return_X_y=True)
    x = StandardScaler().fit_transform(x)
    strength = 0.1
    layer = Dense(2, regularizer=L2(strength))
    model = Sequential([layer, SoftmaxCrossEntropy()], input_shape=x.shape[1], dtype="float64", seed=0)

    def evaluate():
        """The mean loss with half the squared weights of the two classes, in which scikit-learn's weight is split."""
        loss, dscores = model.loss(model.forward(x, training=True), y)
        model.backward(dscores)
        return loss + model.penalty(add_gradients=True), model.gradients

    optimizer = LBFGS(tolerance=0)
    loss, gradient = evaluate()
    for _ in range(500):
        loss, gradient = optimizer.minimize(evaluate, model.parameters, loss, gradient)
        if optimizer.ended:
            break
    # With weights w_1 = -w_0 the penalty is 2 |w_1|^2, and scikit-learn's weight is 2 w_1: half of |w|^2, over C rows.
    reference = LogisticRegression(C=1 / (strength * len(x)), tol=1e-10, max_iter=10_000).fit(x, y)
    weight, bias = model.named_parameters().values()
    np.testing.assert_allclose(weight.value[:, 1] - weight.value[:, 0], reference.coef_[0], atol=1e-6)
    np.testing.assert_allclose(bias.value[1] - bias.value[0], reference.intercept_[0], atol=1e-6)


@pytest.mark.parametrize("scale", [1e-8, 1e-5, 1.0, 1e5])
def test_targets_in_small_units_are_learned_as_well_as_in_large_ones(scale):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 6))
    y = scale * (np.sin(x[:, 0]) + x[:, 1] * x[:, 2])

    def trained(*layers):
        model = Sequential([*layers, MeanSquaredError()], seed=0, dtype="float64")
        Trainer(model, LBFGS(), batch_size=None).fit(x, y, epochs=300, progress=False)
        return 1 - np.mean((model.predict(x) - y) ** 2) / np.var(y)

    best = LinearRegression().fit(x, y).score(x, y)
    assert trained(Dense(1)) == pytest.approx(best, abs=1e-6)
    assert trained(Dense(1, initializer="zeros")) == pytest.approx(best, abs=1e-6)
