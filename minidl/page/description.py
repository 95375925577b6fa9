"""The description of a model for the page's script: kind, name, settings and arrays of each layer."""

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.blocks import Concatenate, Residual
from minidl.errors import ArgumentTypeError
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
    Reshape,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from minidl.layers.convolution import Conv2D, Conv2DTranspose
from minidl.layers.pooling import (
    AveragePool2D,
    GlobalAveragePool2D,
    GlobalMaxPool2D,
    MaxPool2D,
    UpSample2D,
    ZeroPad2D,
)
from minidl.model import Sequential

Description = dict[str, Any]
"""What becomes JSON, except for the arrays in it."""


def describe(model: Sequential) -> list[Description]:
    """Return a description of each layer, in the order of the forward pass.

    Layers that do nothing in inference, such as Dropout, are left out.

    Raises ArgumentTypeError, with the layer's path, for a layer that the page does not know.
    """
    return _each(model.layers, "")


def _each(layers: Any, path: str) -> list[Description]:
    return [found for layer in layers if (found := _describe(layer, path)) is not None]


def _describe(layer: Layer, path: str) -> Description | None:
    place = f"{path}{layer.name}"
    kind = _kind(layer)
    if kind is None:
        cure = "replace it by layers of minidl, or remove it"
        raise ArgumentTypeError(f"layer {place!r}: the page does not know {type(layer).__name__}; {cure}")
    common = {"kind": kind.__name__, "name": place, "shape": layer.output_shape}
    if isinstance(layer, Residual):
        # Both branches are Sequentials: their layers follow each other directly.
        inside: Description = {"layers": _each(layer.layers.layers, f"{place}/layers/")}
        inside["projection"] = _each(layer.projection.layers, f"{place}/projection/") if layer.projection else []
        return common | inside
    if isinstance(layer, Concatenate):
        branches = [_each(branch.layers, f"{place}/{branch.name}/") for branch in layer.branches]
        # The axis of a sample, without the batch axis.
        return common | {"branches": branches, "axis": layer.axis - 1 if layer.axis > 0 else layer.axis}
    if isinstance(layer, Sequential):
        return common | {"layers": _each(layer.layers, f"{place}/")}
    settings = _SETTINGS[kind]
    return None if settings is None else common | settings(layer)


def _kind(layer: Layer) -> type[Layer] | None:
    """Return the known class with the layer's forward pass, such as Conv2D for DepthwiseConv2D."""
    known: set[type[Layer]] = {*_SETTINGS, Residual, Concatenate, Sequential}
    nearest = next((kind for kind in type(layer).__mro__ if kind in known), None)
    return nearest if nearest and nearest.forward is type(layer).forward else None


def _value(parameter: Any) -> Any:
    return None if parameter is None else parameter.value


def _nothing(layer: Any) -> Description:
    return {}


def _weights(layer: Any) -> Description:
    return {"weight": _value(layer.weight), "bias": _value(layer.bias)}


def _window(layer: Any) -> Description:
    window = layer.window
    return {"size": window.size, "strides": window.strides, "dilation": window.dilation, "margins": window.margins}


def _batch_norm(layer: Any) -> Description:
    """Return scale and shift that include the running mean and variance, computed in float64."""
    mean, variance = (state.value.astype(np.float64) for state in (layer.running_mean, layer.running_variance))
    scale = layer.scale.value / np.sqrt(variance + layer.epsilon)
    return {"scale": scale, "shift": layer.shift.value - mean * scale}


_SETTINGS: dict[type[Layer], Callable[[Any], Description] | None] = {
    Rescale: lambda layer: {"scale": layer.scale, "offset": layer.offset},
    Reshape: _nothing,
    Dense: _weights,
    Conv2D: lambda layer: _weights(layer) | _window(layer) | {"groups": layer.groups},
    Conv2DTranspose: lambda layer: _weights(layer) | _window(layer),
    MaxPool2D: _window,
    AveragePool2D: _window,
    GlobalAveragePool2D: _nothing,
    GlobalMaxPool2D: _nothing,
    ZeroPad2D: _window,
    UpSample2D: lambda layer: {"size": layer.size},
    BatchNorm: _batch_norm,
    LayerNorm: lambda layer: {
        "scale": layer.scale.value,
        "shift": layer.shift.value,
        "epsilon": layer.epsilon,
    },
    ReLU: _nothing,
    LeakyReLU: lambda layer: {"slope": layer.negative_slope},
    PReLU: lambda layer: {"slope": layer.slope.value},
    ELU: lambda layer: {"alpha": layer.alpha, "scale": layer.scale},
    Sigmoid: _nothing,
    Tanh: _nothing,
    Softmax: _nothing,
    GELU: lambda layer: {"approximate": layer.approximate},
    SiLU: _nothing,
    Softplus: _nothing,
    Dropout: None,
    GaussianNoise: None,
}
"""The data of each kind of layer that the script needs; None for a layer that changes nothing in inference."""
