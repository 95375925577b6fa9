"""Test the packages that pip installs: build a wheel and an sdist, and test them in empty environments.

    pip install build && python tools/check_packages.py [--python 3.10 3.12] [--extras fast,images] [--keep FOLDER]

For each version of Python, the program installs the wheel twice, each time into an empty virtual environment: once with
the lowest versions of other packages that setup.cfg allows, and once with the newest. It installs the sdist once. In
each environment, ``pip check``, ``python -m minidl`` and ``tools/smoke_test.py`` must pass. At the end the program
prints a table; its exit code is 1 if a test failed. A version of Python that the machine does not have is listed as not
found, and is not a failure.

The program looks for interpreters on PATH, in pyenv and in uv. If uv is installed, it downloads missing interpreters
into a temporary folder. The "lowest" version of a required package is the first one, from its lower bound on, that has
a wheel for this Python. (For instance, NumPy 1.26 has no wheel for Python 3.13, and pip would try to compile it.) The
dependencies of these packages are the newest versions that fit.
"""

from __future__ import annotations

import argparse
import configparser
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
SHOWN = ("numpy", "pandas", "scikit-learn", "scipy", "tqdm")
"""The packages whose versions are in the table."""

OTHER_FILES = ("LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "conftest.py", "setup.cfg")
"""Files outside the package that an sdist must have."""


class Result(NamedTuple):
    """A row of the table."""

    python: str
    package: str
    dependencies: str
    versions: dict[str, str]
    outcome: str
    seconds: float


class FailedError(Exception):
    """A command failed. The text has the command and the end of its output."""


def run(*command: str | Path, folder: Path | None = None) -> str:
    """Run a command and return its output; raise FailedError if it fails."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # only what is installed
    try:
        done = subprocess.run(
            [*map(str, command)], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise FailedError(f"{command[0]}: {error}") from error
    if done.returncode:
        end = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise FailedError(f"{' '.join(map(str, command))}\n{end}")
    return done.stdout


def output(*command: str | Path) -> str:
    """Return the output of a command, or "" if the command fails or does not exist."""
    try:
        return run(*command)
    except FailedError:
        return ""


def requirements(setup: str) -> dict[str, str]:
    """Return the packages that a setup.cfg requires, with their lower bounds."""
    config = configparser.ConfigParser(interpolation=None)
    config.read_string(setup)
    lines = config["options"]["install_requires"].strip().splitlines()
    found = [Requirement(line) for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return {each.name: next(item.version for item in each.specifier if item.operator == ">=") for each in found}


def versions_from(bound: str, listing: str) -> list[str]:
    """Read the output of ``pip index versions``; return the versions from the bound on, lowest first."""
    line = re.search(r"^Available versions: (.*)$", listing, re.MULTILINE)
    found = [Version(text) for text in line[1].split(", ")] if line else []
    return [str(version) for version in sorted(found) if version >= Version(bound)]


def lowest_with_a_wheel(python: Path, name: str, bound: str) -> str:
    """Return the lowest version from the bound on that has a wheel for this Python."""
    pip = (python, "-m", "pip", "--disable-pip-version-check")
    for version in versions_from(bound, run(*pip, "index", "versions", name)):
        wheel = ("--dry-run", "--no-deps", "--only-binary=:all:", f"{name}=={version}")
        if output(*pip, "install", *wheel):
            return version
    raise FailedError(f"{name} has no wheel for this Python")


def versions_of_uv(listing: str) -> dict[str, Path]:
    """Read the output of ``uv python list --only-installed``; return the interpreters by version, such as 3.12."""
    found = {}
    for line in listing.splitlines():
        match = re.match(r"cpython-(\d+\.\d+)\.\d+-\S+ +(\S+)", line)
        if match:
            found.setdefault(match[1], Path(match[2]))
    return found


def candidates(python: str, downloads: Path) -> Iterator[Path]:
    """Yield the paths of interpreters that may have this version."""
    if f"{sys.version_info.major}.{sys.version_info.minor}" == python:
        yield Path(sys.executable)
    if path := shutil.which(f"python{python}"):
        yield Path(path)
    for version in output("pyenv", "versions", "--bare").split():
        if version.startswith(f"{python}."):
            yield Path(output("pyenv", "prefix", version).strip()) / "bin" / f"python{python}"
    if uv := shutil.which("uv", path=f"{Path(sys.executable).parent}") or shutil.which("uv"):
        installed = versions_of_uv(output(uv, "python", "list", "--only-installed"))
        if python in installed:
            yield installed[python]
        output(uv, "python", "install", "--no-bin", "--install-dir", downloads, python)
        yield from downloads.glob(f"cpython-{python}.*/bin/python{python}")


def interpreter(python: str, downloads: Path) -> Path | None:
    """Return a working interpreter of this version that can make environments, or None."""
    # pyenv puts shims on PATH even for versions that do not run, and Debian's Python may lack ensurepip.
    program = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"
    found = (path for path in candidates(python, downloads) if output(path, "-c", program).strip() == python)
    return next(found, None)


def build(folder: Path) -> tuple[Path, Path]:
    """Build both packages from a clean copy, without files of earlier builds; return the sdist and the wheel."""
    ignored = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").split()]
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".git", *ignored))
    run(sys.executable, "-m", "build", "--outdir", folder, source)
    return next(folder.glob("*.tar.gz")), next(folder.glob("*.whl"))


def missing_files(source: Path, sdist: Iterable[str], wheel: Iterable[str]) -> list[str]:
    """Return the missing files: both packages need every file of minidl, and the sdist also needs `OTHER_FILES`."""
    parts = [path.relative_to(source) for path in (source / "minidl").rglob("*") if path.is_file()]
    inside = sorted(path.as_posix() for path in parts if "__pycache__" not in path.parts)
    in_sdist = {name.partition("/")[2] for name in sdist}
    in_wheel = {*wheel}
    lacks = [f"the sdist lacks {name}" for name in (*inside, *OTHER_FILES) if name not in in_sdist]
    return lacks + [f"the wheel lacks {name}" for name in inside if name not in in_wheel]


def installed_versions(listing: str) -> dict[str, str]:
    """Read the output of ``pip freeze --all``; return the versions by name."""
    return dict(line.split("==") for line in listing.splitlines() if "==" in line)


def check(python: str, path: Path, package: Path, dependencies: str, folder: Path, extras: str = "") -> Result:
    """Install a package, with the named extras, into an empty environment, and test it there."""
    start, versions, outcome = perf_counter(), {}, "passed"
    environment = folder / f"{python}-{package.suffix[1:]}-{dependencies}"
    try:
        run(path, "-m", "venv", environment)
        inside = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        pip = (inside, "-m", "pip", "--disable-pip-version-check")
        pins = []
        if dependencies == "lowest":
            required = requirements((ROOT / "setup.cfg").read_text(encoding="utf-8"))
            pins = [f"{name}=={lowest_with_a_wheel(inside, name, bound)}" for name, bound in required.items()]
        run(*pip, "install", f"{package}[{extras}]" if extras else package, *pins)
        versions = installed_versions(run(*pip, "freeze", "--all"))
        elsewhere = folder / "elsewhere"  # no source here, which Python could import instead
        elsewhere.mkdir(exist_ok=True)
        run(*pip, "check")
        for program in (("-m", "minidl"), (ROOT / "tools" / "smoke_test.py",)):
            for line in run(inside, *program, folder=elsewhere).splitlines():
                if line.lstrip().startswith("skipped "):
                    print(line)
    except FailedError as failure:
        print(failure, file=sys.stderr)
        outcome = "FAILED"
    shutil.rmtree(environment, ignore_errors=True)
    kind = "wheel" if package.suffix == ".whl" else "sdist"
    return Result(python, kind, dependencies, versions, outcome, perf_counter() - start)


def table(results: Iterable[Result], not_found: Iterable[str]) -> str:
    """Return the results as a table in Markdown."""
    head = ("Python", "package", "dependencies", *SHOWN, "result")
    rows = [head, ("---",) * len(head)]
    for each in results:
        versions = [each.versions.get(name, "") for name in SHOWN]
        rows.append((each.python, each.package, each.dependencies, *versions, each.outcome))
    rows += [(python, *[""] * (len(head) - 2), "not found on this machine") for python in not_found]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", nargs="+", default=PYTHONS, metavar="X.Y", help="versions (default: 3.10 to 3.14)")
    parser.add_argument("--extras", default="", help="extras to install with minidl, in their newest versions")
    parser.add_argument("--keep", type=Path, default=None, metavar="FOLDER", help="copy the two packages there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sdist, wheel = build(folder)
        with tarfile.open(sdist) as packed, zipfile.ZipFile(wheel) as archive:
            lacks = missing_files(folder / "source", packed.getnames(), archive.namelist())
        print("\n".join(lacks) or "Both packages have every file of minidl.", flush=True)
        if options.keep:
            options.keep.mkdir(parents=True, exist_ok=True)
            for package in (sdist, wheel):
                shutil.copy(package, options.keep)
        found = {python: interpreter(python, folder / "pythons") for python in options.python}
        there = {python: path for python, path in found.items() if path is not None}
        runs = [(python, wheel, dependencies) for python in there for dependencies in ("lowest", "newest")]
        runs += [(python, sdist, "newest") for python in [*there][-1:]]
        results = []
        for python, package, dependencies in runs:
            results.append(result := check(python, there[python], package, dependencies, folder, options.extras))
            line = f"Python {python}, {result.package}, {dependencies}: {result.outcome}"
            print(f"{line}, {result.seconds:.0f} s", flush=True)
        print(table(results, [python for python in found if python not in there]))
    sys.exit(bool(lacks) or not results or any(each.outcome != "passed" for each in results))


if __name__ == "__main__":
    main()
