"""The layer that turns ids, such as word ids, into trained vectors."""

import numpy as np

from minidl.arrays import as_class_indices
from minidl.errors import ArgumentError, DataError, ShapeError
from minidl.initializers import Initializer, is_initializer
from minidl.layers.base import Declaration, Layer
from minidl.layers.parameter_rows import ParameterOfRows
from minidl.sequences.masking import ROWS_AT_ONCE, entered
from minidl.settings import setting
from minidl.typing import Array, Shape


class Embedding(Layer):
    """A trained vector for each id: ``y = E[x]``.

    Parameters
    ----------
    vocabulary_size : int, > 0
        Number of ids: 0 to vocabulary_size - 1.
    units : int, > 0
        The length of a vector.
    padding_id : int, optional
        The id that pads short sequences, often 0. Its positions do not count: the next layers get a mask of the other
        positions, and losses and metrics ignore the padding.
    initializer : Initializer or its name, default "normal"
        Draws E, (vocabulary_size, units).

    Shapes: whole numbers (N, T) -> (N, T, units); other numbers of axes work, too. Parameter: ``weight``, E. Gradient:
    dE[i] = sum of dy over the positions of id i. Ids have no gradient: `backward` returns None.

    Raises DataError for a value that is not an id, with its row and position.
    Source: Bengio et al. (2003), "A neural probabilistic language model", JMLR 3.
    """

    vocabulary_size: int = setting(kw_only=False, low=1, whole=True, fixed=True)
    units: int = setting(kw_only=False, low=1, whole=True, fixed=True)
    padding_id: int | None = setting(default=None, low=0, whole=True, fixed=True)
    initializer: Initializer | str = setting(default="normal", check=is_initializer, fixed=True)
    takes_integers = True

    def __post_init__(self) -> None:
        if self.padding_id is not None and self.padding_id >= self.vocabulary_size:
            raise ArgumentError(f"padding_id is {self.padding_id}; ids are 0 to {self.vocabulary_size - 1}")

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        self.makes_mask = self.padding_id is not None
        drawn = declare.parameter("weight", (self.vocabulary_size, self.units), self.initializer)
        self.weight = declare.parameters["weight"] = ParameterOfRows(drawn.value, drawn.decays, drawn.regularized)
        return (*input_shape, self.units)

    def forward(self, x: Array, training: bool = False) -> Array:
        ids = self._as_ids(x)
        if training:
            self.saved = ids
        return self.weight.value.take(ids, axis=0)

    def backward(self, dy: Array) -> None:
        from scipy import sparse  # which takes longer to load than all of minidl

        ids = self.saved.ravel()
        rows, places = np.unique(ids, return_inverse=True)
        # A product with a sparse matrix that has a 1 in the column of each position and the row of its id.
        positions = np.arange(len(ids) + 1)
        of_id = sparse.csc_array((np.ones(len(ids), dy.dtype), places, positions), shape=(len(rows), len(ids)))
        self.weight.write_rows(rows, of_id @ dy.reshape(-1, self.units))

    def mask_after(self, x: Array | None, mask: Array | None) -> Array | None:
        if self.padding_id is None:
            return mask
        counts: Array = entered(self, x) != self.padding_id
        return counts if mask is None else counts & mask

    def check_input(self, x: Array) -> None:
        if x.ndim == 2 and x.shape[1:] != self.input_shape and len(self.input_shape or ()) == 1:
            length = (self.input_shape or ())[0]
            raise ShapeError(f"expects {length} ids per sample but got {x.shape[1]}: pad the rows, or cut them")
        super().check_input(x)
        if getattr(x, "shards", None) is None:  # rows of files are checked when they are read
            for start in range(0, len(x), ROWS_AT_ONCE):
                self._as_ids(x[start : start + ROWS_AT_ONCE], start)

    def _as_ids(self, x: Array, first: int | None = None) -> Array:
        """Return whole ids, or raise the error of the first wrong one. `first` is the number of the first row."""
        if x.dtype.kind in "iu" and x.min(initial=0) >= 0 and x.max(initial=0) < self.vocabulary_size:
            return x
        ids, wrong = as_class_indices(x, self.vocabulary_size)
        if wrong.any():
            row, *position = np.argwhere(wrong)[0].tolist()
            at = f", position {', '.join(map(str, position))}" * bool(position)
            known = f"ids are the whole numbers 0 to {self.vocabulary_size - 1}"
            place = f"row {row} of the batch" if first is None else f"row {first + row}"
            value = str(x[wrong][0]).removesuffix(".0")  # estimators turn ids into floats
            raise DataError(f"{place}{at}, holds {value}; {known}")
        return ids
