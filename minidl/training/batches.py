"""What a step computes with: rows of input, targets and weights, and the sums of figures over rows."""

from __future__ import annotations

import math
from collections.abc import Iterator

from minidl.losses import Loss
from minidl.typing import Array

ROWS_AT_ONCE = 1024
"""A larger batch is computed in blocks of so many rows, whose gradients add up to its own: they stay in the cache."""


class Rows:
    """Rows of input, targets and weights that belong together: a data set, a batch, or a block of one."""

    def __init__(self, x: Array, targets: Array, weights: Array | None, mean_weight: float | None = None) -> None:
        self.x, self.targets, self.weights = x, targets, weights
        self.mean_weight = self.weight / len(x) if mean_weight is None else mean_weight
        """Of the whole data set, also in a part of it."""

    def __len__(self) -> int:
        return len(self.x)

    @property
    def fits_a_block(self) -> bool:
        return len(self) <= ROWS_AT_ONCE

    @property
    def weight(self) -> float:
        return len(self.x) if self.weights is None else float(self.weights.sum())

    def __getitem__(self, rows: slice | Array) -> Rows:
        weights = None if self.weights is None else _part(self.weights, rows)
        return Rows(_part(self.x, rows), _part(self.targets, rows), weights, self.mean_weight)

    def blocks(self) -> Iterator[Rows]:
        for start in range(0, len(self), ROWS_AT_ONCE):
            yield self[start : start + ROWS_AT_ONCE]


def _part(array: Array, rows: slice | Array) -> Array:
    """Return these rows; for an index, take is quicker than ``array[rows]``."""
    return array[rows] if isinstance(rows, slice) else array.take(rows, axis=0)


class Sums:
    """Weighted sums of figures over rows, whose means an epoch reports."""

    def __init__(self, weight: float = 0.0, loss: float = 0.0, metric: float = 0.0) -> None:
        self.weight, self.loss, self.metric = weight, loss, metric

    @classmethod
    def of_batch(cls, loss: Loss, scores: Array, batch: Rows, summed_loss: float) -> Sums:
        if not loss.metric_name:
            return cls(batch.weight, summed_loss)
        metric = loss.metric(scores, batch.targets)
        return cls(
            batch.weight,
            summed_loss,
            float(metric.sum() if batch.weights is None else metric @ batch.weights),
        )

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.weight + other.weight, self.loss + other.loss, self.metric + other.metric)

    @property
    def mean_loss(self) -> float:
        return self._mean(self.loss)

    def means(self, loss: Loss) -> dict[str, float]:
        figures = {"loss": self.mean_loss}
        return figures | {loss.metric_name: self._mean(self.metric)} if loss.metric_name else figures

    def _mean(self, figure: float) -> float:
        return figure / self.weight if self.weight else math.nan  # there may be no row so far that counts
