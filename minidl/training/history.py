"""The figures of a run, one row per epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from minidl.errors import counted, did_you_mean

if TYPE_CHECKING:
    import pandas as pd


class History(Mapping[str, list[float]]):
    """Figures by name: ``history["loss"]`` is a list with one value per epoch.

    An epoch without a figure that others have (one call of `fit` had no validation data, say) holds NaN there.

    Attributes
    ----------
    epochs : int
        Number of epochs, the length of every column.
    """

    def __init__(self) -> None:
        self._columns: dict[str, list[float]] = {}
        self.epochs = 0

    def append(self, figures: Mapping[str, float]) -> None:
        """Add the figures of one epoch."""
        for name in figures:
            self._columns.setdefault(name, [math.nan] * self.epochs)
        for name, column in self._columns.items():
            column.append(figures.get(name, math.nan))
        self.epochs += 1

    def to_frame(self) -> pd.DataFrame:
        """Return a pandas frame with a column per figure and the epochs, from 1, as its index."""
        import pandas as pd

        return pd.DataFrame(self._columns, index=pd.RangeIndex(1, self.epochs + 1, name="epoch"))

    def __getitem__(self, name: str) -> list[float]:
        if name not in self._columns:
            if name.startswith("val_") and not any(other.startswith("val_") for other in self._columns):
                raise KeyError(f"the history has no figure {name!r}: fit had no validation_data")
            raise KeyError(f"the history has no figure {name!r}; {did_you_mean(name, self._columns)}")
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        last = ", ".join(f"{name}={column[-1]:.4g}" for name, column in self._columns.items())
        return f"History({counted(self.epochs, 'epoch')}{f', the last: {last}' if last else ''})"
