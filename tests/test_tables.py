"""Data of other libraries give what NumPy's give: the same numbers, networks, names and errors."""

import datetime
import fractions
import re
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from labels import label
from sklearn.compose import make_column_transformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import minidl
from minidl import Adam, Dense, ReLU, Sequential, SoftmaxCrossEntropy, Trainer, cross_validate, metrics, plots
from minidl.arrays import as_array, as_rows, as_weights, check_finite
from minidl.data import train_validation_split, windows
from minidl.errors import DataError, ShapeError
from minidl.estimators import NetworkClassifier, NetworkRegressor
from minidl.prediction import Ensemble
from minidl.tables import column_names, rows_of
from minidl.training import search

FRAMES = {
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "pyarrow": pa.table,
    "pyarrow batch": pa.RecordBatch.from_pydict,
}
COLUMNS = {
    "pandas": pd.Series,
    "polars": pl.Series,
    "pyarrow": pa.array,
    "pyarrow chunks": lambda values: pa.chunked_array([values[:3], values[3:]]),
}
every_frame = pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
every_column = pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)

rng = np.random.default_rng(0)
PASSENGERS = {
    "age": rng.integers(0, 80, 40).tolist(),
    "fare": rng.uniform(0, 100, 40).round(2).tolist(),
    "adult": (rng.random(40) > 0.5).tolist(),
}
TABLE = np.column_stack(list(PASSENGERS.values())) * 1.0
SURVIVED = (rng.random(40) > 0.4).astype(int).tolist()
PLACES = [("south", "north", "east")[number] for number in rng.integers(0, 3, 40)]


def new_trainer(seed=0):
    model = Sequential([Dense(4), ReLU(), Dense(2), SoftmaxCrossEntropy()], seed=seed)
    return Trainer(model, Adam(0.01), seed=seed, batch_size=8)


def fitted(x, y, **options):
    trainer = new_trainer()
    trainer.fit(x, y, epochs=2, progress=False, **options)
    return trainer.model


def refusal(values, name="x"):
    with pytest.raises(DataError) as caught:
        as_array(values, name)
    assert len(str(caught.value)) <= 300
    return str(caught.value)


PANDAS = {
    "uint8": (pd.Series([1, 2], dtype="uint8"), np.uint8),
    "nullable integers": (pd.Series([1, 2], dtype="Int64"), np.int64),
    "nullable truth values": (pd.Series([True, False], dtype="boolean"), bool),
    "nullable floats": (pd.Series([1.5, 2.5], dtype="Float32"), np.float32),
    "categories": (pd.Series([3, 1], dtype="category"), np.int64),
    "an index": (pd.Index([1, 2]), np.int64),
    "objects": (pd.Series([1, 2.5], dtype=object), np.float64),
    "integers beside floats": (pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]}), np.float64),
    "floats beside truth values": (pd.DataFrame({"a": [1.5, 2.5], "b": [True, False]}), np.float64),
    "integers beside truth values": (pd.DataFrame({"a": [1, 2], "b": [True, False]}), np.int64),
    "a nullable table": (pd.DataFrame({"a": [1, 2], "b": [3, 4]}, dtype="Int64"), np.int64),
    "nullable beside plain": (pd.DataFrame({"a": pd.array([1, 2], dtype="Int64"), "b": [0.5, 1.5]}), np.float64),
    "objects beside numbers": (pd.DataFrame({"a": pd.Series([1, True], dtype=object), "b": [0.5, 1.5]}), np.float64),
    "categories beside numbers": (pd.DataFrame({"a": pd.Categorical([3, 1]), "b": [0.5, 1.5]}), np.float64),
    "sparse columns": (pd.get_dummies(pd.Series([3, 1]), sparse=True, dtype=np.uint8), np.uint8),
    "sparse beside dense": (pd.DataFrame({"a": pd.arrays.SparseArray([0.0, 1.5]), "b": [1, 2]}), np.float64),
}


