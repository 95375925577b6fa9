"""Sequential: two vectors with shaped views, composition, prediction, files."""

import copy
import json
import pickle
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl import (
    GELU,
    SGD,
    AugmentedPrediction,
    BatchNorm,
    Concatenate,
    Constant,
    Conv2D,
    Dense,
    Dropout,
    Ensemble,
    Flatten,
    FocalCrossEntropy,
    GaussianNoise,
    KLDivergence,
    Layer,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    MeanSquaredError,
    Normal,
    PReLU,
    ReLU,
    Rescale,
    Reshape,
    Sequential,
    Sigmoid,
    SigmoidCrossEntropy,
    Softmax,
    SoftmaxCrossEntropy,
    Tanh,
    Trainer,
    recompute_statistics,
)
from minidl.errors import (
    ArgumentError,
    ArgumentTypeError,
    DataError,
    FileFormatError,
    MissingFileError,
    NotReadyError,
    ShapeError,
)
from minidl.files import read_arrays, write_arrays
from minidl.settings import setting


def digit_model(**options):
    layers = [Rescale(1 / 255), Dense(16), ReLU(), Dense(8), Tanh(), Dense(4), SoftmaxCrossEntropy()]
    return Sequential(layers, **{"input_shape": 12, "seed": 0} | options)


def wide_model(**options):
    """A model with blocks, normalization, and noise in training."""
    branches = [PReLU(), [Dense(3), LayerNorm(), GELU()], Residual(Sequential([Dense(8), Dropout(0.5)]))]
    layers = [Rescale(1 / 255), Dense(8), BatchNorm(), GaussianNoise(0.1), Concatenate(branches), Dense(4)]
    return Sequential([*layers, SoftmaxCrossEntropy()], **{"input_shape": 12, "seed": 0} | options)


def image_model():
    layers = [Rescale(1 / 255), Conv2D(3, 3, padding="same"), BatchNorm(), ReLU(), MaxPool2D(), Flatten(), Dense(3)]
    return Sequential([*layers, SoftmaxCrossEntropy()], input_shape=(4, 5, 1), seed=0)


def pixels(rows, shape=(12,), seed=1):
    return np.random.default_rng(seed).integers(0, 256, (rows, *shape), dtype=np.uint8)


def decays(_, parameter):
    return parameter.decays


class RunningMean(Layer):
    """Subtracts the mean of all training batches so far: a layer with state, of which rows depend on each other."""

    mixes_batch = True

    def build(self, input_shape, declare):
        self.mean = declare.state("mean", input_shape)
        self.batches = declare.state("batches", 1)
        return input_shape

    def forward(self, x, training=False):
        if training:
            self.batches.value += 1
            self.mean.value += (x.mean(axis=0) - self.mean.value) / self.batches.value
        return x - self.mean.value

    def backward(self, dy):
        return dy


class Residual(Layer):
    """``y = x + f(x)``: a layer that holds another."""

    inner: Layer = setting(kw_only=False)

    def build(self, input_shape, declare):
        declare.sublayer("inner", input_shape)
        return input_shape

    def sublayers(self):
        return {"inner": self.inner}

    def forward(self, x, training=False):
        return x + self.inner.forward(x, training=training)

    def backward(self, dy):
        return dy + self.inner.backward(dy)


class TestVectors:
    def test_every_value_and_gradient_is_a_view_into_the_two_vectors(self):
        model = digit_model()
        assert model.parameters.shape == model.gradients.shape == (12 * 16 + 16 + 16 * 8 + 8 + 8 * 4 + 4,)
        model.parameters[:] = np.arange(model.parameters.size)
        model.gradients[:] = -np.arange(model.parameters.size)
        start = 0
        for parameter in model.named_parameters().values():
            expected = np.arange(start, start + parameter.value.size).reshape(parameter.value.shape)
            np.testing.assert_array_equal(parameter.value, expected)
            np.testing.assert_array_equal(parameter.gradient, -expected)
            start += parameter.value.size
        assert start == model.parameters.size

    def test_writing_on_a_view_writes_the_vector(self):
        model = digit_model()
        model.layers[1].bias.value[3] = 42
        assert model.parameters[12 * 16 + 3] == 42

    def test_assigning_a_vector_copies_into_it(self):
        model = digit_model()
        parameters, gradients = model.parameters, model.gradients
        gradients[:] = 0
        model.parameters = np.arange(parameters.size)
        model.gradients += 2
        np.testing.assert_array_equal(parameters, np.arange(parameters.size))
        assert np.shares_memory(model.parameters, parameters)
        assert model.layers[1].weight.value[0, 5] == 5
        assert np.shares_memory(model.gradients, gradients)
        assert (gradients == 2).all()

    @pytest.mark.parametrize("values", [np.ones(3), np.ones((1, 380))])
    def test_a_vector_of_another_shape_is_refused(self, values):
        with pytest.raises(ShapeError, match=r"shape \(380,\) cannot take values of shape"):
            digit_model().parameters = values

    def test_assigning_to_a_layers_array_copies_into_the_vector(self):
        model = digit_model()
        model.layers[1].weight.value = np.full((12, 16), 2.0)
        model.layers[1].bias.gradient = np.arange(16)
        assert (model.parameters[:192] == 2).all()
        np.testing.assert_array_equal(model.gradients[192:208], np.arange(16))

    def test_parameters_are_named_by_layer_and_kind(self):
        assert list(digit_model().named_parameters()) == [
            "dense_1/weight",
            "dense_1/bias",
            "dense_2/weight",
            "dense_2/bias",
            "dense_3/weight",
            "dense_3/bias",
        ]

    def test_backward_fills_the_gradient_vector_with_the_numeric_gradient(self):
        model = digit_model(dtype="float64")
        x, y = pixels(5), np.array([0, 1, 2, 3, 0])
        _, dscores = model.loss(model.forward(x, training=True), y)
        model.gradients[:] = np.nan
        model.backward(dscores)
        for index in range(0, model.parameters.size, 7):
            losses = []
            for step in (1e-6, -1e-6):
                changed = copy.deepcopy(model)
                changed.parameters[index] += step
                losses.append(changed.loss(changed.forward(x), y)[0])
            assert model.gradients[index] == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-5, abs=1e-9)

    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
    def test_a_copy_has_vectors_and_views_of_its_own(self, copied):
        inner = Sequential([Dense(3), ReLU()])
        model = Sequential([Dense(5), inner, Dense(2), SoftmaxCrossEntropy()], input_shape=4, seed=0)
        before = model.parameters.copy()
        other = copied(model)
        np.testing.assert_array_equal(other.parameters, before)
        other.parameters[:] = 7
        assert all((parameter.value == 7).all() for parameter in other.named_parameters().values())
        assert (other.layers[1].parameters == 7).all()
        np.testing.assert_array_equal(model.parameters, before)

    def test_a_shallow_copy_shares_the_vectors(self):
        model = digit_model()
        other = copy.copy(model)
        other.parameters[:] = np.arange(other.parameters.size)
        np.testing.assert_array_equal(model.parameters, other.parameters)
        assert model.layers[1].weight.value[0, 5] == 5

    def test_a_model_of_built_layers_that_is_not_built_itself_can_be_copied(self):
        trained = digit_model()
        model = Sequential([copy.deepcopy(trained.layers[1]), Dense(2)], seed=0)
        other = copy.deepcopy(model)
        np.testing.assert_array_equal(other.forward(pixels(2)), model.forward(pixels(2)))
        np.testing.assert_array_equal(other.parameters[:192], trained.parameters[:192])

    def test_a_model_that_is_not_built_can_be_copied(self):
        other = copy.deepcopy(digit_model(input_shape=None))
        np.testing.assert_array_equal(other.forward(pixels(2)), digit_model().forward(pixels(2)))

    def test_parameters_before_the_input_is_known_are_an_error_with_the_cure(self):
        model = digit_model(input_shape=None)
        for attempt in (lambda: model.parameters, lambda: model.gradients, model.description):
            with pytest.raises(NotReadyError, match="give input_shape=, or pass data first"):
                attempt()

    def test_a_backward_pass_before_a_training_forward_names_its_layer(self):
        model = digit_model()
        model.predict(pixels(2))
        with pytest.raises(NotReadyError, match=r"^layer 6 'dense_3': backward needs a forward\(x, training=True\)"):
            model.backward(np.zeros((2, 4)))
        model.forward(pixels(2), training=True)
        model.forget_saved()
        with pytest.raises(NotReadyError, match="layer 6 'dense_3': backward needs"):
            model.backward(np.zeros((2, 4)))
        with pytest.raises(NotReadyError, match="layer 1 'tanh_1': backward needs"):
            Sequential([Tanh()]).backward(np.zeros((2, 4)))
        with pytest.raises(NotReadyError, match="layer 1 'dense_1': backward needs"):
            Sequential([Dense(4), SoftmaxCrossEntropy()]).backward(np.zeros((2, 4)))

    def test_weight_decay_is_for_what_has_two_axes_or_says_so(self):
        class Mixed(Layer):
            def build(self, input_shape, declare):
                declare.parameter("bias", 3, "zeros")
                declare.parameter("gain", 2, "zeros", decays=True)
                declare.parameter("table", (2, 2), "zeros", decays=False)
                declare.parameter("weight", (1, 5), "zeros")
                return input_shape

            def forward(self, x, training=False):
                return x

        inner = Sequential([Mixed(), Dense(2, use_bias=False)])
        model = Sequential([Dense(4), inner, Dense(3, use_bias=False), Dense(2)], input_shape=6, seed=0)
        decaying = np.zeros(model.parameters.shape, bool)
        for part in model.parts(decays):
            decaying[part] = True
        named = {path: np.zeros(parameter.value.shape, bool) for path, parameter in model.named_parameters().items()}
        for path in ("dense_1/weight", "dense_2/weight", "dense_3/weight"):
            named[path][...] = True
        for path in ("mixed_1/gain", "mixed_1/weight", "dense_1/weight"):
            named[f"sequential_1/{path}"][...] = True
        np.testing.assert_array_equal(decaying, np.concatenate([mask.ravel() for mask in named.values()]))
        # Weights side by side are one part: one of Mixed, one of the Dense after it, and one after that.
        assert model.parts(decays) == [slice(0, 24), slice(31, 33), slice(37, 37 + 5 + 8 + 6 + 6)]
        assert inner.parts(decays) == [slice(3, 5), slice(9, 9 + 5 + 8)]

    @pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
    def test_a_copy_knows_what_decays(self, duplicate):
        model = digit_model()
        parts = [slice(0, 192), slice(208, 336), slice(344, 376)]
        assert duplicate(model).parts(decays) == model.parts(decays) == parts

    def test_parts_are_of_the_layers_or_parameters_that_are_chosen_and_there_may_be_none(self):
        model = digit_model()
        biases = model.parts(lambda _, parameter: parameter.value.ndim == 1)
        assert biases == [slice(192, 208), slice(336, 344), slice(376, 380)]
        assert model.parts(lambda layer, _: layer.units > 5) == [slice(0, 344)]
        assert model.parts(lambda *_: False) == Sequential([ReLU()], input_shape=3).parts(decays) == []


