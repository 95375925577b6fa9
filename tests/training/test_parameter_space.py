"""The candidates of a search: what is drawn from its space, and what cannot be a space or make a trainer of it."""

import functools
import threading

import numpy as np
import pytest
import scipy.stats
from searches import GRID, NOISE, classifier, look, network, never, x, y
from sklearn.model_selection import ParameterGrid, ParameterSampler

from minidl import SGD, Trainer
from minidl.errors import ArgumentError, ArgumentTypeError


def test_a_number_of_candidates_draws_without_repetition_from_lists():
    drawn = [run.parameters for run in look(candidates=4, seed=5).runs]
    expected = list(ParameterSampler(GRID, 4, random_state=5))
    assert len(drawn) == 4
    assert all(parameters in drawn for parameters in expected)
    numbers = [run.number for run in look(candidates=6).runs]
    assert sorted(numbers) == [1, 2, 3, 4, 5, 6]


def test_distributions_are_drawn_from_and_numbers_are_pythons():
    space = {"rate": scipy.stats.loguniform(1e-4, 1e-1), "units": scipy.stats.randint(2, 9)}
    result = look(space=space, candidates=3)
    expected = sorted(ParameterSampler(space, 3, random_state=0), key=lambda each: each["rate"])
    found = sorted((run.parameters for run in result.runs), key=lambda each: each["rate"])
    assert found == expected
    assert {type(value) for each in found for value in each.values()} == {int, float}
    assert list(found[0]) == ["rate", "units"]  # in the order of the space


def test_several_spaces_are_tried_one_by_one_and_what_one_lacks_has_nan():
    result = look(space=[{"units": np.array([4, 8])}, {"units": (4,), "rate": [0.1]}])
    table = result.table.sort_index()
    assert table["units"].tolist() == [4, 8, 4]
    assert table["rate"].isna().tolist() == [True, True, False]
    assert [run.parameters for run in sorted(result.runs, key=lambda run: run.number)] == list(
        ParameterGrid([{"units": [4, 8]}, {"units": [4], "rate": [0.1]}])
    )


def test_any_name_goes_to_a_function_that_takes_all():
    result = look(lambda **settings: network(settings["width"]), {"width": [4, 8]})
    assert set(result.table["width"]) == {4, 8}
    assert look(functools.partial(network, seed=0), {"units": [4]}).best_parameters == {"units": 4}


def begun(units, seed):
    trainer = Trainer(network(units, seed), seed=seed)
    trainer.fit(x, y, progress=False)
    return trainer


def raising(units):
    raise ZeroDivisionError("no reason")


def nothing():
    return network()


class NoRandomState:
    def rvs(self):
        return 1


@pytest.mark.parametrize(
    ("build_model", "space", "options", "error", "message"),
    [
        (
            never,
            {"unit": [4]},
            {},
            ArgumentError,
            r"takes no parameter 'unit'; did you mean 'units'\? there are units, rate, seed. You can",
        ),
        (never, {"rate": [4]}, {}, ArgumentError, "build_model needs units, but the space has no values"),
        (never, [{"units": [4]}, {"rate": [4]}], {}, ArgumentError, "build_model needs units"),
        (never, {3: [4]}, {}, ArgumentError, "takes no parameter 3"),
        (nothing, {"units": [4]}, {}, ArgumentError, "takes no parameter 'units' and no others"),
        (network(), {"units": [4]}, {}, ArgumentTypeError, "give a function that takes the parameters"),
        (3, {"units": [4]}, {}, ArgumentTypeError, "build_model is 3; give a function"),
        (max, {"units": [4]}, {}, ArgumentTypeError, "does not say what it takes"),
        (never, {}, {}, ArgumentError, "space is {}: it names no parameter"),
        (never, [], {}, ArgumentError, r"space is \[\]: it names no parameter"),
        (never, [{}], {}, ArgumentError, "it names no parameter"),
        (never, "units", {}, ArgumentTypeError, "space is 'units'; give a dict"),
        (never, [["units", 4]], {}, ArgumentTypeError, "give a dict of name -> list"),
        (never, {"units": 4}, {}, ArgumentTypeError, "space: units is 4; give a list of values, or a distribution"),
        (never, {"units": "48"}, {}, ArgumentTypeError, "space: units is '48'; give a list"),
        (never, {"units": {4, 8}}, {}, ArgumentTypeError, "give a list of values"),
        (never, {"units": np.ones((2, 2))}, {}, ArgumentTypeError, "give a list of values"),
        (never, {"units": []}, {}, ArgumentError, "space: units is an empty list"),
        (never, {"units": [threading.Lock()]}, {}, ArgumentTypeError, r"candidate 1 \(units=.*its own copy"),
        (
            never,
            {"units": [4], "rate": scipy.stats.uniform()},
            {},
            ArgumentError,
            "rate is a distribution with infinitely many values: say how many candidates",
        ),
        (never, {"units": NoRandomState()}, {"candidates": 2}, ArgumentTypeError, "cannot be drawn from by rvs"),
        (never, {"units": [4]}, {"candidates": 2}, ArgumentError, "candidates is 2, but the space has 1 combination:"),
        (never, {"units": [4]}, {"candidates": 0}, ArgumentError, "candidates is 0"),
        (never, {"units": [4]}, {"candidates": True}, ArgumentTypeError, "candidates is True"),
        (begun, {"units": [4]}, {}, ArgumentError, "a trainer that has begun already"),
        (
            classifier,
            {"units": [4]},
            {"optimizer": SGD()},
            ArgumentError,
            "returned a Trainer, which has its own settings: leave out optimizer$",
        ),
        (
            classifier,
            {"units": [4]},
            {"batch_size": None, "metrics": []},
            ArgumentError,
            "out batch_size, metrics$",
        ),
        (
            classifier,
            {"units": [4]},
            {"augment": NOISE},
            ArgumentError,
            "which has its own settings: leave out augment$",
        ),
        (lambda units: units, {"units": [4]}, {}, ArgumentTypeError, "build_model returned 4; it must return"),
        (raising, {"units": [4]}, {}, ArgumentError, r"\(units=4\): build_model raised ZeroDivisionError: no reason"),
    ],
)
def test_no_space_or_no_function_of_it_is_refused_before_any_training(
    build_model, space, options, error, message, tmp_path
):
    with pytest.raises(error, match=message):
        look(build_model, space, **{"journal": tmp_path / "journal"} | options)
    assert not (tmp_path / "journal").exists()
