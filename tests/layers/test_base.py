import copy
import pickle
from dataclasses import dataclass

import numpy as np
import pytest
from gradients import check_layer_gradients

from minidl import layers
from minidl.configuration import decode, encode
from minidl.errors import ArgumentError, ArgumentTypeError, FileFormatError, NotReadyError, ShapeError
from minidl.initializers import Constant, Normal
from minidl.layers import (
    ELU,
    GELU,
    SELU,
    BatchNorm,
    Dense,
    Dropout,
    Flatten,
    GaussianNoise,
    Layer,
    LayerNorm,
    LeakyReLU,
    PReLU,
    ReLU,
    Rescale,
    Reshape,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from minidl.model import Sequential

# Layers of the user's own


@dataclass(eq=False)
class Swish(Layer):
    """A part of the user's own, as the documents show it."""

    beta: float = 1.0

    def forward(self, x, training=False):
        gate = 1 / (1 + np.exp(-self.beta * x))
        if training:
            self.saved = x, gate
        return x * gate

    def backward(self, dy):
        x, gate = self.saved
        return dy * gate * (1 + self.beta * x * (1 - gate))


@dataclass(eq=False)
class Gain(Layer):
    """A gain per feature, and a count of the batches it was trained on."""

    first: float = 1.0

    def build(self, input_shape, rng):
        self.gain = self.add_parameter("gain", input_shape, Normal(self.first, 0.1))
        self.batches = self.add_state("batches", 1)
        return input_shape

    def forward(self, x, training=False):
        self.check_input(x)
        if training:
            self.saved = x
            self.batches.value += 1
        return x * self.gain.value

    def backward(self, dy):
        np.sum(dy * self.saved, axis=0, out=self.gain.gradient)
        return dy * self.gain.value


class OffsetGain(Gain):
    """Extends another layer's build."""

    def build(self, input_shape, rng):
        output_shape = super().build(input_shape, rng)
        self.offset = self.add_parameter("offset", input_shape, "normal")
        return output_shape

    def forward(self, x, training=False):
        return super().forward(x, training) + self.offset.value

    def backward(self, dy):
        np.sum(dy, axis=0, out=self.offset.gradient)
        return super().backward(dy)


@dataclass(eq=False)
class Residual(Layer):
    """A layer around another, beside a parameter of its own: y = scale x + inner(x)."""

    inner: Layer

    def sublayers(self):
        return {"inner": self.inner}

    def build(self, input_shape, rng):
        self.scale = self.add_parameter("scale", 1, "constant(2)")
        return self.inner.build(input_shape, rng)

    def forward(self, x, training=False):
        self.check_input(x)
        if training:
            self.saved = x
        return self.scale.value * x + self.inner.forward(x, training)

    def backward(self, dy):
        self.scale.gradient[0] = np.sum(dy * self.saved)
        return self.scale.value * dy + self.inner.backward(dy)


class Shift(Layer):
    """No dataclass, and an __init__ that does not call the base's."""

    def __init__(self, by):
        self.by = by

    def forward(self, x, training=False):
        return x + self.by

    def backward(self, dy):
        return dy


class WrongInput(Swish):
    def backward(self, dy):
        return 2 * super().backward(dy)


class WrongParameter(Gain):
    """Adds to the parameter's gradient instead of overwriting it."""

    def backward(self, dy):
        self.gain.gradient += np.sum(dy * self.saved, axis=0)
        return dy * self.gain.value


class ChangesUpstream(Swish):
    def backward(self, dy):
        dx = super().backward(dy)
        dy[:] = 0
        return dx


# One of each layer of the package, with the shape of a sample; and the user's own.
BUILT_IN = [
    (BatchNorm(0.8, 1e-3), (4,)),
    (Dense(3), (4,)),
    (Dense(3, initializer="uniform(-1, 1)", use_bias=False), (4,)),
    (Dropout(0.3), (2, 3)),
    (ELU(0.7), (4,)),
    (Flatten(), (2, 3)),
    (GELU(), (4,)),
    (GELU(approximate=True), (4,)),
    (GaussianNoise(0.5), (2, 3)),
    (LayerNorm(1e-3), (4,)),
    (LeakyReLU(0.2), (4,)),
    (PReLU(0.3), (2, 3)),
    (ReLU(), (2, 3)),
    (Rescale(0.5, 1.5), (4,)),
    (Reshape((3, -1)), (6,)),
    (SELU(), (4,)),
    (SiLU(), (4,)),
    (Sigmoid(), (4,)),
    (Softmax(), (2, 3)),
    (Softplus(), (4,)),
    (Tanh(), (4,)),
]
OWN = [(Swish(1.5), (4,)), (Gain(), (4,)), (OffsetGain(), (2, 3)), (Residual(Residual(Dense(4))), (4,))]
# In training these do something else than in inference.
TRAINS_OTHERWISE = BatchNorm, Dropout, GaussianNoise
every_layer = pytest.mark.parametrize(("layer", "shape"), BUILT_IN + OWN, ids=repr)


def batch_of(shape, rows=5, dtype=np.float32, seed=0):
    """Random numbers at least 0.1 away from zero, where some activations have a kink."""
    rng = np.random.default_rng(seed)
    return (rng.choice([-1, 1], (rows, *shape)) * rng.uniform(0.1, 2, (rows, *shape))).astype(dtype)


def built(layer, shape, seed=0, dtype="float32"):
    layer = copy.deepcopy(layer)
    layer.change_dtype(np.dtype(dtype))
    layer.build(shape, seed)
    return layer


def test_every_layer_of_the_package_is_in_the_list_above():
    public = {getattr(layers, name) for name in layers.__all__}
    known = {item for item in public if issubclass(item, Layer)} - {Layer}
    assert known == {type(layer) for layer, _ in BUILT_IN}, (
        "add the new layer to BUILT_IN: the contract is tested there"
    )


# The contract of every layer


@every_layer
def test_backward_agrees_with_numbers(layer, shape):
    check_layer_gradients(copy.deepcopy(layer), batch_of(shape, rows=3))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (WrongInput(), "gradient by x"),
        (WrongParameter(), "gradient by gain"),
        (ChangesUpstream(), "backward changed dy"),
    ],
)
def test_the_numbers_find_a_wrong_backward(wrong, message):
    with pytest.raises(AssertionError, match=message):
        check_layer_gradients(wrong, batch_of((4,), rows=3))


