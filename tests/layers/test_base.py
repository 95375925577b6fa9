import copy
import io
import pickle

import joblib
import numpy as np
import pytest
from gradients import check_layer_gradients

from minidl import layers, sequences
from minidl.blocks import Concatenate, Residual
from minidl.errors import ArgumentError, ArgumentTypeError, FileFormatError, NotReadyError, ShapeError
from minidl.initializers import Constant, Normal, Uniform
from minidl.layers import (
    ELU,
    GELU,
    SELU,
    AveragePool2D,
    BatchNorm,
    Conv2D,
    Conv2DTranspose,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Dropout2D,
    Flatten,
    GaussianNoise,
    GlobalAveragePool2D,
    GlobalMaxPool2D,
    Layer,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    Parameter,
    PReLU,
    ReLU,
    Rescale,
    Reshape,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
    UpSample2D,
    ZeroPad2D,
)
from minidl.losses import MeanSquaredError
from minidl.model import Sequential
from minidl.optimizers import SGD, AdamW
from minidl.regularizers import L2, MaxNorm
from minidl.sequences import (
    GRU,
    LSTM,
    AveragePool1D,
    Bidirectional,
    Conv1D,
    GlobalAveragePool1D,
    GlobalMaxPool1D,
    Masking,
    MaxPool1D,
    MultiHeadAttention,
    PositionalEncoding,
    PositionEmbedding,
    SimpleRNN,
)
from minidl.serialization import decode, encode
from minidl.settings import CLASSES, setting
from minidl.training import Trainer

# Layers of the user's own


class Swish(Layer):
    """A part of the user's own, as the documents show it."""

    beta: float = setting(1.0, kw_only=False)

    def forward(self, x, training=False):
        gate = 1 / (1 + np.exp(-self.beta * x))
        if training:
            self.saved = x, gate
        return x * gate

    def backward(self, dy):
        x, gate = self.saved
        return dy * gate * (1 + self.beta * x * (1 - gate))


class Gain(Layer):
    """A gain per feature, and a count of the batches it was trained on."""

    first: float = 1.0

    def build(self, input_shape, declare):
        self.gain = declare.parameter("gain", input_shape, Normal(mean=self.first, standard_deviation=0.1))
        self.batches = declare.state("batches", 1)
        return input_shape

    def forward(self, x, training=False):
        if training:
            self.saved = x
            self.batches.value += self.own_trainable
        return x * self.gain.value

    def backward(self, dy):
        np.sum(dy * self.saved, axis=0, out=self.gain.gradient)
        return dy * self.gain.value


class OffsetGain(Gain):
    """Extends another layer's build."""

    def build(self, input_shape, declare):
        output_shape = super().build(input_shape, declare)
        self.offset = declare.parameter("offset", input_shape, "normal")
        return output_shape

    def forward(self, x, training=False):
        return super().forward(x, training) + self.offset.value

    def backward(self, dy):
        np.sum(dy, axis=0, out=self.offset.gradient)
        return super().backward(dy)


class Around(Layer):
    """A layer around another, beside a parameter of its own: y = scale x + inner(x)."""

    inner: Layer = setting(kw_only=False)

    def sublayers(self):
        return {"inner": self.inner}

    def build(self, input_shape, declare):
        self.scale = declare.parameter("scale", 1, Constant(2))
        return declare.sublayer("inner", input_shape)

    def forward(self, x, training=False):
        if training:
            self.saved = x
        return self.scale.value * x + self.inner.forward(x, training)

    def backward(self, dy):
        self.scale.gradient[0] = np.sum(dy * self.saved)
        return self.scale.value * dy + self.inner.backward(dy)


class Shift(Layer):
    """With an __init__ of its own, which does not call the base's."""

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
    (AveragePool1D(2, padding="same"), (3, 2)),
    (AveragePool2D(2, padding="same"), (3, 4, 2)),
    (BatchNorm(momentum=0.8, epsilon=1e-3), (4,)),
    (BatchNorm(), (3, 2, 4)),
    (Conv1D(4, 3, padding="causal", dilation=2, groups=2), (5, 2)),
    (Conv2D(4, 3), (4, 5, 1)),
    (Conv2D(4, (2, 3), strides=(1, 2), padding=((1, 0), (2, 1)), groups=2, use_bias=False), (3, 4, 2)),
    (Conv2DTranspose(3, 3, strides=2, padding="same"), (2, 3, 2)),
    (Dense(3), (4,)),
    (Dense(3, initializer=Uniform(low=-1.0, high=1.0), use_bias=False), (4,)),
    (Dense(3), (2, 4)),
    (DepthwiseConv2D(3, multiplier=2, padding="same", dilation=2), (3, 4, 2)),
    (Dropout(0.3), (2, 3)),
    (Dropout2D(0.3), (2, 3, 8)),
    (ELU(0.7), (4,)),
    (Flatten(), (2, 3)),
    (GELU(), (4,)),
    (GELU(approximate=True), (4,)),
    (GaussianNoise(0.5), (2, 3)),
    (GlobalAveragePool1D(), (3, 4)),
    (GlobalAveragePool2D(), (3, 2, 4)),
    (GlobalMaxPool1D(), (3, 4)),
    (GlobalMaxPool2D(), (3, 2, 4)),
    (LayerNorm(epsilon=1e-3), (4,)),
    (LeakyReLU(0.2), (4,)),
    (Masking(), (4, 2)),
    (MaxPool1D(3, strides=1, padding=(1, 0)), (5, 2)),
    (SimpleRNN(3), (4, 2)),
    (GRU(3, return_sequences=True), (4, 2)),
    (LSTM(3, go_backwards=True), (4, 2)),
    (Bidirectional(GRU(2, return_sequences=True)), (4, 3)),
    (MultiHeadAttention(2, causal=True, rotary=True), (3, 4)),
    (PositionEmbedding(), (3, 4)),
    (PositionalEncoding(), (3, 4)),
    (MaxPool2D(), (4, 5, 2)),
    (MaxPool2D((3, 2), strides=1, padding=1), (4, 5, 2)),
    (PReLU(initial_slope=0.3), (2, 3)),
    (ReLU(), (2, 3)),
    (Rescale(0.5, offset=1.5), (4,)),
    (Reshape((3, -1)), (6,)),
    (SELU(), (4,)),
    (SiLU(), (4,)),
    (Sigmoid(), (4,)),
    (Softmax(), (2, 3)),
    (Softplus(), (4,)),
    (Tanh(), (4,)),
    (UpSample2D((2, 3)), (2, 1, 3)),
    (ZeroPad2D(((0, 1), (2, 0))), (2, 1, 3)),
]
OWN = [(Swish(1.5), (4,)), (Gain(), (4,)), (OffsetGain(), (2, 3)), (Around(Around(Dense(4))), (4,))]
# In training these do something else than in inference.
TRAINS_OTHERWISE = BatchNorm, Dropout, GaussianNoise
every_layer = pytest.mark.parametrize(("layer", "shape"), BUILT_IN + OWN, ids=repr)


