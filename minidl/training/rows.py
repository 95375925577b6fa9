"""The data of a step: rows of input, targets and weights, checked and prepared once."""

from __future__ import annotations

import contextlib
import itertools
import math
from typing import Any

import numpy as np

from minidl.arrays import as_array, as_weights, check_finite, check_lengths
from minidl.distributed import ALONE, Processes
from minidl.errors import ArgumentError, ArgumentTypeError, naming
from minidl.lazy_rows import take_rows
from minidl.losses.base import spread_weights
from minidl.model import Sequential
from minidl.tables import column_names
from minidl.training.class_weights import weigh_rows
from minidl.typing import Array


class Rows:
    """Rows of input, targets and weights that belong together: a data set, a batch, or a block of one.

    Attributes
    ----------
    x : array (N, *input_shape)
    targets : array (N, ...)
        Targets in the form that the loss takes.
    weights : array (N, *positions) or None
        Each position of a position-wise output has a weight. None if all have the same weight.
    positions : int
        Number of samples per row for the loss: 1, or the positions of a position-wise output.
    mean_weight : float
        The mean weight of a row in the whole data set. A part of the data set keeps this value, so a row's weight means
        the same in every batch.
    layout : list of int
        For `Shards`, the `buffer` and the number of rows in each file; else empty.
    first, whole : int
        If these are one process's rows of a batch: the index of the first row, and the number of rows of the batch.
    """

    def __init__(
        self, x: Array, targets: Array, weights: Array | None, positions: int = 1, mean_weight: float | None = None
    ) -> None:
        self.x, self.targets, self.weights, self.positions = x, targets, weights, positions
        self.mean_weight = self.weight / len(x) if mean_weight is None else mean_weight
        self.layout: list[int] = getattr(getattr(x, "shards", None), "layout", [])
        self.first, self.whole = 0, len(x)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def weight(self) -> float:
        """The summed weight of the rows."""
        return float(len(self.x) * self.positions) if self.weights is None else float(self.weights.sum())

    def __getitem__(self, rows: slice | Array) -> Rows:
        weights = None if self.weights is None else take_rows(self.weights, rows)
        is_all = isinstance(rows, slice) and rows == slice(0, len(self))  # keeps a sparse matrix until its blocks
        x = self.x if is_all else take_rows(self.x, rows)
        return Rows(x, take_rows(self.targets, rows), weights, self.positions, self.mean_weight)

    def order(self, seed: tuple[int, int]) -> Any:
        """Return the row indices in the random order of ``default_rng(seed).permutation``, by slices.

        Shards have their own order.
        """
        if (shards := getattr(self.x, "shards", None)) is not None:
            return shards.order(seed)
        order = np.arange(len(self), dtype=np.int32 if 2**20 < len(self) < 2**31 else np.intp)  # half of the memory
        np.random.default_rng(seed).shuffle(order)
        return order


def prepare_rows(
    model: Sequential, x: Any, y: Any, sample_weight: Any = None, class_weight: Any = None, *, among: Processes = ALONE
) -> Rows:
    """Check data completely, set up the model, and return the data as arrays, with targets prepared for the loss.

    With several processes, each checks its part of the inputs, which are the larger part of the data.
    """
    if (loss := model.loss) is None:
        raise ArgumentError("the model has no loss: end its list of layers with one, such as SoftmaxCrossEntropy()")
    model.feature_names = model.feature_names or column_names(x)
    x, targets = model.as_inputs(x), as_array(y, "y")
    weights = None if sample_weight is None else as_weights(sample_weight)
    check_lengths(x=x, y=targets, sample_weight=weights)
    own, first_row = among.part(x)
    check_finite(own, "x", first_row, model.dtype)
    model.set_up_for(x)
    with naming(f"counted from row {first_row}") if first_row else contextlib.nullcontext():
        model.check_input(own)
    output_shape = model.output_shape or ()
    targets = loss.prepare_targets(targets, output_shape, model.dtype).view()
    targets.flags.writeable = False  # they may be the user's array, which a metric must not change
    positions = loss.positions(output_shape)
    weights = spread_weights(weights, positions)
    if model.makes_mask:
        from minidl.sequences.masking import leave_out_padding  # few programs need sequences

        weights = leave_out_padding(model, x, positions, weights)
    weights = weigh_rows(weights, class_weight, loss, targets, output_shape)
    return Rows(x, targets, weights, math.prod(positions))


def prepare_validation(model: Sequential, validation_data: Any, among: Processes = ALONE) -> Rows | None:
    """Prepare the ``validation_data`` of `fit`."""
    if validation_data is None:
        return None
    check_validation_data(validation_data, "to train without validation")
    with naming("validation_data"):
        return prepare_rows(model, *validation_data, among=among)


def check_validation_data(value: Any, without: str) -> None:
    """Raise ArgumentTypeError unless `value` is a pair (x, y) or a triple. `without` says what happens without it."""
    if not isinstance(value, tuple | list) or not 2 <= len(value) <= 3:
        raise ArgumentTypeError(f"validation_data must be (x, y) or (x, y, sample_weight), or None, {without}")


def split_rows(first: int, rows: int, size: int, *, joined: bool = False) -> list[slice]:
    """Return the batches of the rows that start at `first`. If `joined`, a single last row joins the previous batch.

    A single row has no variance. A layer that mixes a batch needs at least two.
    """
    starts = list(range(first, rows, size))
    if joined and len(starts) > 1 and rows - starts[-1] == 1:
        starts.pop()
    return [slice(start, stop) for start, stop in itertools.pairwise([*starts, rows])]
