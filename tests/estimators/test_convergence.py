"""When a training ends: beside scikit-learn's own classes (test_multilayer_perceptron.py), scripted runs."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from scripted_runs import Script, problem, trainer
from sklearn.metrics import accuracy_score

from minidl import SGD, Dense, MeanSquaredError, Momentum, Sequential, SigmoidCrossEntropy, Trainer
from minidl.estimators.convergence import Convergence, CountedLBFGS, ExactMatch
from minidl.metrics import ScoredRows
from minidl.training.gradients import compute_gradients
from minidl.training.monitoring import put_back


def run(values, callback, name="loss", optimizer=None):
    """Train with these values as the epochs' own; return the trainer."""
    (x, y), t, script = problem(), trainer(optimizer or SGD(0.1)), Script(name, values)
    t.fit(x, y, epochs=len(values), validation_data=(x, y), callbacks=[script, callback], progress=False)
    t.script = script
    return t


def epochs_until_the_end(values, tol, patience, sign):
    """Epochs until more than `patience` in a row have failed to beat the best by `tol`, written from the manual."""
    best, waited = math.inf, 0
    for epoch, value in enumerate(values, start=1):
        waited = waited + 1 if sign * value > best - tol else 0
        best = min(best, sign * value)
        if waited > patience:
            return epoch, True
    return len(values), False


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("score", [None, "val_accuracy"])
def test_it_ends_after_so_many_epochs_without_an_improvement(seed, score):
    rng = np.random.default_rng(seed)
    values = np.cumsum(rng.choice([-2, -1, 0, 1], size=30) / 4).tolist()  # exact in binary, so ties are ties
    sign = 1 if score is None else -1
    values = [sign * value for value in values]
    tol, patience = rng.choice([0, 0.25, 0.5]), int(rng.integers(1, 6))
    convergence = Convergence(score=score, tol=tol, n_iter_no_change=patience)
    t = run(values, convergence, score or "loss")
    expected, ended = epochs_until_the_end(values, tol, patience, sign)
    assert (t.epoch, convergence.converged) == (expected, ended)
    assert convergence.epochs == expected
    assert convergence.rows_seen == 40 * expected
    curve = convergence.losses if score is None else convergence.scores
    assert curve == values[:expected]
    best = convergence.best_loss if score is None else convergence.best_score
    assert best == sign * min(sign * value for value in values[:expected])


def test_the_best_network_is_that_of_the_first_epoch_with_the_best_score():
    convergence = Convergence(score="val_accuracy")
    t = run([0.5, 0.75, 0.25, 0.75, 0.5], convergence, "val_accuracy")
    best = t.script.parameters[1]
    assert not np.array_equal(t.model.parameters, best)
    put_back(convergence.best_model, t.model)
    np.testing.assert_array_equal(t.model.parameters, best)


def test_the_adaptive_rate_falls_by_5_until_it_is_too_small(capsys):
    rates = []
    convergence = Convergence(learning_rate="adaptive", n_iter_no_change=1, verbose=True)
    (x, y), t = problem(), trainer(Momentum(1e-5))
    hooks = [Script("loss", [1.0] * 30), convergence, lambda each: rates.append(each.optimizer.rate())]
    t.fit(x, y, epochs=30, callbacks=hooks, progress=False)
    # The first epoch improves; each second one after it ends a wait, and the third time the rate is below 1e-6.
    assert rates == pytest.approx([1e-5] * 2 + [2e-6] * 2 + [4e-7] * 3, rel=1e-12)
    lines = capsys.readouterr().out.splitlines()
    assert next(line for line in lines if "Setting" in line).endswith("Setting learning rate to 0.000002")
    assert lines[-1].endswith("consecutive epochs. Learning rate too small. Stopping.")
    assert convergence.converged


def test_a_rate_that_falls_leaves_the_steps_that_momentum_remembers():
    (x, y), t = problem(), trainer(Momentum(0.5, momentum=0.9))
    t.batch_size = 40
    moves, before = [], [t.model.parameters.copy()]

    def note(each):
        moves.append(before[-1] - each.model.parameters)
        before.append(each.model.parameters.copy())

    gradients = []
    hooks = [Convergence(learning_rate="invscaling", learning_rate_init=0.5, power_t=0.5), note]

    class Keep(Script):
        def on_gradients(self, each):
            gradients.append(each.model.gradients.copy())

        def on_epoch_end(self, each):
            pass

    t.fit(x, y, epochs=4, callbacks=[*hooks, Keep("loss", [])], progress=False)
    velocity, rates = 0, [0.5, *(0.5 / (40 * epoch + 1) ** 0.5 for epoch in (1, 2, 3))]
    for gradient, rate, move in zip(gradients, rates, moves, strict=True):
        velocity = 0.9 * velocity + rate * gradient
        np.testing.assert_allclose(move, velocity, rtol=1e-3, atol=1e-6)  # differences of parameters in float32


def test_it_goes_on_from_what_an_estimator_knows():
    estimator = SimpleNamespace(
        loss_curve_=[3.0, 2.0], validation_scores_=None, best_loss_=2.0, best_validation_score_=None, t_=80, _waited=2
    )
    convergence = Convergence(tol=0.0, n_iter_no_change=3)
    convergence.go_on_from(estimator)
    run([2.5, 2.5, 2.5], convergence)
    assert convergence.losses == [3.0, 2.0, 2.5, 2.5]
    assert convergence.converged
    assert convergence.rows_seen == 80 + 2 * 40
    assert estimator.loss_curve_ == [3.0, 2.0]
    estimator.model_ = Sequential([Dense(1)], input_shape=2, seed=0)
    estimator.best_loss_, estimator.validation_scores_, estimator.best_validation_score_ = None, [0.5], 0.5
    convergence.go_on_from(estimator)
    assert (convergence.best_loss, convergence.best_score, convergence.scores) == (math.inf, 0.5, [0.5])
    np.testing.assert_equal(convergence.best_model, estimator.model_.named_arrays())


def test_evaluations_of_lbfgs_are_counted(monkeypatch):
    x = np.random.default_rng(0).normal(size=(30, 4))
    model = Sequential([Dense(1), MeanSquaredError()], input_shape=4, seed=0, dtype="float64")
    name, passes, compute = "minidl.training.trainer.compute_gradients", [], compute_gradients
    monkeypatch.setattr(name, lambda *arguments: passes.append(1) or compute(*arguments))
    t = Trainer(model, CountedLBFGS(), batch_size=None)
    t.fit(x, x @ [1.0, 2, 3, 4], epochs=4, progress=False)
    assert t.optimizer.evaluations == len(passes) > 4


def test_exact_match_is_scikit_learns_accuracy_of_several_labels():
    rng = np.random.default_rng(0)
    scores, targets = rng.normal(size=(50, 3)), rng.integers(2, size=(50, 3)).astype(float)
    rows = ScoredRows(SigmoidCrossEntropy(), scores, targets)
    assert ExactMatch().per_row(rows).mean() == accuracy_score(targets, scores > 0)
    assert ExactMatch().name == "exact_match"
