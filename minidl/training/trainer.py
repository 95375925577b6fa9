"""The trainer: brings model, optimizer and data together, batch by batch and epoch by epoch."""

from __future__ import annotations

import contextlib
import copy
import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from minidl.errors import ArgumentError, ArgumentTypeError, DataError, DivergenceError, ShapeError, counted
from minidl.inputs import (
    apply_augment,
    as_array,
    as_weights,
    check_augment,
    check_finite,
    check_flag,
    check_lengths,
    check_validation_data,
    check_whole_number,
)
from minidl.losses import Loss
from minidl.model import Sequential
from minidl.optimizers import Optimizer, get_optimizer
from minidl.schedules import ConstantRate, Schedule
from minidl.training.batches import Rows, Sums
from minidl.training.callbacks import Callback, Moments, ProgressBar, as_callbacks, restore_callbacks
from minidl.training.checkpoint import read_checkpoint, write_checkpoint
from minidl.training.history import History
from minidl.training.interruption import WholeSteps
from minidl.training.preparation import one_core_less, prepare_ahead
from minidl.training.weights import weigh_rows
from minidl.typing import Array

__all__ = ["Trainer"]


class Trainer:
    """Mini-batch (or full-batch) gradient descent on a model that ends with a loss.

    Parameters
    ----------
    model : Sequential
    optimizer : Optimizer or its name, default "adam"
    batch_size : int or None, default 32
        Rows per step. None, or the number of rows or more, is full-batch gradient descent. As `shuffle`, it may be
        changed, from the next epoch on.
    shuffle : bool, default True
        Visit the rows in a new random order each epoch; a full batch needs none.
    seed : int, optional
        Of the orders, and of `augment`. The order of epoch e depends on (seed, e) alone: the same seed gives the same
        run.
    augment : callable, optional
        Gets the inputs of each batch as they are in the data, to read only, and a random generator, and returns what to
        train on instead, of the same shape, such as images distorted by `minidl.data.augment`. It works in a thread of
        its own, one batch ahead of the step; meanwhile BLAS has a thread less. The batch that begins with row r of
        epoch e gets the generator ``numpy.random.default_rng((seed, e, r, 1))``. Evaluation sees the inputs as they
        are.

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
    figure_names : tuple of str
        The figures that each epoch of the present `fit` has: loss, metric, and those of the validation.
    batch_loss : float
        Mean loss of the last step's batch, NaN where all its rows weigh 0; ``figures`` are means over the epoch.
    interrupted : bool
        Whether the last `fit` ended by an error or Ctrl-C, or by `stop` in the midst of an epoch.
    ended_by : type of exception or None
        The class of the error that ended the last `fit`, or KeyboardInterrupt; None where it ended by itself or `stop`.
        Errors of `on_train_end` come after it.
    """

    def __init__(
        self,
        model: Sequential,
        optimizer: Optimizer | str = "adam",
        *,
        batch_size: int | None = 32,
        shuffle: bool = True,
        seed: int | None = None,
        augment: Callable[[Array, np.random.Generator], Array] | None = None,
    ) -> None:
        if not isinstance(model, Sequential):
            raise ArgumentTypeError(f"Trainer trains a Sequential model, not {model!r}")
        self.model = model
        self.optimizer = get_optimizer(optimizer)
        self.batch_size = batch_size
        self.shuffle = shuffle
        # Without a seed one is drawn, so that also such a run can be continued.
        self.seed = np.random.SeedSequence().generate_state(1)[0].item() if seed is None else seed
        self.augment = augment
        self.history = History()
        self.epoch = self.row = self.rows = self.last_epoch = 0
        self.batch_loss = math.nan
        self.interrupted = False
        self.ended_by: type[BaseException] | None = None
        self.figure_names: tuple[str, ...] = ()
        self._sums = Sums()
        self._batch_rows, self._shuffled = 0, False
        self._stopping = False
        self._steps = 0
        self._hooks: list[Callback] = []
        self._left_states: list[tuple[str, dict[str, Any]]] = []
        self._check_settings()

    def __repr__(self) -> str:
        settings = f"{self.optimizer!r}, batch_size={self.batch_size}, shuffle={self.shuffle}, seed={self.seed}"
        if self.augment is not None:
            settings += f", augment={self.augment!r}"
        return f"Trainer({self.model!r}, {settings})"

    @property
    def step(self) -> int:
        """Steps that the optimizer has taken."""
        return self.optimizer.step

    @property
    def figures(self) -> dict[str, float]:
        """Loss and metric: means over the present epoch so far; between epochs, the last one's, with validation.

        They are NaN while all rows of the epoch have weighed 0.
        """
        if self.row:
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
        class_weight: Any = None,
        callbacks: Iterable[Callback | Callable[[Trainer], None]] | None = None,
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
            Of a run that has begun also 0, where callbacks begin and end only: for a resumed run that was over.
        validation_data : (x, y) or (x, y, sample_weight), optional
            Evaluated after each epoch: the figures ``val_loss`` and so on.
        sample_weight : array (N,), >= 0, optional
            Weight of each row in the loss and in the figures, relative to the mean weight.
        class_weight : dict of label -> weight, list of a weight per class, or "balanced", optional
            For classifiers: multiplies the weight of each row by that of its class; labels left out weigh 1.
            "balanced" makes all classes count the same. It is not applied to `validation_data`, as in Keras.
        callbacks : iterable of Callback, or of functions
            A plain function gets the trainer at the end of each epoch.
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
        data, validation, hooks = self._checked(x, y, epochs, validation_data, sample_weight, class_weight, callbacks)
        hooks += [ProgressBar()] if progress else []
        if self.rows != len(data):
            self.rows, self.row, self._sums = len(data), 0, Sums()
        self.last_epoch = self.epoch + epochs
        self._stopping, self.interrupted, self.ended_by = False, True, None  # unless it ends well
        with WholeSteps() as whole_steps, contextlib.ExitStack() as endings:
            endings.callback(self.model.forget_saved)
            if self.augment is not None:
                endings.enter_context(one_core_less())
            begun: list[Callback] = []
            endings.callback(self._end, begun)
            endings.push(self._note_ending)
            for hook in hooks:
                hook.on_train_begin(self)
                begun.append(hook)
            restore_callbacks(hooks, self._left_states)
            self._hooks, self._left_states = hooks, []
            self._show_average(False)
            moments = Moments(hooks)
            run = self._run_iterations if self.optimizer.full_batch else self._run_epoch
            while self.epoch < self.last_epoch and not self._stopping:
                run(data, validation, moments, whole_steps)
        return self.history

    def check(
        self,
        x: Any,
        y: Any,
        *,
        epochs: int = 1,
        validation_data: tuple[Any, Any] | tuple[Any, Any, Any] | None = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        callbacks: Iterable[Callback | Callable[[Trainer], None]] | None = None,
    ) -> None:
        """Raise what `fit` would raise for these arguments before it trains.

        The model is built, and `figure_names` are those of such a `fit`; nothing else changes.

        Parameters and errors are those of `fit`.
        """
        self._checked(x, y, epochs, validation_data, sample_weight, class_weight, callbacks)

    def _checked(
        self,
        x: Any,
        y: Any,
        epochs: int,
        validation_data: Any,
        sample_weight: Any,
        class_weight: Any,
        callbacks: Iterable[Callback | Callable[[Trainer], None]] | None,
    ) -> tuple[Rows, Rows | None, list[Callback]]:
        """Return the data and the callbacks that `fit` goes on with; after an error the model is as it was."""
        check_whole_number(epochs, "epochs", 0 if self.epoch or self.row else 1)
        self._check_settings()
        self.optimizer.rate()
        hooks = sorted(as_callbacks(callbacks), key=lambda hook: hook.runs_last)
        with self.model.unbuilt_after_error():
            data = self._prepare(x, y, sample_weight, class_weight)
            validation = None if validation_data is None else self._prepare_validation(validation_data)
            names = tuple(Sums().means(self._loss))
            self.figure_names = names if validation is None else (*names, *(f"val_{name}" for name in names))
            if self.augment is not None:  # raises what it raises for such inputs, or for not returning the like
                apply_augment(self.augment, data.x[:2], np.random.default_rng(0))
            if self.optimizer.full_batch:
                self._check_full_batch(data, hooks)
            for hook in hooks:
                hook.check(self)
            self._warn_of_rates_of_zero(epochs, len(data))
        return data, validation, hooks

    def _warn_of_rates_of_zero(self, epochs: int, rows: int) -> None:
        """Warn of a schedule that is over long before these epochs are: what comes after would teach nothing."""
        schedule = self.optimizer.learning_rate
        if self.optimizer.full_batch or not isinstance(schedule, Schedule) or isinstance(schedule, ConstantRate):
            return
        steps = epochs * math.ceil(rows / self._rows_per_batch(rows))
        if self.row and self.rows == rows:
            steps -= math.ceil(self.row / self._batch_rows)
        end = self.step + steps
        late = [end - 1 - part * steps // 40 for part in range(3)]  # within the last twentieth
        with contextlib.suppress(OverflowError):  # which the step itself raises, and by name
            if steps > 0 and not any(schedule(step) for step in late):
                warnings.warn(
                    f"{schedule!r} is 0 at step {min(late):,}, and this fit goes on to step {end:,}: nothing is learnt "
                    "there. A schedule counts all steps of a run, also of earlier calls of fit: make it as long as the "
                    "run",
                    stacklevel=4,
                )

    def _end(self, callbacks: list[Callback]) -> None:
        """End each callback, in order, whatever another raises; a bar first, as what others print would run into it."""
        errors: list[BaseException] = []
        for callback in sorted(callbacks, key=lambda each: not isinstance(each, ProgressBar)):
            try:
                callback.on_train_end(self)
            except BaseException as error:  # Ctrl-C, too, waits until all have ended
                errors.append(error)
        if errors:
            raise errors[0]

    def _note_ending(self, kind: type[BaseException] | None, *_: object) -> None:
        """Keep what an interrupted `fit`'s callbacks know, for the `fit` that goes on, or for `save`."""
        self.ended_by, self.interrupted = kind, kind is not None or self.row > 0
        self._steps = self.step
        self._show_average(True)
        self._left_states = copy.deepcopy(self.callback_states) if self.interrupted else []
        self._hooks = []

    @property
    def callback_states(self) -> list[tuple[str, dict[str, Any]]]:
        """Key and state of each callback that has one: of the present `fit`, or of one that was interrupted."""
        if not self._hooks:
            return self._left_states
        return [(hook.key, hook.state()) for hook in self._hooks if type(hook).state is not Callback.state]

    @contextlib.contextmanager
    def averaged_weights(self, step: contextlib.AbstractContextManager[Any] | None = None) -> Iterator[None]:
        """Within, the model has the averaged weights of an optimizer that keeps some, as after `fit`.

        Without such an optimizer nothing changes. Each exchange is made within `step`, which Ctrl-C waits for.
        """
        before, step = self.optimizer.exchanged, step or contextlib.nullcontext()
        with step:
            self._show_average(True)
        try:
            yield
        finally:
            with step:
                self._show_average(before)

    def _show_average(self, shown: bool) -> None:
        begun = self.optimizer.step or self.optimizer.exchanged
        if self.optimizer.keeps_average and begun and self.optimizer.exchanged != shown:
            self.optimizer.exchange(self.model.parameters)

    def place_in_run(self) -> dict[str, Any]:
        """Return the settings and how far the run is, as numbers that a checkpoint holds."""
        return {
            "batch_size": None if self.batch_size is None else int(self.batch_size),
            "shuffle": self.shuffle,
            "seed": int(self.seed),
            "epoch": self.epoch,
            "row": self.row,
            "rows": self.rows,
            "batch_rows": self._batch_rows,
            "shuffled": self._shuffled,
            "sums": [self._sums.weight, self._sums.loss, self._sums.metric],
        }

    def go_to(self, place: Mapping[str, Any], callback_states: list[tuple[str, dict[str, Any]]]) -> None:
        """Continue from the place that `place_in_run` told, with what callbacks knew there."""
        for name in ("epoch", "row", "rows"):
            check_whole_number(place[name], name, 0)
        check_whole_number(place["batch_rows"], "batch_rows", 1 if place["row"] else 0)
        self.epoch, self.row, self.rows = place["epoch"], place["row"], place["rows"]
        self._batch_rows, self._shuffled = place["batch_rows"], bool(place["shuffled"])
        self._steps = self.step
        weight, loss, metric = place["sums"]
        self._sums = Sums(float(weight), float(loss), float(metric))
        self._left_states = callback_states

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all that the run is to `path`, an ``.npz`` file, so that `load` goes on to the same bits.

        That is the model with its random generators, the optimizer with its slots, the step and the place in the
        epoch, the history, and what callbacks know. The data are not in it. An older file is replaced only by a whole
        one.
        Within a step, as in `on_gradients`, there is no such state: call it from `on_batch_end`, `on_epoch_end`, or
        outside of `fit`; the callback `Checkpoint` does. With `LBFGS` the run goes on, but not to the same bits: it
        begins its memory anew in each `fit`.

        Raises NotReadyError before the model is built; ArgumentTypeError for a learning rate that is a function but no
        `Schedule`, or another setting that JSON cannot hold; OSError when the file cannot be written.
        """
        write_checkpoint(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trainer:
        """Read what `save` wrote; of a folder that `Checkpoint` filled, its newest file.

        To finish a run of 20 epochs: ``trainer.fit(x, y, epochs=20 - trainer.epoch, callbacks=...)``, with the same
        data and the same kinds of callbacks, which get back what they knew.

        Raises
        ------
        MissingFileError
            When there is no such file, or no checkpoint in the folder.
        FileFormatError
            As `Sequential.load`.
        """
        return read_checkpoint(path, cls)

    def evaluate(self, x: Any, y: Any, *, sample_weight: Any = None, class_weight: Any = None) -> dict[str, float]:
        """Return the mean loss, and the loss's metric, of the model as it is on other data.

        Parameters and errors are those of `fit`. For SoftmaxCrossEntropy: ``{"loss": 0.07, "accuracy": 0.979}``.
        """
        with self.model.unbuilt_after_error():
            data = self._prepare(x, y, sample_weight, class_weight)
        return self._evaluate(data)

    def _run_epoch(self, data: Rows, validation: Rows | None, moments: Moments, whole_steps: WholeSteps) -> None:
        for hook in moments.on_epoch_begin:
            hook(self)
        if not self.row:
            self._settle_batches()
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.rows) if self._shuffled else None

        def batch_at(row: int) -> Rows:
            rows = slice(row, row + self._batch_rows)
            return self._augmented(data[rows if order is None else order[rows]], row)

        starts = range(self.row, self.rows, self._batch_rows)
        ready = (batch_at(row) for row in starts) if self.augment is None else prepare_ahead(batch_at, starts)
        with contextlib.closing(ready) as batches:
            for batch in batches:
                if self._stopping:
                    return
                with whole_steps.step:
                    self._take_step(batch, moments)
                    for hook in moments.on_batch_end:
                        hook(self)
        self._finish_epoch(validation, moments, whole_steps)

    def _settle_batches(self) -> None:
        """Let an epoch end as it began, also one that is resumed after a callback has changed the settings."""
        self._batch_rows = self._rows_per_batch(self.rows)
        self._shuffled = self.shuffle and self._batch_rows < self.rows

    def _rows_per_batch(self, rows: int) -> int:
        """Return the batch size, of a data set of so many rows, as it is set now."""
        return rows if self.batch_size is None else min(self.batch_size, rows)

    def _augmented(self, batch: Rows, row: int) -> Rows:
        """Return the batch that begins with this row of the epoch as it is trained on."""
        if self.augment is None:
            return batch
        x = apply_augment(self.augment, batch.x, np.random.default_rng((self.seed, self.epoch, row, 1)))
        return Rows(x, batch.targets, batch.weights, batch.mean_weight)

    def _run_iterations(self, data: Rows, validation: Rows | None, moments: Moments, whole_steps: WholeSteps) -> None:
        """Let an optimizer that asks for the loss itself do the epochs that are left, an iteration each."""
        evaluated, begun = Sums(), True

        def objective(parameters: Array) -> tuple[float, Array]:
            nonlocal evaluated, begun
            if not begun:  # an iteration follows, which is not sure until now
                begun = True
                for hook in moments.on_epoch_begin:
                    hook(self)
                if self._stopping:
                    raise _Stopped
            self.model.parameters = parameters
            with _quiet():
                evaluated = self._compute_gradients(data)
            if not math.isfinite(evaluated.loss):
                raise self._diverged(f"loss is {evaluated.loss}", self.step + 1)
            return evaluated.mean_loss, self.model.gradients

        def end_iteration(_: Array) -> bool:
            nonlocal begun
            # The place that a line search accepts is the last one that it looked at.
            with whole_steps.step:
                self._sums, self.row, self.batch_loss = evaluated, self.rows, evaluated.mean_loss
                for hook in moments.on_batch_end:
                    hook(self)
            self._finish_epoch(validation, moments, whole_steps)
            begun = False
            return self._stopping

        self._settle_batches()
        if self.row:  # of an iteration that was interrupted while its epoch was finished
            self._finish_epoch(validation, moments, whole_steps)
        if self.epoch == self.last_epoch:
            return
        for hook in moments.on_epoch_begin:
            hook(self)
        if not self._stopping:
            with contextlib.suppress(_Stopped):
                self.optimizer.minimize(objective, self.model.parameters, self.last_epoch - self.epoch, end_iteration)
        self.stop()  # with fewer iterations where the loss falls no further

    def _check_full_batch(self, data: Rows, hooks: list[Callback]) -> None:
        """Raise ArgumentError for a run in which an optimizer that searches along lines would go astray."""
        kind = type(self.optimizer).__name__
        if self.batch_size is not None and self.batch_size < len(data):
            raise ArgumentError(
                f"{kind} takes all rows at once: make the Trainer with batch_size=None, not {self.batch_size}"
            )
        for hook in hooks:
            if Moments([hook]).on_gradients:
                raise ArgumentError(
                    f"{kind} compares losses along its own gradients, and {hook.key} would change them: leave it out"
                )
        if self.augment is not None:
            raise ArgumentError(f"{kind} compares losses on the same data, and augment changes them: leave it out")
        if self.model.is_constrained:
            raise ArgumentError(f"{kind} moves parameters freely, and the model has some with a constraint")
        if random := list(self.model.named_generators()):
            raise ArgumentError(
                f"{kind} compares losses, and those of a model that draws random numbers differ each time: leave out "
                f"{', '.join(path.removesuffix('/generator') for path in random)}"
            )

    def _finish_epoch(self, validation: Rows | None, moments: Moments, whole_steps: WholeSteps) -> None:
        if not np.isfinite(self.model.parameters).all():
            raise self._diverged("parameters are no longer finite", self.step)
        figures = self._sums.means(self._loss)
        with self.averaged_weights(whole_steps.step):  # for callbacks, too: those that the figures are of
            if validation is not None:
                with _quiet():
                    figures |= {f"val_{name}": figure for name, figure in self._evaluate(validation).items()}
                if not math.isfinite(figures["val_loss"]):
                    raise self._diverged(f"validation loss is {figures['val_loss']}", self.step)
            with whole_steps.step:
                self.history.append(figures)
                self.epoch, self.row, self._sums = self.epoch + 1, 0, Sums()
                for hook in moments.on_epoch_end:
                    hook(self)

    def _take_step(self, batch: Rows, moments: Moments) -> None:
        with _quiet():
            sums = self._compute_gradients(batch)
        if not math.isfinite(sums.loss):
            raise self._diverged(f"loss is {sums.loss}", self.step + 1)
        for hook in moments.on_gradients:
            hook(self)
        with _quiet():
            model = self.model
            self.optimizer.apply(model.parameters, model.gradients, model.decaying, model.constrain)
        self._sums += sums
        self.batch_loss = sums.mean_loss
        self.row += len(batch)

    def _diverged(self, what: str, step: int) -> DivergenceError:
        return DivergenceError(
            f"the {what} at epoch {self.epoch + 1}, step {step}: the run diverges. Lower the learning rate, or scale "
            "the input. No step was taken after that; the parameters may already be too large to go on with"
        )

    def _compute_gradients(self, batch: Rows) -> Sums:
        """Write the gradients of the batch's mean loss into the model; return the batch's figures."""
        # Of the mean weight of all data, so that a row's weight means the same in whatever batch it comes.
        model, total_weight = self.model, len(batch) * batch.mean_weight
        if batch.fits_a_block or any(layer.mixes_batch for layer in model.walk()):
            sums = _forward_backward(model, batch, total_weight)
        else:
            sums, gradients = Sums(), np.zeros_like(model.gradients)
            for block in batch.blocks():
                sums += _forward_backward(model, block, total_weight)
                gradients += model.gradients
            model.gradients[:] = gradients
        sums.loss += model.penalize() * sums.weight
        return sums

    def _evaluate(self, data: Rows) -> dict[str, float]:
        sums, total_weight = Sums(), data.weight
        for block in data.blocks():
            scores = self.model.forward(block.x)
            loss, _ = self._loss.mean(scores, block.targets, block.weights, total_weight)
            sums += Sums.of_batch(self._loss, scores, block, loss * total_weight)
        sums.loss += self.model.penalty() * sums.weight
        return sums.means(self._loss)

    @property
    def _loss(self) -> Loss:
        if self.model.loss is None:
            raise ArgumentError("the model has no loss: end its list of layers with one, such as SoftmaxCrossEntropy()")
        return self.model.loss

    def _check_settings(self) -> None:
        self.optimizer.check()
        if self.step not in {0, self._steps}:
            raise ArgumentError(
                f"the {type(self.optimizer).__name__} has taken {counted(self.step, 'step')} elsewhere, and an "
                "optimizer serves one model: make a new one; a trainer's settings, such as batch_size, can be "
                "changed in place"
            )
        if self.batch_size is not None:
            check_whole_number(self.batch_size, "batch_size", 1)
        check_flag(self.shuffle, "shuffle")
        check_whole_number(self.seed, "seed", 0)
        if self.augment is not None:
            check_augment(self.augment, "Trainer")
            check = getattr(self.augment, "check", None)  # as those of minidl.data.augment have
            if check is not None:
                check()

    def _prepare(self, x: Any, y: Any, sample_weight: Any = None, class_weight: Any = None) -> Rows:
        """Check data wholly; return them as arrays, with the targets as the loss takes them, and the model built."""
        loss = self._loss
        x, targets = as_array(x, "x"), as_array(y, "y")
        weights = None if sample_weight is None else as_weights(sample_weight)
        check_lengths(x=x, y=targets, sample_weight=weights)
        check_finite(x, "x", dtype=self.model.dtype)
        self.model.build_for(x)
        self.model.check_input(x)
        output_shape = self.model.output_shape or ()
        targets = loss.prepare_targets(targets, output_shape, self.model.dtype)
        return Rows(x, targets, weigh_rows(weights, class_weight, loss, targets, output_shape))

    def _prepare_validation(self, validation_data: Any) -> Rows:
        check_validation_data(validation_data, "to train without validation")
        try:
            return self._prepare(*validation_data)
        except (DataError, ShapeError) as error:
            raise type(error)(f"validation_data: {error}") from error


class _Stopped(Exception):  # noqa: N818 - no error: it ends an optimizer's search, which has no other way
    """A callback has stopped the training where an optimizer that asks for losses itself begins an iteration."""


def _quiet() -> np.errstate:
    """Silence NumPy's warnings: a run that overflows ends with an error that says so."""
    return np.errstate(over="ignore", invalid="ignore")


def _forward_backward(model: Sequential, batch: Rows, total_weight: float) -> Sums:
    """Write the gradients of the batch's share in the mean loss over `total_weight`; return the batch's figures."""
    assert model.loss is not None
    scores = model.forward(batch.x, training=True)
    loss, dscores = model.loss.mean(scores, batch.targets, batch.weights, total_weight)
    model.backward(dscores)
    return Sums.of_batch(model.loss, scores, batch, loss * total_weight)
