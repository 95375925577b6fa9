"""skorch, PyTorch with scikit-learn's interface, as its documentation uses it; the optimizer is PyTorch's default."""

from __future__ import annotations

import torch
from skorch import NeuralNetClassifier, NeuralNetRegressor

from contestants.pytorch import network


def estimator(workload) -> NeuralNetClassifier | NeuralNetRegressor:
    options = {
        "optimizer": {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[workload.optimizer],
        "lr": workload.learning_rate,
        "batch_size": -1 if workload.full_batch else workload.batch,
        "max_epochs": 1,
        "iterator_train__shuffle": not workload.full_batch,
        "train_split": None,
        "verbose": 0,
    }
    if workload.classifies:
        options["classes"] = list(range(workload.sizes[-1]))
        model = NeuralNetClassifier(network(workload), criterion=torch.nn.CrossEntropyLoss, **options)
    else:
        model = NeuralNetRegressor(network(workload), **options)
    return model.initialize()


def trainer(workload, data, variant):
    model, x = estimator(workload), data.scaled
    return lambda epochs: [model.partial_fit(x, data.y).history[-1, "train_loss"] for _ in epochs]


def predictor(workload, data, variant):
    model, x = estimator(workload), data.scaled
    return lambda: model.predict(x)
