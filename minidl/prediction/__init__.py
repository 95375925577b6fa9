"""Better predictions from models that are already trained: ensembles, distorted copies of the input, a temperature.

Each predicts like a `Sequential` and can replace one, so they nest: for example, a temperature for an ensemble of
models that each use several distorted copies.
"""

from minidl.prediction.augmented import AugmentedPrediction
from minidl.prediction.base import Predictor, as_model
from minidl.prediction.ensemble import Ensemble
from minidl.prediction.temperature import TemperatureScaling

__all__ = ["AugmentedPrediction", "Ensemble", "Predictor", "TemperatureScaling", "as_model"]


def __dir__() -> list[str]:
    return sorted(__all__)
