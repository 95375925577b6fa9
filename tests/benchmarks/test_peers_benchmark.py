"""The workloads on sequences: what each framework trains is the same network, from the same numbers."""

import importlib

import numpy as np
import pytest
from scripts import ROOT

from minidl.compiled import is_on, switch

SEQUENCES = ["lstm", "transformer", "embedding"]


@pytest.fixture
def benchmarks(monkeypatch):
    """What loads a module of the benchmarks; afterwards compiled code is as it was."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    before = is_on()
    yield importlib.import_module
    switch(before)


def small(benchmarks, name):
    """Return the workload in two steps an epoch, and its rows."""
    workloads = benchmarks("contestants.workloads")
    (workload,) = (each for each in benchmarks("contestants.lineup").WORKLOADS if each.name == name)
    workload = workload._replace(rows=8, batch=4)
    positions, _ = workloads.SEQUENCE_NETWORKS[workload.network]
    peers = benchmarks("peers")
    x, y = (peers.make_words if workload.data == "words" else peers.make_text)(workload.rows, positions)
    return workload, workloads.Data(x, y)


@pytest.mark.parametrize("name", SEQUENCES)
def test_minidl_and_pytorch_have_the_same_losses_on_sequences(benchmarks, name):
    pytest.importorskip("torch")
    workload, data = small(benchmarks, name)
    own = benchmarks("contestants.minidl").trainer(workload, data, "")(range(3))
    for variant in ("fused", "foreach", *["sparse"] * (name == "embedding")):
        theirs = benchmarks("contestants.pytorch").trainer(workload, data, variant)(range(3))
        assert theirs == pytest.approx(own, rel=1e-4)  # float32, in six steps


@pytest.mark.parametrize("name", SEQUENCES)
def test_minidl_trains_on_sequences(benchmarks, name):
    workload, data = small(benchmarks, name)
    first, *_, last = benchmarks("contestants.minidl").trainer(workload, data, "")(range(4))
    assert 0 < last < first


def test_the_networks_have_the_sizes_that_are_told(benchmarks):
    network, counts = benchmarks("contestants.minidl").network, {}
    for name in SEQUENCES:
        counts[name] = network(small(benchmarks, name)[0]).count_parameters()
    block = 2 * 128 + 64 * 192 + 192 + 64 * 64 + 64 + 64 * 256 + 256 + 256 * 64 + 64
    assert counts == {
        "lstm": 80 * 64 + (64 + 64 + 1) * 256 + 65 * 80,
        "transformer": 80 * 64 + 64 * 64 + 2 * block + 128 + 65 * 80,
        "embedding": 50_000 * 64 + 65 * 10,
    }


def test_four_characters_follow_each_of_a_text(benchmarks):
    x, y = benchmarks("peers").make_text(400, 50)
    assert x.shape == y.shape == (400, 50)
    assert np.array_equal(x[:, 1:], y[:, :-1])
    assert all(len(np.unique(y[x == character])) <= 4 for character in range(80))
    assert x.min() == 0
    assert x.max() == 79


def test_only_frameworks_with_the_layers_run_on_sequences(benchmarks):
    lineup, peers = benchmarks("contestants.lineup"), benchmarks("peers")
    for workload in lineup.WORKLOADS:
        if workload.name in SEQUENCES:
            names = [run.name for run in peers.runs_of(workload, lineup.PEERS, brief=False)]
            assert names == [
                *["minidl", "minidl-fast", "pytorch (fused)", "pytorch (foreach)"],
                *["pytorch-sparse"] * (workload.name == "embedding"),
            ]
