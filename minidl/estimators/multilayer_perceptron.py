"""Drop-in replacements of scikit-learn's MLPClassifier and MLPRegressor."""

from __future__ import annotations

import copy
import math
import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, Options, StrOptions

from minidl.errors import DivergenceError
from minidl.estimators.base import (
    NetworkClassifierBase,
    NetworkEstimator,
    NetworkRegressorBase,
    keep_arguments,
    seed_from,
)
from minidl.estimators.convergence import Convergence, CountedLBFGS, ExactMatch
from minidl.estimators.losses import HalfPoissonDeviance, HalfSquaredError, SummedSigmoidCrossEntropy
from minidl.estimators.rows import TrainingRows, split_rows
from minidl.layers import BatchNorm, Dense, Dropout, Layer, LayerNorm, ReLU, Sigmoid, Tanh
from minidl.losses import CategoricalLoss, Loss, Poisson, SoftmaxCrossEntropy
from minidl.metrics import as_metrics
from minidl.model import Sequential
from minidl.optimizers import Adam, Momentum, Optimizer, get_optimizer
from minidl.regularizers import L2
from minidl.schedules import Schedule
from minidl.training import Average, Trainer
from minidl.training.monitoring import put_back
from minidl.typing import Array, Shape

_ACTIVATIONS: dict[str, Callable[[], Layer]] = {"logistic": Sigmoid, "tanh": Tanh, "relu": ReLU}
_NORMALIZATIONS: dict[str, Callable[[], Layer]] = {"batch": BatchNorm, "layer": LayerNorm}


