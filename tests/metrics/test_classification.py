import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from scored import CUTS, WEIGHTS, sums_of, value_of

from minidl.errors import ArgumentError, ArgumentTypeError
from minidl.losses.base import Loss
from minidl.losses.classification import (
    FocalCrossEntropy,
    Hinge,
    KLDivergence,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
)
from minidl.losses.regression import MeanSquaredError
from minidl.metrics import F1, Accuracy, ClassMetric, Precision, Recall, ScoredRows, TopKAccuracy, TotalVariation

ROUNDING = 1e-12  # of sums of up to 40 numbers, and a ratio


@st.composite
def classified(draw, least=2, most=5):
    """Labels, predicted labels and weights, or none, of a few classes; and how many classes there are."""
    classes = draw(st.integers(least, most))
    label = st.integers(0, classes - 1)
    rows = draw(st.lists(st.tuples(label, label, WEIGHTS), min_size=1, max_size=40))
    truth, predicted, weights = (np.array(column) for column in zip(*rows, strict=True))
    return truth, predicted, draw(st.sampled_from([None, weights])), classes


@st.composite
def labelled(draw):
    """Rows of several labels, the predicted ones, and weights, or none."""
    labels = draw(st.integers(2, 4))
    row = st.lists(st.integers(0, 1), min_size=labels, max_size=labels)
    rows = draw(st.lists(st.tuples(row, row, WEIGHTS), min_size=1, max_size=40))
    truth, predicted, weights = (np.array(column) for column in zip(*rows, strict=True))
    return truth, predicted, draw(st.sampled_from([None, weights]))


def scores_for(predicted):
    """One score per row or label, above 0 for a predicted 1."""
    return (predicted - 0.5).reshape(len(predicted), -1)


# Accuracy


@given(classified(), CUTS)
def test_accuracy_is_the_share_of_rows_that_are_right(drawn, cuts):
    truth, predicted, weights, classes = drawn
    value = value_of(Accuracy(), SoftmaxCrossEntropy(), np.eye(classes)[predicted], truth, weights, cuts)
    assert value == pytest.approx(sklearn.metrics.accuracy_score(truth, predicted, sample_weight=weights), rel=ROUNDING)


@given(labelled(), CUTS)
def test_accuracy_of_several_labels_is_the_mean_of_theirs(drawn, cuts):
    truth, predicted, weights = drawn
    value = value_of(Accuracy(), SigmoidCrossEntropy(), scores_for(predicted), truth.astype(float), weights, cuts)
    of_labels = [
        sklearn.metrics.accuracy_score(true, guess, sample_weight=weights)
        for true, guess in zip(truth.T, predicted.T, strict=True)
    ]
    assert value == pytest.approx(np.mean(of_labels), rel=ROUNDING)


@pytest.mark.parametrize(
    ("loss", "targets"),
    [
        (SoftmaxCrossEntropy(), [0, 1, 1, 2]),
        (SoftmaxCrossEntropy(label_smoothing=0.9), np.eye(3)[[0, 1, 1, 2]]),
        (FocalCrossEntropy(), [0, 1, 1, 2]),
        (KLDivergence(), [[0.5, 0.2, 0.3], [0, 0.9, 0.1], [0.2, 0.8, 0], [0, 0.4, 0.6]]),
        (Hinge(), [0, 1, 1, 2]),
    ],
)
def test_every_loss_of_classes_has_an_accuracy(loss, targets):
    scores = np.array([[3.0, 1, 2], [1, 3, 2], [1, 2, 3], [3, 2, 1]])
    assert value_of(Accuracy(), loss, scores, loss.prepare_targets(targets, (3,), np.float64)) == 0.5


@pytest.mark.parametrize("loss", [SigmoidCrossEntropy(), Hinge()])
@pytest.mark.parametrize("metric", [Accuracy(), Precision(), Recall()])
def test_one_score_is_of_two_classes(loss, metric):
    targets = loss.prepare_targets([0, 1, 1, 0], (1,), np.float64)
    assert value_of(metric, loss, np.array([[-1.0], [2], [-3], [4]]), targets) == 0.5


