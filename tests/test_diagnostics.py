import importlib.metadata
import platform

import numpy as np
import pytest
import threadpoolctl

import minidl
from minidl import diagnostics

POOL = {"user_api": "blas", "internal_api": "openblas", "version": "0.3", "filepath": "lib.so", "num_threads": 7}


WIDE = "processor : 0\nmodel name : Fast One\nflags : fpu avx2 avx512f avx512cd avx512dq avx512bw avx512vl\n"


@pytest.fixture
def shown(monkeypatch, capsys, tmp_path):
    """Print the report of a machine with these pools and this /proc/cpuinfo; return it."""

    def show(pools, cpuinfo=None):
        file = tmp_path / "cpuinfo"
        if cpuinfo is not None:
            file.write_text(cpuinfo)
        monkeypatch.setattr(diagnostics, "Path", lambda path: file)
        monkeypatch.setattr(threadpoolctl, "threadpool_info", lambda: pools)
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
        "Compiled code: ",
        "library: openblas 0.3",
        "kernels: SkylakeX",
        "threads: 7",
    ):
        assert line in text
    assert "faster kernels" not in text


@pytest.mark.parametrize(
    ("setting", "cure"),
    [
        (None, "set OPENBLAS_CORETYPE=SkylakeX, before"),
        ("Haswell", "unset OPENBLAS_CORETYPE, which is Haswell, before"),
    ],
)
def test_slower_kernels_than_the_processor_could_run_are_reported_with_the_cure(shown, monkeypatch, setting, cure):
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    if setting:
        monkeypatch.setenv("OPENBLAS_CORETYPE", setting)
    slow, fast = ([POOL | {"architecture": kernels}] for kernels in ("Haswell", "SkylakeX"))
    assert cure in shown(slow, WIDE)
    assert "AVX-512" not in shown(fast, WIDE)
    assert "AVX-512" not in shown(slow, WIDE.replace("avx512bw", ""))


def test_a_library_that_tells_nothing_is_said_to(shown):
    assert "kernels and threads are not known" in shown([])
    assert "kernels: unknown" in shown([POOL])


def test_a_package_that_is_missing_is_said_to_be(shown, monkeypatch):
    def version(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert "numpy: not installed" in shown([POOL])


def test_the_processor_is_named_also_where_there_is_no_proc(shown, monkeypatch):
    monkeypatch.setattr(platform, "processor", lambda: "a very fast one")
    assert "processor: a very fast one" in shown([POOL | {"architecture": "Haswell"}])
    assert "processor: Fast One" in shown([POOL], WIDE)