@pytest.mark.parametrize(("values", "dtype"), PANDAS.values(), ids=PANDAS)
def test_pandas_columns_of_numbers_and_truth_values_become_numbers(values, dtype):
    array = as_array(values, "x")
    assert array.dtype == dtype
    expected = [values[name].tolist() for name in values] if isinstance(values, pd.DataFrame) else values.tolist()
    np.testing.assert_array_equal(array.T, expected)


def test_columns_of_the_same_name_keep_their_own_numbers():
    twice = pd.concat([pd.DataFrame({"a": [1.5, 2.5]}), pd.DataFrame({"a": [True, False]})], axis=1)
    np.testing.assert_array_equal(as_array(twice, "x"), [[1.5, 1], [2.5, 0]])


@every_frame
def test_a_table_of_any_library_becomes_the_same_array(frame):
    array = as_array(frame(PASSENGERS), "x")
    assert (type(array), array.dtype) == (np.ndarray, np.float64)
    assert array.flags.c_contiguous
    np.testing.assert_array_equal(array, TABLE)
    np.testing.assert_array_equal(as_rows(frame(PASSENGERS), "x"), TABLE)


@every_column
@pytest.mark.parametrize(("values", "dtype"), [(SURVIVED, np.int64), (PASSENGERS["adult"], bool), ([0.5] * 40, float)])
def test_a_column_of_any_library_becomes_the_same_array(column, values, dtype):
    array = as_array(column(values), "y")
    assert (type(array), array.dtype) == (np.ndarray, dtype)
    assert array.tolist() == values


def test_polars_needs_no_pyarrow(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    np.testing.assert_array_equal(as_array(pl.DataFrame(PASSENGERS), "x"), TABLE)
    assert "x holds 'a' (str) in column 'name', row 0" in refusal(pl.DataFrame({"age": [1, 2], "name": ["a", "b"]}))


def test_minidl_imports_neither_polars_nor_pyarrow():
    for path in Path(minidl.__file__).parent.rglob("*.py"):
        if path.name == "shard_files.py":  # which reads Parquet files, with an extra of their own
            continue
        assert not re.search(r"^\s*(import|from) (polars|pyarrow)", path.read_text(encoding="utf-8"), re.MULTILINE), (
            path
        )


numbers = st.one_of(st.booleans(), st.integers(-(2**40), 2**40), st.floats(allow_nan=False, width=32))


@given(st.integers(1, 4).flatmap(lambda width: st.lists(st.lists(numbers, min_size=width, max_size=width), min_size=1)))
def test_objects_that_are_numbers_become_numbers(rows):
    array = as_array(np.array(rows, dtype=object), "x")
    assert array.dtype.kind in "biuf"
    assert array.tolist() == rows  # in Python True == 1 == 1.0


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1, 2], np.int64),
        ([True, False], bool),
        ([True, 2], np.int64),
        ([True, 2.5], np.float64),
        ([np.float32(0.5), np.bool_(True), np.uint8(3)], np.float64),
        ([Decimal("1.50"), fractions.Fraction(1, 4)], np.float64),
        ([2**70, 1], np.float64),
        ([[1, 2.5], [True, np.nan]], np.float64),
        (np.empty((0, 3)), np.float64),
    ],
    ids=label,
)
def test_objects_of_each_kind_of_number_keep_their_values(values, dtype):
    array = as_array(np.array(values, dtype=object), "x")
    assert array.shape == np.shape(values)
    np.testing.assert_array_equal(array.astype(np.float64), np.array(values, object).astype(np.float64))
    assert array.dtype.kind == np.dtype(dtype).kind


