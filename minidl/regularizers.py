"""Regularizers: what a layer's weights add to the loss, and constraints: what they are held to after each step."""

import numpy as np

from minidl.settings import Configurable, instance_of, setting
from minidl.typing import Array


class Regularizer(Configurable):
    """Base of regularizers: a subclass writes `__call__`.

    A layer with a field ``regularizer`` has one, as in ``Dense(64, regularizer=L2(1e-4))``; it is for the parameters
    that the layer declares as ``regularized``. The trainer adds the penalties of all to the loss that it reports, in
    training and in evaluation, and their gradients to the model's. It may be set or changed at any time.
    """

    def __call__(self, values: Array) -> tuple[float, Array]:
        """Return the penalty of a parameter's values and its gradient with respect to them, of their shape."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(values)")


class L2(Regularizer):
    """Sum of squares, ``strength * sum(w^2)``, with the gradient ``2 strength w``: it pulls large weights hardest.

    With plain gradient descent that is a weight decay of ``2 strength``. With adaptive optimizers such as Adam it is
    not: see `AdamW`.

    Parameters
    ----------
    strength : float >= 0, default 0.01

    Source: Hoerl and Kennard (1970), "Ridge regression"; Krogh and Hertz (1991), NIPS, for networks.
    """

    strength: float = setting(default=0.01, kw_only=False, low=0)

    def __call__(self, values: Array) -> tuple[float, Array]:
        return self.strength * float(np.vdot(values, values)), 2 * self.strength * values


class L1(Regularizer):
    """Sum of sizes, ``strength * sum(|w|)``, with the gradient ``strength sign(w)``: it draws weights to 0.

    Parameters
    ----------
    strength : float >= 0, default 0.01

    Source: Tibshirani (1996), "Regression shrinkage and selection via the lasso".
    """

    strength: float = setting(default=0.01, kw_only=False, low=0)

    def __call__(self, values: Array) -> tuple[float, Array]:
        return self.strength * float(np.abs(values).sum(dtype=np.float64)), self.strength * np.sign(values)


class L1L2(Regularizer):
    """Both, ``l1 * sum(|w|) + l2 * sum(w^2)``, with the gradient ``l1 sign(w) + 2 l2 w``.

    Parameters
    ----------
    l1, l2 : float >= 0, default 0.01

    Source: Zou and Hastie (2005), "Regularization and variable selection via the elastic net".
    """

    l1: float = setting(default=0.01, low=0)
    l2: float = setting(default=0.01, low=0)

    def __call__(self, values: Array) -> tuple[float, Array]:
        (sizes, signs), (squares, slopes) = L1(self.l1)(values), L2(self.l2)(values)
        return sizes + squares, signs + slopes


class Constraint(Configurable):
    """Base of constraints: a subclass writes `apply`, which is called after each step of the optimizer."""

    def apply(self, values: Array) -> None:
        """Change a parameter's values, in place, to the nearest that are allowed."""
        raise NotImplementedError(f"{type(self).__name__} must define apply(values)")


class MaxNorm(Constraint):
    """Holds the weights that lead into each unit to a Euclidean norm of at most `limit`.

    ``w <- w min(1, limit / ||w||)``, where w are the weights of one unit: all axes but the last.

    Parameters
    ----------
    limit : float > 0, default 3

    Source: Srebro and Shraibman (2005), COLT; Srivastava et al. (2014), "Dropout", JMLR 15, section 5.1.
    """

    limit: float = setting(default=3.0, kw_only=False, above=0)

    def apply(self, values: Array) -> None:
        weights = values.reshape(-1, values.shape[-1])  # a parameter's values are contiguous: this is a view
        norms = np.sqrt(np.einsum("ij,ij->j", weights, weights))
        weights *= self.limit / np.maximum(norms, self.limit)


is_regularizer = instance_of(Regularizer, "a Regularizer, such as L2(1e-4), or None")
is_constraint = instance_of(Constraint, "a Constraint, such as MaxNorm(3), or None")
"""The checks of a layer's settings ``regularizer`` and ``constraint``."""
