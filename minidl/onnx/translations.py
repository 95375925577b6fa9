"""Translate each layer, block and loss to ONNX's operators."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from minidl.blocks import Concatenate, Residual
from minidl.errors import ArgumentError, ArgumentTypeError, naming
from minidl.layers import (
    ELU,
    GELU,
    AveragePool2D,
    BatchNorm,
    Conv2D,
    Conv2DTranspose,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GaussianNoise,
    GlobalAveragePool2D,
    GlobalMaxPool2D,
    Layer,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    PReLU,
    ReLU,
    Rescale,
    Reshape,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
    UpSample2D,
    ZeroPad2D,
)
from minidl.layers.windows import LooksAtPlaces, Window
from minidl.losses import CategoricalLoss, Loss, Poisson, PositionWiseLoss, SigmoidCrossEntropy
from minidl.model import Sequential
from minidl.onnx.graph import Graph
from minidl.onnx.sequences import TRANSLATIONS as OF_SEQUENCES
from minidl.onnx.sequences import hidden
from minidl.reprs import brief
from minidl.sequences import Embedding, TiedEmbedding
from minidl.typing import Shape

Translation = Callable[..., str]
_Kind = TypeVar("_Kind", bound=Translation)

_OWN: dict[type[Layer], Translation] = {**OF_SEQUENCES}
"""The translations of minidl's layers. They take images with the channels first or last, and return either."""

_REGISTERED: dict[type, Translation] = {}


def register(kind: type[Layer] | type[Loss], translation: Translation) -> None:
    """Register a function that adds the ONNX nodes of a class of layers or losses without a method ``to_onnx``.

    Parameters
    ----------
    kind : type
        The class of a layer or a loss. Derived classes are not included.
    translation : callable
        For a layer: ``translation(layer, graph, x) -> str``, like the method ``to_onnx`` that `Graph` describes. For a
        loss: ``translation(loss, graph, scores, output) -> str``, where `output` is "probabilities" or "labels", the
        result to compute from the scores.
    """
    if not (isinstance(kind, type) and issubclass(kind, Layer | Loss)):
        raise ArgumentTypeError(f"register takes the class of a layer or of a loss, not {brief(kind)}")
    _REGISTERED[kind] = translation


def translate_layer(layer: Layer, graph: Graph, x: str) -> str:
    """Add the nodes of a layer that is set up, and return the name of its output."""
    mask = graph.mask_of(x)
    y = _translate(layer, graph, x if isinstance(layer, _TAKE_WHOLE) else graph.set_mask(graph.as_floats(x), mask))
    if mask is not None and type(layer).mask_after in _FOLLOW_SHAPES:
        graph.set_mask(y, mask if layer.mask_after(None, np.empty((0, 0), bool)) is not None else None)
    return y


def _translate(layer: Layer, graph: Graph, x: str) -> str:
    kind = type(layer)
    custom = _REGISTERED.get(kind) or getattr(kind, "to_onnx", None)
    if custom is not None:
        y = custom(layer, graph, graph.channels_last(x))
        if not isinstance(y, str):
            raise ArgumentTypeError(f"to_onnx of {kind.__name__} must return the name of its output, not {brief(y)}")
        return y
    # A derived class is translated like its minidl base class unless it computes something else.
    for base in kind.__mro__:
        if base in _OWN and base.forward is kind.forward:
            return _OWN[base](layer, graph, x)
    raise ArgumentTypeError(_how_to_translate(kind, "to_onnx(self, graph, x)", 'graph.node("Sigmoid", x)'))


