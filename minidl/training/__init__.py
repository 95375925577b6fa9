"""Training: the trainer, its callbacks and the history it keeps."""

from minidl.training.callbacks import Callback, FunctionCallback, ProgressBar
from minidl.training.history import History
from minidl.training.monitoring import Checkpoint, EarlyStopping, Monitor, ReduceLROnPlateau
from minidl.training.rate_search import RateSearch, find_learning_rate
from minidl.training.recording import CSVLogger, TensorBoard
from minidl.training.trainer import Trainer

__all__ = [
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "FunctionCallback",
    "History",
    "Monitor",
    "ProgressBar",
    "RateSearch",
    "ReduceLROnPlateau",
    "TensorBoard",
    "Trainer",
    "find_learning_rate",
]
