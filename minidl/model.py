"""The model: a sequence of layers. All parameters are in one vector, and all gradients in another."""

from __future__ import annotations

import itertools
import math
import os
from _thread import RLock
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import DTypeLike

from minidl import inspection
from minidl.advice import advise_on_attributes, refuse
from minidl.arrays import as_rows, check_finite, check_mask
from minidl.errors import ArgumentError, ArgumentTypeError, FileFormatError, NotReadyError, ShapeError, located, naming
from minidl.files import read_described, write_described
from minidl.layers import Layer, ReLU, Sigmoid, Softmax
from minidl.layers.base import Declaration, Parameter, Vectors, assigned_in_place
from minidl.losses import CategoricalLoss, Loss, SigmoidCrossEntropy
from minidl.reprs import WIDTH, Call, brief
from minidl.serialization import decode, encode
from minidl.settings import as_flag, as_shape, as_whole_number, snake_case
from minidl.tables import as_frame, column_names
from minidl.threads import in_blocks
from minidl.typing import Array, Shape

FILE_VERSION = 2
"""Version of the model file's format. Version 1 had no frozen layers. Newer versions raise an error."""

_BYTES_AT_ONCE = 2**22
"""Memory of a block of rows in all layers together: it stays in the processor's cache, or close to it."""

_first_use = RLock()
"""Held while a model takes its input shape from the first data, so that only one thread sets it up."""


