"""The house of docs/architecture.md: imports point down only, importing is light, the front door shows all."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import minidl
from minidl.configuration import Configurable

PACKAGE = Path(minidl.__file__).parent

# Each room, a module or a package, and its floor. A room may import from its own floor and those below.
ROOMS = {
    "allocator": 1,
    "errors": 1,
    "typing": 1,
    "version": 1,
    "functional": 1,
    "initializers": 1,
    "configuration": 1,
    "inputs": 1,
    "randomness": 1,
    "regularizers": 1,
    "files": 1,
    "layers": 2,
    "losses": 2,
    "optimizers": 2,
    "schedules": 2,
    "metrics": 2,
    "model": 3,
    "blocks": 3,
    "prediction": 3,
    "training": 4,
    "diagnostics": 5,
    "plots": 5,
    "testing": 5,
}
FRONT_DOOR = 4  # minidl/__init__.py shows the rooms up to the training floor
BESIDE, KNOWN_BESIDE = (
    "data",
    ("data", "configuration", "errors", "files", "inputs", "randomness", "typing"),
)  # nobody in the house knows the house beside it
BORROWED = ("minidl.training.folds", "minidl.data.splitting")  # but for one thing: how rows to hold out are drawn


def modules():
    """Each module's dotted name with its path."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ("minidl", *path.relative_to(PACKAGE).with_suffix("").parts)
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(modules())


def imported_modules(name, path):
    """The modules of the package that a module imports, at its top, in a function or for type checking."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "minidl")
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                outer = package.rsplit(".", node.level - 1)[0]
                base = f"{outer}.{base}".rstrip(".")
            if base.split(".")[0] == "minidl":
                for alias in node.names:  # "from minidl import functional" imports a module, "... import Dense" a name
                    yield f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base


def room(module):
    return module.split(".")[1] if "." in module else ""


def floor(module):
    return FRONT_DOOR if module == "minidl" else ROOMS.get(room(module), 5)


def complaints(name, imported):
    """What is wrong with one module importing another; empty when nothing is."""
    if room(name) == BESIDE:
        allowed = room(imported) in KNOWN_BESIDE
    else:
        is_below = room(imported) != BESIDE and floor(imported) <= floor(name)
        allowed = is_below or (name, imported) == BORROWED
    return "" if allowed else f"{name} imports {imported}, which its floor must not know (docs/architecture.md)"


@pytest.mark.parametrize("name", MODULES)
def test_every_module_has_a_floor(name):
    assert name == "minidl" or room(name) in (*ROOMS, BESIDE), (
        f"{name} has no floor yet: put {room(name)!r} into ROOMS of {Path(__file__).name}, see docs/architecture.md"
    )


@pytest.mark.parametrize(("name", "path"), MODULES.items(), ids=MODULES)
def test_imports_point_down_only(name, path):
    wrong = [complaint for imported in imported_modules(name, path) if (complaint := complaints(name, imported))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("name", "source", "wrong"),
    [
        ("minidl.losses", "from minidl import functional", False),
        ("minidl.losses", "def f():\n    from minidl.layers import Dense", False),
        ("minidl.functional", "from minidl import losses", True),
        ("minidl.functional", "import minidl.losses", True),
        ("minidl.functional", "import minidl", True),
        ("minidl.layers.dense", "from .base import Layer", False),
        ("minidl.layers.dense", "from .. import model", True),
        ("minidl.layers.dense", "from ..model import Sequential", True),
        ("minidl.model", "def f():\n    if True:\n        import minidl.training.trainer", True),
        ("minidl.training.trainer", "from minidl.plots import plot_history", True),
        ("minidl.training.trainer", "from minidl import data", True),
        ("minidl.training.trainer", "from minidl.data.splitting import train_validation_split", True),
        ("minidl.training.folds", "from minidl.data.splitting import split_at_random", False),
        ("minidl.training.folds", "from minidl.data import train_validation_split", True),
        ("minidl", "from minidl import plots", True),
        ("minidl", "from minidl.data import load_mnist", True),
        ("minidl.plots.weights", "from minidl import Sequential", False),
        ("minidl.plots.weights", "from minidl.data import load_mnist", True),
        ("minidl.data.csv", "from minidl.errors import DataError", False),
        ("minidl.data.csv", "from minidl.data.idx import load_idx", False),
        ("minidl.data.csv", "from minidl.functional import one_hot", True),
    ],
)
def test_the_rule_above_sees_every_form_of_import(tmp_path, name, source, wrong):
    path = tmp_path / ("__init__.py" if name == "minidl" else "module.py")
    path.write_text(source)
    (imported,) = imported_modules(name, path)
    assert bool(complaints(name, imported)) == wrong


def test_importing_the_package_loads_nothing_heavy():
    heavy = ["pandas", "sklearn", "scipy", "tqdm", "joblib", "matplotlib"]
    code = f"import sys, minidl; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "[]"


def test_of_threadpoolctl_only_what_version_2_has_is_used():
    # scikit-learn 1.4 is content with that version, and nothing else asks for a newer one.
    texts = [path.read_text(encoding="utf-8") for path in MODULES.values()]
    lines = [line for text in texts for line in text.splitlines() if "import" in line and "threadpoolctl" in line]
    names = {name.strip() for line in lines for name in line.partition("from threadpoolctl import ")[2].split(",")}
    assert names == {"threadpool_info", "threadpool_limits"}


def names_of(module):
    return importlib.import_module(module).__all__


with_all = pytest.mark.parametrize(
    "module", [name for name, path in MODULES.items() if "__all__ = " in path.read_text(encoding="utf-8")]
)


@with_all
def test_public_names_exist_and_are_in_the_order_of_ruff(module):
    names = names_of(module)
    missing = [name for name in names if not hasattr(importlib.import_module(module), name)]
    assert not missing
    # Constants, then classes, then the rest; each by character code, as ruff's RUF022 sorts them.
    order = sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    assert names == order
    assert len(set(names)) == len(names)


def test_the_front_door_shows_every_public_class():
    public = set()
    for name in MODULES:
        if room(name) == BESIDE or floor(name) > FRONT_DOOR:
            continue
        content = vars(importlib.import_module(name))
        announced = {content[public_name] for public_name in content.get("__all__", ())}
        # What a model file can name is public too, announced or not; a base with an underscore is no part by itself.
        own = {
            item for key, item in content.items() if inspect.isclass(item) and item.__module__ == name and key[0] != "_"
        }
        public |= {item for item in announced if inspect.isclass(item)} | {
            c for c in own if issubclass(c, Configurable)
        }
    missing = {item.__name__ for item in public - {Configurable}} - set(minidl.__all__)
    assert not missing, f"minidl/__init__.py does not show {sorted(missing)}"


def test_the_version_is_that_of_the_one_place():
    assert minidl.__version__ == importlib.import_module("minidl.version").__version__


def test_data_plots_and_testing_are_loaded_at_their_first_use():
    program = "import sys, minidl; before = 'minidl.data' in sys.modules; print(before, minidl.data.load_idx.__name__)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "load_idx"]
    assert minidl.testing.check_layer.__name__ == "check_layer"
    with pytest.raises(AttributeError, match="module 'minidl' has no attribute 'nothing'"):
        _ = minidl.nothing
