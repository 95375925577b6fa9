"""The search for parameters: many candidates, each trained as a run of its own, the promising ones longer."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minidl.arrays import Augment, as_array, as_weights, check_finite, check_lengths
from minidl.errors import ArgumentError, DivergenceError, counted, naming
from minidl.files import as_path
from minidl.metrics import Metric, as_metrics
from minidl.model import Sequential
from minidl.optimizers import Optimizer, get_optimizer
from minidl.settings import as_seed, as_text, as_whole_number
from minidl.training.averages import Average
from minidl.training.callbacks import Callback
from minidl.training.folds import classes_of, hold_out
from minidl.training.history import History
from minidl.training.journal import Journal, Progress, described, fingerprint, fingerprint_of_trainer
from minidl.training.monitored_metric import MonitoredMetric, as_mode
from minidl.training.parameter_space import Candidate, Recipe, list_candidates, text_of
from minidl.training.processes import as_processes, run_tasks
from minidl.training.rows import check_validation_data
from minidl.training.trainer import Trainer
from minidl.typing import Array

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd


def search(
    build_model: Callable[..., Sequential | Trainer],
    space: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    x: Any,
    y: Any,
    *,
    epochs: int,
    candidates: int | None = None,
    validation_data: tuple[Any, Any] | tuple[Any, Any, Any] | None = None,
    validation: float | int = 0.2,
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
    jobs: int | None = None,
    progress: bool = True,
) -> Search:
    """Train a network for each candidate, a choice of parameters, and rank them by the rows held out.

    With `halving`, all candidates begin with few epochs, of which the best ones go on: successive halving. A network
    that goes on is trained as if it had never stopped, to the same bits. Each run computes its matrix products on one
    thread, so that the results are the same bits with any number of `jobs`.

    Parameters
    ----------
    build_model : callable
        Takes the parameters by name and returns a `Sequential` that ends with a loss, or a `Trainer` that has not
        begun: then the space can hold learning rates, schedules, optimizers, batch sizes and distortions. If it has a
        parameter `seed` of which the space has no values, that is the search's. Called again with the same parameters,
        it must make the same. Learning rates are numbers or a `Schedule`, and `augment` is a `Distortion` of
        `minidl.data.augment`, as for `Trainer.save`; metrics may be functions.
    space : dict of name -> values, or list of such dicts
        Values are a list, or a distribution as in scipy.stats: anything with ``rvs(random_state=...)``. Of several
        dicts each is a space of its own, as in scikit-learn's ParameterGrid.
    x, y : arrays of N rows
        As `Trainer.fit` takes them.
    epochs : int >= 1
        Of each candidate; with `halving`, of those that are never out. It has no default: after a single epoch, that of
        `Trainer.fit`, those that begin fast would look best.
    candidates : int >= 1, optional
        How many to draw at random, of lists without repetition. None tries all combinations.
    validation_data : (x, y) or (x, y, sample_weight), optional
        The rows that the candidates are judged by.
    validation : float in (0, 1) or int in [1, N), default 0.2
        Without `validation_data`: the fraction, or the number, of the rows to hold out, drawn at random; for a
        classifier with the classes' shares of the whole. They are the same for all candidates. Rows are copied;
        a memory map that is larger than the memory needs `validation_data`.
    optimizer, batch_size, metrics, clip_norm, clip_value, average, augment
        For a `build_model` that returns a `Sequential`: as for `Trainer`. Each run has copies. A `Trainer` has its own.
    halving : int >= 2, optional
        After each rung the best of so many go on: of n candidates ``max(n // halving, 1)``. Counted from the last,
        the rungs end at ``epochs``, ``epochs // halving``, ``epochs // halving**2`` and so on, as long as that is
        `first_epochs` or more, and each cut leaves a candidate. ArgumentError where that cuts nothing at all.
    first_epochs : int in [1, epochs], default 1
        The least epochs that candidates are compared after.
    monitor : str, default "val_loss"
        The metric to rank by, as it is after the rung's last epoch. The loss contains the penalties of regularizers.
    mode : "auto", "min" or "max", default "auto"
        Whether a small or a large value is good, as for `Monitor`.
    sample_weight, class_weight
        As for `Trainer.fit`. Weights of rows that are held out count there; class weights do not.
    seed : int in [0, 2**32), default 0
        Of the candidates that are drawn, the rows held out, and the runs.
    journal : str or path, optional
        A folder, made if it does not exist, that notes how far each candidate is, after each of its epochs. A search
        that was interrupted or killed goes on there when it is called again with the same arguments; `jobs` and
        `progress` may differ.
    jobs : int >= 1, -1 or None, default None
        Processes that train at once; -1 takes all cores, None this process alone. They wait for the next call, and end
        by themselves after some idle minutes.
    progress : bool, default True
        Show a tqdm bar over the runs of each rung.

    Returns
    -------
    Search

    Raises
    ------
    DataError, ShapeError, ArgumentError, ArgumentTypeError
        For data, a space, models or settings that cannot work, and for a journal of another search; before any
        training. An error of one candidate names its parameters, also one that a layer or a distortion raises.
    FileFormatError
        For a file in the journal that is damaged.
    DivergenceError
        When all candidates diverge. One that does is ranked last.
    MissingDependencyError
        For `jobs` above 1 with a joblib before 1.3.
    KeyboardInterrupt
        On Ctrl-C, after which no process is left.

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
    listed = list_candidates(space, candidates, seed)
    recipe.check_names(listed)
    rungs = plan_rungs(len(listed), epochs, halving, first_epochs)
    with threadpool_limits(1, user_api="blas"):  # an orthogonal initializer, too, computes with matrices
        data = _deal(recipe, listed[0], x, y, validation_data, validation, sample_weight, class_weight)
        fingerprints = _rehearse(recipe, listed, data, monitored)
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
            }
            description |= {name: described(value) for name, value in recipe.settings.items()}
            home.begin(description | _describe(data, listed, fingerprints))
        runner = _Runner(recipe, home, keeps_epochs=journal is not None, searcher=os.getpid())
        try:
            states = _climb(runner, listed, data, rungs, halving, monitored, processes, progress)
        except KeyboardInterrupt:
            if journal is None:
                raise
            raise KeyboardInterrupt(f"called again with journal={os.fspath(journal)!r}, the search goes on") from None
        return _result(recipe, home, listed, states, monitored, epochs)


