"""What a layer is: a forward pass, a backward pass, and the parameters that it declares."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minidl.configuration import Configurable
from minidl.errors import ArgumentError, ArgumentTypeError, FileFormatError, NotReadyError, ShapeError
from minidl.initializers import Initializer, get_initializer
from minidl.inputs import as_shape
from minidl.regularizers import Constraint, Regularizer
from minidl.typing import Array, Shape


class State:
    """An array that a layer keeps and saves but that is not trained, such as a running mean.

    Assigning to ``value`` copies into the array, which stays the same one: others may hold views of it.
    """

    def __init__(self, value: Array) -> None:
        self._value = value

    @property
    def value(self) -> Array:
        return self._value

    @value.setter
    def value(self, values: ArrayLike) -> None:
        copy_into(self._value, values)

    def change_dtype(self, dtype: np.dtype[Any]) -> None:
        self._value = self._value.astype(dtype, copy=False)


class _BuiltIn:
    """A layer's attribute that stays once the layer is built, but for another build.

    A model looks for regularizers and constraints when it is built. One that is set later would be in the file but not
    in the run: resumed, it would be another.
    """

    def __init__(self, name: str, default: Any) -> None:
        self._name, self._default = name, default

    def __get__(self, layer: Layer | None, kind: type) -> Any:
        value = self._default if layer is None else vars(layer).get(self._name, self._default)
        if value is dataclasses.MISSING:
            raise AttributeError(f"{kind.__name__} has no attribute {self._name!r} yet")
        return value

    def __set__(self, layer: Layer, value: Any) -> None:
        if layer.input_shape is not None and layer._rng is None:
            present = vars(layer).get(self._name, self._default)
            settings = dataclasses.fields(present) if dataclasses.is_dataclass(present) else ()
            names = " or ".join(f"layer.{self._name}.{setting.name}" for setting in settings if setting.init)
            raise ArgumentError(
                f"{layer.place} is built, and its {self._name} stays: make a new layer"
                + f", or change a setting of the {self._name} that it has, {names}" * bool(names)
            )
        vars(layer)[self._name] = value


def _guard_built_in(layer: Layer) -> None:
    """Let the layer's regularizer and constraint stay: whatever kind of field they are, or none, but no property.

    Once it is built: they may be what its `build` sets, and dataclass fields are there only after `__init_subclass__`.
    """
    kind = type(layer)
    for name in ("regularizer", "constraint"):
        default = inspect.getattr_static(kind, name, dataclasses.MISSING)
        if not hasattr(default, "__get__") and (default is not dataclasses.MISSING or name in vars(layer)):
            setattr(kind, name, _BuiltIn(name, default))


class Parameter(State):
    """An array that is trained, and beside it the gradient of the loss with respect to it, of the same shape.

    In a model both are views into its two vectors; assigning to ``value`` or ``gradient`` copies into them.

    Attributes
    ----------
    regularizer : Regularizer or None
        What its values add to the loss.
    constraint : Constraint or None
        What its values are held to after each step.
    decays : bool
        Whether decoupled weight decay may shrink it. Where `add_parameter` does not say, arrays of two axes or more
        decay; a bias, or the scale of a normalisation, has one axis and does not.

    These three are read-only: a layer gives them to `add_parameter`.
    """

    def __init__(
        self,
        value: Array,
        regularizer: Regularizer | None = None,
        constraint: Constraint | None = None,
        decays: bool | None = None,
    ) -> None:
        super().__init__(value)
        self._gradient = np.zeros_like(value)
        self._regularizer, self._constraint = regularizer, constraint
        self._decays = value.ndim > 1 if decays is None else decays

    @property
    def regularizer(self) -> Regularizer | None:
        return self._regularizer

    @property
    def constraint(self) -> Constraint | None:
        return self._constraint

    @property
    def decays(self) -> bool:
        return self._decays

    @property
    def gradient(self) -> Array:
        return self._gradient

    @gradient.setter
    def gradient(self, values: ArrayLike) -> None:
        copy_into(self._gradient, values)

    def change_dtype(self, dtype: np.dtype[Any]) -> None:
        super().change_dtype(dtype)
        self._gradient = self._gradient.astype(dtype, copy=False)

    def move_to(self, values: Array, gradients: Array) -> None:
        """Copy value and gradient into two 1-D vectors, and from now on be shaped views of these."""
        shape = self._value.shape
        values[:] = self._value.ravel()
        gradients[:] = self._gradient.ravel()
        self._value, self._gradient = values.reshape(shape), gradients.reshape(shape)


def copy_into(array: Array, values: ArrayLike) -> None:
    """Copy `values`, of the same shape or a single number, into `array`."""
    if np.shape(values) not in (array.shape, ()):
        raise ShapeError(f"an array of shape {array.shape} cannot take values of shape {np.shape(values)}")
    array[...] = values


def _recorded(build: Callable[[Any, Shape, np.random.Generator], Shape]) -> Callable[..., Shape]:
    """Wrap a layer's ``build`` so that the base class learns of each build, whoever calls it."""

    @functools.wraps(build)
    def recorded(self: Layer, input_shape: int | Shape, rng: np.random.Generator | int | None = None) -> Shape:
        if self._rng is not None:  # a build that calls super().build is one build
            return build(self, as_shape(input_shape), self._rng)
        before = self._parameters, self._states, self.generator
        self._rng = np.random.default_rng(rng)
        self._parameters, self._states, self.generator = {}, {}, None
        try:
            with self.unbuilt_after_error():
                output_shape = build(self, as_shape(input_shape), self._rng)
                if output_shape is None:
                    raise ArgumentTypeError(f"{self.place}: build must return the shape of an output sample, not None")
                output_shape = as_shape(output_shape)
        except BaseException:
            self._parameters, self._states, self.generator = before
            raise
        finally:
            self._rng = None
        _guard_built_in(self)
        self.input_shape, self.output_shape = as_shape(input_shape), output_shape
        return output_shape

    return recorded


