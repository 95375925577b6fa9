"""JAX, with a compiled step ("step"), or with a whole epoch compiled as one scan over its batches ("scan")."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp


def forward(parameters, x):
    *hidden, (weight, bias) = parameters
    for hidden_weight, hidden_bias in hidden:
        x = jax.nn.relu(x @ hidden_weight + hidden_bias)
    return x @ weight + bias


def cross_entropy(parameters, x, y):
    log_probabilities = jax.nn.log_softmax(forward(parameters, x))
    return -jnp.take_along_axis(log_probabilities, y[:, None], axis=1).mean()


def squared_error(parameters, x, y):
    return ((forward(parameters, x) - y) ** 2).mean()


def sgd(parameters, gradients, state, rate):
    return jax.tree.map(lambda parameter, gradient: parameter - rate * gradient, parameters, gradients), state


def adam(parameters, gradients, state, rate):
    step, mean, square = state
    step += 1
    mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, gradients)
    square = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, square, gradients)
    mean_scale, square_scale = 1 / (1 - 0.9**step), 1 / (1 - 0.999**step)
    parameters = jax.tree.map(
        lambda p, m, v: p - rate * (m * mean_scale) / (jnp.sqrt(v * square_scale) + 1e-8), parameters, mean, square
    )
    return parameters, (step, mean, square)


def first_parameters(workload):
    return [(jnp.asarray(weight), jnp.zeros(weight.shape[1])) for weight in workload.weights()]


def trainer(workload, data, variant):
    loss_function = cross_entropy if workload.classifies else squared_error
    update = {"sgd": sgd, "adam": adam}[workload.optimizer]
    x, y = jnp.asarray(data.scaled), jnp.asarray(data.y)
    parameters = first_parameters(workload)
    zeros = partial(jax.tree.map, jnp.zeros_like)
    # The state is donated, so its arrays must not share memory.
    state = (parameters, (jnp.zeros(()), zeros(parameters), zeros(parameters)))

    def take_step(state, x, y):
        parameters, optimizer_state = state
        loss, gradients = jax.value_and_grad(loss_function)(parameters, x, y)
        return update(parameters, gradients, optimizer_state, workload.learning_rate), loss

    @partial(jax.jit, donate_argnums=0)
    def step(state, x, y, rows):
        return take_step(state, x[rows], y[rows])

    @partial(jax.jit, donate_argnums=0)
    def full_step(state, x, y):
        return take_step(state, x, y)

    @partial(jax.jit, donate_argnums=0)
    def scan(state, x, y, order):
        whole = len(order) // workload.batch * workload.batch
        batches = order[:whole].reshape(-1, workload.batch)
        state, losses = jax.lax.scan(lambda state, rows: take_step(state, x[rows], y[rows]), state, batches)
        if whole < len(order):
            state, loss = take_step(state, x[order[whole:]], y[order[whole:]])
            losses = jnp.append(losses, loss)
        return state, losses

    def train(epoch):
        nonlocal state
        if workload.full_batch:
            state, loss = full_step(state, x, y)
            return float(loss)
        if variant == "scan":
            state, losses = scan(state, x, y, workload.order(epoch))
            return workload.mean_loss(losses.tolist())
        losses = []
        for rows in workload.batches(epoch):
            state, loss = step(state, x, y, rows)
            losses.append(float(loss))
        return workload.mean_loss(losses)

    return lambda epochs: [train(epoch) for epoch in epochs]


def predictor(workload, data, variant):
    parameters, x = first_parameters(workload), data.scaled
    classify = jax.jit(lambda parameters, x: forward(parameters, x).argmax(axis=1))
    return lambda: jax.device_get(classify(parameters, x))
