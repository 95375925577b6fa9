"""Residual and Concatenate: what they compute, and that layers inside them are as good as any other."""

import copy
import pickle

import numpy as np
import pytest
from gradients import check_layer_gradients

from minidl import (
    Adam,
    BatchNorm,
    Concatenate,
    Conv2D,
    Dense,
    Dropout,
    Dropout2D,
    Flatten,
    GaussianNoise,
    Layer,
    LayerNorm,
    MaxPool2D,
    MeanSquaredError,
    ReLU,
    Reshape,
    Residual,
    Sequential,
    SoftmaxCrossEntropy,
    Tanh,
    Trainer,
    UpSample2D,
)
from minidl.errors import ArgumentError, ArgumentTypeError, FileFormatError, ShapeError
from minidl.files import read_arrays, write_arrays

BLOCKS = [
    (lambda: Residual(Dense(4)), (4,)),
    (lambda: Residual([Dense(6), ReLU(), Dense(3)]), (4,)),
    (lambda: Residual([Dense(3), Tanh()], projection=Dense(3)), (4,)),
    (lambda: Residual([Flatten(), Dense(2)], projection=[Flatten(), Dense(2, use_bias=False)]), (2, 3)),
    (lambda: Residual(Residual(BatchNorm())), (2, 3)),
    (lambda: Residual([Dense(4), Tanh(), Dense(3)]), (2, 3)),
    (lambda: Concatenate([Dense(3), [Dense(2), Tanh()], Tanh()]), (4,)),
    (lambda: Concatenate([Tanh(), ReLU()], axis=1), (2, 3)),
    (lambda: Concatenate([Residual(Dense(2)), Concatenate([Dense(1), BatchNorm()])]), (4,)),
    (lambda: Residual([Conv2D(3, 3, strides=2, padding="same"), BatchNorm()]), (3, 4, 2)),
    (lambda: Concatenate([Conv2D(2, 1), [MaxPool2D(3, strides=1, padding="same"), Conv2D(1, 1)]]), (3, 4, 2)),
]
every_block = pytest.mark.parametrize(("make", "shape"), BLOCKS, ids=[repr(make()) for make, _ in BLOCKS])


def batch_of(shape, rows=5, seed=0, dtype="float32"):
    return np.random.default_rng(seed).normal(size=(rows, *shape)).astype(dtype)


def model_of(block, shape, **options):
    layers = [Flatten(), Dense(int(np.prod(shape))), Reshape(shape), block, Flatten(), Dense(2), MeanSquaredError()]
    return Sequential(layers, **{"input_shape": shape, "seed": 0} | options)


# What they compute


def test_a_residual_block_adds_its_input():
    inner = Dense(3)
    block = Residual(inner)
    assert block.set_up(3, 0) == (3,)
    x = batch_of((3,))
    np.testing.assert_allclose(block.forward(x), x @ inner.weight.value + x, rtol=1e-6)
    assert list(block.named_parameters()) == ["layers/dense_1/weight", "layers/dense_1/bias"]


def test_where_the_size_changes_the_input_is_projected():
    block = Residual([Dense(6), ReLU(), Dense(2)])
    assert block.set_up(3, 0) == (2,)
    named = {path: parameter.value for path, parameter in block.named_parameters().items()}
    assert list(named)[-1] == "projection/dense_1/weight"
    assert named["projection/dense_1/weight"].shape == (3, 2)
    x = batch_of((3,))
    inner = np.maximum(x @ named["layers/dense_1/weight"], 0) @ named["layers/dense_2/weight"]
    np.testing.assert_allclose(block.forward(x), inner + x @ named["projection/dense_1/weight"], rtol=1e-5, atol=1e-6)
    assert repr(block.projection) == "Sequential([Dense(units=2, initializer='he_normal', use_bias=False)])"


