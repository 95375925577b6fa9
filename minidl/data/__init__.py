"""Data from files: rows of CSV, IDX arrays, MNIST; and their split into parts."""

from minidl.data.csv import load_csv
from minidl.data.dataset import ImageDataset
from minidl.data.idx import load_idx
from minidl.data.mnist import load_mnist
from minidl.data.splitting import train_validation_split

__all__ = ["ImageDataset", "load_csv", "load_idx", "load_mnist", "train_validation_split"]
