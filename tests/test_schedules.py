import copy
import json
import math

import numpy as np
import pytest

from minidl import Adam, schedules
from minidl.errors import ArgumentError, ArgumentTypeError
from minidl.schedules import (
    ConstantRate,
    CosineDecay,
    CosineRestarts,
    ExponentialDecay,
    OneCycle,
    PolynomialDecay,
    Schedule,
    StepDecay,
    Warmup,
)
from minidl.serialization import decode, encode
from minidl.settings import setting

EXAMPLES = [
    ConstantRate(0.1),
    StepDecay(0.1, every=10, factor=0.5),
    ExponentialDecay(0.1, steps=10, factor=0.5),
    PolynomialDecay(0.1, steps=20, end=0.01, power=2.0),
    CosineDecay(0.1, steps=20, end=0.01),
    CosineRestarts(0.1, steps=8, end=0.01, growth=1.5, decay=0.5),
    OneCycle(0.1, steps=30),
    Warmup(CosineDecay(0.1, steps=20), steps=10),
]
every_schedule = pytest.mark.parametrize("schedule", EXAMPLES, ids=repr)


def rates(schedule, steps):
    return [schedule(step) for step in steps]


def test_the_examples_are_all_there_is():
    public = [value for name, value in vars(schedules).items() if not name.startswith("_")]
    kinds = {kind for kind in public if isinstance(kind, type) and issubclass(kind, Schedule)}
    assert {type(schedule) for schedule in EXAMPLES} == kinds - {Schedule}


@every_schedule
def test_a_schedule_gives_one_plain_number_a_step_and_the_same_one_again(schedule):
    for step in (*range(60), 10**6):
        assert type(schedule(step)) is float
        assert 0 <= schedule(step) <= 0.1 + 1e-15
        assert schedule(step) == schedule(step)


@every_schedule
def test_a_schedule_is_described_by_its_settings_also_inside_an_optimizer(schedule):
    again = decode(json.loads(json.dumps(encode(Adam(schedule)))))
    assert repr(again) == repr(Adam(schedule))
    assert rates(again.learning_rate, range(50)) == rates(schedule, range(50))


@every_schedule
def test_an_optimizer_takes_the_rate_of_each_of_its_steps(schedule):
    optimizer, parameters, found = Adam(schedule), np.zeros(2), []
    for _ in range(25):
        found.append(optimizer.rate())
        optimizer.apply(parameters, np.ones(2))
    assert found == rates(schedule, range(25))


def test_stairs_fall_after_every_so_many_steps():
    assert rates(StepDecay(8.0, every=3, factor=0.5), range(10)) == [8, 8, 8, 4, 4, 4, 2, 2, 2, 1]


def test_an_exponential_decay_multiplies_by_its_factor_over_its_steps():
    np.testing.assert_allclose(
        rates(ExponentialDecay(8.0, steps=4, factor=0.25), range(0, 13, 2)), [8, 4, 2, 1, 0.5, 0.25, 0.125]
    )


def test_a_polynomial_decay_goes_down_its_power_and_stays_at_its_end():
    assert rates(PolynomialDecay(1.0, steps=4), range(7)) == [1, 0.75, 0.5, 0.25, 0, 0, 0]
    expected = [1 + 4 * left**2 for left in (1, 0.75, 0.5, 0.25, 0, 0)]
    np.testing.assert_allclose(rates(PolynomialDecay(5.0, steps=4, end=1.0, power=2), range(6)), expected)


def test_a_cosine_decay_goes_from_its_rate_by_the_middle_to_its_end_and_stays_there():
    found = rates(CosineDecay(5.0, steps=6, end=1.0), range(9))
    np.testing.assert_allclose(found, [5, 3 + math.sqrt(3), 4, 3, 2, 3 - math.sqrt(3), 1, 1, 1])


