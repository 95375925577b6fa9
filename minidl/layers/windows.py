"""Windows that slide over images: their shapes, and the three products that all convolutions use.

An image is (height, width, channels), a batch (N, height, width, channels), a kernel (height, width, channels / groups,
filters). There is a window at every stride-th position of the padded image. With dilation d, the entries of a window
are d pixels apart.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minidl.errors import ArgumentError, ShapeError
from minidl.settings import as_whole_number
from minidl.typing import Array, Shape

_BYTES_AT_ONCE = 2**20
"""Patches of this many bytes are copied and multiplied at once, because they fit into the processor's cache."""

_FEW_CHANNELS = 4
"""With fewer channels, the pieces of a patch are too short to copy quickly."""

Sides: TypeAlias = tuple[int, int]
Margins: TypeAlias = tuple[Sides, Sides]
Padding: TypeAlias = str | Margins


def as_pair(value: Any, name: str, low: int = 1) -> Sides:
    """Return (height, width), given two whole numbers or one for both."""
    pair = tuple(value) if isinstance(value, tuple | list | np.ndarray) else (value, value)
    if len(pair) != 2:
        raise ArgumentError(f"{name} is {value!r}; give one number, or two: (height, width)")
    height, width = (as_whole_number(each, name, low) for each in pair)
    return height, width


def as_margins(value: Any, name: str) -> Margins:
    """Return ((top, bottom), (left, right)), given one number for all, (height, width), or these pairs."""
    if isinstance(value, tuple | list) and len(value) == 2 and all(isinstance(side, tuple | list) for side in value):
        return as_pair(value[0], name, 0), as_pair(value[1], name, 0)
    height, width = as_pair(value, name, 0)
    return (height, height), (width, width)


def as_padding(value: Any, name: str) -> Padding:
    """Return "valid", "same", or the margins that the numbers describe."""
    if isinstance(value, str) and value not in {"valid", "same"}:
        raise ArgumentError(f'{name} is {value!r}; it must be "valid", "same", or numbers')
    return value if isinstance(value, str) else as_margins(value, name)


def as_image(shape: Shape) -> tuple[int, int, int]:
    """Return height, width and channels of a sample. Raise ShapeError if it is not an image."""
    if len(shape) != 3:
        cure = "add Reshape((height, width, channels)) before, or give the model this shape as input_shape"
        raise ShapeError(f"it takes images (height, width, channels), not samples {shape}: {cure}")
    return shape[0], shape[1], shape[2]


class LooksAtPlaces:
    """Base of the layers that combine or move the places of an image: they cannot leave any of these places out."""

    def mask_after(self, x: Array | None, mask: Array | None) -> Array | None:
        if mask is not None:
            cure = "use a layer of sequences, such as Conv1D or GlobalAveragePool1D"
            raise ArgumentError(f"{type(self).__name__} cannot leave padding out: {cure}")
        return None


