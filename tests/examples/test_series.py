"""The example of a series, in a short run."""

import json
import re
import runpy
import sys

import numpy as np
import pytest
from scripts import ROOT, run_here

SIMPLE = ["last week", "a year before", "a year before + rise"]
NETWORKS = ["Conv1D", "GRU", "Conv1D, GRU"]


@pytest.fixture(scope="module")
def short_run(tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "series"
    result = run_here("examples/series", "--epochs", 2, "--seeds", 2, "--output", output)
    assert result.returncode == 0, result.stderr
    return result.stdout, output, json.loads((output / "report.json").read_text())


@pytest.fixture(scope="module")
def example():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "examples")
        yield runpy.run_path(str(ROOT / "examples" / "series.py"))
        patch.delitem(sys.modules, "example_options")


@pytest.fixture(scope="module")
def measured():
    from statsmodels.datasets import co2

    return co2.load_pandas().data["co2"]


def test_the_table_shows_the_errors_in_the_report(short_run):
    out, _, report = short_run
    assert list(report["errors"]) == [*SIMPLE, "linear (ridge)", *NETWORKS]
    for name, parts in report["errors"].items():
        test, validation = np.array(parts["test"]), np.array(parts["validation"])
        assert test.shape == validation.shape == (2 if name in NETWORKS else 1, 52)
        rows = np.column_stack([test[:, [0, 3, 12, 25, 51]], test.mean(axis=1), validation.mean(axis=1)])
        expected = [f"{value:.3f}" for value in rows.mean(axis=0)]
        assert re.search(rf"^{re.escape(name)} +{' +'.join(expected)}$", out, re.MULTILINE)
        if name in NETWORKS:
            spread = [f"{value:.3f}" for value in rows.std(axis=0, ddof=1)]
            assert re.search(rf"^  \+- between seeds +{' +'.join(spread)}$", out, re.MULTILINE)
    assert max(map(len, out.splitlines())) <= 120


def test_what_is_best_on_the_validation_and_on_the_test_is_said(short_run):
    out, _, report = short_run
    least = [
        min(report["errors"], key=lambda name: np.mean(report["errors"][name][part])) for part in ("validation", "test")
    ]
    assert f"which chooses a model: {least[0]}; on the test data: {least[1]}" in out
    linear = np.mean(report["errors"]["linear (ridge)"]["test"])
    for name in NETWORKS:
        change = np.mean(report["errors"][name]["test"]) / linear - 1
        assert f"{name}: errors {abs(change):.1%} {'larger' if change > 0 else 'smaller'} than the linear" in out


def test_the_simple_forecasts_are_those_of_the_series_itself(short_run, measured):
    """They need no windows: the errors are those of the series beside itself, shifted."""
    _, _, report = short_run
    test = (measured.index >= "1994-01-01") & (measured.index <= measured.index[-53])
    now = measured
    for weeks in (1, 13, 52):
        truth, last_year = measured.shift(-weeks), measured.shift(52 - weeks)
        forecasts = now, last_year, last_year + now - measured.shift(52)
        for name, forecast in zip(SIMPLE, forecasts, strict=True):
            error = (forecast - truth)[test].abs().mean()
            assert report["errors"][name]["test"][0][weeks - 1] == pytest.approx(error)


def test_only_the_training_has_weeks_that_were_filled_in(example, measured):
    data = example["Forecasts"](example["load_carbon_dioxide"]())
    missing = measured.index[measured.isna()]
    assert len(missing) == 59
    assert missing[-1] < data.date[data.validation[0]]


def test_each_part_has_ended_before_the_next_begins(example):
    series = example["load_carbon_dioxide"]()
    data = example["Forecasts"](series)
    year = np.timedelta64(52 * 7, "D")
    assert data.date[data.train].max() + year < data.date[data.validation].min()
    assert data.date[data.validation].max() + year < data.date[data.test].min()
    assert data.date[data.test].max() + year == series.index[-1]
    values = series.to_numpy()
    for row in (data.train[0], data.validation[5], data.test[-1]):
        place = series.index.get_loc(data.date[row])
        np.testing.assert_allclose(data.x[row], values[place - 103 : place + 1] - values[place])
        np.testing.assert_allclose(data.y[row], values[place + 1 : place + 53] - values[place])
        assert data.now[row] == values[place]


def test_the_linear_forecast_and_the_networks_have_learnt(short_run):
    _, _, report = short_run
    errors = {name: np.mean(parts["test"]) for name, parts in report["errors"].items()}
    assert errors["linear (ridge)"] < 0.75 * errors["a year before + rise"]
    assert all(errors[name] < 0.6 * errors["last week"] for name in NETWORKS)  # in two epochs
    for name in NETWORKS:
        assert len(report["histories"][name]) == 2
        kept = [min(history["val_mean_absolute_error"]) for history in report["histories"][name]]
        np.testing.assert_allclose(np.mean(report["errors"][name]["validation"], axis=1), kept, rtol=1e-4)


def test_there_are_pictures_of_errors_and_forecasts(short_run):
    _, output, _ = short_run
    assert {path.name for path in output.iterdir()} == {"errors.png", "forecasts.png", "report.json"}
    for name in ("errors.png", "forecasts.png"):
        assert (output / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("weeks", "text"), [([7], "7"), ([1, 2, 3], "1-3"), ([1, 3, 4, 9], "1, 3-4, 9")])
def test_weeks_are_written_as_ranges(example, weeks, text):
    assert example["ranges"](np.array(weeks)) == text


def test_without_statsmodels_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "statsmodels.datasets", None)
    result = run_here("examples/series", "--output", tmp_path / "out")
    assert result.returncode != 0
    assert result.stderr == "error: the series needs statsmodels: pip install -e '.[series]'\n"
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "argument --epochs: '0' is not a whole number of 1 or more"),
        (["--seeds", "none"], "argument --seeds: 'none' is not a whole number of 1 or more"),
        (["--output", __file__], "test_series.py is a file: give a folder"),
    ],
)
def test_a_wrong_option_of_the_series_is_one_plain_line(arguments, message):
    result = run_here("examples/series", *arguments)
    assert result.returncode != 0
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
