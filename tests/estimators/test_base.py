"""What all four estimators share: data and labels as users have them, and a place in pipelines and searches."""

import copy
import inspect
import io
import pickle
import tracemalloc
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import sklearn
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.ensemble import BaggingRegressor
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.inspection import permutation_importance
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, HalvingRandomSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from minidl import L2, Adam, BatchNorm, Callback, Dense, Dropout, ReLU, SoftmaxCrossEntropy
from minidl.errors import DataError
from minidl.estimators import MLPClassifier, MLPRegressor, NetworkClassifier, NetworkRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ROWS = 80
LAYERS = [Dense(12), BatchNorm(), ReLU(), Dropout(0.1)]
CLASSIFIERS = {
    "mlp": lambda **more: MLPClassifier((12,), max_iter=60, learning_rate_init=0.02, random_state=0, **more),
    "network": lambda **more: NetworkClassifier(LAYERS, optimizer=Adam(0.02), max_iter=30, random_state=0, **more),
}
REGRESSORS = {
    "mlp": lambda **more: MLPRegressor(
        hidden_layer_sizes=12, max_iter=60, learning_rate_init=0.02, random_state=0, **more
    ),
    "network": lambda **more: NetworkRegressor(LAYERS, optimizer=Adam(0.02), max_iter=30, random_state=0, **more),
}
both_classifiers = pytest.mark.parametrize("make", CLASSIFIERS.values(), ids=CLASSIFIERS)
both_regressors = pytest.mark.parametrize("make", REGRESSORS.values(), ids=REGRESSORS)
FOUR = {f"{name} classifier": make for name, make in CLASSIFIERS.items()}
FOUR |= {f"{name} regressor": make for name, make in REGRESSORS.items()}
all_four = pytest.mark.parametrize("make", FOUR.values(), ids=FOUR)

x = np.random.default_rng(0).normal(size=(ROWS, 4))
signal = x @ [2.0, -1.0, 0.5, 0.0]
classes = np.digitize(signal, [-1, 1])
frame = pd.DataFrame(x, columns=["a", "b", "c", "d"])


def targets_for(estimator):
    return np.array(["low", "middle", "top"])[classes] if hasattr(estimator, "predict_proba") else signal


def fitted(make, inputs=x, **more):
    estimator = make(**more)
    return estimator.fit(inputs, targets_for(estimator))


# Labels


LABELS = {
    "text": np.array(["low", "middle", "top"])[classes],
    "two texts": np.where(signal > 0, "yes", "no"),
    "truth values": signal > 0,
    "integers": np.array([-5, 10**12, 3])[classes],
    "floats": classes.astype(float),
    "objects": np.array(["low", "middle", "top"], dtype=object)[classes],
    "a list": np.array(["low", "middle", "top"])[classes].tolist(),
    "categories": pd.Series(np.array(["low", "middle", "top"])[classes], dtype="category"),
    "string series": pd.Series(np.where(signal > 0, "yes", "no"), dtype="string"),
    "object series": pd.Series(np.where(signal > 0, "yes", "no"), dtype=object),
}


@pytest.mark.parametrize("y", LABELS.values(), ids=LABELS)
@both_classifiers
def test_labels_of_any_kind_are_learnt_and_predicted(make, y):
    estimator = make().fit(x, y)
    names = np.unique(np.asarray(y))
    np.testing.assert_array_equal(estimator.classes_, names)
    predictions, probabilities = estimator.predict(x), estimator.predict_proba(x)
    assert predictions.shape == (ROWS,)
    assert predictions.dtype.kind == estimator.classes_.dtype.kind
    assert probabilities.shape == (ROWS, len(names))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(predictions, estimator.classes_[probabilities.argmax(axis=1)])
    np.testing.assert_allclose(estimator.predict_log_proba(x), np.log(probabilities), rtol=1e-12)
    assert estimator.score(x, y) > 0.9


@both_classifiers
def test_several_labels_are_learnt_each_for_itself(make):
    y = np.column_stack([signal > 0, signal > 1, x[:, 1] > 0]).astype(int)
    for targets in (y, scipy.sparse.csr_array(y)):
        estimator = make().fit(x, targets)
        probabilities = estimator.predict_proba(x)
        assert probabilities.shape == y.shape
        np.testing.assert_array_equal(estimator.predict(x), probabilities > 0.5)
        assert estimator.score(x, y) > 0.8
    with pytest.raises(ValueError, match="several columns of classes"):
        make().fit(x, y * [1, 2, 3])


