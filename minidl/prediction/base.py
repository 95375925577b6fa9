"""What predicts by way of trained models, and has the methods by which they predict."""

from __future__ import annotations

from typing import Any

from minidl.errors import ArgumentError, ArgumentTypeError, NotReadyError
from minidl.losses import Loss
from minidl.model import Sequential
from minidl.typing import Array, Shape


class Predictor:
    """Base of what predicts by way of trained models: a subclass writes `predict_scores`, and calls `take_after`.

    It writes nothing on itself when it predicts, so that threads may share it. To keep one in a file, save its models,
    each by its `save`, and make it anew from what they load: what else it has are its arguments.

    Attributes
    ----------
    loss : Loss
        That of the models, which says what scores mean.
    input_shape, output_shape : tuple of int
        Of one sample, and of its scores.
    """

    loss: Loss
    input_shape: Shape
    output_shape: Shape

    def take_after(self, model: Sequential | Predictor, name: str) -> None:
        """Take loss and shapes from `model`, which errors call `name`; raise as `check_model`."""
        self.loss, self.input_shape, self.output_shape = check_model(model, name)

    def predict_scores(self, x: Any, batch_size: int = 1024) -> Array:
        """Return scores (N, *output_shape), of which the loss says what they mean; parameters as in `predict`."""
        raise NotImplementedError(f"{type(self).__name__} must define predict_scores(x, batch_size)")

    def predict(self, x: Any, batch_size: int = 1024) -> Array:
        """Return predictions as `Sequential.predict` does; parameters, results and errors as there."""
        return self.loss.decide(self.predict_scores(x, batch_size))

    def predict_proba(self, x: Any, batch_size: int = 1024) -> Array:
        """Return probabilities as `Sequential.predict_proba` does; parameters, results and errors as there."""
        return self.loss.activate(self.predict_scores(x, batch_size))


def check_model(model: Sequential | Predictor, name: str) -> tuple[Loss, Shape, Shape]:
    """Return the loss, the input shape and the output shape of a model, which errors call `name`.

    Raises ArgumentTypeError for what is no model, ArgumentError for one without a loss, and NotReadyError for one that
    is not built yet.
    """
    if not isinstance(model, Sequential | Predictor):
        raise ArgumentTypeError(f"{name} is {model!r:.80}; it must be a Sequential or another predictor")
    if model.loss is None:
        raise ArgumentError(
            f"{name} has no loss that could say what its output means: end it with one, such as SoftmaxCrossEntropy() "
            "or MeanSquaredError()"
        )
    if model.input_shape is None or model.output_shape is None:
        raise NotReadyError(f"{name} does not know its input shape yet: train it first, or give input_shape=")
    return model.loss, model.input_shape, model.output_shape
