"""Data from files: rows of CSV, IDX arrays, MNIST; their split into parts; and windows over a series."""

from minidl.data.csv import load_csv
from minidl.data.dataset import ImageDataset
from minidl.data.idx import load_idx
from minidl.data.mnist import load_mnist
from minidl.data.splitting import train_validation_split
from minidl.data.windows import windows

__all__ = ["ImageDataset", "load_csv", "load_idx", "load_mnist", "train_validation_split", "windows"]


def __dir__() -> list[str]:
    return sorted(__all__)
