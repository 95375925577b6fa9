"""The losses of scikit-learn's MLP classes: their values are those of scikit-learn and SciPy."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import log_loss, mean_poisson_deviance, mean_squared_error

from minidl.estimators.losses import HalfPoissonDeviance, HalfSquaredError, SummedSigmoidCrossEntropy
from minidl.testing import loss_checks

counts = np.random.default_rng(0).poisson(2, (6, 3)).astype(float)
bits = np.random.default_rng(0).integers(2, size=(6, 3)).astype(float)
numbers = np.random.default_rng(0).normal(size=(6, 3))
scores = np.random.default_rng(1).normal(size=(6, 3))
CHECKS = {
    "squared error": (HalfSquaredError(), {"targets": numbers}),
    "poisson": (HalfPoissonDeviance(), {"targets": counts, "extreme_score": 50}),
    "sigmoid": (SummedSigmoidCrossEntropy(), {"targets": bits, "invalid_targets": bits + 0.5}),
}


@pytest.mark.parametrize(
    ("name", "check"),
    [
        pytest.param(name, check, id=f"{kind}: {name}")
        for kind, (loss, options) in CHECKS.items()
        for name, check in loss_checks(loss, 3, **options)
    ],
)
def test_it_does_all_that_a_loss_must(name, check):
    check()


def test_half_of_the_squared_error_is_summed_over_the_outputs():
    value, gradient = HalfSquaredError()(scores, numbers)
    assert value == pytest.approx(3 / 2 * mean_squared_error(numbers, scores), rel=1e-14)
    np.testing.assert_allclose(gradient, (scores - numbers) / 6, rtol=1e-14)


def test_half_of_the_poisson_deviance_is_scikit_learns():
    value, gradient = HalfPoissonDeviance()(scores, counts)
    deviances = [mean_poisson_deviance(counts[:, output], np.exp(scores[:, output])) for output in range(3)]
    assert value == pytest.approx(sum(deviances) / 2, rel=1e-13)
    np.testing.assert_allclose(gradient, (np.exp(scores) - counts) / 6, rtol=1e-13, atol=1e-15)
    assert (counts == 0).any()
    perfect, _ = HalfPoissonDeviance()(np.log(counts[counts > 0])[:, np.newaxis], counts[counts > 0])
    assert perfect == pytest.approx(0, abs=1e-15)


def test_the_cross_entropy_is_summed_over_the_labels():
    value, gradient = SummedSigmoidCrossEntropy()(scores, bits)
    losses = [log_loss(bits[:, label], expit(scores[:, label]), labels=[0, 1]) for label in range(3)]
    assert value == pytest.approx(sum(losses), rel=1e-13)
    np.testing.assert_allclose(gradient, (expit(scores) - bits) / 6, rtol=1e-13, atol=1e-16)
