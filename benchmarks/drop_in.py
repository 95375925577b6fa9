"""Run the tests of scikit-learn's MLP classes, from the installed package, on minidl's classes instead.

python benchmarks/drop_in.py

Only the import is changed. Tests of private details run only with --private; `PRIVATE` lists them.
"""

import argparse
import sys
import tempfile
from importlib import util
from pathlib import Path

import pytest
import sklearn

MODULE = "sklearn.neural_network.tests.test_mlp"
IMPORT = "from sklearn.neural_network import MLPClassifier, MLPRegressor"
SWAPPED = "from minidl.estimators import MLPClassifier, MLPRegressor"

PRIVATE = {
    "test_fit": "sets coefs_ and twelve private attributes of an estimator that is not fitted",
    "test_gradient": "calls _loss_grad_lbfgs",
    "test_learning_rate_warmstart": "reads _optimizer.learning_rate",
    "test_adaptive_learning_rate": "reads _optimizer.learning_rate",
    "test_n_iter_no_change": "reads _no_improvement_count",
    "test_n_iter_no_change_inf": "reads _no_improvement_count",
}
"""Tests of private details, and the detail that each one needs."""


class Outcomes:
    """Count the passed tests, and record the names of the failed ones."""

    def __init__(self) -> None:
        self.passed, self.failed = 0, []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record the outcome of a test."""
        if report.failed:
            self.failed.append(report.nodeid.rpartition("::")[2])
        elif report.when == "call":
            self.passed += report.passed


def main() -> None:
    """Swap the import, run the tests, and print their outcomes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--private", action="store_true", help="run the tests of private details, too")
    options = parser.parse_args()
    source = Path(util.find_spec(MODULE).origin).read_text(encoding="utf-8")
    if source.count(IMPORT) != 1:
        raise SystemExit(f"{MODULE} of scikit-learn {sklearn.__version__} does not contain {IMPORT!r}")
    left_out = {} if options.private else PRIVATE
    outcomes = Outcomes()
    with tempfile.TemporaryDirectory() as folder:
        tests = Path(folder, "test_mlp_of_minidl.py")
        tests.write_text(source.replace(IMPORT, SWAPPED), encoding="utf-8")
        arguments = [str(tests), "--rootdir", folder, "-q", "--no-header", "-p", "no:cacheprovider", "-W", "ignore"]
        arguments += ["-p", "sklearn.conftest", "--confcutdir", folder, "-c", "/dev/null"]
        for name in left_out:
            arguments += ["--deselect", f"{tests}::{name}", "--deselect", f"{tests.name}::{name}"]
        pytest.main(arguments, plugins=[outcomes])
    print(f"scikit-learn {sklearn.__version__}: {outcomes.passed} passed, {len(outcomes.failed)} failed")
    for name in outcomes.failed:
        print(f"  failed: {name}")
    for name, reason in left_out.items():
        print(f"  private: {name} {reason}")
    sys.exit(bool(outcomes.failed))


if __name__ == "__main__":
    main()