@dataclass(eq=False)
class Layer(Configurable):
    """Base of all layers.

    A subclass is a dataclass whose fields are its configuration. It writes `forward` and `backward` and, when it
    has parameters or changes the shape, `build`:

    - ``build(input_shape, rng)`` gets the shape of one sample, declares parameters with `add_parameter` (and
      arrays that are kept but not trained with `add_state`), and returns the shape of one output sample.
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
    input_shape, output_shape : tuple of int, or None before the layer is built
        Shape of one sample.
    dtype : numpy.dtype
        Of the parameters, and in a model of the output; set by the model, float32 in a layer alone.
    needs_input_gradient : bool
        False where no layer before has parameters: `backward` may then return None and save the work.
    mixes_batch : bool
        True in a subclass of which an output row depends on other rows, as in batch normalisation.
    casts_input : bool
        True in a subclass that takes numbers of any dtype, such as uint8 pixels, and returns `dtype`.
    generator : numpy.random.Generator or None
        What a layer draws random numbers from in training. One that does sets ``self.generator = rng`` in its
        `build`; in a model that generator is the layer's own.
    """

    name: str | None = field(default=None, kw_only=True, repr=False)

    # Class attributes stand for what a layer does not know yet, so a subclass with an __init__ of its own need not
    # call ours.
    input_shape: Shape | None = field(default=None, init=False, repr=False)
    output_shape: Shape | None = field(default=None, init=False, repr=False)
    dtype: np.dtype[Any] = field(default=np.dtype(np.float32), init=False, repr=False)
    needs_input_gradient: bool = field(default=True, init=False, repr=False)
    generator: np.random.Generator | None = field(default=None, init=False, repr=False)
    mixes_batch = False
    casts_input = False

    _rng: np.random.Generator | None = field(default=None, init=False, repr=False)
    _owner: Layer | None = field(default=None, init=False, repr=False)
    _stored: Mapping[str, Array] | None = field(default=None, init=False, repr=False)
    _parameters = dict[str, Parameter]()  # noqa: RUF012 - stays empty: build gives each layer its own
    _states = dict[str, State]()  # noqa: RUF012

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "build" in vars(cls):
            cls.build = _recorded(vars(cls)["build"])  # type: ignore[method-assign]

    @_recorded
    def build(self, input_shape: Shape, rng: np.random.Generator) -> Shape:
        """Declare the parameters for samples of `input_shape`; return the shape of an output sample."""
        return input_shape

    def forward(self, x: Array, training: bool = False) -> Array:
        """Map a batch (N, *input_shape) to (N, *output_shape)."""
        raise NotImplementedError(f"{type(self).__name__} must define forward(x, training=False)")

    def backward(self, dy: Array) -> Array | None:
        """Map dL/dy (N, *output_shape) to dL/dx (N, *input_shape), writing the parameters' gradients."""
        raise NotImplementedError(f"{type(self).__name__} must define backward(dy)")

    def add_parameter(
        self,
        name: str,
        shape: int | Shape,
        initializer: Initializer | str,
        *,
        regularizer: Regularizer | None = None,
        constraint: Constraint | None = None,
        decays: bool | None = None,
    ) -> Parameter:
        """Declare a trained array, within `build`; its ``value`` and ``gradient`` are there at once.

        The keywords are `Parameter`'s attributes; a layer passes on what it was given.
        """
        if decays is not None and not isinstance(decays, bool):
            raise ArgumentTypeError(f"{self.place}: decays of {name!r} is {decays!r}; it must be True, False or None")
        value = self._first_value(name, shape, initializer)
        self._parameters[name] = parameter = Parameter(value, regularizer, constraint, decays)
        return parameter

    def add_state(self, name: str, shape: int | Shape, initializer: Initializer | str = "zeros") -> State:
        """Declare an array that is saved with the model but not trained, within `build`."""
        self._states[name] = state = State(self._first_value(name, shape, initializer))
        return state

    def sublayers(self) -> Mapping[str, Layer]:
        """Return the layers inside this one, by name and in the order of their parameters.

        A layer that holds others overrides this. It builds them within its own `build`, each with a generator that it
        spawns, and runs their passes within its own; their parameters, files and types then are taken care of.
        """
        return {}

    def named_parameters(self) -> dict[str, Parameter]:
        """Return the parameters by name, those of sublayers by path: ``"dense_1/weight"``."""
        found = dict(self._parameters)
        for name, layer in self.sublayers().items():
            found |= {f"{name}/{path}": parameter for path, parameter in layer.named_parameters().items()}
        return found

    def named_states(self) -> dict[str, State]:
        """Return the arrays that are kept but not trained, by path."""
        found = dict(self._states)
        for name, layer in self.sublayers().items():
            found |= {f"{name}/{path}": state for path, state in layer.named_states().items()}
        return found

    def named_generators(self) -> dict[str, np.random.Generator]:
        """Return what layers draw random numbers from in training, by path: ``"dropout_1/generator"``."""
        found = {} if self.generator is None else {"generator": self.generator}
        for name, layer in self.sublayers().items():
            found |= {f"{name}/{path}": generator for path, generator in layer.named_generators().items()}
        return found

    def move_parameters(self, values: Array, gradients: Array) -> None:
        """Move all parameters into two 1-D vectors of their total size, in the order of `named_parameters`."""
        start = 0
        for parameter in self._parameters.values():
            stop = start + parameter.value.size
            parameter.move_to(values[start:stop], gradients[start:stop])
            start = stop
        for layer in self.sublayers().values():
            stop = start + layer.count_parameters()
            layer.move_parameters(values[start:stop], gradients[start:stop])
            start = stop

    def count_parameters(self) -> int:
        """Return how many trained numbers the layer and its sublayers hold."""
        own = sum(parameter.value.size for parameter in self._parameters.values())
        return own + sum(layer.count_parameters() for layer in self.sublayers().values())

    def require_input_gradient(self, needed: bool = True) -> None:
        """Say whether `backward` shall return the gradient with respect to the input."""
        self.needs_input_gradient = needed
        for layer in self.sublayers().values():
            layer.require_input_gradient(True)

    @property
    def place(self) -> str:
        """How an error names this layer: ``layer 3 'dense_2'`` inside a model."""
        if self._owner is None:
            return f"layer {self.name or type(self).__name__!r}"
        position = 1 + list(self._owner.sublayers()).index(str(self.name))
        outer = "" if self._owner._owner is None else f"{self._owner.place}, "
        return f"{outer}layer {position} {self.name!r}"

    @functools.cached_property
    def saved(self) -> Any:
        """What the last training `forward` left for `backward`."""
        # A cached property stands aside once `forward` has set the attribute: then neither way calls a function.
        raise NotReadyError(f"{self.place}: backward needs a forward(x, training=True) before it")

    def check_input(self, x: Array) -> None:
        """Raise ShapeError unless `x` is a batch of the shape that the layer was built for."""
        if x.shape[1:] == self.input_shape:
            return
        if self.input_shape is None:
            raise NotReadyError(f"{self.place} is not built: call build(input_shape, rng) first")
        expected = f"{self.place} expects input {self.input_shape} per sample"
        if x.shape == self.input_shape:
            raise ShapeError(f"{expected}, in a batch, but got one sample alone: pass x[np.newaxis]")
        raise ShapeError(f"{expected} but got {x.shape[1:] if x.ndim else 'a single number'}")

    def walk(self) -> Iterator[Layer]:
        """Yield this layer and every layer inside it."""
        yield self
        for layer in self.sublayers().values():
            yield from layer.walk()

    def change_dtype(self, dtype: np.dtype[Any]) -> None:
        """Compute in `dtype` from now on, in this layer and those inside it."""
        self.dtype = dtype
        for array in (*self._parameters.values(), *self._states.values()):
            array.change_dtype(dtype)
        for layer in self.sublayers().values():
            layer.change_dtype(dtype)

    def take_values_from(self, stored: Mapping[str, Array] | None) -> None:
        """Let the next `build` take first values from these arrays by path, instead of from initializers."""
        self._stored = stored
        for name, layer in self.sublayers().items():
            start = f"{name}/"
            layer.take_values_from(
                None if stored is None else {k.removeprefix(start): v for k, v in stored.items() if k.startswith(start)}
            )

    def _first_value(self, name: str, shape: int | Shape, initializer: Initializer | str) -> Array:
        if self._rng is None:
            raise NotReadyError(f"{self.place}: parameters and states are declared within build")
        if name in self._parameters or name in self._states or "/" in name:
            raise ArgumentError(f"{self.place}: {name!r} is declared twice, or holds a '/'")
        shape = as_shape(shape)
        if self._stored is None:
            return get_initializer(initializer)(shape, self._rng, self.dtype)
        if name not in self._stored:
            raise FileFormatError(f"{self.place} has no array {name!r} in the file")
        value = self._stored[name]
        if value.shape != shape or value.dtype != self.dtype:
            raise FileFormatError(
                f"{self.place}: array {name!r} is {value.dtype} {value.shape} in the file, but the architecture "
                f"there says {self.dtype} {shape}"
            )
        return value.copy()

    def unbuild(self) -> None:
        """Forget shapes, parameters, states and generator, as before `build`; what is inside stays as it is."""
        self.input_shape = self.output_shape = self.generator = None
        self._parameters, self._states = {}, {}

    @contextlib.contextmanager
    def unbuilt_after_error(self) -> Iterator[None]:
        """Within, an error leaves the layers that were not built as they were, ready for samples of any shape."""
        new = [layer for layer in self.walk() if layer.input_shape is None]
        try:
            yield
        except BaseException:
            for layer in new:
                layer.unbuild()
            raise

    def forget_saved(self) -> None:
        """Let go of what the last training `forward` left for `backward`."""
        for layer in self.walk():
            vars(layer).pop("saved", None)

    def __getstate__(self) -> dict[str, Any]:
        # A copy of a layer belongs to no model until one takes it in.
        return {key: value for key, value in vars(self).items() if key != "_owner"}
