"""What SECURITY.md says: loading only reads, the source keeps to its rules, and the tests that it names are there."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import minidl
from minidl.diagnostics import installed_version

PACKAGE = Path(minidl.__file__).parent
TESTS = Path(__file__).parent
SOURCES = {path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}

# The program loads each file once, so that all imports are done. Then it prints what the interpreter does while it
# loads each again: the audit events with their values. An audit hook stays until the process ends.
PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from minidl import Adam, Dense, ReLU, Sequential, SoftmaxCrossEntropy, Trainer
from minidl.data import Shards, load_csv, load_idx, load_images
from minidl.estimators import MLPClassifier

x, y = np.random.default_rng(0).normal(size=(20, 4)), np.arange(20) % 2
trainer = Trainer(Sequential([Dense(3), ReLU(), Dense(2), SoftmaxCrossEntropy()], seed=0), Adam(), seed=0)
trainer.fit(x, y, progress=False)
trainer.model.save("model.npz")
trainer.save("run.npz")
MLPClassifier(hidden_layer_sizes=(3,), solver="lbfgs", random_state=0).fit(x, y).save("estimator.npz")
Path("table.csv").write_text("label,pixel0\\n1,2\\n")
Path("labels.idx").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 1, 5]))
Path("arrays").mkdir()
np.save("arrays/x_0.npy", x)
np.save("arrays/y_0.npy", y)
Path("archives").mkdir()
np.savez_compressed("archives/0.npz", x=x, y=y)
loads = {
    "model.npz": Sequential.load,
    "run.npz": Trainer.load,
    "estimator.npz": MLPClassifier.load,
    "table.csv": load_csv,
    "labels.idx": load_idx,
    "arrays": lambda path: Shards(path).x[:],
    "archives": lambda path: Shards(path).x[:],
}
if "images" in sys.argv:
    from PIL import Image
    Image.fromarray(np.zeros((4, 4), np.uint8)).save("image.png")
    loads["image.png"] = load_images
if "onnx" in sys.argv:
    import minidl.onnx
    minidl.onnx.export(trainer.model, "model.onnx")
    loads["model.onnx"] = minidl.onnx.load
for path, load in loads.items():
    load(path)
watched, events = [], []
sys.addaudithook(lambda event, values: events.append((event, *map(str, values))) if watched else None)
for path, load in loads.items():
    watched.append(path)
    load(path)
    watched.clear()
    for event in events:
        print(path, *event, sep="\\t")
    events.clear()
"""

# What it may do besides opening files: look into a folder, map a file, and parse the header of an array. NumPy does
# that by ast.literal_eval, which compiles no code.
HARMLESS = {"builtins.id", "compile", "mmap.__new__", "os.listdir", "os.scandir"}


def test_loading_only_reads(tmp_path):
    extras = [extra for extra, library in {"images": "pillow", "onnx": "onnx"}.items() if installed_version(library)]
    environment = os.environ | {"MINIDL_COMPILED": "0"}
    command = [sys.executable, "-c", PROGRAM, *extras]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    events = [line.split("\t") for line in result.stdout.splitlines()]
    assert {event[0] for event in events if event[1] == "open"} >= {"model.npz", "run.npz", "table.csv", "archives"}
    for loaded, event, *values in events:
        if event == "open":
            name, mode = values[:2]
            assert mode in {"r", "rb"}, f"{loaded}: {event} {values}"
            assert (tmp_path / name).is_relative_to(tmp_path / loaded), f"{loaded}: {event} {values}"
        else:
            assert event in HARMLESS, f"{loaded}: {event} {values}"
            assert event != "compile" or values[0].startswith("b\"{'descr':"), f"{loaded}: {event} {values}"


def test_a_file_chooses_the_settings_of_the_classes_that_a_program_has(tmp_path):
    class Named(minidl.Layer):
        path: str = "mine"

        def forward(self, x, training=False):
            return x

    model = minidl.Sequential([Named(path="theirs")], input_shape=2)
    model.save(tmp_path / "model.npz")
    assert minidl.Sequential.load(tmp_path / "model.npz").layers[0].path == "theirs"


def imported(source):
    """The libraries that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize(
    ("libraries", "modules"),
    [
        ({"pickle", "cloudpickle", "dill", "marshal", "shelve"}, {"training/cluster.py", "testing/layers.py"}),
        ({"http", "urllib", "socket", "ssl", "ftplib", "requests"}, {"data/download.py", "data/mnist.py"}),
        ({"subprocess", "pty", "runpy", "code"}, set()),
    ],
)
def test_few_modules_import_what_could_run_a_file_or_open_an_address(libraries, modules):
    assert {name for name, source in SOURCES.items() if libraries & {*imported(source)}} <= modules


def called(source):
    """The names of what a module calls: the last of a dotted one, and both of ``os.system``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


FORBIDDEN = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "np.load", "numpy.load"}
FORBIDDEN |= {"pandas.read_pickle", "pd.read_pickle", "joblib.load"}


@pytest.mark.parametrize("name", SOURCES)
def test_no_module_runs_text_starts_a_program_or_reads_pickled_arrays(name):
    source = SOURCES[name]
    assert not FORBIDDEN & {*called(source)}
    assert not any(each.startswith(("os.exec", "os.spawn", "os.posix_spawn")) for each in called(source))
    assert "allow_pickle=True" not in source


def test_the_tests_that_the_page_names_are_there():
    page = (TESTS.parent / "SECURITY.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", page)
    assert len(named) > 15
    for file, test in named:
        assert f"def {test}(" in (TESTS / file).read_text(encoding="utf-8"), f"{file} has no {test}"
    for module in re.findall(r"`((?:training|testing|data)/\w+\.py)`", page):
        assert module in SOURCES
