import math

import numpy as np
import pytest
from gradients import check_layer_gradients

from minidl.errors import ArgumentTypeError
from minidl.layers import LeakyReLU, ReLU, Sigmoid, Softmax, Tanh

FORMULAS = [
    (ReLU(), lambda x: x if x > 0 else 0),
    (LeakyReLU(), lambda x: x if x > 0 else 0.01 * x),
    (LeakyReLU(0.3), lambda x: x if x > 0 else 0.3 * x),
    (LeakyReLU(0), lambda x: x if x > 0 else 0),
    (LeakyReLU(-1), abs),
    (Sigmoid(), lambda x: 1 / (1 + math.exp(-x))),
    (Tanh(), math.tanh),
]


def batch_of(*shape):
    """Numbers at least 0.1 away from zero, where some activations have a kink; of both signs."""
    rng = np.random.default_rng(0)
    return rng.choice([-1, 1], size=shape) * rng.uniform(0.1, 4, size=shape)


@pytest.mark.parametrize(("layer", "formula"), FORMULAS, ids=repr)
@pytest.mark.parametrize("shape", [(5, 3), (4, 2, 3, 2), (6,)])
def test_each_number_is_mapped_by_the_formula(layer, formula, shape):
    x = batch_of(*shape)
    expected = np.array([formula(number) for number in x.ravel().tolist()]).reshape(shape)
    np.testing.assert_allclose(layer.forward(x), expected, rtol=1e-14)


@pytest.mark.parametrize("layer", [*(layer for layer, _ in FORMULAS), Softmax()], ids=repr)
@pytest.mark.parametrize("shape", [(5, 3), (3, 2, 2, 3), (3, 1)])
def test_gradients_agree_with_numbers(layer, shape):
    check_layer_gradients(layer, batch_of(*shape))


@pytest.mark.parametrize(("layer", "slope"), [(ReLU(), 0), (LeakyReLU(0.3), 0.3)])
def test_at_the_kink_the_gradient_is_that_of_the_negative_side(layer, slope):
    np.testing.assert_array_equal(layer.forward(np.array([[0.0, -0.0]]), training=True), [[0, 0]])
    np.testing.assert_array_equal(layer.backward(np.array([[5.0, -5.0]])), [[5 * slope, -5 * slope]])


@pytest.mark.parametrize("layer", [ReLU(), LeakyReLU(np.float64(0.3)), Sigmoid(), Tanh(), Softmax()])
def test_float32_stays_float32(layer):
    x = batch_of(4, 3).astype(np.float32)
    y = layer.forward(x, training=True)
    assert y.dtype == np.float32
    assert layer.backward(y).dtype == np.float32


@pytest.mark.parametrize(
    ("layer", "y"), [(Sigmoid(), [[1, 0]]), (Tanh(), [[1, -1]]), (Softmax(), [[1, 0]]), (ReLU(), [[1e4, 0]])]
)
def test_saturated_activations_are_right_and_warn_of_nothing(layer, y):
    np.testing.assert_array_equal(layer.forward(np.float32([[1e4, -1e4]]), training=True), y)
    np.testing.assert_array_equal(
        layer.backward(np.float32([[1, 1]])), [[1, 0]] if isinstance(layer, ReLU) else [[0, 0]]
    )


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


def test_a_slope_is_a_number():
    with pytest.raises(ArgumentTypeError, match="^LeakyReLU: negative_slope is 'steep'; it must be a number$"):
        LeakyReLU("steep")


def test_an_activation_is_printed_with_its_settings():
    assert repr([ReLU(), LeakyReLU(), Softmax()]) == "[ReLU(), LeakyReLU(negative_slope=0.01), Softmax()]"
