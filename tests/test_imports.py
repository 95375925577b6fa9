"""The house of docs/architecture.md: imports point down only, importing is light, the front door shows all."""

import ast
import configparser
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import minidl
from minidl.settings import Configurable
from minidl.training.monitored_metric import MonitoredMetric

PACKAGE = Path(minidl.__file__).parent

# Each room, a module or a package, and its floor. A room may import from its own floor and those below.
BASE, COMPONENTS, MODEL, TRAINING, ADD_ONS = range(1, 6)
ROOMS = {
    "advice": BASE,
    "allocator": BASE,
    "arrays": BASE,
    "console": BASE,
    "errors": BASE,
    "files": BASE,
    "functional": BASE,
    "habits": BASE,
    "initializers": BASE,
    "lazy_rows": BASE,
    "nesting": BASE,
    "normal": BASE,
    "products": BASE,
    "randomness": BASE,
    "regularizers": BASE,
    "reprs": BASE,
    "serialization": BASE,
    "settings": BASE,
    "signatures": BASE,
    "tables": BASE,
    "typing": BASE,
    "version": BASE,
    "compiled": COMPONENTS,
    "layers": COMPONENTS,
    "losses": COMPONENTS,
    "metrics": COMPONENTS,
    "optimizers": COMPONENTS,
    "schedules": COMPONENTS,
    "blocks": MODEL,
    "sequences": MODEL,
    "display": MODEL,
    "inspection": MODEL,
    "model": MODEL,
    "prediction": MODEL,
    "threads": MODEL,
    "distributed": TRAINING,
    "training": TRAINING,
    "__main__": ADD_ONS,
    "diagnostics": ADD_ONS,
    "estimators": ADD_ONS,
    "onnx": ADD_ONS,
    "page": ADD_ONS,
    "plots": ADD_ONS,
    "testing": ADD_ONS,
}
FRONT_DOOR = TRAINING  # minidl/__init__.py shows the rooms up to the training floor
BESIDE, KNOWN_BESIDE = (
    "data",
    (
        *("arrays", "console", "data", "errors", "files", "lazy_rows", "randomness", "settings", "signatures"),
        *("advice", "tables", "typing"),
    ),
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
    return FRONT_DOOR if module == "minidl" else ROOMS.get(room(module), ADD_ONS)


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


def printed_by(program):
    """What a program prints in a process of its own, as words."""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return result.stdout.split()


@pytest.fixture(scope="module")
def loaded():
    """The modules that `import minidl` loads and `import numpy` does not."""
    modules = {name: set(printed_by(f"import sys, {name}; print(*sys.modules)")) for name in ("numpy", "minidl")}
    return modules["minidl"] - modules["numpy"]


def test_importing_the_package_loads_nothing_heavy(loaded):
    # Libraries, and of Python's own what costs a hundredth of NumPy or more, and is for few programs.
    libraries = {"pandas", "sklearn", "scipy", "tqdm", "joblib", "matplotlib", "tensorboardX", "threadpoolctl"}
    pythons = {"json", "csv", "zipfile", "gzip", "difflib", "concurrent.futures", "multiprocessing", "signal", "random"}
    pythons |= {
        "threading",
        "tempfile",
        "subprocess",
        "urllib",
        "logging",
        "asyncio",
        "unittest",
        "numpy.random",
        "html",
    }
    assert not loaded & (libraries | pythons)


def test_importing_the_package_loads_none_of_its_modules_that_few_programs_need(loaded):
    rooms = {room(name) for name in loaded if name.startswith("minidl.")}
    assert not rooms & {"data", "diagnostics", "onnx", "page", "plots", "prediction", "testing"}
    late = "batch_statistics cross_validation folds journal parameter_search parameter_space processes rate_search"
    assert not loaded & {f"minidl.training.{name}" for name in late.split()}
    assert not loaded & {f"minidl.layers.{name}" for name in ("convolution", "pooling", "windows")}
    assert "minidl.sequences" not in loaded
    assert rooms >= {"layers", "losses", "metrics", "optimizers", "training", "model", "settings"}


def test_what_is_loaded_late_comes_at_its_first_use():
    assert printed_by("import sys, minidl; minidl.data.load_idx; print('minidl.data' in sys.modules)") == ["True"]
    assert {getattr(minidl, name).__name__ for name in ("plots", "prediction", "testing")} == {
        "minidl.plots",
        "minidl.prediction",
        "minidl.testing",
    }
    for package in (minidl, minidl.layers, minidl.training):
        for name, module in package._LOADED_LATE.items():
            item = getattr(package, name)
            assert item.__name__ == name
            assert f"{item.__module__}.".startswith(f"{package.__name__}.{module}.")


def test_a_star_import_brings_every_public_name_and_dir_knows_them_before():
    program = "import minidl; names = dir(minidl); from minidl import *; print(*names, '|', *dir())"
    known, _, here = " ".join(printed_by(program)).partition(" | ")
    assert set(known.split()) >= {*minidl.__all__, "data", "plots", "show_versions", "testing"}
    assert set(here.split()) >= set(minidl.__all__)


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


PUBLIC = ["minidl", *(f"minidl.{name}" for name in minidl.__all__ if inspect.ismodule(getattr(minidl, name)))]
PUBLIC += ["minidl.settings", "minidl.data", "minidl.data.augment"]
PUBLIC += [f"minidl.{name}" for name in ("compiled", "estimators", "onnx", "page", "plots", "sequences", "testing")]


def test_every_package_that_names_its_public_names_is_public():
    named = {name for name, path in MODULES.items() if "__all__ = " in path.read_text(encoding="utf-8")}
    assert named - {*PUBLIC} == {"minidl.randomness"}  # which is for the package alone


@pytest.mark.parametrize("name", PUBLIC)
def test_dir_shows_public_names_only(name):
    module = importlib.import_module(name)
    shown = dir(module)
    late = {*minidl._LOADED_LATE, *minidl._PACKAGES_LOADED_LATE} if module is minidl else set()
    for each in shown:
        item = getattr(module, each)
        home = item.__name__ if inspect.ismodule(item) else getattr(item, "__module__", name)
        assert home.split(".")[0] == "minidl", f"{name}.{each} is of {home}"
    assert shown == sorted({*shown})
    assert all(each[0] != "_" or each == "__version__" for each in shown)
    if hasattr(module, "__all__"):
        assert {*shown} == {*module.__all__, *late}
    else:
        own = {key for key, item in vars(module).items() if getattr(item, "__module__", "") == name and key[0] != "_"}
        assert shown
        assert {*shown} >= own


# What only those need who write metrics, and two metrics that are called as losses are: minidl.metrics shows them.
SHOWN_BY_METRICS = {
    "ClassMetric", "FunctionMetric", "MeanAbsoluteError", "MeanSquaredError", "ReliabilityTable", "ScoredRows"
}  # fmt: skip


def test_the_front_door_shows_every_public_class():
    public = set()
    for name in MODULES:
        if room(name) in {BESIDE, "compiled"} or floor(name) > FRONT_DOOR:  # compiled code has functions alone
            continue
        module = importlib.import_module(name)
        announced = {getattr(module, public_name) for public_name in getattr(module, "__all__", ())}
        # What a model file can name is public too, announced or not; a base with an underscore is no part by itself.
        own = {
            item
            for key, item in vars(module).items()
            if inspect.isclass(item) and item.__module__ == name and key[0] != "_" and issubclass(item, Configurable)
        }
        public |= {item for item in announced if inspect.isclass(item)} | own
    shown = {getattr(minidl, name) for name in minidl.__all__}
    shown |= {getattr(minidl.metrics, name) for name in SHOWN_BY_METRICS & {*minidl.metrics.__all__}}
    # MonitoredMetric is inside of callbacks, which have its settings themselves.
    missing = {f"{item.__module__}.{item.__name__}" for item in public - {Configurable, MonitoredMetric} - shown}
    assert not missing, f"minidl/__init__.py does not show {sorted(missing)}"


EXTRAS = configparser.ConfigParser(interpolation=None)
EXTRAS.read(PACKAGE.parent / "setup.cfg", encoding="utf-8")


def install_hints():
    """Each text of the package, the examples and the benchmarks that says how to install an extra."""
    for path in sorted(
        path for part in ("minidl", "examples", "benchmarks") for path in (PACKAGE.parent / part).rglob("*.py")
    ):
        for hint in re.findall(r"pip install[^\n]*?(?:minidl|\.)\[\w+\]", path.read_text(encoding="utf-8")):
            yield path.relative_to(PACKAGE.parent), hint


def test_hints_name_an_extra_as_it_is_installed():
    """The package is installed where it runs, so pip needs only its name; examples and benchmarks run in a clone."""
    hints = list(install_hints())
    assert len(hints) >= 5
    for path, hint in hints:
        form = r"pip install 'minidl\[(\w+)\]" if path.parts[0] == "minidl" else r"""pip install -e ['"]\.\[(\w+)\]"""
        found = re.fullmatch(form, hint)
        assert found, f"{path} says {hint!r}"
        assert found[1] in EXTRAS["options.extras_require"], f"{path}: setup.cfg has no extra {found[1]!r}"
    errors = [
        f"{name}: {text}"
        for name, path in MODULES.items()
        for text in re.findall(
            r"(?:MissingDependency|Import|ModuleNotFound)Error\((.*?)\) from", path.read_text(encoding="utf-8")
        )
        if "pip install" not in text
    ]
    assert not errors


def test_the_version_is_that_of_the_one_place():
    assert minidl.__version__ == importlib.import_module("minidl.version").__version__


def test_an_attribute_that_there_is_not_is_an_error_as_of_any_module():
    for module in (minidl, minidl.training):
        with pytest.raises(AttributeError, match=f"module {module.__name__!r} has no attribute 'nothing'"):
            _ = module.nothing
