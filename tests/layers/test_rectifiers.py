import math

import numpy as np
import pytest
from gradients import check_layer_gradients
from labels import label

from minidl.errors import ArgumentTypeError, ShapeError
from minidl.layers import ELU, SELU, LeakyReLU, PReLU, ReLU

# The numbers of equation 14 in Klambauer et al. (2017), as printed there.
ALPHA, SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
FORMULAS = [
    (ReLU(), lambda x: x if x > 0 else 0),
    (LeakyReLU(), lambda x: x if x > 0 else 0.01 * x),
    (LeakyReLU(0.3), lambda x: x if x > 0 else 0.3 * x),
    (LeakyReLU(0), lambda x: x if x > 0 else 0),
    (LeakyReLU(1), lambda x: x),
    (LeakyReLU(2.5), lambda x: x if x > 0 else 2.5 * x),
    (LeakyReLU(-1), abs),
    (PReLU(), lambda x: x if x > 0 else 0.25 * x),
    (PReLU(initial_slope=-0.5), lambda x: x if x > 0 else -0.5 * x),
    (ELU(), lambda x: x if x > 0 else math.expm1(x)),
    (ELU(0.3), lambda x: x if x > 0 else 0.3 * math.expm1(x)),
    (SELU(), lambda x: SCALE * (x if x > 0 else ALPHA * math.expm1(x))),
]


def batch_of(*shape):
    """Numbers at least 0.1 away from zero, where there is a kink; of both signs."""
    rng = np.random.default_rng(0)
    return rng.choice([-1, 1], size=shape) * rng.uniform(0.1, 4, size=shape)


@pytest.mark.parametrize(("layer", "formula"), FORMULAS, ids=label)
@pytest.mark.parametrize("shape", [(5, 3), (4, 2, 3, 2)])
def test_each_number_is_mapped_by_the_formula(layer, formula, shape):
    layer.set_up(shape[1:], dtype="float64")
    x = batch_of(*shape)
    expected = np.array([formula(number) for number in x.ravel().tolist()]).reshape(shape)
    np.testing.assert_allclose(layer.forward(x), expected, rtol=1e-14)


@pytest.mark.parametrize("layer", [layer for layer, _ in FORMULAS], ids=label)
@pytest.mark.parametrize("shape", [(5, 3), (3, 2, 2, 3), (3, 1)])
def test_gradients_agree_with_numbers(layer, shape):
    check_layer_gradients(layer, batch_of(*shape))


@pytest.mark.parametrize(
    ("layer", "slope"),
    [
        (ReLU(), 0),
        (LeakyReLU(0.3), 0.3),
        (LeakyReLU(3), 3),
        (PReLU(initial_slope=0.5), 0.5),
        (ELU(0.4), 0.4),
        (SELU(), SCALE * ALPHA),
    ],
    ids=label,
)
def test_at_the_kink_the_gradient_is_that_of_the_negative_side(layer, slope):
    layer.set_up(2, dtype="float64")
    np.testing.assert_array_equal(layer.forward(np.array([[0.0, -0.0]]), training=True), [[0, 0]])
    np.testing.assert_allclose(layer.backward(np.array([[5.0, -5.0]])), [[5 * slope, -5 * slope]], rtol=1e-15)


@pytest.mark.parametrize("slope", [0.01, 0.3, 1, 7])
def test_the_gradient_of_the_positive_side_is_passed_on_bit_by_bit(slope):
    layer, x, dy = LeakyReLU(slope), np.float32([[-1, 2, 3]]), np.float32([[0.7, 0.1, -0.3]])
    np.testing.assert_array_equal(layer.forward(x, training=True), [[-np.float32(slope), 2, 3]])
    np.testing.assert_array_equal(layer.backward(dy), dy * np.float32([slope, 1, 1]))


@pytest.mark.parametrize(
    "layer", [ReLU(), LeakyReLU(np.float64(0.3)), LeakyReLU(2), PReLU(), ELU(), ELU(np.float64(0.3)), SELU()], ids=label
)
def test_float32_stays_float32(layer):
    x = batch_of(4, 3).astype(np.float32)
    layer.set_up(3, dtype="float32")
    y = layer.forward(x, training=True)
    assert y.dtype == np.float32
    assert layer.backward(y).dtype == np.float32


@pytest.mark.parametrize(
    ("layer", "y", "slopes"),
    [
        (ReLU(), [[1e4, 0]], [[1, 0]]),
        (ELU(0.5), [[1e4, -0.5]], [[1, 0]]),
        (SELU(), np.float32([[SCALE * 1e4, -SCALE * ALPHA]]), np.float32([[SCALE, 0]])),
    ],
    ids=label,
)
def test_saturated_activations_are_right_and_warn_of_nothing(layer, y, slopes):
    np.testing.assert_allclose(layer.forward(np.float32([[1e4, -1e4]]), training=True), y, rtol=1e-7)
    np.testing.assert_allclose(layer.backward(np.float32([[1, 1]])), slopes, rtol=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_elu_keeps_its_digits_close_to_zero(dtype):
    x = -np.geomspace(1e-7, 50, 2000, dtype=dtype)
    exact = [math.expm1(number) for number in x.tolist()]
    np.testing.assert_allclose(ELU().forward(x), exact, rtol=4 * np.finfo(dtype).eps)


def test_a_deep_stack_with_selu_keeps_mean_0_and_variance_1():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 400))
    for _ in range(30):
        x = SELU().forward(x @ rng.normal(scale=400**-0.5, size=(400, 400)))
    # The activity of a sample fluctuates by 1 / sqrt(400) per layer, and the fixed point draws it back.
    assert abs(x.mean()) < 0.05
    assert abs(x.var() - 1) < 0.15


def test_prelu_has_one_slope_for_each_entry_of_the_last_axis():
    layer = PReLU()
    layer.set_up((4, 5, 3))
    assert layer.slope.value.tolist() == [0.25, 0.25, 0.25]
    assert not layer.slope.decays
    layer.slope.value = [0.5, 2, -1]
    x = np.full((2, 4, 5, 3), -2, np.float32)
    np.testing.assert_array_equal(layer.forward(x, training=True)[1, 3, 4], [-1, -4, 2])
    layer.backward(np.ones_like(x))
    np.testing.assert_array_equal(layer.slope.gradient, [-2 * 2 * 4 * 5] * 3)


def test_prelu_needs_an_axis_of_channels():
    with pytest.raises(ShapeError, match="^PReLU expects samples with an axis of features"):
        PReLU().set_up(())


@pytest.mark.parametrize(("make", "setting"), [(LeakyReLU, "negative_slope"), (PReLU, "initial_slope"), (ELU, "alpha")])
@pytest.mark.parametrize("value", ["steep", None])
def test_a_setting_is_a_number(make, setting, value):
    with pytest.raises(ArgumentTypeError, match=f"^{make.__name__}: {setting} is {value!r}; it must be a number$"):
        make(**{setting: value})


def test_an_activation_is_printed_with_its_settings():
    assert repr([ReLU(), LeakyReLU(), PReLU(), ELU(), SELU()]) == (
        "[ReLU(), LeakyReLU(negative_slope=0.01), PReLU(initial_slope=0.25), ELU(alpha=1.0), SELU()]"
    )
