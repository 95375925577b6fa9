"""MLPClassifier and MLPRegressor: scikit-learn's own classes are the oracle of what both have."""

import inspect
import re
import warnings
from itertools import pairwise

import numpy as np
import pytest
import sklearn.neural_network
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.class_weight import compute_sample_weight

import minidl.estimators
from minidl import (
    LBFGS,
    Adam,
    BatchNorm,
    Callback,
    Dense,
    Dropout,
    ExponentialDecay,
    ExponentialMovingAverage,
    Hinge,
    Huber,
    LayerNorm,
    Momentum,
    OneCycle,
    Poisson,
    ReLU,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    Tanh,
)
from minidl.estimators import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ROWS = 60
# One order of rows, and a whole number of batches in them: scikit-learn's penalty of a smaller last batch is larger.
SAME_STEPS = {"hidden_layer_sizes": (7, 4), "random_state": 3, "shuffle": False, "batch_size": ROWS, "max_iter": 15}
# Both compute in float64: roundings of 1e-16 grow in 15 steps, but stay far below this.
CLOSE = {"rtol": 1e-9, "atol": 1e-12}
ADAM = {"solver": "adam", "epsilon": 1e-100}  # nothing: where it counts, minidl has it in the paper's place
NEWER = "sample_weight" in inspect.signature(sklearn.neural_network.MLPClassifier.fit).parameters
since_1_7 = pytest.mark.skipif(not NEWER, reason="scikit-learn has it since version 1.7")


def problem(kind="two classes", rows=ROWS):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 5))
    signal = x[:, :3] + x[:, 2:] ** 2
    targets = {
        "two classes": (signal[:, 0] > 1).astype(int),
        "three classes": signal.argmax(axis=1),
        "several labels": (signal > 1).astype(int),
        "number": 3 * signal[:, 0] - 1,
        "several numbers": signal,
        "counts": rng.poisson(np.exp(x[:, 0])).astype(float),
    }
    return x, targets[kind]


def pair(kind="two classes", **parameters):
    """Return minidl's estimator for this kind of targets, and scikit-learn's with the same parameters."""
    name = "MLPClassifier" if "class" in kind or "label" in kind else "MLPRegressor"
    if kind == "counts":
        parameters["loss"] = "poisson"
    parameters = SAME_STEPS | parameters
    return [getattr(package, name)(**parameters) for package in (minidl.estimators, sklearn.neural_network)]


def assert_same_fit(ours, theirs, x):
    assert_same_steps(ours, theirs, x)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, **CLOSE)
    for name in ("loss_", "best_loss_", "validation_scores_", "best_validation_score_"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        assert mine == other or np.allclose(mine, other, rtol=1e-9), name


def assert_same_steps(ours, theirs, x):
    for mine, other in ((ours.coefs_, theirs.coefs_), (ours.intercepts_, theirs.intercepts_)):
        for one, two in zip(mine, other, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-8, atol=1e-10)
    assert ours.predict(x).dtype == theirs.predict(x).dtype
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), rtol=1e-8)
    if hasattr(theirs, "predict_proba"):
        np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), rtol=1e-8)
        np.testing.assert_allclose(ours.predict_log_proba(x), theirs.predict_log_proba(x), rtol=1e-7, atol=1e-10)
    names = ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_")
    for name in names:
        assert getattr(ours, name) == getattr(theirs, name), name


counts = pytest.param("counts", marks=since_1_7)
every_kind = pytest.mark.parametrize("kind", ["two classes", "three classes", "several labels", "number", counts])
SOLVERS = {
    "sgd": {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.1},
    "momentum": {"solver": "sgd", "momentum": 0.8, "nesterovs_momentum": False, "learning_rate_init": 0.05},
    "nesterov": {"solver": "sgd", "momentum": 0.8, "learning_rate_init": 0.05},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.3, "learning_rate_init": 0.5},
    "adam": {**ADAM, "beta_1": 0.8, "beta_2": 0.99, "learning_rate_init": 0.01},
}


# The same as scikit-learn's


