"""The layers, one file a family; `base` says what a layer is."""

from minidl.layers.activations import GELU, Sigmoid, SiLU, Softmax, Softplus, Tanh
from minidl.layers.base import Declaration, Layer, Parameter, State
from minidl.layers.convolution import Conv2D, Conv2DTranspose, DepthwiseConv2D
from minidl.layers.dense import Dense
from minidl.layers.noise import Dropout, Dropout2D, GaussianNoise
from minidl.layers.normalization import BatchNorm, LayerNorm
from minidl.layers.pooling import (
    AveragePool2D,
    GlobalAveragePool2D,
    GlobalMaxPool2D,
    MaxPool2D,
    UpSample2D,
    ZeroPad2D,
)
from minidl.layers.rectifiers import ELU, SELU, LeakyReLU, PReLU, ReLU
from minidl.layers.shaping import Flatten, Rescale, Reshape