def test_dummies_of_a_frame_are_trained_on_as_objects_and_as_numbers():
    frame = pd.get_dummies(pd.DataFrame(PASSENGERS | {"place": PLACES}))
    assert frame.values.dtype == object
    expected = fitted(frame.to_numpy(dtype=np.float64), SURVIVED)
    of_objects = fitted(
        frame.values,
        np.array(SURVIVED, dtype=object),
        sample_weight=np.ones(40, dtype=object),
        validation_data=(frame.values, np.array(SURVIVED, dtype=object)),
    )
    np.testing.assert_array_equal(of_objects.parameters, expected.parameters)
    np.testing.assert_array_equal(of_objects.predict(frame.values), expected.predict(frame))
    np.testing.assert_array_equal(as_weights(np.array([1, 0.5], dtype=object)), [1, 0.5])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pd.Series(["a", "b"]), "'a' (str) in row 0; give numbers only: encode text (inputs by pandas.get_dummies"),
        (pd.Series(["a", "b"], dtype="category"), "'a' (str) in row 0; give numbers only: encode text"),
        (pd.Series(pd.to_datetime(["2020-01-01"])), "(datetime64) in row 0; give numbers only: encode or drop"),
        (np.array(["1", "2"]), "'1' (str) in row 0; give numbers only: encode text"),
        (np.array([[1, 2], [3, "male"]], object), "'male' (str) in column 1, row 1; give numbers only: encode text"),
        (np.array([[[1], ["b"]]], object), "'b' (str) in row 0; give numbers only: encode text"),
        (np.array([1, None], object), "None (NoneType) in row 1; give numbers only: fill missing values"),
        (pd.array([1, None], "Int64"), None),
        (pd.Series([1, None], dtype="Int64"), None),
        (pd.Series([1, None], dtype="Float64"), None),
        (np.array([pd.Timestamp(0), pd.NaT]), "Timestamp('1970-01-01 00:00:00') (Timestamp) in row 0; give numbers"),
        (np.array([1, pd.NaT]), "NaT (NaTType) in row 1; give numbers only: fill missing values"),
        (np.array([1j]), "(complex128) in row 0; give numbers only: encode or drop"),
        (np.array([1, 1j], object), "1j (complex) in row 1; give numbers only: encode or drop"),
        (np.array([3], "m8[s]"), "(timedelta64) in row 0; give numbers only: encode or drop"),
        (np.array([3], "M8[ns]"), "(datetime64) in row 0; give numbers only: encode or drop"),
        (np.array([(1, 2.0)], "i4,f4"), "(void) in row 0; give numbers only"),
        ([1, None], "None (NoneType) in row 1; give numbers only: fill missing values"),
        ([1, "a"], "'a' (str) in row 1; give numbers only: encode text"),
        ([[1, 2], [3, "female"]], "'female' (str) in column 1, row 1; give numbers only: encode text"),
        ("text", "'text' (str); give numbers only: encode text"),
        ({"a": 1}, "{'a': 1} (dict); give numbers only: encode or drop"),
        ((number for number in range(3)), "(generator); give numbers only"),
        (pd.Series([np.zeros(2), np.zeros(2)]), "array([0., 0.]) (ndarray) in row 0; give numbers only: stack arrays"),
        (pd.DataFrame({"a": [1, 2], "b": [[1], [2]]}), "[1] (list) in column 'b', row 0; give numbers only: stack"),
        (pl.DataFrame({"a": [1, 2]}).lazy(), "(LazyFrame); give numbers only: pass x.collect()"),
        (pd.DataFrame({"a": [1, 2], "b" * 99: ["c" * 99, "d"]}), "in column 'bbbbbbb"),
    ],
    ids=label,
)
def test_the_first_value_that_is_no_number_is_named_with_its_place_and_the_fix(values, message):
    if message is None:  # which of the two, depends on the version of pandas
        with pytest.raises(DataError, match=r"targets holds (<NA> \(NAType\) in|NaN at) row 1"):
            check_finite(as_array(values, "targets"), "targets")
        return
    found = refusal(values, "targets")
    assert found.startswith("targets holds ")
    assert message in found


