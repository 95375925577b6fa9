"""The benchmark of embeddings names the parts of a step, and what moves in both ways."""

import re

import pytest
from scripts import run_here

from minidl.compiled import is_on, switch


@pytest.fixture(autouse=True)
def same_code():
    """Compiled code is switched on or off afterwards as it was before."""
    before = is_on()
    yield
    switch(before)


def test_each_way_is_timed_by_vocabulary_and_optimizer():
    result = run_here(
        "benchmarks/embeddings", "--vocabularies", "50", "500", "--optimizers", "SGD", "--steps", "3", "--rounds", "1"
    )
    assert result.returncode == 0, result.stderr
    line = r"^SGD +(\d+)  (all rows|rows that occur) +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+)$"
    found = re.findall(line, result.stdout, re.MULTILINE)
    ways = ["all rows", "rows that occur"]
    assert [each[:2] for each in found] == [(size, way) for size in ("50", "500") for way in ways]
    assert all(float(time) > 0 for each in found for time in each[2:-1])
    assert "lazy" not in result.stdout


def test_an_adam_that_leaves_rows_alone_moves_as_far_only_where_they_occur_in_each_step():
    result = run_here(
        "benchmarks/embeddings", "--vocabularies", "50", "--optimizers", "Adam", "--steps", "2", "--rounds", "1"
    )
    lines = re.findall(r"^ +(\d+)th step +([\d.]+) +([\d.]+)$", result.stdout, re.MULTILINE)
    moved = [float(each[1]) for each in lines]
    assert lines[0][1:] == ("1.00", "0.00")
    assert moved == sorted(moved, reverse=True)
    assert moved[-1] < 0.5
