"""Measure distorted images per second: with minidl, with SciPy (one image at a time), and with PyTorch's grid_sample.

    python benchmarks/augment.py
    python benchmarks/augment.py --images 20000 --rounds 9

Each contestant distorts uint8 images of 28 x 28 pixels in batches of 128, with its own random numbers, and returns
uint8 images. They take turns; the result is the median of the rounds. PyTorch is measured if it is installed. `affine`
is rotation, scaling and translation; `elastic` is the deformation of Simard et al. with sigma 4. `compiled` is minidl
with the extra `fast`, if that is installed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from reports import machine, mnist_folder, number, put_into_document
from threadpoolctl import threadpool_limits

from minidl.compiled import switch
from minidl.data import augment, load_mnist
from minidl.errors import MinidlError
from minidl.typing import Array

SIDE, BATCH = 28, 128
AFFINE = augment.Compose([augment.Rotation(10), augment.Scaling(0.1), augment.Translation(0.1)])
ELASTIC = augment.Elastic(34, smoothness=4)

Contestant = Callable[[Array], None]


def in_batches(distort: Callable[[Array, int], object]) -> Contestant:
    def run(images: Array) -> None:
        for start in range(0, len(images), BATCH):
            distort(images[start : start + BATCH], start)

    return run


def when_compiled(contestant: Contestant) -> Contestant:
    def run(images: Array) -> None:
        switch(True)
        try:
            contestant(images)
        finally:
            switch(False)

    return run


def on_two_threads(contestant: Contestant) -> Contestant:
    def run(images: Array) -> None:
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(contestant, np.array_split(images, 2)))

    return run


def scipy_affine(images: Array, seed: int) -> None:
    from scipy.ndimage import affine_transform

    rng = np.random.default_rng(seed)
    middle = np.full(2, (SIDE - 1) / 2)
    for image in images:
        angle, scale = np.deg2rad(rng.uniform(-10, 10)), rng.uniform(0.9, 1.1)
        matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / scale
        offset = middle + rng.uniform(-0.1, 0.1, 2) * SIDE - matrix @ middle
        affine_transform(image, matrix, offset, order=1, mode="grid-constant")


def scipy_elastic(images: Array, seed: int) -> None:
    from scipy.ndimage import gaussian_filter, map_coordinates

    rng = np.random.default_rng(seed)
    places = np.indices((SIDE, SIDE), np.float32)
    for image in images:
        field = rng.uniform(-1, 1, (2, SIDE, SIDE)).astype(np.float32)
        moved = places + 34 * gaussian_filter(field, (0, 4, 4), mode="constant")
        map_coordinates(image, moved, order=1, mode="grid-constant")


def torch_contestants() -> dict[str, dict[str, Contestant]]:
    """Return PyTorch's distortions if it is installed, with one thread per core."""
    try:
        import torch
        from torch.nn import functional
    except ImportError:
        return {"affine": {}, "elastic": {}}

    def resample(images: Array, grid: torch.Tensor) -> None:
        pixels = torch.from_numpy(images).float()[:, None]
        functional.grid_sample(pixels, grid, align_corners=True).round_().clamp_(0, 255).byte().numpy()

    def affine(images: Array, seed: int) -> None:
        generator, count = torch.Generator().manual_seed(seed), len(images)

        def drawn(most: float) -> torch.Tensor:
            return (2 * torch.rand(count, generator=generator) - 1) * most

        angle, scale = torch.deg2rad(drawn(10)), 1 + drawn(0.1)
        cosine, sine = torch.cos(angle) / scale, torch.sin(angle) / scale
        rows = [torch.stack([cosine, sine, 2 * drawn(0.1)], 1), torch.stack([-sine, cosine, 2 * drawn(0.1)], 1)]
        grid = functional.affine_grid(torch.stack(rows, 1), [count, 1, SIDE, SIDE], align_corners=True)
        resample(images, grid)

    reach = torch.arange(-16.0, 17.0)
    kernel = torch.exp(-0.5 * (reach / 4) ** 2)
    kernel /= kernel.sum()
    identity = functional.affine_grid(torch.eye(2, 3)[None], [1, 1, SIDE, SIDE], align_corners=True)

    def elastic(images: Array, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        field = 2 * torch.rand(2 * len(images), 1, SIDE, SIDE, generator=generator) - 1
        field = functional.conv2d(field, kernel.view(1, 1, 1, -1), padding=(0, 16))
        field = functional.conv2d(field, kernel.view(1, 1, -1, 1), padding=(16, 0))
        moves = field.view(len(images), 2, SIDE, SIDE).permute(0, 2, 3, 1) * (34 * 2 / (SIDE - 1))
        resample(images, identity + moves)

    name = f"PyTorch {torch.__version__.split('+')[0]}, {torch.get_num_threads()} threads"
    return {"affine": {name: in_batches(affine)}, "elastic": {name: in_batches(elastic)}}


def contestants() -> dict[str, dict[str, Contestant]]:
    torch = torch_contestants()
    result = {}
    for kind, distortion, scipy in (("affine", AFFINE, scipy_affine), ("elastic", ELASTIC, scipy_elastic)):
        ours = in_batches(distortion)
        compiled = {
            "minidl, compiled, 1 thread": when_compiled(ours),
            "minidl, compiled, 2 threads": when_compiled(on_two_threads(ours)),
        }
        result[kind] = {
            "minidl, 1 thread": ours,
            "minidl, 2 threads": on_two_threads(ours),
            **(compiled if find_spec("numba") else {}),
            "SciPy, image by image": in_batches(scipy),
            **torch[kind],
        }
    return result


def measure(images: Array, rounds: int) -> dict[str, dict[str, float]]:
    """Return the median images per second by kind and contestant. SciPy is slow, so it gets fewer images."""
    rates: dict[str, dict[str, list[float]]] = {}
    for turn in range(rounds + 1):
        for kind, each in contestants().items():
            for name, run in each.items():
                part = images[: max(len(images) // 20, BATCH)] if "SciPy" in name else images
                start = time.perf_counter()
                run(part)
                rate = len(part) / (time.perf_counter() - start)
                if turn:  # the first round warms up
                    rates.setdefault(kind, {}).setdefault(name, []).append(rate)
    return {kind: {name: statistics.median(values) for name, values in each.items()} for kind, each in rates.items()}


def report(figures: dict[str, dict[str, float]]) -> str:
    lines = [machine(), f"{'images per second':<36}{'affine':>10}{'elastic':>10}"]
    lines += [
        f"{name:<36}{figures['affine'][name]:>10,.0f}{figures['elastic'][name]:>10,.0f}" for name in figures["affine"]
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="MNIST's IDX files (default: found or downloaded)")
    parser.add_argument("--images", type=number, default=10_000, help="images per round (default: %(default)s)")
    parser.add_argument("--rounds", type=number, default=7, help="number of rounds (default: %(default)s)")
    parser.add_argument("--document", type=Path, metavar="FILE", help="also put the table into this document")
    options = parser.parse_args(arguments)
    try:
        images = load_mnist(mnist_folder(options.data)).x_train
        images = np.resize(images.reshape(-1, SIDE, SIDE), (options.images, SIDE, SIDE))
        with threadpool_limits(1, user_api="blas"):
            text = report(measure(images, options.rounds))
        print(text)
        if options.document:
            put_into_document(options.document, "augment", text)
    except MinidlError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
