"""Cross-validation: a new network for each fold, trained on the other folds and evaluated on this one."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.arrays import Augment, as_rows
from minidl.errors import ArgumentError, ArgumentTypeError, counted, naming
from minidl.losses import Loss
from minidl.losses.base import spread_weights
from minidl.metrics import Metric, as_metrics
from minidl.model import Sequential
from minidl.optimizers import Optimizer
from minidl.reprs import brief
from minidl.settings import as_seed, as_whole_number
from minidl.training.averages import Average
from minidl.training.callbacks import Callback, as_callbacks
from minidl.training.folds import Split, as_data_set, classes_of, deal_folds
from minidl.training.hints import no_hints
from minidl.training.history import History
from minidl.training.processes import as_processes, is_wanted, run_tasks
from minidl.training.rows import weigh_rows
from minidl.training.trainer import Trainer
from minidl.typing import Array

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client


def cross_validate(
    build_model: Callable[[int], Sequential],
    x: Any,
    y: Any,
    *,
    epochs: int,
    folds: Any = 5,
    seeds: int | Iterable[int] = 1,
    optimizer: Optimizer | str = "adam",
    batch_size: int | None = 32,
    metrics: Iterable[Metric | str | Callable[[Array, Array], Array]] | None = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    average: Average | None = None,
    augment: Augment | None = None,
    transformer: Any = None,
    sample_weight: Any = None,
    class_weight: Any = None,
    groups: Any = None,
    callbacks: Iterable[Callback] | None = None,
    jobs: int | Client | None = None,
    progress: bool = True,
) -> CrossValidation:
    """Train a new network for each fold and each seed on the other folds, and evaluate it on the held-out rows.

    The run of seed s is ``Trainer(build_model(s), optimizer, batch_size=batch_size, seed=s, ...).fit(...)`` on the
    other folds, with the held-out rows as validation data. Each run computes its matrix products in one thread, so the
    results have the same bits with any number of `jobs`.

    Parameters
    ----------
    build_model : callable
        Takes a seed and returns a model that ends with a loss: ``lambda seed: Sequential([...], seed=seed)``.
        It is called before the training. Every fold of a seed starts with the same parameters.
    x, y : arrays of N rows
        As for `Trainer.fit`. With a `transformer`, `x` is its input, such as a frame with text columns.
    epochs : int >= 1
        Epochs of each run. There is no default: after one epoch, the default of `Trainer.fit`, most networks have
        learned little.
    folds : int >= 2, scikit-learn splitter, or iterable of (training rows, held-out rows), default 5
        A number splits the rows at random, differently for each seed. For a classifier, each class has the same share
        in each fold. Splitters and pairs give each seed the same folds.
    seeds : int >= 1 or iterable of int in [0, 2**32), default 1
        A number n means the seeds 0 .. n - 1.
    optimizer : Optimizer or its name, default "adam"
        Each run has a copy.
    batch_size, metrics, clip_norm, clip_value, average, augment
        As for `Trainer`. Each run has copies.
    sample_weight, class_weight
        As for `Trainer.fit`. Class weights do not apply to the held-out rows.
    transformer : scikit-learn transformer, optional
        Such as StandardScaler(), or a ColumnTransformer that selects the columns of a frame. It gets rows of `x` in the
        same type, such as a frame or a sparse matrix; a list becomes an array. Each run fits a clone only to its
        training rows, by ``fit_transform`` as in a Pipeline, so it learns nothing from the held-out rows. It must
        return finite numbers, dense or sparse. A `random_state` of None becomes the run's seed.
    groups : array (N,), optional
        For splitters such as GroupKFold, which keep the rows of a group together.
    callbacks : iterable of Callback
        Each run has copies. A callback that uses the validation, for example to stop early, makes the scores too good.
    jobs : int >= 1, -1, Dask client or None, default None
        Number of processes that train at the same time. -1 uses all cores, None only this process. The processes wait
        for the next call, and end after some idle minutes. A ``distributed.Client`` uses the workers of its cluster.
        Any number except 1 does so within ``joblib.parallel_config(backend="dask")`` or ``"ray"``; see
        docs/distributed.md.
    progress : bool, default True
        Show a tqdm bar over the runs.

    Returns
    -------
    CrossValidation

    Raises
    ------
    DataError, ShapeError, ArgumentError, ArgumentTypeError
        For wrong data, folds, models or settings, before any training.
    DivergenceError
        If a run diverges. An error in a run names its seed and fold, even if a layer, a distortion or the transformer
        raises it.
    MissingDependencyError
        For `jobs` above 1 with a joblib before 1.3.
    ClusterError
        If the scheduler of a Dask client is gone, or if several workers die one after the other in the same run.
    KeyboardInterrupt
        On Ctrl-C. Then no process is left; workers of a cluster end their runs after the current epoch.
    """
    from threadpoolctl import threadpool_limits

    epochs = as_whole_number(epochs, "epochs", 1)
    seeds, processes, hooks = _as_seeds(seeds), as_processes(jobs), _copied(as_callbacks(callbacks))
    settings: dict[str, Any] = {
        "optimizer": optimizer,
        "batch_size": batch_size,
        "metrics": None if metrics is None else as_metrics(metrics),
        "clip_norm": clip_norm,
        "clip_value": clip_value,
        "average": average,
        "augment": augment,
    }
    whole = as_data_set(x, y, sample_weight, transformer=transformer)
    # Fitted to all rows, only for the checks: each run fits its own.
    inputs = as_rows(Split(whole).transformed(transformer, seeds[0])[0].training.x, "x")
    with threadpool_limits(1, user_api="blas"):  # an orthogonal initializer also multiplies matrices
        trainers = {
            seed: Trainer(model, seed=seed, **settings) for seed, model in _build_models(build_model, seeds).items()
        }
        new = copy.deepcopy(trainers)  # not set up, because a fold may have other features
        for trainer in trainers.values():
            trainer.check(
                inputs,
                whole.y,
                epochs=epochs,
                validation_data=(inputs[:1], whole.y[:1]),
                sample_weight=whole.weights,
                class_weight=class_weight,
                callbacks=hooks,
            )
        model = trainers[seeds[0]].model
        _check_seeds_matter(build_model, {seed: trainer.model for seed, trainer in trainers.items()}, inputs)
        classes = classes_of(model, whole.y)
    dealt = deal_folds(folds, seeds, whole.table, whole.y, classes, groups)
    tasks = [
        _Task(
            new[seed],
            seed,
            number,
            held_out,
            Split(whole.take(train), whole.take(held_out)),
            epochs,
            transformer,
            class_weight,
            hooks,
        )
        for seed in seeds
        for number, (train, held_out) in enumerate(dealt[seed], start=1)
    ]
    for task in tasks:
        task.check_weights(model)
    runs = run_tasks([task.run for task in tasks], processes=processes, name="cross-validation", progress=progress)
    assert model.loss is not None
    return CrossValidation(runs, len(whole.y), model.loss)


@dataclass(frozen=True, eq=False)
class Run:
    """The result of one run of a cross-validation.

    Attributes
    ----------
    seed, fold : int
        The fold is counted from 1.
    held_out : array (M,)
        The indices of the held-out rows.
    history : History
    metric_values : dict of name -> float
        Loss and metrics of the last epoch. The validation metrics are those of the final model.
    scores : array (M, *output_shape)
        The model's scores for the held-out rows.
    """

    seed: int
    fold: int
    held_out: Array
    history: History
    metric_values: dict[str, float]
    scores: Array


class CrossValidation:
    """The runs of a cross-validation: their histories and metrics, and predictions for held-out rows.

    Attributes
    ----------
    runs : list of Run
        The runs in the order of seeds, then folds.
    histories : list of History
        One for each run.
    held_out : list of arrays (M,)
        The indices of the rows that each run held out.
    scores : pandas frame
        A row for each run, indexed by seed and fold, and a column for each metric at the end of the run.
    mean, standard_deviation : dict of name -> float
        Mean and standard deviation of each metric over the runs. It is the sample standard deviation, with (runs - 1)
        in the denominator; NaN for one run.
    predictions : array (N,) or (N, ...)
        Predictions for each row by models that were trained without it, as `Sequential.predict` returns them. With
        several seeds, or if a splitter holds a row out repeatedly, the models predict together as in an `Ensemble`: by
        the mean of their probabilities or, for a regression, of their values. This is often better than a single model,
        which `mean` describes. A row that is never held out has NaN.
    probabilities : array (N, K)
        Probabilities of these models, as `Sequential.predict_proba` returns them; ArgumentError if the loss gives none.
    fold_predictions : list of arrays (M,) or (M, ...)
        For each run, the predictions of only its model for the rows in `held_out`.
    """

    def __init__(self, runs: Sequence[Run], rows: int, loss: Loss) -> None:
        self.runs = list(runs)
        self._rows, self._loss = rows, loss

    @property
    def histories(self) -> list[History]:
        """One for each run."""
        return [run.history for run in self.runs]

    @property
    def held_out(self) -> list[Array]:
        """The indices of the rows that each run held out."""
        return [run.held_out for run in self.runs]

    @property
    def scores(self) -> pd.DataFrame:
        """Loss and metrics at the end of each run, indexed by seed and fold."""
        import pandas as pd

        index = pd.MultiIndex.from_tuples([(run.seed, run.fold) for run in self.runs], names=["seed", "fold"])
        return pd.DataFrame([run.metric_values for run in self.runs], index=index)

    @property
    def mean(self) -> dict[str, float]:
        """The mean of each metric over the runs."""
        return {name: float(np.mean(values)) for name, values in self._values().items()}

    @property
    def standard_deviation(self) -> dict[str, float]:
        """The sample standard deviation of each metric over the runs."""
        several = len(self.runs) > 1
        return {name: float(np.std(values, ddof=1)) if several else math.nan for name, values in self._values().items()}

    @cached_property
    def predictions(self) -> Array:
        """Predictions for each row by models that were trained without it."""
        return self._for_all_rows(self._loss.decide)

    @cached_property
    def probabilities(self) -> Array:
        """Probabilities for each row by models that were trained without it."""
        return self._for_all_rows(self._loss.activate)

    @property
    def fold_predictions(self) -> list[Array]:
        """The predictions of only each run's model for the rows that it held out."""
        return [self._loss.decide(run.scores) for run in self.runs]

    def summary(self) -> None:
        """Print loss and metrics of each run, with their means and standard deviations."""
        rows = [["seed", "fold", "rows", *self.runs[0].metric_values]]
        for run in self.runs:
            values = map(_text, run.metric_values.values())
            rows.append([str(run.seed), str(run.fold), f"{len(run.held_out):,}", *values])
        rows.append(["mean", "", "", *map(_text, self.mean.values())])
        rows.append(["deviation", "", "", *map(_text, self.standard_deviation.values())])
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for first, *others in rows:
            print("  ".join([f"{first:<{widths[0]}}", *map(str.rjust, others, widths[1:])]))

    def __repr__(self) -> str:
        mean, deviation = self.mean, self.standard_deviation
        values = [f"{name}={mean[name]:.4g} ± {deviation[name]:.2g}" for name in mean if name.startswith("val_")]
        return f"CrossValidation({counted(len(self.runs), 'run')}, {', '.join(values)})"

    def _values(self) -> dict[str, list[float]]:
        return {name: [run.metric_values[name] for run in self.runs] for name in self.runs[0].metric_values}

    def _for_all_rows(self, decide: Callable[[Array], Array]) -> Array:
        """Turn the scores of each row into predictions. A row without scores gets NaN."""
        rows, scores = self._scores
        decided = decide(scores)
        if len(rows) == self._rows:
            return decided
        everywhere = np.full((self._rows, *decided.shape[1:]), math.nan, np.result_type(decided, np.float32))
        everywhere[rows] = decided
        return everywhere

    @cached_property
    def _scores(self) -> tuple[Array, Array]:
        """Return each held-out row once, and its scores. The loss averages the scores of several models."""
        held_out = np.concatenate(self.held_out)
        order = np.argsort(held_out, kind="stable")  # by row, then by run
        rows, first, counts = np.unique(held_out[order], return_index=True, return_counts=True)
        each = np.concatenate([run.scores for run in self.runs])[order]
        scores = each[first]  # scores of a single model keep their bits
        for count in np.unique(counts[counts > 1]):
            several = counts == count
            scores[several] = self._loss.average(each[first[several] + np.arange(count)[:, np.newaxis]])
        return rows, scores


