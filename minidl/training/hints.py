"""Warnings about mistakes that raise no error, but with which the network would learn little or has learned nothing.

They use only a sample of the rows, so they take very little time. Also the check of a run with a line search.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import numpy as np

from minidl.errors import ArgumentError, DataWarning
from minidl.layers import Rescale
from minidl.lazy_rows import LazyRows
from minidl.losses.base import Loss
from minidl.losses.classification import CategoricalLoss, Hinge, SigmoidCrossEntropy
from minidl.losses.regression import Poisson, RegressionLoss
from minidl.model import Sequential
from minidl.schedules import Schedule
from minidl.training.callbacks import CallbackList
from minidl.training.gradients import Tally, score_rows
from minidl.training.rows import Rows
from minidl.typing import Array

if TYPE_CHECKING:
    from minidl.training.trainer import Fit, Trainer

_FAR = 1000
"""Targets that are this many times as large as the network's first outputs are out of its reach."""

_TINY = 1e-9

_FEW, _MANY = 250, 2_000
"""Rows of a sample: a few rows can show that there is some gain; many rows can show that there is none."""


def warn_of_scales(model: Sequential, rows: Rows, step: int = 0) -> None:
    """Warn about inputs that are scaled twice, and about targets far beyond the outputs of an untrained model.

    Both are DataWarning. Targets are only compared for losses of plain numbers, by their root mean square. After the
    first step, nothing is checked.
    """
    if step:
        return
    sample, first = _sample(rows, 64), model.layers[0]
    x = sample.x[...]
    if isinstance(first, Rescale) and abs(first.scale) <= 0.1 and not first.offset and _is_in_unit_interval(x):
        scaled = f"x is already in [0, 1], and {first!r} would scale it again: leave out one of the two"
        warnings.warn(f"check the data: {scaled}", DataWarning, stacklevel=3)
    if isinstance(model.loss, RegressionLoss) and not isinstance(model.loss, Poisson):
        targets, counts = sample.targets, slice(None) if sample.weights is None else sample.weights > 0
        wanted, reached = (_root_mean_square(values[counts]) for values in (targets, model.forward(x)))
        if wanted > _FAR * max(reached, 1):
            far = f"y is of the size {wanted:.2g}, but the network begins at {reached:.2g}: it would take very long"
            cure = "standardize y, (y - y.mean()) / y.std(), or use MLPRegressor(standardize=True)"
            warnings.warn(f"check the data: {far}; {cure}", DataWarning, stacklevel=3)


def warn_of_no_gain(trainer: Trainer, fit: Fit) -> bool:
    """Give a DataWarning if the loss of a trained model is no better than the loss of the best constant prediction.

    Return whether the loss was checked, which needs an epoch and 20 steps.
    """
    if is_due := trainer.epoch > 0 and trainer.step >= 20:
        _warn_of_loss(fit.model, fit.data, fit.tally, trainer.history["loss"][-1])
    return is_due


def _warn_of_loss(model: Sequential, rows: Rows, tally: Tally, loss: float) -> None:
    """Compare the loss of the last epoch with the loss of a constant. Run the model only if it is no better."""
    constant = _constant_loss(model, _sample(rows, _FEW))
    if not loss >= constant - 0.2 * abs(constant):
        return
    sample = _sample(rows, _MANY)
    constant = _constant_loss(model, sample)
    learned = tally.means(score_rows(model, sample, tally))["loss"] - model.penalty()
    if abs(constant) > _TINY and learned >= constant - 0.001 * abs(constant):  # else all targets are equal
        from minidl.sequences import Embedding  # few programs need sequences

        what = "the mean" if isinstance(model.loss, RegressionLoss) else "the class frequencies"
        result = f"the loss is {learned:.4g}, no better than with a constant prediction of {what}, {constant:.4g}"
        scale = "" if any(isinstance(layer, Embedding) for layer in model.walk()) else "scale x, "  # ids have no scale
        cure = f"{scale}try other learning rates and more epochs, and check that the rows of x and y belong together"
        warnings.warn(f"check the data: {result}; {cure}", DataWarning, stacklevel=4)


