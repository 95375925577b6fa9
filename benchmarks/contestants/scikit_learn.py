"""scikit-learn's MLPClassifier and MLPRegressor; `partial_fit` trains an epoch.

They draw their own initial weights and row orders.
"""

from __future__ import annotations

import functools
import warnings

from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor


def estimator(workload) -> MLPClassifier | MLPRegressor:
    kind = MLPClassifier if workload.classifies else MLPRegressor
    return kind(
        hidden_layer_sizes=workload.sizes[1:-1],
        solver=workload.optimizer,
        learning_rate_init=workload.learning_rate,
        batch_size=workload.rows_at_once,
        alpha=0,
        momentum=0,
        nesterovs_momentum=False,
        random_state=0,
    )


def trainer(workload, data, variant):
    model = estimator(workload)
    x, y = data.scaled, data.y if workload.classifies or data.y.shape[1] > 1 else data.y[:, 0]
    classes = {"classes": range(workload.sizes[-1])} if workload.classifies else {}
    loss_scale = 1 if workload.classifies else 2  # its squared error is half of the others'

    def train(epoch):
        return float(model.partial_fit(x, y, **classes).loss_) * loss_scale

    return lambda epochs: [train(epoch) for epoch in epochs]


def fitter_of(kind, workload, data):
    x, y = data.x if workload.raw else data.scaled, data.y

    def fit():
        # Train for all epochs, even if the loss no longer falls.
        model = kind(workload.sizes[1:-1], max_iter=workload.times, tol=0, n_iter_no_change=10**6)
        model.set_params(batch_size=workload.batch, learning_rate_init=workload.learning_rate, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return model.fit(x, y).loss_curve_

    return fit


fitter = functools.partial(fitter_of, MLPClassifier)


def predictor(workload, data, variant):
    model, x = estimator(workload), data.scaled
    # The model has no weights before its first fit.
    model.partial_fit(x, data.y, classes=range(workload.sizes[-1]))
    model.coefs_ = workload.weights()
    model.intercepts_ = [bias * 0 for bias in model.intercepts_]
    return lambda: model.predict(x)
