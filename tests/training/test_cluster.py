"""Runs on a cluster: the bits of a single process, whatever becomes of the workers."""

import functools
import logging
import os
import pickle
import signal
import threading
import time
from types import SimpleNamespace

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from searches import FLOWERS, assert_same, by_columns, line, look, network, regression, x, y
from sklearn.preprocessing import StandardScaler

from minidl import (
    LBFGS,
    Callback,
    Dense,
    Dropout,
    ExponentialMovingAverage,
    Layer,
    MeanSquaredError,
    Momentum,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
    Tanh,
    Trainer,
    cross_validate,
)
from minidl.errors import ArgumentError, ArgumentTypeError, DivergenceError
from minidl.files import atomic_write
from minidl.training import cluster as module
from minidl.training.cluster import BackendCluster, ClusterError, DaskCluster, pack, train
from minidl.training.parameter_search import _Runner
from minidl.training.processes import as_processes, run_tasks

needs_signals = pytest.mark.skipif(os.name == "nt", reason="needs the signals of POSIX")
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # of Dask's sockets


def start(**options):
    distributed = pytest.importorskip("distributed")
    options = {"threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": logging.CRITICAL} | options
    return distributed.LocalCluster(**options)


@pytest.fixture(scope="module", params=[2, 4])
def cluster(request):
    with start(n_workers=request.param) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def one_cluster():
    with start(n_workers=2) as cluster:
        yield cluster


@pytest.fixture
def client(one_cluster):
    one_cluster.scale(2)  # where a test before had Dask give one up
    with one_cluster.get_client() as client:
        client.wait_for_workers(2, timeout=60)
        yield client


@pytest.fixture
def threads():
    """A cluster that is there at once, a thread of this process."""
    with start(n_workers=1, processes=False) as cluster, cluster.get_client() as client:
        yield client


@pytest.fixture
def each_epoch(monkeypatch):
    """Each epoch of a search is a task."""
    monkeypatch.setattr(module, "TASK_SECONDS", 0.0)


class Inline:
    """A cluster that is this process: tasks are packed, called and followed in their order."""

    task_seconds = 0.0

    def results(self, tasks, follow=None):
        for number, first in enumerate(tasks):
            task = first
            while task is not None:
                content, items = pack(task)
                result = train(content, *items)
                task = follow and follow(number, result)
            yield number, result


@pytest.fixture
def inline(monkeypatch):
    monkeypatch.setattr("minidl.training.parameter_search.as_processes", lambda jobs: jobs or 1)
    return Inline()


def slow_classifier(seconds):
    """What makes a classifier each of whose batches takes so long."""

    class Wait(Layer):
        def forward(self, x, training=False):
            time.sleep(seconds * training)
            return x

        def backward(self, dy):
            return dy

    def build(units=8, seed=0):
        return Sequential([Wait(), Dense(units), ReLU(), Dropout(0.2), Dense(3), SoftmaxCrossEntropy()], seed=seed)

    return build


def validate(build=network, x=x, y=y, **options):
    return cross_validate(lambda seed: build(seed=seed), x, y, **{"folds": 3, "epochs": 2, "progress": False} | options)


def assert_same_runs(one, two):
    pd.testing.assert_frame_equal(one.scores, two.scores, check_exact=True)
    for first, second in zip(one.runs, two.runs, strict=True):
        assert (first.seed, first.fold, dict(first.history)) == (second.seed, second.fold, dict(second.history))
        assert np.array_equal(first.scores, second.scores)
        assert np.array_equal(first.held_out, second.held_out)


def pids(cluster):
    """The workers' processes, without those that only begin: Dask does not start one again that never came up."""
    known = {*cluster.scheduler.workers}
    return [nanny.pid for nanny in list(cluster.workers.values()) if nanny.worker_address in known]


# The bits of a single process


@pytest.fixture(params=["client", "backend"])
def way(request, client):
    """What to give as jobs, and within which context."""
    if request.param == "client":
        return client, joblib.parallel_config()
    return 2, joblib.parallel_config(backend="dask", wait_for_workers_timeout=60)


