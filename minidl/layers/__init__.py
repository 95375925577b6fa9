"""The layers, one file a family; `base` says what a layer is."""

import importlib
from typing import TYPE_CHECKING, Any

from minidl.layers import late
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
    "BatchNorm",
    "Declaration",
    "Dense",
    "Dropout",
    "Dropout2D",
    "Flatten",
    "GaussianNoise",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
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
]

__all__ += late.__all__

if TYPE_CHECKING:
    from minidl.layers.late import *  # noqa: F403 - as late.__all__ says


def __getattr__(name: str) -> Any:
    if name in late.MODULES:
        return getattr(importlib.import_module(f"minidl.layers.{late.MODULES[name]}"), name)
    raise AttributeError(f"module 'minidl.layers' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
