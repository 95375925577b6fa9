"""The matrix products once more, by the kernels that NumPy's BLAS has after `import minidl`."""

import minidl  # noqa: F401 - before NumPy: it may choose the kernels

from contestants.gemm import predictor, trainer  # isort: skip

__all__ = ["predictor", "trainer"]
