"""The loss and the metrics of a run, one value per epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from minidl.errors import counted, did_you_mean

if TYPE_CHECKING:
    import pandas as pd


class History(dict[str, list[float]]):
    """Metrics by name: ``history["loss"]`` is a list with one value per epoch.

    An epoch without a metric has NaN for it, for example if one call of `fit` had no validation data.
    """

    @property
    def epochs(self) -> int:
        """Number of epochs: the length of every column."""
        return len(next(iter(self.values()), ()))

    def append(self, values: Mapping[str, float]) -> None:
        """Add the loss and the metrics of one epoch."""
        for name in values:
            self.setdefault(name, [math.nan] * self.epochs)
        for name, column in self.items():
            column.append(values.get(name, math.nan))

    def to_frame(self) -> pd.DataFrame:
        """Return a pandas frame with a column per metric. Its index is the epochs, counted from 1."""
        import pandas as pd

        return pd.DataFrame(dict(self), index=pd.RangeIndex(1, self.epochs + 1, name="epoch"))

    def __missing__(self, name: str) -> list[float]:
        raise KeyError(f"the history has no metric {name!r}; {did_you_mean(name, self)}")

    def __repr__(self) -> str:
        last = ", ".join(f"{name}={column[-1]:.4g}" for name, column in self.items() if not math.isnan(column[-1]))
        return f"History({counted(self.epochs, 'epoch')}{f', the last: {last}' if last else ''})"