def test_all_of_its_parameters_are_here_with_their_defaults_and_in_their_order():
    for name in ("MLPClassifier", "MLPRegressor"):
        theirs = inspect.signature(getattr(sklearn.neural_network, name)).parameters
        ours = inspect.signature(getattr(minidl.estimators, name)).parameters
        positions = [each for each in theirs if theirs[each].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        assert [each for each in ours if each in positions] == positions
        assert {each: ours[each].default for each in theirs} == {each: theirs[each].default for each in theirs}
        assert {each: ours[each].kind for each in theirs} == {each: theirs[each].kind for each in theirs}


@pytest.mark.parametrize("activation", ["relu", "logistic"])
@every_kind
def test_the_first_weights_are_the_same_numbers(kind, activation):
    x, y = problem(kind)
    # A rate so small that a step changes no bit.
    ours, theirs = pair(kind, activation=activation, solver="sgd", learning_rate_init=1e-300, max_iter=1)
    ours.fit(x, y), theirs.fit(x, y)
    for one, two in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("solver", SOLVERS)
@every_kind
def test_each_solver_takes_the_same_steps(kind, solver):
    x, y = problem(kind)
    ours, theirs = pair(kind, **SOLVERS[solver])
    assert_same_fit(ours.fit(x, y), theirs.fit(x, y), x)


@pytest.mark.parametrize("solver", SOLVERS)
def test_for_several_numbers_the_steps_are_the_same_and_the_loss_is_the_one_that_they_lower(solver):
    # scikit-learn reports the mean over the outputs, and follows the gradient of the sum, which minidl reports.
    x, y = problem("several numbers")
    ours, theirs = pair("several numbers", alpha=0.0, **SOLVERS[solver])
    assert_same_steps(ours.fit(x, y), theirs.fit(x, y), x)
    np.testing.assert_allclose(ours.loss_curve_, 3 * np.array(theirs.loss_curve_), rtol=1e-9)


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_each_activation_and_penalty_is_the_same(activation, alpha):
    x, y = problem("several labels")
    ours, theirs = pair("several labels", activation=activation, alpha=alpha, **ADAM)
    assert_same_fit(ours.fit(x, y), theirs.fit(x, y), x)


@pytest.mark.parametrize("sizes", [6, [6], np.array([3, 2]), ()])
def test_hidden_layers_are_a_number_or_any_sequence(sizes):
    x, y = problem("three classes")
    ours, theirs = pair("three classes", hidden_layer_sizes=sizes, **ADAM)
    assert_same_fit(ours.fit(x, y), theirs.fit(x, y), x)


@every_kind
def test_batches_of_unshuffled_rows_are_the_same(kind):
    x, y = problem(kind)
    ours, theirs = pair(kind, batch_size=20, max_iter=6, **ADAM)
    assert_same_fit(ours.fit(x, y), theirs.fit(x, y), x)


def test_auto_is_a_batch_of_at_most_200_rows():
    x, y = problem("number", 400)
    ours, theirs = pair("number", batch_size="auto", max_iter=4, **ADAM)
    assert_same_fit(ours.fit(x, y), theirs.fit(x, y), x)
    assert ours.trainer_.step == 8
    assert ours.fit(x[:50], y[:50]).trainer_.step == 4


@since_1_7
@every_kind
def test_weights_that_are_no_whole_numbers_weigh_the_same(kind):
    x, y = problem(kind)
    weights = np.random.default_rng(1).uniform(0, 3, ROWS)
    ours, theirs = pair(kind, alpha=0.1, **SOLVERS["nesterov"])
    assert_same_fit(ours.fit(x, y, weights), theirs.fit(x, y, weights), x)


def test_float32_is_computed_in_float32():
    x, y = problem("several numbers")
    ours, theirs = pair("several numbers", **ADAM)
    x, y = x.astype(np.float32), y.astype(np.float32)
    ours.fit(x, y), theirs.fit(x, y)
    assert ours.predict(x).dtype == theirs.predict(x).dtype == ours.coefs_[0].dtype == np.float32
    # 15 steps in float32, whose roundings are of 6e-8.
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), rtol=1e-3, atol=1e-5)