class TestComposition:
    def test_the_input_shape_comes_from_the_first_data(self):
        lazy, explicit = digit_model(input_shape=None), digit_model()
        x = pixels(3)
        np.testing.assert_array_equal(lazy.forward(x), explicit.forward(x))
        assert lazy.input_shape == (12,)
        assert lazy.output_shape == (4,)

    def test_the_same_seed_gives_the_same_bits_and_another_seed_others(self):
        np.testing.assert_array_equal(digit_model().parameters, digit_model().parameters)
        assert (digit_model(seed=1).parameters != digit_model().parameters).any()

    def test_without_a_seed_two_models_differ(self):
        assert (digit_model(seed=None).parameters != digit_model(seed=None).parameters).any()

    def test_what_a_layer_draws_does_not_depend_on_the_size_of_the_others(self):
        first = Sequential([Dense(3), Dense(5)], input_shape=2, seed=0)
        second = Sequential([Dense(3), Dense(5), Dense(9)], input_shape=2, seed=0)
        np.testing.assert_array_equal(first.layers[1].weight.value, second.layers[1].weight.value)

    def test_a_nested_model_computes_as_its_layers_do(self):
        flat = Sequential([Dense(5), ReLU(), Dense(3), Tanh(), Dense(2)], input_shape=4, seed=0)
        nested = Sequential([Dense(5), Sequential([ReLU(), Dense(3), Tanh()]), Dense(2)], input_shape=4, seed=1)
        nested.parameters[:] = flat.parameters
        x = np.random.default_rng(0).normal(size=(6, 4))
        np.testing.assert_array_equal(nested.forward(x, training=True), flat.forward(x, training=True))
        dy = np.ones((6, 2), np.float32)
        np.testing.assert_array_equal(nested.backward(dy), flat.backward(dy))
        np.testing.assert_array_equal(nested.gradients, flat.gradients)
        assert "sequential_1/dense_1/weight" in nested.named_parameters()
        assert np.shares_memory(nested.layers[1].parameters, nested.parameters)

    def test_a_built_layer_keeps_its_parameters_when_a_model_takes_it_in(self):
        dense = Dense(3)
        dense.set_up(2, np.random.default_rng(5))
        weight = dense.weight.value.copy()
        model = Sequential([dense, Dense(1)], input_shape=2, seed=0)
        np.testing.assert_array_equal(model.parameters[:6].reshape(2, 3), weight)
        assert np.shares_memory(dense.weight.value, model.parameters)

    def test_a_built_layer_of_another_shape_is_refused_by_name(self):
        dense = Dense(3)
        dense.set_up(2)
        with pytest.raises(ShapeError, match=r"layer 2 'dense_2' expects input \(2,\) per sample but got \(7,\)"):
            Sequential([Dense(7), dense], input_shape=4)

    def test_a_layer_that_holds_another_works_in_a_model(self):
        model = Sequential(
            [Dense(3), Residual(Sequential([Dense(4), Tanh(), Dense(3)])), Dense(2), MeanSquaredError()],
            input_shape=5,
            seed=0,
            dtype="float64",
        )
        x = np.random.default_rng(0).normal(size=(4, 5))
        y = model.forward(x, training=True)
        hidden = x @ model.layers[0].weight.value
        inner = model.layers[1].inner.layers
        hidden = hidden + np.tanh(hidden @ inner[0].weight.value) @ inner[2].weight.value
        np.testing.assert_allclose(y, hidden @ model.layers[2].weight.value, rtol=1e-12)
        model.backward(np.ones((4, 2)))
        assert "residual_1/inner/dense_1/weight" in model.named_parameters()
        assert all(parameter.gradient.any() for parameter in model.named_parameters().values())

    @pytest.mark.parametrize("given", [Dense(3), "dense", None, iter([Dense(3)])])
    def test_something_else_than_a_list_of_layers_is_refused(self, given):
        with pytest.raises(ArgumentTypeError, match="layer"):
            Sequential(given)

    def test_an_element_that_is_no_layer_is_named(self):
        with pytest.raises(ArgumentTypeError, match=r"element 2 is not a layer but .*: give layers"):
            Sequential([Dense(3), ReLU, Dense(2)])
        with pytest.raises(ArgumentTypeError, match=r"element 1 is not a layer but 3: give layers"):
            Sequential([3])

    @pytest.mark.parametrize("layers", [[], [SoftmaxCrossEntropy()]])
    def test_a_model_without_layers_is_refused(self, layers):
        with pytest.raises(ArgumentError, match="at least one layer"):
            Sequential(layers)

    def test_a_loss_before_the_end_is_refused(self):
        with pytest.raises(ArgumentTypeError, match="element 2 is not a layer but Mean.*, and a loss last$"):
            Sequential([Dense(3), MeanSquaredError(), Dense(2)])

    def test_a_nested_model_with_a_loss_is_refused(self):
        with pytest.raises(ArgumentError, match="element 1 has a loss inside: only the outermost"):
            Sequential([digit_model(), Dense(2)])

    def test_the_same_layer_twice_is_refused(self):
        dense = Dense(3)
        with pytest.raises(ArgumentError, match="element 2.* is in the model twice"):
            Sequential([dense, dense])

    def test_names_given_by_the_user_are_kept_and_never_taken_twice(self):
        model = Sequential([Dense(3, name="dense_1"), Dense(2), LeakyReLU()], input_shape=4)
        assert list(model.sublayers()) == ["dense_1", "dense_2", "leaky_relu_1"]
        with pytest.raises(ArgumentError, match="element 3 has the name 'a', like another element"):
            Sequential([Dense(1, name="a"), Dense(1, name="c"), Dense(1, name="a")])

    @pytest.mark.parametrize("name", ["a/b", "", "a\0b", "\ud800"])
    def test_a_name_that_no_path_can_hold_is_refused(self, name):
        with pytest.raises(ArgumentError, match="Dense: name is "):
            Dense(1, name=name)
        with pytest.raises(ArgumentError, match="Sequential: name is "):
            Sequential([Dense(1)], name=name)

    def test_a_name_that_is_no_text_is_refused(self):
        with pytest.raises(ArgumentTypeError, match="name is 5; it must be text"):
            Sequential([Dense(1)], name=5)

    def test_two_layers_renamed_to_one_name_are_noticed(self):
        model = digit_model()
        model.layers[3].name = "dense_1"
        with pytest.raises(ArgumentError, match="two layers of the model have the same name"):
            model.count_parameters()

    @pytest.mark.parametrize(
        ("activation", "loss"),
        [
            (Softmax(), SoftmaxCrossEntropy()),
            (Softmax(), FocalCrossEntropy()),
            (Softmax(), KLDivergence()),
            (Sigmoid(), SigmoidCrossEntropy()),
        ],
    )
    def test_an_activation_that_the_loss_contains_is_refused(self, activation, loss):
        with pytest.raises(ArgumentError, match=rf"{type(loss).__name__} contains the \w+ before it: leave that out"):
            Sequential([Dense(2), activation, loss])

    @pytest.mark.parametrize("dtype", ["float16", "int32", "complex128", "float33", None])
    def test_other_types_than_float32_and_float64_are_refused(self, dtype):
        with pytest.raises(ArgumentError, match="computes in float32 or float64"):
            digit_model(dtype=dtype)

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_everything_is_computed_in_the_models_type(self, dtype):
        model = digit_model(dtype=dtype)
        scores = model.forward(pixels(2), training=True)
        model.backward(scores)
        assert {scores.dtype, model.parameters.dtype, model.gradients.dtype} == {np.dtype(dtype)}

    def test_the_layers_of_a_model_go_on_in_another_type_with_the_same_values(self):
        model = Sequential([RunningMean(), Sequential([Dense(3)]), Dense(2)], input_shape=4, seed=0)
        model.forward(np.ones((2, 4)), training=True)
        before, mean = model.parameters.copy(), model.layers[0].mean.value.copy()
        wide = Sequential(model.layers, input_shape=4, dtype="float64")
        np.testing.assert_array_equal(wide.parameters, before)
        np.testing.assert_array_equal(wide.layers[0].mean.value, mean)
        wide.parameters += 1
        np.testing.assert_array_equal(wide.layers[2].weight.value.ravel(), before[15:21].astype(float) + 1)
        assert {layer.dtype for layer in wide.walk()} == {np.dtype("float64")}
        assert {state.value.dtype for state in wide.named_states().values()} == {np.dtype("float64")}
        assert wide.forward(np.ones((2, 4))).dtype == np.float64

    def test_layers_that_do_not_fit_are_refused_and_the_model_can_still_be_built(self):
        model = Sequential([Reshape((3, 4)), Flatten(), Dense(2)], seed=0)
        with pytest.raises(ShapeError, match=r"^layer 1 'reshape_1': Reshape cannot give samples of shape \(11,\)"):
            model.forward(np.ones((2, 11)))
        assert model.input_shape is None
        assert copy.deepcopy(model).count_parameters() == 0
        assert model.forward(np.ones((2, 12))).shape == (2, 2)

    def test_a_build_that_fails_midway_unbuilds_what_it_built_and_what_is_inside(self):
        model = Sequential([Dense(4), Sequential([Dense(5), ReLU()]), Reshape((2, 2))], seed=0)
        with pytest.raises(ShapeError, match="cannot give samples of shape"):
            model.set_up(3)
        for layer in (model.layers[0], model.layers[1], model.layers[1].layers[0]):
            assert (layer.input_shape, layer.output_shape, layer.named_parameters()) == (None, None, {})

    def test_a_build_that_fails_leaves_layers_that_were_built_before_as_they_are_also_in_nested_models(self):
        trained = Dense(4)
        trained.set_up(3, 0)
        weight = trained.weight.value.copy()
        model = Sequential([Sequential([trained, ReLU()]), Reshape((3, 3))], seed=0)
        with pytest.raises(ShapeError, match="cannot give samples of shape"):
            model.set_up(3)
        assert [layer.input_shape for layer in model.walk()] == [None, None, (3,), None, None]
        np.testing.assert_array_equal(trained.weight.value, weight)

    def test_a_loss_that_cannot_take_the_output_is_refused_at_build(self):
        with pytest.raises(ShapeError, match="SoftmaxCrossEntropy expects scores"):
            Sequential([Dense(1), SoftmaxCrossEntropy()], input_shape=3)

    def test_a_pass_that_returns_nothing_is_named(self):
        class Silent(Layer):
            def forward(self, x, training=False):
                return None if training else x

            def backward(self, dy):
                pass

        model = Sequential([Dense(3), Silent(), MeanSquaredError()], input_shape=2, seed=0)
        with pytest.raises(ArgumentTypeError, match="layer 2 'silent_1': forward must return its output, not None"):
            model.forward(np.ones((1, 2)), training=True)
        with pytest.raises(ArgumentTypeError, match="layer 2 'silent_1': backward must return the input's gradient"):
            model.backward(np.ones((1, 3)))