@both_classifiers
@pytest.mark.parametrize("loss", [None, SoftmaxCrossEntropy()], ids=["default", "softmax"])
def test_of_one_class_there_is_nothing_to_learn(make, loss):
    estimator = make(loss=loss).fit(x, ["only"] * ROWS)
    assert set(estimator.predict(x)) == {"only"}
    np.testing.assert_array_equal(estimator.predict_proba(x), np.ones((ROWS, 1)))
    np.testing.assert_array_equal(estimator.predict_log_proba(x), np.zeros((ROWS, 1)))


@both_classifiers
def test_probabilities_that_vanish_have_a_logarithm_without_a_warning(make):
    estimator = make().fit(x, signal > 0)
    assert np.isneginf(estimator.predict_log_proba(1e6 * x)).any()


@all_four
def test_a_column_of_targets_is_taken_as_such_with_a_warning(make):
    estimator = make()
    y = targets_for(estimator)
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed when a 1d array was expected"):
        predictions = estimator.fit(x, y[:, np.newaxis]).predict(x)
    np.testing.assert_array_equal(predictions, make().fit(x, y).predict(x))


@both_regressors
def test_several_numbers_are_predicted_at_once(make):
    y = np.column_stack([signal, -signal, x[:, 0]])
    estimator = make().fit(x, y)
    assert estimator.predict(x).shape == (ROWS, 3)
    assert estimator.score(x, y) > 0.8
    with pytest.raises(ValueError, match="could not convert string to float"):
        make().fit(x, ["text"] * ROWS)


# Inputs


@all_four
def test_names_of_features_are_remembered_and_compared(make):
    estimator = fitted(make, frame)
    np.testing.assert_array_equal(estimator.feature_names_in_, ["a", "b", "c", "d"])
    assert estimator.n_features_in_ == 4
    expected = fitted(make).predict(x)
    np.testing.assert_array_equal(estimator.predict(frame), expected)
    with pytest.warns(UserWarning, match="X does not have valid feature names, but"):
        np.testing.assert_array_equal(estimator.predict(x), expected)
    with pytest.raises(ValueError, match="Feature names must be in the same order as they were in fit"):
        estimator.predict(frame[["b", "a", "c", "d"]])
    with pytest.raises(ValueError, match="Feature names unseen at fit time:\n- e\n"):
        estimator.predict(frame.rename(columns={"a": "e"}))
    with pytest.raises(ValueError, match="Feature names seen at fit time, yet now missing:\n- d\n"):
        estimator.predict(frame[["a", "b", "c"]])
    with pytest.raises(ValueError, match="X has 3 features, but .* is expecting 4 features as input"):
        fitted(make).predict(x[:, :3])
    with pytest.raises(ValueError, match="Feature names must be in the same order"):
        estimator.partial_fit(frame[["b", "a", "c", "d"]], targets_for(estimator))


@all_four
def test_frames_of_mixed_numbers_are_tables(make):
    mixed = frame.assign(a=frame.a.round().astype(int), b=frame.b > 0, c=frame.c.astype(np.float32))
    expected = fitted(make, mixed.to_numpy(float)).predict(mixed.to_numpy(float))
    np.testing.assert_array_equal(fitted(make, mixed).predict(mixed), expected)
    np.testing.assert_array_equal(fitted(make, mixed.to_numpy(float).tolist()).predict(mixed.to_numpy(float)), expected)


@pytest.mark.parametrize("kind", [scipy.sparse.csr_matrix, scipy.sparse.csc_array, scipy.sparse.coo_array])
@all_four
def test_sparse_inputs_give_what_dense_ones_give(make, kind):
    thin = np.where(x > 0.5, x, 0)
    estimator = fitted(make, kind(thin))
    np.testing.assert_array_equal(estimator.predict(kind(thin)), fitted(make, thin).predict(thin))
    estimator.partial_fit(kind(thin), targets_for(estimator))
    assert estimator.score(kind(thin), targets_for(estimator)) > 0.5


