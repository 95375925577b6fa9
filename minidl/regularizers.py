"""Regularizers: what a layer's weights add to the loss, and constraints: what they are held to after each step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minidl.configuration import Configurable
from minidl.errors import ArgumentTypeError
from minidl.inputs import check_setting
from minidl.typing import Array

__all__ = ["L1", "L1L2", "L2", "Constraint", "MaxNorm", "Regularizer"]


class Regularizer(Configurable):
    """Base of regularizers: a subclass writes `__call__`.

    A layer hands one to `add_parameter`, as ``Dense(64, regularizer=L2(1e-4))`` does for its weight. The trainer adds
    the penalties of all to the loss that it reports, in training and in evaluation, and their gradients to the model's.
    """

    def __call__(self, values: Array) -> tuple[float, Array]:
        """Return the penalty of a parameter's values and its gradient with respect to them, of their shape."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(values)")


@dataclass(eq=False)
class L2(Regularizer):
    """Sum of squares, ``strength * sum(w^2)``, with the gradient ``2 strength w``: it pulls large weights hardest.

    With plain gradient descent that is a weight decay of ``2 strength``. With adaptive optimizers such as Adam it is
    not: see `AdamW`.

    Parameters
    ----------
    strength : float >= 0, default 0.01

    Source: Hoerl and Kennard (1970), "Ridge regression"; Krogh and Hertz (1991), NIPS, for networks.
    """

    strength: float = 0.01

    def __post_init__(self) -> None:
        check_setting(self, "strength", 0)

    def __call__(self, values: Array) -> tuple[float, Array]:
        return self.strength * float(np.vdot(values, values)), 2 * self.strength * values


@dataclass(eq=False)
class L1(Regularizer):
    """Sum of sizes, ``strength * sum(|w|)``, with the gradient ``strength sign(w)``: it draws weights to 0.

    Parameters
    ----------
    strength : float >= 0, default 0.01

    Source: Tibshirani (1996), "Regression shrinkage and selection via the lasso".
    """

    strength: float = 0.01

    def __post_init__(self) -> None:
        check_setting(self, "strength", 0)

    def __call__(self, values: Array) -> tuple[float, Array]:
        return self.strength * float(np.abs(values).sum(dtype=np.float64)), self.strength * np.sign(values)


@dataclass(eq=False)
class L1L2(Regularizer):
    """Both, ``l1 * sum(|w|) + l2 * sum(w^2)``, with the gradient ``l1 sign(w) + 2 l2 w``.

    Parameters
    ----------
    l1, l2 : float >= 0, default 0.01

    Source: Zou and Hastie (2005), "Regularization and variable selection via the elastic net".
    """

    l1: float = 0.01
    l2: float = 0.01

    def __post_init__(self) -> None:
        check_setting(self, "l1", 0)
        check_setting(self, "l2", 0)

    def __call__(self, values: Array) -> tuple[float, Array]:
        (sizes, signs), (squares, slopes) = L1(self.l1)(values), L2(self.l2)(values)
        return sizes + squares, signs + slopes


class Constraint(Configurable):
    """Base of constraints: a subclass writes `apply`, which is called after each step of the optimizer."""

    def apply(self, values: Array) -> None:
        """Change a parameter's values, in place, to the nearest that are allowed."""
        raise NotImplementedError(f"{type(self).__name__} must define apply(values)")


@dataclass(eq=False)
class MaxNorm(Constraint):
    """Holds the weights that lead into each unit to a Euclidean norm of at most `limit`.

    ``w <- w min(1, limit / ||w||)``, where w are the weights of one unit: all axes but the last.

    Parameters
    ----------
    limit : float > 0, default 3

    Source: Srebro and Shraibman (2005), COLT; Srivastava et al. (2014), "Dropout", JMLR 15, section 5.1.
    """

    limit: float = 3.0

    def __post_init__(self) -> None:
        check_setting(self, "limit", above=0)

    def apply(self, values: Array) -> None:
        weights = values.reshape(-1, values.shape[-1])  # a parameter's values are contiguous: this is a view
        norms = np.sqrt(np.einsum("ij,ij->j", weights, weights))
        weights *= self.limit / np.maximum(norms, self.limit)


def check_regularizer(regularizer: Regularizer | None, constraint: Constraint | None, place: str) -> None:
    """Raise ArgumentTypeError unless these are what a layer's arguments of these names may be."""
    for name, value, kind in (("regularizer", regularizer, Regularizer), ("constraint", constraint, Constraint)):
        if value is not None and not isinstance(value, kind):
            example = "L2(1e-4)" if kind is Regularizer else "MaxNorm(3)"
            raise ArgumentTypeError(f"{place}: {name} is {value!r}; give a {kind.__name__} such as {example}, or None")
