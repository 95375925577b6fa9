"""Checks for a schedule."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator

import numpy as np

from minidl.schedules import Schedule
from minidl.serialization import decode, encode
from minidl.settings import as_whole_number
from minidl.testing.failures import Check, CheckFailure, named, run_all


def check_schedule(schedule: Schedule, steps: int = 200) -> None:
    """Check everything that a schedule must do.

    Parameters
    ----------
    schedule : Schedule
    steps : int, default 200
        The rates of the steps 0 .. steps are checked. Give more than the schedule lasts: a run may continue after its
        end.

    Raises
    ------
    CheckFailure
        At the first check that fails.
    """
    run_all(schedule_checks(schedule, steps))


def schedule_checks(schedule: Schedule, steps: int = 200) -> Iterator[tuple[str, Check]]:
    """Yield the checks of `check_schedule` as pairs (name, function without arguments); same parameters."""
    checks = _ScheduleChecks(schedule, as_whole_number(steps, "steps", 1))
    for name in ("rate", "same step", "description"):
        yield named(schedule, name, getattr(checks, name.replace(" ", "_")))


class _ScheduleChecks:
    """Each method is a check with the same name."""

    def __init__(self, schedule: Schedule, steps: int) -> None:
        self.schedule, self.steps = schedule, range(steps + 1)

    def rates(self) -> list[float]:
        """Return the rates of all steps in order, from a schedule that has not been called before."""
        schedule = copy.deepcopy(self.schedule)
        return [schedule(step) for step in self.steps]

    def rate(self) -> None:
        for step, rate in zip(self.steps, self.rates(), strict=True):
            if type(rate) is not float:
                raise CheckFailure(
                    f"the rate of step {step} is {rate!r}, a {type(rate).__name__}",
                    "NumPy numbers widen float32, and whole numbers are not rates: return float(...)",
                )
            if not 0 <= rate < math.inf:
                raise CheckFailure(
                    f"the rate of step {step} is {rate}", "a formula that continues past its end: keep the last rate"
                )

    def same_step(self) -> None:
        expected, schedule = self.rates(), copy.deepcopy(self.schedule)
        order = np.random.default_rng(0).permutation(len(expected)).tolist()
        for step in (*order, *reversed(order)):
            rate = schedule(step)
            if rate != expected[step]:
                raise CheckFailure(
                    f"the rate of step {step} is {rate} after other steps, and {expected[step]} in their order",
                    "an internal count or random number: a resumed run starts at a later step",
                )

    def description(self) -> None:
        again = decode(json.loads(json.dumps(encode(self.schedule))))
        rates = [again(step) for step in self.steps]
        if repr(again) != repr(self.schedule) or rates != self.rates():
            raise CheckFailure(
                f"its copy from the description is {again!r}",
                "an argument that is not a field, or that __post_init__ changes",
            )
