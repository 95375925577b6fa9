"""Optimizers by name, as ``Trainer(model, "adam")`` asks for them."""

from __future__ import annotations

from minidl.errors import ArgumentError, ArgumentTypeError, did_you_mean
from minidl.optimizers.adaptive import Adam
from minidl.optimizers.base import Optimizer
from minidl.optimizers.descent import SGD, Momentum

__all__ = ["get_optimizer"]

_NAMED: dict[str, type[Optimizer]] = {"sgd": SGD, "momentum": Momentum, "adam": Adam}


def get_optimizer(optimizer: Optimizer | str) -> Optimizer:
    """Return the optimizer itself, or a new one of the name "sgd", "momentum" or "adam" with its defaults.

    Raises ArgumentError for another name, ArgumentTypeError for anything else.
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    if not isinstance(optimizer, str):
        raise ArgumentTypeError(f"an optimizer is an Optimizer such as Adam() or a name, not {optimizer!r}")
    if optimizer not in _NAMED:
        raise ArgumentError(f"no optimizer is named {optimizer!r}; {did_you_mean(optimizer, _NAMED)}")
    return _NAMED[optimizer]()
