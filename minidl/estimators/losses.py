"""The losses of scikit-learn's MLP classes: sums over the outputs, not means, and half of the squared error.

So learning rates and `alpha` have the same effect as in scikit-learn. For a regression with several outputs,
scikit-learn reports the mean but follows the gradient of the sum.
"""

import numpy as np

from minidl.losses import MeanSquaredError, Poisson, SigmoidCrossEntropy
from minidl.losses.base import count_outputs
from minidl.typing import Array


class HalfSquaredError(MeanSquaredError):
    """Half of the squared error: a sample's loss is the sum over its outputs of (s - t)^2 / 2; the gradient is s - t.

    Shapes: as `MeanSquaredError`.
    """

    def per_sample(self, scores: Array, targets: Array) -> tuple[Array, Array]:
        return _times(count_outputs(scores) / 2, *super().per_sample(scores, targets))


class HalfPoissonDeviance(Poisson):
    """Half of the Poisson deviance of counts t from rates p = exp(s): t log(t / p) - t + p, summed over the outputs.

    It is 0 where p = t. It differs from `Poisson` by a term that does not depend on the score.

    Shapes: as `Poisson`.
    """

    def per_sample(self, scores: Array, targets: Array) -> tuple[Array, Array]:
        losses, gradient = _times(count_outputs(scores), *super().per_sample(scores, targets))
        least = targets * np.log(targets + (targets == 0)) - targets
        return losses + least.reshape(len(least), -1).sum(axis=1), gradient


class SummedSigmoidCrossEntropy(SigmoidCrossEntropy):
    """The cross-entropy of independent sigmoid probabilities, summed over the labels.

    Shapes: as `SigmoidCrossEntropy`.
    """

    def per_sample(self, scores: Array, targets: Array) -> tuple[Array, Array]:
        return _times(count_outputs(scores), *super().per_sample(scores, targets))


def _times(factor: float, losses: Array, gradient: Array) -> tuple[Array, Array]:
    return losses * factor, gradient * factor
