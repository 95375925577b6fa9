"""The trainer: it runs model, optimizer and data together, batch by batch and epoch by epoch."""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools
import math
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from minidl.advice import advise_on_attributes, refuse
from minidl.arrays import Augment, apply_augment, as_augment
from minidl.distributed import Processes, as_communicator, prepare_together
from minidl.errors import ArgumentError, DivergenceError
from minidl.files import write_described
from minidl.metrics.names import as_metrics
from minidl.model import Sequential
from minidl.optimizers import get_optimizer
from minidl.settings import Configurable, as_flag, as_whole_number, instance_of, setting
from minidl.threads import blas_threads, plan_threads
from minidl.training.averages import Average
from minidl.training.callbacks import Callback, CallbackList, as_callbacks
from minidl.training.gradients import Tally, clip, compute_gradients, score_rows
from minidl.training.hints import check_full_batch, warn_of_no_gain, warn_of_rates_of_zero, warn_of_scales
from minidl.training.history import History
from minidl.training.interruption import Step, interrupted_between_steps
from minidl.training.prefetching import prefetch
from minidl.training.progress import ProgressBar
from minidl.training.replica import Replica, may_share
from minidl.training.row_steps import move_rows, rows_beside
from minidl.training.rows import Rows, prepare_rows, prepare_validation, split_rows
from minidl.training.run_file import KIND, VERSION, describe, read_run
from minidl.training.subnormal import clear_subnormal
from minidl.typing import Array

Callbacks = Iterable[Callback | Callable[["Trainer"], None]] | None


@dataclass
class Position:
    """The progress of a run, which a checkpoint writes and reads.

    Attributes
    ----------
    epoch : int
        Number of completed epochs.
    row, rows : int
        Completed rows of the current epoch, and rows of an epoch.
    batch_rows, shuffled
        Settings at the start of the current epoch. Changes by a callback apply from the next epoch.
    layout : list of int
        For `Shards`, `buffer` and the number of rows in each file, because the order of rows depends on them.
    totals : array
        The sums of the current epoch, from which its mean loss and metrics are computed.
    """

    epoch: int = 0
    row: int = 0
    rows: int = 0
    batch_rows: int = 0
    shuffled: bool = False
    layout: list[int] = field(default_factory=list)
    totals: Array = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        for name in ("epoch", "row", "rows", "batch_rows"):
            as_whole_number(getattr(self, name), f"position: {name}", 1 if name == "batch_rows" and self.row else 0)
        self.totals = np.array(self.totals, np.float64)


@dataclass(eq=False)
class Fit:
    """The data of one call of `fit`: prepared rows, callbacks, and views of the model's vectors."""

    model: Sequential
    data: Rows
    validation: Rows | None
    callbacks: CallbackList
    tally: Tally
    processes: Processes
    threads: int = 1
    """Number of threads that compute halves of a batch at the same time."""

    place: object = None
    """The point of `totals` and `lowest` (loss and gradient). A line search continues there if it has not changed."""

    def __post_init__(self) -> None:
        self.totals: Array
        self.lowest: tuple[float, Array]
        self.parameters, self.gradients = self.model.vectors()
        self.layers = self.model.walk()
        self.flags: list[bool] = []
        self.beside: list[Any] = []  # parameters of which rows may wait beside `gradients`

    @functools.cached_property
    def replica(self) -> Replica | None:
        """The replica that computes half of a large batch, if the model's layers allow it."""
        return Replica(self.model, self.threads) if self.processes.size == 1 and may_share(self.model) else None

    def read_trainable(self) -> None:
        """Find the parts of the vectors that a step changes. Layers may be frozen or unfrozen at any time."""
        flags = [layer.own_trainable for layer in self.layers]
        if flags != self.flags:
            self.flags = flags
            self.trained = self.model.parts(lambda layer, _: layer.own_trainable)
            self.decaying = self.model.parts(lambda layer, parameter: layer.own_trainable and parameter.decays)
            self.frozen = [] if all(flags) else self.model.parts(lambda layer, _: not layer.own_trainable)


def as_new_average(value: Any, name: str) -> Average:
    """Return an average that has not followed any parameters yet, because each average serves one model."""
    if instance_of(Average, "an Average, such as ExponentialMovingAverage(0.999)")(value, name).vector is not None:
        raise ArgumentError(f"{name} is {value!r}, which has followed another model: make a new one")
    return value


