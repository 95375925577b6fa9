"""The search for parameters: many candidates, each trained in a separate run, promising ones for longer."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.arrays import Augment
from minidl.errors import ArgumentError, DivergenceError, counted, naming
from minidl.files import as_path
from minidl.metrics import Metric, as_metrics
from minidl.model import Sequential
from minidl.optimizers import Optimizer, get_optimizer
from minidl.settings import as_seed, as_text, as_whole_number
from minidl.training.averages import Average
from minidl.training.callbacks import Callback
from minidl.training.folds import DataSet, Split, as_data_set, classes_of, deal_folds, hold_out
from minidl.training.hints import no_hints
from minidl.training.history import History
from minidl.training.journal import FoldRun, Journal, Progress, described, fingerprint, fingerprint_of_trainer
from minidl.training.monitored_metric import MonitoredMetric, as_mode
from minidl.training.parameter_space import Candidate, Recipe, list_candidates, text_of
from minidl.training.processes import as_processes, is_wanted, run_tasks
from minidl.training.rows import check_validation_data
from minidl.training.trainer import Trainer
from minidl.typing import Array

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from distributed import Client

    from minidl.training.cluster import BackendCluster, DaskCluster


ALL_ROWS = "all rows"
"""The run of the best candidate on all rows, after the runs on the folds."""


def search(
    build_model: Callable[..., Sequential | Trainer],
    space: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    x: Any,
    y: Any,
    *,
    epochs: int,
    candidates: int | None = None,
    validation_data: tuple[Any, Any] | tuple[Any, Any, Any] | None = None,
    validation: float | int | None = None,
    folds: Any = None,
    groups: Any = None,
    transformer: Any = None,
    optimizer: Optimizer | str = "adam",
    batch_size: int | None = 32,
    metrics: Iterable[Metric | str | Callable[[Array, Array], Array]] | None = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    average: Average | None = None,
    augment: Augment | None = None,
    halving: int | None = None,
    first_epochs: int = 1,
    monitor: str = "val_loss",
    mode: str = "auto",
    sample_weight: Any = None,
    class_weight: Any = None,
    seed: int = 0,
    journal: str | os.PathLike[str] | None = None,
    jobs: int | Client | None = None,
    progress: bool = True,
) -> Search:
    """Train a network for each candidate (a choice of parameters), and rank the candidates by the held-out rows.

    With `folds`, a candidate is trained once for each fold, and ranked by the mean over the folds.

    With `halving` (successive halving), all candidates start with few epochs, and only the best ones continue. A
    network that continues has the same bits as without the stop. Each run computes its matrix products in one thread,
    so the results have the same bits with any number of `jobs`.

    Parameters
    ----------
    build_model : callable
        Takes the parameters by name and returns a `Sequential` that ends with a loss, or a `Trainer` that has not
        begun. With a `Trainer`, the space can hold learning rates, schedules, optimizers, batch sizes and distortions.
        A parameter `seed` without values in the space gets the search's seed. The function must make the same each time
        it gets the same parameters. Learning rates are numbers or a `Schedule`, and `augment` is a `Distortion` of
        `minidl.data.augment`, as for `Trainer.save`; metrics may be functions.
    space : dict of name -> values, or list of such dicts
        Values are a list, or a distribution as in scipy.stats: anything with ``rvs(random_state=...)``. Several dicts
        are separate spaces, as in scikit-learn's ParameterGrid.
    x, y : arrays of N rows
        As for `Trainer.fit`. With a `transformer`, `x` is its input, such as a frame with text columns.
    epochs : int >= 1
        Epochs of each candidate; with `halving`, of the candidates that remain. There is no default: after one epoch,
        the default of `Trainer.fit`, candidates that learn fast at first would look best.
    candidates : int >= 1, optional
        Number of candidates to draw at random, without repetition from lists. None tries all combinations.
    validation_data : (x, y) or (x, y, sample_weight), optional
        The rows on which the candidates are evaluated.
    validation : float in (0, 1) or int in [1, N), optional
        The fraction or the number of rows to hold out. They are drawn at random, for a classifier with the same share
        of each class, and are the same for all candidates. The default is 0.2 without `validation_data` and `folds`.
        Each run copies its rows, so a memory map that is larger than the memory needs `validation_data`.
    folds : int >= 2, scikit-learn splitter, or iterable of (training rows, held-out rows), optional
        Each candidate is trained once for each fold, with the rows of the fold held out. It is ranked by the mean of
        the monitored metric over the folds. This depends less on the luck of one split, but takes as many times as
        long. The folds are split as in `cross_validate`, and are the same for all candidates. At the end, the best
        candidate is trained on all rows.
    groups : array (N,), optional
        For splitters such as GroupKFold, which keep the rows of a group together.
    transformer : scikit-learn transformer, optional
        Such as StandardScaler(), or a ColumnTransformer that selects the columns of a frame; as for `cross_validate`. A
        clone is fitted only to the training rows of each fold, before any training. The transformed training and
        held-out rows stay in memory for all candidates. A `random_state` of None becomes the search's seed.
    optimizer, batch_size, metrics, clip_norm, clip_value, average, augment
        As for `Trainer`, if `build_model` returns a `Sequential`. Each run has copies. A `Trainer` has its own.
    halving : int >= 2, optional
        After each rung, ``max(n // halving, 1)`` of n candidates continue. The rungs end at ``epochs``,
        ``epochs // halving``, ``epochs // halving**2`` and so on, as long as this is at least `first_epochs` and each
        cut leaves a candidate. Raises ArgumentError if no candidate would be cut.
    first_epochs : int in [1, epochs], default 1
        The smallest number of epochs after which candidates are compared.
    monitor : str, default "val_loss"
        The metric for the ranking, after the last epoch of the rung. The loss includes the penalties of regularizers.
    mode : "auto", "min" or "max", default "auto"
        Whether a small or a large value is good, as for `Monitor`.
    sample_weight, class_weight
        As for `Trainer.fit`. The weights of held-out rows count in the evaluation; class weights do not.
    seed : int in [0, 2**32), default 0
        Seed of the drawn candidates, the held-out rows, and the runs.
    journal : str or path, optional
        A folder that records the progress of each candidate after each epoch; created if it does not exist. After an
        interruption, call the search again with the same arguments to continue it; `jobs` and `progress` may differ.
    jobs : int >= 1, -1, Dask client or None, default None
        Number of processes that train at the same time. -1 uses all cores, None only this process. The processes wait
        for the next call, and end after some idle minutes. A ``distributed.Client`` uses the workers of its cluster.
        Any number except 1 does so within ``joblib.parallel_config(backend="dask")`` or ``"ray"``; see
        docs/distributed.md.
    progress : bool, default True
        Show a tqdm bar over the runs of each rung.

    Returns
    -------
    Search

    Raises
    ------
    DataError, ShapeError, ArgumentError, ArgumentTypeError
        For wrong data, folds, spaces, models or settings, and for a journal of another search, before any training. An
        error of one candidate names its parameters, even if a layer or a distortion raises it.
    FileFormatError
        For a damaged file in the journal.
    DivergenceError
        If all candidates diverge. A single one that diverges is ranked last.
    MissingDependencyError
        For `jobs` above 1 with a joblib before 1.3.
    ClusterError
        If the scheduler of a Dask client is gone, or if several workers die one after the other in the same run.
    KeyboardInterrupt
        On Ctrl-C. Then no process is left; workers of a cluster end their runs after the current epoch.

    Sources: Jamieson and Talwalkar (2016), arXiv:1502.07943, for successive halving; Li et al. (2018),
    arXiv:1603.06560, for its rungs.
    """
    from threadpoolctl import threadpool_limits

    epochs, first_epochs = as_whole_number(epochs, "epochs", 1), as_whole_number(first_epochs, "first_epochs", 1)
    if first_epochs > epochs:
        raise ArgumentError(f"first_epochs is {first_epochs}, more than the {counted(epochs, 'epoch')} of a whole run")
    if halving is not None:
        halving = as_whole_number(halving, "halving", 2)
    seed, processes = as_seed(seed, "seed"), as_processes(jobs)
    monitor, mode = as_text(monitor, "search: monitor"), as_mode(mode, "search: mode")
    monitored = MonitoredMetric(asker="search", monitor=monitor, mode=mode)
    settings: dict[str, Any] = {
        "optimizer": optimizer,
        "batch_size": batch_size,
        "metrics": None if metrics is None else as_metrics(metrics),
        "clip_norm": clip_norm,
        "clip_value": clip_value,
        "average": average,
        "augment": augment,
    }
    defaults = {"optimizer": "adam", "batch_size": 32}
    given = [name for name, value in settings.items() if value != defaults.get(name)]
    recipe = Recipe(build_model, settings | {"optimizer": get_optimizer(optimizer)}, given, seed)
    ways = {"validation_data": validation_data, "validation": validation, "folds": folds}
    if len(chosen := [name for name, value in ways.items() if value is not None]) > 1:
        raise ArgumentError(f"search: {' and '.join(chosen)} each choose the held-out rows: give only one of them")
    if groups is not None and folds is None:
        raise ArgumentError("groups are for folds of a splitter that uses them, such as folds=GroupKFold(5)")
    listed = list_candidates(space, candidates, seed)
    recipe.check_names(listed)
    rungs = plan_rungs(len(listed), epochs, halving, first_epochs)
    with threadpool_limits(1, user_api="blas"):  # an orthogonal initializer also multiplies matrices
        whole = as_data_set(x, y, sample_weight, transformer=transformer)
        if validation_data is not None:
            splits = {"": Split(whole, _as_held_out(validation_data, transformer))}
        else:
            splits = _deal(recipe, listed[0], whole, validation, folds, groups, transformer, class_weight)
        splits, fitted = _transform(splits, transformer, seed)
        fingerprints = _rehearse(recipe, listed, splits, class_weight, monitored)
    with _folder(journal) as folder:
        home = Journal(folder)
        if journal is not None:
            description = {
                "epochs": epochs,
                "halving": halving,
                "first_epochs": first_epochs,
                "monitor": monitor,
                "mode": monitored.mode,
                "seed": seed,
                "class_weight": described(class_weight),
                "transformer": described(transformer),
                "number of folds": None if folds is None else len(splits) - 1,
            }
            description |= {name: described(value) for name, value in recipe.settings.items()}
            home.begin(description | _describe(splits, fingerprints))
        runner = _Runner(recipe, home, class_weight, keeps_epochs=journal is not None, searcher=os.getpid())
        try:
            states = _climb(runner, listed, splits, rungs, halving, monitored, processes, progress)
            runs, best = _rank_all(states, monitored, epochs)
            trainer = _best_trainer(runner, best, states, splits, processes, progress)
        except KeyboardInterrupt:
            if journal is None:
                raise
            raise KeyboardInterrupt(f"call search again with journal={os.fspath(journal)!r} to continue it") from None
        return Search(runs, monitored.monitor, monitored.mode, trainer, fitted)


def plan_rungs(candidates: int, epochs: int, halving: int | None, first_epochs: int) -> list[int]:
    """Return the epochs at which candidates are compared, up to `epochs`. Raise an error if halving cuts nothing."""
    if halving is not None and candidates < halving:
        raise ArgumentError(
            f"halving is {halving}, but of {counted(candidates, 'candidate')} it cuts nothing: try {halving} or more, "
            "or leave halving out"
        )
    if halving is not None and epochs // halving < first_epochs:
        raise ArgumentError(
            f"halving is {halving}, but in {counted(epochs, 'epoch')} it cuts nothing: with "
            f"first_epochs={first_epochs} give {halving * first_epochs} or more, or leave halving out"
        )
    rungs = [epochs]
    while halving is not None and rungs[0] // halving >= first_epochs and candidates >= halving:
        rungs.insert(0, rungs[0] // halving)
        candidates //= halving
    return rungs


@dataclass(frozen=True, eq=False)
class SearchRun:
    """The result of one candidate's run.

    Attributes
    ----------
    number : int
        Number of the candidate, counted from 1, as in the journal.
    parameters : dict of name -> value
    history : History
        History of its epochs; with folds, the mean over the folds.
    status : "finished", "stopped" or "diverged"
        Trained to the last rung, or cut after an earlier one. With folds, one diverged fold means "diverged".
    seconds : float
        Training time in seconds, on all folds.
    fold_histories : list of History
        One for each fold. Without folds, only `history`.
    metric_values : dict of name -> float
        Loss and metrics of the last epoch, with folds their means. Empty for a diverged run.
    fold_metric_values : list of dict of name -> float
        The same for each fold.
    """

    number: int
    parameters: dict[str, Any]
    history: History
    status: str
    seconds: float
    fold_histories: Sequence[History] = ()

    @property
    def metric_values(self) -> dict[str, float]:
        """Loss and metrics of the last epoch, with folds their means. Empty for a diverged run."""
        return self._last(self.history)

    @property
    def fold_metric_values(self) -> list[dict[str, float]]:
        """Loss and metrics of the last epoch for each fold. Empty for a diverged run."""
        return [self._last(history) for history in self.fold_histories]

    def _last(self, history: History) -> dict[str, float]:
        return {} if self.status == "diverged" else {name: column[-1] for name, column in history.items()}


class Search:
    """The runs of a search, best first.

    A run with more epochs is better. The monitored metric decides among runs with as many epochs. Diverged runs are
    last.

    Attributes
    ----------
    runs : list of SearchRun
    histories : list of History
        One for each run.
    monitor : str
        The metric of the ranking; `mode` is "max" if large values are better, and "min" if small values are.
    table : pandas frame
        A row for each run, indexed by the candidate's number: its rank, parameters, epochs, metrics of the last epoch
        (NaN if it diverged), seconds and status. A parameter with the name of another column gets "(parameter)" after
        its name. With folds, the metrics are means, and a column such as "std_val_loss" has the sample standard
        deviation of the monitored metric.
    fold_table : pandas frame
        The metrics of the last epoch on each fold: a row for each run and fold, indexed by the numbers of candidate and
        fold, counted from 1.
    best_parameters : dict of name -> value
        The parameters of the first run.
    best_trainer : Trainer
        The trainer of the first run, which another `fit` continues; `best_model` is its model. With folds, it is a new
        trainer with the best parameters, trained on all rows for as many epochs, so its history has no validation.
        DivergenceError if this training diverged although no fold did.
    best_transformer : transformer or None
        A clone of the `transformer`, fitted to the training rows of the best trainer. Apply it to new data:
        ``result.best_model.predict(result.best_transformer.transform(x_new))``.
    """

    def __init__(
        self,
        runs: Sequence[SearchRun],
        monitor: str,
        mode: str,
        best_trainer: Trainer | None,
        best_transformer: Any = None,
    ) -> None:
        self.runs = list(runs)
        self.monitor, self.mode = monitor, mode
        self._best_trainer, self.best_transformer = best_trainer, best_transformer

    @property
    def best_parameters(self) -> dict[str, Any]:
        """The parameters of the first run."""
        return self.runs[0].parameters

    @property
    def best_trainer(self) -> Trainer:
        """The trainer of the first run. With folds, a new one trained on all rows."""
        if self._best_trainer is None:
            raise DivergenceError(
                f"the best candidate, {text_of(self.best_parameters)}, diverged on all rows, but not on a fold: train "
                "the next one of runs, or lower its learning rate"
            )
        return self._best_trainer

    @property
    def best_model(self) -> Sequential:
        """The trained model of the first run."""
        return self.best_trainer.model

    @property
    def histories(self) -> list[History]:
        """One for each run, best first."""
        return [run.history for run in self.runs]

    @property
    def table(self) -> pd.DataFrame:
        """Rank, parameters, epochs, metrics, seconds and status of each run, indexed by the candidate's number."""
        import pandas as pd

        runs, has_folds = self.runs, len(self.runs[0].fold_histories) > 1
        metrics = list(dict.fromkeys([self.monitor, *(name for run in runs for name in run.history)]))
        others = {"rank", "epochs", "seconds", "status", f"std_{self.monitor}", *metrics}
        columns: dict[str, Any] = {"rank": range(1, len(runs) + 1)}
        for name in dict.fromkeys(name for run in runs for name in run.parameters):
            values = [run.parameters.get(name, math.nan) for run in runs]
            # Only columns of one plain type are converted: pandas would turn a None among numbers into NaN.
            plain = {type(value) for value in values} in ({bool}, {int}, {float}, {str})
            title = f"{name} (parameter)" if name in others else name
            columns[title] = pd.Series(values, dtype=None if plain else object)
        columns["epochs"] = [run.history.epochs for run in runs]
        for name in metrics:
            columns[name] = [run.metric_values.get(name, math.nan) for run in runs]
            if name == self.monitor and has_folds:
                columns[f"std_{name}"] = self.fold_table[name].groupby("candidate", sort=False).std().to_numpy()
        columns["seconds"] = [run.seconds for run in runs]
        columns["status"] = [run.status for run in runs]
        table = pd.DataFrame(columns)
        table.index = pd.Index([run.number for run in runs], name="candidate")
        return table

    @property
    def fold_table(self) -> pd.DataFrame:
        """The metrics of the last epoch of each run on each fold, indexed by the numbers of candidate and fold."""
        import pandas as pd

        rows = {
            (run.number, fold): values
            for run in self.runs
            for fold, values in enumerate(run.fold_metric_values, start=1)
        }
        index = pd.MultiIndex.from_tuples(rows, names=["candidate", "fold"])
        return pd.DataFrame(list(rows.values()), index=index)

    def summary(self) -> None:
        """Print the table, and how many runs reached which epoch."""
        print(self.table.to_string(float_format=lambda value: f"{value:.4g}"))
        counts = {status: [run.status for run in self.runs].count(status) for status in ("stopped", "diverged")}
        also = [f"{count:,} {status}" for status, count in counts.items() if count]
        print(f"{', '.join([counted(len(self.runs), 'candidate'), *also])}; best: {text_of(self.best_parameters)}")

    def __repr__(self) -> str:
        diverged = [run.status for run in self.runs].count("diverged")
        also = f", {diverged:,} diverged" if diverged else ""
        value = self.runs[0].metric_values.get(self.monitor, math.nan)
        best = f"{self.monitor}={value:.4g} with {text_of(self.best_parameters)}"
        return f"Search({counted(len(self.runs), 'candidate')}{also}, best: {best})"


def _ranked(
    candidates: Iterable[Candidate],
    states: Mapping[Candidate, Progress],
    monitored: MonitoredMetric,
    rung: int | None = None,
) -> list[Candidate]:
    """Sort candidates by the metric after a rung or at the end, best first. Equal candidates keep their order."""

    def cost(candidate: Candidate) -> tuple[float, int]:
        values = dict(states[candidate].history).get(monitored.monitor, [])[:rung]
        return monitored.cost(values[-1] if values else math.nan), candidate.number

    return sorted(candidates, key=cost)


def _as_held_out(validation_data: Any, transformer: Any) -> DataSet:
    check_validation_data(validation_data, "to hold out rows of x and y by validation")
    with naming("validation_data"):
        return as_data_set(*validation_data, transformer=transformer)


def _deal(
    recipe: Recipe,
    candidate: Candidate,
    whole: DataSet,
    validation: float | int | None,
    folds: Any,
    groups: Any,
    transformer: Any,
    class_weight: Any,
) -> dict[str, Split]:
    """Return the training and held-out rows of each run of a candidate. With folds, the last run trains on all rows."""
    # Fitted to all rows, only to find the classes, and errors in the data or the transformer.
    data = Split(whole).transformed(transformer, recipe.seed)[0].arguments()
    with naming(candidate):
        trainer = recipe.make(candidate)
        trainer.check(**data, class_weight=class_weight)
        classes = classes_of(trainer.model, whole.y)
    if folds is None:
        dealt = {"": hold_out(0.2 if validation is None else validation, recipe.seed, len(whole.y), classes)}
    else:
        pairs = deal_folds(folds, [recipe.seed], whole.table, whole.y, classes, groups)[recipe.seed]
        dealt = {f"fold {number}": pair for number, pair in enumerate(pairs, start=1)}
    splits = {fold: Split(whole.take(train), whole.take(apart)) for fold, (train, apart) in dealt.items()}
    return splits if folds is None else splits | {ALL_ROWS: Split(whole)}


def _transform(splits: Mapping[str, Split], transformer: Any, seed: int) -> tuple[dict[str, Split], Any]:
    """Return each split transformed by a clone of the transformer, and the last clone."""
    transformed = {}
    for fold, split in splits.items():
        with naming(fold) if fold else contextlib.nullcontext():
            transformed[fold], fitted = split.transformed(transformer, seed)
    return transformed, fitted


def _rehearse(
    recipe: Recipe,
    candidates: Sequence[Candidate],
    splits: Mapping[str, Split],
    class_weight: Any,
    monitored: MonitoredMetric,
) -> dict[Candidate, str]:
    """Check the trainer of each run as `fit` does; return the candidates' fingerprints."""
    found: dict[Candidate, str] = {}
    losses: dict[str, Candidate] = {}
    for fold, split in splits.items():
        data = split.arguments()
        for candidate in candidates:
            with naming(FoldRun(candidate, fold)):
                trainer = recipe.make(candidate)
                trainer.check(**data, class_weight=class_weight)
                if candidate not in found:  # the first split has held-out rows
                    monitored.check(trainer.metric_names)
                    found[candidate] = _fingerprint_of_new(trainer, recipe.make(candidate), data["x"])
                    losses.setdefault(described(trainer.model.loss), candidate)
    if len(losses) > 1 and monitored.monitor in {"loss", "val_loss"}:
        (one, first), (other, second), *_ = losses.items()
        raise ArgumentError(
            f"monitor: {monitored.monitor!r} is measured by {one} for {first}, but by {other} for {second}, and the "
            "two cannot be compared: give another metric, such as 'val_accuracy'"
        )
    return found


def _fingerprint_of_new(trainer: Trainer, again: Trainer, x: Any) -> str:
    """Return the fingerprint of a checked trainer. Raise ArgumentError if another call makes a different one."""
    again.model.set_up_for(x)
    again.model.feature_names = trainer.model.feature_names
    found = fingerprint_of_trainer(trainer)
    parts = ((getattr(each, name) for each in (trainer, again)) for name in ("model", "optimizer", "average"))
    if any(one is other is not None for one, other in parts):
        raise ArgumentError("build_model returned the same object twice: make a new one at each call")
    if fingerprint_of_trainer(again) != found:
        raise ArgumentError(
            "build_model makes a different result in each call: let it take seed, and pass it on: "
            "Sequential([...], seed=seed), Trainer(..., seed=seed)"
        )
    return found


def _describe(splits: Mapping[str, Split], fingerprints: Mapping[Candidate, str]) -> dict[str, Any]:
    """Return what distinguishes a search from others with the same settings, by names for errors."""
    description: dict[str, Any] = {}
    for fold, split in splits.items():
        data, of_fold = split.arguments(), f" of {fold}" if fold else ""
        found = fingerprint(data["x"], data["y"], data["sample_weight"])
        description[f"training data{of_fold} (fingerprint)"] = found
        if data["validation_data"]:
            description[f"validation data{of_fold} (fingerprint)"] = fingerprint(*data["validation_data"])
    description["number of candidates"] = len(fingerprints)
    description |= {f"candidate {each.number}": described(each.parameters) for each in fingerprints}
    for each, found in fingerprints.items():
        description[f"trainer that build_model makes of candidate {each.number} (fingerprint)"] = found
    return description


@contextlib.contextmanager
def _folder(journal: str | os.PathLike[str] | None) -> Iterator[Path]:
    """Yield the journal's folder, or a temporary one, because candidates continue from files."""
    if journal is not None:
        yield as_path(journal)
        return
    import tempfile

    with tempfile.TemporaryDirectory(prefix="minidl_search_") as folder:
        yield as_path(folder)


class _Keeper(Callback):
    """Saves a run's trainer and its metrics during the training.

    It ends the run in a process whose search was killed, because another call may continue with the same files.
    """

    runs_last = True

    home: Journal
    run: FoldRun
    before: Progress
    searcher: int | None
    keeps_epochs: bool
    lasts: float = math.inf

    def __post_init__(self) -> None:
        self._begin = time.perf_counter()
        self.is_paused = False

    def on_batch_end(self, trainer: Trainer) -> None:
        if self.searcher not in {None, os.getpid(), os.getppid()}:
            raise KeyboardInterrupt("the search that this process worked for is over")

    def on_epoch_end(self, trainer: Trainer) -> None:
        if not is_wanted():
            raise RuntimeError("the search that this process worked for is over")
        if trainer.epoch == trainer.last_epoch or trainer.optimizer.ended:  # then the end of the rung saves it
            return
        if self.keeps_epochs:
            self.keep(trainer, self.before.reached)
        elif time.perf_counter() - self._begin >= self.lasts:
            self.is_paused = True
            trainer.stop()

    def keep(self, trainer: Trainer, reached: int) -> Progress:
        """Save the trainer, then record its progress. If killed between the two, it continues from there."""
        if trainer.optimizer.ended:  # the trainer's file does not contain this
            self.note(trainer, self.before.reached)
        self.home.save(self.run, trainer)
        return self.note(trainer, reached)

    def note(self, trainer: Trainer, reached: int, *, diverged: bool = False) -> Progress:
        """Record the progress of the run, and the end of the last rung that it reached."""
        seconds = self.before.seconds + time.perf_counter() - self._begin
        ended = self.before.ended or bool(trainer.optimizer.ended)
        progress = Progress(trainer.history, reached, seconds, diverged, ended)
        self.home.write(self.run, progress)
        return progress


@dataclass(frozen=True, eq=False)
class _Runner:
    """The common data of all runs of a search.

    Attributes
    ----------
    searcher : int or None
        The process that searches. The training processes end with it. None for workers of a cluster.
    lasts : float
        After this number of seconds, a call ends with its current epoch, and the next call continues from there.
    """

    recipe: Recipe
    home: Journal
    class_weight: Any
    keeps_epochs: bool
    searcher: int | None
    lasts: float = math.inf

    def train_all(
        self,
        runs: Mapping[FoldRun, Progress],
        rung: int,
        splits: Mapping[str, Split],
        processes: int | DaskCluster | BackendCluster,
        name: str,
        progress: bool,
    ) -> dict[FoldRun, Progress]:
        """Train candidates on folds from their current epoch to the end of a rung."""
        if isinstance(processes, int):
            tasks = [functools.partial(self.train, run, state, rung, splits[run.fold]) for run, state in runs.items()]
            done = run_tasks(tasks, processes=processes, name=name, progress=progress)
            return dict(zip(runs, done, strict=True))
        apart = replace(self, keeps_epochs=False, searcher=None, lasts=processes.task_seconds)
        order, states = list(runs), dict(runs)

        def task(run: FoldRun) -> Callable[[], tuple[Progress, Array | None]]:
            path = self.home.checkpoint(run)
            file = np.fromfile(path, np.uint8) if path.exists() else None
            return functools.partial(apart.train_apart, run, states[run], rung, splits[run.fold], file)

        def follow(number: int, result: tuple[Progress, Array | None]) -> Callable[[], Any] | None:
            run, (state, file) = order[number], result
            self.home.take(run, states[run], state, file)
            states[run] = state
            return None if state.is_past(rung) else task(run)

        run_tasks([task(run) for run in order], processes=processes, name=name, progress=progress, follow=follow)
        return states

    def train_apart(
        self, run: FoldRun, before: Progress, rung: int, split: Split, file: Array | None
    ) -> tuple[Progress, Array | None]:
        """Train where the journal's folder may not exist: take the run's file and return the new one."""
        with _folder(None) as folder:
            home = Journal(folder)
            if file is not None:
                file.tofile(home.checkpoint(run))
            state = replace(self, home=home).train(run, before, rung, split)
            return state, None if state.diverged else np.fromfile(home.checkpoint(run), np.uint8)

    def train(self, run: FoldRun, before: Progress, rung: int, split: Split) -> Progress:
        """Train a candidate on a fold from its current epoch to the end of a rung."""
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1, user_api="blas"), naming(run), no_hints():
            trainer = self.recipe.make(run.candidate)  # also before loading: it defines the layers' classes
            if self.home.checkpoint(run).exists():
                trainer = self.home.load(run, trainer)
            keeper = _Keeper(
                home=self.home,
                run=run,
                before=before,
                searcher=self.searcher,
                keeps_epochs=self.keeps_epochs,
                lasts=self.lasts,
            )
            is_over = before.ended and trainer.epoch == before.history.epochs
            epochs = 0 if is_over else max(rung - trainer.epoch, 0)
            try:
                trainer.fit(
                    **split.arguments(),
                    class_weight=self.class_weight,
                    epochs=epochs,
                    callbacks=[keeper],
                    progress=False,
                )
            except DivergenceError:
                return keeper.note(trainer, before.reached, diverged=True)
            return keeper.keep(trainer, before.reached if keeper.is_paused else rung)