def batch_of(shape, rows=5, dtype=np.float32, seed=0):
    """Random numbers at least 0.1 away from zero, where some activations have a kink."""
    rng = np.random.default_rng(seed)
    return (rng.choice([-1, 1], (rows, *shape)) * rng.uniform(0.1, 2, (rows, *shape))).astype(dtype)


def built(layer, shape, seed=0, dtype="float32"):
    layer = copy.deepcopy(layer)
    layer.set_up(shape, seed, dtype=dtype)
    return layer


def test_every_layer_of_the_package_is_in_the_list_above():
    kinds = {getattr(layers, name) for name in layers.__all__}
    kinds |= {kind for name in sequences.__all__ if isinstance(kind := getattr(sequences, name), type)}
    of_ids = {sequences.Embedding, sequences.TiedEmbedding}  # no numbers to differentiate by: tests/sequences
    known = {kind for kind in kinds if issubclass(kind, Layer)} - {Layer} - of_ids
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
    for rows in (5, 2 if layer.mixes_rows() else 1, 0):
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
    drawn = Dense | Conv1D | Conv2D | Conv2DTranspose | MultiHeadAttention | PositionEmbedding | Gain | Around
    drawn |= SimpleRNN | GRU | LSTM | Bidirectional  # the others start with constants
    assert isinstance(layer, drawn) == (bits(1) != bits(2))


@every_layer
def test_a_layer_comes_back_from_its_description(layer, shape):
    again = decode(encode(layer))
    assert type(again) is type(layer)
    assert repr(again) == repr(layer)
    np.testing.assert_array_equal(
        built(again, shape).forward(batch_of(shape)), built(layer, shape).forward(batch_of(shape))
    )


# Setting up


def test_a_layer_without_parameters_need_not_define_build():
    layer = Swish()
    assert (layer.input_shape, layer.output_shape) == (None, None)
    assert layer.set_up(4) == (4,)
    assert (layer.input_shape, layer.output_shape) == ((4,), (4,))
    assert layer.count_parameters() == 0
    assert not layer.mixes_batch
    assert not layer.takes_integers
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
        def build(self, input_shape, declare):
            for axes in range(4):
                for decays in (None, True, False):
                    declare.parameter(f"{axes} {decays}", (2,) * axes, "zeros", decays=decays)
            return input_shape

    layer = built(Declares(), (3,))
    found = {name: parameter.decays for name, parameter in layer.named_parameters().items()}
    by_default = {"0 None": False, "1 None": False, "2 None": True, "3 None": True}
    assert found == by_default | {f"{axes} {decays}": decays for axes in range(4) for decays in (True, False)}


@pytest.mark.parametrize("decays", [0, 1.0, "no"])
def test_whether_a_parameter_decays_is_true_or_false(decays):
    class Declares(Layer):
        def build(self, input_shape, declare):
            declare.parameter("a", input_shape, "zeros", decays=decays)

    with pytest.raises(ArgumentTypeError, match=f"^decays of 'a' is {decays!r}; it must be True or False$"):
        Declares().set_up(3)


@pytest.mark.parametrize("array", ["value", "gradient"])
def test_values_of_another_shape_are_refused_with_both_shapes(array):
    parameter = built(Gain(), (2, 3)).gain
    with pytest.raises(ShapeError, match=r"^an array of shape \(2, 3\) cannot take values of shape \(3,\)$"):
        setattr(parameter, array, np.zeros(3))


@pytest.mark.parametrize("first", ["parameter", "state"])
@pytest.mark.parametrize("second", ["parameter", "state"])
def test_a_name_declared_twice_is_refused(first, second):
    class Twice(Layer):
        def build(self, input_shape, declare):
            getattr(declare, first)("a", input_shape, "zeros")
            getattr(declare, second)("a", input_shape, "zeros")
            return input_shape

    with pytest.raises(ArgumentError, match="^layer 1 'twice_1': 'a' is declared twice"):
        Sequential([Twice()], input_shape=3)


