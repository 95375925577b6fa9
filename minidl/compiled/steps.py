"""Training steps of networks of dense layers, many in one call: rows, passes, loss, metric and update.

The trainer goes step by step for everything that is not here, such as a callback that changes gradients, an average of
the parameters, or a custom loss.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable
from pkgutil import resolve_name
from typing import Any, NamedTuple

import numpy as np

from minidl.compiled.blas import routines, sum_squares
from minidl.compiled.chain import Chain, backward, chain_of, forward
from minidl.compiled.loops import compiled
from minidl.compiled.losses import cross_entropy, sigmoid_cross_entropy, squared_error
from minidl.compiled.optimizers import adam_factors, adam_step, momentum_step, sgd_step
from minidl.compiled.switching import replaces
from minidl.compiled.ufuncs import loop_of
from minidl.layers import Rescale
from minidl.lazy_rows import LazyRows
from minidl.losses import SoftmaxCrossEntropy
from minidl.metrics import Accuracy, MeanAbsoluteError
from minidl.optimizers import SGD, Adam, AdamW, Momentum
from minidl.regularizers import L2
from minidl.schedules import Schedule
from minidl.typing import Array

_Trainer = resolve_name("minidl.training.trainer:Trainer")
_Distortion = resolve_name("minidl.data.augment.base:Distortion")
_ProgressBar = resolve_name("minidl.training.progress:ProgressBar")
_subnormal = resolve_name("minidl.training.subnormal")

_MULTIPLICATIONS = 2**28
"""Multiplications in one call: after these hundredths of a second, Ctrl-C and `stop` are handled."""

_BYTES = 2**22
"""The bytes of the rows that are distorted, or read from files, for one call."""

_CALLS = 8
"""The least number of calls in an epoch whose inputs are distorted."""

_ROWS = 8192
"""NumPy sums more losses than this in parts."""

_UINT8, _FLOAT32, _FLOAT64 = 0, 1, 2
_KINDS = {np.dtype(np.uint8): _UINT8, np.dtype(np.float32): _FLOAT32, np.dtype(np.float64): _FLOAT64}
"""The number types of rows. Rows are passed as bytes, so that the steps are compiled only once for all types."""

_SGD, _MOMENTUM, _ADAM = 0, 1, 2


class _Formula(NamedTuple):
    """An optimizer's update: its kind, its settings, and the factors of a step at a rate; two numbers each."""

    number: int
    settings: Callable[[Any], tuple[float, float]]
    factors: Callable[[Any, float], tuple[float, float]]


_adam = _Formula(_ADAM, lambda adam: (adam.beta1, adam.beta2), adam_factors)
_FORMULAS = {
    SGD: _Formula(_SGD, lambda _: (0.0, 0.0), lambda _, rate: (rate, 0.0)),
    Momentum: _Formula(_MOMENTUM, lambda own: (own.momentum, float(own.nesterov)), lambda _, rate: (rate, 0.0)),
    Adam: _adam,
    AdamW: _adam,
}

_SOFTMAX, _SIGMOID, _SQUARES = 0, 1, 2


class _Loss(NamedTuple):
    """A loss: its formula and its usual metric. `share` gives its multiple for a number of outputs."""

    number: int
    metric: type[Any]
    share: Callable[[int], float] = lambda _: 1.0


_LOSSES = {
    "minidl.losses.classification.SoftmaxCrossEntropy": _Loss(_SOFTMAX, Accuracy),
    "minidl.losses.classification.SigmoidCrossEntropy": _Loss(_SIGMOID, Accuracy),
    "minidl.losses.regression.MeanSquaredError": _Loss(_SQUARES, MeanAbsoluteError),
    "minidl.estimators.losses.SummedSigmoidCrossEntropy": _Loss(_SIGMOID, Accuracy, float),
    "minidl.estimators.losses.HalfSquaredError": _Loss(_SQUARES, MeanAbsoluteError, lambda outputs: outputs / 2),
}
"""By name, because the import of the estimators takes a second."""


@replaces("minidl.training.trainer:Trainer")
class _Steps:
    def _take_steps(self: Any, fit: Any) -> Any:
        if fit.processes.size > 1:
            return NotImplemented  # the NumPy code asks all processes before each step whether to stop
        position, augment, read = self.position, self.augment, None
        with contextlib.ExitStack() as stack:
            while not self._stopping and position.row < position.rows:
                fit.read_trainable()
                chain = chain_of(fit.model)
                count = 0 if chain is None else _count_steps(self, fit, chain)
                if chain is None or not count or self.augment is not augment:
                    return NotImplemented  # the NumPy code continues from here
                read = read or _reader(self, fit, count, stack)
                rows = read(min(count, _subnormal.EVERY - self.step % _subnormal.EVERY))
                with self._whole:
                    _take(self, fit, chain, *rows)
                    fit.callbacks.call("on_batch_end", self)
        return None


