"""Measure size, accuracy and time of a trained network in minidl, and in ONNX Runtime with float32 and 8-bit integers.

    python benchmarks/deployment.py                  # the table
    python benchmarks/deployment.py --quick          # few rows: within seconds

Two networks train on MNIST for a few epochs: 784-128-64-10, and one with two convolutions. Each is saved, exported, and
quantized with 500 rows of the training images. The table has the size of each file, the accuracy on the 10,000 test
images, and the time to predict labels for one row and for 10,000 rows. The time is the minimum of several, because
other programs can only make it longer. minidl and ONNX Runtime use ``--threads`` threads. ``--document docs`` updates
the table in docs/deployment.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import onnxruntime
import pandas as pd
from reports import machine, mnist_folder, number, put_into_document, table_text
from threadpoolctl import threadpool_limits

import minidl.onnx
from minidl import (
    Adam,
    Conv2D,
    Dense,
    Flatten,
    Layer,
    MaxPool2D,
    ReLU,
    Rescale,
    Sequential,
    SoftmaxCrossEntropy,
    Trainer,
)
from minidl.data import load_mnist
from minidl.errors import MinidlError
from minidl.typing import Array

NETWORKS: dict[str, tuple[Callable[[], list[Layer]], tuple[int, ...]]] = {
    "784-128-64-10": (lambda: [Dense(128), ReLU(), Dense(64), ReLU()], (784,)),
    "convolutions": (
        lambda: [Conv2D(16, 3), ReLU(), MaxPool2D(2), Conv2D(32, 3), ReLU(), MaxPool2D(2), Flatten()],
        (28, 28, 1),
    ),
}


def seconds(predict: Callable[[Array], Array], x: Array, at_least: float) -> float:
    """Return the minimum time of several calls that together take `at_least` seconds."""
    predict(x)
    times: list[float] = []
    while sum(times) < at_least or len(times) < 3:
        start = perf_counter()
        predict(x)
        times.append(perf_counter() - start)
    return min(times)


def by_runtime(path: Path, threads: int) -> Callable[[Array], Array]:
    """Return a function that predicts with ONNX Runtime, from a model file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})[0]


def measure(options: argparse.Namespace, folder: Path) -> pd.DataFrame:
    """Train, export and quantize each network; return sizes, accuracies and times."""
    (x, y), (x_test, y_test) = load_mnist(mnist_folder(options.data))
    x, y = x[: options.rows], y[: options.rows]
    table = []
    for name, (layers, shape) in NETWORKS.items():
        parts = [Rescale(1 / 255), *layers(), Dense(10), SoftmaxCrossEntropy()]
        model = Sequential(parts, input_shape=shape, seed=0)
        images, test = x.reshape(-1, *shape), x_test.reshape(-1, *shape)
        trainer = Trainer(model, Adam(1e-3), batch_size=64, seed=0)
        trainer.fit(images, y, epochs=options.epochs, progress=False)
        model.save(folder / "model.npz")
        minidl.onnx.export(model, folder / "model.onnx", output="labels")
        small = minidl.onnx.quantize(folder / "model.onnx", images[:500])
        ways: dict[str, tuple[Path, Callable[[Array], Array]]] = {
            "minidl": (folder / "model.npz", model.predict),
            "ONNX Runtime, float32": (folder / "model.onnx", by_runtime(folder / "model.onnx", options.threads)),
            "ONNX Runtime, int8": (small, by_runtime(small, options.threads)),
        }
        for way, (path, predict) in ways.items():
            with threadpool_limits(options.threads):
                one, all_rows = (seconds(predict, rows, options.seconds) for rows in (test[:1], test))
            table.append(
                {
                    "network": name,
                    "computed by": way,
                    "kB": round(path.stat().st_size / 1000),
                    "accuracy %": f"{100 * np.mean(predict(test) == y_test):.2f}",
                    "1 row, us": round(1e6 * one),
                    f"{len(test):,} rows, ms": f"{1e3 * all_rows:.1f}",
                }
            )
    return pd.DataFrame(table).set_index("network")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of MNIST's files (default: where load_mnist finds them)")
    parser.add_argument("--rows", type=number, default=20_000, help="training rows")
    parser.add_argument("--epochs", type=number, default=3)
    parser.add_argument("--threads", type=number, default=1)
    parser.add_argument("--seconds", type=float, default=1.0, help="least time of each measurement")
    parser.add_argument("--quick", action="store_true", help="use 500 rows and one epoch")
    parser.add_argument("--document", type=Path, help="put the table into deployment.md of this folder")
    options = parser.parse_args()
    if options.quick:
        options.rows, options.epochs, options.seconds = 500, 1, 0.01
    with tempfile.TemporaryDirectory() as folder:
        table = measure(options, Path(folder))
    threads = f"{options.threads} thread{'s' * (options.threads > 1)}"
    versions = f"{machine()}, {threads}, ONNX Runtime {onnxruntime.__version__}"
    text = f"{table_text(table)}\n\n{versions}"
    print(text)
    if options.document:
        put_into_document(options.document / "deployment.md", "deployment", text)


if __name__ == "__main__":
    try:
        main()
    except MinidlError as error:
        sys.exit(f"{Path(__file__).name}: {error}")
