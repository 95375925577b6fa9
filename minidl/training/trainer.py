"""The trainer: brings model, optimizer and data together, batch by batch and epoch by epoch."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from minidl.errors import ArgumentError, ArgumentTypeError, DataError, DivergenceError, ShapeError
from minidl.inputs import as_array, as_weights, check_finite, check_lengths, check_whole_number
from minidl.losses import Loss
from minidl.model import Sequential
from minidl.optimizers import Optimizer, get_optimizer
from minidl.training.callbacks import Callback, ProgressBar
from minidl.training.history import History
from minidl.training.interruption import WholeSteps
from minidl.typing import Array

__all__ = ["Trainer"]

_ROWS_AT_ONCE = 1024
"""A larger batch is computed in blocks of so many rows, whose gradients add up to its own: they stay in the cache."""


class Trainer:
    """Mini-batch (or full-batch) gradient descent on a model that ends with a loss.

    Parameters
    ----------
    model : Sequential
    optimizer : Optimizer or its name, default "adam"
    batch_size : int or None, default 32
        Rows per step. None, or the number of rows or more, is full-batch gradient descent.
    shuffle : bool, default True
        Visit the rows in a new random order each epoch; a full batch needs none.
    seed : int, optional
        Of the orders. That of epoch e depends on (seed, e) alone, so the same seed gives the same run.

    Attributes
    ----------
    epoch, step : int
        Epochs and steps done, in all calls of `fit`.
    history : History
        Figures of all epochs done, in all calls of `fit`.
    row, rows : int
        Rows of the present epoch done, and rows of an epoch.
    last_epoch : int
        The number of epochs done when the present `fit` ends.
    """

    def __init__(
        self,
        model: Sequential,
        optimizer: Optimizer | str = "adam",
        *,
        batch_size: int | None = 32,
        shuffle: bool = True,
        seed: int | None = None,
    ) -> None:
        if not isinstance(model, Sequential):
            raise ArgumentTypeError(f"Trainer trains a Sequential model, not {model!r}")
        self.model = model
        self.optimizer = get_optimizer(optimizer)
        self.batch_size = batch_size
        self.shuffle = shuffle
        # Without a seed one is drawn, so that also such a run can be continued.
        self.seed = np.random.SeedSequence().generate_state(1)[0].item() if seed is None else seed
        self.history = History()
        self.epoch = self.row = self.rows = self.last_epoch = 0
        self._sums = _Sums()
        self._stopping = False

    def __repr__(self) -> str:
        settings = f"{self.optimizer!r}, batch_size={self.batch_size}, shuffle={self.shuffle}, seed={self.seed}"
        return f"Trainer({self.model!r}, {settings})"

    @property
    def step(self) -> int:
        """Steps that the optimizer has taken."""
        return self.optimizer.step

    @property
    def figures(self) -> dict[str, float]:
        """Loss and metric: means over the present epoch so far; between epochs, the last one's, with validation."""
        if self._sums.weight:
            return self._sums.means(self._loss)
        return {name: column[-1] for name, column in self.history.items()}

    def stop(self) -> None:
        """End `fit` after the present step, or now between epochs; a later `fit` goes on from there."""
        self._stopping = True

    def fit(
        self,
        x: Any,
        y: Any,
        *,
        epochs: int = 1,
        validation_data: tuple[Any, Any] | tuple[Any, Any, Any] | None = None,
        sample_weight: Any = None,
        callbacks: Iterable[Callback] | None = None,
        progress: bool = True,
    ) -> History:
        """Train for `epochs` more epochs.

        Called again, it continues: the optimizer's state, the history and the orders of rows go on. An epoch that was
        interrupted (by Ctrl-C, an error, or `stop`) is finished first, and counts as one of `epochs`; it starts
        anew when the data now has another number of rows.

        Parameters
        ----------
        x : array (N, *input_shape), memory map, pandas frame or nested list
            Integers such as uint8 pixels stay as they are, and are converted batch by batch.
        y : array, pandas series or list
            Targets as the model's loss takes them, such as integer labels (N,).
        epochs : int, >= 1
        validation_data : (x, y) or (x, y, sample_weight), optional
            Evaluated after each epoch: the figures ``val_loss`` and so on.
        sample_weight : array (N,), >= 0, optional
            Weight of each row in the loss and in the figures, relative to the mean weight.
        callbacks : iterable of Callback
        progress : bool, default True
            Show a tqdm bar.

        Returns
        -------
        History
            ``trainer.history``, of all epochs so far.

        Raises
        ------
        DataError, ShapeError, ArgumentError, ArgumentTypeError
            For data or settings that cannot work; before anything has changed.
        DivergenceError
            When the loss, that of the validation, or a parameter is no longer finite. No further step is taken.
        KeyboardInterrupt
            On Ctrl-C; model, optimizer and history are those of the last whole step.
        """
        check_whole_number(epochs, "epochs", 1)
        self._check_settings()
        data = self._prepare(x, y, sample_weight)
        validation = None if validation_data is None else self._prepare_validation(validation_data, data.x)
        hooks = _as_hooks(callbacks) + ([ProgressBar()] if progress else [])

        self.model.build_for(data.x)
        if self.rows != len(data):
            self.rows, self.row, self._sums = len(data), 0, _Sums()
        self.last_epoch = self.epoch + epochs
        self._stopping = False
        with WholeSteps() as whole_steps, contextlib.ExitStack() as endings:
            endings.callback(self.model.forget_saved)
            for hook in hooks:
                hook.on_train_begin(self)
                endings.callback(hook.on_train_end, self)
            moments = _Moments(hooks)
            while self.epoch < self.last_epoch and not self._stopping:
                self._run_epoch(data, validation, moments, whole_steps)
        return self.history

    def evaluate(self, x: Any, y: Any, *, sample_weight: Any = None) -> dict[str, float]:
        """Return the mean loss, and the loss's metric, of the model as it is on other data.

        Parameters and errors are those of `fit`. For SoftmaxCrossEntropy: ``{"loss": 0.07, "accuracy": 0.979}``.
        """
        data = self._prepare(x, y, sample_weight)
        self.model.build_for(data.x)
        return self._evaluate(data)

    def _run_epoch(self, data: _Data, validation: _Data | None, moments: _Moments, whole_steps: WholeSteps) -> None:
        for hook in moments.on_epoch_begin:
            hook(self)
        batch_size = self.rows if self.batch_size is None else min(self.batch_size, self.rows)
        order = None
        if self.shuffle and batch_size < self.rows:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(self.rows)
        while self.row < self.rows:
            if self._stopping:
                return
            rows = slice(self.row, self.row + batch_size)
            with whole_steps.step:
                self._take_step(data[rows if order is None else order[rows]], moments)
                for hook in moments.on_batch_end:
                    hook(self)
        if not np.isfinite(self.model.parameters).all():
            raise self._diverged("parameters are no longer finite", self.step)
        figures = self._sums.means(self._loss)
        if validation is not None:
            with _quiet():
                figures |= {f"val_{name}": figure for name, figure in self._evaluate(validation).items()}
            if not math.isfinite(figures["val_loss"]):
                raise self._diverged(f"validation loss is {figures['val_loss']}", self.step)
        with whole_steps.step:
            self.history.append(figures)
            self.epoch, self.row, self._sums = self.epoch + 1, 0, _Sums()
            for hook in moments.on_epoch_end:
                hook(self)

    def _take_step(self, batch: _Data, moments: _Moments) -> None:
        with _quiet():
            sums = self._compute_gradients(batch)
        if not math.isfinite(sums.loss):
            raise self._diverged(f"loss is {sums.loss}", self.step + 1)
        for hook in moments.on_gradients:
            hook(self)
        with _quiet():
            self.optimizer.apply(self.model.parameters, self.model.gradients)
        self._sums += sums
        self.row += len(batch)

    def _diverged(self, what: str, step: int) -> DivergenceError:
        return DivergenceError(
            f"the {what} at epoch {self.epoch + 1}, step {step}: the run diverges. Lower the learning rate, or scale "
            "the input. No step was taken after that; the parameters may already be too large to go on with"
        )

    def _compute_gradients(self, batch: _Data) -> _Sums:
        """Write the gradients of the batch's mean loss into the model; return the batch's figures."""
        # Of the mean weight of all data, so that a row's weight means the same in whatever batch it comes.
        model, total_weight = self.model, len(batch) * batch.mean_weight
        if len(batch) <= _ROWS_AT_ONCE or any(layer.mixes_batch for layer in model.walk()):
            return _forward_backward(model, batch, total_weight)
        sums, gradients = _Sums(), np.zeros_like(model.gradients)
        for block in batch.blocks():
            sums += _forward_backward(model, block, total_weight)
            gradients += model.gradients
        model.gradients[:] = gradients
        return sums

    def _evaluate(self, data: _Data) -> dict[str, float]:
        sums, total_weight = _Sums(), data.weight
        for block in data.blocks():
            scores = self.model.forward(block.x)
            loss, _ = self._loss.mean(scores, block.targets, block.weights, total_weight)
            sums += _Sums.of_batch(self._loss, scores, block, loss * total_weight)
        return sums.means(self._loss)

    @property
    def _loss(self) -> Loss:
        if self.model.loss is None:
            raise ArgumentError("the model has no loss: end its list of layers with one, such as SoftmaxCrossEntropy()")
        return self.model.loss

    def _check_settings(self) -> None:
        self.optimizer.check()
        self.optimizer.rate()
        if self.batch_size is not None:
            check_whole_number(self.batch_size, "batch_size", 1)
        check_whole_number(self.seed, "seed", 0)

    def _prepare(self, x: Any, y: Any, sample_weight: Any = None) -> _Data:
        """Check data wholly, changing nothing; return them as arrays, with the targets as the loss takes them."""
        loss = self._loss
        x, targets = as_array(x, "x"), as_array(y, "y")
        weights = None if sample_weight is None else as_weights(sample_weight)
        check_lengths(x=x, y=targets, sample_weight=weights)
        check_finite(x, "x", dtype=self.model.dtype)
        if weights is not None and not weights.any():
            raise DataError("sample_weight is 0 everywhere: there is nothing to train on")
        model = self.model
        if model.input_shape is None:
            # A trial on a copy: targets are checked against the output's shape before the model itself is built.
            model = copy.deepcopy(model)
            model.build_for(x)
        model.check_input(x)
        return _Data(x, loss.prepare_targets(targets, model.output_shape or (), model.dtype), weights)

    def _prepare_validation(self, validation_data: Any, x: Array) -> _Data:
        if not isinstance(validation_data, tuple | list) or not 2 <= len(validation_data) <= 3:
            raise ArgumentTypeError("validation_data must be (x, y) or (x, y, sample_weight)")
        try:
            data = self._prepare(*validation_data)
        except (DataError, ShapeError) as error:
            raise type(error)(f"validation_data: {error}") from error
        if data.x.shape[1:] != x.shape[1:]:
            raise ShapeError(f"validation_data: x has shape {data.x.shape[1:]} per sample, for training {x.shape[1:]}")
        return data


