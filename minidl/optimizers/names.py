"""Optimizers by name, as ``Trainer(model, "adam")`` asks for them."""

from minidl.errors import ArgumentTypeError
from minidl.optimizers.adaptive import Adadelta, Adagrad, Adam, AdamW, AMSGrad, Lion, NAdam, RMSprop
from minidl.optimizers.base import Optimizer
from minidl.optimizers.descent import SGD, Momentum
from minidl.optimizers.lbfgs import LBFGS
from minidl.settings import named

_KINDS = (SGD, Momentum, Adam, AdamW, AMSGrad, NAdam, RMSprop, Adagrad, Adadelta, Lion, LBFGS)
OPTIMIZERS: dict[str, type[Optimizer]] = {kind.__name__.lower(): kind for kind in _KINDS}
"""Classes by the names that `get_optimizer` takes."""


def get_optimizer(optimizer: Optimizer | str) -> Optimizer:
    """Return the optimizer itself, or a new one with its defaults of the name, such as "adam", "sgd" or "rmsprop".

    The names are those of the classes, in small letters. Raises ArgumentError for another name, ArgumentTypeError for
    anything else.
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    if not isinstance(optimizer, str):
        raise ArgumentTypeError(f"an optimizer is an Optimizer such as Adam() or a name, not {optimizer!r}")
    return OPTIMIZERS[named(OPTIMIZERS, optimizer, "optimizer")]()
