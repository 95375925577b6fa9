"""The layers: one file for each family. `base` defines what a layer is."""

import importlib
from typing import TYPE_CHECKING, Any

from minidl.layers.activations import GELU, Sigmoid, SiLU, Softmax, Softplus, Tanh
from minidl.layers.base import Declaration, Layer, Parameter, State
from minidl.layers.dense import Dense
from minidl.layers.noise import Dropout, Dropout2D, GaussianNoise
from minidl.layers.normalization import BatchNorm, LayerNorm
from minidl.layers.rectifiers import ELU, SELU, LeakyReLU, PReLU, ReLU
from minidl.layers.shaping import Flatten, Rescale, Reshape

__all__ = [
    "ELU",
    "GELU",
    "SELU",
    "AveragePool2D",
    "BatchNorm",
    "Conv2D",
    "Conv2DTranspose",
    "Declaration",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Dropout2D",
    "Flatten",
    "GaussianNoise",
    "GlobalAveragePool2D",
    "GlobalMaxPool2D",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "MaxPool2D",
    "PReLU",
    "Parameter",
    "ReLU",
    "Rescale",
    "Reshape",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "State",
    "Tanh",
    "UpSample2D",
    "ZeroPad2D",
]

if TYPE_CHECKING:
    from minidl.layers.convolution import Conv2D, Conv2DTranspose, DepthwiseConv2D
    from minidl.layers.pooling import (
        AveragePool2D,
        GlobalAveragePool2D,
        GlobalMaxPool2D,
        MaxPool2D,
        UpSample2D,
        ZeroPad2D,
    )

_CONVOLUTION = ("Conv2D", "Conv2DTranspose", "DepthwiseConv2D")
_POOLING = ("AveragePool2D", "GlobalAveragePool2D", "GlobalMaxPool2D", "MaxPool2D", "UpSample2D", "ZeroPad2D")
_LOADED_LATE = dict.fromkeys(_CONVOLUTION, "convolution") | dict.fromkeys(_POOLING, "pooling")
"""The layers for images and their modules. Few programs need them, so they load at their first use."""


def __getattr__(name: str) -> Any:
    if name in _LOADED_LATE:
        return getattr(importlib.import_module(f"minidl.layers.{_LOADED_LATE[name]}"), name)
    raise AttributeError(f"module 'minidl.layers' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