@pytest.mark.parametrize(
    ("given", "computed"),
    [
        (np.float64, np.float64),
        (np.float32, np.float32),
        (np.float16, np.float64),
        (np.uint8, np.float32),
        (np.int8, np.float32),
        (np.bool_, np.float32),
        (np.int64, np.float64),
        (np.uint16, np.float64),
    ],
)
@all_four
def test_the_type_of_the_input_decides_what_is_computed_in(make, given, computed):
    whole = np.abs(x * 3).astype(given)
    estimator = fitted(make, whole)
    assert estimator.model_.dtype == computed
    numbers = estimator.predict_proba(whole) if hasattr(estimator, "predict_proba") else estimator.predict(whole)
    assert numbers.dtype == computed
    assert fitted(make, pd.DataFrame(whole, columns=[*"abcd"])).model_.dtype == computed
    same = fitted(make, whole.astype(computed))
    np.testing.assert_allclose(same.model_.parameters, estimator.model_.parameters, rtol=1e-6)


def memory_of(call):
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@all_four
def test_pixels_and_sparse_tables_are_never_made_dense_as_a_whole(make):
    pixels = np.random.default_rng(0).integers(256, size=(20_000, 300), dtype=np.uint8)
    thin = scipy.sparse.random_array((20_000, 300), density=0.02, format="csr", random_state=0)
    estimator = make(standardize=True).set_params(max_iter=1, batch_size=1000)
    y = np.arange(20_000) % 3
    dense = 20_000 * 300 * 4
    for inputs in (pixels, thin):
        assert memory_of(lambda inputs=inputs: estimator.fit(inputs, y)) < dense / 2
        assert memory_of(lambda inputs=inputs: estimator.predict(inputs)) < dense / 2


@all_four
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_named_by_their_place(make, value):
    wrong = x.copy()
    wrong[3, 2] = value
    estimator = make(shuffle=False)
    with pytest.raises(ValueError, match=r"(NaN|inf) at row 3, entry 2"):
        estimator.fit(wrong, targets_for(estimator))
    with pytest.raises(ValueError, match=r"(NaN|inf) at row 3, entry 2"):
        fitted(make).predict(wrong)


@all_four
@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.zeros(ROWS), "(?i)sample.weight"),
        (np.full(ROWS, -1.0), "Negative values in data passed to `sample_weight`"),
        (np.ones(ROWS - 1), r"sample_weight.shape == \(79,\), expected \(80,\)"),
    ],
    ids=["zero", "negative", "length"],
)
def test_weights_that_cannot_be_are_refused(make, weights, message):
    estimator = make()
    with pytest.raises(ValueError, match=message):
        estimator.fit(x, targets_for(estimator), weights)


@all_four
def test_before_fit_there_is_nothing_to_predict(make):
    with pytest.raises(NotFittedError, match="instance is not fitted yet"):
        make().predict(x)


# Parameters


def names_of_init(kind):
    return list(inspect.signature(kind.__init__).parameters)[1:]


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor, NetworkClassifier, NetworkRegressor])
def test_every_parameter_is_described_and_constrained(kind):
    names = set(names_of_init(kind))
    # `layers` and `random_state` and so on: what is given wrongly is named in scikit-learn's words.
    assert names == set(kind._parameter_constraints)
    assert set(kind().get_params(deep=False)) == names
    for name, value in kind().get_params().items():
        assert value == inspect.signature(kind.__init__).parameters[name].default


def test_parameters_inside_of_layers_and_optimizers_are_reached():
    estimator = NetworkClassifier([Dense(8, regularizer=L2(0.5)), ReLU()], optimizer=Adam(0.25))
    parameters = estimator.get_params()
    assert parameters["layers__0__units"] == 8
    assert parameters["layers__0__regularizer__strength"] == 0.5
    assert parameters["optimizer__learning_rate"] == 0.25
    assert not [name for name in estimator.get_params(deep=False) if "__" in name]
    estimator.set_params(layers__0__units=5, optimizer__learning_rate=0.5, max_iter=2, layers__1=Dropout(0.25))
    assert estimator.set_params(layers__1__rate=0.75) is estimator
    assert (estimator.layers[0].units, estimator.layers[1].rate, estimator.optimizer.learning_rate) == (5, 0.75, 0.5)
    assert estimator.max_iter == 2
    estimator.set_params(layers__0__units=3, layers=[Dense(7)])  # a list that is given as well comes first
    assert estimator.layers[0].units == 3
    estimator.set_params(**estimator.get_params())
    assert estimator.fit(x, classes).model_.layers[0].units == 3