@pytest.mark.parametrize(
    ("layers", "shape", "strides"),
    [
        (lambda: [Conv2D(6, 3, padding="same"), ReLU()], (5, 4, 2), (1, 1)),
        (lambda: [Conv2D(6, 3, strides=2, padding="same"), Conv2D(6, 1)], (8, 6, 2), (2, 2)),
        (lambda: [Conv2D(2, 3, strides=2, padding="same")], (7, 5, 2), (2, 2)),
        (lambda: [Conv2D(2, 3, padding="same"), MaxPool2D((3, 1))], (9, 4, 2), (3, 1)),
    ],
)
def test_where_channels_or_strides_change_images_are_projected_pixel_by_pixel(layers, shape, strides, tmp_path):
    block = Residual(layers())
    output_shape = block.set_up(shape, 0)
    (projection,) = block.projection.layers
    assert (projection.kernel_size, projection.strides, projection.use_bias) == ((1, 1), strides, False)
    x = batch_of(shape)
    pixels = x[:, :: strides[0], :: strides[1]] @ projection.weight.value[0, 0]
    assert pixels.shape == (len(x), *output_shape)
    np.testing.assert_allclose(block.forward(x), block.layers.forward(x) + pixels, rtol=1e-5, atol=1e-6)
    check_layer_gradients(Residual(layers()), batch_of(shape, rows=2))
    model = Sequential([Residual(layers())], input_shape=shape, seed=0)
    model.save(tmp_path / "model.npz")
    np.testing.assert_array_equal(Sequential.load(tmp_path / "model.npz").forward(x), model.forward(x))


def test_images_that_keep_their_shape_are_added_as_they_are():
    block = Residual([Conv2D(2, 3, padding="same"), Tanh()])
    assert block.set_up((4, 5, 2), 0) == (4, 5, 2)
    assert block.projection is None


def test_branches_are_joined_in_their_order():
    first, second = Dense(2), Dense(3)
    block = Concatenate([first, [second, ReLU()], Tanh()])
    assert block.set_up(4, 0) == (2 + 3 + 4,)
    x = batch_of((4,))
    expected = [x @ first.weight.value, np.maximum(x @ second.weight.value, 0), np.tanh(x)]
    np.testing.assert_allclose(block.forward(x), np.concatenate(expected, axis=1), rtol=1e-5, atol=1e-6)
    assert list(block.sublayers()) == ["branch_1", "branch_2", "branch_3"]
    assert list(Concatenate([Tanh(), Sequential([Tanh()], name="branch_1")]).sublayers()) == ["branch_2", "branch_1"]


@pytest.mark.parametrize(
    ("axis", "output_shape"),
    [(-1, (2, 3, 8)), (3, (2, 3, 8)), (2, (2, 6, 4)), (-3, (4, 3, 4)), (np.int64(1), (4, 3, 4))],
)
def test_outputs_are_joined_along_the_axis(axis, output_shape):
    block = Concatenate([Tanh(), ReLU()], axis=axis)
    assert block.set_up((2, 3, 4)) == output_shape
    x = batch_of((2, 3, 4))
    np.testing.assert_allclose(block.forward(x), np.concatenate([np.tanh(x), np.maximum(x, 0)], axis=axis))


def image_network(*last):
    """Every kind of layer that works on images as on anything else, between those that need them."""
    branches = [Conv2D(3, 1), [Conv2D(2, 3, padding="same"), LayerNorm(epsilon=0.1)], Dropout2D(0.2)]
    return Sequential(
        [
            *(
                Reshape((4, 4, 2)),
                Conv2D(4, 3, padding="same", use_bias=False),
                BatchNorm(),
                Tanh(),
                GaussianNoise(0.1),
            ),
            *(Concatenate(branches), MaxPool2D(), Dropout(0.2), Flatten(), *last),
        ],
        seed=0,
    )


