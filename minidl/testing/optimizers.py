"""Checks for an optimizer."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minidl.optimizers import Optimizer
from minidl.serialization import decode, encode
from minidl.testing.failures import Check, CheckFailure, assert_close, named, run_all
from minidl.typing import Array

_SIZE = 12


def check_optimizer(
    optimizer: Optimizer,
    *,
    moves_on_zero: bool = False,
    scale_invariant: bool | None = None,
    learning_rate: float = 1e-4,
    seed: int = 0,
) -> None:
    """Check everything that an optimizer must do.

    Parameters
    ----------
    optimizer : Optimizer
        It is copied, never changed.
    moves_on_zero : bool, default False
        Declare that the parameters move even at zero gradients, as with weight decay.
    scale_invariant : bool, optional
        Declare whether gradients eight times as large give the same steps (True, as in Adam) or other ones (False).
        Not checked by default.
    learning_rate : float, default 0.0001
        With this rate, 400 steps must lead down a quadratic bowl and Rosenbrock's valley.
    seed : int, default 0

    Raises
    ------
    CheckFailure
        At the first check that fails.
    """
    options: dict[str, Any] = {"moves_on_zero": moves_on_zero, "scale_invariant": scale_invariant}
    run_all(optimizer_checks(optimizer, **options, learning_rate=learning_rate, seed=seed))


def optimizer_checks(
    optimizer: Optimizer,
    *,
    moves_on_zero: bool = False,
    scale_invariant: bool | None = None,
    learning_rate: float = 1e-4,
    seed: int = 0,
) -> Iterator[tuple[str, Check]]:
    """Yield the checks of `check_optimizer` as pairs (name, function without arguments); same parameters."""
    checks = _OptimizerChecks(optimizer, moves_on_zero, scale_invariant, learning_rate, seed)
    for name in (
        "in place",
        "gradients unchanged",
        "slots",
        "state in slots",
        "element by element",
        "frozen entries",
        "types",
        "zero gradients",
        "scaling",
        "rate",
        "schedule",
        "bowl",
        "valley",
        "description",
    ):
        yield named(optimizer, name, getattr(checks, name.replace(" ", "_")))


class _OptimizerChecks:
    """Each method is a check with the same name."""

    def __init__(
        self,
        optimizer: Optimizer,
        moves_on_zero: bool,
        scale_invariant: bool | None,
        learning_rate: float,
        seed: int,
    ) -> None:
        self.optimizer, self.moves_on_zero = optimizer, moves_on_zero
        self.scale_invariant, self.learning_rate, self.seed = scale_invariant, learning_rate, seed

    def fresh(self, learning_rate: float | Callable[[int], float] | None = None) -> Optimizer:
        """Return an optimizer with the same settings that has taken no step."""
        optimizer = copy.deepcopy(type(self.optimizer)(**self.optimizer.configuration()))
        if learning_rate is not None:
            optimizer.learning_rate = learning_rate
        return optimizer

    def parameters(self, dtype: str = "float64") -> Array:
        return np.random.default_rng(self.seed).normal(size=_SIZE).astype(dtype)

    def gradients(self, steps: int, dtype: str = "float64") -> Array:
        return np.random.default_rng((self.seed, 1)).normal(size=(steps, _SIZE)).astype(dtype)

    def trajectory(self, optimizer: Optimizer, gradients: Array, entries: slice = slice(None)) -> Array:
        """Return the parameters, or only these entries, after each step."""
        parameters, path = self.parameters(str(gradients.dtype))[entries].copy(), []
        for gradient in gradients[:, entries]:
            optimizer.apply(parameters, gradient.copy())
            path.append(parameters.copy())
        return np.array(path)

    def in_place(self) -> None:
        parameters = self.parameters()
        before = parameters.copy()
        # Part of a longer vector, so that writing outside the parameters is visible.
        vector = np.concatenate([np.zeros(3), parameters, np.zeros(3)])
        view = vector[3:-3]
        self.fresh().apply(view, self.gradients(1)[0])
        if np.array_equal(view, before):
            raise CheckFailure(
                "a step did not change the parameters",
                "`parameters = parameters - ...` makes a new vector: write `parameters -= ...`",
            )
        if vector[:3].any() or vector[-3:].any():
            raise CheckFailure("a step wrote outside the parameters", "writing through `parameters.base`")

    def gradients_unchanged(self) -> None:
        optimizer, parameters = self.fresh(), self.parameters()
        for gradient in self.gradients(3):
            given = gradient.copy()
            optimizer.apply(parameters, given)
            if not np.array_equal(given, gradient):
                raise CheckFailure("a step changed the gradients", "an in-place operation, such as `gradients *= ...`")

    def slots(self) -> None:
        optimizer = self.fresh()
        gradients = self.gradients(3)
        homes: dict[str, Array] = {}
        parameters = self.parameters()
        for gradient in gradients:
            optimizer.apply(parameters, gradient)
            for name, vector in optimizer.state.items():
                if np.shares_memory(vector, gradient) or np.shares_memory(vector, parameters):
                    raise CheckFailure(f"slot {name!r} is a view of another vector", "assigning instead of copying")
                if homes.setdefault(name, vector) is not vector:
                    raise CheckFailure(f"slot {name!r} became another array", "slots are changed in place")
        if set(optimizer.state) != set(optimizer.slots):
            raise CheckFailure(f"the state is {sorted(optimizer.state)}, not the slots", "writing on self.state")
        for name, vector in optimizer.state.items():
            if not vector.any():
                raise CheckFailure(
                    f"slot {name!r} is still zero after three steps",
                    f"`{name} = ...` makes a new vector: write `{name}[:] = ...`, or `{name} += ...`",
                )

    def element_by_element(self) -> None:
        if not self.optimizer.elementwise:
            return
        gradients, middle = self.gradients(4), _SIZE // 3
        parts = [self.trajectory(self.fresh(), gradients, part) for part in (slice(middle), slice(middle, None))]
        assert_close(
            np.concatenate(parts, axis=1),
            self.trajectory(self.fresh(), gradients),
            1e-9,
            "a parameter that is updated part by part",
            "parameters",
            "a norm or mean over the vector: an optimizer that needs the whole vector has no elementwise = True",
        )

    def frozen_entries(self) -> None:
        trained, gradients = [slice(1, 4), slice(6, 7), slice(9, _SIZE)], self.gradients(6)
        moves = np.zeros(_SIZE, bool)
        for part in trained:
            moves[part] = True
        optimizer, parameters = self.fresh(), self.parameters()
        alone, alone_parameters = self.fresh(), parameters[moves]
        for gradient in gradients:
            self._step_and_watch(optimizer, parameters, gradient, trained, ~moves)
            alone.apply(alone_parameters, gradient[moves])
        if not np.array_equal(parameters[moves], alone_parameters):
            raise CheckFailure(
                "with frozen entries, the others move differently than alone",
                "a slot read from self.state, which has the full size: use the vectors that update gets",
            )
        # Entries that were frozen on the way keep their slots.
        optimizer, parameters = self.fresh(), self.parameters()
        for gradient in gradients[:3]:
            optimizer.apply(parameters, gradient)
        for gradient in gradients[3:]:
            self._step_and_watch(optimizer, parameters, gradient, trained, ~moves)

    @staticmethod
    def _step_and_watch(
        optimizer: Optimizer, parameters: Array, gradient: Array, trained: list[slice], frozen: Array
    ) -> None:
        """Take a step with some entries frozen; raise CheckFailure if these, or their slots, change."""
        optimizer.prepare_state(parameters)
        vectors = {"parameters": parameters, **{f"slot {name!r}": slot for name, slot in optimizer.state.items()}}
        before = {name: vector[frozen] for name, vector in vectors.items()}
        optimizer.apply(parameters, gradient.copy(), trained)
        for name, vector in vectors.items():
            if not np.array_equal(vector[frozen], before[name]):
                raise CheckFailure(
                    f"a step changes frozen entries of the {name}",
                    "a custom apply that forgets `trained`, or writing through self.state or parameters.base",
                )

    def state_in_slots(self) -> None:
        whole, gradients = self.fresh(), self.gradients(12)
        parameters = self.parameters()
        for gradient in gradients[:6]:
            whole.apply(parameters, gradient)
        resumed, resumed_parameters = self.fresh(), parameters.copy()
        resumed.step = whole.step
        resumed.state = {name: vector.copy() for name, vector in whole.state.items()}
        for gradient in gradients[6:]:
            whole.apply(parameters, gradient)
            resumed.apply(resumed_parameters, gradient)
        if not np.array_equal(parameters, resumed_parameters):
            raise CheckFailure(
                "a copy of vectors, slots and step does not continue to the same bits",
                "state outside the slots, such as an attribute that update writes: declare it, or use self.step",
            )

    def types(self) -> None:
        for dtype in ("float32", "float64"):
            optimizer = self.fresh()
            path = self.trajectory(optimizer, self.gradients(4, dtype))
            vectors = {"parameters": path, **optimizer.state}
            for name, vector in vectors.items():
                if vector.dtype != dtype or not np.isfinite(vector).all():
                    raise CheckFailure(
                        f"{name} of a {dtype} model are {vector.dtype} or not finite after 4 steps", "a division by 0"
                    )

    def zero_gradients(self) -> None:
        if self.moves_on_zero:
            return
        optimizer, parameters = self.fresh(), self.parameters()
        before = parameters.copy()
        for _ in range(3):
            optimizer.apply(parameters, np.zeros(_SIZE))
        if not np.isfinite(parameters).all():
            raise CheckFailure("zero gradients make the parameters NaN", "0 / 0: add an epsilon to the divisor")
        if not np.array_equal(parameters, before):
            raise CheckFailure("zero gradients move the parameters", "a decay: declare it with moves_on_zero=True")

    def scaling(self) -> None:
        if self.scale_invariant is None:
            return
        gradients = self.gradients(10)
        one, other = self.trajectory(self.fresh(), gradients), self.trajectory(self.fresh(), 8 * gradients)
        same = np.allclose(one, other, rtol=1e-4, atol=1e-8)
        if same != self.scale_invariant:
            raise CheckFailure(
                f"gradients eight times as large give {'the same' if same else 'other'} steps",
                "the declaration scale_invariant, or a missing normalization",
            )

    def rate(self) -> None:
        still = self.trajectory(self.fresh(0.0), self.gradients(3))
        if not self.moves_on_zero and not np.array_equal(still[-1], self.parameters()):
            raise CheckFailure("with a learning rate of 0 the parameters move", "update ignores its learning_rate")
        slow, fast = (self.trajectory(self.fresh(rate), self.gradients(1)) for rate in (1e-3, 2e-3))
        if np.array_equal(slow, fast):
            raise CheckFailure(
                "twice the learning rate gives the same step",
                "update uses self.learning_rate, or no rate, instead of the argument learning_rate",
            )

    def schedule(self) -> None:
        steps: list[int] = []

        def rate(step: int) -> float:
            steps.append(step)
            return 1e-3 / (1 + step)

        gradients = self.gradients(5)
        hint = "update uses self.learning_rate, which may be a function: use the argument learning_rate"
        try:
            path = self.trajectory(self.fresh(rate), gradients)
        except TypeError as error:
            raise CheckFailure(f"with a function as its learning rate it raised TypeError: {error}", hint) from error
        if steps != [0, 1, 2, 3, 4]:
            raise CheckFailure(f"a function as learning rate was called for the steps {steps}", "a custom apply")
        optimizer, parameters, expected = self.fresh(), self.parameters(), []
        for step, gradient in enumerate(gradients):
            optimizer.learning_rate = 1e-3 / (1 + step)
            optimizer.apply(parameters, gradient)
            expected.append(parameters.copy())
        assert_close(
            path, np.array(expected), 1e-9, "with a function as learning rate, a parameter", "parameters", hint
        )

    def bowl(self) -> None:
        curvature = np.linspace(0.5, 2, _SIZE)
        self._goes_down("a quadratic bowl", lambda p: float((curvature * p * p).sum() / 2), lambda p: curvature * p)

    def valley(self) -> None:
        def height(p: Array) -> float:
            x, y = p[0::2], p[1::2]
            return float(((1 - x) ** 2 + 100 * (y - x * x) ** 2).sum())

        def slope(p: Array) -> Array:
            x, y = p[0::2], p[1::2]
            gradient = np.empty_like(p)
            gradient[0::2] = -2 * (1 - x) - 400 * x * (y - x * x)
            gradient[1::2] = 200 * (y - x * x)
            return gradient

        self._goes_down("Rosenbrock's valley", height, slope)

    def _goes_down(self, where: str, height: Callable[[Array], float], slope: Callable[[Array], Array]) -> None:
        parameters = np.tile([-1.2, 1.0], _SIZE // 2)
        optimizer, start = self.fresh(self.learning_rate), height(parameters)
        for _ in range(400):
            optimizer.apply(parameters, slope(parameters))
        if not height(parameters) < start * (1 - 1e-3):
            raise CheckFailure(
                f"400 steps at a rate of {self.learning_rate:g} in {where} lead from the loss {start:.6g} "
                f"to {height(parameters):.6g}",
                "a wrong sign (steps go against the gradient), or a learning_rate that does not suit the optimizer",
            )

    def description(self) -> None:
        again = decode(json.loads(json.dumps(encode(self.fresh(1e-3)))))
        if repr(again) != repr(self.fresh(1e-3)):
            raise CheckFailure(f"its copy from the description is {again!r}", "an argument that is not a field")
        gradients = self.gradients(5)
        hint = "an argument that is not a field"
        path, expected = self.trajectory(again, gradients), self.trajectory(self.fresh(1e-3), gradients)
        assert_close(path, expected, 1e-9, "a parameter after steps of the copied optimizer", "parameters", hint)