def translate_loss(loss: Loss, graph: Graph, scores: str, output: str, shape: Shape) -> tuple[str, bool]:
    """Add nodes that turn scores (N, *shape) into probabilities or labels; return the name, and whether it is integer.

    Raises ArgumentError for a loss without probabilities, and ArgumentTypeError for a custom loss.
    """
    kind = type(loss)
    custom = _REGISTERED.get(kind) or getattr(kind, "to_onnx", None)
    if custom is not None:
        return custom(loss, graph, scores, output), output == "labels" and isinstance(loss, PositionWiseLoss)
    if output == "probabilities":
        if kind.activate is CategoricalLoss.activate:
            return graph.node("Softmax", scores, axis=-1), False
        if kind.activate is SigmoidCrossEntropy.activate:
            return graph.node("Sigmoid", scores), False
        if kind.activate is Loss.activate:
            raise ArgumentError(f'{kind.__name__} gives no probabilities: export output="scores" or "labels"')
    elif kind.decide is PositionWiseLoss.decide and shape[-1:] not in {(), (1,)}:
        return graph.node("ArgMax", scores, axis=-1, keepdims=0), True
    elif kind.decide in {PositionWiseLoss.decide, SigmoidCrossEntropy.decide}:
        positive = graph.node("Cast", graph.node("Greater", scores, graph.constant(0.0)), to=_INT64)
        return _squeezed(graph, positive) if shape[-1:] == (1,) else positive, True
    elif kind.decide in {Loss.decide, Poisson.decide}:
        values = graph.node("Exp", scores) if kind.decide is Poisson.decide else scores
        return _squeezed(graph, values) if shape == (1,) else values, False
    example = 'graph.node("Sigmoid", scores)'
    raise ArgumentTypeError(_how_to_translate(kind, "to_onnx(self, graph, scores, output)", example))


def _how_to_translate(kind: type, method: str, example: str) -> str:
    name = kind.__name__
    cure = f"give {name} a method {method}, such as `return {example}`, or minidl.onnx.register({name}, function)"
    return f"{name} is not a class of minidl, so export cannot translate it: {cure}"


def _squeezed(graph: Graph, x: str) -> str:
    return graph.node("Squeeze", x, graph.constant([-1]))


_TAKE_WHOLE = Sequential, Residual, Concatenate, Embedding, TiedEmbedding, Reshape
"""Layers that take whole numbers or pass them on; other layers get float32."""

_FOLLOW_SHAPES = {Layer.mask_after, Reshape.mask_after, LooksAtPlaces.mask_after}
"""Methods for the mask of an output that keep the mask of the input, leave it out, or refuse it."""

_FLOAT, _INT64 = 1, 7
"""ONNX's numbers of these types."""


def _translates(*kinds: type[Layer]) -> Callable[[_Kind], _Kind]:
    def keep(translation: _Kind) -> _Kind:
        _OWN.update(dict.fromkeys(kinds, translation))
        return translation

    return keep


for _kind, _operator in {ReLU: "Relu", Sigmoid: "Sigmoid", Tanh: "Tanh", Softplus: "Softplus"}.items():
    _OWN[_kind] = lambda layer, graph, x, operator=_operator: graph.node(operator, x)


@_translates(Dropout, GaussianNoise)
def _nothing(layer: Layer, graph: Graph, x: str) -> str:
    return x


@_translates(Dense)
def _dense(layer: Dense, graph: Graph, x: str) -> str:
    x, weight = graph.channels_last(x), graph.constant(layer.weight.value)
    bias = [] if layer.bias is None else [graph.constant(layer.bias.value)]
    if _axes(layer) == 2:
        return graph.node("Gemm", x, weight, *bias)
    y = graph.node("MatMul", x, weight)
    return graph.node("Add", y, *bias) if bias else y


@_translates(Softmax)
def _softmax(layer: Softmax, graph: Graph, x: str) -> str:
    return graph.node("Softmax", graph.channels_last(x), axis=-1)


@_translates(LeakyReLU)
def _leaky_relu(layer: LeakyReLU, graph: Graph, x: str) -> str:
    return graph.node("LeakyRelu", x, alpha=float(layer.negative_slope))


@_translates(PReLU)
def _prelu(layer: PReLU, graph: Graph, x: str) -> str:
    pixels = [1] * (_axes(layer) - 2) if graph.has_channels_first(x) else []
    return graph.node("PRelu", x, graph.constant(layer.slope.value.reshape(-1, *pixels)))


@_translates(ELU)
def _elu(layer: ELU, graph: Graph, x: str) -> str:
    if layer.scale == 1:
        return graph.node("Elu", x, alpha=float(layer.alpha))
    return graph.node("Selu", x, alpha=float(layer.alpha), gamma=float(layer.scale))


