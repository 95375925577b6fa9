import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from minidl import (
    Dense,
    Ensemble,
    FocalCrossEntropy,
    Hinge,
    Huber,
    MeanSquaredError,
    Poisson,
    ReLU,
    Sequential,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    Trainer,
)
from minidl.errors import ArgumentError, ArgumentTypeError, ShapeError
from minidl.prediction import AugmentedPrediction


def model(loss, outputs, seed=0, inputs=5, **options):
    return Sequential([Dense(8), ReLU(), Dense(outputs), loss], input_shape=inputs, seed=seed, **options)


def rows(count=200, inputs=5):
    return np.random.default_rng(7).normal(size=(count, inputs))


def of_scores(loss, scores):
    """Models with a single input, whose scores at the input 1 are the rows of `scores`."""
    models = []
    for row in scores:
        layer = Dense(len(row))
        models.append(Sequential([layer, loss], input_shape=1, dtype="float64"))
        layer.weight.value[:], layer.bias.value[:] = 0, row
    return models


@pytest.mark.parametrize(
    ("loss", "outputs", "decide"),
    [
        (SoftmaxCrossEntropy, 4, lambda p: p.argmax(axis=1)),
        (FocalCrossEntropy, 3, lambda p: p.argmax(axis=1)),
        (SigmoidCrossEntropy, 1, lambda p: (p[:, 0] > 0.5).astype(int)),
        (SigmoidCrossEntropy, 3, lambda p: (p > 0.5).astype(int)),
    ],
)
def test_a_classifier_decides_on_the_mean_of_the_probabilities(loss, outputs, decide):
    models, x = [model(loss(), outputs, seed) for seed in range(5)], rows()
    mean = np.mean([each.predict_proba(x).astype(np.float64) for each in models], axis=0)
    ensemble = Ensemble(models)
    np.testing.assert_allclose(ensemble.predict_proba(x), mean, rtol=2e-6)
    np.testing.assert_array_equal(ensemble.predict(x), decide(mean))


@pytest.mark.parametrize(
    ("losses", "outputs"),
    [((MeanSquaredError, Huber), 1), ((MeanSquaredError, MeanSquaredError), 3), ((Poisson,) * 2, 2)],
)
def test_a_regression_is_the_mean_of_the_values(losses, outputs):
    models, x = [model(loss(), outputs, seed) for seed, loss in enumerate(losses)], rows()
    mean = np.mean([each.predict(x).astype(np.float64) for each in models], axis=0)
    np.testing.assert_allclose(Ensemble(models).predict(x), mean, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("outputs", [1, 3])
def test_hinge_decides_on_the_mean_of_the_scores(outputs):
    models, x = [model(Hinge(), outputs, seed) for seed in range(3)], rows()
    mean = np.mean([each.predict_scores(x) for each in models], axis=0)
    expected = mean.argmax(axis=1) if outputs > 1 else (mean[:, 0] > 0).astype(int)
    np.testing.assert_array_equal(Ensemble(models).predict(x), expected)


def test_the_mean_of_probabilities_can_decide_otherwise_than_the_mean_of_scores_or_a_vote():
    one, two, three = np.log([0.9, 0.1]), np.log([0.45, 0.55]), np.log([0.45, 0.55])
    assert Ensemble(of_scores(SoftmaxCrossEntropy(), [one, two, three])).predict([[1]]) == [0]
    # 9 and two of -5: the mean score is below 0, but so far is none of the probabilities: (1 + 0.007 + 0.007) / 3.
    assert Ensemble(of_scores(SigmoidCrossEntropy(), [[9], [-5], [-5]])).predict([[1]]) == [0]
    assert Ensemble(of_scores(SigmoidCrossEntropy(), [[9], [0.2], [-10]])).predict([[1]]) == [1]


@given(arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(2, 3)), elements=st.floats(-30, 30)))
def test_any_scores_are_averaged_by_the_definition(scores):
    exponentials = np.exp(scores)
    softmaxes = (exponentials / exponentials.sum(axis=1, keepdims=True)).mean(axis=0)
    result = Ensemble(of_scores(SoftmaxCrossEntropy(), scores)).predict_proba([[1]])
    np.testing.assert_allclose(result[0], softmaxes, rtol=1e-10)
    result = Ensemble(of_scores(SigmoidCrossEntropy(), scores)).predict_proba([[1]])
    np.testing.assert_allclose(result[0], (1 / (1 + np.exp(-scores))).mean(axis=0), rtol=1e-10)