@every_layer
def test_a_layer_is_equal_to_itself_alone_and_may_be_a_key(layer, shape):
    assert {layer: 1}[layer]
    assert layer != copy.deepcopy(layer)


@every_layer
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shapes_and_dtypes_are_those_announced(layer, shape, dtype):
    layer = built(layer, shape, dtype=dtype)
    for rows in (5, 1, 0):
        x = batch_of(shape, rows, dtype)
        for training in (False, True):
            y = layer.forward(x, training=training)
            assert y.shape == (rows, *layer.output_shape)
            assert y.dtype == dtype
        dx = layer.backward(np.ones_like(y))
        assert dx.shape == x.shape
        assert dx.dtype == dtype
    assert all(parameter.gradient.dtype == dtype for parameter in layer.named_parameters().values())


@every_layer
def test_inference_writes_nothing_on_the_layer(layer, shape):
    layer = built(layer, shape)
    layer.forward(batch_of(shape), training=True)
    attributes, content = dict(vars(layer)), pickle.dumps(layer)
    layer.forward(batch_of(shape, rows=3, seed=1))
    assert vars(layer).keys() == attributes.keys()
    assert all(vars(layer)[name] is value for name, value in attributes.items())
    assert pickle.dumps(layer) == content


@every_layer
def test_training_and_inference_agree_and_leave_the_input_as_it_is(layer, shape):
    layer, x = built(layer, shape), batch_of(shape)
    y = layer.forward(x, training=True)
    assert np.array_equal(layer.forward(x), y) != isinstance(layer, TRAINS_OTHERWISE)
    layer.backward(np.ones_like(y))
    np.testing.assert_array_equal(x, batch_of(shape))


