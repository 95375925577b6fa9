"""Pieces of layers: the pieces that each ONNX operator adds to a chain."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from minidl.errors import FileFormatError
from minidl.layers.windows import Margins, enlarge, slide
from minidl.typing import Array, Shape

MOST_NUMBERS = 2**24
"""Larger samples raise an error, so that the shapes in a file cannot use up the memory."""

TAKES_IMAGES = {
    "AveragePool", "Conv", "ConvTranspose", "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "Resize", "Upsample",
}  # fmt: skip
"""Operators whose input has its channels first."""

CHANNELS_FIRST = (0, 3, 1, 2)
"""The positions of the axes of (N, channels, height, width) in (N, height, width, channels)."""

BATCH = -(2**40)
"""The size of the batch in shapes that a graph computes."""


class MisfitError(FileFormatError):
    """A node that does not fit any minidl layer, and its index, which shows how far the reader came."""

    def __init__(self, text: str, index: float = -1) -> None:
        super().__init__(text)
        self.index = index


@dataclass
class Node:
    """A node of a graph: its operator, the names of its tensors, and its attributes."""

    index: int
    operator: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]
    name: str = ""

    @property
    def passes_on(self) -> bool:
        """Whether its output equals its input: casts to floating point do nothing, as all numbers are float32 here."""
        return self.operator == "Identity" or (self.operator == "Cast" and self.attributes.get("to") in {1, 10, 11})

    def misfit(self, why: str, *, order: bool = False) -> MisfitError:
        """Return the error that this node does not fit; `order`: because of the order of its input's axes."""
        name = self.name or self.outputs[0]
        text = f"node {self.index} {self.operator!r:.40} ({name:.60}) {why}"
        return MisfitError(text, self.index - order / 2)


@dataclass
class Piece:
    """A layer to create: the name of its class (or of a partial computation), its settings and its arrays.

    A frozen piece is not trained, because it uses measured numbers.
    """

    kind: str
    settings: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)
    node: Node | None = None
    frozen: bool = False


@dataclass(frozen=True)
class Value:
    """The form of a tensor: the shape of samples in minidl's order of axes, and the tensor's own order of axes.

    Attributes
    ----------
    shape : tuple of int
        The shape of a sample in minidl.
    axes : tuple of int
        The axis of minidl's batch for each axis of the tensor: (0, 3, 1, 2) for images with their channels first.
    flat : (shape, axes) or None
        For flat samples whose numbers are not in minidl's order: the form from which they were flattened.
    rows : bool
        Whether the tensor has only two axes; the first joins all of minidl's axes except the last.
    """

    shape: Shape
    axes: tuple[int, ...]
    flat: tuple[Shape, tuple[int, ...]] | None = None
    rows: bool = False

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape of the tensor, with `BATCH` as the size of the batch."""
        if self.rows:
            return BATCH * math.prod(self.shape[:-1]), self.shape[-1]
        return tuple((BATCH, *self.shape)[axis] for axis in self.axes)

    def moved(self, permutation: Sequence[int]) -> Value:
        """Return it with the axes of the tensor in another order."""
        return replace(self, axes=tuple(self.axes[axis] for axis in permutation))

    @property
    def keeps_order(self) -> bool:
        """Whether the numbers of a sample are in minidl's order, whatever its axes are."""
        wide = [axis for axis in self.axes if axis and self.shape[axis - 1] != 1]
        return wide == sorted(wide)

    def in_minidls_order(self, array: Array) -> Array:
        """Return an array, whose first axis is flat features, with the features in minidl's order."""
        if self.flat is None:
            return array
        shape, axes = self.flat
        physical = [shape[axis - 1] for axis in axes[1:]]
        back = [*np.argsort(axes[1:]), *range(len(shape), len(shape) + array.ndim - 1)]
        return array.reshape(*physical, *array.shape[1:]).transpose(back).reshape(array.shape)


