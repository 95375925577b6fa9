"""The example of a table in scikit-learn's tools, in a short run."""

import functools
import json
import re
import runpy
import sys

import numpy as np
import pytest
from scripts import ROOT, run_here
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, GroupKFold
from threadpoolctl import threadpool_limits

SHORT = ["--folds", 2, "--epochs", 2]
CLASSIFIERS = [
    "logistic regression",
    "gradient boosting",
    "network",
    "network, balanced classes",
    "the same, calibrated",
]
REGRESSORS = ["ridge", "gradient boosting", "network", "network, no logarithm"]


def search_of_one_setting(model, settings, **options):
    """Make the search that is asked for, of the last of its settings alone; the others keep their last values."""
    *first, last = settings.items()
    return GridSearchCV(model, {name: values[-1:] for name, values in first} | dict([last]), **options)


@pytest.fixture(scope="module")
def short_run(tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "tabular"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sklearn.model_selection.GridSearchCV", search_of_one_setting)
        once = functools.partial(permutation_importance, n_repeats=1)
        patch.setattr("sklearn.inspection.permutation_importance", once)
        result = run_here("examples/tabular", *SHORT, "--output", output)
    assert result.returncode == 0, result.stderr
    return result.stdout, output


def test_the_tables_show_mean_and_deviation_of_each_metric_in_the_report(short_run):
    out, output = short_run
    report = json.loads((output / "report.json").read_text())
    assert "1,309 passengers on 929 tickets, of whom 61.8% died" in out
    assert max(map(len, re.findall(r".*\d \+- \d.*|.*log loss.*", out))) <= 80  # so that no table wraps
    survival, fares = out.split("\nfares of ")
    for part, names, digits, printed in (("survival", CLASSIFIERS, 3, survival), ("fares", REGRESSORS, 2, fares)):
        assert list(report[part]) == names
        for name, folds in report[part].items():
            assert len(folds) == 2
            values = np.array([list(fold.values()) for fold in folds])
            texts = [
                f"{mean:.{digits}f} +- {deviation:.{digits}f}"
                for mean, deviation in zip(values.mean(axis=0), values.std(axis=0, ddof=1), strict=True)
            ]
            # A table that is too wide has its last columns below the others.
            lines = re.findall(rf"^{name} +(\S+ \+- .*\d)$", printed, re.MULTILINE)
            assert re.split(" {2,}", "  ".join(lines)) == texts


def test_no_column_that_was_filled_in_afterwards_is_used(short_run):
    _, output = short_run
    used = json.loads((output / "report.json").read_text())["importance"].keys()
    known_at_departure = {"age", "siblings, spouses", "parents, children", "people on ticket", "fare"}
    assert used == known_at_departure | {"class", "sex", "title", "port"}


def test_the_models_learn_but_none_knows_the_answer(short_run):
    _, output = short_run
    report = json.loads((output / "report.json").read_text())
    for folds in report["survival"].values():
        # Women and children first: 0.76 by sex alone. Above 0.9 the lifeboat or the like would be known.
        assert all(0.7 < fold["ROC AUC"] < 0.9 for fold in folds)
    assert all(fold["R^2"] > 0.3 for fold in report["fares"]["ridge"])


def test_there_are_pictures_of_survival_and_fares(short_run):
    _, output = short_run
    assert {path.name for path in output.iterdir()} == {"fares.png", "report.json", "survival.png"}
    for name in ("fares.png", "survival.png"):
        assert (output / name).read_bytes().startswith(b"\x89PNG")


def test_fares_predicted_again_have_the_same_bits(short_run, monkeypatch):
    _, output = short_run
    monkeypatch.syspath_prepend(ROOT / "examples")
    example = runpy.run_path(str(ROOT / "examples" / "tabular.py"))
    monkeypatch.delitem(sys.modules, "example_options")
    passengers = example["load_passengers"]()
    priced = passengers[passengers["fare"] > 0]
    folds = list(GroupKFold(2).split(priced, groups=priced["ticket"]))
    with threadpool_limits(1):
        again = example["predict_fares"](priced, folds, epochs=2)
    report = json.loads((output / "report.json").read_text())
    assert example["evaluate"](example["regression_metrics"], priced["fare"], again, folds) == report["fares"]


def test_a_scikit_learn_without_the_table_is_one_plain_line(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.resources.files", lambda package: tmp_path / package)
    result = run_here("examples/tabular", "--output", tmp_path / "out")
    assert result.returncode != 0
    assert "was installed without the table of passengers, sklearn/datasets/tests/data" in result.stderr
    assert "install the wheel from PyPI" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--folds", "1"], "argument --folds: invalid choice: 1"),
        (["--epochs", "0"], "argument --epochs: '0' is not a whole number of 1 or more"),
        (["--output", __file__], "test_tabular.py is a file: give a folder"),
    ],
)
def test_a_wrong_option_of_the_table_is_one_plain_line(arguments, message):
    result = run_here("examples/tabular", *arguments)
    assert result.returncode != 0
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
