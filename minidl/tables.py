"""Data that are not arrays of numbers yet: nested lists, arrays of objects, frames, tables and columns.

`as_frame` turns tables and columns of polars and pyarrow into those of pandas and NumPy. minidl needs none of these
libraries until it gets data of their types.
"""

import contextlib
from numbers import Number
from typing import Any

import numpy as np

from minidl.errors import DataError
from minidl.typing import Array

_NUMBERS = (Number, np.bool_)  # also decimals and fractions
_NO_REAL_NUMBERS = (complex, np.complexfloating, np.timedelta64)
_CURES = {
    "str": "encode text (inputs by pandas.get_dummies, labels by numpy.unique(labels, return_inverse=True)); "
    "minidl.estimators take text labels",
    **dict.fromkeys(["NoneType", "NAType", "NaTType"], "fill missing values, or drop their rows"),
    "LazyFrame": "pass x.collect()",
    **dict.fromkeys(["ndarray", "list", "tuple"], "stack arrays inside the array by numpy.stack: they need one shape"),
}


def as_frame(values: Any) -> Any:
    """Return a polars or pyarrow table as a pandas frame, their columns as arrays, and other values unchanged."""
    if not hasattr(values, "to_pandas") or hasattr(values, "iloc"):
        return values
    if (names := column_names(values)) is None:
        return np.asarray(values)
    import pandas as pd

    return pd.DataFrame({name: np.asarray(values[name]) for name in names})  # to_pandas() of polars needs pyarrow


def column_names(values: Any) -> list[str] | None:
    """Return the names of a table's columns. None for other values, or if the names are not all texts."""
    if not hasattr(values, "__len__"):  # such as a lazy polars frame: asking for its columns is slow
        return None
    names = list(getattr(values, "column_names", getattr(values, "columns", [])))  # the columns of pyarrow are the data
    return names if names and all(isinstance(name, str) for name in names) else None


def rows_of(values: Any, index: Array | None) -> Any:
    """Return the rows with these indices, in the same type as the user's data. None means all rows."""
    if index is None or isinstance(values, np.ndarray):
        return values if index is None else values[index]
    from sklearn.utils import _safe_indexing  # takes a second to load, in each process of a search

    if hasattr(values, "to_pandas") and hasattr(values, "take"):
        return values.take(index)  # scikit-learn 1.6 cannot index pyarrow's
    return _safe_indexing(values.tocsr() if hasattr(values, "tocsr") else values, index)


def as_numbers(values: Any, name: str) -> Array:
    """Return the numbers or truth values in `values` as an array. Errors call it `name`.

    Raises DataError for anything else. The error names the first value that is not a number, and its column and row.
    """
    if values is None:
        raise DataError(f"{name} is missing: it is None")
    if hasattr(values, "toarray"):
        raise DataError(f"{name} is a sparse matrix: pass {name}.toarray()")
    if isinstance(values, np.ma.MaskedArray):
        raise DataError(f"{name} is a masked array, and its mask would be lost: fill or drop its missing values")
    # For a memory map, the plain array is a view, not a copy. Nested lists of different lengths raise ValueError.
    try:
        values = as_frame(values)
        array = _from_pandas(values) if hasattr(values, "iloc") else np.asarray(values)
        if array.dtype.kind in "US":
            array = np.asarray(values, object)  # keeps the numbers in a list that also has texts
    except (ValueError, TypeError, LookupError) as error:
        what = "rows differ in length: fill up by minidl.data.pad_sequences" if "inhomogeneous" in str(error) else error
        raise DataError(f"{name} is not a table of numbers: {what}") from error
    if array.dtype.kind in "biuf":
        return array
    return _from_objects(array, name, list(values.columns) if hasattr(values, "iloc") and array.ndim == 2 else [])


def as_labels(values: Any) -> Array:
    """Return an array of numbers if all values are numbers. Else return NumPy's array, for example of texts."""
    with contextlib.suppress(DataError):
        return as_numbers(values, "labels")
    return np.asarray(as_frame(values))


def _from_pandas(values: Any) -> Array:
    dtypes = [getattr(dtype, "numpy_dtype", dtype) for dtype in np.ravel(values.dtypes)]
    if all(dtype.kind in "biuf" for dtype in dtypes):
        # It fails for missing values and for sparse columns. A check of each value names them or finds numbers.
        with contextlib.suppress(ValueError, TypeError):
            return np.asarray(values, np.result_type(*dtypes))
    return np.asarray(values)


def _from_objects(array: Array, name: str, columns: list[Any]) -> Array:
    """Turn an array of objects that are all numbers into an array of numbers."""
    kinds = set(map(type, array.flat))
    others = [kind for kind in kinds if not issubclass(kind, _NUMBERS) or issubclass(kind, _NO_REAL_NUMBERS)]
    if not others:
        numbers = np.array(list(array.flat)).reshape(array.shape)
        return numbers.astype(np.float64) if numbers.dtype == object else numbers  # decimals, or very large integers
    place, value = next(found for found in np.ndenumerate(array) if type(found[1]) in others)
    column = f"column {columns[place[1]] if columns else place[1]!r:.40}, " if array.ndim == 2 else ""
    where = f" in {column}row {place[0]}" if place else ""
    cure = _CURES.get(type(value).__name__, "encode or drop the others")
    raise DataError(f"{name} holds {value!r:.40} ({type(value).__name__}){where}; give numbers only: {cure}")
