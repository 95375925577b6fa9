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
Vectors = tuple[Array, Array]
"""All parameters of a model, or of a layer that stands alone, and their gradients."""
Stored = Mapping[str, Array] | None
"""First values by path, as a file has them; None: they are drawn."""


def assigned_in_place(read: Callable[[Any], Array]) -> Any:
    """Make a property of a method that returns an array; assigning copies values of its shape, or a number, into it."""

    def copy_into(owner: Any, values: ArrayLike) -> None:
        array = read(owner)
        if np.shape(values) not in (array.shape, ()):
            raise ShapeError(f"an array of shape {array.shape} cannot take values of shape {np.shape(values)}")
        array[...] = values

    return property(read, copy_into)


class State:
    """An array that a layer keeps and saves but that is not trained, such as a running mean.

    Assigning to ``value`` copies into the array, which stays the same one: others may hold views of it.
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
    """An array that is trained, and beside it the gradient of the loss with respect to it, of the same shape.

    Both are shaped views of a part of two 1-D vectors: their own or, in a model, those of the model. Assigning to
    ``value`` or ``gradient`` copies into them.

    Attributes
    ----------
    decays : bool
        Whether decoupled weight decay may shrink it.
    regularized : bool
        Whether the layer's ``regularizer`` and ``constraint`` are for it.
    """

    def __init__(self, value: Array, decays: bool, regularized: bool) -> None:
        self.decays, self.regularized = decays, regularized
        self._place((value.ravel(), np.zeros(value.size, value.dtype)), 0, value.shape)

    def _place(self, vectors: Vectors, start: int, shape: Shape) -> None:
        """Be a view of these two vectors from entry `start` on."""
        self.vectors, self.start, self.stop = vectors, start, start + math.prod(shape)
        self._value, self._gradient = (vector[start : self.stop].reshape(shape) for vector in vectors)

    @assigned_in_place
    def gradient(self) -> Array:
        return self._gradient

    def move_to(self, vectors: Vectors, start: int) -> int:
        """Copy value and gradient into two 1-D vectors, be views of these from now on; return where they end."""
        value, gradient = self._value, self._gradient
        self._place(vectors, start, value.shape)
        self.value, self.gradient = value, gradient
        return self.stop

    def __getstate__(self) -> dict[str, Any]:
        # The pair of vectors is copied or pickled once for all parameters, also by joblib, which would write an array
        # again for each that holds it. The views are made anew.
        return {**vars(self), "_value": self._value.shape, "_gradient": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._place(self.vectors, self.start, state["_value"])


def as_layer_name(value: Any, place: str) -> str:
    """Return a text that a path can hold; raise ArgumentError for another, ArgumentTypeError for anything else."""
    if not as_text(value, place) or "/" in value or not value.isprintable():
        raise ArgumentError(f"{place} is {value!r}; it must not be empty, hold a '/' or a sign that cannot be printed")
    return str(value)


class Declaration:
    """What a layer declares its arrays and inner layers with, in `build`; it supplies their first values.

    Attributes
    ----------
    generator : numpy.random.Generator
        Draws the first values. A layer that draws random numbers in training keeps it: ``self.generator = ...``.
    dtype : numpy.dtype
        Of the parameters.
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
        """Declare a trained array; its ``value`` and ``gradient`` are there at once.

        Parameters
        ----------
        name : str
        shape : int or tuple of int
        initializer : Initializer or its name
        decays : bool, optional
            Whether decoupled weight decay may shrink it. By default arrays of two axes or more decay; a bias, or the
            scale of a normalization, has one axis and does not.
        regularized : bool, default False
            Whether the layer's fields ``regularizer`` and ``constraint`` are for it.
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
        """Set up the layer that `sublayers` calls `name`, unless it is already; return the shape of its output."""
        # It calls `build` itself: two calls for each level leave room for hundreds of levels.
        generator = self.generator.spawn(1)[0]  # what one layer draws does not depend on how much the others did
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
        """Let the layer know what its `build` has declared, and the shape that it returned."""
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

    The fields of a subclass are its settings. It writes `forward` and `backward` and, when it has parameters or
    changes the shape, `build`:

    - ``build(input_shape, declare)`` gets the shape of one sample, declares parameters by ``declare.parameter`` (and
      arrays that are kept but not trained by ``declare.state``), and returns the shape of one output sample.
    - ``forward(x, training=False)`` maps a batch (N, *input_shape) to (N, *output_shape). Only with
      ``training=True`` may it write on the layer: it leaves in ``self.saved`` what `backward` needs.
    - ``backward(dy)`` gets the gradient of the loss with respect to the last training output, writes each
      parameter's gradient in place (overwriting it), and returns the gradient with respect to the input.

    Parameters
    ----------
    name : str, optional
        What errors, `named_parameters` and model files call the layer; a model gives one where there is none:
        ``dense_1``.

    Attributes
    ----------
    input_shape, output_shape : tuple of int, or None before the layer is set up
        Shape of one sample.
    dtype : numpy.dtype
        Of the parameters, and in a model of the output; float32 in a layer alone unless `set_up` is told otherwise.
    trainable : bool
        False freezes the layer and all layers inside it: their parameters, and the running statistics of `BatchNorm`,
        stay as they are. It may be changed at any time, before and after the layer is set up.
    needs_input_gradient : bool
        False where no layer before learns: `backward` may then return None and save the work.
    mixes_batch : bool
        True in a subclass in which an output row depends on other rows, as in batch normalization.
    shares_batch : bool
        True in a subclass that mixes rows only by sums over the batch, to which it lets `over_batch` add.
    over_batch : callable or None
        Where a batch is computed in parts, adds the sums of the others to an array of sums, in place.
    rows_of_batch : (int, int) or None
        Where a batch is computed in parts: the first row of this part, and how many the whole has. Layers that draw
        random numbers for each row draw for the whole, and take their rows.
    picks_maxima : bool
        True in a subclass whose output are maxima of its input, as in max pooling; subclasses of it do not inherit it.
    takes_integers : bool
        True in a subclass that takes numbers of any dtype as they are, such as uint8 pixels; others get `dtype`.
    takes_mask : bool
        True in a subclass that must know which positions of a padded sequence count: its forward has a third argument,
        ``mask=None``, of shape (N, T), True where a position counts. Numbers at the others must be finite.
    makes_mask : bool
        True in a layer whose output has a mask where its input has none, as that of an `Embedding` with a padding id,
        and from `build` on in those that hold one.
    generator : numpy.random.Generator or None
        What a layer draws random numbers from in training: its `build` sets ``self.generator = declare.generator``.
    """

    name: str | None = setting(default=None, check=as_layer_name, repr=False)

    input_shape: Shape | None = field(default=None, init=False, repr=False)
    output_shape: Shape | None = field(default=None, init=False, repr=False)
    dtype: np.dtype[Any] = field(default=np.dtype(np.float32), init=False, repr=False)
    needs_input_gradient: bool = field(default=True, init=False, repr=False)
    generator: np.random.Generator | None = field(default=None, init=False, repr=False)
    own_trainable: bool = field(default=True, init=False, repr=False)
    over_batch: Callable[[Array], object] | None = field(default=None, init=False, repr=False)
    rows_of_batch: tuple[int, int] | None = field(default=None, init=False, repr=False)
    mixes_batch = False
    shares_batch = False
    picks_maxima = False
    takes_integers = False
    takes_mask = False
    makes_mask = False
    saved: Any = field(init=False, repr=False)

    # They stay empty: `set_up` gives each layer its own.
    _parameters = dict[str, Parameter]()  # noqa: RUF012
    _states = dict[str, State]()  # noqa: RUF012

    def build(self, input_shape: Shape, declare: Declaration) -> Shape:
        """Declare the parameters for samples of `input_shape`; return the shape of an output sample."""
        return input_shape

    def forward(self, x: Array, training: bool = False) -> Array:
        """Map a batch (N, *input_shape) to (N, *output_shape)."""
        raise NotImplementedError(f"{type(self).__name__} must define forward(x, training=False)")

    def backward(self, dy: Array) -> Array | None:
        """Map dL/dy (N, *output_shape) to dL/dx (N, *input_shape), writing the parameters' gradients."""
        raise NotImplementedError(f"{type(self).__name__} must define backward(dy)")

    def mask_after(self, x: Array | None, mask: Array | None) -> Array | None:
        """Return the mask of the output, given that of the input: the same where the layer keeps the positions.

        A layer whose output has others, such as a pooling of them, overrides this. None says that all count. The input
        itself is None where it is not known: behind the first layer of a model that is not computed.
        """
        if mask is None:
            return None
        before, after, axes = self.input_shape or (), self.output_shape or (), mask.ndim - 1
        return mask if before[:axes] == after[:axes] and (len(after) > axes or len(before) == axes) else None

    def sublayers(self) -> Mapping[str, Layer]:
        """Return the layers inside this one, by name and in the order of their parameters.

        A layer that holds others overrides this. It sets them up in its `build`, by ``declare.sublayer``, and runs
        their passes within its own; their parameters, files and types then are taken care of.
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
            Of the parameters from now on; left out, `dtype` stays.
        stored : dict of path -> array, optional
            The first values, instead of random ones; FileFormatError where names, shapes or types differ.

        An error leaves the layer, and those inside it, as they were.
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
        """Whether a step changes parameters of the layer, or of one inside it."""
        own = self.own_trainable and bool(self._parameters)
        return own or any(map(Layer.learns, self.sublayers().values()))

    def mixes_rows(self) -> bool:
        """Whether the outputs of the layer, or of one inside it, depend on the other rows of a training batch."""
        return any(layer.mixes_batch for layer in self.walk())

    def numbers_per_row(self) -> int:
        """Return about how many numbers a pass over one row makes, for the model to choose its blocks by."""
        innermost = [layer for layer in self.walk()[1:] if not layer.sublayers()]
        return sum(layer.numbers_per_row() for layer in innermost) or math.prod(self.output_shape or ())

    def named_layers(self, start: str = "") -> list[tuple[str, Layer]]:
        """Return this layer and all inside it, each with the beginning of its parameters' paths: ``"block_1/"``."""
        found: list[tuple[str, Layer]] = [(start, self)]
        for index, (path, layer) in enumerate(found, start=1):  # it grows; blocks may be nested deeper than calls
            if inside := layer.sublayers():
                found[index:index] = [(f"{path}{name}/", inner) for name, inner in inside.items()]
        return found

    def walk(self) -> list[Layer]:
        """Return this layer and every layer inside it."""
        return [layer for _, layer in self.named_layers()]

    def named_parameters(self) -> dict[str, Parameter]:
        """Return the parameters by name, those of sublayers by path: ``"dense_1/weight"``."""
        return {f"{at}{name}": each for at, layer in self.named_layers() for name, each in layer._parameters.items()}

    def named_states(self) -> dict[str, State]:
        """Return the arrays that are kept but not trained, by path."""
        return {f"{at}{name}": each for at, layer in self.named_layers() for name, each in layer._states.items()}

    def named_generators(self) -> dict[str, np.random.Generator]:
        """Return what layers draw random numbers from in training, by path: ``"dropout_1/generator"``."""
        return {f"{at}generator": layer.generator for at, layer in self.named_layers() if layer.generator}

    def count_parameters(self) -> int:
        """Return how many trained numbers the layer and its sublayers hold."""
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
        """How an error names a layer inside this one: ``layer 3 'dense_2'``."""
        return f"layer {1 + list(self.sublayers()).index(name)} {name!r}"

    def change_dtype(self, dtype: np.dtype[Any]) -> None:
        """Compute in `dtype` from now on, also in the layers inside; a model moves the parameters themselves."""
        for layer in self.walk():
            layer.dtype = dtype
            for state in layer._states.values():
                state._value = state._value.astype(dtype, copy=False)

    @contextlib.contextmanager
    def unbuilt_after_error(self) -> Iterator[None]:
        """Within, an error leaves the layer, and those inside it, as they were."""
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
        """Let go of what the last training `forward` left for `backward`."""
        for layer in self.walk():
            vars(layer).pop("saved", None)


def within(start: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return the arrays whose path begins with `start`, by the rest of their paths."""
    return {path.removeprefix(start): array for path, array in arrays.items() if path.startswith(start)}
