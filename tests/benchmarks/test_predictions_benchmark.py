"""What ensembles and the like give: the script runs, fills its document, and its shifts move images by a pixel."""

import importlib.util
import re
import sys

import numpy as np
import pytest
from scripts import ROOT

SCRIPT = ROOT / "benchmarks" / "predictions.py"


@pytest.fixture(scope="module")
def benchmark():
    specification = importlib.util.spec_from_file_location("predictions_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPT.parent)
        patch.setitem(sys.modules, module.__name__, module)
        specification.loader.exec_module(module)
        yield module


def test_it_prints_both_tables_puts_them_into_the_document_and_draws(benchmark, tmp_path, mnist_folder, capsys):
    names = ("trained on the rows", "trained on shifted copies, too")
    blocks = [f"<!-- {name} -->\n\n```text\n```\n" for name in names]
    document = tmp_path / "prediction.md"
    document.write_text("\n".join(blocks), encoding="utf-8")
    small = ["--rows", "300", "--epochs", "4", "--rounds", "1", "--data", str(mnist_folder)]
    benchmark.main([*small, "--output", str(tmp_path / "images"), "--document", str(tmp_path)])
    printed, written = capsys.readouterr().out, document.read_text(encoding="utf-8")
    for name in names:
        assert f"{name}: 784-128-64-10, 300 rows to train" in printed
        assert f"<!-- {name} -->\n\n```text\n{name}: 784-128-64-10" in written
    # Each table is in two parts, as 80 columns are too few: the last columns are below the first ones.
    assert written.count("ensemble of 5, temperature") == 4
    assert max(map(len, re.findall(r".* ± \d.*|^ .*", written, re.MULTILINE))) <= 80
    assert (tmp_path / "images" / "reliability.png").read_bytes().startswith(b"\x89PNG")


def test_a_shift_moves_each_image_by_up_to_a_pixel_and_brings_in_black(benchmark):
    image = np.zeros((28, 28), np.uint8)
    image[10, 20] = 7
    image[0, 0] = 9
    moved = benchmark.shift(np.tile(image.reshape(1, 784), (500, 1)), np.random.default_rng(0))
    assert moved.shape == (500, 784)
    places = {tuple(divmod(int(row.argmax() if row.max() == 7 else np.flatnonzero(row == 7)[0]), 28)) for row in moved}
    assert places == {(row, column) for row in (9, 10, 11) for column in (19, 20, 21)}
    assert set(np.unique(moved)) == {0, 7, 9}


def test_the_document_has_a_place_for_both_tables():
    text = (SCRIPT.parents[1] / "docs" / "prediction.md").read_text(encoding="utf-8")
    for name in ("trained on the rows", "trained on shifted copies, too"):
        assert f"<!-- {name} -->\n\n```text\n{name}: 784-128-64-10" in text
