"""What a loss is: one function, ``per_sample``, that returns value and gradient together.

Therefore the two cannot disagree. The base class does what all losses share: it checks and aligns targets, applies
sample weights, and computes sums over rows and their mean.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from minidl.arrays import as_array, as_weights, check_finite, check_lengths
from minidl.errors import ArgumentError, DataError, ShapeError
from minidl.settings import Configurable
from minidl.typing import Array, Shape


class Loss(Configurable):
    """Base of all losses: a subclass defines `per_sample`.

    Calling a loss, ``loss(scores, targets, sample_weight=None)``, returns the mean loss over the batch and its
    gradient with respect to the scores: L = sum_n w_n l_n / sum_n w_n, with w_n = 1 by default.

    Attributes
    ----------
    default_metric : str
        Name of the metric that a `Trainer` without ``metrics`` reports besides the loss. "" means none.
    """

    default_metric = ""

    def per_sample(self, scores: Array, targets: Array) -> tuple[Array, Array]:
        """Return the loss of each sample (N,) and its gradient with respect to the scores (N, *output_shape)."""
        raise NotImplementedError(f"{type(self).__name__} must define per_sample(scores, targets)")

    def prepare_targets(self, targets: Any, output_shape: Shape, dtype: DTypeLike = np.float32) -> Array:
        """Check targets once, before training, and return them as `per_sample` takes them.

        For a model with one output, targets (N,) become (N, 1), so they are never silently broadcast to (N, N).
        For a model with several outputs, a column of labels (N, 1) becomes (N,).
        """
        targets = as_array(targets, "y")
        check_finite(targets, "y", dtype=dtype)
        if targets.ndim == len(output_shape) and output_shape[-1:] == (1,):
            targets = targets[..., np.newaxis]
        elif targets.ndim == 2 and targets.shape[1] == 1 and len(output_shape) < 2 and output_shape != (1,):
            targets = targets[:, 0]
        return targets.astype(dtype, copy=False) if targets.dtype.kind == "f" else targets

    def check_output(self, output_shape: Shape) -> None:
        """Raise ShapeError if the loss cannot work with scores of this shape per sample."""

    def positions(self, output_shape: Shape) -> Shape:
        """Return the axes of an output whose positions have separate scores, such as (time,) of (time, classes).

        Each position is then a separate sample with its own target and, with weights (N, *positions), its own weight.
        """
        return ()

    def activate(self, scores: Array) -> Array:
        """Turn scores into what `Sequential.predict_proba` returns."""
        raise ArgumentError(f"{type(self).__name__} gives no probabilities: use predict(x)")

    def decide(self, scores: Array) -> Array:
        """Turn scores into what `Sequential.predict` returns; a single column becomes (N,), as in scikit-learn."""
        return _without_column(scores)

    def truth(self, targets: Array) -> Array:
        """Return targets from `prepare_targets` in the form of `decide`'s predictions, for metrics."""
        return _without_column(targets)

    def average(self, scores: Array) -> Array:
        """Combine the scores of M models, (M, N, *output_shape), to scores (N, *output_shape) of the ensemble.

        A loss with `activate` averages the probabilities. A loss whose `decide` turns scores into other numbers
        averages these numbers. The default is the mean of the scores.
        """
        return scores.mean(axis=0)

    def labels(self, targets: Array) -> Array:
        """Return the class of each sample, integers (N,), given targets from `prepare_targets`."""
        raise ArgumentError(f"class_weight is for classifiers; with {type(self).__name__} give sample_weight")

    def flatten(self, scores: Array, targets: Array, weights: Array | None = None) -> tuple[Array, Array, Array | None]:
        """Return scores, targets and weights with each position as a row. Without positions, return them unchanged."""
        if not (axes := len(self.positions(scores.shape[1:]))):
            return scores, targets, weights
        rows = int(np.prod(scores.shape[: 1 + axes]))
        flat_weights = None if weights is None else weights.reshape(rows)
        return scores.reshape(rows, -1), targets.reshape(rows, *targets.shape[1 + axes :]), flat_weights

    def total(
        self, scores: Array, targets: Array, weights: Array | None = None, scale: float = 1.0
    ) -> tuple[float, Array]:
        """Return the (weighted) sum of the losses of flat rows, and `scale` times its gradient.

        With ``scale = 1 / total_weight`` the result is the rows' share in the gradient of a mean. The shares of all
        parts add up to the gradient of the whole.
        """
        losses, dscores = self.per_sample(scores, targets)
        if losses.shape != (len(scores),) or dscores.shape != scores.shape:
            returned = f"{losses.shape} and {dscores.shape} for scores {scores.shape}"
            raise ShapeError(f"{type(self).__name__}.per_sample must give losses (N,) and gradients, not {returned}")
        if weights is None:
            return float(np.add.reduce(losses, dtype=np.float64)), dscores * scale
        # The weights are scaled first, so that weights of any size fit the scores' type.
        share = (weights * scale).astype(scores.dtype)
        return float(losses @ weights), dscores * share.reshape(-1, *[1] * (scores.ndim - 1))

    def __call__(
        self, scores: ArrayLike, targets: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> tuple[float, Array]:
        """Return the (weighted) mean loss and its gradient with respect to `scores`, after checking the targets."""
        scores, targets = as_array(scores, "scores"), as_array(targets, "targets")
        weights = None if sample_weight is None else as_weights(sample_weight)
        check_lengths(scores=scores, targets=targets, sample_weight=weights)
        scores = scores if scores.dtype.kind == "f" else scores.astype(np.float64)
        prepared = self.prepare_targets(targets, scores.shape[1:], scores.dtype)
        positions = self.positions(scores.shape[1:])
        rows, targets, weights = self.flatten(scores, prepared, spread_weights(weights, positions))
        # If all weights are 0, there is nothing to learn: avoid 0 / 0.
        scale = 1 / (len(rows) if weights is None else float(weights.sum()) or 1)
        total, drows = self.total(rows, targets, weights, scale)
        return total * scale, drows.reshape(scores.shape)


def spread_weights(weights: Array | None, positions: Shape) -> Array | None:
    """Return weights (N, *positions). Weights (N,) apply to all positions of a row. Raise ShapeError for others."""
    if weights is None or weights.shape[1:] == positions:
        return weights
    if weights.ndim > 1:
        each = f" or {batch_shape(positions)}" if positions else ""
        raise ShapeError(f"sample_weight has shape {weights.shape}; it must be (N,){each}")
    return np.broadcast_to(weights.reshape(-1, *[1] * len(positions)), (len(weights), *positions)).copy()


def as_one_per_output(targets: Array, output_shape: Shape, dtype: DTypeLike) -> Array:
    """Return targets as numbers of a type. Raise ShapeError unless each output of the model has one target."""
    if targets.shape[1:] != output_shape:
        shapes = f"{targets.shape}, but the model's output has shape {batch_shape(output_shape)}"
        raise ShapeError(f"y has shape {shapes}: make them equal or, for labels, use SoftmaxCrossEntropy()")
    return targets.astype(dtype, copy=False)


def refuse_targets(wrong: Array, targets: Array, rule: str) -> None:
    """Raise DataError with the position of the first `wrong` target (N, ...) and the rule that it breaks."""
    if wrong.any():
        wrong, targets = _without_column(wrong), _without_column(targets)
        place = tuple(np.argwhere(wrong)[0].tolist())
        raise DataError(f"y is {targets[place]} at row {', '.join(map(str, place))}; {rule}")


def batch_shape(shape: Shape) -> str:
    """Return the text in which errors show the shape of a batch of these samples: "(N, 3)"."""
    return str(("N", *shape)).replace("'", "")


def count_outputs(scores: Array) -> int:
    """Return the number of outputs per sample in scores (N, ...), or 1 if N = 0. A sample's loss is their mean."""
    return max(scores[:1].size, 1)


def mean_over_outputs(values: Array) -> Array:
    """Return the mean of each sample's values (N, ...), of shape (N,)."""
    outputs = count_outputs(values)
    return np.add.reduce(values.reshape(len(values), outputs), axis=1) / outputs


def _without_column(values: Array) -> Array:
    return values[:, 0] if values.shape[1:] == (1,) else values
