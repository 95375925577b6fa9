"""L-BFGS: a quasi-Newton method for the loss of all rows at once, by SciPy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from minidl.errors import ArgumentError, NotReadyError, ShapeError
from minidl.inputs import check_whole_number
from minidl.optimizers.base import Optimizer
from minidl.typing import Array

__all__ = ["LBFGS"]


@dataclass(eq=False)
class LBFGS(Optimizer):
    """Limited-memory BFGS: the last `memory` changes of parameters and gradient stand for the curvature.

    It chooses the length of its steps itself, by evaluations of loss and gradient along a direction, so it has no
    learning rate, and needs the same loss at every evaluation: that of all rows. An iteration makes one evaluation or a
    few. It computes in float64, whatever the model does, and begins each `minimize` with an empty memory.

    Parameters
    ----------
    memory : int >= 1, default 10
        Pairs of changes kept.
    tolerance : float >= 0, default 1e-9
        It ends when an iteration lowers the loss by no more than this share of it.
    gradient_tolerance : float >= 0, default 1e-9
        Or when no entry of the gradient is larger than this share of the loss, nor of the largest where it began.

    It refuses a learning_rate, clip_norm, clip_value and weight_decay, which belong to steps that it does not take.
    Needs SciPy, which scikit-learn brings.
    Sources: Liu and Nocedal (1989), "On the limited memory BFGS method for large scale optimization", Mathematical
    Programming 45; the program behind scipy.optimize is that of Zhu, Byrd, Lu and Nocedal (1997), ACM TOMS 23.
    """

    learning_rate: Any = field(default=1.0, init=False, repr=False)
    memory: int = 10
    tolerance: float = 1e-9
    gradient_tolerance: float = 1e-9
    full_batch: ClassVar[bool] = True

    def check(self) -> None:
        super().check()
        check_whole_number(self.memory, "LBFGS: memory", 1)
        self.check_range("tolerance", 0)
        self.check_range("gradient_tolerance", 0)
        chooses = "but it chooses its steps itself"
        for name, off in (("learning_rate", 1.0), ("clip_norm", None), ("clip_value", None)):
            if (value := getattr(self, name)) != off:
                raise ArgumentError(f"LBFGS: {name} is {value}, {chooses}: leave it {off}")
        if self.weight_decay:
            raise ArgumentError(
                f"LBFGS: weight_decay is {self.weight_decay}, {chooses}: leave it 0 and give the layers a regularizer, "
                f"L2({self.weight_decay / 2:g}), whose penalty is part of the loss"
            )

    def apply(
        self,
        parameters: Array,
        gradients: Array,
        decaying: Sequence[slice] | None = None,
        constrain: Callable[[], None] | None = None,
    ) -> None:
        """Refuse with a NotReadyError: it takes no single steps."""
        raise NotReadyError(
            "LBFGS takes no single steps along a batch's gradients: train by Trainer(model, LBFGS(), batch_size=None), "
            "or call minimize(objective, parameters, iterations)"
        )

    def minimize(
        self,
        objective: Callable[[Array], tuple[float, Array]],
        parameters: Array,
        iterations: int,
        after_iteration: Callable[[Array], bool | None] | None = None,
    ) -> None:
        """Lower `objective` by at most so many iterations, and change `parameters` in place after each.

        Parameters
        ----------
        objective : function of an array (P,) of float64 to (loss, gradient (P,))
            It may write on `parameters`: they are set to the best place when the iteration ends, and also when
            an error does.
        parameters : array (P,)
        iterations : int >= 1
            Fewer when the loss falls no further.
        after_iteration : function of the parameters, optional
            Called after each iteration; it ends the minimization by returning True.

        Raises
        ------
        ArgumentError, ArgumentTypeError
            For settings out of range.
        ShapeError
            When a gradient differs from the parameters in shape.
        """
        from scipy.optimize import minimize

        self.check()
        check_whole_number(iterations, "LBFGS: iterations", 1)
        reached = parameters.astype(np.float64)
        here, places = (0.0, 0.0), list[tuple[float, float]]()  # loss and largest entry of the gradient
        unit = 1.0

        def evaluate(vector: Array) -> tuple[float, Array]:
            nonlocal here, unit
            loss, gradient = objective(vector)
            if gradient.shape != parameters.shape:
                raise ShapeError(f"LBFGS: parameters have shape {parameters.shape} but the gradient {gradient.shape}")
            here = float(loss), float(np.abs(gradient).max(initial=0))
            if not places:
                places.append(here)
                # SciPy's first step is 1e10 gradients at most: too short where all are tiny. Powers of 2 round nothing.
                unit = math.ldexp(1.0, math.frexp(here[1])[1] - 1)
            return here[0] / unit, gradient.astype(np.float64) / unit

        def end_iteration(vector: Array) -> None:
            places.append(here)  # the place that a line search accepts is the last one that it looked at
            reached[:] = parameters[:] = vector
            self.step += 1
            if (after_iteration is not None and after_iteration(parameters)) or self._is_at_the_bottom(places):
                raise _Stop

        options = {
            "maxcor": self.memory,
            "ftol": 0,  # SciPy's are absolute where the loss is below 1: see _is_at_the_bottom
            "gtol": 0,
            "maxiter": iterations,
            "maxfun": 100 * iterations,  # a line search makes 20 evaluations at most
        }
        try:
            minimize(evaluate, reached.copy(), jac=True, method="L-BFGS-B", callback=end_iteration, options=options)
        except _Stop:
            pass  # as after_iteration or the tolerances asked for
        finally:
            parameters[:] = reached

    def _is_at_the_bottom(self, places: list[tuple[float, float]]) -> bool:
        """Say whether the last iteration was small by the tolerances, in units that are the loss's own.

        A place is its loss and the largest entry of its gradient; the first is where the iterations began.
        """
        (_, steepest_at_first), (before, _), (loss, steepest) = places[0], places[-2], places[-1]
        is_low = before - loss <= self.tolerance * max(abs(before), abs(loss))
        # By the loss alone, targets in large units would end it too early; by the first gradient alone, a bad start.
        return is_low or steepest <= self.gradient_tolerance * min(abs(loss), steepest_at_first)


class _Stop(Exception):  # noqa: N818 - an end, not an error
    """Ends SciPy's loop from within, in all of its versions."""
