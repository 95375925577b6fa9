"""Inputs and targets in units of their own spread: scikit-learn's StandardScaler is the oracle."""

import numpy as np
import pytest
import scipy.sparse
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from minidl import Adam, Dense, Flatten, Huber, MeanSquaredError, Poisson, ReLU, Rescale, Sequential
from minidl.errors import ArgumentError, ShapeError
from minidl.estimators import MLPClassifier, MLPRegressor, NetworkClassifier, NetworkRegressor
from minidl.estimators.losses import HalfSquaredError
from minidl.estimators.standardization import Standardize, StandardizedTargets, measure
from minidl.lazy_rows import LazyRows
from minidl.prediction import Ensemble
from minidl.testing import layer_checks, loss_checks

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# Sums over rows in another order, of numbers whose mean is up to 100 times their deviation.
CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def problem(rows=60, outputs=1):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 4)) * [1, 100, 0.01, 3] + [0, -500, 1, 10]
    y = (x - x.mean(axis=0)) / x.std(axis=0) @ rng.normal(size=(4, outputs)) * [30, 2, 500][:outputs] + 1000
    return x, y[:, 0] if outputs == 1 else y


@pytest.mark.parametrize(("name", "check"), [*layer_checks(Standardize(), input_shape=(5,))])
def test_the_layer_does_all_that_a_layer_must(name, check):
    check()


@pytest.mark.parametrize(
    ("name", "check"),
    [
        *loss_checks(
            StandardizedTargets(HalfSquaredError(), mean=[1.0, -2.0, 0.5], deviation=[2.0, 0.25, 3.0]),
            targets=np.random.default_rng(0).normal(size=(6, 3)),
        )
    ],
)
def test_the_loss_does_all_that_a_loss_must(name, check):
    check()


def test_before_it_has_measured_anything_the_layer_changes_nothing():
    layer = Standardize()
    layer.set_up((4,), 0)
    x = problem()[0].astype(np.float32)
    np.testing.assert_array_equal(layer.forward(x), x)


# Measuring


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("make", [np.array, lambda x: LazyRows(scipy.sparse.csr_array(x))], ids=["dense", "sparse"])
def test_mean_and_deviation_are_those_of_standard_scaler(make, weighted):
    x, _ = problem(2500)
    x[:, 2] = 0.1  # a feature that never changes is divided by 1
    weights = np.random.default_rng(1).uniform(0, 3, 2500) if weighted else None
    scaler = StandardScaler().fit(x, sample_weight=weights)
    mean, deviation = measure(make(x), weights)
    np.testing.assert_allclose(mean, scaler.mean_, rtol=1e-12)
    np.testing.assert_allclose(deviation, scaler.scale_, rtol=1e-10)
    assert deviation[2] == 1


def test_rows_that_weigh_nothing_do_not_count():
    x, _ = problem(2500)
    weights = np.r_[np.zeros(1100), np.full(1400, 0.5)]
    mean, deviation = measure(x, weights)
    np.testing.assert_allclose(mean, x[1100:].mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(deviation, x[1100:].std(axis=0), rtol=1e-10)


def test_pixels_are_features_and_stay_of_one_byte_until_they_are_used():
    images = np.random.default_rng(0).integers(256, size=(30, 4, 3, 1), dtype=np.uint8)
    images[:, 0, 0] = 7
    layer = Standardize()
    layer.set_up((4, 3, 1), 0)
    layer.adapt(images)
    y = layer.forward(images)
    assert y.dtype == np.float32
    assert y.shape == images.shape
    expected = StandardScaler().fit_transform(images.reshape(30, 12))
    np.testing.assert_allclose(y.reshape(30, 12), expected, atol=1e-6)  # in float32
    assert not y[:, 0, 0].any()


# Whole estimators


SAME_STEPS = {"random_state": 0, "shuffle": False, "max_iter": 10, "hidden_layer_sizes": (6,)}


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_regressor_is_that_of_scaled_inputs_and_targets(outputs, weighted):
    x, y = problem(outputs=outputs)
    weights = np.random.default_rng(1).uniform(0, 3, 60) if weighted else None
    ours = MLPRegressor(**SAME_STEPS, standardize=True).fit(x, y, weights)
    scaler, targets = StandardScaler().fit(x, sample_weight=weights), StandardScaler()
    scaled = targets.fit(y.reshape(60, -1), sample_weight=weights).transform(y.reshape(60, -1))
    inner = MLPRegressor(**SAME_STEPS).fit(scaler.transform(x), scaled[:, 0] if outputs == 1 else scaled, weights)
    expected = targets.inverse_transform(inner.predict(scaler.transform(x)).reshape(60, -1)).reshape(y.shape)
    np.testing.assert_allclose(ours.predict(x), expected, **CLOSE)
    np.testing.assert_allclose(ours.loss_curve_, inner.loss_curve_, **CLOSE)


def test_it_is_a_pipeline_with_transformed_targets():
    x, y = problem()
    inner = make_pipeline(StandardScaler(), MLPRegressor(**SAME_STEPS))
    theirs = TransformedTargetRegressor(inner, transformer=StandardScaler()).fit(x, y)
    ours = MLPRegressor(**SAME_STEPS, standardize=True).fit(x, y)
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), **CLOSE)


def test_a_classifier_is_that_of_scaled_inputs():
    x, y = problem()
    y = np.where(y > 1000, "high", "low")
    ours = MLPClassifier(**SAME_STEPS, standardize=True).fit(x, y)
    theirs = make_pipeline(StandardScaler(), MLPClassifier(**SAME_STEPS)).fit(x, y)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), **CLOSE)


