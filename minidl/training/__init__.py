"""Training: the trainer, its callbacks and its history; cross-validation; the search for parameters."""

import importlib
from typing import TYPE_CHECKING, Any

from minidl.training.averages import Average, ExponentialMovingAverage, Lookahead, StochasticWeightAveraging
from minidl.training.callbacks import Callback, FunctionCallback
from minidl.training.history import History
from minidl.training.progress import ProgressBar
from minidl.training.trainer import Trainer

if TYPE_CHECKING:
    from minidl.training.checkpoint import Checkpoint
    from minidl.training.cross_validation import CrossValidation, cross_validate
    from minidl.training.monitoring import EarlyStopping, Monitor, ReduceLROnPlateau
    from minidl.training.parameter_search import Search, search
    from minidl.training.rate_search import RateSearch, find_learning_rate
    from minidl.training.recording import CSVLogger, TensorBoard

__all__ = [
    "Average",
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "CrossValidation",
    "EarlyStopping",
    "ExponentialMovingAverage",
    "FunctionCallback",
    "History",
    "Lookahead",
    "Monitor",
    "ProgressBar",
    "RateSearch",
    "ReduceLROnPlateau",
    "Search",
    "StochasticWeightAveraging",
    "TensorBoard",
    "Trainer",
    "cross_validate",
    "find_learning_rate",
    "search",
]

_LOADED_LATE = {
    "CSVLogger": "recording",
    "Checkpoint": "checkpoint",
    "CrossValidation": "cross_validation",
    "EarlyStopping": "monitoring",
    "Monitor": "monitoring",
    "RateSearch": "rate_search",
    "ReduceLROnPlateau": "monitoring",
    "Search": "parameter_search",
    "TensorBoard": "recording",
    "cross_validate": "cross_validation",
    "find_learning_rate": "rate_search",
    "search": "parameter_search",
}
"""Names that few programs need, and their modules, which load at their first use."""


def __getattr__(name: str) -> Any:
    if name in _LOADED_LATE:
        return getattr(importlib.import_module(f"minidl.training.{_LOADED_LATE[name]}"), name)
    raise AttributeError(f"module 'minidl.training' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
