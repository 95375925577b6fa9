"""The comparison of optimizers: what it runs, what it leaves, and its arithmetic on tables made by hand."""

import importlib.util
import re
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scripts import ROOT, run
from sklearn.metrics import r2_score

from minidl import SGD, Adam, Dense, Lookahead, MeanSquaredError, Optimizer, Sequential, optimizers
from minidl.optimizers import OPTIMIZERS

SCRIPT = ROOT / "benchmarks" / "optimizers.py"
SMALL = ["--problems", "friedman1", "--quick", "--epochs", "3", "--seeds", "2"]
LION = """
import numpy as np
from minidl import Optimizer

class Lion(Optimizer):
    beta: float = 0.9
    slots = ("mean",)

    def update(self, parameters, gradients, learning_rate, mean):
        parameters -= learning_rate * np.sign(self.beta * mean + (1 - self.beta) * gradients)
        mean *= 0.99
        mean += 0.01 * gradients
"""


@pytest.fixture(scope="module")
def benchmark():
    specification = importlib.util.spec_from_file_location("optimizers_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    sys.modules[module.__name__] = module
    sys.path.insert(0, str(SCRIPT.parent))  # as where a script is run
    specification.loader.exec_module(module)
    yield module
    sys.path.remove(str(SCRIPT.parent))
    del sys.modules[module.__name__]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The output folder and the text of a run in two processes, with an optimizer of the user's."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "mine.py").write_text(LION)
    options = ["--only", "SGD", "--optimizer", "mine:Lion(beta=0.8)", "--rates", "1000,0.001,0.01"]
    result = run("benchmarks/optimizers", *SMALL, *options, "--jobs", 2, cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder, result.stdout


def test_a_run_tries_every_rate_once_and_the_best_from_other_seeds(finished):
    folder, _ = finished
    results = pd.read_csv(folder / "runs/optimizers/friedman1/results.csv")
    assert results["optimizer"].unique().tolist() == ["SGD", "Lion(beta=0.8)"]
    for _, runs in results.groupby("optimizer"):
        searched, compared = (runs[runs["purpose"] == purpose] for purpose in ("search", "comparison"))
        assert searched["rate"].tolist() == [0.001, 0.01, 1000]
        assert searched["seed"].tolist() == [0, 0, 0]
        best = searched.loc[searched["score"].idxmax(), "rate"]
        assert compared["rate"].tolist() == [best, best]
        assert compared["seed"].tolist() == [1, 2]


def test_a_rate_that_diverges_is_shown_as_diverged(finished):
    folder, text = finished
    results = pd.read_csv(folder / "runs/optimizers/friedman1/results.csv")
    assert results[results["diverged"]][["optimizer", "rate"]].to_numpy().tolist() == [["SGD", 1000]]
    (line,) = (line for line in text.splitlines() if line.startswith("SGD") and "diverged" in line)
    assert line.split()[-1] == "diverged"


def test_the_table_shows_mean_and_deviation_of_the_runs_compared(finished):
    folder, text = finished
    results = pd.read_csv(folder / "runs/optimizers/friedman1/results.csv")
    scores = results[(results["purpose"] == "comparison") & (results["optimizer"] == "SGD")]["score"]
    assert f"{scores.mean():.4f} ± {scores.std():.4f}" in text
    summary = pd.read_csv(folder / "runs/optimizers/friedman1/summary.csv", index_col="optimizer")
    assert summary.loc["SGD", "score_mean"] == pytest.approx(scores.mean())
    assert "0.01 (edge)" not in text  # 1000 was tried and diverged, so the best is no edge


def test_a_run_leaves_two_pictures(finished):
    folder, _ = finished
    for name in ("curves.png", "rates.png"):
        assert (folder / "runs/optimizers/friedman1" / name).read_bytes().startswith(b"\x89PNG")


def test_the_report_is_what_is_printed_and_goes_into_a_document(benchmark, finished, tmp_path):
    folder, text = finished
    report = (folder / "runs/optimizers/friedman1/report.txt").read_text()
    assert report in text
    tables = re.findall(r"^(?:SGD|Lion| ).*", report, re.MULTILINE)
    assert len(tables) >= 9
    assert max(map(len, tables)) <= 80
    document = tmp_path / "optimizers.md"
    document.write_text("Before\n\n<!-- friedman1 -->\n\n```text\nold\n```\n\nAfter\n\n```text\nother\n```\n")
    (tmp_path / "images").mkdir()
    friedman = SimpleNamespace(name="friedman1")
    for _ in range(2):
        benchmark.update_document(document, friedman, report.strip(), folder / "runs/optimizers/friedman1")
        block = f"<!-- friedman1 -->\n\n```text\n{report}```\n"
        assert document.read_text() == f"Before\n\n{block}\nAfter\n\n```text\nother\n```\n"
    pictures = {path.name for path in (tmp_path / "images").iterdir()}
    assert pictures == {"optimizers_friedman1_curves.png", "optimizers_friedman1_rates.png"}


def test_where_all_diverge_the_report_says_so(benchmark, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    benchmark.main([*SMALL, "--only", "SGD", "--rates", "1000,3000", "--jobs", "1", "--output", str(tmp_path)])
    assert "Diverged at every rate: SGD" in capsys.readouterr().out
    assert not (tmp_path / "friedman1" / "curves.png").exists()


def test_the_number_of_processes_changes_nothing_but_the_seconds(benchmark, finished, tmp_path, monkeypatch):
    folder, _ = finished
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    options = ["--only", "SGD", "--optimizer", "mine:Lion(beta=0.8)", "--rates", "1000,0.001,0.01"]
    benchmark.main([*SMALL, *options, "--jobs", "1", "--output", str(tmp_path)])
    for name in ("epochs", "results", "summary"):
        two, one = (pd.read_csv(path / "friedman1" / f"{name}.csv") for path in (folder / "runs/optimizers", tmp_path))
        columns = [column for column in one if not column.startswith("seconds")]
        pd.testing.assert_frame_equal(one[columns], two[columns], check_exact=True)


@pytest.mark.parametrize("network", ["784-10-10", "784-128-64-10"])
def test_the_networks_of_mnist_learn(benchmark, network, mnist_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    options = ["--only", "Adam", "--rates", "0.003", "--seeds", "1", "--jobs", "1", "--epochs", "8"]
    benchmark.main(["--problems", network, "--data", str(mnist_folder), *options, "--output", str(tmp_path)])
    assert f"network {network}, batch 64, 8 epochs" in (out := capsys.readouterr().out)
    assert "0.003 (edge)" in out
    summary = pd.read_csv(tmp_path / network / "summary.csv")
    assert summary["score_mean"][0] > 0.8


def test_r2_is_that_of_scikit_learn(benchmark):
    friedman = benchmark.make_friedman(SimpleNamespace(quick=True, epochs=2))
    model = friedman.build(0)
    predictions = model.predict(friedman.x_validation)
    losses = pd.DataFrame({"val_loss": [np.mean((predictions - friedman.y_validation) ** 2)]})
    assert friedman.score(losses)[0] == pytest.approx(r2_score(friedman.y_validation, predictions), abs=1e-6)


def test_seconds_are_of_the_steps_and_not_of_the_validation(benchmark, monkeypatch):
    moments = iter([10.0, 11.0, 12.5, 20.0, 21.0])
    monkeypatch.setattr(benchmark, "time", SimpleNamespace(perf_counter=lambda: next(moments)))
    timer = benchmark.EpochTimer()
    timer.on_epoch_begin(None)
    timer.on_batch_end(None)
    timer.on_batch_end(None)
    timer.on_epoch_end(None)  # after the validation
    timer.on_epoch_begin(None)
    timer.on_batch_end(None)
    timer.on_epoch_end(None)
    assert timer.seconds == [2.5, 1.0]


def test_a_threshold_is_reached_in_the_first_epoch_that_reaches_it(benchmark):
    epochs = pd.DataFrame(
        {
            "purpose": "comparison",
            "optimizer": "SGD",
            "rate": 0.1,
            "seed": [1, 1, 1, 2, 2, 2, 3, 3],
            "epoch": [1, 2, 3, 1, 2, 3, 1, 2],
            "loss": 1.0,
            "val_loss": 1.0,
            "score": [0.5, 0.9, 0.7, 0.7, 0.79, 0.8, 0.81, np.nan],
            "seconds": [1.0, 2.0, 3.0, 1.5, 3.0, 4.5, 1.0, np.nan],
        }
    )
    tables = SimpleNamespace(thresholds=(0.8, 0.95), metric="R²", threshold_name=str)
    results = benchmark.summarize_runs(tables, epochs)
    assert results["epochs_to_0.8"].tolist() == [2, 3, 1]
    assert results["seconds_to_0.8"].tolist() == [2.0, 4.5, 1.0]
    assert results["epochs_to_0.95"].isna().all()
    assert results["diverged"].tolist() == [False, False, True]
    searched = results.assign(purpose="search", seed=0)
    summary = benchmark.summarize(tables, pd.concat([searched, results]))
    text = benchmark.summary_tables(tables, summary)
    assert "2.0 ± 1.0" in text
    assert "0.7500 ± 0.0707 (2 of 3)" in text  # of the final scores 0.7 and 0.8
    assert "0.1 (edge)" in text


def results_of(**scores):
    """Return a table of results: for each optimizer the final scores by rate, None for diverged ones."""
    rows = [
        {"optimizer": name, "rate": rate, "score": score, "val_loss": 0.1, "diverged": score is None}
        for name, by_rate in scores.items()
        for rate, score in by_rate.items()
    ]
    return pd.DataFrame(rows).astype({"score": float})


def test_only_a_best_rate_at_the_edge_is_followed_beyond_it(benchmark):
    beyond = benchmark.rates_beyond(
        results_of(
            low={0.003: 0.9, 0.01: 0.8},
            high={0.3: 0.1, 1: 0.9},
            inside={0.1: 0.5, 0.3: 0.9, 1: 0.5},
            stopped={0.1: 0.5, 0.3: 0.9, 1: None},
            lost={0.1: None, 0.3: None},
        )
    )
    assert beyond.to_dict() == {"low": 0.001, "high": 3.0, "lost": 0.03}


def test_the_search_goes_on_until_the_best_rate_lies_within(benchmark, monkeypatch):
    def pretend(problem, runs, jobs, purpose):
        rows = [
            {"optimizer": c.name, "rate": rate, "seed": seed, "epoch": 1, "seconds": 1.0, "loss": 0.1, "val_loss": 0.1}
            | {"score": -abs(np.log10(rate / 30)), "purpose": purpose}
            for c, rate, seed in runs
        ]
        return pd.DataFrame(rows)

    monkeypatch.setattr(benchmark, "train_all", pretend)
    options = SimpleNamespace(rates=None, quick=False, jobs=1, seeds=5)
    epochs = benchmark.compare(SimpleNamespace(thresholds=()), [benchmark.Candidate("SGD", SGD)], options)
    assert epochs["rate"].tolist() == [1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100] + [30] * 5
    assert epochs["seed"].tolist() == [0] * 11 + [1, 2, 3, 4, 5]


def test_every_optimizer_of_minidl_is_found_also_a_later_one(benchmark, monkeypatch):
    names = [candidate.name for candidate in benchmark.own_candidates()]
    kinds = {name.partition("(")[0] for name in names}
    averages = {"ExponentialMovingAverage", "Lookahead", "StochasticWeightAveraging"}
    assert kinds == {kind.__name__ for kind in OPTIMIZERS.values()} | averages
    assert {"Momentum(nesterov=True)", "Lookahead(Adam)", "ExponentialMovingAverage(Adam)"} <= {*names}
    assert "Optimizer" not in names
    monkeypatch.setitem(OPTIMIZERS, "later", type("Later", (Optimizer,), {}))
    assert {candidate.name for candidate in benchmark.own_candidates()} == {*names, "Later"}


def test_every_optimizer_has_rates_that_suit_it_and_one_with_an_average_is_made_with_them(benchmark):
    for name, highest in (("SGD", 1), ("Adam", 0.1), ("Lion", 0.01), ("Adadelta", 10)):
        rates = benchmark.grid(False, getattr(optimizers, name))
        assert len(rates) == 7
        assert rates[-1] == highest
        assert benchmark.grid(True, getattr(optimizers, name)) == rates[-5::2]
    (averaged,) = (candidate for candidate in benchmark.own_candidates() if candidate.name == "Lookahead(Adam)")
    trainer = averaged.make_trainer(Sequential([Dense(1), MeanSquaredError()]), 0.3, 8, 1)
    assert (repr(trainer.optimizer), repr(trainer.average)) == (repr(Adam(0.3)), repr(Lookahead()))


def test_two_optimizers_of_one_name_are_told_apart(benchmark):
    again = benchmark.parse_candidate("minidl:Adam")
    names = [c.name for c in benchmark.choose_candidates(SimpleNamespace(only=["Adam"], optimizer=[again]))]
    assert names == ["Adam", "minidl.optimizers.adaptive:Adam"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "SDG"], "--only SDG: minidl has"),
        (["--optimizer", "minidl:Nadamax"], "minidl has no subclass of minidl.Optimizer named Nadamax"),
        (["--optimizer", "minidl:Dense"], "minidl has no subclass of minidl.Optimizer named Dense"),
        (["--optimizer", "nowhere:SGD"], "cannot import nowhere"),
        (["--optimizer", "minidl"], "'minidl' is no optimizer: write module:Class"),
        (["--optimizer", "minidl:Adam(0.5)"], "is no optimizer: write module:Class"),
        (["--optimizer", "minidl:Adam(beta1=print())"], "is no optimizer: write module:Class"),
        (["--optimizer", "minidl:Adam(gamma=1)"], "Adam has no setting 'gamma'"),
        (["--optimizer", "minidl:Adam(beta1=2)"], "Adam: beta1"),
        (["--optimizer", "minidl:Adam(learning_rate=1)"], "leave out learning_rate"),
        (["--rates", "0,1"], "'0,1' are no rates above 0"),
        (["--rates", "x"], "'x' are no rates above 0"),
        (["--seeds", "0"], "'0' is not a whole number of 1 or more"),
        (["--document", "nowhere.md"], "--document nowhere.md: there is no such file"),
        (["--problems", "mnist"], "invalid choice: 'mnist'"),
    ],
)
def test_a_wrong_option_is_one_plain_line(benchmark, arguments, message, capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises((SystemExit, benchmark.MinidlError)) as raised:
        benchmark.main(arguments)
    assert message in capsys.readouterr().err + str(raised.value)


def test_a_missing_joblib_is_named_with_its_cure(benchmark, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(benchmark.MissingDependencyError, match=r"needs joblib: pip install -e '\.\[bench\]'"):
        benchmark.main(SMALL)


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_ctrl_c_ends_at_once_and_in_one_line(tmp_path):
    command = [sys.executable, "-u", SCRIPT, "--problems", "friedman1", "--epochs", "10000", "--jobs", "2"]
    with subprocess.Popen(
        [*map(str, command), "--output", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr.readline() == "friedman1 ...\n"
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()  # where the signal was lost, as where it is ignored, a failure and no endless wait
    assert process.returncode == 1
    assert errors.strip() == "interrupted: the problems that were finished before are saved"