@pytest.mark.parametrize("shape", [(40, 3), (8, 5, 3)])
def test_every_position_of_an_output_is_a_row(shape):
    rng = np.random.default_rng(0)
    scores, targets = rng.normal(size=shape), rng.integers(3, size=shape[:-1])
    rows, labels, _ = SoftmaxCrossEntropy().flatten(scores, targets)
    assert sums_of(Accuracy(), SoftmaxCrossEntropy(), rows, labels) == (scores.argmax(axis=-1) == targets).sum()


# Top k


@given(st.data(), st.integers(2, 6), CUTS)
def test_top_k_accuracy_is_the_share_of_rows_whose_class_is_among_the_k_largest_scores(data, classes, cuts):
    row = st.tuples(st.integers(0, classes - 1), st.permutations(range(classes)), WEIGHTS)
    rows = data.draw(st.lists(row, min_size=1, max_size=40))
    truth, scores, weights = (np.array(column) for column in zip(*rows, strict=True))
    weights, k = data.draw(st.sampled_from([None, weights])), data.draw(st.integers(1, classes - 1))
    value = value_of(TopKAccuracy(k), SoftmaxCrossEntropy(), scores.astype(float), truth, weights, cuts)
    # scikit-learn wants one column for two classes.
    columns = scores if classes > 2 else 2 * scores[:, 1] - 1
    expected = sklearn.metrics.top_k_accuracy_score(
        truth, columns, k=k, sample_weight=weights, labels=np.arange(classes)
    )
    assert value == pytest.approx(expected, rel=ROUNDING)
    assert value_of(
        TopKAccuracy(classes), SoftmaxCrossEntropy(), scores.astype(float), truth, weights
    ) == pytest.approx(1)


def test_of_equal_scores_the_lower_class_comes_first():
    scores, truth = np.zeros((4, 4)), np.arange(4)
    assert [value_of(TopKAccuracy(k), SoftmaxCrossEntropy(), scores, truth) for k in (1, 2, 3)] == [0.25, 0.5, 0.75]


def test_a_score_that_is_no_number_is_not_among_the_largest():
    scores = np.array([[np.nan, 1, 2], [0, np.nan, 2], [np.nan, np.nan, np.nan]])
    truth = np.array([0, 2, 1])
    assert [value_of(TopKAccuracy(k), SoftmaxCrossEntropy(), scores, truth) for k in (1, 2, 3)] == [0, 1 / 3, 1 / 3]


def test_top_k_accuracy_is_called_by_its_k():
    assert TopKAccuracy(3).name == "top_3_accuracy"
    assert TopKAccuracy().name == "top_5_accuracy"


def test_more_than_all_classes_are_refused_by_name():
    with pytest.raises(ArgumentError, match="^top_4_accuracy: k is 4, but there are 3 classes$"):
        sums_of(TopKAccuracy(4), SoftmaxCrossEntropy(), np.eye(3), np.arange(3))
    assert sums_of(TopKAccuracy(3), SoftmaxCrossEntropy(), np.eye(3), np.arange(3)) == 3


@pytest.mark.parametrize(("k", "error"), [(0, ArgumentError), (2.5, ArgumentTypeError), (True, ArgumentTypeError)])
def test_k_is_a_whole_number_from_1_on(k, error):
    with pytest.raises(error, match=f"^TopKAccuracy: k is {k}; it must be a whole number, 1 or more$"):
        TopKAccuracy(k)


# Precision, recall, F1


RATIOS = (Precision, Recall, F1)
AVERAGES = pytest.mark.parametrize("average", ["macro", "micro", "weighted"])


def check_ratios(average, loss, scores, targets, drawn, cuts=(), oracle=None):
    """Compare the three with scikit-learn's of all rows at once."""
    truth, predicted, weights = drawn[:3]
    expected = sklearn.metrics.precision_recall_fscore_support(
        truth, predicted, average=oracle or average, sample_weight=weights, zero_division=0
    )
    values = [value_of(kind(average=average), loss, scores, targets, weights, cuts) for kind in RATIOS]
    assert values == pytest.approx(expected[:3], rel=ROUNDING)
    assert {type(value) for value in values} == {float}


