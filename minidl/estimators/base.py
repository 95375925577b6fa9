"""The base of all estimators: they take data as scikit-learn does, train a model inside, and predict labels."""

from __future__ import annotations

import contextlib
import copy
import difflib
import os
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from minidl.arrays import as_array
from minidl.errors import ArgumentError, DataError, did_you_mean
from minidl.estimators.file import read_estimator, write_estimator
from minidl.estimators.labels import Labels
from minidl.estimators.parameters import inner_settings, with_setting
from minidl.estimators.rows import TrainingRows, training_rows
from minidl.estimators.standardization import Standardize, StandardizedTargets, measure
from minidl.layers import Layer
from minidl.losses import CategoricalLoss, Loss, Poisson
from minidl.model import Sequential
from minidl.optimizers import get_optimizer
from minidl.tables import as_frame, as_labels
from minidl.training import Callback, History, Trainer
from minidl.typing import Array, Shape

_SEEDS = 2**31
_SMALL = 2**24
"""A table of at most this many bytes may be copied."""
_Self = TypeVar("_Self", bound="NetworkEstimator")
_Classifier = TypeVar("_Classifier", bound="NetworkClassifierBase")
_Regressor = TypeVar("_Regressor", bound="NetworkRegressorBase")


class NetworkEstimator(BaseEstimator):
    """Base of the estimators: a subclass defines how its network is made and trained.

    Attributes
    ----------
    model_ : Sequential
        The network. It predicts class numbers; the estimator turns them into labels.
    trainer_ : Trainer
    history_ : History
        Loss and metrics of each epoch of `trainer_`.
    n_features_in_ : int
    feature_names_in_ : array of str
        The column names of the training frame, if `fit` was given a frame.
    """

    _takes_images = False

    @abstractmethod
    def _loss_for(self, kind: str) -> Loss:
        """Return the loss for targets that are "binary", "multiclass", "multilabel" or "numbers"."""

    @abstractmethod
    def _make_model(
        self, input_shape: Shape, first: list[Layer], loss: Loss, outputs: int, dtype: Any, random_state: Any
    ) -> Sequential:
        """Return a new network that is ready to train; it begins with the layers `first`."""

    @abstractmethod
    def _train(self, rows: TrainingRows, random_state: Any, *, goes_on: bool, keep_optimizer: bool) -> None:
        """Train `model_` on rows with a new trainer, or continue with the old one for an epoch."""

    @abstractmethod
    def _prepare_targets(self, y: Any, *, first: bool, classes: Any) -> Array:
        """Return targets as the loss takes them; `first` is True if the estimator has not seen any yet."""

    @property
    @abstractmethod
    def _kind(self) -> tuple[str, int]:
        """The kind of the targets, such as "binary", and the number of outputs that they need."""

    model_: Sequential
    trainer_: Trainer
    history_: History

    def fit(self: _Self, X: Any, y: Any, sample_weight: Any = None) -> _Self:
        """Train the network.

        Parameters
        ----------
        X : array, frame or table (N, features), sparse matrix
            float32, booleans and one-byte integers, such as pixels, are computed in float32; everything else is
            computed in float64. Small integers and sparse matrices are converted batch by batch.
        y : array (N,) or (N, outputs)
        sample_weight : array (N,), >= 0, optional
            If all weights are whole numbers, a row of weight 3 counts as three rows, unless this would make more than
            ten times as many rows.

        Returns
        -------
        self

        Raises ValueError, with scikit-learn's messages, for invalid data or parameters.
        """
        return self._fit(X, y, sample_weight, goes_on=self.warm_start and hasattr(self, "model_"))

    def _fit(
        self: _Self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        goes_on: bool,
        keep_optimizer: bool = False,
        classes: Any = None,
    ) -> _Self:
        self._validate_params()
        before = dict(vars(self))
        steps = self.trainer_.step if "trainer_" in before else 0
        try:
            return self._fit_checked(X, y, sample_weight, goes_on, keep_optimizer, classes)
        except BaseException:
            trainer = vars(self).get("trainer_")
            if trainer is None or trainer.step == (steps if trainer is before.get("trainer_") else 0):
                self.__dict__ = before  # no step was trained: keep the earlier fit
            raise

    def _fit_checked(
        self: _Self, X: Any, y: Any, sample_weight: Any, goes_on: bool, keep_optimizer: bool, classes: Any
    ) -> _Self:
        X, y = as_frame(X), _plain_targets(y)
        checks = self._input_checks(X) | {"multi_output": True, "y_numeric": isinstance(self, RegressorMixin)}
        with _columns_named(X):
            X, y = validate_data(self, X, y, reset=not goes_on, **checks)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        weights = None if sample_weight is None else _check_sample_weight(sample_weight, X, ensure_non_negative=True)
        targets = self._prepare_targets(y, first=not goes_on, classes=classes)
        rows = training_rows(X, targets, weights, self.shuffle)
        if (class_weight := getattr(self, "class_weight", None)) is not None:
            of_class = compute_sample_weight(class_weight, self._decode(rows.targets))
            if (of_class < 0).any():
                raise ArgumentError(f"class_weight is {class_weight!r}; weights are 0 or more")
            rows.weights = of_class if rows.weights is None else rows.weights * of_class
        if rows.weights is not None and not rows.weights.any():
            raise ArgumentError("sample_weight is 0 for every row, or class_weight is: give one row a weight above 0")
        random_state = check_random_state(self.random_state)
        if not goes_on:
            self.model_ = self._new_model(rows, _dtype_for(X), random_state)
            names = getattr(self, "feature_names_in_", None)
            self.model_.feature_names = None if names is None else names.tolist()
        self.model_.check_input(self.model_.as_inputs(X))  # here, where row numbers are still the user's
        self._train(rows, random_state, goes_on=goes_on, keep_optimizer=keep_optimizer)
        return self

    def _new_model(self, rows: TrainingRows, dtype: Any, random_state: Any) -> Sequential:
        kind, outputs = self._kind
        loss = copy.deepcopy(self._loss_for(kind))
        if kind == "binary" and isinstance(loss, CategoricalLoss):
            outputs = 2
        scaling = Standardize()
        first: list[Layer] = [scaling] if self.standardize else []
        model = self._make_model(rows.x.shape[1:], first, loss, outputs, dtype, random_state)
        self._check_model(model)
        if self.standardize:
            scaling.adapt(rows.x, rows.weights)
            if kind == "numbers" and model.loss is not None and not isinstance(model.loss, Poisson):
                mean, deviation = measure(rows.targets, rows.weights)
                model.loss = StandardizedTargets(model.loss, mean=mean, deviation=deviation)
        return model

    def _check_model(self, model: Sequential) -> None:
        """Raise ArgumentError if the network does not fit the targets."""

    @property
    def _is_stochastic(self) -> bool:
        """Whether the optimizer works batch by batch, as `partial_fit` needs."""
        return not get_optimizer(self.optimizer).full_batch

    def _strata(self, rows: TrainingRows) -> Array | None:
        """Return the classes by which the held-out rows are stratified, if there are any."""
        return None

    def _run(
        self,
        trainer: Trainer,
        rows: TrainingRows,
        epochs: int,
        callbacks: list[Callback | Callable[[Trainer], None]],
        held_out: TrainingRows | None = None,
    ) -> None:
        """Train for some epochs; a small table or a full batch is put in order once, not in every step."""
        trainer.position = replace(trainer.position, row=0)  # do not finish an interrupted epoch on other rows
        is_small = len(rows) * rows.x[:1].nbytes <= _SMALL
        is_whole = trainer.batch_size is None or trainer.batch_size >= len(rows)
        trainer.fit(
            rows.x[...] if (is_small or is_whole) and not rows.x.is_sparse else rows.x,
            rows.targets,
            epochs=epochs,
            sample_weight=rows.weights,
            validation_data=None if held_out is None else (held_out.x, held_out.targets, held_out.weights),
            callbacks=callbacks,
            progress=self.verbose == "bar",
        )

    def _input_checks(self, X: Any) -> dict[str, Any]:
        """Return the options of `validate_data`; the model itself checks for NaN and infinity and names the row."""
        dtypes = set(X.dtypes) if hasattr(X, "dtypes") else {getattr(X, "dtype", None)}  # of a frame's columns
        small = len(dtypes) == 1 and dtypes.pop() in (np.bool_, np.uint8, np.int8)
        return {
            "accept_sparse": "csr",
            "dtype": "numeric" if small else (np.float64, np.float32),
            "ensure_all_finite": False,
            "allow_nd": self._takes_images,
        }

    def _scores(self, X: Any) -> Array:
        check_is_fitted(self)
        X = as_frame(X)
        with _columns_named(X):
            X = validate_data(self, X, reset=False, **self._input_checks(X))
        return self.model_.predict_scores(X)

    def _decode(self, decisions: Array) -> Array:
        """Return the user's labels for the model's decisions."""
        return decisions

    def predict(self, X: Any) -> Array:
        """Return predicted labels or numbers, (N,) or (N, outputs); `X` is as for `fit`."""
        scores = self._scores(X)
        loss = self.model_.loss
        assert loss is not None
        return self._decode(loss.decide(scores))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted estimator to a model file, ``.npz``. `Sequential.load` can read the network from it.

        The file holds the network, the parameters, the names of classes and features, and the results of `fit`, such
        as ``loss_curve_``. It does not hold the optimizer's state: a later `partial_fit` starts with a new optimizer.

        Raises NotFittedError before `fit`, ArgumentTypeError for a parameter that a file cannot hold, such as a
        function, and OSError when the file cannot be written.
        """
        check_is_fitted(self)
        write_estimator(self, path)

    @classmethod
    def load(cls: type[_Self], path: str | os.PathLike[str]) -> _Self:
        """Read an estimator that `save` wrote. Raises FileFormatError for any other file, as `Sequential.load` does."""
        return read_estimator(cls, path)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name; `deep` adds the settings of layers and optimizers: ``layers__0__units``."""
        parameters: dict[str, Any] = super().get_params(deep=deep)
        if deep:
            for name, value in list(parameters.items()):
                parameters |= dict(inner_settings(name, value))
        return parameters

    def set_params(self: _Self, **params: Any) -> _Self:
        """Set parameters, also inner ones such as ``layers__0__units``. Raises ValueError for an unknown name."""
        inside = {name: value for name, value in params.items() if "__" in name}
        super().set_params(**{name: value for name, value in params.items() if name not in inside})
        for name, value in inside.items():
            outer, _, path = name.partition("__")
            whole = getattr(self, outer, None)
            if outer == "optimizer" and isinstance(whole, str):
                whole = get_optimizer(whole)
            try:
                setattr(self, outer, with_setting(whole, path, value))
            except KeyError:
                # Suggest the nearest name, then its neighbours: there may be hundreds of names in all.
                place, known = name.rpartition("__")[0], self.get_params()
                beside = sorted(known, key=lambda each: (each.rpartition("__")[0] != place, "__" not in each))
                fix = did_you_mean(name, dict.fromkeys([*difflib.get_close_matches(name, known, n=1), *beside[:6]]))
                raise ValueError(f"Invalid parameter {name!r:.60} for {type(self).__name__}; {fix}") from None
        return self

    def _fitted(self) -> dict[str, Any]:
        """Return the results of `fit` in the form that a model file holds."""
        return {"n_features_in": self.n_features_in_, "history": dict(self.history_)}

    def _restore_fitted(self, fitted: dict[str, Any]) -> None:
        self.n_features_in_ = int(fitted["n_features_in"])
        if self.model_.feature_names is not None:
            self.feature_names_in_ = np.array(self.model_.feature_names, dtype=object)
        columns = fitted["history"]
        self.history_ = History()
        for values in zip(*columns.values(), strict=True):
            self.history_.append(dict(zip(columns, map(float, values), strict=True)))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.three_d_array = self._takes_images
        return tags


