"""Self-attention: one call forward and one backward, with NumPy's BLAS and NumPy's exponentials."""

import functools
from pkgutil import resolve_name
from typing import Any

import numpy as np

from minidl.compiled.blas import (
    Routines,
    multiply_by_transposed,
    multiply_by_weight,
    multiply_lines,
    multiply_transposed,
    routines,
    sum_rows,
)
from minidl.compiled.layers import add_bias, gradients_of, values_of
from minidl.compiled.loops import are_by_rows, compiled
from minidl.compiled.switching import replaces
from minidl.compiled.ufuncs import apply, loop_of
from minidl.typing import Array


@replaces("minidl.sequences.attention:MultiHeadAttention")
class _MultiHeadAttention:
    def forward(self: Any, x: Array, training: bool = False, mask: Array | None = None) -> Any:
        blas = None if training and self.dropout else routines_for(self, x, mask)
        if blas is None:
            return NotImplemented
        arrays, y = arrays_for(self, x), np.empty(x.shape, x.dtype)
        attend(blas, *settings_of(self, mask), x, values_of(*parameters_of(self)), arrays, y)
        if training:
            save(self, x, arrays)
        return y

    def backward(self: Any, dy: Array) -> Any:
        blas = routines_for_saved(self, dy)
        if blas is None:
            return NotImplemented
        dx = np.empty(dy.shape if self.needs_input_gradient else 0, dy.dtype)
        values, gradients = values_of(*parameters_of(self)), gradients_of(*parameters_of(self))
        attend_back(blas, self._scale(), turns_of(self), dy, values, saved_of(self), gradients, dx)
        return dx if self.needs_input_gradient else None


