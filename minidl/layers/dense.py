"""The fully connected layer."""

from minidl import functional, products
from minidl.initializers import Initializer, is_initializer
from minidl.layers.base import Declaration, Layer, Parameter
from minidl.layers.shaping import count_features
from minidl.regularizers import Constraint, Regularizer, is_constraint, is_regularizer
from minidl.settings import as_flag, setting
from minidl.typing import Array, Shape


class Dense(Layer):
    """Fully connected layer, ``y = x W + b``.

    Parameters
    ----------
    units : int, > 0
        Size of the output.
    initializer : Initializer or its name, default "he_normal"
        Draws ``W`` of shape (inputs, units); the bias starts at zero.
    use_bias : bool, default True
        Without it, ``y = x W``.
    regularizer : Regularizer, optional
        Adds a penalty on ``W`` to the loss, as in ``Dense(64, regularizer=L2(1e-4))``.
    constraint : Constraint, optional
        Limits ``W`` after each step, as in ``Dense(64, constraint=MaxNorm(3))``.

    Shapes: (N, inputs) -> (N, units). Gradients: dW = x^T dy, db = sum_n dy_n, dx = dy W^T. With more axes,
    (N, ..., inputs) -> (N, ..., units): the layer acts on the last axis and treats the others as rows.

    Raises ShapeError when it is set up for samples without an axis.
    Source: He et al. (2015), arXiv:1502.01852, for the initialization.
    """

    units: int = setting(kw_only=False, low=1, whole=True, fixed=True)
    initializer: Initializer | str = setting(default="he_normal", check=is_initializer, fixed=True)
    use_bias: bool = setting(default=True, check=as_flag, fixed=True)
    regularizer: Regularizer | None = setting(default=None, check=is_regularizer)
    constraint: Constraint | None = setting(default=None, check=is_constraint)

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        shape = count_features(self, input_shape), self.units
        self.weight = declare.parameter("weight", shape, self.initializer, regularized=True)
        self.bias: Parameter | None = declare.parameter("bias", self.units, "zeros") if self.use_bias else None
        return (*input_shape[:-1], self.units)

    def forward(self, x: Array, training: bool = False) -> Array:
        if training:
            self.saved = x
        rows = x if x.ndim == 2 else x.reshape(-1, x.shape[-1])
        y = products.multiply(rows, self.weight.value)
        if self.bias is not None:
            y += self.bias.value
        return y if x.ndim == 2 else y.reshape(*x.shape[:-1], self.units)

    def backward(self, dy: Array) -> Array | None:
        x: Array = self.saved
        rows, dy = (x, dy) if x.ndim == 2 else (x.reshape(-1, x.shape[-1]), dy.reshape(-1, self.units))
        products.multiply_transposed(rows, dy, self.weight.gradient)
        if self.bias is not None:
            functional.sum_rows(dy, out=self.bias.gradient)
        if not self.needs_input_gradient:
            return None
        # For one unit it is an outer product, which takes OpenBLAS longer.
        dx = dy * self.weight.value.T if self.units == 1 else dy.dot(self.weight.value.T)
        return dx if x.ndim == 2 else dx.reshape(x.shape)
