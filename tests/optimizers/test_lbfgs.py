import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import StandardScaler

from minidl import Dense, MeanSquaredError, Sequential, SoftmaxCrossEntropy, Trainer
from minidl.configuration import decode, encode
from minidl.errors import ArgumentError, ArgumentTypeError, NotReadyError, ShapeError
from minidl.optimizers import LBFGS


def rosenbrock(p):
    x, y = p
    value = (1 - x) ** 2 + 100 * (y - x * x) ** 2
    return value, np.array([-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)])


def test_it_finds_the_bottom_of_rosenbrocks_valley_in_place_and_counts_iterations():
    parameters, places = np.array([-1.2, 1.0]), []
    optimizer = LBFGS()

    def note(place):
        assert place is parameters
        places.append(place.copy())

    optimizer.minimize(rosenbrock, parameters, 100, note)
    np.testing.assert_allclose(parameters, [1, 1], atol=1e-5)
    assert 10 < optimizer.step == len(places) < 100
    heights = [rosenbrock(place)[0] for place in places]
    assert heights == sorted(heights, reverse=True)
    np.testing.assert_array_equal(places[-1], parameters)


def test_it_ends_after_the_iterations_asked_for_or_when_told_to():
    for iterations, last, expected in [(5, 100, 5), (50, 3, 3)]:
        optimizer, parameters, places = LBFGS(), np.array([-1.2, 1.0]), []

        def stop(place, places=places, last=last):
            places.append(place)
            return len(places) == last

        optimizer.minimize(rosenbrock, parameters, iterations, stop)
        assert optimizer.step == expected
        other, same = LBFGS(), np.array([-1.2, 1.0])
        other.minimize(rosenbrock, same, expected)
        np.testing.assert_array_equal(parameters, same)


def test_a_looser_tolerance_ends_earlier():
    steps = []
    for settings in ({}, {"tolerance": 1e-2}, {"gradient_tolerance": 1.0}):
        optimizer = LBFGS(**settings)
        optimizer.minimize(rosenbrock, np.array([-1.2, 1.0]), 100)
        steps.append(optimizer.step)
    assert steps[0] > max(steps[1:])


def test_the_coefficients_of_a_logistic_regression_are_those_of_scikit_learn():
    x, y = load_breast_cancer(return_X_y=True)
    x = StandardScaler().fit_transform(x)
    strength = 0.1
    model = Sequential([Dense(2), SoftmaxCrossEntropy()], input_shape=x.shape[1], dtype="float64", seed=0)
    weight, bias = model.named_parameters().values()

    def objective(vector):
        """The mean loss with half the squared weights of the two classes, in which scikit-learn's weight is split."""
        model.parameters[:] = vector
        loss, dscores = model.loss.mean(model.forward(x, training=True), y)
        model.backward(dscores)
        gradient = model.gradients.copy()
        gradient[: weight.value.size] += 2 * strength * weight.value.ravel()
        return loss + strength * (weight.value**2).sum(), gradient

    LBFGS(tolerance=0).minimize(objective, model.parameters, 500)
    # With weights w_1 = -w_0 the penalty is 2 |w_1|^2, and scikit-learn's weight is 2 w_1: half of |w|^2, over C rows.
    reference = LogisticRegression(C=1 / (strength * len(x)), tol=1e-10, max_iter=10_000).fit(x, y)
    np.testing.assert_allclose(weight.value[:, 1] - weight.value[:, 0], reference.coef_[0], atol=1e-6)
    np.testing.assert_allclose(bias.value[1] - bias.value[0], reference.intercept_[0], atol=1e-6)


def test_parameters_of_float32_are_computed_in_float64():
    parameters, types = np.array([-1.2, 1.0], np.float32), set()

    def objective(vector):
        types.add(str(vector.dtype))
        loss, gradient = rosenbrock(vector)
        parameters[:] = vector  # as a model's objective does
        return loss, gradient.astype(np.float32)

    LBFGS().minimize(objective, parameters, 100)
    assert parameters.dtype == np.float32
    assert types == {"float64"}
    np.testing.assert_allclose(parameters, [1, 1], atol=1e-3)


def test_an_error_on_the_way_leaves_the_parameters_of_the_last_whole_iteration():
    parameters, calls, last = np.array([-1.2, 1.0]), [], []

    def objective(vector):
        calls.append(vector)
        parameters[:] = vector
        if len(calls) == 10:
            raise KeyboardInterrupt
        return rosenbrock(vector)

    with pytest.raises(KeyboardInterrupt):
        LBFGS().minimize(objective, parameters, 100, lambda place: last.append(place.copy()))
    np.testing.assert_array_equal(parameters, last[-1])