@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(), SigmoidCrossEntropy()])
def test_probabilities_too_small_for_float32_still_order_the_scores(loss):
    models = of_scores(loss, [[-2000.0, -3000.0, 0.0], [-2500.0, -2600.0, 0.0]])
    (scores,) = Ensemble(models).predict_scores([[1]])
    if isinstance(loss, SoftmaxCrossEntropy):
        scores = scores - scores[2]
    # The mean of exp(-2000) and exp(-2500) is exp(-2000) / 2 to the last digit.
    np.testing.assert_allclose(scores[:2], np.array([-2000, -2600]) - np.log(2), rtol=1e-12)


def test_a_single_model_predicts_as_it_does_alone():
    net, x = model(SoftmaxCrossEntropy(), 4), rows()
    np.testing.assert_array_equal(Ensemble([net]).predict(x), net.predict(x))
    np.testing.assert_allclose(Ensemble([net]).predict_proba(x), net.predict_proba(x), rtol=1e-6)


def test_any_iterable_of_models_and_any_table_of_rows_will_do():
    models, x = [model(SoftmaxCrossEntropy(), 4, seed) for seed in range(2)], rows(9)
    ensemble = Ensemble(iter(models))
    assert ensemble.models == tuple(models)
    np.testing.assert_array_equal(ensemble.predict_proba(pd.DataFrame(x)), Ensemble(models).predict_proba(x))


def test_the_repr_names_the_models():
    assert repr(Ensemble([Sequential([Dense(2), SoftmaxCrossEntropy()], input_shape=3)])).startswith(
        "Ensemble(\n    models=(\n        Sequential([\n            Dense("
    )


def twice():
    net = model(SoftmaxCrossEntropy(), 4)
    return [model(SoftmaxCrossEntropy(), 4), net, net]


@pytest.mark.parametrize(
    ("models", "error", "message"),
    [
        ([], ArgumentError, "models is empty; give one or more"),
        (
            model(SoftmaxCrossEntropy(), 4),
            ArgumentTypeError,
            r"Ensemble: models is Sequential.*; it must be a list of models",
        ),
        (twice(), ArgumentError, r"models\[2\] is models\[1\] again"),
        (
            [model(SoftmaxCrossEntropy(), 4), model(SoftmaxCrossEntropy(), 4, inputs=6)],
            ShapeError,
            r"models\[1\] has input \(6,\) per sample, but models\[0\] \(5,\)",
        ),
        (
            [*(model(SoftmaxCrossEntropy(), 4) for _ in range(2)), model(SoftmaxCrossEntropy(), 3)],
            ShapeError,
            r"models\[2\] has output \(3,\) per sample, but models\[0\] \(4,\)",
        ),
        (
            [model(SoftmaxCrossEntropy(), 4), model(SigmoidCrossEntropy(), 4)],
            ArgumentError,
            r"models\[1\] has the loss SigmoidCrossEntropy\(\), but models\[0\] SoftmaxCrossEntropy",
        ),
        ([model(MeanSquaredError(), 1), model(Poisson(), 1)], ArgumentError, "it interprets scores differently"),
        ([model(MeanSquaredError(), 1), model(Hinge(), 1)], ArgumentError, r"models\[1\] has the loss Hinge"),
    ],
)
def test_models_that_do_not_go_together_are_refused_by_their_number(models, error, message):
    with pytest.raises(error, match=message):
        Ensemble(models)


def test_models_of_both_types_give_the_wider_one():
    models = [model(SoftmaxCrossEntropy(), 4), model(SoftmaxCrossEntropy(), 4, 1, dtype="float64")]
    assert Ensemble(models).predict_proba(rows()).dtype == np.float64


def test_columns_of_frames_are_those_of_each_model():
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 3)), columns=["a", "b", "c"])
    models = []
    for seed in range(2):
        model = Sequential([Dense(2), SoftmaxCrossEntropy()], seed=seed)
        Trainer(model, "sgd", seed=0).fit(frame, np.arange(30) % 2, progress=False)
        models.append(model)
    other = frame[["c", "a", "b"]]
    for predictor in (Ensemble(models), AugmentedPrediction(models[0], lambda x, rng: x + 0.0)):
        with pytest.raises(ShapeError, match="another order"):
            predictor.predict(other)
    for model in models:
        model.reorder_columns = True
    np.testing.assert_array_equal(Ensemble(models).predict_proba(other), Ensemble(models).predict_proba(frame))
    sparse = scipy.sparse.csr_array(frame.to_numpy())
    np.testing.assert_array_equal(Ensemble(models).predict_proba(sparse), Ensemble(models).predict_proba(frame))