def test_missing_and_sparse_input_is_told_from_text():
    assert refusal(None, "y") == "y is missing: it is None"
    assert refusal(scipy.sparse.eye(3)) == "x is a sparse matrix: pass x.toarray()"


@pytest.mark.parametrize("values", [[[1, 2], [3]], [[1, 2], 3], [np.zeros(2), np.zeros(3)]])
def test_rows_of_different_lengths_are_refused(values):
    assert "x is not a table of numbers" in refusal(values)


WRONG = {
    "text": (["a", "b", None], "x holds 'a' (str) in column 'wrong', row 0; give numbers only: encode text"),
    "truth": ([True, None, False], "x holds None (NoneType) in column 'wrong', row 1; give numbers only: fill missing"),
    "lists": ([[1, 2], [3, 4], [5]], "in column 'wrong', row 0; give numbers only: stack arrays"),
    "dates": ([datetime.date(2020, 1, 1)] * 3, "in column 'wrong', row 0; give numbers only: encode or drop"),
    "times": ([datetime.datetime(2020, 1, 1)] * 3, "in column 'wrong', row 0; give numbers only: encode or drop"),
}


@every_frame
@pytest.mark.parametrize(("values", "message"), WRONG.values(), ids=WRONG)
def test_a_column_that_holds_no_numbers_is_named_alike(frame, values, message):
    table = frame({"age": [1.5, 2.5, 3.5], "wrong": values})
    assert message in refusal(table)
    with pytest.raises(DataError, match=r"in column 'wrong', row"):
        fitted(table, [0, 1, 0])
    with pytest.raises(DataError, match=r"^X holds .* in column 'wrong', row|^X holds NaN at row 1, entry 1"):
        NetworkClassifier(max_iter=2).fit(table, [0, 1, 0])


@every_frame
def test_missing_numbers_are_reported_by_row_and_column(frame):
    table = frame({"age": [1.5, 2.5, 3.5], "fare": [3, 4, None]})
    with pytest.raises(DataError, match="x holds NaN at row 2, entry 1"):
        fitted(table, [0, 1, 0])
    with pytest.raises(DataError, match="X holds NaN at row 2, entry 1"):
        NetworkClassifier(max_iter=2).fit(table, [0, 1, 0])


def test_column_names_are_those_of_a_table_of_named_columns():
    for frame in FRAMES.values():
        assert column_names(frame({"a": [1], "b": [2]})) == ["a", "b"]
    for values in (pd.DataFrame([[1, 2]]), pd.DataFrame({"a": [1], 0: [2]}), pd.Series([1]), np.zeros((1, 2)), [[1]]):
        assert column_names(values) is None
    for column in COLUMNS.values():
        assert column_names(column([1.0] * 4)) is None


@every_frame
@pytest.mark.filterwarnings("error")
def test_a_model_remembers_the_columns_of_any_table(frame):
    expected = fitted(TABLE, SURVIVED)
    model = fitted(frame(PASSENGERS), SURVIVED)
    np.testing.assert_array_equal(model.parameters, expected.parameters)
    assert model.feature_names == ["age", "fare", "adult"]
    np.testing.assert_array_equal(model.predict_proba(frame(PASSENGERS)), expected.predict_proba(TABLE))

    turned = frame(dict(reversed(PASSENGERS.items())))
    with pytest.raises(ShapeError, match="another order"):
        model.predict(turned)
    with pytest.raises(ShapeError, match="lacks the column 'age'"):
        model.predict(frame({"fare": [1.0], "adult": [True]}))
    model.reorder_columns = True
    np.testing.assert_array_equal(model.predict_proba(turned), expected.predict_proba(TABLE))
    assert Trainer(model).evaluate(turned, SURVIVED) == Trainer(expected).evaluate(TABLE, SURVIVED)
    np.testing.assert_array_equal(
        Ensemble([model, fitted(frame(PASSENGERS), SURVIVED)]).predict(frame(PASSENGERS)), expected.predict(TABLE)
    )