def test_each_fall_after_a_restart_is_longer_and_begins_lower():
    schedule = CosineRestarts(8.0, steps=3, end=1.0, growth=2.0, decay=0.5)
    for start, steps, peak in [(0, 3, 8), (3, 6, 4), (9, 12, 2), (21, 24, 1), (45, 48, 1)]:
        expected = rates(CosineDecay(float(peak), steps=steps, end=1.0), range(steps))
        np.testing.assert_allclose(rates(schedule, range(start, start + steps)), expected)


def test_restarts_without_growth_are_all_of_a_length_however_late():
    schedule = CosineRestarts(8.0, steps=5, growth=1)
    first = rates(schedule, range(5))
    assert rates(schedule, range(10**9, 10**9 + 5)) == first == rates(CosineDecay(8.0, steps=5), range(5))


def test_one_cycle_rises_to_its_rate_and_ends_at_its_last_step():
    found = rates(OneCycle(10.0, steps=21, rise=1 / 3, start_factor=0.1, end_factor=0.01), range(25))
    assert found[0] == 1
    assert found[6] == max(found) == 10
    assert found[:7] == sorted(found[:7])
    assert found[6:21] == sorted(found[6:21], reverse=True)
    np.testing.assert_allclose(found[3], 5.5)
    np.testing.assert_allclose(found[13], 5.05)
    np.testing.assert_allclose(found[20:], 0.1)


def test_one_cycle_without_time_to_rise_begins_at_its_rate():
    for schedule in (OneCycle(1.0, steps=2), OneCycle(1.0, steps=10, rise=0)):
        found = rates(schedule, range(12))
        assert found[0] == 1
        assert found == sorted(found, reverse=True)
        np.testing.assert_allclose(found[-1], 4e-6)


def test_a_warmup_leads_in_a_line_to_the_first_rate_of_what_follows_which_then_begins():
    decay = PolynomialDecay(8.0, steps=4)
    assert rates(Warmup(decay, steps=4), range(10)) == [0, 2, 4, 6, 8, 6, 4, 2, 0, 0]
    assert rates(Warmup(8, steps=4, start=4.0), range(6)) == [4, 5, 6, 7, 8, 8]
    assert rates(Warmup(lambda step: 8.0 + step, steps=2), range(4)) == [0, 4, 8, 9]
    assert rates(Warmup(Warmup(decay, steps=2), steps=2, start=1.0), range(6)) == [1, 0.5, 0, 4, 8, 6]