class NetworkClassifierBase(ClassifierMixin, NetworkEstimator):
    """Base of the classifiers: they take labels of any kind.

    Attributes
    ----------
    classes_ : array (K,)
    """

    _labels: Labels

    @property
    def classes_(self) -> Array:
        """The labels, sorted."""
        return self._labels.classes

    @property
    def _kind(self) -> tuple[str, int]:
        labels = self._labels
        kind = "multilabel" if labels.several else "binary" if labels.outputs == 1 else "multiclass"
        return kind, labels.outputs

    def _prepare_targets(self, y: Any, *, first: bool, classes: Any) -> Array:
        found = Labels.of(y)
        if first:
            self._labels = found if classes is None or found.several else Labels(np.unique(as_labels(classes)))
        elif self.warm_start and set(found.classes) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                f"Previously got {self.classes_}, `y` has {found.classes}"
            )
        if set(found.classes) - set(self.classes_):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {found.classes}."
            )
        return self._labels.encode(y)

    def _strata(self, rows: TrainingRows) -> Array | None:
        if self._labels.several:
            return None
        return rows.targets if len(self.classes_) > 2 else rows.targets.reshape(-1, 1).astype(bool)

    def _check_model(self, model: Sequential) -> None:
        classes, shape, loss = len(self.classes_), model.output_shape or (), model.loss
        if shape not in {(self._labels.outputs,), (max(classes, 2),)}:
            raise ArgumentError(
                f"the network's output is {shape}, but y has {classes} classes: end it with Dense({classes}), or leave "
                "the output layer and the loss out"
            )
        if loss is None or loss.decide(np.zeros((1, *shape))).dtype.kind not in "iu":
            raise ArgumentError(f"a classifier needs a loss for classes, not {loss!r}")

    @property
    def _gives_probabilities(self) -> bool:
        fitted = vars(self).get("model_")
        given = fitted.loss if fitted is not None else getattr(self, "loss", None)
        return given is None or type(given).activate is not Loss.activate

    def _decode(self, decisions: Array) -> Array:
        return self._labels.decode(decisions)

    def _fitted(self) -> dict[str, Any]:
        kind = "O" if self.classes_.dtype == object else self.classes_.dtype.str
        own = {"classes": self.classes_.tolist(), "kind_of_classes": kind, "several_labels": self._labels.several}
        return super()._fitted() | own

    def _restore_fitted(self, fitted: dict[str, Any]) -> None:
        super()._restore_fitted(fitted)
        classes = np.array(fitted["classes"], dtype=str(fitted["kind_of_classes"]))
        self._labels = Labels(classes, bool(fitted["several_labels"]))

    @available_if(lambda estimator: estimator._is_stochastic)
    def partial_fit(self: _Classifier, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> _Classifier:
        """Train for one epoch on these rows. Not available for optimizers that need all rows at once, such as L-BFGS.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        classes : array (K,), optional
            All labels that will occur. Required in the first call, unless rows have several labels.

        Returns
        -------
        self
        """
        is_first = not hasattr(self, "model_")
        if is_first and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if not is_first and classes is not None and not np.array_equal(np.unique(as_labels(classes)), self.classes_):
            raise ValueError(
                f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {self.classes_!r}"
            )
        return self._fit(X, y, sample_weight, goes_on=not is_first, keep_optimizer=True, classes=classes)

    @available_if(lambda estimator: estimator._gives_probabilities)
    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities (N, K) of the classes, in the order of `classes_`, or of several labels per row.

        The method does not exist for a loss without probabilities, such as `Hinge`.
        """
        scores = self._scores(X)
        loss = self.model_.loss
        assert loss is not None
        if len(self.classes_) == 1:
            return np.ones((len(scores), 1), scores.dtype)
        if self._labels.outputs == scores.shape[1] == 1:  # one score, for the second of two classes
            return loss.activate(np.hstack([-scores, scores]))
        return loss.activate(scores)

    @available_if(lambda estimator: estimator._gives_probabilities)
    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of `predict_proba`."""
        probabilities = self.predict_proba(X)
        with np.errstate(divide="ignore"):
            return np.log(probabilities, out=probabilities)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class NetworkRegressorBase(RegressorMixin, NetworkEstimator):
    """Base of the regressors: targets are one or several numbers per row."""

    _outputs: int

    @property
    def _kind(self) -> tuple[str, int]:
        return "numbers", self._outputs

    @available_if(lambda estimator: estimator._is_stochastic)
    def partial_fit(self: _Regressor, X: Any, y: Any, sample_weight: Any = None) -> _Regressor:
        """Train for one epoch on these rows; parameters and result as for `fit`. Not available with L-BFGS."""
        return self._fit(X, y, sample_weight, goes_on=hasattr(self, "model_"), keep_optimizer=True)

    def _prepare_targets(self, y: Any, *, first: bool, classes: Any) -> Array:
        y = np.asarray(y)
        self._outputs = 1 if y.ndim == 1 else y.shape[1]
        return y.reshape(len(y), -1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def keep_arguments(estimator: NetworkEstimator, arguments: dict[str, Any]) -> None:
    """Set the arguments of an `__init__`, its ``locals()``, as attributes: scikit-learn wants them unchanged."""
    for name, value in arguments.items():
        if name != "self":
            setattr(estimator, name, value)


def seed_from(random_state: Any) -> int:
    """Draw a seed."""
    return int(random_state.randint(_SEEDS))


@contextlib.contextmanager
def _columns_named(X: Any) -> Iterator[None]:
    """Make errors inside this context name the column of a frame or of a text array that holds no numbers."""
    try:
        yield
    except (ValueError, TypeError) as error:
        # scikit-learn raises TypeError for wrong entries in an array of objects.
        is_text = isinstance(X, list) or getattr(X, "dtype", np.dtype(float)).kind in "OUS"
        if hasattr(X, "columns") or (is_text and isinstance(error, ValueError)):
            as_array(X, "X")
        raise


def _plain_targets(y: Any) -> Any:
    """Return numeric targets as an array, also from an array of objects; return other targets unchanged."""
    y = as_frame(y)
    with contextlib.suppress(DataError):
        return as_array(y, "y")
    return y


def _dtype_for(X: Any) -> Any:
    return np.float64 if X.dtype == np.float64 else np.float32
