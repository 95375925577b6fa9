"""Windows over a series: each a row of a data set, cut out of the series when a batch needs it."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.arrays import as_array
from minidl.errors import ArgumentError, DataError, counted
from minidl.settings import as_whole_number
from minidl.typing import Array


def windows(series: Any, length: int, *, horizon: int = 1, stride: int = 1, targets: Any = None) -> tuple[Array, Array]:
    """Return windows of `length` steps, and what comes `horizon` steps after the end of each.

    Both are views of the data, to read only: windows overlap, and take no memory until a batch is cut out of them.
    Window n begins at step ``n stride``. To validate on the last ones: ``train_validation_split(x, y, shuffle=False)``.

    Parameters
    ----------
    series : array (T,) or (T, features), column, frame or table
    length : int >= 1
        Steps of a window.
    horizon : int >= 0, default 1
        The target of a window is that of `horizon` steps after its last one; with 0 that of its last step.
    stride : int >= 1, default 1
        Steps from the start of a window to that of the next.
    targets : array (T,) or (T, outputs), or the name of a column of the frame, optional
        What to predict at each step; by default the series itself.

    Returns
    -------
    x : array (N, length, features)
        Of a series (T,): (N, length, 1).
    y : array (N,) or (N, outputs)

    Raises DataError for data that are no numbers or of different lengths, ArgumentError for a series that is too short.
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
            f"series has {counted(len(values), 'step')}; a window of {length} and its target {horizon} after it need "
            f"{length + horizon}"
        )
    cut = np.lib.stride_tricks.sliding_window_view(values.reshape(len(values), -1), length, axis=0)
    x = cut.transpose(0, 2, 1)[: len(values) - length - horizon + 1 : stride]
    y = wanted[length + horizon - 1 :: stride].view()
    y.flags.writeable = False
    return x, y
