import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit, log_softmax

from minidl import (
    AugmentedPrediction,
    CategoricalLoss,
    Dense,
    Embedding,
    Ensemble,
    Flatten,
    FocalCrossEntropy,
    GlobalAveragePool1D,
    Hinge,
    KLDivergence,
    MeanSquaredError,
    Sequential,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    TemperatureScaling,
)
from minidl.errors import ArgumentError, ArgumentTypeError, DataError, NotReadyError, ShapeError
from minidl.functional import one_hot, sigmoid, softmax


def identity(loss, outputs, dtype="float64"):
    """A model whose scores are its inputs."""
    return Sequential([Flatten(), loss], input_shape=outputs, dtype=dtype)


def softmax_problem(temperature, rows=400, classes=4, seed=0):
    """Scores, and labels drawn with the probabilities softmax(scores / temperature)."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(rows, classes)) * 3
    probabilities = softmax(scores / temperature)
    return scores, np.array([rng.choice(classes, p=row) for row in probabilities])


def sigmoid_problem(temperature, rows=400, outputs=1, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(rows, outputs)) * 3
    return scores, (rng.random((rows, outputs)) < sigmoid(scores / temperature)).astype(int)


def softmax_loss(temperature, scores, labels):
    return -log_softmax(scores / temperature, axis=1)[np.arange(len(labels)), labels].mean()


def sigmoid_loss(temperature, scores, targets):
    z = scores / temperature
    return -np.mean(targets * log_expit(z) + (1 - targets) * log_expit(-z))


def best(loss, *arguments):
    """The temperature with the least loss by SciPy, over its logarithm."""
    found = minimize_scalar(
        lambda log: loss(np.exp(log), *arguments), bounds=(-7, 7), method="bounded", options={"xatol": 1e-10}
    )
    return np.exp(found.x)


@given(st.integers(0, 1000), st.floats(0.3, 4), st.integers(2, 6))
def test_the_temperature_has_the_least_softmax_cross_entropy(seed, temperature, classes):
    scores, labels = softmax_problem(temperature, classes=classes, seed=seed)
    found = TemperatureScaling(identity(SoftmaxCrossEntropy(), classes)).fit(scores, labels).temperature
    assert type(found) is float
    # Where the loss is flat, two temperatures 1e-6 apart have losses 1e-12 apart: no more can be had from values.
    assert found == pytest.approx(best(softmax_loss, scores, labels), rel=1e-5)
    grid = found * np.linspace(0.9, 1.1, 201)
    least = softmax_loss(found, scores, labels)
    assert all(least <= softmax_loss(other, scores, labels) for other in grid)


@given(st.integers(0, 1000), st.floats(0.3, 4), st.integers(1, 3))
def test_the_temperature_has_the_least_sigmoid_cross_entropy(seed, temperature, outputs):
    scores, targets = sigmoid_problem(temperature, outputs=outputs, seed=seed)
    found = TemperatureScaling(identity(SigmoidCrossEntropy(), outputs)).fit(scores, targets).temperature
    assert found == pytest.approx(best(sigmoid_loss, scores, targets), rel=1e-5)


def test_at_the_temperature_the_derivative_is_zero():
    scores, labels = softmax_problem(1.8)
    found = TemperatureScaling(identity(SoftmaxCrossEntropy(), 4)).fit(scores, labels).temperature
    probabilities = np.exp(log_softmax(scores / found, axis=1))
    assert abs(((probabilities - one_hot(labels, 4)) * scores).sum(axis=1).mean()) < 1e-9


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_labels_that_were_drawn_at_a_temperature_give_it_back(temperature):
    scores, labels = softmax_problem(temperature, rows=20_000)
    scaled = TemperatureScaling(identity(SoftmaxCrossEntropy(), 4)).fit(scores, labels)
    assert scaled.temperature == pytest.approx(temperature, rel=0.05)


@pytest.mark.parametrize("factor", [1e-30, 1e-3, 1e3, 1e30])
def test_scores_of_any_size_are_scaled(factor):
    scores, labels = softmax_problem(1.5)
    usual = TemperatureScaling(identity(SoftmaxCrossEntropy(), 4)).fit(scores, labels).temperature
    scaled = TemperatureScaling(identity(SoftmaxCrossEntropy(), 4)).fit(scores * factor, labels).temperature
    assert scaled == pytest.approx(usual * factor, rel=1e-9)


def test_probabilities_are_of_the_divided_scores_and_predictions_stay():
    scores, labels = softmax_problem(2.0)
    model = identity(SoftmaxCrossEntropy(), 4, "float32")
    scaled = TemperatureScaling(model).fit(scores, labels)
    expected = np.exp(log_softmax(scores / scaled.temperature, axis=1))
    np.testing.assert_allclose(scaled.predict_proba(scores), expected, rtol=1e-5)
    assert scaled.predict_proba(scores).dtype == np.float32
    np.testing.assert_array_equal(scaled.predict(scores), model.predict(scores))


def test_predictions_stay_also_where_quotients_round_to_one_number():
    values = np.linspace(1.6, 1.9, 100, dtype=np.float32)
    scores = np.column_stack([values, np.nextafter(values, np.float32(2))])
    quotients = scores / 1.5
    assert (quotients[:, 0] == quotients[:, 1]).any()
    model = identity(SoftmaxCrossEntropy(), 2, "float32")
    assert (TemperatureScaling(model, temperature=1.5).predict(scores) == 1).all()


def test_one_score_is_divided_too_and_the_threshold_stays():
    scores, labels = sigmoid_problem(0.5)
    model = identity(SigmoidCrossEntropy(), 1)
    scaled = TemperatureScaling(model).fit(scores, labels[:, 0])
    np.testing.assert_allclose(scaled.predict_proba(scores), expit(scores / scaled.temperature), rtol=1e-10)
    np.testing.assert_array_equal(scaled.predict(scores), model.predict(scores))


class TestPadding:
    """Scores of each position (N, T, K), of a model that masks padding."""

    def problem(self, loss, outputs):
        """A model, ids padded with 0, labels for all positions, and which of them count."""
        rng = np.random.default_rng(0)
        counts = np.arange(6) < rng.integers(1, 7, (80, 1))
        x = np.where(counts, rng.integers(1, 9, (80, 6)), 0)
        layers = [Embedding(9, outputs, padding_id=0), loss]
        model = Sequential(layers, input_shape=6, seed=0, dtype="float64")
        model.layers[0].weight.value *= 30
        model.layers[0].weight.value[0] = np.arange(1, 1 + outputs)
        right = counts & (rng.random((80, 6)) < 0.8)
        return model, x, np.where(right, model.predict(x), rng.integers(0, max(outputs, 2), (80, 6))), counts

    @pytest.mark.parametrize("wrap", [lambda model: model, lambda model: Ensemble([model])], ids=["model", "ensemble"])
    @pytest.mark.parametrize(("loss", "outputs"), [(SoftmaxCrossEntropy(), 3), (SigmoidCrossEntropy(), 1)], ids=str)
    def test_the_temperature_is_that_of_the_positions_that_count(self, loss, outputs, wrap):
        model, x, y, counts = self.problem(loss, outputs)
        found = TemperatureScaling(wrap(model)).fit(x, y).temperature
        scores = wrap(model).predict_scores(x)[counts]
        assert found == TemperatureScaling(identity(loss, outputs)).fit(scores, y[counts]).temperature

    def test_labels_at_padding_change_nothing(self):
        model, x, y, counts = self.problem(SoftmaxCrossEntropy(), 3)
        scaled = TemperatureScaling(AugmentedPrediction(model, lambda x, rng: x, repeats=1))
        one = scaled.fit(x, y).temperature
        assert scaled.fit(x, np.where(counts, y, (y + 1) % 3)).temperature == one

    def test_a_model_that_pools_its_positions_has_scores_for_rows(self):
        rng = np.random.default_rng(0)
        layers = [Embedding(9, 4, padding_id=0), GlobalAveragePool1D(), Dense(2), SoftmaxCrossEntropy()]
        model = Sequential(layers, input_shape=6, seed=0, dtype="float64")
        x = rng.integers(0, 9, (80, 6))
        scores = model.predict_scores(x)
        y = np.where(rng.random(80) < 0.8, scores.argmax(axis=1), rng.integers(0, 2, 80))
        alone = TemperatureScaling(identity(SoftmaxCrossEntropy(), 2)).fit(scores, y)
        assert TemperatureScaling(model).fit(x, y).temperature == alone.temperature

    def test_nothing_but_padding_is_refused(self):
        model, x, y, _ = self.problem(SoftmaxCrossEntropy(), 3)
        with pytest.raises(DataError, match="all of x is padding"):
            TemperatureScaling(model).fit(0 * x, y)


@pytest.mark.parametrize("loss", [FocalCrossEntropy(), KLDivergence(), SoftmaxCrossEntropy(label_smoothing=0.2)])
def test_other_losses_of_softmax_are_calibrated_by_the_plain_cross_entropy(loss):
    scores, labels = softmax_problem(1.5)
    plain = TemperatureScaling(identity(SoftmaxCrossEntropy(), 4)).fit(scores, labels)
    assert TemperatureScaling(identity(loss, 4)).fit(scores, labels).temperature == plain.temperature


def test_one_hot_rows_give_the_temperature_of_labels_and_soft_rows_that_of_their_cross_entropy():
    scores, labels = softmax_problem(1.5)
    scaled = TemperatureScaling(identity(SoftmaxCrossEntropy(), 4))
    of_labels = scaled.fit(scores, labels).temperature
    assert scaled.fit(scores, one_hot(labels, 4)).temperature == pytest.approx(of_labels, rel=1e-9)
    # Targets that are the model's own probabilities at a temperature have the least cross-entropy there.
    assert scaled.fit(scores, softmax(scores / 1.3)).temperature == pytest.approx(1.3, rel=1e-6)


def test_an_ensemble_is_calibrated_on_the_logarithms_of_its_probabilities():
    scores, labels = softmax_problem(1.5)
    layers = [Dense(4, initializer="orthogonal") for _ in range(2)]
    models = [
        Sequential([layer, SoftmaxCrossEntropy()], input_shape=4, seed=seed, dtype="float64")
        for seed, layer in enumerate(layers)
    ]
    for layer, noise in zip(layers, np.random.default_rng(0).normal(size=(2, 4, 4)) / 3, strict=True):
        layer.weight.value[:] = 2 * np.eye(4) + noise
    ensemble = Ensemble(models)
    scaled = TemperatureScaling(ensemble).fit(scores, labels)
    logarithms = np.log(np.mean([model.predict_proba(scores) for model in models], axis=0))
    assert scaled.temperature == pytest.approx(best(softmax_loss, logarithms, labels), rel=1e-5)
    # On top of a temperature that is the best, the best is 1.
    assert TemperatureScaling(scaled).fit(scores, labels).temperature == pytest.approx(1, rel=1e-9)


def test_a_temperature_that_is_known_needs_no_fit():
    scores, labels = softmax_problem(1.5)
    fitted = TemperatureScaling(identity(SoftmaxCrossEntropy(), 4)).fit(scores, labels)
    made_anew = TemperatureScaling(identity(SoftmaxCrossEntropy(), 4), temperature=fitted.temperature)
    np.testing.assert_array_equal(made_anew.predict_proba(scores), fitted.predict_proba(scores))
    taken = TemperatureScaling(identity(SoftmaxCrossEntropy(), 4), temperature=np.float32(2)).temperature
    assert type(taken) is float


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("temperature", [1e-37, 1e-38, 1e-45, 1e-60, 1e-300, 1e-308, 5e-324])
def test_the_lowest_temperatures_leave_the_surest_class_all_of_the_probability(dtype, temperature):
    scores = np.array([[1.0, 2.0, -3.0], [0.0, 0.0, -1e-6], [5e30, 4e30, 0.0], [300.0, 300.0001, 300.0]])
    expected = [[0, 1, 0], [0.5, 0.5, 0], [1, 0, 0], [0, 1, 0]]
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        softened = TemperatureScaling(identity(SoftmaxCrossEntropy(), 3, dtype), temperature=temperature)
        np.testing.assert_array_equal(softened.predict_proba(scores), expected)
        np.testing.assert_array_equal(softened.predict_proba(np.zeros((1, 3))), np.full((1, 3), 1 / 3, dtype))
        assert np.isfinite(softened.predict_scores(scores)).all()
        single = TemperatureScaling(identity(SigmoidCrossEntropy(), 1, dtype), temperature=temperature)
        np.testing.assert_array_equal(single.predict_proba([[2.0], [-2.0], [0.0]]).ravel(), [1, 0, 0.5])


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_scores"])
def test_before_fit_it_is_not_ready(method):
    scaled = TemperatureScaling(identity(SoftmaxCrossEntropy(), 4))
    assert scaled.temperature is None
    with pytest.raises(NotReadyError, match="no temperature yet: call fit with validation data"):
        getattr(scaled, method)(np.ones((2, 4)))


@pytest.mark.parametrize(
    ("loss", "scores", "labels"),
    [
        (SoftmaxCrossEntropy(), [[1.0, 0.5], [0.1, 0.3]], [0, 1]),
        (SoftmaxCrossEntropy(), [[1.0, 1.0], [0.1, 0.3]], [0, 1]),  # a tie can be won by no temperature
        (SigmoidCrossEntropy(), [[1.0], [-0.3]], [1, 0]),
    ],
)
def test_rows_that_are_all_right_have_no_best_temperature(loss, scores, labels):
    scaled = TemperatureScaling(identity(loss, len(scores[0])))
    with pytest.raises(DataError, match="the model is right in all of 2 rows"):
        scaled.fit(scores, labels)
    assert scaled.temperature is None


@pytest.mark.parametrize(
    ("loss", "scores", "labels"),
    [
        (SoftmaxCrossEntropy(), [[1.0, 0.5], [0.1, 0.3]], [1, 0]),
        (SoftmaxCrossEntropy(), [[0.0, 0.0]], [1]),
        (SigmoidCrossEntropy(), [[1.0], [-0.3]], [0, 1]),
        (SigmoidCrossEntropy(), [[1.0], [1.0]], [0, 1]),
    ],
)
def test_scores_that_know_nothing_have_no_best_temperature(loss, scores, labels):
    with pytest.raises(DataError, match="no better than guessing"):
        TemperatureScaling(identity(loss, len(scores[0]))).fit(scores, labels)


class OtherProbabilities(CategoricalLoss):
    def activate(self, scores):
        return softmax(2 * scores)


@pytest.mark.parametrize("loss", [MeanSquaredError(), Hinge(), OtherProbabilities()])
def test_losses_without_such_probabilities_are_refused(loss):
    with pytest.raises(ArgumentError, match=f"softmax or sigmoid, which {type(loss).__name__}.* does not give"):
        TemperatureScaling(identity(loss, 4))


@pytest.mark.parametrize(
    ("temperature", "error"),
    [
        (0, ArgumentError),
        (-1.0, ArgumentError),
        (np.nan, ArgumentError),
        (np.inf, ArgumentError),
        ("1", ArgumentTypeError),
        (True, ArgumentTypeError),
    ],
)
def test_a_temperature_is_a_number_above_0(temperature, error):
    with pytest.raises(error, match="TemperatureScaling: temperature is"):
        TemperatureScaling(identity(SoftmaxCrossEntropy(), 4), temperature=temperature)


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (np.ones((3, 4)), [0, 1], DataError, "the lengths differ: x has 3 rows, y has 2 rows"),
        (np.ones((0, 4)), [], DataError, "x is empty"),
        (np.ones((2, 4)), [0, 4], DataError, "y is 4 at row 1; the model has 4 classes"),
        (np.ones((2, 4)), [0, np.nan], DataError, "y holds NaN"),
        (np.ones((2, 4)), np.ones((2, 3)), ShapeError, r"y has shape \(2, 3\)"),
        (np.ones((2, 3)), [0, 1], ShapeError, r"\(4,\)"),
        (np.ones((2, 4)), None, DataError, "y is missing"),
    ],
)
def test_data_that_cannot_be_fitted_are_refused(x, y, error, message):
    with pytest.raises(error, match=message):
        TemperatureScaling(identity(SoftmaxCrossEntropy(), 4)).fit(x, y)
