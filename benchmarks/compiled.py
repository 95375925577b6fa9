"""Measure the gain of compiled code, function by function, and its cost.

    python benchmarks/compiled.py [--rounds 30] [--sizes 2700 109386 1863690] [--activation ReLU]

The first table compares each compiled function with the NumPy code that it replaces: both times in microseconds, and
their ratio. The two take turns. The second table has the seconds of the first fit of 784-128-64-10 in a process: with
NumPy, with all compilation, and with code that an earlier process compiled. With Tanh instead of ReLU, a step is not a
single call, and less is compiled. The benchmark needs the extra "fast".
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name

import numpy as np

from minidl import (
    GELU,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    AMSGrad,
    BatchNorm,
    Dropout,
    ExponentialMovingAverage,
    LayerNorm,
    Lion,
    Momentum,
    NAdam,
    ReLU,
    Rescale,
    RMSprop,
    TransformerBlock,
)
from minidl.compiled.switching import Replacement, replacements

FIT = """
import sys
import time
import numpy as np
import minidl
from minidl import Adam, Dense, Rescale, Sequential, SoftmaxCrossEntropy, Trainer
activation = getattr(minidl, sys.argv[1])
rng = np.random.default_rng(0)
x, y = rng.integers(0, 256, (640, 784), np.uint8), rng.integers(0, 10, 640)
layers = [Rescale(1 / 255), Dense(128), activation(), Dense(64), activation(), Dense(10), SoftmaxCrossEntropy()]
trainer = Trainer(Sequential(layers, seed=0), Adam(), batch_size=64, seed=0)
start = time.perf_counter()
trainer.fit(x, y, progress=False)
print(time.perf_counter() - start)
"""

OPTIMIZERS = (SGD(), Momentum(), Adam(), AMSGrad(), NAdam(), RMSprop(), Adagrad(), Adadelta(), Lion())


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def race(what: str, found: Replacement, arguments: Callable[[], tuple], rounds: int) -> None:
    """Print the median times of both functions and their ratio; each function has its own arguments."""
    ways = [(function, arguments()) for function in (found.numpy, found.compiled)]
    times: list[list[float]] = [[], []]
    for turn in range(rounds + 1):
        for (function, given), seconds in zip(ways, times, strict=True):
            start = time.perf_counter()
            function(*given)
            if turn:  # the first call compiles
                seconds.append(time.perf_counter() - start)
    numpy, compiled = (1e6 * statistics.median(seconds) for seconds in times)
    print(f"{what:<58}{numpy:>9.1f}{compiled:>10.1f}{compiled / numpy:>7.2f}")


def functions(sizes: list[int], rounds: int) -> None:

    average = ExponentialMovingAverage()
    by_place = {(each.home, each.name): each for each in replacements()}
    by_kind = {resolve_name(home): each for (home, name), each in by_place.items() if name == "update"}
    print(f"{'microseconds':<58}{'NumPy':>9}{'compiled':>10}{'ratio':>7}")
    for size in sizes:
        for optimizer in OPTIMIZERS:
            optimizer.step = 1

            def vectors(optimizer=optimizer, size=size) -> tuple:
                slots = [np.abs(numbers(size)) for _ in optimizer.slots]
                return copy.copy(optimizer), numbers(size), numbers(size), 1e-3, *slots

            race(f"{type(optimizer).__name__}, {size:,} parameters", by_kind[type(optimizer)], vectors, rounds)
        follow = by_place["minidl.training.averages:ExponentialMovingAverage", "follow"]
        race(f"ExponentialMovingAverage, {size:,}", follow, lambda s=size: (average, numbers(s), numbers(s), 9), rounds)

    relu = ReLU()
    for shape in ((64, 128), (32, 28, 28, 16)):
        relu.saved = numbers(*shape)
        for name in ("forward", "backward"):
            found = by_place["minidl.layers.rectifiers:ReLU", name]
            race(f"ReLU {name}, {shape}", found, lambda s=shape: (relu, numbers(*s)), rounds)
    pixels = (128 + 60 * numbers(64, 784)).clip(0, 255).astype(np.uint8)
    scaled = by_place["minidl.layers.shaping:Rescale", "forward"]
    race("Rescale of bytes, (64, 784)", scaled, lambda: (Rescale(1 / 255), pixels), rounds)
    for shape in ((128, 128), (25_088, 16)):
        for layer in (BatchNorm(), LayerNorm(), Dropout(0.2)):
            layer.set_up(shape[1:], 0)
            layer.forward(numbers(*shape), training=True)
            kind = type(layer).__name__
            for name, given in (("forward", (layer, numbers(*shape), True)), ("backward", (layer, numbers(*shape)))):
                found = by_place.get((f"{type(layer).__module__}:{kind}", name))
                if found is not None:  # Dropout's backward is one product
                    race(f"{kind} {name}, {shape}", found, lambda g=given: g, rounds)
    weigh = by_place["minidl.layers.activations:GELU", "forward"]
    race("GELU forward, (8, 64, 256)", weigh, lambda: (GELU(), numbers(8, 64, 256), True), rounds)
    softmax, to_scores = (by_place["minidl.sequences.attention", name] for name in ("_softmax", "_to_scores"))
    scores, line = (8, 4, 64, 64), (8, 4, 64, 1)
    for causal in (False, True):
        what = f"softmax of {'causal ' * causal}attention, {scores}"
        race(what, softmax, lambda causal=causal: (numbers(*scores), causal, None), rounds)
    race(f"its gradient, {scores}", to_scores, lambda: (numbers(*scores), numbers(*scores), numbers(*line)), rounds)
    sequences = numbers(8, 64, 64)
    block = TransformerBlock(64, 4, causal=True)
    block.set_up(sequences.shape[1:], 0)
    for half, what in zip(block.layers, ("attention", "dense layers"), strict=True):
        half.forward(sequences, training=True)
        for name, given in (("forward", (half, sequences, True)), ("backward", (half, sequences))):
            found = by_place["minidl.blocks:Residual", name]
            race(f"TransformerBlock(64, 4), {what} {name}", found, lambda given=given: given, rounds)
    images = numbers(32, 28, 28, 16)
    find, hand_out = (by_place["minidl.layers.pooling", name] for name in ("_maxima_and_winners", "_to_winners"))
    race("MaxPool2D(2) forward, along rows, (32, 28, 28, 16)", find, lambda: (images, 2, 2, 2), rounds)
    maxima, winners = find.numpy(images, 2, 2, 2)
    race("MaxPool2D(2) backward, along rows", hand_out, lambda: (maxima, winners, 2, 28, 2, 2), rounds)


def first_fit(activation: str, **environment: str) -> float:
    """Return the seconds that the first fit takes in a new process."""
    command, settings = [sys.executable, "-W", "ignore", "-c", FIT, activation], os.environ | environment
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=settings)
    return float(done.stdout)


def costs(activation: str, rounds: int) -> None:
    print(f"\nseconds of a process's first fit, 10 steps of 784-128-64-10 with {activation}")
    with tempfile.TemporaryDirectory() as folder:
        print(f"  NumPy                              {first_fit(activation, MINIDL_COMPILED='0'):6.2f}")
        compiled = {"MINIDL_COMPILED": "1", "NUMBA_CACHE_DIR": folder}
        print(f"  compiled, for the first time       {first_fit(activation, **compiled):6.2f}")
        later = statistics.median(first_fit(activation, **compiled) for _ in range(min(rounds, 3)))
        print(f"  compiled by an earlier process     {later:6.2f}")
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        print(f"  files                              {size / 1e6:6.2f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2_700, 109_386, 1_863_690])
    parser.add_argument("--activation", choices=["ReLU", "Tanh"], default="ReLU", help="of the second table")
    arguments = parser.parse_args()
    functions(arguments.sizes, arguments.rounds)
    costs(arguments.activation, arguments.rounds)


if __name__ == "__main__":
    main()
