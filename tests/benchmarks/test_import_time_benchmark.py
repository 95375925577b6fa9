"""The benchmark of the import runs, in few rounds, and compares what it says; its limit is one."""

import re

import pytest
from scripts import run


@pytest.mark.parametrize(("limit", "code"), [("0.5", 1), ("100", 0)])
def test_it_compares_the_two_imports_and_keeps_to_its_limit(limit, code):
    result = run("benchmarks/import_time", "--rounds", "1", "--limit", limit)
    assert (result.returncode, result.stderr) == (code, "")
    found = re.search(
        r"^import numpy +([\d.]+) ms\nimport minidl +([\d.]+) ms, ([\d.]+) times as long$", result.stdout, re.MULTILINE
    )
    numpy, minidl, ratio = map(float, found.groups())
    assert numpy > 1
    assert ratio == pytest.approx(minidl / numpy, abs=0.02)