@every_kind
def test_lbfgs_reaches_the_same_minimum(kind):
    x, y = problem(kind)
    # Without hidden layers, and with a penalty, there is one minimum.
    ours, theirs = pair(kind, solver="lbfgs", hidden_layer_sizes=(), alpha=1.0, max_iter=500, tol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        ours.fit(x, y), theirs.fit(x, y)
    # Both end where a step gains less than 2e-9 of the loss; the parameters are known to about the root of that.
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-7)
    for one, two in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        np.testing.assert_allclose(one, two, atol=2e-3)
    assert ours.n_iter_ == pytest.approx(theirs.n_iter_, abs=8)
    assert ours.t_ == ours.n_iter_ * ROWS


def test_lbfgs_agrees_with_linear_models():
    settings = {"solver": "lbfgs", "hidden_layer_sizes": (), "alpha": 2.0, "max_iter": 500, "tol": 1e-9}
    x, y = problem("two classes")
    other = LogisticRegression(C=0.5, tol=1e-9).fit(x, y)
    np.testing.assert_allclose(pair(**settings)[0].fit(x, y).predict_proba(x), other.predict_proba(x), atol=1e-4)
    x, y = problem("several numbers")
    ours = pair("several numbers", **settings)[0].fit(x, y)
    np.testing.assert_allclose(ours.predict(x), Ridge(alpha=2.0).fit(x, y).predict(x), atol=1e-3)


def test_lbfgs_may_evaluate_max_fun_times():
    x, y = problem("number")
    ours, _ = pair("number", solver="lbfgs", max_iter=500, max_fun=9)
    with pytest.warns(ConvergenceWarning, match=r"lbfgs did not converge in \d iterations: raise max_iter or max_fun"):
        ours.fit(x, y)
    assert 9 <= ours.trainer_.optimizer.evaluations <= 9 + 20  # an iteration is not cut short
    assert ours.n_iter_ <= 9


def test_lbfgs_with_too_few_iterations_warns():
    x, y = problem("number")
    ours, _ = pair("number", solver="lbfgs", max_iter=3)
    with pytest.warns(ConvergenceWarning, match="lbfgs did not converge in 3 iterations"):
        ours.fit(x, y)
    assert ours.n_iter_ == 3


# When the training ends


