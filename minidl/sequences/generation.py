"""Continuing sequences: the next outputs are computed from the memory of layers, not from the start again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.arrays import as_array, check_finite
from minidl.blocks import Concatenate, Residual
from minidl.errors import ArgumentError, ArgumentTypeError, DataError, NotReadyError, ShapeError, counted, located
from minidl.layers import (
    ELU,
    GELU,
    BatchNorm,
    Dense,
    Dropout,
    GaussianNoise,
    Layer,
    LayerNorm,
    LeakyReLU,
    PReLU,
    ReLU,
    Rescale,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from minidl.layers.base import Seed
from minidl.losses import CategoricalLoss
from minidl.model import Sequential
from minidl.reprs import brief
from minidl.sequences.attention import MultiHeadAttention
from minidl.sequences.embedding import Embedding
from minidl.sequences.masking import Masking
from minidl.sequences.positions import PositionalEncoding, PositionEmbedding
from minidl.settings import as_number, as_whole_number
from minidl.typing import Array

Memory = dict[str, Any]
"""What a layer stores of past positions. It is empty at first. A block has one for each layer inside."""


class Continuation:
    """A sequence that a model reads piece by piece. Each output uses all positions so far, and is computed only once.

    Recurrent layers store their state, attention stores keys and values, and a causal convolution its last inputs. The
    model does not change: any number of continuations can run at the same time, also in threads.

    Parameters
    ----------
    model : Sequential
        Set up for ids (T,) or features (T, F), with an output (T, K) for each position, and without layers that see
        later positions. T limits a continuation only if a layer requires it, such as `PositionEmbedding`.

    Attributes
    ----------
    positions : int
        Number of positions so far.

    A layer can continue if it has a method ``continued(x, memory)``. It returns the output for the next positions
    (N, n, ...), and stores in the dict ``memory``, which is empty at first, what later positions need. Layers of minidl
    that treat each position alone, such as `Dense`, do not need it: for them, it would be ``return self.forward(x)``.
    In your own layer that holds other layers, call `continue_layer` for each.

    Raises ArgumentTypeError for anything but a model, NotReadyError for a model that is not set up, ShapeError for a
    model without an output for each position, and ArgumentError for a layer that cannot continue.
    """

    def __init__(self, model: Sequential) -> None:
        if not isinstance(model, Sequential):
            raise ArgumentTypeError(f"a Sequential can be continued, not {brief(model)}")
        if model.input_shape is None or model.output_shape is None:
            raise NotReadyError("the model does not know its input shape: give input_shape=, or pass data first")
        if len(model.output_shape) != 2 or model.output_shape[0] != model.input_shape[0]:
            cure = "recurrent layers need return_sequences=True"
            made = f"of samples {model.input_shape} this model makes {model.output_shape}"
            raise ShapeError(f"to continue, it must have an output (T, K) for its T positions, but {made}: {cure}")
        self.model = model
        self._padding = [each for each in map(_padding_id, model.walk()) if each is not None]
        self._maskings = [each for each in model.walk() if isinstance(each, Masking)]
        self.restart()
        with np.errstate(all="ignore"):  # layers that cannot continue say so
            continue_layer(model, np.zeros((1, 1, *model.input_shape[1:]), np.intp), {})

    def restart(self) -> None:
        """Forget all positions: the next one is the first of a sequence."""
        self.positions = 0
        self._memory: Memory = {}
        self._rows: int | None = None

    def next(self, x: Any) -> Array:
        """Return the outputs (N, n, K) for the next positions. In a model with a loss, they are the scores.

        Parameters
        ----------
        x : array (N, n) of ids, or (N, n, F)
            The next n >= 1 positions of the same N sequences in each call; n may differ.

        Raises ShapeError for another shape, and DataError for padding, for numbers that are not finite, and for data
        that the first layer does not accept. After an error, the continuation is as it was before.
        """
        x = as_array(x, "x")
        features = (self.model.input_shape or ())[1:]
        if x.ndim != 2 + len(features) or x.shape[2:] != features or 0 in x.shape[:2]:
            wanted = ", ".join(["N", "n", *map(str, features)])
            raise ShapeError(f"a sequence continues with positions ({wanted}), at least one, not {x.shape}")
        if self._rows not in (None, len(x)):
            raise ShapeError(f"{counted(self._rows or 0, 'sequence')} cannot continue with {counted(len(x), 'row')}")
        check_finite(x, "x", dtype=self.model.dtype)
        cure = "but padding has no continuation: continue sequences of different lengths one after the other"
        if self._padding and np.isin(x, self._padding).any():
            raise DataError(f"x holds the padding id {self._padding[0]}, {cure}")
        for layer in self._maskings:
            if (mask := layer.mask_after(x, None)) is not None and not mask.all():
                raise DataError(f"x holds a position of nothing but {layer.padding_value:g}, {cure}")
        memory = _copied(self._memory)
        y = continue_layer(self.model, x, memory)
        self._memory, self._rows, self.positions = memory, len(x), self.positions + x.shape[1]
        return y


def generate(
    model: Sequential,
    ids: Any,
    length: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    window: int | None = None,
    seed: Seed = None,
) -> Array:
    """Continue each sequence of `ids` with `length` ids, drawn one after the other from the model's predictions.

    Parameters
    ----------
    model : Sequential
        Takes ids (T,) and gives scores (T, K) for the next id, as for `SoftmaxCrossEntropy`.
    ids : array (N, n) or (n,)
        The beginnings, n >= 1.
    length : int
        How many ids to add.
    temperature : float >= 0, default 1
        An id is drawn with the probabilities ``softmax(scores / temperature)``. Below 1, likely ids become more likely;
        0 takes the id with the largest score.
    top_k : int, optional
        Draw only from this number of ids, those with the largest scores.
    window : int, optional
        The largest number of positions that a prediction sees. The default is T if the model has attention or a layer
        of positions, because training had no more of them. Other models, such as recurrent ones, have no limit.
    seed : int or numpy.random.Generator, optional
        The same seed gives the same ids. The ids of a row do not depend on the other rows.

    Returns
    -------
    array (N, length) or (length,) of int

    When the window is full, the state is deleted and computed again from the last half of its ids. So a prediction sees
    between half a window and a whole window. A window that moves by one position each time, as in nanoGPT, would always
    be full, but nothing could be stored: keys and values depend on where the window begins.

    The ``padding_id`` of the model's `Embedding` is never drawn, and `ids` must not contain it. Generate sequences of
    different lengths one after the other.

    Raises the errors of `Continuation`, and ArgumentError if the model does not take ids or its output is not scores.
    """
    continuation = Continuation(model)
    if model.input_shape is None or len(model.input_shape) != 1:
        raise ArgumentError(f"the model takes samples {model.input_shape}, not ids (T,), which generate needs")
    if isinstance(model.layers[-1], Softmax) or not isinstance(model.loss, CategoricalLoss | None):
        cure = "end it with the scores, or with SoftmaxCrossEntropy()"
        raise ArgumentError(f"ids are drawn by softmax of scores, but this model does not end with scores: {cure}")
    given = as_array(ids, "ids")
    if given.ndim not in (1, 2) or given.size == 0:
        raise ShapeError(f"ids are (N, n) or (n,), with at least one id each, not {given.shape}")
    length, temperature = as_whole_number(length, "length"), as_number(temperature, "temperature", 0)
    window = _window(model) if window is None else as_whole_number(window, "window", 1)
    top_k = None if top_k is None else as_whole_number(top_k, "top_k", 1)
    beginnings = np.atleast_2d(given)
    rows, start = beginnings.shape
    made = np.zeros((rows, start + length), np.result_type(given, np.intp))
    made[:, :start] = beginnings
    generators = np.random.default_rng(seed).spawn(rows)  # one per row: a row does not depend on the number of rows
    seen = 0 if window is None else max(start - window, 0)
    for end in range(start, start + length):
        if window is not None and continuation.positions + end - seen > window:
            continuation.restart()
            seen = end - max(window // 2, 1)
        scores = continuation.next(made[:, seen:end])[:, -1].astype(np.float64)
        scores[:, [each for each in continuation._padding if each < scores.shape[1]]] = -np.inf
        if top_k is not None and top_k < scores.shape[1]:
            scores[scores < np.sort(scores, axis=1)[:, -top_k, np.newaxis]] = -np.inf
        # With noise of Gumbel's distribution added, the id with the largest score is a draw from softmax(scores).
        noise = np.stack([generator.gumbel(size=scores.shape[1]) for generator in generators])
        made[:, end] = (scores + temperature * noise).argmax(axis=1)
        seen = end
    added = made[:, start:].astype(np.intp)
    return added if given.ndim == 2 else added[0]


def continue_layer(layer: Layer, x: Array, memory: Memory) -> Array:
    """Return the layer's output for positions (N, n, ...) that follow the positions in `memory`.

    A layer that holds others calls this for each in its ``continued(x, memory)``, with a separate dict for each, such
    as ``memory.setdefault("inner", {})``. Raises ArgumentError for a layer that cannot continue.
    """
    return _rule(layer)(layer, x, memory)


Rule = Callable[[Any, Array, Memory], Array]


def _rule(layer: Layer) -> Rule:
    """Return how a layer continues: its own method, or the rule for the class that defines its `forward`."""
    if callable(getattr(layer, "continued", None)):
        return _by_its_method
    home = _home(type(layer))
    if home not in _RULES:
        name = type(layer).__name__
        cure = "if it treats each position alone, define continued(self, x, memory): return self.forward(x)"
        raise ArgumentError(f"{name} cannot continue a sequence, because it may use all positions at once; {cure}")
    return _RULES[home]


def _home(kind: type) -> type:
    """Return the class that defines the `forward` of a class of layers."""
    return next(each for each in kind.__mro__ if "forward" in vars(each))


def _by_its_method(layer: Any, x: Array, memory: Memory) -> Array:
    y: Array = layer.continued(x, memory)
    return y


def _alone(layer: Layer, x: Array, memory: Memory) -> Array:
    return layer.forward(x)


def _in_turn(model: Sequential, x: Array, memory: Memory) -> Array:
    for layer in model.layers:
        if x.dtype != model.dtype and not layer.takes_integers:
            x = x.astype(model.dtype)
        x = _inside(model, str(layer.name), layer, x, memory)
    return x.astype(model.dtype, copy=False) if model.loss else x


def _added(block: Residual, x: Array, memory: Memory) -> Array:
    shortcut = _inside(block, "projection", block.projection, x, memory) if block.projection else x
    return np.add(_inside(block, "layers", block.layers, x, memory), shortcut, dtype=block.dtype)


def _joined(block: Concatenate, x: Array, memory: Memory) -> Array:
    outputs = [_inside(block, branch.name, branch, x, memory) for branch in block.branches]
    return np.concatenate(outputs, axis=block.axis, dtype=block.dtype)


def _inside(block: Layer, name: str, layer: Layer, x: Array, memory: Memory) -> Array:
    """Continue a layer inside a block. An error in it names the layer."""
    try:
        return _rule(layer)(layer, x, memory.setdefault(name, {}))
    except Exception as error:
        raise located(error, block.place_of(name)) from error


_ALONE = (BatchNorm, Dense, Dropout, Embedding, GaussianNoise, LayerNorm, Masking, Rescale)
_ACTIVATIONS = (ELU, GELU, LeakyReLU, PReLU, ReLU, SiLU, Sigmoid, Softmax, Softplus, Tanh)
_RULES: dict[type, Rule] = {
    Sequential: _in_turn,
    Residual: _added,
    Concatenate: _joined,
    **dict.fromkeys(map(_home, (*_ALONE, *_ACTIVATIONS)), _alone),
}
"""Rules by the class that defines a layer's `forward`. A class that overrides it may do anything with the positions."""


def _padding_id(layer: Layer) -> int | None:
    return layer.padding_id if isinstance(layer, Embedding) else None


def _window(model: Sequential) -> int | None:
    """Return how many positions a model knows: T if it has layers that know only the positions of the training."""
    limited = (MultiHeadAttention, PositionEmbedding, PositionalEncoding)
    return (model.input_shape or (0,))[0] if any(isinstance(layer, limited) for layer in model.walk()) else None


def _copied(memory: Memory) -> Memory:
    return {name: _copied(each) if isinstance(each, dict) else each for name, each in memory.items()}