class MLPBase(NetworkEstimator):
    """Base of the two classes."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions({"identity", "logistic", "tanh", "relu"})],
        "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose", StrOptions({"bar"})],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "normalization": [StrOptions({"batch", "layer"}), None],
        "optimizer": [Optimizer, str, None],
        "schedule": [Schedule, callable, None],
        "callbacks": [list, tuple, None],
        "metrics": [list, tuple, None],
        "augment": [callable, None],
        "average": [Average, None],
        "standardize": ["boolean"],
    }

    @property
    def coefs_(self) -> tuple[Array, ...]:
        """The weights (inputs, units) of each layer: views, so changes in place change the network."""
        return tuple(layer.weight.value for layer in self._dense_layers())

    @coefs_.setter
    def coefs_(self, values: Sequence[Array]) -> None:
        for own, value in zip(self.coefs_, values, strict=True):
            own[...] = value

    @property
    def intercepts_(self) -> tuple[Array, ...]:
        """The biases (units,) of each layer: views, so changes in place change the network."""
        return tuple(layer.bias.value for layer in self._dense_layers() if layer.bias is not None)

    @intercepts_.setter
    def intercepts_(self, values: Sequence[Array]) -> None:
        for own, value in zip(self.intercepts_, values, strict=True):
            own[...] = value

    @property
    def n_layers_(self) -> int:
        """The number of layers, including the input."""
        return len(self._dense_layers()) + 1

    @property
    def n_outputs_(self) -> int:
        """The number of outputs of the network."""
        return self._dense_layers()[-1].units

    @property
    def out_activation_(self) -> str:
        """The function that turns scores into predictions: "softmax", "logistic", "identity" or "exp"."""
        return "exp" if isinstance(self.model_.loss, Poisson) else "identity"

    def _dense_layers(self) -> list[Dense]:
        if not hasattr(self, "model_"):
            raise AttributeError(f"this {type(self).__name__} is not fitted yet")
        return [layer for layer in self.model_.layers if isinstance(layer, Dense)]

    def _make_model(
        self, input_shape: Shape, first: list[Layer], loss: Loss, outputs: int, dtype: Any, random_state: Any
    ) -> Sequential:
        sizes = self.hidden_layer_sizes if np.iterable(self.hidden_layer_sizes) else [self.hidden_layer_sizes]
        layers = list(first)
        for units in sizes:
            if units <= 0:
                raise ValueError(f"hidden_layer_sizes must be > 0, got {list(sizes)}.")
            layers.append(Dense(int(units), initializer="glorot_uniform"))
            if self.normalization is not None:
                layers.append(_NORMALIZATIONS[self.normalization]())
            if self.activation != "identity":
                layers.append(_ACTIVATIONS[self.activation]())
            if self.dropout:
                layers.append(Dropout(self.dropout))
        layers.append(Dense(outputs, initializer="glorot_uniform"))
        seed = seed_from(random_state) if self.dropout else 0
        model = Sequential([*layers, loss], input_shape=input_shape, seed=seed, dtype=dtype)
        self._draw_first_values(model, random_state)
        return model

    def _draw_first_values(self, model: Sequential, random_state: Any) -> None:
        """Draw the same weights and biases as scikit-learn for the same `random_state`."""
        factor = 2.0 if self.activation == "logistic" else 6.0
        for layer in model.layers:
            if isinstance(layer, Dense) and layer.bias is not None:
                bound = math.sqrt(factor / sum(layer.weight.value.shape))
                layer.weight.value = random_state.uniform(-bound, bound, layer.weight.value.shape)
                layer.bias.value = random_state.uniform(-bound, bound, layer.bias.value.shape)

    @property
    def _is_stochastic(self) -> bool:
        return self.solver != "lbfgs" if self.optimizer is None else super()._is_stochastic

    def _make_optimizer(self) -> Optimizer:
        rate = self.learning_rate_init if self.schedule is None else copy.deepcopy(self.schedule)
        if self.optimizer is not None:
            optimizer = copy.deepcopy(get_optimizer(self.optimizer))
            if self.schedule is not None:
                optimizer.learning_rate = rate
            return optimizer
        if self.solver == "lbfgs":
            return CountedLBFGS(tolerance=1e7 * np.finfo(float).eps, gradient_tolerance=0)
        if self.solver == "sgd":
            return Momentum(rate, momentum=self.momentum, nesterov=self.nesterovs_momentum)
        return Adam(rate, beta1=self.beta_1, beta2=self.beta_2, epsilon=self.epsilon)

    def _train(self, rows: TrainingRows, random_state: Any, *, goes_on: bool, keep_optimizer: bool) -> None:
        held_out = None
        if self.early_stopping:
            if keep_optimizer:
                raise ValueError("partial_fit does not support early_stopping=True")
            rows, held_out = split_rows(rows, self.validation_fraction, random_state, self._strata(rows))
        if not (keep_optimizer and hasattr(self, "trainer_")):
            self.trainer_ = self._make_trainer(random_state)
        self._set_batch_size(rows)
        self._regularize(rows)
        convergence = self._make_convergence(goes_on)
        epochs = 1 if keep_optimizer else self.max_iter
        try:
            self._run(self.trainer_, rows, epochs, [convergence, *copy.deepcopy(self.callbacks or ())], held_out)
        except DivergenceError as error:
            if not convergence.best_model:
                raise ValueError(
                    "Solver produced non-finite parameter weights. The input data may contain large values and need to "
                    f"be preprocessed. ({error})"
                ) from error
            warnings.warn(f"The best parameters are kept: {error}", ConvergenceWarning, stacklevel=4)
            convergence.scores.append(math.nan)
        finally:
            self._keep_numbers(convergence)
            if convergence.best_model:
                put_back(convergence.best_model, self.model_)
        if convergence.converged or keep_optimizer:
            return
        if self.trainer_.optimizer.full_batch:
            message = (
                f"lbfgs did not converge in {convergence.epochs} iterations: raise max_iter or max_fun, or scale X."
            )
            warnings.warn(message, ConvergenceWarning, stacklevel=4)
        elif convergence.epochs == epochs:
            message = f"Maximum iterations ({epochs}) reached and the optimization hasn't converged yet."
            warnings.warn(f"Stochastic Optimizer: {message}", ConvergenceWarning, stacklevel=4)

    def _make_trainer(self, random_state: Any) -> Trainer:
        metrics: list[Any] = list(self.metrics or ())
        if self.early_stopping and self._score_metric() not in [metric.name for metric in as_metrics(metrics)]:
            metrics.append(ExactMatch() if self._score_metric() == "exact_match" else self._score_metric())
        return Trainer(
            self.model_,
            self._make_optimizer(),
            batch_size=None,
            shuffle=self.shuffle,
            seed=seed_from(random_state),
            metrics=metrics,
            augment=self.augment,
            average=copy.deepcopy(self.average),
        )

    def _set_batch_size(self, rows: TrainingRows) -> None:
        if self.trainer_.optimizer.full_batch:
            return
        if self.batch_size != "auto" and self.batch_size > len(rows):
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=5
            )
        self.trainer_.batch_size = min(200 if self.batch_size == "auto" else self.batch_size, len(rows))

    def _regularize(self, rows: TrainingRows) -> None:
        """Add scikit-learn's penalty: alpha / 2 times the squared weights, divided by the batch's summed row weight."""
        batch = (self.trainer_.batch_size or len(rows)) * rows.mean_weight
        for layer in self._dense_layers():
            layer.regularizer = L2(self.alpha / 2 / batch) if self.alpha else None

    def _make_convergence(self, goes_on: bool) -> Convergence:
        falls = self.solver == "sgd" and self.optimizer is None and self.schedule is None
        convergence = Convergence(
            score=f"val_{self._score_metric()}" if self.early_stopping else None,
            tol=self.tol,
            n_iter_no_change=self.n_iter_no_change,
            learning_rate=self.learning_rate if falls else "constant",
            learning_rate_init=self.learning_rate_init,
            power_t=self.power_t,
            max_fun=self.max_fun,
            verbose=self.verbose != "bar" and bool(self.verbose),
        )
        if goes_on:
            convergence.go_on_from(self)
        return convergence

    def _keep_numbers(self, convergence: Convergence) -> None:
        """Set the attributes that scikit-learn's classes have after training."""
        self.history_ = self.trainer_.history
        self.n_iter_, self.t_ = convergence.epochs, convergence.rows_seen
        self.loss_curve_ = convergence.losses
        self.loss_ = convergence.losses[-1] if convergence.losses else math.nan
        by_score = self.early_stopping
        self.best_loss_ = None if by_score else convergence.best_loss
        self.validation_scores_ = convergence.scores if by_score else None
        self.best_validation_score_ = convergence.best_score if by_score else None
        self._waited = convergence.waited

    def _fitted(self) -> dict[str, Any]:
        return super()._fitted() | {name: getattr(self, name) for name in _NUMBERS}

    def _restore_fitted(self, fitted: dict[str, Any]) -> None:
        super()._restore_fitted(fitted)
        for name in _NUMBERS:
            setattr(self, name, fitted[name])

    @abstractmethod
    def _score_metric(self) -> str:
        """Return the metric that `early_stopping` uses."""


