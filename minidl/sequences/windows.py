"""Windows that slide along time: convolution and pooling of sequences, treated as images with one row."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from minidl.arrays import check_mask
from minidl.errors import ArgumentError, ShapeError
from minidl.functional import sum_rows
from minidl.initializers import Initializer, is_initializer
from minidl.layers import pooling, windows
from minidl.layers.base import Declaration, Layer, Parameter
from minidl.layers.windows import Sides, Window, add_bias, as_pair, image_gradient, slide
from minidl.regularizers import Constraint, Regularizer, is_constraint, is_regularizer
from minidl.sequences.positions import sequence_of
from minidl.settings import as_flag, setting
from minidl.typing import Array, Shape


def as_sides(value: Any, name: str, words: Sequence[str] = ("valid", "same")) -> str | Sides:
    """Return one of the words, or the numbers of zeros (before, after) a sequence, also given one number for both."""
    if isinstance(value, str) and value not in words:
        known = ", ".join(f'"{word}"' for word in words)
        raise ArgumentError(f"{name} is {value!r}; it must be {known}, a number, or (before, after)")
    return value if isinstance(value, str) else as_pair(value, name, 0)


def as_causal_sides(value: Any, name: str) -> str | Sides:
    """Return "causal" or the result of `as_sides`."""
    return as_sides(value, name, ("valid", "same", "causal"))


class _AlongTime(Layer):
    """Base of the layers with a window that slides along time. They compute with images (1, positions, features)."""

    takes_mask = True

    def slide(self, image: Shape, size: int, stride: int, padding: str | Sides, dilation: int = 1) -> Window:
        """Return the window of the layer over images with one row."""
        span = dilation * (size - 1) + 1
        sides = {"valid": (0, 0), "same": (0, 0), "causal": (span - 1, 0)}.get(str(padding), padding)
        if padding != "same" and image[1] + sum(map(int, sides)) < span:
            around = f" with padding {padding}" if sum(map(int, sides)) else ""
            raise ShapeError(f"a window over {span} positions does not fit into the sequence {image[1:]}{around}")
        margins: Any = "same" if padding == "same" else ((0, 0), sides)
        sliding = (1, size), (1, stride), margins, (1, dilation)
        # The position of the first window with "same" depends only on the length modulo the stride.
        lengths = range(max(image[1] - stride, 0) + 1, image[1] + 1) if padding == "same" else [image[1]]
        firsts = {slide((1, length, image[2]), *sliding).margins[1][0] for length in lengths}
        self._is_same, self._shifts = padding == "same", len(firsts) > 1
        self.window = slide(image, *sliding)
        return self.window

    def check_mask(self, mask: Array | None) -> None:
        """Raise ArgumentError for a mask if "same" would place the windows of a shorter sequence differently."""
        if mask is not None and self._shifts:
            cure = 'give padding=(before, after), or "valid"'
            raise ArgumentError(f'with strides, padding="same" depends on the length, which a mask hides: {cure}')

    def needed_positions(self) -> Array:
        """Return the input positions that a row must have so that a window exists: (places, number of positions)."""
        (_, size), (_, stride), (_, dilation) = self.window.size, self.window.strides, self.window.dilation
        first, around = np.arange(self.window.places[1])[:, np.newaxis] * stride, sum(self.window.margins[1])
        if self._is_same:
            return first
        if around:
            return np.maximum(first + self.window.spans[1] - 1 - around, 0)
        return first + np.arange(size) * dilation

    def mask_after(self, x: Array | None, mask: Array | None) -> Array | None:
        """Return which windows exist if a row is computed alone, without its padding on the right.

        Without zeros around the sequence, all entries of such a window count.
        """
        self.check_mask(mask)
        return None if mask is None else np.logical_and.reduce(mask[:, self.needed_positions()], axis=2)


class Conv1D(_AlongTime):
    """Convolution of sequences: at each window, the product of its positions with each filter, ``y = sum x W + b``.

    Parameters
    ----------
    filters : int, > 0
        Features of the output.
    kernel_size : int, > 0
        Number of positions in a window.
    strides : int, default 1
        Steps of the window.
    padding : "valid", "same", "causal", int or (before, after), default "valid"
        Zeros around the sequence. "same" and "causal" give ceil(positions / stride) places. "same" puts the larger half
        of the zeros after the sequence. "causal" puts all zeros before it, so an output sees only its own position and
        earlier ones.
    dilation : int, default 1
        Distance between neighbouring entries of a kernel.
    groups, use_bias, initializer, regularizer, constraint : optional
        As for `Conv2D`. The fan-in of ``W`` is kernel_size x features / groups.

    Shapes: (N, T, features) -> (N, places, filters), with
    ``places = floor((T + padding - dilation (kernel_size - 1) - 1) / stride) + 1``; ``W`` is (kernel_size,
    features / groups, filters). Conv1D(16, 3) maps sequences (100, 8) to (98, 16), with padding="same" or "causal" to
    (100, 16), and with one of these and strides=2 to (50, 16). ``W`` is (3, 8, 16), and its fan-in is 24.
    Gradients: as for `Conv2D`, with images of one row.

    Masked positions are treated as zeros, like the padding, so a padded row gives the same result as the row alone. The
    mask of the output counts the windows that the row alone has.

    Raises ShapeError at set-up if the samples are not sequences, if the features cannot be split into the groups, and
    if the window is longer than the padded sequence. Raises ArgumentError for a mask if strides with "same" would place
    the windows by the length of the padded row.
    Source: Waibel et al. (1989), "Phoneme recognition using time-delay neural networks"; van den Oord et al. (2016),
    arXiv:1609.03499, for causal and dilated convolutions.
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
        length, features = sequence_of(self, input_shape)
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
        """Return the output for positions (N, n, features) that follow the earlier ones. `memory` keeps their end."""
        before = self.window.spans[1] - 1
        if self.strides > 1 or self.window.margins[1] != (before, 0):
            raise ArgumentError('Conv1D continues a sequence only with padding="causal" and strides=1')
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
    """Base of the layers that pool sequences like their other base class pools images."""

    takes_mask = True

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        return super().build((1, *sequence_of(self, input_shape)), declare)[-2:]

    def pool(self, x: Array, training: bool = False) -> Array:
        """Return the result of the pooling of images for sequences."""
        y = super().forward(x[:, np.newaxis], training)
        return y[:, 0] if y.ndim == 4 else y

    def mask_after(self, x: Array | None, mask: Array | None) -> Array | None:
        return None  # where all of a sequence is pooled, no position is left

    def shares(self, mask: Array, dtype: Any) -> Array:
        """Return the share of each window that counts, for all features at once."""
        return self.pool(mask[:, :, np.newaxis].astype(dtype))


