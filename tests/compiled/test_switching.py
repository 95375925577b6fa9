"""What is called, NumPy's functions or the compiled ones; and that a run does not depend on it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import pytest

import minidl
from minidl import (
    Adam,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    ExponentialMovingAverage,
    Flatten,
    MaxPool2D,
    ReLU,
    Rescale,
    Sequential,
    SoftmaxCrossEntropy,
    Trainer,
)
from minidl.compiled import is_on, switch
from minidl.compiled.switching import describe, replacements
from minidl.errors import MissingDependencyError

ROOT = Path(minidl.__file__).parents[1]


@pytest.fixture
def both():
    """Skip without numba, and leave the switch as it was."""
    pytest.importorskip("numba")
    before = is_on()
    yield
    switch(before)


def called():
    """Whether the compiled function of each replacement is what the program calls."""
    import minidl.layers.pooling  # which loads late  # noqa: F401

    return {vars(resolve_name(each.home))[each.name] is each.compiled for each in replacements()}


def test_the_switch_replaces_all_functions_and_puts_all_back(both):
    for on in (True, False, True, False):
        switch(on)
        assert is_on() is on
        assert called() == {on}


def test_a_few_words_say_what_is_called_and_why_not(both, monkeypatch):
    switch(True)
    assert describe() == "on"
    switch(False)
    assert describe() == "off"
    monkeypatch.setattr("minidl.compiled.switching._state.on", None)
    assert describe() == "on from the first fit on"
    monkeypatch.setenv("MINIDL_COMPILED", "0")
    assert describe() == "off"
    monkeypatch.setattr("minidl.compiled.switching.find_spec", lambda name: None)
    assert describe() == "not installed: pip install 'minidl[fast]'"


def run():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (200, 12, 12, 1), np.uint8), rng.integers(0, 4, 200)
    layers = [Rescale(1 / 255), Conv2D(6, 3, padding="same"), ReLU(), MaxPool2D(2), BatchNorm(), Flatten(), Dense(20)]
    layers += [BatchNorm(), ReLU(), Dropout(0.3), Dense(4), SoftmaxCrossEntropy()]
    model = Sequential(layers, input_shape=(12, 12, 1), seed=0)
    average = ExponentialMovingAverage(0.9)
    trainer = Trainer(model, Adam(0.01, weight_decay=0.01), batch_size=32, seed=0, average=average)
    history = trainer.fit(x, y, epochs=3, validation_data=(x, y), progress=False)
    return dict(history), model.parameters.tobytes(), model.predict_proba(x).tobytes()


def test_a_run_ends_in_the_same_bits_with_and_without_compiled_code(both):
    switch(False)
    without = run()
    switch(True)
    assert run() == without


class Own(Adam):
    """An optimizer of one's own, which knows nothing of compiled code."""

    def update(self, p, g, learning_rate, m, v):
        super().update(p, 2 * g, learning_rate, m, v)


def test_parts_of_ones_own_work_as_they_are(both):
    gradient = np.arange(5, dtype=np.float32)
    results = []
    for on in (False, True):
        switch(on)
        parameters = np.ones(5, np.float32)
        Own(0.1).apply(parameters, gradient)
        results.append(parameters.tobytes())
    assert results[0] == results[1]


def test_without_numba_the_switch_says_what_to_install(monkeypatch):
    monkeypatch.setattr("minidl.compiled.switching.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'minidl\[fast\]'"):
        switch(True)


def test_a_numba_that_does_not_work_is_told_of_and_leaves_fits_to_numpy(tmp_path):
    (tmp_path / "numba.py").write_text("raise ImportError('Numba needs NumPy 2.3 or less')")
    path = f"{tmp_path}{os.pathsep}{ROOT}"
    code = FIT + "from minidl.compiled.switching import describe\nprint(describe())"
    (on, _, _, *words), errors, status = finished(python(code, PYTHONPATH=path, MINIDL_COMPILED=""))
    assert (on, status) == ("False", 0), errors
    told = "numba does not work here: Numba needs NumPy 2.3 or less; pip install 'minidl[fast]'"
    assert " ".join(words) == f"off: {told}"
    _, errors, status = finished(python(PYTHONPATH=path, MINIDL_COMPILED="1"))
    assert status == 1
    assert f"MissingDependencyError: {told}" in errors


