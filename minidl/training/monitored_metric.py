"""The monitored metric of a run, and which of two of its values is better."""

from __future__ import annotations

import math
from collections.abc import Sequence

from minidl.errors import ArgumentError, did_you_mean
from minidl.settings import Configurable, as_text, one_of, setting

_GROWING = ("accuracy", "r2_score", "f1", "precision", "recall", "auc")
_FALLING = ("loss", "error", "variation", "deviance")
"""Endings of the names of metrics that are better when they are larger, or smaller."""

as_mode = one_of("auto", "min", "max")


class MonitoredMetric(Configurable):
    """A metric by its name, and whether a small or a large value is good.

    Parameters
    ----------
    asker : str
        Name of the caller in errors.
    monitor, mode, min_delta : as for `Monitor`
    """

    asker: str
    monitor: str = setting(check=as_text)
    mode: str = setting(default="auto", check=as_mode)
    min_delta: float = setting(default=0.0, low=0)

    def __post_init__(self) -> None:
        if self.mode == "auto" and self.monitor.endswith(_GROWING + _FALLING):
            self.mode = "max" if self.monitor.endswith(_GROWING) else "min"

    @property
    def worst(self) -> float:
        """The worst value: any other value is better."""
        return -math.inf if self.mode == "max" else math.inf

    def check(self, metric_names: Sequence[str]) -> None:
        """Raise ArgumentError unless the run has the metric and it is known whether small or large values are good."""
        if self.monitor not in metric_names:
            validates = any(name.startswith("val_") for name in metric_names)
            cure = (
                "; give fit validation_data, or an estimator validation_fraction"
                if self.monitor.startswith("val_") and not validates
                else ""
            )
            raise ArgumentError(
                f"{self.asker}: the run has no metric {self.monitor!r}; "
                f"{did_you_mean(self.monitor, metric_names)}{cure}"
            )
        if self.mode == "auto":
            raise ArgumentError(
                f'{self.asker}: say by mode="min" or mode="max" whether a small or large {self.monitor!r} is good'
            )

    def is_better(self, value: float, than: float) -> bool:
        """Return whether a value is better than another by more than `min_delta`. NaN is never better."""
        return self.cost(value) < self.cost(than) - self.min_delta

    def cost(self, value: float) -> float:
        """Return a number that is smaller for better values. It also works for NaN."""
        return math.inf if math.isnan(value) else -value if self.mode == "max" else value
