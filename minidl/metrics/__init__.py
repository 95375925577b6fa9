"""Metrics: how good predictions are.

A `Trainer` takes the metric classes, by name or as objects, and plain functions that return a number per row. The
functions of this package, such as `classification_report`, take whole arrays.
"""

import importlib
from typing import TYPE_CHECKING, Any

from minidl.metrics.base import FunctionMetric, Metric, ScoredRows
from minidl.metrics.classification import (
    F1,
    Accuracy,
    ClassMetric,
    Precision,
    Recall,
    TopKAccuracy,
    TotalVariation,
)
from minidl.metrics.names import as_metrics
from minidl.metrics.regression import MeanAbsoluteError, MeanSquaredError, R2Score, RootMeanSquaredError

if TYPE_CHECKING:
    from minidl.metrics.calibration import ReliabilityTable, expected_calibration_error, reliability_table
    from minidl.metrics.reports import (
        accuracy,
        classification_report,
        confusion_matrix,
        mean_absolute_error,
        mean_squared_error,
        r2_score,
        top_k_accuracy,
    )

__all__ = [
    "F1",
    "Accuracy",
    "ClassMetric",
    "FunctionMetric",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Metric",
    "Precision",
    "R2Score",
    "Recall",
    "ReliabilityTable",
    "RootMeanSquaredError",
    "ScoredRows",
    "TopKAccuracy",
    "TotalVariation",
    "accuracy",
    "as_metrics",
    "classification_report",
    "confusion_matrix",
    "expected_calibration_error",
    "mean_absolute_error",
    "mean_squared_error",
    "r2_score",
    "reliability_table",
    "top_k_accuracy",
]


def __getattr__(name: str) -> Any:
    """Load the functions of whole arrays at their first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    is_calibration = name in {"ReliabilityTable", "expected_calibration_error", "reliability_table"}
    return getattr(importlib.import_module(f"{__name__}.{'calibration' if is_calibration else 'reports'}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
