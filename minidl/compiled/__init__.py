"""Compiled code, of the extra ``fast``: what NumPy computes in several passes over the memory, in one.

The NumPy code is the definition, and what people read. A function here has the name and the arguments of the one that
it replaces, and gives the same bits, so that a run does not depend on whether the extra is installed. Exponentials are
left to NumPy, and products to its BLAS.

`pip install -e '.[fast]'` brings numba. `Trainer.fit` then uses compiled code, unless ``MINIDL_COMPILED=0`` is in the
environment, or `switch(False)` has been called. Where nothing is fitted, `switch(True)` turns it on for predictions.
"""

from minidl.compiled.switching import is_on, switch

__all__ = ["is_on", "switch"]


def __dir__() -> list[str]:
    return sorted(__all__)