@pytest.mark.parametrize(
    "name", ["size", "layers__2__units", "layers__0__size", "optimizer__rate", "max_iter__x", "size__0"]
)
def test_parameters_that_are_not_there_are_refused_with_those_that_are(name):
    inside, plain = r"NetworkClassifier; .*layers__0__units", r"estimator NetworkClassifier\(.*Valid parameters are: "
    message = rf"(?s)Invalid parameter '{name}' for {inside if '__' in name else plain}"  # the latter is scikit-learn's
    with pytest.raises(ValueError, match=message) as found:
        NetworkClassifier([Dense(8), ReLU()]).set_params(**{name: 1})
    assert len(str(found.value)) <= 300 or "__" not in name


def test_a_slip_in_the_name_of_a_parameter_inside_of_many_is_answered_with_the_one_that_is_meant():
    estimator = NetworkClassifier([Dense(8) for _ in range(30)], optimizer=Adam())
    for name, meant in (("layers__17__unit", "layers__17__units"), ("optimizer__beta_1", "optimizer__beta1")):
        with pytest.raises(ValueError, match=f"did you mean '{meant}'") as found:
            estimator.set_params(**{name: 1})
        assert len(str(found.value)) <= 300


class Watch(Callback):
    """Has an `__init__` of its own, and so no settings that are known."""

    def __init__(self, name):
        self.watched = name


@all_four
def test_a_clone_is_made_of_the_parameters_alone(make):
    estimator = fitted(make, callbacks=[Watch("loss")])
    copied = clone(estimator)
    assert not hasattr(copied, "model_")
    assert (
        repr(copied.get_params(deep=False)).partition("Watch")[0]
        == repr(estimator.get_params(deep=False)).partition("Watch")[0]
    )
    copied.fit(x, targets_for(copied))
    np.testing.assert_array_equal(copied.predict(x), estimator.predict(x))


def test_a_clone_shares_no_layer_with_its_original():
    estimator = NetworkClassifier([Dense(8)], optimizer=Adam(0.25))
    clone(estimator).set_params(layers__0__units=5, optimizer__learning_rate=0.5)
    assert (estimator.layers[0].units, estimator.optimizer.learning_rate) == (8, 0.25)


# Searches, pipelines, routing


def test_a_grid_search_tunes_units_and_learning_rates():
    grid = {"layers__0__units": [2, 16], "optimizer__learning_rate": [1e-6, 0.02]}
    search = GridSearchCV(CLASSIFIERS["network"](), grid, cv=3).fit(x, classes)
    assert search.best_params_["optimizer__learning_rate"] == 0.02
    assert search.best_estimator_.model_.layers[0].units == search.best_params_["layers__0__units"]
    assert search.score(x, classes) > 0.8
    assert LAYERS[0].units == 12
    scores = search.cv_results_["mean_test_score"][np.argsort(search.cv_results_["param_optimizer__learning_rate"])]
    assert scores[:2].max() < scores[2:].min()


def test_a_halving_search_gives_the_good_ones_more_epochs():
    search = HalvingRandomSearchCV(
        REGRESSORS["network"](),
        {"layers__0__units": [2, 4, 8, 16], "layers__3__rate": [0.0, 0.1]},
        resource="max_iter",
        min_resources=3,
        max_resources=27,
        n_candidates=6,
        cv=2,
        random_state=0,
    ).fit(x, signal)
    assert search.n_resources_ == [3, 9]
    assert search.best_estimator_.max_iter == 9
    assert search.best_estimator_.model_.layers[0].units == search.best_params_["layers__0__units"]


@all_four
def test_a_pipeline_hands_on_frames_and_takes_mixed_columns(make):
    table = frame.assign(kind=np.where(x[:, 3] > 0, "round", "square"))
    columns = make_column_transformer(
        (OneHotEncoder(sparse_output=False), ["kind"]), remainder=StandardScaler(), verbose_feature_names_out=False
    )
    pipeline = make_pipeline(columns, make()).set_output(transform="pandas")
    pipeline.fit(table, targets_for(pipeline))
    np.testing.assert_array_equal(pipeline[-1].feature_names_in_, ["kind_round", "kind_square", "a", "b", "c", "d"])
    assert pipeline.score(table, targets_for(pipeline)) > 0.8
    sparse = make_pipeline(make_column_transformer((OneHotEncoder(), ["kind"]), (StandardScaler(), ["a"])), make())
    assert sparse.fit(table, targets_for(sparse)).predict(table).shape == (ROWS,)


