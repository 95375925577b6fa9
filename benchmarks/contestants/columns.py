"""A script in tutorial style: float64, one column per sample, loops over the layers, nothing else."""

from __future__ import annotations

import numpy as np


def relu(z):
    return np.maximum(0, z)


def softmax(z):
    e = np.exp(z - np.max(z, axis=0))
    return e / np.sum(e, axis=0)


def forward(weights, biases, x):
    """Return the input and the outputs of all layers; the last layer's output is before its activation."""
    outputs = [x]
    for index, (w, b) in enumerate(zip(weights, biases, strict=True)):
        z = w @ outputs[-1] + b
        outputs.append(relu(z) if index < len(weights) - 1 else z)
    return outputs


def first_parameters(workload):
    weights = [weight.T.astype(np.float64) for weight in workload.weights()]
    return weights, [np.zeros((len(w), 1)) for w in weights]


def trainer(workload, data, variant):
    x = data.scaled.T.astype(np.float64)
    t = np.eye(workload.sizes[-1])[:, data.y] if workload.classifies else data.y.T.astype(np.float64)
    weights, biases = first_parameters(workload)
    parameters = weights + biases
    means = [np.zeros_like(p) for p in parameters]
    squares = [np.zeros_like(p) for p in parameters]
    rate, steps = workload.learning_rate, 0

    def take_step(x, t):
        nonlocal steps
        steps += 1
        m = x.shape[1]
        *outputs, z = forward(weights, biases, x)
        if workload.classifies:
            p = softmax(z)
            loss = -np.sum(t * np.log(p + 1e-300)) / m
            dz = (p - t) / m
        else:
            loss = np.mean((z - t) ** 2)
            dz = 2 * (z - t) / t.size
        dws, dbs = [], []
        for index in reversed(range(len(weights))):
            dws.insert(0, dz @ outputs[index].T)
            dbs.insert(0, np.sum(dz, axis=1, keepdims=True))
            if index:
                dz = (weights[index].T @ dz) * (outputs[index] > 0)
        for index, g in enumerate(dws + dbs):
            direction = g
            if workload.optimizer == "adam":
                means[index] = 0.9 * means[index] + 0.1 * g
                squares[index] = 0.999 * squares[index] + 0.001 * g**2
                direction = (means[index] / (1 - 0.9**steps)) / (np.sqrt(squares[index] / (1 - 0.999**steps)) + 1e-8)
            parameters[index] -= rate * direction
        return float(loss)

    def train(epoch):
        return workload.mean_loss([take_step(x[:, rows], t[:, rows]) for rows in workload.batches(epoch)])

    return lambda epochs: [train(epoch) for epoch in epochs]


def predictor(workload, data, variant):
    weights, biases = first_parameters(workload)
    x = data.scaled.T.astype(np.float64)
    return lambda: np.argmax(forward(weights, biases, x)[-1], axis=0)
