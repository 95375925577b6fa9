"""Predictors: they use trained models, and have the same methods for prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from minidl.errors import ArgumentError, ArgumentTypeError, NotReadyError
from minidl.losses import Loss
from minidl.model import Sequential
from minidl.reprs import brief
from minidl.settings import Configurable
from minidl.typing import Array, Shape


class Predictor(Configurable):
    """Base of the predictors, which use trained models: a subclass has a `model` and writes `predict_scores`.

    The model is a field that `as_model` checks: ``model: Sequential = setting(kw_only=False, check=as_model)``.
    Prediction changes no attribute, so threads may share a predictor. To keep a predictor in a file, save each of its
    models, and later build the predictor again from the loaded models and its settings.

    Attributes
    ----------
    model : Sequential or another predictor
        The model that gives the predictor its loss and shapes.
    loss : Loss
        Defines what scores mean.
    input_shape, output_shape : tuple of int
        Shapes of one sample and of its scores.
    """

    if TYPE_CHECKING:  # a property here would keep subclasses from having a field of this name

        @property
        def model(self) -> Sequential | Predictor: ...

    @property
    def loss(self) -> Loss:
        return cast(Loss, self.model.loss)

    @property
    def input_shape(self) -> Shape:
        return cast(Shape, self.model.input_shape)

    @property
    def output_shape(self) -> Shape:
        return cast(Shape, self.model.output_shape)

    @property
    def makes_mask(self) -> bool:
        """Whether the model leaves padding out."""
        return self.model.makes_mask

    def mask_after(self, x: Array | None, mask: Array | None) -> Array | None:
        """Return the mask of the output, as for `Sequential.mask_after`."""
        return self.model.mask_after(x, mask)

    def as_inputs(self, x: Any) -> Array:
        """Return inputs as arrays; parameters and errors as for `Sequential.as_inputs`."""
        return self.model.as_inputs(x)

    def predict_scores(self, x: Any, batch_size: int | None = None) -> Array:
        """Return scores (N, *output_shape), which the loss interprets; parameters as in `predict`."""
        raise NotImplementedError(f"{type(self).__name__} must define predict_scores(x, batch_size)")

    def predict(self, x: Any, batch_size: int | None = None) -> Array:
        """Return predictions; parameters, results and errors as for `Sequential.predict`."""
        return self.loss.decide(self.predict_scores(x, batch_size))

    def predict_proba(self, x: Any, batch_size: int | None = None) -> Array:
        """Return probabilities; parameters, results and errors as for `Sequential.predict_proba`."""
        return self.loss.activate(self.predict_scores(x, batch_size))


def as_model(model: Any, name: str) -> Sequential | Predictor:
    """Check that a model can predict and has a loss, and return it; errors call it `name`.

    Raises ArgumentTypeError if it is not a model, ArgumentError if it has no loss, and NotReadyError if it does not
    know its input shape yet.
    """
    if not isinstance(model, Sequential | Predictor):
        raise ArgumentTypeError(f"{name} is {brief(model)}; it must be a Sequential or another predictor")
    if model.loss is None:
        raise ArgumentError(
            f"{name} has no loss, which defines what its output means: end it with one, such as SoftmaxCrossEntropy() "
            "or MeanSquaredError()"
        )
    if model.input_shape is None:
        raise NotReadyError(f"{name} does not know its input shape yet: train it first, or give input_shape=")
    return model
