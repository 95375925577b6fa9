"""The documentation site: its reference has every public name, and its build finds links that lead nowhere."""

import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

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


SHOWN = re.findall(r'^    "(\w+)": Example\(', (SITE / "notebooks.py").read_text(encoding="utf-8"), re.MULTILINE)


def test_every_example_is_in_the_gallery():
    assert {*SHOWN} == scripts_to_run()


@pytest.fixture
def notebooks(monkeypatch):
    monkeypatch.syspath_prepend(SITE)
    monkeypatch.setenv("MINIDL_DOCS_QUICK", "1")
    module = importlib.import_module("notebooks")
    yield module
    for name in ("notebooks", "gallery"):
        sys.modules.pop(name, None)


def code_cells(notebook):
    return [cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("name", SHOWN)
def test_a_notebook_is_of_the_format_that_jupyter_reads(notebooks, name):
    notebook = notebooks.notebook(name)
    json.dumps(notebook)
    assert (notebook.keys(), notebook["nbformat"]) == ({"cells", "metadata", "nbformat", "nbformat_minor"}, 4)
    description, *cells = notebook["cells"]
    assert description.keys() == {"cell_type", "metadata", "source"}
    assert description["cell_type"] == "markdown"
    for cell in cells:
        assert cell.keys() == {"cell_type", "execution_count", "metadata", "outputs", "source"}
        assert (cell["cell_type"], cell["execution_count"], cell["outputs"]) == ("code", None, [])
        if not cell["source"].startswith("%"):
            compile(cell["source"], name, "exec")


@pytest.mark.parametrize("name", SHOWN)
def test_a_notebook_has_the_files_that_it_needs(notebooks, name):
    *others, options, script, _ = code_cells(notebooks.notebook(name))
    written = {first.removeprefix("%%writefile ") for first in (cell.split("\n")[0] for cell in others)}
    assert written >= {path.name for path in notebooks.used_modules(notebooks.script_of(name))}
    trained_by = {cell.split()[1].removesuffix(".py") for cell in others if cell.startswith("%run ")}
    assert {f"{example}.py" for example in trained_by} <= written
    folders_of_models = {Path(path).parent.name for path in re.findall(r"[\w/-]+\.npz", options)}
    assert folders_of_models == trained_by
    assert script in notebooks.script_of(name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SHOWN)
def test_a_notebook_names_the_extras_that_it_needs(notebooks, name):
    description, *_, script, _ = (cell["source"] for cell in notebooks.notebook(name)["cells"])
    needed = {"plots", *re.findall(r'needing\(".*", "(\w+)"\)', script)}
    named = re.findall(r"pip install -e '\.\[(.*)\]'", description)[-1].split(",")
    assert {*named} == needed
    assert all(f"`{extra}`" in description for extra in needed)


@pytest.mark.parametrize("name", SHOWN)
def test_the_last_cell_of_a_notebook_shows_the_pictures_that_it_has_saved(notebooks, name, monkeypatch, tmp_path):
    *_, options, _, pictures = code_cells(notebooks.notebook(name))
    shown, variables = [], {}
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(Image=bytes, display=shown.append))
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / name).mkdir(parents=True)
    exec(options, variables)
    for file, seconds in (("earlier.png", -9), (f"{name}/b.png", 1), (f"{name}/a.gif", 2), (f"{name}/report.json", 3)):
        path, saved = tmp_path / "runs" / file, time.time() + seconds
        path.write_text(file)
        os.utime(path, (saved, saved))
    exec(pictures, variables)
    assert shown == [f"{name}/b.png".encode(), f"{name}/a.gif".encode()]


def test_the_cells_of_a_notebook_run_in_an_empty_folder(notebooks, tmp_path):
    *modules, options, script, _ = code_cells(notebooks.notebook("spirals"))
    for cell in modules:  # as the notebook's %%writefile does
        command, text = cell.split("\n", 1)
        (tmp_path / command.removeprefix("%%writefile ")).write_text(text, encoding="utf-8")
    program = script.replace("import argparse\n", f"import argparse\n{options}\n", 1)
    (tmp_path / "cells.py").write_text(program, encoding="utf-8")
    subprocess.run([sys.executable, "cells.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    assert (tmp_path / "runs" / "spirals" / "spirals.png").exists()


def test_an_example_runs_again_if_the_example_that_trains_its_model_has_changed(notebooks, monkeypatch):
    pytest.importorskip("sphinx_gallery", reason="needs the extra docs")
    gallery = importlib.import_module("gallery")
    quick = {name: gallery.with_title(name) for name in SHOWN}
    monkeypatch.setattr(notebooks, "QUICK", False)
    assert not [name for name in SHOWN if gallery.with_title(name) == quick[name]]


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
