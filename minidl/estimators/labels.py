"""Convert the user's labels to a loss's targets and back: text, booleans, any integers, or several labels per row."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.typing import Array


class Labels:
    """The labels of a classification.

    Parameters
    ----------
    classes : array (K,)
        Sorted. With several labels per row: 0 .. K-1.
    several : bool, default False
        Whether a row can have several labels, so that targets are indicators (N, K).

    Raises ValueError, with scikit-learn's messages, for targets that are not labels.
    """

    def __init__(self, classes: Array, several: bool = False) -> None:
        self.classes, self.several = classes, several

    @classmethod
    def of(cls, y: Any) -> Labels:
        """Find the labels in targets."""
        from sklearn.utils.multiclass import check_classification_targets, type_of_target

        kind = type_of_target(y, input_name="y")
        if kind not in {"binary", "multiclass", "multilabel-indicator"}:
            check_classification_targets(y)
            raise ValueError("y has several columns of classes: give one, or 0 and 1 for each of several labels")
        several = kind == "multilabel-indicator"
        return cls(np.arange(y.shape[1]) if several else np.unique(y), several)

    @property
    def outputs(self) -> int:
        """The number of scores that the network needs: one for two classes."""
        return len(self.classes) if self.several or len(self.classes) > 2 else 1

    def encode(self, y: Any) -> Array:
        """Return the number of each row's class (N,), or indicators (N, K)."""
        if self.several:
            return np.asarray(y.toarray() if hasattr(y, "toarray") else y)
        return np.searchsorted(self.classes, np.asarray(y))

    def decode(self, decisions: Array) -> Array:
        """Return the labels (N,) for class numbers; indicators (N, K) stay as they are."""
        return decisions if self.several else self.classes[np.minimum(decisions, len(self.classes) - 1)]
