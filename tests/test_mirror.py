"""The tests mirror the package: each module has a test file at the same place, but for those named here."""

from pathlib import Path

import pytest

import minidl

PACKAGE, TESTS = Path(minidl.__file__).parent, Path(__file__).parent

# docs/testing.md says why.
ELSEWHERE = {
    "__main__.py": ["test_main.py"],
    "plots": ["test_plots.py"],
    "testing": ["testing/test_own_parts.py", "testing/test_broken_parts.py"],
    "typing.py": [],
    "version.py": ["test_imports.py"],
}
MODULES = [path.relative_to(PACKAGE) for path in sorted(PACKAGE.rglob("*.py")) if path.name != "__init__.py"]


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_every_module_has_its_tests_at_the_same_place(module):
    mirrored = [str(module.parent / f"test_{module.name}")]
    for name in ELSEWHERE.get(module.parts[0], mirrored):
        assert (TESTS / name).is_file(), f"minidl/{module} has no tests/{name}: docs/testing.md"
