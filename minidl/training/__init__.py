"""Training: the trainer, its callbacks and the history it keeps."""

from minidl.training.callbacks import Callback, ProgressBar
from minidl.training.history import History
from minidl.training.trainer import Trainer

__all__ = ["Callback", "History", "ProgressBar", "Trainer"]