def test_normalization_noise_and_branches_work_on_images_and_channels_are_concatenated():
    network = image_network()
    assert network.set_up(32, 0) == (2 * 2 * (3 + 2 + 4),)
    assert network["concatenate_1"].output_shape == (4, 4, 9)
    assert network["batch_norm_1"].scale.value.shape == network["concatenate_1/branch_3"].output_shape[2:] == (4,)
    assert network["concatenate_1/branch_2/layer_norm_1"].scale.value.shape == (2,)
    check_layer_gradients(image_network(), batch_of((32,)))
    x, labels = np.random.default_rng(0).normal(size=(96, 32)).astype(np.float32), np.arange(96) % 2
    x[labels == 1, 10:14] += 2
    trainer = Trainer(image_network(Dense(2), SoftmaxCrossEntropy()), Adam(0.01), batch_size=16, seed=0)
    trainer.fit(x, labels, epochs=10, progress=False)
    assert trainer.evaluate(x, labels)["accuracy"] > 0.95


@every_block
def test_gradients_agree_with_numbers(make, shape):
    check_layer_gradients(make(), batch_of(shape))


@every_block
def test_a_block_alone_computes_its_gradients_once_it_is_set_up(make, shape):
    block = make()
    block.set_up(shape, 0)
    y = block.forward(batch_of(shape), training=True)
    assert block.backward(np.ones_like(y)).shape == (5, *shape)


@every_block
def test_without_a_need_for_the_input_gradient_the_others_are_the_same(make, shape):
    spared, whole = make(), make()
    gradients = []
    for block, needed in ((spared, False), (whole, True)):
        model = Sequential([block, Flatten(), Dense(2), MeanSquaredError()], input_shape=shape, seed=0)
        model.needs_input_gradient = needed
        model.forward(batch_of(shape), training=True)
        assert (model.backward(np.ones((5, 2), np.float32)) is None) != needed
        gradients.append(model.gradients)
    np.testing.assert_array_equal(*gradients)
    assert not spared.needs_input_gradient or not spared.count_parameters()  # then nobody asks it for any gradient
    dense = [layer for layer in spared.walk() if isinstance(layer, Dense)]
    assert any(not layer.needs_input_gradient for layer in dense) or not dense


# In models


@every_block
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_of_a_model_with_a_block_works_by_itself(make, shape, duplicate):
    model, x = model_of(make(), shape), batch_of(shape)
    other = duplicate(model)
    np.testing.assert_array_equal(other.forward(x), model.forward(x))
    before = model.parameters.copy()
    other.parameters[:] = 7
    assert all((parameter.value == 7).all() for parameter in other.named_parameters().values())
    np.testing.assert_array_equal(model.parameters, before)
    assert list(other.named_parameters()) == list(model.named_parameters())
    other.forward(x, training=True)
    other.backward(np.ones((5, 2), np.float32))
    joined = np.concatenate([parameter.gradient.ravel() for parameter in other.named_parameters().values()])
    np.testing.assert_array_equal(other.gradients, joined)
    assert joined.any()
    assert not model.gradients.any()


@every_block
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_model_with_a_block_is_saved_and_loaded(make, shape, dtype, tmp_path):
    model, x = model_of(make(), shape, dtype=dtype), batch_of(shape)
    model.forward(x, training=True)
    model.save(tmp_path / "model.npz")
    loaded = Sequential.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    assert repr(loaded) == repr(model)
    assert list(loaded.named_parameters()) == list(model.named_parameters())
    assert [type(layer) for layer in loaded.walk()] == [type(layer) for layer in model.walk()]
    assert {layer.dtype for layer in loaded.walk()} == {np.dtype(dtype)}


def test_the_features_of_sequences_are_projected_at_each_position():
    block = Residual([Dense(5), Tanh()])
    block.set_up((4, 3), 0, dtype="float64")
    x = np.random.default_rng(0).normal(size=(2, 4, 3))
    weight = block.named_parameters()["projection/dense_1/weight"].value
    np.testing.assert_allclose(block.forward(x), block.layers.forward(x) + x @ weight, rtol=1e-12)