def test_a_name_with_a_slash_is_refused():
    class Slash(Layer):
        def build(self, input_shape, declare):
            declare.parameter("a/b", input_shape, "zeros")

    with pytest.raises(ArgumentError, match=r"'a/b' .* holds a '/'"):
        Slash().set_up(3)


def test_what_is_declared_is_of_the_type_that_the_declaration_tells():
    class Tells(Layer):
        def build(self, input_shape, declare):
            self.told = declare.dtype, self.dtype
            self.weight = declare.parameter("weight", input_shape, "normal")
            self.state = declare.state("state", input_shape)
            return input_shape

    for dtype in ("float32", "float64"):
        layer = Tells()
        layer.set_up(3, 0, dtype=dtype)
        assert layer.told == (dtype, dtype)
        assert layer.weight.value.dtype == layer.weight.gradient.dtype == layer.state.value.dtype == dtype
        layer.set_up(3, 0)  # the type stays until another is given
        assert layer.told == (dtype, dtype)


def test_a_build_that_calls_that_of_its_base_is_one_build_with_one_generator():
    layer = built(OffsetGain(), (4,), seed=3, dtype="float64")
    assert list(layer.named_parameters()) == ["gain", "offset"]
    rng = np.random.default_rng(3)
    np.testing.assert_array_equal(layer.gain.value, rng.normal(1, 0.1, 4))
    np.testing.assert_array_equal(layer.offset.value, rng.normal(0, 0.05, 4))


def test_what_one_layer_draws_does_not_depend_on_how_much_those_beside_it_do():
    def second_weight(units):
        model = Sequential([Around(Concatenate([Dense(units), Dense(3)]))], input_shape=3, seed=0)
        return model.named_parameters()["around_1/inner/branch_2/dense_1/weight"].value

    np.testing.assert_array_equal(second_weight(1), second_weight(8))


def test_setting_up_again_makes_new_parameters_for_the_new_shape():
    layer = built(Gain(), (4,))
    layer.forward(batch_of((4,)), training=True)
    old = layer.gain
    assert layer.set_up((2, 2), 1) == (2, 2)
    assert layer.named_parameters() == {"gain": layer.gain}
    assert layer.gain is not old
    assert layer.forward(batch_of((2, 2))).shape == (5, 2, 2)


def test_set_up_is_the_same_in_all_layers_and_calls_their_build():
    kinds = [kind for modules in CLASSES.values() for kind in modules.values()]
    assert [kind for kind in kinds if issubclass(kind, Layer) and "set_up" in vars(kind)] == [Layer]


class FailsFor(Gain):
    """Fails, when all is declared, for samples of three numbers."""

    def build(self, input_shape, declare):
        self.generator, self.note = declare.generator, input_shape
        shape = super().build(input_shape, declare)
        if input_shape == (3,):
            raise KeyboardInterrupt
        return shape


def test_an_error_leaves_a_layer_as_it_was():
    layer = FailsFor()
    before = dict(vars(layer))
    with pytest.raises(KeyboardInterrupt):
        layer.set_up(3, 0, dtype="float64")
    assert vars(layer) == before
    layer.set_up(4, 0)
    before = dict(vars(layer))
    with pytest.raises(KeyboardInterrupt):
        layer.set_up(3, 0, dtype="float64")
    assert vars(layer) == before
    assert layer.named_parameters() == {"gain": layer.gain}
    assert layer.forward(batch_of((4,))).dtype == np.float32


def test_an_error_leaves_all_layers_inside_and_their_arrays_as_they_were():
    trained, new = built(Around(Gain()), (3,)), Gain()
    arrays = {**trained.named_parameters(), **trained.named_states()}
    values = {path: array.value for path, array in arrays.items()}
    layer = Around(Sequential([trained, new, Sequential([Gain()]), FailsFor()]))
    with pytest.raises(KeyboardInterrupt):
        layer.set_up(3, 0, dtype="float64")
    assert [each.input_shape for each in layer.walk()] == [None, None, (3,), (3,), *[None] * 4]
    assert new.count_parameters() == 0
    assert {each.dtype for each in layer.walk()} == {np.dtype("float32")}
    # Also the arrays of a layer that was set up: those within are of the model that failed no longer.
    assert {**trained.named_parameters(), **trained.named_states()} == arrays
    assert all(array.value is values[path] for path, array in arrays.items())
    model = Sequential([trained])
    model.set_up(3)
    assert model.count_parameters() == 1 + 3


def test_parameters_come_back_from_a_model_that_could_not_be_set_up():
    model = Sequential([Dense(3)], input_shape=3, seed=0)
    values = model.parameters
    with pytest.raises(ShapeError, match="layer 2 'reshape_1' cannot give|layer 2 'reshape_1': Reshape cannot give"):
        Sequential([model, Reshape((2, 2))], input_shape=3)  # when `model` had been set up within
    assert model.parameters.base is values.base
    model.parameters[:] = 7
    assert (model.layers[0].weight.value == 7).all()


def test_a_build_that_returns_no_shape_is_told_so():
    class Forgetful(Layer):
        def build(self, input_shape, declare):
            declare.parameter("a", input_shape, "zeros")

    with pytest.raises(ArgumentTypeError, match="^what Forgetful.build returns must be a whole .*, not None"):
        Forgetful().set_up(3)


def test_a_sample_shape_that_cannot_be_is_refused():
    with pytest.raises(ArgumentError, match=r"1 or more, not \(3, 0\)"):
        Swish().set_up((3, 0))
    with pytest.raises(ArgumentTypeError, match="not 'ab'"):
        Swish().set_up("ab")