def plan_rungs(candidates: int, epochs: int, halving: int | None, first_epochs: int) -> list[int]:
    """Return the epochs at which candidates are compared, the last being `epochs`; refuse a halving of nothing."""
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
    """What one candidate's run leaves.

    Attributes
    ----------
    number : int
        Of the candidate, from 1, as in the journal.
    parameters : dict of name -> value
    history : History
        Of the epochs that it was trained for.
    status : "finished", "stopped" or "diverged"
        Trained to the last rung, or out after an earlier one.
    seconds : float
        Time spent in training.
    metric_values : dict of name -> float
        Loss and metrics of the last epoch; none of a run that diverged.
    """

    number: int
    parameters: dict[str, Any]
    history: History
    status: str
    seconds: float

    @property
    def metric_values(self) -> dict[str, float]:
        """Loss and metrics of the last epoch; none of a run that diverged."""
        return {} if self.status == "diverged" else {name: column[-1] for name, column in self.history.items()}


class Search:
    """The runs of a search, best first.

    One that came further is better; among those that came as far, the monitored metric decides; those that diverged
    are last.

    Attributes
    ----------
    runs : list of SearchRun
    histories : list of History
        One for each run.
    monitor : str
        The metric that they are ranked by; `mode` is "max" where more is better, "min" where less is.
    table : pandas frame
        A row for each run, indexed by the candidate's number: its rank, parameters, epochs, metrics of the last epoch
        (NaN where it diverged), seconds and status. A parameter with the name of another column has "(parameter)" after
        it.
    best_parameters : dict of name -> value
        Those of the first run.
    best_trainer : Trainer
        That of the first run, which another `fit` goes on with; `best_model` is its model.
    """

    def __init__(self, runs: Sequence[SearchRun], monitor: str, mode: str, best_trainer: Trainer) -> None:
        self.runs = list(runs)
        self.monitor, self.mode = monitor, mode
        self.best_trainer = best_trainer

    @property
    def best_parameters(self) -> dict[str, Any]:
        """The parameters of the first run."""
        return self.runs[0].parameters

    @property
    def best_model(self) -> Sequential:
        """The model of the first run, trained."""
        return self.best_trainer.model

    @property
    def histories(self) -> list[History]:
        """One for each run, best first."""
        return [run.history for run in self.runs]

    @property
    def table(self) -> pd.DataFrame:
        """Rank, parameters, epochs, metrics, seconds and status of each run, indexed by the candidate's number."""
        import pandas as pd

        runs = self.runs
        metrics = list(dict.fromkeys([self.monitor, *(name for run in runs for name in run.history)]))
        others = {"rank", "epochs", "seconds", "status", *metrics}
        columns: dict[str, Any] = {"rank": range(1, len(runs) + 1)}
        for name in dict.fromkeys(name for run in runs for name in run.parameters):
            values = [run.parameters.get(name, math.nan) for run in runs]
            # Of one plain type, or else as they are: pandas would make NaN of a None among numbers.
            plain = {type(value) for value in values} in ({bool}, {int}, {float}, {str})
            title = f"{name} (parameter)" if name in others else name
            columns[title] = pd.Series(values, dtype=None if plain else object)
        columns["epochs"] = [run.history.epochs for run in runs]
        for name in metrics:
            columns[name] = [run.metric_values.get(name, math.nan) for run in runs]
        columns["seconds"] = [run.seconds for run in runs]
        columns["status"] = [run.status for run in runs]
        table = pd.DataFrame(columns)
        table.index = pd.Index([run.number for run in runs], name="candidate")
        return table

    def summary(self) -> None:
        """Print the table, and how many runs went how far."""
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
    """Sort candidates by the metric after a rung, or in the end, best first; of equals the first comes first."""

    def cost(candidate: Candidate) -> tuple[float, int]:
        values = dict(states[candidate].history).get(monitored.monitor, [])[:rung]
        return monitored.cost(values[-1] if values else math.nan), candidate.number

    return sorted(candidates, key=cost)


