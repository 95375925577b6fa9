"""Regression metrics: how far the predictions are from the targets."""

import numpy as np

from minidl.losses.base import mean_over_outputs
from minidl.metrics.base import Metric, ScoredRows
from minidl.typing import Array

_LEADING_DIGITS = 12
"""With 12 binary digits, the squares of 2^29 numbers of one size add up in float64 without rounding."""

_ROUNDING = 2.0**-50
"""A variance below this share of the squared values is a rounding error: the variance is 0."""


class MeanAbsoluteError(Metric):
    """The mean of ``|t - p|``, in the units of the targets; with several outputs, the mean over the outputs."""

    def per_row(self, rows: ScoredRows) -> Array:
        errors = np.abs(rows.predictions - rows.truth)
        return errors if errors.ndim == 1 else mean_over_outputs(errors)


class MeanSquaredError(Metric):
    """The mean of (t - p)^2; with several outputs, the mean over the outputs."""

    def per_row(self, rows: ScoredRows) -> Array:
        errors = np.square(rows.predictions - rows.truth)
        return errors if errors.ndim == 1 else mean_over_outputs(errors)


class RootMeanSquaredError(Metric):
    """The root of the mean of (t - p)^2, in the units of the targets; with several outputs, the mean of their roots.

    This is scikit-learn's `root_mean_squared_error`.
    """

    def per_row(self, rows: ScoredRows) -> Array:
        return np.square(_by_output(rows.predictions) - _by_output(rows.truth))

    def value(self, sums: Array, weight: float) -> float:
        return float(np.sqrt(sums / weight).mean())


class R2Score(Metric):
    """Coefficient of determination, 1 - sum (t - p)^2 / sum (t - mean t)^2; with several outputs, the mean over them.

    1 is perfect; 0 is as good as always predicting the mean. An output with constant targets counts 1 if it is
    predicted without error, else 0. This is scikit-learn's `r2_score`.

    Sums of t and t^2 lose digits if targets are far from 0: around 2000 with a spread of 1, six or seven of 16. So the
    code splits t = h + l: h has the first 12 binary digits of t, and l the rest. The sums of h and h^2 are exact in
    float64. `value` shifts them to a center c near the mean, which also has 12 digits; this is exact, too:
    sum (h - c)^2 = sum h^2 - 2 c sum h + N c^2. The sums with l, and their rounding errors, are at least 2^12 times
    smaller. If weights have many digits, the products w h^2 are rounded, and the six or seven digits are lost.
    """

    def per_row(self, rows: ScoredRows) -> Array:
        predictions, targets = _by_output(rows.predictions), _by_output(rows.truth)
        high = _round_to_leading_digits(targets)
        low = targets - high
        return np.hstack([np.square(targets - predictions), high, low, high * high, high * low, low * low])

    def value(self, sums: Array, weight: float) -> float:
        squared_errors, high, low, high_high, high_low, low_low = sums.reshape(6, -1)
        center = _round_to_leading_digits(high / weight)
        high_high_centered = high_high - 2 * center * high + center * center * weight
        high_low_centered = high_low - center * low
        total_centered = high - center * weight + low
        spread = high_high_centered + 2 * high_low_centered + low_low - total_centered**2 / weight
        is_constant = spread <= _ROUNDING * high_high
        unexplained = np.where(is_constant, squared_errors > 0, squared_errors / np.where(is_constant, 1, spread))
        return float(1 - unexplained.mean())


def _by_output(values: Array) -> Array:
    """Return values (N, outputs) in float64."""
    return values.reshape(len(values), -1).astype(np.float64)


def _round_to_leading_digits(values: Array) -> Array:
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.rint(np.ldexp(mantissa, _LEADING_DIGITS)), exponent - _LEADING_DIGITS)
