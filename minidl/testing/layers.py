"""The checks of a layer."""

from __future__ import annotations

import copy
import dataclasses
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from minidl.errors import NotReadyError, ShapeError
from minidl.inputs import as_shape
from minidl.layers import Layer
from minidl.model import Sequential
from minidl.testing.failures import Check, CheckFailure, assert_close, named, run_all
from minidl.testing.numerical import KinkError, directional_derivative
from minidl.typing import Array, Shape

_MOST_ENTRIES = 120
"""Of a larger array so many are looked at one by one; along random directions all are, together."""


def check_layer(
    layer: Layer, input_shape: int | Shape, *, batch_size: int = 4, seed: int = 0, tolerance: float = 1e-6
) -> None:
    """Check everything that a layer must do.

    Parameters
    ----------
    layer : Layer
        It is copied, never changed.
    input_shape : int or tuple of int
        Shape of one sample.
    batch_size : int, default 4
    seed : int, default 0
        Of inputs, upstream gradients and parameters.
    tolerance : float, default 1e-6
        Largest relative difference between an analytic and a numeric gradient, in float64.

    Raises
    ------
    CheckFailure
        At the first check that fails; an AssertionError with the check's name, the place, both values and a hint.
    """
    run_all(layer_checks(layer, input_shape, batch_size=batch_size, seed=seed, tolerance=tolerance))


def layer_checks(
    layer: Layer, input_shape: int | Shape, *, batch_size: int = 4, seed: int = 0, tolerance: float = 1e-6
) -> Iterator[tuple[str, Check]]:
    """Yield the checks of `check_layer` as pairs (name, function without arguments); parameters as there."""
    checks = _LayerChecks(layer, as_shape(input_shape), batch_size, seed, tolerance)
    for name in (
        "same seed",
        "random numbers",
        "output shape and type",
        "input and upstream unchanged",
        "memory layouts",
        "gradients written",
        "gradients overwritten",
        "returned arrays",
        "input gradient",
        "parameter gradients",
        "rows one by one",
        "second forward",
        "inference writes nothing",
        "threads",
        "inside a model",
        "wrong input shape",
        "repr",
        "save and load",
    ):
        yield named(layer, name, getattr(checks, name.replace(" ", "_")))


