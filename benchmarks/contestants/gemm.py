"""Only the matrix products of each step: y = x W, dW = x^T dy, dx = dy W^T. This is the lower limit."""

from __future__ import annotations

import numpy as np


def trainer(workload, data, variant):
    """Return a function for the products of epochs; the variant "blocks" computes 1,024 rows of a step at a time."""
    weights = workload.weights()
    step = workload.rows_at_once
    lengths = [min(step, workload.rows - start) for start in range(0, workload.rows, step)]
    if variant == "blocks":
        lengths = [min(1024, length - start) for length in lengths for start in range(0, length, 1024)]
    rng = np.random.default_rng(0)
    # A layer's output and its gradient have the same shape, so they share one array.
    arrays = {
        length: [rng.random((length, size), dtype=np.float32) for size in workload.sizes] for length in set(lengths)
    }

    def train(epoch):
        for length in lengths:
            outputs = arrays[length]
            for x, weight in zip(outputs, weights, strict=False):
                x @ weight
            for index in reversed(range(len(weights))):
                outputs[index].T @ outputs[index + 1]
                if index:
                    outputs[index + 1] @ weights[index].T

    return lambda epochs: [train(epoch) for epoch in epochs]


def predictor(workload, data, variant):
    x, weights = data.scaled, workload.weights()
    step = 1024 if variant == "blocks" else len(x)

    def predict():
        for start in range(0, len(x), step):
            y = x[start : start + step]
            for weight in weights:
                y = y @ weight

    return predict
