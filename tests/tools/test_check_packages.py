"""What tools/check_packages.py reads out of texts of others, and its table; whole runs take minutes and the network."""

import importlib
from pathlib import Path

import pytest
from scripts import ROOT

import minidl


@pytest.fixture(scope="module")
def tool():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tools")
        yield importlib.import_module("check_packages")


def test_requirements_have_their_lower_bounds(tool):
    setup = (
        "[options]\ninstall_requires =\n    # a note\n    numpy>=1.26\n    tqdm>=4.66, <5\n    some-thing <3,>=2.0.1\n"
    )
    assert tool.requirements(setup) == {"numpy": "1.26", "tqdm": "4.66", "some-thing": "2.0.1"}


def test_each_package_that_minidl_requires_has_a_lower_bound(tool):
    found = tool.requirements((ROOT / "setup.cfg").read_text(encoding="utf-8"))
    assert found.keys() == {"numpy", "pandas", "scikit-learn", "tqdm"}


LISTING = """numpy (2.10.0)
Available versions: 2.10.0, 2.9.1, 2.0.0rc1, 1.26.4, 1.26.0, 1.25.2
  INSTALLED: 1.26.4
"""


def test_versions_are_in_the_order_of_numbers_from_the_bound_on(tool):
    assert tool.versions_from("1.26", LISTING) == ["1.26.0", "1.26.4", "2.0.0rc1", "2.9.1", "2.10.0"]
    assert tool.versions_from("2.9.2", LISTING) == ["2.10.0"]
    assert tool.versions_from("3", LISTING) == tool.versions_from("1", "") == []


def test_the_lowest_version_is_the_first_that_has_a_wheel(tool, monkeypatch):
    monkeypatch.setattr(tool, "run", lambda *command: LISTING)
    monkeypatch.setattr(
        tool, "output", lambda *command: "would install" * (command[-1] in {"numpy==2.9.1", "numpy==3"})
    )
    assert tool.lowest_with_a_wheel(Path("python"), "numpy", "1.26") == "2.9.1"
    with pytest.raises(tool.FailedError, match="numpy has no wheel for this Python"):
        tool.lowest_with_a_wheel(Path("python"), "numpy", "2.10")


def test_of_uvs_interpreters_the_plain_cpythons_are_taken(tool):
    listing = (
        "cpython-3.14.0+freethreaded-linux-x86_64-gnu   /uv/free/bin/python3.14t\n"
        "cpython-3.14.0-linux-x86_64-gnu                /uv/plain/bin/python3.14\n"
        "cpython-3.13.5-linux-x86_64-gnu                /usr/bin/python3.13 -> python3\n"
        "cpython-3.13.1-linux-x86_64-gnu                /older/bin/python3.13\n"
        "pypy-3.10.16-linux-x86_64-gnu                  /pypy/bin/python3.10\n"
    )
    assert tool.versions_of_uv(listing) == {
        "3.14": Path("/uv/plain/bin/python3.14"),
        "3.13": Path("/usr/bin/python3.13"),
    }


def test_an_interpreter_that_does_not_run_or_is_of_another_version_is_passed_over(tool, monkeypatch):
    answers = {"shim": "", "other": "3.9\n", "right": "3.12\n"}
    monkeypatch.setattr(tool, "candidates", lambda python, downloads: map(Path, answers))
    monkeypatch.setattr(tool, "output", lambda path, *options: answers[str(path)])
    assert tool.interpreter("3.12", Path()) == Path("right")
    assert tool.interpreter("3.14", Path()) is None


def test_a_file_of_the_package_that_is_in_no_archive_is_named(tool, tmp_path):
    for name in ("minidl/page/page.js", "minidl/model.py", "minidl/__pycache__/model.pyc"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    others = [f"minidl-1/{name}" for name in tool.OTHER_FILES]
    whole = ["minidl/model.py", "minidl/page/page.js"]
    assert tool.missing_files(tmp_path, [*others, *(f"minidl-1/{name}" for name in whole)], whole) == []
    assert tool.missing_files(tmp_path, [*others[1:], "minidl-1/minidl/model.py"], ["minidl/model.py"]) == [
        "the sdist lacks minidl/page/page.js",
        f"the sdist lacks {tool.OTHER_FILES[0]}",
        "the wheel lacks minidl/page/page.js",
    ]


def test_versions_are_read_from_what_pip_freezes(tool):
    listing = "minidl @ file:///tmp/minidl-0.1.0.whl#sha256=1\nnumpy==2.1.0\nscikit-learn==1.6.0\n"
    assert tool.installed_versions(listing) == {"numpy": "2.1.0", "scikit-learn": "1.6.0"}


def test_the_table_has_what_was_tested_and_what_was_not_found(tool):
    versions = {"numpy": "2.1.0", "pandas": "2.2.3", "scikit-learn": "1.6.0", "scipy": "1.14.1", "tqdm": "4.66"}
    text = tool.table([tool.Result("3.13", "wheel", "lowest", versions, "passed", 9.0)], ["3.14"])
    assert text.splitlines() == [
        "| Python | package | dependencies | numpy | pandas | scikit-learn | scipy | tqdm | result |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        "| 3.13 | wheel | lowest | 2.1.0 | 2.2.3 | 1.6.0 | 1.14.1 | 4.66 | passed |",
        "| 3.14 |  |  |  |  |  |  |  | not found on this machine |",
    ]


def test_a_command_that_fails_is_shown_with_the_end_of_what_it_printed(tool):
    with pytest.raises(tool.FailedError, match=r"(?s)-c .*no such thing"):
        tool.run("python3", "-c", "raise SystemExit('no such thing')")
    assert tool.output("python3", "-c", "raise SystemExit(1)") == tool.output("no-such-program") == ""


def test_the_smoke_test_refuses_the_source_and_passes_all_else(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "tools")
    monkeypatch.chdir(tmp_path)
    smoke_test = importlib.import_module("smoke_test")
    if (Path(minidl.__file__).parents[1] / "setup.cfg").exists():
        with pytest.raises(AssertionError, match="is the source"):
            smoke_test.check_the_installation()
    smoke_test.check_public_names()
    smoke_test.check_tables_and_pipelines()
    smoke_test.check_data_files()
    assert [*tmp_path.iterdir()] == []