class Chain:
    """A sequence of pieces, the form of its output, and the name of this output in the graph."""

    def __init__(self, tensor: str, value: Value) -> None:
        self.tensor, self.value = tensor, value
        self.pieces: list[Piece] = []

    def add(self, node: Node, kind: str, settings: dict[str, Any] | None = None, **arrays: Array) -> None:
        """Append a piece."""
        self.pieces.append(Piece(kind, settings or {}, arrays, node))

    def last(self, *kinds: str) -> Piece | None:
        """Return the last piece if it is one of these kinds."""
        return self.pieces[-1] if self.pieces and self.pieces[-1].kind in kinds else None

    def rescale(self, node: Node, scale: float, offset: float) -> None:
        """Append ``scale x + offset``; merge it with the same kind of piece before."""
        if before := self.last("Rescale"):
            self.pieces.pop()
            scale, offset = scale * before.settings["scale"], scale * before.settings["offset"] + offset
        if not (math.isfinite(scale) and math.isfinite(offset)):
            raise node.misfit("has a number that is not finite")
        if (scale, offset) != (1, 0):
            self.add(node, "Rescale", {"scale": scale, "offset": offset})

    def reshape(self, node: Node, sizes: Sequence[int]) -> None:
        """Give the tensor a shape; `sizes` is as in `Value.sizes`."""
        value = self.value
        whole = replace(value, rows=False)
        if tuple(sizes) in {value.sizes, whole.sizes}:
            self.value = value if tuple(sizes) == value.sizes else whole
            return
        if value.rows:
            raise node.misfit(f"makes {tuple(sizes[1:])} of rows of samples")
        if value.axes == (*range(len(value.axes)),) and len(sizes) == 2 and math.prod(value.shape[:-1]) > 1:
            rows = replace(value, rows=True)
            if (sizes[0] if sizes[0] != -1 else rows.sizes[0], sizes[1]) == rows.sizes:
                self.value = rows
                return
        shape = tuple(sizes[1:])
        if sizes[0] != BATCH or math.prod(shape) != math.prod(value.shape) or min(shape, default=1) < 1:
            raise node.misfit(f"makes {value.sizes[1:]} per sample {shape}, which mixes samples or changes their size")
        if len(shape) > 1 and not (value.keeps_order and value.flat is None):
            raise node.misfit("reshapes a tensor with its channels first; in minidl they are last")
        flat = None if value.keeps_order else (value.shape, value.axes)
        self.value = Value(shape, tuple(range(len(sizes))), value.flat or flat)
        if repeat := self.last("Repeat"):
            self._enlarge(node, value.shape, shape, repeat.settings["axis"])
        else:
            self._add_reshape(node, value.shape, shape)

    def put_channels_first(self) -> None:
        """Treat a Reshape that moves the only channel of images to the front as a transposition."""
        if before := self.last("Reshape"):
            moved = Value(before.settings["start"], CHANNELS_FIRST)
            if len(moved.shape) == 3 and moved.keeps_order and moved.sizes == self.value.sizes:
                self.pieces.pop()
                self.value = moved

    def insert(self, node: Node, place: int) -> None:
        """Insert an axis of size one there, whatever the order of the axes is."""
        value = self.value
        axis = value.axes[place - 1] + 1
        axes = [each + (each >= axis) for each in value.axes]
        shape = (*value.shape[: axis - 1], 1, *value.shape[axis - 1 :])
        self.value = replace(value, shape=shape, axes=(*axes[:place], axis, *axes[place:]))
        self._add_reshape(node, value.shape, shape)

    def _add_reshape(self, node: Node, start: Shape, shape: Shape) -> None:
        if before := self.last("Reshape"):
            self.pieces.pop()
            start = before.settings["start"]
        if start != shape:
            self.add(node, "Reshape", {"target_shape": shape, "start": start})

    def _enlarge(self, node: Node, start: Shape, shape: Shape, axis: int) -> None:
        """Append a repetition of rows or columns: an axis of size one has become larger."""
        before, size = (*start[: axis - 1], *start[axis:]), [1, 1, 1]
        if len(before) != 3 or axis not in {2, 3}:
            raise node.misfit("repeats something other than rows or columns of pixels")
        size[axis - 2] = start[axis - 1]
        self.pieces.pop()
        self._add_reshape(node, (*start[: axis - 1], 1, *start[axis:]), before)
        former = self.pieces.pop().settings["size"] if self.last("UpSample2D") else (1, 1)
        self.add(node, "UpSample2D", {"size": (size[0] * former[0], size[1] * former[1])})
        self._add_reshape(node, tuple(side * times for side, times in zip(before, size, strict=True)), shape)


def number(value: Any) -> float:
    """Return the shortest decimal number with the same float32 value: 0.1 for 0.1 in float32."""
    with np.errstate(over="ignore"):
        return float(str(np.float32(value)))


Operator = Callable[[Node, Chain, list[Array | None]], None]
OPERATORS: dict[str, Operator] = {}
"""A function that adds a node to a chain; the node's other inputs are constants (None: the chain)."""


def _of(*names: str) -> Callable[[Operator], Operator]:
    def keep(operator: Operator) -> Operator:
        OPERATORS.update(dict.fromkeys(names, operator))
        return operator

    return keep


_PLAIN = {
    "Relu": "ReLU", "Sigmoid": "Sigmoid", "Tanh": "Tanh", "Softplus": "Softplus", "Erf": "Erf",
}  # fmt: skip