@both_regressors
def test_importances_are_those_of_the_features(make):
    importances = permutation_importance(fitted(make), x, signal, random_state=0).importances_mean
    assert importances.argmax() == 0
    assert importances.argmin() == 3


@all_four
def test_sample_weights_are_routed(make):
    weights = np.random.default_rng(1).integers(1, 4, ROWS)
    with sklearn.config_context(enable_metadata_routing=True):
        asking = make().set_fit_request(sample_weight=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), asking)
        y = targets_for(asking)
        pipeline.fit(x, y, sample_weight=weights)
        expected = make().fit(StandardScaler().fit_transform(x), y, weights)
        np.testing.assert_array_equal(pipeline[-1].model_.parameters, expected.model_.parameters)
        options = {"cv": [(np.arange(60), np.arange(60, 80))], "return_estimator": True}
        options["scoring"] = get_scorer("accuracy" if y is not signal else "r2").set_score_request(sample_weight=False)
        found = cross_validate(pipeline, x, y, params={"sample_weight": weights}, **options)["estimator"][0]
        scaled = StandardScaler().fit_transform(x[:60])
        expected = make().fit(scaled, y[:60], weights[:60])
        np.testing.assert_array_equal(found[-1].model_.parameters, expected.model_.parameters)
        assert hasattr(asking, "set_partial_fit_request")
        ignoring = make_pipeline(StandardScaler(), make())
        with pytest.raises(ValueError, match="sample_weight"):
            ignoring.fit(x, y, sample_weight=weights)


def test_an_ensemble_is_made_of_networks():
    bagging = BaggingRegressor(REGRESSORS["mlp"](), n_estimators=3, random_state=0).fit(x, signal)
    assert bagging.score(x, signal) > 0.8


# Copies


def by_joblib(estimator):
    file = io.BytesIO()
    joblib.dump(estimator, file)
    file.seek(0)
    return joblib.load(file)