class Sequential(Layer):
    """A stack of layers: each layer gets the output of the previous one. A model is itself a layer, so models nest.

    Parameters
    ----------
    layers : sequence of Layer
        The layers in the order of the forward pass. The last element may be a `Loss`; training needs one. A layer that
        is already set up keeps its parameters. They move into this model, so an earlier model that had them can no
        longer train.
    input_shape : int or tuple of int, optional
        Shape of one sample, such as 784 or (28, 28, 1). By default the model takes it from the first data. A model for
        images (height, width, channels) also accepts flat rows of the same size, and gray images without the last axis.
    seed : int, optional
        Seed of the first parameters: the same seed gives the same bits. Without a seed, they differ in each run.
    dtype : "float32" or "float64", default "float32"
        Type of parameters, gradients and outputs. Other inputs, such as uint8 pixels, are converted batch by batch.
    name : str, optional
        As for any layer.
    reorder_columns : bool, default False
        Whether frames and tables may have additional columns or another order of columns than the first frame. The
        model then selects the columns in `feature_names` by name. You may set it at any time.

    Attributes
    ----------
    feature_names : list of str or None
        Columns of the first frame used for training or evaluation. Later frames with other columns raise an error.
    parameters, gradients : arrays of shape (count_parameters(),)
        All of the model's parameters, and the gradient of the loss with respect to them. Each layer's
        ``weight.value`` and ``weight.gradient`` are shaped views of these vectors: a change in place to a view changes
        the vector, and the reverse. Assigning, ``model.parameters = values``, copies into the vector.
    layers : tuple of Layer
    loss : Loss or None
    rows_at_once : int
        Number of rows that the model computes at once: a power of 2. A block of this size stays in the processor's
        cache, and no network needs much more memory. It depends only on the shapes in the layers.
    needs_input_gradient : bool
        Whether `backward` returns the gradient with respect to the input. The default is True without a loss, else
        False.

    Raises ArgumentTypeError for an element that is not a layer; ArgumentError if a layer or a name occurs twice, or if
    a loss is not at the end; ShapeError if the shapes of the layers do not fit each other.
    """

    takes_integers = takes_mask = True  # and passes them to each layer that takes them

    def __init__(
        self,
        layers: Sequence[Layer | Loss] = (),
        *more: NoReturn,
        input_shape: int | Shape | None = None,
        seed: int | None = None,
        dtype: DTypeLike = "float32",
        name: str | None = None,
        reorder_columns: bool = False,
    ) -> None:
        super().__init__(name=name)
        self.reorder_columns = as_flag(reorder_columns, "reorder_columns")
        self.feature_names: list[str] | None = None
        if str(dtype) not in {"float32", "float64"} and dtype not in (np.float32, np.float64):
            raise ArgumentError(f"dtype is {dtype!r}; a model computes in float32 or float64")
        self.dtype = np.dtype(dtype)
        self.seed = None if seed is None else as_whole_number(seed, "seed")
        self.layers, self.loss = _split_loss(layers, more)
        self.needs_input_gradient = self.loss is None
        name_layers(self.layers)
        self._computed = self.layers
        if input_shape is not None:
            self.set_up(as_shape(input_shape), seed)

    def configuration(self) -> dict[str, Any]:
        if type(self).__init__ is not Sequential.__init__:
            raise ArgumentTypeError(f"{type(self).__name__} has an __init__ of its own: write a function that makes it")
        own = {"dtype": self.dtype.name, "name": self.name, "reorder_columns": self.reorder_columns}
        return {"layers": self._elements(), "seed": self.seed} | own

    def _elements(self) -> list[Layer | Loss]:
        return [*self.layers, self.loss] if self.loss else [*self.layers]

    @classmethod
    def from_configuration(cls, **configuration: Any) -> Sequential:
        if "input_shape" in configuration:  # it would be set up before its arrays could be compared with the file's
            raise ArgumentError("a described model has no input shape of its own")
        return cls(**configuration)

    def sublayers(self) -> dict[str, Layer]:
        found = {str(layer.name): layer for layer in self.layers}
        if len(found) < len(self.layers):
            raise ArgumentError(f"two layers of the model have the same name: {[layer.name for layer in self.layers]}")
        return found

    def __len__(self) -> int:
        return len(self.layers)

    __getitem__ = inspection.find_layer
    __contains__ = inspection.has_layer
    activations = inspection.activations
    summary = inspection.print_summary
    _repr_html_ = inspection.html

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        shape, self._computed = input_shape, _in_cheapest_order(self.layers)
        for name in self.sublayers():
            shape = declare.sublayer(name, shape)
        if self.loss:
            self.loss.check_output(shape)
        size = self.count_parameters()
        vectors = np.empty(size, self.dtype), np.empty(size, self.dtype)
        start = 0
        for parameter in self.named_parameters().values():
            start = parameter.move_to(vectors, start)
        numbers = math.prod(input_shape) + self.numbers_per_row()
        self.rows_at_once = int(2 ** max(math.log2(_BYTES_AT_ONCE / (numbers * self.dtype.itemsize)) // 1, 0))
        self._owned = [(layer, parameter) for layer in self.walk() for parameter in layer._parameters.values()]
        self._regularized = [(layer, parameter) for layer, parameter in self._owned if parameter.regularized]
        return shape

    @assigned_in_place
    def parameters(self) -> Array:
        """All parameters, as one vector."""
        return self.vectors()[0]

    @assigned_in_place
    def gradients(self) -> Array:
        """The gradient of the loss with respect to `parameters`, as one vector."""
        return self.vectors()[1]

    def vectors(self) -> Vectors:
        """Return `parameters` and `gradients`, which are parts of the vectors that the model's parameters share."""
        if self.input_shape is None:
            raise NotReadyError("the model does not know its input shape: give input_shape=, or pass data first")
        parameters = list(self.named_parameters().values()) or [Parameter(np.empty(0, self.dtype), False, False)]
        if any(one.vectors is not two.vectors or one.stop != two.start for one, two in itertools.pairwise(parameters)):
            raise ArgumentError("layers of this model are now part of another model: use that one, or copy them")
        values, gradients = parameters[0].vectors
        whole = slice(parameters[0].start, parameters[-1].stop)
        return values[whole], gradients[whole]

    def parts(self, chosen: Callable[[Layer, Parameter], bool]) -> list[slice]:
        """Return the positions of the chosen parameters in `parameters`: slices in order, with gaps between them."""
        parts: list[slice] = []
        stop = 0
        for is_chosen, owned in itertools.groupby(self._owned, lambda pair: chosen(*pair)):
            start, stop = stop, stop + sum(parameter.value.size for _, parameter in owned)
            if is_chosen:
                parts.append(slice(start, stop))
        return parts

    def forward(self, x: Any, training: bool = False, mask: Array | None = None) -> Array:
        """Return the output of the last layer, (N, *output_shape); for a model with a loss these are the scores.

        Parameters
        ----------
        x : array of shape (N, *input_shape), or a frame, a table or a nested list of that shape
        training : bool, default False
            Keep what `backward` needs. If False, the call does not change the model, so threads may share it.
        mask : bool array (N, T), optional
            Which positions of the input count. A model for ids needs no mask: its `Embedding` makes one.
        """
        if not isinstance(x, np.ndarray) or x.shape[1:] != self.input_shape:
            x = self._as_images(x) if isinstance(x, np.ndarray) else self.as_inputs(x)[...]
            self.set_up_for(x)
            self.check_input(x)
        if mask is not None:
            check_mask(mask, x)
        layer = self._computed[0]
        try:
            for layer in self._computed:
                if x.dtype != self.dtype and not layer.takes_integers:
                    x = x.astype(self.dtype)
                if mask is None and not layer.makes_mask:
                    x = layer.forward(x, training=training)
                else:
                    given = {"mask": mask} if layer.takes_mask else {}
                    x, mask = layer.forward(x, training=training, **given), layer.mask_after(x, mask)
                if x is None:
                    raise ArgumentTypeError("forward must return its output, not None")
        except Exception as error:
            raise located(error, self.place_of(str(layer.name))) from error
        return x.astype(self.dtype) if self.loss and x.dtype != self.dtype else x

    def mask_after(self, x: Array | None, mask: Array | None) -> Array | None:
        for layer in self._computed:
            mask, x = layer.mask_after(x, mask), None
        return mask

    def check_input(self, x: Array) -> None:
        """Raise the error that the first layer raises for this batch, such as ShapeError."""
        with naming(self.place_of(str(self.layers[0].name))):
            self.layers[0].check_input(x)

    def backward(self, dy: Array) -> Array | None:
        """Write all gradients, given the gradient of the loss with respect to the last training output.

        It stops at the first layer that learns. It returns the gradient with respect to the input only if
        `needs_input_gradient` is True.
        """
        layers, first = self._computed, 0
        while first < len(layers) and not layers[first].learns():
            first += 1
        # A model that is not set up has no parameters yet: its layers raise the error.
        reached = layers if self.needs_input_gradient or self.input_shape is None else layers[first:]
        layer, dx = layers[-1], dy if self.needs_input_gradient else None
        try:
            for layer in reversed(reached):
                needed = self.needs_input_gradient or layer is not reached[0]
                if layer.needs_input_gradient is not needed:
                    layer.needs_input_gradient = needed
                dx = layer.backward(dy)
                if dx is None:
                    break
                dy = dx
            if dx is None and layer in layers[first + 1 :]:
                raise ArgumentTypeError("backward must return the input's gradient: layers before it need it")
        except Exception as error:
            early = isinstance(error, AttributeError) and error.name == "saved"
            cause = NotReadyError("backward needs a forward(x, training=True) before it") if early else error
            raise located(cause, self.place_of(str(layer.name))) from error
        return dx if self.needs_input_gradient else None

    def penalty(self, *, add_gradients: bool = False) -> float:
        """Return the sum of all regularizers' penalties, which is part of the loss. Add their gradients on request."""
        penalty = 0.0
        for layer, parameter in self._regularized:
            if (regularizer := getattr(layer, "regularizer", None)) is not None:
                own, gradient = regularizer(parameter.value)
                penalty += own
                if add_gradients:
                    parameter.gradient[...] += gradient
        return penalty

    def constrain(self) -> None:
        """Apply its constraint to each trained parameter. The trainer calls this after each step."""
        for layer, parameter in self._regularized:
            if (constraint := getattr(layer, "constraint", None)) is not None and layer.own_trainable:
                constraint.apply(parameter.value)

    def as_inputs(self, x: Any) -> Array:
        """Return inputs as an array. Flat images get the shape of images.

        Raises ShapeError if the columns of a frame differ from `feature_names`.
        """
        known = self.feature_names
        if known is None or (names := column_names(x)) is None or names == known:
            return self._as_images(as_rows(x, "x"))
        if missing := [name for name in known if name not in names]:
            raise ShapeError(f"x lacks the column {missing[0]!r} of the frame that the model was trained on")
        if not self.reorder_columns:
            cure = "pass x[model.feature_names], or set model.reorder_columns = True"
            raise ShapeError(f"x has more columns than in the training, or in another order: {cure}")
        return self._as_images(as_rows(as_frame(x)[known], "x"))

    def _as_images(self, x: Array) -> Array:
        """Return a view of flat rows, or of gray images without an axis of channels, in the input shape."""
        shape = self.input_shape or ()
        is_without_axes = len(shape) == 3 and x.shape[1:] in {(math.prod(shape),), shape[:2]}
        return x.reshape(len(x), *shape) if is_without_axes and math.prod(x.shape[1:]) == math.prod(shape) else x

    def set_up_for(self, x: Array) -> None:
        """Set the model up for the shape of the samples in the batch `x`, unless it is already set up."""
        if self.input_shape is not None:
            return
        if x.ndim < 2:
            raise ShapeError(f"x has shape {x.shape}; a batch has a row per sample: x.reshape(-1, 1) or x[np.newaxis]")
        with _first_use:
            if self.input_shape is None:
                self.set_up(x.shape[1:], self.seed)

    def __call__(self, x: Any) -> Array:
        """Return what `predict` returns."""
        return self.predict(x)

    def predict(self, x: Any, batch_size: int | None = None, **unknown: NoReturn) -> Array:
        """Return predictions as in scikit-learn: labels for a classifier, values for a regression.

        Parameters
        ----------
        x : array of shape (N, *input_shape), or a memory map, a frame, a table or a nested list
        batch_size : int, optional
            Number of rows to compute at once. By default, as many as fit into the processor's cache. It changes only
            the last bits of the result.

        Returns
        -------
        array
            Integer labels (N,) with a loss for classes, such as SoftmaxCrossEntropy, or SigmoidCrossEntropy on one
            output; 0 or 1 for each of several outputs (N, K); values (N,) or (N, K) with a loss for numbers, such as
            MeanSquaredError. Without a loss, the output itself.

        Raises
        ------
        ShapeError
            If `x` does not have the shape of the model's input.
        DataError
            If `x` holds NaN, infinity, or anything except numbers.
        """
        refuse(unknown, Sequential.predict)
        scores = self.predict_scores(x, batch_size)
        return self.loss.decide(scores) if self.loss else scores

    def predict_proba(self, x: Any, batch_size: int | None = None) -> Array:
        """Return probabilities (N, K): the loss's own activation of the scores. Parameters are as in `predict`.

        With SoftmaxCrossEntropy and the other losses that contain softmax, each row sums to 1. With
        SigmoidCrossEntropy, each entry is the probability of a 1. A single output gives (N, 1); scikit-learn's
        two-class classifiers give (N, 2).
        Raises ArgumentError if the model has no loss, or a loss that gives no probabilities.
        """
        if self.loss is None:
            raise ArgumentError("the model has no loss to turn scores into probabilities: use predict(x)")
        return self.loss.activate(self.predict_scores(x, batch_size))

    def predict_scores(self, x: Any, batch_size: int | None = None) -> Array:
        """Return the scores (N, *output_shape) that enter the loss. Parameters and errors are as in `predict`.

        They are the output of ``forward``, computed with the checks and the blocks of `predict`.
        """
        x = self.as_inputs(x)
        self.set_up_for(x)
        self.check_input(x)
        size = self.rows_at_once if batch_size is None else as_whole_number(batch_size, "batch_size", 1)
        if not x.ndim or len(x) <= size:
            return self._score(x[...], 0)
        return np.concatenate(in_blocks(self, lambda rows: self._score(x[rows], rows.start), len(x), batch_size))

    def _score(self, x: Array, first_row: int) -> Array:
        check_finite(x, "x", first_row, self.dtype)
        return self.forward(x).astype(self.dtype, copy=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write architecture and parameters to `path`, an ``.npz`` file. Only a complete file replaces an older one.

        Raises NotReadyError before the model is set up, ArgumentTypeError if JSON cannot hold the settings of a layer,
        and OSError if the file cannot be written.
        """
        write_described(path, "model", FILE_VERSION, self.description(), self.named_arrays())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Sequential:
        """Read a model that `save` wrote. Loading never imports or executes content of the file.

        Raises
        ------
        MissingFileError
            If there is no such file.
        FileFormatError
            If the file is truncated, corrupt, not a model, or of a newer format; if it names a class that is not
            defined (first import the module that defines it); or if its arrays do not match its architecture.
        """
        return read_described(path, "model", range(1, FILE_VERSION + 1), cls.from_description)

    def description(self) -> dict[str, Any]:
        """Return the part of the model that JSON can hold: input shape, architecture, and paths of frozen layers."""
        self.vectors()  # raises before the model is set up
        frozen = [start.rstrip("/") for start, layer in self.named_layers() if not layer.own_trainable]
        own = {"input_shape": self.input_shape, "feature_names": self.feature_names}
        return own | {"model": encode(self), "frozen": frozen}

    @classmethod
    def from_description(cls, description: Mapping[str, Any], arrays: Mapping[str, Array]) -> Sequential:
        """Make a model from `description` and `named_arrays`. Raise FileFormatError if they do not match."""
        model = decode(description["model"])
        if not isinstance(model, cls):
            raise FileFormatError(f"it describes {brief(model)}, not a {cls.__name__}")
        # In training, its layers draw the same numbers as a new model with this seed.
        stored = {name.partition("/")[2]: values for name, values in arrays.items()}
        model.set_up(description["input_shape"], model.seed, stored=stored)
        if unknown := arrays.keys() - model.named_arrays().keys():
            raise FileFormatError(f"it holds {sorted(unknown)}, which its architecture does not have")
        model.feature_names = description.get("feature_names")
        layers: dict[Any, Layer] = {start.rstrip("/"): layer for start, layer in model.named_layers()}
        for path in description.get("frozen", []):
            layers[path].own_trainable = False
        return model

    def named_arrays(self) -> dict[str, Array]:
        """Return all that is saved, by path: ``"parameters/dense_1/weight"``, and states such as running means."""
        parameters = {f"parameters/{path}": parameter.value for path, parameter in self.named_parameters().items()}
        states = {f"states/{path}": state.value for path, state in self.named_states().items()}
        return parameters | states

    def as_call(self) -> Call:
        return Call(f"{type(self).__name__}([", [("", element) for element in self._elements()], "])", WIDTH)


advise_on_attributes(Sequential)


def _split_loss(elements: Sequence[Any], more: tuple[Any, ...]) -> tuple[tuple[Layer, ...], Loss | None]:
    if more or not isinstance(elements, Sequence):
        raise ArgumentTypeError(f"Sequential takes a list of layers, [Dense(8), ReLU()], not {brief(elements)}")
    loss = elements[-1] if elements and isinstance(elements[-1], Loss) else None
    layers = tuple(elements[:-1] if loss else elements)
    if not layers:
        raise ArgumentError("a model needs at least one layer: give them in one list, Sequential([Dense(8), ReLU()])")
    for kind, activation in ((CategoricalLoss, Softmax), (SigmoidCrossEntropy, Sigmoid)):
        if isinstance(loss, kind) and isinstance(layers[-1], activation):
            raise ArgumentError(f"{type(loss).__name__} contains the {activation.__name__} before it: leave that out")
    return layers, loss


def _in_cheapest_order(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Return the layers in the order of computation: a ReLU is moved behind a following max pooling to save work.

    The bits are the same: ReLU keeps the order of numbers, and passes no gradient if no number of a window is above 0.
    """
    order = list(layers)
    for place, (layer, following) in enumerate(itertools.pairwise(layers)):
        if type(layer) is ReLU and vars(type(following)).get("picks_maxima"):
            order[place : place + 2] = following, layer
    return tuple(order)


def name_layers(layers: Sequence[Layer], what: str | None = None) -> None:
    """Give each layer without a name one made of its class, or of `what`, and a number.

    Raises ArgumentTypeError for an element that is not a layer, and ArgumentError for a layer or name that occurs
    twice, or a loss inside of a layer.
    """
    names: set[str | None] = set()
    seen: list[Layer] = []
    for index, layer in enumerate(layers, start=1):
        if not isinstance(layer, Layer):
            raise ArgumentTypeError(f"element {index} is not a layer but {brief(layer)}: give layers, and a loss last")
        seen += layer.walk()
        if len(set(map(id, seen))) < len(seen):
            raise ArgumentError(f"element {index}, {brief(layer)}, or what it holds is in the model twice: copy it")
        if layer.name is not None and layer.name in names:
            raise ArgumentError(f"element {index} has the name {layer.name!r}, like another element")
        if any(isinstance(each, Sequential) and each.loss for each in seen):
            raise ArgumentError(f"element {index} has a loss inside: only the outermost model has one, at its end")
        names.add(layer.name)
    for layer in layers:
        if layer.name is None:
            kind = what or snake_case(type(layer).__name__)
            layer.name = next(name for number in itertools.count(1) if (name := f"{kind}_{number}") not in names)
            names.add(layer.name)
