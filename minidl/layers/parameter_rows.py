"""A parameter of which a step needs few rows, as those of the ids that occur; its gradient is zero in all others."""

from typing import Any

from minidl.layers.base import Parameter, assigned_in_place
from minidl.typing import Array


class ParameterOfRows(Parameter):
    """A trained array (rows, units), whose gradient a layer gives by rows.

    While `waits` is true, these rows stay beside the vector of gradients, until somebody asks for `gradient`. All of it
    is zeros that nobody would read, where the optimizer moves nothing by them.

    Attributes
    ----------
    waits : bool
        Whether rows need not be written yet.
    rows : (array, array) or None
        The numbers of the rows, each once, and their gradients: what is not written yet.
    """

    waits = False
    rows: tuple[Array, Array] | None = None

    def write_rows(self, numbers: Array, gradients: Array) -> None:
        """Make the gradient that of these rows, and zero in all others."""
        self.rows = numbers, gradients
        if not self.waits:
            self.settle()

    def settle(self) -> None:
        """Write what waits."""
        if self.rows is not None:
            (numbers, gradients), self.rows = self.rows, None
            self._gradient[...] = 0
            self._gradient[numbers] = gradients

    @assigned_in_place
    def gradient(self) -> Any:
        self.settle()
        return self._gradient
