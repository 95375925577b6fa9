"""What all predictors share: checks of their models, nesting, threads, copies, files."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from minidl import (
    AugmentedPrediction,
    Dense,
    Ensemble,
    MeanSquaredError,
    Predictor,
    ReLU,
    Rescale,
    Sequential,
    SoftmaxCrossEntropy,
    TemperatureScaling,
)
from minidl.errors import ArgumentError, ArgumentTypeError, DataError, NotReadyError, ShapeError
from minidl.functional import softmax
from minidl.prediction import as_model
from minidl.settings import setting


def model(seed=0, **options):
    layers = [Rescale(1 / 255), Dense(16), ReLU(), Dense(4), SoftmaxCrossEntropy()]
    return Sequential(layers, **{"input_shape": 12, "seed": seed} | options)


def pixels(rows, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (rows, 12), dtype=np.uint8)


def shift(x, rng):
    """Turn the pixels of each row by a random number of places."""
    places = (np.arange(12) + rng.integers(0, 12, (len(x), 1))) % 12
    return np.take_along_axis(x, places, axis=1)


def a_nest():
    """A temperature on an ensemble of models, one of which looks at distorted copies."""
    return TemperatureScaling(Ensemble([model(1), AugmentedPrediction(model(2), shift, repeats=3)]), temperature=2.0)


PREDICTORS = {
    "ensemble": lambda: Ensemble([model(1), model(2), model(3)]),
    "augmented": lambda: AugmentedPrediction(model(), shift),
    "temperature": lambda: TemperatureScaling(model(), temperature=1.7),
    "nest": a_nest,
}
of_each = pytest.mark.parametrize("make", PREDICTORS.values(), ids=PREDICTORS)

TAKES = {
    "Ensemble: models[0]": lambda each: Ensemble([each]),
    "Ensemble: models[1]": lambda each: Ensemble([model(), each]),
    "AugmentedPrediction: model": lambda each: AugmentedPrediction(each, shift),
    "TemperatureScaling: model": TemperatureScaling,
}


@of_each
def test_predictions_are_those_of_the_probabilities_in_shapes_and_types_of_a_model(make):
    predictor, x = make(), pixels(50)
    probabilities, labels = predictor.predict_proba(x), predictor.predict(x)
    assert probabilities.shape == (50, 4)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(labels, probabilities.argmax(axis=1))
    assert labels.dtype == model().predict(x).dtype
    assert (predictor.input_shape, predictor.output_shape) == ((12,), (4,))


@of_each
def test_no_rows_give_no_predictions_and_a_list_is_an_array(make):
    predictor = make()
    assert predictor.predict_proba(pixels(0)).shape == (0, 4)
    assert predictor.predict(pixels(0)).shape == (0,)
    np.testing.assert_array_equal(predictor.predict_proba(pixels(3).tolist()), predictor.predict_proba(pixels(3)))


@of_each
def test_the_batch_size_changes_the_last_bits_at_most(make):
    predictor, x = make(), pixels(2100)
    whole = predictor.predict_proba(x)
    for batch_size in (1, 700, 5000):
        np.testing.assert_allclose(predictor.predict_proba(x, batch_size), whole, rtol=1e-5)
        np.testing.assert_allclose(predictor.predict(x, batch_size=batch_size), predictor.predict(x))


@of_each
def test_eight_threads_predict_the_bits_of_one_and_nothing_is_written(make):
    predictor = make()
    batches = [pixels(300, seed) for seed in range(16)]
    expected = [predictor.predict_proba(batch) for batch in batches]
    before = dict(vars(predictor))
    with ThreadPoolExecutor(8) as pool:
        for result, known in zip(pool.map(predictor.predict_proba, batches * 3), expected * 3, strict=True):
            np.testing.assert_array_equal(result, known)
    assert vars(predictor) == before


@of_each
def test_copies_and_pickles_predict_the_same(make):
    predictor, x = make(), pixels(20)
    for other in (copy.deepcopy(predictor), pickle.loads(pickle.dumps(predictor))):
        np.testing.assert_array_equal(other.predict_proba(x), predictor.predict_proba(x))


@of_each
@pytest.mark.parametrize(
    ("x", "options", "error", "message"),
    [
        (pixels(3)[:, :5], {}, ShapeError, r"\(3, 5\)|got \(5,\)"),
        (pixels(3)[0], {}, ShapeError, r"\(12,\)"),
        (np.float32(1), {}, ShapeError, r"single number|shape \(\)"),
        ([[1.0] * 11 + [np.nan]], {}, DataError, "x holds NaN at row 0, entry 11"),
        (None, {}, DataError, "x is missing"),
        (pixels(3), {"batch_size": 0}, ArgumentError, "batch_size is 0"),
    ],
)
def test_wrong_input_is_refused_as_a_model_refuses_it(make, x, options, error, message):
    with pytest.raises(error, match=message):
        make().predict_proba(x, **options)


def test_a_nest_is_what_its_parts_are_by_the_formulas():
    nest, x = a_nest(), pixels(30)
    outer, (plain, augmented) = nest, nest.model.models
    looks = [x, *(shift(x, np.random.default_rng((0, repeat, 0))) for repeat in range(3))]
    second = np.mean([augmented.model.predict_proba(look).astype(np.float64) for look in looks], axis=0)
    mean = (plain.predict_proba(x).astype(np.float64) + second) / 2
    np.testing.assert_allclose(outer.predict_proba(x), softmax(np.log(mean) / 2), rtol=1e-5)


def test_predictors_nest_the_other_way_round_too():
    x = pixels(10)
    cold = Ensemble([TemperatureScaling(model(seed), temperature=0.5) for seed in range(2)])
    looking = AugmentedPrediction(cold, shift, repeats=2, include_original=False)
    expected = np.mean(
        [
            softmax(model(seed).predict_scores(shift(x, np.random.default_rng((0, repeat, 0)))) / 0.5)
            for seed in range(2)
            for repeat in range(2)
        ],
        axis=0,
    )
    np.testing.assert_allclose(looking.predict_proba(x), expected, rtol=1e-5)


@pytest.mark.parametrize(("name", "take"), TAKES.items(), ids=TAKES)
@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ("net", ArgumentTypeError, "is 'net'; it must be a Sequential or another predictor"),
        (Sequential, ArgumentTypeError, "it must be a Sequential"),
        (Sequential([Dense(4)], input_shape=12), ArgumentError, "has no loss"),
        (model(input_shape=None), NotReadyError, "does not know its input shape yet: train it first"),
    ],
)
def test_what_cannot_predict_is_refused_and_named(name, take, wrong, error, message):
    with pytest.raises(error) as caught:
        take(wrong)
    assert str(caught.value).startswith(name)
    assert message in str(caught.value)


def test_a_predictor_of_ones_own_writes_one_method():
    class Cautious(Predictor):
        model: object = setting(kw_only=False, check=as_model)

        def predict_scores(self, x, batch_size=None):
            return self.model.predict_scores(x, batch_size) * 0

    cautious = Cautious(model())
    assert (cautious.predict_proba(pixels(2)) == 0.25).all()
    assert Ensemble([cautious, model()]).predict(pixels(3)).tolist() == model().predict(pixels(3)).tolist()
    with pytest.raises(ArgumentTypeError, match="Cautious: model is 3; it must be a Sequential or another predictor"):
        Cautious(3)


def test_an_init_of_its_own_sets_the_model():
    class Doubled(Predictor):
        def __init__(self, model):
            self.model = model

        def predict_scores(self, x, batch_size=None):
            return self.model.predict_scores(x, batch_size) * 2

    np.testing.assert_array_equal(Doubled(model()).predict(pixels(9)), model().predict(pixels(9)))


def test_another_model_brings_its_loss_and_shapes_and_is_checked():
    predictor = AugmentedPrediction(model(), shift)
    predictor.model = Sequential([Dense(2), MeanSquaredError()], input_shape=3)
    assert (predictor.input_shape, predictor.output_shape) == ((3,), (2,))
    assert isinstance(predictor.loss, MeanSquaredError)
    with pytest.raises(ArgumentError, match="AugmentedPrediction: model has no loss"):
        predictor.model = Sequential([Dense(4)], input_shape=12)
    with pytest.raises(ArgumentError, match="Ensemble: models is empty"):
        Ensemble([model()]).models = []


def test_only_what_everybody_knows_is_given_by_position():
    with pytest.raises(
        ArgumentTypeError, match="TemperatureScaling: too many positional arguments; it is .*temperature="
    ):
        TemperatureScaling(model(), 1.5)
    with pytest.raises(ArgumentTypeError, match="AugmentedPrediction: too many positional arguments; it is "):
        AugmentedPrediction(model(), shift, 8)


def of_positions(seed):
    """A model that gives each of five positions one of three classes."""
    return Sequential([Dense(3), SoftmaxCrossEntropy()], input_shape=(5, 4), seed=seed, dtype="float64")


def test_position_wise_outputs_are_averaged_and_calibrated_position_by_position():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 5, 4)), rng.integers(0, 3, (40, 5))
    ensemble = Ensemble([of_positions(seed) for seed in range(3)])
    mean = np.mean([of_positions(seed).predict_proba(x) for seed in range(3)], axis=0)
    np.testing.assert_allclose(ensemble.predict_proba(x), mean, rtol=1e-10)
    assert ensemble.predict(x).shape == (40, 5)
    easy = ensemble.predict(x)
    labels = np.where(rng.random((40, 5)) < 0.6, easy, y)  # better than guessing, and not always right
    found = TemperatureScaling(ensemble).fit(x, labels).temperature
    # The same rows as positions one by one, with the same scores.
    scores = ensemble.predict_scores(x).reshape(200, 3)
    flat = Sequential([Rescale(1.0), SoftmaxCrossEntropy()], input_shape=3, dtype="float64")
    assert found == pytest.approx(TemperatureScaling(flat).fit(scores, labels.ravel()).temperature, rel=1e-9)


def test_one_without_that_method_says_so():
    with pytest.raises(NotImplementedError, match=r"Predictor must define predict_scores\(x, batch_size\)"):
        Predictor().predict_scores([[1]])


def test_a_regression_has_no_probabilities_here_either():
    net = Sequential([Dense(1), MeanSquaredError()], input_shape=12, seed=0)
    with pytest.raises(ArgumentError, match="MeanSquaredError gives no probabilities"):
        Ensemble([net]).predict_proba(pixels(2))


def test_scores_of_a_model_are_its_output_and_predictions_follow_from_them():
    net, x = model(), pixels(40)
    np.testing.assert_array_equal(net.predict_scores(x), net.forward(x))
    np.testing.assert_array_equal(net.predict(x), net.predict_scores(x).argmax(axis=1))
