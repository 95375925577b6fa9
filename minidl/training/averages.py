"""Averages of the parameters during training: each keeps one vector, and updates it after each step."""

from dataclasses import field
from typing import ClassVar

from minidl.settings import Configurable, setting
from minidl.typing import Array


class Average(Configurable):
    """Base of the averages, ``Trainer(..., average=...)``: a subclass defines `follow`.

    Attributes
    ----------
    shown : bool
        Whether the vector replaces the parameters for the validation after each epoch, and after `fit`.
    vector : array (P,) or None
        The average, which starts as the first parameters; None before the first step. While the average is shown, this
        holds the parameters from which the next step continues.
    shown_as : array (P,) or None
        While the average is shown: a copy of the average that replaced the parameters.
    """

    shown: ClassVar[bool] = True
    vector: Array | None = field(default=None, init=False, repr=False)
    shown_as: Array | None = field(default=None, init=False, repr=False)

    def follow(self, parameters: Array, vector: Array, step: int) -> None:
        """Change `vector` in place after the optimizer's step 1, 2, ... Both are the same part of two vectors."""
        raise NotImplementedError(f"{type(self).__name__} must define follow(parameters, vector, step)")

    def show(self, parameters: Array, shown: bool) -> None:
        """Swap the vector and the parameters to show the average or to end this, if that is not done yet."""
        if self.shown_as is not None and (parameters != self.shown_as).any():
            self.vector = self.shown_as = None  # other code has set parameters since: the average restarts with these
        elif self.vector is not None and self.shown and shown != (self.shown_as is not None):
            parameters[:], self.vector = self.vector, parameters.copy()
            self.shown_as = parameters.copy() if shown else None


class ExponentialMovingAverage(Average):
    """Exponential moving average of the parameters: ``a <- d a + (1 - d) p``.

    The average starts as the first parameters. ``d = min(decay, (1 + t) / (10 + t))`` at step t = 1, 2, ..., so the
    first parameters do not dominate the average of a short run.

    Parameters
    ----------
    decay : float in [0, 1), default 0.999

    Sources: Polyak and Juditsky (1992), "Acceleration of stochastic approximation by averaging", SIAM Journal on
    Control and Optimization 30; the growing d is from TensorFlow's ``tf.train.ExponentialMovingAverage``.
    """

    decay: float = setting(default=0.999, kw_only=False, low=0, below=1)

    def follow(self, parameters: Array, vector: Array, step: int) -> None:
        vector += (1 - min(self.decay, (1 + step) / (10 + step))) * (parameters - vector)


class StochasticWeightAveraging(Average):
    """The plain average of the parameters after steps start, start + every, start + 2 every, ...

    Before the first of these steps, the average is the parameters themselves. In a model with `BatchNorm`, call
    ``recompute_statistics(model, x_train)`` after `fit`, because the running statistics belong to the last steps and
    not to the average.

    Parameters
    ----------
    start : int >= 0, default 0
        Number of steps before the first average; 0 includes the parameters before the first step. An epoch has
        ceil(rows / batch_size) steps.
    every : int >= 1, default 1

    Source: Izmailov et al. (2018), arXiv:1803.05407, algorithm 1.
    """

    start: int = setting(default=0, low=0, whole=True)
    every: int = setting(default=1, low=1, whole=True)

    def follow(self, parameters: Array, vector: Array, step: int) -> None:
        if step <= self.start:
            vector[:] = parameters
        elif (step - self.start) % self.every == 0:
            vector += (parameters - vector) / (1 + (step - self.start) // self.every)


class Lookahead(Average):
    """Let the optimizer explore, and every few steps keep only a part of its change.

    The formula is ``s <- s + slow_rate (p - s)``, then ``p <- s``. Predictions use the parameters themselves.

    Parameters
    ----------
    steps : int >= 1, default 5
        The optimizer's steps between two steps of the slow vector s, which starts as the first parameters.
    slow_rate : float in (0, 1], default 0.5

    Source: Zhang et al. (2019), arXiv:1907.08610, algorithm 1; the optimizer keeps its state.
    """

    steps: int = setting(default=5, low=1, whole=True)
    slow_rate: float = setting(default=0.5, above=0, most=1)
    shown = False

    def follow(self, parameters: Array, vector: Array, step: int) -> None:
        if step % self.steps == 0:
            vector += self.slow_rate * (parameters - vector)
            parameters[:] = vector