def test_cross_validation_has_the_runs_of_a_single_process_in_their_order(way):
    options = {"seeds": [4, 2], "x": FLOWERS, "transformer": by_columns(), "optimizer": Momentum(0.05)}
    (jobs, context), alone = way, validate(**options)
    with context:
        assert_same_runs(validate(jobs=jobs, **options), alone)


def test_a_search_has_the_table_of_a_single_process(way):
    options = {"epochs": 6, "halving": 3, "first_epochs": 2, "folds": 3, "transformer": StandardScaler()}
    (jobs, context), alone = way, look(**options)
    with context:
        assert_same(look(jobs=jobs, **options), alone)


def is_first(predictions, targets):
    return (predictions == 0).astype(float)


def full_batch(units, seed):
    model = Sequential([Dense(units), Tanh(), Dense(1), MeanSquaredError()], seed=seed)
    return Trainer(model, LBFGS(), batch_size=None, seed=seed)


def soon_over(units, seed):
    model = Sequential([Dense(units), Dense(1), MeanSquaredError()], dtype="float64", seed=seed)
    return Trainer(model, LBFGS(tolerance=0.5), batch_size=None, seed=seed)


RUNS = {
    "mini-batches": functools.partial(look, epochs=3, halving=3, candidates=3),
    "folds": functools.partial(look, epochs=2, folds=2, candidates=2, transformer=StandardScaler()),
    "average": functools.partial(
        look, network, {"units": [4, 8]}, epochs=4, average=ExponentialMovingAverage(0.9), metrics=[is_first]
    ),
    "diverging": functools.partial(look, regression, {"rate": [1e9, 1e-3]}, line, line, epochs=4, halving=2),
    "full batch": functools.partial(look, full_batch, {"units": [2, 3]}, line, line**2, epochs=4, halving=2),
    "soon over": functools.partial(look, soon_over, {"units": [2, 3]}, epochs=64, halving=2, first_epochs=32),
}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_a_run_that_is_handed_in_after_each_epoch_goes_on_to_the_same_bits(run, inline, tmp_path, monkeypatch):
    alone = run()
    assert_same(run(jobs=inline), alone)
    assert_same(run(jobs=inline, journal=tmp_path), alone)
    monkeypatch.setattr(_Runner, "train", None)
    assert_same(run(journal=tmp_path), alone)  # with nothing left to train


def test_parts_of_ones_own_are_found_again_by_a_worker_that_gets_them_with_each_task(inline):
    build = slow_classifier(0)
    options = {"space": {"units": [4, 8, 16]}, "epochs": 2, "halving": 2}
    assert_same(look(build, jobs=inline, **options), look(build, **options))


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_stopped_before_any_write_of_a_journal_from_a_cluster_a_search_goes_on_to_the_same_bits(
    run, inline, tmp_path, monkeypatch
):
    alone, writes = run(), 0
    for stop_at in range(1, 100):
        counted = 0

        def stopping(write, stop_at=stop_at):
            def wrapped(path, *arguments, **options):
                nonlocal counted
                if tmp_path in path.parents:
                    counted += 1
                    if counted == stop_at:
                        raise KeyboardInterrupt
                return write(path, *arguments, **options)

            return wrapped

        journal = tmp_path / str(stop_at)
        with monkeypatch.context() as patch:
            patch.setattr("minidl.training.journal.atomic_write", stopping(atomic_write))
            try:
                run(jobs=inline, journal=journal)
            except KeyboardInterrupt:
                writes += 1
            else:
                break
        assert_same(run(journal=journal), alone)
    assert writes >= 5


# Workers that come and go


class Killer:
    """Kills workers at random moments, and has others join where Dask does not start them again."""

    def __init__(self, cluster, seed, kills=2, at_once=1, most=0.6):
        self.cluster, self.rng, self.kills = cluster, np.random.default_rng(seed), kills
        self.at_once, self.most, self.size = at_once, most, len(cluster.workers)
        self.killed, self.left = 0, threading.Event()

    def __enter__(self):
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.left.set()
        self.thread.join()

    def run(self):
        while not self.left.wait(self.rng.uniform(0.05, self.most)):
            found = pids(self.cluster)
            if self.killed < self.kills and len(found) >= self.at_once:
                for pid in self.rng.permutation(found)[: self.at_once].tolist():
                    os.kill(pid, signal.SIGKILL)
                self.killed += 1
            elif len(self.cluster.workers) < self.size:
                self.cluster.scale(self.size)


