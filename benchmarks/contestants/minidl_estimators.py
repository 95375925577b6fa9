"""minidl's MLPClassifier: scikit-learn's interface around a Trainer."""

from __future__ import annotations

import warnings

from sklearn.exceptions import ConvergenceWarning

from minidl.estimators import MLPClassifier


def fitter(workload, data):
    x, y = data.x if workload.raw else data.scaled, data.y

    def fit():
        # As many epochs as asked for, whether or not the loss still falls.
        estimator = MLPClassifier(workload.sizes[1:-1], max_iter=workload.times, tol=0, n_iter_no_change=10**6)
        estimator.set_params(batch_size=workload.batch, learning_rate_init=workload.learning_rate, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return estimator.fit(x, y).loss_curve_

    return fit


def predictor(workload, data, variant):
    estimator = MLPClassifier(workload.sizes[1:-1], random_state=0)
    estimator.partial_fit(data.scaled, data.y, classes=range(workload.sizes[-1]))
    for coefficients, intercepts, weight in zip(
        estimator.coefs_, estimator.intercepts_, workload.weights(), strict=True
    ):
        coefficients[...], intercepts[...] = weight, 0
    x = data.scaled
    return lambda: estimator.predict(x)
