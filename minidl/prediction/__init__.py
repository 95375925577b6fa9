"""Better predictions from models that are already trained: ensembles, distorted copies of the input, a temperature.

Each predicts as a `Sequential` does and may stand where one does, so they nest: a temperature on top of an ensemble of
models, each of which looks at several distorted copies.
"""

from minidl.prediction.augmented import AugmentedPrediction
from minidl.prediction.base import Predictor, as_model
from minidl.prediction.ensemble import Ensemble
from minidl.prediction.temperature import TemperatureScaling

__all__ = ["AugmentedPrediction", "Ensemble", "Predictor", "TemperatureScaling", "as_model"]


def __dir__() -> list[str]:
    return sorted(__all__)
