"""Windows that slide along time: convolution and pooling of sequences, which are images of one row."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from minidl.errors import ArgumentError, ShapeError
from minidl.functional import sum_rows
from minidl.initializers import Initializer, is_initializer
from minidl.layers import pooling, windows
from minidl.layers.base import Declaration, Layer, Parameter
from minidl.layers.windows import Sides, Window, add_bias, as_pair, image_gradient, slide
from minidl.regularizers import Constraint, Regularizer, is_constraint, is_regularizer
from minidl.settings import as_flag, setting
from minidl.typing import Array, Shape


def as_sides(value: Any, name: str) -> str | Sides:
    """Return "valid", "same", or how many zeros are before and after a sequence: (before, after), or one number."""
    if isinstance(value, str) and value not in {"valid", "same"}:
        raise ArgumentError(f'{name} is {value!r}; it must be "valid", "same", a number, or (before, after)')
    return value if isinstance(value, str) else as_pair(value, name, 0)


def as_causal_sides(value: Any, name: str) -> str | Sides:
    """Return what `as_sides` does, or "causal"."""
    return "causal" if isinstance(value, str) and value == "causal" else as_sides(value, name)


def as_sequence(shape: Shape) -> tuple[int, int]:
    """Return positions and features of a sample; raise ShapeError unless it is a sequence."""
    if len(shape) != 2:
        cure = "add Reshape((positions, features)) before, or give the model this shape as input_shape"
        raise ShapeError(f"it takes sequences (positions, features), not samples {shape}: {cure}")
    return shape[0], shape[1]


class _AlongTime(Layer):
    """Base of the layers whose window slides along time. They compute with images (1, positions, features)."""

    takes_mask = True

    def slide(self, image: Shape, size: int, stride: int, padding: str | Sides, dilation: int = 1) -> Window:
        """Return how the window of the layer slides over images of one row."""
        span = dilation * (size - 1) + 1
        sides = {"valid": (0, 0), "same": (0, 0), "causal": (span - 1, 0)}.get(str(padding), padding)
        if padding != "same" and image[1] + sum(map(int, sides)) < span:
            around = f" with padding {padding}" if sum(map(int, sides)) else ""
            raise ShapeError(f"a window over {span} positions does not fit into the sequence {image[1:]}{around}")
        margins: Any = "same" if padding == "same" else ((0, 0), sides)
        sliding = (1, size), (1, stride), margins, (1, dilation)
        # Where "same" puts the first window depends on the length alone, and on that by its rest modulo the stride.
        lengths = range(max(image[1] - stride, 0) + 1, image[1] + 1) if padding == "same" else [image[1]]
        firsts = {slide((1, length, image[2]), *sliding).margins[1][0] for length in lengths}
        self._is_same, self._shifts = padding == "same", len(firsts) > 1
        self.window = slide(image, *sliding)
        return self.window

    def check_mask(self, mask: Array | None) -> None:
        """Raise ArgumentError for a mask where "same" places the windows of a shorter sequence differently."""
        if mask is not None and self._shifts:
            cure = 'give padding=(before, after), or "valid"'
            raise ArgumentError(f'with strides, padding="same" depends on the length, which a mask hides: {cure}')

    def needed_positions(self) -> Array:
        """Return the positions of the input that a row must have so that it has a window: (places, how many)."""
        (_, size), (_, stride), (_, dilation) = self.window.size, self.window.strides, self.window.dilation
        first, around = np.arange(self.window.places[1])[:, np.newaxis] * stride, sum(self.window.margins[1])
        if self._is_same:
            return first
        if around:
            return np.maximum(first + self.window.spans[1] - 1 - around, 0)
        return first + np.arange(size) * dilation

    def mask_after(self, x: Array | None, mask: Array | None) -> Array | None:
        """Return which windows there are where a row is computed alone, without its padding on the right.

        Without zeros around it, all entries of such a window count.
        """
        self.check_mask(mask)
        return None if mask is None else np.logical_and.reduce(mask[:, self.needed_positions()], axis=2)


class Conv1D(_AlongTime):
    """Convolution of sequences: at each place, the product of a window with each filter, ``y = sum x W + b``.

    Parameters
    ----------
    filters : int, > 0
        Features of the output.
    kernel_size : int, > 0
        Positions that a window sees.
    strides : int, default 1
        Steps of the window.
    padding : "valid", "same", "causal", int or (before, after), default "valid"
        Zeros around the sequence. "same" gives ceil(positions / stride) places, with the larger half after; so does
        "causal", with all zeros before: an output sees its own position and earlier ones.
    dilation : int, default 1
        Distance of the entries of a kernel.
    groups, use_bias, initializer, regularizer, constraint : optional
        As for `Conv2D`. The fan-in of ``W`` is kernel_size x features / groups.

    Shapes: (N, T, features) -> (N, places, filters), with
    ``places = floor((T + padding - dilation (kernel_size - 1) - 1) / stride) + 1``; ``W`` is (kernel_size,
    features / groups, filters). Sequences (100, 8) become, with Conv1D(16, 3), (98, 16), with padding="same" or
    "causal" (100, 16), and with strides=2, too, (50, 16); ``W`` is (3, 8, 16), and its fan-in 24.
    Gradients: those of `Conv2D` for images of one row.

    Masked positions count as zeros, as the padding does, so a padded row gives what it gives alone. In the mask of the
    output, those windows count that the row alone has.

    Raises ShapeError when it is set up for samples that are no sequences, for features that cannot be split into the
    groups, and for a window longer than the padded sequence; ArgumentError for a mask where strides and "same" would
    place the windows by the length of the padded row.
    Source: Waibel et al. (1989), "Phoneme recognition using time-delay neural networks"; van den Oord et al. (2016),
    arXiv:1609.03499, for causal and dilated ones.
    """

    filters: int = setting(kw_only=False, low=1, whole=True, fixed=True)
    kernel_size: int = setting(kw_only=False, low=1, whole=True, fixed=True)
    strides: int = setting(default=1, low=1, whole=True, fixed=True)
    padding: Any = setting(default="valid", check=as_causal_sides, fixed=True)
    dilation: int = setting(default=1, low=1, whole=True, fixed=True)
    groups: int = setting(default=1, low=1, whole=True, fixed=True)
    use_bias: bool = setting(default=True, check=as_flag, fixed=True)
    initializer: Initializer | str = setting(default="he_normal", check=is_initializer, fixed=True)
    regularizer: Regularizer | None = setting(default=None, check=is_regularizer)
    constraint: Constraint | None = setting(default=None, check=is_constraint)

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        length, features = as_sequence(input_shape)
        window = self.slide((1, length, features), self.kernel_size, self.strides, self.padding, self.dilation)
        if features % self.groups or self.filters % self.groups:
            split = f"the {features} features of the sequence {input_shape} and the {self.filters} filters"
            raise ShapeError(f"groups={self.groups} must divide {split}")
        shape = self.kernel_size, features // self.groups, self.filters
        self.weight = declare.parameter("weight", shape, self.initializer, regularized=True)
        self.bias: Parameter | None = declare.parameter("bias", self.filters, "zeros") if self.use_bias else None
        return window.places[1], self.filters

    def forward(self, x: Array, training: bool = False, mask: Array | None = None) -> Array:
        self.check_mask(mask)
        padded = self.window.pad(_hide(x, mask)[:, np.newaxis])
        if training:
            self.saved = padded, mask
        return self._convolve(padded, self.window)

    def backward(self, dy: Array) -> Array | None:
        padded, mask = self.saved
        dy = dy[:, np.newaxis]
        self.weight.gradient = windows.kernel_gradient(padded, dy, self.window, self.groups)[0]
        if self.bias is not None:
            sum_rows(dy.reshape(-1, self.filters), out=self.bias.gradient)
        if not self.needs_input_gradient:
            return None
        return _hide(image_gradient(dy, self.weight.value[np.newaxis], self.window, self.groups)[:, 0], mask)

    def continued(self, x: Array, memory: dict[str, Any]) -> Array:
        """Return the output for positions (N, n, features) that follow those seen before, which `memory` tells of."""
        before = self.window.spans[1] - 1
        if self.strides > 1 or self.window.margins[1] != (before, 0):
            raise ArgumentError('Conv1D continues a sequence with padding="causal" and strides=1 alone')
        earlier = memory.get("inputs", np.zeros((len(x), before, x.shape[2]), x.dtype))
        joined = np.concatenate([earlier, x], axis=1)
        memory["inputs"] = joined[:, joined.shape[1] - before :]
        window = dataclasses.replace(self.window, image=(1, joined.shape[1]), margins=((0, 0), (0, 0)))
        return self._convolve(joined[:, np.newaxis], window)

    def _convolve(self, padded: Array, window: Window) -> Array:
        y = windows.convolve(padded, self.weight.value[np.newaxis], window)
        if self.bias is not None:
            add_bias(y, self.bias.value)
        return y[:, 0]


class _Pooling1D(Layer):
    """Base of the layers that pool sequences as one of images does, which is their other base."""

    takes_mask = True

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        return super().build((1, *as_sequence(input_shape)), declare)[-2:]

    def pool(self, x: Array, training: bool = False) -> Array:
        """Return what the pooling of images makes of sequences."""
        y = super().forward(x[:, np.newaxis], training)
        return y[:, 0] if y.ndim == 4 else y

    def mask_after(self, x: Array | None, mask: Array | None) -> Array | None:
        return None  # where all of a sequence is pooled, no position is left

    def shares(self, mask: Array, dtype: Any) -> Array:
        """Return which part of each window counts, for all features at once."""
        return self.pool(mask[:, :, np.newaxis].astype(dtype))


class _Maxima(_Pooling1D):
    """Base of the max poolings: masked positions count as minus infinity."""

    unpool: ClassVar[Callable[..., Array]]  # of the pooling of images

    def forward(self, x: Array, training: bool = False, mask: Array | None = None) -> Array:
        y = self.pool(_hide(x, mask, -np.inf), training)
        if training:
            self.saved = self.saved, mask
        return y if mask is None else np.where(self.shares(mask, x.dtype) > 0, y, y.dtype.type(0))

    def backward(self, dy: Array) -> Array:
        winners, mask = self.saved
        return _hide(self.unpool(_as_rows(dy), winners)[:, 0], mask)


class _Means(_Pooling1D):
    """Base of the average poolings: the mean of the whole window, over the part of it that counts."""

    def forward(self, x: Array, training: bool = False, mask: Array | None = None) -> Array:
        shares = None if mask is None else self.shares(mask, x.dtype)
        if training:
            self.saved = mask, shares
        return _divide(self.pool(_hide(x, mask), training), shares)

    def backward(self, dy: Array) -> Array:
        mask, shares = self.saved
        dx: Any = super().backward(_as_rows(_divide(dy, shares)))
        return _hide(dx[:, 0], mask)


class _Sliding1D(_AlongTime, _Pooling1D):
    """Base of the poolings whose window slides."""

    pool_size: int = setting(default=2, kw_only=False, low=1, whole=True, fixed=True)
    strides: int | None = setting(default=None, low=1, whole=True, fixed=True)
    padding: Any = setting(default="valid", check=as_sides, fixed=True)

    def slide_over(self, image: Shape) -> Window:
        if not isinstance(self.padding, str) and max(self.padding) >= self.pool_size:
            place = f"the sequence {image[1:]} with padding {self.padding}"
            raise ShapeError(f"a window of {self.pool_size} may lie outside of {place}: give less than the window")
        return self.slide(image, self.pool_size, self.strides or self.pool_size, self.padding)

    def shares(self, mask: Array, dtype: Any) -> Array:
        self.check_mask(mask)
        return super().shares(mask, dtype)


class MaxPool1D(_Sliding1D, _Maxima, pooling.MaxPool2D):
    """Maximum of each window of each feature; of equal ones the first gets the gradient.

    Parameters
    ----------
    pool_size : int, default 2
    strides : int, optional
        Steps of the window; by default `pool_size`, so that no two windows overlap.
    padding : "valid", "same", int or (before, after), default "valid"
        As for `Conv1D`. What lies outside of the sequence does not count.

    Shapes: (N, T, features) -> (N, places, features): (100, 16) becomes (50, 16) with MaxPool1D(2), and (99, 16) with
    strides=1. dx is dy at the maximum of each window, and 0 elsewhere.

    Masked positions do not count, and a window of these alone gives 0. The mask of the output is that of `Conv1D`.

    Raises ShapeError when it is set up for samples that are no sequences, or shorter than the window; ArgumentError for
    a mask as `Conv1D` does.
    """

    picks_maxima = True


class AveragePool1D(_Sliding1D, _Means, pooling.AveragePool2D):
    """Mean of each window of each feature, over what lies within the sequence and counts.

    Parameters
    ----------
    pool_size, strides, padding : optional
        As for `MaxPool1D`.

    Shapes: (N, T, features) -> (N, places, features), as `MaxPool1D`: (100, 16) becomes (50, 16). Each entry of a
    window of which n count gets dy / n.

    Masks and errors are those of `MaxPool1D`.
    """


class GlobalMaxPool1D(_Maxima, pooling.GlobalMaxPool2D):
    """Maximum of each feature over all positions that count; of equal ones the first gets the gradient.

    Shapes: (N, T, features) -> (N, features): (100, 64) becomes (64,). dx is dy at the maximum, and 0 elsewhere. A row
    in which no position counts gives 0.

    Raises ShapeError when it is set up for samples that are no sequences.
    """

    picks_maxima = True


class GlobalAveragePool1D(_Means, pooling.GlobalAveragePool2D):
    """Mean of each feature over all positions that count.

    Shapes: (N, T, features) -> (N, features): (100, 64) becomes (64,). Each of n positions that count gets dy / n. A
    row in which none does gives 0.

    Raises ShapeError when it is set up for samples that are no sequences.
    """


def _hide(x: Array, mask: Array | None, value: float = 0) -> Array:
    """Return sequences (N, T, features) with a value at masked positions."""
    return x if mask is None else np.where(mask[:, :, np.newaxis], x, x.dtype.type(value))


def _divide(y: Array, shares: Array | None) -> Array:
    """Return y / shares, and 0 where nothing counts."""
    return y if shares is None else np.divide(y, shares, out=np.zeros_like(y), where=shares > 0)


def _as_rows(dy: Array) -> Array:
    """Return sequences as images of one row; what is left of whole sequences stays."""
    return dy[:, np.newaxis] if dy.ndim == 3 else dy