@dataclass(frozen=True, eq=False)
class _Task:
    """A planned run: a trainer that has not begun. The run uses a copy of it."""

    trainer: Trainer
    seed: int
    number: int
    held_out: Array
    split: Split
    epochs: int
    transformer: Any
    class_weight: Any
    hooks: list[Callback]

    @property
    def place(self) -> str:
        return f"seed {self.seed}, fold {self.number}"

    def check_weights(self, model: Sequential) -> None:
        """Raise DataError if all training rows, or all held-out rows, of a run have weight 0. The model is set up."""
        loss, shape = model.loss, model.output_shape or ()
        assert loss is not None
        parts = (("trains on", self.split.training, self.class_weight), ("holds out", self.split.held_out, None))
        for what, data, class_weight in parts:
            if data is not None and (data.weights is not None or class_weight is not None):
                targets = loss.prepare_targets(data.y, shape, model.dtype)
                with naming(f"{self.place}, of the rows that it {what}"):
                    weights = spread_weights(data.weights, loss.positions(shape))
                    weigh_rows(weights, class_weight, loss, targets, shape)

    def run(self) -> Run:
        from threadpoolctl import threadpool_limits

        trainer, hooks = copy.deepcopy((self.trainer, self.hooks))
        with threadpool_limits(1, user_api="blas"), naming(self.place), no_hints():
            data = self.split.transformed(self.transformer, self.seed)[0].arguments()
            history = trainer.fit(
                **data,
                epochs=self.epochs,
                class_weight=self.class_weight,
                callbacks=[*hooks, _Leaver()],
                progress=False,
            )
            # Not those of the last epoch: a callback may have restored better parameters since.
            x, y, weights = data["validation_data"]
            last = trainer.evaluate(x, y, sample_weight=weights)
            scores = trainer.model.predict_scores(x)
        values = {name: column[-1] for name, column in history.items()}
        values |= {f"val_{name}": value for name, value in last.items()}
        return Run(self.seed, self.number, self.held_out, history, values, scores)