class TestSharedLayers:
    """Layers may be taken from one model into another; their parameters are there then."""

    def test_layers_of_a_trained_model_go_on_in_a_new_one_and_the_old_one_says_so(self, tmp_path):
        old, x, y = digit_model(), pixels(8), np.arange(8) % 4
        scores, values = old.forward(x), old.parameters.copy()
        new = Sequential([*old.layers[:5], Dense(3), SoftmaxCrossEntropy()], input_shape=12, seed=1)
        np.testing.assert_array_equal(new.parameters[:344], values[:344])
        assert np.shares_memory(old.layers[1].weight.value, new.parameters)
        np.testing.assert_array_equal(old.forward(x), scores)  # its layers are all there
        moved = "layers of this model are now part of another model: use that one, or copy them"
        for attempt in (
            lambda: old.parameters,
            lambda: old.gradients,
            lambda: setattr(old, "parameters", values),
            lambda: Trainer(old, seed=0).fit(x, y, progress=False),
            lambda: old.save(tmp_path / "old.npz"),
        ):
            with pytest.raises(ArgumentError, match=moved):
                attempt()
        before = new.parameters.copy()
        Trainer(new, seed=0).fit(x, y % 3, progress=False)
        assert (new.parameters != before).any()
        assert np.shares_memory(old.layers[1].weight.value, new.parameters)

    def test_another_loss_on_all_the_layers_leaves_both_models_whole(self):
        old = digit_model()
        new = Sequential([*old.layers, FocalCrossEntropy()], input_shape=12)
        new.parameters[:] = np.arange(new.parameters.size)
        np.testing.assert_array_equal(old.parameters, new.parameters)
        assert np.shares_memory(old.parameters, new.parameters)

    def test_a_whole_model_inside_another_goes_on_as_a_view_of_its_part(self):
        body = Sequential([Dense(3), Tanh()], input_shape=12, seed=0)
        values = body.parameters.copy()
        model = Sequential([Dense(12), body, Dense(2)], input_shape=12, seed=1)
        np.testing.assert_array_equal(body.parameters, values)
        body.parameters[:] = 7
        assert (model.parameters[156 : 156 + 39] == 7).all()
        assert np.shares_memory(body.gradients, model.gradients)

    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda layers: pickle.loads(pickle.dumps(layers))])
    def test_a_model_of_copies_shares_nothing(self, copied):
        old, x = digit_model(), pixels(8)
        scores, values = old.forward(x), old.parameters.copy()
        new = Sequential([*copied(old.layers[:5]), Dense(4, name="new"), SoftmaxCrossEntropy()], input_shape=12)
        np.testing.assert_array_equal(new.parameters[:344], values[:344])
        new.parameters[:] = 3
        np.testing.assert_array_equal(old.parameters, values)
        np.testing.assert_array_equal(old.forward(x), scores)

    def test_a_layer_that_has_moved_on_is_told_of_also_where_the_new_model_failed_later(self):
        old = digit_model()
        with pytest.raises(ShapeError, match="layer 3 'reshape_1'"):
            Sequential([old.layers[1], Dense(5), Reshape((2, 2))], input_shape=12)
        assert old.parameters.shape == (380,)  # nothing has moved


