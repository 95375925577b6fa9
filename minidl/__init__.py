"""minidl: a small neural-network framework in readable NumPy."""

import importlib
from typing import Any

from minidl import errors, functional, initializers, layers, losses, metrics, optimizers, regularizers, training
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
from minidl.losses import (
    CategoricalLoss,
    FocalCrossEntropy,
    Hinge,
    Huber,
    KLDivergence,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    Poisson,
    RegressionLoss,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
)
from minidl.model import Sequential
from minidl.optimizers import SGD, Adam, Momentum, Optimizer
from minidl.regularizers import L1, L1L2, L2, Constraint, MaxNorm, Regularizer
from minidl.training import (
    Callback,
    Checkpoint,
    CSVLogger,
    EarlyStopping,
    FunctionCallback,
    History,
    Monitor,
    ProgressBar,
    RateSearch,
    ReduceLROnPlateau,
    TensorBoard,
    Trainer,
    find_learning_rate,
)
from minidl.version import __version__

__all__ = [
    "ELU",
    "GELU",
    "L1",
    "L1L2",
    "L2",
    "SELU",
    "SGD",
    "Adam",
    "BatchNorm",
    "CSVLogger",
    "Callback",
    "CategoricalLoss",
    "Checkpoint",
    "Concatenate",
    "Constant",
    "Constraint",
    "Dense",
    "Dropout",
    "EarlyStopping",
    "Flatten",
    "FocalCrossEntropy",
    "FunctionCallback",
    "GaussianNoise",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Hinge",
    "History",
    "Huber",
    "Initializer",
    "KLDivergence",
    "Layer",
    "LayerNorm",
    "LeCunNormal",
    "LeakyReLU",
    "Loss",
    "MaxNorm",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Momentum",
    "Monitor",
    "Normal",
    "Optimizer",
    "Orthogonal",
    "PReLU",
    "Parameter",
    "Poisson",
    "ProgressBar",
    "RateSearch",
    "ReLU",
    "ReduceLROnPlateau",
    "RegressionLoss",
    "Regularizer",
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
    "TensorBoard",
    "Trainer",
    "Uniform",
    "Zeros",
    "__version__",
    "errors",
    "find_learning_rate",
    "functional",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "optimizers",
    "regularizers",
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
