"""Weights of rows: those that `fit` is given, times those of the rows' classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl.errors import ArgumentError, ArgumentTypeError, DataError, counted
from minidl.inputs import check_number
from minidl.losses import Loss
from minidl.typing import Array, Shape


def weigh_rows(
    sample_weight: Array | None, class_weight: Any, loss: Loss, targets: Array, output_shape: Shape
) -> Array | None:
    """Return the weight of each row, or None where all count the same.

    Parameters
    ----------
    sample_weight : array (N,) or None
    class_weight : dict of label -> weight, sequence of a weight per class, "balanced", or None
        Labels that a dict leaves out weigh 1. "balanced" gives label k of the K that occur the weight N / (K N_k),
        so that all of them count the same, as in scikit-learn.
    loss : Loss
        Says which class a row of `targets` is of.
    targets : array
        As the loss has prepared them.
    output_shape : tuple of int
        Of the model, which tells how many classes there are.

    Raises ArgumentError or ArgumentTypeError for anything else, DataError when all weights are 0.
    """
    weights = sample_weight
    classes = max((*output_shape, 2))  # one score tells two classes apart
    if class_weight is not None:
        of_row = _class_weights(class_weight, labels := loss.labels(targets), classes)[labels]
        weights = of_row if weights is None else weights * of_row
    if weights is not None and not weights.any():
        which = "sample_weight" if class_weight is None else "the product of sample_weight and class_weight"
        raise DataError(f"{which} is 0 for every row")
    return weights


def _class_weights(class_weight: Any, labels: Array, classes: int) -> Array:
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ArgumentError(f'class_weight is {class_weight!r}; the only name is "balanced"')
        counts = np.bincount(labels, minlength=classes)
        return len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    if isinstance(class_weight, Mapping) or hasattr(class_weight, "to_dict"):  # a pandas series, by its index
        weights = np.ones(classes)
        for label, weight in class_weight.items():
            if label not in range(classes):
                raise ArgumentError(f"class_weight names the class {label!r}; there are 0 to {classes - 1}")
            weights[int(label)] = check_number(weight, f"class_weight of {label!r}", 0)
        return weights
    try:
        given = None if isinstance(class_weight, set | frozenset) else list(class_weight)
    except TypeError:
        given = None
    if given is None:
        raise ArgumentTypeError(
            f'class_weight is {class_weight!r}; give a dict of weights by label, a list of one per class, or "balanced"'
        )
    if len(given) != classes:
        raise ArgumentError(f"class_weight has {counted(len(given), 'weight')}; the model has {classes} classes")
    return np.array([check_number(weight, f"class_weight of {label}", 0) for label, weight in enumerate(given)])
