"""The benchmark of compiled code runs, in few rounds, and has a line for each optimizer."""

import re

import pytest
from scripts import run_here

from minidl.compiled.switching import replacements


def test_it_prints_ratios_and_what_a_first_fit_costs():
    pytest.importorskip("numba")
    result = run_here("benchmarks/compiled", "--rounds", "1", "--sizes", "1000", "--activation", "Tanh")
    assert result.returncode == 0, result.stderr
    lines = re.findall(r"^(\w+).* +([\d.]+) +([\d.]+) +([\d.]+)$", result.stdout, re.MULTILINE)
    for _, numpy, compiled, ratio in lines:
        assert float(ratio) == pytest.approx(float(compiled) / float(numpy), abs=0.02 + 0.1 / float(numpy))
    kinds = {each.home.rpartition(":")[2] for each in replacements() if each.name in {"update", "follow"}}
    assert kinds <= {name for name, *_ in lines}
    costs = [float(each) for each in re.findall(r"^  [a-zN].* +([\d.]+)$", result.stdout, re.MULTILINE)]
    assert len(costs) == 3
    assert costs[1] > costs[0]