def _reader(
    trainer: Any, fit: Any, ahead: int, stack: contextlib.ExitStack
) -> Callable[[int], tuple[Array, Array, Array]]:
    """Return a function that reads the rows of the next steps: inputs, targets, and the order of the inputs.

    If the trainer distorts inputs, a thread does this during the previous steps; the stack ends the thread. An error
    of a distortion ends the run before the steps of the same call.
    """
    position, data = trainer.position, fit.data
    if trainer.augment is not None:
        batches = stack.enter_context(contextlib.closing(trainer._batches(fit, ahead)))

        def read_distorted(steps: int) -> tuple[Array, Array, Array]:
            group = list(itertools.islice(batches, steps))
            x, targets = (np.concatenate([getattr(each, name) for each in group]) for name in ("x", "targets"))
            return x, targets, np.arange(len(x))

        return read_distorted

    order = data.order((trainer.seed or 0, trainer.epoch)) if position.shuffled else None
    array, places = _find_rows(data.x)

    def read(steps: int) -> tuple[Array, Array, Array]:
        stop = min(position.row + steps * position.batch_rows, position.rows)
        rows = np.arange(position.row, stop) if order is None else order[position.row : stop]
        if isinstance(array, np.ndarray):
            return array, data.targets[rows], rows if places is None else places[rows]
        # Rows of a few steps: files in order read ahead.
        x = data.x[rows if position.shuffled else slice(rows[0], rows[-1] + 1)]
        return x, data.targets[rows], np.arange(len(rows))

    return read


def _find_rows(x: Any) -> tuple[Any, Array | None]:
    """Return the array in memory that has the rows, and their places in it; None for all rows in order."""
    is_index = isinstance(x, LazyRows) and isinstance(x._table, np.ndarray)
    return (x._table, x._index) if is_index else (x, None)


