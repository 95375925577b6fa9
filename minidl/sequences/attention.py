"""Attention: each position of a sequence takes information from the other positions."""

import functools
import math
from typing import Any

import numpy as np

from minidl import functional, products
from minidl.arrays import check_mask
from minidl.errors import ArgumentError, NotReadyError, ShapeError
from minidl.initializers import Initializer, is_initializer
from minidl.layers.base import Declaration, Layer, Parameter
from minidl.layers.noise import Dropout
from minidl.regularizers import Constraint, Regularizer, is_constraint, is_regularizer
from minidl.sequences.positions import angles, sequence_of
from minidl.settings import as_flag, setting
from minidl.typing import Array, Shape


class MultiHeadAttention(Layer):
    """Self-attention with several heads: ``y = concat(head_1, ..., head_H) Wo + bo``.

    One product gives queries, keys and values, ``(Q, K, V) = x W + b``. Each is split into H heads with D = F / H
    features. In each head, the attention weights are ``P = softmax(Q K^T / sqrt(D))`` along the keys, and
    ``head = P V``.

    Parameters
    ----------
    heads : int, > 0
        H, a divisor of F.
    features : int, optional
        F, if it must be checked, as in `TransformerBlock`. By default the input tells it.
    causal : bool, default False
        Whether a position sees only itself and earlier positions. A model that predicts the next position needs this.
    dropout : float in [0, 1), default 0
        Probability that training sets an attention weight to zero. The other weights are divided by 1 - dropout.
    rotary : bool, default False
        Whether to rotate queries and keys by angles that grow with their position. Then a score depends on the distance
        of two positions. The features i and i + D / 2 of a head are a pair, as in GPT-NeoX and Llama (Su et al. pair
        neighbours, 2 i and 2 i + 1). The angle at position t is ``t / 10000^(2 i / D)``. D must be even.
    use_bias : bool, default True
        Whether there are biases b and bo.
    initializer : Initializer or name, default "glorot_uniform"
        Draws ``W`` and ``Wo``; biases start at zero.
    regularizer, constraint : optional
        Applied to ``W`` and ``Wo``, as in `Dense`.

    Shapes: (N, T, F) -> (N, T, F); parameters ``weight`` (F, 3 F), ``bias`` (3 F,), ``output_weight`` (F, F) and
    ``output_bias`` (F,). The columns of ``weight`` are those of all queries, all keys and all values, each head by
    head. In PyTorch, ``weight`` is ``in_proj_weight.T``, and ``output_weight`` is ``out_proj.weight.T``.
    Gradients of a head, with dP = dhead V^T: dV = P^T dhead, dS = P (dP - sum_k dP_k P_k), dQ = dS K / sqrt(D),
    dK = dS^T Q / sqrt(D).

    With a mask (N, T), positions where it is False are not keys. A position without any keys gets ``bo``.

    Raises ShapeError at set-up if the samples do not have two axes, if H does not divide the features, if these are not
    `features`, or if heads with rotary positions have an odd size; ShapeError for another array than a mask;
    NotReadyError before set-up.
    Sources: Vaswani et al. (2017), arXiv:1706.03762; Su et al. (2021), arXiv:2104.09864, for rotary positions.
    """

    heads: int = setting(kw_only=False, low=1, whole=True, fixed=True)
    features: int | None = setting(default=None, low=1, whole=True, fixed=True)
    causal: bool = setting(default=False, check=as_flag)
    dropout: float = setting(default=0.0, low=0, below=1)
    rotary: bool = setting(default=False, check=as_flag, fixed=True)
    use_bias: bool = setting(default=True, check=as_flag, fixed=True)
    initializer: Initializer | str = setting(default="glorot_uniform", check=is_initializer, fixed=True)
    regularizer: Regularizer | None = setting(default=None, check=is_regularizer)
    constraint: Constraint | None = setting(default=None, check=is_constraint)
    takes_mask = True

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        _, features = sequence_of(self, input_shape)
        if self.features not in (None, features):
            cure = f"give it {features}, or put Dense({self.features}) before it"
            what = f"{self.features} features per position, not {features}"
            raise ShapeError(f"MultiHeadAttention, such as that of TransformerBlock, takes {what}: {cure}")
        if features % self.heads or (self.rotary and features // self.heads % 2):
            even = " of an even size, as rotary=True needs" if self.rotary else ""
            raise ShapeError(f"MultiHeadAttention cannot cut {features} features into {self.heads} heads{even}")
        shapes = ("", (features, 3 * features)), ("output_", (features, features))
        (self.weight, self.bias), (self.output_weight, self.output_bias) = (
            self._declare_product(declare, *each) for each in shapes
        )
        self.generator = declare.generator
        return input_shape

    def _declare_product(self, declare: Declaration, start: str, shape: Shape) -> tuple[Parameter, Parameter | None]:
        weight = declare.parameter(f"{start}weight", shape, self.initializer, regularized=True)
        return weight, declare.parameter(f"{start}bias", shape[1], "zeros") if self.use_bias else None

    def numbers_per_row(self) -> int:
        positions, features = self.input_shape or (0, 0)
        return positions * (5 * features + self.heads * positions)

    def forward(self, x: Array, training: bool = False, mask: Array | None = None) -> Array:
        self._check(x, mask)
        queries, keys, values = self._project(x)
        weights = self._weigh(queries, keys, mask)
        kept, noise = weights, None
        if training and self.dropout:
            noise = Dropout(self.dropout)
            noise.generator, noise.rows_of_batch = self.generator, self.rows_of_batch
            kept = noise.forward(weights, training=True)
        heads = self._take(kept, values)
        if training:
            self.saved = x, queries, keys, values, weights, kept, noise, heads
        return self._join(heads)

    def backward(self, dy: Array) -> Array | None:
        x, queries, keys, values, weights, kept, noise, heads = self.saved
        drows = dy.reshape(-1, dy.shape[-1])
        _write_gradients(heads.reshape(drows.shape), drows, self.output_weight, self.output_bias)
        dheads = drows.dot(self.output_weight.value.T).reshape(heads.shape)
        # In a head, sum_k dP_k P_k = dhead P V = dhead head: a sum over the features instead of the keys.
        along = _sum_lines(dheads * heads).transpose(0, 2, 1, 3)
        dheads = dheads.transpose(0, 2, 1, 3)
        dprojected = np.empty((*dy.shape[:2], 3, *heads.shape[2:]), dheads.dtype)
        dqueries, dkeys, dvalues = parts = dprojected.transpose(2, 0, 3, 1, 4)
        np.matmul(kept.swapaxes(2, 3), dheads, out=dvalues)
        dscores = dheads @ values.swapaxes(2, 3)
        if noise is not None:
            dscores = noise.backward(dscores)
        _to_scores(weights, dscores, along)
        np.matmul(dscores, keys * self._scale(), out=dqueries)
        np.matmul(dscores.swapaxes(2, 3), queries, out=dkeys)
        if self.rotary:
            parts[:2] = _turn(parts[:2], 0, back=True)
        rows, dprojected = x.reshape(-1, x.shape[2]), dprojected.reshape(len(drows), 3 * x.shape[2])
        _write_gradients(rows, dprojected, self.weight, self.bias)
        return dprojected.dot(self.weight.value.T).reshape(x.shape) if self.needs_input_gradient else None

    def attention_weights(self, x: Array, mask: Array | None = None) -> Array:
        """Return the weights P in inference: (N, H, T, T), by row, head, query position, and key position.

        Each line sums to 1. If a mask leaves a position no keys, its line is 0.
        """
        x = np.asarray(x, self.dtype)
        self._check(x, mask)
        self.check_input(x)
        queries, keys, _ = self._project(x)
        return self._weigh(queries, keys, mask)

    def continued(self, x: Array, memory: dict[str, Array]) -> Array:
        """Return the output for positions (N, n, F) that follow those of earlier calls with this `memory`.

        `memory` keeps keys and values of all positions so far. Raises ArgumentError unless the layer is causal.
        """
        self._check(x, None)
        if not self.causal:
            raise ArgumentError("MultiHeadAttention uses later positions, too, and cannot continue: give causal=True")
        queries, keys, values = self._project(x, memory["keys"].shape[2] if memory else 0)
        if memory:
            keys, values = (
                np.concatenate([memory[name], new], axis=2) for name, new in (("keys", keys), ("values", values))
            )
        memory.update(keys=keys, values=values)
        return self._join(self._take(self._weigh(queries, keys, None), values))

    def _check(self, x: Array, mask: Array | None) -> None:
        if self.input_shape is None:
            raise NotReadyError("MultiHeadAttention has no weights yet: first call set_up(input_shape, seed)")
        if mask is not None:
            check_mask(mask, x, 2)

    def _scale(self) -> float:
        return 1 / math.sqrt(len(self.output_weight.value) // self.heads)

    def _project(self, x: Array, first: int = 0) -> tuple[Array, Array, Array]:
        """Return scaled queries, keys and values (N, H, T, D) of the positions that start at `first`."""
        projected = _multiply(x.reshape(-1, x.shape[-1]), self.weight, self.bias)
        parts = projected.reshape(*x.shape[:2], 3, self.heads, x.shape[2] // self.heads).transpose(2, 0, 3, 1, 4)
        queries, keys = _turn(parts[:2], first) if self.rotary else parts[:2]
        return queries * self._scale(), keys, parts[2]

    def _weigh(self, queries: Array, keys: Array, mask: Array | None) -> Array:
        weights = queries @ keys.swapaxes(2, 3)
        _softmax(weights, self.causal, mask)
        return weights

    def _take(self, weights: Array, values: Array) -> Array:
        """Return the heads (N, T, H, D), given weights and values."""
        rows, heads, positions, _ = weights.shape
        taken = np.empty((rows, positions, heads, values.shape[3]), weights.dtype)
        np.matmul(weights, values, out=taken.transpose(0, 2, 1, 3))
        return taken

    def _join(self, heads: Array) -> Array:
        shape = *heads.shape[:2], heads.shape[2] * heads.shape[3]
        return _multiply(heads.reshape(-1, shape[2]), self.output_weight, self.output_bias).reshape(shape)


def _multiply(rows: Array, weight: Parameter, bias: Parameter | None) -> Array:
    y = products.multiply(rows, weight.value)
    if bias is not None:
        y += bias.value
    return y


def _write_gradients(rows: Array, dy: Array, weight: Parameter, bias: Parameter | None) -> None:
    products.multiply_transposed(rows, dy, weight.gradient)
    if bias is not None:
        functional.sum_rows(dy, out=bias.gradient)


def _softmax(scores: Array, causal: bool, mask: Array | None) -> None:
    """Compute ``scores <- softmax(scores)`` (N, H, n, T) in place. The n queries are the last of the T positions.

    Positions that are not keys get 0. A line without keys is 0.
    """
    if causal:
        np.copyto(scores, -np.inf, where=_later(*scores.shape[2:]))
    if mask is not None:
        np.copyto(scores, -np.inf, where=~mask[:, np.newaxis, np.newaxis])
    # The initial number is for lines without keys, where the maximum would be infinite and the difference NaN.
    scores -= scores.max(axis=-1, keepdims=True, initial=np.finfo(scores.dtype).min)
    np.exp(scores, out=scores)
    # The largest score adds 1 to the sum, so the sum is below 1 only if there are no keys.
    scores /= np.maximum(_sum_lines(scores), 1)


def _sum_lines(x: Array) -> Array:
    """Return the sum over the last axis, (..., K) -> (..., 1). As a product it takes a sixth of the time."""
    ones = functional.filled((x.shape[-1], 1), 1, x.dtype)
    sums: Array = x.reshape(-1, x.shape[-1]) @ ones
    return sums.reshape(*x.shape[:-1], 1)


def _to_scores(weights: Array, dweights: Array, along: Array) -> None:
    """Compute ``dweights <- weights (dweights - along)``: the gradient of the scores from that of the weights."""
    dweights -= along
    dweights *= weights


def _turn(pairs: Array, first: int, back: bool = False) -> Array:
    """Rotate the pairs of features in (..., T, D) by their angles, or back. The positions start at `first`."""
    cosines, sines = _turns(first, *pairs.shape[-2:], pairs.dtype)
    sines = -sines if back else sines
    one, other = np.split(pairs, 2, axis=-1)
    return np.concatenate([one * cosines - other * sines, one * sines + other * cosines], axis=-1)


@functools.lru_cache(maxsize=16)
def _turns(first: int, positions: int, features: int, dtype: np.dtype[Any]) -> Array:
    """Return cosines and sines of the angles by which pairs of features are rotated."""
    turned = angles(first, positions, features)
    table = np.stack([np.cos(turned), np.sin(turned)]).astype(dtype)
    table.flags.writeable = False
    return table


@functools.lru_cache(maxsize=16)
def _later(queries: int, keys: int) -> Array:
    """Return a mask of the keys that are later than each query. The queries are at the last positions."""
    table = np.triu(np.ones((queries, keys), bool), keys - queries + 1)
    table.flags.writeable = False
    return table