@_of(*_PLAIN)
def _plain(node: Node, chain: Chain, constants: list[Array | None]) -> None:
    chain.add(node, _PLAIN[node.operator])


@_of("Cast")
def _cast(node: Node, chain: Chain, constants: list[Array | None]) -> None:
    raise node.misfit("makes whole numbers, which only the last node of a classifier may")


@_of("Dropout")
def _dropout(node: Node, chain: Chain, constants: list[Array | None]) -> None:
    given = constants[1] if len(constants) > 1 else None
    rate = number(node.attributes.get("ratio", 0.5) if given is None else given.reshape(-1)[0])
    if not 0 <= rate < 1:
        raise node.misfit("has a ratio that is not in [0, 1)")
    chain.add(node, "Dropout", {"rate": rate})


@_of("Elu", "LeakyRelu", "Selu", "Gelu")
def _with_numbers(node: Node, chain: Chain, constants: list[Array | None]) -> None:
    given = node.attributes
    if node.operator == "Elu":
        chain.add(node, "ELU", {"alpha": number(given.get("alpha", 1.0))})
    elif node.operator == "LeakyRelu":
        chain.add(node, "LeakyReLU", {"negative_slope": number(given.get("alpha", 0.01))})
    elif node.operator == "Gelu":
        chain.add(node, "GELU", {"approximate": given.get("approximate", b"none") == b"tanh"})
    else:
        alpha, gamma = given.get("alpha", 1.6732632), given.get("gamma", 1.050701)
        if math.isclose(alpha, 1.6732632, rel_tol=1e-6) and math.isclose(gamma, 1.050701, rel_tol=1e-6):
            chain.add(node, "SELU")
        else:
            chain.add(node, "ELU", {"alpha": number(alpha)})
            chain.rescale(node, number(gamma), 0)


@_of("Softmax", "LogSoftmax")
def _softmax(node: Node, chain: Chain, constants: list[Array | None]) -> None:
    axes = chain.value.axes
    axis = node.attributes.get("axis", -1 if node.attributes["opset"] >= 13 else 1)
    if not -len(axes) <= axis < len(axes) or axes[axis] != len(axes) - 1:
        raise node.misfit("is not over the axis of features or channels")
    if node.attributes["opset"] < 13 and len(axes) != 2:
        raise node.misfit("is of an old opset and over several axes")
    chain.add(node, node.operator)


@_of("PRelu")
def _prelu(node: Node, chain: Chain, constants: list[Array | None]) -> None:
    slope = _number_of_features(node, chain.value, constant_at(node, constants, 1))
    chain.add(node, "PReLU", slope=slope)


@_of("BatchNormalization")
def _batch_norm(node: Node, chain: Chain, constants: list[Array | None]) -> None:
    value = chain.value
    features = _features(node, value, at=1)
    if node.attributes.get("training_mode", 0) or not node.attributes.get("spatial", 1):
        raise node.misfit("is not in the form for inference")
    arrays = [constant_at(node, constants, place) for place in range(1, 5)]
    if any(array.shape != (features,) for array in arrays):
        raise node.misfit(f"has arrays of other sizes than its {features} channels")
    momentum = number(node.attributes.get("momentum", 0.9))
    settings = {
        "epsilon": _epsilon(node),
        "momentum": momentum if 0 <= momentum < 1 else 0.9,
    }
    names = "scale", "shift", "running_mean", "running_variance"
    chain.add(node, "BatchNorm", settings, **dict(zip(names, map(value.in_minidls_order, arrays), strict=True)))


@_of("ai.onnx.ml.Scaler")
def _scaler(node: Node, chain: Chain, constants: list[Array | None]) -> None:
    """scikit-learn's scalers: ``(x - offset) scale`` is a normalization with fixed statistics."""
    features = _features(node, chain.value, at=-1)
    if chain.value.shape != (features,):
        raise node.misfit("scales something other than rows of features")
    offset, scale = (
        _number_of_features(node, chain.value, np.float32(node.attributes.get(name, default)))
        for name, default in (("offset", [0]), ("scale", [1]))
    )
    arrays = {"running_mean": offset, "running_variance": np.ones_like(scale), "scale": scale}
    chain.add(node, "BatchNorm", {"epsilon": 1e-12}, **arrays, shift=np.zeros_like(scale))
    chain.pieces[-1].frozen = True


