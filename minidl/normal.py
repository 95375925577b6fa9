"""The normal distribution: the probability that a standard normal number is below x, and the density at x.

float64 uses SciPy. float32 uses a polynomial, which takes an eighth of the time.
"""

import math

import numpy as np

from minidl.typing import Array

STRETCH = 0.35
COEFFICIENTS = (
    -0.029157886281609535,
    0.14403091371059418,
    -0.2558389902114868,
    0.1593196988105774,
    -0.023212352767586708,
    0.10555250197649002,
    0.11982128769159317,
    0.139863520860672,
    0.139621302485466,
)
"""Coefficients of t^9 to t, with ``t = 1 / (1 + STRETCH z)``. The polynomial is P(-z) exp(z^2 / 2) for z >= 0.

Its relative error is 3e-8. It was fitted at 4,000 numbers z up to 14.5, by least squares with weights that grow where
the error is largest (Lawson, 1961).
"""
DENSITY_AT_0 = 1 / math.sqrt(2 * math.pi)


def probability_and_density(x: Array) -> tuple[Array, Array]:
    """Return ``P(x)``, the probability that a standard normal number is below x, and ``exp(-x^2 / 2) / sqrt(2 pi)``.

    P stays precise in the lower tail, where (1 + erf(x / sqrt(2))) / 2 would lose digits. In float32 the relative error
    of P is below 6e-7 for x >= -3. For smaller x, the exponential multiplies the rounding of x^2 by x^2.
    """
    exponential = np.exp(-0.5 * (x * x))
    if x.dtype != np.float32:
        from scipy.special import ndtr

        return ndtr(x), exponential * DENSITY_AT_0
    t = 1 / (1 + STRETCH * np.abs(x))
    tail = COEFFICIENTS[0] * t
    for coefficient in COEFFICIENTS[1:]:
        tail += coefficient
        tail *= t
    tail *= exponential
    exponential *= DENSITY_AT_0
    # P(-z) for x below 0, else 1 - P(-z).
    tail -= x >= 0
    return np.abs(tail), exponential
