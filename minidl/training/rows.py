"""What a step computes with: rows of input, targets and weights, checked and prepared once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from minidl.arrays import as_array, as_weights, check_finite, check_lengths
from minidl.errors import ArgumentError, ArgumentTypeError, naming
from minidl.losses.base import spread_weights
from minidl.model import Sequential
from minidl.training.row_weights import weigh_rows
from minidl.typing import Array


class Rows:
    """Rows of input, targets and weights that belong together: a data set, a batch, or a block of one.

    Attributes
    ----------
    x : array (N, *input_shape)
    targets : array (N, ...)
        As the loss takes them.
    weights : array (N, *positions) or None
        Of a position-wise output each position has a weight; None where all count the same.
    positions : int
        How many samples a row is to the loss: 1, or the positions of a position-wise output.
    mean_weight : float
        Of a row of the whole data set, also in a part of it: a row's weight means the same in whatever batch it comes.
    """

    def __init__(
        self, x: Array, targets: Array, weights: Array | None, positions: int = 1, mean_weight: float | None = None
    ) -> None:
        self.x, self.targets, self.weights, self.positions = x, targets, weights, positions
        self.mean_weight = self.weight / len(x) if mean_weight is None else mean_weight

    def __len__(self) -> int:
        return len(self.x)

    @property
    def weight(self) -> float:
        """The summed weight of the rows."""
        return float(len(self.x) * self.positions) if self.weights is None else float(self.weights.sum())

    def __getitem__(self, rows: slice | Array) -> Rows:
        weights = None if self.weights is None else _part(self.weights, rows)
        return Rows(_part(self.x, rows), _part(self.targets, rows), weights, self.positions, self.mean_weight)

    def blocks(self, size: int) -> Iterator[Rows]:
        """Yield the rows in blocks of at most so many."""
        for start in range(0, len(self), size):
            yield self[start : start + size]


def prepare_rows(model: Sequential, x: Any, y: Any, sample_weight: Any = None, class_weight: Any = None) -> Rows:
    """Check data wholly; return them as arrays, with the targets as the loss takes them, and the model set up."""
    loss = model.loss
    if loss is None:
        raise ArgumentError("the model has no loss: end its list of layers with one, such as SoftmaxCrossEntropy()")
    x, targets = as_array(x, "x"), as_array(y, "y")
    weights = None if sample_weight is None else as_weights(sample_weight)
    check_lengths(x=x, y=targets, sample_weight=weights)
    check_finite(x, "x", dtype=model.dtype)
    model.set_up_for(x)
    with naming(model.place_of(str(model.layers[0].name))):
        model.check_input(x)
    output_shape = model.output_shape or ()
    targets = loss.prepare_targets(targets, output_shape, model.dtype).view()
    targets.flags.writeable = False  # they may be the user's own, which a metric must not change
    positions = loss.positions(output_shape)
    weights = weigh_rows(spread_weights(weights, positions), class_weight, loss, targets, output_shape)
    return Rows(x, targets, weights, math.prod(positions))


def prepare_validation(model: Sequential, validation_data: Any) -> Rows | None:
    """Prepare what `fit` was given as ``validation_data``."""
    if validation_data is None:
        return None
    check_validation_data(validation_data, "to train without validation")
    with naming("validation_data"):
        return prepare_rows(model, *validation_data)


def check_validation_data(value: Any, without: str) -> None:
    """Raise ArgumentTypeError unless `value` is a pair (x, y) or a triple; the error says what is `without` it."""
    if not isinstance(value, tuple | list) or not 2 <= len(value) <= 3:
        raise ArgumentTypeError(f"validation_data must be (x, y) or (x, y, sample_weight), or None, {without}")


def _part(array: Array, rows: slice | Array) -> Array:
    """Return these rows; for an index, take is quicker than ``array[rows]``."""
    return array[rows] if isinstance(rows, slice) else array.take(rows, axis=0)
