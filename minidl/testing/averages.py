"""Checks for an average of the parameters."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator

import numpy as np

from minidl.serialization import decode, encode
from minidl.testing.failures import Check, CheckFailure, assert_close, named, run_all
from minidl.training.averages import Average
from minidl.typing import Array

_SIZE, _STEPS = 12, 20


def check_average(average: Average, *, seed: int = 0) -> None:
    """Check everything that an average must do.

    Raises
    ------
    CheckFailure
        At the first check that fails.
    """
    run_all(average_checks(average, seed=seed))


def average_checks(average: Average, *, seed: int = 0) -> Iterator[tuple[str, Check]]:
    """Yield the checks of `check_average` as pairs (name, function without arguments); same parameters."""
    checks = _AverageChecks(average, seed)
    for name in ("in place", "types", "between extremes", "part by part", "state in the vector", "description"):
        yield named(average, name, getattr(checks, name.replace(" ", "_")))


class _AverageChecks:
    """Each method is a check with the same name."""

    def __init__(self, average: Average, seed: int) -> None:
        self.average, self.seed = average, seed

    def path(self, dtype: str = "float64") -> Array:
        """Return the parameters before the first step and after each step."""
        return np.random.default_rng(self.seed).normal(size=(_STEPS + 1, _SIZE)).astype(dtype)

    def follow(self, average: Average, path: Array) -> tuple[Array, Array]:
        """Return the vectors after each step, and the parameters, which the average may have changed."""
        vector, vectors, parameters = path[0].copy(), [], []
        for step, reached in enumerate(path[1:], start=1):
            here = reached.copy()
            average.follow(here, vector, step)
            vectors.append(vector.copy())
            parameters.append(here)
        return np.array(vectors), np.array(parameters)

    def in_place(self) -> None:
        path = self.path()
        vectors, parameters = self.follow(copy.deepcopy(self.average), path)
        if (vectors == path[0]).all():
            raise CheckFailure(
                f"{_STEPS} steps do not change the vector", "`vector = ...` makes a new one: write `vector[:] = ...`"
            )
        if self.average.shown and not np.array_equal(parameters, path[1:]):
            raise CheckFailure(
                "it changes the parameters", "an operation on them: if this is intended, declare shown = False"
            )

    def types(self) -> None:
        for dtype in ("float32", "float64"):
            vectors, _ = self.follow(copy.deepcopy(self.average), self.path(dtype))
            if not np.isfinite(vectors).all():
                raise CheckFailure(f"the vector of a {dtype} model is not finite", "a division by 0")

    def between_extremes(self) -> None:
        path = self.path()
        vectors, _ = self.follow(copy.deepcopy(self.average), path)
        allowed = 1e-9 * np.abs(path).max()
        for step, vector in enumerate(vectors, start=1):
            seen = path[: step + 1]
            if (vector > seen.max(axis=0) + allowed).any() or (vector < seen.min(axis=0) - allowed).any():
                raise CheckFailure(
                    f"after step {step} the vector is beyond all parameters so far", "weights that do not sum to 1"
                )

    def part_by_part(self) -> None:
        path, middle = self.path(), _SIZE // 3
        whole, _ = self.follow(copy.deepcopy(self.average), path)
        parts = [
            self.follow(copy.deepcopy(self.average), path[:, part])[0] for part in (slice(middle), slice(middle, None))
        ]
        hint = "a norm or mean over the vector: with frozen layers it gets only the trainable parts"
        assert_close(np.concatenate(parts, axis=1), whole, 1e-9, "the vector, followed part by part,", "vector", hint)

    def state_in_the_vector(self) -> None:
        average, path = copy.deepcopy(self.average), self.path()
        first, again = self.follow(average, path)[0], self.follow(average, path)[0]
        if not np.array_equal(first, again) or average.vector is not None:
            raise CheckFailure(
                "a second run along the same path gives another vector",
                "an attribute that follow writes: a checkpoint keeps only the vector; use the argument step",
            )

    def description(self) -> None:
        again = decode(json.loads(json.dumps(encode(self.average))))
        if repr(again) != repr(self.average):
            raise CheckFailure(f"its copy from the description is {again!r}", "an argument that is not a field")
        path = self.path()
        one, other = self.follow(again, path)[0], self.follow(copy.deepcopy(self.average), path)[0]
        assert_close(one, other, 1e-9, "the vector of the copied average", "vector", "an argument that is not a field")
