"""Recurrent layers: the same step at each position of a sequence, with a state that passes from step to step.

Internally, the axis of positions is the first one, so a step reads and writes contiguous memory. Everything that does
not depend on the state is computed for all steps at once: the products with the inputs, the local derivatives, and the
gradients of the weights. The loops over the steps compute the rest.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from minidl import products
from minidl.arrays import check_mask
from minidl.errors import ArgumentError, ArgumentTypeError
from minidl.functional import sum_rows
from minidl.initializers import Initializer, get_initializer, is_initializer
from minidl.layers.base import Declaration, Layer
from minidl.regularizers import Constraint, Regularizer, is_constraint, is_regularizer
from minidl.reprs import brief
from minidl.sequences.positions import sequence_of
from minidl.settings import as_flag, one_of, setting
from minidl.typing import Array, Shape


class _Recurrent(Layer):
    """Base of the recurrent layers: inputs and outputs by steps, and the products of all steps."""

    units: int = setting(kw_only=False, low=1, whole=True, fixed=True)
    return_sequences: bool = setting(default=False, check=as_flag, fixed=True)
    go_backwards: bool = setting(default=False, check=as_flag, fixed=True)
    initializer: Initializer | str = setting(default="glorot_uniform", check=is_initializer, fixed=True)
    recurrent_initializer: Initializer | str = setting(default="orthogonal", check=is_initializer, fixed=True)
    regularizer: Regularizer | None = setting(default=None, check=is_regularizer)
    constraint: Constraint | None = setting(default=None, check=is_constraint)
    takes_mask = True

    gates: ClassVar[int] = 1
    """Number of sums that a step computes for each unit."""
    numbers_in_state: ClassVar[int] = 1
    """Number of vectors in the state. LSTM has two: the hidden state and the cell."""

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        time, features = sequence_of(self, input_shape)
        columns, initial = self.gates * self.units, _GateByGate(self.initializer, self.gates)
        recurrent = _GateByGate(self.recurrent_initializer, self.gates)
        self.weight = declare.parameter("weight", (features, columns), initial, regularized=True)
        self.recurrent_weight = declare.parameter(
            "recurrent_weight", (self.units, columns), recurrent, regularized=True
        )
        self.bias = declare.parameter("bias", columns, self._initial_bias())
        return (time, self.units) if self.return_sequences else (self.units,)

    def _initial_bias(self) -> Initializer | str:
        return "zeros"

    def numbers_per_row(self) -> int:
        # All steps are stored, even if the output is only the last one.
        time, _ = self.input_shape or (1, 1)
        return time * self.units * (self.gates + self.numbers_in_state)

    def mask_after(self, x: Array | None, mask: Array | None) -> Array | None:
        """Return the mask of the output. For sequences it is the mask of the input, in the order of the steps."""
        if mask is None or not self.return_sequences:
            return None
        return mask[:, ::-1] if self.go_backwards else mask

    def forward(self, x: Array, training: bool = False, mask: Array | None = None) -> Array:
        start = np.zeros((self.numbers_in_state, len(x), self.units), self.dtype)
        saved = self._run(x, start, mask)
        if training:
            self.saved = saved
        return self._output(saved[1])

    def continued(self, x: Array, memory: dict[str, Any]) -> Array:
        """Return the inference output for positions that follow the earlier ones. `memory` keeps the state.

        Raises ArgumentError for a layer that goes backwards: it would have to start at the end, which is not known yet.
        """
        if self.go_backwards:
            raise ArgumentError(f"{type(self).__name__} goes backwards, from the end: it cannot continue a sequence")
        zeros = np.zeros((self.numbers_in_state, len(x), self.units), self.dtype)
        _, states, *_ = self._run(x, memory.get("state", zeros), None)
        memory["state"] = states[:, -1].copy()
        return self._output(states)

    def _run(self, x: Array, start: Array, mask: Array | None) -> tuple[Array, Array, Array, Any, Array | None]:
        """Take all steps. Return inputs and states by steps, the result of `_take_steps`, and which steps are skipped.

        States are (numbers in a state, T + 1, N, H): the first is `start`.
        """
        if mask is not None:
            check_mask(mask, x, 2)  # compiled loops would read beyond a mask that is too short
        inputs = _by_steps(x, self.go_backwards, self.dtype)
        time, rows, features = inputs.shape
        skipped = None if mask is None or mask.all() else _by_steps(~mask[..., np.newaxis], self.go_backwards, bool)
        states = np.empty((len(start), time + 1, rows, self.units), self.dtype)
        states[:, 0] = start
        sums = products.multiply(inputs.reshape(-1, features), self.weight.value)
        sums = sums.reshape(time, rows, sums.shape[1])
        kept = self._take_steps(sums, states, skipped)
        return inputs, states, sums, kept, skipped

    @abstractmethod
    def _take_steps(self, sums: Array, states: Array, skipped: Array | None) -> Any:
        """Fill `states`. Turn `sums`, x W (T, N, gates H), into gates in place. Return what else `_step_back` needs."""

    @abstractmethod
    def _step_back(self, dhidden: Array, states: Array, gates: Array, kept: Any, skipped: Array | None) -> Array:
        """Write the gradient of the recurrent weight; return the gradient of the sums x W + b, (T, N, gates H).

        `dhidden` (T, N, H) is the gradient of the layer's output, and becomes the gradient of the hidden states.
        """

    def _output(self, states: Array) -> Array:
        return states[0, 1:].swapaxes(0, 1).copy() if self.return_sequences else states[0, -1].copy()

    def backward(self, dy: Array) -> Array | None:
        inputs, states, gates, kept, skipped = self.saved
        time, rows, features = inputs.shape
        if self.return_sequences:
            dhidden = _by_steps(dy, False, self.dtype)
        else:
            dhidden = np.zeros((time, rows, self.units), self.dtype)
            dhidden[-1] = dy
        dsums = self._step_back(dhidden, states, gates, kept, skipped)
        dsums = dsums.reshape(time * rows, dsums.shape[2])
        products.multiply_transposed(inputs.reshape(-1, features), dsums, self.weight.gradient)
        sum_rows(dsums, out=self.bias.gradient)
        if not self.needs_input_gradient:
            return None
        dx = dsums.dot(self.weight.value.T).reshape(inputs.shape)
        return (dx[::-1] if self.go_backwards else dx).swapaxes(0, 1).copy()

    def _write_recurrent_gradient(self, hidden: Array, dsums: Array) -> None:
        """Write it by one product over all steps. Each step multiplied the previous state, (T, N, H), by the weight."""
        before = hidden[:-1].reshape(-1, self.units)
        products.multiply_transposed(before, dsums.reshape(len(before), dsums.shape[2]), self.recurrent_weight.gradient)


class SimpleRNN(_Recurrent):
    """Elman's recurrent layer, ``h_t = f(x_t W + h_{t-1} U + b)``; the output is h.

    Parameters
    ----------
    units : int, > 0
        H, the width of the state.
    activation : "tanh" or "relu", default "tanh"
        f.
    return_sequences : bool, default False
        Whether to return the output of each step, (N, T, H), or only of the last step, (N, H).
    go_backwards : bool, default False
        Take the steps from the last position to the first. As in Keras, the outputs are then in the order of the steps:
        the first output belongs to the last position.
    initializer : Initializer or its name, default "glorot_uniform"
        Draws W.
    recurrent_initializer : Initializer or its name, default "orthogonal"
        Draws U, a matrix with orthonormal columns.
    regularizer, constraint : optional
        As for `Dense`, applied to W and to U.

    Masks: where ``mask`` (N, T) is False, the step is skipped: state and output stay as in the previous step.

    Shapes: (N, T, F) -> (N, H), or (N, T, H) with ``return_sequences=True``; ``weight`` W (F, H), ``recurrent_weight``
    U (H, H), ``bias`` b (H,). Gradients, from the last step to the first: dh_t is the gradient of the output plus
    da_{t+1} U^T from step t + 1, and da_t = dh_t f'(a_t) is the gradient of the sum a_t. Over all steps:
    dW = sum_t x_t^T da_t, dU = sum_t h_{t-1}^T da_t, db = sum da_t, dx_t = da_t W^T.

    PyTorch's RNN: ``weight = weight_ih_l0.T``, ``recurrent_weight = weight_hh_l0.T``, ``bias = bias_ih_l0 +
    bias_hh_l0``.

    Raises ShapeError at set-up if the samples are not (T, F).
    Source: Elman (1990), "Finding structure in time", Cognitive Science 14.
    """

    activation: str = setting(default="tanh", check=one_of("tanh", "relu"), fixed=True)

    def _take_steps(self, sums: Array, states: Array, skipped: Array | None) -> None:
        weight, (hidden,) = self.recurrent_weight.value, states
        _run_rnn(sums, weight, self.bias.value, hidden, skipped, self.activation == "relu")

    def _step_back(self, dhidden: Array, states: Array, gates: Array, kept: None, skipped: Array | None) -> Array:
        (hidden,) = states
        dsums = _run_rnn_back(dhidden, self.recurrent_weight.value, hidden, skipped, self.activation == "relu")
        self._write_recurrent_gradient(hidden, dsums)
        return dsums


class GRU(_Recurrent):
    """Gated recurrent unit, in the form of PyTorch and of Keras with ``reset_after=True``; the output is h.

    With the gates r (reset) and z (update), sigmoids, and the candidate n::

        r_t = sigmoid(x_t W_r + h_{t-1} U_r + b_r)
        z_t = sigmoid(x_t W_z + h_{t-1} U_z + b_z)
        n_t = tanh(x_t W_n + b_n + r_t m_t),    m_t = h_{t-1} U_n + c
        h_t = (1 - z_t) n_t + z_t h_{t-1}

    The reset gate acts on the product with the state, not on the state, so one product with U serves all gates.
    Therefore n has two biases: b_n outside of the part that r multiplies, and the ``recurrent_bias`` c inside. For r
    and z, two biases would only be added up, so there is one.

    Parameters
    ----------
    units : int, > 0
        H, the width of the state.
    return_sequences, go_backwards, initializer, recurrent_initializer, regularizer, constraint : optional
        As for `SimpleRNN`, as are masks. The first values of W and U are drawn separately for each gate.

    Shapes: (N, T, F) -> (N, H), or (N, T, H) with ``return_sequences=True``; ``weight`` W (F, 3H) and
    ``recurrent_weight`` U (H, 3H) with the blocks r, z, n, in PyTorch's order; ``bias`` b (3H,) and ``recurrent_bias``
    c (H,). Gradients: backwards through the steps, see docs/mathematics.md. The gradients of W, U and b are one product
    or sum over all steps.

    PyTorch's GRU: ``weight = weight_ih_l0.T``, ``recurrent_weight = weight_hh_l0.T``; ``bias`` is ``bias_ih_l0``, with
    ``bias_hh_l0`` added to its first 2H numbers; ``recurrent_bias`` is the rest of ``bias_hh_l0``. Keras has the blocks
    z, r, n.

    Raises ShapeError at set-up if the samples are not (T, F).
    Source: Cho et al. (2014), arXiv:1406.1078.
    """

    gates = 3

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        shape = super().build(input_shape, declare)
        self.recurrent_bias = declare.parameter("recurrent_bias", self.units, "zeros")
        return shape

    def _take_steps(self, sums: Array, states: Array, skipped: Array | None) -> Array:
        weight, (hidden,) = self.recurrent_weight.value, states
        return _run_gru(sums, weight, self.bias.value, self.recurrent_bias.value, hidden, skipped)

    def _step_back(self, dhidden: Array, states: Array, gates: Array, kept: Array, skipped: Array | None) -> Array:
        (hidden,) = states
        drecurrent, dcandidate = _run_gru_back(dhidden, gates, kept, self.recurrent_weight.value, hidden, skipped)
        self._write_recurrent_gradient(hidden, drecurrent)
        candidate = slice(2 * self.units, None)
        self.recurrent_bias.gradient = sum_rows(drecurrent.reshape(-1, 3 * self.units))[candidate]
        dsums = drecurrent  # for n: the sums outside of the part that r multiplies
        dsums[..., candidate] = dcandidate
        return dsums


class LSTM(_Recurrent):
    """Long short-term memory; the output is h.

    With the gates i (input), f (forget) and o (output), sigmoids, the candidate g and the cell c::

        i_t, f_t, o_t = sigmoid(x_t W_k + h_{t-1} U_k + b_k)    for k = i, f, o
        g_t = tanh(x_t W_g + h_{t-1} U_g + b_g)
        c_t = f_t c_{t-1} + i_t g_t
        h_t = o_t tanh(c_t)

    Parameters
    ----------
    units : int, > 0
        H, the width of the state.
    return_sequences, go_backwards, initializer, recurrent_initializer, regularizer, constraint : optional
        As for `SimpleRNN`, as are masks. The first values of W and U are drawn separately for each gate.

    Shapes: (N, T, F) -> (N, H), or (N, T, H) with ``return_sequences=True``; ``weight`` W (F, 4H),
    ``recurrent_weight`` U (H, 4H) and ``bias`` b (4H,) with the blocks i, f, g, o, in the order of PyTorch and Keras.
    The bias starts at 1 for f, so that the cell keeps its content, and at 0 for the others. Gradients: backwards
    through the steps, see docs/mathematics.md. The gradients of W, U and b are one product or sum over all steps.

    PyTorch's LSTM: ``weight = weight_ih_l0.T``, ``recurrent_weight = weight_hh_l0.T``, ``bias = bias_ih_l0 +
    bias_hh_l0``.

    Raises ShapeError at set-up if the samples are not (T, F).
    Source: Hochreiter and Schmidhuber (1997), Neural Computation 9(8); the forget gate: Gers, Schmidhuber and Cummins
    (2000), Neural Computation 12(10); its bias of 1: Jozefowicz, Zaremba and Sutskever (2015), ICML.
    """

    gates = 4
    numbers_in_state = 2

    def _initial_bias(self) -> Initializer:
        return _ForgetBias()

    def _take_steps(self, sums: Array, states: Array, skipped: Array | None) -> Array:
        hidden, cells = states
        return _run_lstm(sums, self.recurrent_weight.value, self.bias.value, hidden, cells, skipped)

    def _step_back(self, dhidden: Array, states: Array, gates: Array, kept: Array, skipped: Array | None) -> Array:
        hidden, cells = states
        dsums = _run_lstm_back(dhidden, gates, cells, kept, self.recurrent_weight.value, skipped)
        self._write_recurrent_gradient(hidden, dsums)
        return dsums


class _GateByGate(Initializer):
    """Draws the block of columns of each gate separately, like the weight of a separate layer."""

    initializer: Initializer | str = setting(kw_only=False, check=is_initializer)
    gates: int = setting(kw_only=False, low=1, whole=True)

    def draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        block = (shape[0], shape[1] // self.gates)
        return np.hstack([get_initializer(self.initializer)(block, rng, np.float64) for _ in range(self.gates)])


class _ForgetBias(Initializer):
    """1 for the second of four gates, 0 for the others."""

    def draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        return np.repeat([0.0, 1.0, 0.0, 0.0], shape[0] // 4)


def _as_one_way(layer: Any, place: str) -> _Recurrent:
    """Return a new recurrent layer that goes forwards. Raise ArgumentTypeError or ArgumentError for anything else."""
    if not isinstance(layer, _Recurrent):
        raise ArgumentTypeError(f"{place} is {brief(layer)}; it must be a SimpleRNN, GRU or LSTM")
    if layer.go_backwards:
        raise ArgumentError(f"{place} goes backwards: give the layer that goes forwards; the other one is made from it")
    if layer.input_shape is not None:
        cure = f"give a new {type(layer).__name__}, because both directions get their first values together"
        raise ArgumentError(f"{place} is set up already: {cure}")
    return layer


def _as_merge(value: Any, place: str) -> str:
    """Return "concatenate", "sum" or "mean". Raise ArgumentError for other texts."""
    for of_keras, own in (("concat", "concatenate"), ("ave", "mean")):
        if value == of_keras:
            raise ArgumentError(f"{place} is {value!r}; here it is {own!r}")
    return one_of("concatenate", "sum", "mean")(value, place)


def _in_the_other_direction(layer: _Recurrent) -> _Recurrent:
    copied = copy.deepcopy(layer)
    copied.go_backwards = True
    return copied


class Bidirectional(Layer):
    """Two recurrent layers over one sequence, one from its start and one from its end; their outputs are merged.

    Parameters
    ----------
    layer : SimpleRNN, GRU or LSTM
        The layer from the start. The other one is made like it. In paths they are called ``forward`` and ``backward``:
        ``bidirectional_1/backward/weight``.
    merge : "concatenate", "sum" or "mean", default "concatenate"
        How to combine both outputs. With ``return_sequences=True``, the second layer's outputs are first put back into
        the order of the positions.

    Shapes: (N, T, F) -> (N, 2H), or (N, H) without concatenation; with ``return_sequences=True``
    (N, T, 2H) or (N, T, H). dx is the sum of both layers' dx. Both layers get the mask.

    PyTorch's ``bidirectional=True`` concatenates. There, the second layer's parameters have names with ``_reverse``.

    Raises the layer's ShapeError, ArgumentTypeError for another layer, and ArgumentError if the layer goes backwards or
    is set up.
    Source: Schuster and Paliwal (1997), "Bidirectional recurrent neural networks", IEEE Transactions on Signal
    Processing 45(11).
    """

    layer: Any = setting(kw_only=False, check=_as_one_way, fixed=True)
    merge: str = setting(default="concatenate", check=_as_merge, fixed=True)
    takes_mask = True

    def __post_init__(self) -> None:
        self._returning = _in_the_other_direction(self.layer)

    def sublayers(self) -> Mapping[str, Layer]:
        return {"forward": self.layer, "backward": self._returning}

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        if self.layer.input_shape is None:  # until now its settings could change
            if type(self._returning) is not type(self.layer):
                self._returning = _in_the_other_direction(self.layer)
            for name in self.layer.configuration().keys() - {"name", "go_backwards"}:
                setattr(self._returning, name, getattr(self.layer, name))
        *before, units = declare.sublayer("forward", input_shape)
        declare.sublayer("backward", input_shape)
        return (*before, 2 * units if self.merge == "concatenate" else units)

    def mask_after(self, x: Array | None, mask: Array | None) -> Array | None:
        """Return the mask of the output. For sequences it is the mask of the input."""
        return mask if self.layer.return_sequences else None

    def forward(self, x: Array, training: bool = False, mask: Array | None = None) -> Array:
        masked = {} if mask is None else {"mask": mask}
        y, returning = (layer.forward(x, training=training, **masked) for layer in (self.layer, self._returning))
        if self.layer.return_sequences:
            returning = returning[:, ::-1]
        if self.merge == "concatenate":
            return np.concatenate([y, returning], axis=-1)
        y += returning
        if self.merge == "mean":
            y /= 2
        return y

    def continued(self, x: Array, memory: dict[str, Any]) -> Array:
        """Raise ArgumentError: the second layer starts at the end, which is not known yet."""
        raise ArgumentError("Bidirectional reads a sequence from its end, too: it cannot continue one")

    def backward(self, dy: Array) -> Array | None:
        if self.merge == "concatenate":
            ahead, back = np.split(dy, 2, axis=-1)
        else:
            ahead = back = dy / 2 if self.merge == "mean" else dy
        if self.layer.return_sequences:
            back = back[:, ::-1]
        self.layer.needs_input_gradient = self._returning.needs_input_gradient = self.needs_input_gradient
        dx, dx_returning = self.layer.backward(ahead), self._returning.backward(back)
        return None if dx is None or dx_returning is None else dx + dx_returning


# The loops over the steps. Arrays are (T, N, ...); `skipped` (T, N, 1) is True where a step is skipped, or None.


def _run_rnn(
    sums: Array, recurrent_weight: Array, bias: Array, hidden: Array, skipped: Array | None, rectified: bool
) -> None:
    """Fill `hidden` (T + 1, N, H) from the `sums` ``x W``. The first state is given."""
    for t, step in enumerate(sums):
        before, after = hidden[t], hidden[t + 1]
        np.dot(before, recurrent_weight, out=after)
        after += step
        after += bias
        if rectified:
            np.maximum(after, 0, out=after)
        else:
            np.tanh(after, out=after)
        if skipped is not None:
            np.copyto(after, before, where=skipped[t])


def _run_rnn_back(
    dhidden: Array, recurrent_weight: Array, hidden: Array, skipped: Array | None, rectified: bool
) -> Array:
    """Return the gradient of the sums. `dhidden` becomes the whole gradient of each step's state."""
    after = hidden[1:]
    dsums = (after > 0).astype(after.dtype) if rectified else 1 - after * after
    if skipped is not None:
        dsums *= ~skipped
    weight, back = np.ascontiguousarray(recurrent_weight.T), np.zeros_like(dhidden[:1])[0]
    for t in range(len(dsums) - 1, -1, -1):
        dhidden[t] += back
        dsums[t] *= dhidden[t]
        np.dot(dsums[t], weight, out=back)
        if skipped is not None:
            back += dhidden[t] * skipped[t]
    return dsums


