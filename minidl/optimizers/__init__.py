"""Optimizers: how the vector of gradients changes the vector of parameters. Also the names of the optimizers."""

from minidl.optimizers.adaptive import Adadelta, Adagrad, Adam, AdamW, AMSGrad, Lion, NAdam, RMSprop
from minidl.optimizers.base import Optimizer
from minidl.optimizers.descent import SGD, Momentum
from minidl.optimizers.lbfgs import LBFGS
from minidl.settings import by_name

_KINDS = (SGD, Momentum, Adam, AdamW, AMSGrad, NAdam, RMSprop, Adagrad, Adadelta, Lion, LBFGS)
OPTIMIZERS: dict[str, type[Optimizer]] = {kind.__name__.lower(): kind for kind in _KINDS}
"""Classes by the names that `get_optimizer` takes."""


def get_optimizer(optimizer: Optimizer | str) -> Optimizer:
    """Return the optimizer itself or, for a name such as "adam", "sgd" or "rmsprop", a new one with its defaults.

    The names are the class names in lower case. Raises ArgumentError for an unknown name, and ArgumentTypeError for
    anything else.
    """
    return by_name(optimizer, Optimizer, OPTIMIZERS)