def test_a_layer_with_an_init_of_its_own_need_not_call_the_base():
    layer = Shift(2.0)
    assert layer.set_up((3,)) == (3,)
    np.testing.assert_array_equal(layer.forward(np.ones((1, 3))), [[3, 3, 3]])
    assert (layer.name, layer.named_parameters(), layer.needs_input_gradient) == (None, {}, True)
    assert layer.trainable
    check_layer_gradients(Shift(2.0), batch_of((3,)))
    model = Sequential([Dense(2), Shift(1.0)], input_shape=3, seed=0)
    assert model.layers[1].name == "shift_1"
    with pytest.raises(ArgumentTypeError, match="Shift has its own __init__"):
        encode(model)


# Settings


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LayerNorm(64), "^LayerNorm: too many positional arguments; it is .*epsilon="),
        (lambda: BatchNorm(0.9), "^BatchNorm: too many positional arguments; it is .*momentum=.*epsilon="),
        (lambda: PReLU(64), "^PReLU: too many positional arguments; it is .*initial_slope="),
        (lambda: AdamW(1e-3, 1e-2), "^AdamW: too many positional arguments; it is .*weight_decay="),
        (lambda: Dense(64, "zeros"), "^Dense: too many positional arguments; it is .*initializer="),
        (lambda: Residual(Dense(64), ReLU()), "^Residual: too many positional arguments; it is .*projection="),
        (lambda: Concatenate(Tanh(), ReLU()), "^Concatenate: too many positional arguments; it is .*axis="),
        (lambda: Flatten((3, 4)), "^Flatten: too many positional arguments; it is "),
        (lambda: Dense(64, bias=False), "^Dense has no setting 'bias'; .*use_bias"),
        (lambda: Dense(64, initialiser="zeros"), "^Dense has no setting 'initialiser'; did you mean 'initializer'?"),
        (lambda: Swish(slope=2), "^Swish has no setting 'slope'; .*beta"),
    ],
)
def test_settings_that_a_layer_does_not_take_are_refused_with_those_that_it_does(make, message):
    with pytest.raises(ArgumentTypeError, match=message):
        make()


@pytest.mark.parametrize("name", ["lr", "learning_rate", "requires_grad", "frozen"])
def test_what_is_no_setting_of_a_layer_cannot_be_set_for_nothing(name):
    with pytest.raises(ArgumentError, match=f"^Dense has no {name!r}: set the"):
        setattr(Dense(3), name, True)


# Layers within layers


def nested():
    return built(Around(Around(Dense(4))), (4,))


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
    class Counted(Around):
        def build(self, input_shape, declare):
            self.own = declare.state("own", 2, Constant(3))
            return super().build(input_shape, declare)

    layer = built(Counted(Gain()), (4,))
    assert layer.named_states() == {"own": layer.own, "inner/batches": layer.inner.batches}
    np.testing.assert_array_equal(layer.own.value, [3, 3])


def test_moved_parameters_keep_their_numbers_and_become_views_in_order():
    layer = nested()
    for position, parameter in enumerate(layer.named_parameters().values()):
        parameter.gradient += position
    before = {name: (p.value.copy(), p.gradient.copy()) for name, p in layer.named_parameters().items()}
    model = Sequential([layer], input_shape=4)
    for name, parameter in layer.named_parameters().items():
        np.testing.assert_array_equal((parameter.value, parameter.gradient), before[name])
    np.testing.assert_array_equal(model.parameters, np.concatenate([value.ravel() for value, _ in before.values()]))
    expected = np.concatenate([gradient.ravel() for _, gradient in before.values()])
    np.testing.assert_array_equal(model.gradients, expected)
    model.parameters[0], model.gradients[-1] = 7, 9
    assert layer.scale.value == 7
    assert layer.inner.inner.bias.gradient[-1] == 9


def test_a_change_of_dtype_reaches_parameters_gradients_and_states_of_all_layers():
    layer = nested()
    gain = built(Gain(), (4,))
    weight, factors = layer.inner.inner.weight.value.copy(), gain.gain.value.copy()
    for dtype in ("float64", "float32"):
        model = Sequential([layer, gain], input_shape=4, dtype=dtype)
        np.testing.assert_array_equal(layer.inner.inner.weight.value, weight)
        np.testing.assert_array_equal(gain.gain.value, factors)
        arrays = [array for p in model.named_parameters().values() for array in (p.value, p.gradient)]
        assert {array.dtype for array in (*arrays, gain.batches.value)} == {np.dtype(dtype)}
        assert {each.dtype for each in model.walk()} == {np.dtype(dtype)}
        assert model.forward(batch_of((4,), dtype=dtype), training=True).dtype == dtype
        model.change_dtype(np.dtype(dtype))
        unchanged = [array for p in model.named_parameters().values() for array in (p.value, p.gradient)]
        assert all(array is same for array, same in zip(arrays, unchanged, strict=True))  # views stay views


# Parameters as views


def parameter_in_vectors():
    """A parameter of shape (2, 3) in the middle of two vectors, which hold its entries 4 to 9."""
    parameter = Parameter(np.arange(6.0).reshape(2, 3), decays=True, regularized=False)
    parameter.gradient = np.arange(6.0).reshape(2, 3) + 10
    vectors = np.zeros(12), np.zeros(12)
    assert parameter.move_to(vectors, 4) == 10
    return parameter, vectors


