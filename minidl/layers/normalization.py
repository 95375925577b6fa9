"""Normalization: shift and scale numbers to mean 0 and variance 1, then apply a trained scale and shift."""

import numpy as np

from minidl.errors import ShapeError
from minidl.functional import sum_rows
from minidl.initializers import Constant
from minidl.layers.base import Declaration, Layer
from minidl.layers.shaping import count_features
from minidl.settings import setting
from minidl.typing import Array, Shape


class BatchNorm(Layer):
    """Normalize each feature over the batch: ``y = scale (x - mean) / sqrt(variance + epsilon) + shift``.

    A feature is an entry of the last axis. Mean and variance are taken over all other axes, which hold n numbers: over
    the batch for (N, F), over the batch and all pixels for (N, height, width, channels). Training uses the mean and
    the variance (with 1/n) of the batch. It also updates running means of both (the variance with 1/(n - 1), which has
    no bias): ``running <- momentum running + (1 - momentum) batch``. Inference uses these running means.

    A training batch with one number per feature (n = 1) has no variance and raises an error. In `Trainer.fit`, a single
    row at the end of an epoch joins the batch before it. While the layer is frozen (``trainable = False``), it
    normalizes every batch by the running mean and variance, as in Keras.

    Parameters
    ----------
    momentum : float in [0, 1), default 0.9
        Momentum of the running means, as in Keras. PyTorch's ``momentum`` is 1 minus it: 0.9 here is 0.1 there.
    epsilon : float > 0, default 1e-5

    Mean and variance ignore the padding of sequences. The output is 0 there.

    Shapes: (N, ..., F) -> (N, ..., F); parameters ``scale`` and ``shift`` (F,), which start at 1 and 0; states
    ``running_mean`` and ``running_variance`` (F,), which start at 0 and 1.
    Gradients, with x^ the normalized x and sums over all but the last axis: dscale = sum dy x^, dshift = sum dy,
    dx = scale / sqrt(variance + epsilon) (dy - dshift / n - x^ dscale / n).

    Raises ShapeError at build for samples without an axis, and in training for a batch with one number per feature.
    Source: Ioffe and Szegedy (2015), arXiv:1502.03167, algorithm 1.
    """

    momentum: float = setting(default=0.9, low=0, below=1)
    epsilon: float = setting(default=1e-5, above=0)
    mixes_batch = True
    shares_batch = True
    takes_mask = True

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        features = count_features(self, input_shape)
        self.scale = declare.parameter("scale", features, Constant(1))
        self.shift = declare.parameter("shift", features, "zeros")
        self.running_mean = declare.state("running_mean", features, "zeros")
        self.running_variance = declare.state("running_variance", features, Constant(1))
        return input_shape

    def forward(self, x: Array, training: bool = False, mask: Array | None = None) -> Array:
        rows = _rows_of(x, mask)
        # A process may have no rows of a batch while others have some, and wait for this process.
        of_batch = training and self.own_trainable and (len(rows) > 0 or self.over_batch is not None)
        counts = np.array(len(rows))
        if of_batch and self.over_batch is not None:
            self.over_batch(counts)
        count = int(counts)
        if of_batch and count == 1 and mask is None:
            raise ShapeError("a batch of one sample has no variance: use a batch_size of 2 or more, or LayerNorm")
        of_batch = of_batch and count > 1  # with one position or none, normalize as in inference
        if of_batch:
            mean = sum_rows(rows)
            if self.over_batch is not None:
                self.over_batch(mean)
            mean /= count
            centered = rows - mean
            variance = sum_rows(centered * centered)
            if self.over_batch is not None:
                self.over_batch(variance)
            variance /= count
            unbiased = variance * (count / (count - 1))
            for state, new in ((self.running_mean, mean), (self.running_variance, unbiased)):
                running = state.value
                running *= self.momentum
                running += (1 - self.momentum) * new
        else:
            centered = rows - self.running_mean.value
            variance = self.running_variance.value
        inverse_deviation = 1 / np.sqrt(variance + self.epsilon)
        if training:
            self.saved = centered, inverse_deviation, count if of_batch else 0, mask
        y = _scale_and_shift(centered, inverse_deviation * self.scale.value, self.shift.value)
        return _in_place_of(x, y, mask)

    def backward(self, dy: Array) -> Array:
        centered, inverse_deviation, count, mask = self.saved
        drows = _rows_of(dy, mask).reshape(centered.shape)
        dshift = self.shift.gradient = sum_rows(drows)
        dscale = self.scale.gradient = sum_rows(drows * centered) * inverse_deviation
        factor = self.scale.value * inverse_deviation
        dx = drows * factor
        if count:
            if self.over_batch is not None:
                dscale, dshift = sums = np.stack([dscale, dshift])
                self.over_batch(sums)
            # x^ is centered inverse_deviation: multiply the factors with one number per feature first.
            _take_off(dx, centered, factor * inverse_deviation * dscale / count, factor * dshift / count)
        return _in_place_of(dy, dx, mask)