def test_the_arrays_of_a_projection_that_do_not_fit_are_refused_before_they_are_made(tmp_path):
    model = Sequential([Residual(Dense(2))], input_shape=3, seed=0)
    model.save(tmp_path / "model.npz")
    arrays = read_arrays(tmp_path / "model.npz")
    arrays["parameters/residual_1/projection/dense_1/weight"] = np.zeros((3, 1), np.float32)
    write_arrays(tmp_path / "model.npz", arrays)
    with pytest.raises(FileFormatError, match=r"layer 2 'projection'.*'weight' is float32 \(3, 1\) in the file"):
        Sequential.load(tmp_path / "model.npz")


@every_block
def test_a_change_of_dtype_reaches_every_array_in_a_block(make, shape):
    block = make()
    block.set_up(shape, 0)
    before = {path: parameter.value.copy() for path, parameter in block.named_parameters().items()}
    model = Sequential([block], input_shape=shape, dtype="float64")
    x = batch_of(shape, dtype="float64")
    assert block.forward(x, training=True).dtype == np.float64
    assert block.backward(np.ones((5, *block.output_shape))).dtype == np.float64
    arrays = [array for p in block.named_parameters().values() for array in (p.value, p.gradient)]
    arrays += [state.value for state in block.named_states().values()]
    assert {array.dtype for array in arrays} <= {np.dtype("float64")}
    for path, parameter in block.named_parameters().items():
        np.testing.assert_array_equal(parameter.value, before[path])
    for inner in model.walk():
        if isinstance(inner, Sequential):  # its vectors and its layers' arrays are still the same memory
            inner.parameters[:] = 5
            assert all((parameter.value == 5).all() for parameter in inner.named_parameters().values())


@every_block
def test_parameters_in_a_block_are_views_into_the_models_vectors(make, shape):
    model = model_of(make(), shape)
    model.parameters[:] = np.arange(model.parameters.size)
    values = np.concatenate([parameter.value.ravel() for parameter in model.named_parameters().values()])
    np.testing.assert_array_equal(values, np.arange(model.parameters.size))
    block = model.layers[3]
    inside = sum(parameter.value.size for parameter in block.named_parameters().values())
    assert block.count_parameters() == inside


def test_the_summary_shows_what_is_inside(capsys):
    Sequential([Residual([Dense(3), Dropout()]), Concatenate([Dense(1), Tanh()])], input_shape=4).summary()
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[:3] for line in lines[1:-1]] == [
        ["1", "residual_1", "(Residual)"],
        ["1.1", "layers", "(Sequential)"],
        ["1.1.1", "dense_1", "(Dense)"],
        ["1.1.2", "dropout_1", "(Dropout)"],
        ["1.2", "projection", "(Sequential)"],
        ["1.2.1", "dense_1", "(Dense)"],
        ["2", "concatenate_1", "(Concatenate)"],
        ["2.1", "branch_1", "(Sequential)"],
        ["2.1.1", "dense_1", "(Dense)"],
        ["2.2", "branch_2", "(Sequential)"],
        ["2.2.1", "tanh_1", "(Tanh)"],
    ]
    assert [line[-1] for line in lines[1:6]] == ["27", "15", "15", "0", "12"]


def test_random_layers_in_blocks_have_generators_of_their_own():
    model = Sequential(
        [
            Residual([Dropout(), GaussianNoise(1.0)], projection=Dropout()),
            Concatenate([Dropout(), [Dropout()], Residual(Dropout())]),
        ],
        input_shape=3,
        seed=0,
    )
    generators = model.named_generators()
    assert list(generators) == [
        "residual_1/layers/dropout_1/generator",
        "residual_1/layers/gaussian_noise_1/generator",
        "residual_1/projection/dropout_1/generator",
        "concatenate_1/branch_1/dropout_1/generator",
        "concatenate_1/branch_2/dropout_1/generator",
        "concatenate_1/branch_3/residual_1/layers/dropout_1/generator",
    ]
    assert len({each.bit_generator.state["state"]["state"] for each in generators.values()}) == 6