class _LayerChecks:
    """Each method is the check of its name."""

    def __init__(self, layer: Layer, input_shape: Shape, batch_size: int, seed: int, tolerance: float) -> None:
        self.layer, self.input_shape = layer, input_shape
        self.batch_size, self.seed, self.tolerance = batch_size, seed, tolerance

    def built(self, dtype: str = "float64", seed: int | None = None) -> Layer:
        """Return a copy of the layer, built alone; its parameters are random also where they start at zero."""
        layer = copy.deepcopy(self.layer)
        layer.change_dtype(np.dtype(dtype))
        layer.require_input_gradient(True)
        rng = np.random.default_rng(self.seed if seed is None else seed)
        layer.build(self.input_shape, rng)
        for parameter in layer.named_parameters().values():
            parameter.value[...] += 0.1 * rng.normal(size=parameter.value.shape)
        return layer

    def inputs(self, draw: int = 0, rows: int | None = None, dtype: str = "float64") -> Array:
        rng = np.random.default_rng((self.seed, draw))
        rows = self.batch_size if rows is None else rows
        return rng.normal(size=(rows, *self.input_shape)).astype(dtype)

    def upstream(self, y: Array) -> Array:
        return np.random.default_rng((self.seed, 99)).normal(size=y.shape).astype(y.dtype)

    def is_random(self, layer: Layer) -> bool:
        """Whether the layer draws random numbers in training, as dropout does."""
        x = self.inputs()
        return not np.array_equal(layer.forward(x, training=True), layer.forward(x, training=True))

    def passes(self, layer: Layer, x: Array, dy: Array | None = None) -> tuple[Array, Array, dict[str, Array]]:
        """Return output, input gradient and copies of the parameter gradients."""
        y = layer.forward(x, training=True)
        dx = layer.backward(self.upstream(y) if dy is None else dy)
        if dx is None:
            raise CheckFailure("backward returned None", "no `return`, though needs_input_gradient is True")
        return y, dx, {path: p.gradient.copy() for path, p in layer.named_parameters().items()}

    def output_shape_and_type(self) -> None:
        for dtype in ("float32", "float64"):
            layer = self.built(dtype)
            for rows in (self.batch_size, 1, 0):
                x = self.inputs(rows=rows, dtype=dtype)
                hint = "an output that build does not announce, or a scalar of NumPy's float64 that widens float32"
                for training in (False, True):
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")  # of an empty mean, say: what comes of it is looked at
                        y = layer.forward(x, training=training)
                    _expect(y, (rows, *(layer.output_shape or ())), dtype, "the output", hint)
                for path, state in layer.named_states().items():
                    if not np.isfinite(state.value).all():
                        raise CheckFailure(
                            f"a training batch of {rows} rows leaves the state {path!r} not finite",
                            "the mean of no rows: leave the state as it is where len(x) is 0",
                            parameter=path,
                        )
                dx = layer.backward(self.upstream(y))
                if dx is None:
                    raise CheckFailure("backward returned None", "no `return`, though needs_input_gradient is True")
                _expect(dx, x.shape, dtype, "the input's gradient", hint)

    def memory_layouts(self) -> None:
        x = self.inputs()
        expected = self.passes(self.built(), x)
        read_only = x.copy()
        read_only.flags.writeable = False
        wide = np.repeat(x, 2, axis=0)
        for kind, other in {
            "read-only": read_only,
            "Fortran-ordered": np.asfortranarray(x),
            "strided": wide[::2],
        }.items():
            y, dx, gradients = self.passes(self.built(), other)
            hint = f"code that relies on the memory layout of its input: a {kind} one came out differently"
            assert_close(y, expected[0], 1e-9, "the output", "y", hint)
            assert_close(dx, expected[1], 1e-9, "the input's gradient", "x", hint)
            for path, gradient in gradients.items():
                assert_close(gradient, expected[2][path], 1e-9, f"the gradient of {path!r}", path, hint)

    def input_and_upstream_unchanged(self) -> None:
        layer, x = self.built(), self.inputs()
        before = x.copy()
        for training in (False, True):
            y = layer.forward(x, training=training)
            if not np.array_equal(x, before):
                raise CheckFailure(
                    "forward changed its input", "an in-place operation on x: write y = x * ..., not x *= ..."
                )
        dy = self.upstream(y)
        before_y, before_dy = y.copy(), dy.copy()
        layer.backward(dy)
        for what, now, then in (("upstream gradient", dy, before_dy), ("input", x, before), ("output", y, before_y)):
            if not np.array_equal(now, then):
                raise CheckFailure(f"backward changed the {what}", "an in-place operation: copy, or make a new array")

    def gradients_written(self) -> None:
        layer, x = self.built(), self.inputs()
        parameters = layer.named_parameters()
        for parameter in parameters.values():
            parameter.gradient[...] = np.nan
        self.passes(layer, x)
        for path, parameter in parameters.items():
            if np.isnan(parameter.gradient).all():
                raise CheckFailure(
                    f"backward does not write the gradient of {path!r}, or adds to what was there",
                    "a forgotten parameter, or `gradient +=`",
                    parameter=path,
                )

    def gradients_overwritten(self) -> None:
        layer, x = self.built(), self.inputs()
        _, _, first = self.passes(copy.deepcopy(layer), x)
        for parameter in layer.named_parameters().values():
            parameter.gradient[...] = 1e3
        _, _, second = self.passes(layer, x)
        for path in first:
            assert_close(
                second[path],
                first[path],
                1e-9,
                f"the gradient of {path!r} in a second pass",
                path,
                "`gradient +=`: a layer overwrites its gradients, what is added up is added up outside",
            )

    def returned_arrays(self) -> None:
        layer, x = self.built(), self.inputs()
        y = layer.forward(x, training=True)
        dy = self.upstream(y)
        dx = np.asarray(layer.backward(dy))
        for path, parameter in layer.named_parameters().items():
            for what, array in (("output", y), ("input's gradient", dx)):
                for kind, own in (("value", parameter.value), ("gradient", parameter.gradient)):
                    if np.shares_memory(array, own):
                        raise CheckFailure(
                            f"the {what} is a view of {path!r}'s {kind}",
                            "returning the layer's own array: return a copy",
                            parameter=path,
                        )
        if np.shares_memory(dx, dy):
            raise CheckFailure(
                "the input's gradient is a view of the upstream gradient",
                "returning dy, or a reshape of it: return a copy, since a caller may add to what it got",
            )
        kept_y, kept_dx = y.copy(), dx.copy()
        other = self.inputs(draw=1)
        layer.backward(self.upstream(layer.forward(other, training=True)) + 1)
        if not (np.array_equal(y, kept_y) and np.array_equal(dx, kept_dx)):
            raise CheckFailure(
                "a later pass changed arrays that an earlier one returned", "a buffer that is used again and returned"
            )

    def input_gradient(self) -> None:
        self._compare_gradients("x", lambda layer, x: x, "the input's gradient")

    def parameter_gradients(self) -> None:
        for path in self.built().named_parameters():
            self._compare_gradients(
                path, lambda layer, x, path=path: layer.named_parameters()[path].value, f"the gradient of {path!r}"
            )

    def _compare_gradients(self, path: str, chosen: Any, what: str) -> None:
        """Compare with central differences; a draw of inputs that meets a kink is replaced by another."""
        for draw in range(20):
            try:
                self._compare_gradient_at(draw, path, chosen, what)
                return
            except KinkError as error:
                kink = error
        raise CheckFailure(
            f"{what} cannot be checked: at 20 random inputs the output has a kink, {kink}",
            "an output that jumps, or rounds; or a layer inside that sublayers() does not name, left in float32",
            parameter=path,
        )

    def _compare_gradient_at(self, draw: int, path: str, chosen: Any, what: str) -> None:
        base, x = self.built(), self.inputs(draw)
        dy = self.upstream(base.forward(x))
        y, dx, gradients = self.passes(copy.deepcopy(base), x, dy)
        analytic = dx if path == "x" else gradients[path]

        def value() -> float:
            # A copy for each pass: a layer that draws random numbers draws the same ones.
            return float((copy.deepcopy(base).forward(x, training=True) * dy).sum())

        array = chosen(base, x)
        hint = (
            "a sign, a missing factor or sum, a transpose, or the derivative taken at the output instead of the input"
        )
        rng = np.random.default_rng((self.seed, draw, 7))
        numeric = analytic.astype(np.float64)
        for entry in rng.permutation(array.size)[:_MOST_ENTRIES]:
            index = np.unravel_index(entry, array.shape)
            unit = np.zeros_like(array)
            unit[index] = 1
            numeric[index] = directional_derivative(value, array, unit)
        # Rounding alone gives differences of 1e-16 of the terms over steps of 1e-5, also where the gradient is zero, as
        # for a bias before a batch normalisation.
        rounding = 1e-10 * max(float(np.abs(y * dy).sum()), 1.0)
        lost = (np.abs(analytic) < rounding) & (np.abs(numeric) < rounding)
        numeric[lost] = analytic[lost]
        assert_close(analytic, numeric, self.tolerance, what, path, hint)
        for _ in range(3):
            direction = rng.normal(size=array.shape) / np.sqrt(array.size)
            along, slope = float((analytic * direction).sum()), directional_derivative(value, array, direction)
            # Where the terms cancel, the sum is as exact as they are.
            scale = max(abs(slope), 1e-2 * float(np.abs(analytic * direction).sum()))
            if not abs(along - slope) <= max(self.tolerance * scale, rounding):
                raise CheckFailure(
                    f"{what} along a random direction is {along:.10g}, but should be {slope:.10g}",
                    hint,
                    parameter=path,
                    analytic=along,
                    numeric=slope,
                )

    def rows_one_by_one(self) -> None:
        layer, x = self.built(), self.inputs()
        if any(inner.mixes_batch for inner in layer.walk()):
            return
        hint = "a sum or mean over the batch axis; a layer that means to do so declares mixes_batch = True"
        for training in (False, True):
            if training and self.is_random(layer):
                return
            whole = layer.forward(x, training=training)
            single = np.concatenate([layer.forward(x[row : row + 1], training=training) for row in range(len(x))])
            what = "the training output" if training else "the output"
            assert_close(whole, single, 1e-9, f"{what} of a batch, beside that of its rows one by one,", "y", hint)

    def second_forward(self) -> None:
        first, second = self.inputs(), self.inputs(draw=1)
        layer = self.built()
        self.passes(layer, first)
        _, expected, _ = self.passes(layer, second)
        layer = self.built()
        layer.forward(first, training=True)
        try:
            _, dx, _ = self.passes(layer, second)
        except NotReadyError:
            return  # refusing it is right, too
        hint = "a list of saved arrays that grows, or what an earlier batch left: each forward replaces what is saved"
        assert_close(dx, expected, 1e-9, "the input's gradient after a second forward", "x", hint)

    def inference_writes_nothing(self) -> None:
        layer = self.built()
        layer.forward(self.inputs(), training=True)
        before = [_contents(inner) for inner in layer.walk()]
        layer.forward(self.inputs(draw=1, rows=self.batch_size + 1))
        for inner, then in zip(layer.walk(), before, strict=True):
            now = _contents(inner)
            for key in now.keys() | then.keys():
                if key not in now or key not in then or not _same(now[key], then[key]):
                    raise CheckFailure(
                        f"forward(x), without training=True, wrote {key!r} on {inner.place}",
                        "saving for backward, or updating a state, outside `if training:`",
                    )

    def threads(self) -> None:
        layer = self.built()
        batches = [self.inputs(draw) for draw in range(16)]
        expected = [layer.forward(x) for x in batches]
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(layer.forward, batches * 4))
        for result, alone in zip(results, expected * 4, strict=True):
            assert_close(
                result, alone, 1e-9, "the output in one of 4 threads", "y", "a buffer that all calls of forward share"
            )

    def inside_a_model(self) -> None:
        alone, x = self.built(), self.inputs()
        model = Sequential([copy.deepcopy(self.layer)], dtype="float64", seed=self.seed)
        model.build(self.input_shape, np.random.default_rng(self.seed))
        model.require_input_gradient(True)
        for path, parameter in alone.named_parameters().items():
            model.named_parameters()[f"{model.layers[0].name}/{path}"].value = parameter.value
        for path, state in alone.named_states().items():
            model.named_states()[f"{model.layers[0].name}/{path}"].value = state.value
        hint = (
            "arrays kept from build: read parameter.value and write parameter.gradient at each pass, and declare what "
            "is random but not trained with add_state"
        )
        assert_close(model.forward(x), alone.forward(x), 1e-9, "the output inside a model", "y", hint)
        if self.is_random(alone):
            return  # with another generator it draws other numbers
        y, dx, gradients = self.passes(alone, x)
        in_model_y, in_model_dx, in_model_gradients = self.passes(model, x)
        assert_close(in_model_y, y, 1e-9, "the training output inside a model", "y", hint)
        assert_close(in_model_dx, dx, 1e-9, "the input's gradient inside a model", "x", hint)
        for path, gradient in gradients.items():
            inside = in_model_gradients[f"{model.layers[0].name}/{path}"]
            assert_close(inside, gradient, 1e-9, f"the gradient of {path!r} inside a model", path, hint)
        vector = np.concatenate([array.ravel() for array in in_model_gradients.values()] or [np.empty(0)])
        assert_close(model.gradients, vector, 1e-9, "the model's vector of gradients", "gradients", hint)

    def wrong_input_shape(self) -> None:
        layer = self.built()
        *others, last = self.input_shape
        wrong = (*others, last + 1)
        try:
            layer.forward(np.ones((self.batch_size, *wrong)))
        except ShapeError as error:
            if layer.place not in str(error) and type(layer).__name__ not in str(error) and "layer" not in str(error):
                raise CheckFailure(f"its ShapeError does not name the layer: {error}", "use check_input(x)") from error
            return
        except Exception as error:
            raise CheckFailure(
                f"samples of shape {wrong} instead of {self.input_shape} raise {type(error).__name__}: {error}",
                "no check of the shape: call self.check_input(x) at the beginning of forward",
            ) from error
        # A layer that works on any shape, element by element, may take this one as well.
        other = copy.deepcopy(self.layer)
        shapes = {path: p.value.shape for path, p in layer.named_parameters().items()}
        try:
            other.build(wrong, np.random.default_rng(self.seed))
            fits = shapes == {path: p.value.shape for path, p in other.named_parameters().items()}
        except ShapeError:
            fits = False
        if not fits:
            raise CheckFailure(
                f"samples of shape {wrong} instead of {self.input_shape} are taken without an error",
                "NumPy broadcast them: call self.check_input(x) at the beginning of forward",
            )

    def same_seed(self) -> None:
        first, second = self.built(seed=3), self.built(seed=3)
        for path, parameter in first.named_parameters().items():
            other = second.named_parameters()[path].value
            if not np.array_equal(parameter.value, other):
                raise CheckFailure(
                    f"two layers built with one seed differ in {path!r}",
                    "random numbers from elsewhere than the generator that build gets",
                    parameter=path,
                )
        x = self.inputs()
        y, other_y = first.forward(x, training=True), second.forward(x, training=True)
        assert_close(
            y, other_y, 1e-9, "the training output of a second layer of one seed", "y", "random numbers without a seed"
        )

    def random_numbers(self) -> None:
        layer, x = self.built(), self.inputs()
        generators, states = layer.named_generators(), layer.named_states()
        before = {path: generator.bit_generator.state for path, generator in generators.items()}
        kept = {path: state.value.copy() for path, state in states.items()}
        y = layer.forward(x, training=True)
        for path, generator in generators.items():
            generator.bit_generator.state = before[path]
        for path, state in states.items():
            state.value = kept[path]
        again = layer.forward(x, training=True)
        assert_close(
            again,
            y,
            1e-9,
            "the training output, its generators and states being as before,",
            "y",
            "random numbers from elsewhere than self.generator, which build sets to the generator that it gets",
        )

    def repr(self) -> None:
        text = repr(self.layer)
        for field in dataclasses.fields(self.layer):
            name, value = field.name, getattr(self.layer, field.name)
            left_out = not field.init or name == "name" or (value is None and field.default is None)
            if not left_out and repr(value) not in text:
                raise CheckFailure(
                    f"its repr {text!r} does not show {name} = {value!r}",
                    "a __repr__ of its own, or a dataclass field with repr=False",
                )

    def save_and_load(self) -> None:
        x = self.inputs(dtype="float32")
        model = Sequential([copy.deepcopy(self.layer)], input_shape=self.input_shape, seed=self.seed)
        model.forward(x, training=True)  # so that a state, such as a running mean, is no longer the initial one
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.npz"
            model.save(path)
            loaded = Sequential.load(path)
        hint = "an argument that is no field of the dataclass, or an array kept without add_parameter or add_state"
        if repr(loaded) != repr(model):
            raise CheckFailure(f"loaded it is {loaded!r}, saved it was {model!r}", hint)
        assert_close(loaded.forward(x), model.forward(x), 1e-9, "the output of the loaded layer", "y", hint)


def _expect(array: Array, shape: Shape, dtype: str, what: str, hint: str) -> None:
    if array.shape != shape:
        raise CheckFailure(f"{what} has shape {array.shape}, but should have {shape}", hint)
    if array.dtype != dtype:
        raise CheckFailure(f"{what} is {array.dtype} in a layer of {dtype}", hint)


def _contents(layer: Layer) -> dict[str, Any]:
    """What is on a layer, copied; without the layers inside it, which are looked at by themselves."""

    def holds_layers(value: Any) -> bool:
        return isinstance(value, Layer) or (isinstance(value, list | tuple) and any(map(holds_layers, value)))

    return {key: copy.deepcopy(value) for key, value in layer.__getstate__().items() if not holds_layers(value)}


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and one.dtype == other.dtype and one.tobytes() == other.tobytes()
    if isinstance(one, np.random.Generator):
        return bool(one.bit_generator.state == other.bit_generator.state)
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if hasattr(one, "__dict__") and not isinstance(one, type):
        return type(one) is type(other) and _same(vars(one), vars(other))
    return bool(one == other)
