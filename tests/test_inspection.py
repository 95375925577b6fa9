"""Layers by name and position, and what they put out."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from minidl import (
    BatchNorm,
    Concatenate,
    Conv2D,
    Dense,
    Dropout,
    Ensemble,
    Flatten,
    GlobalMaxPool2D,
    Layer,
    MaxPool2D,
    MeanSquaredError,
    ReLU,
    Residual,
    Sequential,
    SoftmaxCrossEntropy,
    Tanh,
    Trainer,
)
from minidl.errors import ArgumentTypeError, DataError, ShapeError
from minidl.functional import softmax

PATHS = [
    "dense_1", "batch_norm_1", "residual_1", "residual_1/layers", "residual_1/layers/dense_1",
    "residual_1/layers/relu_1", "concatenate_1", "concatenate_1/branch_1", "concatenate_1/branch_1/dense_1",
    "concatenate_1/branch_2", "concatenate_1/branch_2/tanh_1", "dropout_1", "dense_2",
]  # fmt: skip


def model_of_blocks(**options):
    layers = [
        Dense(6), BatchNorm(), Residual([Dense(6), ReLU()]), Concatenate([Dense(3), Tanh()]), Dropout(0.5), Dense(4)
    ]  # fmt: skip
    return Sequential([*layers, SoftmaxCrossEntropy()], seed=0, **{"input_shape": 5} | options)


def rows(count, columns=5, seed=0):
    return np.random.default_rng(seed).normal(size=(count, columns))


class TestLayers:
    def test_a_layer_is_found_by_position_and_by_name(self):
        model = model_of_blocks()
        assert model[0] is model["dense_1"] is model.layers[0]
        assert model[-1] is model["dense_2"] is model.layers[-1]
        assert model[np.int64(2)] is model["residual_1"]
        assert model[1:3] == model.layers[1:3]

    def test_paths_into_blocks_are_those_of_the_parameters(self):
        model = model_of_blocks()
        for path, parameter in model.named_parameters().items():
            layer, _, name = path.rpartition("/")
            assert getattr(model[layer], name) is parameter
        assert model["concatenate_1/branch_2/tanh_1"] is model[3].branches[1][0]
        assert model["residual_1"].layers["dense_1"] is model["residual_1/layers/dense_1"]

    def test_a_name_that_is_given_is_the_path(self):
        assert Sequential([Dense(3, name="head")])["head"].units == 3

    def test_an_unknown_name_is_a_key_error_with_the_near_one(self):
        with pytest.raises(KeyError, match=r"the model has no layer 'dens_1'; did you mean 'dense_1'\?"):
            model_of_blocks()["dens_1"]
        for name in ("", "/", "dense_1/", "dense_1/weight"):
            with pytest.raises(KeyError, match="has no layer"):
                model_of_blocks()[name]

    def test_a_position_that_there_is_not_is_an_index_error(self):
        with pytest.raises(IndexError):
            model_of_blocks()[6]
        with pytest.raises(TypeError):
            model_of_blocks()[1.5]

    def test_the_length_is_the_number_of_layers_without_the_loss_and_a_model_is_true(self):
        model = model_of_blocks()
        assert len(model) == len(model.layers) == 6
        assert list(model) == list(model.layers)
        assert model
        assert Sequential([ReLU()])

    def test_in_asks_for_a_path_or_a_layer(self):
        model = model_of_blocks()
        assert "dense_1" in model
        assert "residual_1/layers/dense_1" in model
        assert "dense_9" not in model
        assert model[2] in model
        assert ReLU() not in model

    def test_a_layer_can_be_set_before_the_model_knows_its_input(self):
        model = model_of_blocks(input_shape=None)
        model["residual_1/layers/dense_1"].trainable = False
        assert not model.layers[2].sublayers()["layers"].layers[0].trainable


class TestActivations:
    def test_every_layer_has_its_output_by_path(self):
        model, x = model_of_blocks(), rows(7)
        outputs = model.activations(x)
        assert list(outputs) == PATHS
        for path, values in outputs.items():
            assert values.shape == (7, *model[path].output_shape)
            assert values.dtype == np.float32

    def test_they_are_what_the_layers_compute_from_each_other(self):
        model, x = model_of_blocks(), rows(7).astype(np.float32)
        outputs = model.activations(x)
        for layer in model.layers:
            x = layer.forward(x)
            assert (outputs[layer.name] == x).all()
        inside = model["residual_1/layers/dense_1"].forward(outputs["batch_norm_1"])
        assert (outputs["residual_1/layers/dense_1"] == inside).all()
        assert (outputs["residual_1"] == outputs["residual_1/layers/relu_1"] + outputs["batch_norm_1"]).all()

    def test_a_relu_before_max_pooling_has_its_own_output_and_so_has_the_pooling(self):
        block = Sequential([Conv2D(3, 3), ReLU(), MaxPool2D(2)])
        model = Sequential([block, ReLU(), GlobalMaxPool2D(), Dense(2), MeanSquaredError()], input_shape=(8, 8, 1))
        x = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype(np.float32)
        outputs = model.activations(x)
        for layer in [*block.layers, *model.layers[1:]]:
            path = f"sequential_1/{layer.name}" if layer in block.layers else layer.name
            x = layer.forward(x)
            assert (outputs[path] == x).all()

    def test_the_last_are_the_scores_and_dropout_is_off(self):
        model, x = model_of_blocks(), rows(7)
        outputs = model.activations(x)
        assert (outputs["dense_2"] == model.predict_scores(x)).all()
        np.testing.assert_allclose(softmax(outputs["dense_2"]), model.predict_proba(x), rtol=1e-6)
        assert (outputs["dropout_1"] == outputs["concatenate_1"]).all()

    def test_some_layers_can_be_asked_for(self):
        model, x = model_of_blocks(), rows(7)
        some = model.activations(x, ["dense_2", "residual_1/layers"])
        assert list(some) == ["dense_2", "residual_1/layers"]
        assert all((values == model.activations(x)[path]).all() for path, values in some.items())

    def test_a_path_that_there_is_not_and_one_that_is_no_list_are_refused(self):
        with pytest.raises(KeyError, match="did you mean 'dense_1'"):
            model_of_blocks().activations(rows(2), ["dense1"])
        with pytest.raises(ArgumentTypeError, match=r"give a list of paths: \['dense_1'\]"):
            model_of_blocks().activations(rows(2), "dense_1")

    def test_a_number_alone_is_an_error(self):
        with pytest.raises(ShapeError, match="a single number"):
            model_of_blocks().activations(3.0)

    def test_many_rows_come_in_blocks_and_are_the_same(self, monkeypatch):
        model, x = model_of_blocks(), rows(50)
        whole, sizes = model.activations(x), []
        forward = Dense.forward

        def noting(self, x, training=False):
            sizes.append(len(x))
            return forward(self, x, training=training)

        monkeypatch.setattr(Dense, "forward", noting)
        model.rows_at_once = 8
        blocks = model.activations(x)
        assert max(sizes) == 8
        for path, values in whole.items():
            np.testing.assert_allclose(blocks[path], values, rtol=1e-5, atol=1e-6)

    def test_no_rows_have_no_activations(self):
        assert {values.shape[0] for values in model_of_blocks().activations(rows(0)).values()} == {0}

    def test_all_that_predict_takes_will_do(self):
        model, x = model_of_blocks(), rows(6)
        expected = model.activations(x)["dense_2"]
        for given in (x.tolist(), pd.DataFrame(x), sparse.csr_array(x), x.astype(np.float32)):
            np.testing.assert_allclose(model.activations(given)["dense_2"], expected, rtol=1e-5, atol=1e-6)

    def test_columns_of_frames_are_known_by_name(self):
        frame = pd.DataFrame(rows(40), columns=list("abcde"))
        model = model_of_blocks()
        Trainer(model, seed=0).fit(frame, np.arange(40) % 4, epochs=1, progress=False)
        with pytest.raises(ShapeError, match="lacks the column 'a'"):
            model.activations(frame.rename(columns={"a": "z"}))
        model.reorder_columns = True
        assert (model.activations(frame[list("edcba")])["dense_2"] == model.activations(frame)["dense_2"]).all()

    def test_integers_reach_a_layer_that_takes_them(self):
        class Lookup(Layer):
            takes_integers = True

            def build(self, input_shape, declare):
                self.table = declare.parameter("table", (9, 2), "he_normal")
                return (*input_shape, 2)

            def forward(self, x, training=False):
                return self.table.value[x]

        model = Sequential([Lookup(), Flatten(), Dense(2)], input_shape=3, seed=0)
        x = np.array([[1, 2, 8], [0, 0, 5]], np.uint8)
        assert (model.activations(x)["lookup_1"] == model["lookup_1"].table.value[x]).all()

    def test_a_model_without_a_shape_takes_it_from_the_rows_as_predict_does(self):
        model = model_of_blocks(input_shape=None)
        outputs = model.activations(rows(3))
        assert model.input_shape == (5,)
        assert (outputs["dense_2"] == model.predict_scores(rows(3))).all()

    def test_wrong_rows_are_refused_as_by_predict(self):
        with pytest.raises(ShapeError, match=r"layer 1 'dense_1' expects input \(5,\)"):
            model_of_blocks().activations(rows(3, columns=4))
        with pytest.raises(DataError, match="x holds NaN at row 1, entry 0"):
            model_of_blocks().activations([[0] * 5, [np.nan] * 5])

    def test_nothing_about_the_model_changes_and_it_can_still_be_pickled(self):
        model = model_of_blocks()
        model.forward(rows(9), training=True)
        before = pickle.dumps(model)
        model.activations(rows(20, seed=1))
        assert pickle.dumps(model) == before
        assert not any("forward" in vars(layer) for layer in model.walk())

    def test_what_is_returned_is_no_view_of_the_rows_or_of_the_model(self):
        model = Sequential([Dropout(0.5), Flatten()], input_shape=5)
        x = rows(3).astype(np.float32)
        for values in model.activations(x).values():
            assert not np.shares_memory(values, x)

    def test_threads_may_look_while_others_predict(self):
        model, x = model_of_blocks(), rows(300)
        expected = model.predict_scores(x)
        with ThreadPoolExecutor(4) as pool:
            looked = [pool.submit(model.activations, x) for _ in range(6)]
            predicted = [pool.submit(model.predict_scores, x) for _ in range(6)]
        assert all((each.result()["dense_2"] == expected).all() for each in looked)
        assert all((each.result() == expected).all() for each in predicted)

    def test_parameters_are_not_copied(self):
        model = Sequential([Dense(2000), Dense(1)], input_shape=2000, seed=0)
        import tracemalloc

        tracemalloc.start()
        model.activations(np.zeros((1, 2000), np.float32))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < model.parameters.nbytes / 4

    def test_a_layer_that_another_leaves_out_has_none(self):
        class Half(Layer):
            def sublayers(self):
                return {"used": self.used, "unused": self.unused}

            def build(self, input_shape, declare):
                declare.sublayer("unused", input_shape)
                return declare.sublayer("used", input_shape)

            def forward(self, x, training=False):
                return self.used.forward(x, training=training)

        half = Half()
        half.used, half.unused = Dense(2), Dense(2)
        assert list(Sequential([half], input_shape=3).activations(np.ones((1, 3)))) == ["half_1", "half_1/used"]


def test_lists_of_models_stay_lists_of_models():
    models = [model_of_blocks(), Sequential([Dense(4), SoftmaxCrossEntropy()], input_shape=5)]
    assert len(Ensemble(models).models) == 2
    nested = Sequential([models[0].layers[0], Sequential([Dense(2), ReLU()])])
    assert [layer.name for layer in nested] == ["dense_1", "sequential_1"]