@every_layer
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_a_copy_works_alike_and_by_itself(layer, shape, duplicate):
    layer, x = built(layer, shape), batch_of(shape)
    layer.forward(x, training=True)
    twin, y = duplicate(layer), layer.forward(x)
    np.testing.assert_array_equal(twin.forward(x), y)
    np.testing.assert_array_equal(twin.backward(np.ones_like(y)), layer.backward(np.ones_like(y)))
    for name, parameter in layer.named_parameters().items():
        np.testing.assert_array_equal(twin.named_parameters()[name].gradient, parameter.gradient)
        parameter.value += 1
        assert not np.shares_memory(twin.named_parameters()[name].value, parameter.value)
    np.testing.assert_array_equal(twin.forward(x), y)


@every_layer
def test_the_same_seed_builds_the_same_bits_and_another_seed_others(layer, shape):
    def bits(seed):
        return [parameter.value.tobytes() for parameter in built(layer, shape, seed).named_parameters().values()]

    assert bits(1) == bits(1) == bits(np.random.default_rng(1))
    random = isinstance(layer, Dense | Gain | Residual)  # the others start with constants
    assert random == (bits(1) != bits(2))


@every_layer
def test_a_layer_comes_back_from_its_description(layer, shape):
    again = decode(encode(layer))
    assert type(again) is type(layer)
    assert repr(again) == repr(layer)
    np.testing.assert_array_equal(
        built(again, shape).forward(batch_of(shape)), built(layer, shape).forward(batch_of(shape))
    )


# Building


def test_a_layer_without_parameters_need_not_define_build():
    layer = Swish()
    assert (layer.input_shape, layer.output_shape) == (None, None)
    assert layer.build(4) == (4,)
    assert (layer.input_shape, layer.output_shape) == ((4,), (4,))
    assert layer.count_parameters() == 0
    assert not layer.mixes_batch
    assert not layer.casts_input
    assert repr(layer) == "Swish(beta=1.0)"


def test_parameters_and_states_are_declared_in_build_and_there_at_once():
    layer = built(Gain(), (2, 3))
    assert layer.named_parameters() == {"gain": layer.gain}
    assert layer.named_states() == {"batches": layer.batches}
    assert layer.count_parameters() == 6
    assert layer.gain.value.shape == layer.gain.gradient.shape == (2, 3)
    np.testing.assert_array_equal(layer.gain.gradient, 0)
    np.testing.assert_array_equal(layer.batches.value, [0])


def test_a_parameter_of_two_axes_decays_unless_the_layer_says_otherwise():
    class Declares(Layer):
        def build(self, input_shape, rng):
            for axes in range(4):
                for decays in (None, True, False):
                    self.add_parameter(f"{axes} {decays}", (2,) * axes, "zeros", decays=decays)
            return input_shape

    layer = built(Declares(), (3,))
    found = {name: parameter.decays for name, parameter in layer.named_parameters().items()}
    by_default = {"0 None": False, "1 None": False, "2 None": True, "3 None": True}
    assert found == by_default | {f"{axes} {decays}": decays for axes in range(4) for decays in (True, False)}


@pytest.mark.parametrize("decays", [0, 1.0, "no"])
def test_whether_a_parameter_decays_is_true_or_false(decays):
    class Declares(Layer):
        def build(self, input_shape, rng):
            self.add_parameter("a", input_shape, "zeros", decays=decays)

    with pytest.raises(ArgumentTypeError, match=f"layer 'Declares': decays of 'a' is {decays!r}; it must be True"):
        Declares().build(3)


def test_a_layer_changes_the_type_of_all_its_arrays_and_keeps_their_values():
    layer = built(Gain(), (2, 3))
    expected = layer.gain.value.copy()
    for dtype in ("float64", "float32"):
        layer.change_dtype(np.dtype(dtype))
        arrays = layer.gain.value, layer.gain.gradient, layer.batches.value
        assert [array.dtype for array in arrays] == [dtype] * 3
        np.testing.assert_array_equal(layer.gain.value, expected)