@_translates(GELU)
def _gelu(layer: GELU, graph: Graph, x: str) -> str:
    def scaled(factor: float, y: str) -> str:
        return graph.node("Mul", y, graph.constant(factor))

    if layer.approximate:
        cube = graph.node("Pow", x, graph.constant(3.0))
        inner = graph.node("Add", x, scaled(0.044715, cube))
        return graph.node("Mul", x, graph.node("Sigmoid", scaled(2 * math.sqrt(2 / math.pi), inner)))
    below = graph.node("Add", graph.node("Erf", scaled(math.sqrt(0.5), x)), graph.constant(1.0))
    return scaled(0.5, graph.node("Mul", x, below))


@_translates(SiLU)
def _silu(layer: SiLU, graph: Graph, x: str) -> str:
    return graph.node("Mul", x, graph.node("Sigmoid", x))


@_translates(BatchNorm)
def _batch_norm(layer: BatchNorm, graph: Graph, x: str) -> str:
    mask, arrays = graph.mask_of(x), (layer.scale, layer.shift, layer.running_mean, layer.running_variance)
    constants = [graph.constant(each.value) for each in arrays]
    x = graph.channels_first(x, _axes(layer))
    settings: dict[str, Any] = {"epsilon": float(layer.epsilon), "momentum": float(layer.momentum)}
    y = graph.node("BatchNormalization", x, *constants, **settings)
    return hidden(graph, y, mask) if mask and _axes(layer) == 3 else y


@_translates(LayerNorm)
def _layer_norm(layer: LayerNorm, graph: Graph, x: str) -> str:
    constants = [graph.constant(each.value) for each in (layer.scale, layer.shift)]
    epsilon = float(layer.epsilon)
    return graph.node("LayerNormalization", graph.channels_last(x), *constants, axis=-1, epsilon=epsilon)


@_translates(Reshape)
def _reshape(layer: Reshape, graph: Graph, x: str) -> str:
    # 0 means the size of the batch, which may be 0: then -1 could be anything.
    return graph.node("Reshape", graph.channels_last(x), graph.constant([0, *(layer.output_shape or ())]))


@_translates(Flatten)
def _flatten(layer: Flatten, graph: Graph, x: str) -> str:
    return graph.node("Flatten", graph.channels_last(x), axis=1)


@_translates(Rescale)
def _rescale(layer: Rescale, graph: Graph, x: str) -> str:
    y = graph.node("Mul", x, graph.constant(layer.scale))
    return graph.node("Add", y, graph.constant(layer.offset)) if layer.offset else y


def _window(window: Window) -> dict[str, Any]:
    """Return the window attributes of image operators."""
    (top, bottom), (left, right) = window.margins
    pads = [top, left, bottom, right]
    return {"kernel_shape": [*window.size], "strides": [*window.strides], "pads": pads}


@_translates(Conv2D, DepthwiseConv2D)
def _convolution(layer: Conv2D, graph: Graph, x: str) -> str:
    arrays = [graph.constant(layer.weight.value.transpose(3, 2, 0, 1))]
    arrays += [] if layer.bias is None else [graph.constant(layer.bias.value)]
    attributes = _window(layer.window) | {"dilations": [*layer.dilation], "group": layer.groups}
    return graph.node("Conv", graph.channels_first(x, 4), *arrays, **attributes)


@_translates(Conv2DTranspose)
def _transposed_convolution(layer: Conv2DTranspose, graph: Graph, x: str) -> str:
    arrays = [graph.constant(layer.weight.value.transpose(2, 3, 0, 1))]
    arrays += [] if layer.bias is None else [graph.constant(layer.bias.value)]
    window, image = layer.window, layer.input_shape or ()
    covered = [
        (size - 1) * stride + span - sum(margins)
        for size, stride, span, margins in zip(image, window.strides, window.spans, window.margins, strict=False)
    ]
    missing = [whole - part for whole, part in zip(window.image, covered, strict=True)]
    attributes = _window(window) | {"dilations": [*layer.dilation], "output_padding": missing}
    return graph.node("ConvTranspose", graph.channels_first(x, 4), *arrays, **attributes)


@_translates(MaxPool2D)
def _max_pool(layer: MaxPool2D, graph: Graph, x: str) -> str:
    return graph.node("MaxPool", graph.channels_first(x, 4), **_window(layer.window))


