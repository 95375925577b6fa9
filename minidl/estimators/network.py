"""Estimators for networks of any layers."""

from __future__ import annotations

import copy
import inspect
import weakref
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar

from sklearn.utils._param_validation import Interval, StrOptions

from minidl.errors import ArgumentError, ArgumentTypeError
from minidl.estimators.base import (
    NetworkClassifierBase,
    NetworkEstimator,
    NetworkRegressorBase,
    keep_arguments,
    seed_from,
)
from minidl.estimators.rows import TrainingRows, split_rows
from minidl.layers import Dense, Layer, Softmax
from minidl.losses import Loss, MeanSquaredError, SigmoidCrossEntropy, SoftmaxCrossEntropy
from minidl.model import Sequential
from minidl.optimizers import Optimizer
from minidl.reprs import brief
from minidl.training import Average, Trainer
from minidl.typing import Shape

_built: weakref.WeakSet[Layer] = weakref.WeakSet()
"""Layers that a build_model has returned: a second network with them would start from the first one's training."""


class NetworkBase(NetworkEstimator):
    """Base of the two classes."""

    layers: Any
    build_model: Callable[..., Sequential] | None
    loss: Loss | None
    optimizer: Any
    batch_size: int | None
    max_iter: int
    shuffle: bool
    metrics: Any
    clip_norm: float | None
    clip_value: float | None
    average: Average | None
    augment: Any
    callbacks: Any
    validation_fraction: float | None
    verbose: Any

    _takes_images = True
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "layers": ["array-like", None],
        "build_model": [callable, None],
        "loss": [Loss, None],
        "optimizer": [Optimizer, str],
        "batch_size": [Interval(Integral, 1, None, closed="left"), None],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "metrics": [list, tuple, None],
        "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
        "clip_value": [Interval(Real, 0, None, closed="neither"), None],
        "average": [Average, None],
        "augment": [callable, None],
        "callbacks": [list, tuple, None],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither"), None],
        "standardize": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose", StrOptions({"bar"})],
        "warm_start": ["boolean"],
    }

    def _make_model(
        self, input_shape: Shape, first: list[Layer], loss: Loss, outputs: int, dtype: Any, random_state: Any
    ) -> Sequential:
        seed = seed_from(random_state)
        elements = self._elements(seed, input_shape, outputs)
        if first:
            _refuse_scaling(elements)
        if not (elements and isinstance(elements[-1], Loss)):
            if elements and isinstance(elements[-1], Softmax):
                raise ArgumentError(f"layers end with {elements[-1]!r}: remove it and the output layer, they are added")
            elements += [Dense(outputs, initializer="glorot_uniform"), loss]
        elif self.loss is not None:
            raise ArgumentError("the layers end with a loss, and loss= gives another one: remove one")
        return Sequential([*first, *elements], input_shape=input_shape, seed=seed, dtype=dtype)

    def _elements(self, seed: int, input_shape: Shape, outputs: int) -> list[Layer | Loss]:
        """Return new layers, which may end with a loss."""
        if self.build_model is None:
            return list(copy.deepcopy(self.layers or ()))
        if self.layers is not None:
            raise ArgumentError("layers and build_model are both given: give only one")
        known = {"seed": seed, "input_shape": input_shape, "outputs": outputs}
        wanted = inspect.signature(self.build_model).parameters
        model = self.build_model(**{name: value for name, value in known.items() if name in wanted})
        if not isinstance(model, Sequential):
            raise ArgumentTypeError(f"build_model returned {brief(model)}; it must return a Sequential")
        if any(layer in _built for layer in model.layers):
            raise ArgumentError("build_model returned the layers of an earlier call again: make new ones at each call")
        _built.update(model.layers)
        return [*model.layers, *([model.loss] if model.loss else [])]

    def _train(self, rows: TrainingRows, random_state: Any, *, goes_on: bool, keep_optimizer: bool) -> None:
        held_out = None
        if self.validation_fraction is not None:
            fraction, strata = self.validation_fraction, self._strata(rows)
            rows, held_out = split_rows(rows, fraction, random_state, strata, at_random=self.shuffle)
        if not (keep_optimizer and hasattr(self, "trainer_")):
            self.trainer_ = Trainer(
                self.model_,
                copy.deepcopy(self.optimizer),
                batch_size=self.batch_size,
                shuffle=self.shuffle,
                seed=seed_from(random_state),
                metrics=self.metrics,
                clip_norm=self.clip_norm,
                clip_value=self.clip_value,
                average=copy.deepcopy(self.average),
                augment=self.augment,
            )
        epochs = 1 if keep_optimizer else self.max_iter
        hooks = list(copy.deepcopy(self.callbacks or ()))
        if self.verbose and self.verbose != "bar":
            hooks.append(_print_epoch)
        try:
            self._run(self.trainer_, rows, epochs, hooks, held_out)
        finally:
            self.history_ = self.trainer_.history
            self.n_iter_ = self.trainer_.epoch

    def _fitted(self) -> dict[str, Any]:
        return super()._fitted() | {"n_iter_": self.n_iter_}

    def _restore_fitted(self, fitted: dict[str, Any]) -> None:
        super()._restore_fitted(fitted)
        self.n_iter_ = int(fitted["n_iter_"])


