"""The layer that tells which positions of padded features count."""

import numpy as np

from minidl.errors import DataError
from minidl.layers.base import Layer
from minidl.settings import as_number, setting
from minidl.typing import Array


def entered(layer: Layer, x: Array | None) -> Array:
    """Return the input that padding is found in; DataError where a layer does not know it, as it is not the first."""
    if x is None:
        raise DataError(f"padding is found in what enters a model: put the {type(layer).__name__} first")
    return x


class Masking(Layer):
    """Leave padding out: positions whose features all are the `padding_value` do not count; ``y = x``.

    The layers behind get a mask of the others, as behind an `Embedding` with a ``padding_id``. It is the first layer of
    a model.

    Parameters
    ----------
    padding_value : float, default 0

    Shapes: (N, T, F) -> (N, T, F). dx = dy.

    Raises DataError where it is not the first layer of a model that trains.
    """

    padding_value: float = setting(default=0.0, kw_only=False, check=as_number)
    makes_mask = True

    def forward(self, x: Array, training: bool = False) -> Array:
        return x

    def backward(self, dy: Array) -> Array:
        return dy.copy()

    def mask_after(self, x: Array | None, mask: Array | None) -> Array | None:
        counts: Array = np.any(entered(self, x) != self.padding_value, axis=-1)
        return counts if mask is None else counts & mask
