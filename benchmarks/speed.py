"""Speed and memory of minidl beside the bare matrix products of the same shapes.

    python benchmarks/speed.py                 # minidl and its raw products
    python benchmarks/speed.py --compare       # also scikit-learn, and PyTorch where it is installed

Times are medians of rounds in which the contestants take turns, so that a phase in which the machine is slow
meets them all; ratios are medians of the rounds' ratios. The data are random pixels in MNIST's shape.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np

from minidl import SGD, Adam, Dense, ReLU, Rescale, Sequential, SoftmaxCrossEntropy, Trainer
from minidl.typing import Array

Contestants = dict[str, Callable[[], object]]


def network(*sizes: int) -> Sequential:
    layers = [Rescale(1 / 255)]
    for size in sizes[1:-1]:
        layers += [Dense(size), ReLU()]
    return Sequential([*layers, Dense(sizes[-1]), SoftmaxCrossEntropy()], input_shape=sizes[0], seed=0)


def products(sizes: tuple[int, ...], rows: int, batch: int) -> Callable[[], None]:
    """Return a function that makes only the matrix products of an epoch: y = x W, dW = x^T dy, dx = dy W^T."""
    rng = np.random.default_rng(0)
    outputs = [rng.random((batch, size), dtype=np.float32) for size in sizes]
    weights = [rng.random(shape, dtype=np.float32) for shape in itertools.pairwise(sizes)]

    def epoch() -> None:
        for _ in range(0, rows, batch):
            for x, weight in zip(outputs, weights, strict=False):
                x @ weight
            for index in reversed(range(len(weights))):
                outputs[index].T @ outputs[index + 1]
                if index:
                    outputs[index + 1] @ weights[index].T

    return epoch


def epoch_of(
    model: Sequential, optimizer: SGD | Adam, x: Array, y: Array, batch_size: int | None
) -> Callable[[], object]:
    trainer = Trainer(model, optimizer, batch_size=batch_size, seed=0)
    return lambda: trainer.fit(x, y, progress=False)


def others(sizes: tuple[int, ...], x: Array, y: Array, batch_size: int, optimizer: str) -> Contestants:
    """Return an epoch of the same training in the frameworks that are installed."""
    from sklearn.neural_network import MLPClassifier

    contestants: Contestants = {}
    scaled = x.astype(np.float32) / 255
    solver = MLPClassifier(
        sizes[1:-1],
        solver=optimizer,
        batch_size=batch_size,
        momentum=0,
        learning_rate_init=0.01,
        alpha=0,
        tol=0,
    )
    contestants["scikit-learn"] = lambda: solver.partial_fit(scaled, y, classes=np.arange(10))
    if importlib.util.find_spec("torch"):
        contestants["PyTorch"] = torch_epoch(sizes, scaled, y, batch_size, optimizer)
    return contestants


def torch_epoch(
    sizes: tuple[int, ...], scaled: Array, y: Array, batch_size: int, optimizer: str
) -> Callable[[], object]:
    """Return an epoch in PyTorch's usual form, with its fused optimizer and batches cut from one shuffled order."""
    import torch

    layers: list[torch.nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
    update = kinds[optimizer](model.parameters(), lr=0.01, fused=True)
    loss = torch.nn.CrossEntropyLoss()
    inputs, labels = torch.from_numpy(scaled), torch.from_numpy(y.astype(np.int64))

    def epoch() -> None:
        full_batch = batch_size >= len(inputs)
        for rows in [slice(None)] if full_batch else torch.randperm(len(inputs)).split(batch_size):
            update.zero_grad()
            loss(model(inputs[rows]), labels[rows]).backward()
            update.step()

    return epoch


def race(title: str, contestants: Contestants, rounds: int) -> None:
    """Time the contestants in turns; print medians, and ratios to the first of them."""
    for run in contestants.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    first = next(iter(contestants))
    print(f"\n{title} ({rounds} rounds)")
    for name, times in seconds.items():
        ratio = statistics.median(own / base for own, base in zip(times, seconds[first], strict=True))
        print(f"  {name:<28}{statistics.median(times):9.4f} s   {ratio:6.2f} x {first}")


def race_imports(rounds: int) -> None:
    """Time whole Python processes that import, in turns; with compiled bytecode, as any installed package has it."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = folder

        def run(program: str) -> Callable[[], object]:
            return lambda: subprocess.run([sys.executable, "-c", program], check=True, env=environment)

        race("import", {program: run(program) for program in ("import numpy", "import minidl")}, rounds)


MEMORY_PROGRAM = """
import pathlib
import resource
import numpy as np
from minidl import SGD, Dense, ReLU, Rescale, Sequential, SoftmaxCrossEntropy, Trainer
rng = np.random.default_rng(0)
x = rng.integers(0, 256, (60_000, 784), dtype=np.uint8)
y = rng.integers(0, 10, 60_000)
layers = [Rescale(1 / 255), Dense(128), ReLU(), Dense(64), ReLU(), Dense(10), SoftmaxCrossEntropy()]
model = Sequential(layers, seed=0)
trainer = Trainer(model, SGD(0.01), batch_size={batch_size}, seed=0)
trainer.fit(x, y, epochs=2, validation_data=(x[:12_000], y[:12_000]), progress=False)
status = pathlib.Path("/proc/self/status")
if status.exists():  # ru_maxrss of a new process starts, on Linux, at that of the process which made it
    print(int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024)
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


def peak_memory(batch_size: int | None) -> float:
    """Return the peak resident memory, in MB, of a process that trains on 60,000 uint8 images."""
    program = MEMORY_PROGRAM.format(batch_size=batch_size)
    return float(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compare", action="store_true", help="also run scikit-learn, and PyTorch if installed")
    parser.add_argument("--rounds", type=int, default=15, help="rounds per race (default 15)")
    arguments = parser.parse_args()
    print(f"{platform.platform()}, Python {platform.python_version()}, NumPy {np.__version__}, {os.cpu_count()} CPUs")

    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (41_000, 784), dtype=np.uint8)
    y = rng.integers(0, 10, len(x))
    few_x, few_y = x[:33_600], y[:33_600]

    deep = (784, 128, 64, 10)
    for optimizer in (SGD(0.01), Adam(0.01)):
        name = type(optimizer).__name__
        contestants: Contestants = {
            "raw matrix products": products(deep, len(few_x), 64),
            "minidl": epoch_of(network(*deep), optimizer, few_x, few_y, 64),
        }
        if arguments.compare:
            contestants |= others(deep, few_x, few_y, 64, name.lower())
        race(f"784-128-64-10, {name}, batch 64, an epoch of 33,600 rows", contestants, arguments.rounds)

    flat = (784, 10, 10)
    contestants = {
        "raw matrix products": products(flat, len(x), len(x)),
        "minidl": epoch_of(network(*flat), SGD(0.1), x, y, None),
    }
    if arguments.compare:
        contestants |= others(flat, x, y, len(x), "sgd")
    race("784-10-10, SGD, full batch, a step of 41,000 rows", contestants, arguments.rounds)

    race_imports(arguments.rounds)

    print("\nPeak memory of a process that trains 784-128-64-10 on 60,000 uint8 images")
    for batch_size in (64, None):
        print(f"  {f'batch {batch_size}' if batch_size else 'full batch':<28}{peak_memory(batch_size):7.0f} MB")

    model, row = network(*deep), x[:1]
    start = time.perf_counter()
    for _ in range(10_000):
        model.predict(row)
    print(f"\nOne prediction, 784-128-64-10: {(time.perf_counter() - start) / 10_000 * 1e6:.1f} microseconds")


if __name__ == "__main__":
    main()
