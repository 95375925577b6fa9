"""The tables that benchmarks print fit a terminal of 80 columns."""

import importlib

import pandas as pd
import pytest
from scripts import ROOT


def load(monkeypatch, module):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module(module)


@pytest.mark.parametrize("columns", [1, 3, 12])
def test_a_table_of_many_columns_goes_on_below_with_nothing_lost(monkeypatch, columns):
    table_text = load(monkeypatch, "reports").table_text
    names = [f"validation loss {number}" for number in range(columns)]
    index = pd.Index(["SGD", "StochasticWeightAveraging(Adam)"], name="optimizer")
    table = pd.DataFrame({name: [f"{name}a", f"{name}b"] for name in names}, index=index)
    lines = table_text(table).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines == [line.rstrip() for line in lines]
    words = " ".join(line for line in lines if line.startswith("SGD")).replace("SGD", "").split()
    assert words == " ".join(f"{name}a" for name in names).split()
    assert (len(lines) > 3) == (columns > 2)


def test_a_table_goes_on_below_without_empty_rows(monkeypatch):
    table_text = load(monkeypatch, "reports").table_text
    rates = {f"rate {number}": ["91.6%" if number < 9 else "", "93.4%" if number > 2 else ""] for number in range(12)}
    lines = table_text(pd.DataFrame(rates, index=["SGD", "Adam"])).splitlines()
    first, second = lines[: lines.index("")], lines[lines.index("") + 1 :]
    assert [line.split()[0] for line in first[1:]] == ["SGD", "Adam"]
    assert [line.split()[0] for line in second[1:]] == ["Adam"]
    assert " ".join(lines).count("91.6%") == " ".join(lines).count("93.4%") == 9


def test_the_times_of_many_peers_go_on_below_with_nothing_lost(monkeypatch, capsys):
    report = load(monkeypatch, "contestants.report")
    peers = ["minidl", "estimators", "pytorch", "pytorch-compiled", "jax-step", "jax-scan", "scikit-learn", "skorch"]
    rows = [
        ["", *peers],
        *([name, *(f"{number}2.3 ms" for number in range(8))] for name in ("tiny", "small-fullbatch")),
    ]
    report.print_table("Median time", rows)
    _, title, *lines = capsys.readouterr().out.splitlines()
    assert title == "Median time"
    assert max(map(len, lines)) <= 80
    printed = [line for line in lines if line.startswith("tiny")]
    assert len(printed) == 2
    assert " ".join(printed).replace("tiny", "").split() == " ".join(rows[1][1:]).split()


def test_few_peers_are_one_table(monkeypatch, capsys):
    report = load(monkeypatch, "contestants.report")
    report.print_table("Ratio", [["", "minidl", "scikit-learn"], ["tiny", "1.00", "0.25"]])
    assert capsys.readouterr().out.splitlines() == [
        "",
        "Ratio",
        "      minidl  scikit-",
        "                learn",
        "tiny    1.00     0.25",
    ]


def test_ratios_are_those_of_minidl_and_of_minidl_with_compiled_code(monkeypatch):
    report, results = load(monkeypatch, "contestants.report"), load(monkeypatch, "contestants.results")
    lineup = load(monkeypatch, "contestants.lineup")
    peers = [peer for peer in lineup.PEERS if peer.name in {"minidl", "minidl-fast", "scikit-learn"}]
    measured = results.Results([lineup.WORKLOADS[0]], peers, {"rounds": 1})
    for peer, seconds in zip(peers, (2.0, 1.0, 4.0), strict=True):
        measured.rounds["deep-sgd"][lineup.Run(peer, peer.variants[0]).name] = [{"seconds": [seconds]}]
    assert [rows[1] for rows in report.tables(measured).values()] == [
        ["deep-sgd", "2.00 s", "1.00 s", "4.00 s"],
        ["deep-sgd", "1.00", "2.00", "0.50"],
        ["deep-sgd", "0.50", "1.00", "0.25"],
    ]
