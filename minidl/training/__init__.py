"""Training: the trainer, its callbacks and the history it keeps; cross-validation; the search for parameters."""

from minidl.training.callbacks import Callback, FunctionCallback, ProgressBar
from minidl.training.cross_validation import CrossValidation, cross_validate
from minidl.training.history import History
from minidl.training.monitoring import Checkpoint, EarlyStopping, Monitor, ReduceLROnPlateau
from minidl.training.parameter_search import Search, search
from minidl.training.rate_search import RateSearch, find_learning_rate
from minidl.training.recording import CSVLogger, TensorBoard
from minidl.training.trainer import Trainer

__all__ = [
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "CrossValidation",
    "EarlyStopping",
    "FunctionCallback",
    "History",
    "Monitor",
    "ProgressBar",
    "RateSearch",
    "ReduceLROnPlateau",
    "Search",
    "TensorBoard",
    "Trainer",
    "cross_validate",
    "find_learning_rate",
    "search",
]