class _Data:
    """Rows of input, targets and weights that belong together: a data set, a batch, or a block of one."""

    def __init__(self, x: Array, targets: Array, weights: Array | None, mean_weight: float | None = None) -> None:
        self.x, self.targets, self.weights = x, targets, weights
        self.mean_weight = self.weight / len(x) if mean_weight is None else mean_weight
        """Of the whole data set, also in a part of it."""

    def __len__(self) -> int:
        return len(self.x)

    @property
    def weight(self) -> float:
        return len(self.x) if self.weights is None else float(self.weights.sum())

    def __getitem__(self, rows: slice | Array) -> _Data:
        weights = None if self.weights is None else _part(self.weights, rows)
        return _Data(_part(self.x, rows), _part(self.targets, rows), weights, self.mean_weight)

    def blocks(self) -> Iterator[_Data]:
        for start in range(0, len(self), _ROWS_AT_ONCE):
            yield self[start : start + _ROWS_AT_ONCE]


def _part(array: Array, rows: slice | Array) -> Array:
    """Return these rows; for an index, take is quicker than ``array[rows]``."""
    return array[rows] if isinstance(rows, slice) else array.take(rows, axis=0)


class _Sums:
    """Weighted sums of figures over rows, whose means an epoch reports."""

    def __init__(self, weight: float = 0.0, loss: float = 0.0, metric: float = 0.0) -> None:
        self.weight, self.loss, self.metric = weight, loss, metric

    @classmethod
    def of_batch(cls, loss: Loss, scores: Array, batch: _Data, summed_loss: float) -> _Sums:
        if not loss.metric_name:
            return cls(batch.weight, summed_loss)
        metric = loss.metric(scores, batch.targets)
        return cls(
            batch.weight,
            summed_loss,
            float(metric.sum() if batch.weights is None else metric @ batch.weights),
        )

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(self.weight + other.weight, self.loss + other.loss, self.metric + other.metric)

    def means(self, loss: Loss) -> dict[str, float]:
        weight = self.weight or 1.0  # no row so far that counts
        figures = {"loss": self.loss / weight}
        return figures | {loss.metric_name: self.metric / weight} if loss.metric_name else figures