def _run_gru(
    gates: Array, recurrent_weight: Array, bias: Array, recurrent_bias: Array, hidden: Array, skipped: Array | None
) -> Array:
    """Turn the sums ``x W`` into gates in place, fill `hidden` (T + 1, N, H), and return what reset gates multiply."""
    units = hidden.shape[2]
    multiplied, product = np.empty_like(hidden[1:]), np.empty_like(gates[:1])[0]
    sigmoids, (reset, update, candidate) = gates[..., : 2 * units], _split(gates, 3)
    for t in range(len(gates)):
        before, after = hidden[t], hidden[t + 1]
        np.dot(before, recurrent_weight, out=product)
        gates[t] += bias
        sigmoids[t] += product[:, : 2 * units]
        _open_gates(sigmoids[t], 0.5, 0.5)
        np.add(product[:, 2 * units :], recurrent_bias, out=multiplied[t])
        np.multiply(reset[t], multiplied[t], out=after)
        after += candidate[t]
        np.tanh(after, out=candidate[t])
        np.subtract(before, candidate[t], out=after)  # n + z (h - n)
        after *= update[t]
        after += candidate[t]
        if skipped is not None:
            np.copyto(after, before, where=skipped[t])
    return multiplied


def _run_gru_back(
    dhidden: Array, gates: Array, multiplied: Array, recurrent_weight: Array, hidden: Array, skipped: Array | None
) -> tuple[Array, Array]:
    """Return the gradients of the sums with the state (``h U`` and the recurrent bias) and of the candidate's sum.

    `dhidden` becomes the whole gradient of each step's state.
    """
    reset, update, candidate = _split(gates, 3)
    # The factor of dh for each gate does not depend on later steps.
    drecurrent = np.empty_like(gates)
    by_reset, by_update, by_multiplied = _split(drecurrent, 3)
    by_candidate = (1 - update) * (1 - candidate * candidate)
    np.multiply(by_candidate * multiplied, reset * (1 - reset), out=by_reset)
    np.multiply(hidden[:-1] - candidate, update * (1 - update), out=by_update)
    if skipped is not None:
        by_candidate *= ~skipped
        by_reset *= ~skipped
        by_update *= ~skipped
        update = np.where(skipped, 1, update)  # the state before is the state after
    np.multiply(by_candidate, reset, out=by_multiplied)
    weight, back = np.ascontiguousarray(recurrent_weight.T), np.zeros_like(dhidden[:1])[0]
    every_gate = np.moveaxis(_split(drecurrent, 3), 0, 2)
    for t in range(len(gates) - 1, -1, -1):
        dhidden[t] += back
        every_gate[t] *= dhidden[t][:, np.newaxis]
        np.dot(drecurrent[t], weight, out=back)
        back += dhidden[t] * update[t]
    return drecurrent, by_candidate * dhidden