@pytest.mark.parametrize(
    ("kind", "settings", "name", "values", "allowed"),
    [
        *(
            (kind, settings, "rate", (-0.1, math.nan, math.inf), "finite number, 0 or more")
            for kind, settings in [
                (ConstantRate, {}),
                (StepDecay, {"every": 1}),
                (ExponentialDecay, {"steps": 1, "factor": 0.5}),
                (PolynomialDecay, {"steps": 1}),
                (CosineDecay, {"steps": 1}),
                (CosineRestarts, {"steps": 1}),
                (OneCycle, {"steps": 2}),
            ]
        ),
        (StepDecay, {"rate": 1}, "every", (0, -1), "whole number, 1 or more"),
        (StepDecay, {"rate": 1, "every": 1}, "factor", (0, -1, math.nan), "finite number, above 0"),
        (ExponentialDecay, {"rate": 1, "factor": 1}, "steps", (0,), "whole number, 1 or more"),
        (ExponentialDecay, {"rate": 1, "steps": 1}, "factor", (0, math.inf), "finite number, above 0"),
        (PolynomialDecay, {"rate": 1}, "steps", (0,), "whole number, 1 or more"),
        (PolynomialDecay, {"rate": 1, "steps": 1}, "end", (-1, math.nan), "finite number, 0 or more"),
        (PolynomialDecay, {"rate": 1, "steps": 1}, "power", (0, -1), "finite number, above 0"),
        (CosineDecay, {"rate": 1}, "steps", (0,), "whole number, 1 or more"),
        (CosineDecay, {"rate": 1, "steps": 1}, "end", (-1,), "finite number, 0 or more"),
        (CosineRestarts, {"rate": 1}, "steps", (0,), "whole number, 1 or more"),
        (CosineRestarts, {"rate": 1, "steps": 1}, "end", (-1,), "finite number, 0 or more"),
        (CosineRestarts, {"rate": 1, "steps": 1}, "growth", (0.5, math.nan), "finite number, 1 or more"),
        (CosineRestarts, {"rate": 1, "steps": 1}, "decay", (0,), "finite number, above 0"),
        (OneCycle, {"rate": 1}, "steps", (0, 1), "whole number, 2 or more"),
        (OneCycle, {"rate": 1, "steps": 9}, "rise", (1, -0.1), r"finite number, in \[0, 1\)"),
        (OneCycle, {"rate": 1, "steps": 9}, "start_factor", (-1,), "finite number, 0 or more"),
        (OneCycle, {"rate": 1, "steps": 9}, "end_factor", (-1, math.nan), "finite number, 0 or more"),
        (Warmup, {"steps": 1}, "schedule", (-1, math.nan), "finite number, 0 or more"),
        (Warmup, {"schedule": 1}, "steps", (0,), "whole number, 1 or more"),
        (Warmup, {"schedule": 1, "steps": 1}, "start", (-1,), "finite number, 0 or more"),
    ],
)
def test_settings_out_of_range_are_refused_with_what_is_allowed(kind, settings, name, values, allowed):
    for value in values:
        with pytest.raises(ArgumentError, match=rf"{kind.__name__}: {name} is {value}; it must be a {allowed}"):
            kind(**settings, **{name: value})
    for value in ("1", None):
        with pytest.raises(ArgumentTypeError, match=f"{kind.__name__}: {name} is {value!r}; it must be a"):
            kind(**settings, **{name: value})


@pytest.mark.parametrize(
    ("schedule", "first"), [(schedule, "rate") for schedule in EXAMPLES[:-1]] + [(EXAMPLES[-1], "schedule")]
)
def test_only_the_rate_or_the_schedule_is_given_by_position(schedule, first):
    with pytest.raises(ArgumentTypeError, match=f"{type(schedule).__name__}: too many positional arguments; it is "):
        type(schedule)(0.1, 5)


@every_schedule
def test_a_setting_that_is_changed_is_checked_and_made_plain(schedule):
    schedule = copy.deepcopy(schedule)
    name = "schedule" if isinstance(schedule, Warmup) else "rate"
    setattr(schedule, name, np.float32(0.5))
    assert type(getattr(schedule, name)) is float
    with pytest.raises(ArgumentError, match=f"{type(schedule).__name__}: {name} is -1; it must be a finite number, 0"):
        setattr(schedule, name, -1)
    assert getattr(schedule, name) == 0.5


def test_the_base_alone_is_no_schedule():
    with pytest.raises(TypeError, match="abstract"):
        Schedule()
    with pytest.raises(TypeError, match="abstract"):
        type("Forgetful", (Schedule,), {})()


class Triangle(Schedule):
    """A part of the user's own, as the documents show it."""

    rate: float = setting(kw_only=False, low=0)
    steps: int = setting(10, low=1, whole=True)

    def __call__(self, step):
        return self.rate * (1 - abs(step % (2 * self.steps) / self.steps - 1))


def test_a_schedule_of_ones_own_is_checked_saved_and_used_as_ours_are():
    schedule = Triangle(1.0, steps=2)
    assert rates(schedule, range(5)) == [0, 0.5, 1, 0.5, 0]
    again = decode(json.loads(json.dumps(encode(Adam(Warmup(schedule, steps=3))))))
    assert repr(again) == repr(Adam(Warmup(schedule, steps=3)))
    with pytest.raises(ArgumentError, match="Triangle: steps is 0; it must be a whole number, 1 or more"):
        Triangle(1.0, steps=0)
    with pytest.raises(TypeError, match="'rate'"):
        Triangle()