# With ReLU it would be a chain, whose steps are one function that takes long to compile.
FIT = """
import sys
import numpy as np
import minidl
from minidl.compiled import is_on
assert "numba" not in sys.modules
model = minidl.Sequential([minidl.Dense(3), minidl.Tanh(), minidl.Dense(1), minidl.MeanSquaredError()], seed=0)
trainer = minidl.Trainer(model, minidl.SGD(0.01), seed=0)
trainer.fit(np.arange(20.0).reshape(10, 2) / 20, np.arange(10.0) / 10, epochs=2, progress=False)
print(is_on(), "numba" in sys.modules, model.parameters.tobytes().hex())
"""


def python(code=FIT, **environment):
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
    )


def finished(process):
    out, errors = process.communicate()
    return out.split(), errors, process.returncode


@pytest.mark.parametrize(("variable", "on"), [("", "True"), ("1", "True"), ("0", "False")])
def test_the_first_fit_decides_by_the_environment_and_importing_loads_nothing(both, variable, on):
    (found, loaded, _), _, status = finished(python(MINIDL_COMPILED=variable))
    assert (found, loaded, status) == (on, on, 0)


PREDICT = """
import sys
import minidl
from minidl.compiled import is_on, switch
model = minidl.Sequential([minidl.Dense(3), minidl.SoftmaxCrossEntropy()], input_shape=2, seed=0)
before = model.predict_scores([[1.0, 2.0]]).tobytes()
print(is_on(), "numba" in sys.modules)
switch(True)
print(is_on(), model.predict_scores([[1.0, 2.0]]).tobytes() == before)
"""


@pytest.mark.parametrize("variable", ["", "1"])
def test_a_process_that_only_predicts_does_without_until_it_is_switched_on(both, variable):
    out, errors, status = finished(python(PREDICT, MINIDL_COMPILED=variable))
    assert (out, status) == (["False", "False", "True", "True"], 0), errors


def test_another_value_in_the_environment_is_an_error():
    _, errors, status = finished(python(MINIDL_COMPILED="yes"))
    assert status == 1
    assert "ArgumentError: the environment variable MINIDL_COMPILED is 'yes'; it must be 0 or 1" in errors


def test_several_processes_compile_at_once_and_later_ones_read_the_files(both, tmp_path):
    environment = {"NUMBA_CACHE_DIR": str(tmp_path), "MINIDL_COMPILED": "1"}
    first = [finished(each) for each in [python(**environment) for _ in range(2)]]
    note = "minidl: compiling for some seconds; later runs read it from files\n"
    assert [status for *_, status in first] == [0] * 2
    assert note in {errors for _, errors, _ in first} <= {note, ""}  # one that is late finds the files
    found = {path.name.partition("_")[0] for path in tmp_path.rglob("*.nbc")}
    assert found >= {"losses.", "optimizers.sgd"}  # of the loss two functions, of which one calls the other
    out, errors, status = finished(python(**environment))
    assert (errors, status) == ("", 0)
    assert {tuple(found) for found, _, _ in first} == {tuple(out)}
    assert finished(python(MINIDL_COMPILED="0"))[0][2] == out[2]


def test_where_no_file_can_be_written_each_process_compiles_for_itself(both):
    nowhere = "from numba.core.caching import CacheImpl; CacheImpl._locator_classes = []\n"
    code = nowhere + FIT.replace('assert "numba" not in sys.modules', "")
    out, errors, status = finished(python(code, MINIDL_COMPILED="1"))
    assert status == 0, errors
    assert out[2] == finished(python(MINIDL_COMPILED="0"))[0][2]


@pytest.mark.parametrize("on", [False, True])
def test_a_checkpoint_tells_whether_compiled_code_was_called(tmp_path, on):
    pytest.importorskip("numba")
    before = is_on()
    switch(on)
    try:
        run = Trainer(Sequential([Dense(2), SoftmaxCrossEntropy()], input_shape=3, seed=0), seed=0)
        run.save(tmp_path / "run.npz")
    finally:
        switch(before)
    with np.load(tmp_path / "run.npz") as file:
        assert json.loads(file["header"].item())["compiled"] is on
