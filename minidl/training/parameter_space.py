"""The candidates of a search: the values of its space, whether a function takes them, and the trainer of each."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.errors import ArgumentError, ArgumentTypeError, MinidlError, counted, did_you_mean
from minidl.model import Sequential
from minidl.reprs import brief
from minidl.settings import as_whole_number
from minidl.training.trainer import Trainer


@dataclass(frozen=True, eq=False)
class Candidate:
    """One choice of parameters; `number` counts from 1."""

    number: int
    parameters: dict[str, Any]

    def __str__(self) -> str:
        return f"candidate {self.number} ({text_of(self.parameters)})"


def text_of(parameters: Mapping[str, Any]) -> str:
    """Return the parameters as text, like the arguments of a call."""
    return ", ".join(f"{name}={brief(value)}" for name, value in parameters.items())


def list_candidates(space: Any, candidates: int | None, seed: int) -> list[Candidate]:
    """Return all combinations of a space, or `candidates` of them drawn at random. Raise the errors of `search`."""
    from sklearn.model_selection import ParameterGrid, ParameterSampler

    spaces = _as_spaces(space)
    distributions = [name for each in spaces for name, values in each.items() if hasattr(values, "rvs")]
    if candidates is None:
        if distributions:
            raise ArgumentError(
                f"space: {distributions[0]} is a distribution with infinitely many values: say how many candidates to "
                "draw, such as candidates=20"
            )
        drawn = list(ParameterGrid(spaces))
    else:
        candidates = as_whole_number(candidates, "candidates", 1)
        if not distributions and candidates > (total := len(ParameterGrid(spaces))):
            raise ArgumentError(
                f"candidates is {candidates}, but the space has {counted(total, 'combination')}: leave candidates "
                "out to try all"
            )
        try:
            drawn = list(ParameterSampler(spaces, candidates, random_state=seed))
        except (TypeError, ValueError) as error:
            raise ArgumentTypeError(
                f"space: its distributions cannot be drawn from by rvs(random_state=...), as those of scipy.stats: "
                f"{error}"
            ) from error
    names = _names(spaces)  # scikit-learn sorts them
    return [
        Candidate(number, {name: _plain(each[name]) for name in names if name in each})
        for number, each in enumerate(drawn, start=1)
    ]


def _as_spaces(space: Any) -> list[dict[str, Any]]:
    """Check a space and return it as a list of spaces, each with lists of values and distributions."""
    spaces = [space] if isinstance(space, Mapping) else space
    if not isinstance(spaces, list | tuple) or not all(isinstance(each, Mapping) for each in spaces):
        raise ArgumentTypeError(
            f"space is {brief(space)}; give a dict of name -> list of values, or a list of such dicts"
        )
    if not any(spaces):
        raise ArgumentError(f"space is {space!r}: it names no parameter to try values of")
    return [{name: _values(name, values) for name, values in each.items()} for each in spaces]


def _values(name: Any, values: Any) -> Any:
    if hasattr(values, "rvs"):
        return values
    listed = isinstance(values, Sequence) and not isinstance(values, str | bytes)
    if not listed and not (isinstance(values, np.ndarray) and values.ndim == 1):
        raise ArgumentTypeError(
            f"space: {name} is {brief(values)}; give a list of values, or a distribution such as those of scipy.stats"
        )
    if not len(values):
        raise ArgumentError(f"space: {name} is an empty list; give it one value or more")
    return list(values)


def _plain(value: Any) -> Any:
    """Turn NumPy numbers into Python numbers, which fit into a model file and do not turn float32 into float64."""
    return value.item() if isinstance(value, np.generic) else value


def _names(spaces: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for each in spaces for name in each))


@dataclass(frozen=True, eq=False)
class Recipe:
    """How to make a trainer from a candidate's parameters.

    Parameters
    ----------
    build_model : callable
        Takes the parameters and returns a model that ends with a loss, or a trainer that has not begun.
    settings : dict of name -> value
        Settings for the trainer of a model, which gets a copy of each.
    given : list of str
        Names of settings that are not the defaults. The function must not return a trainer then, because it would
        ignore them.
    seed : int
        For a function that takes `seed`, and for the trainer of a model.
    """

    build_model: Callable[..., Sequential | Trainer]
    settings: Mapping[str, Any]
    given: Sequence[str]
    seed: int

    def check_names(self, candidates: Iterable[Candidate]) -> None:
        """Raise ArgumentError for a parameter that the function does not take, or one that it lacks."""
        function = self.build_model
        if isinstance(function, Sequential | Trainer) or not callable(function):
            raise ArgumentTypeError(
                f"build_model is {brief(function)}; give a function that takes the parameters and makes a new model: "
                "lambda units, seed: Sequential([Dense(units), ...], seed=seed)"
            )
        try:
            known = inspect.signature(function).parameters.values()
        except (ValueError, TypeError) as error:
            raise ArgumentTypeError(f"build_model is {brief(function)}, which does not say what it takes") from error
        taken = [each.name for each in known if each.kind in {each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY}]
        required = [each.name for each in known if each.name in taken and each.default is each.empty]
        takes_all = any(each.kind == each.VAR_KEYWORD for each in known)
        for candidate in candidates:
            names = candidate.parameters
            for name in names:
                if name not in taken and not takes_all:
                    others = f"; {did_you_mean(str(name), taken)}" if taken else " and no others"
                    raise ArgumentError(
                        f"space: build_model takes no parameter {name!r}{others}. You can add parameters for "
                        "anything: it can return a whole Trainer, with its learning rate and its batch size"
                    )
            if missing := [name for name in required if name not in names and name != "seed"]:
                raise ArgumentError(
                    f"space: build_model needs {', '.join(missing)}, but the space has no values for it: add a list "
                    "of one value, or give build_model a default"
                )

    def make(self, candidate: Candidate) -> Trainer:
        """Make a new trainer. Raise ArgumentError or ArgumentTypeError if the function returns none."""
        try:
            arguments = copy.deepcopy(candidate.parameters)  # a layer or optimizer in the space can be used only once
        except (TypeError, copy.Error) as error:
            raise ArgumentTypeError(f"each run needs its own copy of these values: {error}") from error
        if "seed" in inspect.signature(self.build_model).parameters:
            arguments.setdefault("seed", self.seed)
        try:
            made = self.build_model(**arguments)
        except MinidlError:
            raise
        except Exception as error:
            raise ArgumentError(f"build_model raised {type(error).__name__}: {error}") from error
        if isinstance(made, Sequential):
            made = Trainer(made, seed=arguments.get("seed", self.seed), **copy.deepcopy(dict(self.settings)))
        elif self.given and isinstance(made, Trainer):
            raise ArgumentError(
                f"build_model returned a Trainer, which has its own settings: leave out {', '.join(self.given)}"
            )
        if not isinstance(made, Trainer):
            raise ArgumentTypeError(f"build_model returned {brief(made)}; it must return a Sequential or a Trainer")
        if made.epoch or made.step or made.position.row:
            raise ArgumentError("build_model returned a trainer that has begun already: make a new one at each call")
        return made
