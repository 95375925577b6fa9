"""Test an installed minidl without the test suite; ``tools/check_packages.py`` runs this in empty environments.

Do not run it where `import minidl` finds the source.
"""

from __future__ import annotations

import importlib
import tempfile
from importlib import metadata, resources
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import minidl
from minidl import Adam, Dense, MeanSquaredError, ReLU, Sequential, Trainer
from minidl.data import load_csv, load_idx
from minidl.errors import MissingDependencyError
from minidl.estimators import MLPClassifier, MLPRegressor


def check_the_installation() -> None:
    """Check that minidl is the installed package, with pip's version, type hints, and the files of the page."""
    home = Path(minidl.__file__).parent
    assert not (home.parent / "setup.cfg").exists(), f"{home} is the source"
    assert metadata.version("minidl") == minidl.__version__
    assert (home / "py.typed").is_file()
    page = resources.files("minidl.page")
    for name in ("page.html", "page.css", "page.js", "network.js", "drawing.js"):
        assert len(page.joinpath(name).read_text(encoding="utf-8")) > 100, name


def check_public_names() -> None:
    """Check that every public name exists, and that a missing library's error says how to install it."""
    for package in ("minidl", "minidl.data", "minidl.data.augment", "minidl.estimators", "minidl.sequences"):
        module = importlib.import_module(package)
        for name in getattr(module, "__all__", dir(module)):
            getattr(module, name)
    model = Sequential([Dense(1), MeanSquaredError()], input_shape=2, seed=0)
    try:
        importlib.import_module("minidl.onnx").export(model, "model.onnx")
        Path("model.onnx").unlink()
    except MissingDependencyError as error:
        if "pip install" not in str(error):
            raise


def check_tables_and_pipelines() -> None:
    """Check what depends on the versions of pandas and scikit-learn: frames, text labels, pipelines, grid searches."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"height": rng.normal(size=200), "weight": rng.normal(size=200)})
    labels = np.where(frame["height"] + frame["weight"] > 0, "dog", "cat")
    classifier = MLPClassifier(hidden_layer_sizes=(8,), solver="lbfgs", random_state=0)
    pipeline = make_pipeline(StandardScaler().set_output(transform="pandas"), classifier)
    search = GridSearchCV(pipeline, {"mlpclassifier__alpha": [1e-4, 1e-2]}, cv=2).fit(frame, labels)
    assert search.score(frame, labels) > 0.9
    assert set(search.predict(frame)) == {"cat", "dog"}
    difference = frame["height"] - frame["weight"]
    regressor = MLPRegressor(hidden_layer_sizes=(8,), solver="lbfgs", random_state=0).fit(frame, difference)
    assert regressor.score(frame, difference) > 0.9
    trainer = Trainer(Sequential([Dense(4), ReLU(), Dense(1), MeanSquaredError()], seed=0), Adam(), seed=0)
    history = trainer.fit(frame, frame[["height"]], epochs=2, progress=False)
    assert len(history.to_frame()) == 2


def check_data_files() -> None:
    """Check that a CSV file and an IDX file can be read."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.csv"
        pd.DataFrame({"label": [3, 7], "pixel0": [0, 255], "pixel1": [9, 0]}).to_csv(path, index=False)
        x, y = load_csv(path)
        assert (x.tolist(), y.tolist()) == ([[0, 9], [255, 0]], [3, 7])
        path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 6, 7]))
        assert load_idx(path).tolist() == [5, 6, 7]


if __name__ == "__main__":
    check_the_installation()
    check_public_names()
    check_tables_and_pipelines()
    check_data_files()
    print("smoke test passed")
