"""Recompute the running statistics of batch normalization for weights that did not come from a training step."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.arrays import check_finite, check_lengths
from minidl.errors import DataError
from minidl.layers import BatchNorm
from minidl.model import Sequential
from minidl.settings import as_whole_number
from minidl.training.rows import split_rows
from minidl.typing import Array


def recompute_statistics(model: Sequential, x: Any, batch_size: int = 1024) -> None:
    """Recompute the running means and variances of all `BatchNorm` layers for the current weights.

    Use it for weights that did not come from a training step, such as the average of `StochasticWeightAveraging`. The
    running statistics then belong to the last steps, not to the average. The new statistics are the mean and the
    variance (with 1/(n - 1)) of all inputs of a layer while `x` passes in training, over all rows and not as means over
    batches. Padding of sequences does not count. A layer after another `BatchNorm` gets its output for each batch, as
    in training. Random layers draw as in training; afterwards their generators are restored. Frozen layers do not
    change.

    Parameters
    ----------
    model : Sequential
    x : array of shape (N, *input_shape), or a memory map, a pandas frame or a nested list
        Training rows, two or more.
    batch_size : int, >= 2, default 1024
        Rows to compute at once. If the last batch would be a single row, which has no variance, the row joins the batch
        before it.

    Raises the errors of `Sequential.predict`, and DataError for fewer than two rows, or two positions that count. An
    error changes no statistics.
    Source: Izmailov et al. (2018), arXiv:1803.05407, the end of algorithm 1.
    """
    x = model.as_inputs(x)
    as_whole_number(batch_size, "batch_size", 2)
    if check_lengths(x=x) < 2:
        raise DataError("x has one row, and a variance takes two or more")
    check_finite(x, "x", dtype=model.dtype)
    model.set_up_for(x)
    generators = [(each, each.bit_generator.state) for each in model.named_generators().values()]
    layers = [layer for layer in model.walk() if isinstance(layer, BatchNorm) and layer.own_trainable]
    kept = [(layer.momentum, *_statistics(layer)) for layer in layers]
    pooled: list[tuple[Array, Array] | None] = []
    try:
        batches: list[list[tuple[int, Array, Array]]] = [[] for _ in layers]
        for layer in layers:
            layer.momentum = 0.0  # the running statistics then belong to the last batch only
        for batch in split_rows(0, len(x), batch_size, joined=True):
            model.forget_saved()  # a layer that is not called keeps what it saved for an earlier batch
            model.forward(x[batch], training=True)
            for layer, found in zip(layers, batches, strict=True):
                if hasattr(layer, "saved"):  # a layer may leave out one of the layers inside it
                    found.append(_of_batch(layer))
        pooled = [_pool(found) if found else None for found in batches]
    finally:
        for layer, (momentum, *before), after in itertools.zip_longest(layers, kept, pooled):
            layer.momentum = momentum
            layer.running_mean.value, layer.running_variance.value = after or before
        for generator, state in generators:
            generator.bit_generator.state = state
        model.forget_saved()


def _statistics(layer: BatchNorm) -> tuple[Array, Array]:
    return layer.running_mean.value.copy(), layer.running_variance.value.copy()


def _of_batch(layer: BatchNorm) -> tuple[int, Array, Array]:
    """Return how many positions of the last batch count, and their mean and variance."""
    centered, *_ = vars(layer).pop("saved")
    mean, variance = _statistics(layer)
    # A single position has no variance: the layer has taken the mean of earlier batches off, as in inference.
    return len(centered), mean + centered[0] if len(centered) == 1 else mean, variance


def _pool(batches: Sequence[tuple[int, Array, Array]]) -> tuple[Array, Array]:
    """Return mean and variance (with 1/(n - 1)) over all batches, from the count, mean and variance of each.

    Source: Chan, Golub and LeVeque (1979), "Updating formulae and a pairwise algorithm for computing sample variances".
    """
    total = sum(count for count, _, _ in batches)
    if total < 2:
        raise DataError(f"a variance takes two positions or more, and {total} of x count: the others are padding")
    mean = sum((count / total) * own for count, own, _ in batches)
    squares = sum(max(count - 1, 0) * variance + count * (own - mean) ** 2 for count, own, variance in batches)
    return np.asarray(mean), np.asarray(squares / (total - 1))
