"""``python -m minidl``: the versions, and a self-check of about five seconds.

Each check is a function that returns what it found, as a text. It raises an error where something is wrong, and `Skip`
where there is nothing to check.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np

from minidl import (
    LSTM,
    Adam,
    BatchNorm,
    Conv2D,
    Dense,
    LayerNorm,
    ReLU,
    Rescale,
    Sequential,
    SoftmaxCrossEntropy,
    Trainer,
    compiled,
    page,
    show_versions,
)
from minidl.compiled import switching
from minidl.errors import MissingDependencyError
from minidl.layers import Layer
from minidl.testing import check_layer
from minidl.typing import Array, Shape

EXPECTED_ACCURACY = 0.95
"""Of 20 seeds the lowest gave 96.1 %; a network that learns nothing gives 10 %."""

LAYERS: tuple[tuple[Layer, Shape], ...] = (
    (Dense(3), (5,)),
    (Conv2D(2, 3), (5, 5, 2)),
    (BatchNorm(), (4,)),
    (LayerNorm(), (4,)),
    (LSTM(3), (4, 2)),
)
"""Layers whose gradients are checked, with the shape of one sample."""


class Skip(Exception):  # noqa: N818
    """There is nothing to check here; the text says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the versions and run the checks; return 0, or 1 if a check failed."""
    parser = argparse.ArgumentParser(
        prog="python -m minidl",
        description="Print the versions of minidl and its libraries, then check in about five seconds that minidl "
        "works here. The first run with numba compiles code, which takes about 15 seconds more. "
        "The exit code is 0 if no check failed, else 1.",
    )
    parser.add_argument("--versions", action="store_true", help="print the versions and check nothing")
    options = parser.parse_args(arguments)
    show_versions()
    if options.versions:
        return 0
    print("\nSelf-check:", flush=True)
    compiled.switch(False)  # NumPy's code is the definition, and compiling all that these checks call takes a minute
    failed = [name for name, check in CHECKS.items() if not passes(name, check)]
    print(f"\nThese checks failed: {', '.join(failed)}." if failed else "\nNo check failed.")
    return int(bool(failed))


def passes(name: str, check: Callable[[], str]) -> bool:
    """Run a check and print its line; return False if it failed."""
    start = perf_counter()
    try:
        word, found = "ok", check()
    except Skip as reason:
        word, found = "skipped", str(reason)
    except Exception as error:  # of any kind: a broken installation may raise anything
        word, found = "FAILED", f"{type(error).__name__}: {error}"
    print(f"{word:>9} {perf_counter() - start:5.1f} s  {name}: {found}", flush=True)
    return word != "FAILED"


def check_gradients() -> str:
    """Compare gradients with numeric ones, and check what else a layer must do."""
    for layer, input_shape in LAYERS:
        check_layer(layer, input_shape)
    return f"those of {', '.join(type(layer).__name__ for layer, _ in LAYERS)} agree with numeric ones"


def check_compiled_code() -> str:
    """Compare the weights after the same training with compiled code and with NumPy's."""
    if os.environ.get(switching.VARIABLE) == "0":
        raise Skip(f"turned off by {switching.VARIABLE}=0")
    x_train, y_train, _, _ = _digits()
    weights, was_on = [], compiled.is_on()
    try:
        for on in (True, False):
            compiled.switch(on)
            trainer = _trainer()
            trainer.fit(x_train, y_train, epochs=2, progress=False)
            weights.append(trainer.model.parameters)
    except MissingDependencyError as error:
        raise Skip(str(error)) from error
    finally:
        compiled.switch(was_on)
    assert _same_bits(*weights), f"training ends in other weights than with NumPy's code: set {switching.VARIABLE}=0"
    return "training gives the same bits as with NumPy's code"


def check_learning() -> str:
    """Train a small network on scikit-learn's digits, and count how many held-out ones it classifies correctly."""
    x_train, y_train, x_test, y_test = _digits()
    trainer = _trainer()
    trainer.fit(x_train, y_train, epochs=20, progress=False)
    accuracy = trainer.evaluate(x_test, y_test)["accuracy"]
    found = f"accuracy {accuracy:.1%} on {len(x_test)} held-out images; at least {EXPECTED_ACCURACY:.0%} is expected"
    assert accuracy >= EXPECTED_ACCURACY, found
    return found


def check_files() -> str:
    """Save and load a model and an unfinished run, which must end with the bits of an uninterrupted one."""
    x_train, y_train, x_test, _ = _digits()
    whole, stopped = _trainer(), _trainer()
    whole.fit(x_train, y_train, epochs=2, progress=False)
    stopped.fit(x_train, y_train, epochs=1, progress=False)
    with tempfile.TemporaryDirectory() as folder:
        model, run = Path(folder) / "model.npz", Path(folder) / "run.npz"
        whole.model.save(model)
        stopped.save(run)
        loaded, resumed = Sequential.load(model), Trainer.load(run)
    assert _same_bits(loaded.forward(x_test), whole.model.forward(x_test)), "a loaded model gives other scores"
    resumed.fit(x_train, y_train, epochs=1, progress=False)
    assert _same_bits(resumed.model.parameters, whole.model.parameters), "a resumed run ends in other weights"
    return "a loaded model and a resumed run give the same bits"


def check_page() -> str:
    """Write the HTML page, which needs files beside the code: an incomplete installation lacks them."""
    x_train, y_train, _, _ = _digits()
    trainer = _trainer()
    trainer.fit(x_train[:64], y_train[:64], epochs=1, progress=False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.html"
        page.export(trainer.model, path)
        size = path.stat().st_size
    return f"a trained model became one HTML file of {size / 1000:.0f} kB"


CHECKS: dict[str, Callable[[], str]] = {
    "gradients": check_gradients,
    "extra fast": check_compiled_code,
    "learning": check_learning,
    "files": check_files,
    "page": check_page,
}


def _digits() -> tuple[Array, Array, Array, Array]:
    """Return scikit-learn's 1,797 images of 8 x 8 pixels, 0 to 16, and their labels; a fifth is held out."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=360, random_state=0, stratify=y)
    return x_train, y_train, x_test, y_test


def _trainer(seed: int = 0) -> Trainer:
    """Return the trainer of a new network for these images."""
    hidden = (Dense(64), ReLU(), Dense(32), ReLU())
    model = Sequential([Rescale(1 / 16), *hidden, Dense(10), SoftmaxCrossEntropy()], input_shape=64, seed=seed)
    return Trainer(model, Adam(3e-3), batch_size=32, seed=seed)


def _same_bits(first: Array, second: Array) -> bool:
    return first.dtype == second.dtype and np.array_equal(first, second)


if __name__ == "__main__":
    sys.exit(main())
