"""The layers, one file a family; `base` says what a layer is."""

from minidl.layers.activations import LeakyReLU, ReLU, Sigmoid, Softmax, Tanh
from minidl.layers.base import Layer, Parameter, State
from minidl.layers.dense import Dense
from minidl.layers.shaping import Flatten, Rescale, Reshape

__all__ = [
    "Dense",
    "Flatten",
    "Layer",
    "LeakyReLU",
    "Parameter",
    "ReLU",
    "Rescale",
    "Reshape",
    "Sigmoid",
    "Softmax",
    "State",
    "Tanh",
]