class LayerNorm(Layer):
    """Normalize each sample over its features: ``y = scale (x - mean) / sqrt(variance + epsilon) + shift``.

    Mean and variance (with 1/F) are taken over the last axis of each row, both in training and in inference. The other
    rows of the batch do not matter.

    Parameters
    ----------
    epsilon : float > 0, default 1e-5

    Shapes: (N, ..., F) -> (N, ..., F); parameters ``scale`` and ``shift`` (F,), which start at 1 and 0.
    Gradients, with x^ the normalized x, g = scale dy and means over the last axis: dscale = sum dy x^, dshift = sum dy,
    dx = (g - mean(g) - x^ mean(g x^)) / sqrt(variance + epsilon).

    Raises ShapeError at build for samples without an axis.
    Source: Ba, Kiros and Hinton (2016), arXiv:1607.06450.
    """

    epsilon: float = setting(default=1e-5, above=0)

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        features = count_features(self, input_shape)
        self.scale = declare.parameter("scale", features, Constant(1))
        self.shift = declare.parameter("shift", features, "zeros")
        return input_shape

    def forward(self, x: Array, training: bool = False) -> Array:
        rows = x.reshape(-1, x.shape[-1])
        normalized = rows - _row_means(rows)
        variance = _row_means(normalized * normalized)
        inverse_deviation = 1 / np.sqrt(variance + self.epsilon)
        normalized *= inverse_deviation
        if training:
            self.saved = normalized, inverse_deviation
        return _scale_and_shift(normalized, self.scale.value, self.shift.value).reshape(x.shape)

    def backward(self, dy: Array) -> Array:
        normalized, inverse_deviation = self.saved
        drows = dy.reshape(normalized.shape)
        self.shift.gradient = sum_rows(drows)
        self.scale.gradient = sum_rows(drows * normalized)
        dx = drows * self.scale.value
        along = _row_means(dx * normalized)
        dx -= _row_means(dx)
        dx -= normalized * along
        dx *= inverse_deviation
        return dx.reshape(dy.shape)


def _rows_of(x: Array, mask: Array | None) -> Array:
    """Return the rows of features (n, F) in x (N, ..., F) that count."""
    return (x if mask is None else x[mask]).reshape(-1, x.shape[-1])


def _in_place_of(x: Array, rows: Array, mask: Array | None) -> Array:
    """Return the rows from `_rows_of` in the shape of x, with 0 where the mask does not count a row."""
    if mask is None:
        return rows.reshape(x.shape)
    y = np.zeros_like(x)
    y[mask] = rows.reshape(y[mask].shape)
    return y


def _row_means(rows: Array) -> Array:
    """Return the means over the second axis, (N, 1).

    It is computed as a product, like `sum_rows`. In float32 both are faster than `einsum` for products of two arrays;
    for many rows they take half the time. They also round less, because BLAS adds up in several sums.
    """
    return rows @ np.full((rows.shape[1], 1), 1 / rows.shape[1], rows.dtype)


def _scale_and_shift(x: Array, scale: Array, shift: Array) -> Array:
    """Return ``x scale + shift``, where scale and shift have one number per feature."""
    y = x * scale
    y += shift
    return y


def _take_off(dx: Array, centered: Array, along: Array, mean: Array) -> None:
    """Compute ``dx <- dx - centered along - mean`` in place; `along` and `mean` have one number per feature."""
    dx -= centered * along
    dx -= mean