def test_a_parameter_is_a_view_of_its_vectors():
    parameter, (values, gradients) = parameter_in_vectors()
    np.testing.assert_array_equal(parameter.value, [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(values, [0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 0, 0])
    np.testing.assert_array_equal(gradients, [0, 0, 0, 0, 10, 11, 12, 13, 14, 15, 0, 0])
    values[4], gradients[9] = 7, 8
    assert parameter.value[0, 0] == 7
    assert parameter.gradient[1, 2] == 8
    parameter.value, parameter.gradient = 1, 2
    np.testing.assert_array_equal((values[4:10], gradients[4:10]), [[1] * 6, [2] * 6])
    parameter.value += 1  # in place, as the view's own operator
    assert (values[4:10] == 2).all()
    assert (parameter.start, parameter.stop, parameter.decays, parameter.regularized) == (4, 10, True, False)


def test_a_parameter_of_a_single_number_or_of_none_is_a_view_too():
    values, gradients = np.zeros(4), np.zeros(4)
    number = Parameter(np.full((), 3.0), decays=False, regularized=False)
    assert number.move_to((values, gradients), 1) == 2
    number.value = 5
    assert values.tolist() == [0, 5, 0, 0]


def through_joblib(value):
    file = io.BytesIO()
    joblib.dump(value, file)
    return joblib.load(io.BytesIO(file.getvalue()))


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value)), through_joblib]
)
def test_a_copy_of_parameters_is_of_views_of_vectors_that_are_copied_once(duplicate):
    first, vectors = parameter_in_vectors()
    second = Parameter(np.full(2, 9.0), decays=False, regularized=True)
    second.move_to(vectors, 10)
    twins = duplicate([first, second]) if duplicate is not copy.copy else [copy.copy(first), copy.copy(second)]
    assert twins[0].vectors is twins[1].vectors
    values, gradients = twins[0].vectors
    assert np.shares_memory(values, vectors[0]) == (duplicate is copy.copy)  # which shares, as of a list
    for twin, parameter in zip(twins, (first, second), strict=True):
        np.testing.assert_array_equal((twin.value, twin.gradient), (parameter.value, parameter.gradient))
        assert np.shares_memory(twin.value, values)
        assert np.shares_memory(twin.gradient, gradients)
        assert (twin.decays, twin.regularized) == (parameter.decays, parameter.regularized)
    values[:] = 3
    assert all((twin.value == 3).all() for twin in twins)
    assert (first.value == 3).all() == (duplicate is copy.copy)


# First values from a file


def test_stored_arrays_take_the_place_of_initializers():
    original = built(Around(Gain()), (4,))
    arrays = {path: array.value + 5 for path, array in (original.named_parameters() | original.named_states()).items()}
    layer = Around(Gain())
    layer.set_up((4,), stored=arrays)
    for path, array in (layer.named_parameters() | layer.named_states()).items():
        np.testing.assert_array_equal(array.value, arrays[path])
        assert not np.shares_memory(array.value, arrays[path])
    other = Around(Gain())
    other.set_up((2,), 0)
    assert other.inner.gain.value.shape == (2,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "^there is no array 'gain' in the file$"),
        ({"gain": np.ones(5, np.float32)}, r"^'gain' is float32 \(5,\) in the file, not float32 \(4,\)$"),
        ({"gain": np.ones(4)}, r"^'gain' is float64 \(4,\) in the file, not float32 \(4,\)$"),
        ({"gain": np.ones(4, np.float32)}, "^there is no array 'batches' in the file$"),
    ],
)
def test_stored_arrays_that_do_not_fit_are_refused(change, message):
    layer = Gain()
    with pytest.raises(FileFormatError, match=message):
        layer.set_up((4,), stored=change)
    assert layer.input_shape is None
    with pytest.raises(FileFormatError, match="layer 1 'inner': " + message.removeprefix("^")):
        inside = {f"inner/{path}": values for path, values in change.items()}
        Around(Gain()).set_up(4, stored={"scale": np.ones(1, np.float32)} | inside)


# Freezing


class Watched(Tanh):
    """Counts the backward passes that it is asked for."""

    def __post_init__(self):
        self.calls = 0

    def backward(self, dy):
        self.calls += 1
        return super().backward(dy)


def arrays_of(layer):
    return {path: array.value.copy() for path, array in (layer.named_parameters() | layer.named_states()).items()}


def changed(layer, before):
    return {path for path, value in arrays_of(layer).items() if not np.array_equal(value, before[path])}


def trainer_of(*layers, optimizer=None):
    model = Sequential([*layers, Flatten(), Dense(1), MeanSquaredError()], input_shape=4, seed=0)
    return Trainer(model, optimizer or AdamW(0.01, weight_decay=0.1), batch_size=4, seed=0)


def train(trainer):
    rng = np.random.default_rng(0)
    trainer.fit(rng.normal(size=(12, 4)), rng.normal(size=12), progress=False)


FREEZABLE = [
    lambda: Dense(4, regularizer=L2(0.1), constraint=MaxNorm(0.1)),
    Gain,
    BatchNorm,
    PReLU,
    lambda: Around(Around(Dense(4))),
    lambda: Residual([Dense(5), BatchNorm(), Dense(3)]),
    lambda: Concatenate([Dense(2), [BatchNorm(), Dense(3)]]),
    lambda: Sequential([Dense(3), BatchNorm(), Sequential([Dense(2)])]),
]