def test_single_steps_are_refused_with_what_to_do():
    optimizer, parameters = LBFGS(), np.zeros(2)
    assert optimizer.full_batch
    with pytest.raises(NotReadyError, match=r"LBFGS takes no single steps .* batch_size=None"):
        optimizer.apply(parameters, np.ones(2))
    assert optimizer.step == 0


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"memory": 0}, ArgumentError, "LBFGS: memory is 0; it must be 1 or more"),
        ({"memory": 2.5}, ArgumentTypeError, "LBFGS: memory is 2.5; it must be a whole number"),
        ({"tolerance": -1e-9}, ArgumentError, "LBFGS: tolerance is -1e-09"),
        ({"gradient_tolerance": np.nan}, ArgumentError, "LBFGS: gradient_tolerance is nan"),
        ({"learning_rate": 0.1}, TypeError, "learning_rate"),
        ({"clip_norm": 1.0}, ArgumentError, "LBFGS: clip_norm is 1.0, but it .* itself: leave it None"),
        ({"clip_value": 0.5}, ArgumentError, "LBFGS: clip_value is 0.5, but .*: leave it None"),
        ({"weight_decay": 0.1}, ArgumentError, r"LBFGS: weight_decay is 0.1, but .* a regularizer, L2\(0.05\)"),
    ],
)
def test_settings_out_of_range_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        LBFGS(**settings)


@pytest.mark.parametrize(
    ("name", "value"), [("learning_rate", 0.5), ("clip_norm", 1.0), ("clip_value", 1.0), ("weight_decay", 0.1)]
)
def test_a_setting_of_steps_that_is_set_afterwards_is_refused_before_anything_changes(name, value):
    optimizer, parameters = LBFGS(), np.zeros(2)
    setattr(optimizer, name, value)
    with pytest.raises(ArgumentError, match=f"LBFGS: {name} is {value}, but it"):
        optimizer.minimize(rosenbrock, parameters, 5)
    assert not parameters.any()


def test_arguments_of_minimize_that_do_not_fit_are_refused():
    with pytest.raises(ArgumentError, match="LBFGS: iterations is 0"):
        LBFGS().minimize(rosenbrock, np.zeros(2), 0)
    with pytest.raises(ShapeError, match=r"parameters have shape \(2,\) but the gradient \(3,\)"):
        LBFGS().minimize(lambda vector: (0.0, np.zeros(3)), np.zeros(2), 1)


def test_it_is_described_by_its_settings():
    optimizer = LBFGS(5, 1e-6)
    assert repr(optimizer) == "LBFGS(memory=5, tolerance=1e-06, gradient_tolerance=1e-09)"
    assert repr(decode(encode(optimizer))) == repr(optimizer)


@pytest.mark.parametrize("scale", [1e-200, 1e-12, 1e12, 1e200])
def test_the_units_of_the_loss_make_no_other_end(scale):
    ends = []
    for factor in (1.0, scale):
        optimizer, parameters = LBFGS(), np.array([-1.2, 1.0])
        optimizer.minimize(
            lambda p, factor=factor: tuple(factor * part for part in rosenbrock(p)), parameters, iterations=100
        )
        ends.append((optimizer.step, *parameters))
    np.testing.assert_allclose(*ends, rtol=1e-5)


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


@pytest.mark.parametrize("tolerance", [1e-2, 1e-6])
def test_it_ends_when_an_iteration_lowers_the_loss_by_no_more_than_the_tolerance_says(tolerance):
    rng, start = np.random.default_rng(0), np.zeros(30)
    matrix = rng.normal(size=(40, 30))
    target = rng.normal(size=40)

    def objective(vector):
        rest = matrix @ vector - target
        return 1e-6 * rest @ rest, 2e-6 * matrix.T @ rest

    heights = [objective(start)[0]]
    LBFGS(tolerance=tolerance, gradient_tolerance=0).minimize(
        objective, start, 200, lambda place: heights.append(objective(place)[0])
    )
    shares = -np.diff(heights) / heights[:-1]
    assert len(shares) > 3
    assert (shares[:-1] > tolerance).all()
    assert shares[-1] <= tolerance


@pytest.mark.parametrize("lowest", [0.5, 1e6])
def test_it_ends_when_the_gradient_has_become_as_small_as_its_tolerance_says(lowest):
    def objective(place):
        height, slope = rosenbrock(place)
        return height + lowest, slope

    def limit_and_slope(place):
        height, slope = objective(place)
        return 1e-3 * min(height, first), np.abs(slope).max()

    start = np.array([-1.2, 1.0])
    first, found = np.abs(rosenbrock(start)[1]).max(), []
    LBFGS(tolerance=0, gradient_tolerance=1e-3).minimize(
        objective, start, 200, lambda place: found.append(limit_and_slope(place))
    )
    assert len(found) > 10
    assert [slope <= limit for limit, slope in found] == [False] * (len(found) - 1) + [True]


def test_at_the_bottom_it_goes_nowhere():
    optimizer, parameters = LBFGS(), np.ones(2)
    optimizer.minimize(rosenbrock, parameters, 10)
    assert optimizer.step == 0
    np.testing.assert_array_equal(parameters, 1)
