"""The two halves of a transformer block: one call forward and one backward for each, with the bits of their layers.

Two threads that compute the halves of a batch wait for each other between calls, so few calls use two cores better.
"""

from __future__ import annotations

from pkgutil import resolve_name
from typing import Any

import numpy as np

from minidl.compiled.activations import weigh
from minidl.compiled.attention import (
    arrays_for,
    attend,
    attend_back,
    of_attention,
    parameters_of,
    routines_for,
    routines_for_saved,
    save,
    saved_of,
    settings_of,
    takes_mask,
    turns_of,
    write_gradients,
)
from minidl.compiled.blas import Routines, multiply_by_transposed, multiply_by_weight, routines
from minidl.compiled.layers import add, add_bias, gradients_of, multiply_in_place, values_of
from minidl.compiled.loops import are_by_rows, compiled
from minidl.compiled.normalization import differentiate_rows, normalize_rows
from minidl.compiled.switching import replaces
from minidl.compiled.ufuncs import loop_of
from minidl.layers import GELU, Dense, LayerNorm
from minidl.typing import Array

_Sequential = resolve_name("minidl.model:Sequential")
_FLOAT32 = np.dtype(np.float32)


@replaces("minidl.blocks:Residual")
class _Residual:
    def forward(self: Any, x: Array, training: bool = False, mask: Array | None = None) -> Any:
        layers = _layers_of(self, x)
        if _attends(layers) and not (training and layers[1].dropout) and (blas := routines_for(layers[1], x, mask)):
            return _attend(blas, layers, x, training, mask)
        if _feeds(layers, x) and takes_mask(mask, x) and (blas := routines(x.dtype)):
            return _feed(blas, layers, x, training)
        return NotImplemented

    def backward(self: Any, dy: Array) -> Any:
        layers = _layers_of(self, dy) if self.needs_input_gradient else []
        if _attends(layers) and _are_saved(layers, dy) and (blas := routines_for_saved(layers[1], dy)):
            return _attend_back(blas, layers, dy)
        if _feeds(layers, dy) and _are_saved(layers, dy) and (blas := routines(dy.dtype)):
            return _feed_back(blas, layers, dy)
        return NotImplemented


def _layers_of(block: Any, x: Array) -> list[Any]:
    """Return the layers of a block for these rows; none if the block is more, or if a caller watches its layers."""
    inner = block.layers
    is_plain = type(inner) is _Sequential and block.projection is None and x.shape[1:] == block.input_shape
    watched = any("forward" in vars(part) or "backward" in vars(part) for part in (inner, *inner.layers))
    return list(inner.layers) if is_plain and not watched else []


def _are_saved(layers: list[Any], dy: Array) -> bool:
    """Whether the layers of a half are trained, and have saved arrays that the compiled loops take."""
    if not all(layer.own_trainable and hasattr(layer, "saved") for layer in layers):
        return False
    normalized = layers[0].saved[0]
    return normalized.size == dy.size and are_by_rows(dy, normalized.reshape(dy.shape))


def _attends(layers: list[Any]) -> bool:
    return len(layers) == 2 and type(layers[0]) is LayerNorm and type(layers[1]) is of_attention("MultiHeadAttention")