@pytest.mark.parametrize("make", FREEZABLE, ids=[repr(make()) for make in FREEZABLE])
@pytest.mark.parametrize("when", ["before it is set up", "after", "after training"])
def test_a_frozen_layer_keeps_all_its_arrays_and_learns_again_when_it_is_thawed(make, when):
    layer = make()
    if when == "before it is set up":
        layer.trainable = False
    trainer = trainer_of(Dense(4), layer)
    if when == "after training":
        train(trainer)  # so that the optimizer has a momentum, which must not move it either
    layer.trainable = False
    assert not layer.trainable
    assert not layer.learns()
    before, others = arrays_of(layer), arrays_of(trainer.model)
    train(trainer)
    assert changed(layer, before) == set()
    assert {path.split("/")[0] for path in changed(trainer.model, others)} >= {"dense_1"}
    layer.trainable = True
    assert layer.trainable
    train(trainer)
    # The gradient of a bias before a batch normalization is 0 but for rounding.
    assert changed(layer, before) >= {path for path in before if "bias" not in path}


def test_what_is_frozen_moves_neither_what_is_behind_nor_what_is_before_it():
    frozen, whole = Dense(4), Dense(4)
    one, other = trainer_of(Dense(4), frozen, optimizer=SGD(0.1)), trainer_of(Dense(4), whole, optimizer=SGD(0.1))
    frozen.trainable = False
    x, y = batch_of((4,), rows=12), np.ones(12, np.float32)
    for trainer in (one, other):
        trainer.batch_size = None
        trainer.fit(x, y, progress=False)
    before, behind = "dense_1/weight", "dense_3/weight"
    for path in (before, behind):  # the first step's gradients are the same
        np.testing.assert_array_equal(
            one.model.named_parameters()[path].value, other.model.named_parameters()[path].value
        )
    assert (frozen.weight.value != whole.weight.value).any()


def test_a_part_of_a_frozen_block_may_be_thawed_and_a_part_of_another_frozen():
    block = Residual([Dense(4, name="first"), Dense(4, name="second")])
    first, second = block.layers.layers
    trainer = trainer_of(block)
    block.trainable = False
    second.trainable = True
    assert (first.trainable, second.trainable, block.trainable) == (False, True, True)
    assert block.learns()
    before = arrays_of(block)
    train(trainer)
    assert changed(block, before) == {"layers/second/weight", "layers/second/bias"}
    block.trainable = True
    first.trainable = False
    before = arrays_of(block)
    train(trainer)
    assert changed(block, before) == {"layers/second/weight", "layers/second/bias"}


def test_a_whole_model_may_be_frozen_and_taken_into_another():
    base = Sequential([Dense(4), BatchNorm(), ReLU()], input_shape=4, seed=1)
    base.trainable = False
    assert [layer.trainable for layer in base.walk()] == [False] * 4
    trainer = trainer_of(base, Dense(3))
    before = arrays_of(base)
    train(trainer)
    assert changed(base, before) == set()
    assert [layer.trainable for layer in trainer.model.layers] == [False, True, True, True]


def test_a_projection_that_is_made_when_a_frozen_block_is_set_up_is_frozen_too():
    block = Residual(Dense(3))
    block.trainable = False
    trainer = trainer_of(block)
    before = arrays_of(block)
    assert "projection/dense_1/weight" in before
    train(trainer)
    assert changed(block, before) == set()


def test_backward_goes_no_further_than_the_first_layer_that_learns():
    first, last = Watched(), Watched()
    frozen = Dense(4)
    trainer = trainer_of(frozen, first, Dense(4, name="learns"), last)
    train(trainer)
    assert (first.calls, last.calls) == (3, 3)
    frozen.trainable = False
    train(trainer)
    assert (first.calls, last.calls) == (3, 6)
    assert not trainer.model.layers[2].needs_input_gradient
    frozen.trainable = True
    train(trainer)
    assert (first.calls, last.calls) == (6, 9)
    assert trainer.model.layers[2].needs_input_gradient


def test_the_input_gradient_of_frozen_layers_is_that_of_the_others():
    x = batch_of((4,))
    model = Sequential([Dense(4), Tanh(), Dense(2)], input_shape=4, seed=0)
    expected = model.backward(np.ones_like(model.forward(x, training=True)))
    model.trainable = False
    np.testing.assert_array_equal(model.backward(np.ones_like(model.forward(x, training=True))), expected)


@pytest.mark.parametrize("value", [0, 1, None, "no"])
def test_a_layer_is_trainable_or_not(value):
    with pytest.raises(ArgumentTypeError, match="^Dense: trainable is .*; it must be True or False$"):
        Dense(3).trainable = value


# Integers


class Embedding(Layer):
    """A vector for each id, a whole number."""

    ids: int = setting(kw_only=False)
    takes_integers = True

    def build(self, input_shape, declare):
        self.vectors = declare.parameter("vectors", (self.ids, 2), "normal")
        return (*input_shape, 2)

    def forward(self, x, training=False):
        assert x.dtype.kind in "iu"
        if training:
            self.saved = x
        return self.vectors.value[x]

    def backward(self, dy):
        self.vectors.gradient = 0
        np.add.at(self.vectors.gradient, self.saved, dy)


