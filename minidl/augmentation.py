"""Functions that distort a batch, as users give them: checked, and called so that the data stay as they are."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from minidl.arrays import as_array, check_finite
from minidl.errors import ArgumentTypeError, ShapeError
from minidl.typing import Array

Augment: TypeAlias = "Callable[[Array, np.random.Generator], Array]"
"""Takes the inputs of a batch and a generator, and returns what to train on instead, of the same shape."""


def as_augment(augment: Any, name: str) -> Augment:
    """Return a function of inputs and a generator; raise ArgumentTypeError, with the `name`, for anything else."""
    try:
        inspect.signature(augment).bind(0, 0)
    except TypeError as error:
        wanted = "a function of (inputs, generator), such as Rotation(20) or a Compose([...]) of several"
        raise ArgumentTypeError(f"{name} must be {wanted}: {error}") from error
    except ValueError:
        pass  # one written in C, say, does not tell what it takes
    return augment


def apply_augment(augment: Augment, x: Array, rng: np.random.Generator) -> Array:
    """Return what `augment` makes of `x`, which it gets to read only: a part of the user's data.

    Raises ShapeError or DataError unless that are finite numbers in an array of the same shape.
    """
    untouched = x.view()
    untouched.flags.writeable = False
    augmented = as_array(augment(untouched, rng), "what augment returned")
    if augmented.shape != x.shape:
        raise ShapeError(f"augment must return an array of the shape that it gets, {x.shape}, not {augmented.shape}")
    check_finite(augmented, "what augment returned")
    return augmented