class TestFreezing:
    def test_the_summary_says_which_layers_are_frozen_and_how_much_is_trained(self, capsys):
        model = Sequential([Dense(3), Sequential([Dense(2), ReLU()]), Dense(1), MeanSquaredError()], input_shape=4)
        model.layers[0].trainable = False
        model.layers[1].trainable = False
        model.summary()
        lines = capsys.readouterr().out.splitlines()
        frozen = [line.split()[1] for line in lines if ", frozen" in line]
        assert frozen == ["dense_1", "sequential_1", "dense_1"]
        assert lines[-1] == "parameters: 26 of float32, 0.1 KiB; 23 frozen, 3 trained"

    def test_a_block_freezes_all_inside_it_and_one_inside_can_be_freed_again(self):
        model = Sequential([Dense(3), Residual(Sequential([Dense(3), Tanh()])), Dense(1)], input_shape=4)
        model.trainable = False
        assert not any(layer.trainable for layer in model.walk())
        model.layers[1].inner.layers[0].trainable = True
        assert [layer.trainable for layer in model.layers] == [False, True, False]
        assert model.trainable
        assert model.parts(lambda layer, _: layer.own_trainable) == [slice(15, 27)]

    @pytest.mark.parametrize("before", [True, False])
    def test_what_is_frozen_before_or_after_the_shape_is_known_is_frozen_in_the_loaded_model(self, tmp_path, before):
        model = Sequential(
            [Dense(3), Residual(Sequential([Dense(3), Tanh()])), Dense(1)], input_shape=None if before else 4
        )
        model.layers[0].trainable = False
        model.layers[1].inner.trainable = False
        model.set_up_for(np.ones((1, 4)))
        model.save(tmp_path / "model.npz")
        header = json.loads(read_arrays(tmp_path / "model.npz")["header"].item())
        assert header["version"] == 2
        assert header["frozen"] == ["dense_1", *(f"residual_1/inner{path}" for path in ("", "/dense_1", "/tanh_1"))]
        loaded = Sequential.load(tmp_path / "model.npz")
        assert [layer.own_trainable for layer in loaded.walk()] == [layer.own_trainable for layer in model.walk()]
        assert [layer.trainable for layer in loaded.layers] == [False, True, True]

    def test_a_model_that_is_frozen_as_a_whole_is_so_in_the_loaded_one(self, tmp_path):
        model = digit_model()
        model.trainable = False
        model.save(tmp_path / "model.npz")
        assert not any(layer.own_trainable for layer in Sequential.load(tmp_path / "model.npz").walk())

    def test_backward_stops_where_no_layer_before_learns_and_is_right_above(self):
        model = Sequential([Dense(4), Tanh(), Dense(3), Tanh(), Dense(2), MeanSquaredError()], input_shape=5, seed=0)
        x, dy = np.random.default_rng(0).normal(size=(6, 5)), np.ones((6, 2), np.float32)
        model.forward(x, training=True)
        model.backward(dy)
        expected = model.gradients[24:].copy()
        model.layers[0].trainable = False
        for layer in model.layers[:2]:
            layer.backward = lambda dy: pytest.fail("no layer here or before learns")
        model.forward(x, training=True)
        model.gradients[:] = np.nan
        assert model.backward(dy) is None
        np.testing.assert_array_equal(model.gradients[24:], expected)
        assert not model.layers[2].needs_input_gradient

    def test_a_frozen_layer_between_others_hands_the_gradient_down(self):
        model = Sequential([Dense(4), Dense(3), Dense(2), MeanSquaredError()], input_shape=5, seed=0)
        x, dy = np.random.default_rng(0).normal(size=(6, 5)), np.ones((6, 2), np.float32)
        model.forward(x, training=True)
        model.backward(dy)
        expected = model.gradients.copy()
        model.layers[1].trainable = False
        model.forward(x, training=True)
        model.gradients[:] = np.nan
        model.backward(dy)
        np.testing.assert_array_equal(model.gradients[:24], expected[:24])
        np.testing.assert_array_equal(model.gradients[39:], expected[39:])

    def test_trainable_is_true_or_false(self):
        with pytest.raises(ArgumentTypeError, match="trainable is 0; it must be True or False"):
            digit_model().trainable = 0


class Scatterbrain(Layer):
    """A layer of a user's own, that checks nothing; NumPy raises what it raises."""

    at: str = ""

    def build(self, input_shape, declare):
        if self.at == "build":
            raise ValueError("seven is no size")
        self.weight = declare.parameter("weight", (input_shape[0], 2), "zeros")
        return (2,)

    def forward(self, x, training=False):
        if self.at == "forward":
            raise KeyError("colour")
        if training:
            self.saved = x
        return x @ self.weight.value

    def backward(self, dy):
        if self.at == "backward":
            return dy @ np.ones((5, 5))
        return dy @ self.weight.value.T


class TestPlaces:
    """The model adds position and name to an error that passes through it; layers know nothing of their place."""

    def test_an_error_of_a_pass_names_the_layer_and_keeps_its_class_and_cause(self):
        model = Sequential([Dense(3), Scatterbrain(at="forward"), Dense(2)], input_shape=4)
        with pytest.raises(KeyError, match="layer 2 'scatterbrain_1': colour") as caught:
            model.forward(np.ones((1, 4)))
        assert type(caught.value) is KeyError
        assert isinstance(caught.value.__cause__, KeyError)

    def test_a_plain_value_error_of_numpy_in_a_backward_pass_is_located(self):
        model = Sequential([Dense(3), Scatterbrain(at="backward"), MeanSquaredError()], input_shape=4)
        model.forward(np.ones((1, 4)), training=True)
        with pytest.raises(ValueError, match="^layer 2 'scatterbrain_1': matmul: Input operand 1 has a mismatch"):
            model.backward(np.ones((1, 2)))

    def test_an_error_of_build_is_located_the_whole_way_down(self):
        inner = Sequential([Dense(3), Scatterbrain(at="build")], name="tail")
        model = Sequential([Dense(4), Residual(inner), Dense(2)])
        place = "^layer 2 'residual_1', layer 1 'inner', layer 2 'scatterbrain_1': seven is no size$"
        with pytest.raises(ValueError, match=place) as caught:
            model.set_up(4)
        assert type(caught.value) is ValueError

    @pytest.mark.parametrize("pass_", ["forward", "backward"])
    def test_places_inside_a_nested_model_name_the_whole_way(self, pass_):
        inner = Sequential([ReLU(), Sequential([Dense(3), Scatterbrain(at=pass_)])])
        model = Sequential([Dense(4), inner, MeanSquaredError()], input_shape=2)
        place = "layer 2 'sequential_1', layer 2 'sequential_1', layer 2 'scatterbrain_1': "
        with pytest.raises((KeyError, ValueError), match=place):
            model.backward(model.forward(np.ones((1, 2)), training=True))

    def test_a_layer_that_gets_another_shape_than_it_was_set_up_for_is_named_also_where_it_checks_nothing(self):
        model = Sequential([Dense(4), Scatterbrain(), MeanSquaredError()], input_shape=2, seed=0)
        model.layers[0].forward = lambda x, training: np.ones((len(x), 5))
        with pytest.raises(ValueError, match="^layer 2 'scatterbrain_1': matmul: "):
            model.forward(np.ones((3, 2)))

    def test_a_layer_alone_has_no_place(self):
        dense = Dense(3)
        dense.set_up(4)
        with pytest.raises(ValueError, match="^shapes "):
            dense.forward(np.ones((2, 5)))


class Lookup(Layer):
    """A row of a table for each whole number (N, ...): it has no gradient by its input, and returns none."""

    takes_integers = True

    def build(self, input_shape, declare):
        self.table = declare.parameter("table", (4, 2), Normal(standard_deviation=1.0))
        return (*input_shape, 2)

    def forward(self, x, training=False):
        assert x.dtype.kind == "i", f"it got {x.dtype}"
        if training:
            self.saved = x
        return self.table.value[x % 4]

    def backward(self, dy):
        self.table.gradient = 0
        np.add.at(self.table.gradient, self.saved % 4, dy)


class TestIntegers:
    LARGE = np.array([[2**24 + 1, 2**40 + 3, 0], [5, 2**24 + 2, 2**53 + 1]])  # which float32 or float64 would round

    @pytest.mark.parametrize(
        "layers",
        [
            lambda: [Lookup()],
            lambda: [Sequential([Lookup()]), Dense(2)],
            lambda: [Concatenate([Lookup(), [Sequential([Lookup(), Tanh()])]])],
            lambda: [Reshape((1, 3)), Flatten(), Lookup()],
            lambda: [Concatenate([[Reshape((1, 3)), Lookup()], [Flatten(), Reshape((1, 3)), Lookup()]])],
        ],
    )
    def test_they_reach_a_layer_that_takes_them_through_blocks_and_nested_models(self, layers):
        model = Sequential([*layers(), Flatten(), Dense(1), MeanSquaredError()], input_shape=3, seed=0)
        y = model.forward(self.LARGE, training=True)
        assert y.dtype == np.float32
        assert model.backward(y) is None
        found = [layer for layer in model.walk() if isinstance(layer, Lookup)]
        assert found
        for layer in found:
            np.testing.assert_array_equal(layer.saved.reshape(2, 3), self.LARGE)
            assert layer.table.gradient.any()

    def test_other_layers_get_the_models_type(self):
        model = Sequential([Concatenate([Lookup(), [Reshape((3, 1)), Tanh()]]), Flatten(), Dense(1)], input_shape=3)
        assert model.forward(self.LARGE).dtype == np.float32

    def test_a_layer_without_an_input_gradient_after_one_that_learns_is_named(self):
        model = Sequential([Dense(3), Rescale(1), Lookup(), MeanSquaredError()], input_shape=2)
        model.layers[1].forward = lambda x, training: x.astype(int)
        y = model.forward(np.ones((1, 2)), training=True)
        with pytest.raises(ArgumentTypeError, match="layer 3 'lookup_1': backward must return the input's gradient"):
            model.backward(y)


