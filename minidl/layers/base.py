"""What a layer is: a forward pass, a backward pass, and the parameters that it declares."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from minidl.errors import ArgumentError, ArgumentTypeError, FileFormatError, ShapeError, naming
from minidl.initializers import Initializer, get_initializer
from minidl.nesting import CopiedInnermostFirst
from minidl.settings import Configurable, as_flag, as_shape, as_text, setting
from minidl.typing import Array, Shape

Seed: TypeAlias = "np.random.Generator | int | None"
Draws: TypeAlias = "tuple[int, list[tuple[np.random.Generator, int]]]"
"""The first row of a part of a batch, and all draws for the batch: their generators and numbers of rows."""
Vectors = tuple[Array, Array]
"""All parameters of a model, or of a single layer without a model, and their gradients."""
Stored = Mapping[str, Array] | None
"""First values by path, as a file stores them; None: draw random ones."""


def assigned_in_place(read: Callable[[Any], Array]) -> Any:
    """Make a property from a method that returns an array. Assigning copies a number or values of its shape into it."""

    def copy_into(owner: Any, values: ArrayLike) -> None:
        array = read(owner)
        if np.shape(values) not in (array.shape, ()):
            raise ShapeError(f"an array of shape {array.shape} cannot take values of shape {np.shape(values)}")
        array[...] = values

    return property(read, copy_into)


class State:
    """An array that a layer keeps and saves but that is not trained, such as a running mean.

    Assigning to ``value`` copies into the same array, because other objects may hold views of it.
    """

    def __init__(self, value: Array) -> None:
        self._value = value

    @assigned_in_place
    def value(self) -> Array:
        return self._value

    def __repr__(self) -> str:
        flags = "".join(f", {name}={value}" for name, value in vars(self).items() if isinstance(value, bool))
        return f"{type(self).__name__}(shape={self.value.shape}, dtype={self.value.dtype}{flags})"


class Parameter(State):
    """An array that is trained, and the gradient of the loss with respect to it, which has the same shape.

    Both are shaped views of a part of two 1-D vectors. In a model, these vectors belong to the model. Assigning to
    ``value`` or ``gradient`` copies into them.

    Attributes
    ----------
    decays : bool
        Whether decoupled weight decay may shrink it.
    regularized : bool
        Whether the layer's ``regularizer`` and ``constraint`` apply to it.
    """

    def __init__(self, value: Array, decays: bool, regularized: bool) -> None:
        self.decays, self.regularized = decays, regularized
        self._place((value.ravel(), np.zeros(value.size, value.dtype)), 0, value.shape)

    def _place(self, vectors: Vectors, start: int, shape: Shape) -> None:
        """Become a view of these two vectors that begins at entry `start`."""
        self.vectors, self.start, self.stop = vectors, start, start + math.prod(shape)
        self._value, self._gradient = (vector[start : self.stop].reshape(shape) for vector in vectors)

    @assigned_in_place
    def gradient(self) -> Array:
        return self._gradient

    def move_to(self, vectors: Vectors, start: int) -> int:
        """Copy value and gradient into two 1-D vectors and become views of them; return where the views end."""
        value, gradient = self._value, self._gradient
        self._place(vectors, start, value.shape)
        self.value, self.gradient = value, gradient
        return self.stop

    def __getstate__(self) -> dict[str, Any]:
        # The pair of vectors is copied or pickled once for all parameters. This helps joblib, which would write an
        # array again for each parameter that holds it. `__setstate__` makes the views again.
        return {**vars(self), "_value": self._value.shape, "_gradient": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._place(self.vectors, self.start, state["_value"])


def as_layer_name(value: Any, place: str) -> str:
    """Return a text that can be part of a path. Raise ArgumentError for other texts, else ArgumentTypeError."""
    if not as_text(value, place) or "/" in value or not value.isprintable():
        raise ArgumentError(f"{place} is {value!r}; it must not be empty or hold a '/' or an unprintable character")
    return str(value)


class Declaration:
    """Passed to a layer's `build`, which declares its arrays and inner layers with it; supplies their first values.

    Attributes
    ----------
    generator : numpy.random.Generator
        Draws the first values. A layer that draws random numbers in training keeps it: ``self.generator = ...``.
    dtype : numpy.dtype
        Type of the parameters.
    """

    def __init__(self, layer: Layer, generator: np.random.Generator, dtype: np.dtype[Any], stored: Stored) -> None:
        self.generator, self.dtype = generator, dtype
        self.parameters: dict[str, Parameter] = {}
        self.states: dict[str, State] = {}
        self._layer, self._stored = layer, stored
        layer.dtype = dtype

    def parameter(
        self,
        name: str,
        shape: int | Shape,
        initializer: Initializer | str,
        *,
        decays: bool | None = None,
        regularized: bool = False,
    ) -> Parameter:
        """Declare a trained array; its ``value`` and ``gradient`` can be used at once.

        Parameters
        ----------
        name : str
        shape : int or tuple of int
        initializer : Initializer or its name
        decays : bool, optional
            Whether decoupled weight decay may shrink it. By default, arrays with two or more axes decay. Arrays with
            one axis do not, such as a bias or the scale of a normalization.
        regularized : bool, default False
            Whether the layer's fields ``regularizer`` and ``constraint`` apply to it.
        """
        if regularized and "regularizer" not in self._layer._settings:
            raise ArgumentTypeError(f"{name!r} is regularized: {type(self._layer).__name__} needs a field regularizer")
        value = self._first_value(name, as_shape(shape), initializer)
        decays = value.ndim > 1 if decays is None else as_flag(decays, f"decays of {name!r}")
        self.parameters[name] = parameter = Parameter(value, decays, regularized)
        return parameter

    def state(self, name: str, shape: int | Shape, initializer: Initializer | str = "zeros") -> State:
        """Declare an array that is saved with the model but not trained."""
        self.states[name] = state = State(self._first_value(name, as_shape(shape), initializer))
        return state

    def sublayer(self, name: str, input_shape: Shape) -> Shape:
        """Set up the layer that `sublayers` calls `name`, unless it is set up; return the shape of its output."""
        # It calls `build` directly: with two calls for each level, hundreds of levels are possible.
        generator = self.generator.spawn(1)[0]  # the numbers of one layer do not depend on how many the others draw
        layer = self._layer.sublayers()[name]
        stored = None if self._stored is None else within(f"{name}/", self._stored)
        with naming(self._layer.place_of(name)):
            if layer.input_shape is None:
                declare = Declaration(layer, generator, self.dtype, stored)
                return declare.finish(input_shape, layer.build(as_shape(input_shape), declare))
            layer.check_input(np.empty((0, *input_shape)))
            layer.change_dtype(self.dtype)
            return layer.output_shape or ()

    def finish(self, input_shape: Shape, built: Any) -> Shape:
        """Store in the layer what its `build` has declared, and the shape that it returned."""
        layer = self._layer
        layer.output_shape = as_shape(built, f"what {type(layer).__name__}.build returns")
        layer.input_shape, layer._parameters, layer._states = as_shape(input_shape), self.parameters, self.states
        layer.makes_mask = layer.makes_mask or any(inner.makes_mask for inner in layer.sublayers().values())
        return layer.output_shape

    def _first_value(self, name: str, shape: Shape, initializer: Initializer | str) -> Array:
        if name in self.parameters or name in self.states or "/" in name:
            raise ArgumentError(f"{name!r} is declared twice, or holds a '/'")
        if self._stored is None:
            return get_initializer(initializer)(shape, self.generator, self.dtype)
        if name not in self._stored:
            raise FileFormatError(f"there is no array {name!r} in the file")
        value = self._stored[name]
        if value.shape != shape or value.dtype != self.dtype:
            raise FileFormatError(f"{name!r} is {value.dtype} {value.shape} in the file, not {self.dtype} {shape}")
        return value.copy()


class Layer(CopiedInnermostFirst, Configurable):
    """Base of all layers.

    The fields of a subclass are its settings. The subclass defines `forward` and `backward`. It also defines `build` if
    it has parameters or changes the shape:

    - ``build(input_shape, declare)`` gets the shape of one sample. It declares parameters with ``declare.parameter``,
      and arrays that are saved but not trained with ``declare.state``. It returns the shape of one output sample.
    - ``forward(x, training=False)`` maps a batch (N, *input_shape) to (N, *output_shape). It may change the layer only
      with ``training=True``: then it stores in ``self.saved`` what `backward` needs.
    - ``backward(dy)`` gets the gradient of the loss with respect to the last training output. It overwrites each
      parameter's gradient in place, and returns the gradient with respect to the input.

    Parameters
    ----------
    name : str, optional
        Name of the layer in errors, in `named_parameters` and in model files. By default the model chooses one, such
        as ``dense_1``.

    Attributes
    ----------
    input_shape, output_shape : tuple of int, or None before the layer is set up
        Shape of one sample.
    dtype : numpy.dtype
        Type of the parameters and, in a model, of the output. For a layer without a model: the type given to `set_up`,
        by default float32.
    trainable : bool
        False freezes the layer and all layers inside it: their parameters and the running statistics of `BatchNorm`
        do not change. You may set it at any time, before and after the layer is set up.
    needs_input_gradient : bool
        False if no earlier layer learns: `backward` may then return None and save the work.
    mixes_batch : bool
        True in a subclass in which an output row depends on other rows, as in batch normalization.
    shares_batch : bool
        True in a subclass that mixes rows only by sums over the batch, and calls `over_batch` for these sums.
    over_batch : callable or None
        If a batch is computed in parts: adds the sums of the other parts to an array of sums, in place.
    rows_of_batch : (int, list of (numpy.random.Generator, int)) or None
        If other processes compute other parts of a batch: the first row of this part, and the draws of a single
        process for the whole batch, each as a generator and a number of rows. Layers that draw random numbers for each
        row make all these draws in order, and use those of their rows.
    picks_maxima : bool
        True in a subclass whose outputs are maxima of its inputs, as in max pooling. Its subclasses do not inherit it.
    takes_integers : bool
        True in a subclass that takes numbers of any dtype, such as uint8 pixels. Other layers get `dtype`.
    takes_mask : bool
        True in a subclass that must know which positions of a padded sequence count: its forward has a third argument,
        ``mask=None``, of shape (N, T), True where a position counts. Numbers at the others must be finite.
    makes_mask : bool
        True in a layer whose output has a mask although its input has none, such as an `Embedding` with a padding id.
        `build` sets it in layers that hold such a layer.
    generator : numpy.random.Generator or None
        Source of the layer's random numbers in training: its `build` sets ``self.generator = declare.generator``.
    """

    name: str | None = setting(default=None, check=as_layer_name, repr=False)

    input_shape: Shape | None = field(default=None, init=False, repr=False)
    output_shape: Shape | None = field(default=None, init=False, repr=False)
    dtype: np.dtype[Any] = field(default=np.dtype(np.float32), init=False, repr=False)
    needs_input_gradient: bool = field(default=True, init=False, repr=False)
    generator: np.random.Generator | None = field(default=None, init=False, repr=False)
    own_trainable: bool = field(default=True, init=False, repr=False)
    over_batch: Callable[[Array], object] | None = field(default=None, init=False, repr=False)
    rows_of_batch: Draws | None = field(default=None, init=False, repr=False)
    mixes_batch = False
    shares_batch = False
    picks_maxima = False
    takes_integers = False
    takes_mask = False
    makes_mask = False
    saved: Any = field(init=False, repr=False)

    # These defaults stay empty: `set_up` gives each layer its own.
    _parameters = dict[str, Parameter]()  # noqa: RUF012
    _states = dict[str, State]()  # noqa: RUF012

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        """Declare the parameters for samples of `input_shape`; return the shape of an output sample."""
        return input_shape

    def forward(self, x: Array, training: bool = False) -> Array:
        """Map a batch (N, *input_shape) to (N, *output_shape)."""
        raise NotImplementedError(f"{type(self).__name__} must define forward(x, training=False)")

    def backward(self, dy: Array) -> Array | None:
        """Map dL/dy (N, *output_shape) to dL/dx (N, *input_shape), and write the parameters' gradients."""
        raise NotImplementedError(f"{type(self).__name__} must define backward(dy)")

    def mask_after(self, x: Array | None, mask: Array | None) -> Array | None:
        """Return the mask of the output, given the mask of the input. It is the same if the layer keeps the positions.

        A layer that changes the positions, such as pooling over them, overrides this. A mask of None means that all
        positions count. `x` is None if it is not known: after the first layer, when the model is not computed.
        """
        if mask is None:
            return None
        before, after, axes = self.input_shape or (), self.output_shape or (), mask.ndim - 1
        return mask if before[:axes] == after[:axes] and (len(after) > axes or len(before) == axes) else None

    def sublayers(self) -> Mapping[str, Layer]:
        """Return the layers inside this one by name, in the order of their parameters.

        A layer that holds others overrides this. It sets them up in its `build` with ``declare.sublayer``, and calls
        their passes within its own. Their parameters, files and types are then handled automatically.
        """
        return {}

    @final
    def set_up(
        self, input_shape: int | Shape, rng: Seed = None, *, dtype: DTypeLike | None = None, stored: Stored = None
    ) -> Shape:
        """Make the layer ready for samples of `input_shape`, and return the shape of its output.

        Parameters
        ----------
        input_shape : int or tuple of int
        rng : numpy.random.Generator or seed, optional
            Draws the first values.
        dtype : optional
            New type of the parameters. By default `dtype` does not change.
        stored : dict of path -> array, optional
            First values to use instead of random ones. FileFormatError if names, shapes or types differ.

        After an error, the layer and those inside it are as they were before.
        """
        shape = as_shape(input_shape)
        with self.unbuilt_after_error():
            declare = Declaration(self, np.random.default_rng(rng), np.dtype(dtype or self.dtype), stored)
            return declare.finish(shape, self.build(shape, declare))

    @property
    def trainable(self) -> bool:
        return any(layer.own_trainable for layer in self.walk())

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for layer in self.walk():
            layer.own_trainable = as_flag(value, f"{type(self).__name__}: trainable")

    def learns(self) -> bool:
        """Whether a step changes parameters of the layer or of a layer inside it."""
        own = self.own_trainable and bool(self._parameters)
        return own or any(map(Layer.learns, self.sublayers().values()))

    def mixes_rows(self) -> bool:
        """Whether an output of the layer, or of a layer inside it, depends on other rows of a training batch."""
        return any(layer.mixes_batch for layer in self.walk())

    def numbers_per_row(self) -> int:
        """Return about how many numbers a pass over one row makes. The model chooses the size of its blocks by it."""
        innermost = [layer for layer in self.walk()[1:] if not layer.sublayers()]
        return sum(layer.numbers_per_row() for layer in innermost) or math.prod(self.output_shape or ())

    def named_layers(self, start: str = "") -> list[tuple[str, Layer]]:
        """Return this layer and all inside it, each with the prefix of its parameters' paths: ``"block_1/"``."""
        found: list[tuple[str, Layer]] = [(start, self)]
        for index, (path, layer) in enumerate(found, start=1):  # the list grows; blocks may be nested deeper than calls
            if inside := layer.sublayers():
                found[index:index] = [(f"{path}{name}/", inner) for name, inner in inside.items()]
        return found

    def walk(self) -> list[Layer]:
        """Return this layer and every layer inside it."""
        return [layer for _, layer in self.named_layers()]

    def named_parameters(self) -> dict[str, Parameter]:
        """Return the parameters by name. Parameters of sublayers have a path: ``"dense_1/weight"``."""
        return {f"{at}{name}": each for at, layer in self.named_layers() for name, each in layer._parameters.items()}

    def named_states(self) -> dict[str, State]:
        """Return the arrays that are saved but not trained, by path."""
        return {f"{at}{name}": each for at, layer in self.named_layers() for name, each in layer._states.items()}

    def named_generators(self) -> dict[str, np.random.Generator]:
        """Return the random generators that layers use in training, by path: ``"dropout_1/generator"``."""
        return {f"{at}generator": layer.generator for at, layer in self.named_layers() if layer.generator}

    def count_parameters(self) -> int:
        """Return the number of trained numbers in the layer and its sublayers."""
        return sum(parameter.value.size for parameter in self.named_parameters().values())

    def check_input(self, x: Array) -> None:
        """Raise ShapeError unless `x` is a batch of the shape that the layer was set up for."""
        if x.shape[1:] == self.input_shape and x.ndim:
            return
        expected = f"expects input {self.input_shape} per sample"
        if x.shape == self.input_shape:
            raise ShapeError(f"{expected}, in a batch, but got one sample alone: pass x[np.newaxis]")
        is_moved = x.ndim == 4 and (*x.shape[2:], x.shape[1]) == self.input_shape
        cure = ": its channels must be last, np.moveaxis(x, 1, -1)" if is_moved else ""
        if x.ndim == 3 and len(self.input_shape or ()) == 2 and x.shape[2:] == (self.input_shape or ())[1:]:
            cure = f": pad the sequences, or cut them, to {(self.input_shape or ())[0]} positions"
        raise ShapeError(f"{expected} but got {x.shape[1:] if x.ndim else 'a single number'}{cure}")

    def place_of(self, name: str) -> str:
        """Return how an error names a layer inside this one: ``layer 3 'dense_2'``."""
        return f"layer {1 + list(self.sublayers()).index(name)} {name!r}"

    def change_dtype(self, dtype: np.dtype[Any]) -> None:
        """Compute in `dtype` from now on, here and in the layers inside. A model converts the parameters itself."""
        for layer in self.walk():
            layer.dtype = dtype
            for state in layer._states.values():
                state._value = state._value.astype(dtype, copy=False)

    @contextlib.contextmanager
    def unbuilt_after_error(self) -> Iterator[None]:
        """Restore the layer and those inside it if an error occurs in this context."""
        layers = self.walk()
        arrays = [each for layer in layers for each in (*layer._parameters.values(), *layer._states.values())]
        before = [(vars(each), dict(vars(each))) for each in (*layers, *arrays)]
        try:
            yield
        except BaseException:
            for now, then in before:
                now.clear()
                now.update(then)
            raise

    def forget_saved(self) -> None:
        """Release the memory of what the last training `forward` saved for `backward`."""
        for layer in self.walk():
            vars(layer).pop("saved", None)


def within(start: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return the arrays whose path begins with `start`. Their new names are the rest of the path."""
    return {path.removeprefix(start): array for path, array in arrays.items() if path.startswith(start)}
