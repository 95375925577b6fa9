"""The benchmark of a step names all of its parts, which add up to it."""

import re

import pytest
from scripts import run

WAYS = ("forward", "backward")


def test_the_parts_add_up_to_the_step():
    result = run("benchmarks/step", "tiny", "--epochs", "1")
    assert result.returncode == 0, result.stderr
    whole = float(re.search(r"^tiny: (\d+) microseconds a step$", result.stdout, re.MULTILINE)[1])
    parts = {name: float(time) for name, time in re.findall(r"^  (\S.*?) +([\d.]+)$", result.stdout, re.MULTILINE)}
    assert sum(parts.values()) == pytest.approx(whole, abs=1)
    layers = [f"{name} {way}" for name in ("dense_1", "relu_1", "dense_2", "relu_2", "dense_3") for way in WAYS]
    assert {*layers, "rows of the batch", "loss and its gradient", "accuracy or error", "Adam"} < {*parts}
    assert all(time > 0 for time in parts.values())
