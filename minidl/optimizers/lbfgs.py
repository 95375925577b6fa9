"""L-BFGS: a quasi-Newton method for the loss of all rows at once, with a line search of its own."""

import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np

from minidl.errors import NotReadyError, ShapeError
from minidl.optimizers.base import Optimizer, Parts, Rate
from minidl.settings import setting
from minidl.typing import Array

Evaluate = Callable[[], tuple[float, Array]]
"""Returns loss and gradient at the parameters as they are now."""

_C1, _C2 = 1e-4, 0.9
"""The constants of the Wolfe conditions: those that the book takes for quasi-Newton methods."""

_TRIALS = 20
"""Evaluations of a line search at most; nearly all make one or two."""


class LBFGS(Optimizer):
    """Limited-memory BFGS: the last `memory` changes of parameters and gradient stand for the curvature.

    An iteration goes along ``d = -H g`` to a point ``p + alpha d`` where the strong Wolfe conditions hold,
    ``phi(alpha) <= phi(0) + c1 alpha phi'(0)`` and ``|phi'(alpha)| <= c2 |phi'(0)|``, with phi(alpha) the loss at
    ``p + alpha d``, c1 = 1e-4 and c2 = 0.9. H begins as ``(s.y / y.y) I`` of the newest pair ``s = p_new - p``,
    ``y = g_new - g``, and each pair, from the oldest on, changes it to ``V^T H V + rho s s^T``, where ``rho = 1 / s.y``
    and ``V = I - rho y s^T``. The first direction is ``-g / |g|``.

    It needs the same loss at every evaluation: that of all rows. It computes in float64, whatever the model does.

    Parameters
    ----------
    learning_rate : float >= 0 or callable, default 1
        The first alpha that a line search tries, or a function of the step that returns it. 1 is usual.
    memory : int >= 1, default 10
        Pairs of changes kept.
    tolerance : float >= 0, default 1e-9
        It ends when an iteration lowers the loss by no more than this share of it.
    gradient_tolerance : float >= 0, default 1e-9
        Or when no entry of the gradient is larger than this share of the loss, nor of the largest where it began.

    Attributes
    ----------
    ended : str
        Why another iteration would not lower the loss, in words; "" while it may.
    state : dict of name -> array
        The pairs ``s`` and ``y`` (memory, P), the newest last, zeros where there is none yet, and ``steepest`` (1,),
        the largest entry of the gradient where it began. ``y`` is in units of about `steepest`.

    Weight decay is refused: give the layers L2(weight_decay / 2), which is part of the loss.

    Source: Liu and Nocedal (1989), "On the limited memory BFGS method for large scale optimization", Mathematical
    Programming 45; Nocedal and Wright (2006), "Numerical Optimization", algorithms 7.4, 3.5 and 3.6.
    """

    learning_rate: Rate = setting(default=1.0, kw_only=False)
    weight_decay: float = setting(default=0.0, low=0, most=0, quiet=True)
    memory: int = setting(default=10, low=1, whole=True)
    tolerance: float = setting(default=1e-9, low=0)
    gradient_tolerance: float = setting(default=1e-9, low=0)
    full_batch: ClassVar[bool] = True
    slots = ("s", "y", "steepest")

    def first_state(self, parameters: Array) -> dict[str, Array]:
        shape = (self.memory, len(parameters))
        return {"s": np.zeros(shape), "y": np.zeros(shape), "steepest": np.zeros(1)}

    def apply(self, *args: Any, **kwargs: Any) -> None:
        """Refuse with a NotReadyError: it takes no single steps."""
        raise NotReadyError("LBFGS takes no single steps: train by Trainer(model, LBFGS(), batch_size=None)")

    @np.errstate(all="ignore")  # a trial may be so far out that its numbers overflow, and at a bottom they vanish
    def minimize(
        self, evaluate: Evaluate, parameters: Array, loss: float, gradient: Array, trained: Parts = None
    ) -> tuple[float, Array]:
        """Take one iteration: move `parameters`, in place, and return the loss and the gradient there, in float64.

        It sets `ended`, to "" or to why there is no use in another. Where even this one finds no lower loss, it leaves
        the parameters as they are. The last evaluation is always that of the parameters that it leaves.

        Parameters
        ----------
        evaluate : function of nothing that returns (loss, gradient (P,))
            Computes both at the present content of `parameters`. Where the loss is not finite they are too far out. An
            error in it passes through, and the parameters are again those before the iteration.
        parameters : array (P,)
        loss, gradient : float, array (P,)
            Those at `parameters`: what the last iteration returned or, before the first, `evaluate`.
        trained : sequence of slices, optional
            The parts of the vector that move; None: all of it. The gradient of the others is 0.

        Raises ShapeError when parameters, gradient and pairs differ in size.
        """
        s, y, steepest = self.prepare_state(parameters)
        if not (gradient.shape == parameters.shape and s.shape == y.shape == (self.memory, len(parameters))):
            raise ShapeError(f"LBFGS: {parameters.shape}, {gradient.shape} and pairs {s.shape} differ: make a new one")
        self.ended = ""
        rate, largest = self.rate(), float(np.abs(gradient).max(initial=0))
        loss, gradient, start = float(loss), gradient.astype(np.float64), parameters.astype(np.float64)
        if not (rate and largest):
            return self._finish(loss, gradient, f"the {'learning rate' if largest else 'gradient'} is zero")
        first = float(steepest[0]) or largest
        # In this unit of the loss, squares neither overflow nor vanish. A power of 2 rounds nothing.
        unit = math.ldexp(1.0, math.frexp(first)[1])
        parts = [slice(0, len(parameters))] if trained is None else trained

        def search(s: Array, y: Array) -> _Trial:
            direction = _direction(gradient / unit, s, y)

            def slope(gradient: Array) -> float:
                return sum(float(gradient[part] @ direction[part]) for part in parts) / unit

            def phi(alpha: float) -> _Trial:
                for part in parts:
                    parameters[part] = start[part] + alpha * direction[part]
                loss, reused = evaluate()
                gradient = reused.astype(np.float64)
                phi_slope = slope(gradient)
                is_finite = math.isfinite(loss) and math.isfinite(phi_slope)
                return _Trial(alpha, float(loss) / unit if is_finite else math.inf, phi_slope, gradient)

            return _search_along(phi, _Trial(0.0, loss / unit, slope(gradient), gradient), rate)

        try:
            end = search(s, y)
            if not end.alpha and s.any():  # the pairs may tell of curvature that is no longer there
                s, y = np.zeros_like(s), np.zeros_like(y)
                end = search(s, y)
            if not end.alpha:
                parameters[:] = start
                evaluate()
                return self._finish(loss, gradient, f"{parameters.dtype} finds no lower loss along the gradient")
        except BaseException:
            parameters[:] = start
            raise
        moved, change = parameters - start, (end.gradient - gradient) / unit
        # What is above that stays positive in whatever order it is summed up.
        if moved @ change > 1e-10 * np.linalg.norm(moved) * np.linalg.norm(change):
            s, y = np.roll(s, -1, axis=0), np.roll(y, -1, axis=0)
            s[-1], y[-1] = moved, change
        self.state |= {"s": s, "y": y, "steepest": np.array([first])}
        return self._finish(end.phi * unit, end.gradient, self._why_enough(loss, end.phi * unit, first, end.gradient))

    def _finish(self, loss: float, gradient: Array, ended: str) -> tuple[float, Array]:
        self.step, self.ended = self.step + 1, ended
        return loss, gradient

    def _why_enough(self, before: float, loss: float, first: float, gradient: Array) -> str:
        """Say which tolerance the iteration has reached, in units that are the loss's own; "" for none."""
        if before - loss <= self.tolerance * max(abs(before), abs(loss)):
            return f"the loss fell by no more than tolerance = {self.tolerance:g} of it"
        # By the loss alone, targets in large units would end it too early; by the first gradient alone, a bad start.
        if np.abs(gradient).max() <= self.gradient_tolerance * min(abs(loss), first):
            return f"no entry of the gradient is above gradient_tolerance = {self.gradient_tolerance:g} of the loss"
        return ""


