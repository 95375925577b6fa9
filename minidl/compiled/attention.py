"""The softmax of attention scores and its gradient, one head at a time. NumPy computes exponentials."""

from typing import Any

import numpy as np

from minidl.compiled.blas import multiply_by_weight, routines
from minidl.compiled.loops import are_by_rows, compiled
from minidl.compiled.switching import replaces
from minidl.compiled.ufuncs import apply, loop_of
from minidl.typing import Array


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
        counts = np.empty((0, 0), np.bool_) if mask is None else np.ascontiguousarray(mask)
        counts.flags.writeable = False  # otherwise the loop would be compiled for both kinds of arrays
        ordered = scores.view(f"i{scores.itemsize}")
        softmax(blas, loop_of(np.exp, scores.dtype), scores, ordered, causal, counts)
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
