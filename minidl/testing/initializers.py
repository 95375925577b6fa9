"""Checks for an initializer."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np

from minidl.initializers import Initializer
from minidl.serialization import decode, encode
from minidl.testing.failures import Check, CheckFailure, named, run_all
from minidl.typing import Shape


def check_initializer(initializer: Initializer, shape: Shape = (64, 48), *, seed: int = 0) -> None:
    """Check everything that an initializer must do, on arrays of `shape`.

    Raises
    ------
    CheckFailure
        At the first check that fails.
    """
    run_all(initializer_checks(initializer, shape, seed=seed))


def initializer_checks(
    initializer: Initializer, shape: Shape = (64, 48), *, seed: int = 0
) -> Iterator[tuple[str, Check]]:
    """Yield the checks of `check_initializer` as pairs (name, function without arguments); same parameters."""
    checks = _InitializerChecks(initializer, shape, seed)
    for name in ("shape and type", "same seed", "no global state", "description"):
        yield named(initializer, name, getattr(checks, name.replace(" ", "_")))


class _InitializerChecks:
    """Each method is a check with the same name."""

    def __init__(self, initializer: Initializer, shape: Shape, seed: int) -> None:
        self.initializer, self.shape, self.seed = initializer, shape, seed

    def shape_and_type(self) -> None:
        for dtype in ("float32", "float64"):
            drawn = self.initializer.draw(self.shape, np.random.default_rng(self.seed))
            if np.shape(drawn) != self.shape:
                raise CheckFailure(f"draw returned shape {np.shape(drawn)}, not {self.shape}", "size= left out")
            values = self.initializer(self.shape, self.seed, dtype)
            if values.dtype != dtype or not np.isfinite(values).all():
                raise CheckFailure(f"the values are {values.dtype} or not finite, asked for {dtype}", "a division by 0")

    def same_seed(self) -> None:
        one, other = self.initializer(self.shape, self.seed), self.initializer(self.shape, self.seed)
        if not np.array_equal(one, other):
            raise CheckFailure("the same seed gives other values", "random numbers not drawn from `rng`")
        if np.shares_memory(one, other):
            raise CheckFailure("two draws share memory", "an array that is kept and returned twice")

    def no_global_state(self) -> None:
        before = np.random.get_state(legacy=False)  # noqa: NPY002 - check that it is not used
        values = self.initializer(self.shape, self.seed)
        after = np.random.get_state(legacy=False)  # noqa: NPY002
        if (
            not np.array_equal(before["state"]["key"], after["state"]["key"])
            or before["state"]["pos"] != after["state"]["pos"]
        ):
            raise CheckFailure("drawing moves NumPy's global generator", "np.random.normal: draw from `rng`")
        np.random.seed(self.seed + 1)  # noqa: NPY002
        try:
            again = self.initializer(self.shape, self.seed)
        finally:
            np.random.set_state(before)  # noqa: NPY002
        if not np.array_equal(values, again):
            raise CheckFailure("the values depend on NumPy's global generator", "np.random.normal: draw from `rng`")

    def description(self) -> None:
        again = decode(json.loads(json.dumps(encode(self.initializer))))
        if repr(again) != repr(self.initializer):
            raise CheckFailure(f"its copy from the description is {again!r}", "an argument that is not a field")
        if not np.array_equal(again(self.shape, self.seed), self.initializer(self.shape, self.seed)):
            raise CheckFailure("its copy from the description draws other values", "an argument that is not a field")
