"""Training: the trainer, its callbacks and the history it keeps; cross-validation."""

from minidl.training.callbacks import Callback, ProgressBar
from minidl.training.cross_validation import CrossValidation, cross_validate
from minidl.training.history import History
from minidl.training.trainer import Trainer

__all__ = ["Callback", "CrossValidation", "History", "ProgressBar", "Trainer", "cross_validate"]
