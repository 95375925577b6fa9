"""Compiled code, of the extra ``fast``: one pass over the memory where NumPy needs several.

The NumPy code is the definition, and the code to read. A function here has the name and the arguments of the NumPy
function that it replaces. It gives the same bits, so a run does not depend on whether the extra is installed. NumPy
still computes exponentials, and its BLAS computes products.

`pip install 'minidl[fast]'` installs numba. `Trainer.fit` then uses compiled code, unless ``MINIDL_COMPILED=0`` is in
the environment or `switch(False)` was called. If nothing is fitted, `switch(True)` turns it on for predictions.
"""

from minidl.compiled.switching import is_on, switch

__all__ = ["is_on", "switch"]


def __dir__() -> list[str]:
    return sorted(__all__)