@_of("LayerNormalization")
def _layer_norm(node: Node, chain: Chain, constants: list[Array | None]) -> None:
    value = chain.value
    given, last = node.attributes, len(value.axes) - 1
    axes = given.get("axes") or [*range(given.get("axis", -1) % (last + 1), last + 1)]
    if len(axes) != 1:
        raise node.misfit("is over more axes than the features")
    _features(node, value, at=axes[0])
    sizes_of_mean = [1 if axis == last else size for axis, size in zip(value.axes, value.sizes, strict=True)]
    if given.get("shape_of_mean", sizes_of_mean)[1:] != sizes_of_mean[1:]:
        raise node.misfit("subtracts a mean of another shape")
    scale = _number_of_features(node, value, constant_at(node, constants, 1))
    shift = _number_of_features(node, value, constant_at(node, constants, 2) if len(constants) > 2 else np.zeros(1))
    arrays = {"scale": scale, "shift": shift}
    chain.add(node, "LayerNorm", {"epsilon": _epsilon(node)}, **arrays)


@_of("Gemm", "MatMul")
def _product(node: Node, chain: Chain, constants: list[Array | None]) -> None:
    value, given = chain.value, node.attributes
    weight = constant_at(node, constants, 1)
    if given.get("transB", 0):
        weight = weight.T
    inputs = _features(node, value, at=-1)
    if weight.ndim != 2 or weight.shape[0] != inputs or 0 in weight.shape or constants[0] is not None:
        raise node.misfit(f"has weights {weight.shape} for {inputs} features")
    if node.operator == "Gemm" and (given.get("transA", 0) or (len(value.axes) != 2 and not value.rows)):
        raise node.misfit("multiplies something other than rows of features")
    if given.get("alpha", 1) != 1:
        weight = weight * np.float32(given["alpha"])
    units = weight.shape[1]
    chain.value = replace(value, shape=(*value.shape[:-1], units), flat=None)
    chain.add(node, "Dense", {"units": units, "use_bias": False}, weight=value.in_minidls_order(weight))
    if len(constants) > 2:
        add_bias(node, chain, constant_at(node, constants, 2) * np.float32(given.get("beta", 1)))


@_of("Add", "Sub", "Mul", "Div", "Pow")
def _arithmetic(node: Node, chain: Chain, constants: list[Array | None]) -> None:
    first = constants[0] is None
    constant = constant_at(node, constants, 1 if first else 0)
    if constant.dtype.kind not in "fiu":
        raise node.misfit("has a constant that is not a number")
    linear = chain.last("Dense", "Conv1D", "Conv2D", "DepthwiseConv2D", "Conv2DTranspose")
    is_bias = node.operator == "Add" and chain.value.shape[-1:] == (1,) and linear and "bias" not in linear.arrays
    if constant.size == 1 and constant.ndim <= len(chain.value.axes) and not is_bias:
        _arithmetic_with_number(node, chain, number(constant.reshape(-1)[0]), first)
    elif node.operator == "Add" or (node.operator == "Sub" and first):
        add_bias(node, chain, constant if node.operator == "Add" else -constant)
    elif (node.operator in {"Mul", "Div"} and first) or node.operator == "Mul":
        _scale(node, chain, constant if node.operator == "Mul" else 1 / constant)
    else:
        raise node.misfit("has an array as its first number")


def _arithmetic_with_number(node: Node, chain: Chain, given: float, first: bool) -> None:
    match node.operator:
        case "Add":
            chain.rescale(node, 1, given)
        case "Mul":
            chain.rescale(node, given, 0)
        case "Sub":
            chain.rescale(node, *((1, -given) if first else (-1, given)))
        case "Div" if first and given:
            chain.rescale(node, 1 / given, 0)
        case "Pow" if first and given in {2, 3}:
            chain.add(node, "Square" if given == 2 else "Cube")
        case _:
            raise node.misfit("is not a sum, product or cube")


_LINEAR = "Dense", "Conv1D", "Conv2D", "DepthwiseConv2D", "Conv2DTranspose", "BatchNorm"


def _last_linear(node: Node, chain: Chain) -> Piece:
    """Return the last piece if its numbers can be scaled and shifted; otherwise append a piece that only does this.

    The new piece is a frozen BatchNorm, because most such nodes are the rest of one. It gives the same in training.
    """
    if piece := chain.last(*_LINEAR):
        return piece
    features = chain.value.shape[-1]
    arrays = {name: np.zeros(features, np.float32) for name in ("shift", "running_mean")}
    arrays |= {name: np.ones(features, np.float32) for name in ("scale", "running_variance")}
    epsilon = 1e-5
    arrays["running_variance"] -= epsilon
    chain.pieces.append(Piece("BatchNorm", {"epsilon": epsilon}, arrays, node, frozen=True))
    return chain.pieces[-1]