@AVERAGES
@given(drawn=classified(), cuts=CUTS)
def test_ratios_of_classes_are_those_of_scikit_learn_over_all_rows(average, drawn, cuts):
    truth, predicted, _, classes = drawn
    check_ratios(average, SoftmaxCrossEntropy(), np.eye(classes)[predicted], truth, drawn, cuts)


@AVERAGES
@given(drawn=labelled(), cuts=CUTS)
def test_ratios_of_several_labels_are_those_of_scikit_learn_over_all_rows(average, drawn, cuts):
    truth, predicted, _ = drawn
    check_ratios(average, SigmoidCrossEntropy(), scores_for(predicted), truth.astype(float), drawn, cuts)


@pytest.mark.parametrize("average", ["auto", "binary"])
@given(drawn=classified(most=2), cuts=CUTS)
def test_ratios_of_two_classes_are_those_of_the_class_1_from_one_score_or_two(average, drawn, cuts):
    truth, predicted, _, _ = drawn
    check_ratios(average, SoftmaxCrossEntropy(), np.eye(2)[predicted], truth, drawn, cuts, oracle="binary")
    column = truth[:, np.newaxis].astype(float)
    for loss, targets in ((SigmoidCrossEntropy(), column), (Hinge(), 2 * column - 1)):
        check_ratios(average, loss, scores_for(predicted), targets, drawn, cuts, oracle="binary")


@AVERAGES
@given(drawn=classified(most=2))
def test_two_classes_from_one_score_have_the_other_averages_as_well(average, drawn):
    truth, predicted, _, _ = drawn
    check_ratios(average, SigmoidCrossEntropy(), scores_for(predicted), truth[:, np.newaxis].astype(float), drawn)


@given(classified(least=3))
def test_by_default_ratios_of_more_classes_are_the_mean_of_theirs(drawn):
    truth, predicted, _, classes = drawn
    check_ratios("auto", SoftmaxCrossEntropy(), np.eye(classes)[predicted], truth, drawn, oracle="macro")


@given(labelled())
def test_by_default_ratios_of_several_labels_are_the_mean_of_theirs_also_of_two(drawn):
    truth, predicted, _ = drawn
    check_ratios("auto", SigmoidCrossEntropy(), scores_for(predicted), truth.astype(float), drawn, oracle="macro")


def test_auto_is_the_default():
    assert {kind().average for kind in RATIOS} == {"auto"}


def test_a_row_of_weight_0_counts_as_none():
    truth, predicted, weights = np.array([0, 1, 2]), np.array([0, 0, 2]), np.array([1.0, 2, 0])
    for kind in RATIOS:
        value = value_of(kind(), SoftmaxCrossEntropy(), np.eye(3)[predicted], truth, weights)
        assert value == value_of(kind(), SoftmaxCrossEntropy(), np.eye(3)[predicted[:2]], truth[:2], weights[:2])


def test_by_hand():
    truth, predicted = np.array([1, 1, 1, 0, 0]), np.array([1, 0, 0, 1, 0])
    for metric, expected in ((Precision(), 1 / 2), (Recall(), 1 / 3), (F1(), 2 / 5)):
        assert value_of(metric, SoftmaxCrossEntropy(), np.eye(2)[predicted], truth) == pytest.approx(expected)


def test_truth_in_floating_point_serves_as_well():
    class Classes(Loss):
        def decide(self, scores):
            return scores.argmax(axis=1)

    targets = np.array([0, 1, 1], np.float32)
    assert value_of(Recall(average="macro"), Classes(), np.eye(3)[[0, 1, 2]], targets) == pytest.approx(0.5)


@pytest.mark.parametrize("kind", RATIOS)
def test_binary_is_refused_for_more_classes_and_for_several_labels(kind):
    metric = kind(average="binary")
    message = f'^{metric.name}: average="binary" is for one of two classes: use average="macro"$'
    with pytest.raises(ArgumentError, match=message):
        sums_of(metric, SoftmaxCrossEntropy(), np.eye(3), np.arange(3))
    with pytest.raises(ArgumentError, match=message):
        sums_of(metric, SigmoidCrossEntropy(), np.eye(2), np.eye(2))


