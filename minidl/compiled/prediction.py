"""Networks of dense layers in inference: all layers in one call, and also a single row with its check."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from minidl.arrays import check_finite
from minidl.compiled.blas import multiply_by_weight, routines
from minidl.compiled.chain import DENSE, RECTIFY, Chain, look_through
from minidl.compiled.layers import add_bias, rectify
from minidl.compiled.loops import compiled
from minidl.compiled.switching import replaces
from minidl.typing import Array, Shape

_Model = resolve_name("minidl.model:Sequential")


@replaces("minidl.model:Sequential")
class _Sequential:
    def predict_scores(self: Any, x: Any, batch_size: int | None = None) -> Any:
        plan = _plan_of(self)
        if plan is None or batch_size is not None or type(x) is not np.ndarray or x.shape != plan.row:
            return NotImplemented
        if x.dtype != plan.dtype or not x.flags.c_contiguous:
            return NotImplemented
        scores = np.empty((1, plan.outputs), plan.dtype)
        # The NumPy code reports which number is not finite.
        return scores if _score_row(plan.shape, plan.parameters, x, scores) else NotImplemented

    def _score(self: Any, x: Array, first_row: int) -> Any:
        plan = _plan_of(self)
        if plan is None or type(x) is not np.ndarray or x.shape[1:] != self.input_shape or not len(x):
            return NotImplemented
        check_finite(x, "x", first_row, plan.dtype)
        for layer in plan.first:
            x = layer.forward(x)
        x = x.astype(plan.dtype, copy=False)
        if not x.flags.c_contiguous:
            return NotImplemented
        scores = np.empty((len(x), plan.outputs), plan.dtype)
        _score_rows(plan.shape, plan.parameters, x, scores)
        return scores


class _Plan(NamedTuple):
    """The plan for computing the scores of a model.

    Attributes
    ----------
    layers : tuple of Layer
        The layers of the model when it was inspected.
    attributes : list of dict
        The attributes of the model and its layers: a caller may set a `forward` there to watch a layer's output.
    chain : Chain
        It knows whether all parameters are still in its vectors.
    parameters : array
    shape : array of int
        Addresses of BLAS (gemm, gemv, dot), then for each dense layer: the numbers of inputs and units; where in the
        parameters its weight and bias begin, -1 for none; whether ReLU follows.
    first : list of Layer
        The layers without parameters before the first dense layer.
    row : tuple of int or None
        The shape of a batch of one row; None if layers without parameters come first.
    outputs : int
    dtype : numpy.dtype
    """

    layers: Any
    attributes: list[dict[str, Any]]
    chain: Chain
    parameters: Array
    shape: Array
    first: list[Any]
    row: Shape | None
    outputs: int
    dtype: np.dtype[Any]


_plans: WeakKeyDictionary[Any, tuple[Any, _Plan | None]] = WeakKeyDictionary()
"""The layers of each model when they were inspected, and the plan."""


def _plan_of(model: Any) -> _Plan | None:
    """Return the plan of a model that is a chain of dense layers."""
    layers, plan = _plans.get(model, (None, None))
    if layers is not model._computed or (plan is not None and not plan.chain.is_whole()):
        plan = _make_plan(model) if type(model) is _Model and model.input_shape is not None else None
        _plans[model] = model._computed, plan
    if plan is not None:
        for attributes in plan.attributes:
            if "forward" in attributes:
                return None
    return plan


def _make_plan(model: Any) -> _Plan | None:
    chain, blas = look_through(model), routines(model.dtype)
    if chain is None or blas is None or chain.normalizes:
        return None
    dense = []
    for kind, inputs, units, weight, bias, *_ in chain.table.tolist():
        if kind == DENSE:
            dense.append([inputs, units, weight, bias, 0])
        elif kind == RECTIFY:
            dense[-1][4] = 1
    shape = np.array([*blas, *np.ravel(dense)])
    attributes = [vars(part) for part in (model, *model._computed)]
    row = None if chain.first else (1, *model.input_shape)
    outputs, dtype = dense[-1][1], model.dtype
    return _Plan(model._computed, attributes, chain, chain.vectors[0], shape, chain.first, row, outputs, dtype)


@compiled
def _score_row(shape, parameters, x, scores):
    """Write the scores of one row (1, inputs) and return True; return False if one of its numbers is not finite."""
    numbers, zero, is_finite = x[0], x.dtype.type(0), True
    for i in range(numbers.size):
        is_finite &= numbers[i] - numbers[i] == zero
    if is_finite:
        _score_rows(shape, parameters, x, scores)
    return is_finite


@compiled
def _score_rows(shape, parameters, x, scores):
    blas, rows, last = (shape[0], shape[1], shape[2]), x.shape[0], shape.size - 5
    before = np.empty((0, 0), x.dtype)
    for entry in range(3, shape.size, 5):
        inputs, units, weight_start, bias_start = shape[entry], shape[entry + 1], shape[entry + 2], shape[entry + 3]
        weight = parameters[weight_start : weight_start + inputs * units].reshape(inputs, units)
        y = scores if entry == last else np.empty((rows, units), x.dtype)
        if entry == 3:
            multiply_by_weight(blas, x, weight, y)
        else:
            multiply_by_weight(blas, before, weight, y)
        rectified = shape[entry + 4] > 0
        if bias_start >= 0:
            add_bias(y, parameters[bias_start : bias_start + units], rectified)
        elif rectified:
            rectify(y, y)
        before = y