def _run_lstm(
    gates: Array, recurrent_weight: Array, bias: Array, hidden: Array, cells: Array, skipped: Array | None
) -> Array:
    """Turn the sums ``x W`` into gates in place, fill `hidden` and `cells` (T + 1, N, H), return the cells' tanh."""
    product, gain, tanh_cells = np.empty_like(gates[:1])[0], np.empty_like(hidden[0]), np.empty_like(hidden[1:])
    scales = np.repeat(np.array([0.5, 0.5, 1, 0.5], gates.dtype), hidden.shape[2])  # g is not a sigmoid
    shifts = 1 - scales
    gates_in, forget, candidate, gates_out = _split(gates, 4)
    for t in range(len(gates)):
        np.dot(hidden[t], recurrent_weight, out=product)
        gates[t] += product
        gates[t] += bias
        _open_gates(gates[t], scales, shifts)
        np.multiply(forget[t], cells[t], out=cells[t + 1])
        np.multiply(gates_in[t], candidate[t], out=gain)
        cells[t + 1] += gain
        np.tanh(cells[t + 1], out=tanh_cells[t])
        np.multiply(gates_out[t], tanh_cells[t], out=hidden[t + 1])
        if skipped is not None:
            np.copyto(hidden[t + 1], hidden[t], where=skipped[t])
            np.copyto(cells[t + 1], cells[t], where=skipped[t])
    return tanh_cells


