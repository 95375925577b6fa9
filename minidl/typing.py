"""The two types that all signatures use."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[tuple[Any, ...], np.dtype[Any]]
"""A NumPy array. Docstrings give its shape, with the batch axis first."""

Shape = tuple[int, ...]
"""The shape of one sample: without the batch axis."""