@pytest.mark.parametrize("array", ["value", "gradient"])
def test_values_of_another_shape_are_refused_with_both_shapes(array):
    parameter = built(Gain(), (2, 3)).gain
    with pytest.raises(ShapeError, match=r"^an array of shape \(2, 3\) cannot take values of shape \(3,\)$"):
        setattr(parameter, array, np.zeros(3))


@pytest.mark.parametrize("declare", ["add_parameter", "add_state"])
def test_declaring_outside_build_is_refused(declare):
    for layer in (Swish(), built(Gain(), (4,))):
        with pytest.raises(NotReadyError, match=f"layer '{type(layer).__name__}': .* declared within build"):
            getattr(layer, declare)("late", (2,), "zeros")
    assert layer.named_parameters().keys() == {"gain"}


@pytest.mark.parametrize("first", ["add_parameter", "add_state"])
@pytest.mark.parametrize("second", ["add_parameter", "add_state"])
def test_a_name_declared_twice_is_refused(first, second):
    class Twice(Layer):
        def build(self, input_shape, rng):
            getattr(self, first)("a", input_shape, "zeros")
            getattr(self, second)("a", input_shape, "zeros")
            return input_shape

    with pytest.raises(ArgumentError, match="layer 'Twice': 'a' is declared twice"):
        Twice().build(3)


def test_a_name_with_a_slash_is_refused():
    class Slash(Layer):
        def build(self, input_shape, rng):
            self.add_parameter("a/b", input_shape, "zeros")

    with pytest.raises(ArgumentError, match=r"'a/b' .* holds a '/'"):
        Slash().build(3)


def test_a_build_that_calls_that_of_its_base_is_one_build_with_one_generator():
    layer = built(OffsetGain(), (4,), seed=3, dtype="float64")
    assert list(layer.named_parameters()) == ["gain", "offset"]
    rng = np.random.default_rng(3)
    np.testing.assert_array_equal(layer.gain.value, rng.normal(1, 0.1, 4))
    np.testing.assert_array_equal(layer.offset.value, rng.normal(0, 0.05, 4))


def test_building_again_makes_new_parameters_for_the_new_shape():
    layer = built(Gain(), (4,))
    layer.forward(batch_of((4,)), training=True)
    old = layer.gain
    assert layer.build((2, 2), 1) == (2, 2)
    assert layer.named_parameters() == {"gain": layer.gain}
    assert layer.gain is not old
    assert layer.forward(batch_of((2, 2))).shape == (5, 2, 2)


def test_a_build_that_fails_leaves_no_half_built_layer():
    for layer in (Dense(3), built(Dense(3), (4,))):
        with pytest.raises(ShapeError):
            layer.build((2, 2))
        is_built = layer.input_shape is not None
        assert is_built == bool(layer.named_parameters())
        with pytest.raises(NotReadyError):
            layer.add_parameter("late", (2,), "zeros")
        layer.build((5,))
        assert layer.count_parameters() == 5 * 3 + 3


def test_a_build_that_returns_no_shape_is_told_so():
    class Forgetful(Layer):
        def build(self, input_shape, rng):
            self.add_parameter("a", input_shape, "zeros")

    with pytest.raises(ArgumentTypeError, match="not None"):
        Forgetful().build(3)


def test_a_sample_shape_that_cannot_be_is_refused():
    with pytest.raises(ArgumentError, match=r"1 or more, not \(3, 0\)"):
        Swish().build((3, 0))
    with pytest.raises(ArgumentTypeError, match="not 'ab'"):
        Swish().build("ab")