def _run_lstm_back(
    dhidden: Array, gates: Array, cells: Array, tanh_cells: Array, recurrent_weight: Array, skipped: Array | None
) -> Array:
    """Return the gradient of the sums. `dhidden` becomes the whole gradient of each step's hidden state."""
    gates_in, forget, candidate, gates_out = _split(gates, 4)
    # The factors of dc for the gates i, f and g, and of dh for o, do not depend on later steps.
    dsums = 1 - gates
    dsums *= gates
    by_in, by_forget, by_candidate, by_out = _split(dsums, 4)
    by_in *= candidate
    by_forget *= cells[:-1]
    np.multiply(gates_in, 1 - candidate * candidate, out=by_candidate)
    by_out *= tanh_cells
    to_cell = gates_out * (1 - tanh_cells * tanh_cells)
    if skipped is not None:
        dsums *= ~skipped
        to_cell *= ~skipped
        forget = np.where(skipped, 1, forget)  # the cell before is the cell after
    weight, back = np.ascontiguousarray(recurrent_weight.T), np.zeros_like(dhidden[:1])[0]
    dcell, part = np.zeros_like(back), np.empty_like(back)
    of_cell = np.moveaxis(_split(dsums, 4)[:3], 0, 2)
    for t in range(len(gates) - 1, -1, -1):
        dhidden[t] += back
        np.multiply(dhidden[t], to_cell[t], out=part)
        dcell += part
        of_cell[t] *= dcell[:, np.newaxis]
        by_out[t] *= dhidden[t]
        dcell *= forget[t]
        np.dot(dsums[t], weight, out=back)
        if skipped is not None:
            back += dhidden[t] * skipped[t]
    return dsums


def _open_gates(sums: Array, scales: Array | float, shifts: Array | float) -> None:
    """Turn sums into gates in place, by one tanh: ``sigmoid(a) = (1 + tanh(a / 2)) / 2``. Both numbers are then 1/2.

    With 1 and 0, the result is the tanh.
    """
    sums *= scales
    np.tanh(sums, out=sums)
    sums *= scales
    sums += shifts


def _split(gates: Array, count: int) -> Array:
    """Return views (T, N, H) of each gate's part of (T, N, count H)."""
    return np.moveaxis(gates.reshape(*gates.shape[:2], count, gates.shape[2] // count), 2, 0)


def _by_steps(x: Array, backwards: bool, dtype: DTypeLike) -> Array:
    """Return (N, T, ...) as a new array (T, N, ...) in the order of the steps."""
    steps = x.swapaxes(0, 1)
    return np.array(steps[::-1] if backwards else steps, dtype, order="C")
