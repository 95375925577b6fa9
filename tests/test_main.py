"""``python -m minidl``: what it prints, its exit code, and that each check notices what it is for."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec

import pytest

import minidl
from minidl import Dense, Sequential, Trainer, __main__, compiled
from minidl.__main__ import CHECKS, Skip, main, passes
from minidl.page import document


@pytest.fixture(autouse=True)
def switch_as_before():
    """`main` turns compiled code off, in a process that ends with it."""
    before = compiled.is_on()
    yield
    compiled.switch(before)


def test_the_command_prints_the_versions_and_a_line_with_its_time_for_each_check():
    command = [sys.executable, "-W", "error", "-m", "minidl"]
    environment = os.environ | {"MINIDL_COMPILED": "0"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=100)
    assert (result.returncode, result.stderr) == (0, "")
    versions, checks = result.stdout.split("\nSelf-check:\n")
    assert f"minidl: {minidl.__version__}\n" in versions
    found = re.findall(r"^ +(ok|skipped|FAILED) +\d+\.\d s  ([a-z ]+): \S.*$", checks, re.MULTILINE)
    assert found == [("skipped" if name == "extra fast" else "ok", name) for name in CHECKS]
    assert checks.endswith("\nNo check failed.\n")


def test_versions_alone_check_nothing(monkeypatch, capsys):
    monkeypatch.setattr(__main__, "CHECKS", {"never": pytest.fail})
    assert main(["--versions"]) == 0
    out = capsys.readouterr().out
    assert "numpy: " in out
    assert "Self-check" not in out


def test_help_names_the_command_and_its_option(capsys):
    with pytest.raises(SystemExit) as ending:
        main(["--help"])
    assert ending.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: python -m minidl ")
    assert "--versions" in out


def test_a_check_that_fails_is_named_and_makes_the_exit_code_1_after_the_others_have_run(monkeypatch, capsys):
    def fail():
        raise ImportError("no library of that name")

    def skip():
        raise Skip("nothing to check")

    monkeypatch.setattr(__main__, "CHECKS", {"first": fail, "second": skip, "third": lambda: "as it should be"})
    assert main([]) == 1
    lines = capsys.readouterr().out.partition("Self-check:\n")[2].splitlines()
    assert re.fullmatch(r"   FAILED +\S+ s  first: ImportError: no library of that name", lines[0])
    assert re.fullmatch(r"  skipped +\S+ s  second: nothing to check", lines[1])
    assert re.fullmatch(r"       ok +\S+ s  third: as it should be", lines[2])
    assert lines[-1] == "These checks failed: first."
    monkeypatch.setattr(__main__, "CHECKS", {"second": skip})
    assert main([]) == 0


def another_model(path):
    return __main__._trainer(seed=1).model


def another_run(path):
    return __main__._trainer(seed=1)


@pytest.mark.parametrize(
    ("name", "target", "attribute", "wrong", "message"),
    [
        ("gradients", Dense, "backward", lambda self, dy: 0.9 * dy @ self.weight.value.T, "Dense"),
        ("learning", Trainer, "fit", lambda self, *data, **options: None, "at least 95% is expected"),
        ("files", Sequential, "load", another_model, "a loaded model gives other scores"),
        ("files", Trainer, "load", another_run, "a resumed run ends in other weights"),
        ("page", document, "SCRIPTS", ("not_installed.js",), "not_installed.js"),
    ],
)
def test_each_check_notices_what_it_is_for(name, target, attribute, wrong, message, monkeypatch, capsys):
    monkeypatch.setattr(target, attribute, wrong)
    assert not passes(name, CHECKS[name])
    assert message in capsys.readouterr().out


@pytest.fixture
def without_compiled_code():
    before = compiled.is_on()
    compiled.switch(False)
    yield
    compiled.switch(before)


@pytest.mark.usefixtures("without_compiled_code")
class TestCompiledCode:
    @pytest.mark.parametrize(("setting", "why"), [("0", "turned off by MINIDL_COMPILED=0"), ("", "needs numba")])
    def test_it_is_skipped_where_it_is_turned_off_or_not_installed(self, setting, why, monkeypatch, capsys):
        monkeypatch.setenv("MINIDL_COMPILED", setting)
        monkeypatch.setattr("minidl.compiled.switching.find_spec", lambda name: None)
        assert passes("extra fast", CHECKS["extra fast"])
        assert re.match(rf"  skipped .*{why}", capsys.readouterr().out)

    @pytest.mark.skipif(find_spec("numba") is None, reason="needs the extra fast")
    def test_it_is_compared_with_numpys_and_the_switch_is_as_before(self, monkeypatch, capsys):
        monkeypatch.delenv("MINIDL_COMPILED", raising=False)
        assert passes("extra fast", CHECKS["extra fast"])
        assert re.match(r"       ok .*the same bits", capsys.readouterr().out)
        assert not compiled.is_on()
        monkeypatch.setattr(__main__, "_same_bits", lambda *arrays: False)
        assert not passes("extra fast", CHECKS["extra fast"])
        assert "set MINIDL_COMPILED=0" in capsys.readouterr().out
