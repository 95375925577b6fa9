"""Regularizers add a penalty for a layer's weights to the loss. Constraints limit the weights after each step."""

import numpy as np

from minidl.settings import Configurable, instance_of, setting
from minidl.typing import Array


class Regularizer(Configurable):
    """Base of regularizers: a subclass defines `__call__`.

    A layer with a field ``regularizer`` can have one, as in ``Dense(64, regularizer=L2(1e-4))``. It applies to the
    parameters that the layer declares as ``regularized``. The trainer adds all penalties to the loss that it reports,
    in training and in evaluation, and adds their gradients to the model's. You may set or change it at any time.
    """

    def __call__(self, values: Array) -> tuple[float, Array]:
        """Return the penalty for a parameter's values, and its gradient, which has the shape of the values."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(values)")


class L2(Regularizer):
    """Sum of squares, ``strength * sum(w^2)``, with the gradient ``2 strength w``: it affects large weights most.

    With plain gradient descent, this is a weight decay of ``2 strength``. With adaptive optimizers such as Adam it is
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
    """Sum of absolute values, ``strength * sum(|w|)``, with the gradient ``strength sign(w)``: it makes weights 0.

    Parameters
    ----------
    strength : float >= 0, default 0.01

    Source: Tibshirani (1996), "Regression shrinkage and selection via the lasso".
    """

    strength: float = setting(default=0.01, kw_only=False, low=0)

    def __call__(self, values: Array) -> tuple[float, Array]:
        return self.strength * float(np.abs(values).sum(dtype=np.float64)), self.strength * np.sign(values)


class L1L2(Regularizer):
    """L1 and L2 together, ``l1 * sum(|w|) + l2 * sum(w^2)``, with the gradient ``l1 sign(w) + 2 l2 w``.

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
    """Base of constraints: a subclass defines `apply`, which is called after each step of the optimizer."""

    def apply(self, values: Array) -> None:
        """Change a parameter's values in place to the nearest allowed values."""
        raise NotImplementedError(f"{type(self).__name__} must define apply(values)")


class MaxNorm(Constraint):
    """Limit the Euclidean norm of the weights into each unit to at most `limit`.

    ``w <- w min(1, limit / ||w||)``, where w are the weights of one unit: all axes except the last.

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
