"""The documentation site: its reference has every public name, and its build finds links that lead nowhere."""

import importlib
import inspect
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from test_imports import PUBLIC

ROOT = Path(__file__).parents[1]
SITE = ROOT / "docs" / "site"


def reference(before=r"^(?: +|\.\. py:(?:data|function):: )"):
    """The names that the pages of docs/api show, after what stands before them."""
    pages = sorted((ROOT / "docs" / "api").glob("*.rst"))
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    return re.findall(rf"{before}(minidl\.[\w.]+)", text, re.MULTILINE)


def item_of(name):
    module, _, name = name.rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_the_reference_has_every_public_name_once():
    shown = Counter(map(id, map(item_of, reference())))
    assert max(shown.values()) == 1
    missing = [
        f"{module}.{name}"
        for module in PUBLIC
        for name in dir(importlib.import_module(module))
        if not inspect.ismodule(item := item_of(f"{module}.{name}")) and id(item) not in shown
    ]
    assert not missing, f"put these into a page of docs/api: {missing}"


def test_the_reference_has_public_names_only():
    public = {id(item_of(f"{module}.{name}")) for module in PUBLIC for name in dir(importlib.import_module(module))}
    assert not [name for name in reference() if id(item_of(name)) not in public]


def test_what_the_reference_takes_from_docstrings_has_one():
    items = {name: item_of(name) for name in reference(before="^ +")}
    assert not [name for name, item in items.items() if callable(item) and not (item.__doc__ or "").strip()]


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_links_of_documents_outside_of_the_site_lead_to_files(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]*)", text)
    assert not [link for link in links if link and not (ROOT / link).exists()]


def test_two_pages_of_the_reference_are_two_files_on_every_system():
    conf = (SITE / "conf.py").read_text(encoding="utf-8")
    renamed = set(re.findall(r'"(minidl\.\w+)": "', conf))
    files = Counter(name.lower() for name in reference() if name not in renamed)
    assert [name for name, count in files.items() if count > 1] == []


def scripts_to_run():
    return {path.stem for path in (ROOT / "examples").glob("*.py") if '"__main__"' in path.read_text(encoding="utf-8")}


def test_every_example_is_in_the_gallery():
    shown = re.findall(r'^    "(\w+)": Example\(', (SITE / "gallery.py").read_text(encoding="utf-8"), re.MULTILINE)
    assert {*shown} == scripts_to_run()


def test_a_notebook_needs_minidl_alone(monkeypatch, tmp_path):
    pytest.importorskip("sphinx_gallery", reason="needs the extra docs")
    monkeypatch.syspath_prepend(SITE)
    monkeypatch.setenv("MINIDL_DOCS_QUICK", "1")
    gallery = importlib.import_module("gallery")
    *modules, options = gallery.first_cells("spirals")
    for cell in modules:  # as the notebook's %%writefile does
        command, text = cell.split("\n", 1)
        (tmp_path / command.removeprefix("%%writefile ")).write_text(text, encoding="utf-8")
    script = (ROOT / "examples" / "spirals.py").read_text(encoding="utf-8")
    (tmp_path / "cells.py").write_text(script.replace("import argparse\n", f"import argparse\n{options}\n", 1))
    subprocess.run([sys.executable, "cells.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    assert (tmp_path / "runs" / "spirals" / "spirals.png").exists()


@pytest.fixture
def build(monkeypatch):
    monkeypatch.syspath_prepend(SITE)
    module = importlib.import_module("build")
    yield module
    del sys.modules["build"]


def test_the_build_finds_links_and_anchors_that_lead_nowhere(build, tmp_path):
    (tmp_path / "part").mkdir()
    (tmp_path / "a.html").write_text(
        '<h1 id="top">A</h1> <a href="part/b.html#here">b</a> <a href="#top">up</a> <a href="https://arxiv.org/#x">x</a>'
        '<a href="part/b.html#gone">b</a> <a href="#nothing">up</a> <img src="picture.png">'
    )
    (tmp_path / "part" / "b.html").write_text('<p id="here"><a href="../a.html">a</a> <a href="c.html">c</a>')
    assert sorted(build.broken_links(tmp_path)) == [
        "a.html: #nothing leads to no place of the page",
        "a.html: part/b.html#gone leads to no place of the page",
        "a.html: picture.png leads to no file",
        "part/b.html: c.html leads to no file",
    ]