def test_a_layer_with_an_init_of_its_own_need_not_call_the_base():
    layer = Shift(2.0)
    assert layer.build((3,)) == (3,)
    np.testing.assert_array_equal(layer.forward(np.ones((1, 3))), [[3, 3, 3]])
    assert (layer.name, layer.named_parameters(), layer.needs_input_gradient) == (None, {}, True)
    check_layer_gradients(Shift(2.0), batch_of((3,)))
    model = Sequential([Dense(2), Shift(1.0)], input_shape=3, seed=0)
    assert model.layers[1].name == "shift_1"
    with pytest.raises(ArgumentTypeError, match="Shift has an __init__ of its own"):
        encode(model)


# Layers within layers


def nested():
    return built(Residual(Residual(Dense(4))), (4,))


def test_parameters_of_sublayers_are_known_by_path_and_in_order():
    layer = nested()
    shapes = {name: parameter.value.shape for name, parameter in layer.named_parameters().items()}
    assert list(shapes.items()) == [
        ("scale", (1,)),
        ("inner/scale", (1,)),
        ("inner/inner/weight", (4, 4)),
        ("inner/inner/bias", (4,)),
    ]
    assert layer.count_parameters() == 1 + 1 + 16 + 4
    assert list(layer.walk()) == [layer, layer.inner, layer.inner.inner]


def test_states_of_sublayers_are_known_by_path():
    class Counted(Residual):
        def build(self, input_shape, rng):
            self.own = self.add_state("own", 2, Constant(3))
            return super().build(input_shape, rng)

    layer = built(Counted(Gain()), (4,))
    assert layer.named_states() == {"own": layer.own, "inner/batches": layer.inner.batches}
    np.testing.assert_array_equal(layer.own.value, [3, 3])


def test_moved_parameters_keep_their_numbers_and_become_views_in_order():
    layer = nested()
    for position, parameter in enumerate(layer.named_parameters().values()):
        parameter.gradient += position
    before = {name: (p.value.copy(), p.gradient.copy()) for name, p in layer.named_parameters().items()}
    values, gradients = np.empty((2, layer.count_parameters()), np.float32)
    layer.move_parameters(values, gradients)
    for name, parameter in layer.named_parameters().items():
        np.testing.assert_array_equal((parameter.value, parameter.gradient), before[name])
    np.testing.assert_array_equal(values, np.concatenate([value.ravel() for value, _ in before.values()]))
    np.testing.assert_array_equal(gradients, np.concatenate([gradient.ravel() for _, gradient in before.values()]))
    values[0], gradients[-1] = 7, 9
    assert layer.scale.value == 7
    assert layer.inner.inner.bias.gradient[-1] == 9


def test_a_change_of_dtype_reaches_parameters_gradients_and_states_of_all_layers():
    layer = nested()
    weight = layer.inner.inner.weight.value.copy()
    layer.change_dtype(np.dtype("float64"))
    np.testing.assert_array_equal(layer.inner.inner.weight.value, weight)
    arrays = [array for p in layer.named_parameters().values() for array in (p.value, p.gradient)]
    assert {array.dtype for array in arrays} == {np.dtype("float64")}
    assert layer.forward(batch_of((4,), dtype=np.float64)).dtype == np.float64

    again = [array for p in layer.named_parameters().values() for array in (p.value, p.gradient)]
    layer.change_dtype(np.dtype("float64"))
    unchanged = [array for p in layer.named_parameters().values() for array in (p.value, p.gradient)]
    assert all(array is same for array, same in zip(again, unchanged, strict=True))  # views into vectors stay views

    gain = built(Gain(), (4,))
    gain.change_dtype(np.dtype("float64"))
    assert gain.batches.value.dtype == np.float64
    assert gain.dtype == np.float64


def test_who_requires_an_input_gradient_requires_it_of_what_is_inside():
    layer = nested()
    layer.inner.needs_input_gradient = layer.inner.inner.needs_input_gradient = False
    layer.require_input_gradient(False)
    # Its own may be spared; what lies inside stands behind a parameter of the layer.
    assert [inner.needs_input_gradient for inner in layer.walk()] == [False, True, True]
    layer.require_input_gradient()
    assert layer.needs_input_gradient


# First values from a file