class Offset(Embedding):
    """A learnt number for each id, in the id's place."""

    def build(self, input_shape, declare):
        self.vectors = declare.parameter("vectors", self.ids, "normal")
        return input_shape


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (lambda: [Embedding(7)], lambda v, x: v[x]),
        (lambda: [Sequential([Sequential([Embedding(7)])])], lambda v, x: v[x]),
        (lambda: [Reshape((2, 3)), Flatten(), Embedding(7)], lambda v, x: v[x]),
        (lambda: [Sequential([Reshape((2, 3))]), Sequential([Flatten(), Embedding(7)])], lambda v, x: v[x]),
        (lambda: [Concatenate([Embedding(7), [Reshape((6, 1)), Rescale(0.5)]])], lambda v, x: np.dstack([v[x], x / 2])),
        (lambda: [Concatenate([Reshape((6, 1)), Embedding(7)])], lambda v, x: np.dstack([x, v[x]])),
        (lambda: [Residual(Offset(7))], lambda v, x: v[x] + x),
        (
            lambda: [Residual([Embedding(7), Flatten()], projection=[Rescale(1), Dense(12, initializer="zeros")])],
            lambda v, x: v[x].reshape(len(x), -1),
        ),
        (
            lambda: [Residual(Sequential([Reshape((6, 1))]), projection=Concatenate([[Offset(7), Reshape((6, 1))]]))],
            lambda v, x: (v[x] + x)[..., np.newaxis],
        ),
    ],
)
def test_integers_reach_a_layer_that_takes_them_at_any_position(layers, expected, dtype):
    model = Sequential([*layers(), Flatten(), Dense(1), MeanSquaredError()], input_shape=6, seed=0)
    x = np.random.default_rng(0).integers(7, size=(5, 6)).astype(dtype)
    embedding = next(layer for layer in model.walk() if isinstance(layer, Embedding))
    inner = Sequential(copy.deepcopy(model.layers[:-2]))
    y = inner.forward(x)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, expected(embedding.vectors.value, x), rtol=1e-6)
    before = arrays_of(model)
    trainer = Trainer(model, SGD(0.1), batch_size=None, seed=0)
    trainer.fit(x, np.ones(5), progress=False)
    ids = np.unique(x)
    moved = embedding.vectors.value != next(value for path, value in before.items() if path.endswith("vectors"))
    assert moved.reshape(7, -1).any(axis=1).nonzero()[0].tolist() == ids.tolist()


def test_the_sum_of_small_integers_does_not_overflow_in_a_block():
    x = np.full((2, 3), 200, np.uint8)
    for block in (Residual(Reshape(3)), Residual(Reshape(3), projection=Reshape(3))):
        y = Sequential([block], input_shape=3).forward(x)
        np.testing.assert_array_equal(y, np.full((2, 3), 400, np.float32))
        assert y.dtype == np.float32


def test_others_get_the_numbers_of_their_model():
    class Kept(Layer):
        def forward(self, x, training=False):
            self.given = x.dtype
            return x * 2

    for members, x in (
        ([Kept()], np.zeros((2, 4), np.uint8)),
        ([Reshape((2, 2)), Kept()], np.zeros((2, 4), np.int64)),
        ([Sequential([Concatenate([Sequential([Kept()])])])], np.zeros((2, 4), bool)),
        ([Residual(Kept())], np.zeros((2, 4))),
    ):
        model = Sequential(members, input_shape=4)
        model.forward(x)
        assert next(layer for layer in model.walk() if isinstance(layer, Kept)).given == np.float32


def test_a_layer_of_integers_need_not_return_an_input_gradient_but_no_layer_that_learns_may_be_before_it():
    x = np.random.default_rng(0).integers(7, size=(5, 6))
    for first in ([Embedding(7)], [Reshape((2, 3)), Embedding(7)], [Concatenate([Embedding(7), Embedding(7)])]):
        model = Sequential([*first, Flatten(), Dense(1)], input_shape=6, seed=0)
        assert model.backward(np.ones_like(model.forward(x, training=True))) is None
        assert model.gradients.any()

    class NoGradient(Tanh):
        def backward(self, dy):
            super().backward(dy)

    model = Sequential([Dense(4), NoGradient(), Dense(1)], input_shape=4, seed=0)
    dy = np.ones_like(model.forward(batch_of((4,)), training=True))
    message = "^layer 2 'no_gradient_1': backward must return the input's gradient: layers before it need it$"
    with pytest.raises(ArgumentTypeError, match=message):
        model.backward(dy)
    model.layers[0].trainable = False
    assert model.backward(dy) is None


# Errors that name the place


def test_an_input_of_another_shape_is_refused_with_the_layer_and_both_shapes():
    model = Sequential([Dense(128), ReLU(), Dense(10)], input_shape=64)
    with pytest.raises(ShapeError) as refusal:
        model.forward(np.zeros((5, 128)))
    assert str(refusal.value) == "layer 1 'dense_1' expects input (64,) per sample but got (128,)"
    with pytest.raises(ShapeError) as refusal:
        Sequential([Dense(64), ReLU(), built(Dense(10), (128,))], input_shape=64)
    assert str(refusal.value) == "layer 3 'dense_2' expects input (128,) per sample but got (64,)"


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((5, 3)), "layer 1 'gain_1' expects input (4,) per sample but got (3,)"),
        (np.zeros((5, 4, 1)), "layer 1 'gain_1' expects input (4,) per sample but got (4, 1)"),
        (np.zeros(5), "layer 1 'gain_1' expects input (4,) per sample but got ()"),
        (
            np.zeros(4),
            "layer 1 'gain_1' expects input (4,) per sample, in a batch, but got one sample alone: pass x[np.newaxis]",
        ),
        (np.float64(1), "layer 1 'gain_1' expects input (4,) per sample but got a single number"),
    ],
)
def test_an_input_that_is_no_batch_is_refused_with_the_cure(x, message):
    with pytest.raises(ShapeError) as refusal:
        Sequential([Gain()], input_shape=4).forward(x)
    assert str(refusal.value) == message


BEFORE_FORWARD = [Dense(3), LeakyReLU(), ReLU(), Sigmoid(), Softmax(), Tanh(), Swish(), Gain(), Around(Dense(4))]


