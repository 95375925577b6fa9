"""The benchmark of language models runs, and measures the models of docs/language_models.md."""

import ast
import codecs
import importlib
import math
import re
import sys
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from scripts import ROOT

PAGE = ROOT / "docs" / "language_models.md"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("language_models")


def lists_of(code):
    return {ast.unparse(node) for node in ast.walk(ast.parse(code)) if isinstance(node, ast.List)}


def test_every_step_has_a_line_in_the_page(benchmark, tmp_path, capsys, monkeypatch):
    for name, smaller in {"WRITTEN": 5, "CONTEXT": 16, "BATCH": 4}.items():
        monkeypatch.setattr(benchmark, name, smaller)
    text, page = tmp_path / "book.txt", tmp_path / "page.md"
    text.write_text("the cat sat on the mat. " * 60, encoding="utf-8")
    page.write_text(re.sub(r"```text\n.*?```", "```text\n```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL))
    benchmark.main(["--text", str(text), "--quick", "--document", str(page)])
    table, *_ = capsys.readouterr().out.split("\n\nthe same table, trained\n")
    head = "book.txt: 1,296 characters to train on, 144 to validate; V = 11\n50 steps of 64 characters, seed 1;"
    assert table.startswith(head)
    assert max(map(len, table.splitlines())) <= 80
    names = [step.name for step in benchmark.STEPS]
    bits = {name: float(re.search(rf"^{name} +[\d,]+ +[\d.]+ +([\d.]+)", table, re.MULTILINE)[1]) for name in names}
    assert max(bits.values()) < math.log2(11)
    blocks = re.findall(r"```text\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 11  # sections 0 to 8, all, and what models write
    assert table.strip() == blocks[-2].strip()
    for section, block in enumerate(blocks[:-2]):
        own = [step.name for step in benchmark.STEPS if step.section == section]
        assert all(name in block for name in own)


def test_the_models_and_rates_are_those_of_the_page(benchmark):
    blocks = re.findall(r"```python\n(?!>>>)(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    source = (ROOT / "benchmarks" / "language_models.py").read_text(encoding="utf-8")
    models = {text for text in lists_of(source) if "(V" in text and "Step(" not in text}
    assert len(models) == len(benchmark.STEPS)
    assert models <= set().union(*map(lists_of, blocks))
    rates = re.findall(r"= train\(.*rate=([\d.]+)", "\n".join(blocks))
    assert [float(rate) for rate in rates] == [step.rate for step in benchmark.STEPS]


def test_counted_pairs_have_the_loss_of_a_table_counted_one_by_one(benchmark):
    text = benchmark.Text("abracadabra, said the cat; abracadabra!" * 3)
    both = np.concatenate([text.training, text.validation])
    assert len(text.training) == len(both) * 9 // 10
    training, validation = text.training.tolist(), text.validation.tolist()
    pairs, firsts = Counter(pairwise(training)), Counter(training[:-1])
    costs = [-math.log2((pairs[a, b] + 1) / (firsts[a] + text.count)) for a, b in pairwise(validation)]
    assert benchmark.frequencies(text, 1) == pytest.approx(sum(costs) / len(costs))
    counts = Counter(training)
    costs = [-math.log2((counts[a] + 1) / (len(training) + text.count)) for a in validation]
    assert benchmark.frequencies(text, 0) == pytest.approx(sum(costs) / len(costs))


def test_labels_are_the_text_one_character_later_and_validation_reads_each_once(benchmark):
    text = benchmark.Text("".join(map(chr, range(100, 2300))))
    for step in (benchmark.STEPS[0], benchmark.STEPS[1]):
        x, y = text.rows(step, 3, seed=0)
        assert len(x) == 3 * (16 if step.window is None else 1024)
        expected = x + 1 if step.window is None else x[:, -1] + 1
        np.testing.assert_array_equal(y, expected)
        _, y_val = text.validation_rows(step)
        asked = y_val.ravel().tolist()
        assert len(set(asked)) == len(asked) >= 128
        assert min(asked) > text.training.max()


def test_without_a_book_the_text_is_the_zen_of_python(benchmark, monkeypatch, tmp_path):
    monkeypatch.setattr(benchmark, "TEXT_BESIDE", tmp_path / "none.txt")
    monkeypatch.delitem(sys.modules, "this", raising=False)
    name, text = benchmark.read_text(None)
    assert name == "the Zen of Python"
    assert text.startswith(codecs.decode("Gur Mra bs Clguba, ol Gvz Crgref", "rot13"))