class TestPositions:
    """Outputs (N, time, classes): each position is scored for itself."""

    def model(self, **options):
        layers = [Dense(6), Tanh(), Dense(3), SoftmaxCrossEntropy()]
        return Sequential(layers, **{"input_shape": (5, 4), "seed": 0, "dtype": "float64"} | options)

    def test_it_computes_and_learns_as_the_model_of_a_position_does(self):
        rng = np.random.default_rng(0)
        x, labels = rng.normal(size=(7, 5, 4)), rng.integers(3, size=(7, 5))
        model, flat = self.model(), self.model(input_shape=4)
        np.testing.assert_array_equal(model.parameters, flat.parameters)
        np.testing.assert_allclose(model.predict_scores(x).reshape(35, 3), flat.predict_scores(x.reshape(35, 4)))
        np.testing.assert_array_equal(model.predict(x).ravel(), flat.predict(x.reshape(35, 4)))
        probabilities = model.predict_proba(x)
        assert probabilities.shape == (7, 5, 3)
        np.testing.assert_allclose(probabilities.sum(axis=-1), 1)
        loss, dscores = model.loss(model.forward(x, training=True), labels)
        model.backward(dscores)
        flat_loss, flat_dscores = flat.loss(flat.forward(x.reshape(35, 4), training=True), labels.ravel())
        flat.backward(flat_dscores)
        assert loss == pytest.approx(flat_loss, rel=1e-12)
        np.testing.assert_allclose(model.gradients, flat.gradients, rtol=1e-10, atol=1e-14)

    def test_positions_that_weigh_nothing_are_as_good_as_not_there(self):
        rng = np.random.default_rng(0)
        x, labels = rng.normal(size=(8, 5, 4)), rng.integers(3, size=(8, 5))
        mask = rng.random((8, 5)) < 0.6
        flat_x, flat_labels = x[mask], labels[mask]
        model, flat = self.model(), self.model(input_shape=4)
        trained = Trainer(model, SGD(0.5), batch_size=None, seed=0)
        trained.fit(x, labels, sample_weight=mask, epochs=3, progress=False)
        reference = Trainer(flat, SGD(0.5), batch_size=None, seed=0)
        reference.fit(flat_x, flat_labels, epochs=3, progress=False)
        np.testing.assert_allclose(model.parameters, flat.parameters, rtol=1e-10)
        for name in ("loss", "accuracy"):
            np.testing.assert_allclose(trained.history[name], reference.history[name], rtol=1e-12)

    def test_it_is_saved_and_loaded(self, tmp_path):
        model, x = self.model(), np.ones((2, 5, 4))
        model.save(tmp_path / "model.npz")
        np.testing.assert_array_equal(Sequential.load(tmp_path / "model.npz").predict_proba(x), model.predict_proba(x))


class TestInputGradient:
    def test_layers_before_the_first_with_parameters_are_not_asked(self):
        model = digit_model()
        model.layers[0].backward = lambda dy: pytest.fail("nobody needs the gradient of the first layer's input")
        assert model.backward(model.forward(pixels(2), training=True)) is None
        assert [layer.needs_input_gradient for layer in model.layers[1:]] == [False, True, True, True, True]

    def test_it_can_be_asked_for(self):
        model = digit_model(dtype="float64")
        model.needs_input_gradient = True
        x = pixels(2).astype(float)
        dx = model.backward(model.forward(x, training=True))
        numeric = np.empty_like(x)
        for index in np.ndindex(x.shape):
            up, down = x.copy(), x.copy()
            up[index] += 1e-4
            down[index] -= 1e-4
            # The loss whose gradient the scores themselves are: half their sum of squares.
            numeric[index] = ((model.forward(up) ** 2).sum() - (model.forward(down) ** 2).sum()) / 4e-4
        np.testing.assert_allclose(dx, numeric, rtol=1e-6, atol=1e-9)

    def test_a_model_without_a_loss_gives_it_as_any_layer_does(self):
        model = Sequential([Rescale(2.0)], input_shape=3)
        model.forward(np.ones((1, 3)), training=True)
        np.testing.assert_array_equal(model.backward(np.ones((1, 3), np.float32)), [[2, 2, 2]])

    def test_a_nested_model_is_asked_only_where_layers_before_it_learn(self):
        first = Sequential([Sequential([Dense(3)]), Dense(2), MeanSquaredError()], input_shape=4)
        second = Sequential([Dense(3), Sequential([Tanh(), Dense(2)]), MeanSquaredError()], input_shape=4)
        for model in (first, second):
            model.backward(model.forward(np.ones((1, 4)), training=True))
        assert not first.layers[0].layers[0].needs_input_gradient
        assert second.layers[1].layers[0].needs_input_gradient


