"""Averages of the parameters on their way: each keeps one vector, and follows the parameters after each step."""

from dataclasses import field
from typing import ClassVar

from minidl.settings import Configurable, setting
from minidl.typing import Array


class Average(Configurable):
    """Base of the averages, ``Trainer(..., average=...)``: a subclass writes `follow`.

    Attributes
    ----------
    shown : bool
        Whether the vector takes the parameters' place after each epoch, for the validation, and after `fit`.
    vector : array (P,) or None
        What it keeps, which begins as the first parameters; None before the first step. While it is shown, the
        parameters that the next step goes on from.
    shown_as : array (P,) or None
        While it is shown: a copy of what it has put in the parameters' place.
    """

    shown: ClassVar[bool] = True
    vector: Array | None = field(default=None, init=False, repr=False)
    shown_as: Array | None = field(default=None, init=False, repr=False)

    def follow(self, parameters: Array, vector: Array, step: int) -> None:
        """Change `vector`, in place, after the optimizer's step 1, 2, ...; both are the same part of two vectors."""
        raise NotImplementedError(f"{type(self).__name__} must define follow(parameters, vector, step)")

    def show(self, parameters: Array, shown: bool) -> None:
        """Put the vector in the parameters' place, and these in its, or back, where that is not done yet."""
        if self.shown_as is not None and (parameters != self.shown_as).any():
            self.vector = self.shown_as = None  # somebody has set other parameters since: it begins anew with these
        elif self.vector is not None and self.shown and shown != (self.shown_as is not None):
            parameters[:], self.vector = self.vector, parameters.copy()
            self.shown_as = parameters.copy() if shown else None


class ExponentialMovingAverage(Average):
    """A fading average of the parameters: ``a <- d a + (1 - d) p``.

    The average begins as the first parameters. ``d = min(decay, (1 + t) / (10 + t))`` at step t, from 1, so that the
    average of a short run does not consist of them.

    Parameters
    ----------
    decay : float in [0, 1), default 0.999

    Sources: Polyak and Juditsky (1992), "Acceleration of stochastic approximation by averaging", SIAM Journal on
    Control and Optimization 30; the growing d is that of TensorFlow's ``tf.train.ExponentialMovingAverage``.
    """

    decay: float = setting(default=0.999, kw_only=False, low=0, below=1)

    def follow(self, parameters: Array, vector: Array, step: int) -> None:
        vector += (1 - min(self.decay, (1 + step) / (10 + step))) * (parameters - vector)


class StochasticWeightAveraging(Average):
    """The plain average of the parameters after steps start, start + every, start + 2 every, ...

    Before there is one, the average is the parameters themselves. In a model with `BatchNorm`, call
    ``recompute_statistics(model, x_train)`` after `fit`: the running statistics are those of the last steps, not of the
    average.

    Parameters
    ----------
    start : int >= 0, default 0
        0 begins with the parameters before the first step. In steps: epochs * ceil(rows / batch_size).
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
    """Let the optimizer explore, and every few steps go only a part of the way it went.

    That is ``s <- s + slow_rate (p - s)``, then ``p <- s``. The parameters themselves are what it predicts with.

    Parameters
    ----------
    steps : int >= 1, default 5
        The optimizer's steps between two of the slow vector s, which begins as the first parameters.
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
