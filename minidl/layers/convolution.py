"""Convolutions: one small set of weights for all positions of an image."""

from dataclasses import field
from typing import Any

from minidl.errors import ShapeError
from minidl.functional import sum_rows
from minidl.initializers import Initializer, is_initializer
from minidl.layers import windows
from minidl.layers.base import Declaration, Layer, Parameter
from minidl.layers.windows import (
    LooksAtPlaces,
    add_bias,
    as_image,
    as_padding,
    as_pair,
    enlarge,
    image_gradient,
    slide,
)
from minidl.regularizers import Constraint, Regularizer, is_constraint, is_regularizer
from minidl.settings import as_flag, setting
from minidl.typing import Array, Shape


class Conv2D(LooksAtPlaces, Layer):
    """Convolution of images: at each place, the product of a patch with each filter, ``y = sum x W + b``.

    Parameters
    ----------
    filters : int, > 0
        Channels of the output.
    kernel_size : int or (height, width)
    strides : int or (height, width), default 1
        Steps of the window.
    padding : "valid", "same", int, (height, width) or ((top, bottom), (left, right)), default "valid"
        Rows and columns of zeros around the image. "same" gives ceil(size / stride) rows and columns.
    dilation : int or (height, width), default 1
        Distance between neighbouring entries of a kernel.
    groups : int, default 1
        Number of groups into which channels and filters are split. A filter sees only the channels of its group.
    use_bias : bool, default True
    initializer : Initializer or its name, default "he_normal"
        Draws ``W``. Its fan-in is kernel height x kernel width x channels / groups.
    regularizer, constraint : optional
        Applied to ``W``, as in `Dense`.

    Shapes: (N, height, width, channels) -> (N, rows, columns, filters), with
    ``rows = floor((height + padding - dilation (kernel - 1) - 1) / stride) + 1``; ``W`` is (kernel height, kernel
    width, channels / groups, filters). Conv2D(16, 3) maps images (28, 28, 1) to (26, 26, 16), with padding="same" to
    (28, 28, 16), and with padding="same" and strides=2 to (14, 14, 16). ``W`` is (3, 3, 1, 16), and its fan-in is 9.
    Gradients: dW is the product of the patches with dy, db the sum of dy, and dx a convolution of dy, its entries
    `strides` apart, with the flipped kernels.

    Raises ShapeError at set-up if the samples are not images, if the channels cannot be split into the groups, and if
    the window is larger than the padded image.
    Source: LeCun et al. (1998), "Gradient-based learning applied to document recognition"; Dumoulin and Visin (2016),
    arXiv:1603.07285, for the shapes.
    """

    filters: int = setting(kw_only=False, low=1, whole=True, fixed=True)
    kernel_size: Any = setting(kw_only=False, check=as_pair, fixed=True)
    strides: Any = setting(default=(1, 1), check=as_pair, fixed=True)
    padding: Any = setting(default="valid", check=as_padding, fixed=True)
    dilation: Any = setting(default=(1, 1), check=as_pair, fixed=True)
    groups: int = setting(default=1, low=1, whole=True, fixed=True)
    use_bias: bool = setting(default=True, check=as_flag, fixed=True)
    initializer: Initializer | str = setting(default="he_normal", check=is_initializer, fixed=True)
    regularizer: Regularizer | None = setting(default=None, check=is_regularizer)
    constraint: Constraint | None = setting(default=None, check=is_constraint)

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        self.window = slide(input_shape, self.kernel_size, self.strides, self.padding, self.dilation)
        channels = input_shape[2]
        if channels % self.groups or self.filters % self.groups:
            split = f"the {channels} channels of the image {input_shape} and the {self.filters} filters"
            raise ShapeError(f"groups={self.groups} must divide {split}")
        shape = (*self.kernel_size, channels // self.groups, self.filters)
        self.weight = declare.parameter("weight", shape, self.initializer, regularized=True)
        self.bias: Parameter | None = declare.parameter("bias", self.filters, "zeros") if self.use_bias else None
        return (*self.window.places, self.filters)

    def forward(self, x: Array, training: bool = False) -> Array:
        padded = self.window.pad(x)
        if training:
            self.saved = padded
        y = windows.convolve(padded, self.weight.value, self.window)
        if self.bias is not None:
            add_bias(y, self.bias.value)
        return y

    def backward(self, dy: Array) -> Array | None:
        self.weight.gradient = windows.kernel_gradient(self.saved, dy, self.window, self.groups)
        if self.bias is not None:
            sum_rows(dy.reshape(-1, self.filters), out=self.bias.gradient)
        if not self.needs_input_gradient:
            return None
        return image_gradient(dy, self.weight.value, self.window, self.groups)


class DepthwiseConv2D(Conv2D):
    """Convolution of each channel on its own: a `Conv2D` with one group per channel.

    Parameters
    ----------
    kernel_size : int or (height, width)
    multiplier : int, default 1
        Filters for each channel.
    strides, padding, dilation, use_bias, initializer, regularizer, constraint : optional
        As for `Conv2D`.

    Shapes: (N, height, width, channels) -> (N, rows, columns, channels multiplier); ``W`` is (kernel height, kernel
    width, 1, channels multiplier); the filters of a channel are next to each other. DepthwiseConv2D(3, multiplier=2)
    maps images (14, 14, 8) to (12, 12, 16); ``W`` is (3, 3, 1, 16), and its fan-in is 9.

    Raises the same errors as `Conv2D`. Source: Howard et al. (2017), arXiv:1704.04861.
    """

    filters: int = field(default=1, init=False, repr=False)
    groups: int = field(default=1, init=False, repr=False)
    multiplier: int = setting(default=1, low=1, whole=True, fixed=True)

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        self.groups = as_image(input_shape)[2]
        self.filters = self.groups * self.multiplier
        return super().build(input_shape, declare)


class Conv2DTranspose(LooksAtPlaces, Layer):
    """Transposed convolution, which enlarges images: the backward pass of a `Conv2D` as a forward pass.

    Each pixel adds its product with the filters to a window of the output.

    Parameters
    ----------
    filters : int, > 0
        Channels of the output.
    kernel_size, strides, dilation, use_bias, initializer, regularizer, constraint
        As for `Conv2D`. The fan-in is height x width x channels; with strides, a pixel sees only a part of the window.
    padding : "valid", "same" or numbers, default "valid"
        Padding of the convolution whose backward pass this is. This layer cuts it off the output.

    Shapes: (N, height, width, channels) -> (N, rows, columns, filters), with
    ``rows = (height - 1) stride + dilation (kernel - 1) + 1 - padding``, or height x stride for "same".
    Conv2DTranspose(16, 3, strides=2) maps (7, 7, 32) to (15, 15, 16), and with padding="same" to (14, 14, 16). ``W`` is
    (kernel height, kernel width, channels, filters).
    Gradients: dx is a convolution of dy, dW the product of the patches of dy with x.

    Raises ShapeError at set-up if the samples are not images.
    Source: Dumoulin and Visin (2016), arXiv:1603.07285.
    """

    filters: int = setting(kw_only=False, low=1, whole=True, fixed=True)
    kernel_size: Any = setting(kw_only=False, check=as_pair, fixed=True)
    strides: Any = setting(default=(1, 1), check=as_pair, fixed=True)
    padding: Any = setting(default="valid", check=as_padding, fixed=True)
    dilation: Any = setting(default=(1, 1), check=as_pair, fixed=True)
    use_bias: bool = setting(default=True, check=as_flag, fixed=True)
    initializer: Initializer | str = setting(default="he_normal", check=is_initializer, fixed=True)
    regularizer: Regularizer | None = setting(default=None, check=is_regularizer)
    constraint: Constraint | None = setting(default=None, check=is_constraint)

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        height, width, channels = as_image(input_shape)
        enlarged = enlarge((height, width), self.kernel_size, self.strides, self.padding, self.dilation)
        self.window = slide((*enlarged, self.filters), self.kernel_size, self.strides, self.padding, self.dilation)
        shape = (*self.kernel_size, channels, self.filters)
        self.weight = declare.parameter("weight", shape, self.initializer, regularized=True)
        self.bias: Parameter | None = declare.parameter("bias", self.filters, "zeros") if self.use_bias else None
        return (*enlarged, self.filters)

    def forward(self, x: Array, training: bool = False) -> Array:
        if training:
            self.saved = x
        y = image_gradient(x, self._kernel, self.window, 1)
        if self.bias is not None:
            add_bias(y, self.bias.value)
        return y

    def backward(self, dy: Array) -> Array | None:
        padded = self.window.pad(dy)
        self.weight.gradient = windows.kernel_gradient(padded, self.saved, self.window, 1).swapaxes(2, 3)
        if self.bias is not None:
            sum_rows(dy.reshape(-1, self.filters), out=self.bias.gradient)
        return windows.convolve(padded, self._kernel, self.window) if self.needs_input_gradient else None

    @property
    def _kernel(self) -> Array:
        """Return the kernel of the convolution from the output's channels to the input's."""
        return self.weight.value.swapaxes(2, 3)
