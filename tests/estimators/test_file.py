"""Estimators in model files: what comes back predicts the same bits and knows the same things."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from minidl import (
    Adam,
    BatchNorm,
    Callback,
    Dense,
    Dropout,
    EarlyStopping,
    ExponentialMovingAverage,
    Huber,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
    TopKAccuracy,
)
from minidl.errors import ArgumentTypeError, FileFormatError, MissingFileError
from minidl.estimators import MLPClassifier, MLPRegressor, NetworkClassifier, NetworkRegressor
from minidl.files import read_arrays, write_arrays

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

x = np.random.default_rng(0).normal(size=(60, 3))
signal = x @ [1.0, -2.0, 0.5]
classes = np.digitize(signal, [-1, 1])
frame = pd.DataFrame(x, columns=["Größe", "weight", "age"])
LABELS = {
    "text": np.array(["low", "middling", "high"])[classes],
    "objects": np.array(["a", "b", "ccc"], dtype=object)[classes],
    "truth values": signal > 0,
    "integers": np.array([-7, 0, 2**40])[classes],
    "floats": np.array([0.0, 1.0, 2.0])[classes],
    "several labels": np.column_stack([signal > 0, signal > 1, x[:, 0] > 0]).astype(int),
    "one class": np.full(60, "only"),
}
ESTIMATORS = {
    "mlp": lambda: MLPClassifier((8, 4), dropout=0.25, normalization="batch", standardize=True, max_iter=4),
    "early stopping": lambda: MLPClassifier(early_stopping=True, n_iter_no_change=np.inf, max_iter=4),
    "lbfgs": lambda: MLPRegressor(solver="lbfgs", max_iter=4),
    "regressor": lambda: MLPRegressor(
        standardize=True, max_iter=4, optimizer=Adam(0.01), average=ExponentialMovingAverage(0.5)
    ),
    "network": lambda: NetworkClassifier(
        [Dense(8), BatchNorm(), ReLU(), Dropout(0.25)], metrics=["accuracy", TopKAccuracy(2)], max_iter=4
    ),
    "network with a loss": lambda: NetworkClassifier([Dense(3), SoftmaxCrossEntropy()], max_iter=4),
    "network regressor": lambda: NetworkRegressor(
        [Dense(8)], loss=Huber(), standardize=True, validation_fraction=0.2, max_iter=4, callbacks=[EarlyStopping()]
    ),
}
every_estimator = pytest.mark.parametrize("make", ESTIMATORS.values(), ids=ESTIMATORS)


def fitted(make):
    estimator = make().set_params(random_state=0)
    is_classifier = hasattr(estimator, "predict_proba")
    return estimator.fit(frame, LABELS["text"] if is_classifier else signal)


def known(estimator):
    """The names and values that a fit has found and a file holds."""
    left_out = {"model_", "trainer_", "_labels", "_outputs"}
    names = {name for name in vars(estimator) if name[-1] == "_" or name == "_waited"} - left_out
    return {name: getattr(estimator, name) for name in names}


@every_estimator
def test_what_is_loaded_predicts_the_same_bits_and_knows_the_same(tmp_path, make):
    estimator = fitted(make)
    estimator.save(tmp_path / "model.npz")
    loaded = type(estimator).load(tmp_path / "model.npz")
    np.testing.assert_array_equal(loaded.predict(frame), estimator.predict(frame))
    if hasattr(estimator, "predict_proba"):
        np.testing.assert_array_equal(loaded.predict_proba(frame), estimator.predict_proba(frame))
        np.testing.assert_array_equal(loaded.classes_, estimator.classes_)
    one, other = known(loaded), known(estimator)
    assert {"history_", "n_features_in_", "feature_names_in_", "n_iter_"} <= one.keys() == other.keys()
    for name in one.keys() - {"feature_names_in_"}:
        assert one[name] == other[name], name
    np.testing.assert_array_equal(one["feature_names_in_"], other["feature_names_in_"])
    with pytest.raises(ValueError, match="The feature names should match those that were passed during fit"):
        loaded.predict(frame[["age", "weight", "Größe"]])


@every_estimator
def test_the_parameters_come_back(tmp_path, make):
    estimator = fitted(make)
    estimator.save(tmp_path / "model.npz")
    loaded = type(estimator).load(tmp_path / "model.npz").get_params(deep=False)
    for name, value in estimator.get_params(deep=False).items():
        expected = tuple(value) if isinstance(value, list) else value
        assert repr(loaded[name]) == repr(expected), name
    loaded_again = type(estimator)(**loaded).fit(frame, LABELS["text"] if "class_weight" in loaded else signal)
    np.testing.assert_array_equal(loaded_again.model_.parameters, estimator.model_.parameters)


@pytest.mark.parametrize("y", LABELS.values(), ids=LABELS)
def test_labels_come_back_as_they_were(tmp_path, y):
    estimator = MLPClassifier(max_iter=3, random_state=0).fit(x, y)
    estimator.save(tmp_path / "model.npz")
    loaded = MLPClassifier.load(tmp_path / "model.npz")
    predictions = estimator.predict(x)
    np.testing.assert_array_equal(loaded.predict(x), predictions)
    assert loaded.predict(x).dtype == predictions.dtype
    np.testing.assert_array_equal(loaded.predict_proba(x), estimator.predict_proba(x))
    assert not hasattr(loaded, "feature_names_in_")


@pytest.mark.parametrize("kind", ["text", "integers", "truth values"])
def test_class_weights_come_back_with_the_labels_as_keys(tmp_path, kind):
    y = LABELS[kind]
    class_weight = {label: number + 0.5 for number, label in enumerate(np.unique(y))}
    NetworkClassifier(class_weight=class_weight, max_iter=1).fit(x, y).save(tmp_path / "model.npz")
    loaded = NetworkClassifier.load(tmp_path / "model.npz")
    assert loaded.class_weight == class_weight
    loaded.fit(x, y)


def test_numbers_of_numpy_come_back_as_plain_ones(tmp_path):
    sizes, units = np.array([5, 3]), np.int64(4)
    MLPRegressor(hidden_layer_sizes=sizes, max_iter=units, alpha=np.float64(0.25)).fit(x, signal).save(
        tmp_path / "model.npz"
    )
    loaded = MLPRegressor.load(tmp_path / "model.npz")
    assert (loaded.hidden_layer_sizes, loaded.max_iter, loaded.alpha) == ((5, 3), 4, 0.25)


@pytest.mark.parametrize("labels", [[True, "a", None], [("a",), "b", "c"]], ids=str)
def test_labels_that_are_no_text_are_not_written_as_text(tmp_path, labels):
    y = np.empty(60, dtype=object)
    y[:] = [labels[each] for each in classes]
    with pytest.raises((TypeError, ValueError)):
        MLPClassifier(max_iter=1).fit(x, y).save(tmp_path / "model.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("make", [ESTIMATORS["mlp"], ESTIMATORS["regressor"], ESTIMATORS["network"]])
def test_a_loaded_estimator_goes_on(tmp_path, make):
    estimator = fitted(make)
    estimator.save(tmp_path / "model.npz")
    loaded = type(estimator).load(tmp_path / "model.npz")
    y, before = LABELS["text"] if hasattr(loaded, "predict_proba") else signal, loaded.model_.parameters.copy()
    loaded.partial_fit(frame, y)
    assert not np.array_equal(loaded.model_.parameters, before)
    assert len(loaded.history_["loss"]) == 1
    if hasattr(loaded, "loss_curve_"):
        assert loaded.loss_curve_[:-1] == estimator.loss_curve_
    loaded.set_params(warm_start=True).fit(frame, y)
    assert len(loaded.history_["loss"]) == 4


@every_estimator
def test_sequential_reads_the_network_of_such_a_file(tmp_path, make):
    estimator = fitted(make)
    estimator.save(tmp_path / "model.npz")
    model = Sequential.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(model.predict(x), estimator.model_.predict(x))
    assert repr(model) == repr(estimator.model_)


def test_a_file_is_read_in_another_process(tmp_path):
    estimator = fitted(ESTIMATORS["mlp"])
    estimator.save(tmp_path / "model.npz")
    np.save(tmp_path / "x.npy", x[:5])
    program = (
        "import sys, numpy as np; from minidl.estimators import MLPClassifier; import warnings\n"
        "warnings.simplefilter('ignore')\n"  # of feature names, which an array has not
        "print(*MLPClassifier.load(sys.argv[1]).predict(np.load(sys.argv[2])))"
    )
    command = [sys.executable, "-c", program, tmp_path / "model.npz", tmp_path / "x.npy"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.split() == estimator.predict(frame[:5]).tolist()


# Errors


def test_only_a_fitted_estimator_is_saved(tmp_path):
    with pytest.raises(ValueError, match="This MLPClassifier instance is not fitted yet"):
        MLPClassifier().save(tmp_path / "model.npz")


class Watch(Callback):
    """Has an `__init__` of its own, and so no settings that are known."""

    def __init__(self, name):
        self.watched = name


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (
            NetworkRegressor(build_model=lambda: Sequential([Dense(2)]), max_iter=1),
            "NetworkRegressor: a file cannot hold the function build_model",
        ),
        (MLPRegressor(schedule=lambda step: 0.1, max_iter=1), "MLPRegressor: schedule = .* cannot be saved"),
        (MLPRegressor(augment=lambda inputs, rng: inputs, max_iter=1), "MLPRegressor: augment = .*Distortion"),
        (MLPRegressor(callbacks=[Watch("loss")], max_iter=1), "Watch has its own __init__"),
        (MLPRegressor(random_state=np.random.RandomState(0), max_iter=1), "MLPRegressor: random_state = "),
    ],
    ids=["build_model", "schedule", "augment", "callback", "random_state"],
)
def test_parameters_that_a_file_cannot_hold_are_named(tmp_path, estimator, message):
    estimator.fit(x, signal)
    with pytest.raises(ArgumentTypeError, match=message):
        estimator.save(tmp_path / "model.npz")
    assert not list(tmp_path.iterdir())


def test_another_class_is_named(tmp_path):
    fitted(ESTIMATORS["lbfgs"]).save(tmp_path / "model.npz")
    with pytest.raises(FileFormatError, match=r"cannot be loaded: it holds a MLPRegressor: read it with MLPR"):
        MLPClassifier.load(tmp_path / "model.npz")


def test_a_model_alone_is_no_estimator(tmp_path):
    Sequential([Dense(3)], input_shape=2, seed=0).save(tmp_path / "model.npz")
    with pytest.raises(FileFormatError, match=r"holds a model, not an estimator: read it with Sequential.load\(path\)"):
        MLPClassifier.load(tmp_path / "model.npz")


def test_a_run_is_no_estimator(tmp_path):
    fitted(ESTIMATORS["mlp"]).trainer_.save(tmp_path / "run.npz")
    with pytest.raises(FileFormatError, match="minidl training run"):
        MLPClassifier.load(tmp_path / "run.npz")


def test_a_file_that_is_not_there_or_is_none_of_ours(tmp_path):
    with pytest.raises(MissingFileError, match="there is no file"):
        MLPClassifier.load(tmp_path / "model.npz")
    (tmp_path / "model.npz").write_bytes(b"text")
    with pytest.raises(FileFormatError, match="not an .npz file"):
        MLPClassifier.load(tmp_path / "model.npz")


DAMAGES = {
    "no class": lambda described: described.pop("class"),
    "no parameters": lambda described: described.pop("parameters"),
    "unknown parameter": lambda described: described["parameters"].update(size=3),
    "no description": lambda described: described.clear(),
    "features of text": lambda described: described["fitted"].update(n_features_in="many"),
    "no fitted numbers": lambda described: described.pop("fitted"),
    "history of unequal columns": lambda described: described["fitted"].update(history={"loss": [1], "a": [1, 2]}),
    "history of text": lambda described: described["fitted"].update(history={"loss": ["low"]}),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_description_is_an_error_of_the_file(tmp_path, damage):
    path = tmp_path / "model.npz"
    fitted(ESTIMATORS["mlp"]).save(path)
    arrays = read_arrays(path)
    header = json.loads(arrays["header"].item())
    damage(header["estimator"])
    write_arrays(path, {**arrays, "header": np.array(json.dumps(header))})
    with pytest.raises(FileFormatError, match=r"model.npz cannot be loaded: "):
        MLPClassifier.load(path)


def test_missing_classes_are_an_error_of_the_file(tmp_path):
    path = tmp_path / "model.npz"
    fitted(ESTIMATORS["mlp"]).save(path)
    arrays = read_arrays(path)
    header = json.loads(str(arrays["header"]))
    del header["estimator"]["fitted"]["classes"]
    write_arrays(path, arrays | {"header": np.array(json.dumps(header))})
    with pytest.raises(FileFormatError, match=r"model.npz cannot be loaded: .*classes"):
        MLPClassifier.load(path)