def _deal(
    recipe: Recipe,
    candidate: Candidate,
    x: Any,
    y: Any,
    validation_data: Any,
    validation: float | int,
    sample_weight: Any,
    class_weight: Any,
) -> dict[str, Any]:
    """Return what `fit` takes of data, the same for all candidates; of `validation_data` a triple."""
    x, y = as_array(x, "x"), as_array(y, "y")
    weights = None if sample_weight is None else as_weights(sample_weight)
    rows = check_lengths(x=x, y=y, sample_weight=weights)
    check_finite(x, "x")
    if validation_data is not None:
        check_validation_data(validation_data, "to hold out rows of x and y by validation")
        names = ("x", "y", "sample_weight")
        held_out = [
            None if part is None and name == "sample_weight" else as_array(part, f"validation_data: {name}")
            for name, part in zip(names, validation_data, strict=False)
        ]
        held_out += [None] * (3 - len(held_out))
    else:
        with naming(candidate):
            trainer = recipe.make(candidate)
            trainer.check(x, y, sample_weight=weights, class_weight=class_weight)
            classes = classes_of(trainer.model, y)
        train, apart = hold_out(validation, recipe.seed, rows, classes)
        held_out = [x[apart], y[apart], None if weights is None else weights[apart]]
        x, y, weights = x[train], y[train], None if weights is None else weights[train]
    return {
        "x": x,
        "y": y,
        "sample_weight": weights,
        "class_weight": class_weight,
        "validation_data": tuple(held_out),
    }


