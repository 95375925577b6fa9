"""The benchmark of data larger than memory writes its files, trains on them in two ways, and deletes them."""

import re
from pathlib import Path

import pytest
from scripts import run


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="it reads what a process takes from /proc")
def test_files_and_memory_are_trained_on_within_the_limit(tmp_path):
    result = run("benchmarks/shards", "--gigabytes", "0.05", "--folder", tmp_path)
    assert result.returncode == 0, result.stderr
    rows = re.findall(r"^(\S.*?) {2,}([\d,]+) +([\d.]+) +([\d,]+) +(\d+) +(\d+)$", result.stdout, re.MULTILINE)
    # Four files at least, so that the buffer is full; each has 8,000 rows of 784 float32.
    assert [row[:3] for row in rows] == [
        ("4 .npy, 4 at a time", "32,000", "0.10"),
        ("4 of them in memory", "32,000", "0.10"),
    ]
    for _, _, _, speed, whole, own in rows:
        assert int(speed.replace(",", "")) > 0
        assert 0 < int(own) <= int(whole)
    assert int(rows[0][5]) < int(rows[1][5])  # files take less of its own memory than arrays
    assert "20 GB, calculated: 6,377,551 rows" in result.stdout
    assert list(tmp_path.iterdir()) == []