def test_a_large_batch_goes_whole_through_a_block_that_normalizes():
    x = np.concatenate([np.full((1500, 1), -1.0), np.full((1500, 1), 1.0)])
    model = Sequential([Residual(BatchNorm(momentum=0.0)), Dense(2), SoftmaxCrossEntropy()], input_shape=1, seed=0)
    Trainer(model, batch_size=None, seed=0).fit(x, x[:, 0] > 0, progress=False)
    states = model.named_states()
    np.testing.assert_allclose(states["residual_1/layers/batch_norm_1/running_mean"].value, 0, atol=1e-6)


def test_a_network_of_blocks_learns():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4))
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    model = Sequential(
        [
            Concatenate([[Dense(12), ReLU()], [Dense(12), Tanh()]]),
            Residual([BatchNorm(), ReLU(), Dense(24), Dropout(0.1)]),
            Residual([Dense(8), ReLU()]),
            Dense(2),
            SoftmaxCrossEntropy(),
        ],
        seed=0,
    )
    history = Trainer(model, Adam(0.01), seed=0).fit(x, y, epochs=40, progress=False)
    assert history["accuracy"][-1] > 0.95


def test_the_same_seed_builds_the_same_bits():
    def parameters(seed):
        return model_of(Concatenate([Residual(Dense(4)), Dense(4)]), (3,), seed=seed).parameters

    np.testing.assert_array_equal(parameters(1), parameters(1))
    assert (parameters(1) != parameters(2)).any()
    block = Residual(Dense(3), projection=Dense(3))
    block.set_up(3, 0)
    one, other = (block.named_parameters()[f"{branch}/dense_1/weight"] for branch in ("layers", "projection"))
    assert (one.value != other.value).any()


# Set up before


def test_layers_that_are_set_up_already_keep_their_parameters():
    trained = Dense(3)
    trained.set_up(3, 5)
    weight = trained.weight.value.copy()
    for block in (Residual(copy.deepcopy(trained)), Concatenate([copy.deepcopy(trained)])):
        model = Sequential([Dense(3), block], input_shape=2, seed=0)
        inner = next(layer for layer in block.walk() if isinstance(layer, Dense))
        np.testing.assert_array_equal(inner.weight.value, weight)
        assert np.shares_memory(inner.weight.value, model.parameters)


@pytest.mark.parametrize("make", [Residual, lambda layers: Concatenate([Dense(1), layers])], ids=["Residual", "Concat"])
def test_a_build_that_fails_leaves_all_inside_as_it_was(make):
    trained = Dense(3)
    trained.set_up(2, 0)
    weight = trained.weight.value
    new = Dense(4)
    block = make([trained, new, Reshape((3, 3))])
    model = Sequential([block, Dense(1)], seed=0)
    for holder in (block, model):
        with pytest.raises(ShapeError, match=r"layer 3 'reshape_1': Reshape cannot give"):
            holder.set_up(2, 0)
        assert [layer.input_shape for layer in model.walk() if layer is not trained] == [None] * (
            len(list(model.walk())) - 1
        )
        assert new.count_parameters() == 0
        assert trained.weight.value is weight
        assert trained.input_shape == (2,)


def test_a_projection_that_was_made_goes_with_a_build_that_failed():
    block = Residual(Dense(3))
    with pytest.raises(ShapeError, match="^layer 2 'reshape_1': Reshape cannot give"):
        Sequential([block, Reshape((2, 2))], input_shape=2)
    assert list(block.sublayers()) == ["layers"]
    assert block.set_up(3, 0) == (3,)
    assert list(block.sublayers()) == ["layers"]


def test_a_block_that_is_set_up_again_keeps_its_projection():
    block = Residual(Dense(3))
    block.set_up(2, 0)
    before = {path: parameter.value for path, parameter in block.named_parameters().items()}
    block.set_up(2, 1)
    for path, parameter in block.named_parameters().items():
        assert parameter.value is before[path]
    with pytest.raises(ShapeError, match=r"expects input \(2,\) per sample but got \(4,\)"):
        block.set_up(4, 0)


# Errors