def _climb(
    runner: _Runner,
    candidates: Sequence[Candidate],
    splits: Mapping[str, Split],
    rungs: Sequence[int],
    halving: int | None,
    monitored: MonitoredMetric,
    processes: int | DaskCluster | BackendCluster,
    progress: bool,
) -> dict[Candidate, list[Progress]]:
    """Train the candidates to the end of each rung, then continue with the best. Return the folds of each."""
    folds = [fold for fold, split in splits.items() if split.held_out is not None]
    runs = {candidate: [FoldRun(candidate, fold) for fold in folds] for candidate in candidates}
    states = {run: runner.home.read(run) for each in runs.values() for run in each}
    left = list(candidates)
    for rung in rungs:
        # The journal holds what an earlier call has done of this rung and of later rungs.
        due = [run for each in left for run in runs[each] if not states[run].is_past(rung)]
        if due:
            name = "search" if len(rungs) == 1 else f"search, to epoch {rung}"
            states |= runner.train_all(
                {run: states[run] for run in due}, rung, splits, processes, name=name, progress=progress
            )
        whole = {each: Progress.together([states[run] for run in runs[each]]) for each in left}
        whole = {each: state for each, state in whole.items() if state.reached >= rung}
        left = _ranked(whole, whole, monitored, rung)[: max(len(left) // (halving or 1), 1)]
    return {each: [states[run] for run in runs[each]] for each in candidates}


def _rank_all(
    folds: Mapping[Candidate, Sequence[Progress]], monitored: MonitoredMetric, epochs: int
) -> tuple[list[SearchRun], Candidate]:
    """Return the results of the candidates' runs, best first, and the best candidate."""
    states = {each: Progress.together(parts) for each, parts in folds.items()}
    whole = [each for each, state in states.items() if not state.diverged]
    if not whole:
        first, state = next(iter(states.items()))
        raise DivergenceError(
            f"no candidate of {len(states)} is left, because all diverged, {first} after "
            f"{counted(state.history.epochs, 'epoch')}: search among lower learning rates, or scale the input"
        )
    whole = sorted(_ranked(whole, states, monitored), key=lambda each: -states[each].reached)
    others = sorted(set(states) - set(whole), key=lambda each: (-states[each].history.epochs, each.number))
    runs = []
    for each in [*whole, *others]:
        state, histories = states[each], [part.history for part in folds[each]]
        status = "diverged" if state.diverged else "finished" if state.reached == epochs else "stopped"
        runs.append(SearchRun(each.number, each.parameters, state.history, status, state.seconds, histories))
    return runs, whole[0]


def _best_trainer(
    runner: _Runner,
    best: Candidate,
    folds: Mapping[Candidate, Sequence[Progress]],
    splits: Mapping[str, Split],
    processes: int | DaskCluster | BackendCluster,
    progress: bool,
) -> Trainer | None:
    """Return the best candidate's trainer. With folds, train it once more on all rows; None if that diverges."""
    run = FoldRun(best, list(splits)[-1])
    if run.fold == ALL_ROWS:
        rung, state = min(part.reached for part in folds[best]), runner.home.read(run)
        if not state.is_past(rung):
            name = "search, the best on all rows"
            state = runner.train_all({run: state}, rung, splits, processes, name=name, progress=progress)[run]
        if state.diverged:
            return None
    return runner.home.load(run, runner.recipe.make(best))