@_translates(AveragePool2D)
def _average_pool(layer: AveragePool2D, graph: Graph, x: str) -> str:
    return graph.node("AveragePool", graph.channels_first(x, 4), **_window(layer.window), count_include_pad=0)


@_translates(GlobalAveragePool2D)
def _global_average_pool(layer: GlobalAveragePool2D, graph: Graph, x: str) -> str:
    return graph.without_pixels(graph.node("GlobalAveragePool", graph.channels_first(x, 4)))


@_translates(GlobalMaxPool2D)
def _global_max_pool(layer: GlobalMaxPool2D, graph: Graph, x: str) -> str:
    return graph.without_pixels(graph.node("GlobalMaxPool", graph.channels_first(x, 4)))


@_translates(ZeroPad2D)
def _zero_pad(layer: ZeroPad2D, graph: Graph, x: str) -> str:
    (top, bottom), (left, right) = layer.padding
    before, after = ([0, 0, top, left], [0, 0, bottom, right])
    return graph.node("Pad", graph.channels_first(x, 4), graph.constant([*before, *after]))


@_translates(UpSample2D)
def _up_sample(layer: UpSample2D, graph: Graph, x: str) -> str:
    scales = graph.constant(np.array([1, 1, *layer.size], np.float32))
    how: dict[str, Any] = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return graph.node("Resize", graph.channels_first(x, 4), "", scales, **how)


@_translates(Sequential)
def _sequential(layer: Sequential, graph: Graph, x: str) -> str:
    for inner in layer.layers:
        x = _inside(layer, str(inner.name), inner, graph, x)
    return x


@_translates(Residual)
def _residual(layer: Residual, graph: Graph, x: str) -> str:
    y = _inside(layer, "layers", layer.layers, graph, x)
    shortcut = _inside(layer, "projection", layer.projection, graph, x) if layer.projection else x
    return graph.set_mask(graph.node("Add", *_alike(graph, [y, shortcut], layer)), graph.mask_of(y))


@_translates(Concatenate)
def _concatenate(layer: Concatenate, graph: Graph, x: str) -> str:
    outputs = [_inside(layer, str(branch.name), branch, graph, x) for branch in layer.branches]
    masks = [graph.mask_of(each) for each in outputs]
    outputs, axes = _alike(graph, outputs, layer), _axes(layer, layer.output_shape)
    axis = layer.axis % axes
    if graph.has_channels_first(outputs[0]):
        axis = 1 if axis == axes - 1 else axis + 1
    y = graph.node("Concat", *outputs, axis=axis)
    known = [mask for mask in masks if mask]
    if not known:
        return y
    if layer.axis % axes == 1:  # positions one after the other
        whole = [mask or _all_count(graph, each) for mask, each in zip(masks, outputs, strict=True)]
        return graph.set_mask(y, graph.node("Concat", *whole, axis=1))
    return graph.set_mask(y, functools.reduce(lambda mask, other: graph.node("And", mask, other), known))


def _all_count(graph: Graph, x: str) -> str:
    """Return a mask that is True at all positions of a tensor (N, T, F)."""
    largest = graph.node("ReduceMax", graph.channels_last(x), axes=[2], keepdims=0)
    return graph.node("Not", graph.node("IsNaN", largest))


def _inside(block: Layer, name: str, layer: Layer, graph: Graph, x: str) -> str:
    """Translate a layer inside another layer; errors name it."""
    before = graph.place
    graph.place = f"{before}{name}/"
    with naming(block.place_of(name)):
        y = translate_layer(layer, graph, x)
    graph.place = before
    return y


def _alike(graph: Graph, tensors: list[str], layer: Layer) -> list[str]:
    """Return tensors that all have their channels first if the first one has, and last otherwise."""
    tensors = [graph.as_floats(each) for each in tensors]
    if graph.has_channels_first(tensors[0]):
        axes = _axes(layer, layer.output_shape)
        return [graph.channels_first(each, axes) for each in tensors]
    return [graph.channels_last(each) for each in tensors]


def _axes(layer: Layer, shape: Shape | None = None) -> int:
    """Return the number of axes of batches with a shape, by default a layer's input shape."""
    return 1 + len(shape or layer.input_shape or ())