def _quiet() -> np.errstate:
    """Silence NumPy's warnings: a run that overflows ends with an error that says so."""
    return np.errstate(over="ignore", invalid="ignore")


def _as_hooks(callbacks: Iterable[Callback] | None) -> list[Callback]:
    if callbacks is not None and not isinstance(callbacks, Iterable):
        raise ArgumentTypeError(f"callbacks is {callbacks!r}; give a list of callbacks")
    hooks = [] if callbacks is None else [*callbacks]
    for hook in hooks:
        if not isinstance(hook, Callback):
            raise ArgumentTypeError(f"callbacks holds {hook!r}, which is no Callback")
    return hooks


class _Moments:
    """What callbacks do during the epochs: at each moment, the methods of those that override it and of no others."""

    def __init__(self, callbacks: list[Callback]) -> None:
        self.on_epoch_begin = self._of(callbacks, "on_epoch_begin")
        self.on_gradients = self._of(callbacks, "on_gradients")
        self.on_batch_end = self._of(callbacks, "on_batch_end")
        self.on_epoch_end = self._of(callbacks, "on_epoch_end")

    @staticmethod
    def _of(callbacks: list[Callback], moment: str) -> list[Callable[[Trainer], None]]:
        methods = [getattr(callback, moment) for callback in callbacks]
        empty = getattr(Callback, moment)
        return [method for method in methods if getattr(method, "__func__", None) is not empty]


def _forward_backward(model: Sequential, batch: _Data, total_weight: float) -> _Sums:
    """Write the gradients of the batch's share in the mean loss over `total_weight`; return the batch's figures."""
    assert model.loss is not None
    scores = model.forward(batch.x, training=True)
    loss, dscores = model.loss.mean(scores, batch.targets, batch.weights, total_weight)
    model.backward(dscores)
    return _Sums.of_batch(model.loss, scores, batch, loss * total_weight)