def _count_steps(trainer: Any, fit: Any, chain: Chain) -> int:
    """Return how many of the next steps can be taken in one call; 0 if one of their parts is not supported here."""
    model, position, optimizer = fit.model, trainer.position, trainer.optimizer
    rows, left = position.batch_rows, position.rows - position.row
    # More rows are computed in blocks, or summed in parts.
    if not 1 < rows <= min(model.rows_at_once, _ROWS) or len(chain.vectors[0]) != len(fit.parameters):
        return 0
    if not (_is_plain(trainer, fit) and _is_scored_here(fit) and _is_read_here(fit.data, model, chain)):
        return 0
    # A single row is multiplied with other calls; a layer that mixes rows gets it with the batch before.
    whole, alone = left // rows, left % rows == 1
    steps = whole - 1 if alone and model.mixes_rows() else whole + (left % rows > 1)
    # A custom rate or callback may read the state after each step.
    watching = [getattr(each, "__self__", each) for each in fit.callbacks.doing("on_batch_end")]
    if not _is_known(optimizer.learning_rate) or not all(type(each) is _ProgressBar for each in watching):
        return min(steps, 1)
    many = _MULTIPLICATIONS // (3 * rows * len(fit.parameters))
    x = fit.data.x
    if trainer.augment is not None:  # the next steps are distorted during these
        many = min(many, position.rows // (_CALLS * rows))
    if trainer.augment is not None or not isinstance(_find_rows(x)[0], np.ndarray):
        many = min(many, _BYTES // (rows * math.prod(x.shape[1:]) * x.dtype.itemsize))
    return min(steps, max(many, 1))


def _is_known(rate: Any) -> bool:
    """Whether a rate is a number, or a schedule that depends only on the step."""
    if not callable(rate):
        return True
    is_schedule = isinstance(rate, Schedule) and type(rate).__module__ == Schedule.__module__
    return is_schedule and all(map(_is_known, vars(rate).values()))


def _is_plain(trainer: Any, fit: Any) -> bool:
    """Whether only L2 penalties and the optimizer, one that is supported here, change gradients or parameters.

    Inputs may be distorted, if the distortion keeps their type.
    """
    if trainer.augment is not None and type(trainer.augment).__call__ is not _Distortion.__call__:
        return False
    optimizer, regularized = trainer.optimizer, [layer for layer, _ in fit.model._regularized]
    changing = [trainer.average, trainer.clip_norm, trainer.clip_value]
    changing += [getattr(layer, "constraint", None) for layer in regularized]
    penalties = [getattr(layer, "regularizer", None) for layer in regularized]
    changing += [each for each in penalties if type(each) is not L2]
    is_plain = type(trainer) is _Trainer and trainer.accumulate == 1 and all(each is None for each in changing)
    fits = all(len(vector) == len(fit.parameters) for vector in optimizer.state.values())
    return is_plain and type(optimizer) in _FORMULAS and fits and not fit.callbacks.doing("on_gradients")


def _formula_of(loss: Any) -> _Loss | None:
    return _LOSSES.get(f"{type(loss).__module__}.{type(loss).__qualname__}")


def _is_scored_here(fit: Any) -> bool:
    loss, metrics = fit.model.loss, [type(metric) for metric in fit.tally.metrics]
    formula = _formula_of(loss)
    if formula is None or metrics not in ([], [formula.metric]):
        return False
    has_metric_here = formula.number != _SIGMOID or fit.model.output_shape == (1,) or not metrics
    return has_metric_here and not getattr(loss, "label_smoothing", 0) and fit.data.weights is None


def _is_read_here(data: Any, model: Any, chain: Chain) -> bool:
    """Whether rows are contiguous numbers or in files, and targets are labels or of the model's type."""
    x, targets, (array, _) = data.x, data.targets, _find_rows(data.x)
    is_labels = targets.ndim == 1 and targets.dtype.kind in "iu"
    is_known = is_labels if type(model.loss) is SoftmaxCrossEntropy else targets.dtype == model.dtype
    is_scaled_twice = sum(type(layer) is Rescale for layer in chain.first) > 1
    is_in_order = array.flags.c_contiguous if isinstance(array, np.ndarray) else x.shards is not None
    return is_known and x.dtype in _KINDS and is_in_order and not is_scaled_twice


def _take(trainer: Any, fit: Any, chain: Chain, x: Array, targets: Array, rows: Array) -> None:
    """Take the steps of ``x[rows]``, and record how far the run is."""
    optimizer, position, dtype = trainer.optimizer, trainer.position, fit.model.dtype
    size = min(position.batch_rows, len(rows))
    x = np.ascontiguousarray(x).view(np.ndarray).reshape(len(x), -1)
    row_bytes = x.view(np.uint8)
    row_bytes.flags.writeable = False  # otherwise the steps would be compiled for both kinds of arrays
    is_classified = type(fit.model.loss) is SoftmaxCrossEntropy
    slots = [*optimizer.prepare_state(fit.parameters), fit.gradients, fit.gradients][:2]  # an unused one may be any
    formula, loss_formula = _FORMULAS[type(optimizer)], _formula_of(fit.model.loss)
    assert loss_formula is not None
    with chain.settings() as settings:
        taken, loss, trainer.batch_loss = _take_all(
            (routines(dtype), loop_of(np.exp, dtype), loop_of(np.log, dtype), loop_of(np.log1p, dtype)),
            (fit.parameters, fit.gradients, *slots),
            (chain.table, *settings),
            np.empty(size * chain.numbers_per_row, dtype),
            np.empty((size, x.shape[1]), dtype),
            row_bytes,
            (_KINDS[x.dtype], *_scaling(chain.first)),
            rows.astype(np.intp, copy=False),
            targets.astype(np.intp) if is_classified else targets.reshape(len(rows), -1),
            size,
            (loss_formula.number, loss_formula.share(chain.table[-1, 2])),
            position.totals,
            trainer.batch_loss,
            (formula.number, *formula.settings(optimizer)),
            _factors(optimizer, formula, -(-len(rows) // size)),
            _decaying(optimizer, fit),
            _penalties(fit.model),
        )
    optimizer.step += taken
    position.row += min(taken * size, len(rows))
    trainer._check_finite(fit, "loss", loss, optimizer.step + 1)
    _subnormal.clear_subnormal(optimizer, fit.trained)


def _decaying(optimizer: Any, fit: Any) -> Array:
    """Return the beginnings and ends of the parts of the parameters that weight decay shrinks."""
    parts = [(part.start, part.stop) for part in fit.decaying if optimizer.weight_decay]
    return np.array(parts, np.intp).reshape(-1, 2)


def _penalties(model: Any) -> tuple[Array, Array]:
    """Return the beginnings and ends of the parameters with an L2 penalty, and the penalties' strengths."""
    penalized = [(layer, each) for layer, each in model._regularized if getattr(layer, "regularizer", None)]
    places = np.array([(each.start, each.stop) for _, each in penalized], np.intp).reshape(-1, 2)
    return places, np.array([layer.regularizer.strength for layer, _ in penalized], np.float64)


def _scaling(layers: Any) -> tuple[bool, float, float]:
    """Return whether rows are scaled, and the factors; other layers before the first dense one change no numbers."""
    scaled = [(True, float(layer.scale), float(layer.offset)) for layer in layers if type(layer) is Rescale]
    return scaled[0] if scaled else (False, 1.0, 0.0)


def _factors(optimizer: Any, formula: _Formula, steps: int) -> Array:
    """Return for each of the next steps the factor of weight decay, and two numbers of the optimizer's formula."""
    first, factors = optimizer.step, []
    try:
        for step in range(first, first + steps):
            optimizer.step = step
            rate = optimizer.rate()
            optimizer.step = step + 1
            factors.append((1 - rate * optimizer.weight_decay, *formula.factors(optimizer, rate)))
    finally:
        optimizer.step = first
    return np.array(factors)


@compiled
def _take_all(
    routines,
    vectors,
    layers,
    kept,
    batch,
    row_bytes,
    reading,
    rows,
    targets,
    size,
    loss_formula,
    totals,
    batch_loss,
    formula,
    factors,
    decaying,
    penalties,
):
    """Return the number of steps before a loss that is not finite, the last loss, and the mean loss of a step."""
    blas, exponential, logarithm, logarithm_of_1_and = routines
    parameters, gradients, first_slot, second_slot = vectors
    numbers_per_row, scores_per_row = kept.size // size, layers[0][-1, 2]
    loss = 0.0
    for step in range(len(factors)):
        start = step * size
        count = min(size, rows.size - start)
        _gather(row_bytes, rows[start : start + count], reading, batch)
        inputs, of_rows, aims = batch[:count], kept[: count * numbers_per_row], targets[start : start + count]
        forward(blas, parameters, *layers, inputs, of_rows)
        scores = of_rows[of_rows.size - count * scores_per_row :].reshape(count, scores_per_row)
        scale = 1 / count
        if targets.ndim == 1:
            dy = np.empty((scores_per_row, count), kept.dtype)
            loss, metric = cross_entropy(exponential, logarithm, scores, aims, scale, dy)
            backward(blas, parameters, gradients, *layers, inputs, of_rows, dy, True)
        else:
            dy, share = np.empty((count, scores_per_row), kept.dtype), loss_formula[1]
            if loss_formula[0] == _SQUARES:
                loss, metric = squared_error(scores, aims, share, scale, dy)
            else:
                loss, metric = sigmoid_cross_entropy(exponential, logarithm_of_1_and, scores, aims, share, scale, dy)
            backward(blas, parameters, gradients, *layers, inputs, of_rows, dy, False)
        penalty = _penalize(blas, parameters, gradients, *penalties)
        if penalty != 0:
            loss += penalty * count
        if not np.isfinite(loss):
            return step, loss, batch_loss
        _shrink(parameters, decaying, factors[step, 0])
        if formula[0] == _SGD:
            sgd_step(parameters, gradients, factors[step, 1])
        elif formula[0] == _MOMENTUM:
            momentum_step(parameters, gradients, first_slot, factors[step, 1], formula[1], formula[2] > 0)
        else:
            least, factor = factors[step, 1], factors[step, 2]
            adam_step(parameters, gradients, first_slot, second_slot, formula[1], formula[2], least, factor)
        totals[0] += count
        totals[1] += loss
        for k in range(2, totals.size):  # `totals[2:] += metric` has an error message, which takes seconds to compile
            totals[k] += metric
        batch_loss = loss / count
    return len(factors), loss, batch_loss


@compiled
def _gather(row_bytes, rows, reading, batch):
    """Read rows into the batch. `reading` is the type of their numbers, whether to scale them, and the two factors."""
    number = batch.dtype.type
    kind, is_scaled, factor, summand = reading[0], reading[1], number(reading[2]), number(reading[3])
    for i in range(rows.size):
        row = row_bytes[rows[i]]
        if kind == _UINT8:
            _convert(row, batch[i])
        elif kind == _FLOAT32:
            _convert(row.view(np.float32), batch[i])
        else:
            _convert(row.view(np.float64), batch[i])
        if is_scaled:
            for j in range(batch.shape[1]):
                batch[i, j] *= factor
            if reading[3] != 0:
                for j in range(batch.shape[1]):
                    batch[i, j] += summand


@compiled
def _convert(numbers, converted):
    number = converted.dtype.type
    for j in range(converted.size):
        converted[j] = number(numbers[j])


@compiled
def _penalize(blas, parameters, gradients, parts, strengths):
    """Add the gradients of the L2 penalties; return the sum of the penalties."""
    number, penalty = parameters.dtype.type, 0.0
    for k in range(len(parts)):
        start, stop = parts[k]
        penalty += strengths[k] * sum_squares(blas, parameters[start:stop])
        factor = number(2 * strengths[k])
        for i in range(start, stop):
            gradients[i] += factor * parameters[i]
    return penalty


@compiled
def _shrink(parameters, parts, factor):
    share = parameters.dtype.type(factor)
    for k in range(len(parts)):
        for i in range(parts[k, 0], parts[k, 1]):
            parameters[i] *= share