def _feeds(layers: list[Any], x: Array) -> bool:
    if [type(layer) for layer in layers] != [LayerNorm, Dense, GELU, Dense] or layers[2].approximate:
        return False
    is_taken = x.dtype == layers[0].dtype == _FLOAT32 and x.flags.c_contiguous
    # For vectors, NumPy multiplies with other calls.
    return is_taken and min(x.size // x.shape[-1], x.shape[-1], layers[1].units) > 1


def _attend(blas: Routines, layers: list[Any], x: Array, training: bool, mask: Array | None) -> Array:
    norm, layer = layers
    arrays, y = (_arrays_for_norm(x), arrays_for(layer, x)), np.empty(x.shape, x.dtype)
    parameters = values_of(norm.scale, norm.shift), values_of(*parameters_of(layer))
    _attend_normalized(blas, norm.epsilon, *settings_of(layer, mask), x, parameters, arrays, y)
    if training:
        norm.saved = arrays[0][:2]
        save(layer, arrays[0][2], arrays[1])
    return y


@compiled
def _attend_normalized(blas, epsilon, exponential, scale, turns, causal, counts, x, parameters, arrays, y):
    """``y <- x + MultiHeadAttention(LayerNorm(x))``, of (N, T, F)."""
    _normalize(blas, epsilon, x, parameters[0], arrays[0])
    attend(blas, exponential, scale, turns, causal, counts, arrays[0][2], parameters[1], arrays[1], y)
    add(x, y)


def _attend_back(blas: Routines, layers: list[Any], dy: Array) -> Array:
    norm, layer = layers
    dx, saved = np.empty(dy.shape, dy.dtype), (norm.saved, saved_of(layer))
    parameters = norm.scale.value, values_of(*parameters_of(layer))
    gradients = gradients_of(norm.scale, norm.shift), gradients_of(*parameters_of(layer))
    _attend_normalized_back(blas, layer._scale(), turns_of(layer), dy, parameters, saved, gradients, dx)
    return dx


@compiled
def _attend_normalized_back(blas, scale, turns, dy, parameters, saved, gradients, dx):
    """Write all gradients."""
    dz = np.empty_like(dy)
    attend_back(blas, scale, turns, dy, parameters[1], saved[1], gradients[1], dz)
    _differentiate(blas, dz, parameters[0], saved[0], gradients[0], dx)
    add(dy, dx)


def _feed(blas: Routines, layers: list[Any], x: Array, training: bool) -> Array:
    norm, first, gelu, last = layers
    hidden, y = np.empty((*x.shape[:-1], first.units), x.dtype), np.empty(x.shape, x.dtype)
    arrays, slopes = _arrays_for_norm(x), np.empty(hidden.shape if training else 0, x.dtype)
    parameters = values_of(norm.scale, norm.shift), values_of(first.weight, first.bias, last.weight, last.bias)
    exponential = loop_of(np.exp, x.dtype)
    _feed_forward(blas, norm.epsilon, exponential, x, parameters, arrays, hidden, slopes.reshape(-1), y)
    if training:
        norm.saved, first.saved, gelu.saved, last.saved = arrays[:2], arrays[2], slopes, hidden
    return y


@compiled
def _feed_forward(blas, epsilon, exponential, x, parameters, arrays, hidden, slopes, y):
    """``y <- x + Dense(GELU(Dense(LayerNorm(x))))``; `hidden` is what the last layer multiplies."""
    weight, bias, last_weight, last_bias = parameters[1]
    lines, features, units = arrays[0].shape[0], arrays[0].shape[1], weight.shape[1]
    _normalize(blas, epsilon, x, parameters[0], arrays)
    sums, products = np.empty((lines, units), x.dtype), y.reshape(lines, features)
    multiply_by_weight(blas, arrays[2].reshape(lines, features), weight, sums)
    add_bias(sums, bias, False)
    weigh(exponential, sums.reshape(-1), hidden.reshape(-1), slopes)
    multiply_by_weight(blas, hidden.reshape(lines, units), last_weight, products)
    add_bias(products, last_bias, False)
    add(x, y)


def _feed_back(blas: Routines, layers: list[Any], dy: Array) -> Array:
    norm, first, gelu, last = layers
    dx, saved = np.empty(dy.shape, dy.dtype), (norm.saved, (first.saved, gelu.saved, last.saved))
    gradients = gradients_of(norm.scale, norm.shift), gradients_of(first.weight, first.bias, last.weight, last.bias)
    _feed_backward(blas, dy, (norm.scale.value, first.weight.value, last.weight.value), saved, gradients, dx)
    return dx


@compiled
def _feed_backward(blas, dy, parameters, saved, gradients, dx):
    """Write all gradients."""
    (scale, weight, last_weight), (z, slopes, hidden) = parameters, saved[1]
    dweight, dbias, dlast_weight, dlast_bias = gradients[1]
    (features, units), lines = weight.shape, dy.size // weight.shape[0]
    dlines, dsums, dz = dy.reshape(lines, features), np.empty((lines, units), dy.dtype), np.empty_like(dy)
    write_gradients(blas, hidden.reshape(lines, units), dlines, dlast_weight, dlast_bias)
    multiply_by_transposed(blas, dlines, last_weight, dsums, False)
    multiply_in_place(dsums, slopes)
    write_gradients(blas, z.reshape(lines, features), dsums, dweight, dbias)
    multiply_by_transposed(blas, dsums, weight, dz.reshape(lines, features), False)
    _differentiate(blas, dz, scale, saved[0], gradients[0], dx)
    add(dy, dx)


def _arrays_for_norm(x: Array) -> tuple[Array, Array, Array]:
    """Return new arrays for a normalization: of all lines of features, the inverse deviations, and of the output."""
    lines = x.reshape(-1, x.shape[-1]).shape
    return np.empty(lines, x.dtype), np.empty((lines[0], 1), x.dtype), np.empty(x.shape, x.dtype)


@compiled
def _normalize(blas, epsilon, x, parameters, arrays):
    (scale, shift), (normalized, inverse_deviation, y) = parameters, arrays
    lines = normalized.shape
    normalize_rows(blas, x.reshape(lines), scale, shift, epsilon, normalized, inverse_deviation, y.reshape(lines))


@compiled
def _differentiate(blas, dy, scale, saved, gradients, dx):
    (normalized, inverse_deviation), (dscale, dshift) = saved, gradients
    dlines = dy.reshape(normalized.shape), dx.reshape(normalized.shape)
    differentiate_rows(blas, dlines[0], normalized, inverse_deviation, scale, dscale, dshift, dlines[1])