class _Trial(NamedTuple):
    """A point of a line: alpha, phi(alpha) and phi'(alpha) in the line's unit of the loss, and the gradient itself.

    Where the loss or the slope is not finite, phi is infinite.
    """

    alpha: float
    phi: float
    slope: float
    gradient: Array


def _direction(gradient: Array, s: Array, y: Array) -> Array:
    """Return ``-H g`` by two loops over the pairs, algorithm 7.4; without pairs ``-g / |g|``."""
    curvature = np.einsum("ij,ij->i", s, y)
    pairs, alpha = np.flatnonzero(curvature), np.zeros(len(s))
    q = -gradient
    for i in pairs[::-1]:
        alpha[i] = s[i] @ q / curvature[i]
        q -= alpha[i] * y[i]
    q *= curvature[-1] / (y[-1] @ y[-1]) if len(pairs) else 1 / np.linalg.norm(q)
    for i in pairs:
        q += (alpha[i] - y[i] @ q / curvature[i]) * s[i]
    return q


def _search_along(phi: Callable[[float], _Trial], start: _Trial, alpha: float) -> _Trial:
    """Return a point of the line where the strong Wolfe conditions hold, algorithms 3.5 and 3.6; alpha is tried first.

    `low` is the lowest point so far that meets the first condition. `high`, on the side where phi falls from `low`, is
    too high, so points between the two meet both. While there is no such `high`, as in 3.5, it is infinitely far.
    Where no point that meets both is found, `low` is returned: `start`, alpha = 0, if nothing lower was found either.
    """
    low = trial = start
    high, width = _Trial(math.inf, math.inf, math.inf, start.gradient), math.inf
    for _ in range(_TRIALS if start.slope < 0 else 0):
        trial = phi(alpha)
        if trial.phi > start.phi + _C1 * alpha * start.slope or trial.phi >= low.phi:
            high = trial
        elif abs(trial.slope) <= -_C2 * start.slope:
            return trial
        else:
            if trial.slope * (high.alpha - low.alpha) >= 0:
                high = low
            low = trial
        before, width = width, abs(high.alpha - low.alpha)
        # At a kink no slope becomes small, and at the bottom phi differs by rounding alone.
        if width <= 0.01 * low.alpha or abs(low.slope) * width <= math.ulp(low.phi):
            break
        if width == math.inf:  # on to the bottom of the parabola with both slopes, 10 to 100 times as far
            alpha /= max(1 - low.slope / start.slope, 0.01)
        else:  # to the middle where the last trial has hardly made the interval shorter
            alpha = _between(low, high) if width < 0.7 * before else (low.alpha + high.alpha) / 2
    return low if low is trial or low is start else phi(low.alpha)


def _between(low: _Trial, high: _Trial) -> float:
    """Return where the cubic with the values and slopes of both is lowest, (3.59), but not too near `low`.

    In units in which `low` is at 0, `high` at 1, and the slope at `low` is -1, that is at 2/3 or less.
    """
    width = high.alpha - low.alpha
    if high.phi == math.inf:
        return low.alpha + 0.1 * width
    phi, slope = max(high.phi - low.phi, 0) / (-low.slope * width), -high.slope / low.slope
    d1 = slope - 1 - 3 * phi
    d2 = math.sqrt(d1 * d1 + slope)
    share = 1 - (slope + d2 - d1) / (slope + 1 + 2 * d2)
    return low.alpha + max(0.01, share) * width  # in this order NaN, after an overflow, counts as 0
