"""A model's numbers in the page: 16 or 8 bits each, in sequence, as text."""

import base64
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.errors import ArgumentError, DataError
from minidl.typing import Array

FORMATS = ("float16", "int8")

_FEW = 10_000
"""Arrays of at most this size keep 32 bits: they need little space, and rounding in the last layers matters most."""


class PackedArrays:
    """Arrays in one string of bytes; each has a description with which the page's script finds it.

    Large arrays of two axes or more are stored in the chosen format; others, such as biases, stay float32. In int8 a
    weight is a whole number times a scale. There is one scale per entry of the last axis: a unit or a filter.

    The rounding error of a weight is added to the next weight of its unit. The two belong to neighbouring pixels, which
    have similar values, so the errors of a score nearly cancel.
    Source: Floyd and Steinberg (1976), "An adaptive algorithm for spatial greyscale".
    """

    def __init__(self, weights: str) -> None:
        if weights not in FORMATS:
            raise ArgumentError(f'weights is {weights!r}; it must be "float16" or "int8"')
        self._format = weights
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, values: Any) -> dict[str, Any]:
        """Store an array, and return what a description in JSON has in its place."""
        if not isinstance(values, np.ndarray):
            raise TypeError(f"{values!r} is not an array")
        if not np.isfinite(values).all():
            raise DataError("the model holds nan or infinity: its training diverged")
        array = {"shape": values.shape}
        if values.ndim < 2 or values.size <= _FEW:
            return array | {"type": "float32", "start": self._store(values, "<f4")}
        columns = values.reshape(-1, values.shape[-1]).astype(np.float64)
        if self._format == "float16":
            largest = np.finfo(np.float16).max
            if np.abs(values).max() > largest:
                raise DataError('a weight is too large for float16: give weights="int8"')
            rounded = _rounded(columns, lambda row: row.clip(-largest, largest).astype(np.float16))
            return array | {"type": "float16", "start": self._store(rounded, "<f2")}
        # In the type of the scales, so that the script multiplies by the same numbers.
        scales = (np.abs(columns).max(axis=0) / 127).astype(np.float32)
        scales[scales == 0] = 1
        start = self._store(_rounded(columns / scales, lambda row: np.rint(row).clip(-127, 127)), "i1")
        return array | {"type": "int8", "start": start, "scales": self._store(scales, "<f4")}

    def as_text(self) -> str:
        """Return all stored bytes in base64."""
        return base64.b64encode(b"".join(self._parts)).decode("ascii")

    def _store(self, values: Array, dtype: str) -> int:
        """Append numbers in a type, and return the position of their first byte."""
        start = self._size
        self._parts.append(values.astype(dtype).tobytes())
        self._size += len(self._parts[-1])
        return start


def _rounded(columns: Array, round_row: Callable[[Array], Array]) -> Array:
    """Round rows (inputs, units) one after the other; the rounding error of each row is added to the next."""
    rounded, lost = np.empty_like(columns), np.zeros(columns.shape[1])
    for given, row in zip(columns, rounded, strict=True):
        wanted = given + lost
        row[:] = round_row(wanted)
        lost = wanted - row
    return rounded
