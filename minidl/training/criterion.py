"""Which figure of a run is looked at, and which of two of its values is the better one."""

from __future__ import annotations

import math
from collections.abc import Sequence

from minidl.errors import ArgumentError, ArgumentTypeError, did_you_mean
from minidl.inputs import check_number

_GROWING = ("accuracy", "r2_score", "f1", "precision", "recall", "auc")
_FALLING = ("loss", "error", "variation", "deviance")
"""What the names of figures end with of which more, or less, is better."""


class Criterion:
    """A figure by its name, and whether a small or a large one is good.

    Parameters
    ----------
    kind : str
        What errors call the one that asks.
    monitor, mode, min_delta : as for `Monitor`

    Raises ArgumentError or ArgumentTypeError for a mode or a difference that is none, or a name that is no text.
    """

    def __init__(self, kind: str, monitor: str, mode: str = "auto", min_delta: float = 0.0) -> None:
        if not isinstance(monitor, str):
            raise ArgumentTypeError(f"{kind}: monitor is {monitor!r}; give the name of a figure, such as 'val_loss'")
        if mode not in {"auto", "min", "max"}:
            raise ArgumentError(f'{kind}: mode is {mode!r}; it must be "auto", "min" or "max"')
        if mode == "auto" and monitor.endswith(_GROWING + _FALLING):
            mode = "max" if monitor.endswith(_GROWING) else "min"
        self.kind, self.monitor, self.mode = kind, monitor, mode
        self.min_delta = check_number(min_delta, f"{kind}: min_delta", 0)

    @property
    def worst(self) -> float:
        """The value that any other is better than."""
        return -math.inf if self.mode == "max" else math.inf

    def check(self, figure_names: Sequence[str]) -> None:
        """Raise ArgumentError unless the run has the figure, and it is known whether a small or a large one is good."""
        if self.monitor not in figure_names:
            validates = any(name.startswith("val_") for name in figure_names)
            cure = "; give fit validation_data" if self.monitor.startswith("val_") and not validates else ""
            raise ArgumentError(
                f"{self.kind}: the run has no figure {self.monitor!r}; {did_you_mean(self.monitor, figure_names)}{cure}"
            )
        if self.mode == "auto":
            raise ArgumentError(
                f'{self.kind}: say by mode="min" or mode="max" which {self.monitor!r} is good, small or large'
            )

    def is_better(self, figure: float, than: float) -> bool:
        """Whether a figure is better than another by more than `min_delta`; one that is no number is not."""
        return self.cost(figure) < self.cost(than) - self.min_delta

    def cost(self, figure: float) -> float:
        """Return what is the smaller the better the figure, also of one that is no number."""
        return math.inf if math.isnan(figure) else -figure if self.mode == "max" else figure
