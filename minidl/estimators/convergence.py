"""The stopping rule, the printed lines and the learning-rate schedules of scikit-learn's MLP classes."""

from __future__ import annotations

import math
from dataclasses import field
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.metrics.base import Metric, ScoredRows
from minidl.optimizers import LBFGS
from minidl.optimizers.base import Parts
from minidl.optimizers.lbfgs import Evaluate
from minidl.training.callbacks import Callback
from minidl.training.monitoring import copy_arrays
from minidl.typing import Array

if TYPE_CHECKING:
    from minidl.training.trainer import Trainer

_SMALLEST_RATE = 1e-6
_DIVISOR = 5.0


class CountedLBFGS(LBFGS):
    """L-BFGS that counts the evaluations of the loss: one before the first iteration, then those of each iteration."""

    evaluations: int = field(default=1, init=False, repr=False)

    def minimize(
        self, evaluate: Evaluate, parameters: Array, loss: float, gradient: Array, trained: Parts = None
    ) -> tuple[float, Array]:
        def counted() -> tuple[float, Array]:
            self.evaluations += 1
            return evaluate()

        return super().minimize(counted, parameters, loss, gradient, trained)


class ExactMatch(Metric):
    """The share of rows whose labels are all right, in [0, 1]: scikit-learn's accuracy for several labels per row."""

    def per_row(self, rows: ScoredRows) -> Array:
        right: Array = (rows.predictions == rows.truth).reshape(len(rows.scores), -1).all(axis=1)
        return right


class Convergence(Callback):
    """End the training once the loss, or the score of the held-out rows, no longer improves by `tol`.

    Parameters
    ----------
    score : str or None
        The metric of the held-out rows that chooses the best parameters, such as "val_accuracy". None: use the loss.
    tol, n_iter_no_change, learning_rate, learning_rate_init, power_t, max_fun, verbose
        As for `MLPClassifier`.

    Attributes
    ----------
    losses, scores : list of float
        One per epoch, over all calls of `fit`.
    best_loss, best_score : float
    waited : int
        Epochs without an improvement.
    rows_seen : int
        In all epochs.
    converged : bool
        Whether this rule ended the last `fit`.
    """

    score: str | None = None
    tol: float = 1e-4
    n_iter_no_change: float = 10
    learning_rate: str = "constant"
    learning_rate_init: float = 1e-3
    power_t: float = 0.5
    max_fun: int = 15_000
    verbose: bool = False
    losses: list[float] = field(default_factory=list, init=False, repr=False)
    scores: list[float] = field(default_factory=list, init=False, repr=False)
    best_loss: float = field(default=math.inf, init=False, repr=False)
    best_score: float = field(default=-math.inf, init=False, repr=False)
    best_model: dict[str, Array] = field(default_factory=dict, init=False, repr=False)
    waited: int = field(default=0, init=False, repr=False)
    rows_seen: int = field(default=0, init=False, repr=False)
    epochs: int = field(default=0, init=False, repr=False)
    converged: bool = field(default=False, init=False, repr=False)

    def go_on_from(self, estimator: Any) -> None:
        """Copy an estimator's training results so far."""
        self.losses, self.scores = list(estimator.loss_curve_), list(estimator.validation_scores_ or ())
        self.best_loss = math.inf if estimator.best_loss_ is None else estimator.best_loss_
        if estimator.best_validation_score_ is not None:
            self.best_score, self.best_model = estimator.best_validation_score_, copy_arrays(estimator.model_)
        self.rows_seen, self.waited = estimator.t_, estimator._waited

    def on_train_begin(self, trainer: Trainer) -> None:
        self.epochs, self.converged = 0, False

    def on_epoch_end(self, trainer: Trainer) -> None:
        self.epochs += 1
        self.rows_seen += trainer.position.rows
        self._note(trainer)
        if isinstance(trainer.optimizer, CountedLBFGS):
            self._end_search(trainer, trainer.optimizer)
            return
        self.converged = bool(trainer.optimizer.ended)
        if self.learning_rate == "invscaling":
            _change_rate(trainer, self.learning_rate_init / (self.rows_seen + 1) ** self.power_t)
        if self.waited > self.n_iter_no_change:
            self._end_or_slow_down(trainer)

    def _note(self, trainer: Trainer) -> None:
        """Compare the epoch with the best one."""
        loss = trainer.history["loss"][-1]
        self.losses.append(loss)
        self._print(f"Iteration {self.epochs}, loss = {loss:.8f}")
        if self.score is None:
            self.waited = self.waited + 1 if loss > self.best_loss - self.tol else 0
            self.best_loss = min(loss, self.best_loss)
            return
        score = trainer.history[self.score][-1]
        self.scores.append(score)
        self._print(f"Validation score: {score:f}")
        self.waited = self.waited + 1 if score < self.best_score + self.tol else 0
        if score > self.best_score:
            self.best_score = score
            self.best_model = copy_arrays(trainer.model)

    def _end_search(self, trainer: Trainer, optimizer: CountedLBFGS) -> None:
        """End L-BFGS as SciPy does: by the number of evaluations, or the largest entry of the gradient."""
        if optimizer.evaluations < self.max_fun:
            self.converged = bool(optimizer.ended) or float(np.abs(trainer.model.gradients).max()) <= self.tol
        if self.converged or optimizer.evaluations >= self.max_fun:
            trainer.stop()

    def _end_or_slow_down(self, trainer: Trainer) -> None:
        what = "Training loss" if self.score is None else "Validation score"
        reason = f"{what} did not improve more than tol={self.tol:f} for {self.n_iter_no_change} consecutive epochs."
        if self.learning_rate == "adaptive":
            if trainer.optimizer.rate() > _SMALLEST_RATE:
                _change_rate(trainer, trainer.optimizer.rate() / _DIVISOR)
                self.waited = 0
                self._print(f"{reason} Setting learning rate to {trainer.optimizer.rate():f}")
                return
            reason += " Learning rate too small."
        self.converged = True
        trainer.stop()
        self._print(f"{reason} Stopping.")

    def _print(self, line: str) -> None:
        if self.verbose:
            print(line)


def _change_rate(trainer: Trainer, rate: float) -> None:
    """Set the learning rate of a `Momentum`; past steps keep their size, as in scikit-learn."""
    for velocity in trainer.optimizer.state.values():
        velocity[...] *= trainer.optimizer.rate() / rate
    trainer.optimizer.learning_rate = rate