class Trainer(Configurable):
    """Mini-batch (or full-batch) gradient descent on a model that ends with a loss.

    Parameters
    ----------
    model : Sequential
    optimizer : Optimizer or its name, default "adam"
    batch_size : int or None, default 32
        Rows per step. None, or at least the number of rows, means full-batch gradient descent. You may change it and
        `shuffle` at any time; the next epoch uses the new value.
    shuffle : bool, default True
        Use the rows in a new random order in each epoch. A full batch needs no order.
    seed : int, optional
        Seed of the orders and of `augment`. The order of epoch e depends only on (seed, e): the same seed gives the
        same run.
    metrics : list of names, Metric objects or functions, optional
        Metrics to report besides the loss, as in ``["accuracy", TopKAccuracy(5), my_function]``. The default is the
        loss's own metric. A function gets predictions (or scores, if its first argument is called ``scores``) and
        targets, and returns a number per row.
    clip_norm, clip_value : float > 0, optional
        Limits for the norm of the gradients and for each entry: see `minidl.training.gradients.clip`.
    average : Average, optional
        An average of the parameters, such as ``ExponentialMovingAverage(0.999)``. It replaces the parameters for the
        validation after each epoch, and after `fit`. The next step continues from the parameters themselves.
    augment : callable, optional
        Gets the read-only inputs of each batch and a random generator. Returns inputs of the same shape to train on
        instead, such as images distorted by `minidl.data.augment`. It works in its own thread, ahead of the
        step; meanwhile BLAS has one thread less. The batch that begins with row r of epoch e gets the generator
        ``numpy.random.default_rng((seed, e, r, 1))``. Evaluation uses the original inputs.
    accumulate : int >= 1, default 1
        Number of batches in a step, which follows the gradient of their mean loss. It is like a `batch_size` that many
        times as large, without more memory. Layers that mix rows, such as BatchNorm, see one batch at a time.
    communicator : mpi4py.MPI.Comm, optional
        Communicator of the processes that train this model together, such as ``MPI.COMM_WORLD`` in a program started by
        ``mpiexec -n 4 python -m mpi4py train.py``. All run the same program on the same data. Each computes its part of
        each batch. Only the first process draws the bar and writes files (docs/distributed.md).
    threads : int >= 1, optional
        Number of threads that `fit` uses. The default is as many as BLAS has: two to share a large batch, all in large
        matrix products, and one if the shapes are too small to gain from more (`minidl.threads`).

    Attributes
    ----------
    epoch, step : int
        Number of completed epochs and steps, in all calls of `fit`.
    history : History
        Loss and metrics of all completed epochs, in all calls of `fit`.
    position : Position
        Progress of the run: ``position.row`` of ``position.rows`` rows of the current epoch are completed.
    last_epoch : int
        Number of completed epochs at the end of the current `fit`.
    metric_names : tuple of str
        Names of the metrics of each epoch of the current `fit`: loss, metrics, and both for the validation.
    batch_loss : float
        Mean loss of the last step's batch, or NaN if all its rows have weight 0.
    interrupted : bool
        Whether the last `fit` ended by an error or Ctrl-C, or by `stop` in the middle of an epoch.
    ended_by : type of exception or None
        The class of the error that ended the last `fit`, or KeyboardInterrupt. None if it ended normally or by `stop`.
        It does not include errors of `on_train_end`.
    """

    model: Sequential = setting(kw_only=False, check=instance_of(Sequential, "a Sequential model"))
    optimizer: Any = setting(default="adam", kw_only=False, check=lambda value, _: get_optimizer(value))
    batch_size: int | None = setting(default=32, low=1, whole=True, optional=True)
    shuffle: bool = setting(default=True, check=as_flag)
    seed: int | None = setting(default=None, low=0, whole=True)
    metrics: Any = setting(default=None, check=lambda value, _: as_metrics(value))
    clip_norm: float | None = setting(default=None, above=0)
    clip_value: float | None = setting(default=None, above=0)
    average: Average | None = setting(default=None, check=as_new_average)
    augment: Augment | None = setting(default=None, check=as_augment)
    accumulate: int = setting(default=1, low=1, whole=True, quiet=True)
    communicator: Any = setting(default=None, check=as_communicator)
    threads: int | None = setting(default=None, low=1, whole=True)

    def __post_init__(self) -> None:
        if self.seed is None:
            # Without a seed, one is drawn, so that this run can be continued, too.
            self.seed = Processes(self.communicator).from_first(np.random.SeedSequence().generate_state(1)[0].item())
        self.history, self.position = History(), Position()
        self.last_epoch = 0
        self.metric_names: tuple[str, ...] = ()
        self.batch_loss = math.nan
        self.interrupted = False
        self.ended_by: type[BaseException] | None = None
        self._fit: Fit | None = None
        self._stopping = self._over = False
        self._unproven = True
        self._left_states: list[tuple[str, dict[str, Any]]] = []
        self._whole = Step()

    @property
    def epoch(self) -> int:
        """Number of completed epochs."""
        return self.position.epoch

    @property
    def step(self) -> int:
        """Number of steps that the optimizer has taken."""
        return self.optimizer.step

    @property
    def metric_values(self) -> dict[str, float]:
        """Loss and metrics: means over the current epoch so far. Between epochs, those of the last, with validation.

        They are NaN as long as all rows of the epoch had weight 0.
        """
        if self.position.row and self._fit is not None:
            return self._fit.tally.means(self.position.totals)
        return {name: self.history[name][-1] for name in self.metric_names or self.history if name in self.history}

    @property
    def callback_states(self) -> list[tuple[str, dict[str, Any]]]:
        """Key and state of each callback that has one, in the current `fit` or in one that was interrupted."""
        return self._left_states if self._fit is None else self._fit.callbacks.states()

    def stop(self) -> None:
        """End `fit` after the current step, or immediately between epochs. A later `fit` continues from there."""
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
        callbacks: Callbacks = None,
        progress: bool = True,
        **unknown: NoReturn,
    ) -> History:
        """Train for `epochs` more epochs.

        Another call continues the training, with the optimizer's state, the history and the orders of rows. It first
        finishes an epoch that was interrupted (by Ctrl-C, an error, or `stop`), which counts as one of `epochs`. That
        epoch starts again if the data now have another number of rows, or if `Shards` have another `buffer` or other
        numbers of rows in their files, on which the order of rows depends.

        Parameters
        ----------
        x : array (N, *input_shape), memory map, nested list, or table of pandas, polars or pyarrow
            Integers such as uint8 pixels are converted batch by batch. For data larger than memory, give the `x` and
            `y` of `minidl.data.Shards`.
        y : array, pandas series or list
            Targets as the model's loss takes them, such as integer labels (N,).
        epochs : int, >= 1
            For a run that has begun also 0: then callbacks only begin and end, as for a resumed run that was complete.
        validation_data : (x, y) or (x, y, sample_weight), optional
            Data to evaluate after each epoch, as ``val_loss`` and so on.
        sample_weight : array (N,), >= 0, optional
            Weight of each row in the loss and in the metrics, relative to the mean weight. For a position-wise output
            (N, time, classes), it may have the shape (N, time), such as a mask of the positions that count.
        class_weight : dict of label -> weight, list of a weight per class, or "balanced", optional
            For classifiers: multiplies the weight of each row by the weight of its class. Missing labels have weight 1.
            "balanced" gives all classes the same total weight. As in Keras, it does not apply to `validation_data`.
        callbacks : iterable of Callback, or of functions
            A plain function is called with the trainer at the end of each epoch.
        progress : bool, default True
            Show a tqdm bar.

        Returns
        -------
        History
            ``trainer.history`` with all epochs so far.

        Raises
        ------
        DataError, ShapeError, ArgumentError, ArgumentTypeError
            For wrong data or settings, before anything has changed.
        DivergenceError
            If the loss, the validation loss or a parameter is no longer finite. Training then takes no further step.
        KeyboardInterrupt
            On Ctrl-C; with several processes also on SIGTERM, and in all of them. Model, optimizer and history are as
            after the last complete step. `restore_best` restores the model of the best epoch, also after a
            DivergenceError.
        """
        from minidl.compiled.switching import start

        refuse(unknown, Trainer.fit)
        data = {"validation_data": validation_data, "sample_weight": sample_weight, "class_weight": class_weight}
        fit = prepare_together(self, epochs, lambda: self._prepare(x, y, epochs, callbacks, progress, **data))
        if (self.position.rows, self.position.layout) != (len(fit.data), fit.data.layout):
            self.position = Position(self.epoch, rows=len(fit.data), layout=fit.data.layout)
        if self.position.totals.shape != fit.tally.zeros().shape:
            self.position.totals = fit.tally.zeros()
        self.last_epoch, self._stopping, self._over = self.epoch + epochs, self._over, False
        start()
        with interrupted_between_steps() as self._whole, fit.processes.training(self.model, self._whole):
            warn_of_scales(self.model, fit.data, self.step)
            with contextlib.ExitStack() as endings:
                endings.callback(self.model.forget_saved)
                rows = min(self.batch_size or len(fit.data), len(fit.data))
                apart = fit.processes.size == 1 and rows > self.model.rows_at_once and may_share(self.model)
                fit.threads, worth = plan_threads(self.model, rows, self.threads or fit.processes.threads, apart=apart)
                endings.enter_context(blas_threads(worth, spared=int(self.augment is not None)))
                endings.callback(fit.callbacks.end, self)
                endings.push(self._note_ending)
                endings.enter_context(_quiet())
                fit.callbacks.begin(self)
                fit.callbacks.restore_states(self._left_states)
                self._fit, self._left_states = fit, []
                self._show_average(False)
                while self.epoch < self.last_epoch and not fit.processes.stop(self._stopping, self._whole):
                    self._run_epoch(fit)
            self._unproven = self._unproven and not warn_of_no_gain(self, fit)
        return self.history

    def check(self, x: Any, y: Any, **arguments: Any) -> None:
        """Raise the error that `fit` would raise for these arguments before training.

        This sets the model up, and sets `metric_names` as in such a `fit`. Nothing else changes.

        Parameters and errors are those of `fit`.
        """
        self._prepare(x, y, **arguments)

    def evaluate(
        self, x: Any, y: Any, *, sample_weight: Any = None, class_weight: Any = None, **unknown: NoReturn
    ) -> dict[str, float]:
        """Return the mean loss and the metrics of the current model on other data.

        With several processes, all must call it, because each computes a part. An error in one is an error in all.

        Parameters
        ----------
        x, y, sample_weight, class_weight
            As for `fit`.

        Returns
        -------
        dict of str -> float
            For SoftmaxCrossEntropy: ``{"loss": 0.07, "accuracy": 0.979}``. The loss includes the penalties of
            regularizers.

        Raises
        ------
        DataError, ShapeError, ArgumentError, ArgumentTypeError
            For wrong data, as in `fit`.
        """
        refuse(unknown, Trainer.evaluate)
        with (processes := Processes(self.communicator)).agreeing({}), self.model.unbuilt_after_error():
            data = prepare_rows(self.model, x, y, sample_weight, class_weight)
            tally = Tally(self.model, as_metrics(self.metrics, self.model.loss), data)
        return tally.means(score_rows(self.model, data, tally, self.threads, processes))

    @contextlib.contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Give the model the averaged weights in this context, as after `fit`. Without an `average`, change nothing."""
        before = self.average is not None and self.average.shown_as is not None
        self._show_average(True)
        try:
            yield
        finally:
            self._show_average(before)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the whole run to `path`, an ``.npz`` file, so that after `load` it continues to the same bits.

        The file holds the model with its random generators, the optimizer with its slots, the average, the step and the
        position in the epoch, the history, and the state of callbacks. It does not hold the data or `communicator`.
        Only a complete file replaces an older one. With several processes, only the first one writes.

        Within a step, as in `on_gradients`, the state is not complete. Call this from `on_batch_end`, `on_epoch_end`,
        or outside of `fit`, as the callback `Checkpoint` does.

        For a metric that is a function, the file holds only the name: set `metrics` again after `load`.

        Raises NotReadyError before the model is set up; ArgumentTypeError for a setting that JSON cannot hold, such as
        a learning rate that is a function but not a `Schedule`; OSError if the file cannot be written.
        """
        from minidl.compiled import is_on

        description, arrays = describe(self)
        if Processes(self.communicator).rank == 0:  # "compiled" does not matter: the bits are the same
            write_described(path, KIND, VERSION, description | {"compiled": is_on()}, arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trainer:
        """Read a run that `save` wrote. For a folder of `Checkpoint`, read its newest file.

        To finish a run of 20 epochs: ``trainer.fit(x, y, epochs=20 - trainer.epoch, callbacks=...)``, with the same
        data and the same kinds of callbacks, which get their state back.

        Raises
        ------
        MissingFileError
            If there is no such file, or no checkpoint in the folder.
        FileFormatError
            As for `Sequential.load`.
        """
        return read_run(path, cls)

    def restore_best(self) -> int:
        """Restore the parameters and states of the best epoch, and return its number, counted from 1.

        `EarlyStopping` does this at the end of `fit`, but not after Ctrl-C or an error: then, or after `load`, call
        this. Optimizer, history and position do not change, so another `fit` continues from the best parameters.

        Raises NotReadyError if no `EarlyStopping` keeps a best model.
        """
        from minidl.training.monitoring import restore_best

        return restore_best(self)

    def go_to(self, position: Position, callback_states: list[tuple[str, dict[str, Any]]]) -> None:
        """Continue from a position, with the callback states there. A run that its optimizer has ended is complete."""
        self.position, self._left_states = position, callback_states
        self._over = bool(self.optimizer.ended)

    def _prepare(
        self, x: Any, y: Any, epochs: int = 1, callbacks: Callbacks = None, progress: bool = False, **data: Any
    ) -> Fit:
        """Check and prepare all arguments of `fit`. After an error, the model is as it was before."""
        as_whole_number(epochs, "epochs", 0 if self.epoch or self.position.row else 1)
        if self.step and not self.position.rows:  # this trainer has not begun yet
            raise ArgumentError(f"the optimizer has taken {self.step} steps with another model: make a new one")
        self.optimizer.rate()
        processes = Processes(self.communicator)
        hooks = CallbackList(processes.keep([*as_callbacks(callbacks), *[ProgressBar()] * progress]))
        validation_data = data.pop("validation_data", None)
        with self.model.unbuilt_after_error(), _quiet():
            rows = prepare_rows(self.model, x, y, **data, among=processes)
            validation = prepare_validation(self.model, validation_data, processes)
            tally = Tally(self.model, as_metrics(self.metrics, self.model.loss), rows)
            fit = Fit(self.model, rows, validation, hooks, tally, processes)
            self.metric_names = (*tally.names, *(f"val_{name}" for name in tally.names if validation is not None))
            if self.augment is not None:  # raises its own error for these inputs, or an error about its result
                apply_augment(self.augment, rows.x[:2], np.random.default_rng(0))
            check_full_batch(self, fit)
            for hook in hooks.callbacks:
                hook.check(self)
            warn_of_rates_of_zero(self, rows, epochs)
        return fit

    def _note_ending(self, kind: type[BaseException] | None, *_: object) -> None:
        """Keep the callback states of an interrupted `fit`, for the next `fit` or for `save`."""
        with self._whole:
            self.ended_by, self.interrupted = kind, kind is not None or self.position.row > 0
            self._show_average(True)
            self._left_states = copy.deepcopy(self.callback_states) if self.interrupted else []
            self._fit = None

    def _show_average(self, shown: bool) -> None:
        if self.average is not None:
            with self._whole:  # an interrupt between the two would lose one of them
                self.average.show(self.model.parameters, shown)

    def _run_epoch(self, fit: Fit) -> None:
        position = self.position
        fit.callbacks.call("on_epoch_begin", self)
        if not position.row:
            position.batch_rows = min(self.batch_size or position.rows, position.rows)
            position.shuffled = self.shuffle and position.batch_rows < position.rows
        self._take_steps(fit)
        if position.row == position.rows:
            self._finish_epoch(fit)

    def _take_steps(self, fit: Fit) -> None:
        """Take the remaining steps of the epoch, or the steps until `stop`."""
        take_step = self._search if self.optimizer.full_batch else self._take_step
        with rows_beside(self, fit), contextlib.closing(self._batches(fit)) as batches:
            while group := list(itertools.islice(batches, self.accumulate)):
                if fit.processes.stop(self._stopping, self._whole, within_epoch=True):
                    return
                with self._whole:
                    totals = take_step(fit, group)
                    self.position.totals += totals
                    self.batch_loss = float(totals[1] / totals[0]) if totals[0] else math.nan
                    self.position.row += sum(batch.whole for batch in group)
                    fit.callbacks.call("on_batch_end", self)

    def _batches(self, fit: Fit, ahead: int = 1) -> Generator[Rows, None, None]:
        """Make the remaining batches of the current epoch. Distorted batches are made some steps ahead."""
        seed, epoch, size, data = self.seed or 0, self.epoch, self.position.batch_rows, fit.data
        order = data.order((seed, epoch)) if self.position.shuffled else None

        def batch_at(place: slice) -> Rows:
            rows = fit.processes.rows(place)
            batch = data[rows if order is None else order[rows]]
            batch.first, batch.whole = rows.start - place.start, place.stop - place.start
            if self.augment is not None and len(batch):
                batch.x = apply_augment(self.augment, batch.x[...], np.random.default_rng((seed, epoch, rows.start, 1)))
            return batch

        parts = split_rows(self.position.row, len(data), size, joined=self.model.mixes_rows())
        return prefetch(batch_at, parts, ahead) if self.augment is not None else (batch_at(part) for part in parts)

    def _take_step(self, fit: Fit, batches: list[Rows]) -> Array:
        """Change the parameters along the gradient of batches; return their totals."""
        totals = self._compute_gradients(fit, batches)
        self._check_finite(fit, "loss", totals[1], self.step + 1)
        fit.callbacks.call("on_gradients", self)
        clip(fit.gradients, self.clip_norm, self.clip_value)
        if self.average is not None and self.average.vector is None:
            self.average.vector = fit.parameters.copy()
        self.optimizer.apply(fit.parameters, fit.gradients, move_rows(self.optimizer, fit), fit.decaying)
        clear_subnormal(self.optimizer, fit.trained)
        self.model.constrain()
        if self.average is not None and self.average.vector is not None:
            for part in fit.trained:
                self.average.follow(fit.parameters[part], self.average.vector[part], self.step)
        return totals

    def _search(self, fit: Fit, batches: list[Rows]) -> Array:
        """Take one iteration of an optimizer that evaluates all rows at its own points; return the final totals."""

        def evaluate() -> tuple[float, Array]:
            fit.totals = self._compute_gradients(fit, batches)
            return float(fit.totals[1] / fit.totals[0]), fit.gradients

        def place() -> object:
            return repr(self.model), [layer.own_trainable for layer in fit.layers], fit.parameters.tobytes()

        if fit.place != place():
            states = [(state, state.value.copy()) for state in self.model.named_states().values()]
            fit.lowest = evaluate()
            for state, before in states:  # this is not a step: it must not change running statistics
                state.value = before
            self._check_finite(fit, "loss", fit.lowest[0], self.step + 1)
        # The last evaluation is at the final parameters.
        fit.lowest = self.optimizer.minimize(evaluate, fit.parameters, *fit.lowest, fit.trained)
        fit.place = place()
        if self.optimizer.ended:
            self.stop()
        return fit.totals

    def _compute_gradients(self, fit: Fit, batches: list[Rows]) -> Array:
        """Write the gradient of the batches' mean loss into the model; return their totals over all processes."""
        fit.read_trainable()
        weight = sum(batch.whole for batch in batches) * fit.data.mean_weight
        replica = fit.replica if len(batches[0]) > self.model.rows_at_once else None
        totals = compute_gradients(self.model, fit.processes.announce(self.model, batches), fit.tally, weight, replica)
        totals = fit.processes.add_up_step(fit.gradients, totals, self._stopping, self._whole)
        if penalty := self.model.penalty(add_gradients=True):  # once, not in each process
            totals[1] += penalty * totals[0]
        for part in fit.frozen:
            fit.gradients[part] = 0
        return totals

    def _finish_epoch(self, fit: Fit) -> None:
        self._check_finite(fit, "largest parameter", np.abs(fit.parameters).max(initial=0), self.step)
        values = fit.tally.means(self.position.totals)
        with self.averaged_weights():  # also for callbacks: the metrics belong to these weights
            if fit.validation is not None:
                totals = score_rows(self.model, fit.validation, fit.tally, self.threads, fit.processes)
                values |= {f"val_{name}": value for name, value in fit.tally.means(totals).items()}
                self._check_finite(fit, "validation loss", values["val_loss"], self.step)
            with self._whole:
                self.history.append(values)
                self.position.epoch, self.position.row, self.position.totals = self.epoch + 1, 0, fit.tally.zeros()
                fit.callbacks.call("on_epoch_end", self)

    def _check_finite(self, fit: Fit, what: str, value: float, step: int) -> None:
        if not math.isfinite(value):
            place = f"the {what} is {value} at epoch {self.epoch + 1}, step {step}: the run diverges"
            raise fit.processes.in_all(DivergenceError(f"{place}. Lower the learning rate, or scale the input"))


advise_on_attributes(Trainer)


_quiet = functools.partial(np.errstate, over="ignore", invalid="ignore")
"""Turns off NumPy's warnings: a run that overflows ends with an error that says so."""