@every_column
def test_labels_and_weights_may_be_columns_of_any_library(column):
    weights = rng.uniform(0.5, 2, 40).tolist()
    expected = fitted(TABLE, SURVIVED, sample_weight=weights)
    found = fitted(
        TABLE,
        column(SURVIVED),
        sample_weight=column(weights),
        validation_data=(TABLE, column(SURVIVED), column(weights)),
    )
    np.testing.assert_array_equal(found.parameters, expected.parameters)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(("frame", "column"), list(zip(FRAMES.values(), COLUMNS.values(), strict=True)), ids=FRAMES)
def test_a_split_keeps_the_type_and_draws_the_same_rows(frame, column, shuffle):
    x, y = frame(PASSENGERS), column(PLACES)
    found = train_validation_split(x, y, 0.3, seed=1, shuffle=shuffle)
    expected = train_validation_split(TABLE, np.array(PLACES), 0.3, seed=1, shuffle=shuffle)
    for part, rows in zip(found[:2], expected[:2], strict=True):
        assert type(part) is type(x)
        np.testing.assert_array_equal(as_array(part, "x"), rows)
    for part, labels in zip(found[2:], expected[2:], strict=True):
        assert type(part) is type(y)
        assert np.asarray(part).tolist() == labels.tolist()


@every_frame
def test_windows_are_cut_out_of_any_table(frame):
    x, y = windows(frame(PASSENGERS), 5, targets="fare")
    expected_x, expected_y = windows(TABLE, 5, targets=TABLE[:, 1])
    np.testing.assert_array_equal(x, expected_x)
    np.testing.assert_array_equal(y, expected_y)


def build_model(seed):
    return new_trainer(seed).model


def build_trainer(rate, seed):
    return Trainer(build_model(seed), Adam(rate), seed=seed)


@every_frame
def test_runs_on_folds_of_any_table_have_the_scores_of_the_array(frame):
    found = cross_validate(build_model, frame(PASSENGERS), SURVIVED, epochs=2, folds=2)
    expected = cross_validate(build_model, TABLE, SURVIVED, epochs=2, folds=2)
    pd.testing.assert_frame_equal(found.scores, expected.scores)


@every_frame
def test_a_transformer_gets_a_table_whose_columns_it_finds_by_name(frame, tmp_path):
    columns = make_column_transformer(
        (StandardScaler(), ["age", "fare"]), (OneHotEncoder(sparse_output=False), ["place"]), remainder="passthrough"
    )
    data = PASSENGERS | {"place": PLACES}
    options = {"epochs": 2, "transformer": columns, "validation": 0.3}
    found = search(build_trainer, {"rate": [0.01, 0.1]}, frame(data), SURVIVED, journal=tmp_path, **options)
    expected = search(build_trainer, {"rate": [0.01, 0.1]}, pd.DataFrame(data), SURVIVED, **options)
    pd.testing.assert_frame_equal(found.table.drop(columns="seconds"), expected.table.drop(columns="seconds"))


@every_frame
@pytest.mark.parametrize("column", [None, *COLUMNS.values()], ids=["list", *COLUMNS])
def test_estimators_learn_from_any_table_and_column(frame, column):
    labels = PLACES if column is None else column(PLACES)
    expected = NetworkClassifier(max_iter=3, random_state=0).fit(pd.DataFrame(PASSENGERS), PLACES)
    found = NetworkClassifier(max_iter=3, random_state=0).fit(frame(PASSENGERS), labels)
    assert found.classes_.tolist() == ["east", "north", "south"]
    assert found.feature_names_in_.tolist() == found.model_.feature_names == list(PASSENGERS)
    np.testing.assert_array_equal(
        found.predict_proba(frame(PASSENGERS)), expected.predict_proba(pd.DataFrame(PASSENGERS))
    )
    assert found.score(frame(PASSENGERS), labels) == expected.score(pd.DataFrame(PASSENGERS), PLACES)
    with pytest.raises(ValueError, match="feature names"):
        found.predict(frame(dict(reversed(PASSENGERS.items()))))
    with pytest.raises(ValueError, match="feature names"):
        found.predict(frame({"age": [1.0], "other": [1.0], "adult": [1.0]}))