def warn_of_rates_of_zero(trainer: Trainer, data: Rows, epochs: int) -> None:
    """Warn about a schedule that is 0 long before the end of these epochs: later steps change nothing."""
    rate, position, rows = trainer.optimizer.learning_rate, trainer.position, len(data)
    done = position.row if (position.rows, position.layout) == (rows, data.layout) else 0
    of_step = min(trainer.batch_size or rows, rows) * trainer.accumulate
    steps = math.ceil((epochs * rows - done) / of_step)
    last = trainer.step + steps - 1
    if steps > 0 and isinstance(rate, Schedule) and rate(last - steps // 20) == rate(last) == 0:
        warnings.warn(f"{rate!r} is 0 long before step {last + 1:,}: make it as long as the run", stacklevel=4)


@contextlib.contextmanager
def no_hints() -> Iterator[None]:
    """Give no warnings in this context: when many runs are compared, some are bad."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        yield


def _sample(rows: Rows, size: int) -> Rows:
    """Return about `size` rows at equal distances, or all if there are fewer. Their inputs are taken on use."""
    shards = getattr(rows.x, "shards", None)  # a sample comes from a few of them
    index = np.arange(0, len(rows), max(len(rows) // size, 1)) if shards is None else shards.sample(size)
    weights = None if rows.weights is None else rows.weights[index]
    x = cast(Array, LazyRows(rows.x, index))
    return Rows(x, rows.targets[index], weights, rows.positions, rows.mean_weight)


def _is_in_unit_interval(x: Array) -> bool:
    return bool(x.min() >= 0 and 0 < x.max() <= 1)


@np.errstate(over="ignore")
def _root_mean_square(values: Array) -> float:
    return math.sqrt(np.mean(np.square(values, dtype=np.float64)))


@np.errstate(over="ignore", invalid="ignore")
def _constant_loss(model: Sequential, rows: Rows) -> float:
    """Return the mean loss of the best constant prediction, or infinity for a loss where it is not known."""
    loss, scores = model.loss, np.zeros((len(rows), *(model.output_shape or ())), model.dtype)
    assert loss is not None
    scores, targets, weights = loss.flatten(scores, rows.targets, rows.weights)
    if weights is not None and not weights.any():
        return math.inf
    if (best := _best_constant(loss, targets, weights, scores.shape[-1])) is None:
        return math.inf
    scores[...] = best
    return loss.total(scores, targets, weights)[0] / (len(scores) if weights is None else float(weights.sum()))


def _best_constant(loss: Loss, targets: Array, weights: Array | None, classes: int) -> Array | None:
    """Return the scores of the mean target, or of the frequencies of the classes, with weighted rows."""
    if isinstance(loss, CategoricalLoss | Hinge) and targets.dtype.kind != "f":
        frequencies = np.bincount(targets, weights, classes) / (len(targets) if weights is None else weights.sum())
    else:
        frequencies = np.average(targets, axis=0, weights=weights)
    if isinstance(loss, Hinge):  # with one score, the targets are -1 and 1
        return np.sign(frequencies) if targets.dtype.kind == "f" else np.eye(classes)[frequencies.argmax()]
    if isinstance(loss, SigmoidCrossEntropy):
        return np.log(np.maximum(frequencies, _TINY)) - np.log(np.maximum(1 - frequencies, _TINY))
    if isinstance(loss, CategoricalLoss | Poisson):
        return np.log(np.maximum(frequencies, _TINY))
    return frequencies if isinstance(loss, RegressionLoss) else None


def check_full_batch(trainer: Trainer, fit: Fit) -> None:
    """Raise ArgumentError for a run in which an optimizer with a line search would not work."""
    if not trainer.optimizer.full_batch:
        return
    kind = type(trainer.optimizer).__name__
    if trainer.batch_size is not None and trainer.batch_size < len(fit.data):
        raise ArgumentError(f"{kind} takes all rows at once: give batch_size=None, not {trainer.batch_size}")
    found = [name for name in ("augment", "clip_norm", "clip_value", "average") if getattr(trainer, name) is not None]
    found += [hook.key for hook in fit.callbacks.callbacks if CallbackList([hook]).doing("on_gradients")]
    found += ["the constraint of a layer"] * any(getattr(layer, "constraint", None) for layer in fit.layers)
    found += [path.removesuffix("/generator") for path in fit.model.named_generators()]
    if found:
        raise ArgumentError(f"{kind} compares losses along a line, but {found[0]} would change them: leave it out")
