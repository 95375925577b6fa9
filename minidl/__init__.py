"""minidl: a small neural-network framework in readable NumPy."""

import importlib
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

from minidl import (
    errors,
    functional,
    initializers,
    layers,
    losses,
    metrics,
    optimizers,
    regularizers,
    schedules,
    settings,
    training,
)
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
    Declaration,
    Dense,
    Dropout,
    Dropout2D,
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
    PositionWiseLoss,
    RegressionLoss,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
)
from minidl.metrics import (
    F1,
    Accuracy,
    Metric,
    Precision,
    R2Score,
    Recall,
    RootMeanSquaredError,
    TopKAccuracy,
    TotalVariation,
)
from minidl.model import Sequential
from minidl.optimizers import (
    LBFGS,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    AMSGrad,
    Lion,
    Momentum,
    NAdam,
    Optimizer,
    RMSprop,
)
from minidl.regularizers import L1, L1L2, L2, Constraint, MaxNorm, Regularizer
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
from minidl.settings import setting
from minidl.training import (
    Average,
    Callback,
    ExponentialMovingAverage,
    FunctionCallback,
    History,
    Lookahead,
    ProgressBar,
    StochasticWeightAveraging,
    Trainer,
)
from minidl.version import __version__

__all__ = [
    "ELU",
    "F1",
    "GELU",
    "GRU",
    "L1",
    "L1L2",
    "L2",
    "LBFGS",
    "LSTM",
    "SELU",
    "SGD",
    "AMSGrad",
    "Accuracy",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "AugmentedPrediction",
    "Average",
    "AveragePool1D",
    "AveragePool2D",
    "BatchNorm",
    "Bidirectional",
    "CSVLogger",
    "Callback",
    "CategoricalLoss",
    "Checkpoint",
    "Concatenate",
    "Constant",
    "ConstantRate",
    "Constraint",
    "Continuation",
    "Conv1D",
    "Conv2D",
    "Conv2DTranspose",
    "CosineDecay",
    "CosineRestarts",
    "CrossValidation",
    "Declaration",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Dropout2D",
    "EarlyStopping",
    "Embedding",
    "Ensemble",
    "ExponentialDecay",
    "ExponentialMovingAverage",
    "Flatten",
    "FocalCrossEntropy",
    "FunctionCallback",
    "GaussianNoise",
    "GlobalAveragePool1D",
    "GlobalAveragePool2D",
    "GlobalMaxPool1D",
    "GlobalMaxPool2D",
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
    "Lion",
    "Lookahead",
    "Loss",
    "Masking",
    "MaxNorm",
    "MaxPool1D",
    "MaxPool2D",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Metric",
    "Momentum",
    "Monitor",
    "MultiHeadAttention",
    "NAdam",
    "Normal",
    "OneCycle",
    "Optimizer",
    "Orthogonal",
    "PReLU",
    "Parameter",
    "Poisson",
    "PolynomialDecay",
    "PositionEmbedding",
    "PositionWiseLoss",
    "PositionalEncoding",
    "Precision",
    "Predictor",
    "ProgressBar",
    "R2Score",
    "RMSprop",
    "RateSearch",
    "ReLU",
    "Recall",
    "ReduceLROnPlateau",
    "RegressionLoss",
    "Regularizer",
    "Rescale",
    "Reshape",
    "Residual",
    "RootMeanSquaredError",
    "Schedule",
    "Search",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SigmoidCrossEntropy",
    "SimpleRNN",
    "Softmax",
    "SoftmaxCrossEntropy",
    "Softplus",
    "State",
    "StepDecay",
    "StochasticWeightAveraging",
    "Tanh",
    "TemperatureScaling",
    "TensorBoard",
    "TiedEmbedding",
    "TopKAccuracy",
    "TotalVariation",
    "Trainer",
    "TransformerBlock",
    "Uniform",
    "UpSample2D",
    "Warmup",
    "ZeroPad2D",
    "Zeros",
    "__version__",
    "cross_validate",
    "errors",
    "find_learning_rate",
    "functional",
    "generate",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "optimizers",
    "prediction",
    "recompute_statistics",
    "regularizers",
    "schedules",
    "search",
    "setting",
    "training",
]