@every_column
def test_estimators_learn_numbers_from_any_column(column):
    expected = NetworkRegressor(max_iter=3, random_state=0).fit(TABLE, SURVIVED)
    weights = column([1.0] * 40)
    found = NetworkRegressor(max_iter=3, random_state=0).fit(TABLE, column(SURVIVED), sample_weight=weights)
    np.testing.assert_array_equal(found.predict(TABLE), expected.predict(TABLE))


@pytest.mark.parametrize("make", [NetworkClassifier, NetworkRegressor])
def test_estimators_take_objects_that_are_numbers(make):
    objects, targets = TABLE.astype(object), np.array(SURVIVED, dtype=object)
    expected = make(max_iter=3, random_state=0).fit(TABLE, SURVIVED)
    found = make(max_iter=3, random_state=0).fit(objects, targets, sample_weight=np.ones(40, dtype=object))
    np.testing.assert_array_equal(found.predict(objects), expected.predict(TABLE))
    assert found.predict(objects).dtype == expected.predict(TABLE).dtype


@pytest.mark.parametrize("kind", [list, np.array, lambda rows: np.array(rows, dtype=object)])
def test_estimators_name_the_column_of_a_text_in_an_array(kind):
    rows = kind([[1, "male"], [2, "female"]])
    with pytest.raises(DataError, match=r"^X holds .* \(str\) in column .*, row 0; give numbers only: encode text"):
        NetworkClassifier(max_iter=2).fit(rows, [0, 1])


ALL_COLUMNS = COLUMNS | {"objects": lambda values: np.array(values, dtype=object)}


@pytest.mark.parametrize("column", ALL_COLUMNS.values(), ids=ALL_COLUMNS)
@pytest.mark.parametrize("labels", [SURVIVED, PLACES], ids=["numbers", "texts"])
def test_reports_and_plots_take_columns_of_any_library(column, labels):
    expected = metrics.confusion_matrix(labels, labels)
    np.testing.assert_array_equal(metrics.confusion_matrix(column(labels), column(labels)), expected)
    assert metrics.accuracy(column(labels), labels) == 1
    assert metrics.classification_report(column(labels), labels) == metrics.classification_report(labels, labels)
    ax = plots.plot_confusion_matrix(column(labels), labels)
    assert ax.get_title().startswith("40 of 40 right")


@every_frame
def test_metrics_of_probabilities_take_tables(frame):
    chances = np.random.default_rng(1).dirichlet(np.ones(3), 40)
    table = frame({str(number): chances[:, number] for number in range(3)})
    for metric in (metrics.top_k_accuracy, metrics.expected_calibration_error, metrics.mean_squared_error):
        targets, options = (np.eye(3)[SURVIVED], []) if metric is metrics.mean_squared_error else (SURVIVED, [2])
        assert metric(targets, table, *options) == metric(targets, chances, *options)


def test_regression_targets_as_objects_are_no_classes():
    targets = np.array(PASSENGERS["fare"], dtype=object)
    found = train_validation_split(TABLE, targets, 0.3, seed=1)
    np.testing.assert_array_equal(found[0], train_validation_split(TABLE, PASSENGERS["fare"], 0.3, seed=1)[0])


def test_rows_of_an_array_are_taken_without_loading_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.utils", None)
    table = np.arange(12.0).reshape(4, 3)
    assert rows_of(table, np.array([3, 0, 3])).tolist() == [[9, 10, 11], [0, 1, 2], [9, 10, 11]]
    assert rows_of(table, None) is table
    with pytest.raises(ImportError):
        rows_of([1, 2, 3], np.array([0]))
