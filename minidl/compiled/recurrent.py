"""The loops of recurrent layers over their steps. NumPy's BLAS computes products, and NumPy's loops compute tanh.

Loops are small and each writes only one array, so that the compiler turns each into vector instructions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.compiled.blas import multiply, routines
from minidl.compiled.layers import add
from minidl.compiled.loops import compiled
from minidl.compiled.switching import replaces
from minidl.compiled.ufuncs import apply, loop_of
from minidl.typing import Array


@replaces("minidl.sequences.recurrent")
class _Steps:
    @staticmethod
    def _run_lstm(
        gates: Array, recurrent_weight: Array, bias: Array, hidden: Array, cells: Array, skipped: Array | None
    ) -> Any:
        blas = _blas_for(hidden[0], gates, recurrent_weight, bias, hidden, cells)
        if blas is None:
            return NotImplemented
        tanh_cells = np.empty_like(hidden[1:])
        tanh = loop_of(np.tanh, gates.dtype)
        _lstm(blas, tanh, gates, recurrent_weight, bias, hidden, cells, tanh_cells, _flags(skipped))
        return tanh_cells

    @staticmethod
    def _run_lstm_back(
        dhidden: Array, gates: Array, cells: Array, tanh_cells: Array, recurrent_weight: Array, skipped: Array | None
    ) -> Any:
        blas = _blas_for(cells[0], dhidden, gates, cells, tanh_cells, recurrent_weight)
        if blas is None:
            return NotImplemented
        dsums, weight = np.empty_like(gates), np.ascontiguousarray(recurrent_weight.T)
        _lstm_back(blas, dhidden, gates, cells, tanh_cells, weight, _flags(skipped), dsums)
        return dsums

    @staticmethod
    def _run_gru(
        gates: Array, recurrent_weight: Array, bias: Array, recurrent_bias: Array, hidden: Array, skipped: Array | None
    ) -> Any:
        blas = _blas_for(hidden[0], gates, recurrent_weight, bias, recurrent_bias, hidden)
        if blas is None:
            return NotImplemented
        multiplied = np.empty_like(hidden[1:])
        tanh = loop_of(np.tanh, gates.dtype)
        _gru(blas, tanh, gates, recurrent_weight, bias, recurrent_bias, hidden, multiplied, _flags(skipped))
        return multiplied

    @staticmethod
    def _run_gru_back(
        dhidden: Array, gates: Array, multiplied: Array, recurrent_weight: Array, hidden: Array, skipped: Array | None
    ) -> Any:
        blas = _blas_for(hidden[0], dhidden, gates, multiplied, recurrent_weight, hidden)
        if blas is None:
            return NotImplemented
        drecurrent, dcandidate = np.empty_like(gates), np.empty_like(dhidden)
        weight = np.ascontiguousarray(recurrent_weight.T)
        _gru_back(blas, dhidden, gates, multiplied, weight, hidden, _flags(skipped), drecurrent, dcandidate)
        return drecurrent, dcandidate


def _blas_for(state: Array, *arrays: Array) -> Any:
    """Return the routines for C-contiguous arrays of one type; None for others, and for vectors (other BLAS calls)."""
    alike = all(each.dtype == state.dtype and each.flags.c_contiguous for each in arrays)
    return routines(state.dtype) if alike and min(state.shape) > 1 else None


def _flags(skipped: Array | None) -> Array:
    """Return the skipped steps as (T, N), or an empty array if no step is skipped."""
    return np.zeros((0, 0), bool) if skipped is None else skipped[..., 0]


@compiled
def _carry(skipped, before, after):
    """Restore the previous state of the rows whose step is skipped."""
    for row in range(skipped.size):
        if skipped[row]:
            after[row] = before[row]


@compiled
def _carry_back(skipped, dhidden, back):
    number = back.dtype.type
    for row in range(skipped.size):
        factor = number(skipped[row])
        for unit in range(back.shape[1]):
            back[row, unit] += dhidden[row, unit] * factor


@compiled
def _lstm(blas, tanh, gates, weight, bias, hidden, cells, tanh_cells, skipped):
    time, rows, columns = gates.shape
    units = hidden.shape[2]
    number = gates.dtype.type
    product, scales = np.empty_like(gates[0]), np.full(columns, number(0.5))
    scales[2 * units : 3 * units] = number(1)
    shifts = number(1) - scales
    for t in range(time):
        step, tanh_cell = gates[t], tanh_cells[t]
        before, after, cell_before, cell = hidden[t], hidden[t + 1], cells[t], cells[t + 1]
        multiply(blas, (rows, columns, units), before, weight, product, False, False)
        for row in range(rows):
            for column in range(columns):
                step[row, column] = (step[row, column] + product[row, column] + bias[column]) * scales[column]
        apply(tanh, step, step)
        for row in range(rows):
            for column in range(columns):
                step[row, column] = step[row, column] * scales[column] + shifts[column]
        for row in range(rows):
            enters, kept, candidate = step[row, :units], step[row, units : 2 * units], step[row, 2 * units : 3 * units]
            for unit in range(units):
                cell[row, unit] = kept[unit] * cell_before[row, unit] + enters[unit] * candidate[unit]
        apply(tanh, cell, tanh_cell)
        for row in range(rows):
            shown = step[row, 3 * units :]
            for unit in range(units):
                after[row, unit] = shown[unit] * tanh_cell[row, unit]
        if skipped.size:
            _carry(skipped[t], before, after)
            _carry(skipped[t], cell_before, cell)


@compiled
def _lstm_back(blas, dhidden, gates, cells, tanh_cells, weight, skipped, dsums):
    time, rows, units = dhidden.shape
    number = gates.dtype.type
    one, zero = number(1), number(0)
    back, dcell = np.zeros_like(cells[0]), np.zeros_like(cells[0])
    for t in range(time - 1, -1, -1):
        dh = dhidden[t]
        add(back, dh)
        for row in range(rows):
            is_skipped = skipped.size > 0 and skipped[t, row]
            keeps = zero if is_skipped else one
            step, dstep, before, tanh_cell = gates[t, row], dsums[t, row], cells[t, row], tanh_cells[t, row]
            dh_row, dc_row = dh[row], dcell[row]
            enters, kept, candidate = step[:units], step[units : 2 * units], step[2 * units : 3 * units]
            shown = step[3 * units :]
            for unit in range(units):
                to_cell = shown[unit] * (one - tanh_cell[unit] * tanh_cell[unit]) * keeps
                dc_row[unit] += dh_row[unit] * to_cell
            part = dstep[:units]
            for unit in range(units):
                gate = enters[unit]
                part[unit] = gate * (one - gate) * candidate[unit] * keeps * dc_row[unit]
            part = dstep[units : 2 * units]
            for unit in range(units):
                gate = kept[unit]
                part[unit] = gate * (one - gate) * before[unit] * keeps * dc_row[unit]
            part = dstep[2 * units : 3 * units]
            for unit in range(units):
                part[unit] = enters[unit] * (one - candidate[unit] * candidate[unit]) * keeps * dc_row[unit]
            part = dstep[3 * units :]
            for unit in range(units):
                gate = shown[unit]
                part[unit] = gate * (one - gate) * tanh_cell[unit] * keeps * dh_row[unit]
            if not is_skipped:
                for unit in range(units):
                    dc_row[unit] *= kept[unit]
        multiply(blas, (rows, units, 4 * units), dsums[t], weight, back, False, False)
        if skipped.size:
            _carry_back(skipped[t], dh, back)


@compiled
def _gru(blas, tanh, gates, weight, bias, recurrent_bias, hidden, multiplied, skipped):
    time, rows, columns = gates.shape
    units = hidden.shape[2]
    half = gates.dtype.type(0.5)
    product, sums, candidate = (
        np.empty_like(gates[0]),
        np.empty((rows, 2 * units), gates.dtype),
        np.empty_like(hidden[0]),
    )
    for t in range(time):
        step, of_step, before, after = gates[t], multiplied[t], hidden[t], hidden[t + 1]
        multiply(blas, (rows, columns, units), before, weight, product, False, False)
        for row in range(rows):
            for column in range(2 * units):
                sums[row, column] = (step[row, column] + bias[column] + product[row, column]) * half
        apply(tanh, sums, sums)
        for row in range(rows):
            for column in range(2 * units):
                step[row, column] = sums[row, column] * half + half
        for row in range(rows):
            with_state, own, reset = product[row, 2 * units :], step[row, 2 * units :], step[row, :units]
            own_bias = bias[2 * units :]
            for unit in range(units):
                of_step[row, unit] = with_state[unit] + recurrent_bias[unit]
            for unit in range(units):
                after[row, unit] = reset[unit] * of_step[row, unit] + (own[unit] + own_bias[unit])
        apply(tanh, after, candidate)
        for row in range(rows):
            own, update = step[row, 2 * units :], step[row, units : 2 * units]
            for unit in range(units):
                own[unit] = candidate[row, unit]
            for unit in range(units):
                new = candidate[row, unit]
                after[row, unit] = (before[row, unit] - new) * update[unit] + new
        if skipped.size:
            _carry(skipped[t], before, after)


@compiled
def _gru_back(blas, dhidden, gates, multiplied, weight, hidden, skipped, drecurrent, dcandidate):
    time, rows, units = dhidden.shape
    number = gates.dtype.type
    one, zero = number(1), number(0)
    back, direct = np.zeros_like(hidden[0]), np.empty_like(hidden[0])
    for t in range(time - 1, -1, -1):
        dh = dhidden[t]
        add(back, dh)
        for row in range(rows):
            is_skipped = skipped.size > 0 and skipped[t, row]
            keeps = zero if is_skipped else one
            step, dstep, before, of_row = gates[t, row], drecurrent[t, row], hidden[t, row], multiplied[t, row]
            dh_row, to_row, by_candidate = dh[row], direct[row], dcandidate[t, row]
            reset, update, candidate = step[:units], step[units : 2 * units], step[2 * units :]
            for unit in range(units):
                by_candidate[unit] = (one - update[unit]) * (one - candidate[unit] * candidate[unit])
            part = dstep[:units]
            for unit in range(units):
                gate = reset[unit]
                part[unit] = by_candidate[unit] * of_row[unit] * (gate * (one - gate)) * keeps * dh_row[unit]
            part = dstep[units : 2 * units]
            for unit in range(units):
                gate = update[unit]
                part[unit] = (before[unit] - candidate[unit]) * (gate * (one - gate)) * keeps * dh_row[unit]
            part = dstep[2 * units :]
            for unit in range(units):
                part[unit] = by_candidate[unit] * keeps * reset[unit] * dh_row[unit]
            for unit in range(units):
                by_candidate[unit] = by_candidate[unit] * keeps * dh_row[unit]
            for unit in range(units):
                to_row[unit] = dh_row[unit] if is_skipped else dh_row[unit] * update[unit]
        multiply(blas, (rows, units, 3 * units), drecurrent[t], weight, back, False, False)
        add(direct, back)
