import os
import subprocess
import sys

import pytest
from threadpoolctl import threadpool_info

from minidl import kernels

FLAGS = "fpu sse2 avx2 fma avx512f avx512cd avx512dq avx512bw avx512vl"


def cpuinfo(vendor="AuthenticAMD", flags=FLAGS):
    return f"processor\t: 0\nvendor_id\t: {vendor}\nmodel name\t: A processor: fast\nflags\t\t: {flags}\nmicrocode:\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (cpuinfo(), True),
        (cpuinfo(vendor="GenuineIntel"), False),  # which OpenBLAS knows
        (cpuinfo(flags=FLAGS.replace(" avx512bw", "")), False),
        ("Processor : ARM\n", False),
        ("", False),
    ],
)
def test_the_kernels_are_for_amd_processors_with_all_of_the_instructions(text, expected):
    assert kernels.are_faster(text) == expected


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """As before NumPy is loaded, on a fitting processor; in NumPy's place a module that notes what it sees."""
    (tmp_path / "numpy.py").write_text("import os\nseen = os.environ.get('OPENBLAS_CORETYPE')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "numpy")
    monkeypatch.setattr(kernels, "are_faster_here", lambda: True)
    for name in ("OPENBLAS_CORETYPE", "MINIDL_KEEP_KERNELS"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_numpy_sees_the_faster_kernels_while_it_loads_and_nobody_after(fresh):
    kernels.load_numpy()
    assert sys.modules["numpy"].seen == "SkylakeX"
    assert "OPENBLAS_CORETYPE" not in os.environ


def test_the_environment_is_as_before_also_where_numpy_cannot_be_loaded(fresh, tmp_path):
    (tmp_path / "numpy.py").write_text("raise ImportError('broken')")
    with pytest.raises(ImportError, match="broken"):
        kernels.load_numpy()
    assert "OPENBLAS_CORETYPE" not in os.environ


@pytest.mark.parametrize("variable", ["OPENBLAS_CORETYPE", "MINIDL_KEEP_KERNELS"])
def test_a_variable_of_the_user_is_respected(fresh, variable):
    fresh.setenv(variable, "Zen")
    kernels.load_numpy()
    assert "numpy" not in sys.modules
    assert os.environ[variable] == "Zen"


def test_on_another_processor_nothing_is_done(fresh):
    fresh.setattr(kernels, "are_faster_here", lambda: False)
    kernels.load_numpy()
    assert "numpy" not in sys.modules


def test_a_numpy_that_is_loaded_stays_as_it_is(fresh):
    fresh.setitem(sys.modules, "numpy", None)
    kernels.load_numpy()
    assert sys.modules["numpy"] is None


def test_other_systems_have_no_faster_kernels_here(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    assert not kernels.are_faster_here()


@pytest.mark.skipif(
    not kernels.are_faster_here() or not any(pool["internal_api"] == "openblas" for pool in threadpool_info()),
    reason="no OpenBLAS, or one that knows this processor",
)
@pytest.mark.parametrize(("first", "expected"), [("minidl", "SkylakeX"), ("numpy", "Haswell")])
def test_openblas_uses_them_where_minidl_comes_first(first, expected):
    code = f"import {first}, minidl; minidl.show_versions()"
    environment = {key: value for key, value in os.environ.items() if key != "OPENBLAS_CORETYPE"}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60, env=environment
    )
    assert f"kernels: {expected}" in result.stdout
