"""The benchmark of the recipes: its tables are those of the runs that it keeps, and it goes on where it was."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "recipes.py"
DOCUMENT = "<!-- figures -->\n\n```text\n```\n\n<!-- ablation -->\n\n```text\n```\n"


@pytest.fixture
def documents(tmp_path):
    folder = tmp_path / "docs"
    (folder / "images").mkdir(parents=True)
    (folder / "recipes.md").write_text(DOCUMENT)
    return folder


def measure(mnist_folder, tmp_path, documents, *options):
    command = [sys.executable, SCRIPT, "--data", mnist_folder, "--output", tmp_path / "runs", "--document", documents]
    result = subprocess.run([*command, *options], capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_figures_are_those_that_the_example_reports(mnist_folder, tmp_path, documents):
    out = measure(mnist_folder, tmp_path, documents, "--figures", "fast", "--seeds", "2")
    runs = tmp_path / "runs"
    accuracies = [json.loads((runs / f"fast-{seed}/report.json").read_text())[0]["test"]["accuracy"] for seed in (0, 1)]
    line = re.search(r"^fast, 784-256-128-10 +2 +([\d.]+) ± ([\d.]+) +([\d.]+)", out, re.MULTILINE)
    assert float(line[1]) == pytest.approx(50 * sum(accuracies), abs=0.01)
    assert float(line[2]) == pytest.approx(100 * abs(accuracies[0] - accuracies[1]) / 2**0.5, abs=0.01)
    assert float(line[3]) == pytest.approx(100 * min(accuracies), abs=0.01)
    assert line[0] in (documents / "recipes.md").read_text()
    assert (documents / "images" / "fast_mistakes.png").read_bytes().startswith(b"\x89PNG")

    shutil.rmtree(runs / "fast-1")
    (runs / "fast-0" / "784-256-128-10.npz").unlink()  # a run that is reported is not made again
    again = measure(mnist_folder, tmp_path, documents, "--figures", "fast", "--seeds", "2")
    assert line[0] in again
    assert not (runs / "fast-0" / "784-256-128-10.npz").exists()

    report = runs / "fast-0" / "report.json"
    report.write_text(report.read_text().replace("epochs=5", "epochs=6"))
    command = [sys.executable, SCRIPT, "--data", mnist_folder, "--output", runs, "--figures", "fast", "--seeds", "2"]
    other = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert "holds a run of another recipe fast: delete it" in other.stderr


def test_the_ablation_has_a_line_for_each_part(mnist_folder, tmp_path, documents):
    out = measure(mnist_folder, tmp_path, documents, "--ablation", "--seeds", "1", "--epochs", "4")
    text = (documents / "recipes.md").read_text()
    for name in ("nothing: the whole recipe", "rotation", "elastic deformation", "all distortions", "three quarters"):
        line = re.search(rf"^{name}.* +\d+\.\d\d +\d+\.\d\d +\d+\.\d{{4}}$", out, re.MULTILINE)
        assert line[0] in text
    assert (documents / "images" / "recipe_curves.png").read_bytes().startswith(b"\x89PNG")