class TestForward:
    def test_a_wrong_shape_names_layer_position_expected_and_got(self):
        model = Sequential([Dense(3)], input_shape=128)
        with pytest.raises(ShapeError, match=r"^layer 1 'dense_1' expects input \(128,\) per sample but got \(64,\)$"):
            model.forward(np.ones((5, 64)))

    def test_one_sample_alone_is_refused_with_the_cure(self):
        with pytest.raises(ShapeError, match=r"one sample alone: pass x\[np\.newaxis\]"):
            digit_model().predict(pixels(1)[0])

    def test_a_single_number_is_refused(self):
        with pytest.raises(ShapeError, match="a single number"):
            digit_model().predict(3)
        with pytest.raises(ShapeError, match=r"a batch has a row per sample"):
            digit_model(input_shape=None).predict(3)

    @pytest.mark.parametrize(
        "form",
        [
            lambda x: x,
            lambda x: x.tolist(),
            pd.DataFrame,
            np.asfortranarray,
            lambda x: x.astype(np.int64),
            lambda x: np.repeat(x, 2, axis=0)[::2],
        ],
    )
    def test_inputs_of_every_form_give_the_same_scores(self, form):
        model, x = digit_model(), pixels(7)
        np.testing.assert_array_equal(model.forward(form(x)), model.forward(x))

    def test_a_memory_map_gives_the_same_as_the_array_and_plain_arrays(self, tmp_path):
        model, x = digit_model(), pixels(7)
        mapped = np.memmap(tmp_path / "x", np.uint8, "w+", shape=x.shape)
        mapped[:] = x
        result = model.predict_proba(mapped)
        assert type(result) is np.ndarray
        np.testing.assert_array_equal(result, model.predict_proba(x))

    @pytest.mark.parametrize(
        "form",
        [
            lambda x: x.reshape(7, 20),
            lambda x: x.reshape(7, 20).tolist(),
            lambda x: pd.DataFrame(x.reshape(7, 20)),
            lambda x: scipy.sparse.csr_array(x.reshape(7, 20)),
            lambda x: np.asfortranarray(x.reshape(7, 20)),
            lambda x: x.reshape(7, 4, 5),
            np.asfortranarray,
        ],
    )
    def test_flat_pixels_and_gray_images_are_read_as_the_images_of_the_input_shape(self, form):
        model, x = image_model(), pixels(7, (4, 5, 1))
        expected = model.forward(x)
        assert model.feature_names is None
        np.testing.assert_array_equal(model.forward(form(x)), expected)
        np.testing.assert_array_equal(
            model.predict_scores(form(x), batch_size=2), model.predict_scores(x, batch_size=2)
        )
        assert model.activations(form(x))["conv2d_1"].shape == (7, 4, 5, 3)
        targets = np.arange(7) % 3
        trainer, other = (Trainer(image_model(), SGD(0.1), batch_size=3, seed=0) for _ in range(2))
        trainer.fit(form(x), targets, epochs=2, validation_data=(form(x), targets), progress=False)
        other.fit(x, targets, epochs=2, validation_data=(x, targets), progress=False)
        assert trainer.model.parameters.tobytes() == other.model.parameters.tobytes()
        assert trainer.evaluate(form(x), targets) == other.evaluate(x, targets)
        recompute_statistics(trainer.model, form(x))
        predictor = Ensemble([trainer.model, AugmentedPrediction(other.model, lambda x, rng: x)])
        assert predictor.predict(form(x)).shape == (7,)

    def test_flat_pixels_of_several_channels_are_in_the_order_of_reshape(self):
        model, x = Sequential([Flatten()], input_shape=(2, 3, 4)), np.arange(48.0).reshape(2, 24)
        np.testing.assert_array_equal(model.forward(x), x)
        whole = Sequential([Reshape((2, 3, 4)), Flatten()])
        np.testing.assert_array_equal(whole.forward(x), x)

    @pytest.mark.parametrize("shape", [(5, 21), (5, 5, 4), (5, 1, 4, 5), (5, 2, 10), (5, 4, 5, 2), (20,)])
    def test_other_shapes_are_no_images_of_the_input_shape(self, shape):
        with pytest.raises(ShapeError, match=r"^layer 1 'rescale_1' expects input \(4, 5, 1\) per sample"):
            image_model().predict(np.ones(shape))

    @pytest.mark.parametrize("input_shape", [(2, 3), (1, 2, 3, 1)])
    def test_samples_that_are_no_images_must_have_their_shape(self, input_shape):
        with pytest.raises(ShapeError, match=r"per sample but got \(6,\)$"):
            Sequential([Tanh()], input_shape=input_shape).predict(np.ones((5, 6)))

    def test_flat_pixels_of_a_memory_map_or_of_overlapping_windows_are_not_copied(self, tmp_path):
        model = image_model()
        mapped = np.memmap(tmp_path / "x", np.uint8, "w+", shape=(7, 20))
        assert np.shares_memory(model.as_inputs(mapped), mapped)
        overlapping = np.lib.stride_tricks.sliding_window_view(np.arange(100.0), 20)
        images = model.as_inputs(overlapping)
        assert images.shape == (81, 4, 5, 1)
        assert np.shares_memory(images, overlapping)
        lazy = model.as_inputs(scipy.sparse.csr_array(np.eye(3, 20)))
        assert (lazy.shape, lazy.ndim, lazy.is_sparse) == ((3, 4, 5, 1), 4, True)
        assert lazy[1:].shape == (2, 4, 5, 1)

    def test_a_model_used_while_another_takes_its_shape_does_not_wait_for_ever(self):
        assert Sequential([Block()], seed=0).forward(np.ones((1, 3))).shape == (1, 2)

    @pytest.mark.parametrize("make", [digit_model, wide_model])
    def test_inference_writes_nothing_on_any_layer(self, make):
        model = make()
        model.forward(pixels(3), training=True)
        before = [dict(vars(layer)) for layer in model.walk()]
        arrays = {path: array.copy() for path, array in model.named_arrays().items()}
        generators = {path: generator.bit_generator.state for path, generator in model.named_generators().items()}
        model.predict(pixels(5, seed=2))
        for layer, state in zip(model.walk(), before, strict=True):
            assert vars(layer).keys() == state.keys()
            assert all(vars(layer)[key] is value for key, value in state.items())
        for path, array in model.named_arrays().items():
            np.testing.assert_array_equal(array, arrays[path], err_msg=path)
        assert {path: each.bit_generator.state for path, each in model.named_generators().items()} == generators

    @pytest.mark.parametrize("make", [digit_model, wide_model])
    @pytest.mark.parametrize("lazy", [False, True])
    def test_eight_threads_predict_the_bits_of_one(self, make, lazy):
        model = make(input_shape=None if lazy else 12)
        batches = [pixels(500, seed=seed) for seed in range(16)]
        with ThreadPoolExecutor(8) as pool:
            concurrent = list(pool.map(model.predict_proba, batches * 4))
        for result, batch in zip(concurrent, batches * 4, strict=True):
            np.testing.assert_array_equal(result, model.predict_proba(batch))

    def test_a_thread_that_waited_for_another_to_build_does_not_build_again(self, monkeypatch):
        net = digit_model(input_shape=None)

        class BuiltByAnother:
            def __enter__(self):
                net.set_up(12, 0)
                net.parameters = 1

            def __exit__(self, *_):
                pass

        monkeypatch.setattr("minidl.model._first_use", BuiltByAnother())
        net.predict(pixels(1))
        assert (net.parameters == 1).all()


class TestRowsAtOnce:
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize(
        "layers",
        [
            lambda: [Dense(300), ReLU(), Dense(300), Tanh(), Dense(10)],
            lambda: [Sequential([Dense(400), Sigmoid()]), Residual(Sequential([Dense(400), Tanh()])), Dense(2)],
            lambda: [Rescale(1 / 255), Dense(2000), Softmax()],
        ],
    )
    def test_a_block_takes_about_as_much_memory_in_a_training_pass_whatever_the_network(self, layers, dtype):
        model = Sequential(layers(), input_shape=50, dtype=dtype)
        rows = model.rows_at_once
        assert rows & (rows - 1) == 0
        x, dy = np.ones((rows, 50), dtype), np.ones((rows, *model.output_shape), dtype)
        tracemalloc.start()
        model.forward(x, training=True)
        model.backward(dy)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        # 4 MB are aimed at; a power of 2 takes between half of that and all, and temporary arrays a part more or less.
        assert 1 << 20 < peak < 6 << 20

    def test_it_depends_on_shapes_alone_and_is_never_0(self):
        def small(**options):
            return Sequential([Dense(10), ReLU()], **{"input_shape": 4, "seed": 0} | options).rows_at_once

        assert small() == small(seed=1) == 2 * small(dtype="float64")
        assert Sequential([Dense(2**21, use_bias=False, initializer="zeros")], input_shape=1).rows_at_once == 1

    def test_predictions_are_made_in_two_or_more_blocks_where_there_are_more_rows_unless_a_batch_size_is_given(self):
        sizes = []

        class Recorder(Layer):
            def forward(self, x, training=False):
                sizes.append(len(x))
                return x

        model = Sequential([Recorder()], input_shape=3)
        model.rows_at_once = 4
        x = np.arange(57.0).reshape(19, 3)
        np.testing.assert_array_equal(model.predict(x), x)
        np.testing.assert_array_equal(model.predict(x[:5]), x[:5])
        np.testing.assert_array_equal(model.predict(x[:4]), x[:4])
        np.testing.assert_array_equal(model.predict(x, batch_size=7), x)
        assert sorted(sizes[:3]) == [3, 8, 8]
        assert sorted(sizes[3:5]) == [2, 3]
        assert sizes[5] == 4
        assert sorted(sizes[6:]) == [5, 7, 7]

    @pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the largest size of a process")
    def test_a_network_that_enlarges_a_row_a_hundred_times_predicts_within_200_mb(self):
        # Not by getrusage: what it tells of a new process begins with the size of the one that started it.
        program = """if True:
            import numpy as np
            from pathlib import Path
            from minidl import Dense, ReLU, Sequential

            def peak():
                return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024

            model = Sequential([Dense(6_000), ReLU(), Dense(1)], input_shape=60, seed=0)
            x = np.random.default_rng(0).normal(size=(10_000, 60)).astype(np.float32)
            model.predict(x[:1])  # what BLAS and the first pass need for themselves
            before = peak()
            model.predict(x)
            print(peak() - before)
            model.predict(x, batch_size=len(x))
            print(peak() - before)
        """
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        in_blocks, at_once = map(float, result.stdout.split())
        assert in_blocks < 200 < at_once


