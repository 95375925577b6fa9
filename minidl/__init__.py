"""minidl: a small neural-network framework in readable NumPy."""

import importlib
from typing import Any

from minidl import errors, functional, initializers, layers, losses, metrics, optimizers, schedules, training
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
from minidl.optimizers import (
    LBFGS,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    AMSGrad,
    ExponentialMovingAverage,
    Lion,
    Lookahead,
    Momentum,
    NAdam,
    Optimizer,
    RMSprop,
    StochasticWeightAveraging,
)
from minidl.schedules import (
    ConstantRate,
    CosineDecay,
    CosineRestarts,
    ExponentialDecay,
    OneCycle,
    PolynomialDecay,
    Schedule,
    StepDecay,
    Warmup,
)
from minidl.training import Callback, History, ProgressBar, Trainer
from minidl.version import __version__

__all__ = [
    "LBFGS",
    "SGD",
    "AMSGrad",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Callback",
    "Constant",
    "ConstantRate",
    "CosineDecay",
    "CosineRestarts",
    "Dense",
    "ExponentialDecay",
    "ExponentialMovingAverage",
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
    "Lion",
    "Lookahead",
    "Loss",
    "MeanSquaredError",
    "Momentum",
    "NAdam",
    "Normal",
    "OneCycle",
    "Optimizer",
    "Orthogonal",
    "Parameter",
    "PolynomialDecay",
    "ProgressBar",
    "RMSprop",
    "ReLU",
    "Rescale",
    "Reshape",
    "Schedule",
    "Sequential",
    "Sigmoid",
    "SigmoidCrossEntropy",
    "Softmax",
    "SoftmaxCrossEntropy",
    "State",
    "StepDecay",
    "StochasticWeightAveraging",
    "Tanh",
    "Trainer",
    "Uniform",
    "Warmup",
    "Zeros",
    "__version__",
    "errors",
    "functional",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "optimizers",
    "schedules",
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