def test_errors_inside_name_the_place():
    class Fails(Tanh):
        where = "forward"

        def forward(self, x, training=False):
            self.fail("forward")
            return super().forward(x, training)

        def backward(self, dy):
            self.fail("backward")

        def fail(self, where):
            if where == self.where:
                raise ValueError("operands could not be broadcast together")

    places = {
        "layer 2 'skip', layer 1 'layers', layer 2 'fails_1'": Residual([Dense(3), Fails()], name="skip"),
        "layer 2 'skip', layer 2 'projection', layer 1 'fails_1'": Residual(Tanh(), projection=Fails(), name="skip"),
        "layer 2 'both', layer 2 'branch_2', layer 1 'fails_1'": Concatenate([Tanh(), Fails()], name="both"),
    }
    for place, block in places.items():
        model = Sequential([Dense(3), block], input_shape=5, seed=0)
        message = f"^{place}: operands could not be broadcast together$"
        for training in (False, True):
            with pytest.raises(ValueError, match=message):
                model.forward(batch_of((5,)), training=training)
        next(layer for layer in model.walk() if isinstance(layer, Fails)).where = "backward"
        dy = np.ones_like(model.forward(batch_of((5,)), training=True))
        with pytest.raises(ValueError, match=message):
            model.backward(dy)


def test_shapes_that_do_not_fit_inside_name_the_place():
    trained = Dense(2)
    trained.set_up(7)
    with pytest.raises(ShapeError) as refusal:
        Sequential([Dense(4), Residual([Dense(3), trained], name="skip")], input_shape=5)
    place = "layer 2 'skip', layer 1 'layers', layer 2 'dense_2'"
    assert str(refusal.value) == f"{place} expects input (7,) per sample but got (3,)"


