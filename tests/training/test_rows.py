"""Rows that belong together: their parts and blocks, and the checks that prepare them once."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from minidl import Dense, MeanSquaredError, ReLU, Sequential, SoftmaxCrossEntropy, Trainer
from minidl.errors import ArgumentError, ArgumentTypeError, DataError, ShapeError
from minidl.training.rows import Rows, check_validation_data, prepare_rows, prepare_validation, split_rows


def rows(count, weighted=True):
    """Inputs of which each row is its number, targets that follow from it, and weights 1, 2, 3 ..."""
    numbers = np.arange(count)
    return Rows(numbers[:, np.newaxis], 10 * numbers, numbers + 1.0 if weighted else None)


@pytest.mark.parametrize("chosen", [slice(2, 5), np.array([7, 0, 3])])
@pytest.mark.parametrize("weighted", [True, False])
def test_a_part_has_the_inputs_targets_and_weights_of_its_rows_and_the_mean_weight_of_the_whole(chosen, weighted):
    part, numbers = rows(8, weighted)[chosen], np.arange(8)[chosen]
    assert len(part) == 3
    assert part.x[:, 0].tolist() == numbers.tolist()
    assert part.targets.tolist() == (10 * numbers).tolist()
    assert (part.weights is None) != weighted
    if weighted:
        assert part.weights.tolist() == (numbers + 1).tolist()
    assert part.weight == (sum(numbers + 1) if weighted else 3)
    assert part.mean_weight == (4.5 if weighted else 1)
    assert part[:1].mean_weight == part.mean_weight


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("count", [1, 6, 7, 8, 21])
def test_blocks_are_all_rows_in_their_order_and_none_is_larger_than_told(count, size):
    whole = rows(count)
    blocks = [whole[part] for part in split_rows(0, count, size)]
    assert [number for block in blocks for number in block.x[:, 0].tolist()] == list(range(count))
    assert all(len(block) <= size for block in blocks)
    assert len(blocks) == -(-count // size)
    assert sum(block.weight for block in blocks) == whole.weight


def test_blocks_are_views_of_the_data():
    whole = rows(9)
    for block in (whole[part] for part in split_rows(0, 9, 4)):
        assert np.shares_memory(block.x, whole.x)
        assert np.shares_memory(block.targets, whole.targets)


def test_each_position_of_a_row_counts_as_one_and_weighs_what_it_is_given():
    x, y = np.zeros((4, 5, 2)), np.zeros((4, 5), int)
    plain = Rows(x, y, None, positions=5)
    assert (plain.weight, plain.mean_weight, plain[:3].weight) == (20, 5, 15)
    mask = np.arange(20.0).reshape(4, 5)
    masked = Rows(x, y, mask, positions=5)
    assert (masked.weight, masked.mean_weight) == (190, 47.5)
    assert masked[1:2].weight == 5 + 6 + 7 + 8 + 9


def classifier(*layers, input_shape=None, dtype="float32"):
    return Sequential([*layers, Dense(3), SoftmaxCrossEntropy()], input_shape=input_shape, seed=0, dtype=dtype)


class TestPreparation:
    def test_arrays_that_are_as_they_must_be_are_not_copied(self):
        x, y = np.zeros((4, 2), np.uint8), np.array([0, 1, 2, 0])
        prepared = prepare_rows(classifier(), x, y)
        assert prepared.x is x
        assert prepared.targets.tolist() == y.tolist()
        assert prepared.weights is None
        assert (len(prepared), prepared.positions, prepared.mean_weight) == (4, 1, 1)

    def test_frames_and_lists_become_arrays_and_the_model_is_set_up(self):
        model = classifier()
        prepared = prepare_rows(model, pd.DataFrame({"a": [1, 2], "b": [3, 4]}), [[2], [0]])
        assert model.input_shape == (2,)
        assert prepared.x.tolist() == [[1, 3], [2, 4]]
        assert prepared.targets.tolist() == [2, 0]

    def test_weights_of_rows_and_of_classes_are_multiplied(self):
        prepared = prepare_rows(classifier(), np.zeros((3, 2)), [0, 1, 1], [1, 2, 3], {1: 10})
        assert prepared.weights.tolist() == [1, 20, 30]
        assert prepared.mean_weight == 17

    def test_each_position_gets_its_rows_weight_and_that_of_its_own_class(self):
        x, y = np.zeros((2, 3, 4)), np.array([[0, 1, 2], [2, 2, 1]])
        prepared = prepare_rows(classifier(), x, y, [1, 10])
        assert prepared.weights.tolist() == [[1, 1, 1], [10, 10, 10]]
        assert prepared.positions == 3
        both = prepare_rows(classifier(), x, y, [1, 10], [1, 2, 3])
        assert both.weights.tolist() == [[1, 2, 3], [30, 30, 20]]
        mask = prepare_rows(classifier(), x, y, [[1, 0, 1], [0, 0, 1]])
        assert mask.weights.tolist() == [[1, 0, 1], [0, 0, 1]]
        assert mask.mean_weight == 1.5

    @pytest.mark.parametrize(
        ("weights", "error", "message"),
        [
            (np.ones((2, 4)), ShapeError, r"sample_weight has shape \(2, 4\); it must be \(N,\) or \(N, 3\)"),
            (np.ones((2, 3, 1)), ShapeError, r"must be \(N,\) or \(N, 3\)"),
            (np.ones(3), DataError, "sample_weight has 3 rows"),
            (np.array([[1, 1, 1], [1, -1, 1]]), DataError, "sample_weight is -1 in row 1, 1"),
            (np.zeros((2, 3)), DataError, "sample_weight is 0 for every row"),
        ],
    )
    def test_weights_of_positions_that_do_not_fit_are_refused(self, weights, error, message):
        with pytest.raises(error, match=message):
            prepare_rows(classifier(), np.zeros((2, 3, 4)), np.zeros((2, 3), int), weights)

    def test_a_model_without_a_loss_is_refused_with_the_cure(self):
        with pytest.raises(ArgumentError, match="no loss: end its list of layers with one"):
            prepare_rows(Sequential([Dense(3)]), np.zeros((2, 4)), [0, 1])

    def test_what_would_overflow_in_the_models_type_is_refused(self):
        x, y = np.array([[1.0], [1e39]]), np.zeros(2)
        with pytest.raises(DataError, match=r"x holds 1e\+39 at row 1, entry 0"):
            prepare_rows(Sequential([Dense(1), MeanSquaredError()]), x, y)
        prepare_rows(Sequential([Dense(1), MeanSquaredError()], dtype="float64"), x, y)

    def test_an_input_of_another_shape_is_refused_with_the_first_layers_place(self):
        model = classifier(Dense(5), ReLU(), input_shape=4)
        with pytest.raises(ShapeError, match=r"layer 1 'dense_1' expects input \(4,\) per sample but got \(3,\)"):
            prepare_rows(model, np.zeros((2, 3)), [0, 1])


class TestValidation:
    def test_there_may_be_none(self):
        assert prepare_validation(classifier(), None) is None

    def test_a_third_element_is_the_weights(self):
        prepared = prepare_validation(classifier(), (np.zeros((2, 4)), [0, 1], [1, 3]))
        assert prepared.weights.tolist() == [1, 3]
        assert prepared.mean_weight == 2

    @pytest.mark.parametrize("value", [0, np.zeros((2, 4)), "xy", (np.zeros((2, 4)),), (1, 2, 3, 4), {}])
    def test_anything_else_is_refused(self, value):
        message = r"must be \(x, y\) or \(x, y, sample_weight\), or None, to go without"
        with pytest.raises(ArgumentTypeError, match=message):
            check_validation_data(value, "to go without")
        with pytest.raises(ArgumentTypeError, match="or None, to train without validation"):
            prepare_validation(classifier(), value)

    def test_errors_say_that_they_are_about_the_validation_data(self):
        with pytest.raises(DataError, match="validation_data: y is 3 at row 1; the model has 3 classes"):
            prepare_validation(classifier(), (np.zeros((2, 4)), [0, 3]))


def test_targets_are_read_only_and_the_users_own_array_is_not():
    y = np.zeros((4, 2), np.float32)
    model = Sequential([Dense(2), MeanSquaredError()], seed=0)
    rows = prepare_rows(model, np.ones((4, 3)), y)
    with pytest.raises(ValueError, match="read-only"):
        rows.targets += 1
    assert y.flags.writeable


class TestColumnsOfFrames:
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 3)), columns=["a", "b", "c"])
    y = np.arange(20) % 2

    def trained(self, **settings):
        model = Sequential([Dense(2), SoftmaxCrossEntropy()], seed=0, **settings)
        Trainer(model, "sgd", seed=0).fit(self.frame, self.y, progress=False)
        return model

    def test_the_model_remembers_the_names_and_a_file_keeps_them(self, tmp_path):
        model = self.trained(reorder_columns=True)
        assert model.feature_names == ["a", "b", "c"]
        model.save(tmp_path / "model.npz")
        loaded = Sequential.load(tmp_path / "model.npz")
        assert (loaded.feature_names, loaded.reorder_columns) == (["a", "b", "c"], True)

    @pytest.mark.parametrize("columns", [["c", "b", "a"], ["a", "b", "c", "c2"]])
    def test_another_order_or_more_columns_are_refused_unless_they_may_be_reordered(self, columns):
        model = self.trained()
        other = self.frame.assign(c2=1.0)[columns]
        with pytest.raises(ShapeError, match=r"another order: pass x\[model.feature_names\], or set model.reorder_col"):
            model.predict(other)
        with pytest.raises(ShapeError, match="another order"):
            Trainer(model, "sgd").evaluate(other, self.y)
        model.reorder_columns = True
        np.testing.assert_array_equal(model.predict_proba(other), model.predict_proba(self.frame))

    @pytest.mark.parametrize("reorders", [True, False])
    def test_a_missing_column_is_named(self, reorders):
        model = self.trained(reorder_columns=reorders)
        with pytest.raises(ShapeError, match="x lacks the column 'b' of the frame that the model was trained on"):
            model.predict(self.frame.rename(columns={"b": "B"}))

    def test_arrays_and_frames_without_names_are_taken_as_they_are(self):
        model = self.trained()
        values = self.frame.to_numpy()
        np.testing.assert_array_equal(model.predict(values), model.predict(self.frame))
        np.testing.assert_array_equal(model.predict(pd.DataFrame(values)), model.predict(self.frame))

    def test_validation_data_have_the_names_of_the_training_data(self):
        model = Sequential([Dense(2), SoftmaxCrossEntropy()], seed=0)
        with pytest.raises(ShapeError, match="validation_data: x lacks the column 'a'"):
            validation = self.frame.drop(columns="a"), self.y
            Trainer(model, "sgd").fit(self.frame, self.y, validation_data=validation, progress=False)
        assert model.feature_names is None  # nothing has changed


def test_a_sparse_matrix_trains_as_its_dense_rows_do():
    dense = np.random.default_rng(0).integers(0, 3, (50, 8)) * 1.0
    y = np.arange(50) % 3
    models = [Sequential([Dense(3), SoftmaxCrossEntropy()], seed=0) for _ in range(2)]
    for model, x in zip(models, (dense, scipy.sparse.csr_array(dense)), strict=True):
        Trainer(model, "adam", batch_size=16, seed=0).fit(x, y, epochs=2, validation_data=(x, y), progress=False)
    np.testing.assert_array_equal(models[0].parameters, models[1].parameters)
    np.testing.assert_array_equal(models[0].predict(dense), models[1].predict(scipy.sparse.csr_array(dense)))


@pytest.mark.parametrize("count", [1, 10, 2**20, 2**20 + 1])
def test_a_random_order_is_that_of_numpy_whatever_its_type(count):
    order = Rows(np.empty((count, 0)), np.empty(count), None).order((3, 5))
    np.testing.assert_array_equal(order, np.random.default_rng((3, 5)).permutation(count))
    assert order.dtype == (np.int32 if count > 2**20 else np.intp)
