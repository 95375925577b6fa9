"""Optimizers: how the vector of gradients moves the vector of parameters."""

from minidl.optimizers.adaptive import Adadelta, Adagrad, Adam, AdamW, AMSGrad, Lion, NAdam, RMSprop
from minidl.optimizers.averaging import ExponentialMovingAverage, Lookahead, StochasticWeightAveraging
from minidl.optimizers.base import Optimizer
from minidl.optimizers.descent import SGD, Momentum
from minidl.optimizers.lbfgs import LBFGS
from minidl.optimizers.names import get_optimizer

__all__ = [
    "LBFGS",
    "SGD",
    "AMSGrad",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "ExponentialMovingAverage",
    "Lion",
    "Lookahead",
    "Momentum",
    "NAdam",
    "Optimizer",
    "RMSprop",
    "StochasticWeightAveraging",
    "get_optimizer",
]
