"""What predicts by way of trained models, and has the methods by which they predict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from minidl.errors import ArgumentError, ArgumentTypeError, NotReadyError
from minidl.losses import Loss
from minidl.model import Sequential
from minidl.reprs import brief
from minidl.settings import Configurable
from minidl.typing import Array, Shape


class Predictor(Configurable):
    """Base of what predicts by way of trained models: a subclass has a `model` and writes `predict_scores`.

    The model is a field that `as_model` checks: ``model: Sequential = setting(kw_only=False, check=as_model)``. A
    predictor writes nothing on itself when it predicts, so threads may share it. To keep one in a file, save its
    models, each by its `save`, and make it anew from what they load: the rest of it are its settings.

    Attributes
    ----------
    model : Sequential or another predictor
        The model whose loss and shapes it has.
    loss : Loss
        It says what scores mean.
    input_shape, output_shape : tuple of int
        Shape of one sample, and of its scores.
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

    def as_inputs(self, x: Any) -> Array:
        """Return inputs as `Sequential.as_inputs` does; parameters and errors as there."""
        return self.model.as_inputs(x)

    def predict_scores(self, x: Any, batch_size: int | None = None) -> Array:
        """Return scores (N, *output_shape), whose meaning the loss knows; parameters as in `predict`."""
        raise NotImplementedError(f"{type(self).__name__} must define predict_scores(x, batch_size)")

    def predict(self, x: Any, batch_size: int | None = None) -> Array:
        """Return predictions as `Sequential.predict` does; parameters, results and errors as there."""
        return self.loss.decide(self.predict_scores(x, batch_size))

    def predict_proba(self, x: Any, batch_size: int | None = None) -> Array:
        """Return probabilities as `Sequential.predict_proba` does; parameters, results and errors as there."""
        return self.loss.activate(self.predict_scores(x, batch_size))


def as_model(model: Any, name: str) -> Sequential | Predictor:
    """Return a model that can predict, with a loss; `name` is what errors call it.

    Raises ArgumentTypeError for what is no model, ArgumentError for one without a loss, and NotReadyError for one that
    does not know its input shape yet.
    """
    if not isinstance(model, Sequential | Predictor):
        raise ArgumentTypeError(f"{name} is {brief(model)}; it must be a Sequential or another predictor")
    if model.loss is None:
        raise ArgumentError(
            f"{name} has no loss that could say what its output means: end it with one, such as SoftmaxCrossEntropy() "
            "or MeanSquaredError()"
        )
    if model.input_shape is None:
        raise NotReadyError(f"{name} does not know its input shape yet: train it first, or give input_shape=")
    return model