if TYPE_CHECKING:
    from minidl import prediction
    from minidl.layers import (
        AveragePool2D,
        Conv2D,
        Conv2DTranspose,
        DepthwiseConv2D,
        GlobalAveragePool2D,
        GlobalMaxPool2D,
        MaxPool2D,
        UpSample2D,
        ZeroPad2D,
    )
    from minidl.prediction import AugmentedPrediction, Ensemble, Predictor, TemperatureScaling
    from minidl.sequences import (
        GRU,
        LSTM,
        AveragePool1D,
        Bidirectional,
        Continuation,
        Conv1D,
        Embedding,
        GlobalAveragePool1D,
        GlobalMaxPool1D,
        Masking,
        MaxPool1D,
        MultiHeadAttention,
        PositionalEncoding,
        PositionEmbedding,
        SimpleRNN,
        TiedEmbedding,
        TransformerBlock,
        generate,
    )
    from minidl.training.batch_statistics import recompute_statistics
    from minidl.training.checkpoint import Checkpoint
    from minidl.training.cross_validation import CrossValidation, cross_validate
    from minidl.training.monitoring import EarlyStopping, Monitor, ReduceLROnPlateau
    from minidl.training.parameter_search import Search, search
    from minidl.training.rate_search import RateSearch, find_learning_rate
    from minidl.training.recording import CSVLogger, TensorBoard

keep_freed_memory()


_OF_SEQUENCES = (
    "GRU",
    "LSTM",
    "AveragePool1D",
    "Bidirectional",
    "Continuation",
    "Conv1D",
    "Embedding",
    "GlobalAveragePool1D",
    "GlobalMaxPool1D",
    "Masking",
    "MaxPool1D",
    "MultiHeadAttention",
    "PositionEmbedding",
    "PositionalEncoding",
    "SimpleRNN",
    "TiedEmbedding",
    "TransformerBlock",
    "generate",
)

_LOADED_LATE = {
    **dict.fromkeys(layers._LOADED_LATE, "layers"),
    **dict.fromkeys(_OF_SEQUENCES, "sequences"),
    **dict.fromkeys(training._LOADED_LATE, "training"),
    "AugmentedPrediction": "prediction",
    "Ensemble": "prediction",
    "Predictor": "prediction",
    "TemperatureScaling": "prediction",
    "recompute_statistics": "training.batch_statistics",
    "show_versions": "diagnostics",
}
"""Names that few programs need, and their modules."""

_PACKAGES_LOADED_LATE = {
    "compiled",
    "data",
    "estimators",
    "onnx",
    "page",
    "plots",
    "prediction",
    "sequences",
    "testing",
}


def __getattr__(name: str) -> Any:
    """Load at its first use what `import minidl` does not load, as in ``minidl.data.load_mnist()``."""
    if name in _PACKAGES_LOADED_LATE:
        return importlib.import_module(f"minidl.{name}")
    if name in _LOADED_LATE:
        return getattr(importlib.import_module(f"minidl.{_LOADED_LATE[name]}"), name)
    raise AttributeError(f"module 'minidl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_LOADED_LATE, *_PACKAGES_LOADED_LATE})


def _public_names(module: ModuleType) -> list[str]:
    """Return the names of classes and functions from a module without `__all__`, or from its own modules."""
    items = {name: getattr(item, "__module__", "") for name, item in vars(module).items() if name[0] != "_"}
    return sorted(name for name, home in items.items() if f"{home}.".startswith(f"{module.__name__}."))


for _module in (errors, functional, initializers, losses, optimizers, regularizers, schedules, settings):
    vars(_module)["__dir__"] = partial(_public_names, _module)
