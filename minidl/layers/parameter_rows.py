"""A parameter with a gradient in only a few rows, such as the rows of the ids in a batch."""

from typing import Any

from minidl.layers.base import Parameter, assigned_in_place
from minidl.typing import Array


class ParameterOfRows(Parameter):
    """A trained array (rows, units). Its layer writes the gradient by rows; it is zero in all other rows.

    While `waits` is true, the rows are kept outside of the vector of gradients until other code reads `gradient`. This
    saves writing zeros that the optimizer would not use.

    Attributes
    ----------
    waits : bool
        Whether rows may stay unwritten for now.
    rows : (array, array) or None
        The numbers of the unwritten rows, each once, and their gradients.
    """

    waits = False
    rows: tuple[Array, Array] | None = None

    def write_rows(self, numbers: Array, gradients: Array) -> None:
        """Set the gradient of these rows, and zero for all other rows."""
        self.rows = numbers, gradients
        if not self.waits:
            self.settle()

    def settle(self) -> None:
        """Write the rows that wait into the gradient."""
        if self.rows is not None:
            (numbers, gradients), self.rows = self.rows, None
            self._gradient[...] = 0
            self._gradient[numbers] = gradients

    @assigned_in_place
    def gradient(self) -> Any:
        self.settle()
        return self._gradient
