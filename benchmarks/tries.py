"""Measure experiments that make a step faster: the same computation in two or more ways.

    python benchmarks/tries.py

Each line has the median time of a way in microseconds, and its ratio to the first way. The ways take turns in rounds.
numexpr is measured if it is installed. `compiled.py` shows the gain of compiled code.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from minidl import (
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    AMSGrad,
    ExponentialMovingAverage,
    Lion,
    Momentum,
    NAdam,
    RMSprop,
    SoftmaxCrossEntropy,
)
from minidl.layers import MaxPool2D
from minidl.layers.windows import add_bias, image_gradient, slide
from minidl.products import multiply, multiply_transposed, rows_together
from minidl.threads import blas_threads
from minidl.training.gradients import clip
from minidl.training.subnormal import clear_subnormal

RNG = np.random.default_rng(0)
Ways = dict[str, Callable[[], object]]


def numbers(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape, dtype=np.float32)


def race(title: str, ways: Ways, rounds: int = 15, seconds: float = 0.02) -> None:
    """Time the ways in turns; print medians and ratios."""
    calls = {}
    for name, way in ways.items():
        way()
        start = time.perf_counter()
        way()
        calls[name] = max(1, int(seconds / (time.perf_counter() - start)))
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            for _ in range(calls[name]):
                way()
            times[name].append((time.perf_counter() - start) / calls[name] * 1e6)
    first = statistics.median(next(iter(times.values())))
    print(f"\n{title}")
    for name, found in times.items():
        print(f"  {name:<48}{statistics.median(found):9.1f}{statistics.median(found) / first:7.2f}")


def relu(rows: int, units: int) -> None:
    x = numbers(rows, units)
    race(
        f"ReLU of ({rows}, {units})",
        {
            "maximum(x, 0)": lambda: np.maximum(x, 0),
            "maximum(x, zeros): minidl": lambda: np.maximum(x, np.zeros(x.shape, x.dtype)),
            "x * (x > 0)": lambda: x * (x > 0),
        },
    )


def freed_memory() -> None:
    """Time a ReLU if the C library returns freed memory to the system (its default), and if it keeps the memory."""
    program = (
        "import minidl, tries; x = tries.numbers(128, 500); tries.race('', {'': lambda: minidl.functional.relu(x)})"
    )
    print("\nReLU of (128, 500), 256 KB")
    found = []
    for name, threshold in (("memory of 128 KB and more returned", "131072"), ("memory kept: minidl", "33554432")):
        result = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"MALLOC_MMAP_THRESHOLD_": threshold, "MALLOC_TRIM_THRESHOLD_": threshold},
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
        found.append(float(result.stdout.split()[0]))
        print(f"  {name:<48}{found[-1]:9.1f}{found[-1] / found[0]:7.2f}")


def softmax(rows: int) -> None:
    scores, labels = numbers(rows, 10), RNG.integers(0, 10, rows)
    loss = SoftmaxCrossEntropy()

    def usual() -> tuple[np.ndarray, np.ndarray]:
        shifted = scores - scores.max(axis=1, keepdims=True)
        probabilities = np.exp(shifted)
        total = probabilities.sum(axis=1, keepdims=True)
        probabilities /= total
        index = np.arange(rows)
        losses = np.log(total[:, 0]) - shifted[index, labels]
        probabilities[index, labels] -= 1
        return losses, probabilities

    race(
        f"softmax cross-entropy and its gradient, ({rows}, 10)",
        {
            "a row's scores side by side": usual,
            "a class's scores side by side: minidl": lambda: loss.per_sample(scores, labels),
        },
    )


def bias_gradient(rows: int, units: int) -> None:
    dy = numbers(rows, units)
    race(
        f"a bias's gradient, ({rows}, {units})",
        {
            "dy.sum(axis=0)": lambda: dy.sum(axis=0),
            "ones @ dy: minidl": lambda: np.ones(len(dy), dy.dtype) @ dy,
        },
    )


def one_unit(rows: int, inputs: int) -> None:
    dy, weight = numbers(rows, 1), numbers(inputs, 1)
    race(
        f"the input's gradient of a layer of one unit, ({rows}, {inputs})",
        {"dy @ W.T": lambda: dy @ weight.T, "dy * W.T: minidl": lambda: dy * weight.T},
    )


def small_product(rows: int, inputs: int, units: int) -> None:
    x, weight = numbers(rows, inputs), numbers(inputs, units)
    race(
        f"a product, ({rows}, {inputs}) and ({inputs}, {units})",
        {"x @ W": lambda: x @ weight, "x.dot(W): minidl": lambda: x.dot(weight)},
    )


def few_units(rows: int, inputs: int, units: int) -> None:
    """Time the products of a layer with few units and many rows, on one thread, as in a small network."""
    x, weight, dy, gradient = (
        numbers(rows, inputs),
        numbers(inputs, units),
        numbers(rows, units),
        numbers(inputs, units),
    )
    together = rows_together(rows, inputs, units)
    parts, dy_parts = x.reshape(-1, together, inputs), dy.reshape(-1, together, units)

    def transposed_parts() -> None:
        gradient[...] = np.add.reduce(dy_parts.transpose(0, 2, 1) @ parts, axis=0).T

    with blas_threads(1):
        race(
            f"a product, ({rows}, {inputs}) and ({inputs}, {units})",
            {
                "x @ W": lambda: x @ weight,
                f"{together} rows at a time: minidl": lambda: multiply(x, weight),
                "the same, W.T @ x.T": lambda: weight.T @ parts.transpose(0, 2, 1),
            },
        )
        race(
            f"the weight's gradient, ({rows}, {inputs}) and ({rows}, {units})",
            {
                "x.T @ dy": lambda: np.matmul(x.T, dy, out=gradient),
                f"{together} rows at a time: minidl": lambda: multiply_transposed(x, dy, gradient),
                "the same, dy.T @ x": transposed_parts,
            },
        )


def rows_of_a_batch() -> None:
    x, rows = numbers(33_600, 784), RNG.permutation(33_600)[:64]
    race("64 random rows of 784 numbers", {"x[rows]": lambda: x[rows], "x.take(rows): minidl": lambda: x.take(rows, 0)})


def adam(size: int) -> None:
    parameters, gradients, mean, square = (np.abs(numbers(size)) for _ in range(4))
    vectors = parameters, gradients, mean, square
    ours, whole = Adam(), Adam()
    ours.state = whole.state = dict(zip(ours.slots, (mean, square), strict=True))
    whole.elementwise = False
    beta1, beta2, rate, epsilon = (np.float32(value) for value in (0.9, 0.999, 1e-3, 1e-8))

    def formula() -> None:
        mean[:] = beta1 * mean + (1 - beta1) * gradients
        square[:] = beta2 * square + (1 - beta2) * gradients * gradients
        parameters[:] = parameters - rate * mean / (np.sqrt(square) + epsilon)

    halves = [tuple(vector[part] for vector in vectors) for part in (slice(size // 2), slice(size // 2, size))]
    pool = ThreadPoolExecutor(1)
    ours.step = 1

    def half(index: int) -> None:
        p, g, m, v = halves[index]
        ours.update(p, g, 1e-3, m, v)

    def two_threads() -> None:
        other = pool.submit(half, 0)
        half(1)
        other.result()

    ways: Ways = {
        "the formula as written": formula,
        "a scratch array": lambda: whole.apply(parameters, gradients),
        "a scratch array, in blocks: minidl": lambda: ours.apply(parameters, gradients),
        "a scratch array, halves in two threads": two_threads,
    }
    x, weight = numbers(128, 1024), numbers(1024, 1024)
    if size > 1_000_000:
        ways |= {
            "a matrix product alone": lambda: x @ weight,
            "a matrix product, then minidl's": lambda: (x @ weight, ours.apply(parameters, gradients)),
            "a matrix product, then two threads": lambda: (x @ weight, two_threads()),
        }
    if importlib.util.find_spec("numexpr"):
        ways["numexpr"] = numexpr_adam(parameters, gradients, mean, square)
    race(f"a step of Adam on {size:,} parameters", ways)


def image_gradients(images: int, size: int, channels: int, filters: int) -> None:
    """Time the gradient of a convolution's images: one product of patches, or sums of nine products."""
    window = slide((size, size, channels), (3, 3), (1, 1), "same")
    kernel, dy = numbers(3, 3, channels, filters), numbers(images, size, size, filters)
    by_tap = np.ascontiguousarray(kernel.reshape(9, channels, filters).transpose(0, 2, 1))

    def nine_additions() -> np.ndarray:
        padded = np.zeros((images, *window.padded, channels), np.float32)
        at_once = max(2**16 // (size * size * channels), 1)
        for start in range(0, images, at_once):
            part = dy[start : start + at_once]
            for weights, tap in zip(by_tap, window.taps(padded[start : start + at_once]), strict=True):
                np.add(tap, (part.reshape(-1, filters) @ weights).reshape(tap.shape), out=tap)
        return window.crop(padded)

    ways = {
        "patches and flipped kernels: minidl": lambda: image_gradient(dy, kernel, window, 1),
        "nine products, added up": nine_additions,
    }
    np.testing.assert_allclose(*(way() for way in ways.values()), rtol=1e-3, atol=1e-3)
    race(f"gradient of {images} images of {size} x {size} x {channels} under {filters} filters", ways)


def images_bias(images: int, size: int, channels: int) -> None:
    y, bias = numbers(images, size, size, channels), numbers(channels)
    race(
        f"a bias for {images} images of {size} x {size} x {channels}",
        {"along whole images: minidl": lambda: add_bias(y, bias), "pixel by pixel": lambda: np.add(y, bias, out=y)},
    )


def pooling(images: int, size: int, channels: int) -> None:
    x, pool = np.maximum(numbers(images, size, size, channels), 0), MaxPool2D(2)
    pool.set_up(x.shape[1:])
    flat, n = x.reshape(-1), x.size - channels

    def of_all_pixels() -> None:  # all neighbours in a row, then every second pair; rows as in minidl
        maxima, winners = np.empty_like(flat), np.empty(flat.size, bool)
        np.maximum(flat[:-channels], flat[channels:], out=maxima[:n])
        np.greater(flat[channels:], flat[:-channels], out=winners[:n])
        rows, _ = (each.reshape(x.shape)[:, :, ::2].copy() for each in (maxima, winners))
        np.maximum(rows[:, ::2], rows[:, 1::2])
        np.greater(rows[:, 1::2], rows[:, ::2])

    race(
        f"max pooling of {images} images of {size} x {size} x {channels}, for training",
        {"pairs of pixels: minidl": lambda: pool.forward(x, training=True), "maxima of all neighbours": of_all_pixels},
    )


def optimizers(size: int) -> None:
    """Time a step of each of minidl's optimizers, on parameters that all decay."""
    makers = [Adam, AdamW, AMSGrad, NAdam, RMSprop, Adagrad, Adadelta, Momentum, SGD, Lion]
    ways: Ways = {}
    for make in makers:
        optimizer, parameters, gradients = make(1e-3), numbers(size), numbers(size)
        ways[make.__name__] = functools.partial(optimizer.apply, parameters, gradients)
    ways["clip_norm=1"] = functools.partial(clip, numbers(size), 1.0, None)
    ways["ExponentialMovingAverage"] = functools.partial(
        ExponentialMovingAverage().follow, numbers(size), numbers(size), 1
    )
    race(f"a step of each optimizer on {size:,} parameters", ways)


def subnormal(size: int) -> None:
    """Time Adam's step if every 50th gradient is 0, as of a unit that no row activates, and its mean subnormal or 0."""
    kept, cleared = Adam(), Adam()
    parameters, gradients = numbers(size), numbers(size)
    gradients[::50] = 0
    for optimizer in (kept, cleared):
        optimizer.apply(parameters, gradients)
    kept.state["m"][::50] = np.finfo(np.float32).smallest_subnormal
    searched = Adam()
    searched.step, searched.state = 100, {name: slot.copy() for name, slot in cleared.state.items()}
    ways = {
        "2 % of the means are subnormal": lambda: kept.apply(parameters, gradients),
        "they are 0: minidl": lambda: cleared.apply(parameters, gradients),
        "the search for them, every 100 steps": lambda: clear_subnormal(searched, [slice(0, size)]),
    }
    race(f"a step of Adam on {size:,} parameters, 2 % without gradients", ways)


def numexpr_adam(p: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray) -> Callable[[], object]:
    import numexpr

    names = {"p": p, "g": g, "m": m, "v": v} | {
        name: np.float32(value) for name, value in {"a": 0.9, "b": 0.999, "c": 0.1, "d": 0.001, "r": 1e-3}.items()
    }

    def step() -> None:
        numexpr.evaluate("a * m + c * g", names, out=m)
        numexpr.evaluate("b * v + d * g * g", names, out=v)
        numexpr.evaluate("p - r * m / sqrt(v)", names, out=p)

    return step


def main() -> None:
    print(f"{'':<50}{'us':>9}{'ratio':>7}")
    for rows, units in ((64, 128), (128, 500)):
        relu(rows, units)
    freed_memory()
    for rows in (64, 1024):
        softmax(rows)
    for rows, units in ((64, 128), (1024, 10)):
        bias_gradient(rows, units)
    one_unit(128, 500)
    small_product(64, 64, 10)
    for units in (4, 10):
        few_units(1024, 784, units)
    rows_of_a_batch()
    for size in (2_713, 109_386, 1_863_690):
        adam(size)
    subnormal(109_386)
    optimizers(109_386)
    for size, channels, filters in ((14, 16, 32), (28, 16, 16), (8, 64, 64)):
        image_gradients(32, size, channels, filters)
    images_bias(32, 28, 16)
    pooling(32, 28, 16)


if __name__ == "__main__":
    main()
