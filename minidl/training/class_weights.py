"""The weight of each row if the classes have different weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.errors import ArgumentError, ArgumentTypeError, DataError
from minidl.losses.base import Loss
from minidl.settings import as_number
from minidl.typing import Array, Shape


def weigh_rows(weights: Array | None, class_weight: Any, loss: Loss, targets: Array, shape: Shape) -> Array | None:
    """Return the weight of each row, or None if all have the same weight.

    Parameters
    ----------
    weights : array (N,), of a position-wise output (N, *positions), or None
    class_weight : dict of label -> weight, sequence of a weight per class, "balanced", or None
        Labels that a dict leaves out have weight 1. "balanced" gives label k of the K that occur the weight
        N / (K N_k), so that all of them count the same, as in scikit-learn. Padding and rows of weight 0 do not count.
    loss : Loss
        Tells the class of each row of `targets`.
    targets : array
        As the loss has prepared them.
    shape : tuple of int
        Of the model's output, which tells how many classes there are.

    Raises ArgumentError or ArgumentTypeError for anything else, DataError when all weights are 0.
    """
    classes = max(shape[-1] if shape else 1, 2)  # one score is for two classes
    if class_weight is not None:
        labels = loss.labels(targets)
        counted = labels if weights is None else labels[weights > 0]
        of_row = _class_weights(class_weight, counted, classes)[labels]
        weights = of_row if weights is None else weights * of_row
    if weights is not None and not weights.any():
        product = f"sample_weight{' times class_weight' * (class_weight is not None)}"
        raise DataError(f"{product} is 0 for every row, or all of x is padding")
    return weights


def _class_weights(class_weight: Any, labels: Array, classes: int) -> Array:
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ArgumentError(f'class_weight is {class_weight!r}; the only name is "balanced"')
        counts = np.bincount(labels.ravel(), minlength=classes)
        return labels.size / (np.count_nonzero(counts) * np.maximum(counts, 1))
    if isinstance(class_weight, Sequence | np.ndarray):
        if len(class_weight) != classes:
            raise ArgumentError(f"class_weight has length {len(class_weight)}; the model has {classes} classes")
        class_weight = dict(enumerate(class_weight))
    if not hasattr(class_weight, "items"):  # as a pandas series has, by its index
        raise ArgumentTypeError(f'class_weight is {class_weight!r}; give a dict by label, a list, or "balanced"')
    weights = np.ones(classes)
    for label, weight in class_weight.items():
        if label not in range(classes):
            raise ArgumentError(f"class_weight names the class {label!r}; there are 0 to {classes - 1}")
        weights[int(label)] = as_number(weight, f"class_weight of {label!r}", 0)
    return weights