@needs_signals
def test_cross_validation_ends_in_the_same_bits_whichever_workers_are_killed(cluster):
    size = len(cluster.workers)
    options = {"build": slow_classifier(0.01), "seeds": 2, "epochs": 3}
    alone = validate(**options)
    with cluster.get_client() as client, Killer(cluster, seed=size) as killer:
        assert_same_runs(validate(jobs=client, **options), alone)
    assert killer.killed


@needs_signals
def test_a_search_ends_in_the_same_table_whichever_workers_are_killed(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TASK_SECONDS", 0.1)
    size = len(cluster.workers)
    build, space = slow_classifier(0.01), {"units": [4, 8, 16]}
    options = {"epochs": 4, "halving": 2, "folds": 2}
    alone = look(build, space, **options)
    with cluster.get_client() as client, Killer(cluster, seed=size) as killer:
        assert_same(look(build, space, jobs=client, journal=tmp_path, **options), alone)
    assert killer.killed
    monkeypatch.setattr(_Runner, "train", None)
    assert_same(look(build, space, journal=tmp_path, **options), alone)  # the journal is whole


@needs_signals
def test_data_that_are_lost_with_all_workers_are_scattered_again(one_cluster, client):
    rng = np.random.default_rng(0)
    large, labels = rng.normal(size=(1500, 100)), rng.integers(3, size=1500)
    options = {"build": slow_classifier(0.005), "x": large, "y": labels, "epochs": 2}
    alone = validate(**options)
    with Killer(one_cluster, seed=0, kills=1, at_once=2) as killer:
        assert_same_runs(validate(jobs=client, **options), alone)
    assert killer.killed


def test_the_first_worker_may_come_after_the_call():
    with start(n_workers=0, processes=False) as cluster, cluster.get_client() as client:
        timer = threading.Timer(0.3, cluster.scale, args=[1])
        timer.start()
        assert_same_runs(validate(jobs=client), validate())
        timer.join()


@needs_signals
def test_a_run_that_kills_its_workers_is_an_error_that_says_where_to_look(one_cluster, client, monkeypatch):
    monkeypatch.setattr(one_cluster.scheduler, "allowed_failures", 0)
    here = os.getpid()

    class Dies(Layer):
        def forward(self, x, training=False):
            if os.getpid() != here:
                os.kill(os.getpid(), signal.SIGKILL)
            return x

        def backward(self, dy):
            return dy

    def build(seed):
        return Sequential([Dies(), Dense(3), SoftmaxCrossEntropy()], seed=seed)

    with pytest.raises(
        ClusterError, match=r"run \d of 3 was on 1 Dask workers that died: their logs say why"
    ) as raised:
        validate(build, jobs=client)
    assert len(str(raised.value)) <= 300


def test_a_scheduler_that_ends_is_an_error():
    with start(n_workers=1, processes=False) as cluster, cluster.get_client() as client:
        threading.Timer(0.3, cluster.close).start()
        with pytest.raises(ClusterError, match="see whether scheduler and workers run"):
            validate(slow_classifier(0.01), jobs=client, epochs=10**6)


# What lies where


def test_data_that_runs_share_are_scattered_once(client, monkeypatch):
    large, labels = np.random.default_rng(0).normal(size=(2400, 100)), np.arange(2400) % 3
    scattered = []
    scatter = client.scatter
    monkeypatch.setattr(client, "scatter", lambda data, **options: scattered.extend(data) or scatter(data, **options))
    validate(x=large, y=labels, seeds=2, jobs=client, epochs=1)
    assert [item.shape for item in scattered] == [large.shape]
    scattered.clear()
    look(network, {"units": [4, 8, 16]}, large, labels, jobs=client, folds=3)
    assert [item.shape for item in scattered] == [large.shape]
    scattered.clear()
    look(network, {"units": [4, 8]}, large, labels, jobs=client, folds=3, transformer=StandardScaler(), halving=2)
    assert sorted(item.shape for item in scattered) == [(800, 100)] * 3 + [(1600, 100)] * 3 + [(2400, 100)]


def test_tasks_are_small_however_many_rows_there_are(client, monkeypatch):
    sizes, submit = [], client.submit

    def noted(function, *arguments, **options):
        sizes.extend(len(each) for each in arguments if isinstance(each, bytes))
        return submit(function, *arguments, **options)

    monkeypatch.setattr(client, "submit", noted)
    validate(x=np.random.default_rng(0).normal(size=(1300, 100)), y=np.arange(1300) % 3, jobs=client, epochs=1)
    assert sizes
    assert max(sizes) < 50_000


def test_workers_keep_no_data_and_no_results_of_a_call_that_is_over(client):
    large, labels = np.random.default_rng(0).normal(size=(2400, 100)), np.arange(2400) % 3
    validate(x=large, y=labels, jobs=client, epochs=1)
    end = time.monotonic() + 30
    while any(client.has_what().values()):
        assert time.monotonic() < end, client.has_what()
        time.sleep(0.05)


def test_only_the_process_that_searches_writes_the_journal(client, each_epoch, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    client.run(os.chdir, str(tmp_path / "there"))
    monkeypatch.chdir(tmp_path / "here")
    result = look(jobs=client, journal="night", epochs=3)
    assert not list((tmp_path / "there").iterdir())
    assert len(list((tmp_path / "here" / "night").glob("candidate_*.npz"))) == len(result.runs) == 6


def test_arrays_and_tables_that_are_large_are_apart_from_a_task_each_once():
    large = np.zeros((2**17, 1))
    frame = pd.DataFrame({"number": np.arange(2**17), "text": "word"})
    matrix = csr_array(np.eye(512))
    small = np.ones(10)
    content, items = pack(functools.partial(tuple, [large, frame, [large, small], matrix, large[:, 0]]))
    assert len(content) < 2000
    for item, expected in zip(items, [large, frame, matrix], strict=False):
        assert item is expected
    again = train(content, *items)
    assert again[0] is again[2][0] is large
    assert again[1] is frame
    assert again[2][1].tolist() == small.tolist()
    with pytest.raises(pickle.UnpicklingError):  # it is no plain pickle
        pickle.loads(content)


NUMBERS, TEXTS = np.arange(12_500.0), [f"{number:200}" for number in range(600)]
APART = {
    "an array": (NUMBERS, NUMBERS[:-50]),
    "an array of bytes": (np.zeros(100_000, np.uint8), np.zeros(99_000, np.uint8)),
    "a table": (pd.DataFrame(NUMBERS.reshape(-1, 5)), pd.DataFrame(NUMBERS[:12_000].reshape(-1, 5))),
    "a table of long texts": (pd.DataFrame({"text": TEXTS}), pd.DataFrame({"text": TEXTS[:300]})),
    "an array of long texts": (np.array(TEXTS, object), np.array(TEXTS[:300], object)),
    "a sparse matrix": (csr_array(np.ones((100, 100))), csr_array(np.ones((60, 100)))),
}


@pytest.mark.parametrize("name", APART)
def test_what_takes_100_kb_is_apart_from_a_task(name):
    large, small = APART[name]
    content, items = pack(functools.partial(tuple, [large]))
    assert len(content) < 2000
    assert items[0] is large
    content, items = pack(functools.partial(tuple, [small]))
    assert not items
    assert len(content) < 100_000


def test_threads_of_a_worker_take_turns():
    with start(n_workers=1, processes=False, threads_per_worker=3) as cluster, cluster.get_client() as client:
        with pytest.warns(UserWarning, match="a Dask worker trains one network at a time"):
            result = validate(jobs=client)
        assert_same_runs(result, validate())


# What reaches the user


def test_an_error_in_a_run_is_that_of_a_single_process(client):
    def augment(inputs, rng):
        if len(inputs) == 4:  # the last of 100 rows in batches of 32; the trial before the training has one row
            raise ValueError("too few")
        return inputs

    with pytest.raises(ValueError, match=r"^seed 3, fold \d: too few$"):
        validate(seeds=[3], augment=augment, jobs=client)
    with (
        np.errstate(over="ignore", invalid="ignore"),
        pytest.raises(DivergenceError, match=r"seed 0, fold \d: the loss is .* at epoch"),
    ):
        validate(
            lambda seed: Sequential([Dense(8), Dense(1), MeanSquaredError()], seed=seed),
            optimizer=Momentum(1e6),
            epochs=30,
            jobs=client,
        )


def test_a_bar_counts_the_runs_as_they_come(threads, capfd):
    validate(jobs=threads, progress=True)
    assert "cross-validation: 3/3" in capfd.readouterr().err


@needs_signals
@pytest.mark.parametrize("folds", [None, 3])
def test_ctrl_c_is_let_through_and_the_workers_end_their_runs(client, folds, tmp_path):
    timer = threading.Timer(0.5, signal.raise_signal, args=[signal.SIGINT])
    timer.start()
    build = slow_classifier(0.001)
    with pytest.raises(KeyboardInterrupt, match="to continue it" if folds is None else None):
        if folds:
            validate(build, jobs=client, epochs=10**9, folds=folds)
        else:
            look(build, {"units": [4, 8, 16]}, jobs=client, epochs=10**9, journal=tmp_path)
    end = time.monotonic() + 30
    while any(client.run(lambda dask_worker: dask_worker.state.executing_count).values()):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert len(client.nthreads()) == 2  # none was lost


class Counts(Callback):
    """Tells how many epochs there were, in a file."""

    def on_epoch_end(self, trainer):
        assert trainer.epoch < 1000


def test_callbacks_come_to_the_workers(threads):
    assert_same_runs(validate(jobs=threads, callbacks=[Counts()]), validate(callbacks=[Counts()]))


def test_what_is_no_client_that_can_be_used_is_refused_before_any_training(threads):
    with pytest.raises(ArgumentTypeError, match=r"jobs is 'dask'; give a number.*pip install 'minidl\[dask\]'"):
        validate(jobs="dask")
    with pytest.raises(ArgumentTypeError, match=r"jobs is LocalCluster\(.*from distributed import Client"):
        validate(jobs=threads.cluster)
    threads.close()
    with pytest.raises(ArgumentError, match=r"the Dask client is closed; give one that is connected"):
        look(jobs=threads)
    with pytest.raises(ArgumentError, match="the Dask client is asynchronous"):
        DaskCluster(SimpleNamespace(asynchronous=True))


# Backends of joblib


class Listing(joblib.parallel.BACKENDS["threading"]):
    """A backend of somebody else that cannot return results as they come, as Ray's."""

    supports_return_generator = False


@pytest.fixture
def listing(monkeypatch):
    monkeypatch.setitem(joblib.parallel.BACKENDS, "listing", Listing)


def test_a_backend_that_returns_all_results_at_the_end_serves_too(listing):
    with joblib.parallel_config(backend="listing"):
        assert isinstance(as_processes(-1), BackendCluster)
        assert as_processes(1) == as_processes(None) == 1
        assert_same_runs(validate(jobs=2), validate())
        assert_same(look(jobs=2, halving=2), look(halving=2))


def test_a_search_by_a_backend_leaves_the_journal_of_a_single_process(listing, tmp_path, monkeypatch):
    with joblib.parallel_config(backend="listing"):
        found = look(jobs=2, journal=tmp_path, folds=2)
    monkeypatch.setattr(_Runner, "train", None)
    assert_same(look(journal=tmp_path, folds=2), found)


def test_joblibs_own_backends_are_processes_as_ever():
    with joblib.parallel_config(backend="threading"):
        assert as_processes(2) == 2
        found = run_tasks([os.getpid] * 2, processes=as_processes(2), name="two", progress=False)
    assert os.getpid() not in found