def test_other_averages_are_refused():
    with pytest.raises(ArgumentError, match="^F1: average is 'samples'; it must be one of 'auto', 'binary'"):
        F1(average="samples")


def test_a_ratio_of_ones_own_is_one_method():
    class Jaccard(ClassMetric):
        def ratio(self, right, predicted, actual):
            return right, predicted + actual - right

    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(3, size=(2, 50))
    value = value_of(Jaccard(), SoftmaxCrossEntropy(), np.eye(3)[predicted], truth)
    assert value == pytest.approx(sklearn.metrics.jaccard_score(truth, predicted, average="macro"), rel=ROUNDING)
    with pytest.raises(NotImplementedError, match="^ClassMetric must define ratio"):
        value_of(ClassMetric(), SoftmaxCrossEntropy(), np.eye(3)[predicted], truth)


def test_a_derived_class_has_a_name_of_its_own():
    class MicroF1(F1):
        average = "micro"

    assert MicroF1().name == "micro_f1"
    assert MicroF1().average == "micro"
    assert [kind().name for kind in RATIOS] == ["precision", "recall", "f1"]


# Total variation


@given(st.integers(0, 2**32 - 1), CUTS, st.booleans())
def test_total_variation_is_the_largest_difference_about_any_set_of_classes(seed, cuts, is_weighted):
    rng = np.random.default_rng(seed)
    scores, targets, weights = rng.normal(size=(20, 4)), rng.dirichlet(np.ones(4), size=20), rng.random(20) + 0.1
    weights = weights if is_weighted else None
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    sets = np.array([[number >> k & 1 for k in range(4)] for number in range(16)])
    distances = np.abs((probabilities - targets) @ sets.T).max(axis=1)
    expected = np.average(distances, weights=weights)
    assert value_of(TotalVariation(), KLDivergence(), scores, targets, weights, cuts) == pytest.approx(expected)


def test_total_variation_takes_labels_for_rows_with_a_single_1():
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(20, 4)), rng.integers(4, size=20)
    of_labels, of_rows = (
        value_of(TotalVariation(), SoftmaxCrossEntropy(), scores, targets) for targets in (labels, np.eye(4)[labels])
    )
    assert of_labels == pytest.approx(of_rows, rel=1e-14)


# What does not fit


@pytest.mark.parametrize("metric", [Accuracy(), Precision(), Recall(), F1(), TopKAccuracy(2), TotalVariation()])
@pytest.mark.parametrize("outputs", [1, 3])
def test_metrics_of_labels_refuse_numbers(metric, outputs):
    with pytest.raises(ArgumentError, match=f"^{metric.name}: MeanSquaredError predicts numbers; use "):
        sums_of(metric, MeanSquaredError(), np.zeros((4, outputs)), np.zeros((4, outputs)))


@pytest.mark.parametrize("metric", [TopKAccuracy(1), TotalVariation()])
@pytest.mark.parametrize("shape", [(4, 1), (4, 3)])
def test_metrics_of_one_class_out_of_several_refuse_one_score_and_several_labels(metric, shape):
    with pytest.raises(
        ArgumentError,
        match=rf"^{metric.name} is for one class out of two or more, not for scores \(4, ",
    ):
        sums_of(metric, SigmoidCrossEntropy(), np.zeros(shape), np.zeros(shape))


def test_total_variation_needs_probabilities():
    with pytest.raises(ArgumentError, match="Hinge gives no probabilities"):
        sums_of(TotalVariation(), Hinge(), np.eye(3), np.arange(3))


def test_labels_are_counted_without_a_copy_of_the_scores_for_each_class():
    # A thousand classes in a full batch: a table of rows and classes would take 80 MB.
    import tracemalloc

    labels = np.arange(10_000) % 1_000
    rows = ScoredRows(SoftmaxCrossEntropy(), np.zeros((10_000, 1_000), np.float32), labels)
    tracemalloc.start()
    F1().sums(rows, None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2e6
