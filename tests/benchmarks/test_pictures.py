"""Pictures of the documents: all are drawn, and every schedule that there is stands in one of the panels."""

import subprocess
import sys
from pathlib import Path

from minidl import schedules

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "pictures.py"


def test_all_pictures_are_drawn(tmp_path, mnist_folder):
    command = [sys.executable, SCRIPT, "--data", mnist_folder, "--output", tmp_path / "images"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    suggested, found, cost = result.stdout.splitlines()
    assert float(suggested.removeprefix("suggested: ")) > 0
    assert found.startswith("Search(27 candidates")
    assert int(cost.removesuffix(" epochs, in place of 243")) < 243
    for name in ("schedules.png", "rate_search.png", "search.png", "distortions.png"):
        assert (tmp_path / "images" / name).read_bytes().startswith(b"\x89PNG")


def test_no_schedule_is_left_out():
    source = SCRIPT.read_text(encoding="utf-8")
    missing = [name for name in schedules.__all__ if name != "Schedule" and f"{name}(" not in source]
    assert not missing
