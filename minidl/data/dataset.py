"""The data set that the image loaders return."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from minidl.typing import Array


@dataclass(frozen=True, eq=False, repr=False)
class ImageDataset:
    """Labelled images in two parts, to train on and to test with.

    It unpacks as the loaders of Keras do: ``(x_train, y_train), (x_test, y_test) = load_mnist()``.

    Attributes
    ----------
    x_train, x_test : uint8 arrays
        Pixels, 0-255. The shapes are those of the loader: :func:`load_mnist`, :func:`load_cifar10` or :func:`load_idx`.
    y_train, y_test : integer arrays, (N,)
        Labels, one per image.
    source : str
        Where the data came from, in words.
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