COPIES = {
    "pickle": lambda estimator: pickle.loads(pickle.dumps(estimator)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("make_copy", [*COPIES.values(), by_joblib], ids=[*COPIES, "joblib"])
@all_four
def test_a_copy_predicts_the_same_bits(make, make_copy):
    estimator = fitted(make, frame)
    copied = make_copy(estimator)
    np.testing.assert_array_equal(copied.predict(frame), estimator.predict(frame))
    np.testing.assert_array_equal(copied.feature_names_in_, estimator.feature_names_in_)
    assert copied.history_ == estimator.history_


@pytest.mark.parametrize("make_copy", [COPIES["pickle"], COPIES["deepcopy"]], ids=["pickle", "deepcopy"])
@all_four
def test_a_copy_goes_on_as_the_original_does(make, make_copy):
    estimator = fitted(make)
    copied, y = make_copy(estimator), targets_for(estimator)
    before = estimator.model_.parameters.copy()
    copied.partial_fit(x, y)
    np.testing.assert_array_equal(estimator.model_.parameters, before)
    estimator.partial_fit(x, y)
    np.testing.assert_array_equal(copied.model_.parameters, estimator.model_.parameters)
    assert not np.array_equal(copied.model_.parameters, before)


@all_four
def test_a_shallow_copy_may_be_fitted_anew(make):
    estimator = fitted(make)
    expected = estimator.predict(x)
    copy.copy(estimator).fit(-x, targets_for(estimator))
    np.testing.assert_array_equal(estimator.predict(x), expected)


# Going on


@both_classifiers
def test_partial_fit_wants_all_classes_at_its_first_call(make):
    y = np.array(["low", "middle", "top"])[classes]
    first = np.flatnonzero(classes < 2)
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        make().partial_fit(x, y)
    with pytest.raises(ValueError, match=r"`y` has classes not in `self.classes_`.*'y' has \['low' 'middle' 'top'\]"):
        make().partial_fit(x, y, classes=["low", "middle"])
    estimator = make().partial_fit(x[first], y[first], classes=["top", "low", "middle"])
    np.testing.assert_array_equal(estimator.classes_, ["low", "middle", "top"])
    assert estimator.predict_proba(x).shape == (ROWS, 3)
    for _ in range(60):
        estimator.partial_fit(x, y)
    assert estimator.score(x, y) > 0.9
    estimator.partial_fit(x, y, classes=["low", "middle", "top"])
    with pytest.raises(ValueError, match="is not the same as on last call to partial_fit, was:"):
        estimator.partial_fit(x, y, classes=["low", "top"])


@both_classifiers
def test_a_fit_may_be_gone_on_with_by_partial_fit(make):
    estimator = fitted(make)
    before = estimator.model_.parameters.copy()
    estimator.partial_fit(x, targets_for(estimator))
    assert not np.array_equal(estimator.model_.parameters, before)
    with pytest.raises(ValueError, match="`y` has classes not in"):
        estimator.partial_fit(x, np.full(ROWS, "other"))


@both_classifiers
def test_a_warm_start_needs_the_same_classes(make):
    estimator = fitted(make, warm_start=True)
    with pytest.raises(ValueError, match="warm_start can only be used where `y` has the same classes"):
        estimator.fit(x, np.where(signal > 0, "low", "middle"))
    estimator.set_params(warm_start=False).fit(x, np.where(signal > 0, "low", "middle"))
    np.testing.assert_array_equal(estimator.classes_, ["low", "middle"])


@all_four
def test_a_warm_start_begins_where_the_last_fit_ended(make):
    estimator = fitted(make, warm_start=True)
    model = estimator.model_
    losses = [estimator.history_["loss"][-1]]
    for _ in range(2):
        losses.append(fitted(lambda: estimator).history_["loss"][0])
    assert estimator.model_ is model
    first = fitted(make).history_["loss"][0]
    assert max(losses) < first


@all_four
def test_an_error_in_the_data_does_not_touch_the_network(make):
    estimator = fitted(make, warm_start=True)
    expected = estimator.predict(x)
    wrong = x.copy()
    wrong[0, 0] = np.nan
    for call in (estimator.fit, estimator.partial_fit):
        with pytest.raises(ValueError, match="NaN"):
            call(wrong, targets_for(estimator))
        np.testing.assert_array_equal(estimator.predict(x), expected)


@all_four
def test_the_random_state_decides_the_bits(make):
    one, same = fitted(make), fitted(make)
    np.testing.assert_array_equal(one.model_.parameters, same.model_.parameters)
    generator = np.random.RandomState(0)
    drawn = [fitted(make).set_params(random_state=generator).fit(x, targets_for(one)) for _ in range(2)]
    np.testing.assert_array_equal(drawn[0].model_.parameters, one.model_.parameters)
    assert not np.array_equal(drawn[1].model_.parameters, one.model_.parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        free = [make().set_params(random_state=None).fit(x, targets_for(one)) for _ in range(2)]
    assert not np.array_equal(free[0].model_.parameters, free[1].model_.parameters)


@all_four
def test_a_column_that_holds_no_numbers_is_named(make):
    wrong = pd.DataFrame(x, columns=[f"column {number}" for number in range(x.shape[1])]).assign(island="Dream")
    estimator = make()
    with pytest.raises(DataError, match=r"X holds 'Dream' \(str\) in column 'island', row 0; .*encode text"):
        estimator.fit(wrong, targets_for(estimator))


@all_four
def test_a_fit_that_fails_leaves_what_was_fitted(make):
    estimator = fitted(make)
    targets, before = targets_for(estimator), estimator.predict(x)
    wrong = x.copy()
    wrong[5, 1] = np.nan
    with pytest.raises(ValueError, match="X holds NaN at row 5, entry 1"):
        estimator.fit(wrong, targets)
    with pytest.raises(ValueError, match="no metric is named 'nothing'"):
        estimator.set_params(metrics=["nothing"]).fit(x, targets)
    np.testing.assert_array_equal(estimator.predict(x), before)
    fresh = make()
    with pytest.raises(ValueError, match="X holds NaN"):
        fresh.fit(wrong, targets)
    with pytest.raises(NotFittedError):
        fresh.predict(x)
