"""Windows over a time series: each is a row of a data set, and is copied only when a batch needs it."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.arrays import as_array
from minidl.errors import ArgumentError, DataError, counted
from minidl.settings import as_whole_number
from minidl.typing import Array


def windows(series: Any, length: int, *, horizon: int = 1, stride: int = 1, targets: Any = None) -> tuple[Array, Array]:
    """Return windows of `length` steps, and for each the target `horizon` steps after its end.

    Both are read-only views of the data: windows overlap, and use no memory until a batch copies them. Window n begins
    at step ``n stride``. To validate on the last windows, use ``train_validation_split(x, y, shuffle=False)``.

    Parameters
    ----------
    series : array (T,) or (T, features), column, frame or table
    length : int >= 1
        The number of steps in a window.
    horizon : int >= 0, default 1
        Steps from the last step of a window to the step of its target. 0: the target is at the last step.
    stride : int >= 1, default 1
        Steps between the starts of two neighbouring windows.
    targets : array (T,) or (T, outputs), or the name of a column of the frame, optional
        The target at each step; by default the series itself.

    Returns
    -------
    x : array (N, length, features)
        For a series (T,): (N, length, 1).
    y : array (N,) or (N, outputs)

    Raises DataError for data that are not numbers or have different lengths, and ArgumentError for a series that is
    too short.
    """
    length, stride = as_whole_number(length, "length", 1), as_whole_number(stride, "stride", 1)
    horizon = as_whole_number(horizon, "horizon")
    values = as_array(series, "series")
    targets = series[targets] if isinstance(targets, str) else targets
    wanted = values if targets is None else as_array(targets, "targets")
    if not 1 <= values.ndim <= 2 or not 1 <= wanted.ndim <= 2:
        raise DataError(f"series and targets are (T,) or (T, features), not {values.shape} and {wanted.shape}")
    if len(values) != len(wanted):
        raise DataError(f"series has {counted(len(values), 'step')}, but targets has {len(wanted)}")
    if len(values) < length + horizon:
        raise ArgumentError(
            f"series has {counted(len(values), 'step')}; a window of {length} and its target {horizon} later need "
            f"{length + horizon}"
        )
    cut = np.lib.stride_tricks.sliding_window_view(values.reshape(len(values), -1), length, axis=0)
    x = cut.transpose(0, 2, 1)[: len(values) - length - horizon + 1 : stride]
    y = wanted[length + horizon - 1 :: stride].view()
    y.flags.writeable = False
    return x, y