class _Leaver(Callback):
    """Ends a run after its epoch if no caller waits for it any more."""

    def on_epoch_end(self, trainer: Trainer) -> None:
        if not is_wanted():
            raise RuntimeError("the call that this run belonged to is over")


def _build_models(build_model: Callable[[int], Sequential], seeds: Sequence[int]) -> dict[int, Sequential]:
    """Make a new model for each seed."""
    cure = "give a function that makes a new one: lambda seed: Sequential([...], seed=seed)"
    if isinstance(build_model, Sequential) or not callable(build_model):
        raise ArgumentTypeError(f"build_model is {brief(build_model)}; {cure}")
    try:
        inspect.signature(build_model).bind(0)
    except TypeError as error:
        raise ArgumentTypeError(f"build_model must take one argument, the seed: {error}; {cure}") from error
    models: dict[int, Sequential] = {}
    for seed in seeds:
        model = build_model(seed)
        if not isinstance(model, Sequential):
            raise ArgumentTypeError(f"build_model({seed}) returned {brief(model)}, not a Sequential; {cure}")
        if any(model is other for other in models.values()):
            raise ArgumentError(f"build_model({seed}) returned the same model as for another seed; {cure}")
        models[seed] = model
    return models


def _check_seeds_matter(build_model: Callable[[int], Sequential], models: dict[int, Sequential], x: Array) -> None:
    """Raise ArgumentError unless the function's model depends on the seed, and only on the seed."""
    (seed, model), *others = models.items()
    again = build_model(seed)
    if again is model:
        raise ArgumentError(
            f"build_model({seed}) returned the same model twice; make a new one at each call: "
            "lambda seed: Sequential([...], seed=seed)"
        )
    again.set_up_for(x)
    if not np.array_equal(again.parameters, model.parameters):
        raise ArgumentError(
            f"build_model({seed}) gives different first parameters in each call: pass the seed on, "
            "Sequential([...], seed=seed)"
        )
    for other, second in others:
        # Parameters may be equal for another reason, such as an initializer of zeros. Then the models' seeds differ.
        if model.seed == second.seed is not None and np.array_equal(model.parameters, second.parameters):
            raise ArgumentError(
                f"build_model gives the same first parameters for the seeds {seed} and {other}: pass the seed on, "
                "Sequential([...], seed=seed)"
            )


def _copied(hooks: list[Callback]) -> list[Callback]:
    if writers := [type(hook).__name__ for hook in hooks if hook.writes_files]:
        raise ArgumentError(
            f"callbacks: every run would write what {', '.join(writers)} writes to the same place; the metrics of all "
            "runs are in the result's histories"
        )
    try:
        return copy.deepcopy(hooks)
    except (TypeError, copy.Error) as error:
        raise ArgumentTypeError(f"callbacks: each run needs its own copy, but {brief(hooks)}: {error}") from error


def _as_seeds(seeds: int | Iterable[int]) -> list[int]:
    if isinstance(seeds, str) or not isinstance(seeds, Iterable):
        return list(range(as_whole_number(seeds, "seeds", 1)))
    listed = [as_seed(seed, "a seed") for seed in seeds]
    if not listed or len(set(listed)) < len(listed):
        raise ArgumentError(f"seeds is {listed}; give one or more, each once")
    return listed


def _text(value: float) -> str:
    return f"{value:.4f}" if not abs(value) >= 1000 else f"{value:,.0f}"