def routines_for(layer: Any, x: Array, mask: Array | None = None) -> Routines | None:
    """Return BLAS for sequences (N, T, F); None for others, or if NumPy multiplies vectors, with other calls."""
    is_taken = x.dtype == layer.dtype and x.flags.c_contiguous and x.shape[1:] == layer.input_shape
    if not is_taken or not len(x) or min(x.shape[1], x.shape[2] // layer.heads) < 2:
        return None
    return routines(x.dtype) if takes_mask(mask, x) else None


def takes_mask(mask: Array | None, x: Array) -> bool:
    """Whether it is a mask of these sequences, or None; NumPy code raises the error."""
    return mask is None or (isinstance(mask, np.ndarray) and mask.dtype == np.bool_ and mask.shape == x.shape[:2])


def routines_for_saved(layer: Any, dy: Array) -> Routines | None:
    """Return BLAS for the gradient of the output, if compiled code takes what the forward pass has saved."""
    x: Array = layer.saved[0]
    return routines_for(layer, dy) if not layer.dropout and are_by_rows(dy, x) else None


def parameters_of(layer: Any) -> tuple[Any, ...]:
    """Return the parameters; a bias may be None."""
    return layer.weight, layer.bias, layer.output_weight, layer.output_bias


def settings_of(layer: Any, mask: Array | None) -> tuple[Any, ...]:
    """Return the exponential, the factor of the scores, the rotations, causal or not, and the mask (empty if none)."""
    return loop_of(np.exp, layer.dtype), layer._scale(), turns_of(layer), layer.causal, _counts(mask)


@functools.cache
def of_attention(name: str) -> Any:
    """Return a class or function of the module of attention, which is imported at first use: few programs need it."""
    return resolve_name(f"minidl.sequences.attention:{name}")


def turns_of(layer: Any) -> Array:
    """Return cosines and sines of the angles by which pairs of features are rotated; empty if they are not."""
    if not layer.rotary:
        return np.empty((2, 0, 0), layer.dtype)
    found: Array = of_attention("_turns")(0, layer.input_shape[0], layer.input_shape[1] // layer.heads, layer.dtype)
    return found


def _counts(mask: Array | None) -> Array:
    counts = np.empty((0, 0), np.bool_) if mask is None else np.ascontiguousarray(mask)
    counts.flags.writeable = False  # otherwise the loop would be compiled for both kinds of arrays
    return counts


def arrays_for(layer: Any, x: Array) -> tuple[Array, ...]:
    """Return new arrays for what a forward pass computes before its output.

    These are queries, keys and values; the scaled queries; the weights, and their memory as integers; and the heads.
    """
    rows, positions, features = x.shape
    projected = np.empty((rows, positions, 3, layer.heads, features // layer.heads), x.dtype)
    queries, heads = np.empty_like(projected[:, :, 0]), np.empty_like(projected[:, :, 0])
    weights = np.empty((rows, layer.heads, positions, positions), x.dtype)
    return projected, queries, weights, weights.view(f"i{x.itemsize}"), heads


def save(layer: Any, x: Array, arrays: tuple[Array, ...]) -> None:
    """Set what the layer keeps of its forward pass, as the NumPy code does."""
    projected, queries, weights, _, heads = arrays
    _, keys, values = projected.transpose(2, 0, 3, 1, 4)
    layer.saved = x, queries.transpose(0, 2, 1, 3), keys, values, weights, weights, None, heads


def saved_of(layer: Any) -> tuple[Array, ...]:
    """Return it: x, then queries, keys and values of shape (N, T, H, D), the weights and the heads."""
    x, queries, keys, values, weights, _, _, heads = layer.saved
    return x, *(each.transpose(0, 2, 1, 3) for each in (queries, keys, values)), weights, heads


@compiled
def attend(blas, exponential, scale, turns, causal, counts, x, parameters, arrays, y):
    """Write the output of self-attention for (N, T, F), and the arrays before it."""
    weight, bias, output_weight, output_bias = parameters
    projected, queries, weights, whole_numbers, taken = arrays
    rows, positions, _, heads, size = projected.shape
    lines, features = rows * positions, heads * size
    factor = x.dtype.type(scale)
    flat = projected.reshape(lines, 3 * features)
    multiply_by_weight(blas, x.reshape(lines, features), weight, flat)
    add_bias(flat, bias, False)
    if turns.size:
        _turn(projected, turns[0], turns[1], False)
    for row in range(rows):
        for position in range(positions):
            for head in range(heads):
                for d in range(size):
                    queries[row, position, head, d] = projected[row, position, 0, head, d] * factor
    for row in range(rows):
        for head in range(heads):
            keys = projected[row, :, 1, head]
            multiply_lines(blas, queries[row, :, head], keys, weights[row, head], False, True)
    softmax(blas, exponential, weights, whole_numbers, causal, counts)
    for row in range(rows):
        for head in range(heads):
            values = projected[row, :, 2, head]
            multiply_lines(blas, weights[row, head], values, taken[row, :, head], False, False)
    lines_of_y = y.reshape(lines, features)
    multiply_by_weight(blas, taken.reshape(lines, features), output_weight, lines_of_y)
    add_bias(lines_of_y, output_bias, False)


@compiled
def attend_back(blas, scale, turns, dy, parameters, saved, gradients, dx):
    """Write the gradients of the parameters, and that of the input if `dx` has room for it."""
    (weight, _, output_weight, _), (x, queries, keys, values, weights, taken) = parameters, saved
    dweight, dbias, doutput_weight, doutput_bias = gradients
    rows, positions, heads, size = taken.shape
    lines, features = rows * positions, heads * size
    dlines, factor = dy.reshape(lines, features), dy.dtype.type(scale)
    write_gradients(blas, taken.reshape(lines, features), dlines, doutput_weight, doutput_bias)
    dheads, products = np.empty_like(taken), np.empty_like(taken)
    multiply_by_transposed(blas, dlines, output_weight, dheads.reshape(lines, features), False)
    for i in range(dheads.size):
        products.flat[i] = dheads.flat[i] * taken.flat[i]
    along = np.empty((lines * heads, 1), dy.dtype)
    multiply_by_weight(blas, products.reshape(lines * heads, size), np.ones((size, 1), dy.dtype), along)
    along_heads = along.reshape(rows, positions, heads)
    scaled = products  # its numbers are no longer needed
    for row in range(rows):
        for position in range(positions):
            for head in range(heads):
                for d in range(size):
                    scaled[row, position, head, d] = keys[row, position, head, d] * factor
    dprojected = np.empty((rows, positions, 3, heads, size), dy.dtype)
    dscores = np.empty((positions, positions), dy.dtype)
    for row in range(rows):
        for head in range(heads):
            own, dhead = weights[row, head], dheads[row, :, head]
            multiply_lines(blas, own, dhead, dprojected[row, :, 2, head], True, False)
            multiply_lines(blas, dhead, values[row, :, head], dscores, False, True)
            to_scores(own, dscores, along_heads[row, :, head])
            multiply_lines(blas, dscores, scaled[row, :, head], dprojected[row, :, 0, head], False, False)
            multiply_lines(blas, dscores, queries[row, :, head], dprojected[row, :, 1, head], True, False)
    if turns.size:
        _turn(dprojected, turns[0], turns[1], True)
    flat = dprojected.reshape(lines, 3 * features)
    write_gradients(blas, x.reshape(lines, features), flat, dweight, dbias)
    if dx.size:
        multiply_by_transposed(blas, flat, weight, dx.reshape(lines, features), False)


@compiled
def _turn(projected, cosines, sines, back):
    """Rotate the pairs of features of queries and keys, the first two of (N, T, 3, H, D), or rotate them back."""
    rows, positions, _, heads, size = projected.shape
    half = size // 2
    for row in range(rows):
        for position in range(positions):
            for part in range(2):
                for head in range(heads):
                    features = projected[row, position, part, head]
                    for i in range(half):
                        one, other, cosine, sine = (
                            features[i],
                            features[half + i],
                            cosines[position, i],
                            sines[position, i],
                        )
                        sine = -sine if back else sine
                        features[i], features[half + i] = one * cosine - other * sine, one * sine + other * cosine


@compiled
def write_gradients(blas, x, dy, dweight, dbias):
    """Write the gradients of a product with a weight, and of a bias, which is empty if there is none."""
    multiply_transposed(blas, x, dy, dweight, False)
    if dbias.size:
        sum_rows(blas, dy, np.ones(dy.shape[0], dy.dtype), dbias, False)


@replaces("minidl.sequences.attention")
class _Attention:
    @staticmethod
    def _softmax(scores: Array, causal: bool, mask: Array | None) -> Any:
        rows, heads, queries, keys = scores.shape
        lines = rows * heads * queries
        # For a single line, or single keys, NumPy sums with other calls.
        blas = routines(scores.dtype) if scores.flags.c_contiguous and lines > 1 and keys > 1 else None
        if blas is None or not (mask is None or mask.dtype == np.bool_):
            return NotImplemented
        ordered = scores.view(f"i{scores.itemsize}")
        softmax(blas, loop_of(np.exp, scores.dtype), scores, ordered, causal, _counts(mask))
        return None

    @staticmethod
    def _to_scores(weights: Array, dweights: Array, along: Array) -> Any:
        is_taken = are_by_rows(weights, dweights) and along.dtype == weights.dtype
        if not is_taken or along.shape != (*weights.shape[:3], 1):
            return NotImplemented
        keys = weights.shape[3]
        to_scores(weights.reshape(-1, keys), dweights.reshape(-1, keys), np.ascontiguousarray(along).reshape(-1))
        return None


@compiled
def softmax(blas, exponential, scores, whole_numbers, causal, counts):
    """Softmax of (N, H, n, T) in place, over the keys that count and, in causal attention, are not later.

    The same memory is also passed as integers.
    """
    rows, heads, queries, keys = scores.shape
    number = scores.dtype.type
    one, none, least = number(1), number(-np.inf), -number(np.finfo(scores.dtype).max)
    place = np.empty(1, scores.dtype)
    places = place, place.view(whole_numbers.dtype)
    for row in range(rows):
        for head in range(heads):
            for query in range(queries):
                line, bits = scores[row, head, query], whole_numbers[row, head, query]
                known = keys - queries + query + 1 if causal else keys
                if counts.size:
                    for key in range(known):
                        line[key] = line[key] if counts[row, key] else none
                largest = _largest(bits[:known], places)
                largest = least if largest < least else largest
                for key in range(known):
                    line[key] -= largest
                for key in range(known, keys):
                    line[key] = none
            flat = scores[row, head].reshape(queries * keys)
            apply(exponential, flat, flat)
    lines = scores.reshape(rows * heads * queries, keys)
    totals = np.empty((lines.shape[0], 1), scores.dtype)
    multiply_by_weight(blas, lines, np.ones((keys, 1), scores.dtype), totals)
    for n in range(lines.shape[0]):
        total = one if totals[n, 0] < one else totals[n, 0]
        for key in range(keys):
            lines[n, key] /= total


@compiled
def _largest(whole_numbers, places):
    """Return the largest of the floats whose bits are given as integers; NaN if there is one, as in NumPy.

    Floats have the order of these integers, with negative ones reversed. Compilers vectorize the maximum of integers.
    `places` is one memory location, as a float and as an integer.
    """
    kind = whole_numbers.dtype.type
    sign, others = kind(8 * whole_numbers.itemsize - 1), kind(np.iinfo(whole_numbers.dtype).max)
    top = farthest = kind(-others)
    for key in range(whole_numbers.size):
        bits = whole_numbers[key]
        top = max(top, kind(bits ^ ((bits >> sign) & others)))
        farthest = max(farthest, kind(bits & others))
    places[1][0] = farthest
    if places[0][0] != places[0][0]:
        return places[0][0]
    places[1][0] = kind(top ^ ((top >> sign) & others))
    return places[0][0]


@compiled
def to_scores(weights, dweights, along):
    """``dweights <- weights (dweights - along)``, for lines of keys and one number per line."""
    for n in range(weights.shape[0]):
        for key in range(weights.shape[1]):
            dweights[n, key] = (dweights[n, key] - along[n]) * weights[n, key]
