"""Layers that add numbers to the features of a position, so that later layers know where it is in the sequence."""

import functools

import numpy as np

from minidl.errors import ShapeError
from minidl.functional import sum_rows
from minidl.initializers import Initializer, is_initializer
from minidl.layers.base import Declaration, Layer
from minidl.settings import setting
from minidl.typing import Array, Shape


def sequence_of(layer: Layer, input_shape: Shape) -> tuple[int, int]:
    """Return positions and features of a layer's samples. Raise ShapeError unless they have exactly these two axes."""
    if len(input_shape) != 2:
        expected = f"{type(layer).__name__} expects sequences, samples of shape (positions, features)"
        cure = "ids need an Embedding before it, other samples Reshape((positions, features)); a recurrent layer "
        raise ShapeError(f"{expected}, but got {input_shape}: {cure}before it needs return_sequences=True")
    return input_shape[0], input_shape[1]


def angles(first: int, positions: int, features: int) -> Array:
    """Return ``t / 10000^(2 i / features)`` in float64 for pairs i of features and positions t from `first` on."""
    frequencies = 10_000.0 ** (-np.arange(0, features, 2) / features)
    return np.arange(first, first + positions)[:, np.newaxis] * frequencies


class PositionalEncoding(Layer):
    """Add sines and cosines of the position, ``y_t = x_t + p_t``. The layer learns nothing.

    For the positions t = 0, 1, ..., ``p_t,2i = sin(t / 10000^(2i/F))`` and ``p_t,2i+1 = cos(t / 10000^(2i/F))``. From
    pair to pair of features, the waves get longer, from 2 pi to about 10,000 times 2 pi. Their numbers are about 1. If
    the features are much smaller, as an embedding's may be, put ``Rescale(math.sqrt(F))`` before this layer, as in the
    paper.

    A sequence begins at its first position, even if that is padding.

    Shapes: (N, T, F) -> (N, T, F). dx = dy.

    Raises ShapeError at set-up if the samples do not have two axes.
    Source: Vaswani et al. (2017), arXiv:1706.03762, section 3.5.
    """

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        sequence_of(self, input_shape)
        return input_shape

    def forward(self, x: Array, training: bool = False) -> Array:
        return x + _waves(0, *x.shape[1:], self.dtype)

    def backward(self, dy: Array) -> Array:
        return dy.copy()

    def continued(self, x: Array, memory: dict[str, int]) -> Array:
        """Return the output for positions (N, n, F) that follow those of earlier calls with this `memory`."""
        first = _positions_before(x, memory)
        return x + _waves(first, *x.shape[1:], self.dtype)


class PositionEmbedding(Layer):
    """Add a trained vector for each position, ``y_t = x_t + w_t``.

    Parameters
    ----------
    initializer : Initializer or name, default "normal"
        Draws ``w``: by default with a standard deviation of 0.05.

    Shapes: (N, T, F) -> (N, T, F); parameter ``weight`` (T, F). Gradients: dw_t = sum_n dy_nt, dx = dy.

    A sequence begins at its first position, even if that is padding.

    Raises ShapeError at set-up if the samples do not have two axes, and if a sequence continues beyond T.
    Source: Gehring et al. (2017), arXiv:1705.03122.
    """

    initializer: Initializer | str = setting(default="normal", check=is_initializer, fixed=True)

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        self.weight = declare.parameter("weight", sequence_of(self, input_shape), self.initializer)
        return input_shape

    def forward(self, x: Array, training: bool = False) -> Array:
        return x + self.weight.value

    def backward(self, dy: Array) -> Array | None:
        sum_rows(dy.reshape(len(dy), self.weight.value.size), out=self.weight.gradient.reshape(-1))
        return dy.copy() if self.needs_input_gradient else None

    def continued(self, x: Array, memory: dict[str, int]) -> Array:
        """Return the output for positions (N, n, F) that follow those of earlier calls with this `memory`."""
        first, known = memory.get("positions", 0), len(self.weight.value)
        if first + x.shape[1] > known:
            raise ShapeError(f"PositionEmbedding knows {known} positions, but the sequence has {first + x.shape[1]}")
        _positions_before(x, memory)
        return x + self.weight.value[first : first + x.shape[1]]


def _positions_before(x: Array, memory: dict[str, int]) -> int:
    """Return the number of positions before those of `x`, and add those of `x` to the count."""
    first = memory.get("positions", 0)
    memory["positions"] = first + x.shape[1]
    return first


@functools.lru_cache(maxsize=16)
def _waves(first: int, positions: int, features: int, dtype: "np.dtype[np.floating]") -> Array:
    turned, table = angles(first, positions, features), np.empty((positions, features), dtype)
    table[:, ::2], table[:, 1::2] = np.sin(turned), np.cos(turned[:, : features // 2])
    table.flags.writeable = False
    return table
