"""minidl: a small neural-network framework in readable NumPy."""

import importlib
from typing import Any

from minidl import errors, functional, initializers, layers, losses, metrics, optimizers, training
from minidl.allocator import keep_freed_memory
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
    Dense,
    Flatten,
    Layer,
    LeakyReLU,
    Parameter,
    ReLU,
    Rescale,
    Reshape,
    Sigmoid,
    Softmax,
    State,
    Tanh,
)
from minidl.losses import Loss, MeanSquaredError, SigmoidCrossEntropy, SoftmaxCrossEntropy
from minidl.model import Sequential
from minidl.optimizers import SGD, Adam, Momentum, Optimizer
from minidl.training import Callback, CrossValidation, History, ProgressBar, Trainer, cross_validate
from minidl.version import __version__

__all__ = [
    "SGD",
    "Adam",
    "Callback",
    "Constant",
    "CrossValidation",
    "Dense",
    "Flatten",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "History",
    "Initializer",
    "Layer",
    "LeCunNormal",
    "LeakyReLU",
    "Loss",
    "MeanSquaredError",
    "Momentum",
    "Normal",
    "Optimizer",
    "Orthogonal",
    "Parameter",
    "ProgressBar",
    "ReLU",
    "Rescale",
    "Reshape",
    "Sequential",
    "Sigmoid",
    "SigmoidCrossEntropy",
    "Softmax",
    "SoftmaxCrossEntropy",
    "State",
    "Tanh",
    "Trainer",
    "Uniform",
    "Zeros",
    "__version__",
    "cross_validate",
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
