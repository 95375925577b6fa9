"""The model: a sequence of layers whose parameters live in one vector, and whose gradients in another."""

from __future__ import annotations

import itertools
import os
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minidl.configuration import decode, encode
from minidl.errors import (
    ArgumentError,
    ArgumentTypeError,
    DataError,
    FileFormatError,
    MinidlError,
    NotReadyError,
    ShapeError,
)
from minidl.files import read_described, write_described
from minidl.inputs import as_array, as_shape, check_finite, check_lengths, check_whole_number
from minidl.layers import BatchNorm, Layer, Sigmoid, Softmax
from minidl.layers.base import Parameter, copy_into
from minidl.layers.normalization import PooledStatistics
from minidl.losses import CategoricalLoss, Loss, SigmoidCrossEntropy
from minidl.typing import Array, Shape

__all__ = ["Sequential"]

FILE_VERSION = 1
"""Version of the model file's format; files of a newer one are refused."""

_first_use = threading.RLock()
"""Held while a model takes its input shape from the first data, so that threads do not both build it."""


class Sequential(Layer):
    """A stack of layers, each fed with the output of the one before; itself a layer, so models nest.

    Parameters
    ----------
    layers : sequence of Layer
        In the order of the forward pass. The last element may be a `Loss`; training needs one.
    input_shape : int or tuple of int, optional
        Shape of one sample, such as 784 or (28, 28, 1); left out, it is taken from the first data seen.
    seed : int, optional
        Of the first parameters: the same seed gives the same bits. Without one, they differ at each run.
    dtype : "float32" or "float64", default "float32"
        Of parameters, gradients and outputs. Input of other types, such as uint8 pixels, is converted batch by batch.
    name : str, optional
        As for any layer.

    Attributes
    ----------
    parameters, gradients : arrays of shape (count_parameters(),)
        All of the model's parameters, and the gradient of the loss with respect to them. Each layer's
        ``weight.value`` and ``weight.gradient`` are shaped views into these two, so changing one in place changes
        the other. Assigning, ``model.parameters = values``, copies into the vector.
    decaying : list of slice
        The parts of `parameters` that weight decay may shrink: by default weights, and not biases.
    layers : tuple of Layer
    loss : Loss or None

    Raises ArgumentTypeError for an element that is no layer, ArgumentError for a layer that is there twice or already
    part of another model, a name given twice, or a loss before the end; ShapeError when the layers' shapes do
    not fit each other.
    """

    def __init__(
        self,
        layers: Sequence[Layer | Loss],
        *,
        input_shape: int | Shape | None = None,
        seed: int | None = None,
        dtype: DTypeLike = "float32",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if str(dtype) not in {"float32", "float64"} and dtype not in (np.float32, np.float64):
            raise ArgumentError(f"dtype is {dtype!r}; a model computes in float32 or float64")
        self.dtype = np.dtype(dtype)
        if seed is not None:
            check_whole_number(seed, "seed", 0)
        self.seed = seed
        self.layers, self.loss = _split_loss(layers)
        # A model with a loss is there to be trained, and nobody asks for the gradient of its input; see backward.
        self.needs_input_gradient = self.loss is None
        take_in(self.layers, self)
        if input_shape is not None:
            self.build(as_shape(input_shape), np.random.default_rng(seed))

    def configuration(self) -> dict[str, Any]:
        if type(self).__init__ is not Sequential.__init__:
            raise ArgumentTypeError(
                f"{type(self).__name__} has an __init__ of its own, so a file could not say how to make it: write a "
                "function that returns a Sequential, or define configuration() and from_configuration()"
            )
        elements = [*self.layers, self.loss] if self.loss else [*self.layers]
        return {"layers": elements, "seed": self.seed, "dtype": self.dtype.name, "name": self.name}

    @classmethod
    def from_configuration(cls, **configuration: Any) -> Sequential:
        if "input_shape" in configuration:
            raise ArgumentError("a described model has no input shape: it is built once its arrays are at hand")
        return cls(**configuration)

    def sublayers(self) -> dict[str, Layer]:
        found = {str(layer.name): layer for layer in self.layers}
        if len(found) < len(self.layers):
            raise ArgumentError(f"two layers of the model have one name: {[layer.name for layer in self.layers]}")
        return found

    def build(self, input_shape: Shape, rng: np.random.Generator) -> Shape:
        """Build each layer for the output of the one before; a layer that is already built keeps its parameters."""
        shape = input_shape
        # A generator for each layer: what one draws does not depend on how much the others did.
        for layer, layer_rng in zip(self.layers, rng.spawn(len(self.layers)), strict=True):
            layer.change_dtype(self.dtype)
            shape = build_or_check(layer, shape, layer_rng)
            layer.change_dtype(self.dtype)  # again, for layers that came into being within build
        if self.loss:
            self.loss.check_output(shape)
        self._make_vectors()  # of nested models the outermost moves all into its own, after them
        self.require_input_gradient(self.needs_input_gradient)
        return shape

    def change_dtype(self, dtype: np.dtype[Any]) -> None:
        super().change_dtype(dtype)
        if self.input_shape is not None:
            self._make_vectors()

    def move_parameters(self, values: Array, gradients: Array) -> None:
        super().move_parameters(values, gradients)
        self._values, self._gradients = values, gradients
        self._decaying = _decaying_parts(self.named_parameters().values())

    @property
    def parameters(self) -> Array:
        """All parameters, as one vector."""
        self._check_built()
        return self._values

    @parameters.setter
    def parameters(self, values: Array) -> None:
        copy_into(self.parameters, values)

    @property
    def gradients(self) -> Array:
        """The gradient of the loss with respect to `parameters`, as one vector."""
        self._check_built()
        return self._gradients

    @gradients.setter
    def gradients(self, values: Array) -> None:
        copy_into(self.gradients, values)

    @property
    def decaying(self) -> list[slice]:
        """The parts of `parameters` that weight decay may shrink, in order, with a gap between any two."""
        self._check_built()
        return self._decaying

    def require_input_gradient(self, needed: bool = True) -> None:
        """Ask for, or do without, the gradient with respect to the input; each layer is asked for what that takes."""
        self.needs_input_gradient = needed
        self._reached_by_backward: list[Layer] = []
        for layer in self.layers:
            layer.require_input_gradient(needed)
            needed = needed or layer.count_parameters() > 0
            if needed:
                self._reached_by_backward.insert(0, layer)

    @property
    def casts_input(self) -> bool:  # type: ignore[override]
        """Whether the first layer takes numbers of any dtype."""
        return self.layers[0].casts_input

    def check_input(self, x: Array) -> None:
        """Raise ShapeError, naming the first layer, unless `x` is a batch of the model's input shape."""
        self.layers[0].check_input(x)

    def forward(self, x: Any, training: bool = False) -> Array:
        """Return the output of the last layer, (N, *output_shape); for a model with a loss these are the scores.

        Parameters
        ----------
        x : array of shape (N, *input_shape), or a pandas frame or nested list of that shape
        training : bool, default False
            Keep what `backward` needs. Without it nothing is written on the model, and threads may share it.
        """
        x = as_array(x, "x")
        self.build_for(x)
        self.check_input(x)
        if x.dtype != self.dtype and not self.casts_input:
            x = x.astype(self.dtype)
        for layer in self.layers:
            x = layer.forward(x, training=training)
            if x is None:
                raise ArgumentTypeError(f"{layer.place}: forward must return its output, not None")
        return x

    def backward(self, dy: Array) -> Array | None:
        """Write all gradients, given that of the loss with respect to the output of the last training `forward`.

        Returns the gradient with respect to the input for a model without a loss, or after
        ``require_input_gradient()``. Otherwise that work is saved, as in a layer before which none has parameters.
        """
        self._check_built()
        dx: Array | None = dy
        for layer in self._reached_by_backward:
            dx = layer.backward(dy)
            if dx is None:
                if layer.needs_input_gradient:
                    raise ArgumentTypeError(f"{layer.place}: backward must return the input's gradient, not None")
                break
            dy = dx
        return dx if self.needs_input_gradient else None

    def penalize(self) -> float:
        """Add the gradients of all parameters' regularizers to `gradients`; return the sum of their penalties."""
        penalty = 0.0
        for parameter, regularizer in self._regularized:
            own, gradient = regularizer(parameter.value)
            parameter.gradient[...] += gradient
            penalty += own
        return penalty

    def penalty(self) -> float:
        """Return the sum of all regularizers' penalties, which the trainer adds to the loss."""
        return sum(regularizer(parameter.value)[0] for parameter, regularizer in self._regularized)

    @property
    def is_constrained(self) -> bool:
        """Whether a parameter has a constraint."""
        return bool(self._constrained)

    def constrain(self) -> None:
        """Hold each parameter to its constraint, as the trainer does after each step."""
        for parameter, constraint in self._constrained:
            constraint.apply(parameter.value)

    def build_for(self, x: Array) -> None:
        """Build for the shape of the samples in the batch `x`, unless built already."""
        if self.input_shape is not None:
            return
        if x.ndim < 2:
            raise ShapeError(
                f"x has shape {x.shape}; a batch has a row per sample, (N, features) or more axes: pass "
                "x[np.newaxis] for a single sample, x.reshape(-1, 1) for a single feature"
            )
        with _first_use:
            if self.input_shape is None:
                self.build(x.shape[1:], np.random.default_rng(self.seed))

    def predict(self, x: Any, batch_size: int = 1024) -> Array:
        """Return predictions as in scikit-learn: labels for a classifier, values for a regression.

        Parameters
        ----------
        x : array of shape (N, *input_shape), or a memory map, a pandas frame or a nested list
        batch_size : int, default 1024
            Rows computed at once; bounds the memory, and changes nothing else but the last bits.

        Returns
        -------
        array
            Integer labels (N,) with a loss of classes, such as SoftmaxCrossEntropy, or SigmoidCrossEntropy on one
            output; 0 or 1 for each of several outputs (N, K); values (N,) or (N, K) with a loss of numbers, such as
            MeanSquaredError. Without a loss, the output itself.

        Raises
        ------
        ShapeError
            When `x` has another shape than the model's input.
        DataError
            When `x` holds NaN, infinity, or anything but numbers.
        """
        scores = self.predict_scores(x, batch_size)
        return self.loss.decide(scores) if self.loss else scores

    def predict_proba(self, x: Any, batch_size: int = 1024) -> Array:
        """Return probabilities (N, K): the loss's own activation of the scores; parameters as in `predict`.

        One row sums to 1 with SoftmaxCrossEntropy and the other losses that contain softmax; with SigmoidCrossEntropy
        each entry is the probability of a 1, also for a single output: (N, 1), where scikit-learn's two-class
        classifiers give (N, 2).
        Raises ArgumentError when the model has no loss, or a loss that gives no probabilities.
        """
        if self.loss is None:
            raise ArgumentError("the model has no loss that could turn scores into probabilities: use predict(x)")
        return self.loss.activate(self.predict_scores(x, batch_size))

    def predict_scores(self, x: Any, batch_size: int = 1024) -> Array:
        """Return the scores (N, *output_shape) that enter the loss; parameters and errors as in `predict`.

        They are the output of ``forward``, computed with the checks and in the batches of `predict`.
        """
        x = as_array(x, "x")
        check_whole_number(batch_size, "batch_size", 1)
        blocks = []
        for start in range(0, max(len(x), 1) if x.ndim else 1, batch_size):
            block = x[start : start + batch_size] if x.ndim else x
            check_finite(block, "x", first_row=start, dtype=self.dtype)
            blocks.append(self.forward(block))
        return np.concatenate(blocks) if len(blocks) > 1 else blocks[0]

    def recompute_statistics(self, x: Any, batch_size: int = 1024) -> None:
        """Compute the running means and variances of all `BatchNorm` layers anew, with the weights as they are.

        For weights that no training step led to, such as the average that `StochasticWeightAveraging` leaves: the
        running statistics are those of the last steps, and do not belong to it. The new ones are the mean and the
        variance (with 1/(n - 1)) of all that enters a layer while `x` passes in training: of all rows, and not means
        over the batches. A layer behind another `BatchNorm` gets what that makes of each batch, as in training. Random
        layers draw as in training, and go on afterwards as if they had not.

        Parameters
        ----------
        x : array of shape (N, *input_shape), or a memory map, a pandas frame or a nested list
            Training rows, two or more.
        batch_size : int, >= 2, default 1024
            Rows computed at once. Where the last batch would be a single row, which has no variance, that row joins the
            batch before.

        Raises as `predict`, and DataError for fewer than two rows. What fails changes no statistics.
        Source: Izmailov et al. (2018), arXiv:1803.05407, the end of algorithm 1.
        """
        x = as_array(x, "x")
        check_whole_number(batch_size, "batch_size", 2)
        rows = check_lengths(x=x)
        if rows < 2:
            raise DataError("x has one row, and a variance takes two or more")
        check_finite(x, "x", dtype=self.dtype)
        self.build_for(x)
        starts = list(range(0, rows, batch_size))
        if rows - starts[-1] == 1:
            starts.pop()
        generators = [(each, each.bit_generator.state) for each in self.named_generators().values()]
        pools = [PooledStatistics(layer) for layer in self.walk() if isinstance(layer, BatchNorm)]
        try:
            for start, stop in itertools.pairwise([*starts, rows]):
                self.forward(x[start:stop], training=True)
                for pool in pools:
                    pool.add_batch(stop - start)
            for pool in pools:
                pool.accept()
        finally:
            for pool in pools:
                pool.close()
            for generator, state in generators:
                generator.bit_generator.state = state
            self.forget_saved()

    def summary(self) -> None:
        """Print the layers with their output shapes and numbers of parameters."""
        rows = [("#", "layer", "output shape", "parameters"), *_summary_rows(self, "")]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        for number, layer, shape, count in rows:
            print(f"{number:>{widths[0]}}  {layer:<{widths[1]}}  {shape:<{widths[2]}}  {count:>{widths[3]}}")
        if self.loss:
            print(f"loss: {self.loss!r}")
        if self.input_shape is None:
            print("parameters: not yet known, the input shape comes with the first data")
        else:
            print(f"parameters: {self._values.size:,} of {self.dtype}, {self._values.nbytes / 1024:,.1f} KiB")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write architecture and parameters to `path`, an ``.npz`` file; an older file is replaced only by a whole one.

        Raises NotReadyError before the model is built, ArgumentTypeError for a layer whose configuration JSON
        cannot hold, OSError when the file cannot be written.
        """
        write_described(path, "model", FILE_VERSION, self.description(), self.named_arrays())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Sequential:
        """Read a model that `save` wrote. Nothing that the file holds is imported or executed.

        Raises
        ------
        MissingFileError
            When there is no such file.
        FileFormatError
            When it is truncated, corrupt, no model, of a newer format, names a class that is not defined (import the
            module that defines it first), or holds other arrays than its architecture has.
        """
        header, arrays = read_described(path, "model", FILE_VERSION, {"input_shape", "model"})
        try:
            return cls.from_description(header, arrays)
        except (MinidlError, ValueError, RecursionError) as error:
            raise FileFormatError(f"{os.fspath(path)} cannot be loaded: {error}") from error

    def description(self) -> dict[str, Any]:
        """Return what JSON can hold of the model: its input shape and architecture."""
        self._check_built()
        return {"input_shape": self.input_shape, "model": encode(self)}

    @classmethod
    def from_description(cls, description: Mapping[str, Any], arrays: Mapping[str, Array]) -> Sequential:
        """Make the model that `description` and `named_arrays` tell of; raise FileFormatError where they disagree."""
        model = decode(description["model"])
        if not isinstance(model, cls):
            raise FileFormatError(f"it describes {model!r}, not a {cls.__name__}")
        model.take_values_from({name.partition("/")[2]: values for name, values in arrays.items()})
        # Its layers draw in training what those of a model made anew with this seed do.
        model.build(description["input_shape"], np.random.default_rng(model.seed))
        model.take_values_from(None)
        own = model.named_arrays()
        if unknown := arrays.keys() - own.keys():
            raise FileFormatError(f"it holds {sorted(unknown)}, which its architecture does not have")
        if missing := own.keys() - arrays.keys():
            raise FileFormatError(f"it lacks {sorted(missing)}, which its architecture has")
        for name, array in own.items():  # layers that came into being within build took no values there
            copy_into(array, arrays[name])
        return model

    def named_arrays(self) -> dict[str, Array]:
        """Return all that is saved, by path: ``"parameters/dense_1/weight"``, and states such as running means."""
        parameters = {f"parameters/{path}": parameter.value for path, parameter in self.named_parameters().items()}
        states = {f"states/{path}": state.value for path, state in self.named_states().items()}
        return parameters | states

    def __repr__(self) -> str:
        elements = ", ".join(repr(element) for element in self.configuration()["layers"])
        return f"{type(self).__name__}([{elements}])"

    def __copy__(self) -> Sequential:
        """Return a shallow copy, which shares layers and vectors."""
        other = type(self).__new__(type(self))
        vars(other).update(vars(self))
        return other

    def __getstate__(self) -> dict[str, Any]:
        # The layers' arrays hold all that the vectors do.
        made_anew = {"_values", "_gradients", "_regularized", "_constrained"}
        return {key: value for key, value in super().__getstate__().items() if key not in made_anew}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        own(self.layers, self)
        if self.input_shape is not None:
            self._make_vectors()  # of a deep copy or an unpickled model, whose parameters are separate arrays

    def _make_vectors(self) -> None:
        size = self.count_parameters()
        self.move_parameters(np.empty(size, self.dtype), np.empty(size, self.dtype))
        parameters = self.named_parameters().values()
        self._regularized = [(each, each.regularizer) for each in parameters if each.regularizer]
        self._constrained = [(each, each.constraint) for each in parameters if each.constraint]

    def _check_built(self) -> None:
        if self.input_shape is None:
            raise NotReadyError(
                "the model does not know its input shape yet: give input_shape=, call build, or pass data first"
            )


def _decaying_parts(parameters: Iterable[Parameter]) -> list[slice]:
    """Return where in the vector of these parameters those that decay lie."""
    parts: list[slice] = []
    start = 0
    for parameter in parameters:
        stop = start + parameter.value.size
        if parameter.decays:
            first = parts.pop().start if parts and parts[-1].stop == start else start
            parts.append(slice(first, stop))
        start = stop
    return parts


def _split_loss(elements: Sequence[Layer | Loss]) -> tuple[tuple[Layer, ...], Loss | None]:
    if not isinstance(elements, Sequence):
        raise ArgumentTypeError(f"Sequential takes a list of layers, not {elements!r}")
    loss = elements[-1] if elements and isinstance(elements[-1], Loss) else None
    layers: list[Layer] = []
    for index, element in enumerate(elements[:-1] if loss else elements, start=1):
        if isinstance(element, Loss):
            raise ArgumentError(f"element {index} of {len(elements)} is a loss, {element!r}: a loss comes last")
        if not isinstance(element, Layer):
            cure = (
                f"did you mean {element.__name__}()?" if isinstance(element, type) else "give layers, and a loss last"
            )
            raise ArgumentTypeError(f"element {index} of the model is no layer but {element!r}: {cure}")
        layers.append(element)
    if not layers:
        raise ArgumentError("a model needs at least one layer")
    for kind, activation in ((CategoricalLoss, Softmax), (SigmoidCrossEntropy, Sigmoid)):
        if isinstance(loss, kind) and isinstance(layers[-1], activation):
            raise ArgumentError(
                f"{type(loss).__name__} takes scores, and contains the {activation.__name__} before it: leave that out"
            )
    return tuple(layers), loss


def take_in(layers: Sequence[Layer], owner: Layer) -> None:
    """Make `owner` the one that holds these layers; raise ArgumentError for layers that cannot be taken in.

    A layer without a name gets one of its class and number.
    """
    names: set[str] = set()
    for index, layer in enumerate(layers, start=1):
        if any(layer is other for other in layers[: index - 1]):
            raise ArgumentError(f"element {index}, {layer!r}, is in the model twice: make a second layer")
        if layer._owner is not None:
            raise ArgumentError(
                f"element {index}, {layer!r}, is part of another model: make a new layer, take copy.deepcopy of it, "
                "or nest that model as a whole"
            )
        if isinstance(layer, Sequential) and layer.loss:
            raise ArgumentError(f"element {index} is a model with a loss, {layer.loss!r}: only the outermost has one")
        if layer.name is not None and not isinstance(layer.name, str):
            raise ArgumentTypeError(f"element {index} has the name {layer.name!r}, which is no text")
        if layer.name is not None and (
            layer.name in names or not layer.name or "/" in layer.name or not layer.name.isprintable()
        ):
            raise ArgumentError(
                f"element {index} has the name {layer.name!r}, which is taken, empty, or holds a '/' or a sign that "
                "cannot be printed"
            )
        if layer.name is not None:
            names.add(layer.name)
    for layer in layers:
        if layer.name is None:
            kind = re.sub(r"(?<=[a-z0-9A-Z])(?=[A-Z][a-z])", "_", type(layer).__name__).lower()
            layer.name = next(name for number in itertools.count(1) if (name := f"{kind}_{number}") not in names)
            names.add(layer.name)
    own(layers, owner)


def own(layers: Iterable[Layer], owner: Layer) -> None:
    """Let each layer know who holds it: errors name the place, and nobody else takes it in."""
    for layer in layers:
        layer._owner = owner


def build_or_check(layer: Layer, shape: Shape, rng: np.random.Generator) -> Shape:
    """Build `layer` for samples of `shape`, and return that of its output; one that is built keeps its parameters."""
    if layer.input_shape is None:
        return layer.build(shape, rng)
    layer.check_input(np.empty((0, *shape)))
    return layer.output_shape or ()


def _summary_rows(holder: Layer, outer: str) -> list[tuple[str, str, str, str]]:
    rows = []
    for index, (name, layer) in enumerate(holder.sublayers().items(), start=1):
        number = f"{outer}{index}"
        shape = "?" if layer.output_shape is None else f"(N, {', '.join(map(str, layer.output_shape))})"
        rows.append((number, f"{name} ({type(layer).__name__})", shape, f"{layer.count_parameters():,}"))
        rows += _summary_rows(layer, f"{number}.")
    return rows