def test_without_it_such_inputs_teach_little():
    x, y = problem()
    settings = {"random_state": 0, "max_iter": 200, "learning_rate_init": 0.01}
    assert MLPRegressor(**settings, standardize=True).fit(x, y).score(x, y) > 0.95
    assert MLPRegressor(**settings).fit(x, y).score(x, y) < 0.5


NETWORKS = {
    "default loss": {"layers": [Dense(6), ReLU()]},
    "loss": {"layers": [Dense(6), ReLU()], "loss": Huber()},
    "loss in the list": {"layers": [Dense(6), ReLU(), Dense(1), MeanSquaredError()]},
    "loss of a function": {"build_model": lambda: Sequential([Dense(6), ReLU(), Dense(1), Huber()])},
}


@pytest.mark.parametrize("parts", NETWORKS.values(), ids=NETWORKS)
def test_whatever_the_loss_targets_are_scaled(parts):
    x, y = problem()
    settings = {**parts, "optimizer": Adam(0.03), "max_iter": 60, "random_state": 0, "metrics": ["mean_absolute_error"]}
    estimator = NetworkRegressor(**settings, standardize=True).fit(x, y)
    assert isinstance(estimator.model_.loss, StandardizedTargets)
    assert estimator.score(x, y) > 0.5
    # Metrics are in the user's units: in those of the loss it would begin with about 1.
    assert estimator.history_["mean_absolute_error"][0] > 10
    assert estimator.trainer_.evaluate(x, y)["mean_absolute_error"] == pytest.approx(
        np.abs(estimator.predict(x) - y).mean(), rel=1e-6
    )


@pytest.mark.parametrize(
    "estimator",
    [
        MLPRegressor("poisson", max_iter=3, standardize=True),
        NetworkRegressor(loss=Poisson(), max_iter=3, standardize=True),
        NetworkRegressor([Dense(1), Poisson()], max_iter=3, standardize=True),
    ],
    ids=["mlp", "loss", "own"],
)
def test_counts_stay_counts(estimator):
    x, _ = problem()
    estimator.fit(x, np.random.default_rng(0).poisson(3, 60))
    assert isinstance(estimator.model_.layers[0], Standardize)
    assert isinstance(estimator.model_.loss, Poisson)
    assert (estimator.predict(x) > 0).all()


def test_the_scaling_stays_when_the_training_goes_on():
    x, y = problem()
    estimator = MLPRegressor(max_iter=3, standardize=True, warm_start=True).fit(x, y)
    layer, loss = estimator.model_.layers[0], estimator.model_.loss
    mean = layer.mean.value.copy()
    estimator.fit(3 * x, 2 * y).partial_fit(5 * x, y)
    assert estimator.model_.layers[0] is layer
    assert estimator.model_.loss is loss
    np.testing.assert_array_equal(layer.mean.value, mean)


def test_constant_features_and_constant_targets_do_no_harm():
    x, _ = problem()
    x[:, 1] = 5
    estimator = MLPRegressor(standardize=True, max_iter=200, random_state=0).fit(x, np.full(60, 42.0))
    np.testing.assert_allclose(estimator.predict(x), 42, atol=0.5)


def test_images_are_scaled_by_pixel():
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(40, 5, 5, 1), dtype=np.uint8)
    y = images[:, :, :2].mean(axis=(1, 2, 3)) > images[:, :, 3:].mean(axis=(1, 2, 3))
    estimator = NetworkClassifier([Flatten()], optimizer=Adam(0.1), standardize=True, random_state=0).fit(images, y)
    assert estimator.score(images, y) > 0.95
    assert estimator.model_.layers[0].mean.value.shape == (5, 5, 1)
    assert estimator.predict_proba(images).dtype == np.float32


def test_a_user_may_scale_pixels_with_a_layer_as_well():
    images = np.random.default_rng(0).integers(256, size=(40, 6), dtype=np.uint8)
    estimator = NetworkClassifier([Rescale(1 / 255)], max_iter=2).fit(images, images[:, 0] > 127)
    assert estimator.predict(images).dtype == np.bool_


def test_of_other_outputs_the_loss_speaks_as_the_inner_one():
    loss = StandardizedTargets(MeanSquaredError(), mean=[0.0], deviation=[1.0])
    with pytest.raises(ShapeError, match="output"):
        Sequential([Dense(2), loss], input_shape=3).loss(np.zeros((4, 2)), np.zeros((4, 3)))
    scores = np.array([[1.0], [2.0]])
    np.testing.assert_array_equal(StandardizedTargets(Poisson(), mean=0.0, deviation=1.0).average(scores[None]), scores)


def test_targets_of_many_digits_are_scaled_back_in_float64():
    x = np.random.default_rng(0).integers(0, 255, (300, 4)).astype(np.uint8)
    y = 1.7e9 + x[:, 0]  # times in seconds, which float32 knows to a hundred
    estimator = MLPRegressor(standardize=True, max_iter=100, learning_rate_init=0.01, random_state=0).fit(x, y)
    assert estimator.model_.dtype == np.float32
    assert estimator.score(x, y) > 0.9


def test_models_of_other_units_do_not_predict_together():
    x = np.random.default_rng(0).normal(size=(60, 3))
    models = [MLPRegressor(standardize=True, max_iter=2).fit(x, y).model_ for y in (x[:, 0], 1000 + 100 * x[:, 0])]
    with pytest.raises(ArgumentError, match="it interprets scores differently"):
        Ensemble(models)
    Ensemble([models[0], MLPRegressor(standardize=True, max_iter=2, random_state=1).fit(x, x[:, 0]).model_])
