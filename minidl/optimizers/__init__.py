"""Optimizers: how the vector of gradients moves the vector of parameters."""

from minidl.optimizers.adaptive import Adadelta, Adagrad, Adam, AdamW, AMSGrad, Lion, NAdam, RMSprop
from minidl.optimizers.base import Optimizer
from minidl.optimizers.descent import SGD, Momentum
from minidl.optimizers.lbfgs import LBFGS
from minidl.optimizers.names import get_optimizer