def test_stored_arrays_take_the_place_of_initializers():
    original = built(Residual(Gain()), (4,))
    arrays = {path: array.value + 5 for path, array in (original.named_parameters() | original.named_states()).items()}
    layer = Residual(Gain())
    layer.take_values_from(arrays)
    layer.build((4,))
    for path, array in (layer.named_parameters() | layer.named_states()).items():
        np.testing.assert_array_equal(array.value, arrays[path])
        assert not np.shares_memory(array.value, arrays[path])
    layer.take_values_from(None)
    layer.build((2,))
    assert layer.inner.gain.value.shape == (2,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "layer 'Gain' has no array 'gain' in the file"),
        ({"gain": np.ones(5, np.float32)}, r"array 'gain' is float32 \(5,\) in the file, but .* float32 \(4,\)"),
        ({"gain": np.ones(4)}, r"array 'gain' is float64 \(4,\) in the file, but .* says float32 \(4,\)"),
        ({"gain": np.ones(4, np.float32)}, "layer 'Gain' has no array 'batches' in the file"),
    ],
)
def test_stored_arrays_that_do_not_fit_are_refused(change, message):
    layer = Gain()
    layer.take_values_from(change)
    with pytest.raises(FileFormatError, match=message):
        layer.build((4,))


# Errors that name the place


def test_an_input_of_another_shape_is_refused_with_the_layer_and_both_shapes():
    model = Sequential([Dense(128), ReLU(), Dense(10)], input_shape=64)
    with pytest.raises(ShapeError) as refusal:
        model.layers[2].forward(np.zeros((5, 64)))
    assert str(refusal.value) == "layer 3 'dense_2' expects input (128,) per sample but got (64,)"


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((5, 3)), "layer 'Gain' expects input (4,) per sample but got (3,)"),
        (np.zeros((5, 4, 1)), "layer 'Gain' expects input (4,) per sample but got (4, 1)"),
        (np.zeros(5), "layer 'Gain' expects input (4,) per sample but got ()"),
        (
            np.zeros(4),
            "layer 'Gain' expects input (4,) per sample, in a batch, but got one sample alone: pass x[np.newaxis]",
        ),
        (np.float64(1), "layer 'Gain' expects input (4,) per sample but got a single number"),
    ],
)
def test_an_input_that_is_no_batch_is_refused_with_the_cure(x, message):
    with pytest.raises(ShapeError) as refusal:
        built(Gain(), (4,)).forward(x)
    assert str(refusal.value) == message


def test_a_layer_that_is_not_built_says_so():
    with pytest.raises(NotReadyError, match=r"layer 'Gain' is not built: call build\(input_shape, rng\) first"):
        Gain().forward(np.zeros((5, 4)))


@pytest.mark.parametrize("layer", [Dense(3), LeakyReLU(), ReLU(), Sigmoid(), Softmax(), Tanh(), Swish(), Gain()])
def test_backward_before_a_training_forward_says_so(layer):
    layer = built(layer, (4,))
    y = layer.forward(batch_of((4,)))
    with pytest.raises(
        NotReadyError, match=rf"layer '{type(layer).__name__}': backward needs a forward\(x, training=True\)"
    ):
        layer.backward(np.ones_like(y))


def test_a_layer_is_placed_by_name_alone_and_by_position_in_its_models():
    alone, inner = Dense(3, name="head"), Dense(3)
    assert alone.place == "layer 'head'"
    assert inner.place == "layer 'Dense'"
    outer = Sequential([ReLU(), Sequential([Tanh(), inner], name="block")])
    assert inner.place == "layer 2 'block', layer 2 'dense_1'"
    assert outer.place == "layer 'Sequential'"
    assert copy.deepcopy(inner).place == "layer 'dense_1'"


def test_the_base_alone_says_what_is_missing():
    with pytest.raises(NotImplementedError, match=r"Layer must define forward\(x, training=False\)"):
        Layer().forward(np.zeros((1, 2)))
    with pytest.raises(NotImplementedError, match=r"Layer must define backward\(dy\)"):
        Layer().backward(np.zeros((1, 2)))
