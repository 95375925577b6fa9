import numpy as np
import pytest
import sklearn.metrics

from minidl import losses
from minidl.errors import ArgumentError, ArgumentTypeError
from minidl.losses.base import Loss
from minidl.losses.classification import Hinge, KLDivergence, SigmoidCrossEntropy, SoftmaxCrossEntropy
from minidl.losses.regression import Huber, MeanAbsoluteError, MeanSquaredError, Poisson
from minidl.metrics import (
    F1,
    Accuracy,
    FunctionMetric,
    Metric,
    Precision,
    R2Score,
    Recall,
    RootMeanSquaredError,
    ScoredRows,
    TopKAccuracy,
    TotalVariation,
    as_metrics,
    regression,
)
from minidl.metrics.names import METRICS

LOSS = SoftmaxCrossEntropy()


def is_right(predictions, targets):
    return predictions == targets


@pytest.mark.parametrize(
    ("name", "kind", "full_name"),
    [
        ("accuracy", Accuracy, "accuracy"),
        ("top_5_accuracy", TopKAccuracy, "top_5_accuracy"),
        ("top_17_accuracy", TopKAccuracy, "top_17_accuracy"),
        ("precision", Precision, "precision"),
        ("recall", Recall, "recall"),
        ("f1", F1, "f1"),
        ("mean_absolute_error", regression.MeanAbsoluteError, "mean_absolute_error"),
        ("mean_squared_error", regression.MeanSquaredError, "mean_squared_error"),
        ("root_mean_squared_error", RootMeanSquaredError, "root_mean_squared_error"),
        ("r2_score", R2Score, "r2_score"),
        ("total_variation", TotalVariation, "total_variation"),
        ("mae", regression.MeanAbsoluteError, "mean_absolute_error"),
        ("mse", regression.MeanSquaredError, "mean_squared_error"),
        ("rmse", RootMeanSquaredError, "root_mean_squared_error"),
        ("r2", R2Score, "r2_score"),
    ],
)
def test_a_name_is_that_of_a_new_object_whatever_its_case(name, kind, full_name):
    for spelt in (name, name.upper(), name.title()):
        (metric,) = as_metrics([spelt], LOSS)
        assert type(metric) is kind
        assert metric.name == full_name
        assert as_metrics([spelt], LOSS)[0] is not metric


def test_every_metric_there_is_has_its_own_name():
    assert {name: kind().name for name, kind in METRICS.items()} == {name: name for name in METRICS}
    ours = {kind for kind in Metric.__subclasses__() if kind.__module__.startswith("minidl.metrics.")}
    without_name = ours - set(METRICS.values())
    assert {kind.__name__ for kind in without_name} == {"ClassMetric", "FunctionMetric"}


def test_k_is_the_number_in_the_name():
    assert as_metrics(["top_3_accuracy"], LOSS)[0].k == 3
    with pytest.raises(ArgumentError, match="k is 0"):
        as_metrics(["top_0_accuracy"], LOSS)


def test_names_objects_and_functions_come_in_the_order_they_are_given():
    own = TopKAccuracy(2)
    found = as_metrics(("accuracy", own, is_right), LOSS)
    assert [metric.name for metric in found] == ["accuracy", "top_2_accuracy", "is_right"]
    assert found[1] is own
    assert type(found[2]) is FunctionMetric
    assert found[2].function is is_right
    assert [metric.name for metric in as_metrics((name for name in ["f1", "recall"]), LOSS)] == ["f1", "recall"]
    assert as_metrics([], LOSS) == []
    assert [metric.name for metric in as_metrics(["accuracy"])] == ["accuracy"]


@pytest.mark.parametrize(
    ("loss", "names"),
    [
        (SoftmaxCrossEntropy(), ["accuracy"]),
        (SigmoidCrossEntropy(), ["accuracy"]),
        (Hinge(), ["accuracy"]),
        (KLDivergence(), ["total_variation"]),
        (MeanSquaredError(), ["mean_absolute_error"]),
        (MeanAbsoluteError(), ["mean_squared_error"]),
        (Huber(), ["mean_absolute_error"]),
        (Poisson(), ["mean_absolute_error"]),
        (Loss(), []),
        (None, []),
    ],
)
def test_without_metrics_the_loss_names_its_own(loss, names):
    assert [metric.name for metric in as_metrics(None, loss)] == names