def add_bias(node: Node, chain: Chain, constant: Array) -> None:
    """Add a number per channel to the output of the last piece, which has or can have a bias."""
    bias = _number_of_features(node, chain.value, constant)
    piece = _last_linear(node, chain)
    name = "shift" if piece.kind == "BatchNorm" else "bias"
    piece.arrays[name] = piece.arrays[name] + bias if name in piece.arrays else bias
    if name == "bias":
        piece.settings["use_bias"] = True


def _scale(node: Node, chain: Chain, constant: Array) -> None:
    """Multiply the output of the last piece, which has weights, by a number per channel."""
    factors = _number_of_features(node, chain.value, constant)
    piece = _last_linear(node, chain)
    for name in piece.arrays.keys() & {"weight", "bias", "scale", "shift"}:
        piece.arrays[name] = piece.arrays[name] * factors


@_of("Neg")
def _negative(node: Node, chain: Chain, constants: list[Array | None]) -> None:
    chain.rescale(node, -1, 0)


@_of("Conv")
def _convolution(node: Node, chain: Chain, constants: list[Array | None]) -> None:
    height, width, channels = _image(node, chain)
    kernel = _kernel(node, constants).transpose(2, 3, 1, 0)
    size, filters, groups = kernel.shape[:2], kernel.shape[3], node.attributes.get("group", 1)
    if groups < 1 or kernel.shape[2] * groups != channels or filters % groups:
        raise node.misfit(f"has kernels {kernel.shape} in {groups} groups for {channels} channels")
    strides, dilation = _pair(node, "strides"), _pair(node, "dilations")
    padding = _padding(node)
    window = slide((height, width, channels), size, strides, padding, dilation)
    chain.value = replace(chain.value, shape=(*window.places, filters))
    settings = {"kernel_size": size, "strides": strides, "padding": padding, "dilation": dilation, "use_bias": False}
    if groups == channels > 1:
        chain.add(node, "DepthwiseConv2D", settings | {"multiplier": filters // groups}, weight=kernel)
    else:
        chain.add(node, "Conv2D", settings | {"filters": filters, "groups": groups}, weight=kernel)
    if len(constants) > 2:
        add_bias(node, chain, vector_at(node, constants, 2, filters).reshape(-1, 1, 1))


@_of("ConvTranspose")
def _transposed_convolution(node: Node, chain: Chain, constants: list[Array | None]) -> None:
    height, width, channels = _image(node, chain)
    kernel = _kernel(node, constants).transpose(2, 3, 0, 1)
    size, filters = kernel.shape[:2], kernel.shape[3]
    given = node.attributes
    if given.get("group", 1) != 1 or kernel.shape[2] != channels or given.get("output_shape"):
        raise node.misfit("has groups, an output_shape, or kernels for another number of channels")
    strides, dilation, padding = _pair(node, "strides"), _pair(node, "dilations"), _padding(node)
    more = given.get("output_padding") or [0, 0]
    spans = [step * (side - 1) + 1 for step, side in zip(dilation, size, strict=True)]
    if len(more) != 2 or not isinstance(padding, tuple):
        raise node.misfit("has an auto_pad, or an output_padding, that minidl does not have")
    after = [margins[1] - rest for margins, rest in zip(padding, more, strict=True)]
    if min(after) >= 0:
        padding = (padding[0][0], after[0]), (padding[1][0], after[1])
    elif all(
        (margins, rest) == _same(stride, span)
        for margins, rest, stride, span in zip(padding, more, strides, spans, strict=True)
    ):
        padding = "same"
    else:
        raise node.misfit("has an output_padding that minidl does not have")
    places = enlarge((height, width), size, strides, padding, dilation)
    chain.value = replace(chain.value, shape=(*places, filters))
    settings = {"kernel_size": size, "strides": strides, "padding": padding, "dilation": dilation, "use_bias": False}
    chain.add(node, "Conv2DTranspose", settings | {"filters": filters}, weight=kernel)
    if len(constants) > 2:
        add_bias(node, chain, vector_at(node, constants, 2, filters).reshape(-1, 1, 1))


def _same(stride: int, span: int) -> tuple[tuple[int, int], int]:
    """Return margins and output_padding of the transposed convolution that enlarges images `stride` times."""
    missing = max(span - stride, 0)
    return (missing // 2, missing - missing // 2), max(stride - span, 0)


@_of("MaxPool", "AveragePool")
def _pooling(node: Node, chain: Chain, constants: list[Array | None]) -> None:
    image = _image(node, chain)
    given, size, strides, padding = node.attributes, _pair(node, "kernel_shape"), _pair(node, "strides"), _padding(node)
    if _pair(node, "dilations") != (1, 1) or len([name for name in node.outputs if name]) > 1:
        raise node.misfit("has dilations, or gives indices, which minidl's pooling does not")
    counts = node.operator == "AveragePool" and given.get("count_include_pad", 0)
    if counts and padding not in {((0, 0), (0, 0)), "valid"}:
        if isinstance(padding, str):
            raise node.misfit("counts its padding, with an auto_pad")
        chain.add(node, "ZeroPad2D", {"padding": padding})
        image = (image[0] + sum(padding[0]), image[1] + sum(padding[1]), image[2])
        padding = (0, 0), (0, 0)
    window = slide(image, size, strides, padding)
    rest = [(padded - span) % stride for padded, span, stride in zip(window.padded, window.spans, strides, strict=True)]
    if given.get("ceil_mode", 0) and any(rest):
        raise node.misfit("has ceil_mode, which minidl's pooling does not")
    if any(max(margins) >= side for margins, side in zip(window.margins, size, strict=True)):
        raise node.misfit("has windows outside the image")
    chain.value = replace(chain.value, shape=(*window.places, image[2]))
    chain.add(node, f"{node.operator}2D", {"pool_size": size, "strides": strides, "padding": padding})


@_of("GlobalAveragePool", "GlobalMaxPool")
def _global_pooling(node: Node, chain: Chain, constants: list[Array | None]) -> None:
    _pool_whole_image(node, chain, f"{node.operator}2D", keeps_axes=True)


@_of("ReduceMean", "ReduceMax")
def _reduction(node: Node, chain: Chain, constants: list[Array | None]) -> None:
    given = constants[1] if len(constants) > 1 else None
    axes, count = node.attributes.get("axes") if given is None else given.reshape(-1).tolist(), len(chain.value.axes)
    if count != 4 or axes is None or {chain.value.axes[axis % 4] for axis in axes} != {1, 2}:
        raise node.misfit("is not over the axes of pixels")
    kind = "GlobalAveragePool2D" if node.operator == "ReduceMean" else "GlobalMaxPool2D"
    _pool_whole_image(node, chain, kind, keeps_axes=node.attributes.get("keepdims", 1) == 1)


def _pool_whole_image(node: Node, chain: Chain, kind: str, keeps_axes: bool) -> None:
    axes = chain.value.axes
    if keeps_axes and axes not in {CHANNELS_FIRST, (0, 1, 2, 3)}:
        raise node.misfit("needs an image (N, channels, height, width)")
    if node.operator.startswith("Global"):
        _image(node, chain)
    channels = chain.value.shape[2]
    chain.add(node, kind)
    chain.value = Value((channels,), (0, 1))
    if keeps_axes:
        chain.reshape(node, (BATCH, 1, 1, channels))
        chain.value = replace(chain.value, axes=axes)


@_of("Flatten")
def _flatten(node: Node, chain: Chain, constants: list[Array | None]) -> None:
    if node.attributes.get("axis", 1) not in {1, 1 - len(chain.value.axes)}:
        raise node.misfit("joins the batch with another axis")
    chain.reshape(node, (BATCH, math.prod(chain.value.shape)))


@_of("Reshape")
def _reshape(node: Node, chain: Chain, constants: list[Array | None]) -> None:
    target = constant_at(node, constants, 1).reshape(-1).tolist()
    sizes, before = [], chain.value.sizes
    for place, size in enumerate(target):
        copies = size == 0 and not node.attributes.get("allowzero", 0) and place < len(before)
        sizes.append(before[place] if copies else size)
    if not sizes:
        raise node.misfit("reduces the batch to one number")
    fills = sizes[0] == -1 and math.prod(sizes[1:]) == math.prod(chain.value.shape)
    if fills or sizes[0] == node.attributes["batch"] > 0:
        sizes[0] = BATCH
    if sizes.count(-1) == 1 and sizes[0] != -1:
        known = math.prod(size for size in sizes[1:] if size != -1)
        sizes[sizes.index(-1)] = math.prod(chain.value.shape) // known if known > 0 else -1
    chain.reshape(node, sizes)


@_of("Squeeze", "Unsqueeze")
def _squeeze(node: Node, chain: Chain, constants: list[Array | None]) -> None:
    given = constants[1] if len(constants) > 1 else None
    axes, sizes = node.attributes.get("axes") if given is None else given.reshape(-1).tolist(), [*chain.value.sizes]
    if not axes:
        raise node.misfit("does not say which axes")
    count = len(sizes) + (len(axes) if node.operator == "Unsqueeze" else 0)
    if any(not -count <= axis < count for axis in axes) or count > 32:
        raise node.misfit("has axes that do not exist")
    places = sorted({axis % count for axis in axes})
    if node.operator == "Unsqueeze" and places[0] and chain.value.flat is None:
        for place in places:
            chain.insert(node, place)
        return
    if node.operator == "Unsqueeze":
        for place in places:
            sizes.insert(place, 1)
    elif any(sizes[place] != 1 for place in places):
        raise node.misfit("removes an axis with more than one number")
    else:
        sizes = [size for place, size in enumerate(sizes) if place not in places]
    if not sizes or sizes[0] != BATCH:
        raise node.misfit("moves the axis of the batch")
    chain.reshape(node, sizes)


@_of("Pad")
def _pad(node: Node, chain: Chain, constants: list[Array | None]) -> None:
    given = node.attributes
    pads = given["pads"] if "pads" in given else constant_at(node, constants, 1).reshape(-1).tolist()
    value = constants[2] if len(constants) > 2 else None
    filled = float(given.get("value", 0.0) if value is None or not value.size else value.reshape(-1)[0])
    axes = constant_at(node, constants, 3).tolist() if len(constants) > 3 else [0, 1, 2, 3]
    if given.get("mode", b"constant") != b"constant" or filled or len(pads) != 2 * len(axes) or min(pads) < 0:
        raise node.misfit("pads with other values than zeros, or crops")
    if len(chain.value.axes) != 4:
        raise node.misfit("pads a tensor that is not an image")
    pairs = zip(pads[: len(axes)], pads[len(axes) :], strict=True)
    by_axis = dict(zip([chain.value.axes[axis % 4] for axis in axes], pairs, strict=True))
    if any(sum(by_axis.get(axis, (0, 0))) for axis in (0, 3)):
        raise node.misfit("pads the batch or the channels", order=True)
    padding = by_axis.get(1, (0, 0)), by_axis.get(2, (0, 0))
    height, width, channels = chain.value.shape
    chain.value = replace(chain.value, shape=(height + sum(padding[0]), width + sum(padding[1]), channels))
    chain.add(node, "ZeroPad2D", {"padding": padding})


@_of("Slice")
def _slice(node: Node, chain: Chain, constants: list[Array | None]) -> None:
    """Crop the margins of a transposed convolution's output: this is its padding."""
    piece, value = chain.last("Conv2DTranspose"), chain.value
    starts, stops = (constant_at(node, constants, place).reshape(-1).tolist() for place in (1, 2))
    axes = constant_at(node, constants, 3).reshape(-1).tolist() if len(constants) > 3 else [*range(len(starts))]
    steps = constant_at(node, constants, 4).reshape(-1).tolist() if len(constants) > 4 else [1]
    places = [value.axes[axis] for axis in axes]
    if piece is None or piece.settings["padding"] == "same" or {*steps} != {1} or not {1, 2}.issuperset(places):
        raise node.misfit("crops more than the margins of a transposed convolution")
    shape, padding = [*value.shape], [[*pair] for pair in piece.settings["padding"]]
    for start, stop, axis in zip(starts, stops, places, strict=True):
        first, end, _ = slice(start, stop).indices(shape[axis - 1])
        if first >= end:
            raise node.misfit("crops all pixels")
        padding[axis - 1][0] += first
        padding[axis - 1][1] += shape[axis - 1] - end
        shape[axis - 1] = end - first
    piece.settings["padding"] = tuple(map(tuple, padding))
    chain.value = replace(value, shape=tuple(shape))


@_of("Tile", "Expand")
def _repeat(node: Node, chain: Chain, constants: list[Array | None]) -> None:
    """Repeat an axis of size one; the next Reshape turns it into rows or columns of pixels."""
    value, given = chain.value, constant_at(node, constants, 1).reshape(-1).tolist()
    if len(given) != len(value.sizes):
        raise node.misfit("repeats samples with another number of axes")
    pairs = zip(value.axes, value.sizes, given, strict=True)
    times = {axis: count for axis, size, count in pairs if count != 1 and (node.operator == "Tile" or count != size)}
    if not times:
        return
    ((axis, count),) = times.items() if len(times) == 1 else [(0, 0)]
    if axis == 0 or count < 1 or value.shape[axis - 1] != 1:
        raise node.misfit("repeats something other than one axis of one number")
    chain.value = replace(value, shape=(*value.shape[: axis - 1], count, *value.shape[axis:]))
    chain.add(node, "Repeat", {"axis": axis})


@_of("Resize", "Upsample")
def _resize(node: Node, chain: Chain, constants: list[Array | None]) -> None:
    height, width, channels = _image(node, chain)
    given = node.attributes
    upsample = node.operator == "Upsample"
    how = given.get("coordinate_transformation_mode", b"half_pixel"), given.get("nearest_mode", b"round_prefer_floor")
    ways = {(b"asymmetric", b"floor"), (b"half_pixel", b"round_prefer_floor"), (b"half_pixel", b"round_prefer_ceil")}
    ways |= {(b"tf_half_pixel_for_nn", b"floor")}
    place = 1 if upsample or node.attributes["opset"] < 11 else 2
    scales = given.get("scales", []) if len(constants) <= place else constant_at(node, constants, place).tolist()
    known = given.get("mode", b"nearest") == b"nearest" and (upsample or how in ways) and len(constants) < 4
    if not known or len(scales) != 4 or scales[:2] != [1, 1] or min(scales) < 1 or [*map(int, scales)] != [*scales]:
        raise node.misfit("does more than repeat pixels")
    size = int(scales[2]), int(scales[3])
    chain.value = replace(chain.value, shape=(height * size[0], width * size[1], channels))
    chain.add(node, "UpSample2D", {"size": size})


def constant_at(node: Node, constants: list[Array | None], place: int) -> Array:
    """Return the constant at a position of a node's inputs; raise MisfitError if there is none."""
    constant = constants[place] if place < len(constants) else None
    if constant is None:
        raise node.misfit(f"needs a constant as input {place}")
    return constant


def vector_at(node: Node, constants: list[Array | None], place: int, size: int) -> Array:
    """Return the constant with `size` numbers at a position of a node's inputs; raise MisfitError for another size."""
    constant = constant_at(node, constants, place)
    if constant.shape != (size,):
        raise node.misfit(f"has {constant.shape} numbers for {size} channels")
    return constant


def _features(node: Node, value: Value, at: int) -> int:
    """Return the number of features; raise MisfitError unless they are on the tensor's axis `at`."""
    if len(value.axes) < 2 or value.axes[at] != len(value.axes) - 1:
        where = "first" if at == 1 else "last"
        raise node.misfit(f"takes features or channels {where}, but its input has them elsewhere", order=True)
    return value.shape[-1]


def _number_of_features(node: Node, value: Value, constant: Array) -> Array:
    """Return a broadcast constant as one number for each of minidl's features."""
    count, features = len(value.axes), value.shape[-1] if value.shape else 1
    if constant.size == 1:
        return np.full(features, constant.reshape(-1)[0])
    wanted = [features if axis == count - 1 else 1 for axis in value.axes]
    if constant.ndim > count or [1] * (count - constant.ndim) + [*constant.shape] != wanted:
        raise node.misfit(f"has an array {constant.shape}, not one number for each of {features} features or channels")
    return value.in_minidls_order(constant.reshape(-1))


def _image(node: Node, chain: Chain) -> tuple[int, int, int]:
    """Return height, width and channels of samples; raise MisfitError unless the channels are first."""
    chain.put_channels_first()
    if chain.value.axes != CHANNELS_FIRST:
        raise node.misfit("takes images (N, channels, height, width), but its input has another form", order=True)
    height, width, channels = chain.value.shape
    return height, width, channels


def _kernel(node: Node, constants: list[Array | None]) -> Array:
    kernel = constant_at(node, constants, 1)
    given = node.attributes.get("kernel_shape")
    if kernel.ndim != 4 or 0 in kernel.shape or (given is not None and [*given] != [*kernel.shape[2:]]):
        raise node.misfit(f"has kernels {kernel.shape}, which are not for images")
    return kernel


def _pair(node: Node, name: str) -> tuple[int, int]:
    """Return an attribute of two whole numbers above 0; if missing or empty, they are 1."""
    pair = node.attributes.get(name) or [1, 1]
    if len(pair) != 2 or min(pair) < 1:
        raise node.misfit(f"has {name} {pair!s:.60}, which do not fit images")
    return pair[0], pair[1]


def _padding(node: Node) -> str | Margins:
    """Return the padding of a window in minidl's form."""
    auto = node.attributes.get("auto_pad", b"NOTSET")
    if auto in {b"VALID", b"SAME_UPPER"}:
        return "valid" if auto == b"VALID" else "same"
    pads = node.attributes.get("pads") or [0, 0, 0, 0]
    if auto != b"NOTSET" or len(pads) != 4 or min(pads) < 0:
        raise node.misfit(f"has pads {pads!s:.60} and auto_pad {auto!r:.30}, which minidl does not have")
    top, left, bottom, right = pads
    return (top, bottom), (left, right)


def _epsilon(node: Node) -> float:
    epsilon = number(node.attributes.get("epsilon", 1e-5))
    if not 0 < epsilon < math.inf:
        raise node.misfit(f"has the epsilon {epsilon}, which must be above 0")
    return epsilon