@pytest.mark.parametrize(
    ("make", "shape", "message"),
    [
        (
            lambda: Residual([Flatten(), Dense(3)]),
            (2, 2),
            r"^Residual cannot add \(2, 2\) to \(3,\) of its layers: give projection=, or another$",
        ),
        (
            lambda: Residual(Conv2D(8, 3)),
            (28, 28, 1),
            r"^Residual cannot add \(28, 28, 1\) to \(26, 26, 8\) of its layers: give projection=, or another$",
        ),
        (lambda: Residual(UpSample2D()), (4, 4, 1), r"^Residual cannot add \(4, 4, 1\) to \(8, 8, 1\)"),
        (
            lambda: Residual(Dense(3), projection=Dense(4)),
            2,
            r"^Residual cannot add \(4,\) to \(3,\) of its layers: give projection=, or another$",
        ),
        (
            lambda: Concatenate([Tanh(), Reshape((4, 3))]),
            (2, 6),
            r"^Concatenate cannot join outputs \[\(2, 6\), \(4, 3\)\] per sample along axis -1$",
        ),
        (lambda: Concatenate([Tanh(), Flatten()]), (2, 6), r"cannot join outputs \[\(2, 6\), \(12,\)\] per sample"),
        (lambda: Concatenate([Flatten(), Tanh()]), (2, 6), r"cannot join outputs \[\(12,\), \(2, 6\)\] per sample"),
        (lambda: Concatenate([Tanh()], axis=2), 3, r"^Concatenate has no axis 2 to join outputs \(3,\)"),
        (lambda: Concatenate([Tanh()], axis=-2), 3, r"^Concatenate has no axis -2 to join outputs \(3,\)"),
        (lambda: Concatenate([Tanh()], axis=0), 3, r"^Concatenate has no axis 0 to join outputs \(3,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_at_build(make, shape, message):
    with pytest.raises(ShapeError, match=message):
        make().set_up(shape)


def test_a_layer_is_taken_once():
    layer, model, named = Dense(3), Sequential([Dense(3)]), Sequential([Dense(3)], name="named")
    for attempt in (
        lambda: Concatenate([layer, layer]),
        lambda: Concatenate([layer, [Tanh(), layer]]),
        lambda: Sequential([Residual(layer, projection=layer)]),
        lambda: Concatenate([model, model]),
        lambda: Sequential([Residual(model, projection=model)]),
        lambda: Residual(Residual(named, projection=named)),
        lambda: Sequential([block := Residual(Tanh()), block]),
        lambda: Sequential([layer, Residual(layer)]),
    ):
        with pytest.raises(ArgumentError, match="is in the model twice"):
            attempt()


def test_a_layer_may_go_from_one_model_into_a_block_of_another_which_has_it_from_then_on():
    layer = Dense(3)
    first = Sequential([layer, Dense(2), MeanSquaredError()], input_shape=3, seed=0)
    weight = layer.weight.value.copy()
    second = Sequential([Residual(layer), MeanSquaredError()], input_shape=3, seed=1)
    np.testing.assert_array_equal(layer.weight.value, weight)
    assert np.shares_memory(layer.weight.value, second.parameters)
    x = batch_of((3,))
    np.testing.assert_allclose(second.forward(x), x + x @ weight, rtol=1e-6)
    with pytest.raises(ArgumentError, match="are now part of another model: use that one, or copy"):
        Trainer(first).fit(x, batch_of((2,)), progress=False)
    with pytest.raises(ArgumentError, match="are now part of another model"):
        first.parameters  # noqa: B018 - a property that raises
    Trainer(second, seed=0).fit(x, x, progress=False)
    assert (layer.weight.value != weight).any()


@pytest.mark.parametrize(
    ("attempt", "error", "message"),
    [
        (lambda: Residual([]), ArgumentError, "^Residual: layers: a model needs at least one layer"),
        (
            lambda: Concatenate([Tanh(), []]),
            ArgumentError,
            r"^Concatenate: branches\[1\]: a model needs at least one",
        ),
        (lambda: Concatenate([None, Tanh()]), ArgumentTypeError, r"branches\[0\]: Sequential takes a list of layers"),
        (lambda: Concatenate(Tanh(), Tanh()), ArgumentTypeError, "too many positional arguments; it is "),
        (lambda: Residual(Dense(64), ReLU()), ArgumentTypeError, "too many positional arguments; it is .*projection="),
        (lambda: Residual(Dense), ArgumentTypeError, "takes a list of layers"),
        (lambda: Residual([Dense(3), "relu"]), ArgumentTypeError, "element 2 is not a layer but 'relu'"),
        (
            lambda: Sequential([Tanh(), Residual([Dense(3), MeanSquaredError()])]),
            ArgumentError,
            "element 2 has a loss inside: only the outermost model has one",
        ),
        (
            lambda: Residual(Tanh(), projection=[]),
            ArgumentError,
            "^Residual: projection: a model needs at least one layer",
        ),
        (lambda: Concatenate(Dense(3)), TypeError, "'Dense' object is not iterable"),
        (lambda: Concatenate([Dense(3), MeanSquaredError()]), ArgumentTypeError, "takes a list of layers"),
        (lambda: Concatenate([Tanh()], axis=1.0), ArgumentTypeError, "axis is 1.0; it must be a whole number"),
        (lambda: Concatenate([Tanh()], axis=True), ArgumentTypeError, "axis is True; it must be a whole number"),
        (
            lambda: Concatenate([Sequential([Tanh()], name="a"), Sequential([Tanh()], name="a")]),
            ArgumentError,
            "element 2 has the name 'a', like another element",
        ),
    ],
)
def test_what_cannot_be_a_block_is_refused(attempt, error, message):
    with pytest.raises(error, match=message):
        attempt()


def test_the_parts_of_a_residual_block_are_called_so_whatever_their_names():
    block = Residual(Sequential([Dense(3)], name="projection"), projection=Sequential([Dense(3)], name="projection"))
    block.set_up(2, 0)
    inner = ["dense_1/weight", "dense_1/bias"]
    assert list(block.named_parameters()) == [f"{part}/{path}" for part in ("layers", "projection") for path in inner]


def test_a_block_with_a_layer_that_returns_nothing_is_named():
    class Nothing(Layer):
        def forward(self, x, training=False):
            return x

        def backward(self, dy):
            return None

    model = Sequential([Dense(3), Concatenate([Tanh(), Nothing()])], input_shape=2, seed=0)
    y = model.forward(batch_of((2,)), training=True)
    with pytest.raises(ArgumentTypeError, match="^layer 2 'concatenate_1': backward must return"):
        model.backward(y)


def test_the_gradient_of_a_branch_is_never_left_out():
    class Nothing(Tanh):
        def backward(self, dy):
            return None

    x = batch_of((2,))
    for block in (Concatenate([Tanh(), Nothing()]), Residual(Nothing()), Residual(Tanh(), projection=Nothing())):
        model = Sequential([block], input_shape=2, seed=0)
        assert model.backward(np.ones_like(model.forward(x, training=True))) is None


# Freezing; tests/layers/test_base.py has more


@every_block
def test_a_frozen_block_lets_the_gradient_through_and_keeps_its_arrays(make, shape):
    block = make()
    model = model_of(block, shape)
    block.trainable = False
    arrays = block.named_parameters() | block.named_states()
    before = {path: array.value.copy() for path, array in arrays.items()}
    first = model.named_parameters()["dense_1/weight"].value.copy()
    Trainer(model, Adam(0.01, weight_decay=0.1), seed=0).fit(batch_of(shape), batch_of((2,)), progress=False)
    for path, array in arrays.items():
        np.testing.assert_array_equal(array.value, before[path])
    assert (model.named_parameters()["dense_1/weight"].value != first).any()
    block.trainable = True
    Trainer(model, Adam(0.01), seed=0).fit(batch_of(shape), batch_of((2,)), progress=False)
    assert all((array.value != before[path]).any() for path, array in block.named_states().items())
    assert not before or any((array.value != before[path]).any() for path, array in block.named_parameters().items())


def test_a_branch_may_be_frozen_alone():
    block = Concatenate([[Dense(3), BatchNorm()], Dense(2)])
    model = model_of(block, (4,))
    block.branches[0].trainable = False
    before = {path: array.value.copy() for path, array in (block.named_parameters() | block.named_states()).items()}
    Trainer(model, seed=0).fit(batch_of((4,)), batch_of((2,)), progress=False)
    after = block.named_parameters() | block.named_states()
    assert {path for path, array in after.items() if (array.value != before[path]).any()} == {
        "branch_2/dense_1/weight",
        "branch_2/dense_1/bias",
    }


@pytest.mark.parametrize(
    ("make", "name", "value"),
    [
        (lambda: Dense(4), "units", 8),
        (lambda: Dense(4), "use_bias", False),
        (lambda: Residual(Dense(4)), "layers", [Tanh()]),
        (lambda: Residual(Dense(4)), "projection", Dense(4)),
        (lambda: Concatenate([Dense(2), Dense(2)]), "branches", [Tanh()]),
    ],
)
def test_what_a_layer_is_set_up_by_stays(make, name, value, tmp_path):
    model = Sequential([make(), MeanSquaredError()], seed=0)
    setattr(model.layers[0], name, getattr(model.layers[0], name))  # before, it may change
    model.set_up(4)
    with pytest.raises(ArgumentError, match=f"is set up, so its {name} cannot change: make a new layer"):
        setattr(model.layers[0], name, value)
    model.save(tmp_path / "model.npz")
    assert Sequential.load(tmp_path / "model.npz").predict(np.ones((2, 4))).shape == (2, 4)


def test_until_then_the_layers_of_a_block_may_change():
    residual, both = Residual(Dense(4)), Concatenate([Dense(2), Dense(2)])
    residual.layers, residual.projection, both.branches = [Dense(5), Tanh()], Dense(5), [Tanh()]
    model = Sequential([residual, both, MeanSquaredError()], input_shape=3, seed=0)
    names = ["parameters/residual_1/layers/dense_1/weight", "parameters/residual_1/layers/dense_1/bias"]
    names += [f"parameters/residual_1/projection/dense_1/{name}" for name in ("weight", "bias")]
    assert list(model.named_arrays()) == names
    assert model.predict(np.ones((2, 3))).shape == (2, 5)
