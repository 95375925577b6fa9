"""The two types that every signature speaks of."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[tuple[Any, ...], np.dtype[Any]]
"""A NumPy array; docstrings say its shape, batch axis first."""

Shape = tuple[int, ...]
"""The shape of one sample: without the batch axis."""