def _refuse_scaling(elements: list[Layer | Loss]) -> None:
    """Raise ArgumentError for layers that look for whole ids, or for a padding value, in the input."""
    from minidl.sequences import Embedding, Masking  # few programs need sequences

    inside = [layer for each in elements if isinstance(each, Layer) for layer in each.walk()]
    for kind, what in ((Embedding, "ids"), (Masking, "padding")):
        if any(isinstance(layer, kind) for layer in inside):
            raise ArgumentError(f"standardize=True would scale the {what} that {kind.__name__} looks for: leave it out")


def _print_epoch(trainer: Trainer) -> None:
    """Print a line for the epoch that ends."""
    values = ", ".join(f"{name} = {value:.6g}" for name, value in trainer.metric_values.items())
    print(f"Epoch {trainer.epoch}: {values}")


class NetworkClassifier(NetworkClassifierBase, NetworkBase):
    """A classifier with any layers.

    Parameters
    ----------
    layers : list of Layer, optional
        The hidden layers. The estimator adds an output layer and the loss that fits the labels. A list that ends with
        a `Loss` is the whole network. Without layers the network is linear. Each `fit` uses copies. The layers'
        settings are parameters, too, such as ``layers__0__units``, so that a search can tune them.
    build_model : function, optional
        Replaces `layers`: it returns a new `Sequential`, either of hidden layers or with a loss. It may take any of
        the arguments `seed`, `input_shape` and `outputs`.
    loss : Loss, optional
        Default: `SoftmaxCrossEntropy`, or `SigmoidCrossEntropy` for two classes and for several labels per row.
    optimizer : Optimizer or its name, default "adam"
        The settings of an object, such as ``Adam()``, are parameters, too: ``optimizer__learning_rate``.
    batch_size : int or None, default 32
        None: all rows in one batch.
    max_iter : int >= 1, default 100
        Epochs.
    shuffle : bool, default True
        Visit rows in a random order. It does not depend on the order in which the rows are given.
    metrics, clip_norm, clip_value, average, augment
        As for `Trainer`.
    callbacks : list of Callback or functions, optional
        Each `fit` uses copies.
    validation_fraction : float in (0, 1), optional
        The share of the rows to hold out for callbacks such as ``EarlyStopping("val_loss")``. They are drawn at random
        or, with ``shuffle=False``, are the last rows.
    class_weight : dict of label -> weight, "balanced" or None, default None
    standardize : bool, default False
        Scale each input feature to mean 0 and deviation 1, inside the network.
    random_state : int, RandomState or None, default None
    verbose : bool, int or "bar", default False
        "bar" shows a progress bar; another true value prints a line for each epoch.
    warm_start : bool, default False
        Continue with the current network when `fit` is called again.

    Attributes
    ----------
    classes_, n_features_in_, feature_names_in_
    n_iter_ : int
        Epochs of the last call of `fit`.
    model_, trainer_, history_ : Sequential, Trainer, History

    Inputs may have more than two axes, such as images (N, height, width, channels).
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **NetworkBase._parameter_constraints,
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        layers: Any = None,
        *,
        build_model: Callable[..., Sequential] | None = None,
        loss: Loss | None = None,
        optimizer: Any = "adam",
        batch_size: int | None = 32,
        max_iter: int = 100,
        shuffle: bool = True,
        metrics: Any = None,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        average: Average | None = None,
        augment: Any = None,
        callbacks: Any = None,
        validation_fraction: float | None = None,
        class_weight: Any = None,
        standardize: bool = False,
        random_state: Any = None,
        verbose: Any = False,
        warm_start: bool = False,
    ) -> None:
        keep_arguments(self, locals())

    def _loss_for(self, kind: str) -> Loss:
        if self.loss is not None:
            return self.loss
        return SoftmaxCrossEntropy() if kind == "multiclass" else SigmoidCrossEntropy()


class NetworkRegressor(NetworkRegressorBase, NetworkBase):
    """A regressor with any layers.

    Parameters
    ----------
    layers, build_model, optimizer, ..., warm_start
        As for `NetworkClassifier`, without `class_weight`.
    loss : Loss, optional
        Default: `MeanSquaredError`.
    standardize : bool, default False
        Scale each input feature, and each output's targets, to mean 0 and deviation 1, inside the network. Predictions
        are in the user's units. Targets of `Poisson` are counts and are not scaled.

    Attributes
    ----------
    As for `NetworkClassifier`, without `classes_`.
    """

    def __init__(
        self,
        layers: Any = None,
        *,
        build_model: Callable[..., Sequential] | None = None,
        loss: Loss | None = None,
        optimizer: Any = "adam",
        batch_size: int | None = 32,
        max_iter: int = 100,
        shuffle: bool = True,
        metrics: Any = None,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        average: Average | None = None,
        augment: Any = None,
        callbacks: Any = None,
        validation_fraction: float | None = None,
        standardize: bool = False,
        random_state: Any = None,
        verbose: Any = False,
        warm_start: bool = False,
    ) -> None:
        keep_arguments(self, locals())

    def _loss_for(self, kind: str) -> Loss:
        return MeanSquaredError() if self.loss is None else self.loss
