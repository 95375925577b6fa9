"""The gradient of a batch, its clipping, and the loss and metrics of rows: functions of model and rows.

All are sums over rows until a mean is read. The totals of rows are one vector: their weight, the sum of their losses,
and the sums of each metric. The totals of blocks, batches and processes are added.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from minidl.distributed import ALONE, Processes
from minidl.errors import naming
from minidl.metrics.base import Metric, ScoredRows
from minidl.model import Sequential
from minidl.threads import in_blocks
from minidl.training.replica import Replica, blocks_of
from minidl.training.rows import Rows
from minidl.typing import Array


class Tally:
    """Adds up loss and metrics of a model's rows in totals, and computes their means.

    Parameters
    ----------
    model : Sequential
        Set up, with a loss.
    metrics : sequence of Metric
    rows : Rows
        Rows of data. The first one, with scores of 0, shows that each metric can be computed, and how many sums it has.
    """

    def __init__(self, model: Sequential, metrics: Sequence[Metric], rows: Rows) -> None:
        assert model.loss is not None
        self.loss, self.metrics = model.loss, metrics
        self.names = ("loss", *(metric.name for metric in metrics))
        scores = np.zeros((1, *(model.output_shape or ())), model.dtype)
        scores, targets, _ = self.loss.flatten(scores, rows.targets[:1])
        self._sizes = []
        for metric in metrics:
            with naming(f"the metric {metric.name}"):
                self._sizes.append(len(metric.sums(ScoredRows(self.loss, scores, targets), None)))

    def zeros(self) -> Array:
        """Return the totals of zero rows."""
        return np.zeros(2 + sum(self._sizes))

    def count(self, output: Array, rows: Rows, scale: float) -> tuple[Array, Array]:
        """Return the totals of rows, given the model's output, and `scale` times the gradient of their summed loss."""
        scores, targets, weights = self.loss.flatten(output, rows.targets, rows.weights)
        summed_loss, gradient = self.loss.total(scores, targets, weights, scale)
        totals = [len(scores) if weights is None else float(weights.sum()), summed_loss]
        if self.metrics:
            scored = ScoredRows(self.loss, scores, targets)
            for metric, size in zip(self.metrics, self._sizes, strict=True):  # a process may have no rows of a batch
                totals += metric.sums(scored, weights) if len(scores) else np.zeros(size).tolist()
        return np.array(totals, np.float64), gradient if scores is output else gradient.reshape(output.shape)

    def means(self, totals: Array) -> dict[str, float]:
        """Return loss and metrics by name. All are NaN if no row counts."""
        weight = float(totals[0])
        if not weight:
            return dict.fromkeys(self.names, math.nan)
        means, start = {"loss": float(totals[1]) / weight}, 2
        for metric, size in zip(self.metrics, self._sizes, strict=True):
            means[metric.name] = metric.value(totals[start : start + size], weight)
            start += size
        return means


def compute_gradients(
    model: Sequential, batches: Iterable[Rows], tally: Tally, total_weight: float, replica: Replica | None = None
) -> Array:
    """Write the gradient of the batches' share in a mean loss over `total_weight` into the model; return their totals.

    More rows than ``model.rows_at_once`` are computed in blocks, whose gradients are added. A model with a layer that
    mixes the rows of a batch gets each batch as a whole. A replica, if there is one, computes half of the rows. The
    gradient does not include the penalties of regularizers.
    """
    if replica is None:
        return _add_up(model, batches, tally, total_weight)

    def compute(model: Sequential, side: int) -> tuple[Array, Array]:
        return _add_up(model, batches, tally, total_weight, side), model.gradients

    (totals, gradients), (other_totals, other_gradients) = replica.compute(compute)
    gradients += other_gradients
    return totals + other_totals


def clip(gradients: Array, clip_norm: float | None, clip_value: float | None) -> None:
    """Limit a vector of gradients in place.

    Parameters
    ----------
    gradients : array (P,)
    clip_norm : float > 0 or None
        Limit for the Euclidean norm of the whole vector. A larger one is scaled down: ``g <- g clip_norm / |g|``.
    clip_value : float > 0 or None
        Each entry is cut to [-clip_value, clip_value]. With both, the norm is limited afterwards, so both limits hold
        (Keras allows only one of them).

    Source: Pascanu et al. (2013), arXiv:1211.5063, for the norm.
    """
    if clip_value is not None:
        np.clip(gradients, -clip_value, clip_value, out=gradients)
    if clip_norm is None:
        return
    with np.errstate(over="ignore", invalid="ignore"):
        norm = math.sqrt(gradients @ gradients)
        if not 1e-15 < norm < math.inf:  # squares overflowed or may have underflowed: use the largest entry as unit
            largest = float(np.abs(gradients).max(initial=0)) or 1.0
            unit = gradients / largest
            norm = largest * math.sqrt(unit @ unit)
    if clip_norm < norm < math.inf:  # an infinite norm or NaN cannot be scaled
        gradients *= clip_norm / norm


def score_rows(
    model: Sequential, rows: Rows, tally: Tally, threads: int | None = None, processes: Processes = ALONE
) -> Array:
    """Return the totals of rows for the model in inference. Each process computes a part of the rows."""
    own, threads = processes.rows(slice(0, len(rows))), threads or processes.threads

    def score(part: slice) -> Array:
        block = rows[own.start + part.start : own.start + part.stop]
        return tally.count(model.forward(block.x), block, scale=0)[0]  # the gradient is not needed

    with processes.agreeing({"the rows to score": len(rows), "the metrics": tally.names}):
        totals: Array = sum(in_blocks(model, score, own.stop - own.start, threads=threads), tally.zeros())
    totals[1] += model.penalty() * totals[0]
    return processes.add_up(totals)


def _forward_backward(model: Sequential, rows: Rows, tally: Tally, total_weight: float) -> Array:
    totals, gradient = tally.count(model.forward(rows.x, training=True), rows, 1 / total_weight)
    model.backward(gradient)
    return totals


def _add_up(model: Sequential, batches: Iterable[Rows], tally: Tally, weight: float, side: int | None = None) -> Array:
    """Write the gradient of all batches into the model, added up over blocks of rows; return their totals.

    With a replica: the gradient and totals of a half of each batch. `side` is 0 for the model, and 1 for the replica.
    """
    totals, gradients = tally.zeros(), np.empty(0)
    blocks = ((rows, block) for rows in batches for block in blocks_of(model, len(rows), side is not None)[side or 0])
    for number, (rows, block) in enumerate(blocks):
        gradients = model.gradients if number == 1 else gradients  # a single block needs no vector
        before = gradients.copy()
        part = rows[block] if block.stop - block.start < len(rows) else rows
        totals += _forward_backward(model, part, tally, weight)
        gradients += before
    return totals
