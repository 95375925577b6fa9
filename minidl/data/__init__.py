"""Data: CSV files, IDX arrays, MNIST, CIFAR-10, images and shards; splits, windows over series, and padding."""

from minidl.data.cifar10 import CIFAR10_CLASSES, load_cifar10
from minidl.data.csv import load_csv
from minidl.data.dataset import ImageDataset, ImageFiles
from minidl.data.handwriting import center_digit
from minidl.data.idx import load_idx
from minidl.data.images import load_images
from minidl.data.mnist import load_mnist
from minidl.data.padding import pad_sequences
from minidl.data.shards import Shards
from minidl.data.splitting import train_validation_split
from minidl.data.windows import windows

__all__ = [
    "CIFAR10_CLASSES",
    "ImageDataset",
    "ImageFiles",
    "Shards",
    "center_digit",
    "load_cifar10",
    "load_csv",
    "load_idx",
    "load_images",
    "load_mnist",
    "pad_sequences",
    "train_validation_split",
    "windows",
]


def __dir__() -> list[str]:
    return sorted(__all__)
