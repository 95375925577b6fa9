"""Optimizers: how the vector of gradients moves the vector of parameters."""

from minidl.optimizers.adaptive import Adam
from minidl.optimizers.base import Optimizer
from minidl.optimizers.descent import SGD, Momentum
from minidl.optimizers.names import get_optimizer

__all__ = ["SGD", "Adam", "Momentum", "Optimizer", "get_optimizer"]
