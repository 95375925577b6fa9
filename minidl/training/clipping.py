"""Clipping: gradients held within bounds, between the backward pass and the optimizer's step."""

import math

import numpy as np

from minidl.typing import Array


def clip(gradients: Array, clip_norm: float | None, clip_value: float | None) -> None:
    """Hold a vector of gradients within bounds, in place.

    Parameters
    ----------
    gradients : array (P,)
    clip_norm : float > 0 or None
        A larger Euclidean norm, of the whole vector, is scaled down to it: ``g <- g clip_norm / |g|``.
    clip_value : float > 0 or None
        Each entry is cut to [-clip_value, clip_value]. With both, the norm is taken afterwards, so that both bounds
        hold (Keras takes one of them only).

    Source: Pascanu et al. (2013), arXiv:1211.5063, for the norm.
    """
    if clip_value is not None:
        np.clip(gradients, -clip_value, clip_value, out=gradients)
    if clip_norm is None:
        return
    with np.errstate(over="ignore"):
        norm = math.sqrt(gradients @ gradients)
    if not 1e-15 < norm < math.inf:
        # Squares have overflowed, or may have vanished: once more, with the largest entry as the unit.
        largest = float(np.abs(gradients).max(initial=0))
        if not 0 < largest < math.inf:  # zeros, or what no scaling makes finite
            return
        unit = gradients / largest
        norm = largest * math.sqrt(unit @ unit)
        if norm > clip_norm:
            gradients[:] = unit * (clip_norm / math.sqrt(unit @ unit))
    elif norm > clip_norm:
        gradients *= clip_norm / norm