class TestPredict:
    def test_a_classifier_predicts_the_label_of_the_largest_probability(self):
        model, x = digit_model(), pixels(50)
        probabilities = model.predict_proba(x)
        scores = model.forward(x).astype(np.float64)
        np.testing.assert_allclose(probabilities, np.exp(scores) / np.exp(scores).sum(1, keepdims=True), rtol=1e-5)
        np.testing.assert_array_equal(model.predict(x), probabilities.argmax(axis=1))
        assert model.predict(x).dtype.kind == "i"

    @settings(max_examples=30)
    @given(rows=st.integers(1, 40), batch_size=st.integers(1, 50))
    def test_predictions_do_not_depend_on_the_batch_size(self, rows, batch_size):
        model, x = digit_model(), pixels(rows)
        # BLAS may sum in another order for another number of rows; one float32 rounding is about 1e-7.
        np.testing.assert_allclose(model.predict_proba(x, batch_size), model.predict_proba(x), rtol=1e-5)

    def test_two_classes_from_one_score(self):
        model = Sequential([Dense(1, initializer=Constant(1.0)), SigmoidCrossEntropy()], input_shape=1)
        x = [[-2.0], [0.5]]
        np.testing.assert_array_equal(model.predict(x), [0, 1])
        np.testing.assert_allclose(model.predict_proba(x), [[1 / (1 + np.e**2)], [1 / (1 + np.e**-0.5)]], rtol=1e-6)

    def test_several_labels(self):
        model = Sequential([Dense(2, initializer=Constant(1.0)), SigmoidCrossEntropy()], input_shape=1)
        np.testing.assert_array_equal(model.predict([[-2.0], [0.5]]), [[0, 0], [1, 1]])

    @pytest.mark.parametrize(("units", "shape"), [(1, (3,)), (2, (3, 2))])
    def test_a_regression_predicts_values(self, units, shape):
        model = Sequential([Dense(units, initializer=Constant(2.0)), MeanSquaredError()], input_shape=1)
        prediction = model.predict([[1.0], [2.0], [3.0]])
        assert prediction.shape == shape
        np.testing.assert_array_equal(prediction.reshape(3, -1)[:, 0], [2, 4, 6])

    def test_without_a_loss_the_output_is_the_prediction(self):
        model = Sequential([Softmax()], input_shape=2)
        np.testing.assert_allclose(model.predict([[0.0, np.log(3)]]), [[0.25, 0.75]], rtol=1e-6)
        with pytest.raises(ArgumentError, match="no loss.*use predict"):
            model.predict_proba([[0.0, 1.0]])

    def test_a_regression_has_no_probabilities(self):
        model = Sequential([Dense(1), MeanSquaredError()], input_shape=1)
        with pytest.raises(ArgumentError, match="MeanSquaredError gives no probabilities"):
            model.predict_proba([[1.0]])

    def test_no_rows_give_no_predictions(self):
        assert digit_model().predict(np.empty((0, 12))).shape == (0,)
        assert digit_model().predict_proba(np.empty((0, 12))).shape == (0, 4)

    def test_a_number_that_the_models_type_cannot_hold_is_named(self):
        x = np.ones((9, 12))
        x[7, 3] = 1e39
        with pytest.raises(DataError, match=r"x holds 1e\+39 at row 7, entry 3"):
            digit_model().predict(x)
        digit_model(dtype="float64").predict(x)

    def test_a_number_that_is_not_finite_is_named_by_row_and_entry(self):
        x = np.ones((9, 12))
        x[7, 3] = np.nan
        with pytest.raises(DataError, match=r"x holds NaN at row 7, entry 3"):
            digit_model().predict(x, batch_size=2)

    def test_a_batch_size_of_zero_is_refused(self):
        with pytest.raises(ArgumentError, match="batch_size is 0"):
            digit_model().predict(pixels(2), batch_size=0)


class TestDescription:
    def test_the_summary_lists_layers_shapes_and_counts(self, capsys):
        Sequential(
            [Rescale(2.0), Sequential([Dense(3), ReLU()]), Dense(2), MeanSquaredError()], input_shape=4
        ).summary()
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert lines == [
            ["#", "layer", "output", "shape", "parameters"],
            ["1", "rescale_1", "(Rescale)", "(N,", "4)", "0"],
            ["2", "sequential_1", "(Sequential)", "(N,", "3)", "15"],
            ["2.1", "dense_1", "(Dense)", "(N,", "3)", "15"],
            ["2.2", "relu_1", "(ReLU)", "(N,", "3)", "0"],
            ["3", "dense_1", "(Dense)", "(N,", "2)", "8"],
            ["loss:", "MeanSquaredError()"],
            ["parameters:", "23", "of", "float32,", "0.1", "KiB"],
        ]

    def test_the_summary_of_a_model_without_shapes_says_so(self, capsys):
        Sequential([Dense(3)]).summary()
        out = capsys.readouterr().out
        assert "?" in out
        assert "the input shape comes with the first data" in out

    def test_repr_shows_layers_and_loss(self):
        assert repr(Sequential([Dense(3), LeakyReLU(0.2), MeanSquaredError()])) == (
            "Sequential([\n"
            "    Dense(units=3, initializer='he_normal', use_bias=True),\n"
            "    LeakyReLU(negative_slope=0.2),\n"
            "    MeanSquaredError(),\n"
            "])"
        )


class Block(Layer):
    """Makes the layer that it holds only when it is built, and looks at an output to learn its shape."""

    inner = None

    def build(self, input_shape, declare):
        self.inner = Dense(2)
        declare.sublayer("inner", input_shape)
        return Sequential([copy.deepcopy(self.inner)]).forward(np.zeros((1, *input_shape))).shape[1:]

    def sublayers(self):
        return {} if self.inner is None else {"inner": self.inner}

    def forward(self, x, training=False):
        return self.inner.forward(x, training=training)

    def backward(self, dy):
        return self.inner.backward(dy)


def all_layers():
    return Sequential(
        [
            Rescale(1 / 255, offset=-0.5),
            Flatten(),
            Dense(6, initializer="glorot_uniform"),
            LeakyReLU(0.2),
            Reshape((2, 3)),
            RunningMean(),
            Flatten(),
            Sequential([Dense(5, initializer=Constant(0.1), use_bias=False), Sigmoid()], name="inner"),
            Residual(Sequential([Dense(5), Tanh()])),
            Dense(3),
            Softmax(),
            MeanSquaredError(),
        ],
        input_shape=(2, 3, 1),
        seed=3,
    )