def _rehearse(
    recipe: Recipe, candidates: Sequence[Candidate], data: Mapping[str, Any], monitored: MonitoredMetric
) -> list[str]:
    """Check each candidate's trainer as `fit` does; return their fingerprints."""
    found: list[str] = []
    losses: dict[str, Candidate] = {}
    for candidate in candidates:
        with naming(candidate):
            trainer, again = recipe.make(candidate), recipe.make(candidate)
            trainer.check(**data)
            monitored.check(trainer.metric_names)
            again.model.set_up_for(data["x"])
            found.append(fingerprint_of_trainer(trainer))
            parts = ((getattr(each, name) for each in (trainer, again)) for name in ("model", "optimizer", "average"))
            if any(one is other is not None for one, other in parts):
                raise ArgumentError("build_model returned the same object twice: make a new one at each call")
            if fingerprint_of_trainer(again) != found[-1]:
                raise ArgumentError(
                    "build_model makes something else at each call: let it take seed, and hand that on: "
                    "Sequential([...], seed=seed), Trainer(..., seed=seed)"
                )
            losses.setdefault(described(trainer.model.loss), candidate)
    if len(losses) > 1 and monitored.monitor in {"loss", "val_loss"}:
        (one, first), (other, second), *_ = losses.items()
        raise ArgumentError(
            f"monitor: {monitored.monitor!r} is measured by {one} for {first}, but by {other} for {second}, and the "
            "two cannot be compared: give another metric, such as 'val_accuracy'"
        )
    return found


def _describe(data: Mapping[str, Any], candidates: Sequence[Candidate], fingerprints: Sequence[str]) -> dict[str, Any]:
    """Return what tells a search from others with the same settings, by names that an error can give."""
    description: dict[str, Any] = {
        "training data (fingerprint)": fingerprint(data["x"], data["y"], data["sample_weight"]),
        "validation data (fingerprint)": fingerprint(*data["validation_data"]),
        "number of candidates": len(candidates),
    }
    description |= {f"candidate {each.number}": described(each.parameters) for each in candidates}
    for each, found in zip(candidates, fingerprints, strict=True):
        description[f"trainer that build_model makes of candidate {each.number} (fingerprint)"] = found
    return description


@contextlib.contextmanager
def _folder(journal: str | os.PathLike[str] | None) -> Iterator[Path]:
    """Give the journal's folder, or a temporary one, since candidates go on from files."""
    if journal is not None:
        yield as_path(journal)
        return
    import tempfile

    with tempfile.TemporaryDirectory(prefix="minidl_search_") as folder:
        yield as_path(folder)


class _Keeper(Callback):
    """Saves a candidate's trainer and its metrics as it goes.

    Of a process whose search has been killed it ends the run: another call may go on with the same files.
    """

    runs_last = True

    home: Journal
    candidate: Candidate
    before: Progress
    searcher: int
    keeps_epochs: bool

    def __post_init__(self) -> None:
        self._begin = time.perf_counter()

    def on_batch_end(self, trainer: Trainer) -> None:
        if self.searcher not in {os.getpid(), os.getppid()}:
            raise KeyboardInterrupt("the search that this process worked for is over")

    def on_epoch_end(self, trainer: Trainer) -> None:
        is_last = trainer.epoch == trainer.last_epoch or trainer.optimizer.ended  # the end of the rung saves that
        if self.keeps_epochs and not is_last:
            self.keep(trainer, self.before.reached)

    def keep(self, trainer: Trainer, reached: int) -> Progress:
        """Save the trainer, then write down how far it is: killed between the two, it goes on from there."""
        if trainer.optimizer.ended:  # which the trainer's file would not tell
            self.note(trainer, self.before.reached)
        self.home.save(self.candidate, trainer)
        return self.note(trainer, reached)

    def note(self, trainer: Trainer, reached: int, *, diverged: bool = False) -> Progress:
        """Write down how far the run is, and to the end of which rung it came."""
        seconds = self.before.seconds + time.perf_counter() - self._begin
        ended = self.before.ended or bool(trainer.optimizer.ended)
        progress = Progress(trainer.history, reached, seconds, diverged, ended)
        self.home.write(self.candidate, progress)
        return progress


