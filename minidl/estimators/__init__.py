"""Estimators for scikit-learn's pipelines and searches, with networks inside."""

from minidl.estimators.multilayer_perceptron import MLPClassifier, MLPRegressor
from minidl.estimators.network import NetworkClassifier, NetworkRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "NetworkClassifier", "NetworkRegressor"]


def __dir__() -> list[str]:
    return sorted(__all__)
