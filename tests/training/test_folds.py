"""Which rows a run trains on and which evaluate it."""

import numpy as np
import pytest
from scipy.sparse import csr_array, issparse
from sklearn.decomposition import PCA
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold, TimeSeriesSplit, train_test_split

from minidl import Dense, Hinge, MeanSquaredError, Sequential, SigmoidCrossEntropy, SoftmaxCrossEntropy
from minidl.errors import ArgumentError, ArgumentTypeError, DataError
from minidl.training.folds import Split, as_data_set, classes_of, deal_folds, hold_out

x = np.arange(24.0).reshape(12, 2)
y = np.array([0, 1, 2] * 4)


def as_lists(folds):
    return [(train.tolist(), held_out.tolist()) for train, held_out in folds]


def test_a_number_of_folds_holds_each_row_out_once_and_gives_each_fold_the_shares_of_the_classes():
    for folds in deal_folds(4, [0, 7], x, y, y).values():
        assert sorted(np.concatenate([held_out for _, held_out in folds])) == list(range(12))
        for train, held_out in folds:
            assert sorted([*train, *held_out]) == list(range(12))
            assert sorted(y[held_out]) == [0, 1, 2]


def test_each_seed_deals_anew_and_the_same_seed_the_same():
    dealt = deal_folds(4, [0, 1], x, y, y)
    assert as_lists(dealt[0]) != as_lists(dealt[1])
    assert as_lists(deal_folds(4, [1], x, y, y)[1]) == as_lists(dealt[1])


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (y, StratifiedKFold(3, shuffle=True, random_state=5).split(x, y)),
        (y - 1.0, StratifiedKFold(3, shuffle=True, random_state=5).split(x, y)),
        (None, KFold(3, shuffle=True, random_state=5).split(x)),
    ],
)
def test_the_folds_are_those_of_scikit_learn(classes, expected):
    assert as_lists(deal_folds(3, [5], x, y, classes)[5]) == as_lists(expected)


def test_a_splitter_gives_each_seed_its_own_folds_and_is_asked_once():
    splitter = KFold(3, shuffle=True)  # without a seed: each call of split deals anew
    dealt = deal_folds(splitter, [0, 1], x, y, None)
    assert as_lists(dealt[0]) == as_lists(dealt[1])


def test_a_splitter_gets_classes_and_groups():
    one_hot = np.eye(3)[y]
    expected = StratifiedKFold(4).split(x, y)
    assert as_lists(deal_folds(StratifiedKFold(4), [0], x, one_hot, y)[0]) == as_lists(expected)
    groups = np.arange(12) // 3
    for train, held_out in deal_folds(GroupKFold(2), [0], x, y, None, groups)[0]:
        assert not set(groups[train]) & set(groups[held_out])


def test_pairs_of_row_numbers_are_folds():
    pairs = list(TimeSeriesSplit(3).split(x))
    assert as_lists(deal_folds(pairs, [0], x, y, y)[0]) == as_lists(pairs)
    assert as_lists(deal_folds(iter(pairs), [0], x, y, y)[0]) == as_lists(pairs)
    assert as_lists(deal_folds([[[0, 1], [2]]], [0], x, y, y)[0]) == [([0, 1], [2])]


@pytest.mark.parametrize(
    ("folds", "error", "message"),
    [
        (1, ArgumentError, "folds is 1; it must be a whole number, 2 or more"),
        (True, ArgumentTypeError, "folds is True"),
        ("5", ArgumentTypeError, "folds is '5'; it must be a whole number"),
        (2.0, ArgumentTypeError, "folds is 2.0"),
        (13, ArgumentError, "folds is 13, more than 12 rows"),
        (5, DataError, r"class 0 has 4 rows, fewer than the 5 folds .* take fewer folds, or pass folds=KFold\(5"),
        (KFold(20), ArgumentError, r"folds=KFold\(n_splits=20.* cannot split 12 rows"),
        ([], ArgumentError, "folds has no fold"),
        ([3, 4], ArgumentTypeError, "fold 1 is 3; give a pair"),
        ([([0], [1]), ([0], [])], ArgumentError, "fold 2: each part must be a list of row numbers that is not empty"),
        ([([0.5], [1])], ArgumentError, "fold 1: each part must be a list"),
        ([([True, False], [1])], ArgumentError, "fold 1: each part must be a list"),
        ([([[0]], [1])], ArgumentError, "fold 1: each part must be a list"),
        ([([0], [12])], ArgumentError, "fold 1 has row 12, but there are rows 0 to 11"),
        ([([-1], [2])], ArgumentError, "fold 1 has row -1"),
        ([([0], [2, 2])], ArgumentError, "fold 1 holds a row out twice"),
        ([([0, 3], [3])], ArgumentError, "fold 1 trains on row 3, which it holds out"),
    ],
)
def test_folds_that_cannot_be_are_refused(folds, error, message):
    with pytest.raises(error, match=message):
        deal_folds(folds, [0], x, y, y)


def test_a_row_may_be_trained_on_twice():
    assert as_lists(deal_folds([([0, 0, 1], [2])], [0], x, y, y)[0]) == [([0, 0, 1], [2])]


def test_a_sparse_matrix_is_split_as_an_array_is():
    assert as_lists(deal_folds(KFold(3), [0], csr_array(x), y, None)[0]) == as_lists(KFold(3).split(x))


