"""The data sets that the image loaders return."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from minidl.typing import Array


@dataclass(frozen=True, eq=False, repr=False)
class ImageDataset:
    """Labelled images in a training part and a test part.

    It unpacks as in Keras: ``(x_train, y_train), (x_test, y_test) = load_mnist()``.

    Attributes
    ----------
    x_train, x_test : uint8 arrays
        Pixels, 0-255. For the shapes, see the loader: :func:`load_mnist`, :func:`load_cifar10` or :func:`load_idx`.
    y_train, y_test : integer arrays, (N,)
        Labels, one per image.
    source : str
        A text that says where the data came from.
    """

    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array
    source: str

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        yield self.x_train, self.y_train
        yield self.x_test, self.y_test

    def __repr__(self) -> str:
        arrays = [field.name for field in fields(self) if field.name != "source"]
        shapes = ", ".join(f"{name}={getattr(self, name).shape}" for name in arrays)
        return f"ImageDataset({shapes}, source={self.source!r})"


@dataclass(frozen=True, eq=False, repr=False)
class ImageFiles:
    """Images from files, with classes if each class had a folder: ``x, y = load_images(folder)``.

    Attributes
    ----------
    x : array, (N, ...)
        The images. For the shape, see :func:`load_images`.
    y : integer array, (N,), or None
        The position of each image's class in ``class_names``; None without classes.
    class_names : tuple of str
        The names of the class folders; empty without classes.
    paths : tuple of paths
        The file of each image.
    """

    x: Array
    y: Array | None
    class_names: tuple[str, ...]
    paths: tuple[Path, ...]

    def __iter__(self) -> Iterator[Array | None]:
        yield self.x
        yield self.y

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        y = "None" if self.y is None else self.y.shape
        return f"ImageFiles(x={self.x.shape}, y={y}, class_names={self.class_names!r:.80})"