class _Maxima(_Pooling1D):
    """Base of the max poolings: masked positions count as minus infinity."""

    unpool: ClassVar[Callable[..., Array]]  # from the pooling of images

    def forward(self, x: Array, training: bool = False, mask: Array | None = None) -> Array:
        y = self.pool(_hide(x, mask, -np.inf), training)
        if training:
            self.saved = self.saved, mask
        return y if mask is None else np.where(self.shares(mask, x.dtype) > 0, y, y.dtype.type(0))

    def backward(self, dy: Array) -> Array:
        winners, mask = self.saved
        return _hide(self.unpool(_as_rows(dy), winners)[:, 0], mask)


class _Means(_Pooling1D):
    """Base of the average poolings: the mean of the whole window, divided by the share of it that counts."""

    def forward(self, x: Array, training: bool = False, mask: Array | None = None) -> Array:
        hidden = _hide(x, mask)
        shares = None if mask is None else self.shares(mask, x.dtype)
        if training:
            self.saved = mask, shares
        return _divide(self.pool(hidden, training), shares)

    def backward(self, dy: Array) -> Array:
        mask, shares = self.saved
        dx: Any = super().backward(_as_rows(_divide(dy, shares)))
        return _hide(dx[:, 0], mask)


class _Sliding1D(_AlongTime, _Pooling1D):
    """Base of the poolings with a sliding window."""

    pool_size: int = setting(default=2, kw_only=False, low=1, whole=True, fixed=True)
    strides: int | None = setting(default=None, low=1, whole=True, fixed=True)
    padding: Any = setting(default="valid", check=as_sides, fixed=True)

    def slide_over(self, image: Shape) -> Window:
        if not isinstance(self.padding, str) and max(self.padding) >= self.pool_size:
            place = f"the sequence {image[1:]} with padding {self.padding}"
            raise ShapeError(f"a window of {self.pool_size} may be outside of {place}: give less than the window")
        return self.slide(image, self.pool_size, self.strides or self.pool_size, self.padding)

    def shares(self, mask: Array, dtype: Any) -> Array:
        self.check_mask(mask)
        return super().shares(mask, dtype)