@pytest.mark.parametrize("kind", [np.asarray, csr_array])
def test_a_split_has_its_rows_and_weights_in_their_order(kind):
    weights = np.arange(12.0)
    whole = as_data_set(kind(x), y, weights)
    split = Split(whole.take(np.array([5, 5, 2])), whole.take(np.array([0])))
    arguments = split.arguments()
    inputs, targets, held_out_weights = arguments["validation_data"]
    for found, expected in ((arguments["x"], x[[5, 5, 2]]), (inputs, x[:1])):
        assert issparse(found) == (kind is csr_array)
        assert np.array_equal(found.toarray() if issparse(found) else found, expected)
    assert arguments["y"].tolist() == y[[5, 5, 2]].tolist()
    assert arguments["sample_weight"].tolist() == [5, 5, 2]
    assert (targets.tolist(), held_out_weights.tolist()) == ([0], [0.0])
    assert Split(whole).arguments()["validation_data"] is None


def test_folds_do_not_copy_the_inputs_until_they_are_read():
    whole = as_data_set(x, y)
    assert whole.x is x
    assert whole.take(np.arange(3)).table is x


def test_a_transformed_split_is_fitted_to_its_training_rows():
    transformer = PCA(1)
    whole = as_data_set(x + y[:, np.newaxis] ** 2, y, transformer=transformer)
    train, apart = np.arange(4, 12), np.arange(4)
    split, fitted = Split(whole.take(train), whole.take(apart)).transformed(transformer, 0)
    data = whole.table - whole.table[train].mean(axis=0)
    expected = data @ np.linalg.svd(data[train])[2][0]
    for part, rows in ((split.training, train), (split.held_out, apart)):
        np.testing.assert_allclose(np.abs(part.x[:, 0]), np.abs(expected[rows]), rtol=1e-12, atol=1e-12)
    assert fitted is not transformer
    np.testing.assert_allclose(fitted.mean_, whole.table[train].mean(axis=0))


def test_groups_without_a_splitter_are_refused():
    with pytest.raises(ArgumentError, match="such as folds=GroupKFold"):
        deal_folds(3, [0], x, y, y, groups=y)


@pytest.mark.parametrize(
    ("loss", "outputs", "targets", "expected"),
    [
        (SoftmaxCrossEntropy(), 3, [0, 2, 1], [0, 2, 1]),
        (SoftmaxCrossEntropy(), 3, [[0.2, 0.7, 0.1], [1, 0, 0]], [1, 0]),
        (SigmoidCrossEntropy(), 1, [0.0, 1.0, 0.8], [0, 1, 1]),
        (SigmoidCrossEntropy(), 2, [[0, 1], [1, 1]], None),
        (Hinge(), 1, [-1, 1, 1], [0, 1, 1]),
        (MeanSquaredError(), 1, [1, 2, 2], None),
        (MeanSquaredError(), 2, [[1, 2], [2, 3]], None),
    ],
)
def test_the_loss_tells_the_classes(loss, outputs, targets, expected):
    model = Sequential([Dense(outputs), loss], input_shape=2)
    classes = classes_of(model, np.array(targets))
    assert (classes if expected is None else classes.tolist()) == expected


def test_labels_of_positions_are_no_classes_of_rows():
    model = Sequential([Dense(3), SoftmaxCrossEntropy()], input_shape=(4, 2))
    assert classes_of(model, np.zeros((5, 4), int)) is None


@pytest.mark.parametrize(("validation", "count"), [(0.25, 3), (0.3, 4), (6, 6), (np.int64(3), 3)])
def test_rows_held_out_are_those_that_scikit_learn_draws_with_the_shares_of_the_classes(validation, count):
    train, held_out = hold_out(validation, 5, 12, y)
    expected = train_test_split(np.arange(12), test_size=count, random_state=5, stratify=y)
    assert [train.tolist(), held_out.tolist()] == [part.tolist() for part in expected]
    assert np.bincount(y[held_out]).tolist() == pytest.approx([count / 3] * 3, abs=1)
    assert sorted([*train, *held_out]) == list(range(12))
    assert len(hold_out(validation, 5, 12, None)[1]) == count


@pytest.mark.parametrize(
    ("validation", "classes", "error", "message"),
    [
        (
            0,
            y,
            ArgumentError,
            r"validation is 0, but candidates are ranked by held-out rows: .*validation_data=\(x, y\)",
        ),
        (0.0, None, ArgumentError, "validation is 0.0, but candidates are ranked by held-out rows"),
        (-1, y, ArgumentError, "validation is -1; it must be a whole number, 1 or more"),
        (False, y, ArgumentTypeError, "validation is False"),
        (1.0, y, ArgumentError, r"validation is 1.0; it must be a finite number, in \(0, 1\)"),
        (np.nan, y, ArgumentError, "validation is nan"),
        (True, y, ArgumentTypeError, "validation is True"),
        ("0.2", y, ArgumentTypeError, "validation is '0.2'; it must be a number"),
        (12, y, ArgumentError, "validation=12 holds out 12 of 12 rows: some must be left"),
        (0.95, None, ArgumentError, "validation=0.95 holds out 12 of 12 rows"),
        (2, y, ArgumentError, "holds out 2 of 12 rows, too few or too many for both parts to have all 3 classes"),
        (10, y, ArgumentError, "holds out 10 of 12 rows, too few or too many"),
        (4, np.array([7] * 11 + [9]), DataError, "class 9 has one row, .* give validation_data"),
    ],
)
def test_rows_that_cannot_be_held_out_are_refused(validation, classes, error, message):
    with pytest.raises(error, match=message):
        hold_out(validation, 0, 12, classes)