HOLDERS = {
    "none": lambda layer: layer,
    "Sequential": lambda layer: Sequential([layer]),
    "Residual": lambda layer: Residual([layer, Dense(3)]),
    "Concatenate": lambda layer: Concatenate([Rescale(1), layer]),
}


@pytest.mark.parametrize("layer", BEFORE_FORWARD, ids=repr)
@pytest.mark.parametrize("holder", HOLDERS.values(), ids=HOLDERS)
def test_backward_before_a_training_forward_says_so_in_a_model(layer, holder):
    model = Sequential([Dense(4), holder(copy.deepcopy(layer))], input_shape=4)
    dy = np.ones_like(model.forward(batch_of((4,))))
    with pytest.raises(NotReadyError, match=r"^layer 2 '.*: backward needs a forward\(x, training=True\) before it$"):
        model.backward(dy)
    model.forward(batch_of((4,)), training=True)
    assert model.backward(dy) is not None
    model.forget_saved()
    with pytest.raises(NotReadyError, match=r"backward needs a forward\(x, training=True\)"):
        model.backward(dy)


def test_what_a_layer_saves_is_a_plain_attribute():
    layer = built(Dense(3), (4,))
    with pytest.raises(AttributeError) as refusal:
        layer.backward(np.ones((5, 3)))
    assert refusal.value.name == "saved"
    layer.saved = 5
    assert layer.saved == 5


@pytest.mark.parametrize("error", [ValueError, IndexError, ShapeError, ZeroDivisionError, FileFormatError])
@pytest.mark.parametrize("where", ["build", "forward", "backward"])
def test_any_error_of_a_layer_gets_its_place_and_keeps_its_class(error, where):
    class Fails(Tanh):
        def build(self, input_shape, declare):
            self.fail("build")
            return input_shape

        def forward(self, x, training=False):
            self.fail("forward")
            return super().forward(x, training)

        def backward(self, dy):
            self.fail("backward")
            return super().backward(dy)

        def fail(self, here):
            if here == where:
                raise error("three of four")

    def run(*layers):
        model = Sequential(layers, input_shape=4)
        model.backward(model.forward(batch_of((4,)), training=True))

    for place, members in {
        "layer 2 'fails_1'": [Dense(4), Fails()],
        "layer 2 'block', layer 1 'odd'": [Dense(4), Sequential([Fails(name="odd")], name="block")],
        "layer 1 'residual_1', layer 2 'projection', layer 1 'fails_1'": [Residual(Tanh(), projection=Fails())],
        "layer 1 'concatenate_1', layer 2 'branch_2', layer 2 'fails_1'": [Concatenate([Tanh(), [Tanh(), Fails()]])],
        "layer 1 'residual_1', layer 1 'layers', layer 1 'residual_1', layer 1 'layers', layer 1 'fails_1'": [
            Residual(Residual(Fails()))
        ],
    }.items():
        with pytest.raises(error) as refusal:
            run(*members)
        assert str(refusal.value) == f"{place}: three of four"
        assert type(refusal.value) is error
        cause = refusal.value
        while cause.__cause__ is not None:
            cause = cause.__cause__
        assert str(cause) == "three of four"  # the error itself, with the line that raised it


def test_an_error_of_a_class_that_asks_for_more_than_a_text_becomes_its_nearest_base():
    class OddError(KeyError):
        def __init__(self, first, second):
            super().__init__(first)

    class Fails(Tanh):
        def forward(self, x, training=False):
            raise OddError(1, 2)

    with pytest.raises(KeyError, match="layer 1 'fails_1': 1"):
        Sequential([Fails()], input_shape=4).forward(batch_of((4,)))


def test_a_layer_knows_nothing_of_the_model_that_holds_it():
    layer, model = Dense(3), None
    model = Sequential([Sequential([layer]), Residual(Tanh())], input_shape=4)
    seen = [value for each in model.walk() for value in vars(each).values()]
    assert not any(value is model for value in seen)
    assert not any(value is model for value in vars(layer).values())
    assert model.place_of("residual_1") == "layer 2 'residual_1'"


def test_the_base_alone_says_what_is_missing():
    with pytest.raises(NotImplementedError, match=r"Layer must define forward\(x, training=False\)"):
        Layer().forward(np.zeros((1, 2)))
    with pytest.raises(NotImplementedError, match=r"Layer must define backward\(dy\)"):
        Layer().backward(np.zeros((1, 2)))


def test_a_class_cannot_hide_the_trainable_of_its_base():
    message = r"^Fixed.trainable hides a property of its base: give it another name$"
    with pytest.raises(ArgumentTypeError, match=message):
        type("Fixed", (Layer,), {"trainable": False})
    with pytest.raises(ArgumentTypeError, match=message):
        type("Fixed", (Layer,), {"__annotations__": {"trainable": bool}, "trainable": True})


def test_parameters_and_states_are_shown_in_a_line_without_their_numbers():
    layers = Sequential([Dense(128), BatchNorm()], input_shape=784, dtype="float64")
    shown = {path: repr(each) for path, each in (layers.named_parameters() | layers.named_states()).items()}
    assert shown["dense_1/weight"] == "Parameter(shape=(784, 128), dtype=float64, decays=True, regularized=True)"
    assert shown["dense_1/bias"] == "Parameter(shape=(128,), dtype=float64, decays=False, regularized=False)"
    assert shown["batch_norm_1/running_mean"] == "State(shape=(128,), dtype=float64)"