class MaxPool1D(_Sliding1D, _Maxima, pooling.MaxPool2D):
    """Maximum of each window of each feature, ``y = max_t x_t`` over its positions t.

    If several numbers are equal, the first one gets the gradient.

    Parameters
    ----------
    pool_size : int, default 2
    strides : int, optional
        Steps of the window. The default is `pool_size`, so the windows do not overlap.
    padding : "valid", "same", int or (before, after), default "valid"
        As for `Conv1D`. The padding is never the maximum.

    Shapes: (N, T, features) -> (N, places, features): (100, 16) becomes (50, 16) with MaxPool1D(2), and (99, 16) with
    strides=1. dx is dy at the maximum of each window, and 0 elsewhere.

    Masked positions do not count, and a window with only masked positions gives 0. The mask of the output is as in
    `Conv1D`.

    Raises ShapeError at set-up if the samples are not sequences, or are shorter than the window; ArgumentError for a
    mask like `Conv1D`.
    Source: Yamaguchi et al. (1990), "A neural network for speaker-independent isolated word recognition", ICSLP.
    """

    picks_maxima = True


class AveragePool1D(_Sliding1D, _Means, pooling.AveragePool2D):
    """Mean of each window of each feature, ``y = sum_t x_t / n`` over its n positions t that count.

    Padding and masked positions do not count.

    Parameters
    ----------
    pool_size, strides, padding : optional
        As for `MaxPool1D`.

    Shapes: (N, T, features) -> (N, places, features), as `MaxPool1D`: (100, 16) becomes (50, 16). If n entries of a
    window count, each of them gets dy / n.

    Masks and errors are as in `MaxPool1D`.
    Source: LeCun et al. (1989), "Handwritten digit recognition with a back-propagation network", NIPS 2, for images.
    """


class GlobalMaxPool1D(_Maxima, pooling.GlobalMaxPool2D):
    """Maximum of each feature over all positions t that count, ``y = max_t x_t``.

    If several numbers are equal, the first one gets the gradient.

    Shapes: (N, T, features) -> (N, features): (100, 64) becomes (64,). dx is dy at the maximum, and 0 elsewhere. A row
    without positions that count gives 0.

    Raises ShapeError at set-up if the samples are not sequences.
    Source: Collobert et al. (2011), "Natural language processing (almost) from scratch", JMLR 12.
    """

    picks_maxima = True


class GlobalAveragePool1D(_Means, pooling.GlobalAveragePool2D):
    """Mean of each feature over all n positions t that count, ``y = sum_t x_t / n``.

    Shapes: (N, T, features) -> (N, features): (100, 64) becomes (64,). Each of n positions that count gets dy / n. A
    row without positions that count gives 0.

    Raises ShapeError at set-up if the samples are not sequences.
    Source: Lin, Chen and Yan (2013), arXiv:1312.4400, for images.
    """


def _hide(x: Array, mask: Array | None, value: float = 0) -> Array:
    """Return sequences (N, T, features) with `value` at masked positions. Raise ShapeError for a wrong mask."""
    if mask is None:
        return x
    check_mask(mask, x, 2)
    return np.where(mask[:, :, np.newaxis], x, x.dtype.type(value))


def _divide(y: Array, shares: Array | None) -> Array:
    """Return y / shares, or 0 where nothing counts."""
    return y if shares is None else np.divide(y, shares, out=np.zeros_like(y), where=shares > 0)


def _as_rows(dy: Array) -> Array:
    """Return sequences as images with one row. Results of global pooling, without positions, do not change."""
    return dy[:, np.newaxis] if dy.ndim == 3 else dy