def test_a_default_metric_that_is_not_there_is_refused():
    class Gap(Loss):
        default_metric = "acuracy"

    with pytest.raises(ArgumentError, match="^no metric is named 'acuracy'; did you mean 'accuracy'"):
        as_metrics(None, Gap())


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("acuracy", "did you mean 'accuracy'"),
        ("ACC", "did you mean 'accuracy'"),
        ("top_k_accuracy", "did you mean 'top_5_accuracy'"),
        ("mean_square_error", "did you mean 'mean_squared_error'"),
        ("gini", "there are accuracy, top_5_accuracy, precision"),
        ("", "there are accuracy"),
        ("top_-1_accuracy", "did you mean 'top_5_accuracy'"),
        ("top_5_accuracy_", "did you mean 'top_5_accuracy'"),
    ],
)
def test_an_unknown_name_is_refused_with_what_it_nearly_is(name, hint):
    with pytest.raises(ArgumentError, match=f"^no metric is named '{name}'; {hint}"):
        as_metrics([name], LOSS)


@pytest.mark.parametrize(
    ("metrics", "shown"),
    [
        ("accuracy", "'accuracy'"),
        (TopKAccuracy(3), r"TopKAccuracy\(k=3\)"),
        (is_right, "<function is_right .*"),
        (Accuracy, "<class .*Accuracy'>"),
        (5, "5"),
    ],
)
def test_one_metric_without_a_list_is_refused(metrics, shown):
    with pytest.raises(ArgumentTypeError, match=f"^metrics must be a list, also for a single metric, not {shown}$"):
        as_metrics(metrics, LOSS)


@pytest.mark.parametrize(
    ("metric", "shown"),
    [
        (Accuracy, "<class .*Accuracy'>"),
        (5, "5"),
        (None, "None"),
        (["accuracy"], r"\['accuracy'\]"),
        (losses.MeanSquaredError(), r"MeanSquaredError\(\)"),
        (losses.MeanSquaredError, "<class .*"),
    ],
)
def test_what_is_no_metric_is_refused(metric, shown):
    with pytest.raises(
        ArgumentTypeError, match=f"is {shown}; give a name, a Metric\\(\\) or a function\\(predictions, targets\\)$"
    ):
        as_metrics(["recall", metric], LOSS)


def test_a_function_without_a_name_is_refused():
    with pytest.raises(ArgumentError, match="is a lambda, without a name for the history: write it with def$"):
        as_metrics([lambda predictions, targets: predictions == targets], LOSS)


@pytest.mark.parametrize(
    "metrics",
    [["accuracy", Accuracy()], ["mse", "rmse", "mean_squared_error"], [Precision(), Precision(average="micro")]],
)
def test_two_metrics_of_one_name_are_refused(metrics):
    with pytest.raises(ArgumentError, match="^two metrics are named '(accuracy|mean_squared_error|precision)': remove"):
        as_metrics(metrics, LOSS)


def test_two_of_a_kind_with_names_of_their_own_are_taken():
    class MicroPrecision(Precision):
        average = "micro"

    found = as_metrics([Precision(), MicroPrecision(), TopKAccuracy(2), TopKAccuracy(3)], LOSS)
    assert [metric.name for metric in found] == ["precision", "micro_precision", "top_2_accuracy", "top_3_accuracy"]


@pytest.mark.parametrize("name", ["loss", "epoch", "val_accuracy", "val_", "", "a/b"])
def test_a_name_that_the_history_cannot_have_is_refused(name):
    class Named(Accuracy):
        pass

    Named.name = name

    def function(predictions, targets):
        return predictions == targets

    function.__name__ = name
    for metric in (Named(), function):
        with pytest.raises(
            ArgumentError, match=f"^the history cannot have a metric named '{name}': give it another name"
        ):
            as_metrics(["accuracy", metric], LOSS)


def test_a_function_of_scikit_learn_is_told_to_return_a_number_for_each_row():
    (metric,) = as_metrics([sklearn.metrics.accuracy_score], LOSS)
    with pytest.raises(ValueError, match=r"accuracy_score must return a number for each row"):
        metric.sums(ScoredRows(LOSS, np.eye(3), np.arange(3)), None)