@dataclass(frozen=True, eq=False)
class _Runner:
    """What all runs of a search have in common."""

    recipe: Recipe
    home: Journal
    keeps_epochs: bool
    searcher: int

    def train(self, candidate: Candidate, before: Progress, rung: int, data: Mapping[str, Any]) -> Progress:
        """Train a candidate from where it stands to the end of a rung."""
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1, user_api="blas"), naming(candidate):
            trainer = self.recipe.make(candidate)  # also before loading: it defines the classes of its layers
            if self.home.checkpoint(candidate).exists():
                trainer = self.home.load(candidate, trainer)
            keeper = _Keeper(
                home=self.home,
                candidate=candidate,
                before=before,
                searcher=self.searcher,
                keeps_epochs=self.keeps_epochs,
            )
            is_over = before.ended and trainer.epoch == before.history.epochs
            epochs = 0 if is_over else max(rung - trainer.epoch, 0)
            try:
                trainer.fit(**data, epochs=epochs, callbacks=[keeper], progress=False)
            except DivergenceError:
                return keeper.note(trainer, before.reached, diverged=True)
            return keeper.keep(trainer, rung)


def _climb(
    runner: _Runner,
    candidates: Sequence[Candidate],
    data: Mapping[str, Any],
    rungs: Sequence[int],
    halving: int | None,
    monitored: MonitoredMetric,
    processes: int,
    progress: bool,
) -> dict[Candidate, Progress]:
    """Train the candidates to the end of each rung, and after it the best of them on."""
    states = {candidate: runner.home.read(candidate) for candidate in candidates}
    left = list(candidates)
    for rung in rungs:
        # What an earlier call has done of this rung, and of those after it, stands in the journal.
        due = [each for each in left if not states[each].is_past(rung)]
        if due:
            done = run_tasks(
                [functools.partial(runner.train, each, states[each], rung) for each in due],
                data,
                processes=processes,
                name="search" if len(rungs) == 1 else f"search, to epoch {rung}",
                progress=progress,
            )
            states |= zip(due, done, strict=True)
        whole = _ranked((each for each in left if states[each].reached >= rung), states, monitored, rung)
        left = whole[: max(len(left) // (halving or 1), 1)]
    return states


def _result(
    recipe: Recipe,
    home: Journal,
    candidates: Sequence[Candidate],
    states: Mapping[Candidate, Progress],
    monitored: MonitoredMetric,
    epochs: int,
) -> Search:
    whole = [each for each in candidates if not states[each].diverged]
    if not whole:
        raise DivergenceError(
            f"no candidate of {len(candidates)} is left, for all diverged, {candidates[0]} after "
            f"{counted(states[candidates[0]].history.epochs, 'epoch')}: search among lower learning rates, or scale "
            "the input"
        )
    whole = sorted(_ranked(whole, states, monitored), key=lambda each: -states[each].reached)
    others = sorted(set(candidates) - set(whole), key=lambda each: (-states[each].history.epochs, each.number))
    runs = []
    for each in [*whole, *others]:
        state = states[each]
        status = "diverged" if state.diverged else "finished" if state.reached == epochs else "stopped"
        runs.append(SearchRun(each.number, each.parameters, state.history, status, state.seconds))
    best = home.load(whole[0], recipe.make(whole[0]))
    return Search(runs, monitored.monitor, monitored.mode, best)
