"""Runs that are killed by SIGKILL and resumed in a new process end in the same bits: the benchmark, in small."""

import re
import signal

import pytest
from scripts import run


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs the signals of POSIX")
def test_killed_runs_end_in_the_bits_of_an_undisturbed_one():
    result = run("benchmarks/resume", "--kills", 3, "--rows", 1000, "--cost-rows", 200)
    assert result.returncode == 0, result.stderr
    kills = re.findall(
        r"run +\d, (?:plain|averaged|lbfgs), killed (during the save )?after step (\d+): the same bits", result.stdout
    )
    assert len(kills) == 3
    assert kills[1][0] == "during the save "
    assert all(0 < int(step) < 15 * 8 for _, step in kills)
    assert "3 of 3 identical" in result.stdout
    assert re.search(r"a save of [\d.]+ MB after each epoch of 200 rows: median [\d.]+ ms, [\d.]+% of", result.stdout)
