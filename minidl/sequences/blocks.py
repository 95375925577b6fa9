"""Blocks for sequences: the transformer block, and an embedding that also scores ids."""

import math
from collections.abc import Mapping
from typing import Any

from minidl import functional, products
from minidl.blocks import Residual, as_branch, layers_of
from minidl.errors import ShapeError, naming
from minidl.layers import GELU, Declaration, Dense, Dropout, Layer, LayerNorm
from minidl.layers.base import Parameter
from minidl.model import Sequential
from minidl.sequences.attention import MultiHeadAttention
from minidl.sequences.embedding import Embedding
from minidl.sequences.generation import continue_layer
from minidl.settings import as_flag, as_whole_number, instance_of, setting
from minidl.typing import Array, Shape


def TransformerBlock(  # noqa: N802 - it is used like a layer, and makes one
    units: int,
    heads: int,
    *,
    hidden_units: int | None = None,
    causal: bool = False,
    dropout: float = 0.0,
    rotary: bool = False,
    name: str | None = None,
) -> Sequential:
    """Return a block of a transformer: attention between positions, then two dense layers, each with a shortcut.

    ``h = x + Attention(LayerNorm(x))``, ``y = h + Dense(GELU(Dense(LayerNorm(h))))``: with the normalization first
    ("pre-norm"), gradients flow through the shortcuts unchanged.

    Parameters
    ----------
    units : int, > 0
        The features of x and y.
    heads : int, > 0
        Number of attention heads.
    hidden_units : int, optional
        Units between the dense layers. The default is 4 times `units`.
    causal : bool, default False
        Whether a position sees only itself and earlier positions, as in a model that predicts the next position.
    dropout : float in [0, 1), default 0
        Dropout rate of the attention weights and of the output of both parts.
    rotary : bool, default False
        Whether attention sees positions by rotations; else a layer before the first block adds them.
    name : str, optional
        As for any layer.

    Shapes: (N, T, units) -> (N, T, units).

    Raises ArgumentError and ArgumentTypeError for settings that are not in range, and ShapeError at set-up if the input
    does not have `units` features.
    Sources: Vaswani et al. (2017), arXiv:1706.03762; Xiong et al. (2020), arXiv:2002.04745, for the normalization
    first.
    """
    units = as_whole_number(units, "TransformerBlock: units", 1)
    if hidden_units is None:
        hidden_units = 4 * units
    hidden_units = as_whole_number(hidden_units, "TransformerBlock: hidden_units", 1)
    attention = MultiHeadAttention(heads, features=units, causal=causal, dropout=dropout, rotary=rotary)
    dense = [Dense(hidden_units), GELU(), Dense(units, initializer="glorot_uniform")]
    parts: list[list[Layer]] = [[LayerNorm(), attention], [LayerNorm(), *dense]]
    return Sequential([Residual([*part, Dropout(dropout)] if dropout else part) for part in parts], name=name)


class TiedEmbedding(Layer):
    """Layers between an embedding and scores that use the same vectors: ``y = F(E[x]) E^T + b``.

    The score of an id is the product of its vector with the output of the layers. Input and output share one array;
    an `Embedding` at the start and a `Dense` at the end would have one each.

    Parameters
    ----------
    embedding : Embedding
        The layer with E, (vocabulary_size, units). In paths it is called ``embedding``.
    layers : Layer or list of Layer
        F, which must return the number of features that it gets. In paths it is called ``layers``.
    use_bias : bool, default False
        Whether there is a bias b, which starts at zero.

    Shapes: ids (N, T) -> scores (N, T, vocabulary_size). Gradients, with h = F(E[x]): db = sum dy, dh = dy E, and
    dE = dy^T h plus the gradient of the embedding.

    Raises ShapeError at set-up if F returns another number of features.
    Source: Press and Wolf (2017), arXiv:1608.05859.
    """

    embedding: Embedding = setting(kw_only=False, check=instance_of(Embedding, "an Embedding"), fixed=True)
    layers: Any = setting(kw_only=False, check=as_branch, fixed=True)
    use_bias: bool = setting(default=False, check=as_flag, fixed=True)
    takes_integers = takes_mask = True

    def configuration(self) -> dict[str, Any]:
        return super().configuration() | {"layers": layers_of(self.layers)}

    def sublayers(self) -> Mapping[str, Layer]:
        return {"embedding": self.embedding, "layers": self.layers}

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        shape = declare.sublayer("embedding", input_shape)
        made, size = declare.sublayer("layers", shape), self.embedding.vocabulary_size
        if made[-1:] != shape[-1:]:
            raise ShapeError(f"TiedEmbedding's layers must return the {shape[-1]} features that they get, not {made}")
        self.bias: Parameter | None = declare.parameter("bias", size, "zeros") if self.use_bias else None
        return (*made[:-1], size)

    def numbers_per_row(self) -> int:
        return self.layers.numbers_per_row() + math.prod(self.output_shape or ())

    def forward(self, x: Array, training: bool = False, mask: Array | None = None) -> Array:
        vectors, mask = self.embedding.forward(x, training), self.embedding.mask_after(x, mask)
        h = self.layers.forward(vectors, training, mask)
        if training:
            self.saved = h.reshape(-1, h.shape[-1])
        return self._score(h)

    def continued(self, x: Array, memory: dict[str, Any]) -> Array:
        """Return the scores for positions (N, n) that follow those of earlier calls with this `memory`.

        Raises ArgumentError if one of the layers cannot continue a sequence.
        """
        with naming(self.place_of("layers")):
            return self._score(continue_layer(self.layers, self.embedding.forward(x), memory.setdefault("layers", {})))

    def _score(self, h: Array) -> Array:
        y = products.multiply(h.reshape(-1, h.shape[-1]), self.embedding.weight.value.T)
        if self.bias is not None:
            y += self.bias.value
        return y.reshape(*h.shape[:-1], y.shape[1])

    def backward(self, dy: Array) -> None:
        h, weight = self.saved, self.embedding.weight
        scores = dy.reshape(len(h), dy.shape[-1])
        dh = (scores @ weight.value).reshape(*dy.shape[:-1], h.shape[1])
        self.embedding.backward(self.layers.backward(dh))
        weight.gradient[...] += scores.T @ h
        if self.bias is not None:
            functional.sum_rows(scores, out=self.bias.gradient)

    def mask_after(self, x: Array | None, mask: Array | None) -> Array | None:
        after: Array | None = self.layers.mask_after(None, self.embedding.mask_after(x, mask))
        return after
