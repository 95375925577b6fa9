"""L-BFGS: a quasi-Newton method for the loss of all rows at once, with its own line search."""

import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np

from minidl.errors import NotReadyError, ShapeError
from minidl.optimizers.base import Optimizer, Parts, Rate
from minidl.settings import setting
from minidl.typing import Array

Evaluate = Callable[[], tuple[float, Array]]
"""Returns loss and gradient at the current parameters."""

_C1, _C2 = 1e-4, 0.9
"""The constants of the Wolfe conditions that Nocedal and Wright use for quasi-Newton methods."""

_TRIALS = 20
"""The most evaluations in a line search. Nearly all line searches need one or two."""


class LBFGS(Optimizer):
    """Limited-memory BFGS: it estimates the curvature from the last `memory` changes of parameters and gradient.

    An iteration moves along ``d = -H g`` to a point ``p + alpha d`` where the strong Wolfe conditions hold,
    ``phi(alpha) <= phi(0) + c1 alpha phi'(0)`` and ``|phi'(alpha)| <= c2 |phi'(0)|``, with phi(alpha) the loss at
    ``p + alpha d``, c1 = 1e-4 and c2 = 0.9. H starts as ``(s.y / y.y) I`` of the newest pair ``s = p_new - p``,
    ``y = g_new - g``. Each pair, from the oldest to the newest, changes it to ``V^T H V + rho s s^T``, where
    ``rho = 1 / s.y`` and ``V = I - rho y s^T``. The first direction is ``-g / |g|``.

    Every evaluation must compute the same loss, over all rows. LBFGS computes in float64, also for a float32 model.

    Parameters
    ----------
    learning_rate : float >= 0 or callable, default 1
        The first alpha that a line search tries, or a function of the step that returns it. 1 is usual.
    memory : int >= 1, default 10
        Number of pairs of changes to keep.
    tolerance : float >= 0, default 1e-9
        LBFGS ends if an iteration lowers the loss by no more than this share of the loss.
    gradient_tolerance : float >= 0, default 1e-9
        LBFGS also ends if every entry of the gradient is at most this share of the loss, and at most this share of the
        largest entry at the start.

    Attributes
    ----------
    ended : str
        Why another iteration would not lower the loss, in words; "" while it may.
    state : dict of name -> array
        The pairs ``s`` and ``y`` (memory, P), the newest last and zeros for missing pairs. ``steepest`` (1,) is the
        largest entry of the gradient at the start. ``y`` is in units of about `steepest`.

    Weight decay raises an error: give the layers L2(weight_decay / 2) instead, which is part of the loss.

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
        """Raise NotReadyError, because LBFGS takes no single steps."""
        raise NotReadyError("LBFGS takes no single steps: train with Trainer(model, LBFGS(), batch_size=None)")

    @np.errstate(all="ignore")  # a distant trial may overflow, and numbers near a minimum may underflow
    def minimize(
        self, evaluate: Evaluate, parameters: Array, loss: float, gradient: Array, trained: Parts = None
    ) -> tuple[float, Array]:
        """Take one iteration: change `parameters` in place, and return the loss and gradient there, in float64.

        It sets `ended` to the reason why another iteration is useless, or to "". If this iteration finds no lower loss,
        the parameters do not change. The last evaluation is always at the final parameters.

        Parameters
        ----------
        evaluate : function without arguments that returns (loss, gradient (P,))
            Computes both at the current content of `parameters`. A loss that is not finite means that they are too far
            away. After an error in it, the parameters are again as they were before the iteration.
        parameters : array (P,)
        loss, gradient : float, array (P,)
            The values at `parameters`: from the last iteration or, before the first, from `evaluate`.
        trained : sequence of slices, optional
            The parts of the vector that change. The default is the whole vector. The gradient of the others is 0.

        Raises ShapeError if parameters, gradient and pairs differ in size.
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
        # In this unit of the loss, squares neither overflow nor underflow. A power of 2 causes no rounding.
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
            if not end.alpha and s.any():  # the pairs may describe curvature that is out of date
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
        # A number above this limit stays positive for any order of summation.
        if moved @ change > 1e-10 * np.linalg.norm(moved) * np.linalg.norm(change):
            s, y = np.roll(s, -1, axis=0), np.roll(y, -1, axis=0)
            s[-1], y[-1] = moved, change
        self.state |= {"s": s, "y": y, "steepest": np.array([first])}
        return self._finish(end.phi * unit, end.gradient, self._why_enough(loss, end.phi * unit, first, end.gradient))

    def _finish(self, loss: float, gradient: Array, ended: str) -> tuple[float, Array]:
        self.step, self.ended = self.step + 1, ended
        return loss, gradient

    def _why_enough(self, before: float, loss: float, first: float, gradient: Array) -> str:
        """Return a text about the tolerance that the iteration has reached, relative to the loss; "" for none."""
        if before - loss <= self.tolerance * max(abs(before), abs(loss)):
            return f"the loss fell by no more than tolerance = {self.tolerance:g} of it"
        # The loss alone would end too early for targets in large units, the first gradient alone after a bad start.
        if np.abs(gradient).max() <= self.gradient_tolerance * min(abs(loss), first):
            return f"no entry of the gradient is above gradient_tolerance = {self.gradient_tolerance:g} of the loss"
        return ""


class _Trial(NamedTuple):
    """A point on a line: alpha, phi(alpha) and phi'(alpha) in the line's unit of the loss, and the gradient itself.

    If the loss or the slope is not finite, phi is infinite.
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
    """Return a point on the line where the strong Wolfe conditions hold (algorithms 3.5 and 3.6). Try alpha first.

    `low` is the lowest point so far that meets the first condition. `high` is too high, and lies on the side where phi
    falls from `low`. So some points between the two meet both conditions. As long as there is no such `high`, as in
    3.5, it is at infinity. If no point meets both, the function returns `low`, which is `start` (alpha = 0) if no
    lower point was found.
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
        # At a kink the slope never becomes small, and near the minimum phi differs only by rounding.
        if width <= 0.01 * low.alpha or abs(low.slope) * width <= math.ulp(low.phi):
            break
        if width == math.inf:  # go to the minimum of the parabola with both slopes, 10 to 100 times as far
            alpha /= max(1 - low.slope / start.slope, 0.01)
        else:  # go to the middle if the last trial has hardly made the interval shorter
            alpha = _between(low, high) if width < 0.7 * before else (low.alpha + high.alpha) / 2
    return low if low is trial or low is start else phi(low.alpha)


def _between(low: _Trial, high: _Trial) -> float:
    """Return the minimum of the cubic with the values and slopes of both, (3.59), but not too close to `low`.

    In units in which `low` is at 0, `high` at 1, and the slope at `low` is -1, the minimum is at 2/3 or less.
    """
    width = high.alpha - low.alpha
    if high.phi == math.inf:
        return low.alpha + 0.1 * width
    phi, slope = max(high.phi - low.phi, 0) / (-low.slope * width), -high.slope / low.slope
    d1 = slope - 1 - 3 * phi
    d2 = math.sqrt(d1 * d1 + slope)
    share = 1 - (slope + d2 - d1) / (slope + 1 + 2 * d2)
    return low.alpha + max(0.01, share) * width  # in this order of arguments, NaN (after an overflow) counts as 0
