import math

import numpy as np
import pytest
from gradients import check_layer_gradients
from labels import label

from minidl.errors import ArgumentTypeError
from minidl.layers import GELU, Sigmoid, SiLU, Softmax, Softplus, Tanh

FORMULAS = [
    (Sigmoid(), lambda x: 1 / (1 + math.exp(-x))),
    (Tanh(), math.tanh),
    (GELU(), lambda x: x * math.erfc(-x / math.sqrt(2)) / 2),
    (GELU(approximate=True), lambda x: x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2),
    (SiLU(), lambda x: x / (1 + math.exp(-x))),
    (Softplus(), lambda x: math.log(1 + math.exp(x))),
]


def batch_of(*shape):
    return np.random.default_rng(0).uniform(-4, 4, size=shape)


@pytest.mark.parametrize(("layer", "formula"), FORMULAS, ids=label)
@pytest.mark.parametrize("shape", [(5, 3), (4, 2, 3, 2), (6,)])
def test_each_number_is_mapped_by_the_formula(layer, formula, shape):
    x = batch_of(*shape)
    expected = np.array([formula(number) for number in x.ravel().tolist()]).reshape(shape)
    np.testing.assert_allclose(layer.forward(x), expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("layer", [*(layer for layer, _ in FORMULAS), Softmax()], ids=label)
@pytest.mark.parametrize("shape", [(5, 3), (3, 2, 2, 3), (3, 1)])
def test_gradients_agree_with_numbers(layer, shape):
    check_layer_gradients(layer, batch_of(*shape))


@pytest.mark.parametrize("layer", [*(layer for layer, _ in FORMULAS), Softmax()], ids=label)
def test_float32_stays_float32(layer):
    x = batch_of(4, 3).astype(np.float32)
    y = layer.forward(x, training=True)
    assert y.dtype == np.float32
    assert layer.backward(y).dtype == np.float32


@pytest.mark.parametrize(
    ("layer", "y", "slopes"),
    [
        (Sigmoid(), [[1, 0]], [[0, 0]]),
        (Tanh(), [[1, -1]], [[0, 0]]),
        (Softmax(), [[1, 0]], [[0, 0]]),
        (GELU(), [[1e4, 0]], [[1, 0]]),
        (GELU(approximate=True), [[1e4, 0]], [[1, 0]]),
        (SiLU(), [[1e4, 0]], [[1, 0]]),
        (Softplus(), [[1e4, 0]], [[1, 0]]),
    ],
    ids=label,
)
def test_saturated_activations_are_right_and_warn_of_nothing(layer, y, slopes):
    np.testing.assert_array_equal(layer.forward(np.float32([[1e4, -1e4]]), training=True), y)
    np.testing.assert_array_equal(layer.backward(np.float32([[1, 1]])), slopes)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_softplus_keeps_its_digits_where_it_is_close_to_zero_and_to_its_input(dtype):
    x = np.linspace(-80, 80, 3201, dtype=dtype)
    exact = [max(number, 0) + math.log1p(math.exp(-abs(number))) for number in x.tolist()]
    np.testing.assert_allclose(Softplus().forward(x), exact, rtol=4 * np.finfo(dtype).eps)


def test_gelu_keeps_its_digits_in_the_lower_tail():
    x = np.linspace(-13, 0, 1000, dtype=np.float32)
    exact = [number * math.erfc(-number / math.sqrt(2)) / 2 for number in x.tolist()]
    # The exponential function in it multiplies the rounding of x, relative 6e-8, by x^2.
    np.testing.assert_allclose(GELU().forward(x), exact, rtol=13**2 * 1.2e-7, atol=1e-38)


def test_the_approximate_gelu_is_as_close_as_its_docstring_says():
    x = np.linspace(-10, 10, 20_001)
    x = x[x != 0]
    differences = np.abs(GELU().forward(x) - GELU(approximate=True).forward(x)) / np.abs(x)
    assert 0.00015 < differences.max() < 0.0002


def test_softmax_gives_probabilities_over_the_last_axis():
    x = batch_of(2, 3, 4)
    exponentials = np.vectorize(math.exp)(x)
    totals = [[math.fsum(row) for row in sample] for sample in exponentials.tolist()]
    np.testing.assert_allclose(Softmax().forward(x), exponentials / np.array(totals)[..., np.newaxis], rtol=1e-14)


def test_softmax_has_its_true_jacobian():
    layer, x = Softmax(), batch_of(1, 4)
    (y,) = layer.forward(x, training=True)
    jacobian = [[y[k] * ((k == j) - y[j]) for j in range(4)] for k in range(4)]
    for k, upstream in enumerate(np.eye(4)):
        np.testing.assert_allclose(layer.backward(upstream[np.newaxis]), [jacobian[k]], rtol=1e-13)


@pytest.mark.parametrize("approximate", ["tanh", 1, None])
def test_gelu_is_approximate_or_not(approximate):
    with pytest.raises(ArgumentTypeError, match=f"^GELU: approximate is {approximate!r}; it must be True or False$"):
        GELU(approximate=approximate)


def test_an_activation_is_printed_with_its_settings():
    assert repr([Tanh(), GELU(), Softmax()]) == "[Tanh(), GELU(approximate=False), Softmax()]"
