"""The benchmark of large batches runs, and LARS, LAMB and local SGD do in it what their papers say."""

import importlib
import re

import numpy as np
import pytest
from scripts import ROOT

from minidl import Momentum


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("large_batches")


def test_every_way_to_train_has_a_line_which_goes_into_a_document(
    benchmark, mnist_folder, tmp_path, capsys, monkeypatch
):
    for kind in benchmark.RATES:
        monkeypatch.setitem(benchmark.RATES, kind, (0.001,))
    document = tmp_path / "document.md"
    document.write_text("<!-- large batches -->\n\n```text\n```\n")
    options = ["--rows", "256", "--epochs", "1", "--seeds", "1", "--data", mnist_folder, "--document", document]
    benchmark.main([str(option) for option in options])
    out = capsys.readouterr().out
    lines = out.strip().splitlines()
    assert lines[0] == "784-128-64-10 on MNIST, 1 epochs of 256 rows, 240 to validate;"
    assert max(map(len, lines)) <= 80
    cells = {line: line.count("±") + line.count("diverged") for line in lines[4:]}
    assert [count for count in cells.values() if count] == [3, 3, 2, 2, 2, 2, 2, 2, 3, 3]
    sums = [line.split()[-3:] for line in lines if line.startswith("sums an epoch")]
    assert sums == [["4", "1", "1"], ["1", "1", "1"]]
    assert re.search(r"^Momentum, x k +- ", out, re.MULTILINE)  # a small batch has nothing to scale
    assert "(0.064)" in out  # of 4,096 rows, 64 times 0.001
    assert "(0.008)" in out  # for Adam, and of 512 rows for Momentum
    assert out.strip() in document.read_text()


def test_the_best_rate_is_looked_for_between_those_given(benchmark, monkeypatch):
    tried = []

    def accuracy(method, rate, seed, epochs, data):
        tried.append(round(rate, 4))
        return -abs(np.log10(rate / 0.02))

    monkeypatch.setattr(benchmark, "train", accuracy)
    method = benchmark.Method("", 64, Momentum, (0.001, 0.01, 0.1))
    assert benchmark.search(method, 1, None) == pytest.approx(0.01 * 10**0.25)
    assert tried == [0.001, 0.01, 0.1, 0.0178, 0.0056]


@pytest.mark.parametrize("kind", ["LARS", "LAMB"])
def test_a_first_step_moves_each_array_of_weights_by_a_share_of_its_norm(benchmark, kind):
    rng = np.random.default_rng(0)
    parameters, gradients = rng.normal(size=(2, 12))
    optimizer = getattr(benchmark, kind)(0.1, weights=[slice(0, 6), slice(8, 12)])
    before = parameters.copy()
    optimizer.apply(parameters, gradients)
    # Both papers' steps have the direction of the first gradient; LAMB's, as Adam's, that of its signs.
    direction = -gradients if kind == "LARS" else -np.sign(gradients)
    for part in (slice(0, 6), slice(8, 12)):
        expected = 0.1 * np.linalg.norm(before[part]) * direction[part] / np.linalg.norm(direction[part])
        np.testing.assert_allclose(parameters[part] - before[part], expected, rtol=1e-6)
    np.testing.assert_allclose(parameters[6:8] - before[6:8], 0.1 * direction[6:8], rtol=1e-6)


@pytest.mark.parametrize("kind", ["LARS", "LAMB"])
def test_without_arrays_of_weights_lars_is_momentum_and_lamb_adam(benchmark, kind):
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(size=(1, 9)).repeat(2, axis=0)
    optimizer = getattr(benchmark, kind)(0.1)
    original = type(optimizer).__base__(0.1)
    for gradients in rng.normal(size=(5, 9)):
        optimizer.apply(ours, gradients)
        original.apply(theirs, gradients)
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)


def test_parameters_averaged_after_every_step_are_those_of_one_large_batch(benchmark):
    rng = np.random.default_rng(0)
    rows = benchmark.WORKERS * benchmark.BATCH
    x, y = rng.integers(0, 256, (rows, 784), np.uint8), rng.integers(0, 10, rows)
    local = benchmark.Method("", benchmark.BATCH, Momentum, (), every=1)
    trained = benchmark.train_locally(local, 0.01, 1, 3, (x, x, y, y))
    whole = benchmark.make_trainer(benchmark.Method("", rows, Momentum, ()), 0.01, 1, 3)
    whole.fit(x, y, epochs=3, progress=False)
    first = benchmark.build(1).parameters
    # float32, and sums in another order
    np.testing.assert_allclose(trained.model.parameters - first, whole.model.parameters - first, rtol=1e-3, atol=1e-6)