@dataclasses.dataclass(frozen=True)
class Window:
    """How a window slides over images of one size.

    Attributes
    ----------
    image : (height, width)
        Size of the images without padding.
    size, strides, dilation : (height, width)
    margins : ((top, bottom), (left, right))
        Rows and columns of padding. Negative numbers cut off rows and columns.
    """

    image: Sides
    size: Sides
    strides: Sides
    margins: Margins
    dilation: Sides = (1, 1)

    @functools.cached_property
    def spans(self) -> Sides:
        """Height and width that a dilated window covers: ``dilation (size - 1) + 1``."""
        return _each(lambda size, dilation: dilation * (size - 1) + 1, self.size, self.dilation)

    @functools.cached_property
    def padded(self) -> Sides:
        """Height and width of the images with their margins."""
        return _each(lambda image, margins: image + sum(margins), self.image, self.margins)

    @functools.cached_property
    def places(self) -> Sides:
        """Number of windows, (height, width): ``floor((image + margins - span) / stride) + 1``."""
        return _each(lambda padded, span, stride: (padded - span) // stride + 1, self.padded, self.spans, self.strides)

    @functools.cached_property
    def reversed(self) -> Window:
        """The window that slides over the gradient of this window's output, whose entries are `strides` apart."""
        spread = _each(lambda places, stride: (places - 1) * stride + 1, self.places, self.strides)

        def margins(image: int, spread: int, span: int, margins: Sides) -> Sides:
            before = span - 1 - margins[0]
            return before, image + span - 1 - spread - before

        around = _each(margins, self.image, spread, self.spans, self.margins)
        return Window(spread, self.size, (1, 1), around, self.dilation)

    def pad(self, x: Array, value: float = 0) -> Array:
        """Return images (N, height, width, channels) with their margins."""
        (top, bottom), (left, right) = self.margins
        if not (top or bottom or left or right):
            return x
        height, width = x.shape[1:3]
        x = x[:, max(-top, 0) : height - max(-bottom, 0), max(-left, 0) : width - max(-right, 0)]
        top, bottom, left, right = (max(margin, 0) for margin in (top, bottom, left, right))
        shape = len(x), x.shape[1] + top + bottom, x.shape[2] + left + right, x.shape[3]
        padded = np.full(shape, value, x.dtype) if value else np.zeros(shape, x.dtype)
        padded[:, top : top + x.shape[1], left : left + x.shape[2]] = x
        return padded

    def crop(self, padded: Array) -> Array:
        """Return a view of the images without the margins that `pad` added."""
        (top, _), (left, _) = self.margins
        return padded[:, top : top + self.image[0], left : left + self.image[1]]

    def taps(self, padded: Array) -> Iterator[Array]:
        """For each entry of the window, yield a view of padded images at all positions: (N, *places, channels)."""
        for entry in np.ndindex(*self.size):
            rows, columns = _each(
                lambda entry, dilation, places, stride: slice(
                    entry * dilation, entry * dilation + (places - 1) * stride + 1, stride
                ),
                *(entry, self.dilation, self.places, self.strides),
            )
            yield padded[:, rows, columns]

    def patches(self, padded: Array) -> Array:
        """Return a view of all patches of padded images: (N, *places, *size, channels)."""
        image, row, column, channel = padded.strides
        steps = [stride * step for stride, step in zip((row, column), self.strides, strict=True)]
        steps += [stride * step for stride, step in zip((row, column), self.dilation, strict=True)]
        shape = (len(padded), *self.places, *self.size, padded.shape[3])
        return as_strided(padded, shape, (image, *steps, channel), writeable=False)


def slide(image: Shape, size: Sides, strides: Sides, padding: Padding, dilation: Sides = (1, 1)) -> Window:
    """Return the window over images of shape (height, width, channels).

    "same" gives ceil(image / stride) positions. If its padding is odd, the larger half is below and on the right.

    Raises ShapeError if the window does not fit into the padded image.
    """
    sides = as_image(image)[:2]
    window = Window(sides, size, strides, ((0, 0), (0, 0)) if isinstance(padding, str) else padding, dilation)
    if padding == "same":

        def halves(image: int, stride: int, span: int) -> Sides:
            missing = max((-(-image // stride) - 1) * stride + span - image, 0)
            return missing // 2, missing - missing // 2

        window = dataclasses.replace(window, margins=_each(halves, sides, strides, window.spans))
    if min(window.places) < 1:
        dilated = ", with its dilation," if dilation != (1, 1) else ""
        around = f", padded to {window.padded}" if window.padded != sides else ""
        cure = "; are its channels first? np.moveaxis(x, 1, -1) moves them" if image[0] < image[2] else ""
        raise ShapeError(f"a window of {window.spans}{dilated} does not fit into the image {image}{around}{cure}")
    return window


def enlarge(places: Sides, size: Sides, strides: Sides, padding: Padding, dilation: Sides) -> Sides:
    """Return height and width of the smallest images on which a window has this number of positions.

    Raises ShapeError if the padding cuts off the whole image.
    """
    if padding == "same":
        return _each(lambda places, stride: places * stride, places, strides)
    margins = ((0, 0), (0, 0)) if isinstance(padding, str) else padding
    image = _each(
        lambda places, stride, size, dilation, margins: (
            (places - 1) * stride + dilation * (size - 1) + 1 - sum(margins)
        ),
        *(places, strides, size, dilation, margins),
    )
    if min(image) < 1:
        raise ShapeError(f"a padding of {margins} cuts off all of the output of a window of {size} for {places}")
    return image


def convolve(padded: Array, kernel: Array, window: Window) -> Array:
    """Return the products of kernels with all patches of images.

    Parameters
    ----------
    padded : array (N, height, width, channels)
        Images with the margins of the window.
    kernel : array (height, width, channels / groups, filters)
        The first filters see the first channels, and so on.
    window : Window

    Returns
    -------
    array (N, *places, filters)
    """
    groups = padded.shape[3] // kernel.shape[2]
    y = np.empty((len(padded), *window.places, kernel.shape[3]), padded.dtype)
    if kernel.shape[2] == 1 < groups:
        by_channel = y.reshape(*y.shape[:3], groups, kernel.shape[3] // groups)
        by_channel[...] = 0
        for tap, weights in zip(window.taps(padded), kernel.reshape(-1, groups, by_channel.shape[4]), strict=True):
            by_channel += tap[..., np.newaxis] * weights
        return y
    weights = kernel.reshape(-1, groups, kernel.shape[3] // groups).transpose(1, 0, 2)
    for part, patches in _in_blocks(padded, window, groups):
        np.matmul(patches, weights, out=_by_group(y[part], groups))
    return y


def kernel_gradient(padded: Array, dy: Array, window: Window, groups: int) -> Array:
    """Return the gradient of the kernel, (height, width, channels / groups, filters), given `dy` of the output."""
    filters = dy.shape[3]
    shape = (*window.size, padded.shape[3] // groups, filters)
    if shape[2] == 1 < groups:
        by_channel = dy.reshape(*dy.shape[:3], groups, filters // groups)
        taps = [np.einsum("nhwc,nhwcm->cm", tap, by_channel) for tap in window.taps(padded)]
        return np.stack(taps).reshape(shape)
    gradient = np.zeros((groups, math.prod(shape[:3]), filters // groups), padded.dtype)
    for part, patches in _in_blocks(padded, window, groups):
        gradient += patches.transpose(0, 2, 1) @ _by_group(dy[part], groups)
    return gradient.transpose(1, 0, 2).reshape(shape)


def image_gradient(dy: Array, kernel: Array, window: Window, groups: int) -> Array:
    """Return the gradient of the images: a convolution of `dy`, its entries strides apart, with the flipped kernels."""
    back, filters = window.reversed, dy.shape[3]
    if window.strides != (1, 1):
        spread = np.zeros((len(dy), *back.image, filters), dy.dtype)
        spread[:, :: window.strides[0], :: window.strides[1]] = dy
        dy = spread
    by_group = kernel.reshape(*kernel.shape[:3], groups, filters // groups)[::-1, ::-1]
    flipped = by_group.transpose(0, 1, 4, 3, 2).reshape(*window.size, filters // groups, -1)
    return convolve(back.pad(dy), flipped, back)


def add_bias(y: Array, bias: Array) -> None:
    """Add one number per channel to images, in place."""
    size = math.prod(y.shape[1:])
    flat = y.reshape(len(y), size)  # over a whole image at once: pixel by pixel takes longer
    flat += np.tile(bias, size // len(bias))


def _in_blocks(padded: Array, window: Window, groups: int) -> Iterator[tuple[slice, Array]]:
    """Yield slices of images and their patches, of shape (groups, places, entries of a patch)."""
    patches = window.patches(padded)
    numbers, channels = math.prod(patches.shape[1:]), patches.shape[5] // groups
    images = max(_BYTES_AT_ONCE // (numbers * padded.itemsize), 1)
    scratch = np.empty(min(images, len(padded)) * numbers, padded.dtype)
    *strides, channel = patches.strides
    # (groups, N, *places, *size, channels), because a filter sees only the channels of its group.
    by_group = as_strided(
        patches,
        (groups, *patches.shape[:5], channels),
        (channel * channels, *strides, channel),
        writeable=False,
    )
    for start in range(0, len(padded), images):
        part = slice(start, min(start + images, len(padded)))
        seen = by_group[:, part]
        block = scratch[: seen.size]
        entries = math.prod(window.size) * channels
        if channels < _FEW_CHANNELS:  # copy entry by entry, over all positions: these pieces are longer than a patch's
            copied = block.reshape(groups, *window.size, channels, part.stop - start, *window.places)
            np.copyto(copied, seen.transpose(0, 4, 5, 6, 1, 2, 3))
            yield part, block.reshape(groups, entries, -1).swapaxes(1, 2)
        else:
            np.copyto(block.reshape(seen.shape), seen)
            yield part, block.reshape(groups, -1, entries)


def _by_group(y: Array, groups: int) -> Array:
    """Return a view (groups, N places, filters / groups) of (N, *places, filters)."""
    return y.reshape(-1, groups, y.shape[3] // groups).transpose(1, 0, 2)


def _each(function: Callable[..., Any], *pairs: tuple[Any, Any]) -> Any:
    """Return the results of a function for the heights and for the widths."""
    first, second = zip(*pairs, strict=True)
    return function(*first), function(*second)
