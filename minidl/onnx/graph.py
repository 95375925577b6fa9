"""The graph of an ONNX file that is being written: nodes, constants, and facts about its tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minidl.errors import MissingDependencyError
from minidl.layers import Layer

OPSET = 17
"""The version of ONNX's operators in written files: the first with LayerNormalization, from 2022. Fewer programs read
newer versions, and they would save minidl's layers only a node or two."""


_KEEPS_NUMBERS = {"Concat", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
"""Operators whose output has the same numbers as their input."""


def import_onnx() -> Any:
    """Return the library onnx; raise MissingDependencyError if it is not installed."""
    try:
        # Import its parts by name: a folder named onnx in the search path would be imported as the library.
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
    except ModuleNotFoundError as error:
        raise MissingDependencyError("ONNX files need the library onnx: pip install 'minidl[onnx]'") from error
    return onnx


class Graph:
    """The nodes and constants of a file that is being written; your own layers add their nodes to it.

    A tensor is identified by its name, a text. A layer's method ``to_onnx(graph, x)`` gets the name of its input,
    (N, *input_shape) in float32 and in minidl's order of axes, and returns the name of its output:

        def to_onnx(self, graph, x):
            return graph.node("Mul", x, graph.node("Sigmoid", x))

    If the input is a padded sequence, ``graph.mask_of(x)`` is the name of its mask, booleans (N, T). A layer with its
    own ``mask_after`` sets the mask of its output with `set_mask`. Otherwise the output keeps the mask of the input if
    the positions stay the same.
    """

    def __init__(self) -> None:
        self.onnx = import_onnx()
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.place = ""
        """The path of the layer whose nodes are added: nodes are named after it."""
        self._moved: dict[str, str] = {}  # image tensors, by the same tensor with the channels on another axis
        self._channels_first: dict[str, int] = {}  # such tensors, with their number of axes
        self._masks: dict[str, str] = {}  # for tensors of padded sequences, the positions that count
        self._whole: set[str] = set()  # tensors of whole numbers, such as ids

    def node(self, operator: str, *inputs: str, at: int = 0, **attributes: Any) -> str:
        """Add a node, and return the name of one of its outputs, by default the first one.

        Parameters
        ----------
        operator : str
            One of ONNX's operators, https://onnx.ai/onnx/operators, in opset 17.
        *inputs : str
            Names of tensors, as `node`, `constant` and `add_layer` return them.
        at : int, default 0
            The number of the output whose name is returned.
        **attributes : int, float, str, or list of these
        """
        name = f"{self.place}{operator}_{len(self.nodes)}"
        outputs = [*(f"{name}_{place}" for place in range(at)), name]
        self.nodes.append(self.onnx.helper.make_node(operator, [*inputs], outputs, name=name, **attributes))
        if operator in _KEEPS_NUMBERS and {*inputs[:1]} & self._whole:
            self._whole.add(name)
        # The result of a tensor with its channels first also has them first.
        if axes := next((self._channels_first[each] for each in inputs if each in self._channels_first), None):
            self._channels_first[name] = axes
        return name

    def constant(self, values: ArrayLike) -> str:
        """Add an array and return its name; whole numbers become int64, booleans bool, and other numbers float32."""
        array = np.asarray(values)
        dtype = {"i": np.int64, "u": np.int64, "b": np.bool_}.get(array.dtype.kind, np.float32)
        array = np.ascontiguousarray(array, dtype).reshape(array.shape)
        name = f"{self.place}constant_{len(self.initializers)}"
        self.initializers.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def add_layer(self, layer: Layer, x: str) -> str:
        """Add the nodes of a layer that is set up, such as a layer inside yours; return the name of its output."""
        from minidl.onnx.translations import translate_layer

        return translate_layer(layer, self, x)

    def mask_of(self, x: str) -> str | None:
        """Return the mask (N, T) of a tensor (N, T, ...), which says which positions count; None if all do."""
        return self._masks.get(x) or self._masks.get(self._moved.get(x, ""))

    def set_mask(self, x: str, mask: str | None) -> str:
        """Set or remove the mask of a tensor; return the tensor."""
        if mask is not None:
            self._masks[x] = mask
        return x

    def is_whole(self, x: str) -> bool:
        """Whether a tensor holds whole numbers, such as ids."""
        return x in self._whole

    def take_whole(self, x: str) -> str:
        """Mark a tensor, an input of the graph, as whole numbers; return it."""
        self._whole.add(x)
        return x

    def as_floats(self, x: str) -> str:
        """Return a tensor as float32."""
        return self.node("Cast", x, to=self.onnx.TensorProto.FLOAT) if x in self._whole else x

    def has_channels_first(self, x: str) -> bool:
        """Whether a tensor is (N, channels, height, width), as ONNX's image operators take it."""
        return x in self._channels_first

    def channels_first(self, x: str, axes: int) -> str:
        """Return a tensor (N, ..., channels) with this number of axes as (N, channels, ...)."""
        if axes < 3 or x in self._channels_first:
            return x
        if x not in self._moved:
            moved = self.node("Transpose", x, perm=[0, axes - 1, *range(1, axes - 1)])
            self._moved[x], self._moved[moved] = moved, x
            self._channels_first[moved] = axes
        return self._moved[x]

    def channels_last(self, x: str) -> str:
        """Return a tensor in minidl's order of axes; omit two transpositions that cancel each other."""
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