_NUMBERS = (
    "n_iter_",
    "t_",
    "loss_",
    "loss_curve_",
    "best_loss_",
    "validation_scores_",
    "best_validation_score_",
    "_waited",
)


class MLPClassifier(NetworkClassifierBase, MLPBase):
    """Multilayer perceptron for classification: a drop-in replacement of scikit-learn's class, with more options.

    All parameters up to `max_fun` have the names, the meanings and the defaults of
    `sklearn.neural_network.MLPClassifier`. Pass the others by keyword.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int or int, default (100,)
        The units of each hidden layer.
    activation : "identity", "logistic", "tanh" or "relu", default "relu"
    solver : "adam", "sgd" or "lbfgs", default "adam"
    alpha : float >= 0, default 1e-4
        L2 penalty: the loss includes alpha / 2 times the squared weights, divided by the batch's summed row weight.
    batch_size : int or "auto", default "auto"
        "auto" is min(200, rows). L-BFGS takes all rows at once.
    learning_rate : "constant", "invscaling" or "adaptive", default "constant"
        For "sgd". "constant" keeps the rate; "invscaling" divides it by the number of rows seen to the power
        `power_t`; "adaptive" divides it by 5 each time that the training stops improving.
    learning_rate_init : float > 0, default 0.001
        For "sgd" and "adam".
    power_t : float >= 0, default 0.5
    max_iter : int >= 1, default 200
        Epochs; with "lbfgs", iterations.
    shuffle : bool, default True
        Visit rows in a random order. It does not depend on the order in which the rows are given.
    random_state : int, RandomState or None, default None
        Seed for the initial weights, the order of rows, the held-out rows, and dropout.
    tol : float >= 0, default 1e-4
        An epoch improves if the loss is lower, or the score higher, by at least `tol`. "lbfgs" ends when no entry of
        the gradient is larger than `tol`.
    verbose : bool, int or "bar", default False
        Print a line for each epoch, or show a progress bar.
    warm_start : bool, default False
        Continue with the current network when `fit` is called again.
    momentum : float in [0, 1), default 0.9
    nesterovs_momentum : bool, default True
        Both for "sgd".
    early_stopping : bool, default False
        Hold out rows, stop when their score no longer improves, and keep the best epoch's network.
    validation_fraction : float in [0, 1), default 0.1
        The share of the rows that `early_stopping` holds out.
    beta_1, beta_2 : float in [0, 1), default 0.9 and 0.999
    epsilon : float > 0, default 1e-8
        All three for "adam".
    n_iter_no_change : int >= 1 or inf, default 10
        Stop after this many epochs in a row without improvement.
    max_fun : int >= 1, default 15000
        The most evaluations of the loss by "lbfgs".
    class_weight : dict of label -> weight, "balanced" or None, default None
    dropout : float in [0, 1), default 0
        The share of each hidden layer's outputs that are dropped in training.
    normalization : "batch", "layer" or None, default None
        Normalize each hidden layer's output before the activation.
    optimizer : Optimizer or its name, optional
        Replaces `solver` and its parameters.
    schedule : Schedule or function of the step, optional
        The learning rate of each step. Replaces `learning_rate` and `learning_rate_init`.
    loss : Loss, optional
        Default: the cross-entropy.
    callbacks : list of Callback or functions, optional
        Each `fit` uses copies.
    metrics : list of metrics, optional
        As for `Trainer`; `history_` holds their values.
    augment : callable, optional
        As for `Trainer`.
    average : Average, optional
        As for `Trainer`.
    standardize : bool, default False
        Scale each input feature to mean 0 and deviation 1, inside the network.

    Attributes
    ----------
    classes_, n_features_in_, feature_names_in_, n_outputs_, n_layers_, out_activation_
    coefs_, intercepts_ : tuple of array
        Weights (inputs, units) and biases (units,) of each layer: views, so changes in place change the network.
    loss_, best_loss_ : float
        The loss of the last epoch, and the lowest loss; `best_loss_` is None with `early_stopping`.
    loss_curve_ : list of float
    validation_scores_, best_validation_score_ : list of float, float
        With `early_stopping`: the accuracy on the held-out rows.
    n_iter_ : int
        Epochs of the last call.
    t_ : int
        Rows seen in all epochs.
    model_, trainer_, history_ : Sequential, Trainer, History

    Sources: see the layers and optimizers; Glorot and Bengio (2010), AISTATS, for the initial weights.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **MLPBase._parameter_constraints,
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
        "loss": [Loss, None],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        class_weight: Any = None,
        dropout: float = 0.0,
        normalization: str | None = None,
        optimizer: Any = None,
        schedule: Any = None,
        loss: Loss | None = None,
        callbacks: Any = None,
        metrics: Any = None,
        augment: Any = None,
        average: Average | None = None,
        standardize: bool = False,
    ) -> None:
        keep_arguments(self, locals())

    @property
    def out_activation_(self) -> str:
        """The function that turns scores into probabilities: "softmax" or "logistic"."""
        return "softmax" if isinstance(self.model_.loss, CategoricalLoss) else "logistic"

    def _loss_for(self, kind: str) -> Loss:
        if self.loss is not None:
            return self.loss
        return SoftmaxCrossEntropy() if kind == "multiclass" else SummedSigmoidCrossEntropy()

    def _score_metric(self) -> str:
        return "exact_match" if self._labels.several else "accuracy"


class MLPRegressor(NetworkRegressorBase, MLPBase):
    """Multilayer perceptron for regression: a drop-in replacement of scikit-learn's class, with more options.

    All parameters up to `max_fun` have the names, the meanings and the defaults of
    `sklearn.neural_network.MLPRegressor`. Pass the others by keyword.

    Parameters
    ----------
    loss : "squared_error", "poisson" or Loss, default "squared_error"
        Half of the squared error, or of the Poisson deviance, summed over the outputs; or any loss for numbers.
    hidden_layer_sizes, activation, ..., max_fun
        As for `MLPClassifier`; the score of `early_stopping` is the coefficient of determination.
    dropout, normalization, optimizer, schedule, callbacks, metrics, augment, average
        As for `MLPClassifier`.
    standardize : bool, default False
        Scale each input feature, and each output's targets, to mean 0 and deviation 1, inside the network. Predictions
        are in the user's units. Targets of "poisson" are counts and are not scaled.

    Attributes
    ----------
    As for `MLPClassifier`, without `classes_`.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **MLPBase._parameter_constraints,
        "loss": [StrOptions({"squared_error", "poisson"}), Loss],
    }

    def __init__(
        self,
        loss: Any = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: float = 0.0,
        normalization: str | None = None,
        optimizer: Any = None,
        schedule: Any = None,
        callbacks: Any = None,
        metrics: Any = None,
        augment: Any = None,
        average: Average | None = None,
        standardize: bool = False,
    ) -> None:
        keep_arguments(self, locals())

    def _loss_for(self, kind: str) -> Loss:
        if isinstance(self.loss, Loss):
            return self.loss
        return HalfPoissonDeviance() if self.loss == "poisson" else HalfSquaredError()

    def _score_metric(self) -> str:
        return "r2_score"
