"""Runs the scripts of examples/ and benchmarks/: as a user does, or within this process, which spares the imports."""

import contextlib
import io
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(script, *arguments, **options):
    """Run a script, such as "examples/spirals", in a process of its own."""
    command = [sys.executable, ROOT / f"{script}.py", *arguments]
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=300, **options)


def run_here(script, *arguments):
    """Run a script within this process; return what `run` would."""
    path = ROOT / f"{script}.py"
    out, errors, code = io.StringIO(), io.StringIO(), None
    modules = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        patch.syspath_prepend(path.parent)  # as where a script is run
        patch.setattr(sys, "argv", [str(path), *map(str, arguments)])
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as ending:
            code = ending.code
    for name in set(sys.modules) - modules:  # a script's neighbours, whose names are theirs alone
        if Path(getattr(sys.modules[name], "__file__", None) or ROOT.parent).parent == path.parent:
            del sys.modules[name]
    if isinstance(code, str):  # Python would print it
        print(code, file=errors)
        code = 1
    return subprocess.CompletedProcess([str(path), *map(str, arguments)], code or 0, out.getvalue(), errors.getvalue())
