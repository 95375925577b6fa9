"""Estimators in model files: the network, the parameters, the labels and the results of `fit`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from minidl.errors import ArgumentTypeError, FileFormatError
from minidl.files import read_described, write_described
from minidl.model import FILE_VERSION, Sequential
from minidl.serialization import decode, encode
from minidl.typing import Array

if TYPE_CHECKING:
    from minidl.estimators.base import NetworkEstimator

_Estimator = TypeVar("_Estimator", bound="NetworkEstimator")


def write_estimator(estimator: NetworkEstimator, path: str | os.PathLike[str]) -> None:
    """Write the file that `NetworkEstimator.save` describes."""
    kind, model = type(estimator).__name__, estimator.model_
    settings = estimator.get_params(deep=False)
    if settings.get("build_model") is not None:
        raise ArgumentTypeError(f"{kind}: a file cannot hold the function build_model: use pickle, or save its model_")
    described = {
        "class": kind,
        "parameters": {name: _encode(value, f"{kind}: {name}") for name, value in settings.items()},
        "fitted": estimator._fitted(),
    }
    description = {**model.description(), "estimator": described}
    write_described(path, "model", FILE_VERSION, description, model.named_arrays())


def read_estimator(kind: type[_Estimator], path: str | os.PathLike[str]) -> _Estimator:
    """Read the file that `NetworkEstimator.load` describes."""

    def make(description: dict[str, Any], arrays: dict[str, Array]) -> _Estimator:
        if "estimator" not in description:
            raise FileFormatError("it holds a model, not an estimator: read it with Sequential.load(path)")
        described = description["estimator"]
        if described["class"] != kind.__name__:
            raise FileFormatError(f"it holds a {described['class']}: read it with {described['class']}.load(path)")
        estimator = kind(**{name: _decode(value) for name, value in described["parameters"].items()})
        estimator.model_ = Sequential.from_description(description, arrays)
        estimator._restore_fitted(described["fitted"])
        return estimator

    return cast(_Estimator, read_described(path, "model", range(1, FILE_VERSION + 1), make))


def _encode(value: Any, place: str) -> Any:
    """Encode a parameter; the keys of a dict such as `class_weight` may be numbers, which JSON does not allow."""
    if isinstance(value, dict):
        return {"pairs": encode(list(value.items()), place)}
    return encode(value.tolist() if isinstance(value, np.ndarray) else value, place)


def _decode(value: Any) -> Any:
    is_dict = isinstance(value, dict) and value.keys() == {"pairs"}
    return dict(decode(value["pairs"])) if is_dict else decode(value)
