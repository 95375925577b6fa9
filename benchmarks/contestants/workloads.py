"""The workloads: networks, data, initial weights and batches, the same for every contestant."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

Part: TypeAlias = tuple[Any, ...]

IMAGE_NETWORKS: dict[str, tuple[tuple[int, int, int], list[Part]]] = {
    "conv": (
        (28, 28, 1),
        [("conv", 16, 1), ("relu",), ("pool",), ("conv", 32, 1), ("relu",), ("pool",), ("flatten",), ("dense", 10)],
    ),
    "conv-deep": (
        (32, 32, 3),
        [
            *[("conv", 16, 1), ("norm",), ("relu",)],
            *[("residual", 16, 1), ("relu",), ("residual", 32, 2), ("relu",), ("residual", 64, 2), ("relu",)],
            *[("conv", 64, 1), ("norm",), ("relu",), ("average",), ("dense", 10)],
        ],
    ),
}
"""Image (height, width, channels) and layers by network. A convolution is 3 x 3, padded by 1: filters and
strides. A residual is two convolutions with batch normalization, and a projection if the shape changes."""

CHARACTERS, WORDS = 80, 50_000
"""The number of ids in a text of characters, and in a vocabulary of words."""

SEQUENCE_NETWORKS: dict[str, tuple[int, list[Part]]] = {
    "lstm": (100, [("embedding", CHARACTERS, 64), ("lstm", 64), ("dense", CHARACTERS)]),
    "transformer": (
        64,
        [
            *[("embedding", CHARACTERS, 64), ("positions",), ("block", 4), ("block", 4)],
            *[("norm",), ("dense", CHARACTERS)],
        ],
    ),
    "embedding": (64, [("embedding", WORDS, 64), ("mean",), ("dense", 10)]),
}
"""Positions and layers by network. An embedding has numbers of ids and features; a block has a number of heads of
causal attention; a mean is over the positions. The last layer gives scores for each position, or for the mean."""


class Workload(NamedTuple):
    """One thing to measure."""

    name: str
    kind: str
    """training, fit (a whole fit of a new network), prediction, import, or cold start."""
    data: str = "mnist"
    sizes: tuple[int, ...] = (784, 128, 64, 10)
    """Width of the input and of each layer; ReLU between the layers."""
    rows: int = 33_600
    batch: int = 64
    """Rows per step; all rows are a full batch."""
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    network: str = ""
    """One of `IMAGE_NETWORKS` or `SEQUENCE_NETWORKS`, in place of `sizes`."""
    dropout: float = 0.0
    """The rate of dropout after each hidden layer, which then also has batch normalization; 0: neither."""
    raw: bool = False
    """Whether a fit gets the stored pixels, bytes from 0 to 255."""
    times: int = 1
    """How many epochs or predictions are timed together, or the epochs of a fit; the time of one is reported."""
    repeats: int = 2
    """How many timings a process takes, after a first one that does not count."""

    @property
    def classifies(self) -> bool:
        """Whether the loss is softmax cross-entropy of classes; otherwise it is squared error."""
        return not self.data.startswith("random")

    @property
    def full_batch(self) -> bool:
        return self.batch >= self.rows

    @property
    def rows_at_once(self) -> int:
        """How many rows go through the network together."""
        return self.rows if self.kind == "prediction" else min(self.batch, self.rows)

    def order(self, epoch: int) -> np.ndarray:
        """Return the order of the rows (N,) in an epoch, the same as in minidl's ``Trainer(seed=0)``."""
        return np.random.default_rng((0, epoch)).permutation(self.rows)

    def batches(self, epoch: int) -> list[np.ndarray | slice]:
        """Return the rows of each step of an epoch, as an index."""
        if self.full_batch:
            return [slice(None)]
        order = self.order(epoch)
        return [order[start : start + self.batch] for start in range(0, self.rows, self.batch)]

    def mean_loss(self, losses: list[float]) -> float:
        """Return the mean over all rows, given the mean of each step; the last step may have fewer rows."""
        if self.full_batch:
            return float(np.mean(losses))
        starts = np.arange(0, self.rows, self.batch)
        return float(np.average(losses, weights=np.minimum(self.batch, self.rows - starts)))

    def weights(self) -> list[np.ndarray]:
        """Draw He-normal initial weights, (inputs, outputs) for each layer; biases start at zero."""
        rng = np.random.default_rng(0)
        shapes = list(zip(self.sizes, self.sizes[1:], strict=False))
        return [(rng.standard_normal(shape) * (2 / shape[0]) ** 0.5).astype(np.float32) for shape in shapes]

    def drawer(self) -> Callable[[tuple[int, ...]], np.ndarray]:
        """Return a function that draws He-normal initial weights for networks on images or sequences, one array a call.

        Shapes: kernels (height, width, channels, filters), dense (inputs, outputs), embeddings (ids, features).
        """
        rng = np.random.default_rng(0)
        return lambda shape: (rng.standard_normal(shape) * (2 / np.prod(shape[:-1])) ** 0.5).astype(np.float32)


class Data(NamedTuple):
    """The rows of a workload: x (N, inputs), uint8 pixels, float32, or int64 ids; y (N,) labels, or (N, outputs).

    Targets (N, outputs) are float32 numbers, or the labels of each position.
    """

    x: np.ndarray
    y: np.ndarray

    @property
    def scaled(self) -> np.ndarray:
        """The inputs as float32, with pixels from 0 to 1; ids stay as they are."""
        return self.x.astype(np.float32) / 255 if self.x.dtype == np.uint8 else self.x


def load(folder: Path, name: str) -> tuple[Workload, Data]:
    """Read a workload, and the rows that it needs, from the folder that `peers.py` prepared."""
    fields = json.loads((folder / f"{name}.json").read_text())
    workload = Workload(**{**fields, "sizes": tuple(fields["sizes"])})
    x, y = (np.load(folder / f"{workload.data}_{part}.npy", mmap_mode="r")[: workload.rows] for part in "xy")
    return workload, Data(np.array(x), np.array(y))
