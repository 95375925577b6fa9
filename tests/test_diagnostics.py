import importlib.metadata
import platform

import numpy as np
import pytest
import threadpoolctl

import minidl
from minidl import kernels

POOL = {"user_api": "blas", "internal_api": "openblas", "version": "0.3", "filepath": "lib.so", "num_threads": 7}


@pytest.fixture
def shown(monkeypatch, capsys):
    """Print the report of a machine with these pools; return it."""

    def show(pools, faster=False):
        monkeypatch.setattr(threadpoolctl, "threadpool_info", lambda: pools)
        monkeypatch.setattr(kernels, "are_faster_here", lambda: faster)
        minidl.show_versions()
        return capsys.readouterr().out

    return show


def test_the_report_names_versions_processor_kernels_and_threads(shown):
    text = shown([POOL | {"architecture": "SkylakeX"}])
    for line in (
        f"python: {platform.python_version()}",
        f"minidl: {minidl.__version__}",
        f"numpy: {np.__version__}",
        f"scikit-learn: {importlib.metadata.version('scikit-learn')}",
        "library: openblas 0.3",
        "kernels: SkylakeX",
        "threads: 7",
    ):
        assert line in text
    assert "faster kernels" not in text


def test_slower_kernels_than_the_processor_has_are_reported_with_the_cure(shown):
    text = shown([POOL | {"architecture": "Haswell"}], faster=True)
    assert "Import minidl before NumPy" in text
    assert "OPENBLAS_CORETYPE=SkylakeX" in text
    assert "faster kernels" not in shown([POOL | {"architecture": "Haswell"}])
    assert "faster kernels" not in shown([POOL | {"architecture": "SkylakeX"}], faster=True)


def test_a_library_that_tells_nothing_is_said_to(shown):
    assert "kernels and threads are not known" in shown([])
    assert "kernels: unknown" in shown([POOL])


def test_a_package_that_is_missing_is_said_to_be(shown, monkeypatch):
    def version(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert "numpy: not installed" in shown([POOL])


def test_the_processor_is_named_also_where_there_is_no_proc(shown, monkeypatch):
    from minidl import diagnostics

    monkeypatch.setattr(diagnostics.Path, "exists", lambda path: False)
    monkeypatch.setattr(platform, "processor", lambda: "a very fast one")
    assert "processor: a very fast one" in shown([POOL])
