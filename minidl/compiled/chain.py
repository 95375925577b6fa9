"""Networks of dense layers: one call forward and one backward, with the bits of layer by layer."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from minidl.compiled.blas import multiply_by_transposed, multiply_by_weight, multiply_transposed, routines, sum_rows
from minidl.compiled.layers import let_through, rectify
from minidl.compiled.loops import compiled
from minidl.compiled.switching import replaces
from minidl.layers import Dense, Flatten, ReLU, Rescale, Reshape
from minidl.typing import Array

_Sequential = resolve_name("minidl.model:Sequential")


@replaces("minidl.training.gradients")
class _Gradients:
    @staticmethod
    def _forward_backward(model: Any, rows: Any, tally: Any, total_weight: float) -> Any:
        chain, x = chain_of(model), rows.x
        if chain is None or not _is_batch(x, model.input_shape):
            return NotImplemented
        for layer in chain.first:
            x = layer.forward(x, training=True)
        x = x.astype(model.dtype, copy=False)
        blas, outputs = routines(model.dtype), np.empty(len(x) * chain.numbers_per_row, model.dtype)
        forward(blas, chain.vectors[0], *chain.shape, x, outputs)
        scores = outputs[-len(x) * model.output_shape[0] :].reshape(len(x), -1)
        totals, dy = tally.count(scores, rows, 1 / total_weight)
        if dy.dtype == model.dtype and dy.flags.forc:
            by_columns = not dy.flags.c_contiguous
            backward(blas, *chain.vectors, *chain.shape, x, outputs, dy.T if by_columns else dy, by_columns)
        else:  # of a loss of one's own: NumPy multiplies it by other calls
            _leave_for_backward(model._computed[len(chain.first) :], x, outputs)
            model.backward(dy)
        return totals


def _leave_for_backward(layers: Any, x: Array, outputs: Array) -> None:
    """Leave what each layer keeps of its forward pass."""
    stop = 0
    for layer in layers:
        layer.saved = x
        if type(layer) is Dense:
            start, stop = stop, stop + len(x) * layer.units
            x = outputs[start:stop].reshape(len(x), layer.units)


def _is_batch(x: Any, input_shape: Any) -> bool:
    """Whether it is one that NumPy multiplies by the calls that are made here."""
    return isinstance(x, np.ndarray) and x.shape[1:] == input_shape and len(x) > 1 and x.flags.c_contiguous


class Chain(NamedTuple):
    """The dense layers of a model, which has nothing else but a ReLU behind some of them, and the first layers.

    Attributes
    ----------
    first : list of Layer
        Those without parameters before the first dense one.
    dense : list of Dense
    vectors : (parameters, gradients)
        In which all parameters lie.
    shape : (sizes, weights, biases, rectified)
        Numbers of inputs and units; where in the vectors weights and biases begin, -1 for none; whether ReLU follows.
    numbers_per_row : int
        How many outputs a row has, in all dense layers.
    """

    first: list[Any]
    dense: list[Any]
    vectors: tuple[Array, Array]
    shape: tuple[Array, Array, Array, Array]
    numbers_per_row: int


_chains: WeakKeyDictionary[Any, tuple[Any, Chain | None]] = WeakKeyDictionary()
"""The layers of each model as they were looked through, and the chain that they are."""


def chain_of(model: Any) -> Chain | None:
    """Return the chain that a model is, where all of it is trained and no gradient by the input is needed."""
    if type(model) is not _Sequential:  # a subclass may compute in a way of its own
        return None
    layers, chain = _chains.get(model, (None, None))
    if layers is not model._computed or (chain is not None and chain.dense[0].weight.vectors is not chain.vectors):
        chain = _look_through(model)
        _chains[model] = model._computed, chain
    if chain is None or model.needs_input_gradient or not all(layer.own_trainable for layer in chain.dense):
        return None
    for part in (model, *model._computed):
        own = part.__dict__
        if "forward" in own or "backward" in own:  # where somebody watches what a single layer puts out
            return None
    return chain


def _look_through(model: Any) -> Chain | None:
    layers, first = [*model._computed], []
    while layers and type(layers[0]) in {Rescale, Flatten, Reshape}:
        first.append(layers.pop(0))
    dense, rectified = [], []
    for layer in layers:
        if type(layer) is Dense:
            dense.append(layer)
            rectified.append(False)
        elif type(layer) is ReLU and dense and not rectified[-1]:
            rectified[-1] = True
        else:
            return None
    # Of a ReLU at the end, NumPy arranges the gradient by that of the loss.
    if not dense or rectified[-1] or model.output_shape is None or routines(model.dtype) is None:
        return None
    sizes = [dense[0].weight.value.shape[0], *(layer.units for layer in dense)]
    # Products with one row or column are other calls of BLAS; those of the last layer alone are made here.
    if len(dense[0].input_shape or ()) != 1 or min(sizes[:-1]) < 2:
        return None
    weights = [layer.weight.start for layer in dense]
    biases = [-1 if layer.bias is None else layer.bias.start for layer in dense]
    shape = np.array(sizes), np.array(weights), np.array(biases), np.array(rectified)
    return Chain(first, dense, dense[0].weight.vectors, shape, sum(sizes[1:]))


@compiled
def forward(blas, parameters, sizes, weights, biases, rectified, x, outputs):
    """Write what each dense layer puts out, after its ReLU, one after the other into `outputs`."""
    rows, start = x.shape[0], 0
    for layer in range(weights.size):
        inputs, units = sizes[layer], sizes[layer + 1]
        weight = parameters[weights[layer] : weights[layer] + inputs * units].reshape(inputs, units)
        y = outputs[start : start + rows * units].reshape(rows, units)
        if layer == 0:
            multiply_by_weight(blas, x, weight, y)
        else:
            before = outputs[start - rows * inputs : start].reshape(rows, inputs)
            multiply_by_weight(blas, before, weight, y)
        if biases[layer] >= 0:
            bias = parameters[biases[layer] : biases[layer] + units]
            for row in range(rows):
                for unit in range(units):
                    y[row, unit] += bias[unit]
        if rectified[layer]:
            rectify(y, y)
        start += rows * units


@compiled
def backward(blas, parameters, gradients, sizes, weights, biases, rectified, x, outputs, last, by_columns):
    """Write the gradients, given that by the scores, or its transpose where it lies by columns."""
    rows, stop, ones = x.shape[0], outputs.size, np.ones(x.shape[0], x.dtype)
    above = last  # the gradient by a layer's outputs
    for layer in range(weights.size - 1, -1, -1):
        inputs, units = sizes[layer], sizes[layer + 1]
        begin, end = weights[layer], weights[layer] + inputs * units
        weight, gradient = parameters[begin:end].reshape(inputs, units), gradients[begin:end].reshape(inputs, units)
        before = stop - rows * units
        columns = by_columns and layer == weights.size - 1
        if rectified[layer]:
            above = let_through(above, outputs[before:stop].reshape(rows, units))
        if biases[layer] >= 0:
            sum_rows(blas, above, ones, gradients[biases[layer] : biases[layer] + units], columns)
        if layer == 0:
            multiply_transposed(blas, x, above, gradient, columns)
        else:
            y = outputs[before - rows * inputs : before].reshape(rows, inputs)
            multiply_transposed(blas, y, above, gradient, columns)
            dx = np.empty((rows, inputs), x.dtype)
            multiply_by_transposed(blas, above, weight, dx, columns)
            above = dx
        stop = before