class TestFiles:
    def test_a_loaded_model_is_equal_in_everything(self, tmp_path):
        model, x = all_layers(), pixels(6, (2, 3, 1))
        model.forward(x, training=True)
        model.save(tmp_path / "model.npz")
        loaded = Sequential.load(tmp_path / "model.npz")
        assert repr(loaded) == repr(model)
        assert list(loaded.named_parameters()) == list(model.named_parameters())
        np.testing.assert_array_equal(loaded.parameters, model.parameters)
        np.testing.assert_array_equal(loaded.layers[5].mean.value, model.layers[5].mean.value)
        np.testing.assert_array_equal(loaded.predict(x), model.predict(x))

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_layers_that_come_into_being_within_build_are_loaded_too(self, tmp_path, dtype):
        model = Sequential([Block(), Dense(2)], input_shape=3, seed=0, dtype=dtype)
        assert {parameter.value.dtype for parameter in model.named_parameters().values()} == {np.dtype(dtype)}
        model.save(tmp_path / "model.npz")
        np.testing.assert_array_equal(Sequential.load(tmp_path / "model.npz").parameters, model.parameters)

    def test_an_array_that_such_a_layer_lacks_is_named(self, tmp_path):
        Sequential([Block()], input_shape=3, seed=0).save(tmp_path / "model.npz")
        arrays = read_arrays(tmp_path / "model.npz")
        del arrays["parameters/block_1/inner/bias"]
        write_arrays(tmp_path / "model.npz", arrays)
        with pytest.raises(FileFormatError, match="layer 1 'block_1', layer 1 'inner': there is no array 'bias' in"):
            Sequential.load(tmp_path / "model.npz")

    def test_a_model_whose_class_has_an_init_of_its_own_cannot_be_saved(self, tmp_path):
        class Small(Sequential):
            def __init__(self, units):
                super().__init__([Dense(units)], input_shape=2)

        with pytest.raises(ArgumentTypeError, match="Small has an __init__ of its own"):
            Small(3).save(tmp_path / "model.npz")

    def test_a_loaded_model_can_be_trained_and_saved_again(self, tmp_path):
        model = all_layers()
        model.save(tmp_path / "a.npz")
        loaded = Sequential.load(tmp_path / "a.npz")
        loaded.parameters[:] += 1
        loaded.layers[5].mean.value[:] = 1
        assert (loaded.layers[2].bias.value == 1).all()
        loaded.save(tmp_path / "b.npz")
        np.testing.assert_array_equal(Sequential.load(tmp_path / "b.npz").parameters, loaded.parameters)

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_the_same_model_gives_the_same_bytes(self, tmp_path, dtype):
        for name in ("a.npz", "b.npz"):
            digit_model(dtype=dtype).save(tmp_path / name)
        assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
        assert Sequential.load(tmp_path / "a.npz").parameters.dtype == dtype

    def test_a_model_without_shapes_cannot_be_saved(self, tmp_path):
        with pytest.raises(NotReadyError, match="input shape"):
            digit_model(input_shape=None).save(tmp_path / "model.npz")

    def test_a_save_that_fails_leaves_the_old_file(self, tmp_path, monkeypatch):
        model = digit_model()
        model.save(tmp_path / "model.npz")
        old = (tmp_path / "model.npz").read_bytes()
        model.parameters[:] = 0
        monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space left"):
            model.save(tmp_path / "model.npz")
        assert (tmp_path / "model.npz").read_bytes() == old

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(MissingFileError, match=r"nothing\.npz"):
            Sequential.load(tmp_path / "nothing.npz")

    def test_a_truncated_file_is_refused(self, tmp_path):
        digit_model().save(tmp_path / "model.npz")
        whole = (tmp_path / "model.npz").read_bytes()
        (tmp_path / "model.npz").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(FileFormatError, match=r"model\.npz"):
            Sequential.load(tmp_path / "model.npz")

    def test_an_unknown_class_is_an_error_that_says_to_import_its_module(self, tmp_path):
        self.tamper(
            tmp_path,
            header=lambda header: header["model"]["configuration"]["layers"][1].update(
                **{"class": "Swirl", "module": "os"}
            ),
        )
        with pytest.raises(FileFormatError, match="class 'Swirl' is not known: import the module that defines it"):
            Sequential.load(tmp_path / "model.npz")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda header: header.update(version=3), r"version is 3, this minidl reads \[1, 2\]"),
            (lambda header: header.update(version="1"), "version is '1'"),
            (lambda header: header.update(format="other"), "not a model that minidl saved"),
            (lambda header: header.update(format=["minidl model"]), "not a model that minidl saved"),
            (lambda header: header.pop("input_shape"), "it has no 'input_shape'"),
            (lambda header: header.update(input_shape=[13]), r"'weight' is float32 \(12, 16\) in the file.*\(13, 16\)"),
            (lambda header: header.update(input_shape="12"), "a shape must be a whole number or a tuple"),
            (lambda header: header.update(input_shape=None), "a shape must be a whole number or a tuple"),
            (lambda header: header.update(input_shape=[3, 4]), r"layer 2 'dense_1': 'weight' is .*\(4, 16\)"),
            (lambda header: header.update(model=[]), "it describes"),
            (lambda header: header.update(model={"class": "Dense"}), "described by class, module and configuration"),
            (lambda header: layers(header)[1]["configuration"].update(units=17), r"\(12, 17\)"),
            (lambda header: layers(header)[1]["configuration"].update(units=10**12), r"\(12, 1000000000000\)"),
            (lambda header: layers(header)[1]["configuration"].update(units="x"), "units"),
            (lambda header: layers(header)[1]["configuration"].update(color="red"), "Dense has no setting 'color'"),
            (lambda header: layers(header)[1]["configuration"].update(use_bias=False), "'parameters/dense_1/bias'"),
            (lambda header: layers(header).append(layers(header)[1]), "not a layer but Softmax.* a loss last"),
            (lambda header: layers(header).clear(), "at least one layer"),
            (lambda header: layers(header).insert(0, 3), "not a layer but 3"),
            (lambda header: header["model"]["configuration"].update(dtype="float64"), "float32.*float64"),
            (lambda header: header["model"]["configuration"].update(dtype="complex64"), "float32 or float64"),
            (lambda header: header["model"]["configuration"].update(dtype="nonsense"), "nonsense"),
            (lambda header: header["model"]["configuration"].update(input_shape=10**9), "no input shape"),
            (lambda header: header["model"]["configuration"].update(seed="x"), "seed"),
            (
                lambda header: header.update(frozen=["dense_1", "dense_9"]),
                "it has no 'dense_9'",
            ),
            (lambda header: header.update(frozen="dense_1"), "it has no 'd'"),
            (lambda header: header.update(frozen=[["dense_1"]]), "unhashable"),
            (lambda header: header.update(frozen=None), "not iterable"),
        ],
    )
    def test_a_changed_description_is_refused(self, tmp_path, change, message):
        self.tamper(tmp_path, header=change)
        with pytest.raises(FileFormatError, match=rf"model\.npz cannot be loaded: .*{message}"):
            Sequential.load(tmp_path / "model.npz")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda arrays: arrays.pop("header"), "no header"),
            (lambda arrays: arrays.update(header=np.array([1, 2])), "Expecting"),
            (lambda arrays: arrays.update(header=np.array("{")), "Expecting"),
            (lambda arrays: arrays.update(header=np.array("[" * 100_000)), "recursion"),
            (lambda arrays: arrays.update(header=np.array("[]")), "indices must be"),
            (lambda arrays: arrays.pop("parameters/dense_2/bias"), "layer 4 'dense_2': there is no array 'bias'"),
            (lambda arrays: arrays.update({"parameters/dense_9/bias": np.zeros(3)}), "parameters/dense_9/bias"),
            (lambda arrays: arrays.update({"stray": np.zeros(3)}), "stray"),
            (
                lambda arrays: arrays.update({"states/dense_2/bias": arrays.pop("parameters/dense_2/bias")}),
                "states/dense_2/bias",
            ),
            (
                lambda arrays: arrays.update({"parameters/dense_2/bias": np.zeros(9, np.float32)}),
                r"layer 4 'dense_2': 'bias' is float32 \(9,\) in the file, not float32",
            ),
            (
                lambda arrays: arrays.update({"parameters/dense_2/bias": np.zeros(8)}),
                r"'bias' is float64 \(8,\) in the file",
            ),
        ],
    )
    def test_other_arrays_than_the_architecture_has_are_refused(self, tmp_path, change, message):
        self.tamper(tmp_path, arrays=change)
        with pytest.raises(FileFormatError, match=rf"model\.npz cannot be loaded: .*{message}"):
            Sequential.load(tmp_path / "model.npz")

    def test_a_description_nested_too_deeply_is_refused(self, tmp_path):
        def nest(header):
            for _ in range(200):
                header["model"] = {
                    "class": "Sequential",
                    "module": "minidl.model",
                    "configuration": {"layers": [header["model"]], "seed": 0, "dtype": "float32", "name": None},
                }

        self.tamper(tmp_path, header=nest)
        with pytest.raises(FileFormatError, match="cannot be loaded"):
            Sequential.load(tmp_path / "model.npz")

    def test_a_subclass_loads_only_its_own_kind(self, tmp_path):
        class Special(Sequential):
            pass

        digit_model().save(tmp_path / "model.npz")
        with pytest.raises(FileFormatError, match="not a Special"):
            Special.load(tmp_path / "model.npz")

    def test_a_layer_whose_configuration_json_cannot_hold_is_named(self, tmp_path):
        class Apply(Layer):
            function: object = np.sin

            def forward(self, x, training=False):
                return self.function(x)

        with pytest.raises(ArgumentTypeError, match=r"Apply\.function = <ufunc 'sin'> cannot be saved"):
            Sequential([Apply()], input_shape=2).save(tmp_path / "model.npz")

    @staticmethod
    def tamper(folder, header=None, arrays=None):
        path = folder / "model.npz"
        digit_model().save(path)
        content = dict(read_arrays(path))
        if header:
            description = json.loads(content["header"].item())
            header(description)
            content["header"] = np.array(json.dumps(description))
        if arrays:
            arrays(content)
        write_arrays(path, content)


class TestOldFiles:
    """Files of format version 1, which the minidl before version 2 of the format wrote: see the folder's files."""

    FOLDER = Path(__file__).parent / "reference"

    def test_a_model_of_version_1_predicts_what_it_predicted(self):
        model = Sequential.load(self.FOLDER / "model_version_1.npz")
        x = np.arange(0, 252, 21, dtype=np.uint8).reshape(2, 2, 3)
        expected = [
            [0.3737788200378418, 0.31030046939849854, 0.31592071056365967],
            [0.2763543128967285, 0.4589698314666748, 0.2646758556365967],
        ]
        # Another processor may round sums otherwise; float32 rounds by 6e-8.
        np.testing.assert_allclose(model.predict_proba(x), expected, rtol=1e-5)
        assert model.count_parameters() == 143
        assert all(layer.own_trainable for layer in model.walk())
        assert repr(model).startswith(
            "Sequential([\n    Rescale(scale=0.00392156862745098, offset=-0.5),\n    Flatten(),\n    Dense(units=5, "
            "initializer='he_uniform', use_bias=True, regularizer=L2(strength=0.001), constraint=MaxNorm(limit=1.5)),\n"
        )

    def test_it_can_be_trained_and_is_saved_as_one_of_version_2(self, tmp_path):
        model = Sequential.load(self.FOLDER / "model_version_1.npz")
        Trainer(model, seed=0).fit(pixels(9, (2, 3)), np.arange(9) % 3, progress=False)
        model.save(tmp_path / "model.npz")
        assert json.loads(read_arrays(tmp_path / "model.npz")["header"].item())["version"] == 2
        np.testing.assert_array_equal(Sequential.load(tmp_path / "model.npz").parameters, model.parameters)

    def test_a_training_run_of_version_1_is_refused_by_its_version_and_with_the_cure(self):
        with pytest.raises(
            FileFormatError,
            match=r"run_version_1\.npz cannot be loaded: its version is 1, this "
            r"minidl reads \[2\]",
        ):
            Trainer.load(self.FOLDER / "run_version_1.npz")


def layers(header):
    return header["model"]["configuration"]["layers"]
