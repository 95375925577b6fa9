"""Checks for a layer."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
import pickle
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from minidl.errors import ArgumentError, DataError, NotReadyError
from minidl.layers import Dense, Flatten, Layer, PReLU
from minidl.losses import Loss, MeanSquaredError
from minidl.model import Sequential
from minidl.optimizers import AdamW
from minidl.serialization import decode, encode
from minidl.settings import as_shape
from minidl.testing.failures import Check, CheckFailure, assert_close, named, run_all, same
from minidl.testing.numerical import KinkError, directional_derivative
from minidl.training import Trainer
from minidl.training.replica import Replica, may_share
from minidl.typing import Array, Shape

_MOST_ENTRIES = 120
"""In a larger array, only this many entries are checked one by one; random directions check all of them together."""


def check_layer(
    layer: Layer,
    input_shape: int | Shape,
    *,
    batch_size: int = 4,
    integers: int | None = None,
    seed: int = 0,
    tolerance: float = 1e-6,
) -> None:
    """Check everything that a layer must do.

    If it has ``takes_mask = True`` and samples (T, F), or (T,) of integers, it is also called with masks (N, T):

    - Numbers at masked positions change neither the outputs that count, which `mask_after` gives, nor any gradient.
      The gradient of these numbers is 0. The upstream gradient is 0 at outputs that do not count, as after a loss.
    - A mask in which all positions count changes nothing.
    - The layer may refuse masks with an ArgumentError, as `Conv1D` does with strides and ``padding="same"``.
    - A block is not checked with masks if a layer inside joins positions, and neither takes masks nor refuses them.

    Parameters
    ----------
    layer : Layer
        It is copied, never changed.
    input_shape : int or tuple of int
        Shape of one sample.
    batch_size : int, default 4
    integers : int, optional
        For a layer that takes whole numbers 0 .. integers - 1, such as word ids. Inputs are drawn from them, and
        `backward` may return None. The layer declares ``takes_integers = True``.
    seed : int, default 0
        Seed for inputs, upstream gradients and parameters.
    tolerance : float, default 1e-6
        Largest relative difference between an analytic and a numeric gradient, in float64.

    Raises
    ------
    CheckFailure
        At the first check that fails. It is an AssertionError with the check's name, the place, both values and a hint.
    """
    options: dict[str, Any] = {"integers": integers, "seed": seed, "tolerance": tolerance}
    run_all(layer_checks(layer, input_shape, batch_size=batch_size, **options))


def layer_checks(
    layer: Layer,
    input_shape: int | Shape,
    *,
    batch_size: int = 4,
    integers: int | None = None,
    seed: int = 0,
    tolerance: float = 1e-6,
) -> Iterator[tuple[str, Check]]:
    """Yield the checks of `check_layer` as pairs (name, function without arguments); same parameters."""
    checks = _LayerChecks(layer, as_shape(input_shape), batch_size, integers, seed, tolerance)
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
        "spared input gradient",
        "rows one by one",
        "halves of a batch",
        "masks",
        "second forward",
        "backward before forward",
        "inference writes nothing",
        "threads",
        "inside a model",
        "integer inputs",
        "wrong input shape",
        "freezing",
        "repr",
        "description",
        "copying",
        "save and load",
    ):
        yield named(layer, name, checks.asking_for_integers(getattr(checks, name.replace(" ", "_"))))


class _Joined(Flatten):
    """Flatten for padded sequences, too: the checks only need a loss that depends on each output."""

    def mask_after(self, x: Array | None, mask: Array | None) -> Array | None:
        return None


class _LayerChecks:
    """Each method is a check with the same name."""

    def __init__(
        self,
        layer: Layer,
        input_shape: Shape,
        batch_size: int,
        integers: int | None,
        seed: int,
        tolerance: float,
    ) -> None:
        self.layer, self.input_shape = layer, input_shape
        self.batch_size, self.integers, self.seed, self.tolerance = batch_size, integers, seed, tolerance

    def asking_for_integers(self, check: Check) -> Check:
        """Return the check. If a layer of ids refuses the random numbers that it gets, the failure says what to do."""

        def run() -> None:
            try:
                check()
            except DataError as error:
                if self.integers is not None or not self.layer.takes_integers:
                    raise
                hint = "a layer of ids needs ids: give integers=, the number of them, such as integers=5"
                raise CheckFailure(f"it raised DataError: {error}", hint) from error

        return run

    def built(self, dtype: str = "float64", seed: int | None = None) -> Layer:
        """Return a copy of the layer, set up alone, with random parameters, even if they normally start at zero."""
        layer = copy.deepcopy(self.layer)
        layer.needs_input_gradient = True
        rng = np.random.default_rng(self.seed if seed is None else seed)
        layer.set_up(self.input_shape, rng, dtype=dtype)
        for parameter in layer.named_parameters().values():
            parameter.value += 0.1 * rng.normal(size=parameter.value.shape)
        return layer

    def model(self, dtype: str = "float64") -> Sequential:
        """Return a model of a copy of the layer."""
        return Sequential([copy.deepcopy(self.layer)], input_shape=self.input_shape, seed=self.seed, dtype=dtype)

    def inputs(self, draw: int = 0, rows: int | None = None, dtype: str = "float64") -> Array:
        rng = np.random.default_rng((self.seed, draw))
        shape = (self.batch_size if rows is None else rows, *self.input_shape)
        return (
            rng.normal(size=shape).astype(dtype) if self.integers is None else rng.integers(self.integers, size=shape)
        )

    def upstream(self, y: Array) -> Array:
        return np.random.default_rng((self.seed, 99)).normal(size=y.shape).astype(y.dtype)

    def is_random(self, layer: Layer) -> bool:
        """Whether the layer draws random numbers in training, as dropout does."""
        x = self.inputs()
        return not np.array_equal(layer.forward(x, training=True), layer.forward(x, training=True))

    def input_gradient_of(self, layer: Layer, dy: Array) -> Array:
        """Return the result of `backward`, or zeros if a layer of integers returns None."""
        dx = layer.backward(dy)
        if dx is None and self.integers is None:
            raise CheckFailure("backward returned None", "no `return`, though needs_input_gradient is True")
        return np.zeros((len(dy), *self.input_shape), dy.dtype) if dx is None else dx

    def passes(
        self, layer: Layer, x: Array, dy: Array | None = None, mask: Array | None = None
    ) -> tuple[Array, Array, dict[str, Array]]:
        """Return output, input gradient and copies of the parameter gradients."""
        y = layer.forward(x, training=True, **_given(mask))
        dx = self.input_gradient_of(layer, self.upstream(y) if dy is None else dy)
        return y, dx, {path: p.gradient.copy() for path, p in layer.named_parameters().items()}

    def output_shape_and_type(self) -> None:
        for dtype in ("float32", "float64"):
            layer = self.built(dtype)
            for rows in (self.batch_size, 1, 0):
                x = self.inputs(rows=rows, dtype=dtype)
                hint = (
                    "an output that does not match the shape from build, or a NumPy float64 scalar that widens float32"
                )
                alone = rows == 1 and layer.mixes_rows()  # in training, such a row joins another batch
                for training in (False,) if alone else (False, True):
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")  # such as for an empty mean: its result is checked
                        y = layer.forward(x, training=training)
                    _expect(y, (rows, *(layer.output_shape or ())), dtype, "the output", hint)
                for path, state in layer.named_states().items():
                    if not np.isfinite(state.value).all():
                        raise CheckFailure(
                            f"a training batch of {rows} rows leaves the state {path!r} not finite",
                            "the mean of no rows: do not change the state if len(x) is 0",
                            parameter=path,
                        )
                if not alone:
                    dx = self.input_gradient_of(layer, self.upstream(y))
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
            hint = f"code that depends on the memory layout of its input: a {kind} one gives another result"
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
                    f"backward does not write the gradient of {path!r}, or adds to its old value",
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
                "`gradient +=`: a layer overwrites its gradients; sums are made outside the layer",
            )

    def returned_arrays(self) -> None:
        layer, x = self.built(), self.inputs()
        y = layer.forward(x, training=True)
        dy = self.upstream(y)
        dx = self.input_gradient_of(layer, dy)
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
                "returning dy, or a reshape of it: return a copy, since a caller may add to the result",
            )
        kept_y, kept_dx = y.copy(), dx.copy()
        other = self.inputs(draw=1)
        layer.backward(self.upstream(layer.forward(other, training=True)) + 1)
        if not (np.array_equal(y, kept_y) and np.array_equal(dx, kept_dx)):
            raise CheckFailure(
                "a later pass changed arrays that an earlier one returned", "a buffer that is returned and used again"
            )

    def input_gradient(self) -> None:
        if self.integers is None:
            self._compare_gradients("x", lambda layer, x: x, "the input's gradient")

    def parameter_gradients(self) -> None:
        for path in self.built().named_parameters():
            self._compare_gradients(
                path, lambda layer, x, path=path: layer.named_parameters()[path].value, f"the gradient of {path!r}"
            )

    def spared_input_gradient(self) -> None:
        layer, x = self.built(), self.inputs()
        _, _, expected = self.passes(copy.deepcopy(layer), x)
        layer.needs_input_gradient = False
        layer.backward(self.upstream(layer.forward(x, training=True)))
        for path, parameter in layer.named_parameters().items():
            assert_close(
                parameter.gradient,
                expected[path],
                1e-9,
                f"the gradient of {path!r}, where needs_input_gradient is False,",
                path,
                "a return before the gradients of the parameters are written",
            )

    def _compare_gradients(
        self, path: str, chosen: Any, what: str, trainable: bool = True, mask: Array | None = None
    ) -> None:
        """Compare with central differences; if random inputs meet a kink, draw new ones."""
        for draw in range(20):
            try:
                self._compare_gradient_at(draw, path, chosen, what, trainable, mask)
                return
            except KinkError as error:
                kink = error
        raise CheckFailure(
            f"{what} cannot be checked: at 20 random inputs the output has a kink, {kink}",
            "an output that jumps or rounds; or an inner layer that sublayers() does not name and stays in float32",
            parameter=path,
        )

    def _compare_gradient_at(
        self, draw: int, path: str, chosen: Any, what: str, trainable: bool, mask: Array | None
    ) -> None:
        base, x = self.built(), self.inputs(draw, None if mask is None else len(mask))
        base.trainable = trainable
        counts = None if mask is None else base.mask_after(x, mask)
        dy = _where_it_counts(self.upstream(base.forward(x, **_given(mask))), counts)
        y, dx, gradients = self.passes(copy.deepcopy(base), x, dy, mask)
        analytic = dx if path == "x" else gradients[path]

        def value() -> float:
            # A copy for each pass, so that a layer draws the same random numbers.
            return float((copy.deepcopy(base).forward(x, training=True, **_given(mask)) * dy).sum())

        array = chosen(base, x)
        hint = (
            "a sign, a missing factor or sum, a transpose, or the derivative taken at the output instead of the input"
        )
        rng = np.random.default_rng((self.seed, draw, 7))
        numeric = analytic.astype(np.float64)
        # With a mask, the random directions are enough: without one, each entry was right.
        for entry in rng.permutation(array.size)[: _MOST_ENTRIES if mask is None else 0]:
            index = np.unravel_index(entry, array.shape)
            unit = np.zeros_like(array)
            unit[index] = 1
            numeric[index] = directional_derivative(value, array, unit)
        # Rounding gives differences of 1e-16 of the terms over steps of 1e-5, even if the gradient is zero, as for a
        # bias before batch normalization.
        rounding = 1e-10 * max(float(np.abs(y * dy).sum()), 1.0)
        lost = (np.abs(analytic) < rounding) & (np.abs(numeric) < rounding)
        numeric[lost] = analytic[lost]
        assert_close(analytic, numeric, self.tolerance, what, path, hint)
        for _ in range(3):
            direction = rng.normal(size=array.shape) / np.sqrt(array.size)
            along, slope = float((analytic * direction).sum()), directional_derivative(value, array, direction)
            # If the terms cancel, the sum is only as exact as the terms.
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
        if layer.mixes_rows():
            return
        hint = "a sum or mean over the batch axis; if this is intended, declare mixes_batch = True"
        for training in (False, True):
            if training and self.is_random(layer):
                return
            whole = layer.forward(x, training=training)
            single = np.concatenate([layer.forward(x[row : row + 1], training=training) for row in range(len(x))])
            what = "the training output" if training else "the output"
            assert_close(whole, single, 1e-9, f"{what} of a batch, compared with its rows one by one,", "y", hint)

    def halves_of_a_batch(self) -> None:
        model, x = self.model(), self.inputs()
        if not model.mixes_rows() or not may_share(model) or self.is_random(self.built()):
            return
        y, dx, gradients = self.passes(model, x)
        states = {path: state.value.copy() for path, state in model.named_states().items()}
        halves = self.model()
        dy = self.upstream(y)

        def both(model: Sequential, side: int) -> tuple[Array, Array]:
            part = slice(len(x) // 2, len(x)) if side else slice(0, len(x) // 2)
            y, dx, _ = self.passes(model, x[part], dy[part])
            return np.stack([y, dx]) if y.shape == dx.shape else dx, model.gradients.copy()

        (first, own), (second, other) = Replica(halves, 2).compute(both)
        hint = (
            "a sum or count over the batch that does not use over_batch: a layer with another sum has no shares_batch"
        )
        expected = np.stack([y, dx]) if y.shape == dx.shape else dx
        joined = np.concatenate([first, second], axis=expected.ndim - dx.ndim)
        assert_close(joined, expected, 1e-9, "output and input gradient of two halves of a batch", "y", hint)
        whole = np.concatenate([np.zeros(0), *(gradient.ravel() for gradient in gradients.values())])
        assert_close(own + other, whole, 1e-9, "the summed gradients of two halves of a batch", "parameters", hint)
        for path, state in halves.named_states().items():
            assert_close(state.value, states[path], 1e-9, f"the state {path!r} after two halves of a batch", path, hint)

    def masks(self) -> None:
        """Compare passes whose inputs differ only at masked positions, then the gradients with central differences."""
        layer = self.built()
        if not layer.takes_mask and "mask" in inspect.signature(layer.forward).parameters:
            raise CheckFailure("its forward takes a mask, but never gets one", "no `takes_mask = True` in the class")
        axes = 2 if self.integers is None else 1  # of a sequence: (T, F), or (T,) of ids
        if not layer.takes_mask or len(self.input_shape) != axes or any(map(_loses_mask, layer.walk())):
            return
        mask = self.mask()
        x, other = (self.inputs(draw, len(mask)) for draw in (0, 1))
        # The other numbers are large, so that they change also a maximum.
        other = np.where(_like(mask, x), x, other if self.integers is not None else 10 * other)
        try:
            layer.forward(x, **_given(mask))
        except ArgumentError:
            return  # raising an error is also correct
        self._compare_outputs(layer, x, other, mask)
        y = copy.deepcopy(layer).forward(x, training=True, **_given(mask))
        dy = _where_it_counts(self.upstream(y), layer.mask_after(x, mask))
        _, dx, gradients = self.passes(copy.deepcopy(layer), x, dy, mask)
        _, other_dx, other_gradients = self.passes(copy.deepcopy(layer), other, dy, mask)
        hint = "backward does not use the mask: forward keeps it in self.saved"
        wrong = np.argwhere(dx * ~_like(mask, dx))
        if len(wrong):
            index = tuple(wrong[0].tolist())
            raise CheckFailure(
                f"the input's gradient is {dx[index]:.10g} at index {index}, a masked position, but should be 0",
                hint,
                parameter="x",
                index=index,
                analytic=float(dx[index]),
                numeric=0.0,
            )
        when = "with other numbers at masked positions"
        assert_close(other_dx, dx, 1e-9, f"the input's gradient {when}", "x", hint)
        for path, gradient in gradients.items():
            assert_close(other_gradients[path], gradient, 1e-9, f"the gradient of {path!r} {when}", path, hint)
        if self.integers is None:
            self._compare_gradients("x", lambda layer, x: x, "the input's gradient with a mask", mask=mask)
        for path in gradients:
            self._compare_gradients(
                path,
                lambda layer, x, path=path: layer.named_parameters()[path].value,
                f"the gradient of {path!r} with a mask",
                mask=mask,
            )

    def mask(self) -> Array:
        """Return a mask (N, T): a full row, two rows that end early, and a row with a gap; then again such rows."""
        positions = self.input_shape[0]
        mask = np.ones((max(self.batch_size, 4), positions), bool)
        if positions > 1:
            mask[1::4, -1] = mask[2::4, positions // 2 :] = mask[3::4, (positions - 1) // 2] = False
        return mask

    def _compare_outputs(self, layer: Layer, x: Array, other: Array, mask: Array) -> None:
        hint = "a sum, maximum or step over positions without the mask, or an inner layer that does not get the mask"
        counts, other_counts = layer.mask_after(x, mask), layer.mask_after(other, mask)
        if not same(counts, other_counts):
            raise CheckFailure(
                "mask_after depends on numbers at masked positions", "`&` with the given mask is missing"
            )
        for training in (False, True):
            y, other_y, whole, plain = (
                copy.deepcopy(layer).forward(each, training=training, **_given(given))
                for each, given in ((x, mask), (other, mask), (x, np.ones_like(mask)), (x, None))
            )
            if counts is not None and counts.shape != y.shape[: counts.ndim]:
                raise CheckFailure(
                    f"mask_after returns {counts.shape} for an output {y.shape}",
                    "a layer that changes the number of positions needs its own mask_after",
                )
            what = "the training output" if training else "the output"
            assert_close(
                _where_it_counts(other_y, counts),
                _where_it_counts(y, counts),
                1e-9,
                f"{what} with other numbers at masked positions",
                "y",
                hint,
            )
            assert_close(whole, plain, 1e-9, f"{what} with a mask in which all positions count", "y", hint)

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
            return  # raising an error is also correct
        hint = "a growing list of saved arrays, or arrays of an earlier batch: each forward replaces the saved arrays"
        assert_close(dx, expected, 1e-9, "the input's gradient after a second forward", "x", hint)

    def backward_before_forward(self) -> None:
        model = self.model()
        dy = self.upstream(model.forward(self.inputs()))
        self._expect_refusal(model, dy, "after an inference")
        model.forward(self.inputs(), training=True)
        model.forget_saved()  # as at the end of `fit`, to free the memory of the batch
        self._expect_refusal(model, dy, "after forget_saved()")

    def _expect_refusal(self, model: Sequential, dy: Array, when: str) -> None:
        try:
            model.backward(dy)
        except NotReadyError:
            return
        except Exception as error:
            raise CheckFailure(
                f"backward {when} raises {type(error).__name__}: {error}, not NotReadyError",
                "backward uses arrays outside self.saved; the model knows only self.saved",
            ) from error

    def inference_writes_nothing(self) -> None:
        layer = self.built()
        layer.forward(self.inputs(), training=True)
        before = [_contents(inner) for inner in layer.walk()]
        layer.forward(self.inputs(draw=1, rows=self.batch_size + 1))
        for (path, inner), then in zip(layer.named_layers(), before, strict=True):
            now = _contents(inner)
            for key in now.keys() | then.keys():
                if key not in now or key not in then or not same(now[key], then[key]):
                    raise CheckFailure(
                        f"forward(x), without training=True, wrote {key!r} on {path.rstrip('/') or 'the layer'}",
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
        alone, x, model = self.built(), self.inputs(), self.model()
        _copy_arrays(alone, model.layers[0])
        hint = (
            "arrays kept from build: read parameter.value and write parameter.gradient in each pass, and use "
            "declare.state for random arrays that are not trained"
        )
        assert_close(model.forward(x), alone.forward(x), 1e-9, "the output inside a model", "y", hint)
        if self.is_random(alone):
            return  # another generator draws other numbers
        y, dx, gradients = self.passes(alone, x)
        in_model_y, in_model_dx, in_model_gradients = self.passes(model, x)
        assert_close(in_model_y, y, 1e-9, "the training output inside a model", "y", hint)
        assert_close(in_model_dx, dx, 1e-9, "the input's gradient inside a model", "x", hint)
        for path, gradient in gradients.items():
            inside = in_model_gradients[f"{model.layers[0].name}/{path}"]
            assert_close(inside, gradient, 1e-9, f"the gradient of {path!r} inside a model", path, hint)
        vector = np.concatenate([array.ravel() for array in in_model_gradients.values()] or [np.empty(0)])
        assert_close(model.gradients, vector, 1e-9, "the model's vector of gradients", "gradients", hint)

    def integer_inputs(self) -> None:
        model = self.model()
        if self.integers is None:
            if self.layer.takes_integers:
                pixels = np.random.default_rng(self.seed).integers(256, size=(self.batch_size, *self.input_shape))
                self._compare_types(model, pixels, ("uint8", "int64"), pixels.astype(np.float64))
            return
        if not self.layer.takes_integers:
            raise CheckFailure(
                "it does not declare that it takes integers", "a model passes floats to it: write takes_integers = True"
            )
        dtypes = ("uint8", "int32") if self.integers <= 256 else ("int32",)
        self._compare_types(model, self.inputs(), dtypes, self.inputs())

    def _compare_types(self, model: Sequential, x: Array, dtypes: tuple[str, ...], expected: Array) -> None:
        expected = model.forward(expected)
        for dtype in dtypes:
            y = model.forward(x.astype(dtype))
            hint = "arithmetic in the input's type, which overflows: use x.astype(self.dtype) first"
            assert_close(y.astype(np.float64), expected, 1e-9, f"the output for inputs of {dtype}", "y", hint)

    def wrong_input_shape(self) -> None:
        wrong = (*self.input_shape[:-1], self.input_shape[-1] + 1) if self.input_shape else (2,)
        x = np.full((self.batch_size, *wrong), 1.0 if self.integers is None else 0)
        model = self.model()
        try:
            model.forward(x)
        except ValueError as error:  # as ShapeError is
            if model.place_of(str(model.layers[0].name)) not in str(error):
                raise CheckFailure(f"the error does not name the layer: {error}", "a custom error message") from error
        else:
            raise CheckFailure(
                f"a model for samples of {self.input_shape} accepts samples of {wrong}", "a custom check_input"
            )
        # Set up for the other shape, it may raise an error or accept it; then its output must have the announced shape.
        other = Sequential([copy.deepcopy(self.layer)], seed=self.seed, dtype="float64")
        try:
            y = other.forward(x)
        except ValueError:
            return
        except Exception as error:
            raise CheckFailure(
                f"set up for samples of {wrong} it raises {type(error).__name__}: {error}",
                "a build for only one shape: raise ShapeError for others, or use input_shape",
            ) from error
        hint = "a build or forward for only one shape: raise ShapeError for others, or use input_shape"
        _expect(
            y,
            (self.batch_size, *(other.output_shape or ())),
            "float64",
            f"set up for samples of {wrong} the output",
            hint,
        )

    def freezing(self) -> None:
        """Freeze the layer before set-up, train it, and freeze it again while the optimizer has momentum."""
        moved = self._moved_paths(self._trainer(frozen=False), weight_decay=0.0)
        trainer = self._trainer(frozen=True)
        layer = trainer.model.layers[-3]
        for trainable, when in ((False, "before it was set up"), (True, ""), (False, "after steps that moved it")):
            layer.trainable = trainable
            now_moved = self._moved_paths(trainer, weight_decay=0.0 if trainable else 0.1)
            if not trainable and now_moved:
                path = min(now_moved)
                raise CheckFailure(
                    f"two steps change {path!r}, though the layer was frozen {when}",
                    "a pass that writes to parameters, or a state that changes without `if self.own_trainable`",
                    parameter=path,
                )
            # If a gradient is only rounding, as for a bias before batch normalization, so is the step.
            for path in {path for path, step in moved.items() if step > 1e-4} - now_moved.keys() if trainable else ():
                raise CheckFailure(
                    f"two steps do not change {path!r} after the layer is trainable again",
                    "reading own_trainable only at set-up: it may change at any time",
                    parameter=path,
                )
        if self.integers is None and _arrays(layer):
            what = "the input's gradient of the frozen layer"
            self._compare_gradients("x", lambda layer, x: x, what, trainable=False)

    def _trainer(self, frozen: bool) -> Trainer:
        """Return the trainer of a model that has, if possible, a trainable layer before this one.

        A layer that finds padding, such as `Masking`, must be the first.
        """
        may_follow = self.integers is None and self.input_shape and not self.built().makes_mask
        before: list[Layer] = [PReLU()] if may_follow else []
        layer = copy.deepcopy(self.layer)
        layer.trainable = not frozen
        layers: list[Layer | Loss] = [*before, layer, _Joined(), Dense(1), MeanSquaredError()]
        model = Sequential(layers, input_shape=self.input_shape, seed=self.seed, dtype="float64")
        model.parameters += 0.1 * np.random.default_rng(self.seed).normal(size=model.parameters.shape)
        return Trainer(model, AdamW(0.01), seed=self.seed, batch_size=self.batch_size)

    def _moved_paths(self, trainer: Trainer, weight_decay: float) -> dict[str, float]:
        """Train for two steps; return the largest change of each parameter and state of the layer that changes."""
        trainer.optimizer.weight_decay = weight_decay
        layer, rows = trainer.model.layers[-3], 2 * self.batch_size
        before = _arrays(layer)
        trainer.fit(self.inputs(rows=rows), np.random.default_rng(self.seed).normal(size=rows), progress=False)
        now = _arrays(layer)
        return {
            path: float(np.abs(now[path] - before[path]).max()) for path in now if not same(now[path], before[path])
        }

    def same_seed(self) -> None:
        first, second = self.built(seed=3), self.built(seed=3)
        for path, parameter in first.named_parameters().items():
            other = second.named_parameters()[path].value
            if not np.array_equal(parameter.value, other):
                raise CheckFailure(
                    f"two layers built with the same seed differ in {path!r}",
                    "random numbers that do not come from the generator that build gets",
                    parameter=path,
                )
        x = self.inputs()
        y, other_y = first.forward(x, training=True), second.forward(x, training=True)
        assert_close(
            y,
            other_y,
            1e-9,
            "the training output of a second layer with the same seed",
            "y",
            "random numbers without a seed",
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
            "the training output with the same generators and states",
            "y",
            "random numbers that do not come from self.generator, which build sets to the generator that it gets",
        )

    def repr(self) -> None:
        text = repr(self.layer)
        for field in dataclasses.fields(self.layer):
            name, value = field.name, getattr(self.layer, field.name, None)
            is_off = value is None if field.default is None else field.metadata.get("quiet") and value == field.default
            if field.init and name != "name" and not is_off and _closed(repr(value)) not in _closed(text):
                raise CheckFailure(
                    f"its repr {text!r} does not show {name} = {value!r}",
                    "a custom __repr__, or a field with repr=False",
                )

    def description(self) -> None:
        hint = "an argument that is not a field, or a field that __post_init__ changes"
        again = decode(json.loads(json.dumps(encode(self.layer))))
        if repr(again) != repr(self.layer):
            raise CheckFailure(f"its copy from the description is {again!r}", hint)
        other = _LayerChecks(again, self.input_shape, self.batch_size, self.integers, self.seed, self.tolerance)
        one, two, x = self.built(), other.built(), self.inputs()
        assert_close(
            two.forward(x, training=True),
            one.forward(x, training=True),
            1e-9,
            "the output of the copied layer",
            "y",
            hint,
        )

    def copying(self) -> None:
        model, x = self.model(), self.inputs()
        model.forward(x, training=True)  # so that arrays are saved, too
        copies: dict[str, Callable[[Sequential], Sequential]] = {"copy.deepcopy": copy.deepcopy}
        if all(map(_can_be_pickled, model.walk())):
            copies["pickle"] = lambda model: pickle.loads(pickle.dumps(model))
        before, expected = model.parameters.copy(), model.forward(x)
        for kind, duplicate in copies.items():
            other = duplicate(model)
            hint = "an array kept from build, or a custom __deepcopy__ or __getstate__ that forgets one"
            assert_close(other.forward(x), expected, 1e-9, f"the output of a copy by {kind}", "y", hint)
            other.parameters[:] = np.linspace(-1, 1, len(before))
            joined = [parameter.value.ravel() for parameter in other.named_parameters().values()]
            if not np.array_equal(np.concatenate([before[:0], *joined]), other.parameters):
                raise CheckFailure(f"in a copy by {kind} the parameters are not views of the model's vector", hint)
            if not np.array_equal(model.parameters, before):
                raise CheckFailure(f"a copy by {kind} shares memory with the original", hint)
            fresh = self.model()
            _copy_arrays(other, fresh)
            assert_close(
                other.forward(x),
                fresh.forward(x),
                1e-9,
                f"the output of a copy by {kind} with other parameters",
                "y",
                hint,
            )

    def save_and_load(self) -> None:
        x = self.inputs(dtype="float32")
        model = self.model(dtype="float32")
        model.forward(x, training=True)  # so that a state, such as a running mean, is no longer the initial one
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.npz"
            model.save(path)
            loaded = Sequential.load(path)
        hint = "an argument that is not a field, or an array kept without declare.parameter or declare.state"
        if repr(loaded) != repr(model):
            raise CheckFailure(f"it was saved as {model!r} but loaded as {loaded!r}", hint)
        assert_close(loaded.forward(x), model.forward(x), 1e-9, "the output of the loaded layer", "y", hint)


def _expect(array: Array, shape: Shape, dtype: str, what: str, hint: str) -> None:
    if array.shape != shape:
        raise CheckFailure(f"{what} has shape {array.shape}, but should have {shape}", hint)
    if array.dtype != dtype:
        raise CheckFailure(f"{what} is {array.dtype} in a layer of {dtype}", hint)


def _given(mask: Array | None) -> dict[str, Any]:
    """Return the argument `mask` of a forward pass, which layers without masks do not have."""
    return {} if mask is None else {"mask": mask}


def _like(mask: Array, x: Array) -> Array:
    """Return the mask with axes of size 1 for the axes of `x` that it does not have."""
    return mask.reshape(*mask.shape, *(1,) * (x.ndim - mask.ndim))


def _where_it_counts(y: Array, counts: Array | None) -> Array:
    """Return an output, or its gradient, with 0 at positions that do not count. A loss ignores these."""
    return y if counts is None else np.where(_like(counts, y), y, y.dtype.type(0))


def _loses_mask(layer: Layer) -> bool:
    """Whether the mask ends at this layer, because it joins positions, and neither takes nor refuses masks."""
    before, after = layer.input_shape or (), layer.output_shape or ()
    is_sequence = max(len(before), len(after)) > 1
    follows_shapes = not layer.takes_mask and type(layer).mask_after is Layer.mask_after
    return follows_shapes and is_sequence and before[:1] != after[:1]


def _arrays(layer: Layer) -> dict[str, Array]:
    """Return copies of a layer's parameters and states, by path."""
    return {path: each.value.copy() for path, each in (layer.named_parameters() | layer.named_states()).items()}


def _copy_arrays(source: Layer, target: Layer) -> None:
    """Copy the parameters and states of another layer of the same kind."""
    arrays = target.named_parameters() | target.named_states()
    for path, array in _arrays(source).items():
        arrays[path].value = array


def _can_be_pickled(layer: Layer) -> bool:
    """Whether the class is in a module: a class defined inside a function or a document cannot be pickled."""
    kind = type(layer)
    return getattr(sys.modules.get(kind.__module__), kind.__qualname__, None) is kind


def _closed(text: str) -> str:
    """Return a repr without layout: spaces, line ends, and commas before a closing bracket."""
    return re.sub(r",(?=[)\]])", "", "".join(text.split()))


def _contents(layer: Layer) -> dict[str, Any]:
    """Copy the attributes of a layer, without the layers inside it, which are checked separately."""

    def holds_layers(value: Any) -> bool:
        return isinstance(value, Layer) or (isinstance(value, list | tuple) and any(map(holds_layers, value)))

    return {key: copy.deepcopy(value) for key, value in vars(layer).items() if not holds_layers(value)}
