"""Networks of dense layers: one call forward and one backward, with the same bits as layer by layer.

A network is a chain if it has only dense layers, with ReLU, batch normalization and dropout between them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pkgutil import resolve_name
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from minidl.compiled.blas import multiply_by_transposed, multiply_by_weight, multiply_transposed, routines, sum_rows
from minidl.compiled.layers import add_bias, let_through, multiply_in_place, rectify
from minidl.compiled.loops import compiled
from minidl.compiled.noise import drop, kept_levels, source_of
from minidl.compiled.normalization import differentiate_batch, normalize_batch
from minidl.compiled.switching import replaces
from minidl.layers import BatchNorm, Dense, Dropout, Flatten, ReLU, Rescale, Reshape
from minidl.typing import Array

_Sequential = resolve_name("minidl.model:Sequential")

DENSE, RECTIFY, NORMALIZE, DROP = range(4)
_KINDS = {Dense: DENSE, ReLU: RECTIFY, BatchNorm: NORMALIZE, Dropout: DROP}


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
        kept = np.empty(len(x) * chain.numbers_per_row, model.dtype)
        blas = routines(model.dtype)
        with chain.settings() as settings:
            forward(blas, chain.vectors[0], chain.table, *settings, x, kept)
            scores = chain.scores(kept, len(x))
            totals, dy = tally.count(scores, rows, 1 / total_weight)
            if dy.dtype == model.dtype and dy.flags.forc:
                by_columns = not dy.flags.c_contiguous
                dy = dy.T if by_columns else dy
                backward(blas, *chain.vectors, chain.table, *settings, x, kept, dy, by_columns)
                return totals
        # The gradient of a custom loss: NumPy multiplies it with other calls.
        chain.leave_for_backward(x, kept, settings.features)
        model.backward(dy)
        return totals


def _is_batch(x: Any, input_shape: Any) -> bool:
    """Whether NumPy multiplies it with the same calls as this module."""
    return isinstance(x, np.ndarray) and x.shape[1:] == input_shape and len(x) > 1 and x.flags.c_contiguous


class Chain:
    """A network that one call computes.

    Parameters
    ----------
    first : list of Layer
        The layers without parameters before the first dense layer.
    others : list of Layer

    Attributes
    ----------
    vectors : (parameters, gradients)
        The vectors that hold all parameters and gradients.
    table : array (len(others), 7) of int
        For each of the others: its kind, inputs and outputs; where in the vectors its weight and bias (or scale and
        shift) begin, -1 for none; and where it reads and writes in the numbers that are kept of a row.
    normalizes : bool
        Whether batch normalization is among the others.
    numbers_per_row : int
        The numbers kept of a row for the backward pass.
    """

    def __init__(self, first: list[Any], others: list[Any]) -> None:
        self.first, self.others, self.vectors = first, others, others[0].weight.vectors
        self._parameters = [parameter for layer in others for parameter in layer._parameters.values()]
        table, read, write, inputs = [], 0, 0, others[0].weight.value.shape[0]
        for layer in others:
            kind = _KINDS[type(layer)]
            units = layer.units if kind == DENSE else inputs
            # ReLU overwrites its input.
            place = read if kind == RECTIFY else write
            table.append((kind, inputs, units, *_places_of_parameters(layer), read, place))
            if kind == DENSE:
                read, write = write, write + units
            elif kind == NORMALIZE:  # the centered row, and behind it the normalized one
                read, write = write + units, write + 2 * units
            elif kind == DROP:  # the mask; the input is overwritten
                write += units
            inputs = units
        self.table, self.numbers_per_row = np.array(table), write
        self.normalizes = NORMALIZE in self.table[:, 0]
        is_plain = not self.normalizes and DROP not in self.table[:, 0]
        self._plain_settings = self._new_settings(np.zeros((3, 0))) if is_plain else None

    def is_whole(self) -> bool:
        """Whether all parameters are still in its vectors: another model may have taken some."""
        return all(parameter.vectors is self.vectors for parameter in self._parameters)

    def scores(self, kept: Array, rows: int) -> Array:
        """Return the output of the last layer."""
        return kept[len(kept) - rows * self.table[-1, 2] :].reshape(rows, -1)

    @contextlib.contextmanager
    def settings(self) -> Iterator[Settings]:
        """Provide what layers use in addition to parameters; at the end, write the running means back."""
        if self._plain_settings is not None:
            yield self._plain_settings
            return
        normalizing = [layer for layer in self.others if type(layer) is BatchNorm]
        means, variances = ([getattr(layer, name).value for layer in normalizing] for name in _RUNNING)
        none = np.zeros(0, self.vectors[0].dtype)
        settings = self._new_settings(
            np.stack([np.concatenate([none, *each]) for each in (means, variances, variances)])
        )
        with contextlib.ExitStack() as locks:
            drawing = {id(bits): bits for bits in map(_bits_of, self.others) if bits is not None}
            for bits in drawing.values():
                locks.enter_context(bits.lock)
            for index, layer in enumerate(self.others):
                if type(layer) is BatchNorm:
                    settings.numbers[index] = layer.momentum, layer.epsilon
                elif type(layer) is Dropout:
                    settings.numbers[index], settings.sources[index] = kept_levels(layer), source_of(_bits_of(layer))
            yield settings
        stop = 0
        for mean, variance in zip(means, variances, strict=True):
            start, stop = stop, stop + len(mean)
            mean[:], variance[:] = settings.features[:2, start:stop]

    def _new_settings(self, features: Array) -> Settings:
        numbers, sources = np.zeros((len(self.others), 2)), np.zeros((len(self.others), 2), np.intp)
        return Settings(numbers, sources, features.astype(self.vectors[0].dtype, copy=False))

    def leave_for_backward(self, x: Array, kept: Array, features: Array) -> None:
        """Set what each layer keeps of its forward pass."""
        rows, feature = len(x), 0
        for layer, (kind, _, units, *_, write) in zip(self.others, self.table.tolist(), strict=True):
            own = kept[write * rows : (write + units) * rows].reshape(rows, units)
            if kind == NORMALIZE:
                layer.saved = own, features[2, feature : feature + units].copy(), rows, None
                feature += units
            else:
                layer.saved = x if kind == DENSE else own
            if kind == DENSE:
                x = own
            elif kind == NORMALIZE:
                x = kept[(write + units) * rows : (write + 2 * units) * rows].reshape(rows, units)


class Settings(NamedTuple):
    """The numbers that the layers of a chain use in addition to their parameters.

    Attributes
    ----------
    numbers : array (layers, 2)
        Momentum and epsilon; or the number of levels at which an entry is kept, and the factor of kept entries.
    sources : array (layers, 2) of int
        The addresses of the sources of random bits.
    features : array (3, normalized features)
        Running mean and variance, and the inverse deviation in the batch.
    """

    numbers: Array
    sources: Array
    features: Array


def _bits_of(layer: Any) -> Any:
    return getattr(getattr(layer, "generator", None), "bit_generator", None)


_RUNNING = ("running_mean", "running_variance")


def _places_of_parameters(layer: Any) -> tuple[int, int]:
    names = ("scale", "shift") if type(layer) is BatchNorm else ("weight", "bias")
    parameters = [getattr(layer, name, None) for name in names]
    first, second = (-1 if each is None else each.start for each in parameters)
    return first, second


_chains: WeakKeyDictionary[Any, tuple[Any, Chain | None]] = WeakKeyDictionary()
"""The layers of each model when they were inspected, and the chain that they form."""


def chain_of(model: Any) -> Chain | None:
    """Return the chain of a model, if all of it is trained and no input gradient is needed."""
    if type(model) is not _Sequential:  # a subclass may compute in another way
        return None
    layers, chain = _chains.get(model, (None, None))
    if layers is not model._computed or (chain is not None and not chain.is_whole()):
        chain = look_through(model)
        _chains[model] = model._computed, chain
    if chain is None or model.needs_input_gradient or not all(map(_is_trained_alone, chain.others)):
        return None
    for part in (model, *model._computed):
        own = part.__dict__
        if "forward" in own or "backward" in own:  # a caller watches the outputs of a layer
            return None
    return chain


def _is_trained_alone(layer: Any) -> bool:
    """Whether it is trained, gets the whole batch in this thread and process, and draws numbers as NumPy does."""
    if isinstance(layer, Dropout):
        return type(layer.generator) is np.random.Generator and layer.rows_of_batch is None
    return layer.own_trainable and layer.over_batch is None


def look_through(model: Any) -> Chain | None:
    """Return the chain that the layers of a model form, trained or not."""
    layers, first = [*model._computed], []
    while layers and type(layers[0]) in {Rescale, Flatten, Reshape}:
        first.append(layers.pop(0))
    kinds = [type(layer) for layer in layers]
    # If a ReLU is last, NumPy lays out its gradient like the gradient of the loss.
    if not kinds or not kinds[0] is kinds[-1] is Dense or not set(kinds) <= _KINDS.keys():
        return None
    if model.output_shape is None or routines(model.dtype) is None or len(layers[0].input_shape or ()) != 1:
        return None
    # ReLU overwrites its input, which a layer before it may need.
    if any(kinds[i] is ReLU and kinds[i - 1] not in {Dense, BatchNorm} for i in range(len(kinds))):
        return None
    chain = Chain(first, layers)
    # Products with one row or column use other BLAS calls; only the last layer's are made here.
    return chain if min(chain.table[:, 1]) > 1 and chain.is_whole() else None


@compiled
def forward(blas, parameters, table, numbers, sources, features, x, kept):
    """Write the outputs of the layers, and the arrays for the backward pass, one after the other into `kept`."""
    rows, feature = x.shape[0], 0
    for layer in range(len(table)):
        kind, inputs, units = table[layer, 0], table[layer, 1], table[layer, 2]
        first, second, read, write = table[layer, 3], table[layer, 4], table[layer, 5], table[layer, 6]
        y = kept[write * rows : (write + units) * rows].reshape(rows, units)
        entries = inputs if layer > 0 else 0  # the first one reads x
        before = kept[read * rows : (read + entries) * rows].reshape(rows, entries)
        if kind == DENSE:
            weight = parameters[first : first + inputs * units].reshape(inputs, units)
            multiply_by_weight(blas, before if layer > 0 else x, weight, y)
            rectified = layer + 1 < len(table) and table[layer + 1, 0] == RECTIFY
            if second >= 0:
                add_bias(y, parameters[second : second + units], rectified)
            elif rectified:
                rectify(y, y)
        elif kind == RECTIFY:
            if table[layer - 1, 0] != DENSE:  # otherwise it is done
                rectify(y, y)
        elif kind == NORMALIZE:
            scale, shift = parameters[first : first + units], parameters[second : second + units]
            stop, momentum, epsilon = feature + units, numbers[layer, 0], numbers[layer, 1]
            mean, variance, inverse = features[0, feature:stop], features[1, feature:stop], features[2, feature:stop]
            normalized = kept[(write + units) * rows : (write + 2 * units) * rows].reshape(rows, units)
            normalize_batch(blas, before, scale, shift, mean, variance, momentum, epsilon, y, inverse, normalized)
            feature = stop
        else:
            levels, factor = int(numbers[layer, 0]), numbers[layer, 1]
            drop(sources[layer, 0], sources[layer, 1], before, levels, factor, y, before)


@compiled
def backward(blas, parameters, gradients, table, numbers, sources, features, x, kept, last, by_columns):
    """Write the gradients from the gradient of the scores, or from its transpose if it is contiguous by columns."""
    rows, feature, ones = x.shape[0], features.shape[1], np.ones(x.shape[0], x.dtype)
    above = last  # the gradient of a layer's outputs
    for layer in range(len(table) - 1, -1, -1):
        kind, inputs, units = table[layer, 0], table[layer, 1], table[layer, 2]
        first, second, read, write = table[layer, 3], table[layer, 4], table[layer, 5], table[layer, 6]
        own = kept[write * rows : (write + units) * rows].reshape(rows, units)
        entries = inputs if layer > 0 else 0  # the first one reads x
        before = kept[read * rows : (read + entries) * rows].reshape(rows, entries)
        if kind == DENSE:
            columns = by_columns and layer == len(table) - 1
            stop = first + inputs * units
            weight = parameters[first:stop].reshape(inputs, units)
            gradient = gradients[first:stop].reshape(inputs, units)
            if second >= 0:
                sum_rows(blas, above, ones, gradients[second : second + units], columns)
            if layer == 0:
                multiply_transposed(blas, x, above, gradient, columns)
            else:
                multiply_transposed(blas, before, above, gradient, columns)
                dx = np.empty((rows, inputs), x.dtype)
                multiply_by_transposed(blas, above, weight, dx, columns)
                above = dx
        elif kind == RECTIFY:
            let_through(above, own, above)
        elif kind == NORMALIZE:
            feature -= units
            inverse, scale = features[2, feature : feature + units], parameters[first : first + units]
            dscale, dshift = gradients[first : first + units], gradients[second : second + units]
            dx = np.empty((rows, units), x.dtype)
            differentiate_batch(blas, above, own, inverse, scale, dscale, dshift, dx)
            above = dx
        else:
            multiply_in_place(above, own)
