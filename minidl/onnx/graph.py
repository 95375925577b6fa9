"""The graph of an ONNX file that is being made: nodes, constants, and what is known of its tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minidl.errors import MissingDependencyError
from minidl.layers import Layer

OPSET = 17
"""The version of ONNX's operators in files that are written: the first with LayerNormalization, of 2022. The newer, the
fewer programs read it; what came later saves minidl's layers only a node or two."""


_KEEPS_NUMBERS = {"Concat", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
"""Operators whose output holds the numbers of their input."""


def import_onnx() -> Any:
    """Return the library onnx; raise MissingDependencyError where it is not installed."""
    try:
        # Its parts by name: a folder called onnx in the search path would be taken for the library.
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
    except ModuleNotFoundError as error:
        raise MissingDependencyError("ONNX files need the library onnx: pip install -e '.[onnx]'") from error
    return onnx


class Graph:
    """The nodes and constants of a file in the making; a layer of your own adds its own to it.

    A tensor goes by its name, a text. A layer's method ``to_onnx(graph, x)`` gets the name of its input, (N,
    *input_shape) in float32 and in minidl's order of axes, and returns the name of its output:

        def to_onnx(self, graph, x):
            return graph.node("Mul", x, graph.node("Sigmoid", x))

    Where the input is a padded sequence, ``graph.mask_of(x)`` is the name of its mask, (N, T) of truth values. A layer
    that has a ``mask_after`` of its own gives its output a mask by `set_mask`; else it gets that of the input where the
    positions stay.
    """

    def __init__(self) -> None:
        self.onnx = import_onnx()
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.place = ""
        """The path of the layer whose nodes are added: nodes are named after it."""
        self._moved: dict[str, str] = {}  # tensors of images, by the same with the channels elsewhere
        self._channels_first: dict[str, int] = {}  # such tensors, with their number of axes
        self._masks: dict[str, str] = {}  # of tensors of padded sequences, which of their positions count
        self._whole: set[str] = set()  # tensors of whole numbers, such as ids

    def node(self, operator: str, *inputs: str, at: int = 0, **attributes: Any) -> str:
        """Add a node, and return the name of one of its outputs, by default the first.

        Parameters
        ----------
        operator : str
            One of ONNX's operators, https://onnx.ai/onnx/operators, as of opset 17.
        *inputs : str
            Names of tensors, which `node`, `constant` and `add_layer` return.
        at : int, default 0
            Which of the operator's outputs.
        **attributes : int, float, str, or list of these
        """
        name = f"{self.place}{operator}_{len(self.nodes)}"
        outputs = [*(f"{name}_{place}" for place in range(at)), name]
        self.nodes.append(self.onnx.helper.make_node(operator, [*inputs], outputs, name=name, **attributes))
        if operator in _KEEPS_NUMBERS and {*inputs[:1]} & self._whole:
            self._whole.add(name)
        # What is made of a tensor with its channels first has them there, too.
        if axes := next((self._channels_first[each] for each in inputs if each in self._channels_first), None):
            self._channels_first[name] = axes
        return name

    def constant(self, values: ArrayLike) -> str:
        """Add an array, as int64 if it holds whole numbers, bool if truth values, else float32; return its name."""
        array = np.asarray(values)
        dtype = {"i": np.int64, "u": np.int64, "b": np.bool_}.get(array.dtype.kind, np.float32)
        array = np.ascontiguousarray(array, dtype).reshape(array.shape)
        name = f"{self.place}constant_{len(self.initializers)}"
        self.initializers.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def add_layer(self, layer: Layer, x: str) -> str:
        """Add the nodes of a layer that is set up, such as one inside of yours; return the name of its output."""
        from minidl.onnx.translations import translate_layer

        return translate_layer(layer, self, x)

    def mask_of(self, x: str) -> str | None:
        """Return the mask of a tensor (N, T, ...): which positions count, (N, T); None where all do."""
        return self._masks.get(x) or self._masks.get(self._moved.get(x, ""))

    def set_mask(self, x: str, mask: str | None) -> str:
        """Let a tensor have a mask, or none; return the tensor."""
        if mask is not None:
            self._masks[x] = mask
        return x

    def is_whole(self, x: str) -> bool:
        """Whether a tensor holds whole numbers, as ids are."""
        return x in self._whole

    def take_whole(self, x: str) -> str:
        """Let a tensor, which is an input of the graph, be one of whole numbers; return it."""
        self._whole.add(x)
        return x

    def as_floats(self, x: str) -> str:
        """Return a tensor as float32."""
        return self.node("Cast", x, to=self.onnx.TensorProto.FLOAT) if x in self._whole else x

    def has_channels_first(self, x: str) -> bool:
        """Whether a tensor is (N, channels, height, width), as ONNX's operators of images take it."""
        return x in self._channels_first

    def channels_first(self, x: str, axes: int) -> str:
        """Return a tensor (N, ..., channels) of so many axes as (N, channels, ...)."""
        if axes < 3 or x in self._channels_first:
            return x
        if x not in self._moved:
            moved = self.node("Transpose", x, perm=[0, axes - 1, *range(1, axes - 1)])
            self._moved[x], self._moved[moved] = moved, x
            self._channels_first[moved] = axes
        return self._moved[x]

    def channels_last(self, x: str) -> str:
        """Return a tensor in minidl's order of axes; two transpositions that cancel each other are left out."""
        if x not in self._channels_first:
            return x
        if x not in self._moved:
            moved = self.node("Transpose", x, perm=[0, *range(2, self._channels_first[x]), 1])
            self._moved[x], self._moved[moved] = moved, x
            del self._channels_first[moved]
        return self._moved[x]

    def without_pixels(self, x: str) -> str:
        """Return a tensor (N, channels, 1, 1) as (N, channels)."""
        y = self.node("Flatten", x, axis=1)
        del self._channels_first[y]
        return y
