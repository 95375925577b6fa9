"""minidl's MLPClassifier: scikit-learn's interface around a Trainer."""

from __future__ import annotations

import functools

from contestants.scikit_learn import fitter_of
from minidl.estimators import MLPClassifier

fitter = functools.partial(fitter_of, MLPClassifier)


def predictor(workload, data, variant):
    estimator = MLPClassifier(workload.sizes[1:-1], random_state=0)
    estimator.partial_fit(data.scaled, data.y, classes=range(workload.sizes[-1]))
    for coefficients, intercepts, weight in zip(
        estimator.coefs_, estimator.intercepts_, workload.weights(), strict=True
    ):
        coefficients[...], intercepts[...] = weight, 0
    x = data.scaled
    return lambda: estimator.predict(x)
