"""Settings of all tests; and the Python blocks of README.md, CONTRIBUTING.md and docs/ run as tests.

The blocks of a document run in order and share their names; a block that starts with ``>>>`` must also print what
stands below it. A comment ``<!-- skip: ... -->`` leaves out what needs a library of an extra. Each document gets a
folder of its own, a small stand-in for MNIST, and no windows.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from doctest import ELLIPSIS
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

# A busy machine is no failure; and a mutation run executes each test again, on another instance of its class.
settings.register_profile(
    "minidl",
    settings(),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors],
)
settings.load_profile("minidl")

# A shell without job control starts a job in the background with Ctrl-C ignored, and processes inherit that: tests that
# press Ctrl-C, also in processes of their own, need Python's own handler.
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(doctest_optionflags=ELLIPSIS), SkipParser()],
    patterns=["README.md", "CONTRIBUTING.md", "docs/*.md", "docs/howto/*.md", "docs/tutorials/*.md"],
    fixtures=["document_folder"],
).pytest()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let coverage count what tests of minidl's parts reach. Scripts and documents take half as long without it."""
    for item in items:
        scripts = ("tests/benchmarks/", "tests/examples/", "tests/tools/")
        if item.nodeid.startswith((*scripts, "docs/", "README.md", "CONTRIBUTING.md")):
            item.add_marker("no_cover")


@pytest.fixture(scope="session")
def mnist_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MNIST's four files, of scikit-learn's digits."""
    return write_mnist(tmp_path_factory.mktemp("mnist"))


@pytest.fixture(scope="session")
def small_mnist_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of 60 digits to train on and 30 to test, for networks that take long."""
    return write_mnist(tmp_path_factory.mktemp("small_mnist"), 60, 30)


def write_mnist(folder: Path, train: int | None = None, test: int | None = None) -> Path:
    """Write the first of scikit-learn's digits, by default all, as MNIST's four files; return the folder."""
    from minidl.data.digits import load_digits_as_mnist

    digits = load_digits_as_mnist()
    for name, array in {
        "train-images-idx3-ubyte": digits.x_train[:train],
        "train-labels-idx1-ubyte": digits.y_train[:train],
        "t10k-images-idx3-ubyte": digits.x_test[:test],
        "t10k-labels-idx1-ubyte": digits.y_test[:test],
    }.items():
        header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
        (folder / name).write_bytes(header + array.astype(np.uint8).tobytes())
    return folder


@pytest.fixture(scope="module")
def document_folder(tmp_path_factory: pytest.TempPathFactory, mnist_folder: Path) -> Iterator[Path]:
    """The working folder of one document."""
    import matplotlib.pyplot as plt

    folder = tmp_path_factory.mktemp("document")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MINIDL_DATA", str(mnist_folder))
        plt.switch_backend("Agg")
        patch.setattr(plt, "show", lambda: None)  # which warns that Agg has no windows
        yield folder
        plt.close("all")
