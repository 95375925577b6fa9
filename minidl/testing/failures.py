"""The error of a failed check."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from minidl.typing import Array

Check = Callable[[], None]


class CheckFailure(AssertionError):  # noqa: N818 - a failure of the part, not an error of the check
    """A part that does not do what its kind requires.

    Attributes
    ----------
    check : str
        Name of the check that failed.
    parameter : str or None
        The wrong array: "x" for the input's gradient, or a parameter's path.
    index : tuple of int or None
        The index of the largest error.
    analytic, numeric : float or None
        The part's value at this index, and the expected value.
    hint : str
        The usual cause.
    """

    def __init__(
        self,
        problem: str,
        hint: str,
        *,
        parameter: str | None = None,
        index: tuple[int, ...] | None = None,
        analytic: float | None = None,
        numeric: float | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem, self.hint = problem, hint
        self.parameter, self.index, self.analytic, self.numeric = parameter, index, analytic, numeric
        self.subject, self.check = "", ""

    def __str__(self) -> str:
        return f"{self.subject} fails the check {self.check!r}: {self.problem}. Usual cause: {self.hint}"


def named(subject: Any, name: str, check: Check) -> tuple[str, Check]:
    """Return the check by name; its failures and other errors then name the part and the check."""

    def run() -> None:
        try:
            check()
        except CheckFailure as failure:
            failure.subject, failure.check = repr(subject), name
            raise
        except Exception as error:
            raised = CheckFailure(
                f"it raised {type(error).__name__}: {error}", "what the traceback of that error, above, shows"
            )
            raised.subject, raised.check = repr(subject), name
            raise raised from error

    return name, run


def run_all(checks: Iterator[tuple[str, Check]]) -> None:
    """Run every check until one fails."""
    for _, check in checks:
        check()


def assert_close(analytic: Array, numeric: Array, tolerance: float, what: str, parameter: str, hint: str) -> None:
    """Raise CheckFailure for the worst entry if the two arrays differ by more than `tolerance`.

    Differences are relative to the larger of the two entries; near zero, to a thousandth of the array's largest entry.
    """
    if analytic.shape != numeric.shape:
        raise CheckFailure(f"{what} has shape {analytic.shape}, not {numeric.shape}", hint, parameter=parameter)
    if not analytic.size:
        return
    size = np.maximum(np.abs(analytic), np.abs(numeric))
    finite = np.isfinite(analytic) & np.isfinite(numeric)
    scale = np.maximum(size, 1e-3 * max(float(np.abs(numeric[np.isfinite(numeric)]).max(initial=0)), 1e-3))
    error = np.where(finite, np.abs(analytic - numeric) / np.where(finite, scale, 1), np.inf)
    worst = tuple(int(axis) for axis in np.unravel_index(np.argmax(error), error.shape))
    if error[worst] > tolerance:
        raise CheckFailure(
            f"{what} is {analytic[worst]:.10g} at index {worst}, but should be {numeric[worst]:.10g} "
            f"(relative error {error[worst]:.1e}, allowed {tolerance:.0e})",
            hint,
            parameter=parameter,
            index=worst,
            analytic=float(analytic[worst]),
            numeric=float(numeric[worst]),
        )


def same(one: Any, other: Any) -> bool:
    """Whether two values, such as the attributes of an object, are the same to the last bit."""
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and one.dtype == other.dtype and one.tobytes() == other.tobytes()
    if isinstance(one, np.random.Generator):
        return bool(one.bit_generator.state == other.bit_generator.state)
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if hasattr(one, "__dict__") and not isinstance(one, type):
        return type(one) is type(other) and same(vars(one), vars(other))
    return bool(one == other)
