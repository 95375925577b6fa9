"""Which positions of padded sequences count: a layer that finds the padding of features, and weights for a loss."""

from typing import Any

import numpy as np

from minidl.errors import ArgumentError, DataError, ShapeError
from minidl.layers.base import Declaration, Layer
from minidl.settings import as_number, setting
from minidl.typing import Array, Shape

ROWS_AT_ONCE = 4096


def entered(layer: Layer, x: Array | None) -> Array:
    """Return the input of the model, which contains the padding. Raise DataError if the layer is not the first."""
    if x is None:
        raise DataError(f"padding is found in the input of a model: put the {type(layer).__name__} first")
    return x


class Masking(Layer):
    """Mask padding: positions whose features are all equal to `padding_value` do not count; ``y = x``.

    The next layers get a mask of the other positions, as after an `Embedding` with a ``padding_id``. It must be the
    first layer of a model.

    Parameters
    ----------
    padding_value : float, default 0
        Compared in float32. A function that `Trainer` calls as `augment` must leave the padding as it is.

    Shapes: (N, T, F) -> (N, T, F). dx = dy.

    Raises ShapeError when it is set up for samples without an axis of features, and DataError where it is not the first
    layer of a model that trains.
    Source: Keras, whose layer of this name has the argument ``mask_value``.
    """

    padding_value: float = setting(default=0.0, kw_only=False, check=as_number)
    makes_mask = True

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        if len(input_shape) < 2:
            raise ShapeError(f"Masking expects samples (positions, features) but got {input_shape}")
        return input_shape

    def forward(self, x: Array, training: bool = False) -> Array:
        return x

    def backward(self, dy: Array) -> Array:
        return dy.copy()

    def mask_after(self, x: Array | None, mask: Array | None) -> Array | None:
        # In float32, in which a number is the same before and after a model has taken it into its own type.
        counts: Array = np.any(entered(self, x).astype(np.float32) != np.float32(self.padding_value), axis=-1)
        return counts if mask is None else counts & mask


def leave_out_padding(model: Any, x: Array, positions: Shape, weights: Array | None = None) -> Array | None:
    """Return the weights of a model's outputs, with 0 at padding.

    Parameters
    ----------
    model : Sequential or predictor
        It is set up and has a loss.
    x : array (N, *input_shape)
        Its rows are read in blocks.
    positions : tuple of int
        Axes of an output with separate scores, ``loss.positions(output_shape)``.
    weights : array (N, *positions), optional
        The default is 1 for each.

    Returns
    -------
    array (N, *positions), or None if all have the same weight

    Raises ArgumentError if the outputs have a mask, but the loss scores each row as a whole.
    """
    found = (model.mask_after(x[first : first + ROWS_AT_ONCE], None) for first in range(0, len(x), ROWS_AT_ONCE))
    if not (masks := [mask for mask in found if mask is not None]):
        return weights
    mask = np.concatenate(masks)
    if mask.shape[1:] != positions:
        cure = "pool the positions first, or score each position, as MeanSquaredError(position_wise=True) does"
        raise ArgumentError(f"{type(model.loss).__name__} scores a row as a whole, with its padding: {cure}")
    return mask * (1.0 if weights is None else weights)
