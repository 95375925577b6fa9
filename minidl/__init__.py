"""minidl: a small neural-network framework in readable NumPy."""

import importlib
from typing import Any

from minidl import errors, functional, initializers, layers, losses, metrics, optimizers, training
from minidl.allocator import keep_freed_memory
from minidl.blocks import Concatenate, Residual
from minidl.initializers import (
    Constant,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    Initializer,
    LeCunNormal,
    Normal,
    Orthogonal,
    Uniform,
    Zeros,
)
from minidl.layers import (
    ELU,
    GELU,
    SELU,
    BatchNorm,
    Dense,
    Dropout,
    Flatten,
    GaussianNoise,
    Layer,
    LayerNorm,
    LeakyReLU,
    Parameter,
    PReLU,
    ReLU,
    Rescale,
    Reshape,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    State,
    Tanh,
)
from minidl.losses import Loss, MeanSquaredError, SigmoidCrossEntropy, SoftmaxCrossEntropy
from minidl.model import Sequential
from minidl.optimizers import SGD, Adam, Momentum, Optimizer
from minidl.training import Callback, History, ProgressBar, Trainer
from minidl.version import __version__

__all__ = [
    "ELU",
    "GELU",
    "SELU",
    "SGD",
    "Adam",
    "BatchNorm",
    "Callback",
    "Concatenate",
    "Constant",
    "Dense",
    "Dropout",
    "Flatten",
    "GaussianNoise",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "History",
    "Initializer",
    "Layer",
    "LayerNorm",
    "LeCunNormal",
    "LeakyReLU",
    "Loss",
    "MeanSquaredError",
    "Momentum",
    "Normal",
    "Optimizer",
    "Orthogonal",
    "PReLU",
    "Parameter",
    "ProgressBar",
    "ReLU",
    "Rescale",
    "Reshape",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SigmoidCrossEntropy",
    "Softmax",
    "SoftmaxCrossEntropy",
    "Softplus",
    "State",
    "Tanh",
    "Trainer",
    "Uniform",
    "Zeros",
    "__version__",
    "errors",
    "functional",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "optimizers",
    "training",
]

keep_freed_memory()


def __getattr__(name: str) -> Any:
    """Load what `import minidl` does not at its first use, as in ``minidl.data.load_mnist()``."""
    if name in {"data", "plots", "testing"}:
        return importlib.import_module(f"minidl.{name}")
    if name == "show_versions":
        return importlib.import_module("minidl.diagnostics").show_versions
    raise AttributeError(f"module 'minidl' has no attribute {name!r}")