@pytest.mark.parametrize("learning_rate", ["constant", "invscaling", "adaptive"])
@pytest.mark.parametrize("n_iter_no_change", [2, 3])
def test_it_ends_in_the_same_epoch_with_the_same_lines(capsys, learning_rate, n_iter_no_change):
    x, y = problem("number")
    settings = {"tol": 0.02, "max_iter": 300, "learning_rate_init": 0.05, "verbose": True}
    ours, theirs = pair(
        "number", solver="sgd", learning_rate=learning_rate, n_iter_no_change=n_iter_no_change, **settings
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        ours.fit(x, y)
        printed = capsys.readouterr().out
        theirs.fit(x, y)
    assert printed == capsys.readouterr().out
    assert_same_fit(ours, theirs, x)
    assert ours.n_iter_ < 300


def test_adam_has_no_falling_rate():
    x, y = problem("number")
    ours, theirs = pair("number", learning_rate="adaptive", tol=0.5, max_iter=100, n_iter_no_change=2, **ADAM)
    assert_same_fit(ours.fit(x, y), theirs.fit(x, y), x)
    assert ours.trainer_.optimizer.rate() == 1e-3


def test_it_never_ends_where_any_number_of_epochs_may_fail():
    x, y = problem("number")
    ours, theirs = pair("number", n_iter_no_change=np.inf, tol=1e9, max_iter=25, **ADAM)
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(25\) reached"):
        assert_same_fit(ours.fit(x, y), theirs.fit(x, y), x)


def hold_out_the_last_rows(monkeypatch, rows=12):
    """Let both hold out the same rows; which ones, the tests of `split_rows` look at."""

    def split_theirs(*arrays, **_):
        return [part for array in arrays for part in (array[:-rows], array[-rows:])]

    def split_ours(data, *_):
        return data.take(np.arange(len(data) - rows)), data.take(np.arange(len(data) - rows, len(data)))

    monkeypatch.setattr("sklearn.neural_network._multilayer_perceptron.train_test_split", split_theirs)
    monkeypatch.setattr("minidl.estimators.multilayer_perceptron.split_rows", split_ours)


@every_kind
@pytest.mark.parametrize("solver", ["adam", "nesterov"])
def test_early_stopping_keeps_the_same_scores_and_the_same_best_network(monkeypatch, capsys, kind, solver):
    hold_out_the_last_rows(monkeypatch)
    x, y = problem(kind)
    settings = {"early_stopping": True, "batch_size": 24, "n_iter_no_change": 4, "verbose": 1, "max_iter": 200}
    ours, theirs = pair(kind, **SOLVERS[solver], **settings)
    ours.fit(x, y)
    printed = capsys.readouterr().out
    theirs.fit(x, y)
    assert printed == capsys.readouterr().out
    assert_same_fit(ours, theirs, x)
    assert ours.best_loss_ is None
    score = r2_score if kind in {"number", "counts"} else accuracy_score
    assert ours.best_validation_score_ == pytest.approx(score(y[-12:], ours.predict(x[-12:])), abs=1e-12)
    assert ours.best_validation_score_ == max(ours.validation_scores_)
    assert len(ours.validation_scores_) == ours.n_iter_ < 200


@since_1_7
def test_early_stopping_weighs_the_rows_held_out_as_it_does_the_others(monkeypatch):
    hold_out_the_last_rows(monkeypatch)
    x, y = problem()
    weights = np.random.default_rng(1).uniform(0, 3, ROWS)
    ours, theirs = pair(early_stopping=True, batch_size=48, **SOLVERS["nesterov"])
    assert_same_fit(ours.fit(x, y, weights), theirs.fit(x, y, weights), x)


@pytest.mark.parametrize("solver", ["adam", "nesterov"])
def test_the_best_network_stays_the_best_one_over_a_warm_start(monkeypatch, solver):
    hold_out_the_last_rows(monkeypatch)
    x, y = problem("three classes")
    settings = {"early_stopping": True, "batch_size": 24, "n_iter_no_change": 2, "warm_start": True}
    estimator, best = pair("three classes", **SOLVERS[solver], **settings)[0], []
    for _ in range(6):  # scikit-learn's trains the best network itself on, and so loses it
        estimator.fit(x, y)
        best.append(estimator.model_.parameters.copy())
        assert estimator.best_validation_score_ == max(estimator.validation_scores_)
        assert estimator.best_validation_score_ == accuracy_score(y[-12:], estimator.predict(x[-12:]))
    assert any(np.array_equal(one, other) for one, other in pairwise(best))  # a fit that found no better one


def test_after_ctrl_c_early_stopping_keeps_the_best_network():
    x, y = problem()
    settings = {"early_stopping": True, "random_state": 0, "learning_rate_init": 0.1, "tol": 0}

    def interrupt_when_worse(trainer):
        scores = trainer.history["val_accuracy"]
        if scores[-1] < max(scores):
            raise KeyboardInterrupt

    estimator = MLPClassifier(**settings, callbacks=[interrupt_when_worse])
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(x, y)
    epoch = int(np.argmax(estimator.validation_scores_)) + 1
    best = MLPClassifier(**settings, max_iter=epoch).fit(x, y)
    np.testing.assert_array_equal(estimator.predict_proba(x), best.predict_proba(x))


@pytest.mark.parametrize("kind", ["two classes", "several labels", "number"])
def test_early_stopping_holds_out_a_fraction_of_the_rows(kind):
    x, y = problem(kind)
    ours, _ = pair(kind, early_stopping=True, validation_fraction=0.25, batch_size="auto")
    ours.fit(x, y)
    assert ours.t_ == 45 * ours.n_iter_
    assert len(ours.validation_scores_) == len(ours.loss_curve_) == ours.n_iter_


@since_1_7
def test_too_few_rows_to_hold_out_are_an_error_in_the_same_words():
    x, y = problem("number", 10)
    messages = []
    for estimator in pair("number", early_stopping=True, batch_size="auto", validation_fraction=0.1):
        with pytest.raises(ValueError, match="too small") as error:
            estimator.fit(x, y)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


# Going on


def test_partial_fit_goes_on_with_the_same_optimizer():
    x, y = problem("three classes")
    ours, theirs = pair("three classes", **SOLVERS["adam"])
    for part in (slice(0, 40), slice(20, 60), slice(0, 60), slice(0, 10)):
        for estimator in (ours, theirs):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of a batch larger than the rows
                estimator.partial_fit(x[part], y[part], classes=[0, 1, 2])
    assert_same_fit(ours, theirs, x)
    assert ours.t_ == 40 + 40 + 60 + 10
    assert ours.n_iter_ == 1


def test_partial_fit_of_a_regressor_and_of_several_labels_needs_no_classes():
    for kind in ("number", "several labels"):
        x, y = problem(kind)
        ours, theirs = pair(kind, **SOLVERS["momentum"])
        for estimator in (ours, theirs):
            estimator.partial_fit(x, y, **({"classes": [0, 1, 2]} if "label" in kind else {})).partial_fit(x, y)
        assert_same_fit(ours, theirs, x)


@pytest.mark.parametrize("solver", ["adam", "invscaling"])
def test_warm_start_goes_on_with_the_network_and_a_new_optimizer(solver):
    x, y = problem("number")
    ours, theirs = pair("number", warm_start=True, n_iter_no_change=99, **SOLVERS[solver])
    for _ in range(2):
        ours.fit(x, y), theirs.fit(x, y)
        assert_same_fit(ours, theirs, x)
    assert len(ours.loss_curve_) == 30
    assert ours.n_iter_ == 15


def test_without_warm_start_a_fit_begins_anew():
    x, y = problem("number")
    ours, _ = pair("number")
    first = ours.fit(x, y).predict(x)
    model = ours.model_
    np.testing.assert_array_equal(ours.fit(x, y).predict(x), first)
    assert ours.model_ is not model


def test_partial_fit_is_not_for_solvers_that_need_all_rows_nor_for_early_stopping():
    x, y = problem("number")
    for estimator in (MLPRegressor(solver="lbfgs"), MLPRegressor(optimizer="lbfgs"), MLPRegressor(optimizer=LBFGS())):
        assert not hasattr(estimator, "partial_fit")
    assert hasattr(MLPRegressor(solver="lbfgs", optimizer="adam"), "partial_fit")
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        MLPRegressor(early_stopping=True).partial_fit(x, y)


# Warnings and errors


def test_a_batch_larger_than_the_data_is_cut_and_warned_of():
    x, y = problem("number")
    for estimator in pair("number", batch_size=61, max_iter=2):
        with pytest.warns(UserWarning, match="Got `batch_size` less than 1 or larger than sample size"):
            estimator.fit(x, y)


@pytest.mark.parametrize(
    "parameters",
    [
        {"hidden_layer_sizes": (4, 0)},
        {"hidden_layer_sizes": -1},
        {"activation": "ghost"},
        {"solver": "ghost"},
        {"alpha": -1},
        {"batch_size": 0},
        {"learning_rate_init": 0},
        {"max_iter": 0},
        {"beta_1": 1.0},
        {"shuffle": "ghost"},
        {"n_iter_no_change": -1},
    ],
    ids=str,
)
def test_parameters_that_cannot_be_are_refused_as_by_scikit_learn(parameters):
    x, y = problem("number")
    messages = []
    for estimator in pair("number", **parameters):
        with pytest.raises(ValueError) as error:  # noqa: PT011
            estimator.fit(x, y)
        messages.append(sorted(re.findall(r"[\w.'>=]+", str(error.value))))  # names of a set come in any order
    assert messages[0] == messages[1]


@pytest.mark.parametrize("parameters", [{"dropout": 1.0}, {"normalization": "group"}, {"schedule": 3}, {"loss": "l1"}])
def test_so_are_those_that_scikit_learn_does_not_have(parameters):
    x, y = problem("number")
    with pytest.raises(ValueError, match=f"The {next(iter(parameters))!r} parameter of MLPRegressor must be"):
        MLPRegressor(**parameters).fit(x, y)


def test_a_run_that_diverges_is_scikit_learns_error():
    x, y = problem("number")
    estimator = MLPRegressor(solver="sgd", learning_rate_init=1e8, max_iter=50)
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights.*the run diverges"):
        estimator.fit(x * 1e6, y)


class Explode(Callback):
    """Makes the parameters infinite in some epoch."""

    epoch: int = 3

    def on_epoch_begin(self, trainer):
        if trainer.epoch == self.epoch:
            trainer.model.parameters[:] = np.inf


def test_with_early_stopping_the_best_network_survives_a_run_that_diverges():
    x, y = problem()
    estimator = MLPClassifier(early_stopping=True, callbacks=[Explode()], random_state=0)
    with pytest.warns(ConvergenceWarning, match="The best parameters are kept: .* epoch 4"):
        estimator.fit(x, y)
    expected = MLPClassifier(early_stopping=True, max_iter=3, random_state=0).fit(x, y)
    np.testing.assert_array_equal(estimator.predict_proba(x), expected.predict_proba(x))
    np.testing.assert_array_equal(estimator.validation_scores_, [*expected.validation_scores_, np.nan])


def stop_after_two(trainer):
    if trainer.epoch == 2:
        trainer.stop()


def test_a_callback_that_stops_the_training_is_no_failure_to_converge():
    x, y = problem()
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        estimator = MLPClassifier(callbacks=[stop_after_two]).fit(x, y)
    assert estimator.n_iter_ == len(estimator.history_["loss"]) == 2


def interrupt(trainer):
    raise KeyboardInterrupt


def test_after_ctrl_c_the_network_is_that_of_the_last_whole_step():
    x, y = problem()
    estimator = MLPClassifier(random_state=0, max_iter=5, warm_start=True)
    with pytest.raises(KeyboardInterrupt):
        estimator.set_params(callbacks=[interrupt]).fit(x, y)
    assert estimator.n_iter_ == len(estimator.loss_curve_) == 1
    once = MLPClassifier(random_state=0, max_iter=1).fit(x, y)
    np.testing.assert_array_equal(estimator.predict_proba(x), once.predict_proba(x))
    estimator.set_params(callbacks=None).fit(x, y)
    assert len(estimator.loss_curve_) == 6


# What scikit-learn's do not have


def names_of(estimator):
    return [type(layer).__name__ for layer in estimator.model_.layers]


def test_dropout_and_normalization_come_with_each_hidden_layer():
    x, y = problem("three classes")
    settings = {"hidden_layer_sizes": (6, 4), "max_iter": 2}
    plain = MLPClassifier(**settings).fit(x, y)
    assert names_of(plain) == ["Dense", "ReLU", "Dense", "ReLU", "Dense"]
    batch = MLPClassifier(**settings, dropout=0.25, normalization="batch", activation="tanh").fit(x, y)
    assert names_of(batch) == ["Dense", "BatchNorm", "Tanh", "Dropout"] * 2 + ["Dense"]
    assert {layer.rate for layer in batch.model_.layers if isinstance(layer, Dropout)} == {0.25}
    assert batch.n_layers_ == len(batch.coefs_) + 1 == 4
    layer = MLPClassifier(**settings, normalization="layer", activation="identity").fit(x, y)
    assert names_of(layer) == ["Dense", "LayerNorm", "Dense", "LayerNorm", "Dense"]


def test_dropout_disturbs_the_training_alone_by_the_random_state():
    x, y = problem("number")
    settings = {"hidden_layer_sizes": (20,), "max_iter": 3, "shuffle": False}
    one, same, other = (MLPRegressor(dropout=0.5, random_state=seed, **settings).fit(x, y) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.predict(x), one.predict(x))
    np.testing.assert_array_equal(one.predict(x), same.predict(x))
    assert not np.allclose(one.predict(x), other.predict(x))
    masks = [layer.generator for layer in one.model_.layers if isinstance(layer, Dropout)]
    assert masks[0] is not None


def test_batch_normalization_learns_the_statistics_of_its_inputs():
    x, y = problem("number")
    estimator = MLPRegressor(
        hidden_layer_sizes=8, normalization="batch", learning_rate_init=1e-12, max_iter=150, tol=0
    ).fit(x, y)
    norm = next(layer for layer in estimator.model_.layers if isinstance(layer, BatchNorm))
    inputs = x @ estimator.coefs_[0] + estimator.intercepts_[0]
    # After 150 epochs of momentum 0.9, 1e-7 of the first values is left; the weights hardly move.
    np.testing.assert_allclose(norm.running_mean.value, inputs.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(norm.running_variance.value, inputs.var(axis=0, ddof=1), rtol=1e-5)


def test_an_optimizer_takes_the_place_of_the_solver():
    x, y = problem("number")
    settings = {"random_state": 0, "max_iter": 4}
    optimizer = Momentum(0.02, momentum=0.5, nesterov=True)
    ours = MLPRegressor(**settings, optimizer=optimizer, solver="lbfgs").fit(x, y)
    same = MLPRegressor(**settings, solver="sgd", momentum=0.5, learning_rate_init=0.02).fit(x, y)
    np.testing.assert_array_equal(ours.predict(x), same.predict(x))
    assert optimizer.step == 0  # the estimator's own is a copy
    assert type(MLPRegressor(**settings, optimizer="rmsprop").fit(x, y).trainer_.optimizer).__name__ == "RMSprop"


def test_lbfgs_of_ones_own_takes_all_rows_and_converges():
    x, y = problem("number")
    settings = {"hidden_layer_sizes": (), "alpha": 1.0, "max_iter": 300, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        estimator = MLPRegressor(**settings, optimizer=LBFGS(), tol=0.0).fit(x, y)
    assert estimator.n_iter_ < 300
    assert estimator.trainer_.batch_size is None
    solver = MLPRegressor(**settings, solver="lbfgs").fit(x, y)
    assert estimator.loss_ == pytest.approx(solver.loss_, rel=1e-6)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_a_schedule_takes_the_place_of_the_learning_rate(solver):
    x, y = problem("number")
    rates = []
    schedule = ExponentialDecay(0.1, steps=2, factor=0.5)
    estimator = MLPRegressor(
        solver=solver,
        learning_rate="invscaling",
        schedule=schedule,
        max_iter=4,
        callbacks=[lambda trainer: rates.append(trainer.optimizer.rate())],
    )
    estimator.fit(x, y)
    assert rates == pytest.approx([schedule(step) for step in range(1, 5)])


def test_a_schedule_is_also_that_of_an_optimizer_of_ones_own():
    x, y = problem("number")
    estimator = MLPRegressor(optimizer=Adam(0.5), schedule=lambda step: 0.25 / (step + 1), max_iter=3).fit(x, y)
    assert estimator.trainer_.optimizer.rate() == 0.25 / 4
    estimator = MLPRegressor(schedule=OneCycle(0.1, steps=3), max_iter=3).fit(x, y)
    assert repr(estimator.trainer_.optimizer.learning_rate) == repr(OneCycle(0.1, steps=3))


def test_a_loss_of_ones_own_has_the_last_word():
    x, y = problem()
    settings = {"max_iter": 40, "random_state": 0, "learning_rate_init": 0.02}
    softmax = MLPClassifier(**settings, loss=SoftmaxCrossEntropy()).fit(x, y)
    assert softmax.n_outputs_ == 2
    assert softmax.out_activation_ == "softmax"
    assert softmax.predict_proba(x).shape == (ROWS, 2)
    assert softmax.score(x, y) > 0.9
    hinge = MLPClassifier(**settings, loss=Hinge()).fit(x, y)
    assert hinge.score(x, y) > 0.9
    assert not hasattr(hinge, "predict_proba")
    assert not hasattr(MLPClassifier(loss=Hinge()), "predict_log_proba")
    huber = MLPRegressor(Huber(), **settings).fit(*problem("number"))
    assert isinstance(huber.model_.loss, Huber)
    assert huber.out_activation_ == "identity"
    assert MLPRegressor(Poisson(), **settings).fit(*problem("counts")).out_activation_ == "exp"


def test_class_weights_multiply_those_of_rows():
    x, y = problem("three classes")
    names = np.array(["a", "b", "c"])[y]
    own = np.random.default_rng(1).uniform(0.5, 2, ROWS)
    settings = {"random_state": 0, "max_iter": 5, "shuffle": False}
    for class_weight in ({"a": 3, "b": 0.5, "c": 1}, "balanced"):
        of_class = compute_sample_weight(class_weight, names)
        for weights in (None, own):
            ours = MLPClassifier(**settings, class_weight=class_weight).fit(x, names, weights)
            same = MLPClassifier(**settings).fit(x, names, of_class if weights is None else weights * of_class)
            np.testing.assert_array_equal(ours.predict_proba(x), same.predict_proba(x))
    assert not np.array_equal(MLPClassifier(**settings).fit(x, names).predict_proba(x), ours.predict_proba(x))


def test_metrics_are_in_the_history_also_of_rows_held_out():
    x, y = problem()
    metrics = ["accuracy", "recall"]
    estimator = MLPClassifier(metrics=metrics, early_stopping=True, max_iter=3, shuffle=False).fit(x, y)
    assert set(estimator.history_) == {"loss", "accuracy", "recall", "val_loss", "val_accuracy", "val_recall"}
    assert estimator.history_["val_accuracy"] == estimator.validation_scores_
    assert metrics == ["accuracy", "recall"]


class Count(Callback):
    """Counts epochs."""

    epochs = 0

    def on_epoch_end(self, trainer):
        self.epochs += 1
        trainer.seen = self.epochs


def test_each_fit_uses_copies_of_the_callbacks():
    x, y = problem()
    count = Count()
    estimator = MLPClassifier(callbacks=[count], max_iter=3)
    assert estimator.fit(x, y).trainer_.seen == estimator.fit(x, y).trainer_.seen == 3
    assert count.epochs == 0


def test_inputs_are_augmented_in_training_alone():
    x, y = problem("number")
    settings = {"random_state": 0, "max_iter": 5}
    ours = MLPRegressor(**settings, augment=lambda inputs, rng: inputs + 1).fit(x, y)
    same = MLPRegressor(**settings, shuffle=False).fit(x + 1, y)
    assert ours.loss_curve_ == pytest.approx(same.loss_curve_, rel=1e-9)
    np.testing.assert_allclose(ours.predict(x + 1), same.predict(x + 1), rtol=1e-9)


def test_the_average_of_the_parameters_is_the_network():
    x, y = problem("number")
    seen = []

    def note(trainer):
        seen.append([trainer.average.vector, trainer.model.parameters.copy()][trainer.average.shown_as is not None])

    settings = {"random_state": 0, "max_iter": 6, "shuffle": False}
    average = ExponentialMovingAverage(0.7)
    ours = MLPRegressor(**settings, average=average, callbacks=[note]).fit(x, y)
    plain = MLPRegressor(**settings).fit(x, y)
    np.testing.assert_array_equal(ours.model_.parameters, seen[-1])
    np.testing.assert_allclose(ours.trainer_.average.vector, plain.model_.parameters, rtol=1e-12)
    assert not np.allclose(ours.predict(x), plain.predict(x))
    assert average.vector is None


def test_verbose_may_be_a_progress_bar(capsys):
    x, y = problem()
    MLPClassifier(verbose="bar", max_iter=2).fit(x, y)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "epoch 2/2 loss" in printed.err
    MLPClassifier(max_iter=2).fit(x, y)
    assert capsys.readouterr() == ("", "")


def test_attributes_of_the_network_are_there_once_it_is_fitted():
    estimator = MLPClassifier()
    for name in ("coefs_", "intercepts_", "n_layers_", "n_outputs_", "out_activation_", "classes_", "loss_curve_"):
        assert not hasattr(estimator, name)
    estimator.fit(*problem())
    assert np.shares_memory(estimator.coefs_[0], estimator.model_.parameters)
    assert isinstance(estimator.model_.loss, SigmoidCrossEntropy)
    assert {type(layer) for layer in estimator.model_.layers} == {Dense, ReLU}
    tanh = MLPClassifier(activation="tanh", normalization="layer", max_iter=1).fit(*problem())
    assert {type(layer) for layer in tanh.model_.layers} == {Dense, LayerNorm, Tanh}


def test_weights_may_be_assigned_as_a_whole_and_not_to_a_list_that_is_made_anew():
    x, y = problem("three classes")
    ours = MLPClassifier((4,), max_iter=2, random_state=0).fit(x, y)
    with pytest.raises(TypeError, match="item assignment"):
        ours.coefs_[0] = np.zeros_like(ours.coefs_[0])
    ours.coefs_ = [np.zeros_like(weights) for weights in ours.coefs_]
    ours.intercepts_ = [np.zeros(4), [0, 0, 9]]
    assert (ours.predict(x) == ours.classes_[2]).all()
